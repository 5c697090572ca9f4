"""`ChatQwen3Local` in LangChain, with weights that know their lines."""

import asyncio
import copy
import importlib
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
from chat_conversations import GET_WEATHER
from fitted_chat import ANSWER, BROKEN, CUT, DIRECT, HELLO, IN_TIME, PLACE, STOPS, THOUGHT, TWO, WEATHER, rehearse
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumpd, load
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_tests.unit_tests import ChatModelUnitTests
from pydantic import BaseModel, ValidationError
from syrupy.assertion import SnapshotAssertion
from syrupy.filters import props

from langchain_qwen3.chat_local import ChatQwen3Local
from qwen3_core.local_chat import LocalChat
from qwen3_core.local_chat.decoding import END_OF_THINKING

# `load` and the v3 event stream call themselves beta.
pytestmark = pytest.mark.filterwarnings("ignore:The (function|method) .* is in beta")

PHRASE = END_OF_THINKING.removesuffix("\n</think>\n\n")


@tool
def get_weather(city: str) -> str:
    """Tell the weather in a city, in LangChain's words."""
    return "sunny"


class Place(BaseModel):
    """A place on earth."""

    city: str
    country: str


PLACE_SCHEMA = {
    "title": "Place",
    "description": "Where something is.",
    "type": "object",
    "properties": {"city": {"type": "string"}, "country": {"type": "string"}},
    "required": ["city", "country"],
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> LocalChat:
    places = [convert_to_openai_tool(each) for each in (Place, PLACE_SCHEMA)]
    folder = rehearse(tmp_path_factory.mktemp("fitted"), places, [GET_WEATHER, convert_to_openai_tool(get_weather)])
    return LocalChat(str(folder), dtype="float32", device="cpu")


@pytest.fixture
def chat(engine: LocalChat) -> ChatQwen3Local:
    return ChatQwen3Local.from_chat(engine)


class TestStandard(ChatModelUnitTests):
    """langchain-tests' own suite."""

    @property
    def chat_model_class(self) -> type[ChatQwen3Local]:
        return ChatQwen3Local

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        return {"temperature": 0, "max_tokens": 100, "stop": []}  # there is no server to wait for and no key

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "Qwen/Qwen3-0.6B"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"UNUSED": "1"}, {"model": "Qwen/Qwen3-0.6B"}, {"model": "Qwen/Qwen3-0.6B"}

    @pytest.fixture(autouse=True)
    def _trusted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # "all" in `test_serdes` means the packages that langchain-core lists; users pass allowed_objects=[...].
        core_load = importlib.import_module("langchain_core.load.load")
        listed = core_load._get_default_allowed_class_paths("all")
        monkeypatch.setitem(core_load._default_class_paths_cache, "all", {*listed, tuple(ChatQwen3Local.lc_id())})

    @pytest.fixture
    def snapshot(self, snapshot: SnapshotAssertion) -> SnapshotAssertion:
        return snapshot.with_defaults(exclude=props("lc_versions"))  # installed versions are no property of ours


def reasoning_of(message: Any) -> str:
    return "".join(block["reasoning"] for block in message.content_blocks if block["type"] == "reasoning")


def check_hello(message: AIMessage) -> None:
    assert (reasoning_of(message), message.text) == (THOUGHT, ANSWER)
    assert [block["type"] for block in message.content_blocks] == ["reasoning", "text"]
    assert message.usage_metadata
    assert message.usage_metadata["input_tokens"] == 10
    assert message.usage_metadata["output_token_details"]["reasoning"] > 10
    assert message.response_metadata["finish_reason"] == "stop"
    assert message.response_metadata["model_provider"] == "qwen"


# Answers


async def test_reasoning_and_answer_come_apart_in_every_way_of_asking(chat: ChatQwen3Local) -> None:
    check_hello(chat.invoke("Hello"))
    check_hello(await chat.ainvoke("Hello"))
    chunks = list(chat.stream("Hello"))
    assert len(chunks) > 10
    check_hello(sum(chunks[1:], chunks[0]))
    chunks = [chunk async for chunk in chat.astream("Hello")]
    check_hello(sum(chunks[1:], chunks[0]))
    for message in chat.batch(["Hello", "Hello"]):
        check_hello(message)


