"""What the clients find out about a server before they trust it, and what never shows: models, keys, routes, checks."""

import asyncio
import json
import math
import pickle
import re
import zlib
from typing import Any

import httpx
import numpy as np
import pytest
from remote_asking import DOCS, EMBED, QUERY, RERANK, Ask, are_of, both, warned
from scripted_chat.wire import Answer, Request, clients
from scripted_retrieval import DashScope, DashScopeNative, LmStudio, OpenAIGeneric, Sglang, Tei, Vllm, model

from qwen3_core.prompts import format_query
from qwen3_core.remote import RemoteEmbedder, RemoteReranker, ServerError
from qwen3_core.remote.check import CANARY, DOCUMENTS, QUERIES

KEY = "sk-not-for-messages-0123456789"
KNOWN = {*DOCUMENTS, CANARY, *map(format_query, QUERIES)}
EMBEDDERS = sorted(set(EMBED) - {"tei-server", "native-client"})


def _of_noise(text: str, size: int) -> Any:
    vector = np.random.default_rng(zlib.crc32(text.encode())).standard_normal(size)
    return vector / np.linalg.norm(vector)


@both
@pytest.mark.parametrize("name", EMBED)
def test_a_good_server_is_asked_for_known_texts_once_and_in_silence(
    name: str, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    server = EMBED[name].start()
    embedder = EMBED[name].embedder(server)
    assert ask(embedder, "check") == []
    assert are_of([ask(embedder, "embed_query", QUERY), *ask(embedder, "embed_documents", DOCS)], [
        format_query(QUERY), *DOCS
    ])  # fmt: skip
    assert sorted(server.seen_texts) == sorted([*KNOWN, *KNOWN, format_query(QUERY), *DOCS]), "in check() and once more"
    assert warned(caplog) == []


@both
@pytest.mark.parametrize("name", RERANK)
def test_a_good_reranker_is_asked_for_known_pairs_once_and_in_silence(
    name: str, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    server = RERANK[name].start()
    reranker = RERANK[name].reranker(server)
    assert ask(reranker, "check") == []
    for _ in range(2):
        ask(reranker, "score", QUERY, DOCS)
    pairs = 6 if name in ("auto", "llama.cpp") else 8  # the others are asked with another instruction too
    assert len(server.seen_texts) == 2 * pairs + 6
    assert warned(caplog) == []


@both
@pytest.mark.parametrize("name", EMBEDDERS)
def test_a_server_whose_vectors_tell_nothing_apart_is_refused_before_a_users_text_goes_out(
    name: str, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EMBED[name].start(size=64)
    monkeypatch.setattr(model, "embed", lambda text, size, **_: _of_noise(text, size))
    fixes = {
        "vllm": "--runner pooling", "sglang": "--is-embedding", "llama.cpp": "--pooling last", "tei": "1.7.2",
        "ollama": "qwen3-embedding:0.6b",
    }  # fmt: skip
    embedder = EMBED[name].embedder(server)
    for _ in range(2):
        with pytest.raises(ServerError) as caught:
            ask(embedder, "embed_documents", DOCS)
        assert fixes.get(name, "last-token pooling") in str(caught.value)
        assert "check=False" in str(caught.value)
    assert set(server.seen_texts) <= KNOWN
    assert len(ask(EMBED[name].embedder(server, check=False), "embed_documents", DOCS)) == 3


@both
@pytest.mark.parametrize("name", ["vllm", "llama.cpp", "tei"])
def test_a_tokenizer_without_its_end_token_is_found_out(name: str, ask: Ask) -> None:
    server = EMBED[name].start(appends_end_token=False)
    with pytest.raises(ServerError, match=r"adds no token .*<\|endoftext\|> at the end"):
        ask(EMBED[name].embedder(server), "embed_documents", DOCS)
    assert set(server.seen_texts) <= KNOWN


@both
@pytest.mark.parametrize(
    ("name", "started", "template", "fix"),
    [
        ("vllm", {"ignores_template": True}, None, "--chat-template"),
        ("vllm", {"served_template": False}, None, 'template="client"'),
        ("vllm", {"served_template": True}, "client", 'pass template="server"'),
        ("sglang", {"ignores_template": True}, None, "without --is-embedding"),
        ("sglang", {"served_template": False}, None, "qwen3_reranker.jinja"),
        ("llama.cpp", {"served_template": False}, None, "cls.output"),
        ("xinference", {"served_template": False}, None, "template, once"),
        ("auto", {"served_template": False}, None, "template, once"),
        ("tei", {"ignores_template": True}, "client", "converted"),
        ("dashscope", {"ignores_template": True}, None, "template, once"),
    ],
)
def test_a_reranker_that_scores_nonsense_is_refused_before_a_users_text_goes_out(
    name: str, started: Any, template: Any, fix: str, ask: Ask
) -> None:
    server = RERANK[name].start(**started)
    with pytest.raises(ServerError) as caught:
        ask(RERANK[name].reranker(server, template=template), "score", QUERY, DOCS)
    assert fix in str(caught.value)
    assert not any(DOCS[0] in text for text in server.seen_texts)
    assert len(ask(RERANK[name].reranker(server, template=template, check=False), "score", QUERY, DOCS)) == 3


@both
def test_an_embedding_model_is_no_reranker(ask: Ask) -> None:
    def answer(request: Request) -> Answer:
        body = json.loads(request.body)
        words = [set(re.findall(r"\w+", text.lower())) for text in (body["query"], *body["documents"])]
        scores = [len(words[0] & each) / math.sqrt(len(words[0]) * len(each)) for each in words[1:]]
        rows = [{"index": place, "relevance_score": score} for place, score in enumerate(scores)]
        return Answer(200, {}, (json.dumps({"results": rows}).encode(),))

    reranker = RERANK["vllm"].reranker(Vllm(), **clients(answer, httpx))
    with pytest.raises(ServerError, match="similarities of an embedding model"):
        ask(reranker, "score", QUERY, DOCS)


@both
def test_a_server_that_ignores_the_instruction_is_told_of_once(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    for name, started, fix in (
        ("vllm", {"version": "0.9"}, 'template="client"'), ("vllm", {"ignores_instruction": True}, "update it"),
        ("dashscope", {"ignores_instruction": True}, "of its own"),
    ):  # fmt: skip
        caplog.clear()
        reranker = RERANK[name].reranker(RERANK[name].start(**started))
        for _ in range(2):
            ask(reranker, "score", QUERY, DOCS)
        assert [fix in message for message in warned(caplog)] == [True], name


@both
def test_an_old_xinference_is_told_of_with_what_to_do(ask: Ask) -> None:
    with pytest.raises(ServerError, match=r"1\.17|update"):
        ask(RERANK["xinference"].reranker(RERANK["xinference"].start(ignores_instruction=True)), "score", QUERY, DOCS)


@both
@pytest.mark.parametrize("name", EMBEDDERS)
def test_a_model_in_float16_is_found_out_by_its_canary(name: str, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen3_core.remote.http._FIRST_WAIT", 0.001)
    server = EMBED[name].start(nan_texts=frozenset({CANARY}))
    with pytest.raises(ServerError, match="bfloat16"):
        ask(EMBED[name].embedder(server), "embed_documents", DOCS)


@both
def test_vectors_that_are_not_normalised_are_with_one_warning(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("vllm", "llama.cpp", "tei", "ollama"):
        caplog.clear()
        embedder = EMBED[name].embedder(EMBED[name].start(unnormalised=True))
        assert are_of(ask(embedder, "embed_documents", DOCS), DOCS)
        assert ["lengths up to 2.5" in message for message in warned(caplog)] == [True]


@both
def test_models_that_are_not_named(ask: Ask) -> None:
    for name in ("vllm", "sglang", "llama.cpp", "xinference", "ollama", "lmstudio", "openai"):
        server = EMBED[name].start(models=("only-one",))
        ask(EMBED[name].embedder(server, model=None, check=False), "embed_documents", DOCS)
        assert server.last["model"] == "only-one"
        if name == "llama.cpp":
            continue
        several = EMBED[name].embedder(EMBED[name].start(models=("one", "two")), model=None)
        with pytest.raises(ServerError, match=r"name the model to use, model=\.\.\.: the server lists one, two"):
            ask(several, "embed_query", QUERY)
    server = Vllm(models=("the-reranker",))
    ask(RERANK["vllm"].reranker(server, model=None), "score", QUERY, DOCS)
    assert server.last["model"] == "the-reranker"
    for server, case in ((Tei(), EMBED["tei"]), (DashScope(), EMBED["dashscope"])):
        ask(case.embedder(server, model=None), "embed_documents", DOCS)
        assert server.last.get("model") == (None if isinstance(server, Tei) else "text-embedding-v4")


def test_the_models_name_is_not_empty_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    from qwen3_core.remote.connection import Connection

    seen: list[Any] = []

    def note(self: Any, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name == "_known_model":
            seen.append(value)

    embedder = EMBED["vllm"].embedder(Vllm(), model=None, check=False)
    monkeypatch.setattr(Connection, "__setattr__", note, raising=False)
    embedder.embed_documents(["a"])
    assert "" not in seen


def test_the_key_is_sent_and_dashscopes_goes_to_dashscope_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", KEY)
    for name, case in EMBED.items():
        server = case.start(key="")
        case.embedder(server, api_key=None, check=False).embed_documents(["a"])
        sent = server.requests[0].headers.get("authorization")
        assert sent == (f"Bearer {KEY}" if "dashscope" in case.server else None), name
        server = case.start(key="mine")
        case.embedder(server, api_key="mine", check=False, default_headers={"x-team": "7"}).embed_documents(["a"])
        assert (server.requests[0].headers["x-team"], len(server.requests)) == ("7", 1)
    monkeypatch.delenv("DASHSCOPE_API_KEY")
    for kind in (RemoteEmbedder, RemoteReranker):
        with pytest.raises(ValueError, match="DASHSCOPE_API_KEY"):
            kind()


ECHOES = {
    "401": (401, json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}."}})),
    "400 page": (400, f"<html><b>{KEY}</b> is wrong</html>"),
    "503": (503, json.dumps({"message": KEY})),
    "200 page": (200, f"<html>{KEY} is wrong</html>"),
    "200 error": (200, json.dumps({"error": f"{KEY} is wrong"})),
    "200 other": (200, json.dumps({"object": "error", "message": f"{KEY} is wrong"})),
    "200 rows": (200, json.dumps({"data": [{"index": 0, "embedding": KEY}], "results": [{"index": 0, "note": KEY}]})),
    "cut in two": (400, "x" * 385 + KEY),
    "page cut in two": (200, "x" * 185 + KEY),
}


@both
@pytest.mark.parametrize("name", ECHOES)
def test_a_key_that_the_server_repeats_is_in_no_error(name: str, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen3_core.remote.http._FIRST_WAIT", 0.001)
    status, body = ECHOES[name]
    known: Any = {"base_url": "http://server.test/v1", "server": "vllm", "api_key": KEY, "check": False}
    known |= clients(lambda request: Answer(status, {}, (body.encode(),)), httpx)
    embedder, reranker = RemoteEmbedder("m", **known), RemoteReranker("m", **known)
    for of, method, given in ((embedder, "embed_documents", [["a"]]), (reranker, "score", [QUERY, ["a"]])):
        with pytest.raises(ServerError) as caught:
            ask(of, method, *given)
        error: Any = caught.value
        said = [str(error), repr(error), error.said, repr(error.args), repr(pickle.dumps(error)), repr(of)]
        assert not any(KEY[:12] in each for each in said)
        assert KEY not in repr(of._options)


def test_a_key_with_a_line_break_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen3_core.remote.http._FIRST_WAIT", 0.001)
    with Vllm().serve() as url, pytest.raises((ServerError, ValueError)) as caught:
        RemoteEmbedder("m", base_url=url, server="vllm", api_key=KEY + "\n", check=False).embed_documents(["a"])
    assert KEY not in str(caught.value)


def test_what_a_server_cannot_do_is_said_at_once() -> None:
    url: Any = {"base_url": "http://server.test/v1"}
    for kind, server, template, fix in (
        (RemoteReranker, "ollama", None, r"no route to rerank.*'vllm'"),
        (RemoteReranker, "lmstudio", None, "no route to rerank"),
        (RemoteReranker, "transformers", None, "no route to rerank"),
        (RemoteReranker, "tei", None, r'vLLM, SGLang or llama.cpp.*template="client"'),
        (RemoteReranker, "tei", "server", "template='client'"),
        (RemoteReranker, "sglang", "client", "template='server'"),
        (RemoteEmbedder, "transformers", None, r"embeds no texts.*'vllm'"),
        (RemoteEmbedder, "vllm", "server", "it is client"),
        (RemoteEmbedder, "vlm", None, "unknown; known are auto, dashscope, vllm"),
    ):
        with pytest.raises(ValueError, match=fix):
            kind("m", server=server, template=template, **url)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs a URL"):
        RemoteEmbedder("m", server="vllm")


@both
def test_a_route_that_is_not_there_is_said_with_what_to_do(ask: Ask) -> None:
    for server, fix in ((OpenAIGeneric(), "check the URL"), (LmStudio(), "Unexpected endpoint")):
        reranker = RemoteReranker("m", base_url="http://gateway.test/v1", **server.clients())
        with pytest.raises(ServerError, match=fix):
            ask(reranker, "score", QUERY, DOCS)
    with pytest.raises(ServerError, match=r"501: .*--reranking"):
        ask(RERANK["llama.cpp"].reranker(RERANK["llama.cpp"].start(task="embedding")), "score", QUERY, DOCS)


@both
def test_hybrid_vectors_come_from_dashscopes_own_route(ask: Ask) -> None:
    server = DashScopeNative()
    embedder = EMBED["native"].embedder(server, dimensions=64)
    dense, sparse = ask(embedder, "embed_hybrid_query", "Milvus and more Milvus", instruction="Find")
    assert server.last["parameters"] == {
        "text_type": "query", "output_type": "dense&sparse", "instruct": "Find", "dimension": 64
    }  # fmt: skip
    assert are_of([dense], [format_query("Milvus and more Milvus", "Find")], 64)
    words = {model.token_ids(word)[0]: weight for word, weight in (("milvu", 0.5), ("and", 0.25), ("more", 0.25))}
    assert dict(zip(sparse.indices, sparse.values, strict=True)) == words
    texts = [f"text {number}" for number in range(25)]
    found = ask(embedder, "embed_hybrid_documents", texts)
    assert are_of([each.dense for each in found], texts, 64)
    assert sorted(len(seen.body["input"]["texts"]) for seen in server.requests[-3:]) == [5, 10, 10]
    assert found[7].sparse.indices == tuple(sorted(model.token_ids(word)[0] for word in ("text", "7")))


@both
def test_hybrid_vectors_of_another_server_are_refused_before_anything_is_sent(ask: Ask) -> None:
    server = Sglang()
    with pytest.raises(ValueError, match="api/v1"):
        ask(EMBED["sglang"].embedder(server), "embed_hybrid_documents", ["a"])
    assert server.requests == []


@both
def test_vectors_of_different_lengths_are_refused(ask: Ask) -> None:
    def answer(request: Any) -> Answer:
        size = 64 if b"Trees" in request.body else 32
        return Answer(200, {}, (json.dumps({"data": [{"index": 0, "embedding": [0.1] * size}]}).encode(),))

    embedder = EMBED["openai"].embedder(OpenAIGeneric(), check=False, batch_size=1, **clients(answer, httpx))
    with pytest.raises(ServerError, match="lengths"):
        ask(embedder, "embed_documents", DOCS)


def test_a_component_can_be_pickled_unless_a_client_is_the_callers() -> None:
    given: Any = {"base_url": "http://a.test/v1", "server": "vllm", "template": None, "max_length": 99}
    for made in (RemoteEmbedder("m", dimensions=64, **given), RemoteReranker("m", **given)):
        assert pickle.loads(pickle.dumps(made)).settings == made.settings
    with pytest.raises(TypeError, match="http_client"):
        pickle.dumps(RemoteEmbedder("m", http_async_client=httpx.AsyncClient(), **given))
    assert asyncio.run(EMBED["vllm"].embedder(Vllm()).acheck()) == []
