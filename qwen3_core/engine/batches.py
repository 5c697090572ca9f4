"""Which sequences are computed together: of similar length, which attention need hardly pad, up to a token budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

_T = TypeVar("_T")
_Sized = TypeVar("_Sized", bound=Sized)
_R = TypeVar("_R")

CPU_BATCH_TOKENS = 1024
"""On a CPU the activations of so many tokens stay in the cache, and products are as fast as they get: 0.97 of the peak
with 512 to 1,024 tokens, 0.89 with 4,096 (bfloat16, two cores of an AMD Zen 5)."""

GPU_BATCH_TOKENS = 16_384
"""Elsewhere it takes more tokens to keep the device busy. Not measured yet."""

WINDOW = 1024
"""Texts that are sorted by length at a time: it bounds memory, however many there are."""


def batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Group sequences of similar length.

    Args:
        lengths: The tokens of each.
        batch_tokens: Tokens of a group at most; a longer sequence is a group of its own.

    Yields:
        The numbers of a group's sequences, shortest first; each number is in one group.
    """
    batch: list[int] = []
    size = 0
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and size + lengths[number] > batch_tokens:
            yield batch
            batch, size = [], 0
        batch.append(number)
        size += lengths[number]
    if batch:
        yield batch


def windows(items: Iterable[_T], prepare: Callable[[list[_T]], _R], size: int = WINDOW) -> Iterator[_R]:
    """Prepare items `size` at a time, the next window in a thread while the caller works on the last.

    The thread ends with the iterator, and there is none for a single window. Items are taken from `items` in that
    thread, one window ahead.

    Args:
        items: What there is; it may be endless.
        prepare: Makes of a window what is to be yielded.
        size: Items of a window at most.
    """
    source = iter(items)

    def following() -> tuple[bool, _R | None]:
        window = list(islice(source, size))
        return len(window) == size, prepare(window) if window else None

    more, prepared = following()
    if more:
        with ThreadPoolExecutor(1, thread_name_prefix="qwen3-tokenize") as thread:
            while more and prepared is not None:
                ahead = thread.submit(following)
                yield prepared
                more, prepared = ahead.result()
    if prepared is not None:
        yield prepared


def in_batches(
    sequences: Sequence[_Sized], batch_tokens: int, compute: Callable[[list[_Sized]], Sequence[_R]]
) -> list[_R]:
    """Compute sequences in `batches`, and return the results in the order of the sequences.

    Args:
        sequences: Token ids.
        batch_tokens: See `batches`.
        compute: Makes of a group's sequences a result for each.
    """
    groups = batches([len(ids) for ids in sequences], batch_tokens)
    return in_order(((group, compute([sequences[number] for number in group])) for group in groups), len(sequences))


def in_order(groups: Iterable[tuple[Sequence[int], Sequence[_T]]], count: int) -> list[_T]:
    """Return the results of groups in the order of their numbers, 0 to `count` - 1."""
    found: dict[int, _T] = {}
    for numbers, results in groups:
        found.update(zip(numbers, results, strict=True))
    return [found[number] for number in range(count)]
