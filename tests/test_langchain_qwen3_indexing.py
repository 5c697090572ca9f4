"""`index_documents` into a LangChain store, with the mini embedding and Milvus Lite."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding

from langchain_qwen3 import Qwen3Embeddings, aindex_documents, create_vector_store, index_documents
from langchain_qwen3.vector_store import Qwen3VectorStore
from qwen3_core.ingest import IngestError
from qwen3_core.ingest.summary import IndexProgress

MINI = Qwen3Embeddings(model="mini")


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "storage.md").write_text("# Storage\n\nLogs are kept in object storage.\n\n# Pets\n\nCats sleep.")
    (folder / "page.html").write_text("<title>Metadata</title><h1>etcd</h1><p>etcd keeps the metadata.</p>")
    (folder / "code.py").write_text("def answer():\n    return 42\n")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Qwen3VectorStore]:
    with create_vector_store(MINI, uri=tmp_path / "milvus.db", hybrid=True) as made:
        yield made


def test_files_become_documents_that_are_found(store: Qwen3VectorStore, docs: Path) -> None:
    summary = index_documents(store, docs)
    assert (summary.added, summary.chunks, summary.failed) == (3, 4, ())
    [best] = store.similarity_search("Where are logs kept?", k=1)
    assert best.page_content == "Storage\n\nLogs are kept in object storage."
    assert best.metadata == {
        "source": (docs / "storage.md").as_posix(),
        "title": "Storage",
        "heading": "Storage",
    }
    [code] = store.similarity_search("answer", k=1, filter={"language": "python"})
    assert code.metadata["title"] == "code.py"
    assert index_documents(store, [docs]).skipped == 3
    (docs / "code.py").unlink()
    assert index_documents(store, str(docs), prune=True).removed == 1
    assert store.similarity_search("answer", k=5, filter={"language": "python"}) == []


def test_documents_that_were_added_otherwise_stay(store: Qwen3VectorStore, docs: Path) -> None:
    source = {"source": (docs / "storage.md").as_posix()}
    store.add_texts(["by hand"], [source])
    index_documents(store, docs, prune=True)
    (docs / "storage.md").unlink()
    index_documents(store, docs, prune=True)
    assert [each.page_content for each in store.search_by_metadata(filter=source)] == ["by hand"]


def test_asynchronously_and_in_a_second_event_loop(store: Qwen3VectorStore, docs: Path) -> None:
    seen: list[IndexProgress] = []
    first = asyncio.run(aindex_documents(store, docs, chunk_tokens=5, progress=seen.append))
    second = asyncio.run(aindex_documents(store, docs, chunk_tokens=5))
    assert first.added == second.skipped == 3
    assert seen[-1].chunks == first.chunks > 4


def test_an_embedding_without_a_tokenizer_counts_characters(tmp_path: Path, docs: Path) -> None:
    (docs / "long.txt").write_text(" ".join(f"{number:04}" for number in range(500)))
    with create_vector_store(DeterministicFakeEmbedding(size=8), uri=tmp_path / "other.db") as store:
        assert index_documents(store, docs / "long.txt").chunks == 3
        with pytest.raises(ValueError, match="pass chunk_size"):
            index_documents(store, docs, chunk_tokens=10)


def test_the_manifest_lies_beside_a_lite_file_unless_told(store: Qwen3VectorStore, docs: Path, tmp_path: Path) -> None:
    index_documents(store, docs, manifest=False)
    assert not (tmp_path / "milvus.db.manifest").exists()
    index_documents(store, docs, manifest=tmp_path / "notes" / "a")
    assert (tmp_path / "notes" / "a").is_file()
    index_documents(store, docs)
    assert (tmp_path / "milvus.db.manifest").is_file()


def test_tenants(tmp_path: Path, docs: Path) -> None:
    with create_vector_store(MINI, uri=tmp_path / "tenants.db", tenants=True) as store:
        with pytest.raises(ValueError, match="has tenants"):
            index_documents(store, docs)
        index_documents(store, docs, tenant="a")
        assert index_documents(store.for_tenant("b"), docs / "code.py").added == 1
        assert asyncio.run(aindex_documents(store, docs, tenant="a")).skipped == 3
        assert len(store.search_by_metadata(tenant="a")) == 4
        assert len(store.search_by_metadata(tenant="b")) == 1


def test_a_path_that_does_not_exist(store: Qwen3VectorStore, docs: Path) -> None:
    with pytest.raises(IngestError, match="dosc: no such file or folder"):
        index_documents(store, [docs, docs.with_name("dosc")])
    assert store.col is None, "nothing was made"
