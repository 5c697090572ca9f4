"""What can go wrong between us and Milvus, as exceptions that say what to do.

pymilvus reports a wrong token, a dead server and a typing error in an address with one and the same text, and
a hung server as a bare gRPC error that is no `MilvusException` at all. `explain` reads the causes instead of
the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_GAVE_UP = re.compile(r"\bRetry timeout\b|\bwait for (flush|loading \w+) timeout\b")
"""What pymilvus's own loops say at the deadline; "timeout" alone may stand in a user's filter."""


class MilvusStoreError(RuntimeError):
    """Milvus refused or failed; the cause is chained."""


class MilvusUnavailableError(MilvusStoreError):
    """No server answers at the address."""


class MilvusAuthError(MilvusStoreError):
    """A server answers, and refuses the token."""


class MilvusTimeoutError(MilvusStoreError, TimeoutError):
    """A server is there, and did not answer within the deadline."""


class MilvusLockedError(MilvusStoreError):
    """Another process holds the Milvus Lite file."""


class MilvusDatabaseError(MilvusStoreError):
    """The server has no such database."""


class MilvusDiskFullError(MilvusStoreError):
    """There is no room left where Milvus writes."""


class EmbeddingMismatchError(MilvusStoreError, ValueError):
    """The collection was made by another embedding model, or by another number of dimensions."""


_NO_ROOM = re.compile(r"no space left on device|file too large|disk quota exceeded", re.IGNORECASE)
"""What the system says (ENOSPC, EFBIG, EDQUOT); Milvus Lite and servers pass it on as text."""

_DATABASE_NOT_FOUND = 800
"""A server's own code for it, since 2.4 (`ErrDatabaseNotFound`); Milvus Lite says it in words."""

_NO_DATABASE = re.compile(r"^database '[^']*' does not exist")


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and its causes, each once (pymilvus chains an error to itself: `raise e from e`)."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def status_of(error: BaseException) -> str:
    """Return the name of the first gRPC status among the causes, or an empty string."""
    for cause in causes(error):
        code = getattr(cause, "code", None)
        # A MilvusException has a code too: a plain number, not a method that gives a named status.
        name = getattr(code(), "name", "") if callable(code) else ""
        if name:
            return str(name)
    return ""


def explain(error: BaseException, *, server: str, doing: str, timeout: float | None) -> MilvusStoreError:
    """Turn what pymilvus or gRPC raised into one of our errors; the caller chains the original.

    Args:
        error: what was raised.
        server: the address as it may be shown, without credentials.
        doing: the operation, for the message.
        timeout: the deadline of the operation, in seconds.

    Returns:
        The error to raise.
    """
    status, text = status_of(error), _text(error)
    where = f"Milvus at {server}"
    if status in {"UNAUTHENTICATED", "PERMISSION_DENIED"}:
        return MilvusAuthError(
            f"{where} refuses the token ({doing}). Pass token='user:password' or the API key of this server."
        )
    if status == "DEADLINE_EXCEEDED" or (not status and _GAVE_UP.search(text)):
        return MilvusTimeoutError(
            f"{where} did not finish {doing} within {timeout} s. It hangs or is overloaded: look at the "
            "server, or pass a greater timeout= in seconds."
        )
    if status == "UNAVAILABLE" or "Fail connecting" in text:
        return MilvusUnavailableError(
            f"No server answers as {where} ({doing}). Start it, correct uri=, or use a local file: uri='./milvus.db'."
        )
    if getattr(error, "code", None) == _DATABASE_NOT_FOUND or _NO_DATABASE.search(text):
        return MilvusDatabaseError(f"{where} has no such database ({text}). Create it, or correct db_name=.")
    if _NO_ROOM.search(text):
        return MilvusDiskFullError(
            f"{where} has no room left to write to ({doing}: {text}). Free some, and do it again: what was written "
            "before is there."
        )
    if "closed channel" in text:
        return MilvusStoreError(f"{where}: {doing} after the store was closed. Open it again.")
    return MilvusStoreError(f"{where} failed in {doing}: {text}")


def _text(error: BaseException) -> str:
    message = getattr(error, "message", None)
    return message if isinstance(message, str) and message else str(error) or type(error).__name__
