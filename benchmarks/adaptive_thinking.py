"""Measure the rule behind ``enable_thinking="auto"`` and write ``adaptive_thinking.md``.

The rule sees each question as the RAG chain sends it: instructions and numbered sources in the system message. With
``--chat`` a server is asked every question with thinking on, and the tokens that the rule would have saved are counted;
with ``--xquad`` the rule sees the questions of XQuAD, which are look-ups. Both parts are written only when asked for.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from langchain_qwen3 import ChatQwen3
from qwen3_core import adaptive
from qwen3_core.adaptive import prompts, words
from qwen3_core.answers import ANSWER_INSTRUCTION, number_sources

HERE = Path(__file__).parent
ROUNDS = 50
RESAMPLES = 10_000
CHARACTERS_PER_TOKEN = 4  # where the server does not count; about right for English

Row = dict[str, Any]  # question, context, thinking (the label), kind
Rule = Callable[[Row], bool]


def read(path: Path) -> list[Row]:
    """Read one labelled question per line."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def messages(row: Row) -> list[dict[str, str]]:
    """Return a question as `create_rag_chain` sends it, or by itself if it has no context."""
    asked = {"role": "user", "content": row["question"]}
    if not row["context"]:
        return [asked]
    sources = "\n\n".join(number_sources(row["context"].split("\n\n")))
    return [{"role": "system", "content": f"{ANSWER_INSTRUCTION}\n\n{sources}"}, asked]


def auto(row: Row) -> bool:
    """Apply the rule."""
    return adaptive.decide(messages(row))


def by_length(rows: Sequence[Row]) -> tuple[Rule, int, str]:
    """Return the best rule that looks at the question's length alone: think above, or below, so many characters."""

    def rule(limit: int, *, above: bool) -> Rule:
        return lambda row: (len(row["question"]) > limit) is above

    limits = sorted({len(row["question"]) for row in rows})
    choices = [(rule(limit, above=above), limit, above) for limit in limits for above in (True, False)]
    best, limit, above = max(choices, key=lambda choice: sum(choice[0](row) is row["thinking"] for row in rows))
    return best, limit, "more" if above else "at most"


def share(hits: int, count: int) -> str:
    """Return a share with its 95% Wilson interval."""
    if not count:
        return "–"
    interval = binomtest(hits, count).proportion_ci(method="wilson")
    return f"{hits / count:.2f} [{interval.low:.2f}, {interval.high:.2f}] ({hits}/{count})"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])


def accuracy(rows: Sequence[Row], rules: dict[str, Rule]) -> str:
    """Return how often each rule is right, and how well it finds the questions that want thinking."""
    lines = []
    for name, rule in rules.items():
        said = [rule(row) for row in rows]
        right = sum(word is row["thinking"] for word, row in zip(said, rows, strict=True))
        found = sum(word and row["thinking"] for word, row in zip(said, rows, strict=True))
        wanted = sum(row["thinking"] for row in rows)
        lines.append([name, share(right, len(rows)), share(found, sum(said)), share(found, wanted)])
    return table(["rule", "accuracy", "precision of thinking", "recall of thinking"], lines)


def groups(rows: Sequence[Row], name: Callable[[Row], str], head: str) -> str:
    """Return how often the rule is right in each group of questions."""
    lines = []
    for group in sorted({name(row) for row in rows}):
        part = [row for row in rows if name(row) == group]
        right = sum(auto(row) is row["thinking"] for row in part)
        label = "/".join(sorted({"on" if row["thinking"] else "off" for row in part}))
        lines.append([group, label, f"{right}/{len(part)}"])
    return table([head, "label", "right"], lines)


def signal(row: Row) -> str:
    """Name the signal that decided."""
    return adaptive.deciding_signal(*adaptive.question_and_context(messages(row)))[1] or "(none: off)"


def script(row: Row) -> str:
    """Tell Chinese questions from others."""
    return "Chinese" if words.CJK.search(row["question"]) else "Latin letters"


