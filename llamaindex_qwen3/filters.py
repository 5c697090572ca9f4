"""LlamaIndex's metadata filters as expressions in which values are data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from qwen3_core.milvus import And, Expression, Field, Filter, In, Not, Or
from qwen3_core.milvus.expressions import as_expression

Filters = MetadataFilters | Filter
"""What is taken wherever filters are asked for: LlamaIndex's, an expression, or a mapping of keys to values."""


def _members(field: Field, value: Any) -> Expression:
    if not isinstance(value, (list, tuple, set, frozenset)):
        msg = f"Operator 'in' for {field!r} with {value!r}: 'in' and 'not in' take lists, others one value."
        raise TypeError(msg)
    return In(field, value)


_OPERATORS: dict[FilterOperator, Callable[[Field, Any], Expression]] = {
    FilterOperator.EQ: lambda field, value: field == value,
    FilterOperator.NE: lambda field, value: field != value,
    FilterOperator.GT: lambda field, value: field > value,
    FilterOperator.GTE: lambda field, value: field >= value,
    FilterOperator.LT: lambda field, value: field < value,
    FilterOperator.LTE: lambda field, value: field <= value,
    FilterOperator.IN: _members,
    FilterOperator.NIN: lambda field, value: Not(_members(field, value)),
    FilterOperator.TEXT_MATCH: lambda field, value: field.contains(value),
}


def to_expression(filters: Filters | None) -> Expression:
    """Translate filters as llama-index-core's own stores understand them, nested ones included.

    NOT selects the rows that fulfil none of its filters. A filter with the value None selects the rows in which the
    key is absent or null (EQ) or present (NE); it never falls away.

    Args:
        filters: The filters; None or an empty list of them selects every row.

    Raises:
        ValueError: Milvus Lite cannot tell what an operator asks for (CONTAINS, ANY, ALL, IS_EMPTY,
            TEXT_MATCH_INSENSITIVE), or a value cannot be written.
        TypeError: A value has a type that the operator cannot compare with, or these are no filters.
    """
    if filters is None:
        return And()
    if not isinstance(filters, MetadataFilters):
        return as_expression(filters)
    parts = [to_expression(each) if isinstance(each, MetadataFilters) else _translate(each) for each in filters.filters]
    if not parts:
        return And()
    if filters.condition == FilterCondition.NOT:
        return Not(Or(*parts))
    return Or(*parts) if filters.condition == FilterCondition.OR else And(*parts)


def _translate(filter_: MetadataFilter) -> Expression:
    translate = _OPERATORS.get(filter_.operator)
    if translate is None:
        msg = (
            f"Operator {filter_.operator.name} for key {filter_.key!r}: Milvus Lite cannot look into lists, fold case, "
            "or tell an empty list. Use EQ (None finds keys that are absent or null), IN, or TEXT_MATCH."
        )
        raise ValueError(msg)
    return translate(Field(filter_.key), filter_.value)


def of_documents(doc_ids: Sequence[str] | None) -> Expression:
    """Return "comes from one of these documents"; no ids at all select nothing, None selects everything."""
    return And() if doc_ids is None else In("doc_id", doc_ids)
