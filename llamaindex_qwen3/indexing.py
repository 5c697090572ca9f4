"""From documents to nodes in the store, each embedded once."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import BaseNode, Document, MetadataMode
from llama_index.core.utils import iter_batch

from llamaindex_qwen3.embeddings import Qwen3Embedding
from llamaindex_qwen3.vector_store import Qwen3VectorStore
from qwen3_core.milvus import content_id

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
    tokenizer = embed_model.tokenize if isinstance(embed_model, Qwen3Embedding) else None  # None is OpenAI's
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


def index_documents(
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
