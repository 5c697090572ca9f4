"""The vector store on real Milvus Lite, in this process and through `milvus-lite server`."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_tests.integration_tests import VectorStoreIntegrationTests
from milvus_servers import TOKEN, Standalone, lite_server
from pydantic import SecretStr
from pymilvus import MilvusClient, MilvusException

from langchain_qwen3.embeddings import Qwen3Embeddings
from langchain_qwen3.vector_store import Qwen3VectorStore, create_vector_store
from qwen3_core.milvus import Field, GuardedClient, MilvusAddress, content_id, raw
from qwen3_core.milvus.errors import (
    EmbeddingMismatchError,
    MilvusAuthError,
    MilvusLockedError,
    MilvusStoreError,
    MilvusTimeoutError,
    MilvusUnavailableError,
    causes,
)
from qwen3_core.milvus.identity import IDENTITY_PROPERTY


class HashEmbeddings(Embeddings):
    """Unit vectors from a hash, with the attributes of this project's embeddings; counts what it embeds."""

    def __init__(self, size: int = 16, **attributes: Any) -> None:
        self.size = size
        self.model, self.dimensions, self.revision, self.max_length = "hash", None, None, 8192
        self.__dict__.update(attributes)
        self.batches: list[list[str]] = []
        self.queries: list[str] = []

    def _vector(self, text: str) -> list[float]:
        rng = random.Random(hashlib.sha256(text.encode()).digest())
        vector = [rng.gauss(0, 1) for _ in range(self.size)]
        norm = math.sqrt(sum(x * x for x in vector))
        return [x / norm for x in vector]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.batches.append(list(texts))
        return [self._vector(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        self.queries.append(text)
        return self._vector(text)

    @property
    def embedded(self) -> list[str]:
        return [text for batch in self.batches for text in batch]


class NamelessEmbeddings(Embeddings):
    """Says nothing about itself."""

    def __init__(self, size: int) -> None:
        self.inner = HashEmbeddings(size)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.inner.embed_documents(texts)

    def embed_query(self, text: str) -> list[float]:
        return self.inner.embed_query(text)


Open = Callable[..., Qwen3VectorStore]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "milvus.db")


@pytest.fixture
def open_store(path: str) -> Iterator[Open]:
    """Open stores on one Lite file; all are closed at the end."""
    stores: list[Qwen3VectorStore] = []

    def opener(embeddings: Embeddings | None = None, **kwargs: Any) -> Qwen3VectorStore:
        store = create_vector_store(embeddings or HashEmbeddings(), **{"uri": path, **kwargs})
        stores.append(store)
        return store

    yield opener
    for store in stores:
        store.close()


def _documents(count: int, **metadata: Any) -> list[Document]:
    return [Document(page_content=f"text {n}", metadata={"n": n, **metadata}) for n in range(count)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with lite_server(tmp_path_factory.mktemp("server") / "data") as (uri, _):
        yield uri


# -- langchain-tests ------------------------------------------------------------------------------------------


class TestStandardOnLite(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, open_store: Open) -> Qwen3VectorStore:
        return open_store(self.get_embeddings())


class TestStandardHybridOnLite(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, open_store: Open) -> Qwen3VectorStore:
        return open_store(self.get_embeddings(), hybrid=True)


class TestStandardOnLiteServer(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, open_store: Open, server: str) -> Qwen3VectorStore:
        return open_store(self.get_embeddings(), uri=server, drop_old=True)


class TestStandardOnMilvus(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, open_store: Open, milvus_2_3: str) -> Qwen3VectorStore:
        place: dict[str, Any] = {"uri": milvus_2_3, "token": TOKEN, "collection_name": "standard"}
        return open_store(self.get_embeddings(), **place, drop_old=True)


# -- what is found --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["lite", "server"])
def test_search_filter_and_scores(open_store: Open, server: str, where: str) -> None:
    store = open_store(**({"uri": server, "collection_name": "search"} if where == "server" else {}))
    documents = _documents(30)
    odd = {"a b": 1, 'q"\\': None, "": [1, {"x": "é\n"}], "tags": ["a"], "f": 0.1}
    documents.append(Document(page_content="odd", metadata=odd))
    ids = store.add_documents(documents)
    assert ids == [content_id(d.page_content, d.metadata) for d in documents]
    (found, score), *_ = store.similarity_search_with_score("text 7", k=3)
    assert found == documents[7].model_copy(update={"id": ids[7]})
    assert score == pytest.approx(1.0, abs=1e-5)
    scores = [score for _, score in store.similarity_search_with_score("text 7", k=31)]
    assert scores == sorted(scores, reverse=True)
    assert -1 <= scores[-1] < 0 < scores[0] <= 1
    assert [d.metadata["n"] for d in store.similarity_search("text 7", filter={"n": [3]})] == [3]
    assert store.similarity_search("text 7", filter={"n": []}) == []
    assert {d.metadata["n"] for d in store.similarity_search("x", filter={"n": [1, 2]}, expr=raw("n != 2"))} == {1}
    assert [d.metadata for d in store.similarity_search("x", k=1, filter={"a b": 1, 'q"\\': None})] == [odd]
    assert store.similarity_search("x", k=2, filter={"n": None})[0].page_content == "odd"
    assert [d.id for d in store.get_by_ids([ids[4], "none", ids[2]])] == [ids[4], ids[2]]
    assert [d.id for d in store.search_by_metadata(filter={"n": 4})] == [ids[4]]
    assert store.search_by_metadata(raw("n == 4"), fields=["n"])[0].metadata == {"n": 4}
    by_vector = store.similarity_search_by_vector(HashEmbeddings().embed_query("text 9"), k=1, filter={"n": 9})
    assert by_vector[0].metadata == {"n": 9}


def test_relevance_is_between_0_and_1_and_retrievers_work(open_store: Open) -> None:
    store = open_store()
    store.add_documents(_documents(20))
    pairs = store.similarity_search_with_relevance_scores("text 5", k=20)
    assert pairs[0][1] == pytest.approx(1.0, abs=1e-5)
    assert all(0 <= score <= 1 for _, score in pairs)
    kwargs = {"k": 5, "score_threshold": 0.99}
    retriever = store.as_retriever(search_type="similarity_score_threshold", search_kwargs=kwargs)
    assert [d.metadata["n"] for d in retriever.invoke("text 5")] == [5]
    filtered = store.as_retriever(search_kwargs={"k": 5, "filter": {"n": [1, 2]}})
    assert {d.metadata["n"] for d in filtered.invoke("text 5")} == {1, 2}
    mmr = store.as_retriever(search_type="mmr", search_kwargs={"k": 3, "fetch_k": 10, "filter": {"n": [5, 6, 7]}})
    found = [d.metadata["n"] for d in mmr.invoke("text 5")]
    assert found[0] == 5
    assert sorted(found) == [5, 6, 7]


@pytest.mark.parametrize("hybrid", [False, True])
def test_an_instruction_reaches_the_embedding(open_store: Open, hybrid: bool) -> None:  # noqa: FBT001
    class Instructed(HashEmbeddings):
        def embed_query(self, text: str, *, instruction: str | None = None) -> list[float]:
            return super().embed_query(f"{instruction}: {text}" if instruction else text)

    embeddings = Instructed()
    store = open_store(embeddings, hybrid=hybrid)
    store.add_texts(["a", "task: a"])
    assert store.similarity_search("a", k=1, instruction="task")[0].page_content == "task: a" or hybrid
    assert store.max_marginal_relevance_search("a", k=1, instruction="task")[0].page_content == "task: a"
    assert embeddings.queries == ["task: a"] * 2
    with pytest.raises(TypeError, match="instruction"):
        open_store(hybrid=hybrid).similarity_search("a", instruction="task")


def test_an_empty_store_answers_and_creates_nothing(open_store: Open) -> None:
    store = open_store()
    assert store.similarity_search("x") == []
    assert store.max_marginal_relevance_search("x") == []
    assert store.get_by_ids(["1"]) == []
    assert store.search_by_metadata(filter={"a": 1}) == []
    assert store.delete(["1"])
    assert store.add_texts([]) == []
    assert store.add_embeddings([], []) == []
    assert not store.client.has_collection("docs")


def test_misspelt_and_senseless_arguments_are_refused(open_store: Open) -> None:
    store = open_store()
    store.add_texts(["a"])
    with pytest.raises(TypeError, match="fitler"):
        store.similarity_search("a", fitler={"tenant": "a"})
    with pytest.raises(TypeError, match="idz"):
        store.add_texts(["a"], idz=["1"])  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="urll"):
        create_vector_store(HashEmbeddings(), urll="x.db")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="not a langchain_core Embeddings"):
        create_vector_store("mini")  # type: ignore[arg-type]
    for k in (0, -1):
        with pytest.raises(ValueError, match="ask for 1"):
            store.similarity_search("a", k=k)
    with pytest.raises(ValueError, match="batch_size"):
        create_vector_store(HashEmbeddings(), batch_size=0)


