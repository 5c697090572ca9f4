r"""Filters for Milvus in which values are data: nothing in a key or a value becomes part of the expression.

Milvus Lite 3.2 has no filter templates (https://github.com/milvus-io/milvus-lite/issues/327), so values are
written into the expression as literals, escaped here. Its tokenizer knows six escapes (`\"`, `\'`, `\\`,
`\n`, `\r`, `\t`) and takes every other character as it stands; a server's grammar accepts the same. A test
compares compiled filters over random rows with plain Python.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

PRIMARY_FIELD = "pk"
"""The primary key's field, the name that langchain-milvus uses."""

TEXT_FIELD = "text"
"""The text's field, the name that langchain-milvus uses."""

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_MAX_INT = 2**63 - 1


def compile_filter(
    filter: Mapping[str, Any] | None,  # noqa: A002  # the name that LangChain's vector stores use
    *,
    fields: Collection[str] = (PRIMARY_FIELD, TEXT_FIELD),
) -> str:
    """Compile conditions, all of which must hold, to a Milvus expression.

    A value is compared for equality; a list, tuple or set asks for any of its members, and an empty one
    matches no row; None matches rows in which the key is absent or null. Comparison is Python's: `1`, `1.0`
    and `True` are equal on Milvus Lite (a server tells True from 1), a string equals no number. Milvus 2.3
    takes a stored null for a value that is present.

    Args:
        filter: metadata key -> str, bool, int, float, None, or a list, tuple or set of these. None or an
            empty mapping gives an empty expression, which selects everything.
        fields: names that are fields of the collection; every other key is looked up in the dynamic metadata.

    Returns:
        The expression.

    Raises:
        TypeError: a key is no string, or a value has a type that Milvus cannot compare with.
        ValueError: a number that is not finite or leaves 64 bits, or a string that is not valid Unicode.
    """
    if filter is None:
        return ""
    if not isinstance(filter, Mapping):
        msg = f"A filter is a mapping of metadata key to value, not {type(filter).__name__}."
        raise TypeError(msg)
    return " and ".join(_condition(key, value, fields) for key, value in filter.items())


def compile_ids(ids: Sequence[str], *, primary_field: str = PRIMARY_FIELD) -> str:
    """Compile "the primary key is one of `ids`"; no ids match nothing.

    Args:
        ids: primary keys.
        primary_field: the primary key's field.

    Returns:
        The expression.

    Raises:
        TypeError: an id is no string.
        ValueError: an id is not valid Unicode.
    """
    for id_ in ids:
        if not isinstance(id_, str):
            msg = f"An id is a string, not {type(id_).__name__}."
            raise TypeError(msg)
    return f"{primary_field} in [{', '.join(_quote(id_) for id_ in ids)}]"


def join_all(*expressions: str | None) -> str:
    """Join expressions with `and`, leaving out the empty ones."""
    present = [expression for expression in expressions if expression]
    return present[0] if len(present) == 1 else " and ".join(f"({expression})" for expression in present)


def _condition(key: str, value: Any, fields: Collection[str]) -> str:
    if not isinstance(key, str):
        msg = f"A filter key is a string, not {type(key).__name__}: {key!r}."
        raise TypeError(msg)
    operand = key if key in fields else f"$meta[{_quote(key)}]"
    if isinstance(value, (list, tuple, set, frozenset)):
        # `$meta["k"] in [...]` is refused by Lite 3.2.2 ("left side of 'in' must be a field reference").
        return _any([_equals(key, operand, member) for member in value])
    return _equals(key, operand, value)


def _equals(key: str, operand: str, value: Any) -> str:
    if value is None:
        # `== null` does not parse, and `is null` on a JSON key is newer than `exists`.
        return f"(not (exists {operand}))" if operand.startswith("$meta") else f"{operand} is null"
    return f"{operand} == {_literal(key, value)}"


def _any(conditions: list[str]) -> str:
    """Join with `or`, as a balanced tree: Lite recurses, and a long chain overflows its stack."""
    if not conditions:
        return f"{PRIMARY_FIELD} in []"  # a constant such as `1 == 2` is refused by servers
    if len(conditions) == 1:
        return conditions[0]
    half = len(conditions) // 2
    return f"({_any(conditions[:half])} or {_any(conditions[half:])})"


def _literal(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, int):
        if abs(value) > _MAX_INT:
            msg = f"The value of filter key {key!r} leaves the range of 64-bit integers."
            raise ValueError(msg)
        return int.__repr__(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            msg = f"The value of filter key {key!r} is {value}; Milvus compares finite numbers only."
            raise ValueError(msg)
        return float.__repr__(value)
    msg = (
        f"The value of filter key {key!r} is a {type(value).__name__}; a filter takes str, bool, int, float, "
        "None, and lists, tuples or sets of these."
    )
    raise TypeError(msg)


def _quote(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        msg = f"{text!r} is not valid Unicode (a lone surrogate) and cannot be sent to Milvus."
        raise ValueError(msg) from error
    return f'"{text.translate(_ESCAPES)}"'
