"""What a paired difference says: that a change pays, that it costs, or how many queries would tell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_core.evaluation import Result, verdict
from qwen3_core.evaluation.verdict import FEWEST, paired

pytest.importorskip("scipy")


def result(values: list[float], *, search: float = 0.0, rerank: float = 0.0) -> Result:
    return Result("one", {"nDCG@10": values}, search, rerank)


WORSE, BETTER = [0.5] * 15 + [1.0] * 5, [1.0] * 15 + [0.5] * 5


def test_what_pays_and_what_costs() -> None:
    pays = verdict("reranking", result(WORSE, search=0.2), result(BETTER, search=0.2, rerank=2.0))
    assert (pays.word, pays.more, pays.queries) == ("pays", 0, 20)
    assert pays.difference.mean == pytest.approx(0.25)
    assert pays.difference == paired(BETTER, WORSE)
    assert pays.milliseconds == pytest.approx(100)
    low, high = pays.difference.low, pays.difference.high
    assert str(pays) == f"reranking: pays; nDCG@10 +0.250 [{low:+.3f}, {high:+.3f}], +100 ms per query"
    costs = verdict("reranking", result(BETTER), result(WORSE))
    assert (costs.word, costs.more) == ("costs", 0)
    assert costs.milliseconds == 0


def test_how_many_more_would_tell() -> None:
    # A standard deviation of 1.0 (19 of 20 in the denominator: 1.02) around 0.2: (2.80 * 1.02 / 0.2)^2 = 204 in all.
    found = verdict("hybrid", result([0.0] * 20), result([1.2, -0.8] * 10))
    assert (found.word, found.more) == ("cannot be told", 190)
    assert "hybrid: cannot be told with 20 questions, it needs about 190 more; nDCG@10 +0.200 [" in str(found)


def test_the_estimate_holds() -> None:
    # The same spread around the same mean, as often as the estimate says, is told from chance.
    found = verdict("hybrid", result([0.0] * 20), result([1.2, -0.8] * 10))
    count = (20 + (found.more or 0)) // 2
    assert verdict("hybrid", result([0.0] * 2 * count), result([1.2, -0.8] * count)).word == "pays"


def test_no_difference() -> None:
    same = verdict("hybrid", result(WORSE), result(WORSE))
    assert (same.word, same.more) == ("cannot be told", None)
    assert str(same).startswith("hybrid: cannot be told with 20 questions, there is no difference to speak of;")
    nearly = verdict("hybrid", result([0.0] * 20), result([1.0, -0.9999] * 10))
    assert nearly.more is None


@pytest.mark.parametrize("count", [1, 2, FEWEST - 1])
def test_a_few_queries_tell_nothing(count: int) -> None:
    found = verdict("reranking", result([0.0] * count), result([1.0] * count))
    assert (found.word, found.more) == ("cannot be told", FEWEST - count)


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="2 and 1 queries cannot be paired: run both systems over the same data set"):
        verdict("a bigger model", result([1.0]), result([1.0, 0.0]))
    with pytest.raises(ValueError, match="one has no MRR: take one of nDCG@10"):
        verdict("a bigger model", result([1.0]), result([1.0]), measure="MRR")


values = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=12, max_size=12)


@given(values, values)
def test_the_other_way_round_it_is_the_opposite(before: list[float], after: list[float]) -> None:
    there, back = verdict("x", result(before), result(after)), verdict("x", result(after), result(before))
    opposite = {"pays": "costs", "costs": "pays", "cannot be told": "cannot be told"}
    if 0 not in {round(limit, 2) for limit in (there.difference.low, there.difference.high)}:  # resampled limits differ
        assert back.word == opposite[there.word]
    assert back.difference.mean == pytest.approx(-there.difference.mean)
    assert (there.more == 0) == (there.word != "cannot be told")
