"""Tools with `ChatQwen3`: calls beside reasoning, choices as each server understands them, and loops that go on."""

import json
import logging
from typing import Any

import pytest
from langchain_chat import (
    CALL,
    OTHER,
    answering,
    block_types,
    called,
    chat_on,
    each_of_one_kind,
    get_time,
    get_weather,
    parted,
    reasoning_in,
    sending,
    ways,
    whole,
)
from langchain_core.load import dumpd, load
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, messages_from_dict, messages_to_dict
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from scripted_chat import (
    SERVERS,
    DashScope,
    LlamaCpp,
    LmStudio,
    Ollama,
    Reply,
    ScriptedChat,
    Sglang,
    TransformersServe,
    Vllm,
)

from langchain_qwen3.chat_models import ChatQwen3

# `load` and the v3 event stream call themselves beta.
pytestmark = pytest.mark.filterwarnings("ignore:The (function|method) .* is in beta")

QUESTION = "How is the weather in Oslo?"
SILENT = {"openai"}  # a strict OpenAI server never shows what it thought
WHOLE = [("get_weather", {"city": "Oslo"})]
ROME = {"name": "get_weather", "args": {"city": "Rome"}}


@pytest.fixture(params=sorted(SERVERS))
def server(request: Any) -> ScriptedChat:
    return SERVERS[request.param](seed=5, tool_calls=[CALL], content="")


# --- calls -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on", [True, False])
async def test_calls_come_with_reasoning_beside_them_in_every_way(server: ScriptedChat, on: Any) -> None:
    model = chat_on(server, enable_thinking=on).bind_tools([get_weather, get_time])
    thinks = on and server.server not in SILENT
    for way, message in (await ways(model, QUESTION)).items():
        assert (way, called(message)) == (way, WHOLE)
        assert reasoning_in(message).strip() == (server.reasoning if thinks else "")
        assert block_types(message) == ["reasoning", "tool_call"][not thinks :]
        assert [call["id"] for call in message.tool_calls if call["id"]]


async def test_parallel_calls_stay_apart(server: ScriptedChat) -> None:
    server.tool_calls = [CALL, ROME, {"name": "get_time", "args": {"city": "Oslo"}}]
    model = chat_on(server, enable_thinking=True).bind_tools([get_weather, get_time], parallel_tool_calls=True)
    for message in (await ways(model, QUESTION)).values():
        assert called(message) == [(call["name"], call["args"]) for call in server.tool_calls]
        assert len({call["id"] for call in message.tool_calls}) == 3
        assert block_types(message)[-3:] == ["tool_call"] * 3


async def test_text_before_a_call_is_text(server: ScriptedChat) -> None:
    server.brain = lambda messages, tools, body: Reply("I look it up.", "hm", [CALL])
    model = chat_on(server, enable_thinking=True).bind_tools([get_weather])
    for message in (await ways(model, QUESTION)).values():
        assert (message.text, called(message)) == ("I look it up.", WHOLE)
        assert block_types(message)[-2:] == ["text", "tool_call"]
    assert each_of_one_kind(model.stream(QUESTION))


