"""JSON objects of a file, be it one, a list or lines, with errors that name the line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def read_objects(path: Path) -> Iterator[Mapping[str, Any]]:
    """Read the objects of a JSON file, be it one, a list or lines.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no JSON, or holds something else than objects.
    """
    text = read_text(path)
    try:
        read = json.loads(text)
        rows = read if isinstance(read, list) else [read]
    except json.JSONDecodeError:
        rows = [value for _, value in _lines(path, text)]
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            msg = f"{path.name}, entry {number}: {str(row)[:80]!r} is no JSON object"
            raise ValueError(msg)
        yield row


def read_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Read JSON Lines: the number of each line that is not blank, and its value.

    Raises:
        OSError: The file cannot be read.
        ValueError: A line is no JSON.
    """
    return _lines(path, read_text(path))


def read_text(path: Path) -> str:
    """Read a text without its byte order mark.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{path.name} is no UTF-8 text: {error}"
        raise ValueError(msg) from error


def _lines(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):  # splitlines would cut at U+2028, which JSON allows
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                msg = f"{path.name}, line {number} is no JSON ({error.msg}): {line[:80]!r}"
                raise ValueError(msg) from error
