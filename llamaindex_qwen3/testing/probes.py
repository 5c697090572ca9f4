"""What the contracts observe a component with: its events, its threads, and the event loop beside it."""

# ruff: noqa: ARG002 - the signatures are the framework's

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from llama_index.core.callbacks import CallbackManager, CBEventType
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.rate_limiter import BaseRateLimiter
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.event_handlers.base import BaseEventHandler

_T = TypeVar("_T")


class _Recorder(BaseEventHandler):
    seen: list[BaseEvent] = []  # noqa: RUF012 - pydantic copies it for each instance

    def handle(self, event: BaseEvent, **_: Any) -> None:
        self.seen.append(event)


@contextmanager
def recorded_events() -> Iterator[list[BaseEvent]]:
    """Collect what components announce to the instrumentation meanwhile."""
    root, recorder = get_dispatcher(), _Recorder()
    root.add_event_handler(recorder)
    try:
        yield recorder.seen
    finally:
        root.event_handlers.remove(recorder)


def count_kinds(events: list[BaseEvent], *kinds: type[BaseEvent]) -> list[int]:
    """Count the events of each kind."""
    return [sum(isinstance(event, kind) for event in events) for kind in kinds]


class CallbackLog(BaseCallbackHandler):
    """A callback handler that counts how often each kind of event starts and ends."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.started: Counter[CBEventType] = Counter()
        self.ended: Counter[CBEventType] = Counter()

    def manager(self) -> CallbackManager:
        """Return a manager that reports here."""
        return CallbackManager([self])

    def on_event_start(
        self, event_type: CBEventType, payload: Any = None, event_id: str = "", parent_id: str = "", **_: Any
    ) -> str:
        """Count a start."""
        self.started[event_type] += 1
        return event_id

    def on_event_end(self, event_type: CBEventType, payload: Any = None, event_id: str = "", **_: Any) -> None:
        """Count an end."""
        self.ended[event_type] += 1

    def start_trace(self, trace_id: str | None = None) -> None:
        """Nothing to do."""

    def end_trace(self, trace_id: str | None = None, trace_map: Any = None) -> None:
        """Nothing to do."""


class CountingLimiter(BaseRateLimiter):
    """A rate limiter that lets everything through and counts."""

    def __init__(self) -> None:
        self.asked = 0

    def acquire(self, num_tokens: int = 0) -> None:
        """Count a request."""
        self.asked += 1

    async def async_acquire(self, num_tokens: int = 0) -> None:
        """Count a request."""
        self.asked += 1


class CountingStore(SimpleKVStore):
    """A key-value store that counts what it could answer and what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.hits = self.writes = 0

    def get(self, key: str, collection: str = "data") -> Any:
        """Look up, and count if it is there."""
        found = super().get(key, collection)
        self.hits += found is not None
        return found

    def put(self, key: str, val: dict[str, Any], collection: str = "data") -> None:
        """Write and count."""
        self.writes += 1
        super().put(key, val, collection)


async def _watch(awaitable: Awaitable[Any], look: Callable[[], None]) -> None:
    task = asyncio.ensure_future(awaitable)
    while not task.done():
        look()
        await asyncio.sleep(0)
    look()
    await task


def loop_turns_during(call: Callable[[], Awaitable[Any]]) -> int:
    """Count how often the event loop came round while the call was under way: a handful if it was blocked."""
    turns: list[None] = []
    asyncio.run(_watch(_awaited(call), lambda: turns.append(None)))
    return len(turns)


def threads_during(call: Callable[[], Awaitable[Any]]) -> int:
    """Return how many threads the call needed at most, besides those that were there."""
    before, most = threading.active_count(), 0

    def look() -> None:
        nonlocal most
        most = max(most, threading.active_count() - before)

    asyncio.run(_watch(_awaited(call), look))
    return most


def run_in_threads(call: Callable[[], Awaitable[_T]], count: int) -> list[_T]:
    """Run the call in several threads at once, each with an event loop of its own."""
    results: list[_T] = []
    errors: list[BaseException] = []
    together = threading.Barrier(count)

    def work() -> None:
        try:
            together.wait()
            results.append(asyncio.run(_awaited(call)))
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


async def cancel_one_of_three(call: Callable[[], Awaitable[_T]]) -> list[_T]:
    """Start three calls, cancel the second at once, and return what the others give."""
    tasks = [asyncio.ensure_future(call()) for _ in range(3)]
    await asyncio.sleep(0)
    was_waiting = tasks[1].cancel()
    first, cancelled, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(cancelled, asyncio.CancelledError) == was_waiting, "the cancelled call went on"
    found: list[_T] = []
    for result in (first, third):
        if isinstance(result, BaseException):
            raise result
        found.append(result)
    return found


async def _awaited(call: Callable[[], Awaitable[_T]]) -> _T:
    # The coroutine has to be made inside the loop that runs it.
    return await call()
