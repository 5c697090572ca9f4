"""What a run of the indexing did, and how far it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class FailedFile:
    """A file that could not be indexed; what the collection held of it is still there.

    Attributes:
        source: The file.
        reason: Why, and what to do.
    """

    source: str
    reason: str


@dataclass(frozen=True)
class IndexSummary:
    """What a run did.

    Attributes:
        added: Files of which the collection had nothing.
        replaced: Files of which it had something else, or a part.
        skipped: Files that needed nothing: their chunks are all there, or they are empty.
        removed: Files that are gone, and their chunks now too.
        failed: Files that could not be indexed.
        chunks: Chunks that the files have together.
        chunks_added: Chunks that were embedded and written.
        chunks_removed: Chunks that were dropped.
        seconds: How long it took.
        note: What did not matter and should be known, or an empty string.
    """

    added: int
    replaced: int
    skipped: int
    removed: int
    failed: tuple[FailedFile, ...]
    chunks: int
    chunks_added: int
    chunks_removed: int
    seconds: float
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self) | {"failed": [asdict(each) for each in self.failed]}


@dataclass(frozen=True)
class IndexProgress:
    """How far a run is. Files that have not changed since the last run are not counted.

    Attributes:
        files: Files that are read.
        files_total: Files to be read.
        bytes: Bytes of them that are read, cut and embedded.
        bytes_total: Bytes to be done.
        chunks: Chunks that were embedded.
    """

    files: int
    files_total: int
    bytes: int
    bytes_total: int
    chunks: int
