"""Reasoning beside the answer: a hook for whoever calls an LLM through layers that pass on its text alone.

LlamaIndex's synthesizers and query engines hand on strings, so what a model thought is gone when they return. Inside
a `collect_reasoning` block every `Qwen3` also reports its reasoning here.
"""

import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar, overload

_Item = TypeVar("_Item")


class ReasoningCollector(Sequence[str]):
    """What the models thought inside one `collect_reasoning` block.

    It is a sequence of the pieces in the order of their arrival: one for a whole answer, many for a stream. It fills
    from any thread, and goes on filling after the block while a stream that began inside is read.

    Args:
        on_piece: Called with each piece as it arrives, in the thread that reads the answer.
    """

    def __init__(self, on_piece: Callable[[str], None] | None = None) -> None:
        self._on_piece = on_piece
        self._lock = threading.Lock()
        self._pieces: list[str] = []
        self._calls: list[list[str]] = []

    @property
    def texts(self) -> list[str]:
        """The reasoning so far of each call that has any, in the order in which the calls were made."""
        with self._lock:
            return ["".join(call) for call in self._calls if call]

    @property
    def text(self) -> str:
        """The reasoning so far as one text, with an empty line between calls; ``""`` if there is none."""
        return "\n\n".join(self.texts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        with self._lock:
            return self._pieces[index]

    def __len__(self) -> int:
        with self._lock:
            return len(self._pieces)

    def begin(self) -> Callable[[str], None]:
        """Note that a call begins, and return the function that takes its pieces."""
        call: list[str] = []
        with self._lock:
            self._calls.append(call)

        def add(piece: str) -> None:
            with self._lock:
                call.append(piece)
                self._pieces.append(piece)
            if self._on_piece is not None:
                self._on_piece(piece)

        return add

    def reading(self, stream: Iterator[_Item]) -> Generator[_Item, None, None]:
        """Return a stream whose maker asks the LLM only when it is read; each step then runs inside the block.

        So do the streaming modes "compact" and "refine" of LlamaIndex's synthesizers. Blocks around this call count
        as well, wherever the stream is read.
        """
        return _read(stream, self._blocks())

    def areading(self, stream: AsyncIterator[_Item]) -> AsyncGenerator[_Item, None]:
        """Return an asynchronous stream; see `reading`."""
        return _aread(stream, self._blocks())

    def _blocks(self) -> tuple["ReasoningCollector", ...]:
        around = _collectors.get()
        return around if self in around else (*around, self)


def _read(stream: Iterator[_Item], blocks: tuple[ReasoningCollector, ...]) -> Generator[_Item, None, None]:
    while True:
        with _inside(blocks):
            try:
                item = next(stream)
            except StopIteration:
                return
        yield item


async def _aread(stream: AsyncIterator[_Item], blocks: tuple[ReasoningCollector, ...]) -> AsyncGenerator[_Item, None]:
    while True:
        with _inside(blocks):
            try:
                item = await anext(stream)
            except StopAsyncIteration:
                return
        yield item


# A tuple, since blocks nest: an agent that collects may call a query engine that does.
_collectors: ContextVar[tuple[ReasoningCollector, ...]] = ContextVar("qwen3_reasoning", default=())


@contextmanager
def collect_reasoning(on_piece: Callable[[str], None] | None = None) -> Iterator[ReasoningCollector]:
    """Collect the reasoning of every call that a `Qwen3` makes inside the block.

    ```python
    with collect_reasoning() as reasoning:
        answer = llm.predict(prompt)  # a string, and the reasoning would be lost
    reasoning.text
    ```

    Tasks, `asyncio.to_thread` and LlamaIndex's own threads carry the block's context along; a bare
    ``ThreadPoolExecutor`` does not (``executor.submit(contextvars.copy_context().run, ...)`` does). A stream belongs
    to the block in which the LLM was asked for it, wherever and whenever it is read; for layers that ask only when
    they are read there is `ReasoningCollector.reading`.

    Args:
        on_piece: Called with each piece as it arrives, to show reasoning apart from the answer while both stream.
    """
    collector = ReasoningCollector(on_piece)
    with _inside((*_collectors.get(), collector)):
        yield collector


def reasoning_sink() -> Callable[[str], None]:
    """Return the function that takes one call's reasoning, for all blocks around the place where it is called."""
    adders = [collector.begin() for collector in _collectors.get()]

    def add(piece: str) -> None:
        if piece:
            for adder in adders:
                adder(piece)

    return add


@contextmanager
def _inside(blocks: tuple[ReasoningCollector, ...]) -> Iterator[None]:
    token = _collectors.set(blocks)
    try:
        yield
    finally:
        _collectors.reset(token)
