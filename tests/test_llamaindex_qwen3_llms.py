"""`Qwen3` for LlamaIndex: its published contract, a DashScope that enforces its rules, and a real llama.cpp server."""

import asyncio
import copy
import itertools
import json
import logging
import pickle
import socket
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from fake_dashscope import KEY, NOT_STREAMED, ONLY_TRUE, URL, FakeDashScope, httpx
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.base.llms.types import (
    AudioBlock,
    ChatMessage,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.core.types import PydanticProgramMode

from llamaindex_qwen3.llms import Qwen3
from llamaindex_qwen3.testing.chat_server import ScriptedChatServer
from llamaindex_qwen3.testing.llm import Person, ThinkingLLMContract, get_weather
from qwen3_cli.demo_server import smollm2_server

OTHER = "http://127.0.0.1:9/v1"
SECRET = "sk-very-secret-4711"
ASKED = [ChatMessage("9.11 or 9.9?")]
WEATHER = FunctionTool.from_defaults(get_weather)


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DASHSCOPE_API_KEY", "DASHSCOPE_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    # Traps: none of these may ever be used.
    for name in ("ADMIN_KEY", "API_KEY", "API_BASE", "BASE_URL", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", f"http://trap-{name.lower()}.invalid")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer trap\nX-Trap: trap")


@pytest.fixture
def fake() -> FakeDashScope:
    return FakeDashScope()


def llm_with(fake: FakeDashScope, **arguments: Any) -> Qwen3:
    clients = fake.clients()
    clients["async_http_client"] = clients.pop("http_async_client")
    return Qwen3(**{"model": "qwen3-8b", "api_key": KEY, "max_retries": 0, **clients, **arguments})


def replying(handle: Any, **arguments: Any) -> Qwen3:
    client = httpx.Client(transport=httpx.MockTransport(handle))
    return Qwen3(**{"api_base": OTHER, "http_client": client, "max_retries": 0, **arguments})


def scripted(server: ScriptedChatServer, **arguments: Any) -> Qwen3:
    """Return a model for a scripted server without a socket between them."""

    def handle(request: Any) -> Any:
        status, kind, text = server.answer(json.loads(request.content))
        return httpx.Response(status, headers={"content-type": kind}, content=text)

    return replying(handle, **arguments)


def parted(response: Any) -> tuple[str, str]:
    thoughts = [block.content or "" for block in response.message.blocks if isinstance(block, ThinkingBlock)]
    return "".join(thoughts), response.message.content or ""


class TestContract(ThinkingLLMContract):
    """What is published for everybody."""

    def make(self, url: str, **kwargs: Any) -> Qwen3:
        return Qwen3(api_base=url, max_retries=0, **kwargs)


# --- construction ------------------------------------------------------------------------------------------


def test_the_default_is_dashscope_in_beijing(fake: Any) -> None:
    llm = llm_with(fake)
    assert llm.api_base == URL
    assert llm.complete("hi").text == fake.content
    headers = fake.headers[-1]
    assert headers["authorization"] == f"Bearer {KEY}"
    assert not [name for name in headers if name.startswith("openai-")]
    assert "trap" not in json.dumps(headers)


@pytest.mark.parametrize("arguments", [{}, {"api_base": OTHER, "server": "dashscope"}, {"api_key": ""}])
def test_dashscope_without_a_key_is_an_error_that_says_what_to_set(arguments: Any) -> None:
    with pytest.raises(ValueError, match=r"DASHSCOPE_API_KEY.*point api_base.*OPENAI_API_KEY is never used"):
        Qwen3(**arguments)


def test_dashscopes_key_goes_to_dashscope_only(monkeypatch: Any) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", SECRET)
    assert Qwen3().api_key.get_secret_value() == SECRET
    assert Qwen3(api_base=OTHER).api_key.get_secret_value() == "not-needed"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"enable_thinkin": True}, "Qwen3 has no argument 'enable_thinkin'. Did you mean 'enable_thinking'"),
        ({"server": "vllm"}, "not built in"),
        ({"api_base": OTHER, "thinking_budget": 5}, "server has to be named"),
        ({"thinking_budget": 0}, "positive whole number"),
        ({"max_tokens": 0}, "greater than or equal to 1"),
        ({"additional_kwargs": {"enable_thinking": True}}, "arguments of their own"),
    ],
)
def test_refused_arguments(arguments: Any, text: Any) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        Qwen3(api_key=SECRET, **arguments)
    assert SECRET not in str(caught.value)


