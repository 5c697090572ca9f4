"""What an answer is made of before it is written: errors, routes and rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scripted_retrieval.faults import Row


class Refusal(Exception):  # noqa: N818 - it is an answer
    """An error as the server sends it.

    Attributes:
        message: The text.
        status: The HTTP status.
        kind: What kind of error it is, in the dialect's word; by default what the status stands for.
        rest: Fields that stand beside the message.
    """

    def __init__(self, message: str, status: int = 400, *, kind: str | None = None, **rest: Any) -> None:
        super().__init__(message)
        self.message, self.status, self.kind, self.rest = message, status, kind, rest


@dataclass(frozen=True)
class Seen:
    """One request that was posted; names of headers in lower case."""

    path: str
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Answered:
    """What a route answers with: rows, how they are written, and headers beside them."""

    rows: list[Row]
    write: Callable[[list[Row]], Any]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """What answers at a path.

    Attributes:
        answer: Makes an answer of a body.
        reads: The fields that are looked at; others are ignored.
    """

    answer: Callable[[dict[str, Any]], Answered]
    reads: frozenset[str]


def route(answer: Callable[[dict[str, Any]], Answered], reads: str) -> Route:
    """Return a route that reads the fields named in a text."""
    return Route(answer, frozenset(reads.split()))


def page(body: Any) -> Answered:
    """Return an answer without rows."""
    return Answered([], lambda rows: body)


def need(body: Mapping[str, Any], name: str, kind: type, refusal: Refusal) -> Any:
    """Return a field of a body.

    Raises:
        Refusal: It is missing, or of another type.
    """
    value = body.get(name)
    if not isinstance(value, kind):
        raise refusal
    return value


def is_texts(value: object) -> bool:
    """Tell whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def ranked(rows: list[Row], top_n: int | None = None) -> list[Row]:
    """Sort rows by score, the best first, and keep the first ones."""
    return sorted(rows, key=lambda row: row.value, reverse=True)[:top_n]
