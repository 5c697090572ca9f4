"""A client that knows the rules: connections, deadlines, index and search parameters, full text."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from qwen3_core.milvus.errors import MilvusStoreError, causes, explain
from qwen3_core.milvus.filters import PRIMARY_FIELD, compile_ids
from qwen3_core.milvus.lite_file import open_error

DENSE_METRIC = "COSINE"
"""Set explicitly: both integrations have other defaults (L2 and IP)."""

SEARCH_EF = 200
"""HNSW's search width. Of 10,000 rows, ef=200 finds all of the 20 nearest, the default of 64 finds 93 to 96
%; a server refuses an ef below k."""

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a port that accepts and stays silent: pymilvus's own default, made explicit."""

SLOW_CALLS = {"flush": 10, "load_collection": 10, "create_collection": 10, "create_index": 10}
"""Calls that build or rebuild an index, and by how much their deadline is longer: reopening a Lite file after
a crash took up to 50 s where a search takes milliseconds."""

NOT_LOADED = 101
"""What Milvus says of a collection that is not in memory: for some seconds after a server's restart (2.3.5: 27 s), and
of `milvus-lite server` for ever. Loading waits for the one, and does the other."""

LOADED_CALLS = frozenset({"search", "hybrid_search", "query", "delete"})
"""Calls that need a loaded collection."""

FULL_TEXT_SINCE = (2, 5)
"""The first server with BM25 functions. Older ones take the schema without a word and fail later."""

TEXT_MATCH_SINCE = (2, 4)
"""The first server that takes a pattern such as `like "%text%"`; 2.3.5 takes prefixes only."""

PARTITION_UPSERT_SINCE = (2, 4)
"""The first server whose upsert finds the right partition; 2.3.5 puts rows where a search by the partition key never
looks (https://github.com/milvus-io/milvus/pull/30772)."""

EXACT_UNSEALED_ROWS = 4_992
"""Rows of which a server searches a segment that still grows exactly, at least: 39 for each of 128 lists. In a larger
one it looks into 16 of the lists only (https://milvus.io/docs/configure_querynode.md, `interimIndex`), whatever `ef`
says: of 10,000 rows with 1,024 dimensions 2.3.5 found 58 % of the 20 nearest, and all of them 10 s after a flush. Left
alone, a server seals what it was last given ten minutes ago (https://milvus.io/docs/configure_datacoord.md,
`maxIdleTime`)."""

BY_ID: Mapping[str, str] = {"iterator": "True", "reduce_stop_for_best": "True", "consistency_level": "Strong"}
"""Arguments of a query with a limit that returns the first rows in the order of their ids, those of a moment ago too.

Trap: pymilvus's `query_iterator`, which sends the same, writes the last id into its expression unescaped (3.0.2), and
an id with a quote breaks it.
"""

