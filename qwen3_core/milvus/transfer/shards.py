"""A folder with an export: Parquet shards, each complete or absent, and `collection.json`, completed last."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qwen3_core.milvus.identity import EmbeddingIdentity
from qwen3_core.milvus.transfer.files import ExportError, count_rows, require_parquet, sync
from qwen3_core.milvus.transfer.shape import CollectionShape

DESCRIPTION = "collection.json"
"""The file that says what an export holds, and whether it is complete."""

_FORMAT = "qwen3-rag collection"
_VERSION = 1
_SHARDS = "shard-*.parquet"
_UNFINISHED = ".part"
_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")


@dataclass(frozen=True)
class Export:
    """A folder with an export.

    Attributes:
        folder: The folder.
        shape: What the collection is.
        shards: Rows in each file; empty until the export is complete.
        complete: Whether all rows are there.
    """

    folder: Path
    shape: CollectionShape
    shards: Mapping[str, int] = field(default_factory=dict)
    complete: bool = False

    @property
    def rows(self) -> int:
        """How many rows a complete export has."""
        return sum(self.shards.values())

    @property
    def files(self) -> list[Path]:
        """The shards that are in the folder, in the order of their names."""
        return sorted(self.folder.glob(_SHARDS))

    def write(self, name: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Write one shard whole, for rows that come from elsewhere than a collection; return how many there are.

        The same name written again replaces the shard, so that a task that is tried again does no harm.

        Args:
            name: Letters, digits and underscores: "part_17".
            rows: What `qwen3_core.milvus.rows.Rows.row` gives.

        Raises:
            ValueError: The name is none, or a vector has another length than the collection's.
        """
        if not _NAME.fullmatch(name):
            msg = f"name={name!r}: use letters, digits and underscores, at most 64."
            raise ValueError(msg)
        with self.new_shard(name) as shard:
            shard.write_table(self.shape.table(rows))
        return len(rows)

    def has(self, name: str) -> bool:
        """Return whether `write` has written a shard of this name."""
        return self._path(name).exists()

    def _path(self, name: str) -> Path:
        return self.folder / f"shard-{name}.parquet"

    @contextmanager
    def new_shard(self, name: str) -> Iterator[Any]:
        """Yield a `pyarrow.parquet.ParquetWriter`; the shard gets its name when it is whole and on the disk."""
        parquet = require_parquet()
        path = self._path(name)
        unfinished = path.with_name(path.name + _UNFINISHED)
        # Neither texts nor vectors repeat, so a dictionary of values would only cost time.
        with parquet.ParquetWriter(unfinished, self.shape.schema, use_dictionary=False) as writer:
            yield writer
        sync(unfinished)
        unfinished.replace(path)
        sync(self.folder)

    def finish(self, names: Iterable[str] | None = None) -> Export:
        """Count the rows of all shards and mark the export complete.

        Args:
            names: The shards that belong to it; others are deleted. None keeps all.

        Raises:
            ExportError: A shard is missing or cannot be read.
        """
        if names is not None:
            wanted = {self._path(name) for name in names}
            for file in set(self.files) - wanted:
                file.unlink()
            if absent := sorted(file.name for file in wanted - set(self.files)):
                msg = f"{self.folder} lacks {len(absent):,} shards, such as {absent[0]}. Write them, then finish."
                raise ExportError(msg)
        done = Export(self.folder, self.shape, {file.name: count_rows(file) for file in self.files}, complete=True)
        done.describe()
        return done

    def describe(self) -> None:
        """Write `collection.json`."""
        description = {
            "format": _FORMAT,
            "version": _VERSION,
            "complete": self.complete,
            "collection": self.shape.name,
            "embedding": asdict(self.shape.identity),
            "vector_size": self.shape.size,
            "hybrid": self.shape.hybrid,
            "analyzer": self.shape.analyzer,
            "tenants": self.shape.tenants,
            "rows": self.rows,
            "shards": dict(self.shards),
        }
        unfinished = self.folder / (DESCRIPTION + _UNFINISHED)
        unfinished.write_text(json.dumps(description, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        sync(unfinished)
        unfinished.replace(self.folder / DESCRIPTION)
        sync(self.folder)

    def check(self) -> None:
        """Refuse an export that is not as complete as it says.

        Raises:
            ExportError: It is unfinished, or a shard is missing, cut off, or not the one that was written.
        """
        if not self.complete:
            msg = f"The export in {self.folder} is unfinished. Run the export again: it goes on from where it stopped."
            raise ExportError(msg)
        for name, rows in self.shards.items():
            file = self.folder / name
            if not file.is_file() or count_rows(file) != rows or not self._fits(file):
                msg = (
                    f"{file} is missing or is not the shard of {rows:,} rows that was exported. Copy the export again."
                )
                raise ExportError(msg)

    def _fits(self, file: Path) -> bool:
        return bool(require_parquet().read_schema(file).equals(self.shape.schema, check_metadata=False))

    def clear(self) -> None:
        """Delete the shards, `collection.json` last, so that the folder never looks like something else."""
        for file in [*self.files, *self.folder.glob(_SHARDS + _UNFINISHED), self.folder / DESCRIPTION]:
            file.unlink(missing_ok=True)


def begin_export(folder: Path, shape: CollectionShape, *, overwrite: bool = False) -> Export:
    """Prepare a folder for shards, or go on with an export of the same collection that was interrupted.

    Args:
        folder: Where; made if it does not exist.
        shape: What the collection is.
        overwrite: Delete the export that is there, finished or not.

    Raises:
        ExportError: The folder holds a finished export, one of another collection, or other files.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / DESCRIPTION).exists():
        if set(folder.iterdir()) - {folder / (DESCRIPTION + _UNFINISHED)}:
            msg = f"{folder} is not empty and holds no export. Choose another folder."
            raise ExportError(msg)
    else:
        there = read_export(folder)
        if overwrite:
            there.clear()
        elif there.complete:
            msg = (
                f"{folder} holds a finished export of {there.rows:,} rows. Choose another folder, or pass "
                "overwrite=True (--overwrite) to make it anew."
            )
            raise ExportError(msg)
        elif there.shape != shape:
            msg = f"{folder} holds an unfinished export of another collection, {there.shape}. Choose another folder."
            raise ExportError(msg)
    for file in folder.glob(_SHARDS + _UNFINISHED):  # what a killed process left
        file.unlink()
    export = Export(folder, shape)
    export.describe()
    return export


def read_export(folder: Path) -> Export:
    """Read what a folder says that it holds; `Export.check` looks whether it does.

    Raises:
        ExportError: It holds no export, or one of a newer version.
    """
    nothing = f"{folder} holds no export: {DESCRIPTION} is missing or is another program's."
    try:
        found = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if found["format"] != _FORMAT:
            raise ExportError(nothing)
        if found["version"] > _VERSION:
            msg = (
                f"{folder} was exported by a newer version of qwen3-rag (format {found['version']}). Update qwen3-rag."
            )
            raise ExportError(msg)
        shape = CollectionShape(
            found["collection"],
            EmbeddingIdentity.from_json(json.dumps(found["embedding"])),
            found["vector_size"],
            found["hybrid"],
            found["analyzer"],
            found["tenants"],
        )
        return Export(folder, shape, found["shards"], found["complete"])
    except ExportError:
        raise
    except (FileNotFoundError, NotADirectoryError, ValueError, LookupError, TypeError) as error:
        raise ExportError(nothing) from error
