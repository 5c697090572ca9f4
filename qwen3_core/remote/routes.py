"""What the routes of all servers have in common: where they are, what they bear, and how their rows are read."""

from __future__ import annotations

import array
import base64
import binascii
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from qwen3_core.remote.errors import AnswerError, ServerError
from qwen3_core.thinking import Server

Template = Literal["client", "server"]
"""Who writes Qwen3's query format, or the rerank prompt."""

# What people paste as a server's URL although it names one route of it.
_ROUTES = (
    "/embeddings", "/api/embed", "/embed", "/rerank", "/reranks", "/reranking", "/score", "/models",
    "/services/embeddings/text-embedding/text-embedding", "/services/rerank/text-rerank/text-rerank",
)  # fmt: skip
# Gateways may have their version under /api, which then stays.
_VERSIONS = ("/compatible-mode/v1", "/compatible-api/v1", "/v1", "/v2", "/api")

_FLOAT32 = 1e-6  # how far from 1 the length of a vector may be that was normalised in float32

_T = TypeVar("_T")


@dataclass(frozen=True)
class Limits:
    """What one request may hold.

    Attributes:
        rows: Texts at most.
        tokens: Tokens of all texts at most.
        fixed: Whether the server refuses more of either, however it was started; else the caller may ask for more.
        row_tokens: Tokens of one text at most; None is whatever the model was served with.
        cuts: Whether the server cuts longer texts without a word.
        refuses: Texts that it does not take: "empty" ones, or all that are "blank"; None takes both.
    """

    rows: int = 64
    tokens: int = 65_536
    fixed: bool = False
    row_tokens: int | None = None
    cuts: bool = False
    refuses: Literal["empty", "blank"] | None = None


class Route:
    """What is true of a server's route whatever its task; subclasses say how it is asked and read."""

    server: ClassVar[Server] = "auto"
    default_model: ClassVar[str | None] = None
    own_limits: ClassVar[Limits] = Limits()
    lists_models: ClassVar[bool] = True
    """Whether a model that is not named can be asked for. TEI serves one and is told none; DashScope has a default."""

    def limits(self, model: str) -> Limits:  # noqa: ARG002 - DashScope's depend on it
        """Return what one request may hold."""
        return self.own_limits

    def models_url(self, base_url: str) -> str | None:
        """Return where the server lists its models, if it does."""
        return f"{v1_of(base_url)}/models" if self.lists_models else None


def root_of(url: str) -> str:
    """Return a server's URL without version and route: ``http://host:8000`` of ``http://host:8000/v1/embeddings``."""
    root = url.rstrip("/")
    for ends in (_ROUTES, _VERSIONS):
        root = next((root.removesuffix(end) for end in ends if root.endswith(end)), root).rstrip("/")
    return root


def v1_of(url: str) -> str:
    """Return the URL of the routes that are OpenAI's, ``http://host:8000/v1``."""
    return f"{root_of(url)}/v1"


def dashscope_root(url: str) -> str:
    """Return DashScope's URL without the path of any of its APIs, so that each can be reached."""
    return re.sub(r"/+(?:(?:compatible-mode|compatible-api|api)/v1(?:/.*)?)?$", "", url)


def rows_of(answer: Any, *path: str) -> Sequence[Any]:
    """Return the list at a path of an answer.

    Raises:
        AnswerError: There is none.
    """
    found = answer
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    if not isinstance(found, list):
        message = f"the answer has no list {'.'.join(path) or 'at its top'}: {str(answer)[:200]}"
        raise AnswerError(message)
    return found


def in_places(rows: Sequence[Any], count: int, read: Callable[[Mapping[str, Any]], _T], *, index: str) -> list[_T]:
    """Return what `read` makes of the rows, each in the place that it names itself.

    Raises:
        AnswerError: There are more or fewer rows than ``count``, a place is named twice, or is none.
    """
    places = [row.get(index) if isinstance(row, Mapping) else None for row in rows]
    if not all(type(place) is int for place in places) or sorted(places) != list(range(count)):  # type: ignore[type-var]
        message = f"the answer has {len(rows)} rows for {count} texts, with {index} {str(places)[:100]}"
        raise AnswerError(message)
    found = dict(zip(places, map(read, rows), strict=True))
    return [found[place] for place in range(count)]


def in_order(rows: Sequence[Any], count: int, read: Callable[[Any], _T]) -> list[_T]:
    """Return what `read` makes of rows that name no places.

    Raises:
        AnswerError: There are more or fewer of them than ``count``.
    """
    if len(rows) != count:
        message = f"the answer has {len(rows)} rows for {count} texts"
        raise AnswerError(message)
    return [read(row) for row in rows]


def vector_of(value: Any) -> list[float]:
    """Return a vector: a list of numbers, or base64 of little-endian float32 as OpenAI's API has it.

    Raises:
        AnswerError: It is neither, is empty, or has a number that is not finite.
    """
    if isinstance(value, str):
        found = _decoded(value)
    elif isinstance(value, list) and all(type(number) in (float, int) for number in value):
        found = value
    else:
        message = f"the answer has a vector that holds no numbers: {str(value)[:100]}"
        raise AnswerError(message)
    if not found or not _is_finite(found):
        message = "the answer has a vector that is empty or not finite; a model in float16 does that, bfloat16 does not"
        raise AnswerError(message)
    return found


def score_of(value: Any) -> float:
    """Return a probability.

    Raises:
        AnswerError: It is no number, is not finite, or lies outside 0 to 1.
    """
    if type(value) not in (float, int) or not _is_finite([value]):
        message = f"the answer has a score that is no finite number: {str(value)[:50]}"
        raise AnswerError(message)
    if not 0 <= value <= 1:
        message = (
            f"the answer has the score {value:g}, which is no probability: the server applies no sigmoid, so it does "
            "not run Qwen3-Reranker as its recipe says"
        )
        raise AnswerError(message)
    return float(value)


def unit(vector: Sequence[float], dimensions: int | None) -> list[float]:
    """Return the first ``dimensions`` numbers of a vector at length 1: sliced, then normalised.

    Raises:
        ServerError: It has fewer numbers, as have all that this server gives.
        AnswerError: Its length is 0.
    """
    if dimensions is not None and len(vector) < dimensions:
        message = f"the server gives vectors of {len(vector)} numbers, and dimensions={dimensions} are wanted"
        raise ServerError(message)
    cut = vector if dimensions is None else vector[:dimensions]
    length = math.hypot(*cut)
    if length == 0:
        message = "the answer has a vector of length 0"
        raise AnswerError(message)
    # Most servers normalise in float32, and dividing again would take longer than all the rest of reading a vector.
    return list(cut) if abs(length - 1) <= _FLOAT32 else [number / length for number in cut]


def _is_finite(numbers: Sequence[float]) -> bool:
    try:
        return math.isfinite(sum(numbers))  # it is only if all are, and costs less than asking each
    except OverflowError:  # a whole number beyond any float
        return False


def _decoded(text: str) -> list[float]:
    numbers = array.array("f")
    try:
        numbers.frombytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        message = "the answer has a vector that is no base64 of float32"
        raise AnswerError(message) from error
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