# How servers have cut one call, or two, into pieces: (index, id, name, arguments).
PIECES: dict[str, tuple[list[tuple[Any, Any, Any, str]], list[str]]] = {
    "openai": ([(0, "a", "get_weather", ""), (0, None, None, '{"city": '), (0, None, None, '"Oslo"}')], ["a"]),
    "dashscope: later ids are empty": ([(0, "a", "get_weather", '{"city": '), (0, "", "", '"Oslo"}')], ["a"]),
    "the id comes again": ([(0, "a", "get_weather", '{"city": '), (0, "a", None, '"Oslo"}')], ["a"]),
    "the name comes again": ([(0, "a", "get_weather", '{"city": '), (0, "a", "get_weather", '"Oslo"}')], ["a"]),
    "no index (langchain#31634)": ([(None, "0", "get_weather", ""), (None, "0", None, '{"city": "Oslo"}')], ["0"]),
    "another index later, and new ids (langchain#31511, sglang#6310)": (
        [(1, "a", "get_weather", ""), (0, "b", None, '{"city": '), (0, "c", None, '"Oslo"}')],
        ["a"],
    ),
    "one index for both (InternLM/lmdeploy#3412)": (
        [
            (0, "a", "get_weather", '{"city": '),
            (0, "", None, '"Oslo"}'),
            (0, "b", "get_weather", '{"city": '),
            (0, "", None, '"Rome"}'),
        ],
        ["a", "b"],
    ),
    "one index for both, whole (ai-dynamo/dynamo#4723)": (
        [(0, "a", "get_weather", '{"city": "Oslo"}'), (0, "b", "get_weather", '{"city": "Rome"}')],
        ["a", "b"],
    ),
    "indices of the request's tools (sglang#6310)": (
        [
            (1, "a", "get_weather", ""),
            (0, "x", None, '{"city": "Oslo"}'),
            (0, "b", "get_weather", ""),
            (1, "y", None, '{"city": "Rome"}'),
        ],
        ["a", "b"],
    ),
    "by turns": (
        [
            (0, "a", "get_weather", '{"city": '),
            (1, "b", "get_weather", '{"city": '),
            (0, None, None, '"Oslo"}'),
            (1, None, None, '"Rome"}'),
        ],
        ["a", "b"],
    ),
    "neither index nor id": (
        [(None, None, "get_weather", '{"city": "Oslo"}'), (None, None, "get_weather", '{"city": "Rome"}')],
        [],
    ),
}


@pytest.mark.parametrize("how", PIECES)
@pytest.mark.parametrize("blocks", [{}, {"output_version": "v1"}])
async def test_the_pieces_of_a_call_find_together_however_they_are_numbered(how: str, blocks: Any) -> None:
    pieces, ids = PIECES[how]
    deltas = [
        {"tool_calls": [{"index": index, "id": id_, "type": "function", "function": {"name": name, "arguments": args}}]}
        for index, id_, name, args in pieces
    ]
    if how.startswith("no index"):
        for delta in deltas:
            del delta["tool_calls"][0]["index"]
    model = sending([{"role": "assistant", "reasoning": "hm"}, *deltas], "tool_calls", **blocks)
    streamed = [chunk async for chunk in model.astream("hi")]
    for message in (whole(model.stream("hi")), whole(streamed), model.stream_events("hi", version="v3").output):
        expected = WHOLE if len(ids) == 1 else [*WHOLE, (ROME["name"], ROME["args"])]
        assert called(message) == expected
        assert message.invalid_tool_calls == []
        found = [call["id"] for call in message.tool_calls]
        assert found == ids or (not ids and all(found) and len(set(found)) == 2)
        assert block_types(message) == ["reasoning", *["tool_call"] * len(expected)]


@pytest.mark.parametrize("ask", ["invoke", "stream_events"])
def test_broken_arguments_are_invalid_rather_than_guessed(ask: str) -> None:
    server = DashScope(tool_calls=[{"name": "get_weather", "args": {"city": "Os"}}])
    original = server.call
    server.call = lambda place, call: _cut(original(place, call))  # type: ignore[method-assign]
    model = chat_on(server, enable_thinking=True).bind_tools([get_weather])
    asked = getattr(model, ask)
    message = asked(QUESTION) if ask == "invoke" else asked(QUESTION, version="v3").output
    assert message.tool_calls == []
    assert message.invalid_tool_calls[0]["args"] == '{"city": "Os'


def _cut(call: dict[str, Any]) -> dict[str, Any]:
    return {**call, "function": {**call["function"], "arguments": call["function"]["arguments"][:-2]}}


