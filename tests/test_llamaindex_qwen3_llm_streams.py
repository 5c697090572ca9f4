"""Streams of `Qwen3`: tags cut anywhere, pieces of every kind, and connections that break off in the middle."""

import asyncio
import itertools
import json
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llamaindex_chat import ASKED, PROMPT, WEATHER, ask, called, llm_of, parted, replying, scripted, structured_server
from scripted_chat import (
    SERVERS,
    Cut,
    DashScope,
    Delay,
    Empty,
    ErrorEvent,
    LlamaCpp,
    Ollama,
    ScriptedChat,
    Sglang,
    Status,
    TransformersServe,
    Vllm,
    httpx,
)

from llamaindex_qwen3.llms import Qwen3
from llamaindex_qwen3.reasoning import collect_reasoning
from llamaindex_qwen3.testing.chat_server import ScriptedChatServer
from llamaindex_qwen3.testing.llm import Person

SSE = {"content-type": "text/event-stream"}


@given(
    st.sampled_from(["", "<think>\nWhy {}?\n</think>\n\n", "<think>Why", "\n\n", "<thin"]),
    st.text("<think>/ \nab", max_size=20),
    st.lists(st.integers(0, 60), max_size=8),
    st.sampled_from(["", "a thought"]),
)
def test_a_stream_cut_anywhere_says_what_the_whole_says(start: str, rest: str, cuts: Any, reasoning: str) -> None:
    text = start + rest
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    server = ScriptedChatServer(reasoning=reasoning, content=text, pieces=pieces)
    llm = scripted(server)
    responses = list(llm.stream_chat(ASKED))
    assert parted(responses[-1]) == parted(llm.chat(ASKED))
    thought = "".join(response.additional_kwargs.get("thinking_delta", "") for response in responses)
    assert (thought, "".join(response.delta or "" for response in responses)) == parted(responses[-1])


@pytest.mark.parametrize("name", sorted(set(SERVERS) - {"openai"}))
@pytest.mark.parametrize("seed", range(3))
async def test_streams_have_the_pieces_and_end_with_the_whole(name: str, seed: int) -> None:
    server = SERVERS[name](seed=seed, content="<b>9.9</b> is </think> larger. 向量")
    llm = llm_of(server, enable_thinking=True)
    for way in ("stream_chat", "astream_chat"):
        responses = await ask(llm, way)
        assert "".join(response.delta for response in responses) == server.content
        thoughts = [response.additional_kwargs.get("thinking_delta", "") for response in responses]
        assert "".join(thoughts).strip() == server.reasoning
        assert len([thought for thought in thoughts if thought]) > 3
        assert parted(responses[-1])[1] == server.content
        assert responses[-1].additional_kwargs["completion_tokens"] > 5
        assert responses[-1].additional_kwargs["finish_reason"] == "stop"


def test_options_for_streams_are_sent_with_streams_alone() -> None:
    server = Vllm()
    llm = llm_of(server, additional_kwargs={"stream_options": {"include_usage": False}})
    assert parted(llm.chat(ASKED))[1] == server.content  # vLLM refuses them elsewhere
    assert "completion_tokens" not in list(llm.stream_chat(ASKED))[-1].additional_kwargs


def test_thinking_tokens_are_counted_where_the_server_counts_them() -> None:
    for server in (DashScope(), Vllm(), Sglang()):
        llm = llm_of(server, enable_thinking=True)
        for response in (llm.chat(ASKED), list(llm.stream_chat(ASKED))[-1]):
            assert response.message.blocks[0].num_tokens == 8


def test_streams_of_completions_have_the_piece_and_the_whole_so_far() -> None:
    llm = scripted(ScriptedChatServer(reasoning="because", content="so"))
    details = [response.additional_kwargs for response in llm.stream_complete("hi")]
    assert [each.get("reasoning_delta") for each in details[:3]] == ["bec", "aus", "e"]
    assert [each["reasoning"] for each in details[:4]] == ["bec", "becaus", "because", "because"]
    assert "reasoning_delta" not in details[3]
    assert details[-1]["finish_reason"] == "stop"


def test_a_template_that_opens_the_tag_itself() -> None:
    server = ScriptedChatServer(reasoning="", content="why\n</think>\n\nso")
    llm = scripted(server, model="Qwen/Qwen3-4B-Thinking-2507")
    assert parted(llm.chat(ASKED)) == parted(list(llm.stream_chat(ASKED))[-1]) == ("why", "so")
    assert parted(scripted(server).chat(ASKED, model="qwen3-4b-thinking-2507")) == ("why", "so")


