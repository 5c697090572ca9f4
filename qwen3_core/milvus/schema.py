"""What a collection looks like: its fields, and what it says about itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen3_core.milvus.analyzers import ANALYZER_PROPERTY, ANALYZERS, DEFAULT_ANALYZER
from qwen3_core.milvus.errors import MilvusStoreError
from qwen3_core.milvus.filters import PRIMARY_FIELD, TEXT_FIELD
from qwen3_core.milvus.identity import IDENTITY_PROPERTY, EmbeddingIdentity
from qwen3_core.milvus.rows import MAX_TEXT_BYTES, SPARSE_FIELD, VECTOR_FIELD
from qwen3_core.milvus.tenants import MAX_TENANT_BYTES, TENANT_FIELD


def make_schema(size: int, *, analyzer: str | None, tenants: bool, identity: str) -> Any:
    """Return the schema of a new collection.

    Args:
        size: Length of the vectors.
        analyzer: What cuts the text for BM25, one of `ANALYZERS`; None makes no BM25 index.
        tenants: Whether each row belongs to a tenant.
        identity: What `EmbeddingIdentity.to_json` gives.
    """
    from pymilvus import CollectionSchema, DataType, FieldSchema, Function, FunctionType

    analyzed = {"enable_analyzer": True, "analyzer_params": dict(ANALYZERS[analyzer])} if analyzer else {}
    fields = [
        FieldSchema(TEXT_FIELD, DataType.VARCHAR, max_length=MAX_TEXT_BYTES, **analyzed),
        FieldSchema(PRIMARY_FIELD, DataType.VARCHAR, max_length=MAX_TEXT_BYTES, is_primary=True, auto_id=False),
        FieldSchema(VECTOR_FIELD, DataType.FLOAT_VECTOR, dim=size),
    ]
    if tenants:
        fields.append(FieldSchema(TENANT_FIELD, DataType.VARCHAR, max_length=MAX_TENANT_BYTES, is_partition_key=True))
    functions = []
    if analyzer:
        fields.append(FieldSchema(SPARSE_FIELD, DataType.SPARSE_FLOAT_VECTOR))
        functions.append(Function("bm25", FunctionType.BM25, [TEXT_FIELD], [SPARSE_FIELD]))
    # Dynamic fields hold the metadata; without them unknown keys are dropped silently.
    return CollectionSchema(fields, description=identity, enable_dynamic_field=True, functions=functions)


def has_tenants(info: Mapping[str, Any], name: str, *, wanted: bool) -> bool:
    """Return whether a collection has tenants.

    Args:
        info: What `describe_collection` says.
        name: The collection's name, for messages.
        wanted: Whether it has to have.

    Raises:
        ValueError: It has to, and has none.
    """
    found = any(field["name"] == TENANT_FIELD and field.get("is_partition_key") for field in info["fields"])
    if wanted and not found:
        msg = (
            f"Collection {name!r} was made without tenants=True and has no tenants. Leave tenants= and tenant= out, or "
            "use another collection_name= and index again."
        )
        raise ValueError(msg)
    return found


def read_analyzer(info: Mapping[str, Any], name: str, *, wanted: str | None = None) -> str | None:
    """Return the analyzer of a collection, None if it has no BM25 index.

    Args:
        info: What `describe_collection` says.
        name: The collection's name, for messages.
        wanted: The one that it has to have; None for any.

    Raises:
        MilvusStoreError: It has another one.
    """
    if SPARSE_FIELD not in {field["name"] for field in info["fields"]}:
        return None
    found = str((info.get("properties") or {}).get(ANALYZER_PROPERTY) or DEFAULT_ANALYZER)
    if wanted not in {None, found}:
        msg = (
            f"Collection {name!r} was made with analyzer={found!r}, and its words cannot be found with {wanted!r}. "
            f"Pass analyzer={found!r} or none, or use another collection_name= and index again."
        )
        raise MilvusStoreError(msg)
    return found


def vector_fields(info: Mapping[str, Any]) -> list[str]:
    """Return the names of the vector fields in what `describe_collection` says."""
    return sorted({field["name"] for field in info["fields"]} & {VECTOR_FIELD, SPARSE_FIELD})


def read_collection(info: Mapping[str, Any], name: str, *, hybrid: bool) -> tuple[EmbeddingIdentity, int]:
    """Return whose vectors a collection holds, and their length.

    Args:
        info: What `describe_collection` says.
        name: The collection's name, for messages.
        hybrid: Whether it has to have a BM25 index.

    Raises:
        MilvusStoreError: It was not made by this package, or has no BM25 index.
    """
    fields = {field["name"]: field for field in info["fields"]}
    remembered = (info.get("properties") or {}).get(IDENTITY_PROPERTY) or info.get("description") or ""
    try:
        stored = EmbeddingIdentity.from_json(remembered)
    except ValueError:
        stored = None
    if stored is None or not {PRIMARY_FIELD, TEXT_FIELD, VECTOR_FIELD} <= set(fields):
        msg = (
            f"Collection {name!r} does not say which embedding made it: it is not this "
            "package's. Use another collection_name=, or drop_old=True to delete it."
        )
        raise MilvusStoreError(msg)
    if hybrid and SPARSE_FIELD not in fields:
        msg = (
            f"Collection {name!r} was made without hybrid=True and has no BM25 index. "
            "Pass hybrid=False, or another collection_name= and index again."
        )
        raise MilvusStoreError(msg)
    return stored, int(fields[VECTOR_FIELD]["params"]["dim"])
