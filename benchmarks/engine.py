"""Our engine beside what users would pick instead, on one checkpoint of Qwen3-0.6B's exact shape, and beside the floor.

Each engine has a process of its own and waits while the others compute. They take turns on the same texts, and ratios
are medians of the ratios within a turn: noise of the machine hits all of a turn alike. An engine that would need much
longer than ``--cell-seconds`` gets texts of all lengths that fit into it, and its time is scaled by tokens ("~").
Writes ``results.md`` and ``results.png``; ``--quick`` prints and writes nothing.

    python benchmarks/engine.py                       # most of an hour
    python benchmarks/engine.py --quick               # five minutes: three tasks, two peers
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine_checkpoint import CACHE, checkpoint
from engine_columns import OURS, Column, EngineError, ours
from engine_peers import PEERS, prepare
from engine_tasks import Costs, Machine, Task, growth_tasks, passages, tasks

BASE = "ours, bf16"
QUERIES = 32
CALLERS = 1, 8
QUICK_OURS, QUICK_PEERS = ("ours, bf16", "ours, int8"), ("tutorial's loop", "sentence-transformers")
QUICK_TASKS = "one query", "1,000 passages", "rerank 10"


@dataclass
class Row:
    """What was seen on one task.

    Attributes:
        task: What was asked for.
        seconds: Of each engine, one figure for each turn, scaled to the whole turn; nan where it failed.
        floors: Seconds that the multiply-adds of a turn take at the machine's peak, by its number format.
        reading: Seconds that reading all weights takes, for one query.
        sampled: Engines that ran part of the texts only.
    """

    task: Task
    seconds: dict[str, list[float]] = field(default_factory=dict)
    floors: dict[str, list[float]] = field(default_factory=dict)
    reading: list[float] = field(default_factory=list)
    sampled: set[str] = field(default_factory=set)

    def total(self, name: str) -> float:
        """Return the seconds that an engine takes for the task."""
        return sum(self.seconds[name]) if self.task.cut else statistics.median(self.seconds[name])

    def floor(self, number_format: str) -> float:
        """Return the seconds that the task takes at the machine's peak."""
        return sum(self.floors[number_format]) if self.task.cut else statistics.median(self.floors[number_format])

    def times(self, name: str, base: str) -> float:
        """Return how many times as long as `base` an engine takes, within a turn."""
        return statistics.median(a / b for a, b in zip(self.seconds[name], self.seconds[base], strict=True))

    def share(self, name: str, number_format: str) -> float:
        """Return which part of the machine's peak an engine reaches."""
        return statistics.median(a / b for a, b in zip(self.floors[number_format], self.seconds[name], strict=True))


@dataclass
class Results:
    """Everything that was seen."""

    columns: list[Column]
    rows: list[Row] = field(default_factory=list)
    peaks: dict[str, list[float]] = field(default_factory=dict)
    reads: list[float] = field(default_factory=list)
    growth: list[tuple[Task, int, float]] = field(default_factory=list)
    callers: dict[int, float] = field(default_factory=dict)
    overheads: dict[str, float] = field(default_factory=dict)


