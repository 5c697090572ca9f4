"""A server's own import of Parquet files that it sees."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from qwen3_core.milvus.connection import Connection
from qwen3_core.milvus.errors import MilvusStoreError, MilvusTimeoutError
from qwen3_core.milvus.transfer.files import count_rows

_POLL = 0.5
_JOBS = 8  # a job takes a Milvus 2.3 server ten seconds whatever its size, and it works on several at once


@dataclass(frozen=True)
class _Job:
    number: int
    copy: Path
    rows: int


class BulkInsert:
    """Bulk import into one collection, shard by shard, several at a time.

    Jobs that an interrupted run left running are waited for first.

    Args:
        connection: A server's.
        name: The collection.
        server_folder: A folder that the server sees under the same path.

    Raises:
        ValueError: The server is Milvus Lite, which has no bulk import, or `server_folder` is no folder.
    """

    def __init__(self, connection: Connection, name: str, server_folder: Path) -> None:
        if connection.client.is_lite:
            msg = "server_folder is for the bulk import of a Milvus server; Milvus Lite has none. Leave it out."
            raise ValueError(msg)
        if not server_folder.is_dir():
            msg = f"server_folder={str(server_folder)!r} is no folder. Name one that the server sees under this path."
            raise ValueError(msg)
        self._connection, self._name = connection, name
        # With the collection's id, so that jobs of one with the same name that was dropped are told apart.
        number = connection.client.describe_collection(name)["collection_id"]
        prefix = f"qwen3-rag-{name}-{number}-"
        # What is left was interrupted. One that succeeded deletes its folder: its jobs say nothing about what is there.
        left = sorted(server_folder.resolve().glob(prefix + "*"))
        self._folder = left[0] if left else server_folder.resolve() / (prefix + uuid4().hex)
        self._jobs: list[_Job] = []
        self._earlier: set[str] = set()
        for job in self._call("list_bulk_insert_tasks", 0, name):
            if not _failed(job):
                files = job.infos.get(job.IMPORT_FILES, "").split(",")
                self._wait(_Job(job.task_id, Path(files[0]), 0))
                self._earlier.update(files)

    def insert(self, file: Path) -> int:
        """Have the server import a shard; return how many rows of earlier ones were finished while waiting for a place.

        Raises:
            MilvusStoreError: The server failed, for example because it does not see the folder.
        """
        done = self._wait(self._jobs.pop(0)) if len(self._jobs) >= _JOBS else 0
        self._folder.mkdir(exist_ok=True)
        copy = self._copy(file)
        shutil.copyfile(file, copy)
        self._jobs.append(_Job(self._call("do_bulk_insert", self._name, "", [str(copy)]), copy, count_rows(file)))
        return done

    def finish(self) -> Iterator[int]:
        """Wait for what was started; yield how many rows each job had."""
        while self._jobs:
            yield self._wait(self._jobs.pop(0))

    def finished(self, file: Path) -> bool:
        """Tell whether an interrupted run had the server import a shard; its rows may not be seen yet."""
        return str(self._copy(file)) in self._earlier

    def clear(self) -> None:
        """Delete the copies."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _copy(self, file: Path) -> Path:
        return self._folder / file.name

    def _wait(self, job: _Job) -> int:
        """Wait for a job as long as it makes progress; return its rows."""
        seen, patience = None, 10 * self._connection.address.timeout
        deadline = time.monotonic() + patience
        while True:
            state = self._call("get_bulk_insert_state", job.number)
            if state.state == state.ImportCompleted:
                return job.rows
            where = self._connection.address.shown
            if _failed(state):
                msg = (
                    f"Milvus at {where} could not import {job.copy}: {state.failed_reason}. server_folder has to be "
                    "one that the server sees under the same path; without it rows are sent over the network."
                )
                raise MilvusStoreError(msg)
            if (now := (state.state, state.row_count, state.progress)) != seen:
                seen, deadline = now, time.monotonic() + patience
            if time.monotonic() > deadline:
                msg = (
                    f"Milvus at {where} made no progress in importing {job.copy} for {patience} s. Look at the server."
                )
                raise MilvusTimeoutError(msg)
            time.sleep(_POLL)

    def _call(self, name: str, *args: Any) -> Any:
        # `MilvusClient` 2.6 and 3.0 have no bulk import, and pymilvus 3.1 will drop `utility.do_bulk_insert`, which
        # needs a connection of its own besides. Both use this handler.
        client, timeout = self._connection.client, self._connection.address.timeout
        with self._connection.address.errors("bulk import"):
            call = getattr(client._get_connection(), name)
            return call(*args, timeout=timeout, context=client._generate_call_context())


def _failed(job: Any) -> bool:
    return job.state in {job.ImportFailed, job.ImportFailedAndCleaned}
