"""The scripted llama.cpp's embeddings and rankings beside those of the real one, which is installed."""

from typing import Any

import httpx
import pytest
from scripted_retrieval import LlamaCpp
from scripted_retrieval import llama_cpp as texts
from scripted_retrieval.asking import post

pytest.importorskip("xllamacpp")

LONG = "word " * 3000
TWO = ["The capital is Beijing.", "Gravity is a force."]
PAIR = {"query": "capital", "documents": TWO}

EMBEDDINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "one": ("/v1/embeddings", {"input": "a"}),
    "two": ("/v1/embeddings", {"input": TWO, "model": "x", "dimensions": 4}),
    "tokens": ("/v1/embeddings", {"input": [[1, 2], [3]]}),
    "empty": ("/v1/embeddings", {"input": ""}),
    "packed": ("/v1/embeddings", {"input": ["a"], "encoding_format": "base64"}),
    "content": ("/v1/embeddings", {"content": "a"}),
    "native": ("/embeddings", {"input": TWO, "encoding_format": "base64"}),
    "native, one": ("/embedding", {"content": "a"}),
    "no format": ("/v1/embeddings", {"input": ["a"], "encoding_format": "int8"}),
    "nothing": ("/v1/embeddings", {}),
    "no texts": ("/v1/embeddings", {"input": []}),
    "no text": ("/v1/embeddings", {"input": 5}),
    "neither": ("/v1/embeddings", {"input": [{"a": 1}]}),
    "long": ("/v1/embeddings", {"input": LONG}),
    "no reranker": ("/v1/rerank", PAIR),
    "tokenize": ("/tokenize", {"content": "a", "add_special": True}),
    "pieces": ("/tokenize", {"content": "a", "with_pieces": True}),
    "nowhere": ("/nowhere", {}),
}
RANKINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "two": ("/v1/rerank", PAIR),
    "unknown fields": ("/rerank", {**PAIR, "instruct": "x", "return_documents": True, "model": "m"}),
    "first": ("/reranking", {**PAIR, "top_n": 1}),
    "none": ("/v1/reranking", {**PAIR, "top_n": 0}),
    "empty": ("/v1/rerank", {"query": "", "documents": [""]}),
    "as TEI": ("/v1/rerank", {"query": "capital", "texts": TWO, "return_text": True}),
    "no query": ("/v1/rerank", {"documents": TWO}),
    "number": ("/v1/rerank", {"query": 1, "documents": TWO}),
    "no documents": ("/v1/rerank", {"query": "capital"}),
    "empty list": ("/v1/rerank", {"query": "capital", "documents": []}),
    "numbers": ("/v1/rerank", {"query": "capital", "documents": [1]}),
    "long": ("/v1/rerank", {"query": "capital", "documents": ["a", LONG]}),
    "vectors of no meaning": ("/v1/embeddings", {"input": ["a"]}),
}


def shape(value: Any) -> Any:
    """What is in a body: names, types, lengths of lists; of errors the message too, without its numbers."""
    if isinstance(value, dict):
        return {
            name: "".join(letter for letter in each if not letter.isdigit()) if name == "message" else shape(each)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [shape(value[0]), len(value)] if len(value) > 2 else [shape(each) for each in value]
    return "number" if isinstance(value, int | float) else type(value).__name__


def assert_alike(url: str, server: LlamaCpp, path: str, body: dict[str, Any]) -> tuple[Any, Any]:
    real = httpx.post(url.removesuffix("/v1") + path, json=body, timeout=60)
    scripted = post(server, path, body)
    assert scripted.status_code == real.status_code, real.text[:300]
    assert scripted.headers["content-type"] == real.headers["content-type"]
    assert shape(scripted.json()) == shape(real.json())
    return real.json(), scripted.json()


@pytest.mark.parametrize("what", EMBEDDINGS)
def test_embeddings_are_given_and_refused_as_by_the_real_one(llama_cpp_embedding_url: str, what: str) -> None:
    props = httpx.get(llama_cpp_embedding_url.removesuffix("/v1") + "/props").json()
    size = len(httpx.post(llama_cpp_embedding_url + "/embeddings", json={"input": "a"}).json()["data"][0]["embedding"])
    server = LlamaCpp(task="embedding", size=size, max_tokens=props["default_generation_settings"]["n_ctx"])
    real, scripted = assert_alike(llama_cpp_embedding_url, server, *EMBEDDINGS[what])
    if what in ("one", "two", "empty") and isinstance(real, dict):
        assert real["model"] == (scripted["model"] if what == "two" else "embedding")


@pytest.mark.parametrize("what", RANKINGS)
def test_rankings_are_given_and_refused_as_by_the_real_one(llama_cpp_reranker_url: str, what: str) -> None:
    props = httpx.get(llama_cpp_reranker_url.removesuffix("/v1") + "/props").json()
    size = len(httpx.post(llama_cpp_reranker_url + "/embeddings", json={"input": "a"}).json()["data"][0]["embedding"])
    server = LlamaCpp(task="reranking", size=size, max_tokens=props["default_generation_settings"]["n_ctx"])
    real, scripted = assert_alike(llama_cpp_reranker_url, server, *RANKINGS[what])
    if what in ("two", "unknown fields"):
        assert [row["index"] for row in scripted["results"]] == [row["index"] for row in real["results"]]


def test_pages_have_what_the_real_ones_have(llama_cpp_embedding_url: str) -> None:
    server, root = LlamaCpp(), llama_cpp_embedding_url.removesuffix("/v1")
    for path, scripted in server.pages().items():
        real = httpx.get(root + path).json()
        assert set(scripted) <= set(real), path
        if path == "/v1/models":
            assert set(scripted["data"][0]) <= set(real["data"][0])
            assert set(scripted["data"][0]["meta"]) <= set(real["data"][0]["meta"])


def test_every_text_is_met_above() -> None:
    """Which of the texts came from the real server; the rest says where it was read."""
    known = {name for name, value in vars(texts).items() if name.isupper() and isinstance(value, str)}
    elsewhere = {"EMPTY", "NO_EMBEDDINGS", "TOO_LARGE", "WRONG_KEY", "UNVERIFIED_BAD_INPUT"}
    met = "NO_INPUT NO_TEXTS BAD_INPUT BAD_FORMAT NO_RERANKING NO_QUERY BAD_QUERY NO_DOCUMENTS TOO_LONG NO_ROUTE"
    assert known == elsewhere | set(met.split())
