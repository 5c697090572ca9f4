"""Forward passes one at a time, those of callers who wait at the same moment as one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

_Context = TypeVar("_Context")


@dataclass(eq=False)
class _Call(Generic[_Context]):
    """What a caller waits for."""

    sequences: Sequence[Sequence[int]]
    context: _Context
    found: torch.Tensor | None = None
    error: Exception | None = None

    @property
    def tokens(self) -> int:
        return sum(map(len, self.sequences))

    @property
    def done(self) -> bool:
        return self.found is not None or self.error is not None


class Turns(Generic[_Context]):
    """Lets threads compute one after the other, and what waits meanwhile go together.

    Two passes at once would share the cores, each with a thread for every core. And one pass over eight short queries
    takes little longer than one over the first of them. So whoever has the turn computes the oldest call that waits,
    with whatever else waits, has the same context and fits beside it. There is no thread for it, and no delay: a caller
    who is alone computes at once.

    Args:
        compute: Makes of sequences, which continue the same context, a tensor with a row for each.
        budget: Tokens that calls are joined up to; a longer call goes alone.
    """

    def __init__(self, compute: Callable[[list[Sequence[int]], _Context], torch.Tensor], budget: int) -> None:
        self._compute, self._budget = compute, budget
        self._turn, self._guard = threading.Lock(), threading.Lock()
        self._waiting: deque[_Call[_Context]] = deque()

    def __call__(self, sequences: Sequence[Sequence[int]], context: _Context) -> torch.Tensor:
        """Return the rows of sequences, computed by this thread or by one that was before it.

        Raises:
            Exception: What `compute` raises on these sequences alone; what others bring along is theirs.
        """
        call: _Call[_Context] = _Call(sequences, context)
        with self._guard:
            self._waiting.append(call)
        try:
            while not call.done:
                with self._turn:
                    if not call.done:
                        self._next()
        finally:
            if not call.done:  # interrupted: nobody waits for it any more
                self._withdraw(call)
        if call.error is not None:
            raise call.error
        assert call.found is not None  # noqa: S101 - for the type checker
        return call.found

    def alone(self) -> AbstractContextManager[object]:
        """Return what to enter for a computation of another kind, while no other runs."""
        return self._turn

    def _next(self) -> None:
        group: list[_Call[_Context]] = []
        try:
            self._gather(group)
            self._answer(group)
        except BaseException:
            # Ctrl-C hits the thread that computes; the others' calls wait for the next turn.
            with self._guard:
                self._waiting.extendleft(reversed([call for call in group if not call.done]))
            raise

    def _gather(self, group: list[_Call[_Context]]) -> None:
        """Take the oldest call out of the queue, and what can go with it."""
        with self._guard:
            group.append(self._waiting.popleft())
            tokens = group[0].tokens
            for call in list(self._waiting):
                if call.context is group[0].context and tokens + call.tokens <= self._budget:
                    tokens += call.tokens
                    group.append(call)
                    self._waiting.remove(call)

    def _answer(self, group: list[_Call[_Context]]) -> None:
        try:
            found = self._compute([ids for call in group for ids in call.sequences], group[0].context)
        except Exception as error:  # noqa: BLE001 - it goes to who asked
            if len(group) == 1:
                group[0].error = error
                return
            for call in group:  # what one brings along must not fail the others
                self._answer([call])
            return
        start = 0
        for call in group:
            end = start + len(call.sequences)
            call.found, start = found[start:end], end

    def _withdraw(self, call: _Call[_Context]) -> None:
        with self._guard:
            if call in self._waiting:
                self._waiting.remove(call)
