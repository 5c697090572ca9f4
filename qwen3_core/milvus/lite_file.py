"""One Milvus Lite file of this process: who uses it, who may write, and why it does not open.

milvus-lite is imported on first use.
"""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import dataclass, field

from qwen3_core.milvus.errors import MilvusLockedError, MilvusStoreError


def open_error(path: str) -> MilvusStoreError:
    """Say why Milvus Lite did not open; it writes the reason (`DataDirLockedError`) to its log only."""
    try:
        import fcntl
    except ImportError:  # pragma: no cover  # Windows has no Milvus Lite
        return MilvusStoreError("Milvus Lite does not run on Windows: use a server, uri='http://host:19530'.")
    lock = os.path.join(path, "LOCK")
    try:
        with open(lock, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return MilvusLockedError(
            f"{path} is open in another process{_holder(lock)}, and Milvus Lite allows one. Close it there, or "
            f"share it: run `milvus-lite server --data-dir {path} --host 127.0.0.1` and use uri='http://127.0.0.1:19530'."
        )
    except OSError:
        pass  # no lock file, or not ours to read: what is below names the path
    return MilvusStoreError(f"Milvus Lite could not open {path}; its log says why (logger 'milvus_lite').")


def _holder(lock: str) -> str:
    """Return " (process 123, python)" where the system tells who holds a lock file, as Linux does."""
    try:
        inode = os.stat(lock).st_ino
        with open("/proc/locks", encoding="ascii") as file:
            # "4: FLOCK  ADVISORY  WRITE 26547 fe:00:2515811 0 EOF"; a process of another container has number 0 or -1.
            held = [line.split() for line in file if " FLOCK " in line]
        number = next(int(line[4]) for line in held if line[5].rpartition(":")[2] == str(inode) and int(line[4]) > 0)
        # The name only: a command line may have a token in it.
        with open(f"/proc/{number}/comm", encoding="utf-8", errors="replace") as file:
            return f" (process {number}, {file.read().strip()})"
    except (OSError, StopIteration, ValueError, IndexError):
        return ""


def remove_half_made(path: str, database: str, collection: str) -> bool:
    """Remove the folder of a collection that was never made, and tell whether there was one.

    Milvus Lite 3.2.2 makes a collection's folder and then writes what it is into `schema.json`. Killed in between, or
    with a full disk, it leaves a folder that is no collection to it, and yet refuses to make that collection again.

    Args:
        path: The Lite file, which is open in this process; the caller holds its lock for writers.
        database: Empty for the default one.
        collection: The collection's name.
    """
    inside = ["databases", database] if database not in {"", "default"} else []
    folder = os.path.join(path, *inside, "collections", collection)
    if not os.path.isdir(folder) or os.path.exists(os.path.join(folder, "schema.json")):
        return False
    shutil.rmtree(folder)
    return True


@dataclass(eq=False)
class LiteFile:
    """One Milvus Lite file of this process: who uses it, and the lock that its writers take.

    Lite loses sight of rows when writers and a flush meet (1,400 of 7,450 in one of two runs), and two
    threads that open the same file at once lock each other out. `client.close()` leaves the file locked
    (https://github.com/milvus-io/milvus-lite/issues/227); the last user releases it here.
    """

    path: str
    writing: threading.RLock = field(default_factory=threading.RLock, repr=False)
    users: int = 0
    ours: bool = True

    @classmethod
    def acquire(cls, path: str) -> LiteFile:
        """Count a user in; `path` is absolute."""
        from milvus_lite.server_manager import server_manager_instance

        with _files_lock:
            file = _files.get(path)
            if file is None:
                # A file that other code of this process had open before us stays open after us.
                running = path in getattr(server_manager_instance, "_servers", {})
                file = _files[path] = cls(path, ours=not running)
            file.users += 1
            return file

    def release(self) -> None:
        """Count a user out; the last one stops the in-process server and so frees the file."""
        from milvus_lite.server_manager import server_manager_instance

        with _files_lock:
            self.users -= 1
            if self.users == 0:
                del _files[self.path]
                if self.ours:
                    server_manager_instance.release_server(self.path)


_files: dict[str, LiteFile] = {}
_files_lock = threading.Lock()
