"""`Qwen3Retriever` over Milvus Lite: langchain's own suite, and two stages that can be told apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import RetrieversIntegrationTests
from milvus_servers import TOKEN
from pydantic import ValidationError

from langchain_qwen3 import Field, In, Qwen3Embeddings, Qwen3Rerank, Qwen3Retriever, create_vector_store, raw
from langchain_qwen3.vector_store import Qwen3VectorStore

QUERY = "Where is data kept?"


@pytest.fixture(scope="module")
def reranker(reranker_folder: Path) -> Qwen3Rerank:
    return Qwen3Rerank(model=str(reranker_folder), dtype="float32", top_n=3)


@pytest.fixture(scope="module")
def embeddings(embedding_folder: Path) -> Qwen3Embeddings:
    return Qwen3Embeddings(model=str(embedding_folder), dtype="float32")


@pytest.fixture(scope="module")
def store(embeddings: Qwen3Embeddings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Qwen3VectorStore]:
    with create_vector_store(embeddings, uri=str(tmp_path_factory.mktemp("retrieval") / "milvus.db")) as store:
        store.add_documents(
            [
                Document(page_content=f"Passage {n} says {n * n}.", metadata={"n": n, "tenant": "ab"[n % 2]})
                for n in range(20)
            ]
        )
        yield store


@pytest.fixture(scope="module")
def retriever(store: Qwen3VectorStore, reranker: Qwen3Rerank) -> Qwen3Retriever:
    return Qwen3Retriever(vector_store=store, reranker=reranker, fetch_k=10)


class TestStandardOnLite(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _components(self, store: Qwen3VectorStore, reranker: Qwen3Rerank) -> None:
        self._params = {"vector_store": store, "reranker": reranker}

    @property
    def retriever_constructor(self) -> type[Qwen3Retriever]:
        return Qwen3Retriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return self._params

    @property
    def retriever_query_example(self) -> str:
        return QUERY


class TestStandardOnMilvus(TestStandardOnLite):
    @pytest.fixture(autouse=True)
    def _components(self, embeddings: Qwen3Embeddings, reranker: Qwen3Rerank, milvus_2_3: str) -> Iterator[None]:
        place: dict[str, Any] = {"uri": milvus_2_3, "token": TOKEN, "collection_name": "retriever"}
        with create_vector_store(embeddings, **place, drop_old=True) as store:
            store.add_texts([f"Passage {n} says {n * n}." for n in range(20)])
            self._params = {"vector_store": store, "reranker": reranker}
            yield
            store.drop()


def test_two_stages(retriever: Qwen3Retriever, store: Qwen3VectorStore, reranker: Qwen3Rerank) -> None:
    found = store.similarity_search_with_score(QUERY, 10)
    expected = reranker.compress_documents([document for document, _ in found], QUERY)
    kept = retriever.invoke(QUERY)
    assert [document.id for document in kept] == [document.id for document in expected]
    assert [d.metadata["relevance_score"] for d in kept] == [d.metadata["relevance_score"] for d in expected]
    similarity = {document.id: score for document, score in found}
    assert all(document.metadata["retrieval_score"] == similarity[document.id] for document in kept)


def test_the_second_stage_changes_the_order(retriever: Qwen3Retriever) -> None:
    everything = retriever.invoke(QUERY, k=10)
    by_vector = sorted(everything, key=lambda document: -document.metadata["retrieval_score"])
    assert [d.id for d in everything] != [d.id for d in by_vector]
    assert len(everything) == 10


async def test_async_equals_sync(retriever: Qwen3Retriever) -> None:
    assert await retriever.ainvoke(QUERY, filter={"tenant": "a"}) == retriever.invoke(QUERY, filter={"tenant": "a"})


def test_batch(retriever: Qwen3Retriever) -> None:
    assert retriever.batch([QUERY, "squares"]) == [retriever.invoke(QUERY), retriever.invoke("squares")]


def test_one_stage_without_a_reranker(store: Qwen3VectorStore) -> None:
    documents = Qwen3Retriever(vector_store=store, k=5).invoke(QUERY)
    assert [d.id for d in documents] == [d.id for d in store.similarity_search(QUERY, 5)]
    assert all("relevance_score" not in document.metadata for document in documents)
    assert len(Qwen3Retriever(vector_store=store).invoke(QUERY)) == 4


@pytest.mark.parametrize(
    ("counts", "call", "expected"),
    [
        ({}, {}, 3),  # the reranker's own
        ({"k": 5}, {}, 5),
        ({"top_n": 2}, {}, 2),
        ({"k": 5, "top_n": 2}, {}, 2),
        ({"top_n": 2}, {"k": 4}, 4),
        ({"k": 2}, {"top_n": 4}, 4),
        ({"k": 12, "fetch_k": 12}, {}, 12),
        ({}, {"k": 12, "fetch_k": 15}, 12),
    ],
)
def test_counts(
    store: Qwen3VectorStore, reranker: Qwen3Rerank, counts: dict[str, int], call: dict[str, int], expected: int
) -> None:
    retriever = Qwen3Retriever(vector_store=store, reranker=reranker, **counts)
    assert len(retriever.invoke(QUERY, None, **call)) == expected


def test_fewer_candidates_than_results_are_refused(store: Qwen3VectorStore, reranker: Qwen3Rerank) -> None:
    with pytest.raises(ValidationError, match="fetch_k=2 is less than the 3 documents to return"):
        Qwen3Retriever(vector_store=store, reranker=reranker, fetch_k=2)
    retriever = Qwen3Retriever(vector_store=store, reranker=reranker)
    with pytest.raises(ValueError, match="fetch_k=10 is less than the 11"):
        retriever.invoke(QUERY, k=11)


def test_filters_are_data(store: Qwen3VectorStore, reranker: Qwen3Rerank) -> None:
    retriever = Qwen3Retriever(vector_store=store, reranker=reranker, filter={"tenant": "a"})
    assert {document.metadata["tenant"] for document in retriever.invoke(QUERY)} == {"a"}
    assert {document.metadata["tenant"] for document in retriever.invoke(QUERY, filter={"tenant": "b"})} == {"b"}
    assert retriever.invoke(QUERY, filter={"tenant": 'a" or tenant != "'}) == []


def test_filters_may_be_expressions(store: Qwen3VectorStore, reranker: Qwen3Rerank) -> None:
    wanted = (Field("n") >= 15) & ~In("n", [17, 18])
    retriever = Qwen3Retriever(vector_store=store, reranker=reranker, filter=wanted, k=5)
    assert {document.metadata["n"] for document in retriever.invoke(QUERY)} == {15, 16, 19}
    assert {document.metadata["n"] for document in retriever.invoke(QUERY, filter=raw("n == 3"))} == {3}
    with pytest.raises(TypeError, match=r"wrap it: raw\('n == 3'\)"):
        retriever.invoke(QUERY, filter="n == 3")


def test_a_tenant_needs_our_own_store() -> None:
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    with pytest.raises(ValidationError, match="tenant needs a store of create_vector_store"):
        Qwen3Retriever(vector_store=store, tenant="a")


def test_threshold(retriever: Qwen3Retriever, store: Qwen3VectorStore) -> None:
    kept = retriever.invoke(QUERY)
    bound = kept[1].metadata["relevance_score"]
    assert retriever.invoke(QUERY, score_threshold=bound) == kept[:2]
    assert retriever.invoke(QUERY, score_threshold=1.0) == []
    plain = Qwen3Retriever(vector_store=store, score_threshold=1.0)
    assert plain.invoke(QUERY) == []


def test_an_instruction_reaches_both_stages(retriever: Qwen3Retriever) -> None:
    task = "Given a number, find its square"
    plain, told = retriever.invoke(QUERY, k=10), retriever.invoke(QUERY, k=10, instruction=task)
    scores = [{d.id: d.metadata[name] for d in documents} for name in SCORES for documents in (plain, told)]
    common = plain_ids = set(scores[0]) & set(scores[1])
    assert plain_ids
    assert all(scores[0][id_] != scores[1][id_] for id_ in common)
    assert all(scores[2][id_] != scores[3][id_] for id_ in common)
    assert retriever.reranker is not None
    assert getattr(retriever.reranker, "instruction") != task  # noqa: B009 - the interface has no such field


SCORES = ("retrieval_score", "relevance_score")


def test_any_vector_store_and_any_compressor(embedding_folder: Path, reranker: Qwen3Rerank) -> None:
    class Backwards(BaseDocumentCompressor):
        def compress_documents(
            self, documents: Sequence[Document], query: str, callbacks: Any = None
        ) -> list[Document]:
            return list(documents)[::-1]

    store = InMemoryVectorStore(Qwen3Embeddings(model=str(embedding_folder), dtype="float32"))
    store.add_texts(["one", "two", "three"])
    assert len(Qwen3Retriever(vector_store=store, reranker=reranker).invoke("2", k=2)) == 2
    plain = Qwen3Retriever(vector_store=store, k=3).invoke("2")
    assert Qwen3Retriever(vector_store=store, reranker=Backwards(), k=2).invoke("2") == plain[::-1][:2]


@pytest.mark.parametrize("query", ["", " \n"])
async def test_an_empty_query_is_refused(retriever: Qwen3Retriever, query: str) -> None:
    with pytest.raises(ValueError, match="query is empty"):
        retriever.invoke(query)
    with pytest.raises(ValueError, match="query is empty"):
        await retriever.ainvoke(query)


def test_misspelt_arguments_are_refused(store: Qwen3VectorStore, retriever: Qwen3Retriever) -> None:
    with pytest.raises(ValidationError, match="top_k"):
        Qwen3Retriever(vector_store=store, top_k=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unknown argument 'top_k'"):
        retriever.invoke(QUERY, top_k=3)


def test_an_instruction_that_a_store_cannot_pass_on_is_refused(reranker: Qwen3Rerank) -> None:
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    with pytest.raises(ValidationError, match="instruction needs a store of create_vector_store"):
        Qwen3Retriever(vector_store=store, reranker=reranker, instruction="Find it")
