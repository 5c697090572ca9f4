r"""Filters for Milvus in which values are data: nothing in a key or a value becomes part of the expression.

One compiler serves mappings, `expressions`, LlamaIndex's filters and ids. Tests compare what compiled filters select
among random rows with plain Python, on Milvus Lite and on a server.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qwen3_core.milvus.expressions import And, Comparison, Expression, In, Not, Or, Raw, as_expression
from qwen3_core.milvus.literals import literal, pattern, quote

PRIMARY_FIELD = "pk"
"""The primary key's field, the name that langchain-milvus uses."""

TEXT_FIELD = "text"
"""The text's field, the name that langchain-milvus uses."""

NOTHING = f"{PRIMARY_FIELD} in []"
"""The expression that no row fulfils; servers refuse a constant such as `1 == 2`."""

MAX_DEPTH = 40
"""How deep And and Or may nest: Lite's parser and evaluator recurse, and fail near 100."""

Filter = Mapping[str, Any] | Expression
"""What is taken wherever a `filter` is asked for."""


def compile_filter(
    filter: Filter | None,  # noqa: A002  # the name that LangChain's vector stores use
    *,
    fields: Collection[str] = (PRIMARY_FIELD, TEXT_FIELD),
    key_prefix: str = "",
) -> str:
    """Compile a condition to a Milvus expression.

    A mapping asks for equality of every key; a list, tuple or set asks for any of its members, and an empty one matches
    no row; None matches rows in which the key is absent or null. Expressions mean what they mean in Python (see
    `expressions`), with these exceptions, which are Milvus's:

    - `1`, `1.0` and `True` are equal on Milvus Lite, as in Python; a server tells True from 1.
    - A stored list or object is neither greater nor less than anything, and on Milvus Lite also not the negation of it.
    - Milvus 2.3 takes a stored null for a value that is present.
    - `Field("tags")[1]` is the second of a list; on a server also what an object has under the key "1".

    Args:
        filter: metadata key -> str, bool, int, float, None, or a list, tuple or set of these; or an expression. None or
            an empty mapping gives an empty expression, which selects everything.
        fields: names that are VARCHAR fields of the collection; every other key is looked up in the dynamic metadata.
        key_prefix: what every primary key begins with, though the caller's ids do not.

    Returns:
        The expression.

    Raises:
        TypeError: a plain string, a key that is no string, or a value that Milvus cannot compare with.
        ValueError: a number that is not finite or leaves 64 bits, a string that is not valid Unicode, or a condition
            that is nested too deep.
    """
    if filter is None:
        return ""
    return _Compiler(fields, key_prefix).compile(as_expression(filter))


def compile_ids(ids: Sequence[str], *, key_prefix: str = "") -> str:
    """Compile "the primary key is one of `ids`"; no ids match nothing.

    Raises:
        TypeError: an id is no string.
        ValueError: an id is not valid Unicode.
    """
    return compile_filter(has_id(ids), key_prefix=key_prefix)


def has_id(ids: Sequence[str]) -> Expression:
    """Return the expression "the id is one of these".

    Raises:
        TypeError: an id is no string.
        ValueError: an id is not valid Unicode.
    """
    for id_ in ids:
        if not isinstance(id_, str):
            msg = f"An id is a string, not {type(id_).__name__}."
            raise TypeError(msg)
    return In(PRIMARY_FIELD, ids)


def join_all(*expressions: str | None) -> str:
    """Join compiled expressions with `and`, leaving out the empty ones."""
    present = [expression for expression in expressions if expression]
    return present[0] if len(present) == 1 else " and ".join(f"({expression})" for expression in present)


