"""OpenAI's embeddings route, as far as servers share it; its reference is the API's own documentation."""

import base64
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scripted_retrieval.faults import Row
from scripted_retrieval.model import count_tokens


def texts_in(value: Any) -> list[str] | None:
    """Return what to embed as texts, numbers of tokens too; None for what is neither text nor tokens."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        return None
    if all(isinstance(each, str) for each in value):
        return list(value)
    if all(isinstance(each, int) for each in value):
        return [_as_text(value)]
    if all(isinstance(each, list) and all(isinstance(number, int) for number in each) for each in value):
        return [_as_text(each) for each in value]
    return None


def _as_text(ids: Sequence[int]) -> str:
    return " ".join(f"token{number}" for number in ids)


def base64_of(value: Sequence[Any]) -> str:
    """Return a vector as OpenAI's SDK asks for it: little-endian floats of four bytes."""
    numbers = [math.nan if element is None else element for element in value]
    return base64.b64encode(np.asarray(numbers, dtype="<f4").tobytes()).decode()


def vector_list(
    model: str, texts: Sequence[str], *, packed: bool = False, says_packed: bool = False, **head: Any
) -> Callable[[list[Row]], dict[str, Any]]:
    """Return what writes rows as OpenAI's list.

    Args:
        model: The name that the answer says.
        texts: What was embedded, which is counted.
        packed: Whether vectors are written in base64.
        says_packed: Whether each vector in base64 says so.
        head: More fields of the answer.
    """

    def write(rows: list[Row]) -> dict[str, Any]:
        data = [
            {
                "object": "embedding",
                "index": row.index,
                "embedding": base64_of(row.value) if packed else row.value,
                **({"encoding_format": "base64"} if packed and says_packed else {}),
            }
            for row in rows
        ]
        return {"object": "list", "data": data, "model": model, "usage": usage(texts), **head}

    return write


def usage(texts: Sequence[str]) -> dict[str, int]:
    """Return token counts, one more for the end of each text."""
    total = sum(count_tokens(text) + 1 for text in texts)
    return {"prompt_tokens": total, "total_tokens": total}


def cards(names: Sequence[str], owner: str, **more: Any) -> dict[str, Any]:
    """Return a page of models."""
    data = [{"id": name, "object": "model", "created": 1, "owned_by": owner, **more} for name in names]
    return {"object": "list", "data": data}
