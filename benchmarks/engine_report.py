"""The report of the engine benchmark: tables, goals and a chart."""

from __future__ import annotations

import math
import os
import platform
import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

if TYPE_CHECKING:
    from engine import Bench, Results, Row

REPORT = Path(__file__).with_name("results.md")
CHART = Path(__file__).with_name("results.png")
BASE, INT8 = "ours, bf16", "ours, int8"
LOOP, SENTENCE = "tutorial's loop", "sentence-transformers"
PACKAGES = (
    *("torch", "transformers", "sentence-transformers", "llama-cpp-python", "onnxruntime", "openvino"),
    *("langchain-core", "llama-index-core", "milvus-lite"),
)


@dataclass(frozen=True)
class Goal:
    """What the engine should reach, and what it did."""

    name: str
    wanted: float
    found: float
    at_most: bool = False

    def cells(self) -> list[str]:
        """Return the row of the table."""
        met = self.found <= self.wanted if self.at_most else self.found >= self.wanted
        if math.isnan(self.found):
            return [self.name, f"{self.wanted:g}", "not measured", ""]
        return [self.name, f"{self.wanted:g}", f"{self.found:.2f}", "yes" if met else "**no**"]


def goals(results: Results) -> Iterator[Goal]:
    """Yield the goals that were measured."""
    rows = {row.task.name: row for row in results.rows}
    names = {column.name for column in results.columns}
    ten, hundred, thousand = (rows.get(name) for name in ("rerank 10", "rerank 100", "1,000 passages"))
    if ten and {LOOP, SENTENCE} <= names:
        yield Goal("rerank 10, bf16, times as fast as the tutorial's loop", 3.4, ten.times(LOOP, BASE))
        yield Goal("rerank 10, bf16, times as fast as sentence-transformers", 2.6, ten.times(SENTENCE, BASE))
        yield Goal("rerank 10, int8, times as fast as the tutorial's loop", 5.5, ten.times(LOOP, INT8))
        yield Goal("rerank 10, int8, times as fast as sentence-transformers", 4.2, ten.times(SENTENCE, INT8))
    if hundred:
        yield Goal("rerank 100, bf16, part of the machine's peak", 0.80, hundred.share(BASE, "bf16"))
    if thousand:
        yield Goal("embed 1,000 passages, bf16, part of the machine's peak", 0.80, thousand.share(BASE, "bf16"))
    if thousand and SENTENCE in names:
        yield Goal("embed 1,000, bf16, times as fast as sentence-transformers", 1.3, thousand.times(SENTENCE, BASE))
        yield Goal("embed 1,000, int8, times as fast as sentence-transformers", 2.2, thousand.times(SENTENCE, INT8))
    if query := rows.get("one query"):
        reading = [a / b for a, b in zip(query.seconds[BASE], query.reading, strict=True)]
        yield Goal(
            "one query, bf16, times as long as reading the weights", 1.5, statistics.median(reading), at_most=True
        )
    share = next(
        (column.facts.get("share of forward passes") for column in results.columns if column.name == BASE), None
    )
    if isinstance(share, float):
        yield Goal("indexing, bf16, part of the time in forward passes", 0.95, share)
    yield Goal("the adapter that adds most to a call, ms", 1, max(results.overheads.values()), at_most=True)


def cell(row: Row, name: str) -> str:
    """Return seconds and how they compare to ours."""
    seconds = row.total(name)
    if math.isnan(seconds):
        return "-"
    about = "~" if name in row.sampled else ""
    shown = f"{about}{seconds:.3f}" if seconds < 1 else f"{about}{seconds:.1f}"
    return shown if name == BASE else f"{shown} ({row.times(name, BASE):.2f})"


def engine_table(results: Results) -> str:
    """Return a line for each engine, a column for each task."""
    lines = [[column.name, *(cell(row, column.name) for row in results.rows)] for column in results.columns]
    lines += [[f"floor, {each}", *(f"{row.floor(each):.3g}" for row in results.rows)] for each in ("bf16", "int8")]
    return tabulate(
        lines, headers=["seconds (to ours, bf16)", *(row.task.name for row in results.rows)], tablefmt="github"
    )


def share_table(results: Results) -> str:
    """Return which part of the peak ours reaches."""
    pairs = {"ours, bf16": "bf16", "ours, fp32": "fp32", "ours, int8": "int8"}
    known = [column.name for column in results.columns if column.name in pairs]
    lines = [[name, *(f"{row.share(name, pairs[name]):.2f}" for row in results.rows)] for name in known]
    return tabulate(lines, headers=["part of the peak", *(row.task.name for row in results.rows)], tablefmt="github")


