"""From files to rows of a collection: what is not there yet is embedded, what is no longer true goes.

Files are read one after another, their chunks are embedded in batches in the caller's thread, and one thread writes. A
file's old chunks are dropped after its new ones are in and flushed, and what is in the collection decides what is to be
done: a run that was killed at any moment is finished by the next one.
"""

from __future__ import annotations

import codecs
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qwen3_core.ingest.errors import IngestError
from qwen3_core.ingest.files import MAX_FILE_BYTES, is_gone, is_within, walk
from qwen3_core.ingest.inventory import Inventory
from qwen3_core.ingest.loaders import ALL_SUFFIXES
from qwen3_core.ingest.manifest import Manifest
from qwen3_core.ingest.prepare import Preparer
from qwen3_core.ingest.sink import DEFAULT_BATCH_SIZE, Embed, Sink
from qwen3_core.ingest.splitting import Splitting
from qwen3_core.ingest.summary import FailedFile, IndexProgress, IndexSummary
from qwen3_core.ingest.writer import Writer
from qwen3_core.milvus import Collection

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def index_files(
    collection: Collection,
    embed: Embed,
    paths: Paths,
    *,
    splitting: Splitting | None = None,
    encoding: str = "utf-8",
    prune: bool = False,
    manifest: Manifest | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
    max_file_bytes: int = MAX_FILE_BYTES,
    progress: Callable[[IndexProgress], None] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> IndexSummary:
    """Make a collection hold the chunks of files, as they are now.

    A file is named by its path as given: the same path has to be given again for the file to be recognised. One that
    cannot be read is reported and stops nothing; what the collection holds of it stays.

    Args:
        collection: The collection; rows that were not indexed by this function are left alone.
        embed: Texts to vectors, one each.
        paths: Files of any name, and folders, in which files of known kinds are found at any depth; hidden ones are
            left out, and links to folders are not followed.
        splitting: How long chunks may be; 1,000 characters by default.
        encoding: How text is encoded.
        prune: Also drop files that were indexed from these paths and are gone.
        manifest: Saves reading files that have not changed; the caller's to close.
        batch_size: Chunks that are embedded and written together.
        max_file_bytes: A longer file is not read.
        progress: Called after each batch and each file.
        stopped: Asked before each batch and each file whether to stop.

    Raises:
        IngestError: There is no path, or one does not exist and nothing was indexed from it.
        ValueError: `batch_size` is below 1 or the encoding is unknown, or the vectors are unusable.
        IndexingStoppedError: `stopped` said so.
        EmbeddingMismatchError: The vectors have another length than the collection's.
        MilvusStoreError: Milvus failed.
    """
    if batch_size < 1:
        msg = f"batch_size={batch_size}: pass 1 or more."
        raise ValueError(msg)
    _check_encoding(encoding)
    started = time.monotonic()
    roots = check_paths(paths, prune=prune)
    inventory = Inventory()
    try:
        inventory.read(collection, _sources(roots))
        preparer = Preparer(
            inventory, manifest or Manifest(None, ""), splitting or Splitting(), encoding, max_file_bytes
        )
        sink = Sink(collection, embed, preparer.manifest, batch_size, progress, stopped)
        return _Run(preparer, inventory, sink, started).all(roots, prune=prune)
    finally:
        inventory.close()


def _check_encoding(encoding: str) -> None:
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        msg = f"unknown encoding {encoding!r}"
        raise ValueError(msg) from error


def check_paths(paths: Paths, *, prune: bool) -> list[Path]:
    """Return paths as a list; with `prune`, one that is gone may be what is to be dropped.

    Raises:
        IngestError: There is none, or one does not exist.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    roots = [Path(path) for path in given]
    missing = [] if prune else [f"{root}: no such file or folder" for root in roots if is_gone(str(root))]
    if not roots or missing:
        raise IngestError("\n".join(missing) or "there is nothing to index: give at least one file or folder")
    return roots


def _sources(roots: Sequence[Path]) -> list[str] | None:
    """Return the names of the files, if there is no folder among the paths, nor what may have been one."""
    if any(os.path.isdir(root) or is_gone(str(root)) for root in roots):
        return None
    return [root.as_posix() for root in roots if _is_unicode(root.as_posix())]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass
class _Run:
    """One run; see `index_files`."""

    preparer: Preparer
    inventory: Inventory
    sink: Sink
    started: float

    failed: list[FailedFile] = field(default_factory=list)
    added: int = 0
    replaced: int = 0
    skipped: int = 0
    removed: int = 0
    chunks: int = 0
    chunks_added: int = 0
    chunks_removed: int = 0

    def all(self, roots: Sequence[Path], *, prune: bool) -> IndexSummary:
        """Do everything, and say what was done."""
        if prune:
            self._check_gone(roots)
        found = sum(self._plan(root) for root in roots)
        self.sink.total = self.inventory.amount()
        tokenizer = self.preparer.splitting.tokenizer
        if tokenizer and self.sink.total[0]:
            tokenizer()  # a model that cannot be loaded is no file's fault
        with Writer() as writer:
            for source, size in self.inventory.todo():
                self._do(Path(source), size, writer)
            self.sink.flush(writer)
            for gone in filter(is_gone, self._known(roots) if prune else ()):
                self._drop(gone, writer)
        problem = self.preparer.manifest.problem
        return IndexSummary(
            added=self.added,
            replaced=self.replaced,
            skipped=self.skipped,
            removed=self.removed,
            failed=tuple(self.failed),
            chunks=self.chunks,
            chunks_added=self.chunks_added,
            chunks_removed=self.chunks_removed,
            seconds=time.monotonic() - self.started,
            note="; ".join(filter(None, [problem, "" if found else "there is no file of a known kind"])),
        )

    def _known(self, roots: Sequence[Path]) -> Iterator[str]:
        """Yield the files below the paths of which the collection holds something."""
        return (source for source in self.inventory.sources() if any(is_within(source, root) for root in roots))

    def _check_gone(self, roots: Sequence[Path]) -> None:
        """Refuse a path that is gone and of which nothing was indexed: it is probably misspelt."""
        for root in roots:
            if is_gone(str(root)) and not any(self._known([root])):
                msg = f"{root}: no such file or folder, and nothing of it is in the collection"
                raise IngestError(msg)

    def _plan(self, root: Path) -> int:
        """Note which files below a path have to be read; return how many files there are."""
        found = 0
        for path in () if is_gone(str(root)) else walk(root, ALL_SUFFIXES, self._fail):
            self.sink.check()
            found += 1
            if not _is_unicode(path.as_posix()):
                self._fail(path, IngestError("has a name that is not UTF-8: rename it"))
            elif self.inventory.is_new(path.as_posix()):
                self._plan_file(path)
        return found

    def _plan_file(self, path: Path) -> None:
        try:
            chunks = self.preparer.unchanged(path)
            size = path.stat().st_size
        except OSError as error:
            self._fail(path, error)
            return
        if chunks is None:
            self.inventory.add_todo(path.as_posix(), size)
        else:
            self.skipped += 1
            self.chunks += chunks

    def _do(self, path: Path, size: int, writer: Writer) -> None:
        self.sink.check()
        try:
            prepared = self.preparer.prepare(path)
        except Exception as error:  # noqa: BLE001  # parsers raise anything on a broken file, and others shall not suffer
            self._fail(path, error)
            self.sink.count(size)
            return
        self.sink.take(prepared, writer)
        self.sink.count(size - sum(passage.weight for passage in prepared.missing))
        self.chunks += prepared.chunks
        self.chunks_added += len(prepared.missing)
        self.chunks_removed += len(prepared.old)
        if not prepared.missing and not prepared.old:
            self.skipped += 1
        elif prepared.known:
            self.replaced += 1
        else:
            self.added += 1

    def _drop(self, source: str, writer: Writer) -> None:
        ids = sorted(self.inventory.ids(source))
        self.sink.drop(source, ids, writer)
        self.removed += 1
        self.chunks_removed += len(ids)

    def _fail(self, path: Path, error: Exception) -> None:
        if isinstance(error, OSError) and error.strerror:
            reason = f"cannot be read ({error.strerror})"
        elif isinstance(error, (ValueError, ImportError)):
            reason = str(error).removeprefix(f"{path}: ")
        else:
            reason = f"cannot be read ({type(error).__name__}: {error})"
        self.failed.append(FailedFile(_shown(path.as_posix()), _shown(reason)))


def _shown(text: str) -> str:
    """Return a text that can be printed: names of files may have bytes that are not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()
