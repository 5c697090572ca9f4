"""The systems that `qwen3-rag evaluate` compares: this project's store and reranker, over Milvus Lite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from langchain_core.embeddings import Embeddings

from langchain_qwen3 import Qwen3Embeddings, Qwen3Rerank, create_vector_store
from langchain_qwen3.vector_store import Qwen3VectorStore
from qwen3_cli.options import Stages
from qwen3_core.evaluation.dataset import Dataset
from qwen3_core.evaluation.measures import DEPTH
from qwen3_core.evaluation.systems import Clock, Progress, Rerank, Result, Search, System, evaluate, search_all
from qwen3_core.milvus.rows import MAX_TEXT_BYTES

_BATCH = 256


@dataclass(frozen=True)
class Comparison:
    """What is compared, and how.

    Attributes:
        systems: Which systems.
        embedding: Which embedding, if one of them needs it.
        stages: Which reranker, and how many candidates it sees.
        instruction: What the queries are for, for both models.
        analyzer: What cuts texts into words for BM25.
        cutoffs: The k of each Recall@k.
    """

    systems: Sequence[System]
    embedding: Mapping[str, object]
    stages: Stages
    instruction: str
    analyzer: str | None
    cutoffs: Sequence[int]


def compare(dataset: Dataset, comparison: Comparison, clock: Clock, progress: Progress) -> list[Result]:
    """Index the documents in a temporary Milvus Lite file, and run the systems over the queries."""
    needs_vectors = any(system.first != "bm25" for system in comparison.systems)
    embeddings: Embeddings = _NoVectors()
    if needs_vectors:
        embeddings = Qwen3Embeddings(instruction=comparison.instruction, **comparison.embedding)
        with clock.stage("load the embedding"):
            embeddings.embed_query("How long does loading take?")
    # Before the documents: what the reranker refuses should not be told at the end.
    rerank = _reranking(dataset, comparison, clock) if any(each.reranks for each in comparison.systems) else None
    texts = [_cut(text) for text in dataset.documents.values()]
    with clock.stage("embed the documents"):
        vectors = _embed(embeddings, texts, progress)
    with (
        TemporaryDirectory(prefix="qwen3-rag-evaluate-") as folder,
        create_vector_store(
            embeddings, uri=Path(folder) / "evaluation.db", hybrid=True, analyzer=comparison.analyzer
        ) as store,
    ):
        with clock.stage("write the index"):
            store.add_embeddings(texts, vectors, ids=[str(place) for place in range(len(texts))])
        searches = _searches(store, embeddings, list(dataset.documents))
        runs = search_all(dataset, comparison.systems, searches, clock=clock, progress=progress)
    # Behind the store, whose connection would idle through all of the reranking.
    return evaluate(
        dataset,
        comparison.systems,
        runs,
        rerank,
        cutoffs=comparison.cutoffs,
        fetch_k=comparison.stages.fetch_k,
        clock=clock,
        progress=progress,
    )


def _searches(store: Qwen3VectorStore, embeddings: Embeddings, ids: Sequence[str]) -> dict[str, Search]:
    def search(find: Callable[[str], Sequence[tuple[object, float]]]) -> Search:
        return lambda query: [ids[int(document.id)] for document, _ in find(query)]  # type: ignore[attr-defined]

    return {
        "dense": search(
            lambda query: store.similarity_search_with_score_by_vector(embeddings.embed_query(query), DEPTH)
        ),
        "bm25": search(lambda query: store.text_search_with_score(query, DEPTH)),
        "hybrid": search(lambda query: store.similarity_search_with_score(query, DEPTH)),
    }


def _reranking(dataset: Dataset, comparison: Comparison, clock: Clock) -> Rerank:
    reranker = Qwen3Rerank(**comparison.stages.reranker.reranker(), instruction=comparison.instruction, top_n=None)
    with clock.stage("load the reranker"):
        reranker.rerank(["A document."], "How long does loading take?")

    def rerank(query: str, candidates: Sequence[str]) -> list[str]:
        ranked = reranker.rerank([dataset.documents[id_] for id_ in candidates], query)
        return [candidates[each["index"]] for each in ranked]

    return rerank


def _embed(embeddings: Embeddings, texts: Sequence[str], progress: Progress) -> list[list[float]]:
    vectors: list[list[float]] = []
    for start in range(0, len(texts), _BATCH):
        vectors += embeddings.embed_documents(list(texts[start : start + _BATCH]))
        progress("embedding documents", len(vectors), len(texts))
    return vectors


def _cut(text: str) -> str:
    """Return what Milvus can hold of a text."""
    return text.encode("utf-8", "replace")[:MAX_TEXT_BYTES].decode("utf-8", "ignore")


class _NoVectors(Embeddings):
    """Where only words are searched, a model need not be loaded; a collection has vectors all the same."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the same vector for all."""
        return [[1.0, 0.0]] * len(texts)

    def embed_query(self, text: str) -> list[float]:  # noqa: ARG002 - the interface
        """Return that vector."""
        return [1.0, 0.0]