# --- pieces of other shapes --------------------------------------------------------------------------------


def chunks_of(*deltas: dict[str, Any]) -> Any:
    """Return a handler whose stream begins with a chunk that says nothing, as some gateways' do."""
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choices = [[], *([{"index": 0, "delta": delta}] for delta in deltas)]
    choices.append([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    text = "".join(f"data: {json.dumps({**head, 'choices': each})}\n\n" for each in choices) + "data: [DONE]\n\n"
    return lambda _: httpx.Response(200, headers=SSE, content=text)


def test_calls_without_numbers_or_ids_are_told_apart() -> None:
    def call(name: str, arguments: str, **more: Any) -> dict[str, Any]:
        return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}

    pieces = [call("f", '{"a":', id="1"), call("", " 1}", id=""), call("g", "{}", id="2")]
    llm = replying(chunks_of(*({"tool_calls": [piece]} for piece in pieces)))
    *_, last = llm.stream_chat(ASKED)
    assert called(llm, last) == [("f", {"a": 1}), ("g", {})]

    message = {"role": "assistant", "tool_calls": [call("f", "{}", id=""), call("g", "{}", id="")]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    whole = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    llm = replying(lambda _: httpx.Response(200, json=whole))
    calls = llm.get_tool_calls_from_response(llm.chat(ASKED))
    assert [(each.tool_name, each.tool_id) for each in calls] == [("f", "call_0"), ("g", "call_1")]


@pytest.mark.parametrize("ids", [("1", "2"), ("", "")])
def test_pieces_of_two_calls_that_alternate_are_told_apart(ids: Any) -> None:
    def piece(index: int, text: str, name: str = "", **more: Any) -> dict[str, Any]:
        return {"tool_calls": [{"index": index, "function": {"name": name or None, "arguments": text}, **more}]}

    deltas = [piece(0, "", "f", id=ids[0]), piece(1, "", "g", id=ids[1])]
    deltas += [piece(0, '{"a"'), piece(1, '{"b"'), piece(0, ": 1}"), piece(1, ": 2}")]
    llm = replying(chunks_of(*deltas))
    *_, last = llm.stream_chat(ASKED)
    assert called(llm, last) == [("f", {"a": 1}), ("g", {"b": 2})]


# --- streams that break off --------------------------------------------------------------------------------

STREAMING = [DashScope, Vllm, Sglang, Ollama]


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("way", ["stream_chat", "astream_chat", "stream_complete", "astream_complete"])
@pytest.mark.parametrize("kind", STREAMING)
async def test_a_stream_that_breaks_off_raises_and_says_what_came(kind: Any, way: str, clean: Any) -> None:
    for events in (3, 9, 14):
        llm = llm_of(kind(faults=[Cut(events, clean=clean)]), enable_thinking=True)
        with collect_reasoning() as reasoning, pytest.raises(openai.APIConnectionError, match="broke off") as caught:
            await ask(llm, way)
        body: Any = caught.value.body
        assert body["reasoning_content"] == reasoning.text
        assert body["reasoning_content"] or body["content"] or events == 3
        assert f"{len(body['reasoning_content'])} characters of reasoning" in str(caught.value)
        assert (await ask(llm, way))[-1]  # the next request finds the server well


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("way", ["chat", "achat", "complete", "acomplete"])
async def test_a_chat_that_streams_inside_raises_as_well(way: str, clean: Any) -> None:
    llm = llm_of(DashScope(faults=[Cut(6, clean=clean)]), enable_thinking=True)
    with pytest.raises(openai.APIConnectionError, match="broke off") as caught:
        await ask(llm, way)
    assert caught.value.body["reasoning_content"]  # type: ignore[index]


def test_what_came_before_the_break_has_been_read() -> None:
    server = Vllm(faults=[Cut(12)])
    seen: list[Any] = []
    with pytest.raises(openai.APIConnectionError) as caught:
        seen.extend(llm_of(server, enable_thinking=True).stream_chat(ASKED))
    assert parted(seen[-1])[0] == caught.value.body["reasoning_content"]  # type: ignore[index]


@pytest.mark.parametrize("kind", [DashScope, Vllm, Ollama, LlamaCpp, TransformersServe])
@pytest.mark.parametrize("way", ["stream_chat", "astream_chat"])
async def test_an_error_in_the_middle_of_a_stream_raises_with_its_words(kind: type[ScriptedChat], way: str) -> None:
    llm = llm_of(kind(faults=[ErrorEvent(5)]), enable_thinking=True)
    with pytest.raises(openai.APIError, match="CUDA out of memory"):
        await ask(llm, way)


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("way", ["chat", "achat", "stream_chat", "astream_chat"])
async def test_a_busy_server_is_asked_again_and_then_its_error_is_raised(way: str, status: int) -> None:
    busy = Status(status, retry_after=0.01)
    server = DashScope(faults=[busy, busy])
    assert parted((await ask(llm_of(server, max_retries=2, enable_thinking=True), way))[-1])[1] == server.content
    assert len(server.requests) == 3
    server = DashScope(faults=[busy, busy])
    with pytest.raises(openai.APIStatusError) as caught:
        await ask(llm_of(server, max_retries=1, enable_thinking=True), way)
    assert (caught.value.status_code, len(server.requests)) == (status, 2)


async def test_a_refusal_inside_a_stream_raises_with_its_words() -> None:
    server = DashScope(errors_in_stream=True)
    llm = llm_of(server, model="qwen3-8b", thinking_budget=99_999)
    for way in ("chat", "achat", "stream_chat", "astream_chat"):
        with pytest.raises(openai.APIError, match=r"not greater than 38912.*Lower thinking_budget"):
            await ask(llm, way)


@pytest.mark.parametrize("name", ["vllm", "dashscope", "transformers"])
async def test_an_object_that_breaks_off_raises(name: str) -> None:
    server = structured_server(name)
    server.faults = [Cut(8, clean=True), Cut(8)]
    llm = llm_of(server, enable_thinking=False)
    with pytest.raises(openai.APIConnectionError, match="broke off"):
        _ = list(llm.stream_structured_predict(Person, PROMPT, text="Ann"))
    with pytest.raises(openai.APIConnectionError, match="broke off"):
        _ = [each async for each in await llm.astream_structured_predict(Person, PROMPT, text="Ann")]


@pytest.mark.parametrize("kind", [DashScope, Vllm, Sglang])
def test_a_tool_call_that_breaks_off_is_never_called_and_said_to_have_come(kind: Any) -> None:
    server = kind(tool_calls=[{"name": "get_weather", "args": {"city": "Oslo"}}], faults=[Cut(4)])
    with pytest.raises(openai.APIConnectionError, match="broke off") as caught:
        _ = list(llm_of(server, enable_thinking=False).stream_chat_with_tools([WEATHER], user_msg="Oslo?"))
    assert caught.value.body["content"].startswith('get_weather({"')  # type: ignore[index]


@pytest.mark.parametrize("way", ["chat", "achat", "stream_chat", "astream_chat"])
async def test_a_200_without_a_body_is_an_error(way: str) -> None:
    with pytest.raises(ValueError, match=r"sent no answer.*but: ''|closed the stream without an answer"):
        await ask(llm_of(Vllm(faults=[Empty()])), way)


def test_an_empty_stream_is_an_error() -> None:
    empty = httpx.Response(200, headers=SSE, text="data: [DONE]\n\n")
    with pytest.raises(ValueError, match="without an answer"):
        list(replying(lambda _: empty).stream_chat(ASKED))


@pytest.mark.parametrize("way", ["chat", "achat", "stream_chat", "astream_chat"])
def test_a_server_that_falls_silent_is_given_up(way: str) -> None:
    for silence in ({"faults": [Delay(5)]}, {"pause": 5.0}):
        server = DashScope(**silence)
        with server.serve() as url:
            llm = Qwen3(
                api_base=url, server="dashscope", api_key=server.key, timeout=0.2, max_retries=0, enable_thinking=True
            )
            with pytest.raises(openai.APIConnectionError):
                asyncio.run(ask(llm, way))


async def test_an_async_stream_that_is_left_early_is_closed() -> None:
    with ScriptedChatServer(keep_alive=True) as server:
        llm = Qwen3(api_base=server.url)
        async for _ in await llm.astream_chat(ASKED):
            break
        assert (await llm.achat(ASKED)).message.content == server.content


def test_a_stream_that_is_left_early_is_closed() -> None:
    with ScriptedChatServer(keep_alive=True) as server:
        llm = Qwen3(api_base=server.url)
        stream = llm.stream_chat(ASKED)
        next(stream)
        stream.close()
        assert llm.chat(ASKED).message.content == server.content


async def test_streams_of_one_model_may_run_side_by_side() -> None:
    server = Vllm()
    llm = llm_of(server, enable_thinking=True)
    answers = await asyncio.gather(*(ask(llm, "astream_chat", enable_thinking=bool(n % 2)) for n in range(6)))
    assert [bool(parted(responses[-1])[0]) for responses in answers] == [False, True] * 3
