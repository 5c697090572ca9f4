"""What both frameworks' `index_documents` share: the defaults, and how it runs beside an event loop."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from qwen3_core.ingest.files import MAX_FILE_BYTES
from qwen3_core.ingest.manifest import Manifest, manifest_key, manifest_path
from qwen3_core.ingest.pipeline import Paths, index_files
from qwen3_core.ingest.sink import DEFAULT_BATCH_SIZE, Embed
from qwen3_core.ingest.splitting import splitting_for
from qwen3_core.ingest.summary import IndexProgress, IndexSummary
from qwen3_core.milvus import Collection

ManifestPlace = str | os.PathLike[str] | bool
"""A path; True is beside a Lite file, or in ``.qwen3-rag`` of the current folder; False keeps none."""


class IndexOptions(TypedDict, total=False):
    """The arguments of `index_documents` that have defaults, the same in both frameworks."""

    chunk_tokens: int | None
    chunk_size: int | None
    encoding: str
    prune: bool
    manifest: ManifestPlace
    batch_size: int
    max_file_bytes: int
    progress: Callable[[IndexProgress], None] | None


def index_paths(
    collection: Collection,
    embed: Embed,
    embedder: object,
    paths: Paths,
    *,
    chunk_tokens: int | None = None,
    chunk_size: int | None = None,
    encoding: str = "utf-8",
    prune: bool = False,
    manifest: ManifestPlace = True,
    batch_size: int = DEFAULT_BATCH_SIZE,
    max_file_bytes: int = MAX_FILE_BYTES,
    progress: Callable[[IndexProgress], None] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> IndexSummary:
    """Run `index_files` with a manifest in its usual place, and chunks in the tokens of the embedder if it has any.

    Args:
        collection: The collection.
        embed: Texts to vectors.
        embedder: The engine behind it, of which the tokenizer is taken if it is a `LocalEmbedder`.
        paths: See `index_files`, as for all that is not told here.
        chunk_tokens: Tokens of a chunk at most.
        chunk_size: Characters of a chunk at most.
        encoding: How text is encoded.
        prune: Also drop files that are gone.
        manifest: See `ManifestPlace`.
        batch_size: Chunks that are embedded and written together.
        max_file_bytes: A longer file is not read.
        progress: Called after each batch and each file.
        stopped: Asked whether to stop.
    """
    splitting = splitting_for(embedder, chunk_tokens=chunk_tokens, chunk_size=chunk_size)
    collection.require_tenant()
    notes = Manifest(_place(manifest, collection), manifest_key(collection))
    try:
        return index_files(
            collection,
            embed,
            paths,
            splitting=splitting,
            encoding=encoding,
            prune=prune,
            manifest=notes,
            batch_size=batch_size,
            max_file_bytes=max_file_bytes,
            progress=progress,
            stopped=stopped,
        )
    finally:
        notes.close()


def _place(manifest: ManifestPlace, collection: Collection) -> Path | None:
    if isinstance(manifest, bool):
        return manifest_path(collection) if manifest else None
    return Path(manifest)


async def beside_loop(run: Callable[[Callable[[], bool]], IndexSummary]) -> IndexSummary:
    """Run in a thread what asks whether to stop; a cancelled task tells it so, and ends when the thread has ended."""
    stop = threading.Event()
    work = asyncio.ensure_future(asyncio.to_thread(functools.partial(run, stop.is_set)))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.set()
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError:
                continue  # cancelled once more: the thread is still there
        work.exception()  # looked at, or asyncio complains that nobody did
        raise