def test_the_event_stream_has_reasoning_and_text(chat: ChatQwen3Local) -> None:
    stream = chat.stream_events("Hello", version="v3")
    assert "".join(stream.reasoning) == THOUGHT
    assert "".join(stream.text) == ANSWER
    assert stream.output.response_metadata["finish_reason"] == "stop"


def test_content_as_blocks(chat: ChatQwen3Local) -> None:
    message = chat.model_copy(update={"output_version": "v1"}).invoke("Hello")
    assert isinstance(message.content, list)
    check_hello(message)


def test_a_call_and_bind_win_over_the_instance_which_stays(chat: ChatQwen3Local) -> None:
    before = chat.model_dump()
    assert chat.invoke("Hello", enable_thinking=False).text == DIRECT
    bound = chat.bind(thinking_budget=CUT)
    message = bound.invoke("Hello")
    assert (reasoning_of(message), message.text) == (f"The user greets me{PHRASE}", IN_TIME)
    assert chat.bind(enable_thinking=False).invoke("Hello", enable_thinking=True).text == ANSWER
    assert chat.model_dump() == before
    check_hello(chat.invoke("Hello"))


def test_fields_of_the_instance_hold_for_its_calls(engine: LocalChat) -> None:
    chat = ChatQwen3Local.from_chat(engine, enable_thinking=False, stop="END", max_tokens=8)
    message = chat.invoke(STOPS)
    assert (message.text, message.response_metadata["finish_reason"]) == ("one two three\n\nfour ", "stop")
    assert chat.invoke(STOPS, stop=["three"]).text == "one two "
    assert chat.invoke(STOPS, max_tokens=2).response_metadata["finish_reason"] == "length"


def test_a_rule_decides_about_thinking(engine: LocalChat) -> None:
    chat = ChatQwen3Local.from_chat(engine, enable_thinking="auto", thinking_rule=lambda question, _: "?" in question)
    assert chat.invoke("Hello").text == DIRECT
    assert chat.invoke("Hello", thinking_rule=lambda *_: True).text == ANSWER


def test_the_same_seed_says_the_same(chat: ChatQwen3Local) -> None:
    asked: dict[str, Any] = {"temperature": 2.0, "top_k": 0, "max_tokens": 12}
    assert chat.invoke("Other", seed=5, **asked).content == chat.invoke("Other", seed=5, **asked).content


def test_handlers_see_every_chunk(chat: ChatQwen3Local) -> None:
    seen: list[Any] = []

    class Handler(BaseCallbackHandler):
        def on_llm_new_token(self, token: str, *, chunk: ChatGenerationChunk | None = None, **_: Any) -> None:  # type: ignore[override]
            seen.append(chunk)

    chunks = list(chat.stream("Hello", config={"callbacks": [Handler()]}))
    assert [each.message.content for each in seen] == [chunk.content for chunk in chunks]


async def test_a_stream_that_is_left_stops_the_model(chat: ChatQwen3Local) -> None:
    stream = chat.stream("Hello")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    begun = asyncio.Event()

    async def listen() -> None:
        async for _ in chat.astream("Hello"):
            begun.set()

    task = asyncio.ensure_future(listen())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    check_hello(await chat.ainvoke("Hello"))


# Tools


def test_a_tool_is_called_and_its_result_answered(chat: ChatQwen3Local) -> None:
    with_tools = chat.bind_tools([GET_WEATHER])
    question = HumanMessage(WEATHER[0]["content"])
    called = with_tools.invoke([question])
    assert isinstance(called, AIMessage)
    assert [(call["name"], call["args"]) for call in called.tool_calls] == [("get_weather", {"city": "Paris"})]
    assert reasoning_of(called) == "I need the tool."
    assert called.response_metadata["finish_reason"] == "tool_calls"
    result = ToolMessage("sunny", tool_call_id=called.tool_calls[0]["id"])
    # The weights have learned the prompt in which the reasoning of the loop is shown to the model again.
    assert with_tools.invoke([question, called, result]).text == "It is sunny."
    blocks = chat.model_copy(update={"output_version": "v1"}).bind_tools([GET_WEATHER]).invoke([question])
    assert with_tools.invoke([question, blocks, result]).text == "It is sunny."


