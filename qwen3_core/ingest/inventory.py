"""What a collection holds of files, read once at the start: what is done and what is not is decided by it alone.

It lies in a temporary SQLite file, so that memory does not grow with the corpus.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from qwen3_core.milvus.client import BY_ID
from qwen3_core.milvus.collection import OUTPUT_FIELDS, Collection, Row
from qwen3_core.milvus.expressions import And, Field, In
from qwen3_core.milvus.filters import PRIMARY_FIELD, TEXT_FIELD
from qwen3_core.milvus.rows import VECTOR_FIELD, metadata_of

ID_PREFIX = "file:"
"""What ids of indexed files start with: rows of other origin may have a `source` too, and are nobody's to replace."""

_ID_END = "file;"  # behind all of them: ";" is the character that follows ":"

_ROWS_PER_PAGE = 10_000  # 2 MB of ids and sources; a server returns 16,384 rows at most
_ROWS_TO_MEND = 500  # with their vectors: 16 MB at 4,096 dimensions
_FEW_SOURCES = 100  # asked for by name: a condition of 8 kB, answered in 0.1 s by a Lite collection of 12,000 rows


class Inventory:
    """The ids of the chunks of each file, and the files that this run has to do.

    `close` it.
    """

    def __init__(self) -> None:
        # An empty name is a private file on disk that SQLite removes by itself, also when the process is killed.
        self._db = sqlite3.connect("", check_same_thread=False)
        self._db.execute(
            "CREATE TABLE chunk (source TEXT, id TEXT, copies INTEGER, PRIMARY KEY (source, id)) WITHOUT ROWID"
        )
        self._db.execute("CREATE TABLE seen (source TEXT PRIMARY KEY) WITHOUT ROWID")
        self._db.execute("CREATE TABLE todo (number INTEGER PRIMARY KEY, source TEXT, size INTEGER)")

    def close(self) -> None:
        """Remove it."""
        self._db.close()

    def read(self, collection: Collection, sources: list[str] | None = None) -> None:
        """Read what the collection holds, and mend it where it holds a row twice.

        Args:
            collection: The collection.
            sources: The files that matter, if it is only these.

        Raises:
            MilvusStoreError: Milvus failed.
        """
        few = sources if sources is not None and len(sources) <= _FEW_SOURCES else None
        for rows in _pages(collection, few):
            self._db.executemany(
                "INSERT INTO chunk VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET copies = copies + 1",
                ((row["source"], row[PRIMARY_FIELD]) for row in rows if isinstance(row.get("source"), str)),
            )
        twice = self._db.execute("SELECT id FROM chunk WHERE copies > 1")
        while ids := [id_ for (id_,) in twice.fetchmany(_ROWS_TO_MEND)]:
            _mend(collection, ids)

    def ids(self, source: str) -> set[str]:
        """Return the ids of a file's chunks."""
        return {id_ for (id_,) in self._db.execute("SELECT id FROM chunk WHERE source = ?", [source])}

    def sources(self) -> Iterator[str]:
        """Yield the files of which there is anything."""
        return (source for (source,) in self._db.execute("SELECT DISTINCT source FROM chunk"))

    def is_new(self, source: str) -> bool:
        """Note that a file was met in this run, and tell whether it is the first time."""
        return self._db.execute("INSERT OR IGNORE INTO seen VALUES (?)", [source]).rowcount == 1

    def add_todo(self, source: str, size: int) -> None:
        """Note a file that has to be done, and its size in bytes."""
        self._db.execute("INSERT INTO todo (source, size) VALUES (?, ?)", [source, size])

    def todo(self) -> Iterator[tuple[Path, int]]:
        """Yield the files that have to be done, with their sizes in bytes, in the order of their notes."""
        rows = self._db.execute("SELECT source, size FROM todo ORDER BY number")
        return ((Path(source), size) for source, size in rows)

    def amount(self) -> tuple[int, int]:
        """Return how many files have to be done, and how many bytes they have."""
        files, size = self._db.execute("SELECT count(*), coalesce(sum(size), 0) FROM todo").fetchone()
        return files, size


def digest(ids: Iterable[str]) -> str:
    """Return what tells one set of ids from another."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def _pages(collection: Collection, sources: list[str] | None) -> Iterator[list[Row]]:
    """Yield the rows of indexed files in the order of their ids."""
    first = ID_PREFIX
    while True:
        condition = And(Field(PRIMARY_FIELD) >= first, Field(PRIMARY_FIELD) < _ID_END)
        rows = collection.query(
            condition if sources is None else And(condition, In("source", sources)),
            [PRIMARY_FIELD, "source"],
            limit=_ROWS_PER_PAGE,
            **BY_ID,
        )
        if len(rows) < _ROWS_PER_PAGE:
            yield rows
            return
        first = rows[-1][PRIMARY_FIELD]  # there may be another row with this id, on the next page
        yield [row for row in rows if row[PRIMARY_FIELD] != first]


def _mend(collection: Collection, ids: list[str]) -> None:
    """Write rows again that are there twice, after which they are there once.

    Trap: a Milvus Lite (3.2.2) that is killed at the end of a flush finds the rows in its log as well as in the new
    segment, and returns both (`engine/flush.py` step 6 speaks of deduplication by number, but the numbers are equal).
    """
    found = collection.rows_by_id(ids, [*OUTPUT_FIELDS, VECTOR_FIELD])
    rows = list({row[PRIMARY_FIELD]: row for row in found}.values())
    checked = collection.rows(
        [row[TEXT_FIELD] for row in rows], [metadata_of(row) for row in rows], [row[PRIMARY_FIELD] for row in rows]
    )
    if rows:
        collection.write(checked, range(len(rows)), [row[VECTOR_FIELD] for row in rows])
