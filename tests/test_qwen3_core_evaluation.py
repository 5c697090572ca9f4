"""Runs, measures against values worked out by hand, intervals, and the report."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_core.evaluation import Clock, Dataset, Result, System, evaluate, search_all
from qwen3_core.evaluation.measures import check_cutoffs, interval, measure, require_extra
from qwen3_core.evaluation.report import Report
from qwen3_core.evaluation.systems import Stage, peak_mib

pytest.importorskip("ir_measures")

DOCUMENTS = {f"d{number}": f"text {number}" for number in range(5)}
DATASET = Dataset.make(
    "hand-made",
    DOCUMENTS,
    {"q1": "one", "q2": "two", "q3": "three"},
    {"q1": {"d0": 1, "d1": 3}, "q2": {"d2": 1, "d3": 0}, "q3": {"d4": 1}},
)
RUN = {"q1": ["d0", "d4", "d1"], "q2": ["d3", "d2"]}


def test_measures_are_those_of_trec() -> None:
    values = measure(DATASET, RUN, [1, 3])
    best = 3 + 1 / math.log2(3)
    assert values["nDCG@10"] == pytest.approx([(1 + 3 / 2) / best, 1 / math.log2(3), 0])
    assert values["Recall@1"] == pytest.approx([0.5, 0, 0])
    assert values["Recall@3"] == pytest.approx([1, 1, 0])
    assert values["MRR"] == pytest.approx([1, 0.5, 0])
    assert list(values) == ["nDCG@10", "Recall@1", "Recall@3", "MRR"]


@given(st.lists(st.permutations(list(DOCUMENTS)), min_size=3, max_size=3))
def test_a_better_place_is_never_worse(orders: list[list[str]]) -> None:
    run = dict(zip(DATASET.queries, orders, strict=True))
    before = measure(DATASET, run, [1, 5])
    better = {query: sorted(ids, key=lambda id_: -DATASET.judgements[query].get(id_, 0)) for query, ids in run.items()}
    after = measure(DATASET, better, [1, 5])
    for name in before:
        assert all(0 <= a <= b + 1e-12 <= 1 + 1e-9 for a, b in zip(before[name], after[name], strict=True))
    assert after["MRR"] == [1, 1, 1]
    assert after["Recall@5"] == [1, 1, 1]


def test_intervals() -> None:
    values = [0.0, 1.0] * 50
    found = interval(values)
    assert found.mean == 0.5
    # A mean of 100 coins: 1.96 * 0.5 / 10 on either side.
    assert found.low == pytest.approx(0.402, abs=0.02)
    assert found.high == pytest.approx(0.598, abs=0.02)
    assert interval(values) == found, "the same values give the same interval"
    assert interval([0.3]) == interval([0.3, 0.3])
    assert interval([0.3]).low == interval([0.3]).high == 0.3


def test_each_first_stage_runs_once_and_reranking_keeps_the_rest() -> None:
    asked = []

    def search(query: str) -> Sequence[str]:
        asked.append(query)
        return ["d4", "d3", "d2", "d1", "d0"] if query != "three" else []

    seen = []

    def rerank(query: str, candidates: Sequence[str]) -> Sequence[str]:
        seen.append((query, list(candidates)))
        return list(reversed(candidates))

    told: list[tuple[str, int, int]] = []
    clock = Clock()
    systems = System.parse("dense+rerank, dense,dense", reranker=True)
    runs = search_all(DATASET, systems, {"dense": search}, clock=clock, progress=lambda *step: told.append(step))
    results = evaluate(
        DATASET, systems, runs, rerank,
        cutoffs=[1, 4, 5], fetch_k=4, clock=clock, progress=lambda *step: told.append(step),
    )  # fmt: skip
    assert asked == ["one", "two", "three"]
    assert seen == [("one", ["d4", "d3", "d2", "d1"]), ("two", ["d4", "d3", "d2", "d1"])]
    reranked, plain = results
    assert [result.system for result in results] == ["dense+rerank", "dense"]
    assert reranked.values["Recall@1"] == [0.5, 0, 0]
    assert reranked.values["Recall@4"] == [0.5, 1, 0]
    assert reranked.values["Recall@5"] == [1, 1, 0]
    assert plain.values["Recall@1"] == [0, 0, 0]
    assert [stage.name for stage in clock.stages] == ["search: dense", "rerank: dense"]
    assert reranked.search_seconds == plain.search_seconds == clock.stages[0].seconds
    assert plain.rerank_seconds == 0 < reranked.rerank_seconds
    assert told == [(name, done, 3) for name in ("dense", "dense+rerank") for done in (1, 2, 3)]


def test_names_of_systems() -> None:
    named = [system.name for system in System.parse("all", reranker=True)]
    assert named == ["dense", "dense+rerank", "bm25", "bm25+rerank", "hybrid", "hybrid+rerank"]
    assert [system.name for system in System.parse("all", reranker=False)] == ["dense", "bm25", "hybrid"]
    with pytest.raises(ValueError, match=r"unknown system 'sparse': write all, or some of dense, dense\+rerank"):
        System.parse("dense,sparse", reranker=True)
    with pytest.raises(ValueError, match="no system is named"):
        System.parse(" ,", reranker=True)
    with pytest.raises(ValueError, match=r"name one \(--reranker\), or leave the system out"):
        System.parse("bm25+rerank", reranker=False)
    with pytest.raises(ValueError, match=r"dense\+rerank needs a reranker"):
        evaluate(DATASET, System.parse("dense+rerank", reranker=True), {"dense": {}}, clock=Clock())


@pytest.mark.parametrize("cutoffs", [[], [0], [10, 101]])
def test_numbers_that_rankings_do_not_reach(cutoffs: list[int]) -> None:
    with pytest.raises(ValueError, match="name numbers from 1 to 100"):
        check_cutoffs(cutoffs)


def test_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    require_extra()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "scipy" else object())
    with pytest.raises(ImportError, match=r'needs scipy: pip install "qwen3-rag\[evaluation\]"'):
        require_extra()


def test_peak_memory_only_grows() -> None:
    pytest.importorskip("resource")
    before = peak_mib()
    block = b"x" * (64 * 2**20)
    after = peak_mib()
    assert before is not None
    assert after is not None
    assert 10 < before <= after < 2**20
    assert len(block)


REPORT = Report(
    Dataset(DATASET.name, DATASET.documents, DATASET.queries, DATASET.judgements, ("one thing was left out",)),
    {"embedding": "mini", "instruction": "Find | it"},
    [
        Result("dense", {"nDCG@10": [0.0, 0.5, 1.0], "MRR": [1.0, 1.0, 1.0]}, 0.3),
        Result("dense+rerank", {"nDCG@10": [0.5, 0.5, 1.0], "MRR": [1.0, 1.0, 1.0]}, 0.3, 1.5),
    ],
    [Stage("search: dense", 0.3, 812.4), Stage("rerank: dense", 1.5, None)],
)


def test_report(tmp_path: Path) -> None:
    paths = REPORT.write(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["report.md", "report.json", "chart.png"]
    text = paths[0].read_text(encoding="utf-8")
    assert "5 documents, 3 queries.\n\nNote: one thing was left out." in text
    assert "| dense | 0.500 [0.000, 1.000] | 1.000 | 100.0 | 0.0 |" in text
    assert "| dense+rerank - dense | 0.167 [0.000, 0.500] | 0.000 |" in text
    assert "- dense+rerank instead of dense: cannot be told with 3 questions, it needs about " in text
    assert [verdict.difference for verdict in REPORT.verdicts] == [
        REPORT.differences["dense+rerank - dense"]["nDCG@10"]
    ]
    assert "| search: dense | 0.30 | 812 |\n| rerank: dense | 1.50 |  |" in text
    data = json.loads(paths[1].read_text(encoding="utf-8"))
    assert data["dataset"]["queries"] == ["q1", "q2", "q3"]
    assert data["systems"][1]["measures"]["nDCG@10"]["per_query"] == [0.5, 0.5, 1.0]
    assert data["systems"][1]["measures"]["nDCG@10"]["mean"] == pytest.approx(2 / 3)
    assert data["differences"]["dense+rerank - dense"]["MRR"] == {"mean": 0, "low": 0, "high": 0}
    assert paths[2].read_bytes().startswith(b"\x89PNG")


def test_the_same_results_give_the_same_files(tmp_path: Path) -> None:
    first, second = REPORT.write(tmp_path / "a"), REPORT.write(tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
