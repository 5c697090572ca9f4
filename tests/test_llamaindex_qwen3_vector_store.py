"""The Milvus store of the LlamaIndex package: the contract, random filters, and the way between the frameworks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms.mock import MockLLM
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from llama_index.core.vector_stores.utils import build_metadata_filter_fn
from milvus_servers import TOKEN

from llamaindex_qwen3.filters import to_expression
from llamaindex_qwen3.testing.vector_store import MilvusStoreContract, field, node, unit, where
from llamaindex_qwen3.vector_store import Qwen3VectorStore, create_vector_store
from qwen3_core.milvus import Field, Not, raw
from qwen3_core.milvus.errors import EmbeddingMismatchError


class Letters(BaseEmbedding):
    """Eight numbers from a text's letters; the store asks it for nothing but its identity."""

    model_name: str = "letters"

    def _get_text_embedding(self, text: str) -> list[float]:
        return [float(sum(ord(letter) % 8 == place for letter in text)) for place in range(8)]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


class TestContract(MilvusStoreContract):
    def make(self, uri: str, *, hybrid: bool = False) -> Qwen3VectorStore:
        return create_vector_store(Letters(), uri=uri, collection_name="contract", hybrid=hybrid)


class TestContractOnMilvus(MilvusStoreContract):
    @pytest.fixture
    def uri(self, milvus_2_3: str) -> str:
        create_vector_store(Letters(), uri=milvus_2_3, token=TOKEN, collection_name="contract", drop_old=True).close()
        return milvus_2_3

    def make(self, uri: str, *, hybrid: bool = False) -> Qwen3VectorStore:
        if hybrid:
            pytest.skip("Milvus 2.3 has no full-text search")
        return create_vector_store(Letters(), uri=uri, token=TOKEN, collection_name="contract")


# -- random filters against plain Python ----------------------------------------------------------------------

ROWS: list[dict[str, Any]] = [
    {}, {"n": 1}, {"n": 2, "s": "a"}, {"n": 2.5, "s": 'a "b"'}, {"n": -1, "s": "back\\slash"}, {"s": ""},
    {"s": "数据 a"}, {"n": 3, "s": "line\nbreak", "t": 1}, {"n": None, "t": 2}, {"n": 1, "s": "a", "t": 2},
]  # fmt: skip
NUMBERS = st.sampled_from([1, 2, 2.5, -1, 7])
STRINGS = st.sampled_from(["a", 'a "b"', "back\\slash", "", "数据 a", "line\nbreak", "other"])


def comparisons() -> st.SearchStrategy[MetadataFilter]:
    equal = [FilterOperator.EQ, FilterOperator.NE]
    order = [FilterOperator.GT, FilterOperator.GTE, FilterOperator.LT, FilterOperator.LTE]
    many = [FilterOperator.IN, FilterOperator.NIN]

    def build(key: str, operators: list[FilterOperator], values: Any) -> st.SearchStrategy[MetadataFilter]:
        return st.builds(MetadataFilter, key=st.just(key), operator=st.sampled_from(operators), value=values)

    return st.one_of(
        build("n", equal + order, NUMBERS),
        build("n", many, st.lists(st.sampled_from([1, 2, -1]), max_size=3)),
        build("s", equal, STRINGS),
        build("s", many, st.lists(STRINGS, max_size=3)),
        build("s", [FilterOperator.TEXT_MATCH], st.sampled_from(["a", "b", "数", "k\ts"])),
        build("t", equal, st.none()),
    )


def conditions() -> st.SearchStrategy[MetadataFilters]:
    def group(inner: Any) -> Any:
        kinds = st.sampled_from(list(FilterCondition))
        return st.builds(MetadataFilters, filters=st.lists(inner, max_size=3), condition=kinds)

    return st.recursive(group(comparisons()), lambda inner: group(st.one_of(inner, comparisons())), max_leaves=6)


def holds(condition: MetadataFilters | MetadataFilter, row: dict[str, Any]) -> bool:
    """What a filter means; single filters are judged by llama-index-core itself where it knows a meaning."""
    if isinstance(condition, MetadataFilters):
        found = [holds(each, row) for each in condition.filters]
        if condition.condition == FilterCondition.NOT:
            return not any(found)
        return not found or (any(found) if condition.condition == FilterCondition.OR else all(found))
    if condition.value is None:  # core lets every row fall; here None stands for "absent or null"
        return (row.get(condition.key) is None) == (condition.operator == FilterOperator.EQ)
    return build_metadata_filter_fn(lambda _: row, MetadataFilters(filters=[condition]))("")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Qwen3VectorStore]:
    uri = str(tmp_path_factory.mktemp("rows") / "milvus.db")
    with create_vector_store(Letters(), uri=uri) as store:
        store.add([node(str(number), unit(1), **row) for number, row in enumerate(ROWS)])
        yield store


