"""`Qwen3Embeddings` and `Qwen3Rerank` on servers: LangChain's suites on a real one, and what the fields do."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_core.documents import Document
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from pydantic import ValidationError
from scripted_retrieval import DashScope, Vllm

from langchain_qwen3 import Qwen3Embeddings, Qwen3Rerank, Qwen3Retriever, create_vector_store, index_documents
from langchain_qwen3.testing import DocumentCompressorTests
from qwen3_core import LocalReranker, PartialError, RemoteEmbedder, RemoteReranker, ServerError

DOCUMENTS = [
    Document("Cats sleep all day.", metadata={"page": 1}),
    Document("Milvus stores inserted data in object storage.", metadata={"page": 2}),
    Document("The capital of China is Beijing.", metadata={"page": 3}),
]
QUERY = "How is data stored in Milvus?"


class TestLangChainSuite(EmbeddingsIntegrationTests):
    @pytest.fixture(autouse=True)
    def _server(self, llama_cpp_embedding_url: str) -> None:
        self.url = llama_cpp_embedding_url

    @property
    def embeddings_class(self) -> type[Qwen3Embeddings]:
        return Qwen3Embeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"base_url": self.url, "server": "llama.cpp"}


class TestCompressor(DocumentCompressorTests):
    """This project's own suite."""

    @pytest.fixture(autouse=True)
    def _server(self) -> Iterator[None]:
        with Vllm().serve() as self.url:
            yield

    @property
    def compressor_class(self) -> type[Qwen3Rerank]:
        return Qwen3Rerank

    @property
    def compressor_params(self) -> dict[str, Any]:
        return {"base_url": self.url, "server": "vllm", "truncation": "end"}


@pytest.fixture
def vllm() -> Vllm:
    return Vllm()


async def test_the_reranker_of_a_server_orders_as_local_weights_do(llama_cpp_reranker_url: str) -> None:
    remote, local = Qwen3Rerank(base_url=llama_cpp_reranker_url, server="llama.cpp"), Qwen3Rerank(model="mini")
    expected = local.compress_documents(DOCUMENTS, QUERY)
    for found in (remote.compress_documents(DOCUMENTS, QUERY), await remote.acompress_documents(DOCUMENTS, QUERY)):
        assert [each.page_content for each in found] == [each.page_content for each in expected]
        for one, other in zip(found, expected, strict=True):
            assert one.metadata["relevance_score"] == pytest.approx(other.metadata["relevance_score"], abs=2e-3)
    assert all("relevance_score" not in document.metadata for document in DOCUMENTS)
    pairs = [(QUERY, document.page_content) for document in DOCUMENTS]
    assert remote.score(pairs) == pytest.approx(local.score(pairs), abs=2e-3)


