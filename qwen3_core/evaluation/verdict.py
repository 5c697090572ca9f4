"""Whether a change of the retrieval pays, from differences paired by query, or how many queries would tell."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from qwen3_core.evaluation.measures import CONFIDENCE, Interval, interval
from qwen3_core.evaluation.systems import Result

FEWEST = 10
"""Queries below which nothing is said: the bootstrap of so few gives intervals that are too narrow."""

MOST = 100_000
"""More queries than this nobody writes; the difference is as good as none."""

# 97.5 % and 80 % of a normal distribution: a difference is seen in four of five sets of so many queries.
_QUANTILES = statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2) + statistics.NormalDist().inv_cdf(0.8)


@dataclass(frozen=True)
class Verdict:
    """Whether a change pays.

    Attributes:
        lever: What was changed, for readers.
        measure: What it is judged by.
        difference: The mean of after minus before over queries, with its interval.
        milliseconds: What a query takes longer, and less than 0 if it is faster.
        queries: How many there were.
        more: About how many more queries would tell a difference like this one from chance; 0 where these do, and None
            where there is no difference to speak of.
    """

    lever: str
    measure: str
    difference: Interval
    milliseconds: float
    queries: int
    more: int | None

    @property
    def word(self) -> Literal["pays", "costs", "cannot be told"]:
        """Whether the interval is above 0, below, or neither."""
        if self.more != 0:
            return "cannot be told"
        return "pays" if self.difference.low > 0 else "costs"

    def __str__(self) -> str:
        """Return it as a sentence."""
        told: str = self.word
        if self.more != 0:
            needed = "there is no difference to speak of" if self.more is None else f"it needs about {self.more:,} more"
            told += f" with {self.queries} questions, {needed}"
        found = self.difference
        return (
            f"{self.lever}: {told}; {self.measure} {found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}], "
            f"{self.milliseconds:+.0f} ms per query"
        )


def paired(after: Sequence[float], before: Sequence[float]) -> Interval:
    """Return the mean difference of two systems' values for the same queries, with its interval.

    Raises:
        ValueError: They are not as many, so not of the same queries.
    """
    return interval(_differences(after, before))


def verdict(lever: str, before: Result, after: Result, measure: str = "nDCG@10") -> Verdict:
    """Tell whether going from one system to another pays.

    The systems ran over the same queries in the same order; they may have different models. It pays where the interval
    of the paired differences lies above 0, and costs where it lies below. Elsewhere the number of queries is estimated
    with which a difference as large, spread as widely, would be seen in four cases of five.

    Args:
        lever: What was changed, as "reranking".
        before: The system without it.
        after: The system with it.
        measure: What to judge by.

    Raises:
        ValueError: A system lacks the measure, or they ran over different numbers of queries.
    """
    for result in (before, after):
        if measure not in result.values:
            msg = f"{result.system} has no {measure}: take one of {', '.join(result.values)}"
            raise ValueError(msg)
    differences = _differences(after.values[measure], before.values[measure])
    found, count = interval(differences), len(differences)
    seconds = after.search_seconds + after.rerank_seconds - before.search_seconds - before.rerank_seconds
    more = 0 if count >= FEWEST and (found.low > 0 or found.high < 0) else _more(differences)
    return Verdict(lever, measure, found, 1000 * seconds / count, count, more)


def _differences(after: Sequence[float], before: Sequence[float]) -> list[float]:
    if len(after) != len(before) or not after:
        msg = f"{len(after)} and {len(before)} queries cannot be paired: run both systems over the same data set"
        raise ValueError(msg)
    return [a - b for a, b in zip(after, before, strict=True)]


def _more(differences: Sequence[float]) -> int | None:
    count, mean = len(differences), statistics.fmean(differences)
    spread = statistics.stdev(differences) if count > 1 else 0.0
    if abs(mean) * math.sqrt(MOST) <= _QUANTILES * spread or mean == 0:
        return None
    needed = max(FEWEST, math.ceil((_QUANTILES * spread / mean) ** 2))
    return _rounded(max(1, needed - count))


def _rounded(number: int) -> int:
    """Return two digits of it: the estimate is no better."""
    places = 2 - len(str(number))
    return round(number, min(0, places))
