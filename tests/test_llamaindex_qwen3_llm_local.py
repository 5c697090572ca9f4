"""`Qwen3Local` in LlamaIndex, with weights that know their lines."""

import asyncio
import copy
import json
import logging
import pickle
from typing import Any

import pytest
from chat_conversations import GET_WEATHER
from fitted_chat import ANSWER, BROKEN, CUT, DIRECT, HELLO, IN_TIME, PLACE, STOPS, THOUGHT, TWO, WEATHER, rehearse
from llama_index.core.agent.workflow import AgentStream, FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock, ThinkingBlock
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.program.function_program import get_function_tool
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool, ToolMetadata
from pydantic import BaseModel, ValidationError

from llamaindex_qwen3.llm_local import Qwen3Local
from llamaindex_qwen3.llm_output import reasoning_in
from llamaindex_qwen3.reasoning import collect_reasoning
from qwen3_core.local_chat import LocalChat
from qwen3_core.local_chat.decoding import END_OF_THINKING

PHRASE = END_OF_THINKING.removesuffix("\n</think>\n\n")
PARIS = [ToolSelection(tool_id="", tool_name="get_weather", tool_kwargs={"city": "Paris"})]


class Place(BaseModel):
    """A place on earth."""

    city: str
    country: str


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> LocalChat:
    tool = get_function_tool(Place).metadata.to_openai_tool(skip_length_check=True)
    return LocalChat(str(rehearse(tmp_path_factory.mktemp("fitted"), [tool])), dtype="float32", device="cpu")


@pytest.fixture
def llm(engine: LocalChat) -> Qwen3Local:
    return Qwen3Local.from_chat(engine)


