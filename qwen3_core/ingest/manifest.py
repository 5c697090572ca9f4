"""A note beside the collection of which files were indexed from which state, so that they are not read again.

It only saves work. Whether a file's chunks are in the collection is decided by the collection, and an entry counts only
where it names exactly the chunks that are there; a manifest that is lost, older, damaged or another collection's costs
reading the files again.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from qwen3_core.ingest.files import FileState
from qwen3_core.milvus import Collection

_APPLICATION = 0x51334D46  # "Q3MF": SQLite's application_id, by which a file says whose it is
_FORMAT = 1
_SETTLED = 2_000_000_000
"""Nanoseconds after which a change shows in a file's times: FAT counts in steps of two seconds, ext4 in a few ms."""

_BUSY = 5.0  # seconds to wait for another run that writes to it

_SCHEMA = """
CREATE TABLE IF NOT EXISTS file (
    collection TEXT, source TEXT, size INTEGER, modified INTEGER, changed INTEGER, inode INTEGER,
    seen INTEGER, content TEXT, cut TEXT, chunks TEXT, PRIMARY KEY (collection, source)
) WITHOUT ROWID
"""


@dataclass(frozen=True)
class Entry:
    """A file that was indexed.

    Attributes:
        source: The file, as it is named in the metadata.
        state: What the file system said of it.
        seen: When it was read, in nanoseconds since 1970.
        content: A hash of its bytes.
        cut: How it was cut.
        chunks: A digest of its chunks' ids.
    """

    source: str
    state: FileState
    seen: int
    content: str
    cut: str
    chunks: str


class Manifest:
    """The entries of one collection; several runs and several collections may share a file.

    Args:
        path: The SQLite file; None keeps nothing.
        collection: What tells the collection from others in the same file.

    Attributes:
        problem: Why it is not used, or an empty string. Nothing here raises.
    """

    def __init__(self, path: Path | None, collection: str) -> None:
        self.problem = ""
        self._path, self._collection = path, collection
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        with self._guarded():
            self._open()

    def _open(self) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Used by the run's own thread and by its writer, one at a time.
        self._db = sqlite3.connect(self._path, timeout=_BUSY, check_same_thread=False)
        [[application]] = self._db.execute("PRAGMA application_id")
        [[tables]] = self._db.execute("SELECT count(*) FROM sqlite_master")
        [[version]] = self._db.execute("PRAGMA user_version")
        if tables and (application, version) != (_APPLICATION, _FORMAT):
            msg = "it is another program's"
            raise sqlite3.DatabaseError(msg)
        with self._db:
            self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
            self._db.execute(f"PRAGMA user_version = {_FORMAT}")
            self._db.execute(_SCHEMA)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except (sqlite3.Error, OSError, ValueError) as error:
            self.problem = f"the manifest {self._path} cannot be used ({error}): unchanged files are read again"
            self.close()

    def close(self) -> None:
        """Close the file; doing it twice is fine."""
        database, self._db = self._db, None
        if database is not None:
            database.close()

    def find(self, source: str, cut: str) -> Entry | None:
        """Return what is known of a file that was cut in this way."""
        row = None
        with self._guarded():
            if self._db is not None:
                row = self._db.execute(
                    "SELECT size, modified, changed, inode, seen, content, cut, chunks FROM file"
                    " WHERE collection = ? AND source = ? AND cut = ?",
                    [self._collection, source, cut],
                ).fetchone()
        return Entry(source, FileState(*row[:4]), *row[4:]) if row else None

    def record(self, entries: Iterable[Entry]) -> None:
        """Note files whose chunks are in the collection, and nothing else of them."""
        rows = [
            (self._collection, each.source, *astuple(each.state), each.seen, each.content, each.cut, each.chunks)
            for each in entries
        ]
        with self._guarded():
            if self._db is not None and rows:
                with self._db:
                    self._db.executemany("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def forget(self, sources: Iterable[str]) -> None:
        """Drop what is known of files."""
        rows = [(self._collection, source) for source in sources]
        with self._guarded():
            if self._db is not None and rows:
                with self._db:
                    self._db.executemany("DELETE FROM file WHERE collection = ? AND source = ?", rows)


def is_settled(entry: Entry, state: FileState) -> bool:
    """Tell whether a file is as it was when it was read.

    A file that changed just before it was read may have changed just after, within one tick of the clock of its
    file system, and look the same.
    """
    return entry.state == state and max(state.modified, state.changed) < entry.seen - _SETTLED


def now() -> int:
    """Return the time as entries have it."""
    return time.time_ns()


def manifest_path(collection: Collection) -> Path:
    """Return where the manifest of a collection lies: beside a Lite file, else in ``.qwen3-rag`` of this folder."""
    address = collection._connection.address
    if address.is_lite:
        return Path(f"{address.uri}.manifest")
    parts = urlsplit(address.shown)
    names = [parts.hostname or parts.path, str(parts.port or ""), address.db_name, collection.name]
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", "-".join(filter(None, names)))
    return Path(os.curdir, ".qwen3-rag", f"{name}.sqlite3")


def manifest_key(collection: Collection) -> str:
    """Return what tells a collection and tenant from others in one manifest.

    A Lite file may be moved, together with its manifest.
    """
    address = collection._connection.address
    place = [] if address.is_lite else [address.shown, address.db_name]
    tenant = collection._tenant.name if collection._tenant else None
    return json.dumps([*place, collection.name, tenant])
