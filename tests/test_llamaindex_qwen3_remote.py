"""`Qwen3Embedding` and `Qwen3Rerank` on servers: the contracts on real and scripted ones, and what the fields do."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Awaitable, Iterator
from typing import Any, ClassVar

import pytest
from llama_index.core.schema import NodeWithScore, TextNode
from pydantic import ValidationError
from scripted_retrieval import DashScope, Vllm

from llamaindex_qwen3 import Qwen3Embedding, Qwen3Rerank
from llamaindex_qwen3.testing import probes
from llamaindex_qwen3.testing.embedding import EmbeddingContract
from llamaindex_qwen3.testing.rerank import RerankContract
from qwen3_core import RemoteEmbedder, RemoteReranker

NODES = [
    NodeWithScore(node=TextNode(text=text), score=0.5)
    for text in ("Cats sleep all day.", "Milvus stores inserted data in object storage.")
]
QUERY = "How is data stored in Milvus?"


class TestEmbeddingOfARealServer(EmbeddingContract):
    embedding_class = Qwen3Embedding
    smaller: ClassVar[dict[str, Any]] = {"dimensions": 64}
    other_instruction: ClassVar[dict[str, Any]] = {"instruction": "Find the code that does this"}

    @pytest.fixture(autouse=True)
    def _server(self, llama_cpp_embedding_url: str) -> None:
        self.url = llama_cpp_embedding_url

    def make(self, **kwargs: Any) -> Qwen3Embedding:
        wanted = {"api_base": self.url, "server": "llama.cpp", "truncation": "end", "max_length": 1000}
        return Qwen3Embedding(**(wanted | kwargs))


class TestRerankOfAScriptedServer(RerankContract):
    rerank_class = Qwen3Rerank
    other_instruction: ClassVar[dict[str, Any]] = {"instruction": "Find the text about animals"}

    @pytest.fixture(autouse=True)
    def _server(self) -> Iterator[None]:
        with Vllm().serve() as self.url:
            yield

    def make(self, **kwargs: Any) -> Qwen3Rerank:
        return Qwen3Rerank(**({"api_base": self.url, "server": "vllm", "truncation": "end"} | kwargs))

    def test_async_calls_do_not_crowd_the_model(self) -> None:
        # On a port the script's own threads would count.
        clients = Vllm().clients()
        made = self.make(http_client=clients["http_client"], async_http_client=clients["http_async_client"])

        def many() -> Awaitable[Any]:
            return asyncio.gather(*(made.apostprocess_nodes(NODES, query_str=QUERY) for _ in range(12)))

        assert probes.threads_during(many) == 0


async def test_the_reranker_of_a_real_server_orders_as_local_weights_do(llama_cpp_reranker_url: str) -> None:
    remote, local = Qwen3Rerank(api_base=llama_cpp_reranker_url, server="llama.cpp"), Qwen3Rerank(model="mini")
    expected = [item.score for item in local.postprocess_nodes(NODES, query_str=QUERY)]
    for found in (
        remote.postprocess_nodes(NODES, query_str=QUERY),
        await remote.apostprocess_nodes(NODES, query_str=QUERY),
    ):
        assert [item.score for item in found] == pytest.approx(expected, abs=2e-3)


def test_every_field_reaches_the_client() -> None:
    server = Vllm()
    clients = server.clients()
    shared: dict[str, Any] = {
        "server": "vllm", "template": "client", "truncation": "end", "tokenizer": "t", "batch_size": 3,
        "batch_tokens": 300, "max_length": 100, "max_concurrency": 2, "timeout": 5.0, "max_retries": 1, "deadline": 9.0,
        "check": False, "default_headers": {"x-a": "b"}, "instruction": "Find it",
        "http_client": clients["http_client"],
    }  # fmt: skip
    named = {"api_base": server.url, "api_key": "sk-1", "async_http_client": clients["http_async_client"]}
    expected = {**shared, "model": "m", "base_url": server.url, "api_key": "sk-1", **clients}
    embedder = Qwen3Embedding(model_name="m", dimensions=64, **named, **shared)._embedder
    assert isinstance(embedder, RemoteEmbedder)
    assert embedder.settings == {**expected, "dimensions": 64}
    reranker = Qwen3Rerank(model="m", **named, **shared)._reranker
    assert isinstance(reranker, RemoteReranker)
    assert reranker.settings == expected
    assert Qwen3Embedding.from_embedder(embedder)._embedder is embedder
    assert Qwen3Rerank.from_reranker(reranker, top_n=1)._reranker is reranker


def test_dashscope_has_models_of_its_own() -> None:
    server = DashScope()
    embedding = Qwen3Embedding(server="dashscope", api_base=server.url, api_key=server.key)
    assert embedding.model_name == "text-embedding-v4"
    assert Qwen3Rerank(server="dashscope", api_base=server.url, api_key=server.key).model == "qwen3-rerank"


def test_a_copy_with_another_instruction_shares_the_client() -> None:
    server = Vllm()
    clients = server.clients()
    embedding = Qwen3Embedding(api_base=server.url, server="vllm", check=False, http_client=clients["http_client"])
    other = embedding.with_instruction("Find the code")
    other.get_query_embedding("q")
    assert server.last["input"] == ["Instruct: Find the code\nQuery:q"]
    assert other._embedder is embedding._embedder


def test_tokenize_needs_a_tokenizer() -> None:
    embedding = Qwen3Embedding(api_base="http://127.0.0.1:1/v1")
    assert not embedding.has_tokenizer
    with pytest.raises(ValueError, match="name its folder, tokenizer="):
        embedding.tokenize("a")


@pytest.mark.parametrize("make", [Qwen3Embedding, Qwen3Rerank])
def test_what_has_no_effect_is_refused_and_no_key_is_shown_or_written(make: Any) -> None:
    secret = "sk-very-secret"
    with pytest.raises(ValidationError, match="device: for local weights only") as caught:
        make(api_base="http://127.0.0.1:1/v1", device="cpu", api_key=secret)
    assert secret not in str(caught.value)
    with pytest.raises(ValidationError, match="timeout: for servers only; pass api_base"):
        make(timeout=5)
    made = make(api_base="http://127.0.0.1:1/v1", api_key=secret, default_headers={"x-key": secret})
    assert secret not in repr(made)
    assert secret not in json.dumps(made.to_dict())
    assert pickle.loads(pickle.dumps(made)).api_base == made.api_base
