"""What is done with the chunks that a collection lacks: embedded in batches, written, and flushed with whole files."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from qwen3_core.ingest.manifest import Entry, Manifest
from qwen3_core.ingest.prepare import Passage, Prepared
from qwen3_core.ingest.summary import IndexProgress
from qwen3_core.ingest.writer import Writer
from qwen3_core.milvus import Collection

Embed = Callable[[list[str]], Sequence[Sequence[float]]]

DEFAULT_BATCH_SIZE = 64
"""Chunks that are embedded and written together, as `add_texts` does it."""

_ROWS_PER_FLUSH = 20_000
"""Rows after which finished files are flushed and their old chunks dropped: below Milvus Lite's own 128 MiB (25,000
rows of 1,024 dimensions), and so rarely that it does not end with a thousand small segments."""


class IndexingStoppedError(Exception):
    """The caller asked to stop; what was written stays, and the next run goes on from there."""


class Sink:
    """Embeds what it is given in batches, has it written, and finishes files behind a flush.

    Args:
        collection: Where it is written.
        embed: Texts to vectors, one each.
        manifest: Learns which files are done.
        batch_size: Chunks that are embedded and written together.
        progress: Called after each batch and each file.
        stopped: Asked before each batch and each file whether to stop.

    Attributes:
        total: How many files and how many bytes have to be done.
    """

    def __init__(
        self,
        collection: Collection,
        embed: Embed,
        manifest: Manifest,
        batch_size: int,
        progress: Callable[[IndexProgress], None] | None,
        stopped: Callable[[], bool] | None,
    ) -> None:
        self.total = (0, 0)
        self._collection, self._embed, self._manifest, self._batch_size = collection, embed, manifest, batch_size
        self._progress, self._stopped = progress, stopped
        self._files, self._bytes, self._chunks = 0, 0.0, 0
        self._batch: list[Passage] = []
        self._finished: list[Entry] = []
        self._old: list[str] = []
        self._since_flush = 0

    def check(self) -> None:
        """Raise if the caller asked to stop."""
        if self._stopped is not None and self._stopped():
            raise IndexingStoppedError

    def take(self, prepared: Prepared, writer: Writer) -> None:
        """Embed and write what is missing of a file, and drop the old behind the next flush."""
        for passage in prepared.missing:
            self._batch.append(passage)
            if len(self._batch) >= self._batch_size:
                self._embed_batch(writer)
        self._finished.append(prepared.entry)
        self._old += prepared.old
        self._since_flush += len(prepared.missing) + len(prepared.old) + 1
        if self._since_flush >= _ROWS_PER_FLUSH:
            self.flush(writer)

    def count(self, weight: float) -> None:
        """Say that a file is through; `weight` is of it what no batch has counted."""
        self._files += 1
        self._bytes += weight
        self._report()

    def _embed_batch(self, writer: Writer) -> None:
        self.check()
        batch, self._batch = self._batch, []
        rows = self._collection.rows(
            [each.text for each in batch], [each.metadata for each in batch], [each.id for each in batch]
        )
        vectors = self._embed(rows.texts)
        writer.submit(functools.partial(self._collection.write, rows, range(len(batch)), vectors))
        self._chunks += len(batch)
        self._bytes += sum(each.weight for each in batch)
        self._report()

    def flush(self, writer: Writer) -> None:
        """Write everything, and only then let go of what was there before."""
        if self._batch:
            self._embed_batch(writer)
        writer.submit(functools.partial(self._finish, self._since_flush, self._finished, self._old))
        self._finished, self._old, self._since_flush = [], [], 0

    def _finish(self, rows: int, finished: list[Entry], old: list[str]) -> None:
        self._collection.flush(rows)
        self._collection.delete_ids(old)
        self._manifest.record(finished)

    def drop(self, source: str, ids: list[str], writer: Writer) -> None:
        """Drop the chunks of a file that is gone."""
        self.check()
        writer.submit(functools.partial(self._collection.delete_ids, ids))
        writer.submit(functools.partial(self._manifest.forget, [source]))

    def _report(self) -> None:
        if self._progress:
            files, size = self.total
            done = min(round(self._bytes), size)
            self._progress(IndexProgress(self._files, files, done, size, self._chunks))
