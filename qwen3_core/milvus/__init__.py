"""Milvus's rules in one place, whatever the framework.

`collection` opens, writes and searches, the same for every framework; `connection` is what it stands on. `client` has
deadlines, and index and search parameters; `schema` the fields; `filters` conditions in which values are data;
`identity` what a collection remembers; `rows` what may be written; `lite_file` one writer per Lite file; `errors`
messages that say what to do. pymilvus and milvus-lite are imported on first use. Figures and traps were
found by running Milvus Lite 3.2.2, `milvus-lite server` and a Milvus 2.3.5 standalone server with pymilvus 2.6.17
and 3.0.2.
"""

from qwen3_core.milvus.client import GuardedClient, MilvusAddress, check_collection_name
from qwen3_core.milvus.collection import Collection
from qwen3_core.milvus.connection import Connection
from qwen3_core.milvus.filters import compile_filter, compile_ids, join_all
from qwen3_core.milvus.identity import EmbeddingIdentity, content_id
from qwen3_core.milvus.lite_file import LiteFile

__all__ = [
    "Collection",
    "Connection",
    "EmbeddingIdentity",
    "GuardedClient",
    "LiteFile",
    "MilvusAddress",
    "check_collection_name",
    "compile_filter",
    "compile_ids",
    "content_id",
    "join_all",
]
