"""LlamaIndex's metadata filters as Milvus expressions in which values are data."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from qwen3_core.milvus.filters import NOTHING, Operator, compile_comparison, compile_filter, join_all, join_any

_OPERATORS: dict[FilterOperator, Operator] = {
    FilterOperator.EQ: "==",
    FilterOperator.NE: "!=",
    FilterOperator.GT: ">",
    FilterOperator.GTE: ">=",
    FilterOperator.LT: "<",
    FilterOperator.LTE: "<=",
    FilterOperator.IN: "in",
    FilterOperator.NIN: "not in",
    FilterOperator.TEXT_MATCH: "contains text",
}


def compile_filters(filters: MetadataFilters | None, *, negated: bool = False) -> str:
    """Compile filters as llama-index-core's own stores understand them, nested ones included.

    NOT selects the rows that fulfil none of its filters. A filter with the value None selects the rows in which the
    key is absent or null (EQ) or present (NE); it never falls away.

    Args:
        filters: The filters; None or an empty list of them selects every row.
        negated: Whether the rows are wanted that do not fulfil them.

    Returns:
        A Milvus expression, empty for every row.

    Raises:
        ValueError: Milvus Lite cannot tell what an operator asks for (CONTAINS, ANY, ALL, IS_EMPTY,
            TEXT_MATCH_INSENSITIVE), or a value cannot be written.
        TypeError: A value has a type that the operator cannot compare with.
    """
    if filters is None or not filters.filters:
        return NOTHING if negated and filters is not None else ""
    if filters.condition == FilterCondition.NOT:
        negated, any_of = not negated, True  # none of them = not any of them
    else:
        any_of = filters.condition == FilterCondition.OR
    parts = [
        compile_filters(each, negated=negated) if isinstance(each, MetadataFilters) else _compile(each, negated=negated)
        for each in filters.filters
    ]
    return join_any(*parts) if any_of != negated else join_all(*parts)


def _compile(filter_: MetadataFilter, *, negated: bool) -> str:
    operator = _OPERATORS.get(filter_.operator)
    if operator is None:
        msg = (
            f"Operator {filter_.operator.name} for key {filter_.key!r}: Milvus Lite cannot look into lists, fold case, "
            "or tell an empty list. Use EQ (None finds keys that are absent or null), IN, or TEXT_MATCH."
        )
        raise ValueError(msg)
    return compile_comparison(filter_.key, operator, filter_.value, negated=negated)


def compile_documents(doc_ids: Sequence[str] | None) -> str:
    """Compile "comes from one of these documents"; no ids at all select nothing, None selects everything."""
    return "" if doc_ids is None else compile_filter({"doc_id": list(doc_ids)})
