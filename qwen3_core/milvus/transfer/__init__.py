"""Moving a collection between Milvus Lite and a server, as Parquet files, without embedding again.

`export_collection` writes a folder and `import_collection` reads it; `begin_export` prepares one for rows that come
from elsewhere, such as machines that embed a big corpus.
"""

from qwen3_core.milvus.transfer.exporting import export_collection
from qwen3_core.milvus.transfer.files import ExportError
from qwen3_core.milvus.transfer.importing import import_collection
from qwen3_core.milvus.transfer.shape import CollectionShape
from qwen3_core.milvus.transfer.shards import Export, begin_export, read_export
from qwen3_core.milvus.transfer.summary import TransferSummary

__all__ = [
    "CollectionShape",
    "Export",
    "ExportError",
    "TransferSummary",
    "begin_export",
    "export_collection",
    "import_collection",
    "read_export",
]
