"""Qwen3 for LlamaIndex: embedding, reranking, a thinking LLM, and query engines over Milvus."""
