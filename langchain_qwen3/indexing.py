"""From files and folders to documents in the vector store."""

from __future__ import annotations

from collections.abc import Callable

from typing_extensions import Unpack

from langchain_qwen3.embeddings import Qwen3Embeddings
from langchain_qwen3.vector_store import Qwen3VectorStore
from qwen3_core.ingest.files import MAX_FILE_BYTES
from qwen3_core.ingest.indexing import IndexOptions, ManifestPlace, beside_loop, index_paths
from qwen3_core.ingest.pipeline import Paths
from qwen3_core.ingest.sink import DEFAULT_BATCH_SIZE
from qwen3_core.ingest.summary import IndexProgress, IndexSummary


def index_documents(
    store: Qwen3VectorStore,
    paths: Paths,
    *,
    chunk_tokens: int | None = None,
    chunk_size: int | None = None,
    encoding: str = "utf-8",
    prune: bool = False,
    manifest: ManifestPlace = True,
    batch_size: int = DEFAULT_BATCH_SIZE,
    max_file_bytes: int = MAX_FILE_BYTES,
    progress: Callable[[IndexProgress], None] | None = None,
    tenant: str | None = None,
) -> IndexSummary:
    """Make a store hold the passages of files, as they are now.

    ```python
    summary = index_documents(store, "docs", prune=True)
    ```

    Unchanged files cost nothing, changed ones are replaced passage by passage, and a run that was interrupted or
    killed is finished by the next one. A file that cannot be read is reported in the summary and stops nothing.

    Args:
        store: From `create_vector_store`; documents that were added by other means are left alone.
        paths: A file or folder, or several. In folders, markdown, text, HTML, PDF and source code are found at any
            depth; HTML, PDF and source code need ``pip install "qwen3-rag[documents]"``. A file is recognised by its
            path as given, which is also its ``source`` in the metadata.
        chunk_tokens: Tokens of a passage at most, its heading not counted; needs `Qwen3Embeddings`, where 256 is the
            default.
        chunk_size: Characters of a passage at most, instead; 1,000 by default for other embeddings.
        encoding: How text files are encoded.
        prune: Also drop what was indexed from these paths and is gone.
        manifest: Where it is noted which files need not be read again: a path; True is beside a Lite file, for a server
            in ``.qwen3-rag`` of the current folder; False nowhere. Losing it costs reading, never a passage.
        batch_size: Passages that are embedded and written together.
        max_file_bytes: A longer file is reported and not read.
        progress: Called after each batch and each file, in the thread that embeds.
        tenant: Whose the files are, in a collection with tenants.

    Raises:
        IngestError: A path does not exist.
        ValueError: An argument is out of range, or no tenant is named where there are some.
        EmbeddingMismatchError: The vectors have another length than the collection's.
        MilvusStoreError: Milvus failed.
    """
    run = _runner(
        store,
        paths,
        chunk_tokens=chunk_tokens,
        chunk_size=chunk_size,
        encoding=encoding,
        prune=prune,
        manifest=manifest,
        batch_size=batch_size,
        max_file_bytes=max_file_bytes,
        progress=progress,
        tenant=tenant,
    )
    return run(lambda: False)


async def aindex_documents(
    store: Qwen3VectorStore, paths: Paths, *, tenant: str | None = None, **options: Unpack[IndexOptions]
) -> IndexSummary:
    """Run `index_documents` in a thread, with the same arguments; cancelling it ends it after the current batch."""
    return await beside_loop(_runner(store, paths, tenant=tenant, **options))


def _runner(
    store: Qwen3VectorStore, paths: Paths, *, tenant: str | None, **options: Unpack[IndexOptions]
) -> Callable[[Callable[[], bool]], IndexSummary]:
    embeddings, collection = store._embedding, store._of(tenant)
    embedder = embeddings._embedder if isinstance(embeddings, Qwen3Embeddings) else None

    def run(stopped: Callable[[], bool]) -> IndexSummary:
        return index_paths(collection, embeddings.embed_documents, embedder, paths, **options, stopped=stopped)

    return run
