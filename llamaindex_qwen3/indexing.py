"""From files, documents and nodes to the store, each passage embedded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import BaseNode, Document, MetadataMode
from llama_index.core.utils import iter_batch
from typing_extensions import Unpack

from llamaindex_qwen3.embeddings import Qwen3Embedding
from llamaindex_qwen3.vector_store import Qwen3VectorStore
from qwen3_core.ingest.files import MAX_FILE_BYTES
from qwen3_core.ingest.indexing import IndexOptions, ManifestPlace, beside_loop, index_paths
from qwen3_core.ingest.pipeline import Paths
from qwen3_core.ingest.sink import DEFAULT_BATCH_SIZE
from qwen3_core.ingest.summary import IndexProgress, IndexSummary
from qwen3_core.milvus import EmbeddingIdentity, content_id
from qwen3_core.milvus.identity import check_identity

_WRITE_BATCH = 64  # nodes that are embedded and written together


def _split(documents: Sequence[Document | BaseNode], splitter: SentenceSplitter) -> list[tuple[BaseNode, bool]]:
    """Return nodes, and for each whether its id is made of its content."""
    nodes: dict[str, tuple[BaseNode, bool]] = {}
    for document in documents:
        if isinstance(document, Document):
            nodes |= {node.node_id: (node, True) for node in _named(splitter.get_nodes_from_documents([document]))}
        else:
            nodes[document.node_id] = (document, False)
    return list(nodes.values())


def _default_splitter(embed_model: BaseEmbedding) -> SentenceSplitter:
    ours = isinstance(embed_model, Qwen3Embedding) and embed_model.has_tokenizer and embed_model
    tokenizer = ours.tokenize if ours else None  # None is OpenAI's
    return SentenceSplitter(chunk_size=512, chunk_overlap=64, tokenizer=tokenizer, callback_manager=CallbackManager())


def _named(nodes: list[BaseNode]) -> list[BaseNode]:
    """Give new nodes ids made of their content, and tell their neighbours."""
    ids = {node.node_id: content_id(node.get_content(MetadataMode.NONE), node.metadata) for node in nodes}
    for node in nodes:
        node.id_ = ids[node.node_id]
        for related in (node.prev_node, node.next_node):
            if related is not None:
                related.node_id = ids[related.node_id]
    return nodes


def index_nodes(
    store: Qwen3VectorStore,
    documents: Sequence[Document | BaseNode],
    embed_model: BaseEmbedding,
    *,
    splitter: SentenceSplitter | None = None,
    show_progress: bool = False,
) -> None:
    """Embed and write what is not there yet, in batches, so that an interruption loses one of them at most.

    Args:
        store: Where to write.
        documents: Documents are split, and their passages have ids made of their content. Nodes are embedded as they
            are and replace those with their ids.
        embed_model: The embedding.
        splitter: Cuts documents; None cuts at sentences after 512 tokens, the embedding model's own if it is a
            `Qwen3Embedding`.
        show_progress: Whether embedding shows a progress bar.
    """
    nodes = _split(documents, splitter or _default_splitter(embed_model))
    present = store.existing_ids([node.node_id for node, made in nodes if made])
    new = [node for node, _ in nodes if node.node_id not in present]
    for batch in iter_batch(new, _WRITE_BATCH):
        texts = [node.get_content(MetadataMode.EMBED) for node in batch]
        vectors = embed_model.get_text_embedding_batch(texts, show_progress=show_progress)
        pairs = zip(batch, vectors, strict=True)
        store.add([node.model_copy(update={"embedding": vector}) for node, vector in pairs])


def index_documents(
    store: Qwen3VectorStore,
    paths: Paths,
    *,
    embed_model: BaseEmbedding,
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
    summary = index_documents(store, "docs", embed_model=embed_model, prune=True)
    ```

    Unchanged files cost nothing, changed ones are replaced passage by passage, and a run that was interrupted or
    killed is finished by the next one. A file that cannot be read is reported in the summary and stops nothing. The
    rows are those of `langchain_qwen3.index_documents`: either framework goes on with what the other began.

    Args:
        store: From `create_vector_store`; nodes that were added by other means are left alone.
        paths: A file or folder, or several. In folders, markdown, text, HTML, PDF and source code are found at any
            depth; HTML, PDF and source code need ``pip install "qwen3-rag[documents]"``. A file is recognised by its
            path as given, which is also its ``source`` in the metadata.
        embed_model: The embedding of the store. It is given the text alone, without its metadata.
        chunk_tokens: Tokens of a passage at most, its heading not counted; needs a `Qwen3Embedding`, where 256 is the
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
        EmbeddingMismatchError: The embedding is not the store's.
        MilvusStoreError: Milvus failed.
    """
    run = _runner(
        store,
        paths,
        embed_model,
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
    store: Qwen3VectorStore,
    paths: Paths,
    *,
    embed_model: BaseEmbedding,
    tenant: str | None = None,
    **options: Unpack[IndexOptions],
) -> IndexSummary:
    """Run `index_documents` in a thread, with the same arguments; cancelling it ends it after the current batch."""
    return await beside_loop(_runner(store, paths, embed_model, tenant=tenant, **options))


def _runner(
    store: Qwen3VectorStore,
    paths: Paths,
    embed_model: BaseEmbedding,
    *,
    tenant: str | None,
    **options: Unpack[IndexOptions],
) -> Callable[[Callable[[], bool]], IndexSummary]:
    collection = store._collection if tenant is None else store._collection.for_tenant(tenant)
    given = EmbeddingIdentity.of(embed_model)
    if given != collection.identity:
        check_identity(collection.identity, collection.size, given, collection=collection.name)
    embedder = embed_model._embedder if isinstance(embed_model, Qwen3Embedding) else None

    def run(stopped: Callable[[], bool]) -> IndexSummary:
        embed = embed_model.get_text_embedding_batch
        return index_paths(collection, embed, embedder, paths, **options, stopped=stopped)

    return run
