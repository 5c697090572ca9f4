"""One thread that writes while the next batch is embedded."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType

_WAITING = 2  # batches that are embedded and not written yet: what the memory has to hold


class Writer:
    """Runs jobs in a thread of its own, in order; the first one that fails ends all.

    ```python
    with Writer() as writer:
        writer.submit(job)
    ```

    The end of the block waits for the jobs and for the thread, also after an exception and Ctrl-C: what was computed is
    kept. How long that takes is bounded by the deadlines of the jobs.
    """

    def __init__(self) -> None:
        self._jobs: queue.Queue[Callable[[], object] | None] = queue.Queue(_WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="qwen3-rag-writer")

    def submit(self, job: Callable[[], object]) -> None:
        """Hand a job over, as soon as there is room; raise what an earlier one raised."""
        self._check()
        self._jobs.put(job)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._error is not None:
                continue  # emptied, so that nobody waits for room
            try:
                job()
            except BaseException as error:  # noqa: BLE001  # raised again where jobs are submitted
                self._error = error

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._jobs.put(None)
        self._thread.join()
        if error is None:
            self._check()
