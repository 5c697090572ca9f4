"""One collection: opened or created whole, written in batches, searched; the same for every framework."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

from qwen3_core.milvus.client import check_collection_name
from qwen3_core.milvus.connection import Connection
from qwen3_core.milvus.errors import MilvusStoreError
from qwen3_core.milvus.filters import PRIMARY_FIELD, TEXT_FIELD, compile_ids
from qwen3_core.milvus.identity import IDENTITY_PROPERTY, EmbeddingIdentity, check_identity, mismatch
from qwen3_core.milvus.rows import SPARSE_FIELD, VECTOR_FIELD, Rows, check_vectors
from qwen3_core.milvus.schema import make_schema, read_collection, vector_fields

CONSISTENCY_LEVELS = ("Strong", "Session", "Bounded", "Eventually")

OUTPUT_FIELDS = [PRIMARY_FIELD, TEXT_FIELD, "$meta"]
"""What a search returns of a row; "$meta" is the metadata, whatever its keys are."""

_IDS_PER_QUERY = 1000  # a filter of 70 kB with SHA-256 ids; Lite answers in 12 ms

Row = Mapping[str, Any]


class Collection:
    """A collection that knows which embedding made it.

    Args:
        connection: The connection; it is the caller's to close.
        name: Letters, digits and underscores.
        identity: The embedding's identity, compared with the one that the collection remembers.
        measure: Returns the length of the embedding's vectors; asked only where names don't settle it.
        hybrid: Also index the text for BM25.
        consistency_level: Milvus's; "Session" sees this client's own writes.
        drop_old: Delete the collection first.

    Raises:
        ValueError: The name or the consistency level is none.
        EmbeddingMismatchError: Another embedding made the collection.
        MilvusStoreError: It is not this package's, lacks the BM25 index, or Milvus failed.
    """

    def __init__(
        self,
        connection: Connection,
        name: str,
        identity: EmbeddingIdentity,
        *,
        measure: Callable[[], int],
        hybrid: bool = False,
        consistency_level: str = "Session",
        drop_old: bool = False,
    ) -> None:
        check_collection_name(name)
        if consistency_level not in CONSISTENCY_LEVELS:
            msg = f"consistency_level={consistency_level!r}: pass one of {', '.join(CONSISTENCY_LEVELS)}."
            raise ValueError(msg)
        self.name, self.identity, self.hybrid = name, identity, hybrid
        self._connection, self._measure, self._consistency = connection, measure, consistency_level
        self._info: Mapping[str, Any] | None = None
        self.size = 0
        if hybrid:
            self._client.require_full_text()
        if drop_old:
            self.drop()
        self._open()

    @property
    def _client(self) -> Any:
        return self._connection.client

    @property
    def info(self) -> Mapping[str, Any] | None:
        """What `describe_collection` says, or None while there is no collection."""
        if self._info is None:
            with self._connection.writing:  # a reader must not see the collection while a writer still makes it
                if self._info is None:
                    self._open()
        return self._info

    def _open(self) -> None:
        if not self._client.has_collection(self.name):
            return
        info = self._client.describe_collection(self.name)
        stored, size = read_collection(info, self.name, hybrid=self.hybrid)
        if not check_identity(stored, size, self.identity, collection=self.name):
            found = self._measure()
            if found != size:
                raise mismatch(self.name, stored.describe(size), self.identity.describe(found))
        for field in self._fields_without_index(info):  # just made, or its maker was killed in between
            self._create_index_of(field, info)
        self._client.load_collection(self.name)  # trap: a Lite collection reopens unloaded, and searches fail (101)
        self._info, self.size = info, size

    def _create_index_of(self, field: str, info: Mapping[str, Any]) -> None:
        params = self._client.prepare_index_params()
        index = self._client.sparse_index() if field == SPARSE_FIELD else self._client.dense_index()
        params.add_index(field_name=field, **index)
        try:
            # sync=False: pymilvus's waiting ignores a timeout that is no int, and asks Lite for what it lacks;
            # loading waits for what it needs.
            self._client.create_index(self.name, params, sync=False)
        except MilvusStoreError:
            if field in self._fields_without_index(info):  # else another process was quicker
                raise

    def _fields_without_index(self, info: Mapping[str, Any]) -> list[str]:
        return [field for field in vector_fields(info) if not self._client.list_indexes(self.name, field_name=field)]

    def create(self, size: int) -> None:
        """Create collection, index and all, or nothing.

        Args:
            size: Length of the vectors.
        """
        identity, ours = self.identity.to_json(), True
        schema = make_schema(size, hybrid=self.hybrid, identity=identity)
        try:
            self._client.create_collection(
                self.name,
                schema=schema,
                consistency_level=self._consistency,
                properties={IDENTITY_PROPERTY: identity},
            )
        except MilvusStoreError:
            ours = False
            if not self._appears():  # else another process was quicker
                raise
        try:
            self._open()
        except BaseException:
            # A complete collection stays: another process may already write to it.
            with suppress(MilvusStoreError):
                if ours and self._fields_without_index(self._client.describe_collection(self.name)):
                    self.drop()
            raise

    def _appears(self) -> bool:
        """Tell whether the collection is there within a second (Lite makes its folder before it knows it)."""
        for _ in range(10):
            if self._client.has_collection(self.name):
                return True
            time.sleep(0.1)
        return False

    def drop(self) -> None:
        """Delete the collection, if there is one."""
        with self._connection.writing:
            if self._client.has_collection(self.name):
                self._client.drop_collection(self.name)
            self._info = None

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
            ValueError: The vectors are unusable.
            EmbeddingMismatchError: They have another length than the collection's.
            MilvusStoreError: Milvus failed.
        """
        size = check_vectors(vectors, len(batch))
        with self._connection.writing:
            if self.info is None:
                self.create(size)
            self.check_size(size)
            data = [rows.row(index, vector) for index, vector in zip(batch, vectors, strict=True)]
            self._client.put(self.name, data, timeout)

    def flush(self) -> None:
        """Make what was written fast to search, where Milvus does not do so by itself."""
        # Trap: Lite flushes by itself at 128 MiB only, and 10,000 unflushed rows are searched in 800 ms, not 8.
        # A server seals segments by itself, and limits how often it may be asked to.
        if self.info is not None and self._client.is_lite:
            with self._connection.writing:
                self._client.flush(self.name)

    def delete(self, expression: str, timeout: float | None = None) -> None:
        """Delete the rows that fulfil an expression; an empty one is refused, since it would select all.

        Raises:
            ValueError: The expression is empty.
        """
        if not expression:
            msg = "an empty condition would delete everything; to do that, drop the collection"
            raise ValueError(msg)
        if self.info is not None:
            with self._connection.writing:
                self._client.delete(self.name, filter=expression, timeout=timeout)

    def delete_ids(self, ids: Sequence[str], timeout: float | None = None) -> None:
        """Delete rows by primary key; those that do not exist are no error."""
        for part in _parts(ids):
            self.delete(compile_ids(part), timeout)

    def existing_ids(self, ids: Sequence[str]) -> set[str]:
        """Return those of `ids` that are in the collection, whoever wrote them."""
        return {row[PRIMARY_FIELD] for row in self.rows_by_id(ids, [PRIMARY_FIELD])}

    def rows_by_id(self, ids: Sequence[str], fields: list[str] = OUTPUT_FIELDS) -> list[Row]:
        """Return rows by primary key, in no order."""
        found: list[Row] = []
        for part in _parts(ids):
            # Strong: another process may have written them a moment ago, and this is no search.
            found += self.query(compile_ids(part), fields, consistency_level="Strong")
        return found

    def query(self, expression: str, fields: list[str] = OUTPUT_FIELDS, **options: Any) -> list[Row]:
        """Return the rows that fulfil an expression, in no order; options are `MilvusClient.query`'s."""
        if self.info is None:
            return []
        return list(self._client.query(self.name, filter=expression, output_fields=fields, **options))

    def search(
        self,
        vector: Sequence[float],
        limit: int,
        *,
        expression: str = "",
        params: Mapping[str, Any] | None = None,
        fields: list[str] = OUTPUT_FIELDS,
        timeout: float | None = None,
    ) -> list[Row]:
        """Return the nearest rows, best first, as pymilvus has them: "distance" and "entity".

        Args:
            vector: The query's vector.
            limit: How many rows, 1 or more.
            expression: What rows have to fulfil.
            params: Search parameters; those that fit the index if None.
            fields: What to return of a row.
            timeout: Seconds; the address's own if None.
        """
        if self.info is None:
            return []
        self.check_size(len(vector))
        params = params or self._client.dense_search(limit)
        options = {"filter": expression, "output_fields": fields, "timeout": timeout}
        return self._search(VECTOR_FIELD, list(vector), limit, params, **options)

    def text_search(self, text: str, limit: int, *, expression: str = "", timeout: float | None = None) -> list[Row]:
        """Return the best rows by BM25; see `search`.

        Raises:
            ValueError: The collection has no BM25 index.
        """
        self._require_text_index()
        if self.info is None:
            return []
        options = {"filter": expression, "output_fields": OUTPUT_FIELDS, "timeout": timeout}
        return self._search(SPARSE_FIELD, text, limit, self._client.sparse_search(), **options)

    def _require_text_index(self) -> None:
        if not self.hybrid:
            msg = f"Collection {self.name!r} was opened without hybrid=True and has no text search."
            raise ValueError(msg)

    def _search(self, field: str, data: Any, limit: int, params: Mapping[str, Any], **options: Any) -> list[Row]:
        hits = self._client.search(
            self.name, data=[data], anns_field=field, search_params=params, limit=limit, **options
        )
        return list(hits[0]) if hits else []

    def hybrid_search(
        self,
        text: str,
        vector: Sequence[float],
        limit: int,
        *,
        depth: int | tuple[int, int] | None = None,
        expression: str = "",
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
            expression: What rows have to fulfil.
            params: Search parameters of the dense and of the sparse side.
            ranker: "rrf" (reciprocal ranks) or "weighted".
            ranker_params: For "rrf" `k`, 60 if not given; for "weighted" `weights`, dense first.
            fields: What to return of a row.
            timeout: Seconds; the address's own if None.
        """
        from pymilvus import AnnSearchRequest

        self._require_text_index()
        if self.info is None:
            return []
        # Fusion needs candidates below the cut: 6th in both lists beats 1st in one.
        depths = depth if isinstance(depth, tuple) else (max(depth or max(2 * limit, 50), limit),) * 2
        self.check_size(len(vector))
        dense, sparse = params or (self._client.dense_search(depths[0]), self._client.sparse_search())
        sides = ((list(vector), VECTOR_FIELD, dense, depths[0]), (text, SPARSE_FIELD, sparse, depths[1]))
        requests = [
            AnnSearchRequest(data=[data], anns_field=field, param=own, limit=count, expr=expression or None)
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
        return list(hits[0]) if hits else []


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
