"""Parquet files, whole and safe on the disk. pyarrow, which milvus-lite brings along, is imported on first use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from qwen3_core.milvus.errors import MilvusStoreError


class ExportError(MilvusStoreError, ValueError):
    """A folder holds no export, half of one, one of another collection, or one that this version cannot read."""


def count_rows(file: Path) -> int:
    """Return how many rows a shard has; only its end is read.

    Raises:
        ExportError: It is cut off, or no Parquet file.
    """
    import pyarrow as pa

    try:
        return int(require_parquet().read_metadata(file).num_rows)
    except pa.ArrowInvalid as error:
        msg = f"{file} is cut off or no Parquet file. Copy or make the export again."
        raise ExportError(msg) from error


def require_parquet() -> Any:
    """Return `pyarrow.parquet`.

    Raises:
        ImportError: It is not installed.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        msg = "Exports are Parquet files and need pyarrow, which comes with milvus-lite: pip install pyarrow"
        raise ImportError(msg) from error
    return parquet


def sync(path: Path) -> None:
    """Make a file or the names in a folder survive a power failure."""
    if os.name == "nt" and path.is_dir():  # Windows opens no folders, and needs no such call
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