class Bench:
    """One run.

    Args:
        cache: Where checkpoints are kept.
        faq: The folder of the tutorial's FAQ, or None.
        formats: Names of our engine, each with a number format.
        peers: Names of other engines.
        turns: How often each task is measured.
        cell_seconds: What one engine may take for one turn.
    """

    def __init__(
        self,
        cache: Path,
        faq: Path | None,
        formats: Sequence[str],
        peers: Sequence[str],
        turns: int,
        cell_seconds: float,
    ) -> None:
        from qwen3_core.checkpoint import load_tokenizer
        from qwen3_core.tokens import TextTokenizer

        self.root = checkpoint(cache)
        prepare(self.root, peers)
        self.turns, self.cell_seconds = turns, cell_seconds
        self.costs = Costs(TextTokenizer(load_tokenizer(self.root / "embedding")))
        self.machine = Machine()
        columns = [Column(name, ours(**OURS[name])) for name in formats]
        self.results = Results([*columns, *(Column(name, PEERS[name]) for name in peers)])
        self.tasks = tasks(faq)
        self.speed: dict[tuple[str, str], float] = {}

    def run(self, growth: int, names: Sequence[str] | None = None) -> Results:
        """Measure everything.

        Args:
            growth: The most texts of the growth measurement.
            names: Tasks to measure; None is all.
        """
        chosen = [task for task in self.tasks if names is None or task.name in names]
        self._group("embed", [task for task in chosen if task.kind != "rerank"], growth)
        self._group("rerank", [task for task in chosen if task.kind == "rerank"], 0)
        return self.results

    def _group(self, kind: str, group: Sequence[Task], growth: int) -> None:
        sample = passages(8, 55, 0.6, seed=6)
        with contextlib.ExitStack() as stack:
            for column in self.results.columns:
                say(f"starting {column.name}")
                stack.enter_context(column.running(self.root, kind, sample))
                self._expect(column, kind, sample)
            for task in group:
                self.results.rows.append(self._row(task))
            if growth:
                base = next(column for column in self.results.columns if column.name == BASE)
                self._growth(base, growth)
                self._callers(base)

    def _expect(self, column: Column, kind: str, sample: Sequence[str]) -> None:
        """Take the speed on the sample as a first guess, from which the size of the first cell follows."""
        seconds = column.facts.get(f"{kind}: seconds of the sample")
        if isinstance(seconds, float):
            tokens = self.costs.tokens(Task("sample", "rerank" if kind == "rerank" else "embed", sample))
            for each in ("rerank",) if kind == "rerank" else ("embed", "index"):
                self.speed[column.name, each] = tokens / seconds

    def _row(self, task: Task) -> Row:
        row = Row(task, {column.name: [] for column in self.results.columns})
        parts = task.slices(self.turns) if task.cut else [task] * self.turns
        for turn, part in enumerate(parts):
            self._floors(row, part)
            columns = self.results.columns
            for column in columns[turn % len(columns) :] + columns[: turn % len(columns)]:
                row.seconds[column.name].append(self._cell(row, column, part))
                say(f"{task.name}, turn {turn + 1}, {column.name}: {row.seconds[column.name][-1]:.3f} s")
        return row

    def _cell(self, row: Row, column: Column, part: Task) -> float:
        tokens = self.costs.tokens(part)
        known = self.speed.get((column.name, part.kind))
        share = min(1.0, part.patience * self.cell_seconds * known / tokens) if known and len(part.texts) > 10 else 1.0
        mine = part.slices(1, share)[0] if share < 1 else part
        if len(mine.texts) < len(part.texts):
            row.sampled.add(column.name)
        seconds = statistics.median(column.run(mine) for _ in range(part.repeats))
        per_token = seconds / self.costs.tokens(mine)
        if len(part.texts) > 1 and seconds == seconds:
            self.speed[column.name, part.kind] = 1 / per_token
        return per_token * tokens

    def _floors(self, row: Row, part: Task) -> None:
        needed = self.costs.multiply_adds(part)
        for name in ("bf16", "fp32", "int8"):
            peak = self.machine.multiply_adds_per_second(name)
            self.results.peaks.setdefault(name, []).append(peak)
            row.floors.setdefault(name, []).append(needed / peak)
        if len(part.texts) == 1:
            self.results.reads.append(self.machine.bytes_per_second())
            row.reading.append(self.costs.weight_bytes() / self.results.reads[-1])

    def _growth(self, column: Column, most: int) -> None:
        for task in growth_tasks():
            if len(task.texts) <= most:
                seconds = column.run(task)
                self.results.growth.append((task, self.costs.tokens(task), seconds))
                say(f"{task.name}: {seconds:.1f} s")

    def _callers(self, column: Column) -> None:
        queries = passages(QUERIES, 12, 0.2, seed=7)
        found: dict[int, list[float]] = {}
        with contextlib.suppress(EngineError):
            for _ in range(self.turns + 1):
                for threads in CALLERS:
                    found.setdefault(threads, []).append(QUERIES / column.ask("callers", queries, threads))
        self.results.callers = {threads: statistics.median(each) for threads, each in found.items()}


