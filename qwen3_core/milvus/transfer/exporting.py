"""From a collection to a folder."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from qwen3_core.milvus.client import BY_ID
from qwen3_core.milvus.collection import Row
from qwen3_core.milvus.connection import Connection
from qwen3_core.milvus.expressions import Field
from qwen3_core.milvus.filters import PRIMARY_FIELD, compile_filter
from qwen3_core.milvus.transfer.ends import count, open_source
from qwen3_core.milvus.transfer.files import ExportError, require_parquet
from qwen3_core.milvus.transfer.shape import META_FIELD
from qwen3_core.milvus.transfer.shards import Export, begin_export
from qwen3_core.milvus.transfer.summary import TransferSummary

SHARD_BYTES = 128 * 2**20
"""Where a shard ends: some 25,000 rows of 1,024 dimensions and a thousand characters."""

_PAGE_BYTES = 8 * 2**20  # what is in memory at once; a server sends at most 100 MB in one answer
_FIRST_PAGE, _MAX_PAGE = 100, 4096
_OWN_SHARD = re.compile(r"shard-\d{8}\.parquet")


def export_collection(
    connection: Connection,
    name: str,
    folder: Path | str,
    *,
    overwrite: bool = False,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[int, int], None] | None = None,
) -> TransferSummary:
    """Write a collection to Parquet files: ids, texts, vectors, metadata, and which embedding made it.

    Memory does not grow with the collection. An export that was interrupted goes on from its last whole shard. Nobody
    may write to the collection meanwhile: rows are read in the order of their ids, and what comes too late is missed;
    if the count shows it, the export is not marked complete.

    Args:
        connection: Where the collection is.
        name: Its name.
        folder: Where to; made if it does not exist.
        overwrite: Delete an export that is in the folder first.
        shard_bytes: Where a shard ends.
        progress: Called with the rows that are written so far and those that there are.

    Raises:
        ExportError: The folder is not empty and holds no unfinished export of this collection, or the collection
            changed meanwhile.
        MilvusStoreError: There is no such collection, it is not this package's, or Milvus failed.
        ImportError: pyarrow is not installed.
        OSError: The folder cannot be written.
    """
    require_parquet()
    begin = time.monotonic()
    shape = open_source(connection, name)
    export = begin_export(Path(folder), shape, overwrite=overwrite)
    total = count(connection, name)
    before, last = _written(export)
    number, rows = len(export.files), before
    pages = _tables(connection, export, last)
    for page in pages:
        with export.new_shard(f"{number:08d}") as shard:
            size = 0
            for table in chain([page], pages):
                shard.write_table(table)
                rows, size = rows + table.num_rows, size + table.nbytes
                if progress:
                    progress(rows, total)
                if size >= shard_bytes:
                    break
        number += 1
    total = count(connection, name)
    if rows != total:
        msg = (
            f"{rows:,} rows were exported and {name!r} has {total:,}: it was written to meanwhile. Export again with "
            "overwrite=True (--overwrite) while nobody writes."
        )
        raise ExportError(msg)
    done = export.finish()
    return TransferSummary(
        collection=name, rows=done.rows, written=rows - before, shards=number, seconds=time.monotonic() - begin
    )


def _written(export: Export) -> tuple[int, str]:
    """Return how many rows an interrupted export has, and the last id."""
    files = export.files
    if not files:
        return 0, ""
    if not all(_OWN_SHARD.fullmatch(file.name) for file in files):
        msg = f"{export.folder} holds shards that were not exported from a collection. Choose another folder."
        raise ExportError(msg)
    with require_parquet().ParquetFile(files[-1]) as shard:
        ids = shard.read_row_group(shard.num_row_groups - 1, columns=[PRIMARY_FIELD])[PRIMARY_FIELD]
        last = str(ids[-1].as_py())
    return sum(require_parquet().read_metadata(file).num_rows for file in files), last


def _tables(connection: Connection, export: Export, last: str) -> Iterator[Any]:
    """Yield the rows after an id in the order of their ids, in tables of bounded size."""
    limit = _FIRST_PAGE
    while rows := _page(connection, export, last, limit):
        table = export.shape.table(rows)
        last = rows[-1][PRIMARY_FIELD]
        limit = max(1, min(_MAX_PAGE, _PAGE_BYTES * len(rows) // table.nbytes))
        yield table


def _page(connection: Connection, export: Export, last: str, limit: int) -> list[Row]:
    return list(
        connection.client.query(
            export.shape.name,
            filter=compile_filter(Field(PRIMARY_FIELD) > last),
            output_fields=[*export.shape.fields, META_FIELD],
            limit=limit,
            **BY_ID,
        )
    )
