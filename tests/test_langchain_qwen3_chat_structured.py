"""Structured output of `ChatQwen3`: three methods, three kinds of schema, every server, and answers that go wrong."""

import json
from typing import Any, Optional

import pydantic.v1
import pytest
from langchain_chat import (
    ANN,
    PERSON_SCHEMA,
    Person,
    PersonDict,
    answering,
    chat_on,
    get_weather,
    parted,
    reasoning_in,
    sending,
    whole,
)
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable
from pydantic import BaseModel
from scripted_chat import SERVERS, DashScope, Reply, ScriptedChat, Sglang, TransformersServe, Vllm

from langchain_qwen3.chat_models import ChatQwen3

# The v3 event stream calls itself beta.
pytestmark = pytest.mark.filterwarnings("ignore:The (function|method) .* is in beta")

QUESTION = "Ann is 30. Answer in json."
SCHEMAS = {"pydantic": Person, "TypedDict": PersonDict, "JSON schema": PERSON_SCHEMA}
NAMES = {"pydantic": "Person", "TypedDict": "PersonDict", "JSON schema": "PersonSchema"}
METHODS = [None, "json_schema", "function_calling", "json_mode"]


@pytest.fixture(params=sorted(SERVERS))
def server(request: Any) -> ScriptedChat:
    """A server that knows Ann, whether it is to say so or to call so."""

    def brain(messages: Any, tools: Any, body: Any) -> Reply:
        calls = [{"name": tool["function"]["name"], "args": ANN} for tool in tools]
        return Reply("" if calls else json.dumps(ANN), "Who is Ann?\nShe is 30.", calls)

    return SERVERS[request.param](seed=2, brain=brain)


def expected(schema: str) -> Any:
    return Person(**ANN) if schema == "pydantic" else ANN


async def asked(chain: Runnable[Any, Any], question: str = QUESTION) -> list[Any]:
    """Ask in all ways that a chain has, and return the last object of each."""
    last = [part async for part in chain.astream(question)][-1]
    return [chain.invoke(question), await chain.ainvoke(question), list(chain.stream(question))[-1], last]


