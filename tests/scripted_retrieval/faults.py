"""What goes wrong between a client and any embedding or rerank server, whichever dialect it speaks."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scripted_chat.faults import PAGE, Delay

__all__ = [
    "PAGE",
    "Cut",
    "Delay",
    "Drop",
    "DuplicateIndex",
    "Fault",
    "Faults",
    "NotFinite",
    "Page",
    "Row",
    "Shuffled",
    "Status",
    "WrongCount",
    "fault_at",
    "tampered",
]


@dataclass(frozen=True)
class Status:
    """An error status instead of an answer, with the body that the server in question sends with it.

    Attributes:
        status: 429, 500, 503...
        retry_after: Seconds for a ``Retry-After`` header.
    """

    status: int
    retry_after: float | None = None


@dataclass(frozen=True)
class Cut:
    """An answer that begins well and ends early.

    Attributes:
        clean: Whether the connection is closed in good order, so that a piece of JSON came as if it were all; else it
            breaks.
        share: How much of the body comes.
    """

    clean: bool = False
    share: float = 0.5


@dataclass(frozen=True)
class Drop:
    """A connection that ends before a status came."""


@dataclass(frozen=True)
class Page:
    """An HTML page, as from a proxy in between.

    Attributes:
        status: 502, or 200 as from a portal that wants a login.
    """

    status: int = 502


@dataclass(frozen=True)
class WrongCount:
    """Rows too many, or too few.

    Attributes:
        by: -1 for one too few, 1 for one too many.
    """

    by: int = -1


@dataclass(frozen=True)
class Shuffled:
    """Rows in another order; where they have an ``index`` it is right."""


@dataclass(frozen=True)
class DuplicateIndex:
    """Two rows with the same ``index``, and none with another."""


@dataclass(frozen=True)
class NotFinite:
    """A number that is none in the last row.

    Attributes:
        null: Whether it is written as ``null``, else as ``NaN``, which only lenient readers take for JSON.
    """

    null: bool = False


Fault = Status | Cut | Drop | Delay | Page | WrongCount | Shuffled | DuplicateIndex | NotFinite
Faults = Sequence[Fault | None] | Callable[[int], Fault | None]


@dataclass(frozen=True)
class Row:
    """One row of an answer before it is written.

    Attributes:
        index: The place of its text in the request.
        value: A vector, or a score.
        text: What it belongs to.
    """

    index: int
    value: Any
    text: str = ""


def fault_at(faults: Faults, number: int) -> Fault | None:
    """Return what happens to a request; the first one's number is 0."""
    if callable(faults):
        return faults(number)
    return faults[number] if number < len(faults) else None


def tampered(rows: list[Row], fault: Fault | None) -> list[Row]:
    """Return an answer's rows after a fault."""
    if not rows:
        return rows
    if isinstance(fault, WrongCount):
        more = [replace(rows[-1], index=len(rows) + extra) for extra in range(fault.by)]
        return rows[: fault.by] if fault.by < 0 else [*rows, *more]
    if isinstance(fault, Shuffled):
        return [*rows[1:], rows[0]][::-1]
    if isinstance(fault, DuplicateIndex) and len(rows) > 1:
        return [rows[0], replace(rows[1], index=rows[0].index), *rows[2:]]
    if isinstance(fault, NotFinite):
        bad = None if fault.null else math.nan
        value = rows[-1].value
        return [*rows[:-1], replace(rows[-1], value=[bad, *value[1:]] if isinstance(value, list) else bad)]
    return rows