@dataclass(frozen=True)
class _Compiler:
    """Compiles; an empty string stands for every row.

    In Milvus Lite a comparison with a key that is absent is neither true nor false, and negating it changes nothing; on
    a server it is false. So negation goes down to the comparisons, and each knows its own complement.
    """

    fields: Collection[str]
    key_prefix: str

    def compile(self, node: Expression, *, negated: bool = False, depth: int = 0) -> str:
        if depth > MAX_DEPTH:
            msg = f"The filter nests And and Or more than {MAX_DEPTH} deep, which Milvus cannot evaluate."
            raise ValueError(msg)
        while isinstance(node, Not):
            node, negated = node.part, not negated
        if isinstance(node, (And, Or)):
            parts = [self.compile(part, negated=negated, depth=depth + 1) for part in node.parts]
            return _all(parts) if isinstance(node, And) != negated else _any(parts)
        if isinstance(node, Raw):
            return f"(not ({node.text}))" if negated else f"({node.text})"
        if not isinstance(node, Comparison):
            msg = f"{type(node).__name__} is no expression of this package."
            raise TypeError(msg)
        if node.path[0] in self.fields:
            found = self._on_field(node)
            return _not(found) if negated else found
        return self._not_on_metadata(node) if negated else self._on_metadata(node)

    def _on_field(self, node: Comparison) -> str:
        """Compile a comparison with a VARCHAR field, which always has a string and no parts."""
        name, value, operator = str(node.path[0]), node.value, node.operator
        prefix = self.key_prefix if name == PRIMARY_FIELD else ""
        if len(node.path) > 1:
            return NOTHING
        if operator == "exists":
            return ""
        if operator == "in":
            texts = [quote(prefix + member) for member in value if isinstance(member, str)]
            return f"{name} in [{', '.join(texts)}]" if texts else NOTHING
        if not isinstance(value, str):
            return NOTHING
        if operator == "contains":
            return f'{name} like "{prefix}{pattern(name, value)[1:]}'
        return f"{name} {operator} {quote(prefix + value)}"

    def _on_metadata(self, node: Comparison) -> str:
        place = _Place(node.path)
        if node.operator == "exists":
            return place.present
        members = node.value if node.operator == "in" else (node.value,)
        wanted = place.compare(node.operator, members)
        if None in members:
            return _any([place.absent, wanted])
        return wanted if place.no_text == "" or wanted == NOTHING else _all([wanted, place.no_text])

    def _not_on_metadata(self, node: Comparison) -> str:
        place = _Place(node.path)
        if node.operator == "exists":
            return place.absent
        members = node.value if node.operator == "in" else (node.value,)
        unwanted = _not(place.compare(node.operator, members))
        if None in members:
            return _all([place.present, unwanted])
        others = [place.of_another_type(node.value)] if node.operator in {"<", "<=", ">", ">="} else []
        return _any([place.absent, unwanted, *others])


class _Place:
    """A place in the metadata of a row, in Milvus's words."""

    def __init__(self, path: tuple[str | int, ...]) -> None:
        self.key = str(path[0])
        parts = [str(part) if isinstance(part, int) else quote(part) for part in path]
        self.operand = "$meta" + "".join(f"[{part}]" for part in parts)
        # Lite looks for parts also in a string that happens to hold JSON.
        text = f'$meta[{parts[0]}] like "%"' if len(parts) > 1 else ""
        self.no_text = f"(not ({text}))" if text else ""
        self.absent = f"(not (exists {self.operand}))"
        self.present = f"(exists {self.operand})"
        if text:
            self.absent = f"({self.absent} or ({text}))"
            self.present = f"({self.present} and {self.no_text})"

    def compare(self, operator: str, members: Collection[Any]) -> str:
        """Compile the comparison itself; None among the members is left out."""
        if operator == "contains":
            return f"{self.operand} like {pattern(self.key, *members)}"
        sign = "==" if operator == "in" else operator
        # `$meta["k"] in [...]` is refused by Lite 3.2.2 ("left side of 'in' must be a field reference").
        return _any([f"{self.operand} {sign} {literal(self.key, each)}" for each in members if each is not None])

    def of_another_type(self, value: Any) -> str:
        """Compile "cannot be compared with this value" where Lite gives neither true nor false."""
        if isinstance(value, str):
            return f"({self.operand} < 0 or {self.operand} >= 0)"
        return f'({self.operand} like "%")'


def _not(expression: str) -> str:
    if expression == "":
        return NOTHING
    return "" if expression == NOTHING else f"(not ({expression}))"


def _all(parts: list[str]) -> str:
    return NOTHING if NOTHING in parts else _tree("and", [part for part in parts if part])


def _any(parts: list[str]) -> str:
    if "" in parts:
        return ""
    return _tree("or", [part for part in parts if part != NOTHING]) or NOTHING


def _tree(word: str, parts: list[str]) -> str:
    """Join as a balanced tree: a server's parser recurses, and a long chain overflows its stack."""
    if len(parts) < 2:
        return "".join(parts)
    half = len(parts) // 2
    return f"({_tree(word, parts[:half])} {word} {_tree(word, parts[half:])})"