def speed(rows: Sequence[Row]) -> str:
    """Return what a decision costs beside writing and reading the same messages as JSON, measured in turn."""
    requests = [messages(row) for row in rows]
    padding = "The keys are kept in room 7.\n\n" * 1000
    long = [messages({**row, "context": padding}) for row in rows]
    lines = []
    for name, chats in (("this set", requests), (f"each with {len(padding):,} characters of context", long)):
        rule_times, json_times = [], []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            for chat in chats:
                adaptive.decide(chat)
            middle = time.perf_counter()
            for chat in chats:
                json.loads(json.dumps(chat))
            json_times.append((time.perf_counter() - middle) / len(chats))
            rule_times.append((middle - start) / len(chats))
        ratio = statistics.median(rule / other for rule, other in zip(rule_times, json_times, strict=True))
        median, longest = (1e6 * pick(rule_times) for pick in (statistics.median, max))
        lines.append([name, f"{median:.0f}", f"{longest:.0f}", f"{ratio:.1f}"])
    return table(["prompts", "µs a decision (median round)", "slowest round", "times a JSON round trip"], lines)


def savings(rows: Sequence[Row]) -> str:
    """Return the share of calls that do not think."""
    off = [row for row in rows if not auto(row)]
    wrong = sum(row["thinking"] for row in off)
    wanted = sum(not row["thinking"] for row in rows)
    return (
        f"Of {len(rows)} calls {len(off)} do not think: the saving against always-on is {len(off) / len(rows):.0%} of "
        f"the thinking calls. A rule without mistakes would save {wanted}. {wrong} of those that do not think are "
        "labelled as worth it: what this costs in answers is not measured here.\n"
    )


def reasoning_tokens(message: Any) -> tuple[int, bool]:
    """Return how many tokens an answer thought for, and whether the server counted them."""
    details = (message.usage_metadata or {}).get("output_token_details", {})
    if details.get("reasoning"):
        return int(details["reasoning"]), True
    blocks = (block for block in message.content_blocks if block["type"] == "reasoning")
    return round(sum(len(block.get("reasoning", "")) for block in blocks) / CHARACTERS_PER_TOKEN), False


def chat_savings(rows: Sequence[Row], chat: ChatQwen3) -> str:
    """Ask every question with thinking on, and return the thinking tokens that the rule would have saved."""
    tokens, counted = np.zeros(len(rows)), 0
    for place, row in enumerate(rows):
        tokens[place], by_server = reasoning_tokens(chat.invoke(messages(row)))
        counted += by_server
        print(f"{place + 1}/{len(rows)}: {tokens[place]:.0f} thinking tokens")
    off = np.array([not auto(row) for row in rows])
    right_off = off & np.array([not row["thinking"] for row in rows])
    picks = np.random.default_rng(0).integers(len(rows), size=(RESAMPLES, len(rows)))
    sums = tokens[picks].sum(axis=1)
    low, high = np.percentile((tokens * off)[picks].sum(axis=1) / np.maximum(sums, 1), [2.5, 97.5])
    total = max(tokens.sum(), 1)
    return (
        f"## Thinking tokens on {chat.model_name}\n\n"
        f"Server: {chat.server}. Always on, the {len(rows)} questions took {tokens.sum():,.0f} thinking tokens "
        f"(median {np.median(tokens):,.0f}, most {tokens.max():,.0f}); {counted} answers were counted by the server, "
        f"the others by characters / {CHARACTERS_PER_TOKEN}. The rule sends {off.sum()} of them without thinking, "
        f"which saves {tokens[off].sum():,.0f} tokens, {tokens[off].sum() / total:.0%} [{low:.0%}, {high:.0%}] of all "
        f"({tokens[right_off].sum():,.0f} of them on questions labelled as not worth it). The interval is a 95% "
        f"percentile bootstrap over questions ({RESAMPLES} resamples).\n"
    )


def xquad(folder: Path) -> str:
    """Return how often the rule thinks about XQuAD's questions, each with its paragraph between two others."""
    lines = []
    for language in ("en", "zh"):
        articles = json.loads((folder / f"xquad.{language}.json").read_text("utf-8"))["data"]
        said = []
        for article in articles:
            paragraphs = [paragraph["context"] for paragraph in article["paragraphs"]]
            for place, paragraph in enumerate(article["paragraphs"]):
                around = "\n\n".join(
                    (paragraphs[place - 1], paragraphs[place], paragraphs[(place + 1) % len(paragraphs)])
                )
                said += [auto({"question": asked["question"], "context": around}) for asked in paragraph["qas"]]
        lines.append([f"XQuAD {language}", share(sum(said), len(said))])
    return (
        "## Look-ups that others wrote\n\nXQuAD's questions are answered by one span of a paragraph, so a rule should "
        "seldom think about them; a few do compare or count. Some were read while the rule was written, and its "
        f"thresholds were checked against them.\n\n{table(['questions', 'share that thinks'], lines)}\n"
    )


