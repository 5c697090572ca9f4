"""Reading the collection: search by text, by vector and by metadata, with filters whose values are data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from langchain_core.documents import Document
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from langchain_qwen3.vector_store.write import WritableCollection, both
from qwen3_core.milvus import Expression, Filter
from qwen3_core.milvus.collection import OUTPUT_FIELDS, Row
from qwen3_core.milvus.filters import PRIMARY_FIELD, TEXT_FIELD
from qwen3_core.milvus.rows import VECTOR_FIELD, metadata_of
from qwen3_core.milvus.sources import count_sources


class SearchableCollection(WritableCollection):
    """The part of `Qwen3VectorStore` that finds documents."""

    def get_by_ids(self, ids: Sequence[str], /, *, tenant: str | None = None) -> list[Document]:
        """Return documents in the order of `ids`, without those that do not exist (trap: not in the base)."""
        found = {row[PRIMARY_FIELD]: row for row in self._of(tenant).rows_by_id(ids)}
        return [_document(found[id_]) for id_ in ids if id_ in found]

    def search_by_metadata(  # type: ignore[override]
        self,
        expr: Expression | None = None,
        fields: list[str] | None = None,
        limit: int = 10,
        *,
        filter: Filter | None = None,  # noqa: A002
        tenant: str | None = None,
    ) -> list[Document]:
        """Return documents that fulfil a condition, in no order (trap: the base hides errors)."""
        wanted = [*OUTPUT_FIELDS[:2], *fields] if fields else OUTPUT_FIELDS
        found = self._of(tenant).query(both(expr, filter), wanted, limit=limit)
        return [_document(row) for row in found]

    def count_sources(self, *, tenant: str | None = None) -> dict[str, int]:
        """Return the ``source`` of the documents that have one, in alphabetical order, and how many each has."""
        return count_sources(self._of(tenant))

    def similarity_search(  # type: ignore[override]
        self,
        query: str,
        k: int = 4,
        param: Any = None,
        expr: Expression | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Search by text; see `similarity_search_with_score`."""
        found = self.similarity_search_with_score(query, k, param, expr, timeout, **kwargs)
        return [document for document, _ in found]

    # Traps: no instruction, and the base fails on a hybrid collection that is searched by vectors alone.
    def similarity_search_with_score(  # type: ignore[override]
        self,
        query: str,
        k: int = 4,
        param: Any = None,
        expr: Expression | None = None,
        timeout: float | None = None,
        *,
        tenant: str | None = None,
        instruction: str | None = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """Search by text.

        Args:
            query: the text, as the user typed it.
            k: how many documents to return, 1 or more.
            param: Milvus's search parameters; the ones that fit the index if None.
            expr: a Milvus expression as it stands, made by `raw`; never build one from user input.
            timeout: seconds; the store's own if None.
            tenant: whose documents, in a collection with tenants.
            instruction: handed to the embedding's `embed_query`.
            **kwargs: `filter` (a mapping or an expression, see `compile_filter`); with `hybrid=True` also `fetch_k`
                (candidates of each side, max(2 k, 50) by default), `ranker_type` ("rrf" or "weighted") and
                `ranker_params` (`{"k": 60}`, or `{"weights": [0.7, 0.3]}`, vectors first).

        Returns:
            Documents with their scores, best first.

        Raises:
            TypeError: an argument is unknown, or a filter value has a type that Milvus cannot compare with.
            ValueError: `k` or a filter value is out of range, or no tenant is named where there are some.
            MilvusStoreError: Milvus failed.
        """
        _check_k(k)
        if not self._of(tenant).ready():
            return []
        vector = self._embed_query(query, instruction)
        options = {"timeout": timeout, "tenant": tenant, **kwargs}
        if self._collection.hybrid:
            hits = self._collection_hybrid_search(query, k, param, expr, vector=vector, **options)
        else:
            hits = self._collection_search(vector, k, param, expr, **options)
        return self._parse_documents_from_search_results(hits)

    def text_search_with_score(
        self,
        query: str,
        k: int = 4,
        timeout: float | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002
        tenant: str | None = None,
    ) -> list[tuple[Document, float]]:
        """Search by words alone (BM25), without any embedding.

        Returns:
            Documents with their BM25 scores, best and highest first; those without any of the words are left out.

        Raises:
            ValueError: the store was opened without `hybrid=True`, or see `similarity_search_with_score`.
        """
        _check_k(k)
        hits = self._of(tenant).text_search(query, k, condition=filter, timeout=timeout)
        return self._parse_documents_from_search_results(hits)

    def text_search(self, query: str, k: int = 4, timeout: float | None = None, **kwargs: Any) -> list[Document]:
        """Search by words alone; see `text_search_with_score`."""
        return [document for document, _ in self.text_search_with_score(query, k, timeout, **kwargs)]

    def max_marginal_relevance_search(self, query: str, *args: Any, **kwargs: Any) -> list[Document]:
        """Search by text and reorder for variety, by vectors alone; see the method by vector."""
        if not self._of(kwargs.get("tenant")).ready():
            return []
        vector = self._embed_query(query, kwargs.pop("instruction", None))
        return self.max_marginal_relevance_search_by_vector(vector, *args, **kwargs)

    def _embed_query(self, query: str, instruction: str | None) -> list[float]:
        # Only embeddings that know instructions are asked with one; others raise a TypeError that says so.
        options: dict[str, Any] = {} if instruction is None else {"instruction": instruction}
        return self._embedding.embed_query(query, **options)

    # Traps: L2, ef=10, no escaped filter, and one metadata key with a space breaks every later search (0.4.0).
    def _collection_search(  # type: ignore[override]
        self,
        embedding_or_text: Sequence[float],
        k: int = 4,
        param: Mapping[str, Any] | None = None,
        expr: Expression | None = None,
        timeout: float | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002
        output_fields: list[str] | None = None,
        tenant: str | None = None,
    ) -> Any:
        _check_k(k)
        return self._of(tenant).search(
            embedding_or_text,
            k,
            condition=both(expr, filter),
            params=param,
            fields=output_fields or OUTPUT_FIELDS,
            timeout=timeout,
        )

    # Traps: 4 candidates a side, a list of weights that grows with each search (0.4.0), drop ratios Lite refuses.
    def _collection_hybrid_search(  # type: ignore[override]
        self,
        query: str,
        k: int = 4,
        param: Any = None,
        expr: Expression | None = None,
        fetch_k: int | None = None,
        timeout: float | None = None,
        *,
        vector: Sequence[float],
        filter: Filter | None = None,  # noqa: A002
        ranker_type: Literal["rrf", "weighted"] = "rrf",
        ranker_params: Mapping[str, Any] | None = None,
        tenant: str | None = None,
    ) -> Any:
        return self._of(tenant).hybrid_search(
            query,
            vector,
            k,
            depth=fetch_k,
            condition=both(expr, filter),
            params=param,
            ranker=ranker_type,
            ranker_params=ranker_params,
            timeout=timeout,
        )

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: Any,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *args: Any,
        **kwargs: Any,
    ) -> list[Document]:
        """Search by vector and reorder for variety (trap: the base puts ids into an expression unescaped).

        Args:
            embedding: the query's vector.
            k: how many documents to return.
            fetch_k: how many candidates to choose from.
            lambda_mult: 1 asks for nearness alone, 0 for variety alone.
            *args: `param`, `expr`, `timeout` as in `similarity_search_with_score`.
            **kwargs: the same, and `filter` and `tenant`.
        """
        import numpy as np

        hits = self._collection_search(
            embedding, fetch_k, *args, output_fields=[*OUTPUT_FIELDS, VECTOR_FIELD], **kwargs
        )
        rows = [hit["entity"] for hit in hits]
        chosen = maximal_marginal_relevance(np.array(embedding), [row[VECTOR_FIELD] for row in rows], lambda_mult, k)
        return [_document(rows[index]) for index in chosen]

    def _parse_documents_from_search_results(self, col_search_res: Any) -> list[tuple[Document, float]]:
        """Build documents with their id (trap: the base leaves it empty, and puts pk into metadata)."""
        bound = float("inf") if self._collection.hybrid else 1.0  # a cosine in float32 may come out as 1.0000001
        return [(_document(hit["entity"]), max(-bound, min(bound, hit["distance"]))) for hit in col_search_res]

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        if self._collection.hybrid:
            msg = "Scores of hybrid search are fused ranks, no similarity: there is no threshold on them."
            raise ValueError(msg)
        return lambda cosine: (cosine + 1) / 2


def _document(row: Row) -> Document:
    return Document(id=row[PRIMARY_FIELD], page_content=row[TEXT_FIELD], metadata=metadata_of(row))


def _check_k(k: int) -> None:
    if k < 1:
        msg = f"k={k}: ask for 1 document or more."
        raise ValueError(msg)
