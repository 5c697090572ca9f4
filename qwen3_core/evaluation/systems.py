"""Running systems over a data set: ranked ids for each query, what they are worth, and what they took."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qwen3_core.evaluation.dataset import Dataset
from qwen3_core.evaluation.measures import DEPTH, measure

if TYPE_CHECKING:
    from collections.abc import Iterator

Search = Callable[[str], Sequence[str]]
"""A query's text to the ids of documents, best first, `DEPTH` at most."""

Rerank = Callable[[str, Sequence[str]], Sequence[str]]
"""A query's text and candidates to the same candidates in another order."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how far it is, and how much there is."""

RERANKED = "+rerank"
FIRST_STAGES = ("dense", "bm25", "hybrid")
SYSTEMS = tuple(f"{first}{second}" for first in FIRST_STAGES for second in ("", RERANKED))
"""What can be compared: each first stage alone, and with reranking."""


@dataclass(frozen=True)
class System:
    """A first stage, and maybe a second.

    Attributes:
        name: What reports call it.
        first: The name of its first stage; systems with the same one share its runs.
        reranks: Whether there is a second stage.
    """

    name: str
    first: str
    reranks: bool

    @classmethod
    def parse(cls, names: str, *, reranker: bool) -> list[System]:
        """Read names with commas between them; "all" are those that are possible.

        Raises:
            ValueError: A name is unknown, or asks for a reranker that there is not.
        """
        wanted = [name.strip() for name in names.split(",") if name.strip()]
        if wanted == ["all"]:
            wanted = [name for name in SYSTEMS if reranker or not name.endswith(RERANKED)]
        unknown = [name for name in wanted if name not in SYSTEMS]
        if unknown or not wanted:
            msg = f"unknown system {unknown[0]!r}" if unknown else "no system is named"
            msg += f": write all, or some of {', '.join(SYSTEMS)}"
            raise ValueError(msg)
        systems = [cls(name, name.removesuffix(RERANKED), name.endswith(RERANKED)) for name in dict.fromkeys(wanted)]
        if not reranker and any(system.reranks for system in systems):
            msg = "a system with +rerank needs a reranker: name one (--reranker), or leave the system out"
            raise ValueError(msg)
        return systems


@dataclass(frozen=True)
class Stage:
    """What a part of the work took.

    Attributes:
        name: What was done.
        seconds: How long it took.
        peak_mib: The most memory that the process has held so far, in MiB; None where the system does not say.
    """

    name: str
    seconds: float
    peak_mib: float | None


@dataclass(frozen=True)
class Result:
    """What a system is worth.

    Attributes:
        system: Its name.
        values: For each measure one value per query, in the data set's order.
        search_seconds: What the first stage took for all queries, embedding them included.
        rerank_seconds: What the second stage took, 0 without one.
    """

    system: str
    values: Mapping[str, list[float]]
    search_seconds: float
    rerank_seconds: float = 0.0


@dataclass
class Clock:
    """Keeps what each stage took."""

    stages: list[Stage] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what happens inside."""
        start = time.perf_counter()
        yield
        self.stages.append(Stage(name, time.perf_counter() - start, peak_mib()))

    def seconds(self, name: str) -> float:
        """Return what the stages of a name took."""
        return sum(stage.seconds for stage in self.stages if stage.name == name)


Runs = Mapping[str, Mapping[str, Sequence[str]]]
"""First stage to query id to the ids of documents, best first."""


def search_all(
    dataset: Dataset,
    systems: Sequence[System],
    searches: Mapping[str, Search],
    *,
    clock: Clock,
    progress: Progress = lambda *_: None,
) -> Runs:
    """Run the first stages of systems over all queries, each once.

    Args:
        dataset: What they run on.
        systems: Which systems.
        searches: The first stages by name.
        clock: Where it is kept what each took.
        progress: Told how far it is.
    """
    found = {}
    for first in dict.fromkeys(system.first for system in systems):
        with clock.stage(f"search: {first}"):
            found[first] = _run(dataset, searches[first], first, progress)
    return found


def evaluate(
    dataset: Dataset,
    systems: Sequence[System],
    runs: Runs,
    rerank: Rerank | None = None,
    *,
    clock: Clock,
    cutoffs: Sequence[int] = (1, 10, 100),
    fetch_k: int = 10,
    progress: Progress = lambda *_: None,
) -> list[Result]:
    """Rerank what was found where a system does, and measure it.

    Args:
        dataset: What they ran on.
        systems: Which systems, in the order of the results.
        runs: What `search_all` found.
        rerank: The second stage; it orders the best `fetch_k` anew, and the others follow as they were.
        clock: What `search_all` used.
        cutoffs: The k of each Recall@k.
        fetch_k: How many candidates the second stage sees.
        progress: Told how far it is.
    """
    results = []
    for system in systems:
        run, took = runs[system.first], 0.0
        if system.reranks:
            if rerank is None:
                msg = f"{system.name} needs a reranker"
                raise ValueError(msg)
            with clock.stage(f"rerank: {system.first}"):
                run = _reranked(dataset, run, rerank, fetch_k, system.name, progress)
            took = clock.stages[-1].seconds
        seconds = clock.seconds(f"search: {system.first}")
        results.append(Result(system.name, measure(dataset, run, cutoffs), seconds, took))
    return results


def _run(dataset: Dataset, search: Search, name: str, progress: Progress) -> dict[str, list[str]]:
    run = {}
    for done, (id_, text) in enumerate(dataset.queries.items(), 1):
        run[id_] = list(search(text))[:DEPTH]
        progress(name, done, len(dataset.queries))
    return run


def _reranked(
    dataset: Dataset,
    run: Mapping[str, Sequence[str]],
    rerank: Rerank,
    fetch_k: int,
    name: str,
    progress: Progress,
) -> dict[str, list[str]]:
    made = {}
    for done, (id_, text) in enumerate(dataset.queries.items(), 1):
        candidates = run[id_][:fetch_k]
        made[id_] = [*(rerank(text, candidates) if candidates else ()), *run[id_][fetch_k:]]
        progress(name, done, len(dataset.queries))
    return made


def peak_mib() -> float | None:
    """Return the most memory that this process has held so far; None where the system does not say (Windows)."""
    with suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB elsewhere
    return None
