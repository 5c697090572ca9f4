"""Tools of `Qwen3` on every server: called, forced, named, several at once."""

import logging
from typing import Any

import openai
import pytest
from llama_index.core.tools import FunctionTool
from llamaindex_chat import (
    CALL,
    WAYS,
    WEATHER,
    ask_with_tools,
    called,
    llm_of,
    parted,
    replying,
)
from scripted_chat import SERVERS, DashScope, LlamaCpp, LmStudio, ScriptedChat, Sglang, Vllm, httpx

FORCED = {"type": "function", "function": {"name": "get_weather"}}


def book(city: str, nights: int = 1) -> str:
    """Book a room."""
    return f"{nights} nights in {city}"


BOOK = FunctionTool.from_defaults(book)


@pytest.fixture(params=sorted(SERVERS))
def server(request: Any) -> ScriptedChat:
    return SERVERS[request.param](seed=5, tool_calls=[CALL])


# --- tools -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("way", WAYS[:4])
async def test_calls_are_read_beside_the_reasoning_on_every_server(server: ScriptedChat, way: str, on: Any) -> None:
    llm = llm_of(server, enable_thinking=on)
    response = await ask_with_tools(llm, way)
    assert called(llm, response) == [("get_weather", {"city": "Oslo"})]
    assert llm.get_tool_calls_from_response(response)[0].tool_id
    shown = on and server.server != "openai"
    assert parted(response)[0].strip() == (server.reasoning if shown else "")
    assert parted(response)[1] == ""


# What a forced tool becomes where the server knows less than OpenAI's three ways to choose.
NAMED, REQUIRED, AUTO = FORCED, "required", "auto"


@pytest.mark.parametrize(
    ("name", "model", "required", "named"),
    [
        ("dashscope", "qwen3-8b", NAMED, NAMED),
        ("dashscope", "qwen3-4b-thinking-2507", AUTO, AUTO),
        ("vllm", "Qwen/Qwen3-8B", REQUIRED, NAMED),
        ("sglang", "Qwen/Qwen3-8B", REQUIRED, NAMED),
        ("xinference", "Qwen3-8B", REQUIRED, NAMED),
        ("openai", "qwen3-8b", REQUIRED, NAMED),
        ("llama.cpp", "qwen3-8b", REQUIRED, REQUIRED),
        ("lmstudio", "qwen3-8b", REQUIRED, REQUIRED),
        ("ollama", "qwen3:8b", AUTO, AUTO),
        ("transformers", "Qwen/Qwen3-8B", AUTO, AUTO),
    ],
)
async def test_a_forced_tool_is_said_as_the_server_understands_it(
    name: str, model: str, required: Any, named: Any
) -> None:
    server = SERVERS[name](tool_calls=[CALL])
    llm = llm_of(server, model=model)
    for way in WAYS[:4]:
        response = await ask_with_tools(llm, way, tool_required=True)
        assert server.last.get("tool_choice") == required
        assert called(llm, response) == [("get_weather", {"city": "Oslo"})]
        response = await ask_with_tools(llm, way, tools=[BOOK, WEATHER], tool_choice="get_weather")
        assert server.last.get("tool_choice") == named
        assert called(llm, response) == [("get_weather", {"city": "Oslo"})]


@pytest.mark.parametrize("enable", [None, True, "auto"])
@pytest.mark.parametrize("way", WAYS[:4])
async def test_dashscope_does_not_think_while_a_tool_is_forced_and_thinks_again_after(
    enable: Any, way: str, caplog: Any
) -> None:
    server = DashScope(tool_calls=[CALL])
    llm = llm_of(server, enable_thinking=enable, thinking_rule=lambda question, context: True)
    with caplog.at_level(logging.DEBUG, logger="llamaindex_qwen3"):
        response = await ask_with_tools(llm, way, tool_required=True)
    assert called(llm, response) == [("get_weather", {"city": "Oslo"})]
    assert (server.last["enable_thinking"], server.last["tool_choice"]) == (False, FORCED)
    assert server.last.get("stream", False) is ("stream" in way)  # nothing to stream for inside
    assert caplog.text.count("thinking is off for this call") == 1
    assert parted(await ask_with_tools(llm, way, enable_thinking=True))[0] == server.reasoning
    assert llm.enable_thinking == enable


async def test_other_servers_think_while_a_tool_is_forced() -> None:
    for server in (Vllm(tool_calls=[CALL]), Sglang(tool_calls=[CALL]), LlamaCpp(tool_calls=[CALL])):
        response = await ask_with_tools(llm_of(server, enable_thinking=True), "chat", tool_required=True)
        assert parted(response)[0].strip() == server.reasoning


@pytest.mark.parametrize("name", ["dashscope", "vllm", "sglang", "llama.cpp", "ollama"])
@pytest.mark.parametrize("way", WAYS[:4])
async def test_parallel_calls(name: str, way: str) -> None:
    calls = [{"name": "get_weather", "args": {"city": city}} for city in ("Oslo", "Rome")]
    server = SERVERS[name](tool_calls=calls)
    llm = llm_of(server)
    response = await ask_with_tools(llm, way, allow_parallel_tool_calls=True)
    both = [("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Rome"})]
    assert called(llm, response) == both
    assert len({call.tool_id for call in llm.get_tool_calls_from_response(response)}) == 2
    if "stream" not in way:  # LlamaIndex has no place to check streams
        assert called(llm, await ask_with_tools(llm, way)) == both[:1]
        assert str(llm.predict_and_call([WEATHER], user_msg="?")) == "sunny in Oslo"


def test_tools_without_any_are_a_plain_chat(server: ScriptedChat) -> None:
    llm_of(server).chat_with_tools([], user_msg="hi", tool_required=True)
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(server.last)


def test_a_tool_that_is_not_there_cannot_be_forced() -> None:
    for server in (LlamaCpp(), LmStudio()):
        with pytest.raises(ValueError, match="'fly'"):
            llm_of(server).chat_with_tools([WEATHER], user_msg="?", tool_choice="fly")
        assert server.requests == []
    with pytest.raises(openai.BadRequestError, match="does not match any of the specified"):
        llm_of(Vllm()).chat_with_tools([WEATHER], user_msg="?", tool_choice="fly")


def test_arguments_that_were_cut_are_an_error_rather_than_guessed() -> None:
    def handle(request: Any) -> Any:
        call = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Os'}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        choice = {"index": 0, "finish_reason": "length", "message": message}
        return httpx.Response(
            200, json={"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        )

    llm = replying(handle)
    with pytest.raises(ValueError, match=r"get_weather.*no JSON object.*raise max_tokens"):
        llm.predict_and_call([WEATHER], user_msg="Oslo?")


def test_while_a_stream_runs_arguments_are_completed_as_far_as_they_go(server: ScriptedChat) -> None:
    llm = llm_of(server)
    seen = [
        call.tool_kwargs
        for response in llm.stream_chat_with_tools([WEATHER], user_msg="Oslo?")
        for call in llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
    ]
    assert all(set(arguments) <= {"city"} for arguments in seen)
    assert all("Oslo".startswith(arguments.get("city") or "") for arguments in seen)
    assert seen[-1] == {"city": "Oslo"}
