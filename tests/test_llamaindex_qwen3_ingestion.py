"""LlamaIndex's IngestionPipeline with our embedding and a Milvus Lite store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.ingestion import DocstoreStrategy, IngestionCache, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.types import VectorStoreQuery

from llamaindex_qwen3 import Qwen3Embedding, create_vector_store
from llamaindex_qwen3.vector_store import Qwen3VectorStore

DOCUMENTS = {
    "storage": "Milvus keeps inserted data as logs in object storage.",
    "metadata": "etcd keeps the metadata of Milvus.",
    "cats": "Cats sleep for most of the day.",
}


def documents(**changed: str) -> list[Document]:
    return [Document(id_=name, text=text) for name, text in (DOCUMENTS | changed).items()]


@pytest.fixture
def embedding() -> Qwen3Embedding:
    return Qwen3Embedding(model_name="mini")


@pytest.fixture
def store(tmp_path: Path, embedding: Qwen3Embedding) -> Iterator[Qwen3VectorStore]:
    with create_vector_store(embedding, uri=str(tmp_path / "milvus.db")) as made:
        yield made


def texts(store: Qwen3VectorStore, embedding: Qwen3Embedding) -> dict[str, str]:
    query = VectorStoreQuery(query_embedding=embedding.get_query_embedding("?"), similarity_top_k=20)
    return {str(node.ref_doc_id): node.get_content() for node in store.query(query).nodes or []}


def pipeline(store: Qwen3VectorStore, embedding: Qwen3Embedding, **options: Any) -> IngestionPipeline:
    return IngestionPipeline(transformations=[SentenceSplitter(), embedding], vector_store=store, **options)


@pytest.mark.parametrize("strategy", list(DocstoreStrategy))
def test_strategies(store: Qwen3VectorStore, embedding: Qwen3Embedding, strategy: DocstoreStrategy) -> None:
    made = pipeline(store, embedding, docstore=SimpleDocumentStore(), docstore_strategy=strategy)
    assert len(made.run(documents=documents())) == 3
    assert made.run(documents=documents()) == []  # nothing new
    changed = documents(cats="Cats sleep at night.")[1:]
    assert len(made.run(documents=changed)) == 1
    expected = dict(DOCUMENTS) | {"cats": "Cats sleep at night."}
    found = texts(store, embedding)
    if strategy == DocstoreStrategy.UPSERTS_AND_DELETE:
        del expected["storage"]  # it was not handed over again
    if strategy == DocstoreStrategy.DUPLICATES_ONLY:
        assert len(found) == 3
    else:
        assert found == expected


def test_the_cache_answers_until_something_changes_the_vectors(
    store: Qwen3VectorStore, embedding: Qwen3Embedding
) -> None:
    cache = IngestionCache()
    first = pipeline(store, embedding, cache=cache).run(documents=documents())
    again = pipeline(store, Qwen3Embedding(model_name="mini"), cache=cache).run(documents=documents())
    assert [node.node_id for node in again] == [node.node_id for node in first]  # from the cache, ids and all
    shorter = IngestionPipeline(
        transformations=[SentenceSplitter(), Qwen3Embedding(model_name="mini", dimensions=64)], cache=cache
    ).run(documents=documents())
    assert {len(node.get_embedding()) for node in shorter} == {64}


def test_two_workers(store: Qwen3VectorStore, embedding: Qwen3Embedding) -> None:
    # A splitter that needs no network to be unpickled: tiktoken's vocabulary is not pickled with it.
    steps = [SentenceSplitter(tokenizer=str.split), embedding]
    nodes = IngestionPipeline(transformations=steps, vector_store=store).run(documents=documents(), num_workers=2)
    assert len(nodes) == 3
    assert texts(store, embedding) == DOCUMENTS
    alone = embedding.get_text_embedding(DOCUMENTS["cats"])
    [cats] = [node for node in nodes if node.ref_doc_id == "cats"]
    assert cats.get_embedding() == pytest.approx(alone, abs=1e-2)


async def test_asynchronously(store: Qwen3VectorStore, embedding: Qwen3Embedding) -> None:
    assert len(await pipeline(store, embedding).arun(documents=documents())) == 3
    assert texts(store, embedding) == DOCUMENTS
