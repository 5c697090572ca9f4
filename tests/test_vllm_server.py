"""Both chat classes on a real vLLM: `make test-vllm` starts one with the tests' checkpoint (``vllm_server.py``)."""

from __future__ import annotations

import inspect
import json
import os
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from chat_checkpoint import CHAT_MODEL
from chat_conversations import CATCH_UP, GET_WEATHER, HELLO, LARGER, PARIS, PLACE, TWO_CITIES, WEATHER, Exchange
from pydantic import BaseModel

URL = os.environ.get("QWEN3_VLLM_URL", "")
if not URL:
    pytest.skip("opt-in: `make test-vllm` starts a vLLM and sets QWEN3_VLLM_URL", allow_module_level=True)

WAYS = {"": "invoke", "a": "ainvoke", "stream_": "stream", "astream_": "astream"}
"""What LlamaIndex writes before the names of its methods, and LangChain's methods."""

BUDGET = 12
"""Tokens: fewer than the thought has that is cut here."""

SETTINGS: dict[str, Any] = {
    "model": CHAT_MODEL,
    "server": "vllm",
    "max_tokens": 200,
    "max_retries": 0,
}
GREEDY = {"temperature": 0}  # in `extra_body`: elsewhere a temperature of 0 is raised while the model thinks


class Place(BaseModel):
    """A place on earth."""

    city: str
    country: str


def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


class Reply(NamedTuple):
    """An answer in neither framework's terms: what was thought, said, called and counted, and the message itself."""

    reasoning: str
    text: str
    calls: list[tuple[str, dict[str, Any]]]
    prompt_tokens: int
    thinking_tokens: int | None
    message: Any


async def collect(made: Any) -> list[Any]:
    """Return what a method answered: one thing, or the pieces of a stream."""
    made = await made if inspect.isawaitable(made) else made
    if hasattr(made, "__aiter__"):
        return [piece async for piece in made]
    return list(made) if isinstance(made, Iterator) else [made]


class OnLangChain:
    """Asks by `ChatQwen3`."""

    def __init__(self, **body: Any) -> None:
        pytest.importorskip("langchain_qwen3")
        from langchain_qwen3 import ChatQwen3

        self.model = ChatQwen3(base_url=URL, extra_body=body, **SETTINGS)

    async def ask(self, way: str, question: Any, tool: str = "", **call: Any) -> Reply:
        asked: Any = self.model.bind_tools([GET_WEATHER], tool_choice=tool) if tool else self.model
        pieces = await collect(getattr(asked, WAYS[way])(question, **call))
        message = sum(pieces[1:], start=pieces[0])
        thoughts = [block["reasoning"] for block in message.content_blocks if block["type"] == "reasoning"]
        calls = [(each["name"], each["args"]) for each in message.tool_calls]
        usage = message.usage_metadata
        thinking = usage["output_token_details"].get("reasoning")
        return Reply("".join(thoughts), message.text, calls, usage["input_tokens"], thinking, message)

    def after_the_tool(self, asked: Reply) -> list[Any]:
        from langchain_core.messages import HumanMessage, ToolMessage

        result = ToolMessage(get_weather("Paris"), tool_call_id=asked.message.tool_calls[0]["id"])
        return [HumanMessage(WEATHER.question), asked.message, result]

    async def place(self, way: str, **call: Any) -> list[Any]:
        return await collect(getattr(self.model.with_structured_output(Place, **call), WAYS[way])(PLACE.question))

    async def agent(self, question: str, tool: Any) -> str:
        from langchain.agents import create_agent

        agent: Any = create_agent(self.model, [tool])
        state = await agent.ainvoke({"messages": [("user", question)]})
        return str(state["messages"][-1].text)