def test_index_and_two_stage_retrieval_on_servers(
    llama_cpp_embedding_url: str, llama_cpp_reranker_url: str, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for number, document in enumerate(DOCUMENTS):
        (files / f"{number}.txt").write_text(document.page_content)
    embeddings = Qwen3Embeddings(base_url=llama_cpp_embedding_url, server="llama.cpp", model="embedding")
    reranker = Qwen3Rerank(base_url=llama_cpp_reranker_url, server="llama.cpp", top_n=2)
    with create_vector_store(embeddings, uri=str(tmp_path / "milvus.db"), collection_name="docs") as store:
        assert index_documents(store, [files]).chunks_added == len(DOCUMENTS)
        retriever = Qwen3Retriever(vector_store=store, reranker=reranker, fetch_k=3, k=2)
        found = retriever.invoke(QUERY)
        assert found[0].page_content.strip() == DOCUMENTS[1].page_content
        assert found[0].metadata["relevance_score"] > 0.9


def test_every_field_reaches_the_client(vllm: Vllm) -> None:
    fields: dict[str, Any] = {
        "model": "m", "base_url": vllm.url, "server": "vllm", "template": "client", "truncation": "end",
        "tokenizer": "t", "batch_size": 3, "batch_tokens": 300, "max_length": 100, "max_concurrency": 2, "timeout": 5.0,
        "max_retries": 1, "deadline": 9.0, "check": False, "default_headers": {"x-a": "b"}, "instruction": "Find it",
        **vllm.clients(),
    }  # fmt: skip
    for made in (
        Qwen3Embeddings(dimensions=64, api_key="sk-1", **fields)._embedder,
        Qwen3Rerank(top_n=None, score_threshold=0.5, api_key="sk-1", **fields)._reranker,
    ):
        assert isinstance(made, RemoteEmbedder | RemoteReranker)
        expected = {**fields, "api_key": "sk-1"} | ({"dimensions": 64} if isinstance(made, RemoteEmbedder) else {})
        assert made.settings == expected


def test_an_instruction_for_one_call_and_for_a_copy(vllm: Vllm) -> None:
    embeddings = Qwen3Embeddings(base_url=vllm.url, server="vllm", check=False, **vllm.clients())
    reranker = Qwen3Rerank(base_url=vllm.url, server="vllm", check=False, **vllm.clients())
    embeddings.embed_query("q", instruction="Find the code")
    assert vllm.last["input"] == ["Instruct: Find the code\nQuery:q"]
    reranker.rerank(DOCUMENTS, "q", instruction="Find the code")
    assert vllm.last["instruction"] == "Find the code"
    reranker.with_options(top_n=1, instruction="Find cats").compress_documents(DOCUMENTS, "q")
    assert vllm.last["instruction"] == "Find cats"


def test_dashscope_needs_no_url_and_has_models_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    server = DashScope()
    monkeypatch.delenv("DASHSCOPE_API_BASE", raising=False)
    monkeypatch.delenv("DASHSCOPE_API_KEY", raising=False)
    with pytest.raises(ValueError, match="DASHSCOPE_API_KEY"):
        Qwen3Embeddings(server="dashscope")
    monkeypatch.setenv("DASHSCOPE_API_KEY", server.key)
    embeddings = Qwen3Embeddings(server="dashscope", **server.clients())
    assert embeddings.model == "text-embedding-v4"
    assert len(embeddings.embed_query("a")) == 1024
    reranker = Qwen3Rerank(server="dashscope", **server.clients())
    assert reranker.model == "qwen3-rerank"
    assert reranker.compress_documents(DOCUMENTS, QUERY)[0].metadata["page"] == 2


@pytest.mark.parametrize("make", [Qwen3Embeddings, Qwen3Rerank])
def test_what_has_no_effect_is_refused(make: Any) -> None:
    with pytest.raises(ValidationError, match="device: for local weights only"):
        make(base_url="http://127.0.0.1:1/v1", device="cpu")
    with pytest.raises(ValidationError, match="timeout: for servers only; pass base_url"):
        make(model="mini", timeout=5)
    with pytest.raises(ValidationError, match="max_retries"):
        make(base_url="http://127.0.0.1:1/v1", max_retries=-1)


@pytest.mark.parametrize("make", [Qwen3Embeddings, Qwen3Rerank])
def test_a_key_is_never_shown(make: Any) -> None:
    secret = "sk-very-secret"
    made = make(base_url="http://127.0.0.1:1/v1", api_key=secret, default_headers={"x-key": secret}, max_retries=0)
    inner = getattr(made, "_embedder", None) or made._reranker
    for shown in (repr(made), str(made), repr(inner._options), repr(inner), repr(inner._connection.http)):
        assert secret not in shown
    with pytest.raises(ValidationError) as caught:
        make(base_url="http://127.0.0.1:1/v1", api_key=secret, colour="red")
    assert secret not in str(caught.value)


def test_a_server_that_is_not_there_is_said_to_be_so() -> None:
    embeddings = Qwen3Embeddings(base_url="http://127.0.0.1:1/v1", max_retries=0)
    with pytest.raises(ServerError, match=r"http://127.0.0.1:1/v1/embeddings cannot be reached .* start the server"):
        embeddings.embed_query("a")


def test_what_could_be_computed_is_in_the_error() -> None:
    server = Vllm(bad_texts=frozenset({"bad"}))
    embeddings = Qwen3Embeddings(base_url=server.url, server="vllm", **server.clients())
    with pytest.raises(PartialError) as caught:
        embeddings.embed_documents(["a", "bad", "b"])
    assert [result is None for result in caught.value.results] == [False, True, False]


def test_copies_and_pickles(llama_cpp_embedding_url: str, llama_cpp_reranker_url: str) -> None:
    embeddings = Qwen3Embeddings(base_url=llama_cpp_embedding_url, server="llama.cpp", api_key="sk-1")
    for twin in (copy.deepcopy(embeddings), embeddings.model_copy(), pickle.loads(pickle.dumps(embeddings))):
        assert twin.embed_query("a") == pytest.approx(embeddings.embed_query("a"), abs=1e-4)
        assert twin.model_dump() == embeddings.model_dump()
    shorter = embeddings.model_copy(update={"dimensions": 64})
    assert (len(shorter.embed_query("a")), len(embeddings.embed_query("a"))) == (64, 256)
    reranker = pickle.loads(pickle.dumps(Qwen3Rerank(base_url=llama_cpp_reranker_url, server="llama.cpp")))
    assert reranker.rerank(["a"], "b")[0]["index"] == 0
    with pytest.raises(TypeError, match="http_client of yours"):
        pickle.dumps(Qwen3Embeddings(base_url="http://127.0.0.1:1/v1", http_client=httpx.Client())._embedder)


def test_ready_clients_are_shared(vllm: Vllm) -> None:
    embedder = RemoteEmbedder(base_url=vllm.url, server="vllm", model="m", **vllm.clients())
    reranker = RemoteReranker(base_url=vllm.url, server="vllm", model="m", **vllm.clients())
    assert Qwen3Embeddings.from_embedder(embedder)._embedder is embedder
    assert Qwen3Rerank.from_reranker(reranker, top_n=1)._reranker is reranker
    assert isinstance(Qwen3Rerank(model="mini")._reranker, LocalReranker)
