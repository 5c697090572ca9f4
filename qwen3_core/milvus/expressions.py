"""Conditions on metadata, built from Python values: `(Field("page") >= 3) & ~In("lang", ["de", "fr"])`.

They mean what the same condition means in Python over `row.get(key)`: a row without the key fulfils no comparison, and
`Not` selects exactly the rows that the condition leaves out. `filters` compiles them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from qwen3_core.milvus.literals import literal, pattern, quote

Operator = Literal["==", "in", "<", "<=", ">", ">=", "contains", "exists"]


class Expression:
    """A condition: immutable, hashable, equal to those that read the same; combined with `&`, `|` and `~`."""

    def __and__(self, other: Expression | Mapping[str, Any]) -> And:
        return And(self, other)

    def __or__(self, other: Expression | Mapping[str, Any]) -> Or:
        return Or(self, other)

    def __invert__(self) -> Expression:
        return Not(self)

    def __bool__(self) -> NoReturn:
        """Refuse `and`, `or`, `not` and chains like `1 < Field("a") < 5`, which would drop half of the condition."""
        msg = f"{self!r} is neither true nor false by itself: combine conditions with &, | and ~ (in parentheses)."
        raise TypeError(msg)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and repr(other) == repr(self)

    def __hash__(self) -> int:
        return hash(repr(self))


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Expression):
    """One comparison of what stands at a path; made by `Field` and `In`."""

    path: tuple[str | int, ...]
    operator: Operator
    value: Any

    def __repr__(self) -> str:
        field = repr(Field(*self.path))
        if self.operator == "in":
            return f"In({field}, {self.value!r})"
        if self.operator == "exists":
            return f"{field}.exists()"
        if self.operator == "contains":
            return f"{field}.contains({self.value!r})"
        return f"({field} {self.operator} {self.value!r})"


class Field:
    """A metadata key, or a place inside its value: `Field("page")`, `Field("author")["name"]`, `Field("tags")[0]`.

    Compare it with `==`, `!=`, `<`, `<=`, `>`, `>=`. `== None` asks for rows in which the key is absent or null. The
    names `pk` and `text` are the id and the content of a row. Strings and numbers are never equal, and neither is less
    than the other; what else a comparison of unequal types gives is told at `compile_filter`.

    Args:
        *path: The key, then keys of objects and places in lists.

    Raises:
        TypeError: The key is no string, or the path goes on with something else than strings and integers.
        ValueError: A place in a list is negative, or a key is empty, not valid Unicode, or inside a value a number.
    """

    __slots__ = ("_path",)
    _path: tuple[str | int, ...]

    def __init__(self, *path: str | int) -> None:
        if not path or not isinstance(path[0], str):
            msg = f"A filter key is a string, not {type(path[0]).__name__ if path else 'nothing'}: {path!r}."
            raise TypeError(msg)
        for place, part in enumerate(path):
            if isinstance(part, bool) or not isinstance(part, (str, int)):
                msg = f"{part!r} in the path of {path[0]!r}: pass the key of an object or the place in a list."
                raise TypeError(msg)
            if isinstance(part, int) and part < 0:
                msg = f"Place {part} in {path[0]!r}: Milvus counts lists from 0, and not from their end."
                raise ValueError(msg)
            if part == "":
                msg = f"The path {path!r} has an empty key, which a Milvus server cannot look up."
                raise ValueError(msg)
            if isinstance(part, str):
                quote(part)
                if place and part.isdecimal():
                    msg = f"Key {part!r} in {path[0]!r}: a Milvus server cannot tell it from a place in a list."
                    raise ValueError(msg)
        object.__setattr__(self, "_path", path)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        msg = f"A Field cannot be changed ({name})."
        raise AttributeError(msg)

    def __reduce__(self) -> tuple[type[Field], tuple[str | int, ...]]:
        return Field, self._path

    def __getitem__(self, part: str | int) -> Field:
        return Field(*self._path, part)

    __iter__ = None  # or `in` and loops would ask for [0], [1], ... without end
    __contains__ = None

    def __eq__(self, value: object) -> Expression:  # type: ignore[override]
        return Comparison(self._path, "==", _scalar(self, value))

    def __ne__(self, value: object) -> Expression:  # type: ignore[override]
        return Not(self == value)

    def __lt__(self, value: str | float) -> Expression:
        return self._ordered("<", value)

    def __le__(self, value: str | float) -> Expression:
        return self._ordered("<=", value)

    def __gt__(self, value: str | float) -> Expression:
        return self._ordered(">", value)

    def __ge__(self, value: str | float) -> Expression:
        return self._ordered(">=", value)

    def __hash__(self) -> int:
        return hash(self._path)

    def __repr__(self) -> str:
        return f"Field({self._path[0]!r})" + "".join(f"[{part!r}]" for part in self._path[1:])

    def contains(self, text: str) -> Expression:
        r"""Ask for strings that have `text` in them, with regard to case; on servers since Milvus 2.4.

        Raises:
            ValueError: `text` has one of the characters %, _ and \, which Milvus reads as a pattern.
        """
        pattern(str(self._path[0]), text)
        return Comparison(self._path, "contains", text)

    def exists(self) -> Expression:
        """Ask for rows that have the key with a value that is not null."""
        return Comparison(self._path, "exists", None)

    def _ordered(self, operator: Operator, value: object) -> Expression:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            msg = f"Operator {operator!r} for key {self._path[0]!r} takes a number or a string, not {value!r}."
            raise TypeError(msg)
        literal(str(self._path[0]), value)
        return Comparison(self._path, operator, value)


def In(field: Field | str, values: Iterable[Any]) -> Expression:  # noqa: N802  # reads like And, Or and Not
    """Ask for any of some values; of none for no row, and with None among them also for rows without the key.

    Args:
        field: A `Field` or a metadata key.
        values: A list, tuple, set or any other collection of str, bool, int, float and None.

    Raises:
        TypeError: `values` is a string or no collection, or a value has a type that Milvus cannot compare with.
        ValueError: A number that is not finite or leaves 64 bits, or a string that is not valid Unicode.
    """
    field = field if isinstance(field, Field) else Field(field)
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        msg = f"In({field!r}, ...) takes a list of values, not {values!r}."
        raise TypeError(msg)
    members = [_scalar(field, value) for value in values]
    if isinstance(values, (set, frozenset)):
        members.sort(key=repr)  # the same set makes the same expression in every process
    return Comparison(field._path, "in", tuple(members))


def _scalar(field: Field, value: object) -> object:
    if value is not None:
        literal(str(field._path[0]), value)
    return value


class _Group(Expression):
    parts: tuple[Expression, ...]

    def __init__(self, *parts: Expression | Mapping[str, Any]) -> None:
        found: list[Expression] = []
        for part in map(as_expression, parts):
            found += part.parts if type(part) is type(self) else [part]
        object.__setattr__(self, "parts", tuple(found))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.parts))})"


@dataclass(frozen=True, eq=False, repr=False, init=False)
class And(_Group):
    """All of these conditions; without any, every row."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Or(_Group):
    """Any of these conditions; without any, no row."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Not(Expression):
    """The rows that do not fulfil a condition, those included that lack its keys."""

    part: Expression

    def __init__(self, part: Expression | Mapping[str, Any]) -> None:
        object.__setattr__(self, "part", as_expression(part))

    def __repr__(self) -> str:
        return f"Not({self.part!r})"


@dataclass(frozen=True, eq=False, repr=False)
class Raw(Expression):
    """A Milvus expression as it stands; made by `raw`."""

    text: str

    def __repr__(self) -> str:
        return f"raw({self.text!r})"


_STRING = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'", re.DOTALL)


def raw(text: str) -> Raw:
    """Pass a Milvus expression as it stands, of which no part may come from a user.

    It is put in parentheses and combined with the other conditions (and with the tenant's) by `and`.

    Raises:
        TypeError: `text` is no string.
        ValueError: It is blank, or leaves a quote or a parenthesis open.
    """
    if not isinstance(text, str):
        msg = f"raw() takes a Milvus expression as a string, not {type(text).__name__}."
        raise TypeError(msg)
    if not text.strip() or not _is_closed(text):
        msg = f"raw({text!r}): an expression is needed that closes its own quotes and parentheses, and no others."
        raise ValueError(msg)
    return Raw(text)


def _is_closed(text: str) -> bool:
    bare, depth = _STRING.sub("", text), 0
    for character in bare:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            return False
    return depth == 0 and not set(bare) & {'"', "'"}


def comparisons(condition: Expression) -> Iterator[Comparison]:
    """Yield the comparisons that a condition is made of."""
    if isinstance(condition, Comparison):
        yield condition
    for part in getattr(condition, "parts", [getattr(condition, "part", None)]):
        if part is not None:
            yield from comparisons(part)


def as_expression(condition: Mapping[str, Any] | Expression) -> Expression:
    """Return the expression that a mapping stands for: each key equals its value, or is one of its list.

    Raises:
        TypeError: It is neither, or a key or a value has a wrong type.
        ValueError: A value cannot be written.
    """
    if isinstance(condition, Expression):
        return condition
    if isinstance(condition, str):
        msg = f"{condition!r} is a string. To pass a Milvus expression as it stands, wrap it: raw({condition!r})."
        raise TypeError(msg)
    if not isinstance(condition, Mapping):
        msg = f"A filter is a mapping of metadata key to value, or an expression, not {type(condition).__name__}."
        raise TypeError(msg)
    return And(*(_from_item(key, value) for key, value in condition.items()))


def _from_item(key: str, value: Any) -> Expression:
    field = Field(key)
    return In(field, value) if isinstance(value, (list, tuple, set, frozenset)) else field == value
