"""What the scripted embedding and rerank servers refuse, with the real texts, what they ignore, and how they answer."""

from collections.abc import Callable
from typing import Any

import pytest
from scripted_retrieval import (
    SERVERS,
    DashScope,
    DashScopeNative,
    LlamaCpp,
    LmStudio,
    Ollama,
    OpenAIGeneric,
    ScriptedRetrieval,
    Sglang,
    Tei,
    Vllm,
    Xinference,
    dashscope_rules,
    llama_cpp,
    lmstudio,
    ollama,
    openai_generic,
    sglang,
    tei,
    vllm,
    xinference,
)
from scripted_retrieval.asking import (
    ASKED,
    BEIJING,
    GRAVITY,
    QUERY,
    embed,
    error_text,
    get,
    post,
    rerank,
    scores_of,
    vectors_of,
)

every_server = pytest.mark.parametrize("word", SERVERS)
LONG = "word " * 40


def refusal(ask: Callable[[], Any], status: int, text: str) -> Any:
    return pytest.param(ask, status, text, id=f"{status}: {text[:70]}")


@pytest.mark.parametrize(
    ("ask", "status", "text"),
    [
        refusal(lambda: embed(Vllm(), ["a"], dimensions=64), 400, vllm.NO_MATRYOSHKA.format(model=Vllm().name)),
        refusal(lambda: embed(Vllm(max_tokens=20), ["a", LONG]), 400, vllm.TOO_LONG.format(most=20, given=21)),
        refusal(
            lambda: embed(Vllm(max_tokens=20, version="0.9"), [LONG]), 400, vllm.TOO_LONG_OLD.format(most=20, given=41)
        ),
        refusal(
            lambda: embed(Vllm(max_tokens=20), [LONG], truncate_prompt_tokens=21),
            400,
            vllm.BAD_TRUNCATION.format(given=21, most=20),
        ),
        refusal(lambda: rerank(Vllm(max_tokens=90), QUERY, ["a", LONG]), 400, vllm.TOO_LONG.format(most=90, given=91)),
        refusal(lambda: rerank(Vllm(), QUERY, []), 400, vllm.NO_DOCUMENTS),
        refusal(lambda: post(Vllm(), "/score", {"text_1": ["a", "b"], "text_2": ["c"]}), 400, vllm.LENGTHS),
        refusal(lambda: post(Vllm(), "/rerank", {"documents": ["a"]}), 400, vllm.MISSING.format(name="query")),
        refusal(
            lambda: post(Vllm(), "/rerank", {"query": 1, "documents": ["a"]}), 400, vllm.NOT_TEXT.format(name="query")
        ),
        refusal(lambda: embed(Vllm(), ["a"], priority=1), 400, vllm.UNVERIFIED_PRIORITY),
        refusal(lambda: post(Vllm(models=("a",)), "/rerank", {"model": "b"}), 404, "The model `b` does not exist."),
        refusal(lambda: post(Vllm(), "/embed", {}), 404, "Not Found"),
        refusal(lambda: post(Vllm(key="k"), "/v1/embeddings", {}, "wrong"), 401, "Unauthorized"),
        refusal(lambda: embed(Sglang(), ""), 400, sglang.EMPTY),
        refusal(lambda: embed(Sglang(), " "), 400, sglang.BLANK),
        refusal(lambda: embed(Sglang(), ["a", " "]), 400, sglang.BLANK_ROW.format(place=1)),
        refusal(
            lambda: embed(Sglang(), ["a"], dimensions=8), 400, sglang.UNVERIFIED_DIMENSIONS.format(model=Sglang().name)
        ),
        refusal(lambda: embed(Sglang(max_tokens=9), [LONG]), 400, sglang.TOO_LONG.format(given=40, most=9)),
        refusal(lambda: rerank(Sglang(), "", ["a"]), 400, sglang.NO_QUERY),
        refusal(lambda: rerank(Sglang(), QUERY, []), 400, sglang.NO_DOCUMENTS),
        refusal(lambda: rerank(Sglang(), QUERY, ["a", ""]), 400, sglang.EMPTY_DOCUMENT),
        refusal(lambda: rerank(Sglang(), QUERY, ["a", " "]), 400, sglang.BLANK_DOCUMENT),
        refusal(lambda: rerank(Sglang(), QUERY, ["a"], top_n=0), 400, sglang.BAD_TOP_N),
        refusal(
            lambda: embed(LlamaCpp(max_batch_tokens=512), ["word " * 512]),
            500,
            llama_cpp.TOO_LARGE.format(given=513, most=512),
        ),
        refusal(lambda: embed(LlamaCpp(max_tokens=9), [LONG]), 400, llama_cpp.TOO_LONG.format(given=41, most=9)),
        refusal(
            lambda: rerank(LlamaCpp(max_batch_tokens=512), QUERY, ["a", "word " * 512]),
            500,
            "input (587 tokens) is too large to process",
        ),
        refusal(lambda: embed(LlamaCpp(appends_end_token=False), [""]), 400, llama_cpp.EMPTY),
        refusal(lambda: embed(LlamaCpp(), ["a"], encoding_format="int8"), 400, llama_cpp.BAD_FORMAT),
        refusal(lambda: embed(LlamaCpp(task="chat"), ["a"]), 501, llama_cpp.NO_EMBEDDINGS),
        refusal(lambda: rerank(LlamaCpp(task="embedding"), QUERY, ["a"]), 501, llama_cpp.NO_RERANKING),
        refusal(lambda: rerank(LlamaCpp(), QUERY, []), 400, llama_cpp.NO_DOCUMENTS),
        refusal(lambda: embed(Tei(), ["a"] * 33), 413, tei.TOO_MANY.format(given=33, most=32)),
        refusal(lambda: embed(Tei(max_tokens=20), [LONG]), 413, tei.TOO_LONG.format(most=20, given=41)),
        refusal(lambda: embed(Tei(), []), 400, tei.NO_INPUTS),
        refusal(lambda: embed(Tei(), [""]), 413, tei.EMPTY_INPUT),
        refusal(lambda: embed(Tei(), ["a"], prompt_name="no"), 413, tei.UNVERIFIED_PROMPT.format(name="no")),
        refusal(lambda: rerank(Tei(), QUERY, ["a"]), 424, tei.NO_RERANKER),
        refusal(lambda: rerank(Tei(converted=True), QUERY, []), 400, tei.NO_TEXTS),
        refusal(lambda: rerank(Tei(converted=True), QUERY, ["a"] * 33), 413, tei.TOO_MANY.format(given=33, most=32)),
        refusal(lambda: embed(Tei(converted=True), ["a"]), 424, tei.UNVERIFIED_NO_EMBEDDER),
        refusal(lambda: embed(Ollama(max_tokens=9), [LONG], truncate=False), 400, ollama.TOO_LONG),
        refusal(lambda: embed(Ollama(), [1]), 400, ollama.BAD_INPUT),  # type: ignore[list-item]
        refusal(lambda: embed(Ollama(nan_texts=frozenset({"a"})), ["a", "b"]), 400, ollama.NOT_FINITE),
        refusal(lambda: post(Ollama(models=("a",)), "/api/embed", {"model": "b"}), 404, "model 'b' not found"),
        refusal(lambda: embed(LmStudio(), [[1, 2]]), 400, lmstudio.BAD_INPUT),  # type: ignore[list-item]
        refusal(lambda: rerank(LmStudio(), QUERY, ["a"]), 200, "Unexpected endpoint or method. (POST /v1/rerank)"),
        refusal(
            lambda: rerank(Xinference(), QUERY, ["a"], instruct="x"), 500, "Unexpected keyword arguments: {'instruct'"
        ),
        refusal(lambda: rerank(Xinference(ignores_instruction=True), QUERY, ["a"], instruction="x"), 500, "Unexpected"),
        refusal(lambda: post(Xinference(models=("a",)), "/v1/rerank", {"model": "b"}), 400, "Model not found, uid: b"),
        refusal(lambda: embed(DashScope(), ["a"] * 11), 400, "batch size is invalid, it should not be larger than 10."),
        refusal(
            lambda: embed(DashScopeNative(), ["a"] * 11), 400, "batch size is invalid, it should not be larger than 10."
        ),
        refusal(
            lambda: embed(DashScope(models=("qwen3.7-text-embedding",)), ["a"] * 21), 400, "not be larger than 20."
        ),
        refusal(lambda: embed(DashScope(), ["a", " "]), 400, dashscope_rules.BAD_LENGTH.format(most=8192)),
        refusal(lambda: embed(DashScope(max_tokens=9), [LONG]), 400, dashscope_rules.BAD_LENGTH.format(most=9)),
        refusal(lambda: embed(DashScope(), ["a"], dimensions=100), 400, "dimension is invalid"),
        refusal(lambda: embed(DashScope(), ["a"], encoding_format="base64"), 400, dashscope_rules.UNVERIFIED_FORMAT),
        refusal(lambda: rerank(DashScope(), QUERY, ["a"] * 501), 400, "it should not be larger than 500."),
        refusal(lambda: rerank(DashScope(), "word " * 300, ["a"] * 400), 400, "120400 tokens are too many"),
        refusal(lambda: post(DashScopeNative(), "/api/v1/x", {}, "wrong"), 401, "Invalid API-key provided."),
        refusal(
            lambda: post(DashScope(), "/compatible-mode/v1/embeddings", {}, "wrong"), 401, "Incorrect API key provided."
        ),
        refusal(
            lambda: embed(OpenAIGeneric(), ["a"], truncate=True),
            400,
            openai_generic.UNKNOWN_FIELD.format(field="truncate"),
        ),
        refusal(lambda: embed(OpenAIGeneric(), ["a", ""]), 400, openai_generic.EMPTY.format(given=["a", ""])),
        refusal(lambda: embed(OpenAIGeneric(), ["a"] * 2049), 400, openai_generic.UNVERIFIED_ROWS.format(most=2048)),
        refusal(
            lambda: embed(OpenAIGeneric(max_tokens=9), [LONG]), 400, openai_generic.TOO_LONG.format(most=9, given=40)
        ),
        refusal(
            lambda: embed(OpenAIGeneric(max_batch_tokens=50), [LONG] * 2), 400, "Requested 80 tokens, max 50 tokens per"
        ),
        refusal(lambda: rerank(OpenAIGeneric(), QUERY, ["a"]), 404, "Invalid URL (POST /v1/rerank)"),
    ],
)
def test_what_the_real_server_refuses_is_refused_with_its_text(ask: Any, status: int, text: str) -> None:
    response = ask()
    assert response.status_code == status
    assert text in error_text(response)


