"""Check the published numbers of Qwen3-Embedding-0.6B and Qwen3-Reranker-0.6B with this project's own engines.

Needs the weights: `make verify-weights MODELS=hub`, or a folder that holds `Qwen3-Embedding-0.6B` and
`Qwen3-Reranker-0.6B` (or `embedding` and `reranker`). FAQ names the folder `site/en/faq` of milvus-docs
v2.4.6-preview, for the tutorial's scores. `--mteb NAME` also runs a benchmark of the `mteb` package, which takes hours
and its data from the hub. Ends with 0 if all values agree, with 1 if one does not, and with 0 and a reason if no models
are named.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen3_core import LocalEmbedder, LocalReranker

# The model card's example, "Transformers Usage" of Qwen/Qwen3-Embedding-0.6B.
CARD_QUERIES = ("What is the capital of China?", "Explain gravity")
CARD_DOCUMENTS = (
    "The capital of China is Beijing.",
    "Gravity is a force that attracts two bodies towards each other. It gives weight to physical objects and is "
    "responsible for the movement of planets around the sun.",
)
CARD_COSINES = ((0.7645568251609802, 0.14142508804798126), (0.13549736142158508, 0.5999549627304077))

# sentence-transformers, tests/cross_encoder/test_model.py: log-odds of the 0.6B reranker in float32.
PLANET_QUERY = "Which planet is known as the Red Planet?"
PLANETS = (
    ("Venus is often called Earth's twin because of its similar size and proximity.", -3.109298),
    ("Mars, known for its reddish appearance, is often referred to as the Red Planet.", 7.120390),
    ("Jupiter, the largest planet in our solar system, has a prominent red spot.", -0.378755),
    ("Saturn, famous for its rings, is sometimes mistaken for the Red Planet.", 3.541637),
)

# milvus.io/blog/hands-on-rag-with-qwen3-embedding-and-reranking-models-using-milvus.md: the FAQ cut at "# ".
FAQ_QUESTION = "How is data stored in milvus?"
FAQ_COSINES = (
    ("Where does Milvus store data?", 0.8306853175163269),
    ("How does Milvus flush data?", 0.7302717566490173),
    ("How does Milvus handle vector data types and precision?", 0.7003671526908875),
)
FAQ_SCORES = (
    ("Where does Milvus store data?", 0.9997891783714294),
    ("How does Milvus flush data?", 0.9989748001098633),
    ("Does the query perform in memory? What are incremental data and historical data?", 0.9984032511711121),
)
FAQ_CANDIDATES = 10

# README of QwenLM/Qwen3-Embedding at f4ad0c4, mean over tasks.
PUBLISHED = {
    "MTEB(Multilingual, v1)": {"0.6B": 64.33, "4B": 69.45, "8B": 70.58},
    "MTEB(eng, v2)": {"0.6B": 70.70, "4B": 74.60, "8B": 75.22},
    "MTEB(cmn, v1)": {"0.6B": 66.33, "4B": 72.27, "8B": 73.84},
}

COSINE, PROBABILITY, MEAN = 1e-3, 1e-3, 0.5
EMBEDDING, RERANKER = "Qwen3-Embedding-{size}", "Qwen3-Reranker-{size}"


@dataclass(frozen=True)
class Check:
    """A value that was published and the one found here; `instead` says what stands in its place, if something does."""

    name: str
    published: float
    found: float
    tolerance: float
    instead: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether they are the same within the tolerance; a value that is no number never is."""
        return self.instead is None and abs(self.published - self.found) <= self.tolerance

    def __str__(self) -> str:
        """Show both."""
        word = "ok" if self.agrees else "DIFFERS"
        here = f"{self.found:.4f} (+-{self.tolerance:g})"
        if self.instead is not None:
            here = f"{self.instead!r} with {self.found:.4f}"
        return f"{word:8}{self.name}: published {self.published:.4f}, here {here}"


def card(embedder: LocalEmbedder) -> Iterator[Check]:
    """Check the cosines of the model card."""
    documents = embedder.embed_documents(CARD_DOCUMENTS)
    for query, row in zip(CARD_QUERIES, CARD_COSINES, strict=True):
        vector = embedder.embed_query(query)
        for text, document, published in zip(CARD_DOCUMENTS, documents, row, strict=True):
            yield Check(f"card, {query!r} and {text[:24]!r}", published, cosine(vector, document), COSINE)


def planets(reranker: LocalReranker) -> Iterator[Check]:
    """Check the four planets, as probabilities."""
    scores = reranker.score(PLANET_QUERY, [text for text, _ in PLANETS])
    for (text, log_odds), score in zip(PLANETS, scores, strict=True):
        yield Check(f"planets, {text.split()[0].strip(',')}", 1 / (1 + math.exp(-log_odds)), score, PROBABILITY)


