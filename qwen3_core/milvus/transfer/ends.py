"""Either end of a transfer: the collection, whatever tenants it has."""

from __future__ import annotations

from collections.abc import Sequence

from qwen3_core.milvus.collection import Collection
from qwen3_core.milvus.connection import Connection
from qwen3_core.milvus.errors import MilvusStoreError
from qwen3_core.milvus.filters import PRIMARY_FIELD, compile_ids
from qwen3_core.milvus.schema import has_tenants, read_analyzer, read_collection
from qwen3_core.milvus.transfer.files import ExportError
from qwen3_core.milvus.transfer.shape import CollectionShape


def open_source(connection: Connection, name: str) -> CollectionShape:
    """Load a collection and say what it is; no embedding is needed.

    Raises:
        MilvusStoreError: There is none, or it is not this package's.
    """
    if not connection.client.has_collection(name):
        msg = f"There is no collection {name!r} in {connection.address.shown}."
        raise MilvusStoreError(msg)
    info = connection.client.describe_collection(name)
    identity, size = read_collection(info, name, hybrid=False)
    analyzer, tenants = read_analyzer(info, name), has_tenants(info, name, wanted=False)
    shape = CollectionShape(name, identity, size, analyzer is not None, analyzer, tenants)
    open_target(connection, shape)
    return shape


def open_target(connection: Connection, shape: CollectionShape) -> Collection:
    """Open a collection of this shape, or make it.

    Raises:
        EmbeddingMismatchError: It is there, and another embedding made it.
        MilvusStoreError: It is there and not this package's, lacks the BM25 index or has another analyzer, has tenants
            where the export has none, or Milvus failed.
        ValueError: It is there and has no tenants where the export has.
    """
    collection = Collection(
        connection,
        shape.name,
        shape.identity,
        measure=lambda: shape.size,
        hybrid=shape.hybrid,
        analyzer=shape.analyzer,
        tenants=shape.tenants,
    )
    with connection.writing:
        if collection.info is None:
            collection.create(shape.size)
    collection.check_size(shape.size)
    if collection.tenants and not shape.tenants:
        msg = f"Collection {shape.name!r} has tenants, and the export has none. Import into another collection."
        raise ExportError(msg)
    return collection


def count(connection: Connection, name: str) -> int:
    """Return how many rows a collection has, also those that were written a moment ago."""
    found = connection.client.query(name, filter="", output_fields=["count(*)"], consistency_level="Strong")
    return int(found[0]["count(*)"])


def count_ids(connection: Connection, name: str, ids: Sequence[str]) -> int:
    """Return how many rows have one of these ids; more than there are ids if a server holds one twice."""
    # Lite counts with a filter by reading whole rows, and finds ids at once. On a server it is the other way round, and
    # reading leaves out what is there twice.
    fields = [PRIMARY_FIELD] if connection.client.is_lite else ["count(*)"]
    found = connection.client.query(name, filter=compile_ids(ids), output_fields=fields, consistency_level="Strong")
    return len(found) if connection.client.is_lite else int(found[0]["count(*)"])
