"""A collection: opened or created whole, with what it remembers of its embedding, analyzer and tenants."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from qwen3_core.milvus.analyzers import ANALYZER_PROPERTY, DEFAULT_ANALYZER, check_analyzer, require_analyzer
from qwen3_core.milvus.client import check_collection_name
from qwen3_core.milvus.connection import Connection
from qwen3_core.milvus.errors import MilvusStoreError
from qwen3_core.milvus.identity import IDENTITY_PROPERTY, EmbeddingIdentity, check_identity, mismatch
from qwen3_core.milvus.lite_file import remove_half_made
from qwen3_core.milvus.rows import SPARSE_FIELD
from qwen3_core.milvus.schema import has_tenants, make_schema, read_analyzer, read_collection, vector_fields
from qwen3_core.milvus.tenants import Tenant

_Opened = TypeVar("_Opened", bound="OpenedCollection")

CONSISTENCY_LEVELS = ("Strong", "Session", "Bounded", "Eventually")


@dataclass
class _State:
    """What is known of the collection; shared by the views of its tenants."""

    info: Mapping[str, Any] | None = None
    size: int = 0
    tenants: bool = False
    analyzer: str | None = None


class OpenedCollection:
    """The part of `Collection` that opens and creates; arguments and errors are told there."""

    def __init__(
        self,
        connection: Connection,
        name: str,
        identity: EmbeddingIdentity,
        *,
        measure: Callable[[], int],
        hybrid: bool = False,
        analyzer: str | None = None,
        tenants: bool = False,
        consistency_level: str = "Session",
        drop_old: bool = False,
    ) -> None:
        check_collection_name(name)
        if consistency_level not in CONSISTENCY_LEVELS:
            msg = f"consistency_level={consistency_level!r}: pass one of {', '.join(CONSISTENCY_LEVELS)}."
            raise ValueError(msg)
        if analyzer is not None:
            check_analyzer(analyzer)
            if not hybrid:
                msg = f"analyzer={analyzer!r} is for full-text search: pass hybrid=True as well."
                raise ValueError(msg)
        self.name, self.identity, self.hybrid = name, identity, hybrid
        self._connection, self._measure, self._consistency = connection, measure, consistency_level
        self._wants_analyzer, self._wants_tenants = analyzer, tenants
        self._state = _State(tenants=tenants)
        self._tenant: Tenant | None = None
        if hybrid:
            self._client.require_full_text()
            self._require_analyzer(analyzer or DEFAULT_ANALYZER)
        if drop_old:
            self._drop()
        self._open()

    @property
    def _client(self) -> Any:
        return self._connection.client

    def _require_analyzer(self, name: str) -> None:
        address = self._connection.address
        require_analyzer(name, is_lite=self._client.is_lite, in_process=address.is_lite, where=address.shown)

    # -- tenants -----------------------------------------------------------------------------------------------

    @property
    def tenants(self) -> bool:
        """Whether each row belongs to a tenant."""
        return self._state.tenants

    def for_tenant(self: _Opened, tenant: str) -> _Opened:
        """Return a view that reads, writes and deletes the rows of one tenant only; the connection is shared.

        Raises:
            TypeError: The tenant is no string.
            ValueError: The collection has no tenants, or this is the view of another one.
        """
        wanted = Tenant(tenant)
        if not self.tenants:
            msg = (
                f"tenant={tenant!r}: collection {self.name!r} has no tenants. Pass tenants=True when it is made, "
                "or leave tenant= out."
            )
            raise ValueError(msg)
        if self._tenant not in {None, wanted}:
            msg = f"tenant={tenant!r}: this is the view of tenant {self._tenant.name!r}."
            raise ValueError(msg)
        view = copy.copy(self)
        view._tenant = wanted
        return view

    def require_tenant(self) -> None:
        """Refuse to go on in a collection with tenants where nobody said which.

        Raises:
            ValueError: Nobody did.
        """
        if self.tenants and self._tenant is None:
            msg = f"Collection {self.name!r} has tenants: say whose rows are meant, tenant='...' or for_tenant('...')."
            raise ValueError(msg)

    def ready(self) -> bool:
        """Tell whether there is a collection, and make sure that it is known whose rows are meant."""
        there = self.info is not None
        self.require_tenant()
        return there

    # -- opening and creating ----------------------------------------------------------------------------------

    @property
    def info(self) -> Mapping[str, Any] | None:
        """What `describe_collection` says, or None while there is no collection."""
        if self._state.info is None:
            with self._connection.writing:  # a reader must not see the collection while a writer still makes it
                if self._state.info is None:
                    self._open()
        return self._state.info

    @property
    def size(self) -> int:
        """The length of the vectors; 0 while there is no collection."""
        return self._state.size

    @property
    def analyzer(self) -> str | None:
        """What cuts the text for BM25; None without a BM25 index."""
        return self._state.analyzer

    def _open(self) -> None:
        if not self._client.has_collection(self.name):
            return
        info = self._client.describe_collection(self.name)
        stored, size = read_collection(info, self.name, hybrid=self.hybrid)
        analyzer = read_analyzer(info, self.name, wanted=self._wants_analyzer)
        if analyzer is not None:
            self._require_analyzer(analyzer)
        tenants = has_tenants(info, self.name, wanted=self._wants_tenants)
        if not check_identity(stored, size, self.identity, collection=self.name):
            found = self._measure()
            if found != size:
                raise mismatch(self.name, stored.describe(size), self.identity.describe(found))
        for field in self._fields_without_index(info):  # just made, or its maker was killed in between
            self._create_index_of(field, info)
        self._client.load_collection(self.name)  # trap: a Lite collection reopens unloaded, and searches fail (101)
        state = self._state
        state.size, state.tenants, state.analyzer, state.info = size, tenants, analyzer, info

    def _create_index_of(self, field: str, info: Mapping[str, Any]) -> None:
        params = self._client.prepare_index_params()
        index = self._client.sparse_index() if field == SPARSE_FIELD else self._client.dense_index()
        params.add_index(field_name=field, **index)
        try:
            # sync=False: pymilvus's waiting ignores a timeout that is no int, and asks Lite for what it lacks;
            # loading waits for what it needs.
            self._client.create_index(self.name, params, sync=False)
        except MilvusStoreError:
            if field in self._fields_without_index(info):  # else another process was quicker
                raise

    def _fields_without_index(self, info: Mapping[str, Any]) -> list[str]:
        return [field for field in vector_fields(info) if not self._client.list_indexes(self.name, field_name=field)]

    def create(self, size: int) -> None:
        """Create collection, index and all, or nothing.

        Args:
            size: Length of the vectors.
        """
        identity, ours = self.identity.to_json(), True
        analyzer = (self._wants_analyzer or DEFAULT_ANALYZER) if self.hybrid else None
        schema = make_schema(size, analyzer=analyzer, tenants=self._wants_tenants, identity=identity)
        properties = {IDENTITY_PROPERTY: identity} | ({ANALYZER_PROPERTY: analyzer} if analyzer else {})
        make = partial(
            self._client.create_collection,
            self.name,
            schema=schema,
            consistency_level=self._consistency,
            properties=properties,
        )
        try:
            make()
        except MilvusStoreError:
            ours = False
            if not self._appears():  # else another process was quicker
                where = self._connection.address
                if not where.is_lite or not remove_half_made(where.uri, where.db_name, self.name):
                    raise
                make()
                ours = True
        try:
            self._open()
        except BaseException:
            # A complete collection stays: another process may already write to it.
            with suppress(MilvusStoreError):
                if ours and self._fields_without_index(self._client.describe_collection(self.name)):
                    self._drop()
            raise

    def _appears(self) -> bool:
        """Tell whether the collection is there within a second (Lite makes its folder before it knows it)."""
        for _ in range(10):
            if self._client.has_collection(self.name):
                return True
            time.sleep(0.1)
        return False

    def _drop(self) -> None:
        """Delete the collection, if there is one, with the rows of all tenants."""
        with self._connection.writing:
            if self._client.has_collection(self.name):
                self._client.drop_collection(self.name)
            self._state.info, self._state.size = None, 0
            self._state.tenants, self._state.analyzer = self._wants_tenants, None