@pytest.mark.parametrize("enable", [None, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("schema", SCHEMAS)
async def test_every_method_works_with_every_schema_on_every_server(
    server: ScriptedChat, schema: str, method: Any, enable: Any
) -> None:
    model = chat_on(server, enable_thinking=enable)
    for answer in await asked(model.with_structured_output(SCHEMAS[schema], method=method)):
        assert answer == expected(schema)
    assert model.enable_thinking is enable


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("schema", SCHEMAS)
async def test_the_raw_message_comes_along_with_its_reasoning(server: ScriptedChat, schema: str, method: Any) -> None:
    model = chat_on(server, enable_thinking=True)
    chain = model.with_structured_output(SCHEMAS[schema], method=method, include_raw=True)
    answers = [chain.invoke(QUESTION), await chain.ainvoke(QUESTION), whole(chain.stream(QUESTION))]
    for answer in answers:
        assert isinstance(answer["raw"], AIMessage)
        assert answer["parsing_error"] is None
        assert answer["parsed"] == expected(schema)
        thinks = server.server not in ("dashscope", "openai")
        assert bool(reasoning_in(answer["raw"])) is thinks
    parts = list(chain.stream(QUESTION))
    assert len([part for part in parts if "raw" in part]) > 2
    assert parts[-1] == {"parsed": expected(schema), "parsing_error": None}


# --- which method ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "model", "native"),
    [
        ("dashscope", "qwen3-8b", False),
        ("dashscope", "qwen3.6-plus", False),
        ("dashscope", "qwen3-30b-a3b-thinking-2507", False),
        ("dashscope", "qwen3.7-max", True),
        ("dashscope", "qwen3.8-max", True),
        ("vllm", "Qwen/Qwen3-8B", True),
        ("sglang", "Qwen/Qwen3-8B", True),
        ("llama.cpp", "qwen3", True),
        ("ollama", "qwen3:8b", True),
        ("lmstudio", "qwen3-8b", True),
        ("openai", "m", True),
        ("transformers", "Qwen/Qwen3-8B", False),
    ],
)
def test_the_method_is_the_best_that_the_server_has_for_the_model(
    word: str, model: str, native: Any, caplog: Any
) -> None:
    server = SERVERS[word](content=json.dumps(ANN), tool_calls=[{"name": "Person", "args": ANN}])
    chat = chat_on(server, model=model)
    assert chat.profile is not None
    assert chat.profile["structured_output"] is native
    for method in (None, "json_schema"):
        with caplog.at_level("INFO", logger="langchain_qwen3"):
            assert chat.with_structured_output(Person, method=method).invoke(QUESTION) == Person(**ANN)
        assert ("response_format" in server.last, "tools" in server.last) == (native, not native)
        assert ("has no JSON schema mode" in caplog.text) is (method is not None and not native)


def test_thinking_is_off_where_a_format_is_refused_and_on_where_it_is_not() -> None:
    old, new, own = (DashScope(content=json.dumps(ANN)) for _ in range(3))
    chat_on(old, model="qwen3.6-plus").with_structured_output(Person, method="json_mode").invoke(QUESTION)
    assert old.last["enable_thinking"] is False
    server = Vllm(content=json.dumps(ANN))
    for message in (
        chat_on(server, enable_thinking=True).with_structured_output(Person, include_raw=True).invoke(QUESTION)["raw"],
        whole(chat_on(server).bind(response_format={"type": "json_object"}).stream(QUESTION)),
    ):
        assert parted(message) == (server.reasoning, json.dumps(ANN))
    assert (new.requests, own.requests) == ([], [])


def test_what_is_bound_reaches_the_model() -> None:
    server = Sglang(content=json.dumps(ANN))
    model = chat_on(server, enable_thinking=True)
    model.with_structured_output(Person, enable_thinking=False, temperature=0.1).invoke(QUESTION)
    assert (server.seen.enable_thinking, server.seen.sampling["temperature"]) == (False, 0.1)


def test_a_class_of_pydantic_1_is_called_as_a_tool() -> None:
    class Old(pydantic.v1.BaseModel):
        """A person."""

        name: str
        age: int

    server = Vllm(tool_calls=[{"name": "Old", "args": ANN}])
    for method in (None, "json_schema", "function_calling"):
        assert chat_on(server).with_structured_output(Old, method=method).invoke(QUESTION) == Old(name="Ann", age=30)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"schema": Person, "method": "json"}, "no method='json'"),
        ({"schema": None}, "needs a schema"),
        ({"schema": Person, "method": "function_calling", "tools": [get_weather]}, "need JSON schema mode"),
        ({"schema": Person, "method": "json_mode", "strict": True}, "no strict"),
        ({"schema": {"name": "a", "schema": {}, "strict": True}, "strict": False}, "strict=True, and strict=False"),
    ],
)
def test_what_is_refused_at_once(arguments: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        chat_on(Vllm()).with_structured_output(**arguments)


# --- on the wire -------------------------------------------------------------------------------------------


class Tree(BaseModel):
    """A tree."""

    name: str
    leaf: Optional[str] = None  # noqa: UP045 - what users write
    branches: list["Tree"] = []


@pytest.mark.parametrize(
    ("schema", "strict", "sent"),
    [
        (Person, None, True),
        (Person, False, False),
        (PersonDict, None, False),
        (PersonDict, True, True),
        (PERSON_SCHEMA, None, False),
        (PERSON_SCHEMA, True, True),
        ({**PERSON_SCHEMA, "strict": True}, None, True),
        ({"name": "P", "schema": PERSON_SCHEMA, "strict": True}, None, True),
        ({"type": "json_schema", "json_schema": {"name": "P", "schema": PERSON_SCHEMA}}, True, True),
        ({"type": "function", "function": {"name": "P", "parameters": PERSON_SCHEMA}}, None, False),
    ],
)
def test_strict_is_what_was_said(schema: Any, strict: Any, sent: bool) -> None:  # noqa: FBT001
    server = Vllm(content=json.dumps(ANN))
    answer = chat_on(server).with_structured_output(schema, method="json_schema", strict=strict).invoke(QUESTION)
    assert answer == (Person(**ANN) if schema is Person else ANN)
    described = server.last["response_format"]["json_schema"]
    assert (server.last["response_format"]["type"], described["strict"]) == ("json_schema", sent)
    assert set(described["schema"]["properties"]) == {"name", "age"}
    assert described["schema"].get("additionalProperties", False) is False
    tool = Vllm(tool_calls=[{"name": "Person", "args": ANN}])
    chat_on(tool).with_structured_output(Person, method="function_calling", strict=strict).invoke(QUESTION)
    assert tool.last["tools"][0]["function"].get("strict") is strict


@pytest.mark.parametrize("strict", [None, False])
def test_definitions_that_refer_to_themselves_survive(strict: Any) -> None:
    oak: dict[str, Any] = {"name": "oak", "leaf": None, "branches": [{"name": "twig", "leaf": "green", "branches": []}]}
    server = Vllm(content=json.dumps(oak))
    assert chat_on(server).with_structured_output(Tree, strict=strict).invoke("An oak") == Tree(**oak)
    assert "$ref" in json.dumps(server.last["response_format"]["json_schema"]["schema"])


async def test_tools_beside_a_schema_are_called_instead() -> None:
    server = Vllm(tool_calls=[{"name": "get_weather", "args": {"city": "Oslo"}}])
    for schema in (Person, PERSON_SCHEMA):
        chain = chat_on(server).with_structured_output(schema, tools=[get_weather], strict=True, include_raw=True)
        for answer in (chain.invoke("Oslo?"), await chain.ainvoke("Oslo?")):
            assert [call["name"] for call in answer["raw"].tool_calls] == ["get_weather"]
            assert (answer["parsed"], answer["parsing_error"]) == (None, None)
    assert set(server.last) >= {"tools", "response_format"}


# --- streams -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["vllm", "sglang", "dashscope"])
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_objects_grow_while_they_stream(word: str, method: Any) -> None:
    class Story(BaseModel):
        """A story."""

        title: str = ""
        text: str = ""

    told = {"title": "Cats", "text": "Once upon a time there was a cat that sat on a mat."}
    server = SERVERS[word](content=json.dumps(told), tool_calls=[{"name": "Story", "args": told}])
    chat = chat_on(server, model="qwen3.8-max" if word == "dashscope" else "Qwen/Qwen3-8B")
    dicts = list(chat.with_structured_output(Story.model_json_schema(), method=method).stream("json"))
    instances = list(chat.with_structured_output(Story, method=method).stream("json"))
    for parts, end in ((dicts, told), (instances, Story(**told))):
        assert parts[-1] == end
        assert len(parts) > 5
    grown = [part.get("text", "") for part in dicts]
    assert grown == sorted(grown, key=len)


async def test_reasoning_streams_before_an_answer_with_a_format() -> None:
    for word in ("vllm", "sglang", "llama.cpp", "ollama"):
        server = SERVERS[word](content=json.dumps(ANN), seed=4)
        model = chat_on(server, enable_thinking=True).bind(response_format=Person)
        chunks = list(model.stream(QUESTION))
        assert len([chunk for chunk in chunks if reasoning_in(chunk)]) > 3
        stream = model.stream_events(QUESTION, version="v3")
        later = await model.astream_events(QUESTION, version="v3")
        for message in (whole(chunks), stream.output, await later.output, model.invoke(QUESTION)):
            assert parted(message) == (server.reasoning, json.dumps(ANN))
            assert message.usage_metadata is not None


# --- what goes wrong ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [Person, PersonDict])
@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
async def test_an_answer_that_was_cut_is_an_error_and_no_half_object(schema: Any, method: Any) -> None:
    server = Vllm(content=json.dumps({"name": "Ann of Green Gables", "age": 30}))
    chain = chat_on(server, enable_thinking=False, max_tokens=4).with_structured_output(schema, method=method)
    with pytest.raises(OutputParserException, match="raise max_tokens") as caught:
        chain.invoke(QUESTION)
    assert str(caught.value.llm_output).startswith('{"name": "Ann')
    with pytest.raises(OutputParserException, match="raise max_tokens"):
        await chain.ainvoke(QUESTION)
    parts: list[Any] = []
    with pytest.raises(OutputParserException, match="raise max_tokens"):
        parts.extend(chain.stream(QUESTION))
    raw = chat_on(server, enable_thinking=False, max_tokens=4).with_structured_output(
        schema, method=method, include_raw=True
    )
    answer = raw.invoke(QUESTION)
    assert isinstance(answer["parsing_error"], OutputParserException)
    assert (answer["parsed"], answer["raw"].response_metadata["finish_reason"]) == (None, "length")


def test_thoughts_that_used_up_the_tokens_are_such_an_answer() -> None:
    model = answering({"reasoning": "I think and I think", "content": None}, finish="length")
    with pytest.raises(OutputParserException, match="or think less"):
        model.with_structured_output(Person).invoke(QUESTION)


@pytest.mark.parametrize("content", ["I would rather talk.", '{"name": "Ann"}', ""])
def test_an_answer_that_is_not_what_was_asked_for_is_an_error(content: str) -> None:
    chain = answering({"content": content}).with_structured_output(Person)
    with pytest.raises(OutputParserException):
        chain.invoke(QUESTION)
    with pytest.raises(OutputParserException):
        list(chain.stream(QUESTION))
    assert answering({"content": content}).with_structured_output(Person, include_raw=True).invoke("x")["parsing_error"]


@pytest.mark.parametrize(
    "content",
    [
        "<think>\nWho is Ann? {}\n</think>\n\n" + json.dumps(ANN),
        "\n\n" + json.dumps(ANN) + "\n",
        f"```json\n{json.dumps(ANN)}\n```",
    ],
)
@pytest.mark.parametrize("schema", [Person, PersonDict])
def test_tags_fences_and_line_breaks_do_not_spoil_an_answer(content: str, schema: Any) -> None:
    chain = answering({"content": content}).with_structured_output(schema)
    for answer in (chain.invoke(QUESTION), list(chain.stream(QUESTION))[-1]):
        assert answer == (Person(**ANN) if schema is Person else ANN)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_json_that_a_server_took_for_reasoning_is_the_answer(field: str) -> None:
    model = answering({field: json.dumps(ANN), "content": None}, enable_thinking=False)
    chain = model.with_structured_output(Person)
    assert chain.invoke(QUESTION) == list(chain.stream(QUESTION))[-1] == Person(**ANN)
    message = model.bind(response_format={"type": "json_object"}).invoke(QUESTION)
    assert parted(message) == ("", json.dumps(ANN))
    assert parted(model.invoke(QUESTION)) == (json.dumps(ANN), "")  # no format was asked for


def test_transformers_serve_has_no_formats_and_is_not_trusted_with_them() -> None:
    server = TransformersServe(tool_calls=[{"name": "Person", "args": ANN}])
    assert chat_on(server).with_structured_output(Person).invoke(QUESTION) == Person(**ANN)
    assert "response_format" not in server.last


def test_a_stream_that_ends_early_is_an_error_for_a_parser_too() -> None:
    chain = sending([{"content": '{"name": "Ann", "age": 3'}], finish=None).with_structured_output(Person)
    with pytest.raises(Exception, match="broke off"):
        list(chain.stream(QUESTION))
    assert isinstance(ChatQwen3(base_url="http://127.0.0.1:9/v1").with_structured_output(Person), Runnable)
