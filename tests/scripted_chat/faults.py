"""What goes wrong between a client and any server, whichever dialect it speaks."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Status:
    """An error status instead of an answer.

    Attributes:
        status: 429, 500, 502, 503...
        body: The body; by default what the server in question sends with that status.
        retry_after: Seconds for a ``Retry-After`` header.
        page: Whether the body is an HTML page, as from a proxy in between.
    """

    status: int
    body: dict[str, Any] | None = None
    retry_after: float | None = None
    page: bool = False


@dataclass(frozen=True)
class Cut:
    """A stream that ends early: nothing after ``events`` events, no ``[DONE]``.

    Attributes:
        events: How many events come.
        clean: Whether the connection is closed in good order; else it breaks.
    """

    events: int
    clean: bool = False


@dataclass(frozen=True)
class ErrorEvent:
    """An error inside a stream that began with 200, after ``events`` events."""

    events: int
    message: str = "CUDA out of memory"


@dataclass(frozen=True)
class Empty:
    """A 200 without a body."""


@dataclass(frozen=True)
class Delay:
    """Seconds before the answer begins; on a loopback port a client's timeout can strike."""

    seconds: float


Fault = Status | Cut | ErrorEvent | Empty | Delay

PAGE = b"<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>"