def test_a_key_shows_nowhere(fake: Any, caplog: Any) -> None:
    llm = llm_with(fake, api_key=SECRET, default_headers={"X-Token": SECRET})
    with caplog.at_level(logging.DEBUG), pytest.raises(openai.AuthenticationError) as caught:
        llm.chat(ASKED)
    shown = [repr(llm), str(llm), llm.to_json(), str(llm.to_payload()), str(caught.value), caplog.text]
    shown += [repr(llm._clients and llm._clients.connection), repr(pickle.loads(pickle.dumps(llm)))]
    assert not [text for text in shown if SECRET in text]


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda llm: pickle.loads(pickle.dumps(llm))])
def test_copies_work_and_leave_the_original_alone(how: Any, used: Any, caplog: Any) -> None:
    llm = Qwen3(api_base=OTHER, api_key=SECRET, enable_thinking=True, extra_body={"x": {"y": 1}})
    if used:
        assert llm._connected.blocking
        assert llm._connected.asynchronous
    twin = how(llm)
    assert twin.to_dict() == llm.to_dict()
    assert twin.api_key.get_secret_value() == SECRET
    assert str(twin._connected.blocking.base_url) == f"{OTHER}/"
    assert "unpickleable" not in caplog.text
    assert llm.callback_manager is not None


def test_a_pickled_instance_keeps_its_clients() -> None:
    with ScriptedChatServer() as server:
        llm = scripted(server)
        pickle.dumps(llm)
        assert llm.complete("hi").text == server.content
        assert copy.deepcopy(llm).complete("hi").text == server.content
        assert len(server.requests) == 2


def test_a_copy_with_another_url_goes_there() -> None:
    llm = Qwen3(api_base=OTHER)
    assert llm._connected.blocking
    twin = llm.model_copy(update={"api_base": "http://127.0.0.1:8/v1"})
    assert str(twin._connected.blocking.base_url) == "http://127.0.0.1:8/v1/"


def test_from_dict_takes_the_key_from_where_it_belongs(monkeypatch: Any, fake: Any) -> None:
    llm = llm_with(fake, thinking_budget=7, temperature=0.6)
    with pytest.raises(ValueError, match="DASHSCOPE_API_KEY"):
        Qwen3.from_dict(llm.to_dict())
    monkeypatch.setenv("DASHSCOPE_API_KEY", SECRET)
    twin = Qwen3.from_dict(llm.to_dict())
    assert (twin.api_key.get_secret_value(), twin.thinking_budget, twin.temperature) == (SECRET, 7, 0.6)
    assert Qwen3.from_json(llm.to_json()).to_dict() == twin.to_dict() == llm.to_dict()


def test_a_host_that_does_not_answer_is_noticed_soon() -> None:
    clients = Qwen3(api_base=OTHER)._connected
    assert clients.blocking.timeout == clients.asynchronous.timeout == openai.Timeout(600, connect=10)
    assert Qwen3(api_base=OTHER, timeout=3)._connected.blocking.timeout == openai.Timeout(3)


def test_the_callers_arguments_stay_as_they_are(fake: Any) -> None:
    arguments = {"extra_body": {"x": {"y": 1}}, "additional_kwargs": {"seed": 1, "extra_body": {"top_k": 2}}}
    before = copy.deepcopy(arguments)
    llm = llm_with(fake, **arguments)
    llm.chat(ASKED, enable_thinking=True, extra_body={"x": {"z": 2}})
    assert arguments == before
    assert {name: fake.last[name] for name in ("seed", "top_k", "x")} == {"seed": 1, "top_k": 2, "x": {"y": 1, "z": 2}}