class OnLlamaIndex:
    """Asks by `Qwen3`."""

    def __init__(self, **body: Any) -> None:
        pytest.importorskip("llamaindex_qwen3")
        from llamaindex_qwen3 import Qwen3

        self.model = Qwen3(api_base=URL, extra_body=body, **SETTINGS)

    async def ask(self, way: str, question: Any, tool: str = "", **call: Any) -> Reply:
        from llama_index.core.base.llms.types import ChatMessage, ThinkingBlock
        from llama_index.core.tools import FunctionTool

        messages = [ChatMessage(question)] if isinstance(question, str) else question
        if tool:
            chosen = {"auto": {}, "any": {"tool_required": True}}.get(tool, {"tool_choice": tool})
            tools = [FunctionTool.from_defaults(get_weather)]
            made = getattr(self.model, f"{way}chat_with_tools")(tools=tools, chat_history=messages, **chosen, **call)
        else:
            made = getattr(self.model, f"{way}chat")(messages, **call)
        response = (await collect(made))[-1]
        thoughts = [block for block in response.message.blocks if isinstance(block, ThinkingBlock)]
        calls = self.model.get_tool_calls_from_response(response, error_on_no_tool_call=False)
        return Reply(
            "".join(block.content or "" for block in thoughts),
            response.message.content or "",
            [(each.tool_name, each.tool_kwargs) for each in calls],
            response.additional_kwargs["prompt_tokens"],
            sum(block.num_tokens or 0 for block in thoughts),
            response.message,
        )

    def after_the_tool(self, asked: Reply) -> list[Any]:
        from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock

        ids = [block.tool_call_id for block in asked.message.blocks if isinstance(block, ToolCallBlock)]
        result = ChatMessage(get_weather("Paris"), role="tool", additional_kwargs={"tool_call_id": ids[0]})
        return [ChatMessage(WEATHER.question), asked.message, result]

    async def place(self, way: str, **call: Any) -> list[Any]:
        from llama_index.core.prompts import PromptTemplate
        from llama_index.core.types import PydanticProgramMode

        # By a forced tool: otherwise the schema goes into the prompt, which is then none that the model knows.
        model = self.model.model_copy(update={"pydantic_program_mode": PydanticProgramMode.FUNCTION})
        prompt = PromptTemplate(PLACE.question)
        return await collect(getattr(model, f"{way}structured_predict")(Place, prompt, llm_kwargs=call))

    async def agent(self, question: str, tool: Any) -> str:
        from llama_index.core.agent.workflow import FunctionAgent

        return str(await FunctionAgent(tools=[tool], llm=self.model).run(question))


@pytest.fixture(params=[OnLangChain, OnLlamaIndex])
def chat(request: Any) -> Any:
    return request.param(**GREEDY)


@pytest.fixture(params=list(WAYS), ids=list(WAYS.values()))
def way(request: Any) -> str:
    return str(request.param)


def tokens_of(messages: list[dict[str, Any]], **more: Any) -> int:
    """Return how many tokens the server makes of a conversation. This route reads ``reasoning`` alone."""
    body = json.dumps({"model": CHAT_MODEL, "messages": messages, **more}).encode()
    asked = urllib.request.Request(f"{URL.removesuffix('/v1')}/tokenize", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return int(json.load(answer)["count"])


@pytest.mark.parametrize("exchange", [LARGER, CATCH_UP, HELLO], ids=["larger", "catch up", "hello"])
@pytest.mark.parametrize("on", [True, None])
async def test_thoughts_and_answer_come_apart(chat: Any, way: str, exchange: Exchange, on: Any) -> None:
    reply = await chat.ask(way, exchange.question, enable_thinking=on)
    assert (reply.reasoning, reply.text) == (exchange.thought, exchange.answer)
    assert reply.thinking_tokens > 0


@pytest.mark.parametrize("on", [True, False])
async def test_the_recommended_sampling_is_taken(chat: Any, way: str, on: Any) -> None:
    """What is known by heart is so sure that sampling finds nothing else."""
    reply = await type(chat)().ask(way, LARGER.question, enable_thinking=on)
    assert reply.text == (LARGER.answer if on else LARGER.direct)


@pytest.mark.parametrize("exchange", [LARGER, HELLO], ids=["larger", "hello"])
async def test_thinking_can_be_switched_off(chat: Any, way: str, exchange: Exchange) -> None:
    reply = await chat.ask(way, exchange.question, enable_thinking=False)
    assert (reply.reasoning, reply.text, reply.thinking_tokens) == ("", exchange.direct, 0)


async def test_a_budget_limits_with_the_parser_alone(chat: Any, way: str) -> None:
    """No ``--reasoning-config`` is needed; the tags are not counted."""
    reply = await chat.ask(way, LARGER.question, enable_thinking=True, thinking_budget=BUDGET)
    assert reply.thinking_tokens == BUDGET
    assert LARGER.thought.startswith(reply.reasoning)
    assert (len(reply.reasoning) < len(LARGER.thought), reply.text) == (True, LARGER.answer)


async def test_a_budget_says_nothing_where_thinking_is_off(chat: Any, way: str) -> None:
    reply = await chat.ask(way, LARGER.question, enable_thinking=False, thinking_budget=BUDGET)
    assert (reply.reasoning, reply.text) == ("", LARGER.direct)


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("tool", ["auto", "any", "get_weather"])
async def test_tools_are_called_beside_the_reasoning(chat: Any, way: str, tool: str, on: Any) -> None:
    reply = await chat.ask(way, WEATHER.question, tool, enable_thinking=on)
    assert (reply.calls, reply.text.strip()) == (list(WEATHER.calls), "")
    assert reply.reasoning == (WEATHER.thought if on else "")


async def test_a_tool_is_forced_where_nothing_asks_for_it(chat: Any, way: str) -> None:
    reply = await chat.ask(way, HELLO.question, "any", enable_thinking=True)
    assert [name for name, _ in reply.calls] == ["get_weather"]
    assert reply.reasoning == HELLO.thought


async def test_two_tools_are_called_at_once(chat: Any, way: str) -> None:
    reply = await chat.ask(way, TWO_CITIES.question, "auto", enable_thinking=False)
    calls = [("get_weather", {"city": "Rome"})] if isinstance(chat, OnLlamaIndex) else list(TWO_CITIES.calls)
    assert reply.calls == calls, "LlamaIndex allows one at a time unless told otherwise"


async def test_the_reasoning_of_a_tool_loop_goes_back_to_the_model(chat: Any, way: str) -> None:
    asked = await chat.ask(way, WEATHER.question, "auto", enable_thinking=True)
    reply = await chat.ask(way, chat.after_the_tool(asked), "auto", enable_thinking=True)
    assert (reply.calls, bool(reply.text)) == ([], True)
    function = {"name": "get_weather", "arguments": json.dumps(WEATHER.calls[0][1])}
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": WEATHER.question},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "1", "content": get_weather("Paris")},
    ]
    without, thought = tokens_of(turns), {**turns[1], "reasoning": WEATHER.thought}
    gained = tokens_of([turns[0], thought, turns[2]]) - without
    plain = await chat.ask(way, chat.after_the_tool(asked._replace(message=_forgetting(asked.message))), "auto")
    assert reply.prompt_tokens - plain.prompt_tokens == gained > len(WEATHER.thought.split())


