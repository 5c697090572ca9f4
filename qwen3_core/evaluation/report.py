"""The report of an evaluation: a table for people, JSON for programs, and a chart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from qwen3_core.evaluation.dataset import Dataset
from qwen3_core.evaluation.measures import CONFIDENCE, DEPTH, RESAMPLES, Interval, interval
from qwen3_core.evaluation.systems import RERANKED, Result, Stage
from qwen3_core.evaluation.verdict import Verdict, paired, verdict

TABLE, DATA, CHART = "report.md", "report.json", "chart.png"

_BASELINES = {"hybrid": "dense", "dense": "bm25"}


@dataclass(frozen=True)
class Report:
    """Everything that an evaluation found.

    Attributes:
        dataset: What it ran on.
        settings: Models, instruction and the like, by name.
        results: One for each system.
        stages: What each part of the work took, in order.
    """

    dataset: Dataset
    settings: Mapping[str, str]
    results: Sequence[Result]
    stages: Sequence[Stage]

    # Kept: 10,000 resamples each, and the table, the data and the chart all ask.
    @cached_property
    def intervals(self) -> dict[str, dict[str, Interval]]:
        """Each system's measures: means with their intervals."""
        return {
            result.system: {name: interval(values) for name, values in result.values.items()} for result in self.results
        }

    @cached_property
    def differences(self) -> dict[str, dict[str, Interval]]:
        """How much a system is above another, paired by query: with reranking and without, hybrid, dense and BM25."""
        return {
            f"{after.system} - {before.system}": {
                name: paired(values, before.values[name]) for name, values in after.values.items()
            }
            for after, before in self._pairs()
        }

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """Whether going from one of these systems to the other pays, by nDCG@10."""
        return [verdict(f"{after.system} instead of {before.system}", before, after) for after, before in self._pairs()]

    def _pairs(self) -> Iterator[tuple[Result, Result]]:
        by_name = {result.system: result for result in self.results}
        for name, after in by_name.items():
            other = name.removesuffix(RERANKED) if name.endswith(RERANKED) else _BASELINES.get(name)
            if other in by_name:
                yield after, by_name[other]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "dataset": {
                "name": self.dataset.name,
                "documents": len(self.dataset.documents),
                "queries": list(self.dataset.queries),
                "notes": list(self.dataset.notes),
            },
            "settings": dict(self.settings),
            "confidence": CONFIDENCE,
            "systems": [
                {
                    "system": result.system,
                    "search_seconds": result.search_seconds,
                    "rerank_seconds": result.rerank_seconds,
                    "measures": {
                        name: {**asdict(found), "per_query": list(result.values[name])}
                        for name, found in self.intervals[result.system].items()
                    },
                }
                for result in self.results
            ],
            "differences": {
                name: {key: asdict(value) for key, value in found.items()} for name, found in self.differences.items()
            },
            "stages": [asdict(stage) for stage in self.stages],
        }

    def rows(self) -> Iterator[list[str]]:
        """Return the table of systems, the heading first."""
        queries = len(self.dataset.queries)
        yield ["system", *self.results[0].values, "search ms/query", "rerank ms/query"]
        for result in self.results:
            found = [shown(value) for value in self.intervals[result.system].values()]
            times = [f"{1000 * seconds / queries:.1f}" for seconds in (result.search_seconds, result.rerank_seconds)]
            yield [result.system, *found, *times]

    def to_markdown(self) -> str:
        """Return it as people read it."""
        parts = [
            f"# {self.dataset.name}",
            f"{len(self.dataset.documents)} documents, {len(self.dataset.queries)} queries.",
            *(f"Note: {note}." for note in self.dataset.notes),
            "\n".join(f"- {name}: {value}" for name, value in self.settings.items()),
            _markdown(list(self.rows())),
            f"Brackets are {CONFIDENCE:.0%} intervals over queries (percentile bootstrap, {RESAMPLES:,} resamples). "
            f"MRR is over the first {DEPTH} documents.",
        ]
        if self.differences:
            rows = [[name, *map(shown, found.values())] for name, found in self.differences.items()]
            parts += ["Differences, paired by query:", _markdown([["difference", *self.results[0].values], *rows])]
            parts.append("\n".join(f"- {each}" for each in self.verdicts))
        memory = [
            [stage.name, f"{stage.seconds:.2f}", "" if stage.peak_mib is None else f"{stage.peak_mib:.0f}"]
            for stage in self.stages
        ]
        parts.append(_markdown([["stage", "seconds", "peak memory so far, MiB"], *memory]))
        return "\n\n".join(parts) + "\n"

    def write(self, folder: Path) -> list[Path]:
        """Write the table, the data and the chart, and return where they are."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TABLE).write_text(self.to_markdown(), encoding="utf-8")
        (folder / DATA).write_text(json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        self._draw(folder / CHART)
        return [folder / name for name in (TABLE, DATA, CHART)]

    def _draw(self, path: Path) -> None:
        from matplotlib.figure import Figure  # without pyplot: no window, no global state

        found = self.intervals
        measures = list(self.results[0].values)
        width = 0.8 / len(found)
        figure = Figure(figsize=(2 + 1.6 * len(measures), 4), layout="constrained")
        axes = figure.subplots()
        for index, (system, values) in enumerate(found.items()):
            places = [place + (index - (len(found) - 1) / 2) * width for place in range(len(measures))]
            means = [value.mean for value in values.values()]
            # A bootstrap's limit can lie on the other side of the mean by rounding.
            below = [max(0.0, value.mean - value.low) for value in values.values()]
            above = [max(0.0, value.high - value.mean) for value in values.values()]
            axes.bar(places, means, width, yerr=[below, above], capsize=2, label=system)
        axes.set_xticks(range(len(measures)), measures)
        axes.set_ylim(0, 1.05)
        axes.set_title(f"{len(self.dataset.queries)} queries, {CONFIDENCE:.0%} intervals")
        figure.legend(loc="outside right upper")
        # Without the version: the same results give the same file.
        figure.savefig(path, dpi=120, metadata={"Software": None})


def shown(value: Interval) -> str:
    """Return a mean with its interval, if it has one."""
    if value.low == value.high:
        return f"{value.mean:.3f}"
    return f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
