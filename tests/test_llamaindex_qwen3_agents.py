"""LlamaIndex's agents with `Qwen3`: tool loops that think, on servers with their own rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import openai
import pytest
from llama_index.core.agent.workflow import AgentOutput, AgentStream, FunctionAgent, ReActAgent, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage, ThinkingBlock
from llama_index.core.memory import ChatMemoryBuffer, Memory
from llama_index.core.tools import FunctionTool
from llamaindex_chat import CALL, WEATHER, llm_of
from pydantic import BaseModel
from scripted_chat import (
    SERVERS,
    Cut,
    DashScope,
    LlamaCpp,
    Ollama,
    OpenAIGeneric,
    Reply,
    ScriptedChat,
    Sglang,
    TransformersServe,
    Vllm,
)
from sqlalchemy.ext.asyncio import create_async_engine

from llamaindex_qwen3.llms import Qwen3
from llamaindex_qwen3.testing.llm import get_weather

# LlamaIndex's own workflows use old names of pydantic.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

QUESTION = "What is the weather in Oslo?"
FIRST, THEN = "I have to look.", "Now I know."
ANSWER = "It is sunny."


def weather_brain(messages: list[dict[str, Any]], tools: list[dict[str, Any]], body: dict[str, Any]) -> Reply:
    """Look the weather up, then answer."""
    if messages[-1]["role"] == "tool" or not tools:
        return Reply(ANSWER, THEN)
    return Reply("", FIRST, [CALL])


def served(name: str, **more: Any) -> ScriptedChat:
    return SERVERS[name](**{"brain": weather_brain, **more})


def agent_of(llm: Qwen3, **more: Any) -> FunctionAgent:
    # A timeout, since a workflow whose LLM fails in a task may wait for ever.
    return FunctionAgent(**{"llm": llm, "tools": [WEATHER], "timeout": 30, **more})


async def run(agent: Any, question: str = QUESTION, **more: Any) -> tuple[list[Any], AgentOutput]:
    """Return the events of one run and what came of it."""
    handler = agent.run(question, **more)
    events = [event async for event in handler.stream_events()]
    return events, await handler


def thought(events: Sequence[Any]) -> str:
    return "".join(event.thinking_delta or "" for event in events if isinstance(event, AgentStream))


def streamed(events: Sequence[Any]) -> str:
    return "".join(event.delta for event in events if isinstance(event, AgentStream))


def reasoning_sent(body: dict[str, Any]) -> list[str]:
    """Return the names of the fields in which a request takes reasoning along."""
    return sorted({name for message in body["messages"] for name in message if name.startswith("reasoning")})


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("name", ["dashscope", "vllm", "sglang", "ollama", "llama.cpp"])
async def test_a_tool_loop_thinks_and_is_shown_its_own_thoughts(name: str, on: Any) -> None:
    server = served(name)
    events, output = await run(agent_of(llm_of(server, enable_thinking=on)))
    assert str(output) == streamed(events) == ANSWER
    assert thought(events).replace("\n", "") == (FIRST + THEN if on else "")
    assert [event.tool_output.content for event in events if isinstance(event, ToolCallResult)] == ["sunny in Oslo"]
    assert len(server.requests) == 2
    assert [text.strip() for text in server.seen.kept] == ([FIRST] if on else [])
    assert bool(reasoning_sent(server.last)) is on
    assert [isinstance(block, ThinkingBlock) for block in output.response.blocks] == ([True, False] if on else [False])


def test_each_server_gets_the_reasoning_where_it_reads_it() -> None:
    call = [ChatMessage(QUESTION)]
    for server, fields in (
        (DashScope(), ["reasoning_content"]),
        (Sglang(), ["reasoning_content"]),
        (LlamaCpp(), ["reasoning_content"]),
        (Ollama(), ["reasoning"]),
        (Vllm(), ["reasoning", "reasoning_content"]),
        (Vllm(version="0.15"), ["reasoning", "reasoning_content"]),
        (TransformersServe(), []),
        (OpenAIGeneric(), []),
    ):
        server.brain = weather_brain
        llm = llm_of(server, enable_thinking=True)
        first = llm.chat_with_tools([WEATHER], chat_history=call).message
        first.blocks.insert(0, ThinkingBlock(content=FIRST)) if server.server == "openai" else None
        tool_id = first.additional_kwargs["tool_calls"][0]["id"]
        result = ChatMessage(role="tool", content=get_weather("Oslo"), additional_kwargs={"tool_call_id": tool_id})
        llm.chat_with_tools([WEATHER], chat_history=[*call, first, result])
        assert reasoning_sent(server.last) == fields
        assert bool(server.seen.kept) is bool(fields)
        # A new question ends the loop: what was thought before it is not sent again.
        llm.chat_with_tools([WEATHER], chat_history=[*call, first, result, ChatMessage("Thanks. And in Rome?")])
        assert reasoning_sent(server.last) == []


@pytest.mark.parametrize("enable", [True, None, "auto"])
async def test_a_forced_first_tool_switches_thinking_off_for_that_call_alone(enable: Any) -> None:
    server = served("dashscope")
    llm = llm_of(server, enable_thinking=enable, thinking_rule=lambda question, context: True)
    events, output = await run(agent_of(llm, initial_tool_choice="get_weather"))
    first, second = server.requests
    assert (first["enable_thinking"], first["tool_choice"]["function"]["name"]) == (False, "get_weather")
    assert second.get("enable_thinking") is (True if enable else None)
    assert "tool_choice" not in second
    assert [plan.thinks for plan in server.plans] == [False, True]
    assert (thought(events), str(output)) == (THEN, ANSWER)
    assert llm.enable_thinking == enable


@pytest.mark.parametrize(("name", "choice"), [("vllm", dict), ("sglang", dict), ("llama.cpp", str)])
async def test_elsewhere_a_forced_first_tool_leaves_thinking_on(name: str, choice: type) -> None:
    server = served(name)
    events, output = await run(agent_of(llm_of(server, enable_thinking=True), initial_tool_choice="get_weather"))
    assert isinstance(server.requests[0]["tool_choice"], choice)
    assert thought(events).replace("\n", "") == FIRST + THEN
    assert str(output) == ANSWER


@pytest.mark.parametrize("name", ["dashscope", "vllm", "sglang", "ollama"])
@pytest.mark.parametrize("streaming", [True, False])
async def test_parallel_calls_are_made_and_answered_together(name: str, streaming: Any) -> None:
    cities = ("Oslo", "Rome", "Lima")

    def brain(messages: list[dict[str, Any]], tools: list[dict[str, Any]], body: dict[str, Any]) -> Reply:
        results = [message["content"] for message in messages if message["role"] == "tool"]
        if results:
            return Reply("; ".join(results), THEN)
        return Reply("", FIRST, [{"name": "get_weather", "args": {"city": city}} for city in cities])

    server = served(name, brain=brain)
    _, output = await run(agent_of(llm_of(server, enable_thinking=True), streaming=streaming))
    assert sorted(str(output).split("; ")) == sorted(get_weather(city) for city in cities)
    assert len(server.requests) == 2
    _, asked, *answered = server.last["messages"]
    wanted = {call["id"]: json.loads(call["function"]["arguments"])["city"] for call in asked["tool_calls"]}
    # They ran side by side, and came back in any order.
    assert {message["tool_call_id"]: message["content"].removeprefix("sunny in ") for message in answered} == wanted


class Report(BaseModel):
    """A weather report."""

    city: str
    sunny: bool


@pytest.mark.parametrize("name", ["dashscope", "vllm", "sglang", "ollama", "transformers"])
async def test_an_agent_with_an_output_class(name: str) -> None:
    report = {"city": "Oslo", "sunny": True}

    def brain(messages: list[dict[str, Any]], tools: list[dict[str, Any]], body: dict[str, Any]) -> Reply:
        names = [tool["function"]["name"] for tool in tools]
        if "Report" in names:
            return Reply("", "{}", [{"name": "Report", "args": report}])
        if not tools:
            return Reply(json.dumps(report), "{}")
        return weather_brain(messages, tools, body)

    server = served(name, brain=brain)
    _, output = await run(agent_of(llm_of(server, enable_thinking=True), output_cls=Report))
    assert output.get_pydantic_model(Report) == Report(city="Oslo", sunny=True)
    assert str(output) == ANSWER


@pytest.mark.parametrize("name", ["dashscope", "vllm", "ollama"])
async def test_a_react_agent_reads_the_answer_alone(name: str) -> None:
    # What it thinks looks like a step of the agent's, and must not be taken for one.
    tempting = 'Action: get_weather\nAction Input: {"city": "Atlantis"}'

    def brain(messages: list[dict[str, Any]], tools: list[dict[str, Any]], body: dict[str, Any]) -> Reply:
        if "sunny in Oslo" in json.dumps(messages):
            return Reply(f"Thought: I can answer without using any more tools.\nAnswer: {ANSWER}", tempting)
        return Reply('Thought: I need a tool.\nAction: get_weather\nAction Input: {"city": "Oslo"}', tempting)

    server = served(name, brain=brain)
    agent = ReActAgent(llm=llm_of(server, enable_thinking=True), tools=[WEATHER], timeout=30)
    events, output = await run(agent)
    assert str(output) == ANSWER
    assert [event.tool_kwargs for event in events if isinstance(event, ToolCallResult)] == [{"city": "Oslo"}]
    assert "Atlantis" not in json.dumps([message["content"] for message in server.last["messages"]])


async def test_a_memory_survives_json_with_thoughts_and_calls() -> None:
    server = served("vllm")
    agent, memory = agent_of(llm_of(server, enable_thinking=True)), ChatMemoryBuffer.from_defaults(token_limit=9000)
    await run(agent, memory=memory)
    kept = memory.get_all()
    assert [message.role.value for message in kept] == ["user", "assistant", "tool", "assistant"]
    assert [block.content for message in kept for block in message.blocks if isinstance(block, ThinkingBlock)]
    # `ChatMemoryBuffer.to_string` of llama-index-core 0.14.25 fails with pydantic 2.14, whatever the messages.
    restored = [ChatMessage.model_validate_json(message.model_dump_json()) for message in kept]
    assert restored == kept
    await run(agent, "And tomorrow?", memory=ChatMemoryBuffer.from_defaults(restored, token_limit=9000))
    asked = server.requests[2]["messages"]
    assert [message["role"] for message in asked] == ["user", "assistant", "tool", "assistant", "user"]
    assert asked[1]["tool_calls"][0]["id"] == asked[2]["tool_call_id"]
    assert reasoning_sent(server.requests[2]) == []  # those thoughts belong to another question


async def test_a_memory_in_a_database_gives_back_what_it_was_given() -> None:
    server = served("dashscope")
    engine = create_async_engine("sqlite+aiosqlite:///:memory:")
    memory = Memory.from_defaults(session_id="one", async_engine=engine)
    agent = agent_of(llm_of(server, enable_thinking=True))
    await run(agent, memory=memory)
    again = Memory.from_defaults(session_id="one", async_engine=engine)
    kept = await again.aget_all()
    assert [block.content for message in kept for block in message.blocks if isinstance(block, ThinkingBlock)] == [
        FIRST, THEN,
    ]  # fmt: skip
    _, output = await run(agent, "And tomorrow?", memory=again)
    assert str(output) == ANSWER
    await engine.dispose()


@pytest.mark.parametrize("clean", [True, False])
async def test_a_stream_that_breaks_off_ends_the_run_with_an_error(clean: Any) -> None:
    server = served("vllm", faults=[Cut(4, clean=clean)])
    with pytest.raises(openai.APIConnectionError, match="broke off"):
        await run(agent_of(llm_of(server, enable_thinking=True)))
    assert len(server.requests) == 1


async def test_one_model_serves_agents_side_by_side_and_stays_as_it_is() -> None:
    server = served("vllm")
    llm = llm_of(server, enable_thinking="auto")
    before = llm.to_dict()
    await run(agent_of(llm))
    await run(agent_of(llm, tools=[WEATHER, FunctionTool.from_defaults(lambda: "", name="other", description="None")]))
    assert llm.to_dict() == before
    assert llm.thinking_rule is not None
