"""Errors of the clients: what any server says is read, what helps is added; and options that are out of range."""

import copy
import json
import math
import pickle
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from remote_asking import Ask, both
from scripted_chat.wire import Answer, clients

from qwen3_core.remote import RemoteEmbedder
from qwen3_core.remote.connection import Options
from qwen3_core.remote.errors import AnswerError, PartialError, PassingError, ServerError, refusal

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)


@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_errors_survive_a_pickle(again: Any) -> None:
    for kind in (ServerError, PassingError, AnswerError):
        error = again(kind("what", status=429, said="slower"))
        assert (type(error), str(error), error.status, error.said) == (kind, "what", 429, "slower")
    part = again(PartialError("some", [[0.5], None], {1: ServerError("x", status=400)}))
    assert (str(part), part.results, part.missing[1].status) == ("some", [[0.5], None], 400)
    assert isinstance(part, OSError)


def test_a_wait_survives_a_pickle() -> None:
    error: Any = refusal(429, b"{}", shown_url="u", retry_after=3.0)
    assert pickle.loads(pickle.dumps(error)).retry_after == 3.0


@pytest.mark.parametrize(
    "wrong",
    [{"max_length": 1}, {"batch_size": 0}, {"batch_tokens": 0}, {"max_concurrency": 0}, {"max_retries": -1},
     {"timeout": 0}, {"timeout": math.nan}, {"deadline": -1.0}, {"truncation": "left"}],
)  # fmt: skip
def test_options_out_of_range_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Options(**wrong)
    assert "secret" not in repr(Options(api_key="secret", default_headers={"x": "secret"}))
    assert Options(max_length=2, batch_size=1, batch_tokens=1, max_concurrency=1, max_retries=0).check


VLLM = "This model's maximum context length is 20 tokens. However, you requested 0 output tokens"
SAID: list[tuple[int, Any, str, str]] = [
    (400, {"error": {"message": VLLM, "type": "BadRequestError", "code": 400}}, VLLM, 'truncation="end"'),
    (400, {"object": "error", "message": VLLM, "type": "BadRequestError", "code": 400}, VLLM, 'truncation="end"'),
    (401, {"error": "Unauthorized"}, "Unauthorized", "api_key"), (401, b"", "", "nothing more - pass the key"),
    (413, {"error": "batch size 64 > maximum allowed batch size 32", "error_type": "Validation"}, "batch", "size=32"),
    (413, {"message": "Input validation error: `inputs` must have less than 512 tokens. Given: 9", "code": 413},
     "Input validation", "shorten"),
    (500, {"error": {"code": 500, "message": "input (9 tokens) is too large to process. increase"}}, "input (9", "-ub"),
    (501, {"error": {"message": "This server does not support reranking. Start it with"}}, "This", "--reranking"),
    (400, {"error": "the input length exceeds the context length"}, "the input length", "shorten"),
    (400, {"error": {"message": "batch size is invalid, it should not be larger than 10.: input"}}, "b", "size=10"),
    (400, {"code": "InvalidParameter", "message": "Range of input length should be [1, 8192]"}, "Range", "shorten"),
    (404, {"detail": "Not Found"}, "Not Found", "check the URL"), (404, b"404 page not found", "404 page", "the name"),
    (422, {"detail": [{"loc": ["body"], "msg": "missing"}]}, '[{"loc"', "422"),
    (502, b"<html><title>502</title>\n<b>Bad  Gateway</b></html>", "502 Bad Gateway", "502"),
    (500, {"detail": "[address=1] Unexpected keyword arguments: {}"}, "[address=1]", "500"),
    (429, {"code": "Throttling.RateQuota", "message": "slower"}, "slower", "max_concurrency"),
    (400, {"error": {"message": 'Model "x" does not support matryoshka representation'}}, "Model", "cut here"),
    (400, {"error": {"message": "", "type": "x"}}, '{"message": ""', "400"),
    (400, b"\xff", "\ufffd", ""),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "said", "hint"), SAID)
def test_what_any_server_says_is_read_and_what_helps_is_added(status: int, body: Any, said: str, hint: str) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    error = refusal(status, data, shown_url="http://a.test/v1", retry_after=None)
    assert error.said.startswith(said)
    assert hint in str(error)
    assert str(error).startswith(f"http://a.test/v1 answered {status}: ")
    assert isinstance(error, PassingError) == (status in (429, 502)), "what would fail again is not asked again"


@given(st.binary() | anything.map(lambda value: json.dumps(value).encode()), st.integers(300, 599))
def test_any_body_of_any_status_makes_an_error(body: bytes, status: int) -> None:
    error = refusal(status, body, shown_url="http://a.test", retry_after=2.0)
    assert (error.status, len(error.said) <= 400) == (status, True)
    assert pickle.loads(pickle.dumps(error)).said == error.said


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8000/v1", "ftp://a.test", "http://[::1/v1", "http://a.test:x/v1", "http://", "http://a.test/v1?k=1"],
)
def test_a_url_that_cannot_be_one_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"is like http://127\.0\.0\.1:8000/v1"):
        RemoteEmbedder("m", base_url=url, server="vllm")


@both
@pytest.mark.parametrize("status", [200, 400])
def test_an_answer_of_brackets_is_an_error_of_the_server(status: int, ask: Ask) -> None:
    known = clients(lambda request: Answer(status, {}, (b"[" * 100_000,)), httpx)
    with pytest.raises(ServerError):
        ask(RemoteEmbedder("m", base_url="http://a.test/v1", server="vllm", check=False, **known), "embed_query", "a")


@both
def test_one_string_is_no_list_of_texts(ask: Ask) -> None:
    for text in ("", "a"):
        with pytest.raises(TypeError, match="pass \\[text\\]"):
            ask(RemoteEmbedder("m", base_url="http://a.test/v1"), "embed_documents", text)
