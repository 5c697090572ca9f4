"""The published LlamaIndex contracts for this project's classes and their peers, run by ``llamaindex_contract.py``.

Each class here is one column of the report. A peer is imported when a check needs it, and gets the configuration
that its own documentation recommends for Qwen3, stated beside it.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from llama_index.core.base.embeddings.base import BaseEmbedding

from benchmarks.llamaindex_servers import OllamaServer
from llamaindex_qwen3.testing.embedding import EmbeddingContract
from llamaindex_qwen3.testing.llm import ThinkingLLMContract
from llamaindex_qwen3.testing.rerank import RerankContract
from llamaindex_qwen3.testing.vector_store import MilvusStoreContract

HERE = Path(__file__).parent
MINI = HERE.parent / "qwen3_core" / "mini"
OFFICIAL = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
OTHER = "Find the code that does this"
WINDOW = 40_960


@dataclass(frozen=True)
class Peer:
    """A class of a package."""

    name: str
    """The class."""

    module: str
    """Where it is imported from."""

    package: str
    """The distribution that has it."""

    configuration: str
    """How it was made, for the report."""

    def load(self) -> Any:
        """Import the class."""
        return getattr(importlib.import_module(self.module), self.name)


class Column:
    """What every column has."""

    peer: ClassVar[Peer]

    inapplicable: ClassVar[dict[str, str]] = {}
    """Checks that do not apply, and why; they are not counted."""

    @property
    def embedding_class(self) -> Any:
        """What `EmbeddingContract` makes."""
        return self.peer.load()

    @property
    def rerank_class(self) -> Any:
        """What `RerankContract` makes."""
        return self.peer.load()


REMOTE = "the model runs elsewhere, and its client may use threads"


@cache
def model_server() -> str:
    """Start the stand-in for embedding and reranking services, which ends with this process, and return its URL."""
    command = [sys.executable, str(HERE / "llamaindex_servers.py")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process.stdout.readline().strip()


def point_dashscope_at_the_stand_in() -> None:
    """Set the address and the key as the SDK documents."""
    import dashscope

    os.environ["DASHSCOPE_API_KEY"] = dashscope.api_key = "sk-stand-in"
    dashscope.base_http_api_url = model_server()


# -- embeddings ------------------------------------------------------------------------------------------------


class TestOurEmbedding(Column, EmbeddingContract):
    """This project's."""

    peer = Peer(
        "Qwen3Embedding", "llamaindex_qwen3.embeddings", "qwen3-rag", 'the mini checkpoint (`model_name="mini"`)'
    )
    params: ClassVar[dict[str, Any]] = {"model_name": "mini"}
    smaller: ClassVar[dict[str, Any]] = {"dimensions": 64}
    other_instruction: ClassVar[dict[str, Any]] = {"instruction": OTHER}


class Late(Column, EmbeddingContract):
    """For a class whose constructor does not take all fields of `BaseEmbedding`."""

    def make(self, **kwargs: Any) -> BaseEmbedding:
        """Assign the cache and the rate limiter afterwards; `num_workers` has a check about the argument itself."""
        late = {name: kwargs.pop(name) for name in ("embeddings_cache", "rate_limiter") if name in kwargs}
        embedding = self.construct(**kwargs)
        for name, value in late.items():
            setattr(embedding, name, value)
        return embedding

    def construct(self, **kwargs: Any) -> BaseEmbedding:
        """Call the constructor."""
        return self.embedding_class(**(self.params | kwargs))


class TestHuggingFaceEmbedding(Late):
    """Sentence Transformers in this process."""

    peer = Peer(
        "HuggingFaceEmbedding",
        "llama_index.embeddings.huggingface",
        "llama-index-embeddings-huggingface",
        "the folder of the same mini checkpoint in float32, with Qwen3's official text as `query_instruction`; shorter "
        "vectors by `truncate_dim`; cache and rate limiter assigned after construction",
    )
    params: ClassVar[dict[str, Any]] = {
        "model_name": str(MINI / "embedding"),
        "query_instruction": OFFICIAL,
        "device": "cpu",
        "model_kwargs": {"dtype": "float32"},
    }
    smaller: ClassVar[dict[str, Any]] = {"truncate_dim": 64}
    other_instruction: ClassVar[dict[str, Any]] = {"query_instruction": f"Instruct: {OTHER}\nQuery:"}


