"""One Milvus Lite file of this process: who uses it, who may write, and why it does not open.

milvus-lite is imported on first use.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field

from qwen3_core.milvus.errors import MilvusLockedError, MilvusStoreError


def open_error(path: str) -> MilvusStoreError:
    """Say why Milvus Lite did not open; it writes the reason (`DataDirLockedError`) to its log only."""
    try:
        import fcntl
    except ImportError:  # pragma: no cover  # Windows has no Milvus Lite
        return MilvusStoreError("Milvus Lite does not run on Windows: use a server, uri='http://host:19530'.")
    try:
        with open(os.path.join(path, "LOCK"), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return MilvusLockedError(
            f"{path} is open in another process, and Milvus Lite allows one. Close it there, or share it: "
            f"run `milvus-lite server --data-dir {path} --host 127.0.0.1` and use uri='http://127.0.0.1:19530'."
        )
    except OSError:
        pass  # no lock file, or not ours to read: the general message names the path
    return MilvusStoreError(f"Milvus Lite could not open {path}; its log says why (logger 'milvus_lite').")


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
