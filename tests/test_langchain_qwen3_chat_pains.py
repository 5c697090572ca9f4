"""What users of Qwen3 in LangChain ran into, each once, as it goes over the wire.

Every server here refuses, drops and renames what the real one does; the bare requests show that they do.
"""

import json
from typing import Any

import openai
import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain.chat_models import init_chat_model
from langchain_chat import (
    ANN,
    CALL,
    Person,
    answering,
    called,
    chat_on,
    get_time,
    get_weather,
    parted,
    reasoning_in,
    sending,
    ways,
    whole,
)
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from scripted_chat import SERVERS, DashScope, Ollama, Reply, ScriptedChat, Sglang, Vllm
from scripted_chat.dashscope import FORCED_TOOL, JSON_WHILE_THINKING, NOT_STREAMED_OPEN

# The v3 event stream calls itself beta.
pytestmark = pytest.mark.filterwarnings("ignore:The (function|method) .* is in beta")

QUESTION = "Which is larger, 9.11 or 9.9?"


def bare(server: ScriptedChat, **fields: Any) -> Any:
    """Send a request without any help of ours."""
    client = openai.OpenAI(
        base_url=server.url, api_key=server.key, http_client=server.clients()["http_client"], max_retries=0
    )
    asked = {"model": "qwen3-8b", "messages": [{"role": "user", "content": QUESTION}], **fields}
    return client.chat.completions.create(**asked)


def plain_openai(server: ScriptedChat, **arguments: Any) -> ChatOpenAI:
    """Return LangChain's own model for the same server."""
    made = {"model": "Qwen/Qwen3-8B", "base_url": server.url, "api_key": server.key, "max_retries": 0}
    return ChatOpenAI(**{**made, **server.clients(), **arguments})


async def test_pain_01_thinking_that_dashscope_refuses_unless_it_is_streamed() -> None:
    server = DashScope()
    with pytest.raises(openai.BadRequestError, match=NOT_STREAMED_OPEN):
        bare(server, extra_body={"enable_thinking": True})
    model = chat_on(server)
    for message in (await ways(model, QUESTION, enable_thinking=True)).values():
        assert parted(message) == (server.reasoning, server.content)
        assert server.last["stream"] is True
    assert parted(model.invoke(QUESTION)) == ("", server.content)  # says False rather than fail
    assert (server.last["enable_thinking"], server.last["stream"]) == (False, False)


async def test_pain_02_reasoning_that_chat_openai_loses() -> None:
    for server in (Vllm(), Sglang(), Ollama()):
        assert reasoning_in(plain_openai(server).invoke(QUESTION)) == ""
        for message in (await ways(chat_on(server), QUESTION)).values():
            assert parted(message) == (server.reasoning, server.content)


@pytest.mark.parametrize("model", ["qwen3-8b", "qwen3.6-plus", "qwen3.8-max"])
async def test_pain_03_forced_tools_that_are_refused_in_thinking_mode(model: str) -> None:
    server = DashScope(tool_calls=[CALL])
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {}}}]
    for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
        with pytest.raises(openai.BadRequestError, match=FORCED_TOOL):
            list(
                bare(
                    server,
                    model=model,
                    tools=tools,
                    tool_choice=choice,
                    stream=True,
                    extra_body={"enable_thinking": True},
                )
            )
    chat = chat_on(server, model=model, enable_thinking=True)
    for forced in ("any", "get_weather"):
        for message in (await ways(chat.bind_tools([get_weather], tool_choice=forced), "Oslo?")).values():
            assert called(message) == [("get_weather", {"city": "Oslo"})]
        assert server.last["enable_thinking"] is False
    assert reasoning_in(chat.invoke(QUESTION))  # of that call alone


async def test_pain_04_json_that_is_refused_while_thinking() -> None:
    server = DashScope(content=json.dumps(ANN), tool_calls=[{"name": "Person", "args": ANN}])
    with pytest.raises(openai.BadRequestError, match=JSON_WHILE_THINKING):
        list(bare(server, stream=True, response_format={"type": "json_object"}, extra_body={"enable_thinking": True}))
    model = chat_on(server, enable_thinking=True)
    for method in ("json_mode", "json_schema", "function_calling"):
        chain = model.with_structured_output(Person, method=method)
        assert chain.invoke("json") == await chain.ainvoke("json") == list(chain.stream("json"))[-1] == Person(**ANN)
        assert server.last["enable_thinking"] is False
    assert reasoning_in(model.invoke(QUESTION))


@pytest.mark.parametrize("word", ["vllm", "sglang", "llama.cpp"])
async def test_pain_05_a_switch_that_only_the_chat_template_reads(word: str) -> None:
    server = SERVERS[word]()
    bare(server, extra_body={"enable_thinking": False})
    assert server.plans[-1].thinks  # at the top level nobody looks
    for arguments in ({"server": word}, {"server": "auto", "base_url": "http://127.0.0.1:8000/v1"}):
        for message in (await ways(chat_on(server, enable_thinking=False, **arguments), QUESTION)).values():
            assert parted(message) == ("", server.content)
            assert server.last["chat_template_kwargs"]["enable_thinking"] is False


@pytest.mark.parametrize("arguments", [{"server": "ollama"}, {"server": "auto"}])
async def test_pain_06_a_switch_for_ollamas_openai_route(arguments: Any) -> None:
    server = Ollama()
    for guess in ({"think": False}, {"enable_thinking": False}, {"chat_template_kwargs": {"enable_thinking": False}}):
        bare(server, extra_body=guess)
        assert server.plans[-1].thinks
    for message in (await ways(chat_on(server, enable_thinking=False, **arguments), QUESTION)).values():
        assert parted(message) == ("", server.content)
        assert server.last["reasoning_effort"] == "none"


