"""What the LangChain and LlamaIndex packages share and neither framework owns.

Prompt formats, the local engine for Qwen3-Embedding and Qwen3-Reranker, the rules of Milvus, the thinking
dialects of chat servers, and the way from files to chunks. Importing it loads neither torch nor a framework.
"""

from qwen3_core.base import Embedder, Reranker
from qwen3_core.local import LocalEmbedder, LocalReranker

__all__ = ["Embedder", "LocalEmbedder", "LocalReranker", "Reranker"]
