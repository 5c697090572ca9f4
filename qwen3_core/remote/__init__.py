"""Qwen3-Embedding and Qwen3-Reranker on a server.

`embedder` and `reranker` are what is used; `embedding` and `reranking` say how each server is asked and how its answers
are read, `http` sends, `batching` and `plan` make requests of texts and results of answers, `check` tells whether a
server can be trusted.
"""

from qwen3_core.remote.embedder import RemoteEmbedder
from qwen3_core.remote.embedding import SparseVector
from qwen3_core.remote.embedding_requests import HybridVector
from qwen3_core.remote.errors import AnswerError, PartialError, PassingError, ServerError
from qwen3_core.remote.reranker import RemoteReranker

__all__ = [
    "AnswerError",
    "HybridVector",
    "PartialError",
    "PassingError",
    "RemoteEmbedder",
    "RemoteReranker",
    "ServerError",
    "SparseVector",
]