_LOCAL_MEMBERS = frozenset({"create_schema", "prepare_index_params", "get_server_type"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


def check_collection_name(name: str) -> None:
    """Refuse a name that a server would refuse (Milvus Lite takes any, and the file could never move up).

    Raises:
        ValueError: not a letter or underscore followed by at most 254 letters, digits and underscores.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        msg = f"collection_name={name!r}: use letters, digits and underscores, at most 255, no digit in front."
        raise ValueError(msg)


@dataclass(frozen=True, repr=False)
class MilvusAddress:
    """Where a Milvus is and how to reach it.

    Attributes:
        uri: a path that ends with `.db` (Milvus Lite, in this process), or `http(s)://host:port`.
        token: `user:password` or an API key; never shown.
        db_name: a database of the server; empty is the default one.
        timeout: seconds for each call.
    """

    uri: str
    token: str = ""
    db_name: str = ""
    timeout: float = 60.0

    def __post_init__(self) -> None:
        """Refuse early what pymilvus would refuse with the credentials in its message."""
        if not self.timeout or self.timeout <= 0:
            msg = f"timeout={self.timeout}: pass seconds above 0, or a hung server would hang this program."
            raise ValueError(msg)
        if self.is_lite:
            self._check_path()
            object.__setattr__(self, "uri", os.path.abspath(self.uri))  # as milvus-lite does
        elif not re.match(r"(https?|tcp|unix)://?.", self.uri):
            msg = f"uri={self.shown!r}: pass a path that ends with .db, or http://host:19530."
            raise ValueError(msg)

    def _check_path(self) -> None:
        folder = os.path.dirname(os.path.abspath(self.uri))
        if not os.path.isdir(folder):
            msg = f"uri={self.uri!r}: the folder {folder} does not exist. Create it first."
            raise ValueError(msg)
        if os.path.isfile(self.uri):
            msg = (
                f"{self.uri} is a file; Milvus Lite 3 keeps a database in a folder and cannot read what "
                "Milvus Lite 2 wrote. Choose another uri= and index again."
            )
            raise MilvusStoreError(msg)

    @property
    def is_lite(self) -> bool:
        """Whether Milvus Lite runs in this process (pymilvus decides by the same suffix)."""
        return self.uri.endswith(".db")

    @property
    def shown(self) -> str:
        """The address without credentials, for messages."""
        if self.is_lite or "@" not in self.uri:
            return self.uri
        parts = urlsplit(self.uri)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    def client_args(self) -> dict[str, Any]:
        """Return the keyword arguments for `pymilvus.MilvusClient`.

        The connection is `dedicated`: a shared one stays in pymilvus's registry after `close()`.
        """
        args = {"uri": self.uri, "timeout": min(self.timeout, CONNECT_TIMEOUT), "dedicated": True}
        return (
            args | ({"token": self.token} if self.token else {}) | ({"db_name": self.db_name} if self.db_name else {})
        )

    @contextmanager
    def errors(self, doing: str, timeout: float | None = None) -> Iterator[None]:
        """Turn pymilvus and gRPC errors into ours, with the cause chained and no secret in the text.

        Args:
            doing: the operation, for the message.
            timeout: its deadline in seconds.

        Raises:
            MilvusStoreError: or one of its subclasses, as `milvus_errors.explain` decides.
        """
        import grpc
        from pymilvus import MilvusException

        try:
            yield
        except (MilvusException, grpc.RpcError, ValueError) as error:
            # A ValueError of gRPC's means a closed channel; any other is the caller's own business.
            if isinstance(error, MilvusStoreError) or (
                type(error) is ValueError and "closed channel" not in str(error)
            ):
                raise
            if "Open local milvus failed" in str(error):
                raise open_error(self.uri) from error
            found = explain(error, server=self.shown, doing=doing, timeout=timeout or self.timeout)
            raise type(found)(self._without_secrets(str(found))) from error

    def _without_secrets(self, text: str) -> str:
        for secret in (self.token, "" if self.is_lite else urlsplit(self.uri).password):
            text = text.replace(secret, "***") if secret else text
        return text

    def __repr__(self) -> str:
        return f"MilvusAddress({self.shown!r})"


class GuardedClient:
    """A `pymilvus.MilvusClient` with a deadline on every call and errors that say what to do.

    The timeout of pymilvus's constructor covers connecting only: a server that hangs later hangs the program.

    Args:
        client: the client.
        address: where it is connected to.
    """

    def __init__(self, client: Any, address: MilvusAddress) -> None:
        self._client = client
        self._address = address

    def __getattr__(self, name: str) -> Any:
        """Return the client's member, guarded if it is a call to the server."""
        if name == "_client":  # not set yet, or copied without __init__
            raise AttributeError(name)
        if self._client is None:
            msg = f"The store at {self._address.shown} is closed. Open it again."
            raise MilvusStoreError(msg)
        member = getattr(self._client, name)
        if name.startswith("_") or name in _LOCAL_MEMBERS or not callable(member):
            return member
        return self._guard(name, member)

    def _guard(self, name: str, member: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
            deadline = timeout or self._address.timeout * SLOW_CALLS.get(name, 1)
            with self._address.errors(name, deadline):
                return member(*args, timeout=deadline, **kwargs)

        def call_when_loaded(*args: Any, **kwargs: Any) -> Any:
            try:
                return call(*args, **kwargs)
            except MilvusStoreError as error:
                if not any(getattr(cause, "code", None) == NOT_LOADED for cause in causes(error)):
                    raise
            self.load_collection(kwargs.get("collection_name") or args[0])
            return call(*args, **kwargs)

        return call_when_loaded if name in LOADED_CALLS else call

    def close(self) -> None:
        """Close the connection; doing it twice is fine."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @cached_property
    def version(self) -> str:
        """What the server says it is: `2.5.4`, or `milvus_lite-3.2.2`, also from `milvus-lite server`."""
        return str(self.get_server_version())

    @property
    def is_lite(self) -> bool:
        """Whether Milvus Lite answers, in this process or over http."""
        return self.version.startswith("milvus_lite")  # the `milvus` package of PyPI is "v2.3.5-lite" and no Lite

    def put(
        self, collection: str, rows: list[dict[str, Any]], timeout: float | None = None, *, partitioned: bool = False
    ) -> None:
        """Write rows; one with the same primary key is replaced as a whole.

        On Lite 3.2.2 an upsert merges: metadata keys of the old row that the new one lacks stay; an insert
        replaces. On a server it is the upsert that replaces, and an insert keeps both rows.

        Args:
            collection: the collection's name.
            rows: the rows.
            timeout: seconds; the address's own if None.
            partitioned: whether the collection has a partition key.
        """
        if partitioned and self._is_older(PARTITION_UPSERT_SINCE):
            # Trap: pymilvus writes `ids=` into the expression as they stand.
            ids = compile_ids([row[PRIMARY_FIELD] for row in rows])
            self.delete(collection, filter=ids, timeout=timeout)
            self.insert(collection, rows, timeout=timeout)
            return
        write = self.insert if self.is_lite else self.upsert
        write(collection, rows, timeout=timeout)

    def require_full_text(self) -> None:
        """Refuse a server without BM25.

        Raises:
            MilvusStoreError: the server is older than 2.5.
        """
        self._require(FULL_TEXT_SINCE, "hybrid=True", "full-text search", "pass hybrid=False")

    def require_text_match(self) -> None:
        """Refuse a server that finds a text at the beginning of a string only.

        Raises:
            MilvusStoreError: the server is older than 2.4.
        """
        self._require(TEXT_MATCH_SINCE, "contains()", "finding a text within a string", "compare whole values")

    def _require(self, since: tuple[int, int], what: str, why: str, instead: str) -> None:
        if self._is_older(since):
            msg = (
                f"{what} needs Milvus {since[0]}.{since[1]} or newer for {why}; {self._address.shown} is "
                f"{self.version}. Update the server, or {instead}."
            )
            raise MilvusStoreError(msg)

    def _is_older(self, since: tuple[int, int]) -> bool:
        found = re.match(r"v?(\d+)\.(\d+)", self.version)
        return not self.is_lite and found is not None and (int(found[1]), int(found[2])) < since

    def dense_index(self) -> dict[str, Any]:
        """Return the index parameters of a dense vector field."""
        if self.get_server_type() == "milvus":
            # M and efConstruction are what AUTOINDEX means on Lite and on a standalone server.
            return {
                "index_type": "HNSW",
                "metric_type": DENSE_METRIC,
                "params": {"M": 16, "efConstruction": 200},
            }
        return {"index_type": "AUTOINDEX", "metric_type": DENSE_METRIC}  # Zilliz Cloud has no other

    def dense_search(self, k: int) -> Mapping[str, Any]:
        """Return the search parameters for `k` results by dense vector."""
        tuned = self.get_server_type() == "milvus"
        return {"metric_type": DENSE_METRIC, "params": {"ef": max(k, SEARCH_EF)} if tuned else {}}

    @staticmethod
    def sparse_index() -> dict[str, Any]:
        """Return the index parameters of a BM25 field (Lite 3.2.2 refuses AUTOINDEX)."""
        return {"index_type": "SPARSE_INVERTED_INDEX", "metric_type": "BM25"}

    @staticmethod
    def sparse_search() -> Mapping[str, Any]:
        """Return the search parameters of BM25 (Lite 3.2.2 refuses any drop ratio)."""
        return {"metric_type": "BM25", "params": {}}
