"""`ChatQwen3` against real servers: llama.cpp and `transformers serve`, with a model whose answers are known."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from chat_checkpoint import CHAT_MODEL
from chat_conversations import CATCH_UP, HELLO, LARGER, PLACE, TWO_CITIES, WEATHER, Exchange
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_chat import called, get_time, get_weather, parted, ways, whole
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from pydantic import BaseModel

from langchain_qwen3.chat_models import ChatQwen3

pytestmark = pytest.mark.filterwarnings("ignore:The (function|method) .* is in beta")  # the v3 event stream

SERVERS = {"llama.cpp": "llama_cpp_chat_url", "transformers": "transformers_serve_url"}


class Place(BaseModel):
    """A place on earth."""

    city: str
    country: str


PARIS = Place(city="Paris", country="France")


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def chat(server: str, request: pytest.FixtureRequest) -> ChatQwen3:
    return ChatQwen3(model=CHAT_MODEL, base_url=request.getfixturevalue(SERVERS[server]), server=server)


@pytest.mark.parametrize("exchange", [LARGER, CATCH_UP, HELLO], ids=lambda each: each.question[:9])
async def test_thinking_follows_the_switch_in_every_way_to_ask(chat: ChatQwen3, exchange: Exchange) -> None:
    for switch, expected in (
        (True, (exchange.thought, exchange.answer)),
        (False, ("", exchange.direct)),
        (None, (exchange.thought, exchange.answer)),
    ):
        for way, message in (await ways(chat, exchange.question, enable_thinking=switch)).items():
            assert parted(message) == expected, way
            assert message.usage_metadata is not None, way
            assert message.usage_metadata["output_tokens"] > 0, way


async def test_a_url_alone_is_enough(request: pytest.FixtureRequest) -> None:
    for url in map(request.getfixturevalue, SERVERS.values()):
        model = ChatQwen3(model=CHAT_MODEL, base_url=url, enable_thinking=False)
        assert {parted(message) for message in (await ways(model, HELLO.question)).values()} == {("", HELLO.direct)}


def test_thoughts_stream_before_the_answer(chat: ChatQwen3) -> None:
    blocks = [block for chunk in chat.stream(LARGER.question) for block in chunk.content_blocks]
    kinds = [block["type"] for block in blocks if block.get("reasoning") or block.get("text")]
    assert kinds == sorted(kinds)  # "reasoning" before "text"
    assert min(kinds.count("reasoning"), kinds.count("text")) > 3


async def test_tools_are_called_and_their_results_answered(chat: ChatQwen3) -> None:
    model = chat.bind_tools([get_weather])
    for message in (await ways(model, TWO_CITIES.question, enable_thinking=True)).values():
        assert parted(message) == (TWO_CITIES.thought, "")
        assert tuple(called(message)) == TWO_CITIES.calls
    for switch, verdict in ((True, TWO_CITIES.verdict), (False, "")):
        asked = model.invoke(TWO_CITIES.question, enable_thinking=switch)
        results = [ToolMessage("21 degrees", tool_call_id=call["id"]) for call in asked.tool_calls]
        history = [HumanMessage(TWO_CITIES.question), asked, *results]
        for message in (await ways(model, history, enable_thinking=switch)).values():
            assert parted(message) == (verdict, TWO_CITIES.answer)


async def test_an_agent_runs_its_loop(chat: ChatQwen3) -> None:
    agent = create_agent(chat, [get_weather, get_time])
    messages = (await agent.ainvoke({"messages": [HumanMessage(WEATHER.question)]}))["messages"]
    assert [type(message) for message in messages] == [HumanMessage, AIMessage, ToolMessage, AIMessage]
    assert (parted(messages[1])[0], tuple(called(messages[1]))) == (WEATHER.thought, WEATHER.calls)
    assert parted(messages[3]) == (WEATHER.verdict, WEATHER.answer)


def test_an_agent_answers_with_an_object(chat: ChatQwen3) -> None:
    agent = create_agent(chat, [], response_format=ToolStrategy(Place))
    assert agent.invoke({"messages": [HumanMessage(PLACE.question)]})["structured_response"] == PARIS


@pytest.mark.parametrize("switch", [True, False])
@pytest.mark.parametrize("method", [None, "json_schema", "function_calling", "json_mode"])
def test_structured_output_in_every_mode(chat: ChatQwen3, method: Any, switch: bool) -> None:  # noqa: FBT001
    asked = chat.with_structured_output(Place, method=method, include_raw=True, enable_thinking=switch)
    answer = asked.invoke(PLACE.question)
    assert (answer["parsed"], answer["parsing_error"]) == (PARIS, None)
    assert parted(answer["raw"])[0] == (PLACE.thought if switch else "")
    assert list(asked.stream(PLACE.question))[-1]["parsed"] == PARIS


def test_reasoning_of_earlier_turns_does_no_harm(chat: ChatQwen3) -> None:
    first = chat.invoke(LARGER.question)
    history = [HumanMessage(LARGER.question), first, HumanMessage(HELLO.question)]
    assert parted(chat.invoke(history)) == (HELLO.thought, HELLO.answer)
    assert parted(chat.invoke([SystemMessage("be brief and kind"), *history])) == (HELLO.thought, HELLO.answer)


def test_a_limit_within_the_thought_leaves_no_answer(chat: ChatQwen3) -> None:
    for message in (chat.invoke(LARGER.question, max_tokens=12), whole(chat.stream(LARGER.question, max_tokens=12))):
        thought, answer = parted(message)
        assert (bool(thought), LARGER.thought.startswith(thought), answer) == (True, True, "")
        assert message.response_metadata["finish_reason"] == "length"


async def test_a_budget_limits_the_thought(llama_cpp_chat_url: str) -> None:
    model = ChatQwen3(model=CHAT_MODEL, base_url=llama_cpp_chat_url, server="llama.cpp", thinking_budget=12)
    for message in (await ways(model, CATCH_UP.question)).values():
        thought, answer = parted(message)
        assert CATCH_UP.thought.startswith(thought[:10])
        assert CATCH_UP.thought[-20:] not in thought
        assert answer == CATCH_UP.answer
    assert parted(model.invoke(CATCH_UP.question, thinking_budget=500)) == (CATCH_UP.thought, CATCH_UP.answer)


def test_a_forced_tool_is_called_by_llama_cpp(llama_cpp_chat_url: str) -> None:
    model = ChatQwen3(model=CHAT_MODEL, base_url=llama_cpp_chat_url, server="llama.cpp")
    for choice in ("any", "get_weather"):
        message = model.bind_tools([get_weather, Place], tool_choice=choice).invoke(WEATHER.question)
        assert tuple(called(message)) == WEATHER.calls


def test_no_tool_is_called_where_none_may_be(chat: ChatQwen3) -> None:
    message = chat.bind_tools([get_weather], tool_choice="none").invoke(HELLO.question)
    assert (parted(message), message.tool_calls) == ((HELLO.thought, HELLO.answer), [])


def test_refusals_say_what_the_server_says(llama_cpp_chat_url: str, transformers_serve_url: str) -> None:
    here = ChatQwen3(model=CHAT_MODEL, base_url=llama_cpp_chat_url, server="llama.cpp", max_retries=0)
    with pytest.raises(openai.BadRequestError, match="exceeds the available context size"):
        here.invoke("word " * 5000)
    there = ChatQwen3(model="other", base_url=transformers_serve_url, server="transformers", max_retries=0)
    with pytest.raises(openai.BadRequestError, match=f"Server is pinned to '{CHAT_MODEL}'"):
        there.invoke("Hi")
    wrong = ChatQwen3(model=CHAT_MODEL, base_url=transformers_serve_url, extra_body={"top_k": 20}, max_retries=0)
    with pytest.raises(openai.UnprocessableEntityError, match="Unexpected fields in the request"):
        wrong.invoke("Hi")
