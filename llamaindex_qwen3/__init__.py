"""Qwen3 for LlamaIndex: embedding, reranking, a thinking LLM, and query engines over Milvus."""

from llamaindex_qwen3.deep_search import create_deep_search
from llamaindex_qwen3.embeddings import Qwen3Embedding
from llamaindex_qwen3.indexing import aindex_documents, index_documents
from llamaindex_qwen3.llm_local import Qwen3Local
from llamaindex_qwen3.llms import Qwen3
from llamaindex_qwen3.query_engine import create_query_engine
from llamaindex_qwen3.reasoning import collect_reasoning
from llamaindex_qwen3.rerank import Qwen3Rerank
from llamaindex_qwen3.vector_store import create_vector_store
from qwen3_core.milvus import And, Expression, Field, In, Not, Or, raw

__all__ = [
    "And",
    "Expression",
    "Field",
    "In",
    "Not",
    "Or",
    "Qwen3",
    "Qwen3Embedding",
    "Qwen3Local",
    "Qwen3Rerank",
    "aindex_documents",
    "collect_reasoning",
    "create_deep_search",
    "create_query_engine",
    "create_vector_store",
    "index_documents",
    "raw",
]
