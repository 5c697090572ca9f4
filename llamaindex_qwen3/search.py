"""LlamaIndex's query modes as searches of a Milvus collection."""

from __future__ import annotations

from llama_index.core.indices.query.embedding_utils import get_top_k_mmr_embeddings
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

from qwen3_core.milvus import Collection, Expression
from qwen3_core.milvus.collection import OUTPUT_FIELDS, Row
from qwen3_core.milvus.rows import VECTOR_FIELD

_MMR_PREFETCH = 4  # candidates for each node that is wanted, as in MilvusVectorStore
_MMR_THRESHOLD = 0.5  # llama-index-core's own default


def search(collection: Collection, query: VectorStoreQuery, condition: Expression) -> list[Row]:
    """Search as the query's mode asks; see `Qwen3VectorStore.query`.

    Args:
        collection: Where to search.
        query: What for.
        condition: What rows have to fulfil.

    Returns:
        Rows as pymilvus has them, best first.

    Raises:
        ValueError: The mode needs what the query or the collection lacks, or it is not one of Milvus's.
    """
    mode, limit = query.mode, query.similarity_top_k
    if mode == VectorStoreQueryMode.DEFAULT:
        return collection.search(_vector(query), limit, condition=condition)
    if mode == VectorStoreQueryMode.MMR:
        return _diverse(collection, query, condition)
    if mode in {VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.TEXT_SEARCH}:
        limit = query.sparse_top_k or limit
        return collection.text_search(_text(query), limit, condition=condition)
    if mode == VectorStoreQueryMode.HYBRID:
        weights = None if query.alpha is None else (query.alpha, 1 - query.alpha)
        return collection.hybrid_search(
            _text(query),
            _vector(query),
            query.hybrid_top_k or limit,
            depth=None if query.sparse_top_k is None else (limit, query.sparse_top_k),
            condition=condition,
            ranker="rrf" if weights is None else "weighted",
            ranker_params=None if weights is None else {"weights": weights},
        )
    msg = f"mode={mode.value!r}: Milvus has default, hybrid, sparse, text_search and mmr."
    raise ValueError(msg)


def _diverse(collection: Collection, query: VectorStoreQuery, condition: Expression) -> list[Row]:
    vector, limit = _vector(query), query.similarity_top_k
    fields = [*OUTPUT_FIELDS, VECTOR_FIELD]
    hits = collection.search(vector, limit * _MMR_PREFETCH, condition=condition, fields=fields)
    threshold = _MMR_THRESHOLD if query.mmr_threshold is None else query.mmr_threshold
    _, chosen = get_top_k_mmr_embeddings(
        vector,
        [list(hit["entity"][VECTOR_FIELD]) for hit in hits],
        similarity_top_k=limit,
        embedding_ids=list(range(len(hits))),
        mmr_threshold=threshold,
    )
    return [hits[place] for place in chosen]


def _vector(query: VectorStoreQuery) -> list[float]:
    if query.query_embedding is None:
        msg = f"mode={query.mode.value!r} needs query_embedding"
        raise ValueError(msg)
    return query.query_embedding


def _text(query: VectorStoreQuery) -> str:
    if not query.query_str or not query.query_str.strip():
        msg = f"mode={query.mode.value!r} needs query_str, the question as a text"
        raise ValueError(msg)
    return query.query_str
