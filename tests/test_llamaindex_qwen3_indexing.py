"""`index_documents` into a LlamaIndex store, with the mini embedding and Milvus Lite."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding

from llamaindex_qwen3 import Qwen3Embedding, aindex_documents, create_vector_store, index_documents
from llamaindex_qwen3.vector_store import Qwen3VectorStore
from qwen3_core.milvus import Connection, MilvusAddress
from qwen3_core.milvus.errors import EmbeddingMismatchError

MINI = Qwen3Embedding(model_name="mini")


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "storage.md").write_text("# Storage\n\nLogs are kept in object storage.\n\n# Pets\n\nCats sleep.")
    (folder / "page.html").write_text("<title>Metadata</title><h1>etcd</h1><p>etcd keeps the metadata.</p>")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Qwen3VectorStore]:
    with create_vector_store(MINI, uri=tmp_path / "milvus.db") as made:
        yield made


def test_files_become_nodes_that_are_found(store: Qwen3VectorStore, docs: Path) -> None:
    summary = index_documents(store, docs, embed_model=MINI)
    assert (summary.added, summary.chunks, summary.failed) == (2, 3, ())
    retriever = VectorStoreIndex.from_vector_store(store, embed_model=MINI).as_retriever(similarity_top_k=1)
    [best] = retriever.retrieve("Where are logs kept?")
    assert best.node.get_content() == "Storage\n\nLogs are kept in object storage."
    assert best.node.metadata["source"] == (docs / "storage.md").as_posix()
    (docs / "page.html").unlink()
    changed = index_documents(store, docs, embed_model=MINI, prune=True)
    assert (changed.skipped, changed.removed) == (1, 1)


def test_asynchronously_and_in_a_second_event_loop(store: Qwen3VectorStore, docs: Path) -> None:
    first = asyncio.run(aindex_documents(store, docs, embed_model=MINI, chunk_tokens=5))
    second = asyncio.run(aindex_documents(store, docs, embed_model=MINI, chunk_tokens=5))
    assert first.added == second.skipped == 2
    assert first.chunks > 3


def test_another_embedding_is_refused(store: Qwen3VectorStore, docs: Path) -> None:
    with pytest.raises(EmbeddingMismatchError):
        index_documents(store, docs, embed_model=MockEmbedding(8))
    assert not store.has_collection


def test_another_embeddings_own_store(tmp_path: Path, docs: Path) -> None:
    other = MockEmbedding(8)
    with create_vector_store(other, uri=tmp_path / "other.db") as store:
        assert index_documents(store, docs, embed_model=other).chunks == 3


def test_tenants(tmp_path: Path, docs: Path) -> None:
    with create_vector_store(MINI, uri=tmp_path / "tenants.db", tenants=True) as store:
        with pytest.raises(ValueError, match="has tenants"):
            index_documents(store, docs, embed_model=MINI)
        assert index_documents(store, docs, embed_model=MINI, tenant="a").added == 2
        assert index_documents(store.for_tenant("b"), docs, embed_model=MINI).added == 2
        assert index_documents(store, docs, embed_model=MINI, tenant="b").skipped == 2


def test_either_framework_goes_on_with_what_the_other_began(tmp_path: Path, docs: Path) -> None:
    langchain = pytest.importorskip("langchain_qwen3", reason="langchain-milvus is not installed")
    uri = tmp_path / "both.db"
    with create_vector_store(MINI, uri=uri) as store:
        index_documents(store, docs, embed_model=MINI)
    (docs / "more.md").write_text("# More\n\nAnother page.")
    with langchain.create_vector_store(langchain.Qwen3Embeddings(model="mini"), uri=uri) as store:
        summary = langchain.index_documents(store, docs)
        assert (summary.added, summary.skipped, summary.chunks) == (1, 2, 4)
    connection = Connection(MilvusAddress(str(uri)))
    connection.client.load_collection("docs")
    rows = connection.client.query("docs", filter="", output_fields=["$meta"], limit=10)
    assert {tuple(sorted(row)) for row in rows} == {("heading", "pk", "source", "title")}
    connection.close()