def start_table(results: Results) -> str:
    """Return what starting costs."""
    lines = []
    for column in results.columns:
        facts = column.facts
        first, memory = facts.get("embed: first result"), facts.get("embed: memory")
        lines.append([
            column.name,
            "" if first is None else f"{first:.1f}",
            "" if memory is None else f"{float(memory) / 2**30:.1f}",
            facts.get("embed: batch", ""),
            facts.get("rerank: batch", ""),
        ])  # fmt: skip
    head = ["", "s to the first vector", "GiB at most until then", "batch, embed", "batch, rerank"]
    return tabulate(lines, headers=head, tablefmt="github")


def growth_table(results: Results) -> str:
    """Return tokens per second for growing numbers of texts."""
    lines = [
        [task.name, f"{tokens:,}", f"{seconds:.2f}", f"{tokens / seconds:,.0f}"]
        for task, tokens, seconds in results.growth
    ]
    return tabulate(lines, headers=["ours, bf16", "tokens", "s", "tokens/s"], tablefmt="github", disable_numparse=True)


def failures(results: Results) -> str:
    """Return what did not work."""
    found = [f"- {each.name}, {task}: {why}" for each in results.columns for task, why in each.failed.items()]
    return "Not measured:\n\n" + "\n".join(found) if found else ""


def machine(results: Results) -> str:
    """Return what was measured on, with which packages."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        found = None
    name = found[1] if found else platform.processor() or platform.machine()
    peaks = ", ".join(f"{kind} {2e-9 * statistics.median(each):,.0f}" for kind, each in results.peaks.items())
    reads = f", memory read at {statistics.median(results.reads) / 1e9:.0f} GB/s" if results.reads else ""
    return f"""{name}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {", ".join(versions())}.
Peaks of the machine in this run, in 10⁹ operations a second: {peaks}{reads} (medians; the machine is shared)."""


def versions() -> Iterator[str]:
    """Yield packages and their versions."""
    for name in PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"no {name}"


def report(results: Results, bench: Bench) -> str:
    """Return the report as markdown."""
    tokens = ", ".join(f"{row.task.name}: {bench.costs.tokens(row.task):,}" for row in results.rows)
    one, many = (results.callers.get(count, float("nan")) for count in (1, 8))
    added = tabulate(
        [[name, f"{value:.2f}"] for name, value in results.overheads.items()], headers=["", "ms"], tablefmt="github"
    )
    wanted = tabulate(
        [goal.cells() for goal in goals(results)],
        headers=["goal", "wanted", "measured", "met"],
        tablefmt="github",
        disable_numparse=True,
    )
    return f"""# The engine beside others

Written by `benchmarks/engine.py` ({bench.turns} turns, {bench.cell_seconds:g} s a cell) on {machine(results)}

Random weights in the exact shape of Qwen3-0.6B, the genuine tokenizer, each engine in a process of its own, all taking
turns. "(2.00)" is twice as long as ours in bf16: the median of the ratios within a turn. "~" was run on texts of all
lengths that fit the time of a cell, and scaled by tokens. Engines that have a batch size run at their best.
Tokens without padding: {tokens}.

{engine_table(results)}

![times as long as ours](results.png)

The floor is the multiply-adds that a task strictly needs at this machine's own peak: the fastest product of 1,024
tokens and 4,096 x 4,096 weights, measured beside each turn. Each weight counts once for each token, attention counts
the products with what a token may see, the last layer counts keys and values of all tokens and the rest for the last
one, and what all documents of a query have in front of them counts once; norms, softmax and the like count nothing.
Ours keeps the keys and values of the instruction from call to call, which counts as if it were computed again. Where
the rest of the time goes, and what was tried: [engine_profile.md](engine_profile.md).

{share_table(results)}

{wanted}

## Start and memory

{start_table(results)}

## Growth

{growth_table(results)}

One caller embeds {one:.1f} queries a second, eight threads together {many:.1f}: {many / one:.2f} times as many, because
those that wait are computed together.

## What adapters add to a call of the engine

{added}

{failures(results)}
"""


def draw(results: Results, chart: Path) -> None:
    """Draw how many times as long as ours each engine takes."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    shown = [row for row in results.rows if row.task.name in {"rerank 10", "1,000 passages", "one query"}]
    names = [column.name for column in results.columns][::-1]
    figure, axes = plt.subplots(figsize=(8, 0.45 * len(names) + 1.5))
    height = 0.8 / max(len(shown), 1)
    for number, row in enumerate(shown):
        places = [place + number * height for place in range(len(names))]
        axes.barh(places, [row.times(name, BASE) for name in names], height, label=row.task.name)
    axes.set_yticks([place + 0.4 - height / 2 for place in range(len(names))], names)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("times as long as ours in bf16 (shorter is faster)")
    axes.legend()
    figure.tight_layout()
    figure.savefig(chart, dpi=110)
