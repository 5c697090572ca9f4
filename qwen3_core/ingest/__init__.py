"""Files in, chunks out, and on into a Milvus collection.

`chunks` reads markdown and text into a list, for small corpora and notebooks. `pipeline` indexes any number of files:
`files` finds and reads them, `loaders` knows their kinds, `splitting` cuts, `prepare` compares a file with the
`inventory` of what the collection holds, `sink` embeds what is missing while `writer` writes the batch before, and
`manifest` saves reading what has not changed. `indexing` is what both frameworks' `index_documents` share.
"""

from qwen3_core.ingest.chunks import find_files, load_chunks, read_text, split_text
from qwen3_core.ingest.errors import IngestError
from qwen3_core.ingest.loaders import MARKDOWN_SUFFIXES, TEXT_SUFFIXES
from qwen3_core.ingest.pipeline import index_files
from qwen3_core.ingest.splitting import DEFAULT_CHUNK_SIZE, DEFAULT_CHUNK_TOKENS, Chunk
from qwen3_core.ingest.summary import FailedFile, IndexProgress, IndexSummary

__all__ = [
    "DEFAULT_CHUNK_SIZE",
    "DEFAULT_CHUNK_TOKENS",
    "MARKDOWN_SUFFIXES",
    "TEXT_SUFFIXES",
    "Chunk",
    "FailedFile",
    "IndexProgress",
    "IndexSummary",
    "IngestError",
    "find_files",
    "index_files",
    "load_chunks",
    "read_text",
    "split_text",
]
