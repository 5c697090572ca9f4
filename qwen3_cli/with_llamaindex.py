"""Index, search and answer with the LlamaIndex components."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_index.core.schema import MetadataMode, NodeWithScore
from llama_index.core.vector_stores.types import VectorStoreQuery

from llamaindex_qwen3 import (
    Qwen3,
    Qwen3Embedding,
    Qwen3Rerank,
    create_query_engine,
    create_vector_store,
    index_documents,
)
from qwen3_cli.options import ChatOptions, Stages, StoreOptions
from qwen3_cli.passages import Answer, Passage
from qwen3_core.ingest.indexing import IndexOptions
from qwen3_core.ingest.summary import IndexSummary


def index(options: StoreOptions, paths: Sequence[Path], indexing: IndexOptions) -> IndexSummary:
    """Make the collection hold the passages of files."""
    embedding = _make_embedding(options)
    with create_vector_store(embedding, **options.opening) as store:
        return index_documents(store, paths, embed_model=embedding, **indexing)


def make_llm(options: ChatOptions) -> Qwen3:
    """Build the chat model that `--chat` names."""

    def make(model: str, *, url: str | None, key: str | None) -> Qwen3:
        where: dict[str, Any] = {} if url is None else {"api_base": url, "api_key": key, "server": options.server}
        return Qwen3(model=model, **options.answering, **where)

    return options.make(make)


def search(store: StoreOptions, question: str, stages: Stages) -> list[Passage]:
    """Return every candidate with its scores, best first."""
    store.require_path()
    embedding = _make_embedding(store)
    with create_vector_store(embedding, **store.opening) as opened:
        if not opened.has_collection:
            raise store.missing()
        vector = embedding.get_query_embedding(question)
        found = opened.query(VectorStoreQuery(query_embedding=vector, similarity_top_k=stages.fetch_k))
    scores = found.similarities or []
    nodes = [NodeWithScore(node=node, score=score) for node, score in zip(found.nodes or [], scores, strict=True)]
    if stages.reranker.reranks:
        nodes = _make_reranker(stages, top_n=None).postprocess_nodes(nodes, query_str=question)
    return passages(nodes, reranked=stages.reranker.reranks)


def ask(store: StoreOptions, question: str, stages: Stages, chat: ChatOptions) -> Answer:
    """Answer a question from the collection."""
    llm = make_llm(chat)
    store.require_path()
    with create_query_engine(
        llm=llm,
        embed_model=_make_embedding(store),
        reranker=_make_reranker(stages, top_n=stages.top_n) if stages.reranker.reranks else None,
        **store.opening,
        fetch_k=stages.fetch_k,
        top_n=stages.top_n,
    ) as engine:
        response: Any = engine.query(question)
    context = passages(response.source_nodes, reranked=stages.reranker.reranks)
    numbers = response.metadata["citations"]
    return Answer(
        input=question,
        context=context,
        answer=response.response or "",
        reasoning=response.metadata["reasoning"],
        citations=[
            {"number": n, "id": context[n - 1].id, "source": context[n - 1].metadata.get("source")} for n in numbers
        ],
    )


def _make_embedding(options: StoreOptions) -> Qwen3Embedding:
    return Qwen3Embedding(**options.embedding.arguments(url="api_base", model="model_name"))


def _make_reranker(stages: Stages, *, top_n: int | None) -> Qwen3Rerank:
    # `qwen3-rag index` embeds the text without its metadata, and both frameworks shall score the same.
    arguments = stages.reranker.arguments(url="api_base")
    return Qwen3Rerank(**arguments, top_n=top_n, metadata_mode=MetadataMode.NONE)


def passages(nodes: Sequence[NodeWithScore], *, reranked: bool) -> list[Passage]:
    """Return nodes as the commands pass them on; the reranker leaves the first score in the metadata."""
    score = "relevance_score" if reranked else "retrieval_score"
    return [
        Passage(node.node.node_id, node.node.get_content(MetadataMode.NONE), {**node.node.metadata, score: node.score})
        for node in nodes
    ]