@pytest.mark.parametrize("version", ["0.9", "0.15", "current"])
async def test_pain_07_reasoning_under_its_old_and_its_new_name(version: Any) -> None:
    server = Vllm(version=version)
    message = bare(server, extra_body={"chat_template_kwargs": {"enable_thinking": True}}).choices[0].message
    assert message.model_extra["reasoning_content" if version == "0.9" else "reasoning"]
    for answer in (await ways(chat_on(server), QUESTION)).values():
        assert parted(answer) == (server.reasoning, server.content)


@pytest.mark.parametrize("word", ["dashscope", "vllm", "sglang", "llama.cpp", "ollama"])
async def test_pain_08_reasoning_that_is_dropped_between_the_turns_of_a_tool_loop(word: str) -> None:
    server = SERVERS[word](tool_calls=[CALL])
    model = chat_on(server, enable_thinking=True).bind_tools([get_weather])
    question = HumanMessage("Oslo?")
    for message in (await ways(model, [question])).values():
        model.invoke([question, message, ToolMessage("sunny", tool_call_id=message.tool_calls[0]["id"])])
        assert [kept.strip() for kept in server.seen.kept] == [server.reasoning]
    other = plain_openai(server, model=model.bound.model_name).bind_tools([get_weather])  # type: ignore[attr-defined]
    lost = message.model_copy(update={"additional_kwargs": {}})
    if word != "dashscope":
        other.invoke([question, lost, ToolMessage("sunny", tool_call_id=message.tool_calls[0]["id"])])
        assert server.seen.kept == ()


def test_pain_09_pieces_of_tool_calls_with_indices_of_their_own() -> None:
    # SGLang before 0.4.7: the first piece has the tool's place in the request, the others the call's (sglang#6310).
    pieces = [
        {"index": 1, "id": "a", "function": {"name": "get_time", "arguments": ""}},
        {"index": 0, "id": None, "function": {"arguments": '{"city": "Oslo"}'}},
        {"index": 0, "id": "b", "function": {"name": "get_weather", "arguments": ""}},
        {"index": 1, "id": None, "function": {"arguments": '{"city": "Oslo"}'}},
    ]
    model = sending([{"tool_calls": [piece]} for piece in pieces], "tool_calls")
    for message in (whole(model.stream("hi")), model.stream_events("hi", version="v3").output):
        assert called(message) == [("get_time", {"city": "Oslo"}), ("get_weather", {"city": "Oslo"})]
        assert message.invalid_tool_calls == []
    # DashScope: later pieces have an empty id, which must not become the call's.
    server = DashScope(tool_calls=[CALL, {"name": "get_time", "args": {"city": "Rome"}}])
    chat: Any = chat_on(server).bind_tools([get_weather, get_time], parallel_tool_calls=True)
    for message in (whole(chat.stream("hi")), chat.stream_events("hi", version="v3").output):
        assert called(message) == [("get_weather", {"city": "Oslo"}), ("get_time", {"city": "Rome"})]
        assert all(call["id"] for call in message.tool_calls)


@pytest.mark.parametrize("word", ["vllm", "sglang"])
@pytest.mark.parametrize("on", [True, False])
async def test_pain_10_structured_output_of_qwen3_on_vllm_and_sglang(word: str, on: Any) -> None:
    server = SERVERS[word](content=json.dumps(ANN))
    chain = chat_on(server, enable_thinking=on).with_structured_output(Person)
    assert chain.invoke("Ann?") == await chain.ainvoke("Ann?") == list(chain.stream("Ann?"))[-1] == Person(**ANN)
    assert server.seen.enable_thinking is on
    # vLLM before 0.9.1 took the JSON for reasoning where thinking was off (vllm#18879).
    old = answering({"reasoning_content": json.dumps(ANN), "content": None}, enable_thinking=on)
    assert old.with_structured_output(Person).invoke("Ann?") == Person(**ANN)


def test_pain_11_an_agent_that_forces_a_tool_in_every_turn() -> None:
    def brain(messages: Any, tools: Any, body: Any) -> Reply:
        asked = any(message["role"] == "tool" for message in messages)
        return Reply("", "hm", [{"name": "Person", "args": ANN} if asked else CALL])

    for server in (DashScope(brain=brain), Vllm(brain=brain), Sglang(brain=brain)):
        model = chat_on(server, enable_thinking=True)
        state = create_agent(model, [get_weather], response_format=ToolStrategy(Person)).invoke(
            {"messages": [HumanMessage("Who is in Oslo?")]}
        )
        assert state["structured_response"] == Person(**ANN)
        assert len(server.plans) == len(server.requests) == 2
        assert model.enable_thinking is True


def test_pain_12_no_qwen_in_init_chat_model() -> None:
    # LangChain's list of providers is closed. As "openai" the model is there without what is Qwen's; an instance of
    # ours goes wherever a model goes.
    server = Vllm()
    clients = server.clients()
    as_openai = init_chat_model(
        "Qwen/Qwen3-8B", model_provider="openai", base_url=server.url, api_key="k", http_client=clients["http_client"]
    )
    assert reasoning_in(as_openai.invoke(QUESTION)) == ""
    with pytest.raises(ValueError, match="Unsupported provider='qwen3'"):
        init_chat_model("Qwen/Qwen3-8B", model_provider="qwen3")
    state = create_agent(chat_on(server), []).invoke({"messages": [HumanMessage(QUESTION)]})
    assert parted(state["messages"][-1]) == (server.reasoning, server.content)
