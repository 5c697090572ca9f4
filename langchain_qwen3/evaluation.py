"""How well retrieval with given models finds what it should: dense, BM25 and hybrid search, and reranking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from langchain_qwen3.rerank import Qwen3Rerank
from langchain_qwen3.vector_store import Qwen3VectorStore, create_vector_store
from qwen3_core.evaluation.dataset import Dataset
from qwen3_core.evaluation.measures import DEPTH, check_cutoffs, require_extra
from qwen3_core.evaluation.systems import Clock, Progress, Rerank, Result, Search, System, evaluate, search_all
from qwen3_core.milvus.rows import MAX_TEXT_BYTES

_BATCH = 256


def compare_retrieval(
    dataset: Dataset,
    embeddings: Embeddings | None,
    reranker: Qwen3Rerank | None = None,
    *,
    systems: str | Sequence[System] = "all",
    analyzer: str | None = None,
    cutoffs: Sequence[int] = (1, 10, 100),
    fetch_k: int = 10,
    clock: Clock | None = None,
    progress: Progress = lambda *_: None,
) -> list[Result]:
    """Index a data set's documents in a temporary Milvus Lite file, and measure how well its queries find them.

    ```python
    dataset = read_dataset(Path("docs/faq"), queries=Path("docs/faq_questions.jsonl"))  # of qwen3_core.evaluation
    results = compare_retrieval(dataset, Qwen3Embeddings(model="mini"), Qwen3Rerank(model="mini"))
    ```

    Args:
        dataset: Documents, queries and what is right for them.
        embeddings: Any LangChain embedding; None where words alone are searched.
        reranker: Orders the best `fetch_k`, all of which it keeps, whatever its `top_n` and threshold; None leaves
            the systems with +rerank out of "all".
        systems: "all", or some of dense, bm25, hybrid, dense+rerank, bm25+rerank and hybrid+rerank, with commas
            between them or as `System.parse` returns them.
        analyzer: What cuts texts into words for BM25, such as "jieba"; None is Milvus's standard one.
        cutoffs: The k of each Recall@k, 100 at most.
        fetch_k: How many candidates the reranker sees, 100 at most.
        clock: Where it is kept what each stage took.
        progress: Called with what is being done, how far it is, and how much there is.

    Returns:
        One result for each system, in their order, with a value per query for each measure.

    Raises:
        ImportError: Something of `qwen3-rag[evaluation]` is missing.
        ValueError: A system is unknown or lacks its model, or a number is out of range.
    """
    require_extra()
    wanted = _wanted(systems, embeddings, reranker)
    check_cutoffs(cutoffs)
    if not 1 <= fetch_k <= DEPTH:
        msg = f"fetch_k={fetch_k} is out of range: name a number from 1 to {DEPTH}"
        raise ValueError(msg)
    clock = Clock() if clock is None else clock
    vectors_of = _NoVectors() if embeddings is None or all(each.first == "bm25" for each in wanted) else embeddings
    if vectors_of is embeddings:
        with clock.stage("load the embedding"):
            vectors_of.embed_query("How long does loading take?")
    rerank = None
    if reranker is not None and any(each.reranks for each in wanted):
        # Before the documents: what the reranker refuses should not be told at the end.
        with clock.stage("load the reranker"):
            reranker.rerank(["A document."], "How long does loading take?")
        rerank = _reranking(dataset, reranker)
    texts = [_cut(text) for text in dataset.documents.values()]
    with clock.stage("embed the documents"):
        vectors = _embed(vectors_of, texts, progress)
    with (
        TemporaryDirectory(prefix="qwen3-rag-evaluate-") as folder,
        create_vector_store(vectors_of, uri=Path(folder) / "evaluation.db", hybrid=True, analyzer=analyzer) as store,
    ):
        with clock.stage("write the index"):
            store.add_embeddings(texts, vectors, ids=[str(place) for place in range(len(texts))])
        searches = _searches(store, vectors_of, list(dataset.documents))
        runs = search_all(dataset, wanted, searches, clock=clock, progress=progress)
    # Behind the store, whose connection would idle through all of the reranking.
    return evaluate(dataset, wanted, runs, rerank, cutoffs=cutoffs, fetch_k=fetch_k, clock=clock, progress=progress)


def _wanted(
    systems: str | Sequence[System], embeddings: Embeddings | None, reranker: Qwen3Rerank | None
) -> list[System]:
    names = systems if isinstance(systems, str) else ",".join(system.name for system in systems)
    wanted = System.parse(names, reranker=reranker is not None)
    by_vector = [system.name for system in wanted if system.first != "bm25"]
    if embeddings is None and by_vector:
        msg = f"{', '.join(by_vector)} cannot search by vector without embeddings: give some, or take systems='bm25'"
        raise ValueError(msg)
    return wanted


def _searches(store: Qwen3VectorStore, embeddings: Embeddings, ids: Sequence[str]) -> dict[str, Search]:
    def search(find: Callable[[str], Sequence[tuple[Document, float]]]) -> Search:
        return lambda query: [ids[int(str(document.id))] for document, _ in find(query)]

    return {
        "dense": search(
            lambda query: store.similarity_search_with_score_by_vector(embeddings.embed_query(query), DEPTH)
        ),
        "bm25": search(lambda query: store.text_search_with_score(query, DEPTH)),
        "hybrid": search(lambda query: store.similarity_search_with_score(query, DEPTH)),
    }


def _reranking(dataset: Dataset, reranker: Qwen3Rerank) -> Rerank:
    def rerank(query: str, candidates: Sequence[str]) -> list[str]:
        texts = [dataset.documents[id_] for id_ in candidates]
        return [candidates[each["index"]] for each in reranker.rerank(texts, query, top_n=None, score_threshold=0)]

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
