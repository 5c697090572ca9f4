"""What the LangChain and LlamaIndex packages share and neither framework owns.

Prompt formats, the local engines for Qwen3-Embedding, Qwen3-Reranker and chat, the clients and dialects of servers, the
rules of Milvus, and the way from files to chunks. Importing it loads neither torch nor a framework.
"""

from qwen3_core.base import Embedder, Reranker
from qwen3_core.local import LocalEmbedder, LocalReranker
from qwen3_core.local_chat import LocalChat
from qwen3_core.remote import PartialError, RemoteEmbedder, RemoteReranker, ServerError

__all__ = [
    "Embedder",
    "LocalChat",
    "LocalEmbedder",
    "LocalReranker",
    "PartialError",
    "RemoteEmbedder",
    "RemoteReranker",
    "Reranker",
    "ServerError",
]
