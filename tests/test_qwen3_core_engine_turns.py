"""`Turns`: one forward pass at a time, callers that wait computed together, and each its own rows and errors."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from qwen3_core import LocalEmbedder
from qwen3_core.engine.turns import Turns

Sequences = Sequence[Sequence[int]]


class Held:
    """A computation that waits at a gate, and remembers what it was given; id 13 is bad luck."""

    def __init__(self) -> None:
        self.gate, self.begun = threading.Event(), threading.Event()
        self.seen: list[list[list[int]]] = []
        self.busy = threading.Lock()

    def __call__(self, sequences: Sequences, context: object) -> torch.Tensor:
        assert self.busy.acquire(blocking=False), "two at once"
        try:
            self.begun.set()
            assert self.gate.wait(60)
            self.seen.append([list(ids) for ids in sequences])
            if any(13 in ids for ids in sequences):
                msg = "bad luck"
                raise RuntimeError(msg)
            return torch.tensor([[sum(ids)] for ids in sequences])
        finally:
            self.busy.release()


@contextmanager
def waiting_behind_one(
    held: Held, turns: Turns[Any], calls: Sequence[tuple[Sequences, object]]
) -> Iterator[list[Future[list[list[int]]]]]:
    """Let one call compute until the block is left, and the others queue up behind it in their order."""
    with ThreadPoolExecutor(len(calls) + 1) as threads:
        ask: Callable[..., list[list[int]]] = lambda *call: turns(*call).tolist()  # noqa: E731
        first = threads.submit(ask, [[0]], None)
        assert held.begun.wait(60)
        found = []
        for number, call in enumerate(calls):
            found.append(threads.submit(ask, *call))
            while len(turns._waiting) <= number:
                pass
        yield found
        held.gate.set()
        assert first.result() == [[0]]


def test_who_waits_is_computed_together_up_to_the_budget() -> None:
    held = Held()
    turns = Turns(held, 6)
    calls = [([[1, 1], [2]], None), ([[3] * 4], None), ([[4, 4, 4]], None), ([[5] * 9], None)]
    with waiting_behind_one(held, turns, calls) as found:
        assert not any(each.done() for each in found)
    assert [each.result() for each in found] == [[[2], [2]], [[12]], [[12]], [[45]]]
    # The third fits beside the first, which the second does not.
    assert held.seen[1:] == [[[1, 1], [2], [4, 4, 4]], [[3] * 4], [[5] * 9]]


def test_contexts_are_not_mixed() -> None:
    held, one, other = Held(), object(), object()
    with waiting_behind_one(held, Turns(held, 100), [([[1]], one), ([[2]], other), ([[3]], one)]) as found:
        pass
    assert [each.result() for each in found] == [[[1]], [[2]], [[3]]]
    assert held.seen[1:] == [[[1], [3]], [[2]]]


def test_a_fault_is_its_callers_alone() -> None:
    held = Held()
    with waiting_behind_one(held, Turns(held, 100), [([[1]], None), ([[13]], None), ([[2]], None)]) as found:
        pass
    assert [found[0].result(), found[2].result()] == [[[1]], [[2]]]
    with pytest.raises(RuntimeError, match="bad luck"):
        found[1].result()


def test_an_interrupted_computation_leaves_the_others_waiting_for_the_next_turn() -> None:
    held, interrupts = Held(), iter([False, True, False])

    def compute(sequences: Sequences, context: object) -> torch.Tensor:
        rows = held(sequences, context)
        if next(interrupts):
            raise KeyboardInterrupt
        return rows

    turns = Turns(compute, 100)
    with waiting_behind_one(held, turns, [([[1]], None), ([[2]], None)]) as found:
        pass
    errors = [each.exception() for each in found]
    assert [type(error) for error in errors if error] == [KeyboardInterrupt]
    assert [each.result() for each in found if not each.exception()] in ([[[1]]], [[[2]]])
    assert not turns._waiting


def test_alone_is_alone() -> None:
    held = Held()
    held.gate.set()
    turns = Turns(held, 100)
    with turns.alone(), ThreadPoolExecutor(1) as threads:
        later = threads.submit(turns, [[7]], None)
        assert not held.begun.wait(0.1)
        turns._turn.release()
        assert later.result().tolist() == [[7]]
        turns._turn.acquire()


def test_many_threads_get_their_own_rows() -> None:
    held = Held()
    held.gate.set()
    turns = Turns(held, 50)

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(100):
            sequences = [[chance.randrange(100, 999)] * chance.randrange(1, 9) for _ in range(chance.randrange(1, 4))]
            assert turns(sequences, None).tolist() == [[sum(ids)] for ids in sequences]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert not turns._waiting


def test_tasks_that_wait_share_forward_passes(embedding_folder: Path) -> None:
    embedder = LocalEmbedder(str(embedding_folder), dtype="float32")
    queries = [f"question number {number}" for number in range(24)]
    alone = [embedder.embed_query(query) for query in queries]
    network, _, _ = embedder._loaded.get()
    passes: list[int] = []
    handle = network._embed.register_forward_pre_hook(lambda _, ids: passes.append(len(ids[0])))

    async def ask() -> list[list[float]]:
        return await asyncio.gather(*map(embedder.aembed_query, queries))

    with network._turns.alone():  # until all that may run wait
        thread = ThreadPoolExecutor(1)
        asked = thread.submit(asyncio.run, ask())
        while len(network._turns._waiting) < embedder.CONCURRENT_CALLS:
            pass
    together = asked.result()
    thread.shutdown()
    handle.remove()
    assert len(passes) <= len(queries) - embedder.CONCURRENT_CALLS + 1, "the first ones in one pass"
    for vector, expected in zip(together, alone, strict=True):
        assert vector == pytest.approx(expected, abs=1e-5)