# -- writing --------------------------------------------------------------------------------------------------


def test_indexing_twice_embeds_and_adds_nothing(open_store: Open) -> None:
    documents = _documents(10) + _documents(3)
    before = [d.model_copy(deep=True) for d in documents]
    first = HashEmbeddings()
    ids = open_store(first).add_documents(documents)
    assert len(first.embedded) == 10
    assert ids[10:] == ids[:3]
    assert documents == before
    again = HashEmbeddings()
    store = open_store(again)
    assert store.add_documents(documents) == ids
    assert again.embedded == []
    assert again.queries == []
    assert len(store.search_by_metadata(raw("pk != ''"), limit=100)) == 10


def test_the_same_text_of_two_tenants_is_kept_twice(open_store: Open) -> None:
    store = open_store()
    store.add_texts(["secret", "secret"], [{"tenant": "a"}, {"tenant": "b"}])
    assert [d.metadata for d in store.similarity_search("secret", filter={"tenant": "b"})] == [{"tenant": "b"}]


def test_an_interruption_loses_one_batch_and_the_next_run_goes_on(open_store: Open) -> None:
    class Interrupted(HashEmbeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            if len(self.batches) == 2:
                raise KeyboardInterrupt
            return super().embed_documents(texts)

    documents = _documents(20)
    first = Interrupted()
    store = open_store(first, batch_size=4)
    with pytest.raises(KeyboardInterrupt):
        store.add_documents(documents)
    store.close()
    second, calls = HashEmbeddings(), list[tuple[int, int]]()
    store = open_store(second, batch_size=4)
    ids = store.add_documents(documents, progress=lambda done, of: calls.append((done, of)))
    assert calls == [(4, 12), (8, 12), (12, 12)]
    assert sorted(first.embedded + second.embedded) == sorted(d.page_content for d in documents)
    assert [d.page_content for d in store.get_by_ids(ids)] == [d.page_content for d in documents]


def test_given_ids_replace_or_skip(open_store: Open) -> None:
    embeddings = HashEmbeddings()
    store = open_store(embeddings)
    assert store.add_documents([Document(id="1", page_content="old", metadata={"a": 1})]) == ["1"]
    store.add_documents([Document(id="1", page_content="new", metadata={"b": 2})])
    assert store.get_by_ids(["1"]) == [Document(id="1", page_content="new", metadata={"b": 2})]
    embeddings.batches.clear()
    store.add_texts(["newer", "other"], ids=["1", "2"], skip_existing=True)
    assert embeddings.embedded == ["other"]
    assert [d.page_content for d in store.get_by_ids(["1", "2"])] == ["new", "other"]
    store.upsert(["1"], [Document(page_content="newest")])
    assert store.get_by_ids(["1"])[0].page_content == "newest"
    store.add_embeddings(["given"], [embeddings.embed_query("given")], ids=["3"])
    assert store.similarity_search_with_score("given", k=1)[0][1] == pytest.approx(1.0, abs=1e-5)
    assert store.existing_ids(["1", "3", "4"]) == {"1", "3"}


def test_bad_rows_are_refused_before_anything_is_embedded(open_store: Open) -> None:
    embeddings = HashEmbeddings()
    store = open_store(embeddings)
    good = Document(page_content="good")
    for bad in (
        Document(page_content="bad", metadata={"text": "overwrites the content"}),
        Document(page_content="bad", metadata={"pk": "overwrites the key"}),
        Document(page_content="é" * 40_000),
        Document(page_content="bad", metadata={"score": float("nan")}),
    ):
        with pytest.raises(ValueError, match="Document 1"):
            store.add_documents([good, bad])
    with pytest.raises(ValueError, match="differ"):
        store.add_texts(["a", "b"], ids=["1", "1"])
    assert embeddings.batches == []
    assert not store.client.has_collection("docs")


@pytest.mark.parametrize(
    "vectors", [[[float("nan")] * 16], [[0.5] * 15], [[0.5] * 16, [0.5] * 16]], ids=["nan", "short", "many"]
)
def test_unusable_vectors_are_never_written(open_store: Open, vectors: list[list[float]]) -> None:
    class Broken(HashEmbeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return vectors

    open_store().add_texts(["fine"])
    store = open_store(Broken())
    with pytest.raises(ValueError, match=r"not finite|15 dimensions|2 vectors for 1"):
        store.add_texts(["broken"])
    assert [d.page_content for d in store.search_by_metadata(raw("pk != ''"))] == ["fine"]


def test_delete_deletes_what_it_is_told_and_nothing_else(open_store: Open) -> None:
    store = open_store()
    nasty = ['zz"] or pk != "', "q'uote", "back\\slash", "new\nline", "é"]
    store.add_texts([f"t{n}" for n in range(5)], ids=nasty)
    store.add_texts(["kept", "gone"], [{"a b": "x"}, {"a b": 'y"'}], ids=["kept", "gone"])
    assert store.delete(['x"] or pk != "'])
    assert store.existing_ids([*nasty, "kept"]) == {*nasty, "kept"}
    assert store.delete(nasty)
    assert store.delete(filter={"a b": 'y"'})
    assert store.existing_ids([*nasty, "kept", "gone"]) == {"kept"}
    assert store.delete([])
    assert store.existing_ids(["kept"]) == {"kept"}
    with pytest.raises(ValueError, match="drop"):
        store.delete()
    with pytest.raises(ValueError, match="drop"):
        store.delete(filter={})
    with pytest.raises(ValueError, match="either"):
        store.delete(["kept"], filter={"a b": "x"})
    with pytest.raises(MilvusStoreError, match="delete"):
        store.delete(expr=raw("no such [ expression"))
    store.drop()
    assert store.similarity_search("kept") == []


def test_a_plain_string_is_no_condition(open_store: Open) -> None:
    store = open_store()
    store.add_texts(["a"], [{"n": 1}], ids=["1"])
    uses: list[Callable[[Any], Any]] = [
        lambda text: store.similarity_search("a", expr=text),
        lambda text: store.similarity_search("a", filter=text),
        lambda text: store.search_by_metadata(text),
        lambda text: store.get_pks(text),
        lambda text: store.delete(expr=text),
        lambda text: store.delete(filter=text),
    ]
    for use in uses:
        with pytest.raises(TypeError, match=r"wrap it: raw\("):
            use("n == 1")
    with pytest.raises(TypeError, match="Others go into filter="):
        store.similarity_search("a", expr=Field("n") == 1)
    assert store.get_pks(raw("n == 1")) == store.get_pks(raw("n > 0"), filter=Field("n") == 1) == ["1"]


def test_lite_is_flushed_after_ingest_and_loaded_on_open(open_store: Open, path: str) -> None:
    store = open_store()
    store.add_documents(_documents(5))
    assert list(Path(path).rglob("*.parquet"))
    store.close()
    assert open_store().similarity_search("text 3", k=1)[0].metadata == {"n": 3}


def test_writers_of_one_file_take_turns(open_store: Open) -> None:
    first, second = open_store(), open_store()
    errors: list[BaseException] = []

    def write(store: Qwen3VectorStore, start: int) -> None:
        try:
            for n in range(start, start + 10):
                store.add_texts([f"row {n}"], [{"n": n}])
                store.similarity_search(f"row {n}")
        except BaseException as error:  # noqa: BLE001  # handed to the main thread
            errors.append(error)

    threads = [
        threading.Thread(target=write, args=(store, start))
        for store, start in ((first, 0), (second, 10), (first, 20), (second, 30))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = open_store().search_by_metadata(raw("pk != ''"), limit=100)
    assert sorted(d.metadata["n"] for d in found) == list(range(40))


# -- which embedding made it ----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["lite", "server"])
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": "other"}, "other"),
        ({"revision": "v2"}, "revision v2"),
        ({"max_length": 512}, "max_length 512"),
        ({"dimensions": 8, "size": 8}, "8 dimensions"),
        ({"dimensions": 32, "size": 32}, "32 dimensions"),
    ],
)
def test_another_embedding_is_refused_on_opening(
    open_store: Open, server: str, where: str, changes: dict[str, Any], named: str
) -> None:
    place: dict[str, Any] = {"uri": server} if where == "server" else {}
    open_store(drop_old=True, **place).add_texts(["kept"])
    other = HashEmbeddings(**changes)
    with pytest.raises(EmbeddingMismatchError, match=r"hash, 16 dimensions.*drop_old=True") as caught:
        open_store(other, **place)
    assert named in str(caught.value)
    assert (other.batches, other.queries) == ([], [])
    assert [d.page_content for d in open_store(**place).search_by_metadata(raw("pk != ''"))] == ["kept"]
    replaced = open_store(other, drop_old=True, **place)
    replaced.add_texts(["new"])
    assert [d.page_content for d in replaced.similarity_search("new", k=5)] == ["new"]
    replaced.drop()


def test_the_same_embedding_is_known_by_its_name(open_store: Open) -> None:
    open_store().add_texts(["a"])
    for same in (HashEmbeddings(), HashEmbeddings(dimensions=16), HashEmbeddings(instruction="another")):
        open_store(same)
        assert (same.batches, same.queries) == ([], [])


def test_opening_a_collection_loads_no_model(open_store: Open) -> None:
    """The model does not exist: loading it would fail."""
    known = Qwen3Embeddings(model="no/such-model", dimensions=64)
    made = HashEmbeddings(64, **{name: getattr(known, name) for name in ("model", "dimensions", "max_length")})
    documents = _documents(2)
    ids = open_store(made).add_documents(documents)
    store = open_store(known)
    assert store.add_documents(documents) == ids
    with pytest.raises(EmbeddingMismatchError, match="no/such-model, 64 dimensions"):
        open_store(Qwen3Embeddings(model="no/other-model", dimensions=64))


def test_one_query_is_embedded_where_names_cannot_tell(open_store: Open) -> None:
    open_store(HashEmbeddings(8, dimensions=8)).add_texts(["a"])
    whole = HashEmbeddings(16)
    with pytest.raises(EmbeddingMismatchError, match="16 dimensions"):
        open_store(whole)
    assert len(whole.queries) == 1
    open_store(HashEmbeddings(8))
    open_store(NamelessEmbeddings(8), collection_name="nameless").add_texts(["a"])
    open_store(NamelessEmbeddings(8), collection_name="nameless")
    with pytest.raises(EmbeddingMismatchError, match="9 dimensions"):
        open_store(NamelessEmbeddings(9), collection_name="nameless")


def test_a_query_or_document_of_another_length_is_refused(open_store: Open) -> None:
    embeddings = HashEmbeddings()
    store = open_store(embeddings)
    store.add_texts(["a"])
    embeddings.size = 8
    with pytest.raises(EmbeddingMismatchError, match="8 dimensions"):
        store.similarity_search("a")
    with pytest.raises(EmbeddingMismatchError, match="8 dimensions"):
        store.add_texts(["b"])


def test_a_foreign_collection_is_refused(open_store: Open) -> None:
    store = open_store(collection_name="ours")
    store.client.create_collection("docs", dimension=16)
    store.client.create_collection("text", dimension=16)
    store.client.alter_collection_properties("text", {IDENTITY_PROPERTY: "no JSON"})
    for name in ("docs", "text"):
        with pytest.raises(MilvusStoreError, match="does not say which embedding made it"):
            open_store(collection_name=name)
        assert store.client.has_collection(name)


def test_a_collection_without_its_index_is_completed(open_store: Open) -> None:
    store = open_store()
    store.add_texts(["a"])
    properties = store.client.describe_collection("docs")["properties"]
    assert "hash" in properties[IDENTITY_PROPERTY]
    store.client.release_collection("docs")
    store.client.drop_index("docs", "vector")  # as if the process had been killed in between
    store.close()
    again = open_store()
    assert again.client.describe_index("docs", "vector")["metric_type"] == "COSINE"
    assert [d.page_content for d in again.similarity_search("a")] == ["a"]


@pytest.mark.parametrize("error", [MilvusException(message="no space left on device"), KeyboardInterrupt()])
def test_a_failed_creation_leaves_nothing(
    open_store: Open, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    store = open_store()
    with monkeypatch.context() as fault:  # Milvus fails between making the collection and its index
        fault.setattr(MilvusClient, "create_index", fail)
        with pytest.raises((MilvusStoreError, KeyboardInterrupt)):
            store.add_texts(["a"])
    assert not store.client.has_collection("docs")
    store.add_texts(["a"])
    assert len(store.similarity_search("a")) == 1


def test_a_senseless_consistency_level_is_refused(open_store: Open) -> None:
    with pytest.raises(ValueError, match="consistency_level='Fast'"):
        open_store(consistency_level="Fast")


# -- asynchronous use -----------------------------------------------------------------------------------------


def test_several_event_loops(open_store: Open) -> None:
    store = open_store()
    documents = _documents(5)

    async def use() -> list[Document]:
        await store.aadd_documents(documents)
        searches = (store.asimilarity_search(f"text {n}", k=1, filter={"n": n}) for n in range(5))
        return [found for (found,) in await asyncio.gather(*searches)]

    for _ in range(3):
        assert [d.metadata["n"] for d in asyncio.run(use())] == list(range(5))
    assert store.similarity_search("text 1", k=1)[0].metadata == {"n": 1}


async def test_asynchronous_twins(open_store: Open) -> None:
    store = open_store()
    ids = await store.aadd_texts(["a", "b"], [{"n": 1}, {"n": 2}])
    vector = HashEmbeddings().embed_query("a")
    assert [d.id for d in await store.aget_by_ids(ids)] == ids
    assert (await store.asimilarity_search_with_score("a", k=1))[0][0].id == ids[0]
    assert (await store.asimilarity_search_by_vector(vector, k=1))[0].id == ids[0]
    assert (await store.asimilarity_search_with_score_by_vector(vector, k=1))[0][0].id == ids[0]
    assert (await store.asimilarity_search_with_relevance_scores("a", k=1))[0][0].id == ids[0]
    assert (await store.amax_marginal_relevance_search("a", k=1))[0].id == ids[0]
    assert (await store.amax_marginal_relevance_search_by_vector(vector, k=1))[0].id == ids[0]
    assert (await store.asearch_by_metadata(filter={"n": 2}))[0].id == ids[1]
    assert await store.aget_pks(raw("n == 2")) == [ids[1]]
    assert (await store.as_retriever(search_kwargs={"k": 1}).ainvoke("a"))[0].id == ids[0]
    await store.aupsert([ids[0]], [Document(page_content="c")])
    await store.aadd_embeddings(["d"], [vector], ids=["d"])
    assert await store.adelete(["d"])
    assert [d.page_content for d in await store.aget_by_ids([*ids, "d"])] == ["c", "b"]


async def test_from_texts(path: str) -> None:
    kwargs: dict[str, Any] = {"uri": path, "collection_name": "made"}
    with Qwen3VectorStore.from_texts(["a"], HashEmbeddings(), ids=["1"], **kwargs) as store:
        assert store.get_by_ids(["1"])[0].page_content == "a"
    documents = [Document(id="2", page_content="b")]
    with await Qwen3VectorStore.afrom_documents(documents, HashEmbeddings(), **kwargs) as store:
        assert [d.page_content for d in store.get_by_ids(["1", "2"])] == ["a", "b"]
    with pytest.raises(ValueError, match="1 texts, 2 metadatas"):
        Qwen3VectorStore.from_texts(["a"], HashEmbeddings(), [{}, {}], **kwargs)
    with create_vector_store(HashEmbeddings(), **kwargs) as store:
        assert store.existing_ids(["1", "2"]) == {"1", "2"}


# -- hybrid ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["lite", "server"])
def test_hybrid_finds_an_exact_identifier_again_and_again(open_store: Open, server: str, where: str) -> None:
    place: dict[str, Any] = {"uri": server, "drop_old": True, "collection_name": "hybrid"} if where == "server" else {}
    store = open_store(hybrid=True, **place)
    texts = [f"device error code{n} appears" for n in range(60)]
    store.add_texts(texts, [{"n": n, "even": n % 2 == 0} for n in range(60)])
    for n in (7, 8, 9):  # langchain-milvus 0.4.0 fails in the second search
        assert store.similarity_search(f"what is code{n}", k=1)[0].metadata["n"] == n
    assert len(store.similarity_search("code7", k=30)) == 30
    filtered = store.similarity_search_with_score("code7", k=60, filter={"even": True})
    assert {d.metadata["even"] for d, _ in filtered} == {True}
    scores = [score for _, score in filtered]
    assert scores == sorted(scores, reverse=True)
    weighted = store.similarity_search(
        "code11", k=1, fetch_k=60, ranker_type="weighted", ranker_params={"weights": [0.0, 1.0]}
    )
    assert weighted[0].metadata["n"] == 11
    assert asyncio.run(store.asimilarity_search("code12", k=1))[0].metadata["n"] == 12
    assert len(store.max_marginal_relevance_search("code12", k=3)) == 3
    with pytest.raises(ValueError, match="no similarity"):
        store.similarity_search_with_relevance_scores("code12")
    assert store.similarity_search("", k=2)
    dense = open_store(**{**place, "drop_old": False})
    dense.add_texts(["added without hybrid: code99"])
    assert store.similarity_search("code99", k=1)[0].page_content.endswith("code99")


def test_hybrid_refuses_a_collection_without_full_text(open_store: Open) -> None:
    open_store().add_texts(["a"])
    with pytest.raises(MilvusStoreError, match="made without hybrid=True"):
        open_store(hybrid=True)


# -- processes, locks, faults ---------------------------------------------------------------------------------

_OTHER_PROCESS = """
import sys
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_qwen3.embeddings import Qwen3Embeddings
from langchain_qwen3.vector_store import create_vector_store
with create_vector_store(DeterministicFakeEmbedding(size=4), uri=sys.argv[1]) as store:
    print(len(store.add_texts(["from the other process"])), flush=True)
    sys.stdin.read()
"""


@contextmanager
def _other_process(path: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _OTHER_PROCESS, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        yield process
        if process.stdin is not None and not process.stdin.closed:
            process.stdin.close()


def test_a_file_that_another_process_holds(path: str) -> None:
    before = {thread.name for thread in threading.enumerate()}
    with _other_process(path) as process:
        logging.disable(logging.CRITICAL)
        try:
            with pytest.raises(MilvusLockedError, match="milvus-lite server") as caught:
                create_vector_store(HashEmbeddings(), uri=path)
        finally:
            logging.disable(logging.NOTSET)
        assert caught.value.__cause__ is not None
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0
    with create_vector_store(HashEmbeddings(), uri=path, collection_name="mine") as store:
        store.add_texts(["a"])
    with _other_process(path):  # our close() has freed the file
        pass
    deadline = time.monotonic() + 5
    while (left := {thread.name for thread in threading.enumerate()} - before) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not {name for name in left if "serve" in name or "milvus" in name.lower()}


def test_stores_that_create_one_collection_at_once(open_store: Open, server: str) -> None:
    """As processes do that share a server: each store has a connection and a lock of its own."""
    stores = [open_store(uri=server, collection_name=f"race_{os.getpid()}", hybrid=True) for _ in range(4)]
    with futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda store: store._collection.create(16), stores))
    for number, store in enumerate(stores):  # Lite loses sight of rows when two clients write and flush at once
        store.add_texts([f"t{number}"])
    assert len(stores[0].search_by_metadata(raw("pk != ''"))) == 4
    stores[0].drop()


def test_stores_of_one_process_share_the_file(open_store: Open) -> None:
    first, second = open_store(collection_name="first"), open_store(collection_name="second")
    first.add_texts(["a"])
    first.close()
    first.close()
    second.add_texts(["b"])
    assert second.similarity_search("b")[0].page_content == "b"
    for use in (lambda: first.similarity_search("a"), lambda: first.add_texts(["c"]), lambda: first.client.flush("x")):
        with pytest.raises(MilvusStoreError, match=r"is closed\. Open it again"):
            use()


def test_threads_that_open_one_file_at_once(open_store: Open) -> None:
    with futures.ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: open_store(), range(4)))
        list(pool.map(lambda pair: pair[1].add_texts([f"t{pair[0]}"]), enumerate(stores)))
    assert len(stores[0].search_by_metadata(raw("pk != ''"))) == 4