def faq(folder: Path, embedder: LocalEmbedder, reranker: LocalReranker) -> Iterator[Check]:
    """Check the tutorial's first three by vector, and its first three after reranking ten."""
    chunks = [chunk for path in sorted(folder.glob("*.md")) for chunk in path.read_text("utf-8").split("# ")]
    if not chunks:
        msg = f"{folder} holds no Markdown files: name the folder site/en/faq of milvus-docs v2.4.6-preview"
        raise ValueError(msg)
    vector = embedder.embed_query(FAQ_QUESTION)
    cosines = [cosine(vector, each) for each in embedder.embed_documents(chunks)]
    order = sorted(range(len(chunks)), key=lambda place: -cosines[place])[:FAQ_CANDIDATES]
    yield from ranked("tutorial by vector", FAQ_COSINES, [(chunks[i], cosines[i]) for i in order], COSINE)
    scores = reranker.score(FAQ_QUESTION, [chunks[i] for i in order])
    best = sorted(zip((chunks[i] for i in order), scores, strict=True), key=lambda pair: -pair[1])
    yield from ranked("tutorial after reranking", FAQ_SCORES, best, PROBABILITY)


def ranked(
    name: str, published: Sequence[tuple[str, float]], found: Sequence[tuple[str, float]], tolerance: float
) -> Iterator[Check]:
    """Compare the first of a ranking: the same chunks with the same values, in the same places."""
    for place, (heading, value) in enumerate(published):
        chunk, score = found[place] if place < len(found) else ("nothing", math.nan)
        other = None if chunk.strip().startswith(heading) else chunk.strip()[:40]
        yield Check(f"{name}, {place + 1}. {heading[:40]!r}", value, score, tolerance, other)


def cosine(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the product of two unit vectors."""
    return math.fsum(a * b for a, b in zip(first, second, strict=True))


def benchmark(model: Any, tasks: Iterable[Any], name: str, published: float, cache: Path) -> Iterator[Check]:
    """Run tasks of mteb and compare the mean of their main scores, in percent; finished tasks are kept in `cache`."""
    import mteb

    results = mteb.evaluate(model, list(tasks), cache=mteb.ResultCache(cache_path=cache)).task_results
    for result in results:
        print(f"        {result.task_name}: {100 * result.get_score():.2f}")
    yield Check(f"{name}, mean of {len(results)} tasks", published, _mean(results), MEAN)


def _mean(results: Sequence[Any]) -> float:
    return 100 * math.fsum(result.get_score() for result in results) / len(results) if results else math.nan


def published_benchmark(args: argparse.Namespace, embedder: LocalEmbedder) -> Iterator[Check]:
    """Run the benchmark that the options name."""
    import mteb

    from qwen3_core.evaluation.mteb import MtebEmbedder

    instructions: Mapping[str, Any] = json.loads(args.instructions.read_text("utf-8")) if args.instructions else {}
    model = MtebEmbedder.of(embedder, instructions=instructions)
    tasks = mteb.get_benchmark(args.mteb).tasks
    yield from benchmark(model, tasks, args.mteb, PUBLISHED[args.mteb][args.size], args.cache)


def find(models: str, name: str, short: str) -> str:
    """Return what to load: the name on the hub, or the model's folder in a folder.

    Raises:
        ValueError: The folder holds no such model.
    """
    if models == "hub":
        return f"Qwen/{name}"
    for folder in (Path(models) / name, Path(models) / short):
        if (folder / "config.json").exists():
            return str(folder)
    msg = f"{models} holds neither {name} nor {short} with a config.json: name the folder of both models, or hub"
    raise ValueError(msg)


def checks(args: argparse.Namespace) -> Iterator[Check]:
    """Yield everything that can be checked with what the options name."""
    embedder = LocalEmbedder(find(args.models, EMBEDDING.format(size=args.size), "embedding"), dtype=args.dtype)
    if args.size == "0.6B":
        reranker = LocalReranker(find(args.models, RERANKER.format(size=args.size), "reranker"), dtype=args.dtype)
        yield from card(embedder)
        yield from planets(reranker)
        if args.faq:
            yield from faq(args.faq, embedder, reranker)
        else:
            print("not checked: the tutorial's scores, which need FAQ=site/en/faq of milvus-docs v2.4.6-preview")
    if args.mteb:
        yield from published_benchmark(args, embedder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print each check and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="", help="hub, or the folder of the models")
    parser.add_argument("--size", choices=["0.6B", "4B", "8B"], default="0.6B", help="only 0.6B has single values")
    parser.add_argument("--dtype", default="float32", help="what the values were published in")
    parser.add_argument("--faq", type=Path, help="the FAQ's Markdown files")
    parser.add_argument("--mteb", choices=list(PUBLISHED), help="a benchmark to run as well")
    parser.add_argument("--instructions", type=Path, help="evaluation/task_prompts.json of QwenLM/Qwen3-Embedding")
    parser.add_argument("--cache", type=Path, default=Path(".mteb"), help="where finished tasks are kept")
    args = parser.parse_args(arguments)
    if not args.models:
        print("nothing was checked: name the weights with MODELS=hub, or MODELS=folder of both models")
        return 0
    try:
        found = []
        for check in checks(args):
            print(check, flush=True)
            found.append(check)
    except (OSError, ValueError) as error:
        print(f"error: {error}")
        return 1
    wrong = sum(not check.agrees for check in found)
    print(f"{wrong} of {len(found)} values differ" if wrong else f"all {len(found)} values agree")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
