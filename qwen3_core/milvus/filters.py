r"""Filters for Milvus in which values are data: nothing in a key or a value becomes part of the expression.

Milvus Lite 3.2 has no filter templates (https://github.com/milvus-io/milvus-lite/issues/327), so values are
written into the expression as literals, escaped here. Its tokenizer knows six escapes (`\"`, `\'`, `\\`,
`\n`, `\r`, `\t`) and takes every other character as it stands; a server's grammar accepts the same. A test
compares compiled filters over random rows with plain Python.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

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


Operator = Literal["==", "!=", ">", ">=", "<", "<=", "in", "not in", "contains text"]
"""What `compile_comparison` knows."""

NOTHING = f"{PRIMARY_FIELD} in []"
"""The expression that no row fulfils; servers refuse a constant such as `1 == 2`."""


def compile_comparison(
    key: str,
    operator: Operator,
    value: Any,
    *,
    negated: bool = False,
    fields: Collection[str] = (PRIMARY_FIELD, TEXT_FIELD),
) -> str:
    """Compile one comparison of a metadata key, or its negation.

    In Milvus a comparison with a key that is absent is neither true nor false, and negating it changes nothing. Here
    a row without the key fulfils no comparison, hence each negation ("!=" and "not in" are negations): Python's logic.
    A value of another type than the stored one is unequal; it is neither greater nor less, nor the negation of it.
    None stands for "absent or null" with "==" and "!=".

    Args:
        key: The metadata key.
        operator: How to compare; "contains text" asks for a part of a string, with regard to case.
        value: str, bool, int, float, None, or for "in" and "not in" a list, tuple or set of these.
        negated: Whether the rows are wanted that do not fulfil it.
        fields: Names that are fields of the collection.

    Raises:
        TypeError: The value has a type that the operator cannot compare with.
        ValueError: The value cannot be written, or Milvus would read it as a pattern.
    """
    positive = {"!=": "==", "not in": "in"}.get(operator, operator)
    negated = negated != (positive != operator)
    if positive in {"==", "in"}:
        many = isinstance(value, (list, tuple, set, frozenset))
        if many != (positive == "in"):
            msg = (
                f"Operator {operator!r} for key {key!r} with {value!r}: 'in' and 'not in' take lists, others one value."
            )
            raise TypeError(msg)
        expression = _condition(key, value, fields)
    elif positive == "contains text":
        expression = f'{_operand(key, fields)} like "%{_pattern(key, value)}%"'
    elif value is None or isinstance(value, (bool, list, tuple, set, frozenset)):
        msg = f"Operator {operator!r} for key {key!r} takes a number or a string, not {value!r}."
        raise TypeError(msg)
    else:
        expression = f"{_operand(key, fields)} {positive} {_literal(key, value)}"
    return _negate(key, expression, value, fields) if negated else expression


def _negate(key: str, expression: str, value: Any, fields: Collection[str]) -> str:
    if expression == NOTHING:
        return f'{PRIMARY_FIELD} != ""'  # every row: no key is empty
    operand = _operand(key, fields)
    asks_for_absent = value is None or (isinstance(value, (list, tuple, set, frozenset)) and None in value)
    if asks_for_absent or not operand.startswith("$meta"):
        return f"not ({expression})"
    return f"((not (exists {operand})) or (not ({expression})))"


def _pattern(key: str, value: Any) -> str:
    if not isinstance(value, str):
        msg = f"A text to look for in {key!r} is a string, not {type(value).__name__}."
        raise TypeError(msg)
    if set(value) & set("%_\\"):
        msg = f"{value!r}: Milvus reads %, _ and \\ as a pattern and has no way to mean the characters. Leave them out."
        raise ValueError(msg)
    return _quote(value)[1:-1]


def join_any(*expressions: str) -> str:
    """Join expressions with `or`; an empty one holds for every row, so the whole is empty then."""
    return "" if "" in expressions else _any(list(expressions))


def join_all(*expressions: str | None) -> str:
    """Join expressions with `and`, leaving out the empty ones."""
    present = [expression for expression in expressions if expression]
    return present[0] if len(present) == 1 else " and ".join(f"({expression})" for expression in present)


def _condition(key: str, value: Any, fields: Collection[str]) -> str:
    operand = _operand(key, fields)
    if isinstance(value, (list, tuple, set, frozenset)):
        # `$meta["k"] in [...]` is refused by Lite 3.2.2 ("left side of 'in' must be a field reference").
        return _any([_equals(key, operand, member) for member in value])
    return _equals(key, operand, value)


def _operand(key: str, fields: Collection[str]) -> str:
    if not isinstance(key, str):
        msg = f"A filter key is a string, not {type(key).__name__}: {key!r}."
        raise TypeError(msg)
    return key if key in fields else f"$meta[{_quote(key)}]"


def _equals(key: str, operand: str, value: Any) -> str:
    if value is None:
        # `== null` does not parse, and `is null` on a JSON key is newer than `exists`.
        return f"(not (exists {operand}))" if operand.startswith("$meta") else f"{operand} is null"
    return f"{operand} == {_literal(key, value)}"


def _any(conditions: list[str]) -> str:
    """Join with `or`, as a balanced tree: Lite recurses, and a long chain overflows its stack."""
    if not conditions:
        return NOTHING
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
