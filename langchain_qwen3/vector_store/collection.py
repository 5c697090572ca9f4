"""Opening and closing the Milvus collection behind the vector store."""

from __future__ import annotations

import copy
import os
from typing import Any, TypeVar, cast

from langchain_core.embeddings import Embeddings
from langchain_milvus import BM25BuiltInFunction, Milvus
from pydantic import SecretStr

from qwen3_core.milvus import Collection, Connection, EmbeddingIdentity, MilvusAddress
from qwen3_core.milvus.rows import SPARSE_FIELD, VECTOR_FIELD

_Store = TypeVar("_Store", bound="MilvusCollection")


class MilvusCollection(Milvus):
    """The part of `Qwen3VectorStore` that opens and closes; arguments and errors are told there."""

    def __init__(
        self,
        embeddings: Embeddings,
        *,
        uri: str | os.PathLike[str] = "./milvus.db",
        token: SecretStr | str | None = None,
        db_name: str = "",
        collection_name: str = "docs",
        hybrid: bool = False,
        analyzer: str | None = None,
        tenants: bool = False,
        tenant: str | None = None,
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
        if tenant is not None and drop_old:
            msg = "drop_old=True deletes the rows of all tenants. Open the store with tenants=True to do that."
            raise ValueError(msg)
        plain = token.get_secret_value() if isinstance(token, SecretStr) else token
        address = MilvusAddress(os.fspath(uri), plain or "", db_name, timeout)
        self._batch_size = batch_size
        self._connection: Connection | None = None
        self._borrowed = False

        def connect() -> Any:
            super(MilvusCollection, self).__init__(
                embedding_function=embeddings,
                collection_name=collection_name,
                connection_args=address.client_args(),
                consistency_level=consistency_level,
                vector_field=[VECTOR_FIELD, SPARSE_FIELD] if hybrid else VECTOR_FIELD,
                builtin_function=BM25BuiltInFunction(output_field_names=SPARSE_FIELD) if hybrid else None,
            )
            return self._milvus_client

        self._connection = Connection(address, connect)
        try:
            self._collection = Collection(
                self._connection,
                collection_name,
                EmbeddingIdentity.of(embeddings),
                measure=lambda: len(embeddings.embed_query("How long is a vector?")),
                hybrid=hybrid,
                analyzer=analyzer,
                tenants=tenants or tenant is not None,
                consistency_level=consistency_level,
                drop_old=drop_old,
            )
            self._collection = self._of(tenant)
        except BaseException:
            self.close()
            raise

    def _init(self, *_: Any, **__: Any) -> None:
        """Leave the collection to `Collection` (trap: the base makes it and its index in steps, and leaves half)."""
        self._async_milvus_client = None  # trap: unused, and 0.3.3's drop() leaves its coroutine unawaited

    @property
    def client(self) -> Any:
        """The client, with a deadline on each call (trap: the constructor's timeout covers connecting)."""
        return self._connection.client if self._connection else self._milvus_client

    @property  # type: ignore[misc]
    def col(self) -> Any:
        """What `describe_collection` says, or None (trap: 0.3.3 asks an ORM that has no connection)."""
        return self._collection.info

    def for_tenant(self: _Store, tenant: str) -> _Store:
        """Return a store of one tenant, of which each call sees that tenant's rows only.

        It shares this store's connection; closing it does nothing, closing this store closes both.

        Raises:
            TypeError: The tenant is no string.
            ValueError: The collection has no tenants, or this is already the store of another one.
        """
        store = copy.copy(self)
        store._collection, store._borrowed = self._of(tenant), True
        return store

    def _of(self, tenant: str | None) -> Collection:
        """Return the collection as a call with this `tenant` sees it, or refuse the call."""
        return self._collection if tenant is None else self._collection.for_tenant(tenant)

    def drop(self) -> None:
        """Delete the collection, for the next document to make it anew; in a tenant's store the tenant's rows."""
        self._collection.drop()

    def close(self) -> None:
        """Close the connection, and free a Lite file for other processes; doing it twice is fine."""
        if self._connection is not None and not self._borrowed:
            self._connection.close()

    def __enter__(self: _Store) -> _Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _embedding(self) -> Embeddings:
        return cast("Embeddings", self.embedding_func)