# --- sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "window", "output"),
    [
        ({"api_base": OTHER}, 40_960, 4096),
        ({}, 131_072, 4096),
        ({"api_base": OTHER, "model": "my-own-model"}, 32_768, 4096),
        ({"api_base": OTHER, "model": "Qwen/Qwen3-4B-Instruct-2507"}, 262_144, 4096),
        ({"api_base": OTHER, "max_tokens": 300}, 40_960, 300),
        ({"api_base": OTHER, "context_window": 1000, "max_tokens": 900}, 1000, 500),
        ({"api_base": OTHER, "server": "llama.cpp", "thinking_budget": 38_912}, 40_960, 4096),
        ({"api_base": OTHER, "num_output": 77}, 40_960, 77),
    ],
)
def test_metadata(arguments: Any, window: int, output: int) -> None:
    metadata = Qwen3(api_key="k", **arguments).metadata
    assert (metadata.context_window, metadata.num_output) == (window, output)
    # It raises where nothing is left.
    assert PromptHelper.from_llm_metadata(metadata).repack(PromptTemplate("{context_str}"), ["a few words"])


# --- thinking on DashScope ---------------------------------------------------------------------------------


async def test_chat_streams_inside_where_thinking_needs_it(fake: Any) -> None:
    llm = llm_with(fake, enable_thinking=True, thinking_budget=512)
    for response in (llm.chat(ASKED), await llm.achat(ASKED)):
        assert fake.last["stream"] is True
        assert (fake.last["enable_thinking"], fake.last["thinking_budget"]) == (True, 512)
        assert parted(response) == (fake.reasoning, fake.content)
        assert response.delta is None
        assert response.additional_kwargs["finish_reason"] == "stop"
        assert response.additional_kwargs["total_tokens"] == response.raw.usage.total_tokens
        assert "thinking_delta" not in response.additional_kwargs
        assert response.message.blocks[0].num_tokens == 8
    assert llm.complete("hi").additional_kwargs["reasoning"] == fake.reasoning


@pytest.mark.parametrize(
    ("model", "arguments", "streams", "thinks"),
    [
        ("qwen3-8b", {}, False, False),
        ("qwen3-8b", {"thinking_budget": 9}, True, True),
        ("qwen-plus", {}, False, False),
        ("qwen-plus", {"enable_thinking": True}, True, True),
        ("qwen3.5-plus", {}, False, True),
        ("qwen3-next-80b-a3b-thinking", {}, True, True),
    ],
)
def test_models_stream_inside_only_where_they_must(
    fake: Any, model: Any, arguments: Any, streams: Any, thinks: Any
) -> None:
    response = llm_with(fake, model=model, **arguments).chat(ASKED)
    assert bool(fake.last.get("stream")) is streams
    assert bool(parted(response)[0]) is thinks


@pytest.mark.parametrize("seed", range(3))
async def test_streams_keep_reasoning_and_answer_apart(seed: Any) -> None:
    fake = FakeDashScope(seed=seed, content="<b>9.9</b> is </think> larger.")
    llm = llm_with(fake)
    for responses in (list(llm.stream_chat(ASKED)), [each async for each in await llm.astream_chat(ASKED)]):
        assert "enable_thinking" not in fake.last  # the server's own default: on
        assert "".join(response.delta for response in responses) == fake.content
        assert "".join(r.additional_kwargs.get("thinking_delta", "") for r in responses) == fake.reasoning
        assert responses[-1].additional_kwargs["completion_tokens"] == responses[-1].raw.usage.completion_tokens


def test_calls_win_over_the_instance_which_stays(fake: Any) -> None:
    llm = llm_with(fake, enable_thinking=True, thinking_budget=100, extra_body={"enable_thinking": True, "top_k": 3})
    before = llm.to_dict()
    llm.chat(ASKED, enable_thinking=False)
    assert (fake.last["enable_thinking"], fake.last["top_k"]) == (False, 3)
    assert "thinking_budget" not in fake.last
    llm.chat(ASKED, extra_body={"enable_thinking": False})
    assert (fake.last["enable_thinking"], fake.last["top_k"]) == (False, 3)
    llm.chat(ASKED, thinking_budget=7)
    assert (fake.last["enable_thinking"], fake.last["thinking_budget"]) == (True, 7)
    assert llm.to_dict() == before


