"""Opening, creating and closing the Milvus collection behind the vector store, without half-made states."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeVar, cast

from langchain_core.embeddings import Embeddings
from langchain_milvus import BM25BuiltInFunction, Milvus
from pydantic import SecretStr

from qwen3_core.milvus import GuardedClient, MilvusAddress, check_collection_name
from qwen3_core.milvus.errors import MilvusStoreError
from qwen3_core.milvus.filters import PRIMARY_FIELD, TEXT_FIELD
from qwen3_core.milvus.identity import IDENTITY_PROPERTY, EmbeddingIdentity, check_identity, mismatch
from qwen3_core.milvus.lite_file import LiteFile
from qwen3_core.milvus.rows import SPARSE_FIELD, VECTOR_FIELD

_CONSISTENCY = ("Strong", "Session", "Bounded", "Eventually")

_Collection = TypeVar("_Collection", bound="MilvusCollection")


class MilvusCollection(Milvus):
    """The part of `Qwen3VectorStore` that opens, creates and closes; arguments and errors are told there."""

    def __init__(
        self,
        embeddings: Embeddings,
        *,
        uri: str | os.PathLike[str] = "./milvus.db",
        token: SecretStr | str | None = None,
        db_name: str = "",
        collection_name: str = "docs",
        hybrid: bool = False,
        consistency_level: str = "Session",
        timeout: float = 60.0,
        batch_size: int = 64,
        drop_old: bool = False,
    ) -> None:
        if not isinstance(embeddings, Embeddings):
            msg = f"embeddings is a {type(embeddings).__name__}, not a langchain_core Embeddings."
            raise TypeError(msg)
        if batch_size < 1:
            msg = f"batch_size={batch_size}: pass 1 or more."
            raise ValueError(msg)
        if consistency_level not in _CONSISTENCY:
            msg = f"consistency_level={consistency_level!r}: pass one of {', '.join(_CONSISTENCY)}."
            raise ValueError(msg)
        check_collection_name(collection_name)
        plain = token.get_secret_value() if isinstance(token, SecretStr) else token
        self._address = MilvusAddress(os.fspath(uri), plain or "", db_name, timeout)
        self._identity = EmbeddingIdentity.of(embeddings)
        self._hybrid, self._batch_size, self._drop_old = hybrid, batch_size, drop_old
        self._guard: GuardedClient | None = None
        self._milvus_client: Any = None
        self._size = 0
        self._file = LiteFile.acquire(self._address.uri) if self._address.is_lite else None
        self._writing = self._file.writing if self._file else threading.RLock()
        try:
            # Under the lock: two threads that open one Lite file at once lock each other out.
            with self._writing, self._address.errors("connecting"):
                super().__init__(
                    embedding_function=embeddings,
                    collection_name=collection_name,
                    connection_args=self._address.client_args(),
                    consistency_level=consistency_level,
                    enable_dynamic_field=True,  # trap: off by default, and unknown keys are dropped silently
                    vector_field=[VECTOR_FIELD, SPARSE_FIELD] if hybrid else VECTOR_FIELD,
                    builtin_function=BM25BuiltInFunction(output_field_names=SPARSE_FIELD) if hybrid else None,
                )
        except BaseException:
            self.close()
            raise

    @property
    def client(self) -> Any:
        """The client, with a deadline on each call (trap: the constructor's timeout covers connecting)."""
        if self._guard is None:
            self._guard = GuardedClient(self._milvus_client, self._address)
        return self._guard

    @property  # type: ignore[misc]
    def col(self) -> Any:
        """What `describe_collection` says, or None (trap: 0.3.3 asks an ORM that has no connection)."""
        if self._col_cache is None:
            with self._writing:  # a reader must not see the collection while a writer is still making it
                if self._col_cache is None:
                    self._open()
        return self._col_cache

    def _init(self, *_: Any, **__: Any) -> None:
        """Open what exists (trap: the base makes collection and index in steps, and leaves half)."""
        if self._hybrid:
            self.client.require_full_text()
        self._async_milvus_client = None  # trap: unused, and 0.3.3's drop() leaves its coroutine unawaited
        if self._drop_old:
            self.drop()
        self._open()

    def _open(self) -> None:
        client, name = self.client, self.collection_name
        if not client.has_collection(name):
            return
        info = client.describe_collection(name)
        self._size = self._check_collection(info)
        for field in self._fields_without_index(info):  # just made, or its maker was killed in between
            self._create_index_of(field, info)
        client.load_collection(name)  # trap: a Lite collection reopens unloaded, and searches fail (code 101)
        self._col_cache = info

    def _create_index_of(self, field: str, info: Mapping[str, Any]) -> None:
        params = self.client.prepare_index_params()
        index = self.client.sparse_index() if field == SPARSE_FIELD else self.client.dense_index()
        params.add_index(field_name=field, **index)
        try:
            # sync=False: pymilvus's waiting ignores a timeout that is no int, and asks Lite for what it lacks;
            # loading waits for what it needs.
            self.client.create_index(self.collection_name, params, sync=False)
        except MilvusStoreError:
            if field in self._fields_without_index(info):  # else another process was quicker
                raise

    def _fields_without_index(self, info: Mapping[str, Any]) -> list[str]:
        names = {field["name"] for field in info["fields"]} & {VECTOR_FIELD, SPARSE_FIELD}
        return sorted(n for n in names if not self.client.list_indexes(self.collection_name, field_name=n))

    def _check_collection(self, info: Mapping[str, Any]) -> int:
        """Refuse a foreign collection, another embedding, or a lack of BM25; return the vectors' length."""
        fields = {field["name"]: field for field in info["fields"]}
        remembered = (info.get("properties") or {}).get(IDENTITY_PROPERTY) or info.get("description") or ""
        try:
            stored = EmbeddingIdentity.from_json(remembered)
        except ValueError:
            stored = None
        if stored is None or not {PRIMARY_FIELD, TEXT_FIELD, VECTOR_FIELD} <= set(fields):
            msg = (
                f"Collection {self.collection_name!r} does not say which embedding made it: it is not this "
                "package's. Use another collection_name=, or drop_old=True to delete it."
            )
            raise MilvusStoreError(msg)
        size = int(fields[VECTOR_FIELD]["params"]["dim"])
        if not check_identity(stored, size, self._identity, collection=self.collection_name):
            self._check_size(len(self._embedding.embed_query("How long is a vector?")), stored, size)
        if self._hybrid and SPARSE_FIELD not in fields:
            msg = (
                f"Collection {self.collection_name!r} was made without hybrid=True and has no BM25 index. "
                "Pass hybrid=False, or another collection_name= and index again."
            )
            raise MilvusStoreError(msg)
        return size

    def _check_size(self, found: int, stored: EmbeddingIdentity, size: int) -> None:
        if found != size:
            raise mismatch(self.collection_name, stored.describe(size), self._identity.describe(found))

    def _create(self, size: int) -> None:
        """Create collection, index and all, or nothing."""
        client, identity = self.client, self._identity.to_json()
        schema = client.create_schema(auto_id=False, enable_dynamic_field=True, description=identity)
        self._add_text_fields(schema)
        self._add_primary_key_fields(schema)
        self._add_vector_fields(schema, [[[0.0] * size]])
        for function in self._as_list(self.builtin_func):
            schema.add_function(function.function)
        ours = True
        try:
            client.create_collection(
                self.collection_name,
                schema=schema,
                consistency_level=self.consistency_level,
                properties={IDENTITY_PROPERTY: identity},
            )
        except MilvusStoreError:
            ours = False
            if not self._appears():  # else another process was quicker
                raise
        try:
            self._open()
        except BaseException:
            # A complete collection stays: another process may already write to it.
            with suppress(MilvusStoreError):
                if ours and self._fields_without_index(client.describe_collection(self.collection_name)):
                    self.drop()
            raise

    def _appears(self) -> bool:
        """Tell whether the collection is there within a second (Lite makes its folder before it knows it)."""
        for _ in range(10):
            if self.client.has_collection(self.collection_name):
                return True
            time.sleep(0.1)
        return False

    def close(self) -> None:
        """Close the connection, and free a Lite file for other processes; doing it twice is fine.

        Trap: pymilvus's `close()` leaves the in-process server running and the file locked.
        """
        client, file = self._milvus_client, self._file
        self._milvus_client = self._file = None
        if self._guard is None:
            self._guard = GuardedClient(client, self._address)
        self._guard.close()
        self._col_cache = None
        if file is not None:
            file.release()

    def __enter__(self: _Collection) -> _Collection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _embedding(self) -> Embeddings:
        return cast("Embeddings", self.embedding_func)
