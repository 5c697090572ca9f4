"""Errors of real servers on a loopback port, through the openai SDK's own clients, sync and async."""

import socket
import traceback
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import openai
import pytest
from scripted_chat import (
    Cut,
    DashScope,
    Delay,
    ErrorEvent,
    LmStudio,
    ScriptedChat,
    Sglang,
    Status,
    TransformersServe,
    Vllm,
    Xinference,
    httpx,
)

from qwen3_core.chat.errors import broken_stream, explained, shown_url, whole_stream
from qwen3_core.chat.server import prepare_client
from qwen3_core.thinking import reasoning_of

KEY = "sk-very-secret"
QUESTION: dict[str, Any] = {"model": "Qwen/Qwen3-8B", "messages": [{"role": "user", "content": "9.11 or 9.9?"}]}


class Reader:
    """What the adapters' readers have."""

    def __init__(self) -> None:
        self.reasoning: str = ""
        self.answer: str = ""
        self.finished = False

    def read(self, chunk: Any) -> None:
        for choice in chunk.choices:
            self.reasoning += reasoning_of(choice.delta.model_dump())
            self.answer += choice.delta.content or ""
            self.finished = self.finished or bool(choice.finish_reason)


@contextmanager
def client_of(url: str, *, timeout: float = 5, max_retries: int = 0) -> Iterator[Any]:
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=max_retries) as client:
        prepare_client(client, timeout)
        yield client


@asynccontextmanager
async def async_client_of(url: str, *, timeout: float = 5, max_retries: int = 0) -> AsyncIterator[Any]:
    async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=max_retries) as client:
        prepare_client(client, timeout)
        yield client


# Four ways to ask. Servers run in threads, so that those of the blocking client may block the loop.


async def ask(url: str, **how: Any) -> Any:
    with client_of(url, **how) as client, explained(url):
        return client.chat.completions.create(**QUESTION)


async def aask(url: str, **how: Any) -> Any:
    async with async_client_of(url, **how) as client:
        with explained(url):
            return await client.chat.completions.create(**QUESTION)


async def stream(url: str, **how: Any) -> Reader:
    reader = Reader()
    with client_of(url, **how) as client, explained(url), whole_stream(url, reader):
        for chunk in client.chat.completions.create(stream=True, **QUESTION):
            reader.read(chunk)
    return reader


async def astream(url: str, **how: Any) -> Reader:
    reader = Reader()
    async with async_client_of(url, **how) as client:
        with explained(url), whole_stream(url, reader):
            async for chunk in await client.chat.completions.create(stream=True, **QUESTION):
                reader.read(chunk)
    return reader


async def failure(server: ScriptedChat, way: Callable[..., Any], **how: Any) -> Any:
    """Return the error of asking a server in one way."""
    with server.serve() as url, pytest.raises(openai.APIError) as caught:
        await way(url, **how)
    error: Any = caught.value
    assert KEY not in "".join(traceback.format_exception(error))
    assert str(error) == error.message
    return error


WHOLE, STREAMS, BOTH = (ask, aask), (stream, astream), (ask, aask, stream, astream)
every = pytest.mark.parametrize


# --- streams that break off


@every("way", STREAMS)
async def test_a_stream_that_is_well_is_left_alone(way: Any) -> None:
    server = Vllm()
    with server.serve() as url:
        reader = await way(url)
    assert (reader.reasoning.strip(), reader.answer.strip()) == (server.reasoning, server.content)


@every("way", STREAMS)
@every("clean", [True, False])
async def test_a_stream_that_is_cut_says_what_came(way: Any, clean: Any) -> None:
    server = Vllm(faults=[Cut(8, clean=clean)])
    error = await failure(server, way)
    assert type(error).__name__ == "APIConnectionError"
    came = error.body["reasoning_content"]
    assert came
    assert server.reasoning.startswith(came.strip())
    assert error.body["content"] == ""
    assert f"came {len(came)} characters of reasoning and 0 of the answer, ending {came!r}" in str(error)
    assert ("without sending complete message body" in str(error)) is not clean
    assert "Start it" not in str(error)


@every("way", STREAMS)
async def test_of_a_cut_answer_all_of_it_is_in_the_body(way: Any) -> None:
    server = Vllm(reasoning="why", content="a long answer " * 100, faults=[Cut(250)])
    error = await failure(server, way)
    assert error.body["reasoning_content"].strip() == "why"
    assert len(error.body["content"]) > 500
    assert server.content.startswith(error.body["content"].lstrip())
    assert len(str(error)) < 900


@every("way", STREAMS)
async def test_a_server_that_falls_silent_in_a_stream_is_a_timeout(way: Any) -> None:
    error = await failure(_Silent(), way, timeout=0.3)
    assert type(error).__name__ == "APITimeoutError"
    assert error.body["reasoning_content"]
    assert "broke off" in str(error)
    assert "(timed out)" in str(error) or "(TimeoutError)" in str(error)


