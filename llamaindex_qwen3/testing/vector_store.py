"""What a LlamaIndex vector store over Milvus must do, as a pytest suite for any implementation."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.schema import MetadataMode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

NASTY = ['say "yes"', "it's", "back\\slash", "line\nbreak", "tab\there", "数据库", "100%", "a' or pk != '", "\\"]
"""Values that have to be data wherever they turn up."""


def unit(*numbers: float) -> list[float]:
    """Return a vector of length 1 with `MilvusStoreContract.DIMENSIONS` components."""
    vector = [*numbers, *([0.0] * (MilvusStoreContract.DIMENSIONS - len(numbers)))]
    length = math.sqrt(sum(number * number for number in vector))
    return [number / length for number in vector]


def node(id_: str, vector: list[float], text: str = "", document: str = "", **metadata: Any) -> TextNode:
    """Return a node with its vector, and its document if one is named."""
    made = TextNode(id_=id_, text=text or f"text of {id_}", metadata=metadata, embedding=vector)
    if document:
        made.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=document)
    return made


def where(
    *filters: MetadataFilter | MetadataFilters, condition: FilterCondition = FilterCondition.AND
) -> MetadataFilters:
    """Return filters under one condition."""
    return MetadataFilters(filters=list(filters), condition=condition)


def field(key: str, operator: FilterOperator, value: Any) -> MetadataFilter:
    """Return one filter."""
    return MetadataFilter(key=key, operator=operator, value=value)


class MilvusStoreContract:
    """Subclass it, and say in `make` how your store is opened.

    ```python
    class TestMyStore(MilvusStoreContract):
        def make(self, uri, *, hybrid=False):
            return MyStore(uri=uri, dim=self.DIMENSIONS, collection_name="contract")
    ```
    """

    DIMENSIONS = 8

    def make(self, uri: str, *, hybrid: bool = False) -> BasePydanticVectorStore:
        """Open the collection "contract" for vectors of `DIMENSIONS` numbers, by cosine; with BM25 if `hybrid`."""
        raise NotImplementedError

    def close(self, store: BasePydanticVectorStore) -> None:
        """Close a store, so that it can be opened again."""
        getattr(store, "close", getattr(store.client, "close", lambda: None))()

    @pytest.fixture
    def uri(self, tmp_path: Path) -> str:
        """Return where each test keeps its collection."""
        return str(tmp_path / "contract.db")

    @pytest.fixture
    def store(self, uri: str) -> Iterator[BasePydanticVectorStore]:
        """Return an empty store."""
        made = self.make(uri)
        yield made
        self.close(made)

    @pytest.fixture
    def hybrid(self, uri: str) -> Iterator[BasePydanticVectorStore]:
        """Return a store with three nodes that vector and text rank in opposite orders."""
        made = self.make(uri, hybrid=True)
        made.add(
            [
                node("near", unit(1), "nothing to see"),
                node("middle", unit(1, 1), "one zebra among many other animals of the plain"),
                node("far", unit(0, 1), "zebra zebra"),
            ]
        )
        yield made
        self.close(made)

    @pytest.fixture
    def filled(self, store: BasePydanticVectorStore) -> BasePydanticVectorStore:
        """Return a store with four nodes of two documents."""
        store.add(
            [
                node("a", unit(1), document="one", tenant="x", page=1),
                node("b", unit(1, 0.2), document="one", tenant="x", page=2),
                node("c", unit(1, 0.4), document="two", tenant="y", page=3),
                node("d", unit(1, 0.6), document="two"),
            ]
        )
        return store

    def found(self, store: BasePydanticVectorStore, filters: MetadataFilters | None = None, **options: Any) -> set[str]:
        """Return the ids of a search that could find everything."""
        query = VectorStoreQuery(query_embedding=unit(1), similarity_top_k=20, filters=filters, **options)
        return set(store.query(query).ids or [])

    # -- searching ---------------------------------------------------------------------------------------------

    def test_nearest_first_and_higher_is_better(self, filled: BasePydanticVectorStore) -> None:
        """Similarities fall, and that of an equal vector is 1: a distance would be upside down."""
        result = filled.query(VectorStoreQuery(query_embedding=unit(1), similarity_top_k=3))
        assert result.ids == ["a", "b", "c"]
        assert result.similarities == sorted(result.similarities or [], reverse=True)
        assert (result.similarities or [0])[0] == pytest.approx(1, abs=1e-3)

    def test_node_comes_back_whole(self, store: BasePydanticVectorStore) -> None:
        """Id, text, metadata, relations and what the LLM must not see survive."""
        given = node("a", unit(1), "a text", document="one", page=1, internal="s")
        given.excluded_llm_metadata_keys = ["internal"]
        store.add([given])
        [back] = store.query(VectorStoreQuery(query_embedding=unit(1), similarity_top_k=1)).nodes or []
        assert (back.node_id, back.get_content(MetadataMode.NONE), back.ref_doc_id) == ("a", "a text", "one")
        assert back.metadata == {"page": 1, "internal": "s"}
        assert "internal" not in back.get_content(MetadataMode.LLM)

    def test_reopened_collection_is_found(self, filled: BasePydanticVectorStore, uri: str) -> None:
        """What was written is there for the next process."""
        self.close(filled)
        again = self.make(uri)
        assert self.found(again) == {"a", "b", "c", "d"}
        self.close(again)

    def test_same_id_replaces(self, filled: BasePydanticVectorStore) -> None:
        """A node written twice is there once, with the newer metadata and without the older."""
        filled.add([node("a", unit(1), "new", fresh="yes")])
        nodes = filled.query(VectorStoreQuery(query_embedding=unit(1), similarity_top_k=20)).nodes or []
        [replaced] = [each for each in nodes if each.node_id == "a"]
        assert len(nodes) == 4
        assert replaced.metadata == {"fresh": "yes"}

    def test_mmr_prefers_variety(self, store: BasePydanticVectorStore) -> None:
        """MMR leaves out the near-copy."""
        store.add([node("a", unit(1, 0.1)), node("copy", unit(1, 0.11)), node("other", unit(1, -0.8))])
        query = VectorStoreQuery(
            query_embedding=unit(1), similarity_top_k=2, mode=VectorStoreQueryMode.MMR, mmr_threshold=0.4
        )
        assert set(store.query(query).ids or []) == {"a", "other"}

    def test_vector_of_another_length_is_refused(self, filled: BasePydanticVectorStore) -> None:
        """An error that can be caught, and nothing written."""
        with pytest.raises(Exception, match=r"(?i)dim"):
            filled.add([TextNode(id_="e", text="e", embedding=[1.0, 0.0])])
        assert self.found(filled) == {"a", "b", "c", "d"}

    # -- filters -----------------------------------------------------------------------------------------------

    def test_none_as_value_does_not_return_everything(self, filled: BasePydanticVectorStore) -> None:
        """A filter that falls away shows one tenant the rows of all: refuse it, or match absent keys."""
        try:
            found = self.found(filled, where(field("tenant", FilterOperator.EQ, None)))
        except (TypeError, ValueError):
            return
        assert found == {"d"}

    @pytest.mark.parametrize("value", NASTY, ids=ascii)
    def test_values_are_data(self, store: BasePydanticVectorStore, value: str) -> None:
        """Quotes, backslashes, line breaks: each value finds its own row and no other."""
        store.add([node(str(number), unit(1), key=each) for number, each in enumerate([*NASTY, "plain"])])
        assert self.found(store, where(field("key", FilterOperator.EQ, value))) == {str(NASTY.index(value))}
        assert self.found(store, where(field("key", FilterOperator.IN, [value]))) == {str(NASTY.index(value))}

    def test_keys_are_data(self, store: BasePydanticVectorStore) -> None:
        """A metadata key may hold spaces and quotes."""
        strange: dict[str, Any] = {'a "key"': 1}
        store.add([node("a", unit(1), **strange), node("b", unit(1))])
        assert self.found(store, where(field('a "key"', FilterOperator.EQ, 1))) == {"a"}

    def test_not_returns_the_others(self, filled: BasePydanticVectorStore) -> None:
        """NOT selects the rows that fulfil none of its filters, those without the key included."""
        wanted = where(field("tenant", FilterOperator.EQ, "x"), condition=FilterCondition.NOT)
        assert self.found(filled, wanted) == {"c", "d"}

    def test_unequal_includes_rows_without_the_key(self, filled: BasePydanticVectorStore) -> None:
        """As in llama-index-core's own stores."""
        assert self.found(filled, where(field("tenant", FilterOperator.NE, "x"))) == {"c", "d"}
        assert self.found(filled, where(field("tenant", FilterOperator.NIN, ["x", "z"]))) == {"c", "d"}

    def test_comparisons(self, filled: BasePydanticVectorStore) -> None:
        """Numbers are compared as numbers."""
        assert self.found(filled, where(field("page", FilterOperator.GTE, 2))) == {"b", "c"}
        assert self.found(filled, where(field("page", FilterOperator.LT, 3), field("page", FilterOperator.GT, 1))) == {
            "b"
        }

    def test_nested_filters_keep_their_parentheses(self, filled: BasePydanticVectorStore) -> None:
        """(x and page 1) or (y and page 3), and an OR beside an AND."""
        pairs = [
            where(field("tenant", FilterOperator.EQ, tenant), field("page", FilterOperator.EQ, page))
            for tenant, page in (("x", 1), ("y", 3))
        ]
        assert self.found(filled, where(*pairs, condition=FilterCondition.OR)) == {"a", "c"}
        either = where(
            field("page", FilterOperator.EQ, 1), field("page", FilterOperator.EQ, 3), condition=FilterCondition.OR
        )
        assert self.found(filled, where(either, field("tenant", FilterOperator.EQ, "y"))) == {"c"}

    def test_or_beside_document_ids(self, filled: BasePydanticVectorStore) -> None:
        """An OR filter must not widen what the ids allow."""
        either = where(
            field("page", FilterOperator.EQ, 1), field("page", FilterOperator.EQ, 3), condition=FilterCondition.OR
        )
        assert self.found(filled, either, doc_ids=["two"]) == {"c"}

    def test_in_nothing_matches_nothing(self, filled: BasePydanticVectorStore) -> None:
        """An empty list of allowed values allows none."""
        assert self.found(filled, where(field("tenant", FilterOperator.IN, []))) == set()

    def test_empty_filters_beside_ids(self, filled: BasePydanticVectorStore) -> None:
        """`MetadataFilters(filters=[])` is no filter, and the ids still count."""
        assert self.found(filled, MetadataFilters(filters=[])) == {"a", "b", "c", "d"}
        assert self.found(filled, MetadataFilters(filters=[]), doc_ids=["one"]) == {"a", "b"}
        assert self.found(filled, MetadataFilters(filters=[]), node_ids=["a", "d"]) == {"a", "d"}

    # -- ids ---------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("name", NASTY, ids=ascii)
    def test_document_ids_are_data(self, store: BasePydanticVectorStore, name: str) -> None:
        """Deleting a document with a strange id deletes its nodes and no others."""
        store.add([node("a", unit(1), document=name), node("b", unit(1), document="other")])
        assert self.found(store, doc_ids=[name]) == {"a"}
        store.delete(name)
        assert self.found(store) == {"b"}

    def test_nodes_by_id(self, filled: BasePydanticVectorStore) -> None:
        """Nodes come in the order asked for, and those that do not exist are left out."""
        assert [each.node_id for each in filled.get_nodes(["c", "nothing", "a"])] == ["c", "a"]

    def test_delete_nodes_by_filter(self, filled: BasePydanticVectorStore) -> None:
        """By filter, by id, and not everything if nothing says which."""
        filled.delete_nodes(filters=where(field("tenant", FilterOperator.EQ, "x")))
        filled.delete_nodes(["c"])
        assert self.found(filled) == {"d"}
        with pytest.raises(Exception, match=r"."):
            filled.delete_nodes()
        assert self.found(filled) == {"d"}

    def test_clear_and_write_again(self, filled: BasePydanticVectorStore) -> None:
        """A cleared store is empty and can be written to."""
        filled.clear()
        filled.add([node("e", unit(1))])
        assert self.found(filled) == {"e"}

    # -- event loops -------------------------------------------------------------------------------------------

    def test_a_new_loop_for_each_call(self, filled: BasePydanticVectorStore) -> None:
        """`asyncio.run` twice: a client bound to the first loop fails in the second."""
        query = VectorStoreQuery(query_embedding=unit(1), similarity_top_k=1)
        for _ in range(2):
            assert asyncio.run(filled.aquery(query)).ids == ["a"]

    def test_sync_and_async_in_turns(self, filled: BasePydanticVectorStore) -> None:
        """As in a notebook: sync inside a running loop, async there, then another loop."""
        query = VectorStoreQuery(query_embedding=unit(1), similarity_top_k=1)

        async def cell() -> list[str]:
            first = filled.query(query).ids or []
            await filled.async_add([node("e", unit(-1))])
            return first + ((await filled.aquery(query)).ids or [])

        assert filled.query(query).ids == ["a"]
        assert asyncio.run(cell()) == ["a", "a"]
        assert asyncio.run(cell()) == ["a", "a"]

    def test_many_at_once(self, filled: BasePydanticVectorStore) -> None:
        """Concurrent searches in one loop."""
        query = VectorStoreQuery(query_embedding=unit(1), similarity_top_k=1)

        async def gather() -> list[Any]:
            return await asyncio.gather(*(filled.aquery(query) for _ in range(8)))

        assert [result.ids for result in asyncio.run(gather())] == [["a"]] * 8

    # -- text --------------------------------------------------------------------------------------------------

    def test_text_search(self, hybrid: BasePydanticVectorStore) -> None:
        """TEXT_SEARCH and SPARSE need no vector, and work on Milvus Lite."""
        for mode in (VectorStoreQueryMode.TEXT_SEARCH, VectorStoreQueryMode.SPARSE):
            query = VectorStoreQuery(query_str="zebra", similarity_top_k=2, mode=mode)
            assert hybrid.query(query).ids == ["far", "middle"]

    def test_hybrid_fuses_both(self, hybrid: BasePydanticVectorStore) -> None:
        """What both sides rank second beats what one ranks first and the other not at all."""
        query = VectorStoreQuery(
            query_embedding=unit(1), query_str="zebra", similarity_top_k=3, mode=VectorStoreQueryMode.HYBRID
        )
        assert set(hybrid.query(query).ids or []) == {"near", "middle", "far"}

    def test_hybrid_top_k_counts(self, hybrid: BasePydanticVectorStore) -> None:
        """`hybrid_top_k` is how many come back."""
        query = VectorStoreQuery(
            query_embedding=unit(1), query_str="zebra", similarity_top_k=3, hybrid_top_k=1,
            mode=VectorStoreQueryMode.HYBRID,
        )  # fmt: skip
        assert len(hybrid.query(query).ids or []) == 1

    def test_alpha_weighs_vector_against_text(self, hybrid: BasePydanticVectorStore) -> None:
        """Alpha 1 is the vector's order, alpha 0 the text's."""
        for alpha, best in ((1.0, "near"), (0.0, "far")):
            query = VectorStoreQuery(
                query_embedding=unit(1), query_str="zebra", similarity_top_k=3, alpha=alpha,
                mode=VectorStoreQueryMode.HYBRID,
            )  # fmt: skip
            assert (hybrid.query(query).ids or [""])[0] == best

    def test_text_index_on_a_collection_without_one_is_refused(self, filled: BasePydanticVectorStore, uri: str) -> None:
        """An exception, not the end of the process."""
        self.close(filled)
        with pytest.raises((Exception, SystemExit), match=r".") as caught:
            self.make(uri, hybrid=True)
        assert not isinstance(caught.value, SystemExit), "the store ends the process"

    # -- configuration -----------------------------------------------------------------------------------------

    def test_configuration_tells_where_it_is(self, store: BasePydanticVectorStore, uri: str) -> None:
        """`to_dict` names the address that is in use, and no token."""
        fields = store.to_dict()
        assert fields["uri"] == uri
        assert not fields.get("token")