def test_a_dead_server(open_store: Open, tmp_path: Path) -> None:
    with lite_server(tmp_path / "data") as (uri, _):
        store = open_store(uri=uri, timeout=2, token=SecretStr("root:hunter2"))
        store.add_texts(["a"])
    for use in (lambda: store.similarity_search("a"), lambda: store.add_texts(["b"]), lambda: store.delete(["a"])):
        with pytest.raises(MilvusUnavailableError, match="No server answers") as caught:
            use()
        assert caught.value.__cause__ is not None
    with pytest.raises(MilvusUnavailableError, match="No server answers"):
        open_store(uri=uri, timeout=2, token="root:hunter2")


def _wait_for_the_answer(store: Qwen3VectorStore, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            assert store.similarity_search("text 1", k=1)[0].metadata == {"n": 1}
            break
        except MilvusStoreError:
            assert time.monotonic() < deadline


def test_a_hung_server_is_bounded_by_the_deadline_and_recovers(open_store: Open, tmp_path: Path) -> None:
    with lite_server(tmp_path / "data") as (uri, process):
        store = open_store(uri=uri, timeout=1)
        store.add_documents(_documents(3))
        new = open_store(uri=uri, timeout=1, collection_name="new")
        process.send_signal(signal.SIGSTOP)
        uses: list[Callable[[], Any]] = [
            lambda: store.similarity_search("text 1"),
            lambda: store.add_texts(["new"]),
            lambda: store.add_texts(["new"], ids=["1"]),
            lambda: store.get_by_ids(["1"]),
            lambda: store.delete(["1"]),
            lambda: store.search_by_metadata(filter={"n": 1}),
            lambda: store.similarity_search("text 1", timeout=0.5),
            lambda: new.similarity_search("text 1"),
            lambda: store.drop(),
            lambda: open_store(uri=uri, timeout=1),
        ]
        for use in uses:
            begin = time.monotonic()
            with pytest.raises(MilvusStoreError) as caught:
                use()
            assert time.monotonic() - begin < 20  # without a deadline pymilvus tries 75 times
            assert isinstance(caught.value, (MilvusTimeoutError, MilvusUnavailableError)), caught.value
            assert caught.value.__cause__ is not None
        process.send_signal(signal.SIGCONT)
        _wait_for_the_answer(store, 20)


def test_a_hung_milvus_is_bounded_by_the_deadline_and_recovers(open_store: Open, milvus_2_3_server: Standalone) -> None:
    store = open_store(uri=milvus_2_3_server.uri, token=TOKEN, collection_name="hung", timeout=3, drop_old=True)
    store.add_documents(_documents(3))
    uses: list[Callable[[], Any]] = [
        lambda: store.similarity_search("text 1"),
        lambda: store.add_texts(["new"]),
        lambda: store.delete(["1"]),
    ]
    for use in uses:
        milvus_2_3_server.signal(signal.SIGSTOP)  # not for long: its parts would take each other for dead
        try:
            begin = time.monotonic()
            with pytest.raises((MilvusTimeoutError, MilvusUnavailableError)) as caught:
                use()
            assert time.monotonic() - begin < 20
            assert caught.value.__cause__ is not None
        finally:
            milvus_2_3_server.signal(signal.SIGCONT)
        _wait_for_the_answer(store, 60)
    store.drop()


@contextmanager
def _refusing_server() -> Iterator[str]:
    """A gRPC server that refuses every call, as Milvus does with a wrong token."""

    class Refuse(grpc.GenericRpcHandler):  # type: ignore[misc,unused-ignore]
        def service(self, handler_call_details: Any) -> Any:
            def refuse(_: bytes, context: Any) -> None:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "auth check failure, please check token")

            return grpc.unary_unary_rpc_method_handler(refuse)  # type: ignore[no-untyped-call,unused-ignore]

    server = grpc.server(futures.ThreadPoolExecutor(2))  # type: ignore[no-untyped-call,unused-ignore]
    server.add_generic_rpc_handlers((Refuse(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(0).wait(5)


def test_a_wrong_token_is_told_apart_and_never_shown(open_store: Open, caplog: pytest.LogCaptureFixture) -> None:
    with _refusing_server() as uri, pytest.raises(MilvusAuthError, match="refuses the token") as caught:
        open_store(uri=uri, timeout=3, token=SecretStr("root:hunter2"))
    said = " ".join(f"{cause!s} {cause!r}" for cause in causes(caught.value)) + caplog.text
    assert "hunter2" not in said


def test_the_token_is_in_no_representation(open_store: Open, server: str) -> None:
    store = open_store(uri=server, token="root:hunter2", collection_name="token")
    assert "hunter2" not in repr(store) + repr(store.client) + repr(store._connection)
    client = GuardedClient(store._milvus_client, MilvusAddress(server, "root:hunter2"))
    with pytest.raises(MilvusStoreError) as caught:
        client.query("no such hunter2 collection root:hunter2", filter="")
    assert "root:hunter2" not in str(caught.value)


# -- a real server --------------------------------------------------------------------------------------------


def test_a_real_server(open_store: Open, milvus_2_3: str) -> None:
    place: dict[str, Any] = {"uri": milvus_2_3, "token": TOKEN}
    with pytest.raises(MilvusAuthError, match="refuses the token"):
        open_store(uri=milvus_2_3, token="root:wrong")
    with pytest.raises(MilvusStoreError, match=r"needs Milvus 2\.5"):
        open_store(**place, hybrid=True)
    store = open_store(**place)
    documents = _documents(20, odd='q"\\\n')
    ids = store.add_documents(documents)
    assert store.add_documents(documents) == ids
    found = store.similarity_search_with_score("text 3", k=20, filter={"odd": 'q"\\\n'})
    assert found[0][0] == documents[3].model_copy(update={"id": ids[3]})
    assert len(found) == 20
    assert [d.metadata["n"] for d in store.search_by_metadata(filter={"n": [3, None], "none": None})] == [3]
    store.add_documents([Document(id=ids[3], page_content="new")])
    assert [d.metadata for d in store.get_by_ids([ids[3]])] == [{}]
    assert store.delete(ids[:10])
    assert store.existing_ids(ids) == set(ids[10:])
    assert len(open_store(**place).similarity_search("text 3", k=30)) == 10
    with pytest.raises(EmbeddingMismatchError, match="hash, 16 dimensions"):
        open_store(HashEmbeddings(model="other"), **place)