INTRODUCTION = """\
# When `enable_thinking="auto"` thinks

Written by `benchmarks/adaptive_thinking.py` on {date}; the rule's fingerprint is `{fingerprint}`. Brackets are 95%
Wilson intervals. Questions and labels are this project's own (`{data}`): {count} in English, Chinese, German and
Spanish, chosen to be hard both ways, so that real traffic, with more plain look-ups, is easier. A label says whether
deeper reasoning pays, in the judgement of who wrote the question, before there was a rule; no model was asked.
{protocol}

The baselines run beside it: always, never, and thinking about questions of {limit} characters, the best such
threshold on the development questions.
"""

PROTOCOL = """The rule was written on the 60 questions of `adaptive_thinking_dev.jsonl`, on some 400 more that its
author made up, and on those of XQuAD and of `faq_questions.jsonl`. The questions reported here were not looked at
before, and were evaluated once, with the finished rule. How prompts are taken apart was mended once since (a removed
tag leaves a space); no verdict on these questions changed."""


def fingerprint() -> str:
    """Return a short hash of the rule's sources, by which to tell whether it has changed since."""
    modules = (adaptive, words, prompts)
    return hashlib.sha256(b"".join(Path(str(module.__file__)).read_bytes() for module in modules)).hexdigest()[:12]


def report(args: argparse.Namespace) -> str:
    """Evaluate everything that was asked for."""
    rows = read(args.data)
    length, limit, side = by_length(read(HERE / "adaptive_thinking_dev.jsonl"))
    rules: dict[str, Rule] = {
        "auto": auto,
        "always": lambda _: True,
        "never": lambda _: False,
        f"{side} than {limit} characters" if side == "more" else f"{side} {limit} characters": length,
    }
    head = INTRODUCTION.format(
        date=datetime.datetime.now(tz=datetime.timezone.utc).date(),
        fingerprint=fingerprint(),
        data=args.data.name,
        count=len(rows),
        protocol=PROTOCOL if "test" in args.data.name else "",
        limit=f"{'more than' if side == 'more' else 'at most'} {limit}",
    )
    parts = [
        head,
        accuracy(rows, rules) + "\n",
        f"## What it saves\n\n{savings(rows)}",
        f"## Kinds of question\n\n{groups(rows, lambda row: row['kind'], 'kind')}\n",
        f"## Signals\n\nThe one that decided.\n\n{groups(rows, signal, 'signal')}\n",
        f"## Script\n\n{groups(rows, script, 'question in')}\n",
        f"## Speed\n\n{ROUNDS} rounds in turn with the JSON.\n\n{speed(rows)}\n",
    ]
    if args.chat:
        chat = ChatQwen3(model=args.model, base_url=args.chat, server=args.server, enable_thinking=True)
        parts.insert(3, chat_savings(rows, chat))
    else:
        parts[2] += "\nCalls, not tokens: no server was asked. `--chat URL --model NAME` counts tokens.\n"
    if args.xquad:
        parts.append(xquad(args.xquad))
    return "\n".join(parts)


def main() -> None:
    """Write the report and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=HERE / "adaptive_thinking_test.jsonl", help="labelled questions")
    parser.add_argument("--chat", help="base URL of a chat server, up to and including /v1")
    parser.add_argument("--model", default="qwen3-8b", help="the server's name for the model")
    parser.add_argument("--server", default="auto", help="the server's word, such as vllm")
    parser.add_argument("--xquad", type=Path, help="folder with xquad.en.json and xquad.zh.json")
    parser.add_argument("--out", type=Path, default=HERE / "adaptive_thinking.md")
    args = parser.parse_args()
    text = report(args)
    args.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
