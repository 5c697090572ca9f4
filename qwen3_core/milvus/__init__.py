"""Milvus's rules in one place, whatever the framework.

`collection` opens, writes and searches, the same for every framework; `connection` is what it stands on. `client` has
deadlines, and index and search parameters; `opening` and `schema` what a collection looks like, `analyzers` its full
text, `tenants` its many users, `identity` the embedding that it remembers; `expressions` conditions, and `filters` and
`literals` how they are compiled, values being data; `rows` what may be written; `lite_file` one writer per Lite file;
`errors` messages that say what to do. pymilvus and milvus-lite are imported on first use. Figures and traps were found
by running Milvus Lite 3.2.2, `milvus-lite server` and a Milvus 2.3.5 standalone server with pymilvus 2.6.17 and 3.0.2;
docs/milvus_traps.md lists them.
"""

from qwen3_core.milvus.client import GuardedClient, MilvusAddress, check_collection_name
from qwen3_core.milvus.collection import Collection
from qwen3_core.milvus.connection import Connection
from qwen3_core.milvus.expressions import And, Expression, Field, In, Not, Or, raw
from qwen3_core.milvus.filters import Filter, compile_filter, compile_ids, join_all
from qwen3_core.milvus.identity import EmbeddingIdentity, content_id
from qwen3_core.milvus.lite_file import LiteFile

__all__ = [
    "And",
    "Collection",
    "Connection",
    "EmbeddingIdentity",
    "Expression",
    "Field",
    "Filter",
    "GuardedClient",
    "In",
    "LiteFile",
    "MilvusAddress",
    "Not",
    "Or",
    "check_collection_name",
    "compile_filter",
    "compile_ids",
    "content_id",
    "join_all",
    "raw",
]
