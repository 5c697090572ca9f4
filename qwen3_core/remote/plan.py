"""One call's texts, as requests and as results, and what is kept of a call that failed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from qwen3_core.remote.batching import Batch, Job, Rows, Streak, each_row
from qwen3_core.remote.errors import PartialError, ServerError

_T = TypeVar("_T")

_NAMED = 5  # places in a message


@dataclass(frozen=True)
class Plan(Generic[_T]):
    """What a call asks for.

    Attributes:
        key: What decides the results beside the texts.
        texts: The texts of the call, some of them perhaps twice.
        known: Results that need not be asked for.
        asked: The other texts, each once.
        batches: Places in ``asked`` that go into one request.
        ask: Asks for the texts at some of those places.
        probe: Asks for a known text in the same way.
    """

    key: Hashable
    texts: Sequence[str]
    known: Mapping[str, _T]
    asked: Sequence[str]
    batches: Sequence[Batch]
    ask: Callable[[Batch], Job[list[_T]]]
    probe: Callable[[], Job[object]]

    @property
    def jobs(self) -> list[Job[Rows[_T]]]:
        """What has to be run, a job for each batch."""
        streak = Streak(self.probe)
        return [each_row(batch, self.ask, streak) for batch in self.batches]

    def found(self, outcomes: Sequence[Rows[_T]]) -> dict[str, _T | ServerError]:
        """Return what became of each text; those that were not asked for are absent."""
        found: dict[str, _T | ServerError] = dict(self.known)
        for batch, rows in zip(self.batches, outcomes, strict=True):
            found.update((self.asked[place], row) for place, row in zip(batch, rows, strict=False))
        return found


class Kept(Generic[_T]):
    """The results of the last call that failed, so that they need not be computed again. Safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: Hashable = None
        self._results: dict[str, _T] = {}

    def known(self, key: Hashable, texts: Sequence[str]) -> dict[str, _T]:
        """Return the results that are kept for some of the texts."""
        with self._lock:
            kept = self._results if self._key == key else {}
            return {text: kept[text] for text in texts if text in kept} if kept else {}

    def settle(self, plan: Plan[_T], outcomes: Sequence[Rows[_T]], *, what: str) -> list[_T]:
        """Return a result for each text; if some have none, keep those of the others.

        Args:
            plan: What was asked for.
            outcomes: What became of its batches.
            what: What a text is called, such as "text" or "document".

        Raises:
            PartialError: Some have no result; those of the others are in it.
            ServerError: Nothing could be computed, and no single text was the cause.
        """
        found = plan.found(outcomes)
        results = {text: row for text, row in found.items() if not isinstance(row, ServerError)}
        if len(results) == len(set(plan.texts)):
            if plan.known:
                self._keep(None, {})
            return [results[text] for text in plan.texts]
        self._keep(plan.key, results)
        raise _failure(plan.texts, found, results, what)

    def _keep(self, key: Hashable, results: dict[str, _T]) -> None:
        with self._lock:
            self._key, self._results = key, results


def _failure(
    texts: Sequence[str], found: Mapping[str, _T | ServerError], results: Mapping[str, _T], what: str
) -> ServerError:
    errors = {place: row for place, text in enumerate(texts) if isinstance(row := found.get(text), ServerError)}
    first, error = next(iter(errors.items()))
    if not results and (len(texts) == 1 or not error.is_about_a_row):
        return error
    missing = {
        place: errors.get(place) or ServerError(f"not asked for, since another request failed: {error}")
        for place, text in enumerate(texts)
        if text not in results
    }
    places = ", ".join(map(str, list(missing)[:_NAMED])) + (", ..." if len(missing) > _NAMED else "")
    message = (
        f"{len(missing):,} of {len(texts):,} {what}s could not be computed (at {places}). The one at {first}: {error}. "
        "What could be is kept: ask for the same again, or take it from this error's results"
    )
    failure = PartialError(message, [results.get(text) for text in texts], missing)
    failure.__cause__ = error
    return failure