async def test_an_agent_works_with_it(chat: ChatQwen3Local) -> None:
    agent = create_agent(chat, [get_weather])
    asked: Any = {"messages": [HumanMessage(WEATHER[0]["content"])]}
    for result in (agent.invoke(asked), await agent.ainvoke(asked)):
        assert [message.type for message in result["messages"]] == ["human", "ai", "tool", "ai"]
        assert result["messages"][-1].text == "It is sunny."
        assert reasoning_of(result["messages"][1]) == "I need the tool."


async def test_several_calls_in_one_reply_have_names_of_their_own(chat: ChatQwen3Local) -> None:
    bound = chat.bind_tools([GET_WEATHER]).bind(enable_thinking=False)
    for message in (bound.invoke(TWO), await bound.ainvoke(TWO)):
        assert [call["args"]["city"] for call in message.tool_calls] == ["Rome", "Oslo"]
        assert len({call["id"] for call in message.tool_calls}) == 2
        assert message.text == "Both:"
    chunks = list(bound.stream(TWO))
    whole = sum(chunks[1:], chunks[0])
    assert isinstance(whole, AIMessageChunk)
    assert [call["args"]["city"] for call in whole.tool_calls] == ["Rome", "Oslo"]
    chunks = list(chat.model_copy(update={"output_version": "v1"}).bind_tools([GET_WEATHER]).stream(WEATHER))
    assert [block["type"] for block in sum(chunks[1:], chunks[0]).content_blocks] == ["reasoning", "tool_call"]
    blocks = chat.model_copy(update={"output_version": "v1", "enable_thinking": False}).bind_tools([GET_WEATHER])
    chunks = list(blocks.stream(TWO))
    whole = sum(chunks[1:], chunks[0])
    assert [block["type"] for block in whole.content_blocks] == ["text", "tool_call", "tool_call"]
    one = chat.bind_tools([GET_WEATHER], parallel_tool_calls=False).invoke(TWO, enable_thinking=False)
    assert [call["args"]["city"] for call in one.tool_calls] == ["Rome"]


def test_broken_arguments_are_invalid_rather_than_guessed(chat: ChatQwen3Local) -> None:
    message = chat.bind_tools([GET_WEATHER]).invoke(BROKEN, enable_thinking=False)
    assert message.tool_calls == []
    assert [(call["name"], call["args"]) for call in message.invalid_tool_calls] == [
        ("get_weather", '{"city": "Paris",')
    ]


@pytest.mark.parametrize("choice", ["any", "required", "get_weather", True])
def test_forced_tools_switch_thinking_off_for_the_call(engine: LocalChat, choice: Any, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG, "qwen3_core.local_chat")
    chat = ChatQwen3Local.from_chat(engine, enable_thinking=True)
    message = chat.bind_tools([GET_WEATHER], tool_choice=choice).invoke(WEATHER)
    assert [call["args"] for call in message.tool_calls] == [{"city": "Paris"}]
    assert reasoning_of(message) == ""
    assert "thinking is off for this call" in caplog.text
    assert chat.enable_thinking is True


def test_langchains_own_tools_can_be_bound(chat: ChatQwen3Local) -> None:
    bound = chat.bind_tools([get_weather], tool_choice="any", strict=True)
    message = bound.invoke("Other", max_tokens=30, seed=1)
    assert [call["name"] for call in message.tool_calls + message.invalid_tool_calls] == ["get_weather"]