@pytest.mark.parametrize("wrong", [{"thinking_budget": 0}, {"enable_thinking": "false"}, {"nonsense": 1}, {"n": 2}])
def test_wrong_values_in_a_call_are_refused_before_sending(fake: Any, wrong: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        llm_with(fake).chat(ASKED, **wrong)
    assert fake.requests == []


def test_the_servers_own_errors_come_through(fake: Any) -> None:
    with pytest.raises(openai.BadRequestError, match=ONLY_TRUE):
        llm_with(fake, model="qwen3-next-80b-a3b-thinking", enable_thinking=False).chat(ASKED)
    with pytest.raises(openai.BadRequestError, match="word 'json'"):
        llm_with(fake).chat(ASKED, response_format={"type": "json_object"})
    bare = llm_with(fake)._connected.blocking
    with pytest.raises(openai.BadRequestError, match=NOT_STREAMED):  # the fake refuses what we avoid
        bare.chat.completions.create(
            model="qwen-plus", messages=[{"role": "user", "content": "hi"}], extra_body={"enable_thinking": True}
        )


# --- tools and structured output on DashScope --------------------------------------------------------------


@pytest.mark.parametrize("enable", [None, True])
def test_forced_tools_switch_thinking_off_for_the_call(fake: Any, enable: Any, caplog: Any) -> None:
    fake.tool_calls = [{"name": "get_weather", "args": {"city": "Oslo"}}]
    llm = llm_with(fake, enable_thinking=enable, thinking_budget=99)
    with caplog.at_level(logging.DEBUG, logger="llamaindex_qwen3"):
        response = llm.chat_with_tools([WEATHER], user_msg="Oslo?", tool_required=True)
    assert llm.get_tool_calls_from_response(response)[0].tool_kwargs == {"city": "Oslo"}
    assert "thinking is off for this call" in caplog.text
    assert fake.last["enable_thinking"] is False
    assert fake.last["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}
    llm.chat_with_tools([WEATHER], user_msg="Oslo?", tool_choice="get_weather")
    assert fake.last["enable_thinking"] is False
    llm.chat_with_tools([WEATHER], user_msg="Oslo?", enable_thinking=True)
    assert fake.last["enable_thinking"] is True


@pytest.mark.parametrize("enable", [None, True])
async def test_structured_output(fake: Any, enable: Any) -> None:
    fake.reasoning = 'I could say {} or {"name": "Bob"}.'
    fake.tool_calls = [{"name": "Person", "args": {"name": "Ann", "age": 30}}]
    llm, prompt = llm_with(fake, enable_thinking=enable), PromptTemplate("{text}")
    ann = Person(name="Ann", age=30)
    assert llm.structured_predict(Person, prompt, text="Ann is 30.") == ann
    assert fake.last["enable_thinking"] is False
    assert await llm.astructured_predict(Person, prompt, text="Ann is 30.") == ann
    assert llm.as_structured_llm(Person).complete("Ann is 30.").raw == ann
    *_, last = llm.stream_structured_predict(Person, prompt, text="Ann is 30.")
    assert last == ann
    assert llm.enable_thinking is enable


async def test_structured_streams(fake: Any) -> None:
    ann = Person(name="Ann", age=30)
    fake.tool_calls = [{"name": "Person", "args": ann.model_dump()}]
    server = ScriptedChatServer(reasoning="{}", content=ann.model_dump_json())
    llms = [llm_with(fake, enable_thinking=True), scripted(server, enable_thinking=True)]
    for llm in llms:
        *partial, last = llm.stream_structured_predict(Person, PromptTemplate("{text}"), text="Ann?")
        assert partial
        assert last == ann
    stream = await llms[0].astream_structured_predict(Person, PromptTemplate("{text}"), text="Ann?")
    assert [person async for person in stream][-1] == ann
    assert server.last["response_format"]["type"] == "json_schema"
    assert llms[1].pydantic_program_mode is PydanticProgramMode.DEFAULT


def test_a_response_format_switches_thinking_off(fake: Any) -> None:
    fake.content = '{"name": "Ann", "age": 30}'
    response = llm_with(fake, enable_thinking=True).chat(
        [ChatMessage("Ann is 30 (json)")], response_format={"type": "json_object"}
    )
    assert fake.last["enable_thinking"] is False
    assert Person.model_validate_json(response.message.content or "").age == 30


def test_one_call_unless_several_are_wanted(fake: Any) -> None:
    fake.tool_calls = [{"name": "get_weather", "args": {"city": city}} for city in ("Oslo", "Rome")]
    llm = llm_with(fake)
    one = llm.chat_with_tools([WEATHER], user_msg="?")
    both = llm.chat_with_tools([WEATHER], user_msg="?", allow_parallel_tool_calls=True)
    assert [len(llm.get_tool_calls_from_response(response)) for response in (one, both)] == [1, 2]
    assert str(llm.predict_and_call([WEATHER], user_msg="?")) == "sunny in Oslo"


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


def test_while_a_stream_runs_arguments_are_completed_as_far_as_they_go(fake: Any) -> None:
    fake.tool_calls = [{"name": "get_weather", "args": {"city": "Oslo"}}]
    llm = llm_with(fake)
    seen = [
        call.tool_kwargs
        for response in llm.stream_chat_with_tools([WEATHER], user_msg="Oslo?")
        for call in llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
    ]
    assert seen[0] == {}
    assert seen[-1] == {"city": "Oslo"}


def test_tools_without_any_are_a_plain_chat(fake: Any) -> None:
    llm_with(fake).chat_with_tools([], user_msg="hi")
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(fake.last)


# --- messages ----------------------------------------------------------------------------------------------


def test_a_tool_loop_is_sent_as_plain_text(fake: Any) -> None:
    call = ToolCallBlock(tool_call_id="1", tool_name="get_weather", tool_kwargs={"city": "Oslo"})
    sent = {"id": "2", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    llm_with(fake).chat(
        [
            ChatMessage(role=MessageRole.DEVELOPER, content="be brief"),
            ChatMessage("a"),
            ChatMessage(role=MessageRole.ASSISTANT, blocks=[ThinkingBlock(content="hm"), call]),
            ChatMessage(role=MessageRole.TOOL, content="sunny", additional_kwargs={"tool_call_id": "1"}),
            ChatMessage(role=MessageRole.ASSISTANT, additional_kwargs={"tool_calls": [sent]}),
            ChatMessage(role=MessageRole.TOOL, content="rainy", additional_kwargs={"tool_call_id": "2"}),
            ChatMessage(blocks=[TextBlock(text="and "), TextBlock(text="now?")]),
        ]
    )
    messages = fake.last["messages"]
    assert [message["content"] for message in messages] == ["be brief", "a", "", "sunny", "", "rainy", "and now?"]
    assert messages[0]["role"] == "system"
    assert json.loads(messages[2]["tool_calls"][0]["function"]["arguments"]) == {"city": "Oslo"}
    assert (messages[3]["tool_call_id"], messages[4]["tool_calls"]) == ("1", [sent])


def test_images_are_sent_and_other_media_refused(fake: Any) -> None:
    picture = ImageBlock(image=b"\x89PNG\r\n\x1a\n", image_mimetype="image/png")
    llm = llm_with(fake)
    llm.chat([ChatMessage(blocks=[TextBlock(text="what?"), picture])])
    kinds = [part["type"] for part in fake.last["messages"][0]["content"]]
    assert kinds == ["text", "image_url"]
    assert fake.last["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")
    with pytest.raises(ValueError, match="text and images, not a AudioBlock"):
        llm.chat([ChatMessage(blocks=[AudioBlock(audio=b"abc")])])


# --- other servers -----------------------------------------------------------------------------------------


@given(
    st.sampled_from(["", "<think>\nWhy {}?\n</think>\n\n", "<think>Why", "\n\n", "<thin"]),
    st.text("<think>/ \nab", max_size=20),
    st.lists(st.integers(0, 60), max_size=8),
    st.sampled_from(["", "a thought"]),
)
def test_a_stream_cut_anywhere_says_what_the_whole_says(start: str, rest: str, cuts: Any, reasoning: str) -> None:
    text = start + rest
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    server = ScriptedChatServer(reasoning=reasoning, content=text, pieces=pieces)
    llm = scripted(server)
    responses = list(llm.stream_chat(ASKED))
    assert parted(responses[-1]) == parted(llm.chat(ASKED))
    thought = "".join(response.additional_kwargs.get("thinking_delta", "") for response in responses)
    assert (thought, "".join(response.delta or "" for response in responses)) == parted(responses[-1])


def test_a_template_that_opens_the_tag_itself() -> None:
    server = ScriptedChatServer(reasoning="", content="why\n</think>\n\nso")
    llm = scripted(server, model="Qwen/Qwen3-4B-Thinking-2507")
    assert parted(llm.chat(ASKED)) == parted(list(llm.stream_chat(ASKED))[-1]) == ("why", "so")
    assert parted(scripted(server).chat(ASKED, model="qwen3-4b-thinking-2507")) == ("why", "so")


def test_the_shared_switch_and_named_tools() -> None:
    server = ScriptedChatServer()
    llm = scripted(server, enable_thinking=False, extra_body={"chat_template_kwargs": {"x": 1}})
    llm.chat_with_tools([WEATHER], user_msg="hi", tool_choice="get_weather")
    assert server.last["chat_template_kwargs"] == {"enable_thinking": False, "x": 1}
    assert "enable_thinking" not in server.last
    assert server.last["tool_choice"] == "required"


async def test_a_server_that_is_down() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    llm = Qwen3(api_base=closed, max_retries=0)
    for call in (lambda: llm.chat(ASKED), lambda: list(llm.stream_chat(ASKED)), lambda: llm.complete("hi")):
        with pytest.raises(openai.APIConnectionError, match=rf"{closed} cannot be reached.*api_base"):
            call()
    with pytest.raises(openai.APIConnectionError, match=closed):
        await llm.achat(ASKED)
    with pytest.raises(openai.APIConnectionError, match=closed):
        _ = [response async for response in await llm.astream_chat(ASKED)]


@pytest.mark.parametrize(
    "reply",
    [
        {"json": {"error": {"message": "quota used up"}}},
        {"text": "<html>quota used up</html>", "headers": {"content-type": "text/html"}},
    ],
)
def test_a_200_without_an_answer_is_an_error(reply: Any) -> None:
    with pytest.raises(ValueError, match=r"sent no answer.*quota used up"):
        replying(lambda _: httpx.Response(200, **reply)).chat(ASKED)


def chunks_of(*deltas: dict[str, Any]) -> Any:
    """Return a handler whose stream begins with a chunk that says nothing, as some gateways' do."""
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    events = [{**head, "choices": []}, *({**head, "choices": [{"index": 0, "delta": delta}]} for delta in deltas)]
    text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    return lambda _: httpx.Response(200, headers={"content-type": "text/event-stream"}, content=text)


def test_calls_without_numbers_or_ids_are_told_apart() -> None:
    def call(name: str, arguments: str, **more: Any) -> dict[str, Any]:
        return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}

    pieces = [call("f", '{"a":', id="1"), call("", " 1}", id=""), call("g", "{}", id="2")]
    llm = replying(chunks_of(*({"tool_calls": [piece]} for piece in pieces)))
    *_, last = llm.stream_chat(ASKED)
    calls = llm.get_tool_calls_from_response(last)
    assert [(each.tool_name, each.tool_kwargs) for each in calls] == [("f", {"a": 1}), ("g", {})]

    message = {"role": "assistant", "tool_calls": [call("f", "{}", id=""), call("g", "{}", id="")]}
    whole = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"message": message}]}
    llm = replying(lambda _: httpx.Response(200, json=whole))
    calls = llm.get_tool_calls_from_response(llm.chat(ASKED))
    assert [(each.tool_name, each.tool_id) for each in calls] == [("f", "call_0"), ("g", "call_1")]