def overheads(turns: int = 110) -> dict[str, float]:
    """Return the milliseconds that each adapter adds to a call of the engine, with the mini models."""
    from langchain_core.documents import Document
    from llama_index.core.schema import NodeWithScore, TextNode

    from langchain_qwen3 import Qwen3Embeddings, Qwen3Rerank
    from llamaindex_qwen3 import Qwen3Embedding
    from llamaindex_qwen3 import Qwen3Rerank as Qwen3NodeRerank
    from qwen3_core import LocalEmbedder, LocalReranker

    embedder, reranker = LocalEmbedder("mini"), LocalReranker("mini")
    query, texts = "Where is it?", [f"Text number {number} is here." for number in range(10)]
    documents = [Document(text) for text in texts]
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in texts]
    lang, llama = Qwen3Embeddings.from_embedder(embedder), Qwen3Embedding.from_embedder(embedder)
    lang_rerank, llama_rerank = Qwen3Rerank.from_reranker(reranker), Qwen3NodeRerank.from_reranker(reranker)
    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "LangChain `Qwen3Embeddings.embed_query`": (
            lambda: lang.embed_query(query),
            lambda: embedder.embed_query(query),
        ),
        "LlamaIndex `Qwen3Embedding.get_query_embedding`": (
            lambda: llama.get_query_embedding(query),
            lambda: embedder.embed_query(query),
        ),
        "LangChain `Qwen3Rerank.compress_documents`, 10 documents": (
            lambda: lang_rerank.compress_documents(documents, query),
            lambda: reranker.score(query, texts),
        ),
        "LlamaIndex `Qwen3Rerank.postprocess_nodes`, 10 nodes": (
            lambda: llama_rerank.postprocess_nodes(nodes, query_str=query),
            lambda: reranker.score(query, texts),
        ),
    }
    return {name: 1e3 * _added(adapter, engine, turns) for name, (adapter, engine) in pairs.items()}


def _added(adapter: Callable[[], Any], engine: Callable[[], Any], turns: int) -> float:
    import time

    found = []
    for turn in range(turns):
        seconds = []
        for call in (adapter, engine) if turn % 2 else (engine, adapter):
            started = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - started)
        first, second = seconds
        found.append(first - second if turn % 2 else second - first)
    return statistics.median(found[10:])


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Run all of it and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=CACHE, help="where checkpoints are kept, about 10 GB")
    parser.add_argument("--faq", type=Path, help="site/en/faq of the milvus-docs repository; own texts without it")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), help="other engines; all by default")
    parser.add_argument("--tasks", nargs="*", help="columns of the report; all by default")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--cell-seconds", type=float, default=20)
    parser.add_argument("--growth", type=int, default=10_000, help="the most texts of the growth measurement")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    from engine_report import CHART, REPORT, draw, report

    formats = list(OURS)
    if options.quick:
        options.turns, options.cell_seconds, options.growth = 1, 2, 100
        formats, options.tasks = list(QUICK_OURS), options.tasks or QUICK_TASKS
    peers = options.peers if options.peers is not None else QUICK_PEERS if options.quick else list(PEERS)
    bench = Bench(options.cache, options.faq, formats, peers, options.turns, options.cell_seconds)
    results = bench.run(options.growth, options.tasks)
    results.overheads = overheads(40 if options.quick else 110)
    text = report(results, bench)
    print(text)
    if not options.quick:
        REPORT.write_text(text, encoding="utf-8")
        draw(results, CHART)


if __name__ == "__main__":
    main()