@pytest.mark.parametrize("schema", [Place, PLACE_SCHEMA])
@pytest.mark.parametrize("method", [None, "function_calling", "json_schema"])
def test_structured_output(chat: ChatQwen3Local, schema: Any, method: Any, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    found = chat.with_structured_output(schema, method=method).invoke(PLACE)
    assert (found.model_dump() if isinstance(found, Place) else found) == {"city": "Paris", "country": "France"}
    assert ("a tool is called instead" in caplog.text) is (method == "json_schema")


async def test_structured_output_with_the_message_beside_it(chat: ChatQwen3Local) -> None:
    structured = chat.with_structured_output(Place, include_raw=True)
    for found in (structured.invoke(PLACE), await structured.ainvoke(PLACE)):
        assert found["parsed"] == Place(city="Paris", country="France")
        assert found["raw"].tool_calls[0]["name"] == "Place"
        assert found["parsing_error"] is None


# The rest


def test_tokens_are_counted_by_the_models_own_tokenizer(chat: ChatQwen3Local, engine: LocalChat) -> None:
    assert chat.get_num_tokens("Hello, 世界!") == len(engine.token_ids("Hello, 世界!"))
    assert chat.get_num_tokens_from_messages([HumanMessage("Hello")]) == 10
    assert chat.get_num_tokens_from_messages([HumanMessage("Hello")], tools=[get_weather]) > 100
    asked = chat.bind_tools([GET_WEATHER]).invoke(WEATHER, max_tokens=1).usage_metadata
    assert asked
    question = [HumanMessage(WEATHER[0]["content"])]
    assert asked["input_tokens"] == chat.get_num_tokens_from_messages(question, tools=[GET_WEATHER])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"enable_thinkin": True}, "enable_thinkin"),
        ({"temperature": 3}, "0 to 2"),
        ({"thinking_budget": 0}, "thinking_budget=0"),
        ({"dtype": "int8"}, "dtype"),
        ({"base_url": "http://127.0.0.1:1/v1"}, "base_url"),
    ],
)
def test_arguments_that_are_not_there_or_out_of_range(arguments: Any, text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        ChatQwen3Local(**arguments)


@pytest.mark.parametrize(
    ("call", "text"), [({"top_p": 2}, "0 to 1"), ({"response_format": {}}, "no argument 'response_format' for a call")]
)
def test_wrong_values_in_a_call_are_refused(chat: ChatQwen3Local, call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        chat.invoke("Hello", **call)
    with pytest.raises(ValueError, match=text):
        list(chat.stream("Hello", **call))


def test_images_are_refused(chat: ChatQwen3Local) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    with pytest.raises(ValueError, match="takes text only"):
        chat.invoke([HumanMessage([{"type": "text", "text": "What is this?"}, image])])


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda chat: pickle.loads(pickle.dumps(chat))])
def test_copies_answer_alike(chat: ChatQwen3Local, how: Any) -> None:
    check_hello(how(chat).invoke("Hello"))


def test_a_copy_with_other_wishes_shares_the_weights(chat: ChatQwen3Local, engine: LocalChat, tmp_path: Path) -> None:
    twin = chat.model_copy(update={"enable_thinking": False})
    assert twin._local is engine
    assert twin.invoke("Hello").text == DIRECT
    other = chat.model_copy(update={"model": str(tmp_path)})
    with pytest.raises(ValueError, match="has no tokenizer"):
        other.invoke("Hello")
    check_hello(chat.invoke("Hello"))


def test_serialised_and_loaded(chat: ChatQwen3Local) -> None:
    twin = load(dumpd(chat), allowed_objects=[ChatQwen3Local], valid_namespaces=["langchain_qwen3"])
    assert isinstance(twin, ChatQwen3Local)
    assert (twin.model, twin.dtype) == (chat.model, "float32")


def test_a_cached_answer_knows_the_wishes_of_its_call(engine: LocalChat) -> None:
    from langchain_core.caches import InMemoryCache

    cache = InMemoryCache()
    thinking = ChatQwen3Local.from_chat(engine, cache=cache)
    assert thinking.invoke("Hello").text == ANSWER
    assert ChatQwen3Local.from_chat(engine, cache=cache, enable_thinking=False).invoke("Hello").text == DIRECT
    assert thinking.invoke("Hello", enable_thinking=False).text == DIRECT
    assert thinking.invoke("Hello").text == ANSWER


def test_what_it_says_about_itself() -> None:
    chat = ChatQwen3Local(model="Qwen/Qwen3-8B", temperature=0.5)
    assert chat._get_ls_params()["ls_provider"] == "qwen"
    assert chat._get_ls_params()["ls_model_name"] == "Qwen/Qwen3-8B"
    assert chat.profile
    assert (chat.profile["max_input_tokens"], chat.profile["reasoning_output"]) == (40_960, True)
    assert ChatQwen3Local(model="Qwen/Qwen3-4B-Instruct-2507").profile["reasoning_output"] is False  # type: ignore[index]
    assert HELLO[0]["content"] not in repr(chat)
