"""One connection to a Milvus: the client with its deadlines, and the Lite file with its lock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from qwen3_core.milvus.client import GuardedClient, MilvusAddress
from qwen3_core.milvus.errors import MilvusDatabaseError, MilvusStoreError
from qwen3_core.milvus.lite_file import LiteFile


class Connection:
    """An open connection; writers of one Lite file take `writing`.

    Args:
        address: Where the Milvus is.
        connect: Makes the `pymilvus.MilvusClient`; None makes one from the address.

    Attributes:
        address: Where the Milvus is.
        writing: The lock that writers take: of the Lite file, or of this connection.
        client: The client, with a deadline on every call.

    Raises:
        MilvusDatabaseError: The server has no such database.
        MilvusStoreError: It cannot be opened; nothing is held then.
    """

    def __init__(self, address: MilvusAddress, connect: Callable[[], Any] | None = None) -> None:
        self.address = address
        self._file = LiteFile.acquire(address.uri) if address.is_lite else None
        self.writing = self._file.writing if self._file else threading.RLock()
        self.client = GuardedClient(None, address)
        try:
            # Under the lock: two threads that open one Lite file at once lock each other out.
            with self.writing, address.errors("connecting"):
                self.client = GuardedClient((connect or self._connect)(), address)
            self._check_database()
        except BaseException:
            self.close()
            raise

    def _connect(self) -> Any:
        from pymilvus import MilvusClient

        return MilvusClient(**self.address.client_args())

    def _check_database(self) -> None:
        """Refuse a database that is not there (trap: Milvus 2.3 says of one that it has no collections)."""
        wanted = self.address.db_name
        if not wanted:
            return
        try:
            there = list(self.client.list_databases())
        except MilvusStoreError:  # who may not list them learns it in the first call
            return
        if wanted not in there:
            others = ", ".join(sorted(there))
            msg = f"Milvus at {self.address.shown} has no database {wanted!r}; it has {others}. Correct db_name=."
            raise MilvusDatabaseError(msg)

    def close(self) -> None:
        """Close the connection, and free a Lite file for other processes; doing it twice is fine.

        Trap: pymilvus's `close()` leaves the in-process server running and the file locked.
        """
        file, self._file = self._file, None
        self.client.close()
        if file is not None:
            file.release()
