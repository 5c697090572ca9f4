"""Make training queries from the passages: headings, sentences, questions and fragments.

The teacher gives a target for any text, so the queries need not be true questions about their
passage; what counts is that they cover the shapes of text that people type. Every line of the
output has text, kind and the row of its passage.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

Passage = dict[str, str]

QUESTION = re.compile(r"^(how|what|why|when|where|which|who|can|could|do|does|did|is|are|should|will)\b", re.I)
# Openings that turn a fragment or a heading into the shape of a user's question.
OPENINGS = [
    "how do I {}", "how to {}", "how can I {}", "what is {}", "what does {} do", "why does {} fail",
    "is it possible to {}", "can I {}", "can I use {}", "what happens when {}", "where is {}",
    "where can I find {}", "do I need {}", "does it support {}", "difference between {} and {}",
    "what should I do about {}", "I get an error with {}", "which {} should I use", "how many {} are allowed",
    "is there a limit on {}", "what is the maximum {}", "why is {} slow", "how does {} work", "when should I use {}",
    "I want to {}", "help with {}", "{} not working", "best way to {}", "explain {}", "what are {} used for",
]  # fmt: skip
STOP = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "in",
        "on",
        "at",
        "to",
        "for",
        "with",
        "by",
        "from",
        "and",
        "or",
        "but",
        "if",
        "then",
        "that",
        "this",
        "these",
        "those",
        "it",
        "its",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "as",
        "not",
        "no",
        "can",
        "may",
        "will",
        "should",
        "must",
        "has",
        "have",
        "had",
        "do",
        "does",
        "you",
        "your",
        "we",
        "our",
        "they",
        "their",
        "which",
        "when",
        "where",
        "while",
    ]
)


def last_heading(passage: Passage) -> str:
    """Return the innermost heading, without numbering."""
    heading = passage["heading"].split(" > ")[-1]
    return re.sub(r"^(\d+(\.\d+)*\.?|[A-Z]\.\d+(\.\d+)*\.?|Q:)\s+", "", heading).strip()


def is_heading_query(text: str) -> bool:
    """Tell whether a heading can stand alone as a query."""
    words = text.split()
    return 3 <= len(words) <= 20 and sum(w[:1].isalpha() for w in words) >= 0.7 * len(words)


def sentences(text: str) -> list[str]:
    """Return the sentences of a usable length."""
    parts = re.split(r"(?<=[.!?:])\s+", text)
    return [s for s in parts if 6 <= len(s.split()) <= 24]


def fragment(text: str, rng: random.Random) -> str:
    """Return two to five words of a passage that neither begin nor end with a function word."""
    words = re.findall(r"[A-Za-z][\w'.-]*\w", text)
    if len(words) < 8:
        return ""
    start = rng.randrange(len(words) - 5)
    part = words[start : start + rng.choice((1, 2, 2, 3, 3, 4, 5))]
    while part and part[0].lower() in STOP:
        part = part[1:]
    while part and part[-1].lower() in STOP:
        part = part[:-1]
    return " ".join(part)


def question(passage: Passage, rng: random.Random) -> str:
    """Fill a question opening with fragments of the passage or its heading."""
    opening = rng.choice(OPENINGS)
    fills = []
    for _ in range(opening.count("{}")):
        heading = last_heading(passage)
        use_heading = rng.random() < 0.25 and 0 < len(heading.split()) <= 6
        fills.append(heading if use_heading else fragment(passage["text"], rng))
    if not all(fills):
        return ""
    text = opening.format(*fills)
    # Half of the questions name what they are about, as users do.
    if rng.random() < 0.3 and len(passage["title"].split()) <= 4:
        text += rng.choice((" in ", " with ", " for ")) + passage["title"]
    return text


def vary(text: str, rng: random.Random) -> str:
    """Change case and final mark as hurried users do."""
    if rng.random() < 0.3:
        text = text.lower()
    if rng.random() < 0.4:
        text = text.rstrip("?.: ")
    elif rng.random() < 0.3 and QUESTION.match(text) and not text.endswith("?"):
        text += "?"
    return text


def queries_of(passage: Passage, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Yield (kind, text) for one training passage."""
    if passage["source"].startswith("wordnet-base"):
        yield "word", passage["heading"].split(", ")[0]
        return
    heading = last_heading(passage)
    if is_heading_query(heading):
        yield "heading", vary(heading, rng)
    found = sentences(passage["text"])
    if found and rng.random() < 0.55:
        yield "sentence", vary(rng.choice(found), rng)
    text = question(passage, rng) if rng.random() < 0.55 else ""
    if text:
        yield "question", vary(text, rng)
    if rng.random() < 0.1:
        # A document as splitters hand it over: with its heading in front.
        yield "titled", f"{heading}\n\n{passage['text']}"
    elif rng.random() < 0.15:
        text = f"{passage['title']} {fragment(passage['text'], rng)}"
        yield "keywords", vary(text, rng)


def dev_queries(passages: list[Passage]) -> Iterator[dict[str, object]]:
    """Yield held-out headings with every passage under them as gold."""
    gold: dict[tuple[str, str], list[int]] = {}
    for row, passage in enumerate(passages):
        heading = last_heading(passage)
        if passage["split"] == "dev" and is_heading_query(heading):
            gold.setdefault((passage["source"], heading), []).append(row)
    texts = [heading for _, heading in gold]
    for (_, heading), rows in gold.items():
        # A heading that several documents share ("Using the API") has no one right answer.
        if texts.count(heading) == 1:
            yield {"text": heading, "kind": "dev", "passage": rows[0], "gold": rows}


def main() -> None:
    """Write ``queries.jsonl.gz`` beside the passages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="working folder")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with gzip.open(args.work / "passages.jsonl.gz", "rt", encoding="utf-8") as lines:
        passages = [json.loads(line) for line in lines]
    counts: dict[str, int] = {}
    with gzip.open(args.work / "queries.jsonl.gz", "wt", encoding="utf-8") as out:
        for row, passage in enumerate(passages):
            if passage["split"] == "train":
                for kind, text in queries_of(passage, rng):
                    counts[kind] = counts.get(kind, 0) + 1
                    out.write(json.dumps({"text": text, "kind": kind, "passage": row}, ensure_ascii=False) + "\n")
        for query in dev_queries(passages):
            counts["dev"] = counts.get("dev", 0) + 1
            out.write(json.dumps(query, ensure_ascii=False) + "\n")
    print(counts)


if __name__ == "__main__":
    main()
