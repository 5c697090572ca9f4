"""Measures of rankings by `ir-measures`, which is what TREC's `trec_eval` computes, with intervals by SciPy."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qwen3_core.evaluation.dataset import Dataset

DEPTH = 100
"""Documents of a ranking that count; what is further down is not found."""

CONFIDENCE = 0.95
RESAMPLES = 10_000
_RESAMPLED_VALUES = 2_000_000  # in memory at once

_NEEDED = ("ir_measures", "matplotlib", "scipy")


@dataclass(frozen=True)
class Interval:
    """A mean over queries with its confidence interval."""

    mean: float
    low: float
    high: float


def require_extra() -> None:
    """Say what to install before anything takes time.

    Raises:
        ImportError: Something of `qwen3-rag[evaluation]` is missing.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        msg = f'evaluating needs {", ".join(missing)}: pip install "qwen3-rag[evaluation]"'
        raise ImportError(msg)


def check_cutoffs(cutoffs: Sequence[int]) -> None:
    """Refuse a k that the rankings do not reach.

    Raises:
        ValueError: There is none, or one is out of range.
    """
    if not cutoffs or any(not 1 <= cutoff <= DEPTH for cutoff in cutoffs):
        msg = f"k is {', '.join(map(str, cutoffs)) or 'missing'}: name numbers from 1 to {DEPTH}"
        raise ValueError(msg)


def measure(dataset: Dataset, run: Mapping[str, Sequence[str]], cutoffs: Sequence[int]) -> dict[str, list[float]]:
    """Return nDCG@10, Recall@k and MRR (the reciprocal rank of the first right document) for each query.

    Args:
        dataset: The queries and what is right for them.
        run: Ranked ids by query id; a query that is not there found nothing.
        cutoffs: The k of each Recall@k.
    """
    import ir_measures

    wanted = {"nDCG@10": ir_measures.nDCG @ 10}
    wanted |= {f"Recall@{k}": ir_measures.R @ k for k in cutoffs}
    wanted["MRR"] = ir_measures.RR
    # By rank and not by score: equal scores would be ordered by id.
    scores = {query: {id_: -float(rank) for rank, id_ in enumerate(run.get(query, ()))} for query in dataset.queries}
    judged = {query: dict(values) for query, values in dataset.judgements.items()}
    names = {str(value): name for name, value in wanted.items()}
    place = {query: index for index, query in enumerate(dataset.queries)}
    values = {name: [0.0] * len(place) for name in wanted}
    for one in ir_measures.iter_calc(list(wanted.values()), judged, scores):
        values[names[str(one.measure)]][place[one.query_id]] = float(one.value)
    return values


def interval(values: Sequence[float]) -> Interval:
    """Return the mean and the percentile bootstrap interval over queries; the same values give the same interval."""
    import numpy as np
    from scipy.stats import bootstrap

    array = np.asarray(values, dtype=float)
    mean = float(array.mean())
    if len(array) < 2 or np.ptp(array) == 0:
        return Interval(mean, mean, mean)
    limits = bootstrap(
        (array,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, _RESAMPLED_VALUES // len(array)),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(mean, float(limits.low), float(limits.high))