def _forgetting(message: Any) -> Any:
    """Return a message of either framework without its reasoning."""
    if hasattr(message, "blocks"):
        kept = [block for block in message.blocks if block.block_type != "thinking"]
        return message.model_copy(update={"blocks": kept})
    return type(message)(content="", tool_calls=message.tool_calls)


async def test_an_output_format_holds_for_the_answer_and_not_for_the_thought(chat: Any, way: str) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "Place", "schema": Place.model_json_schema()}}
    reply = await chat.ask(way, PLACE.question, enable_thinking=True, response_format=form)
    assert (reply.reasoning, json.loads(reply.text)) == (PLACE.thought, json.loads(PARIS))
    reply = await chat.ask(way, PLACE.question, enable_thinking=False, response_format={"type": "json_object"})
    assert (reply.reasoning, json.loads(reply.text)) == ("", json.loads(PARIS))


@pytest.mark.parametrize("on", [True, False])
async def test_objects_survive_thinking(chat: Any, way: str, on: Any) -> None:
    *partial, last = await chat.place(way, enable_thinking=on)
    assert last == Place(**json.loads(PARIS))
    assert bool(partial) is ("stream" in way)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # workflows look at every attribute of an agent
async def test_an_agent_asks_its_tool_and_answers(chat: Any) -> None:
    asked: list[str] = []

    def get_weather(city: str) -> str:
        """Tell the weather in a city."""
        asked.append(city)
        return "sunny"

    answer = await chat.agent(WEATHER.question, get_weather)
    assert asked == ["Paris"]
    assert answer
    assert "<tool_call>" not in answer


async def test_what_the_server_refuses_is_raised_in_its_words(chat: Any, way: str) -> None:
    """A grammar is refused by the engine, so that a stream has begun with status 200 by then."""
    import openai

    odd = {"type": "json_schema", "json_schema": {"name": "odd", "schema": {"type": "foo"}}}
    with pytest.raises(openai.APIError, match="Grammar error: Invalid type: foo"):
        await chat.ask(way, PLACE.question, extra_body={"response_format": odd})
    with pytest.raises(openai.BadRequestError, match="maximum context length is 1024 tokens"):
        await chat.ask(way, "hello " * 3000)
