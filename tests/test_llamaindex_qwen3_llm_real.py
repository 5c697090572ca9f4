"""`Qwen3` against real servers: llama.cpp and `transformers serve`, with a model whose answers are known."""

from __future__ import annotations

from typing import Any

import pytest
from chat_checkpoint import CHAT_MODEL
from chat_conversations import CATCH_UP, HELLO, LARGER, PLACE, TWO_CITIES, WEATHER, Exchange
from llama_index.core.agent.workflow import AgentStream, FunctionAgent, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llamaindex_chat import ask, called, parted
from pydantic import BaseModel

from llamaindex_qwen3.llms import Qwen3
from llamaindex_qwen3.testing.llm import get_weather

# LlamaIndex's workflows use old names of pydantic.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SERVERS = {"llama.cpp": "llama_cpp_chat_url", "transformers": "transformers_serve_url"}
WAYS = [way + method for method in ("chat", "complete") for way in ("", "a", "stream_", "astream_")]
TOOL = FunctionTool.from_defaults(get_weather)


class Place(BaseModel):
    """A place on earth."""

    city: str
    country: str


PARIS = Place(city="Paris", country="France")


@pytest.fixture(params=SERVERS)
def llm(request: pytest.FixtureRequest) -> Qwen3:
    name = request.param
    return Qwen3(model=CHAT_MODEL, api_base=request.getfixturevalue(SERVERS[name]), server=name)


def user(text: str) -> list[ChatMessage]:
    return [ChatMessage(role=MessageRole.USER, content=text)]


@pytest.mark.parametrize("exchange", [LARGER, CATCH_UP, HELLO], ids=lambda each: each.question[:9])
@pytest.mark.parametrize("way", WAYS)
async def test_thinking_follows_the_switch_in_every_way_to_ask(llm: Qwen3, way: str, exchange: Exchange) -> None:
    for switch, expected in ((True, (exchange.thought, exchange.answer)), (False, ("", exchange.direct))):
        responses = await ask(llm, way, user(exchange.question), enable_thinking=switch)
        assert parted(responses[-1]) == expected
        assert (len(responses) > 3) is ("stream" in way)


async def test_a_url_alone_is_enough(request: pytest.FixtureRequest) -> None:
    for url in map(request.getfixturevalue, SERVERS.values()):
        llm = Qwen3(model=CHAT_MODEL, api_base=url, enable_thinking=False)
        for way in WAYS:
            assert parted((await ask(llm, way, user(HELLO.question)))[-1]) == ("", HELLO.direct)


@pytest.mark.parametrize("switch", [True, False])
async def test_tools_are_called_and_their_results_answered(llm: Qwen3, switch: bool) -> None:  # noqa: FBT001
    thought, verdict = (TWO_CITIES.thought, TWO_CITIES.verdict) if switch else ("", "")
    call: dict[str, Any] = {"tools": [TOOL], "allow_parallel_tool_calls": True, "enable_thinking": switch}
    streamed = [each async for each in await llm.astream_chat_with_tools(user_msg=TWO_CITIES.question, **call)]
    for response in (llm.chat_with_tools(user_msg=TWO_CITIES.question, **call), streamed[-1]):
        assert parted(response) == (thought, "")
        assert tuple(called(llm, response)) == TWO_CITIES.calls
        made = llm.get_tool_calls_from_response(response)
        results = [
            ChatMessage(role=MessageRole.TOOL, content="21 degrees", additional_kwargs={"tool_call_id": each.tool_id})
            for each in made
        ]
        history = [*user(TWO_CITIES.question), response.message, *results]
        assert parted(llm.chat_with_tools(chat_history=history, **call)) == (verdict, TWO_CITIES.answer)


async def test_an_agent_runs_its_loop(llm: Qwen3) -> None:
    handler = FunctionAgent(llm=llm, tools=[TOOL], timeout=120).run(WEATHER.question)
    events = [event async for event in handler.stream_events()]
    assert [event.tool_kwargs for event in events if isinstance(event, ToolCallResult)] == [{"city": "Paris"}]
    thoughts = "".join((event.thinking_delta or "").strip("\n") for event in events if isinstance(event, AgentStream))
    assert thoughts == f"{WEATHER.thought}{WEATHER.verdict}"
    result: Any = await handler
    assert result.response.content == WEATHER.answer


@pytest.mark.parametrize("switch", [True, False])
async def test_structured_output(llm: Qwen3, switch: bool) -> None:  # noqa: FBT001
    asked = llm.as_structured_llm(Place)
    assert asked.chat(user(PLACE.question), enable_thinking=switch).raw == PARIS
    assert list(asked.stream_chat(user(PLACE.question), enable_thinking=switch))[-1].raw == PARIS
    predicted = await llm.astructured_predict(Place, PromptTemplate(PLACE.question))
    assert predicted == PARIS


async def test_a_budget_limits_the_thought(llama_cpp_chat_url: str) -> None:
    llm = Qwen3(model=CHAT_MODEL, api_base=llama_cpp_chat_url, server="llama.cpp", thinking_budget=12)
    for way in WAYS:
        thought, answer = parted((await ask(llm, way, user(CATCH_UP.question)))[-1])
        assert CATCH_UP.thought.startswith(thought[:10])
        assert CATCH_UP.thought[-20:] not in thought
        assert answer == CATCH_UP.answer


def test_reasoning_of_earlier_turns_does_no_harm(llm: Qwen3) -> None:
    first = llm.chat(user(LARGER.question))
    history = [*user(LARGER.question), first.message, *user(HELLO.question)]
    assert parted(llm.chat(history)) == (HELLO.thought, HELLO.answer)
