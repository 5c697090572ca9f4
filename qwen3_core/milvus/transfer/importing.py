"""From a folder to a collection."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qwen3_core.milvus.collection import Row
from qwen3_core.milvus.connection import Connection
from qwen3_core.milvus.errors import MilvusStoreError
from qwen3_core.milvus.filters import PRIMARY_FIELD, compile_ids
from qwen3_core.milvus.rows import VECTOR_FIELD
from qwen3_core.milvus.transfer.bulk import BulkInsert
from qwen3_core.milvus.transfer.ends import count, count_ids, open_target
from qwen3_core.milvus.transfer.files import ExportError, count_rows, require_parquet
from qwen3_core.milvus.transfer.shape import META_FIELD, CollectionShape
from qwen3_core.milvus.transfer.shards import read_export
from qwen3_core.milvus.transfer.summary import TransferSummary

_BATCH_ROWS = 1000
_BATCH_BYTES = 16 * 2**20  # of vectors and text; a Milvus 2.3 server takes messages of 64 MB


def import_collection(
    connection: Connection,
    folder: Path | str,
    name: str | None = None,
    *,
    hybrid: bool | None = None,
    analyzer: str | None = None,
    server_folder: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TransferSummary:
    """Write an export into a collection, which is made if it is not there; nothing is embedded.

    A row replaces the one with its id; one that is there already, the same, is left alone, so an import that was
    interrupted can be run again. At the end every id of the export is looked up. Memory does not grow with the export.

    Args:
        connection: Where the collection is or will be.
        folder: The export.
        name: The collection's name; the exported one's if None.
        hybrid: Whether the collection has a BM25 index; as the exported one if None.
        analyzer: What cuts the text for it; as in the exported one if None.
        server_folder: A folder that the server sees under the same path, for the server's own bulk import. The shards
            are copied there, and deleted at the end.
        progress: Called with the rows that are done so far and those that there are.

    Raises:
        ExportError: The folder holds no export, an unfinished or damaged one, or one of a newer version.
        EmbeddingMismatchError: The collection is there, and another embedding made it.
        ValueError: The name or the analyzer is none, or `server_folder` is no folder or given for Milvus Lite.
        MilvusStoreError: The collection is not this package's, lacks the BM25 index, Milvus failed, or rows are missing
            at the end.
        ImportError: pyarrow is not installed.
    """
    require_parquet()
    begin = time.monotonic()
    export = read_export(Path(folder))
    export.check()
    shape = _target_shape(export.shape, name, hybrid=hybrid, analyzer=analyzer)
    collection = open_target(connection, shape)
    bulk = None if server_folder is None else BulkInsert(connection, shape.name, Path(server_folder))
    target = _Target(connection, shape, empty=count(connection, shape.name) == 0)
    done = written = 0
    files = [export.folder / shard for shard in export.shards]
    for rows, new in target.load(files, bulk):
        done, written = done + rows, written + new
        if progress:
            progress(done, export.rows)
    collection.flush(written)
    for file in files:
        target.verify(file)
    if bulk:
        bulk.clear()
    return TransferSummary(
        collection=shape.name,
        rows=export.rows,
        written=written,
        shards=len(files),
        seconds=time.monotonic() - begin,
        bulk=bulk is not None,
    )


def _target_shape(
    own: CollectionShape, name: str | None, *, hybrid: bool | None, analyzer: str | None
) -> CollectionShape:
    hybrid = own.hybrid if hybrid is None else hybrid
    return replace(
        own,
        name=own.name if name is None else name,
        hybrid=hybrid,
        analyzer=analyzer or (own.analyzer if hybrid else None),
    )


@dataclass(frozen=True)
class _Target:
    """The collection that is written to; `empty` as it was found."""

    connection: Connection
    shape: CollectionShape
    empty: bool

    def load(self, files: Sequence[Path], bulk: BulkInsert | None) -> Iterator[tuple[int, int]]:
        """Write shards; yield how many rows are done, and how many of them were not there before."""
        for file in files:
            if bulk and bulk.finished(file):
                yield count_rows(file), 0
            elif bulk and self._has_none_of(file):  # a bulk import doesn't replace: an id would be there twice
                for batch in _batches(file):
                    self._vectors(batch, file)
                rows = bulk.insert(file)
                yield rows, rows
            else:
                for batch in _batches(file):
                    yield batch.num_rows, self._put(self._rows(batch, file))
        if bulk:
            for rows in bulk.finish():
                yield rows, rows

    def _has_none_of(self, file: Path) -> bool:
        return self.empty or not any(count_ids(self.connection, self.shape.name, ids) for ids in _ids(file))

    def _vectors(self, batch: Any, file: Path) -> Any:
        """Return the vectors as a matrix, or refuse them: neither Lite nor a bulk import looks."""
        import numpy as np
        import pyarrow.compute as pc

        column = batch.column(VECTOR_FIELD)
        values = column.flatten().to_numpy(zero_copy_only=False)
        if set(pc.list_value_length(column).to_pylist()) != {self.shape.size} or not np.isfinite(values).all():
            msg = f"{file} has vectors that are not {self.shape.size} finite numbers each. Make the export again."
            raise ExportError(msg)
        return values.reshape(-1, self.shape.size)

    def _rows(self, batch: Any, file: Path) -> list[dict[str, Any]]:
        columns = {name: batch.column(name).to_pylist() for name in self.shape.fields if name != VECTOR_FIELD}
        columns[VECTOR_FIELD] = self._vectors(batch, file).tolist()
        metadatas = map(json.loads, batch.column(META_FIELD).to_pylist())
        own = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        return [{**metadata, **row} for metadata, row in zip(metadatas, own, strict=True)]

    def _put(self, rows: Sequence[dict[str, Any]]) -> int:
        """Write the rows that are not there already, the same; return how many."""
        there = {} if self.empty else self._found([row[PRIMARY_FIELD] for row in rows])
        if len(there) == len(rows) and self._same(rows, [there[row[PRIMARY_FIELD]] for row in rows]):
            return 0
        known = [(row, there.get(row[PRIMARY_FIELD])) for row in rows]
        new = [row for row, old in known if old is None or not self._same([row], [old])]
        if new:
            with self.connection.writing:
                self.connection.client.put(self.shape.name, new, partitioned=self.shape.tenants)
        return len(new)

    def _found(self, ids: Sequence[str]) -> dict[str, Row]:
        rows = self.connection.client.query(
            self.shape.name,
            filter=compile_ids(ids),
            output_fields=[*self.shape.fields, META_FIELD],
            consistency_level="Strong",
        )
        return {row[PRIMARY_FIELD]: row for row in rows}

    def _same(self, rows: Sequence[Row], others: Sequence[Row]) -> bool:
        return bool(self.shape.table(rows).equals(self.shape.table(others)))

    def verify(self, file: Path) -> None:
        """Look every id of a shard up; a server shows what it imported only after a while.

        Raises:
            MilvusStoreError: An id is missing, or there twice.
        """
        for ids in _ids(file):
            deadline = time.monotonic() + 10 * self.connection.address.timeout
            while (found := count_ids(self.connection, self.shape.name, ids)) != len(ids):
                if found > len(ids) or self.connection.client.is_lite or time.monotonic() > deadline:
                    msg = (
                        f"Collection {self.shape.name!r} has {found:,} rows for {len(ids):,} ids of {file}. Import "
                        "into another collection, or drop this one and import again."
                    )
                    raise MilvusStoreError(msg)
                time.sleep(0.5)


def _batches(file: Path) -> Iterator[Any]:
    """Yield a shard's rows in record batches that fit into a message."""
    with require_parquet().ParquetFile(file) as shard:
        for batch in shard.iter_batches(_BATCH_ROWS):
            yield from _pieces(batch)


def _pieces(batch: Any) -> Iterator[Any]:
    if batch.nbytes <= _BATCH_BYTES or batch.num_rows == 1:
        yield batch
    else:
        half = batch.num_rows // 2
        yield from _pieces(batch.slice(0, half))
        yield from _pieces(batch.slice(half))


def _ids(file: Path) -> Iterator[list[str]]:
    with require_parquet().ParquetFile(file) as shard:
        for batch in shard.iter_batches(_BATCH_ROWS, columns=[PRIMARY_FIELD]):
            yield sorted(set(batch.column(PRIMARY_FIELD).to_pylist()))
