"""What programs may ask of a collection that stays open: the limits, the checks, and what is said of failures.

Programs are not trusted: whoever asks chooses a query, a number and values to filter by, and nothing else. Nothing here
knows a framework or a protocol.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import openai

from qwen3_cli.passages import Answer, Passage, Researched
from qwen3_core.base import require_query
from qwen3_core.milvus import compile_filter
from qwen3_core.milvus.errors import MilvusStoreError, MilvusTimeoutError

MAX_QUERY = 2_000
"""Characters of a query. A byte is one token at most (byte-level BPE), so that 2,000 of up to 4 bytes each fit into the
8,192 tokens that the models are given, and nothing is cut in silence."""

MAX_K = 50
"""Passages of one answer."""

MAX_FIELDS = 20
MAX_VALUES = 100
MAX_VALUE = 1_000
"""Fields of a filter, values of one field, and characters of a value."""

MAX_PASSAGES = 2_000
MAX_TEXT = 300_000
"""Passages, and characters, of one document that is read."""

_SHOWN = 60  # characters of what came that an error repeats

logger = logging.getLogger(__name__)


class RefusedError(ValueError):
    """What was asked cannot be done; the message is for whoever asked, and says what to do instead."""


@dataclass(frozen=True)
class Wanted:
    """A question that was checked.

    Attributes:
        query: What to look for.
        k: How many passages at most; None is what the operator chose.
        filters: Metadata keys and what they have to be; values are data.
    """

    query: str
    k: int | None = None
    filters: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, arguments: Mapping[str, Any]) -> Wanted:
        """Check what a program passed.

        Raises:
            RefusedError: It is not what is taken.
        """
        for name in arguments.keys() - {"query", "k", "filters"}:
            _refuse(f"unknown argument {_short(name)}: pass query, k and filters")
        return cls(
            query=_query(arguments.get("query")),
            k=_count(arguments.get("k")),
            filters=_filters(arguments.get("filters")),
        )


@dataclass(frozen=True)
class Document:
    """A document as it was indexed.

    Attributes:
        source: Its name in the collection.
        passages: Its passages, as far as they are shown.
        complete: Whether these are all.
    """

    source: str
    passages: list[Passage]
    complete: bool

    @property
    def text(self) -> str:
        """The passages as one text."""
        text = "\n\n".join(passage.text for passage in self.passages)
        if self.complete and len(text) <= MAX_TEXT:
            return text
        return text[:MAX_TEXT] + "\n\n[The document is longer. Search for the rest.]"


class Library(Protocol):
    """An open collection; its methods may be called while others run."""

    answers: bool
    """Whether there is a chat model to ask."""

    async def search(self, wanted: Wanted) -> list[Passage]:
        """Return the best passages, with their scores."""

    async def ask(self, wanted: Wanted) -> Answer:
        """Answer from the best passages."""

    async def research(self, wanted: Wanted) -> Researched:
        """Search in several rounds, as far as the operator lets it go, and report."""

    async def sources(self) -> dict[str, int]:
        """Return the documents' names in alphabetical order, with how many passages each has."""

    async def document(self, source: str) -> Document | None:
        """Return a document, None if there is none of this name."""


def explain(error: Exception, doing: str) -> str:
    """Say of a failure what whoever asked may know; the rest goes to the log.

    Args:
        error: What was raised.
        doing: What failed, in a word.

    Returns:
        A sentence or two without paths, addresses and keys.
    """
    if isinstance(error, RefusedError):
        return str(error)
    logger.error("%s failed: %s: %s", doing, type(error).__name__, error)
    if isinstance(error, MilvusTimeoutError):
        return "The collection did not answer in time. Try again later."
    if isinstance(error, MilvusStoreError):
        return "The collection could not be read. Try again later; whoever runs this server finds the cause in its log."
    if isinstance(error, openai.OpenAIError):
        return "The chat model did not answer. Use the search tool, or try again later."
    logger.debug("", exc_info=error)
    return "This failed. Try again later; whoever runs this server finds the cause in its log."


def _query(value: Any) -> str:
    if not isinstance(value, str):
        _refuse(f"query is {_kind(value)}: pass a text")
    if len(value) > MAX_QUERY:
        _refuse(f"query has {len(value):,} characters: pass {MAX_QUERY:,} at most")
    _require_unicode(value, "query")
    try:
        return require_query(value)
    except ValueError:
        _refuse("query is empty: say what to look for")


def _count(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        _refuse(f"k is {_kind(value)}: pass a whole number, 1 to {MAX_K}")
    if not 1 <= value <= MAX_K:
        _refuse(f"k is out of range: pass 1 to {MAX_K}")
    return value


def _filters(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        _refuse(f'filters is {_kind(value)}: pass an object of fields and values, such as {{"source": "a.md"}}')
    if len(value) > MAX_FIELDS:
        _refuse(f"filters has {len(value)} fields: pass {MAX_FIELDS} at most")
    for name, wanted in value.items():
        if not isinstance(name, str) or not name or len(name) > MAX_VALUE:
            _refuse(f"filters has a field {_short(name)}: pass names of 1 to {MAX_VALUE} characters")
        members = wanted if isinstance(wanted, list) else [wanted]
        if len(members) > MAX_VALUES:
            _refuse(f"filters has {len(members)} values for {_short(name)}: pass {MAX_VALUES} at most")
        for member in members:
            _require_scalar(name, member)
    try:
        compile_filter(value)
    except (TypeError, ValueError) as error:
        msg = f"filters cannot be used: {str(error)[:200]}"
        raise RefusedError(msg) from error
    return value


def _require_scalar(name: str, value: Any) -> None:
    if isinstance(value, str) and len(value) > MAX_VALUE:
        _refuse(f"filters has a value of {len(value):,} characters for {_short(name)}: pass {MAX_VALUE:,} at most")
    if value is not None and not isinstance(value, str | bool | int | float):
        _refuse(
            f"filters has {_kind(value)} for {_short(name)}: pass a text, a number, true, false, or a list of these"
        )


def _require_unicode(text: str, name: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        _refuse(f"{name} is no valid Unicode: pass it without lone surrogates")


def _refuse(message: str) -> NoReturn:
    raise RefusedError(message)


def _short(value: Any) -> str:
    shown = json.dumps(value) if isinstance(value, str) else repr(value)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"


def _kind(value: Any) -> str:
    kinds = {type(None): "missing", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), "a list" if isinstance(value, list) else "an object")
