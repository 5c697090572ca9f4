"""The scripted chat servers' streams, faults and ports."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_chat import (
    SERVERS,
    Cut,
    DashScope,
    Delay,
    Empty,
    ErrorEvent,
    Sglang,
    Status,
    Vllm,
    httpx,
)
from scripted_chat.asking import (
    HI,
    MODEL,
    ask,
    error_text,
    events_of,
    joined,
    message_of,
    reasoning_in,
)
from scripted_chat.faults import PAGE

every_server = pytest.mark.parametrize("word", SERVERS)


# --- streams ---------------------------------------------------------------------------------------------------


@given(word=st.sampled_from(sorted(SERVERS)), seed=st.integers(0, 9999), text=st.text(), thought=st.text())
def test_a_stream_says_what_a_whole_answer_says_however_it_is_cut(
    word: Any, seed: Any, text: Any, thought: Any
) -> None:
    server = SERVERS[word](content=text, reasoning=thought, seed=seed)
    message, stream = message_of(ask(server)), ask(server, stream=True)
    assert joined(stream, "content").lstrip("\n") == (message["content"] or "").lstrip("\n")
    assert joined(stream, "reasoning", "reasoning_content") == reasoning_in(message)


def test_bytes_are_cut_in_the_middle_of_lines_and_characters() -> None:
    server = Vllm(content="北京 " * 40)
    with server.clients()["http_client"].stream(
        "POST", server.url + "/chat/completions", json={"model": MODEL, "messages": HI, "stream": True}
    ) as response:
        pieces = list(response.iter_raw())
    assert [piece for piece in pieces if not piece.endswith(b"\n\n")]
    assert [piece for piece in pieces if "\ufffd" in piece.decode(errors="replace")]


def test_the_same_seed_cuts_alike_and_another_does_not() -> None:
    one, same, other = (ask(Vllm(seed=seed), stream=True).text for seed in (1, 1, 2))
    assert one == same != other


def test_comments_can_come_between_events() -> None:
    plain, pinged = (ask(Vllm(pings=pings), stream=True).text for pings in (False, True))
    assert pinged.count(": ping\n\n") == plain.count("data: ")
    assert pinged.replace(": ping\n\n", "") == plain


@every_server
def test_usage_comes_where_the_server_puts_it(word: Any) -> None:
    asked = events_of(ask(SERVERS[word](), stream=True, stream_options={"include_usage": True}))
    silent = events_of(ask(SERVERS[word](), stream=True))
    with_counts = [event for event in asked if event != "[DONE]" and event.get("usage")]
    assert len(with_counts) == 1
    assert with_counts[0]["usage"]["total_tokens"] > 0
    if word == "transformers":
        assert with_counts[0]["choices"][0]["finish_reason"] == "stop"
        assert len([event for event in silent if event.get("usage")]) == 1
        assert "[DONE]" not in asked
    else:
        assert with_counts[0]["choices"] == []
        assert not [event for event in silent if event != "[DONE]" and event.get("usage")]
        assert asked[-2:] == [with_counts[0], "[DONE]"]


def test_reasoning_tokens_are_counted_where_the_server_says_them() -> None:
    counts = {word: ask(SERVERS[word]()).json()["usage"] for word in SERVERS}
    nested = {word for word, usage in counts.items() if "completion_tokens_details" in usage}
    assert nested == {"dashscope", "vllm", "lmstudio", "openai"}
    assert {word for word, usage in counts.items() if "reasoning_tokens" in usage} == {"sglang"}
    assert counts["dashscope"]["completion_tokens_details"]["reasoning_tokens"] == 8
    assert counts["sglang"]["reasoning_tokens"] == 8


# --- faults ----------------------------------------------------------------------------------------------------


@every_server
def test_faults_come_in_turn_and_then_all_is_well(word: Any) -> None:
    server = SERVERS[word](faults=[Status(429, retry_after=2), Status(503), Status(502, page=True), Empty()])
    first, second, third, fourth, fifth = (ask(server) for _ in range(5))
    assert (first.status_code, first.headers["retry-after"]) == (429, "2")
    assert error_text(first)
    assert (second.status_code, "retry-after" in second.headers) == (503, False)
    assert (third.status_code, third.headers["content-type"], third.content) == (502, "text/html", PAGE)
    assert (fourth.status_code, fourth.content) == (200, b"")
    assert fifth.status_code == 200
    assert len(server.requests) == 5


def test_dashscopes_rate_limit_says_so_twice() -> None:
    error = ask(DashScope(faults=[Status(429)])).json()["error"]
    assert error["type"] == error["code"] == "limit_requests"


@every_server
def test_a_stream_can_end_early(word: Any) -> None:
    server = SERVERS[word](faults=[Cut(3, clean=True), Cut(3)])
    events = events_of(ask(server, stream=True))
    assert len(events) == 3
    assert "[DONE]" not in events
    with pytest.raises(httpx.RemoteProtocolError, match="peer closed connection"):
        ask(server, stream=True)


@every_server
def test_an_error_can_come_inside_a_stream(word: Any) -> None:
    response = ask(SERVERS[word](faults=[ErrorEvent(2, "out of memory")]), stream=True)
    *before, error = events_of(response)
    assert (response.status_code, len(before)) == (200, 2)
    assert "out of memory" in json.dumps(error)
    assert "choices" not in error


async def test_the_asynchronous_client_meets_the_same_server() -> None:
    server = Sglang(faults=[Cut(2)])
    client = server.clients()["http_async_client"]
    body = {"model": MODEL, "messages": HI, "stream": True}
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post(server.url + "/chat/completions", json=body)
    again = await client.post(server.url + "/chat/completions", json=body)
    assert joined(again, "content").strip() == server.content


# --- a port of its own -----------------------------------------------------------------------------------------


@every_server
def test_the_same_answers_come_over_a_loopback_port(word: Any) -> None:
    server = SERVERS[word](faults=[Status(500), Cut(2)])
    with server.serve() as base_url, httpx.Client() as client:
        assert base_url.endswith(server.url.split("/", 3)[3])

        def post(**body: Any) -> Any:
            return client.post(
                base_url + "/chat/completions",
                json={"model": MODEL, "messages": HI, **body},
                headers={"authorization": f"Bearer {server.key}"},
            )

        assert post().status_code == 500
        with pytest.raises(httpx.RemoteProtocolError):
            post(stream=True)
        assert message_of(post())["content"].strip() == server.content
        assert joined(post(stream=True), "content").strip() == server.content
    with pytest.raises(httpx.ConnectError):
        httpx.post(base_url + "/chat/completions", json={})


def test_a_delay_lets_a_client_time_out() -> None:
    server = Vllm(faults=[Delay(0.5)])
    with server.serve() as base_url, httpx.Client(timeout=0.1) as client:
        body = {"model": MODEL, "messages": HI}
        with pytest.raises(httpx.ReadTimeout):
            client.post(base_url + "/chat/completions", json=body)
        assert client.post(base_url + "/chat/completions", json=body, timeout=5).status_code == 200


@every_server
def test_a_client_can_ask_which_server_this_is(word: Any) -> None:
    server = SERVERS[word](models=("Qwen/Qwen3-8B",))
    root = server.url.rsplit("/", 1)[0]
    client = server.clients()["http_client"]
    if word == "dashscope":
        assert client.get(server.url + "/models").status_code == 404
        return
    (card,) = client.get(root + "/v1/models").json()["data"]
    assert card["id"] == "Qwen/Qwen3-8B"
    assert client.get(root + "/nothing").status_code == 404