class TestTextEmbeddingsInference(Late):
    """A client of a TEI server."""

    inapplicable: ClassVar[dict[str, str]] = {"test_async_batches_do_not_crowd_the_model": REMOTE}
    peer = Peer(
        "TextEmbeddingsInference",
        "llama_index.embeddings.text_embeddings_inference",
        "llama-index-embeddings-text-embeddings-inference",
        "a stand-in for a TEI server on loopback with the mini checkpoint behind it; Qwen3's official text as "
        "`query_instruction`; cache and rate limiter assigned after construction; the class has no argument for "
        "shorter vectors",
    )
    other_instruction: ClassVar[dict[str, Any]] = {"query_instruction": f"Instruct: {OTHER}\nQuery:"}

    def construct(self, **kwargs: Any) -> BaseEmbedding:
        """Return a client of the stand-in."""
        given = {"model_name": "Qwen/Qwen3-Embedding-0.6B", "query_instruction": OFFICIAL, "base_url": model_server()}
        return self.embedding_class(**(given | kwargs))


class TestDashScopeEmbedding(Column, EmbeddingContract):
    """A client of DashScope's embedding service."""

    inapplicable: ClassVar[dict[str, str]] = {"test_async_batches_do_not_crowd_the_model": REMOTE}
    peer = Peer(
        "DashScopeEmbedding",
        "llama_index.embeddings.dashscope",
        "llama-index-embeddings-dashscope",
        'a stand-in for DashScope on loopback with the mini checkpoint behind it; `model_name="text-embedding-v4"`; '
        "the class has no argument for shorter vectors or an instruction",
    )

    def make(self, **kwargs: Any) -> BaseEmbedding:
        """Return a client of the stand-in."""
        point_dashscope_at_the_stand_in()
        return self.embedding_class(**({"model_name": "text-embedding-v4"} | kwargs))


# -- rerankers -------------------------------------------------------------------------------------------------


class TestOurRerank(Column, RerankContract):
    """This project's."""

    peer = Peer("Qwen3Rerank", "llamaindex_qwen3.rerank", "qwen3-rag", 'the mini checkpoint (`model="mini"`)')
    params: ClassVar[dict[str, Any]] = {"model": "mini"}
    other_instruction: ClassVar[dict[str, Any]] = {"instruction": "Find the text about animals"}


class TestSentenceTransformerRerank(Column, RerankContract):
    """Sentence Transformers' CrossEncoder in this process."""

    given: ClassVar[dict[str, Any]] = {"max_length": 8192, "model_kwargs": {"dtype": "float32"}}
    peer = Peer(
        "SentenceTransformerRerank",
        "llama_index.postprocessor.sbert_rerank",
        "llama-index-postprocessor-sbert-rerank",
        "the folder of the same mini checkpoint in float32; `max_length` raised from 512 to 8192 and the other "
        "instruction given as `prompts`, both through `cross_encoder_kwargs`; `keep_retrieval_score=True` where a "
        "check is about it",
    )
    params: ClassVar[dict[str, Any]] = {
        "model": str(MINI / "reranker"),
        "device": "cpu",
        "cross_encoder_kwargs": given,
    }
    other_instruction: ClassVar[dict[str, Any]] = {
        "cross_encoder_kwargs": {**given, "prompts": {"query": "Find the text about animals"}}
    }
    keep_retrieval_score: ClassVar[dict[str, Any]] = {"keep_retrieval_score": True}


class TestDashScopeRerank(Column, RerankContract):
    """A client of DashScope's reranking service."""

    inapplicable: ClassVar[dict[str, str]] = {"test_async_calls_do_not_crowd_the_model": REMOTE}
    peer = Peer(
        "DashScopeRerank",
        "llama_index.postprocessor.dashscope_rerank",
        "llama-index-postprocessor-dashscope-rerank",
        'a stand-in for DashScope on loopback with the mini checkpoint behind it; `model="gte-rerank-v2"`; the class '
        "has no argument for an instruction, a threshold or the retrieval score",
    )

    def make(self, **kwargs: Any) -> Any:
        """Return a client of the stand-in."""
        point_dashscope_at_the_stand_in()
        return self.rerank_class(**({"model": "gte-rerank-v2"} | kwargs))


# -- LLMs ------------------------------------------------------------------------------------------------------


class TestOurLLM(Column, ThinkingLLMContract):
    """This project's."""

    peer = Peer("Qwen3", "llamaindex_qwen3.llms", "qwen3-rag", "`api_base` alone, without retries")

    def make(self, url: str, **kwargs: Any) -> Any:
        """Return it for a server."""
        return self.peer.load()(api_base=url, max_retries=0, **kwargs)


class Wider(ThinkingLLMContract):
    """What is generous to peers: the untouched reply of the server counts as a place for the reasoning, too."""

    def reasoning_of_completion(self, response: Any) -> Any:
        """Look beside the text, then in the reply of the server."""
        if found := response.additional_kwargs.get("reasoning"):
            return found
        raw = response.raw or {}
        if isinstance(raw, Mapping):
            return getattr(raw.get("message"), "thinking", None)
        choices = getattr(raw, "choices", None) or [None]
        return getattr(getattr(choices[0], "message", None), "reasoning_content", None)