def test_an_empty_stream_is_an_error() -> None:
    empty = {"headers": {"content-type": "text/event-stream"}, "text": "data: [DONE]\n\n"}
    with pytest.raises(ValueError, match="without an answer"):
        list(replying(lambda _: httpx.Response(200, **empty)).stream_chat(ASKED))


def test_streams_of_completions_have_the_piece_and_the_whole_so_far() -> None:
    llm = scripted(ScriptedChatServer(reasoning="because", content="so"))
    details = [response.additional_kwargs for response in llm.stream_complete("hi")]
    assert [each.get("reasoning_delta") for each in details[:3]] == ["bec", "aus", "e"]
    assert [each["reasoning"] for each in details[:4]] == ["bec", "becaus", "because", "because"]
    assert "reasoning_delta" not in details[3]
    assert details[-1]["finish_reason"] == "stop"


async def test_an_async_stream_that_is_left_early_is_closed() -> None:
    with ScriptedChatServer(keep_alive=True) as server:
        llm = Qwen3(api_base=server.url)
        async for _ in await llm.astream_chat(ASKED):
            break
        assert (await llm.achat(ASKED)).message.content == server.content


def test_a_stream_that_is_left_early_is_closed() -> None:
    with ScriptedChatServer(keep_alive=True) as server:
        llm = Qwen3(api_base=server.url)
        stream = llm.stream_chat(ASKED)
        next(stream)
        stream.close()
        assert llm.chat(ASKED).message.content == server.content