@given(conditions())
@settings(max_examples=200)
def test_a_filter_selects_what_plain_python_selects(rows: Qwen3VectorStore, filters: MetadataFilters) -> None:
    query = VectorStoreQuery(query_embedding=unit(1), similarity_top_k=len(ROWS), filters=filters)
    expected = {str(number) for number, row in enumerate(ROWS) if holds(filters, row)}
    assert set(rows.query(query).ids or []) == expected


@pytest.mark.parametrize("operator", ["CONTAINS", "ANY", "ALL", "IS_EMPTY", "TEXT_MATCH_INSENSITIVE"])
def test_what_lite_cannot_tell_is_refused(operator: str) -> None:
    with pytest.raises(ValueError, match=operator):
        to_expression(where(field("key", FilterOperator[operator], "x")))


@pytest.mark.parametrize("pattern", ["100%", "a_b", "a\\b"])
def test_a_text_that_would_be_a_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        to_expression(where(field("key", FilterOperator.TEXT_MATCH, pattern)))


def test_filters_may_be_expressions_and_mappings(rows: Qwen3VectorStore) -> None:
    index = VectorStoreIndex.from_vector_store(rows, embed_model=Letters())

    def found(filters: Any) -> set[str]:
        by_node = {each.node_id for each in rows.get_nodes(filters=filters)}
        retriever = index.as_retriever(similarity_top_k=len(ROWS), filters=filters)
        assert {each.node_id for each in retriever.retrieve("a")} == by_node
        return by_node

    assert found((Field("n") >= 2) & Field("s").exists()) == {"2", "3", "7"}
    assert found({"n": [1, -1], "t": None}) == {"1", "4"}
    assert found(raw("n == 2")) == {"2"}
    assert found(Not({"n": None})) == {"1", "2", "3", "4", "7", "9"}
    for wrong in ("n == 2", ["n"], 7):
        with pytest.raises(TypeError, match=r"raw\(|a mapping of metadata key"):
            rows.get_nodes(filters=wrong)  # type: ignore[arg-type]


# -- what the contract cannot ask of every store ----------------------------------------------------------------


def test_another_embedding_is_refused_and_both_are_named(tmp_path: Path) -> None:
    uri = str(tmp_path / "milvus.db")
    with create_vector_store(Letters(), uri=uri) as store:
        store.add([node("a", unit(1))])
    with pytest.raises(EmbeddingMismatchError, match=r"letters.*other") as caught:
        create_vector_store(Letters(model_name="other"), uri=uri)
    assert "Nothing was written" in str(caught.value)
    create_vector_store(Letters(), uri=uri).close()  # and the file is free


def test_a_node_without_a_vector_writes_nothing(tmp_path: Path) -> None:
    with create_vector_store(Letters(), uri=str(tmp_path / "milvus.db")) as store:
        with pytest.raises(ValueError, match="embedding not set"):
            store.add([node("a", unit(1)), TextNode(id_="b", text="b")])
        assert not store.existing_ids(["a"])


def test_serialised_without_the_token_and_opened_again(tmp_path: Path) -> None:
    uri = str(tmp_path / "milvus.db")
    with create_vector_store(Letters(), uri=uri, token="root:hunter2") as store:
        store.add([node("a", unit(1))])
        fields = store.to_dict()
        assert "hunter2" not in str(fields) + repr(store)
    with Qwen3VectorStore.from_dict(fields) as again:
        assert again.query(VectorStoreQuery(query_embedding=unit(1), similarity_top_k=1)).ids == ["a"]


def test_unknown_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="colection"):
        Qwen3VectorStore(Letters(), uri=str(tmp_path / "milvus.db"), colection="docs")


def test_a_fusion_retriever_does_not_break_what_comes_after(tmp_path: Path) -> None:
    """A synchronous fusion in a running loop, as in a notebook, opens a loop of its own."""
    with create_vector_store(Letters(), uri=str(tmp_path / "milvus.db")) as store:
        store.add([node("a", unit(1)), node("b", unit(0, 1))])
        index = VectorStoreIndex.from_vector_store(store, embed_model=Letters())
        one = index.as_retriever(similarity_top_k=1)
        fusion = QueryFusionRetriever([one, one], llm=MockLLM(), num_queries=1, use_async=True)

        async def cell() -> int:
            return len(fusion.retrieve("aaa")) + len(await one.aretrieve("aaa"))

        assert len(one.retrieve("aaa")) == 1
        assert asyncio.run(cell()) == 2
        assert len(asyncio.run(one.aretrieve("aaa"))) == 1