class _Silent(Vllm):
    """Stops sending for a while in the middle of a stream."""

    def answer(self, request: Any) -> Any:
        whole = super().answer(request)
        half = b"".join(whole.pieces[: len(whole.pieces) // 2])
        return replace(whole, pieces=(half, b"\n\n"), pause=1.0)


@every("way", STREAMS)
@every(
    ("server", "text"),
    [
        (Vllm(faults=[ErrorEvent(3, "CUDA out of memory")]), "CUDA out of memory"),
        # The SDK leaves out an error that is a mere text.
        (TransformersServe(faults=[ErrorEvent(3, "CUDA out of memory")]), "during streaming - CUDA out of memory"),
        (
            Vllm(faults=[ErrorEvent(3, "Disabling thinking is not supported.")]),
            "supported. -- This model always thinks",
        ),
    ],
    ids=["vllm", "transformers", "with a hint"],
)
async def test_an_error_inside_a_stream_is_the_servers_own(server: Any, text: str, way: Any) -> None:
    server = replace(server, requests=[], headers=[], plans=[], paths=[])
    error = await failure(server, way)
    assert type(error).__name__ == "APIError"
    assert text in str(error)
    assert error.body
    if isinstance(server, Vllm):
        assert error.code == "500"


class _Quoting(TransformersServe):
    """Puts a text with quotes into its error event as it is, which then is no JSON."""

    def answer(self, request: Any) -> Any:
        whole = super().answer(request)
        event = b'data: {"error": "no "max_length" there"}\n\n'
        return replace(whole, pieces=(b"".join(whole.pieces[:4]).rpartition(b"data:")[0], event))


@every("way", STREAMS)
async def test_an_error_event_that_is_no_json_says_what_it_is(way: Any) -> None:
    error = await failure(_Quoting(reasoning="why " * 50), way)
    assert type(error).__name__ == "APIConnectionError"
    assert '{"error": "no "max_length" there"}' in str(error)
    assert error.body["reasoning_content"].strip().startswith("wh")


@every("way", STREAMS)
async def test_dashscope_may_refuse_in_an_event(way: Any) -> None:
    error = await failure(DashScope(errors_in_stream=True), way)
    assert type(error).__name__ == "APIError"
    assert error.code == "invalid_api_key"
    assert error.body["message"] == "Incorrect API key provided."


@every(("raw", "kind"), [("RemoteProtocolError", openai.APIConnectionError), ("ReadTimeout", openai.APITimeoutError)])
def test_version_2_of_the_sdk_lets_the_http_librarys_errors_pass(raw: str, kind: type[openai.APIError]) -> None:
    reader = Reader()
    reader.answer = "9.9 is"
    with pytest.raises(kind, match=r"broke off.*it said so.*'9.9 is'") as caught, whole_stream(None, reader):
        raise getattr(httpx, raw)("it said so")  # noqa: EM101
    assert type(caught.value) is kind
    assert caught.value.body == {"reasoning_content": "", "content": "9.9 is"}


# --- servers that cannot be reached


@every("way", BOTH)
async def test_a_closed_port_says_how_to_start_a_server(way: Any) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://user:{KEY}@127.0.0.1:{closed.getsockname()[1]}/v1?key={KEY}"
        with pytest.raises(openai.APIConnectionError) as caught:
            await way(url)
    said = str(caught.value)
    assert type(caught.value) is openai.APIConnectionError
    assert f"at {shown_url(url)} cannot be reached" in said
    assert "llama-server" in said
    assert "base_url" in said
    assert caught.value.body is None
    assert KEY not in "".join(traceback.format_exception(caught.value))


@every("way", BOTH)
async def test_a_server_that_does_not_answer_in_time(way: Any) -> None:
    error = await failure(Vllm(faults=[Delay(1.0)]), way, timeout=0.2)
    assert type(error).__name__ == "APITimeoutError"
    assert "did not answer in time" in str(error)
    assert "timeout=" in str(error)
    assert "Start it" not in str(error)


@every("way", STREAMS)
async def test_a_connection_that_is_closed_before_anything_came(way: Any) -> None:
    error = await failure(Vllm(faults=[Cut(0)]), way)
    assert type(error).__name__ == "APIConnectionError"
    assert "closed the connection before it had answered" in str(error)
    assert "Start it" not in str(error)


# --- refusals


@every("way", BOTH)
async def test_a_refusal_keeps_its_class_status_body_and_code(way: Any) -> None:
    error = await failure(DashScope(), way)
    assert type(error).__name__ == "AuthenticationError"
    assert (error.status_code, error.code) == (401, "invalid_api_key")
    assert error.body["message"] == "Incorrect API key provided."
    assert error.response.status_code == 401
    assert str(error).endswith("-- Check api_key; DashScope's keys are per region.")
    assert "Incorrect API key provided." in str(error)
    assert isinstance(error.__cause__, openai.AuthenticationError)


TOOL: dict[str, Any] = {"type": "function", "function": {"name": "add"}}


@every(
    ("server", "arguments", "text"),
    [
        (LmStudio(), {"tools": [TOOL], "tool_choice": TOOL}, "Invalid tool_choice type: 'object'.*server=\"lmstudio\""),
        (TransformersServe(), {"extra_body": {"top_k": 1}}, 'Unexpected fields in the request.*top_k.*"transformers"'),
        (Xinference(), {"model": "qwen3.8-27b", "reasoning_effort": "max"}, "Unsupported reasoning_effort"),
        (Sglang(), {"tool_choice": "required"}, "Tools cannot be empty"),
        (Vllm(faults=[Status(502, page=True)]), {}, "502 - .*Bad Gateway"),
    ],
    ids=lambda value: getattr(value, "server", ""),
)
def test_what_the_sdk_leaves_out_of_a_refusal_is_shown(server: Any, arguments: Any, text: str) -> None:
    with (
        server.serve() as url,
        client_of(url) as client,
        pytest.raises(openai.APIStatusError, match=text),
        explained(url),
    ):
        client.chat.completions.create(**{**QUESTION, **arguments})


async def test_where_nothing_is_known_nothing_is_added() -> None:
    error = await failure(Vllm(faults=[Status(500)]), ask)
    assert type(error).__name__ == "InternalServerError"
    assert " -- " not in str(error)
    assert error.__cause__ is None


def test_errors_whose_class_wants_other_arguments_are_explained_too() -> None:
    with Vllm(faults=[Status(401)]).serve() as url, client_of(url) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.chat.completions.create(**QUESTION)
        fresh = openai.OAuthError(response=caught.value.response, body={"error": "invalid_grant"})
    with pytest.raises(openai.OAuthError, match="Check api_key") as again, explained(url):
        raise fresh
    assert again.value.error == "invalid_grant"


def test_other_errors_pass() -> None:
    reader = Reader()
    with pytest.raises(KeyError), explained("http://127.0.0.1:9/v1"), whole_stream("http://127.0.0.1:9/v1", reader):
        raise KeyError


def test_a_broken_stream_is_explained_once() -> None:
    outer, inner = Reader(), Reader()
    outer.answer = inner.answer = "9.9 is"
    url = "http://127.0.0.1:9/v1"
    with (
        pytest.raises(openai.APIConnectionError) as caught,
        explained(url),
        whole_stream(url, outer),
        explained(url),
        whole_stream(url, inner),
    ):
        raise openai.APIConnectionError(request=httpx.Request("POST", url))
    assert str(caught.value).count("broke off") == 1
    assert caught.value.__cause__
    assert not caught.value.__cause__.__cause__


def test_a_reader_that_is_left_early_is_no_broken_stream() -> None:
    def pieces() -> Generator[int, None, None]:
        with whole_stream("http://127.0.0.1:9/v1", Reader()):
            yield 1
            yield 2

    running = pieces()
    assert next(running) == 1
    running.close()


# --- retries, which are the SDK's


@every("way", BOTH)
@every("fault", [Status(429, retry_after=0.02), Status(503, retry_after=0.02), Status(500, retry_after=0.02)])
async def test_busy_servers_are_asked_again(way: Any, fault: Any) -> None:
    server = Vllm(faults=[fault, fault])
    with server.serve() as url:
        answer = await way(url, max_retries=2)
    assert len(server.requests) == 3
    said = answer.answer if isinstance(answer, Reader) else answer.choices[0].message.content
    assert said.strip() == server.content


@every("way", (ask, aask))
async def test_in_the_end_the_error_says_what_helps(way: Any) -> None:
    server = DashScope(faults=[Status(429, retry_after=0.02)] * 3)
    error = await failure(server, way, max_retries=2)
    assert type(error).__name__ == "RateLimitError"
    assert len(server.requests) == 3
    assert error.code == "limit_requests"
    assert "max_retries" in str(error)


async def test_a_refusal_is_not_repeated() -> None:
    server = DashScope()
    await failure(server, ask, max_retries=2)
    assert len(server.requests) == 1


async def test_retry_after_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)  # of the SDK
    server = Vllm(faults=[Status(429, retry_after=7)])
    with server.serve() as url:
        await ask(url, max_retries=1)
    assert 7 in slept


# --- what messages show


@every(
    ("url", "shown"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        (f"https://user:{KEY}@gpu-box:8000/v1/", "https://gpu-box:8000/v1/"),
        (f"https://gateway/v1?api_key={KEY}#{KEY}", "https://gateway/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("http://[::1/v1", "a URL that is none"),
        ("", ""),
        (None, ""),
    ],
)
def test_urls_are_shown_without_secrets(url: Any, shown: str) -> None:
    assert shown_url(url) == shown
    assert KEY not in str(broken_stream(url, reasoning="", content=""))


def test_a_broken_stream_without_a_cause() -> None:
    error: Any = broken_stream("http://127.0.0.1:9/v1", reasoning="why", content="")
    assert isinstance(error, openai.APIConnectionError)
    assert "3 characters of reasoning and 0 of the answer, ending 'why'" in str(error)
    assert (error.body, error.__cause__) == ({"reasoning_content": "why", "content": ""}, None)