def test_tei_writes_errors_in_three_shapes() -> None:
    assert embed(Tei(), [""]).json() == {"error": tei.EMPTY_INPUT, "error_type": "Validation"}
    openai = post(Tei(), "/v1/embeddings", {"input": [""]}).json()
    assert openai == {"message": tei.EMPTY_INPUT, "code": 413, "type": "Validation"}
    for response in (post(Tei(), "/embed", {}), embed(Tei(), ["a"], truncation_direction="right")):
        assert (response.status_code, response.content) == (422, tei.UNVERIFIED_JSON)
    wrong = post(Tei(key="k"), "/embed", {"inputs": "a"}, "x")
    assert (wrong.status_code, wrong.content) == (401, b"")
    assert get(Tei(), "/v1/models").status_code == 404


def test_shapes_of_errors() -> None:
    flat = embed(Vllm(version="0.9"), ["a"], dimensions=8).json()
    assert (flat["object"], flat["type"], flat["code"]) == ("error", "BadRequestError", 400)
    too_long = embed(Vllm(max_tokens=9), [LONG]).json()["error"]
    assert (too_long["param"], too_long["code"]) == ("input_tokens", 400)
    larger = embed(LlamaCpp(max_tokens=9), [LONG]).json()["error"]
    assert (larger["type"], larger["n_prompt_tokens"], larger["n_ctx"]) == ("exceed_context_size_error", 41, 9)
    nested, flat = embed(DashScope(), ["a"] * 11).json(), embed(DashScopeNative(), ["a"] * 11).json()
    assert nested["error"]["code"] == nested["error"]["type"] == flat["code"] == "InvalidParameter"
    assert (
        nested["error"]["message"]
        == flat["message"]
        == dashscope_rules.TOO_MANY.format(most=10, field="input.contents")
    )
    assert rerank(Xinference(), QUERY, ["a"], x=1).json()["detail"].startswith(xinference.WHERE)