# --- choices -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "choice", ["any", "required", "get_time", True, {"type": "function", "function": {"name": "get_time"}}]
)
@pytest.mark.parametrize("word", ["dashscope", "vllm", "sglang", "llama.cpp", "xinference", "lmstudio", "openai"])
@pytest.mark.parametrize("tools", [[get_time], [get_weather, get_time]])
async def test_a_forced_tool_is_called(word: str, choice: Any, tools: Any) -> None:
    server = SERVERS[word](content="I would rather talk.")
    model = chat_on(server, enable_thinking=True)
    forced = model.bind_tools(tools, tool_choice=choice)
    name = "get_weather" if choice in ("any", "required", True) and len(tools) > 1 else "get_time"
    for message in (await ways(forced, QUESTION)).values():
        assert [call for call, _ in called(message)] == [name]
        assert message.text == ""
    model.invoke(QUESTION)
    assert "tool_choice" not in server.last


@pytest.mark.parametrize("choice", ["any", "get_weather"])
@pytest.mark.parametrize("enable", [None, True])
def test_where_forcing_is_refused_while_thinking_it_is_off_for_that_call_alone(
    choice: str, enable: Any, caplog: Any
) -> None:
    server = DashScope(tool_calls=[CALL])
    model = chat_on(server, enable_thinking=enable, thinking_budget=99)
    forced = model.bind_tools([get_weather], tool_choice=choice)
    with caplog.at_level(logging.DEBUG, logger="langchain_qwen3"):
        assert called(forced.invoke(QUESTION)) == WHOLE
        assert called(whole(forced.stream(QUESTION))) == WHOLE
    assert caplog.text.count("thinking is off for this call: dashscope refuses the request otherwise") == 2
    assert (server.last["enable_thinking"], "thinking_budget" in server.last) == (False, False)
    assert server.last["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}
    assert model.enable_thinking is enable
    assert reasoning_in(whole(model.stream("hi")))


@pytest.mark.parametrize("word", ["vllm", "sglang", "llama.cpp"])
def test_elsewhere_a_forced_call_may_be_thought_about(word: str) -> None:
    server = SERVERS[word](tool_calls=[CALL])
    message = chat_on(server, enable_thinking=True).bind_tools([get_weather], tool_choice="any").invoke(QUESTION)
    assert (reasoning_in(message).strip(), called(message)) == (server.reasoning, WHOLE)


def test_a_model_that_cannot_stop_thinking_gets_the_tool_unforced() -> None:
    server = DashScope(tool_calls=[CALL])
    model = chat_on(server, model="qwen3-30b-a3b-thinking-2507").bind_tools([get_weather], tool_choice="any")
    message = model.invoke(QUESTION)
    assert (reasoning_in(message), called(message)) == (server.reasoning, WHOLE)
    assert server.last["tool_choice"] == "auto"


@pytest.mark.parametrize("server", [LlamaCpp(), LmStudio()], ids=lambda server: server.server)
def test_servers_that_know_no_names_are_offered_the_named_tool_alone(server: ScriptedChat) -> None:
    chat_on(server).bind_tools([get_weather, get_time], tool_choice="get_time").invoke(QUESTION)
    assert server.last["tool_choice"] == "required"
    assert server.seen.tools == ("get_time",)


@pytest.mark.parametrize("server", [Ollama(), TransformersServe()], ids=lambda server: server.server)
def test_servers_that_force_nothing_are_not_asked_to(server: ScriptedChat) -> None:
    server.tool_calls = [CALL]
    model = chat_on(server).bind_tools([get_weather, get_time], tool_choice="get_weather")
    assert called(model.invoke(QUESTION)) == WHOLE
    assert server.seen.tools == ("get_weather",)
    assert server.last["tool_choice"] == "auto"


def test_free_choices_leave_thinking_alone() -> None:
    server = DashScope()
    for choice in (None, False, "auto", "none"):
        chat_on(server, enable_thinking=True).bind_tools([get_weather], tool_choice=choice).invoke(QUESTION)
        assert server.last["enable_thinking"] is True


async def test_no_tools_are_no_tools(server: ScriptedChat) -> None:
    server.content = "Sunny."
    for choice in (None, "auto", "any"):
        bound = chat_on(server).bind_tools([], tool_choice=choice, parallel_tool_calls=False)
        for message in (await ways(bound, QUESTION)).values():
            assert message.text == "Sunny."
        assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(server.last)


@pytest.mark.parametrize("word", ["dashscope", "vllm", "sglang", "llama.cpp"])
def test_strict_and_parallel_calls_are_forwarded(word: str) -> None:
    server = SERVERS[word](tool_calls=[CALL, ROME])
    model = chat_on(server)
    assert len(model.bind_tools([get_weather], strict=True, parallel_tool_calls=True).invoke(QUESTION).tool_calls) == 2
    assert server.last["tools"][0]["function"]["strict"] is True
    assert server.last["tools"][0]["function"]["parameters"]["additionalProperties"] is False
    one = model.bind_tools([get_weather], strict=False, parallel_tool_calls=False).invoke(QUESTION)
    assert server.last["parallel_tool_calls"] is False
    assert server.last["tools"][0]["function"]["strict"] is False
    if word != "vllm" and word != "sglang":  # which ignore it
        assert called(one) == WHOLE
    model.bind_tools([get_weather]).invoke(QUESTION)
    assert "parallel_tool_calls" not in server.last
    assert "strict" not in server.last["tools"][0]["function"]


# --- loops -------------------------------------------------------------------------------------------------


READING = ["dashscope", "vllm", "sglang", "llama.cpp", "ollama"]
"""Whose chat template sees the reasoning of a tool loop."""


def turned(message: AIMessage, how: str) -> AIMessage:
    """Return a message as it comes back from where conversations are kept."""
    if how == "langgraph":
        serde = JsonPlusSerializer()
        return serde.loads_typed(serde.dumps_typed(message))  # type: ignore[no-any-return]
    if how == "dumps":
        return load(json.loads(json.dumps(dumpd(message))), allowed_objects="core")  # type: ignore[no-any-return]
    if how == "dict":
        return messages_from_dict(json.loads(json.dumps(messages_to_dict([message]))))[0]  # type: ignore[return-value]
    return message


@pytest.mark.parametrize("word", READING)
@pytest.mark.parametrize("how", ["as it is", "langgraph", "dumps", "dict"])
@pytest.mark.parametrize("blocks", [{}, {"output_version": "v1"}])
async def test_reasoning_goes_back_inside_a_loop_however_the_message_came(word: str, how: str, blocks: Any) -> None:
    server = SERVERS[word](tool_calls=[CALL])
    model = chat_on(server, enable_thinking=True, **blocks).bind_tools([get_weather])
    question = HumanMessage(QUESTION)
    for way, answer in (await ways(model, [question])).items():
        result = ToolMessage("sunny", tool_call_id=answer.tool_calls[0]["id"])
        last = model.invoke([question, turned(answer, how), result])
        assert (way, [kept.strip() for kept in server.seen.kept]) == (way, [server.reasoning])
        sent = server.last["messages"][1]
        assert json.loads(sent["tool_calls"][0]["function"]["arguments"]) == {"city": "Oslo"}
        assert sent["content"] == ""
        model.invoke([question, turned(answer, how), result, last, HumanMessage("And now?")])
        assert server.seen.kept == ()


@pytest.mark.parametrize("server", [TransformersServe(), SERVERS["openai"]()], ids=lambda server: server.server)
def test_reasoning_stays_here_where_the_server_does_not_read_it(server: ScriptedChat) -> None:
    thought = AIMessage("", tool_calls=[{**CALL, "id": "1"}], additional_kwargs={"reasoning_content": "hm"})
    chat_on(server).bind_tools([get_weather]).invoke(
        [HumanMessage(QUESTION), thought, ToolMessage("sunny", tool_call_id="1")]
    )
    assert not {"reasoning", "reasoning_content"} & set(server.last["messages"][1])


@pytest.mark.parametrize("version", ["current", "0.15", "0.9"])
def test_every_vllm_that_reads_reasoning_gets_it_under_its_own_name(version: Any) -> None:
    server = Vllm(tool_calls=[CALL], version=version)
    model = chat_on(server).bind_tools([get_weather])
    question = HumanMessage(QUESTION)
    answer = model.invoke([question])
    model.invoke([question, answer, ToolMessage("sunny", tool_call_id=answer.tool_calls[0]["id"])])
    assert [kept.strip() for kept in server.seen.kept] == ([] if version == "0.9" else [server.reasoning])


def test_a_loop_is_sent_as_plain_text() -> None:
    server = DashScope()
    thought = AIMessage("", tool_calls=[{**CALL, "id": "1"}], additional_kwargs={"reasoning_content": "hm"})
    blocks = AIMessage([{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "ok"}])
    results = ToolMessage([{"type": "text", "text": "sun"}, {"type": "text", "text": "ny"}], tool_call_id="1")
    chat_on(server).invoke([HumanMessage("a"), thought, results, blocks, HumanMessage("b")])
    assert [message["content"] for message in server.last["messages"]] == ["a", "", "sunny", "ok", "b"]
    assert len(server.last["messages"][1]["tool_calls"]) == 1


def test_the_history_of_another_model_can_go_on_here() -> None:
    server = Vllm(tool_calls=[CALL])
    foreign = AIMessage(
        [
            {"type": "thinking", "thinking": "Oslo...", "signature": "x"},
            {"type": "text", "text": "Wait."},
            {"type": "tool_use", "id": "1", "name": "get_weather", "input": {"city": "Oslo"}},
        ],
        tool_calls=[{**CALL, "id": "1"}],
        response_metadata={"model_provider": "anthropic"},
    )
    model = chat_on(server).bind_tools([get_weather])
    model.invoke([HumanMessage(QUESTION), foreign, ToolMessage("sunny", tool_call_id="1")])
    assert server.last["messages"][1]["content"] == "Wait."
    assert server.seen.kept == ("Oslo...",)


def test_images_stay_a_list() -> None:
    server = DashScope()
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    chat_on(server, model="qwen3.6-plus").invoke([HumanMessage([{"type": "text", "text": "what?"}, picture])])
    assert server.last["messages"][0]["content"] == [{"type": "text", "text": "what?"}, picture]
    standard = {"type": "image", "base64": "AA==", "mime_type": "image/png"}
    chat_on(server, model="qwen3.6-plus").invoke([HumanMessage([{"type": "text", "text": "what?"}, standard])])
    assert server.last["messages"][0]["content"] == [{"type": "text", "text": "what?"}, picture]


# --- whatever server it is ---------------------------------------------------------------------------------


def test_an_unknown_server_is_asked_in_a_way_that_all_of_them_understand() -> None:
    for server in (Vllm(), Sglang(), LlamaCpp()):
        server.tool_calls = [{"name": "get_time", "args": {"city": "Oslo"}}]
        model = ChatQwen3(model="m", base_url=f"{OTHER[:-3]}/v1", enable_thinking=False, **server.clients())
        bound = model.bind_tools([get_weather, get_time], tool_choice="get_time")
        message = bound.invoke("hi", extra_body={"chat_template_kwargs": {"x": 1}})
        assert server.last["chat_template_kwargs"] == {"enable_thinking": False, "x": 1}
        assert (server.last["tool_choice"], server.seen.tools) == ("required", ("get_time",))
        assert called(message) == [("get_time", {"city": "Oslo"})]


def test_calls_without_an_id_get_one() -> None:
    raw = [{"id": id_, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id_ in ("", None, "a")]
    message = answering({"content": None, "tool_calls": raw}).invoke("hi")
    ids = [call["id"] for call in message.tool_calls]
    assert ids[2] == "a"
    assert len(set(ids)) == 3
    assert block_types(message) == ["tool_call"] * 3


def test_calls_and_reasoning_that_a_server_leaves_empty_are_not_there() -> None:
    message = answering({"content": "Hi.", "reasoning_content": "", "tool_calls": None}).invoke("hi")
    assert (parted(message), message.tool_calls, block_types(message)) == (("", "Hi."), [], ["text"])
