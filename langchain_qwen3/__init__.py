"""Qwen3 for LangChain: embedding, reranking, chat, and two-stage retrieval over Milvus."""

from langchain_qwen3.chat_local import ChatQwen3Local
from langchain_qwen3.chat_models import ChatQwen3
from langchain_qwen3.deep_search import create_deep_search
from langchain_qwen3.embeddings import Qwen3Embeddings
from langchain_qwen3.evaluation import compare_retrieval
from langchain_qwen3.indexing import aindex_documents, index_documents
from langchain_qwen3.rag_chain import create_rag_chain
from langchain_qwen3.rerank import Qwen3Rerank
from langchain_qwen3.retrieval import Qwen3Retriever
from langchain_qwen3.vector_store import create_vector_store
from qwen3_core.milvus import And, Expression, Field, In, Not, Or, raw

__all__ = [
    "And",
    "ChatQwen3",
    "ChatQwen3Local",
    "Expression",
    "Field",
    "In",
    "Not",
    "Or",
    "Qwen3Embeddings",
    "Qwen3Rerank",
    "Qwen3Retriever",
    "aindex_documents",
    "compare_retrieval",
    "create_deep_search",
    "create_rag_chain",
    "create_vector_store",
    "index_documents",
    "raw",
]