@pytest.mark.parametrize(
    ("server", "fields", "ignored"),
    [
        (Sglang(), {"encoding_format": "base64"}, ("encoding_format",)),
        (LlamaCpp(), {"dimensions": 8, "truncate": True}, ("dimensions", "truncate")),
        (Tei(), {"dimensions": 8}, ("dimensions",)),
        (LmStudio(), {"dimensions": 8, "encoding_format": "base64"}, ("dimensions", "encoding_format")),
        (Ollama(), {"encoding_format": "base64"}, ("encoding_format",)),
        (Xinference(), {"dimensions": 8}, ("dimensions",)),
        (Vllm(), {"instruction": "x"}, ("instruction",)),
        (DashScope(), {"text_type": "query"}, ("text_type",)),
        (DashScopeNative(), {"dimensions": 64}, ("parameters.dimensions",)),
    ],
    ids=lambda value: getattr(value, "server", None),
)
def test_fields_that_nobody_reads_are_ignored_and_noted(
    server: ScriptedRetrieval, fields: dict[str, Any], ignored: tuple[str, ...]
) -> None:
    [vector] = vectors_of(embed(server, ["a"], **fields))
    assert len(vector) == 1024
    assert isinstance(vector[0], float)
    assert server.ignored == [ignored]


@every_server
def test_a_query_is_nearer_to_what_answers_it(word: str) -> None:
    server = SERVERS[word](size=256)
    query, right, wrong = vectors_of(embed(server, [ASKED, BEIJING, GRAVITY]))
    near, far = (sum(a * b for a, b in zip(query, other, strict=True)) for other in (right, wrong))
    assert near > 0.5 > 0.3 > far
    assert sum(element**2 for element in query) == pytest.approx(1)
    assert server.seen_texts == [ASKED, BEIJING, GRAVITY]


RERANKERS = [Vllm(), Sglang(), LlamaCpp(), Xinference(), DashScope(), DashScopeNative(), OpenAIGeneric(reranks=True)]


@pytest.mark.parametrize("server", RERANKERS, ids=lambda server: server.server)
def test_scores_are_sorted_and_tell_relevant_from_irrelevant(server: ScriptedRetrieval) -> None:
    scores = scores_of(rerank(server, QUERY, [GRAVITY, BEIJING]))
    assert list(scores) == [1, 0]
    assert scores[1] > 0.8 > 0.2 > scores[0]
    assert server.seen_texts[1].endswith(
        f"<Document>: {BEIJING}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    assert list(scores_of(rerank(server, QUERY, [GRAVITY, BEIJING], top_n=1))) == [1]