class TestOpenAILike(Column, Wider):
    """Any OpenAI-compatible server."""

    peer = Peer(
        "OpenAILike",
        "llama_index.llms.openai_like",
        "llama-index-llms-openai-like",
        f"`is_chat_model=True`, `is_function_calling_model=True`, `context_window={WINDOW}`, `reuse_client=False`, "
        "without retries; `stream_options` that ask for token counts; the switch as `chat_template_kwargs` in "
        "`extra_body`, through `additional_kwargs` of the instance and as an argument of a call",
    )

    def make(self, url: str, **kwargs: Any) -> Any:
        """Return it for a server."""
        enable = kwargs.pop("enable_thinking", None)
        more = {} if enable is None else self.thinking(enable=enable)
        return self.peer.load()(
            api_base=url,
            is_chat_model=True,
            is_function_calling_model=True,
            context_window=WINDOW,
            max_retries=0,
            reuse_client=False,
            additional_kwargs={"stream_options": {"include_usage": True}, **more},
            **kwargs,
        )

    def thinking(self, *, enable: bool) -> dict[str, Any]:
        """Return the switch of vLLM and SGLang."""
        return {"extra_body": {"chat_template_kwargs": {"enable_thinking": enable}}}


class TestOllama(Column, Wider):
    """Ollama, in its own protocol."""

    inapplicable: ClassVar[dict[str, str]] = {
        "test_a_required_tool_is_forced": "Ollama's protocol has no such wish",
        "test_reads_both_names_of_the_reasoning_field": "Ollama's protocol has one name",
    }
    peer = Peer(
        "Ollama",
        "llama_index.llms.ollama",
        "llama-index-llms-ollama",
        "the same scripts told in Ollama's own protocol; the key in `headers`; the switch as `thinking` of the "
        f"instance and `think` of a call; `context_window={WINDOW}`",
    )
    server_class = OllamaServer

    def make(self, url: str, **kwargs: Any) -> Any:
        """Return it for a server."""
        key, enable = kwargs.pop("api_key"), kwargs.pop("enable_thinking", None)
        headers = {"Authorization": f"Bearer {key}"}
        return self.peer.load()(
            base_url=url.removesuffix("/v1"), headers=headers, thinking=enable, context_window=WINDOW, **kwargs
        )

    def thinking(self, *, enable: bool) -> dict[str, Any]:
        """Return Ollama's word for it."""
        return {"think": enable}

    def switch_in(self, body: dict[str, Any]) -> Any:
        """Return what a request says."""
        return body.get("think")


# -- stores ----------------------------------------------------------------------------------------------------


class TestOurStore(Column, MilvusStoreContract):
    """This project's."""

    peer = Peer(
        "Qwen3VectorStore",
        "llamaindex_qwen3.vector_store",
        "qwen3-rag",
        "`create_vector_store(embedding, uri=..., hybrid=...)` on Milvus Lite",
    )

    def make(self, uri: str, *, hybrid: bool = False) -> Any:
        """Open it."""
        from llama_index.core.embeddings import MockEmbedding

        from llamaindex_qwen3.vector_store import create_vector_store

        embedding = MockEmbedding(embed_dim=self.DIMENSIONS, model_name="eight numbers")
        return create_vector_store(embedding, uri=uri, collection_name="contract", hybrid=hybrid)


class TestMilvusVectorStore(Column, MilvusStoreContract):
    """The store of the LlamaIndex repository."""

    peer = Peer(
        "MilvusVectorStore",
        "llama_index.vector_stores.milvus",
        "llama-index-vector-stores-milvus",
        '`similarity_metric="COSINE"`, `upsert_mode=True`, `overwrite=False` and, for text search, `enable_sparse=True`'
        " (BM25 in the database), on Milvus Lite",
    )

    def make(self, uri: str, *, hybrid: bool = False) -> Any:
        """Open it."""
        return self.peer.load()(
            uri=uri,
            collection_name="contract",
            dim=self.DIMENSIONS,
            overwrite=False,
            upsert_mode=True,
            similarity_metric="COSINE",
            enable_sparse=hybrid,
        )


COLUMNS: list[type[Column]] = [
    TestOurEmbedding,
    TestHuggingFaceEmbedding,
    TestTextEmbeddingsInference,
    TestDashScopeEmbedding,
    TestOurRerank,
    TestSentenceTransformerRerank,
    TestDashScopeRerank,
    TestOurLLM,
    TestOpenAILike,
    TestOllama,
    TestOurStore,
    TestMilvusVectorStore,
]
