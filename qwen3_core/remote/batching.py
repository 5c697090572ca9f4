"""Many texts as requests of the size that a server takes, several at a time, with nothing lost if one fails.

What is to be asked is a generator of `Call`s that is sent each answer, or thrown each error, and returns a result: it
does not know whether a thread or an event loop sends. `run` and `arun` are all there is of either.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from qwen3_core.remote.errors import ServerError
from qwen3_core.remote.http import Call

_T = TypeVar("_T")

Job = Generator[Call, Any, _T]
"""Yields calls, is sent their answers, returns a result."""

Batch = Sequence[int]
"""Places of texts that go into one request."""

Rows = list[_T | ServerError]
"""What became of the texts of a batch."""

_SUSPICIOUS = 16  # texts that fail one after the other, each alone in a request, before the server itself is asked


def batches(costs: Sequence[int], rows: int, tokens: int) -> list[list[int]]:
    """Return the places of texts in batches of ``rows`` and ``tokens`` at most, in order; a big text goes alone.

    Args:
        costs: Tokens of each text.
        rows: Texts of a batch.
        tokens: Tokens of a batch.
    """
    found: list[list[int]] = []
    spent = 0
    for place, cost in enumerate(costs):
        if not found or len(found[-1]) == rows or spent + cost > tokens:
            found.append([])
            spent = 0
        found[-1].append(place)
        spent += cost
    return found


class Streak:
    """The failures in a row of one call, over all its requests, which tell when to ask for nothing more.

    Where several requests are under way the count is a little off, which costs a request more or less.

    Args:
        probe: Asks for a text that any server can compute: if that fails too, it is not the texts.
    """

    def __init__(self, probe: Callable[[], Job[object]]) -> None:
        self._probe, self._failed = probe, 0
        self.reason: ServerError | None = None
        """Why nothing more is asked for; None as long as it is."""

    def succeeded(self) -> None:
        """Take note of an answer."""
        self._failed = 0

    def failed(self, error: ServerError) -> Job[None]:
        """Take note of a failure that halving did not mend."""
        self._failed += 1
        if not error.is_about_a_row:
            self.reason = error
        elif self._failed >= _SUSPICIOUS:
            try:
                yield from self._probe()
            except ServerError as refused:
                self.reason = refused
            else:
                self._failed = 0


def each_row(batch: Batch, ask: Callable[[Batch], Job[list[_T]]], streak: Streak) -> Job[Rows[_T]]:
    """Ask for a batch; if one text in it may be why that fails, for its halves, down to the text alone.

    Returns:
        What became of the texts, or of the first of them if nothing more is to be asked for.
    """
    if streak.reason is not None:
        return []
    try:
        found = list((yield from ask(batch)))
    except ServerError as error:
        if not error.is_about_a_row or len(batch) == 1:
            yield from streak.failed(error)
            return [error] * len(batch)
    else:
        streak.succeeded()
        return [*found]
    half = len(batch) // 2
    return [*(yield from each_row(batch[:half], ask, streak)), *(yield from each_row(batch[half:], ask, streak))]


def run(jobs: Sequence[Job[_T]], send: Callable[[Call], Any], *, at_once: int) -> list[_T]:
    """Run jobs in threads that end with the call, and return their results.

    Args:
        jobs: What to run.
        send: Sends a call and returns its answer.
        at_once: Jobs that run at the same time.
    """
    found: dict[int, _T] = {}
    waiting, lock, stop = enumerate(jobs), threading.Lock(), threading.Event()

    def work() -> None:
        while (taken := _next(waiting, lock, stop)) is not None:
            place, job = taken
            found[place] = _drive(job, send)

    threads = min(at_once, len(jobs))
    if threads <= 1:
        work()
        return _in_order(found)
    with ThreadPoolExecutor(threads, thread_name_prefix="qwen3-remote") as pool:
        try:
            for future in [pool.submit(work) for _ in range(threads)]:
                future.result()
        finally:
            stop.set()  # where a caller is interrupted, requests under way end and no others begin
    return _in_order(found)


async def arun(jobs: Sequence[Job[_T]], send: Callable[[Call], Awaitable[Any]], *, at_once: int) -> list[_T]:
    """Run jobs in this event loop; see `run`."""
    found: dict[int, _T] = {}
    waiting, lock, stop = enumerate(jobs), threading.Lock(), threading.Event()

    async def work() -> None:
        while (taken := _next(waiting, lock, stop)) is not None:
            place, job = taken
            found[place] = await _adrive(job, send)

    tasks = [asyncio.ensure_future(work()) for _ in range(min(at_once, len(jobs)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    return _in_order(found)


def _next(
    waiting: Iterator[tuple[int, Job[_T]]], lock: threading.Lock, stop: threading.Event
) -> tuple[int, Job[_T]] | None:
    with lock:
        return None if stop.is_set() else next(waiting, None)


def _drive(job: Job[_T], send: Callable[[Call], Any]) -> _T:
    try:
        call = next(job)
        while True:
            try:
                answer = send(call)
            except ServerError as error:
                call = job.throw(error)
            else:
                call = job.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def _adrive(job: Job[_T], send: Callable[[Call], Awaitable[Any]]) -> _T:
    try:
        call = next(job)
        while True:
            try:
                answer = await send(call)
            except ServerError as error:
                call = job.throw(error)
            else:
                call = job.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _in_order(found: dict[int, _T]) -> list[_T]:
    return [found[place] for place in sorted(found)]