# --- a real llama.cpp --------------------------------------------------------------------------------------

# The parts of Qwen3's chat template from which llama.cpp learns that a model thinks.
TEMPLATE = """
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.role == "assistant" and message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>

{% endif %}{{ message.content }}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking is false %}<think>

</think>

{% endif %}
{%- endif %}"""

# The 135M model could not think, so its words are forced; splitting them is the server's own work.
THOUGHT, SAID = "Four legs,\nthree missing.", "One leg."
GRAMMAR = {"grammar": 'root ::= "<think>\\nFour legs,\\nthree missing.\\n</think>\\n\\nOne leg."'}


@pytest.fixture(scope="module")
def llama_cpp() -> Iterator[str]:
    with smollm2_server(chat_template=TEMPLATE, context_tokens=1024, threads=1) as url:
        yield url


# Split by the server, or left in the text.
@pytest.mark.parametrize(("server", "body"), [("llama.cpp", {}), ("auto", {"reasoning_format": "none"})])
def test_llama_cpp_thinks(llama_cpp: Any, server: Any, body: Any) -> None:
    llm = Qwen3(api_base=llama_cpp, server=server, enable_thinking=True, extra_body={**GRAMMAR, **body})
    streamed = list(llm.stream_chat(ASKED))
    assert len([response for response in streamed if response.additional_kwargs.get("thinking_delta")]) > 1

    async def stream() -> Any:
        return [response async for response in await llm.astream_chat(ASKED)][-1]

    # Three event loops, one after another.
    responses = [llm.chat(ASKED), streamed[-1], *(asyncio.run(run) for run in (llm.achat(ASKED), stream(), stream()))]
    for response in responses:
        assert (parted(response)[0].strip(), parted(response)[1]) == (THOUGHT, SAID)
        assert response.additional_kwargs["completion_tokens"] > 5
    completion = llm.complete("How many legs?")
    assert (completion.additional_kwargs["reasoning"].strip(), completion.text) == (THOUGHT, SAID)


def test_llama_cpp_reads_the_switch(llama_cpp: Any) -> None:
    llm = Qwen3(api_base=llama_cpp, server="llama.cpp", max_tokens=1)
    tokens = [llm.chat(ASKED, enable_thinking=on).additional_kwargs["prompt_tokens"] for on in (True, False)]
    assert tokens[1] > tokens[0]  # by the empty think block


@pytest.mark.parametrize("enable", [False, True])
def test_llama_cpp_structured_output(llama_cpp: Any, enable: Any) -> None:
    llm = Qwen3(api_base=llama_cpp, server="llama.cpp", enable_thinking=enable, max_tokens=200, temperature=0)
    person = llm.structured_predict(Person, PromptTemplate("{text}"), text="Ann is 30 years old.")
    assert isinstance(person, Person)


def test_llama_cpp_response_format(llama_cpp: Any) -> None:
    schema = {"name": "Person", "schema": Person.model_json_schema()}
    llm = Qwen3(api_base=llama_cpp, enable_thinking=False, max_tokens=100, temperature=0)
    response = llm.chat(
        [ChatMessage("Ann is 30 years old.")], response_format={"type": "json_schema", "json_schema": schema}
    )
    assert Person.model_validate_json(response.message.content or "")
