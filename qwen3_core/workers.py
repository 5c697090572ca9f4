"""A few computations at a time for any number of event loops, with no thread kept for them."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

_T = TypeVar("_T")
_Job = tuple[Future[Any], Callable[[], Any]]

THREAD_NAME = "qwen3-worker"


class Workers:
    """Runs functions off the event loop, a few at once, first come first served.

    A model gains nothing from many threads, and `asyncio.to_thread` would start one for each call that waits.
    Here the calls wait as futures; a thread lives while there is something to do and then ends. Nothing is
    bound to an event loop, so `asyncio.run` works twice, and loops in several threads share one queue. Copies
    and pickles start with an empty queue.

    Args:
        limit: Functions that run at once at most.
    """

    def __init__(self, limit: int = 1) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._jobs: deque[_Job] = deque()
        self._running = 0

    async def run(self, function: Callable[..., _T], /, *args: Any, **kwargs: Any) -> _T:
        """Await ``function(*args, **kwargs)``, run in a thread with a copy of the current context.

        A call that is cancelled while it waits never runs. One that is running can't be stopped: its result
        is dropped, and it counts as running until it ends.
        """
        context = contextvars.copy_context()
        future: Future[_T] = Future()
        job = (future, functools.partial(context.run, function, *args, **kwargs))
        with self._lock:
            if self._running < self._limit:
                # Not a daemon: a forward pass that the end of the interpreter kills may crash it.
                threading.Thread(target=self._work, name=THREAD_NAME, daemon=False).start()
                self._running += 1
            self._jobs.append(job)
        return await asyncio.wrap_future(future)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            future, call = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - whoever awaits it gets it
                future.set_exception(error)
            else:
                future.set_result(result)

    def _next(self) -> _Job | None:
        with self._lock:
            if self._jobs:
                return self._jobs.popleft()
            self._running -= 1
            return None

    def __reduce__(self) -> tuple[Any, ...]:
        return (Workers, (self._limit,))
