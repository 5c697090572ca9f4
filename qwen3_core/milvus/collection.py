"""One collection: opened or created whole, written in batches, searched; the same for every framework."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from qwen3_core.milvus.client import EXACT_UNSEALED_ROWS
from qwen3_core.milvus.expressions import as_expression, comparisons
from qwen3_core.milvus.filters import PRIMARY_FIELD, TEXT_FIELD, Filter, compile_filter, compile_ids, has_id, join_all
from qwen3_core.milvus.identity import mismatch
from qwen3_core.milvus.opening import OpenedCollection
from qwen3_core.milvus.rows import SPARSE_FIELD, VECTOR_FIELD, Rows, check_vectors
from qwen3_core.milvus.tenants import TENANT_FIELD

OUTPUT_FIELDS = [PRIMARY_FIELD, TEXT_FIELD, "$meta"]
"""What a search returns of a row; "$meta" is the metadata, whatever its keys are."""

_IDS_PER_QUERY = 1000  # a filter of 70 kB with SHA-256 ids; Lite answers in 12 ms

Row = Mapping[str, Any]

Condition = Filter | str | None
"""What rows have to fulfil. A string is what `compile_filter` made: here it is no user's, and is taken as it is."""


class Collection(OpenedCollection):
    """A collection that knows which embedding made it.

    Args:
        connection: The connection; it is the caller's to close.
        name: Letters, digits and underscores.
        identity: The embedding's identity, compared with the one that the collection remembers.
        measure: Returns the length of the embedding's vectors; asked only where names don't settle it.
        hybrid: Also index the text for BM25.
        analyzer: One of `analyzers.ANALYZERS`, with `hybrid`; None is the collection's own, and "standard" for a new
            one.
        tenants: Give each row of a new collection to a tenant. A collection that has tenants keeps them, and every
            read, write and delete goes through `for_tenant`.
        consistency_level: Milvus's; "Session" sees this client's own writes.
        drop_old: Delete the collection first, with the rows of all tenants.

    Raises:
        ValueError: The name, the consistency level or the analyzer is none, or the collection has no tenants.
        EmbeddingMismatchError: Another embedding made the collection.
        MilvusStoreError: It is not this package's, lacks the BM25 index or has another analyzer, this Milvus has no
            such analyzer, or Milvus failed.
    """

    def compile(self, condition: Condition) -> str:
        """Return the Milvus expression of a condition on the rows of this view."""
        return join_all(self._compile(condition), self._tenant.condition if self._tenant else None)

    def _compile(self, condition: Condition) -> str:
        if isinstance(condition, str):
            return condition
        parts = comparisons(as_expression({} if condition is None else condition))
        if any(part.operator == "contains" and part.value for part in parts):
            self._client.require_text_match()
        fields = (PRIMARY_FIELD, TEXT_FIELD, *([TENANT_FIELD] if self.tenants else []))
        return compile_filter(condition, fields=fields, key_prefix=self._tenant.prefix if self._tenant else "")

    # -- writing -----------------------------------------------------------------------------------------------

    def rows(
        self,
        texts: list[str],
        metadatas: Sequence[Mapping[str, Any]] | None,
        ids: Sequence[str | None] | None,
    ) -> Rows:
        """Check what is to be written, before anything is embedded.

        Raises:
            TypeError: A text is no string, or metadata holds something that is no JSON value.
            ValueError: No tenant is named where there are some, or see `Rows`.
        """
        self.ready()
        found = Rows(texts, metadatas, ids)
        self._check_names(found, range(len(texts)))
        return found

    def _check_names(self, rows: Rows, numbers: Iterable[int]) -> None:
        for number in numbers if self.tenants else ():
            if TENANT_FIELD in rows.metadatas[number]:
                msg = (
                    f"Document {number}: the metadata key {TENANT_FIELD!r} is a field of the collection. Pass tenant=."
                )
                raise ValueError(msg)

    def check_size(self, found: int) -> None:
        """Refuse a vector whose length is not the collection's.

        Raises:
            EmbeddingMismatchError: It is not.
        """
        if found != self.size:
            raise mismatch(self.name, self.identity.describe(self.size), self.identity.describe(found))

    def write(
        self,
        rows: Rows,
        batch: Sequence[int],
        vectors: Sequence[Sequence[float]],
        timeout: float | None = None,
    ) -> None:
        """Write those rows whose numbers are in `batch`, and create the collection with the first.

        Raises:
            ValueError: The vectors are unusable, or no tenant is named where there are some.
            EmbeddingMismatchError: They have another length than the collection's.
            MilvusStoreError: Milvus failed.
        """
        size = check_vectors(vectors, len(batch))
        with self._connection.writing:
            there = self.ready()
            self._check_names(rows, batch)
            if not there:
                self.create(size)
            self.check_size(size)
            data = [rows.row(index, vector) for index, vector in zip(batch, vectors, strict=True)]
            own = [self._tenant.stamp(row) for row in data] if self._tenant else data
            self._client.put(self.name, own, timeout, partitioned=self.tenants)

    def flush(self, rows: int = 0) -> None:
        """Have what was written indexed, where Milvus does not do so by itself or soon.

        Args:
            rows: How many were written since the last flush. Milvus Lite is flushed always, a server only if these
                are many.
        """
        # Trap: Lite flushes by itself at 128 MiB only, and 10,000 unflushed rows are searched in 800 ms, not 8.
        # A server limits how often it may be asked to, and makes a segment of its own of what each flush finds.
        if self.info is not None and (self._client.is_lite or rows >= EXACT_UNSEALED_ROWS):
            with self._connection.writing:
                self._client.flush(self.name)

    def drop(self) -> None:
        """Delete the collection, if there is one; in the view of a tenant, the tenant's rows."""
        if self._tenant is None:
            self._drop()
        elif self.ready():
            self._delete([self._tenant.condition])

    def delete(self, condition: Condition, timeout: float | None = None) -> None:
        """Delete the rows that fulfil a condition; an empty one is refused, since it would select all.

        Raises:
            ValueError: The condition is empty, or no tenant is named where there are some.
        """
        there = self.ready()
        if not self._compile(condition):
            msg = "an empty condition would delete everything; to do that, drop the collection"
            raise ValueError(msg)
        if there:
            self._delete([self.compile(condition)], timeout)

    def _delete(self, expressions: Sequence[str], timeout: float | None = None) -> None:
        for expression in expressions:
            with self._connection.writing:
                self._client.delete(self.name, filter=expression, timeout=timeout)
        if self._consistency == "Session" and not self._client.is_lite:
            # Trap: the answer to a delete says no time (2.3.5), so pymilvus lets the session's next reads be older than
            # it. A strong read waits for it, and what the server has seen then, later reads see too.
            options = {"limit": 1, "consistency_level": "Strong", "timeout": timeout}
            self._client.query(self.name, filter=compile_ids([""]), output_fields=[PRIMARY_FIELD], **options)

    def delete_ids(self, ids: Sequence[str], timeout: float | None = None) -> None:
        """Delete rows by primary key; those that do not exist are no error."""
        there = self.ready()
        expressions = [self.compile(has_id(part)) for part in _parts(ids)]
        if there and expressions:
            self._delete(expressions, timeout)

    # -- reading -----------------------------------------------------------------------------------------------

    def existing_ids(self, ids: Sequence[str]) -> set[str]:
        """Return those of `ids` that are in the collection, whoever wrote them."""
        return {row[PRIMARY_FIELD] for row in self.rows_by_id(ids, [PRIMARY_FIELD])}

    def rows_by_id(self, ids: Sequence[str], fields: list[str] = OUTPUT_FIELDS) -> list[Row]:
        """Return rows by primary key, in no order."""
        self.ready()
        found: list[Row] = []
        for part in _parts(ids):
            # Strong: another process may have written them a moment ago, and this is no search.
            found += self.query(has_id(part), fields, consistency_level="Strong")
        return found

    def query(self, condition: Condition, fields: list[str] = OUTPUT_FIELDS, **options: Any) -> list[Row]:
        """Return the rows that fulfil a condition, in no order; options are `MilvusClient.query`'s."""
        if not self.ready():
            return []
        found = self._client.query(self.name, filter=self.compile(condition), output_fields=fields, **options)
        return [self._tenant.unstamp(row) for row in found] if self._tenant else list(found)

    def search(
        self,
        vector: Sequence[float],
        limit: int,
        *,
        condition: Condition = None,
        params: Mapping[str, Any] | None = None,
        fields: list[str] = OUTPUT_FIELDS,
        timeout: float | None = None,
    ) -> list[Row]:
        """Return the nearest rows, best first, as pymilvus has them: "distance" and "entity".

        Args:
            vector: The query's vector.
            limit: How many rows, 1 or more.
            condition: What rows have to fulfil.
            params: Search parameters; those that fit the index if None.
            fields: What to return of a row.
            timeout: Seconds; the address's own if None.
        """
        if not self.ready():
            return []
        self.check_size(len(vector))
        params = params or self._client.dense_search(limit)
        options = {"filter": self.compile(condition), "output_fields": fields, "timeout": timeout}
        return self._search(VECTOR_FIELD, list(vector), limit, params, **options)

    def text_search(
        self, text: str, limit: int, *, condition: Condition = None, timeout: float | None = None
    ) -> list[Row]:
        """Return the best rows by BM25, higher scores first; see `search`.

        Raises:
            ValueError: The collection has no BM25 index.
        """
        self._require_text_index()
        if not self.ready():
            return []
        options = {"filter": self.compile(condition), "output_fields": OUTPUT_FIELDS, "timeout": timeout}
        hits = self._search(SPARSE_FIELD, text, limit, self._client.sparse_search(), **options)
        # Trap: Lite 3.2.2 gives BM25 scores with a minus, here only, not within a hybrid search.
        sign = -1.0 if self._client.is_lite else 1.0
        return [{"distance": sign * hit["distance"], "entity": hit["entity"]} for hit in hits]

    def _require_text_index(self) -> None:
        if not self.hybrid:
            msg = f"Collection {self.name!r} was opened without hybrid=True and has no text search."
            raise ValueError(msg)

    def _search(self, field: str, data: Any, limit: int, params: Mapping[str, Any], **options: Any) -> list[Row]:
        hits = self._client.search(
            self.name, data=[data], anns_field=field, search_params=params, limit=limit, **options
        )
        return self._own(hits)

    def _own(self, hits: Any) -> list[Row]:
        found = list(hits[0]) if hits else []
        if self._tenant is None:
            return found
        return [{"distance": hit["distance"], "entity": self._tenant.unstamp(hit["entity"])} for hit in found]

    def hybrid_search(
        self,
        text: str,
        vector: Sequence[float],
        limit: int,
        *,
        depth: int | tuple[int, int] | None = None,
        condition: Condition = None,
        params: Sequence[Mapping[str, Any]] | None = None,
        ranker: Literal["rrf", "weighted"] = "rrf",
        ranker_params: Mapping[str, Any] | None = None,
        fields: list[str] = OUTPUT_FIELDS,
        timeout: float | None = None,
    ) -> list[Row]:
        """Search by vector and by BM25, and fuse both lists; see `search`.

        Args:
            text: The query, for BM25.
            vector: Its vector.
            limit: How many rows, 1 or more.
            depth: Candidates of each side, or of vector and text; max(2 * limit, 50) if None.
            condition: What rows have to fulfil.
            params: Search parameters of the dense and of the sparse side.
            ranker: "rrf" (reciprocal ranks) or "weighted".
            ranker_params: For "rrf" `k`, 60 if not given; for "weighted" `weights`, dense first.
            fields: What to return of a row.
            timeout: Seconds; the address's own if None.
        """
        from pymilvus import AnnSearchRequest

        self._require_text_index()
        if not self.ready():
            return []
        # Fusion needs candidates below the cut: 6th in both lists beats 1st in one.
        depths = depth if isinstance(depth, tuple) else (max(depth or max(2 * limit, 50), limit),) * 2
        self.check_size(len(vector))
        dense, sparse = params or (self._client.dense_search(depths[0]), self._client.sparse_search())
        sides = ((list(vector), VECTOR_FIELD, dense, depths[0]), (text, SPARSE_FIELD, sparse, depths[1]))
        expression = self.compile(condition) or None
        requests = [
            AnnSearchRequest(data=[data], anns_field=field, param=own, limit=count, expr=expression)
            for data, field, own, count in sides
        ]
        hits = self._client.hybrid_search(
            self.name,
            reqs=requests,
            ranker=_ranker(ranker, ranker_params or {}),
            limit=limit,
            output_fields=fields,
            timeout=timeout,
        )
        return self._own(hits)


def _ranker(kind: str, params: Mapping[str, Any]) -> Any:
    from pymilvus import RRFRanker, WeightedRanker

    if kind == "rrf":
        return RRFRanker(**params)
    if kind == "weighted":
        return WeightedRanker(*params.get("weights", (1.0, 1.0)))
    msg = f"ranker={kind!r}: pass 'rrf' or 'weighted'."
    raise ValueError(msg)


def _parts(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + _IDS_PER_QUERY] for start in range(0, len(ids), _IDS_PER_QUERY)]
