"""Finding files and reading them whole, as they were at one moment."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from qwen3_core.ingest.errors import IngestError

MAX_FILE_BYTES = 64 * 1024 * 1024
"""The longest file that is read: one is in memory as a whole, and a PDF several times over."""

_TRIES = 3  # a file that changes while it is read


@dataclass(frozen=True)
class FileState:
    """What the file system says of a file; while it is the same, the content is taken to be the same.

    Attributes:
        size: Bytes.
        modified: Nanoseconds since 1970.
        changed: The same, of the content or the attributes: programs can set `modified` back, and not this.
        inode: The file's number in its file system: another file under the name has another.
    """

    size: int
    modified: int
    changed: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        """Take it from what `os.stat` gives."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def walk(root: Path, suffixes: Collection[str], refuse: Callable[[Path, OSError], None]) -> Iterator[Path]:
    """Yield a file itself, or the files of a folder at any depth, in a fixed order.

    Hidden files and folders are left out, and links to folders are not followed: they may lead in a circle. Links to
    files are files.

    Args:
        root: A file of any name, or a folder.
        suffixes: What is looked for in folders, in lower case.
        refuse: Called with a folder that cannot be listed.
    """
    if not os.path.isdir(root):  # Path's own raises where it may not look
        yield root
        return

    def report(error: OSError) -> None:
        refuse(Path(error.filename or root), error)

    for folder, below, names in os.walk(root, onerror=report):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix.lower() in suffixes and not name.startswith("."):
                yield path


def read_whole(path: Path, limit: int = MAX_FILE_BYTES) -> tuple[bytes, FileState]:
    """Read a file that does not change meanwhile.

    Args:
        path: The file.
        limit: Bytes at most.

    Raises:
        IngestError: It is no regular file, is longer than `limit`, or changes again and again.
        OSError: It cannot be read.
    """
    for _ in range(_TRIES):
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for somebody who writes to it
            msg = f"{path}: is no regular file: leave it out"
            raise IngestError(msg)
        with open(path, "rb") as file:
            before = os.fstat(file.fileno())
            if before.st_size > limit:
                msg = (
                    f"{path}: has {before.st_size / 2**20:,.0f} MiB, and at most {limit / 2**20:,.0f} are read: "
                    "split it, or raise max_file_bytes (--max-file-mib)"
                )
                raise IngestError(msg)
            data = file.read(before.st_size + 1)
            after = os.fstat(file.fileno())
        state = FileState.of(before)
        if state == FileState.of(after) and len(data) == state.size:
            return data, state
    msg = f"{path}: changes while it is read: index it again when it is complete"
    raise IngestError(msg)


def is_gone(source: str) -> bool:
    """Tell whether there is certainly no such file; a folder that cannot be entered says nothing about it."""
    try:
        os.lstat(source)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def is_within(source: str, root: Path) -> bool:
    """Tell whether a source, as it is named in the metadata, is a root that was given or lies below it."""
    try:
        below = Path(source).relative_to(root)
    except ValueError:
        return False
    return ".." not in below.parts