class Described(ToolMetadata):
    """The definition that the weights have learned."""

    def to_openai_tool(self, skip_length_check: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002
        return GET_WEATHER


def sunny(city: str) -> str:
    return "sunny"


TOOL = FunctionTool(sunny, metadata=Described(name="get_weather", description="Tell the weather in a city."))


def user(messages: list[dict[str, Any]]) -> list[ChatMessage]:
    return [ChatMessage(message["content"], role=message["role"]) for message in messages]


def check_hello(response: Any) -> None:
    message = response.message
    assert (reasoning_in(message), message.content) == (THOUGHT, ANSWER)
    assert [type(block) for block in message.blocks] == [ThinkingBlock, TextBlock]
    assert message.blocks[0].num_tokens > 10
    assert response.additional_kwargs["finish_reason"] == "stop"
    assert response.additional_kwargs["prompt_tokens"] == 10
    assert response.additional_kwargs["completion_tokens"] > 20


def selections(llm: Qwen3Local, response: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(each.tool_name, each.tool_kwargs) for each in llm.get_tool_calls_from_response(response)]


# Answers


async def test_reasoning_and_answer_come_apart_in_every_way_of_asking(llm: Qwen3Local) -> None:
    hello = user(HELLO)
    check_hello(llm.chat(hello))
    check_hello(await llm.achat(hello))
    streams = (list(llm.stream_chat(hello)), [each async for each in await llm.astream_chat(hello)])
    for responses in streams:
        assert len(responses) > 10
        check_hello(responses[-1])
        assert "".join(each.delta or "" for each in responses) == ANSWER
        assert "".join(each.additional_kwargs.get("thinking_delta", "") for each in responses) == THOUGHT


async def test_completions_have_the_reasoning_beside_them(llm: Qwen3Local) -> None:
    for response in (llm.complete("Hello"), await llm.acomplete("Hello")):
        assert (response.additional_kwargs["reasoning"], response.text) == (THOUGHT, ANSWER)
    for responses in (list(llm.stream_complete("Hello")), [each async for each in await llm.astream_complete("Hello")]):
        assert "".join(each.delta or "" for each in responses) == ANSWER
        assert "".join(each.additional_kwargs.get("reasoning_delta", "") for each in responses) == THOUGHT
        assert responses[-1].text == ANSWER


def test_reasoning_reaches_its_collectors(llm: Qwen3Local) -> None:
    with collect_reasoning() as reasoning:
        assert llm.predict(PromptTemplate("{word}"), word="Hello") == ANSWER
    assert reasoning.text == THOUGHT


def test_a_call_wins_over_the_instance_which_stays(llm: Qwen3Local) -> None:
    before = llm.to_dict()
    assert llm.chat(user(HELLO), enable_thinking=False).message.content == DIRECT
    response = llm.chat(user(HELLO), thinking_budget=CUT)
    assert (reasoning_in(response.message), response.message.content) == (f"The user greets me{PHRASE}", IN_TIME)
    assert llm.chat(user(STOPS), enable_thinking=False, stop=["END"]).message.content == "one two three\n\nfour "
    cut = llm.chat(user(HELLO), max_tokens=3)
    assert cut.additional_kwargs["finish_reason"] == "length"
    assert llm.to_dict() == before


def test_fields_of_the_instance_hold_for_its_calls(engine: LocalChat) -> None:
    llm = Qwen3Local.from_chat(engine, enable_thinking=False, stop="END")
    assert llm.chat(user(STOPS)).message.content == "one two three\n\nfour "
    ruled = Qwen3Local.from_chat(engine, enable_thinking="auto", thinking_rule=lambda question, _: "?" in question)
    assert ruled.chat(user(HELLO)).message.content == DIRECT


def test_the_same_seed_says_the_same(llm: Qwen3Local) -> None:
    said = [llm.complete("Other", seed=5, temperature=2.0, top_k=0, max_tokens=12).text for _ in range(2)]
    assert said[0] == said[1]


async def test_a_stream_that_is_left_stops_the_model(llm: Qwen3Local) -> None:
    stream = llm.stream_chat(user(HELLO))
    next(stream)
    stream.close()
    begun = asyncio.Event()

    async def listen() -> None:
        async for _ in await llm.astream_chat(user(HELLO)):
            begun.set()

    task = asyncio.ensure_future(listen())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    check_hello(await llm.achat(user(HELLO)))


# Tools


async def test_a_tool_is_called_and_its_result_answered(llm: Qwen3Local) -> None:
    question = user(WEATHER)[0]
    for called in (llm.chat_with_tools([TOOL], question), await llm.achat_with_tools([TOOL], question)):
        assert selections(llm, called) == [("get_weather", {"city": "Paris"})]
        assert reasoning_in(called.message) == "I need the tool."
        assert called.additional_kwargs["finish_reason"] == "tool_calls"
    call = llm.get_tool_calls_from_response(called)[0]
    result = ChatMessage("sunny", role=MessageRole.TOOL, additional_kwargs={"tool_call_id": call.tool_id})
    # The weights have learned the prompt in which the reasoning of the loop is shown to the model again.
    answer = llm.chat_with_tools([TOOL], chat_history=[question, called.message, result])
    assert answer.message.content == "It is sunny."


def test_one_call_unless_several_are_wanted(llm: Qwen3Local) -> None:
    asked: dict[str, Any] = {"user_msg": user(TWO)[0], "enable_thinking": False}
    several = llm.chat_with_tools([TOOL], allow_parallel_tool_calls=True, **asked)
    assert [given["city"] for _, given in selections(llm, several)] == ["Rome", "Oslo"]
    assert several.message.content == "Both:"
    one = llm.chat_with_tools([TOOL], **asked)
    assert [given["city"] for _, given in selections(llm, one)] == ["Rome"]


def test_broken_arguments_are_an_error_rather_than_guessed(llm: Qwen3Local) -> None:
    broken = llm.chat_with_tools([TOOL], user(BROKEN)[0], enable_thinking=False)
    with pytest.raises(ValueError, match="'get_weather' with arguments that are no JSON object"):
        llm.get_tool_calls_from_response(broken)


@pytest.mark.parametrize("how", [{"tool_required": True}, {"tool_choice": "get_weather"}, {"tool_choice": "any"}])
def test_forced_tools_switch_thinking_off_for_the_call(engine: LocalChat, how: Any, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG, "qwen3_core.local_chat")
    llm = Qwen3Local.from_chat(engine, enable_thinking=True)
    response = llm.chat_with_tools([TOOL], user(WEATHER)[0], **how)
    assert selections(llm, response) == [("get_weather", {"city": "Paris"})]
    assert reasoning_in(response.message) == ""
    assert "thinking is off for this call" in caplog.text


async def test_structured_output(llm: Qwen3Local) -> None:
    prompt, paris = PromptTemplate("Describe {city}."), Place(city="Paris", country="France")
    assert llm.structured_predict(Place, prompt, city="Paris") == paris
    assert await llm.astructured_predict(Place, prompt, city="Paris") == paris
    streamed = list(llm.stream_structured_predict(Place, prompt, city="Paris"))[-1]
    assert streamed.model_dump() == paris.model_dump()
    stream = await llm.astream_structured_predict(Place, prompt, city="Paris")
    assert [each async for each in stream][-1].model_dump() == paris.model_dump()
    assert llm.as_structured_llm(Place).chat(user(PLACE)).raw == paris


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # LlamaIndex's own workflows use old names of pydantic
async def test_an_agent_works_with_it(llm: Qwen3Local) -> None:
    agent = FunctionAgent(tools=[TOOL], llm=llm, streaming=True, allow_parallel_tool_calls=False)
    handler = agent.run(WEATHER[0]["content"])
    thoughts = [event.thinking_delta or "" async for event in handler.stream_events() if isinstance(event, AgentStream)]
    result = await handler
    assert str(result) == "It is sunny."
    assert "I need the tool." in "".join(thoughts)


def test_tools_without_any_are_a_plain_chat(llm: Qwen3Local) -> None:
    check_hello(llm.chat_with_tools([], user(HELLO)[0]))
    with pytest.raises(ValueError, match="called no tool; it said"):
        llm.get_tool_calls_from_response(llm.chat_with_tools([], user(HELLO)[0]))


# The rest


def test_metadata_and_tokens(llm: Qwen3Local, engine: LocalChat) -> None:
    metadata = Qwen3Local(model="Qwen/Qwen3-8B", max_tokens=100).metadata
    assert (metadata.context_window, metadata.num_output) == (40_960, 100)
    assert metadata.is_function_calling_model
    assert Qwen3Local(context_window=1000).metadata.num_output == 500
    assert llm.tokenizer_fn("Hello, 世界!") == engine.token_ids("Hello, 世界!")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({"enable_thinkin": True}, "enable_thinkin"), ({"top_p": 2}, "0 to 1"), ({"api_base": "http://x"}, "api_base")],
)
def test_arguments_that_are_not_there_or_out_of_range(arguments: Any, text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        Qwen3Local(**arguments)


@pytest.mark.parametrize(("call", "text"), [({"top_p": 2}, "0 to 1"), ({"n": 2}, "no argument 'n' for a call")])
def test_wrong_values_in_a_call_are_refused(llm: Qwen3Local, call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        llm.chat(user(HELLO), **call)
    with pytest.raises(ValueError, match=text):
        llm.stream_chat(user(HELLO), **call)


def test_images_are_refused(llm: Qwen3Local) -> None:
    image = ImageBlock(url="data:image/png;base64,AA==")
    with pytest.raises(ValueError, match="takes text only"):
        llm.chat([ChatMessage(blocks=[TextBlock(text="What is this?"), image], role="user")])


@pytest.mark.parametrize(
    "how",
    [
        copy.copy,
        copy.deepcopy,
        lambda llm: pickle.loads(pickle.dumps(llm)),
        lambda llm: Qwen3Local.from_dict(json.loads(json.dumps(llm.to_dict()))),
    ],
)
def test_copies_answer_alike(llm: Qwen3Local, how: Any) -> None:
    check_hello(how(llm).chat(user(HELLO)))
    check_hello(llm.chat(user(HELLO)))


def test_a_copy_with_other_wishes_shares_the_weights(llm: Qwen3Local, engine: LocalChat) -> None:
    twin = llm.model_copy(update={"enable_thinking": False})
    assert twin._local is engine
    assert twin.chat(user(HELLO)).message.content == DIRECT
    assert llm.model_copy(update={"dtype": "bfloat16"})._local is not engine
