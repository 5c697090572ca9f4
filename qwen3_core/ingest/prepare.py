"""One file at a time: what the collection lacks of it, and what it holds too much."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen3_core.ingest.files import FileState, read_whole
from qwen3_core.ingest.inventory import ID_PREFIX, Inventory, digest
from qwen3_core.ingest.loaders import load_document
from qwen3_core.ingest.manifest import Entry, Manifest, is_settled, now
from qwen3_core.ingest.splitting import Splitting
from qwen3_core.milvus import content_id
from qwen3_core.milvus.rows import check_row


@dataclass(frozen=True)
class Passage:
    """A chunk that the collection lacks.

    Attributes:
        id: Its id: a hash of text and metadata behind `ID_PREFIX`.
        text: Its text.
        metadata: Its metadata.
        weight: The bytes of the file that it stands for, for the progress.
    """

    id: str
    text: str
    metadata: Mapping[str, Any]
    weight: float


@dataclass(frozen=True)
class Prepared:
    """What there is to do for a file.

    Attributes:
        missing: The chunks that the collection lacks.
        old: Ids of chunks that are no longer true.
        chunks: How many chunks the file has.
        known: Whether the collection held anything of it.
        entry: What the manifest is to know when all is done.
    """

    missing: list[Passage]
    old: list[str]
    chunks: int
    known: bool
    entry: Entry


@dataclass(frozen=True)
class Preparer:
    """Reads files and compares them with what the collection holds.

    Args:
        inventory: What the collection holds.
        manifest: What is known of the files.
        splitting: How they are cut.
        encoding: How text is encoded.
        max_file_bytes: A longer file is refused.
    """

    inventory: Inventory
    manifest: Manifest
    splitting: Splitting
    encoding: str
    max_file_bytes: int

    @property
    def cut(self) -> str:
        """What besides a file's bytes decides its chunks."""
        return f"{self.splitting.fingerprint}, {self.encoding}"

    def unchanged(self, path: Path) -> int | None:
        """Return how many chunks a file has if all of it is done and it need not be read, else None.

        Raises:
            OSError: There is no such file, or it cannot be asked for.
        """
        state = FileState.of(path.stat())
        source = path.as_posix()
        entry = self.manifest.find(source, self.cut)
        if entry is None or not is_settled(entry, state):
            return None
        ids = self.inventory.ids(source)
        return len(ids) if digest(ids) == entry.chunks else None

    def prepare(self, path: Path) -> Prepared:
        """Read a file, cut it, and compare.

        Raises:
            IngestError: It cannot be read; parsers of broken files raise anything else.
            ImportError: What reads it is not installed.
            ValueError: A chunk cannot be stored.
        """
        seen = now()
        data, state = read_whole(path, self.max_file_bytes)
        source, content = path.as_posix(), hashlib.sha256(data).hexdigest()
        have = self.inventory.ids(source)
        entry = self.manifest.find(source, self.cut)
        if entry and entry.content == content and entry.chunks == digest(have):
            done = Entry(source, state, seen, content, self.cut, entry.chunks)
            return Prepared([], [], len(have), known=True, entry=done)
        passages = self._passages(data, path)
        made = Entry(source, state, seen, content, self.cut, digest(passages))
        missing = [passage for id_, passage in passages.items() if id_ not in have]
        return Prepared(missing, sorted(have - passages.keys()), len(passages), known=bool(have), entry=made)

    def _passages(self, data: bytes, path: Path) -> dict[str, Passage]:
        """Return the chunks of a file by id; a passage that stands in it twice is one."""
        chunks = self.splitting.cut(load_document(data, path, self.encoding), path)
        weight = len(data) / max(len(chunks), 1)
        for row, chunk in enumerate(chunks):
            check_row(chunk.text, chunk.metadata, None, row=row)
        ids = [ID_PREFIX + content_id(chunk.text, chunk.metadata) for chunk in chunks]
        return {id_: Passage(id_, chunk.text, chunk.metadata, weight) for id_, chunk in zip(ids, chunks, strict=True)}
