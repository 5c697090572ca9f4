"""`ChatQwen3` against a DashScope that enforces its rules, and against a real llama.cpp server."""

import copy
import importlib
import json
import logging
import pickle
import socket
from collections.abc import Iterator
from typing import Any, TypedDict

import openai
import pytest
from fake_dashscope import KEY, NOT_STREAMED, ONLY_TRUE, URL, FakeDashScope, httpx
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.load import dumpd, dumps, load
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from pydantic import BaseModel, Field
from syrupy.assertion import SnapshotAssertion
from syrupy.filters import props

from langchain_qwen3.chat_models import ChatQwen3
from qwen3_cli.demo_server import smollm2_server
from qwen3_core.chat_server import DASHSCOPE_BEIJING

# `load` and the v3 event stream call themselves beta.
pytestmark = pytest.mark.filterwarnings("ignore:The (function|method) .* is in beta")

OTHER = "http://127.0.0.1:9/v1"
SECRET = "sk-very-secret-4711"


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DASHSCOPE_API_KEY", "DASHSCOPE_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    # Traps: none of these may ever be used.
    for name in ("ADMIN_KEY", "API_KEY", "API_BASE", "BASE_URL", "ORG_ID", "PROJECT_ID", "PROXY"):
        monkeypatch.setenv(f"OPENAI_{name}", f"http://trap-{name.lower()}.invalid")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer trap\nX-Trap: trap")


@pytest.fixture
def fake() -> FakeDashScope:
    return FakeDashScope()


def chat_with(fake: FakeDashScope, **arguments: Any) -> ChatQwen3:
    return ChatQwen3(**{"model": "qwen3-8b", "api_key": KEY, "max_retries": 0, **fake.clients(), **arguments})


def answering(message: dict[str, Any], **arguments: Any) -> ChatQwen3:
    """Return a model whose server answers with this message, whole or as one delta for each field."""

    def handle(request: Any) -> Any:
        body = json.loads(request.content)
        head = {"id": "x", "created": 1, "model": body["model"]}
        if not body.get("stream"):
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}
            return httpx.Response(200, json={**head, "object": "chat.completion", "choices": [choice]})
        pieces = [{key: piece} for key, value in message.items() for piece in (value or "")]
        events = [
            {**head, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]}
            for delta in [{"role": "assistant", "content": ""}, *pieces]
        ]
        text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=text)

    transport = httpx.MockTransport(handle)
    return ChatQwen3(base_url=OTHER, http_client=httpx.Client(transport=transport), **arguments)


def reasoning_in(message: Any) -> str:
    return "".join(block["reasoning"] for block in message.content_blocks if block["type"] == "reasoning")


def block_types(message: Any) -> list[str]:
    return [block["type"] for block in message.content_blocks]


@tool
def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


@tool
def get_time(city: str) -> str:
    """Tell the time in a city."""
    return f"noon in {city}"


class Person(BaseModel):
    """A person."""

    name: str = Field(description="The name")
    age: int


class TestStandard(ChatModelUnitTests):
    """langchain-tests' own suite."""

    @property
    def chat_model_class(self) -> type[ChatQwen3]:
        return ChatQwen3

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "qwen3-8b", "api_key": "test"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        url = "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"
        environment = {"DASHSCOPE_API_KEY": "test-env", "DASHSCOPE_API_BASE": url}
        return environment, {"model": "qwen3-8b"}, {"openai_api_key": "test-env", "openai_api_base": url}

    @pytest.fixture(autouse=True)
    def _trusted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # "all" in `test_serdes` means the packages that langchain-core lists; users pass allowed_objects=[ChatQwen3].
        core_load = importlib.import_module("langchain_core.load.load")
        listed = core_load._get_default_allowed_class_paths("all")
        monkeypatch.setitem(core_load._default_class_paths_cache, "all", {*listed, tuple(ChatQwen3.lc_id())})

    @pytest.fixture
    def snapshot(self, snapshot: SnapshotAssertion) -> SnapshotAssertion:
        return snapshot.with_defaults(exclude=props("lc_versions"))  # installed versions are no property of ours


class Obliging(FakeDashScope):
    """Calls the first tool, or the one it must, and fills every schema: what the integration suite asks for."""

    def _said(self, body: dict[str, Any]) -> str:
        if "response_format" not in body:
            return super()._said(body)
        joke: dict[str, Any] = {"properties": {"setup": {}, "punchline": {}}}
        schema = body["response_format"].get("json_schema", {}).get("schema", joke)
        return json.dumps(_fill(schema, body))

    def _calls(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        functions = [each["function"] for each in body.get("tools") or []]
        choice = body.get("tool_choice")
        if isinstance(choice, dict):
            functions = [each for each in functions if each["name"] == choice["function"]["name"]]
        answered = body["messages"][-1]["role"] == "tool"
        self.tool_calls = [
            {"name": each["name"], "args": _fill(each["parameters"], body)} for each in functions[: not answered]
        ]
        return super()._calls(body)


def _fill(schema: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    asked = str(body["messages"][-1]["content"])
    return {name: 3 if each.get("type") == "integer" else asked for name, each in schema["properties"].items()}


class TestConversations(ChatModelIntegrationTests):
    """langchain-tests' integration suite; what it skips are inputs that a text model has not (images, PDF, audio)."""

    @property
    def chat_model_class(self) -> type[ChatQwen3]:
        return ChatQwen3

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "qwen3-8b", "api_key": KEY, **Obliging().clients()}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "qwen-plus"


class TestThinkingConversations(TestConversations):
    """The same while it thinks."""

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {**super().chat_model_params, "enable_thinking": True}


# --- construction ------------------------------------------------------------------------------------------


def test_the_default_is_dashscope_in_beijing(fake: Any) -> None:
    model = chat_with(fake)
    assert str(model.root_client.base_url).rstrip("/") == DASHSCOPE_BEIJING == URL
    assert model.invoke("hi").text == fake.content
    headers = fake.headers[-1]
    assert headers["authorization"] == f"Bearer {KEY}"
    assert not [name for name in headers if name.startswith("openai-")]
    assert "trap" not in json.dumps(headers)


@pytest.mark.parametrize("arguments", [{}, {"base_url": OTHER, "server": "dashscope"}, {"api_key": ""}])
def test_dashscope_without_a_key_is_an_error_that_says_what_to_set(arguments: Any) -> None:
    with pytest.raises(ValueError, match=r"DASHSCOPE_API_KEY.*api_key=.*OPENAI_API_KEY is never used"):
        ChatQwen3(**arguments)


def test_dashscopes_key_goes_to_dashscope_only(monkeypatch: Any) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", SECRET)
    assert ChatQwen3().root_client.api_key == SECRET
    other = ChatQwen3(base_url=OTHER)
    assert other.root_client.api_key == other.root_async_client.api_key == "not-needed"
    assert ChatQwen3(base_url=OTHER, api_key="mine").root_client.api_key == "mine"


def test_a_callable_key_works(fake: Any) -> None:
    assert chat_with(fake, api_key=lambda: KEY).invoke("hi").text == fake.content


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"thinking": True}, "no argument 'thinking'.*extra_body"),
        ({"enable_thinkin": True}, "Did you mean 'enable_thinking'"),
        ({"organization": "o"}, "no argument 'organization'"),
        ({"use_responses_api": True}, "Chat Completions"),
        ({"server": "vllm"}, "not built in"),
        ({"base_url": OTHER, "thinking_budget": 5}, "server has to be named"),
        ({"thinking_budget": 0}, "positive whole number"),
    ],
)
def test_refused_arguments(arguments: Any, text: Any) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        ChatQwen3(api_key=SECRET, **arguments)
    assert SECRET not in str(caught.value)


def test_the_callers_arguments_stay_as_they_are(fake: Any) -> None:
    arguments = {"model_kwargs": {"user": "u"}, "extra_body": {"enable_search": True, "x": {"y": 1}}}
    before = copy.deepcopy(arguments)
    model = chat_with(fake, **arguments)
    model.invoke("hi", enable_thinking=True, extra_body={"x": {"z": 2}})
    assert arguments == before
    assert model.extra_body == before["extra_body"]


def test_a_key_shows_nowhere(fake: Any, caplog: Any) -> None:
    model = chat_with(fake, api_key=SECRET)
    with caplog.at_level(logging.DEBUG), pytest.raises(openai.AuthenticationError) as caught:
        model.invoke("hi")
    shown = [
        repr(model),
        str(model),
        dumps(model),
        str(caught.value),
        caplog.text,
        json.dumps(model._identifying_params),
    ]
    assert not [text for text in shown if SECRET in text]


def test_serialisation_names_the_secret_of_the_server_it_is_for(monkeypatch: Any, fake: Any) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", SECRET)
    options: dict[str, Any] = {
        "valid_namespaces": ["langchain_qwen3"],
        "allowed_objects": [ChatQwen3],
        "secrets_from_env": True,
    }
    own = load(dumpd(ChatQwen3(enable_thinking=True, thinking_budget=7)), **options)
    assert (own.enable_thinking, own.thinking_budget, own.root_client.api_key) == (True, 7, SECRET)
    other = load(dumpd(ChatQwen3(base_url=OTHER, api_key="mine")), **options)
    assert other.root_client.api_key == "not-needed"


def test_a_host_that_does_not_answer_is_noticed_soon() -> None:
    assert ChatQwen3(base_url=OTHER).root_client.timeout.connect == 10
    assert ChatQwen3(base_url=OTHER, timeout=3).root_async_client.timeout == openai.Timeout(3)


@pytest.mark.parametrize(
    ("text", "tokens"),  # counted with Qwen3's own tokenizer
    [
        ("Milvus stores inserted data as incremental log.", 10),
        ("向量数据库是一种用于存储和检索高维向量的数据库系统。", 16),
    ],
)
def test_tokens_are_estimated_without_a_download(text: str, tokens: int) -> None:
    model = ChatQwen3(base_url=OTHER)
    one, ten = (model.get_num_tokens_from_messages([HumanMessage(text * n)]) for n in (1, 10))
    assert (ten - one) / 9 == pytest.approx(tokens, rel=0.5)
    assert model.get_num_tokens_from_messages([HumanMessage(text)], tools=[get_weather]) > one
    assert model.get_num_tokens_from_messages([]) == 0


def test_tracing_says_qwen() -> None:
    assert ChatQwen3(base_url=OTHER)._get_ls_params(model="m")["ls_provider"] == "qwen"


# --- thinking on DashScope ---------------------------------------------------------------------------------


def test_invoke_streams_inside_where_thinking_needs_it(fake: Any) -> None:
    message = chat_with(fake, enable_thinking=True, thinking_budget=512).invoke("9.11 or 9.9?")
    assert fake.last["stream"] is True
    assert (fake.last["enable_thinking"], fake.last["thinking_budget"]) == (True, 512)
    assert isinstance(message, AIMessage)
    assert not isinstance(message, AIMessageChunk)
    assert message.text == fake.content
    assert reasoning_in(message) == fake.reasoning
    assert block_types(message) == ["reasoning", "text"]
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_token_details"]["reasoning"] == 8
    assert message.response_metadata["model_provider"] == "qwen"
    assert message.response_metadata["finish_reason"] == "stop"
    assert message.response_metadata["model_name"] == "qwen3-8b"


async def test_async_is_the_same(fake: Any) -> None:
    model = chat_with(fake, enable_thinking=True)
    message = await model.ainvoke("9.11 or 9.9?")
    assert (message.text, reasoning_in(message)) == (fake.content, fake.reasoning)
    chunks = [chunk async for chunk in model.astream("9.11 or 9.9?")]
    assert "".join(chunk.text for chunk in chunks) == fake.content
    assert "".join(map(reasoning_in, chunks)) == fake.reasoning


@pytest.mark.parametrize("seed", range(5))
def test_stream_keeps_reasoning_and_answer_apart(seed: Any) -> None:
    fake = FakeDashScope(seed=seed, content="<b>9.9</b> is </think> larger.")
    chunks = list(chat_with(fake).stream("9.11 or 9.9?"))
    assert "enable_thinking" not in fake.last  # the server's own default: on
    assert not [chunk for chunk in chunks if chunk.text and reasoning_in(chunk)]
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert (whole.text, reasoning_in(whole)) == (fake.content, fake.reasoning)
    assert whole.usage_metadata is not None
    assert whole.response_metadata["model_provider"] == "qwen"


def test_open_models_do_not_think_in_a_plain_invoke(fake: Any) -> None:
    message = chat_with(fake).invoke("hi")
    assert fake.last["enable_thinking"] is False
    assert not fake.last.get("stream")
    assert block_types(message) == ["text"]
    assert message.usage_metadata is not None


def test_a_budget_alone_means_thinking(fake: Any) -> None:
    assert reasoning_in(chat_with(fake, thinking_budget=9).invoke("hi"))


@pytest.mark.parametrize(
    ("model", "arguments", "streams", "thinks"),
    [
        ("qwen-plus", {}, False, False),
        ("qwen-plus", {"enable_thinking": True}, True, True),
        ("qwen3.5-plus", {}, False, True),
        ("qwen3.5-plus", {"enable_thinking": True}, False, True),
        ("qwen3-next-80b-a3b-thinking", {}, True, True),
        ("qwen3-30b-a3b-instruct-2507", {}, False, False),
    ],
)
def test_models_stream_inside_only_where_they_must(
    fake: Any, model: Any, arguments: Any, streams: Any, thinks: Any
) -> None:
    message = chat_with(fake, model=model, **arguments).invoke("hi")
    assert bool(fake.last.get("stream")) is streams
    assert bool(reasoning_in(message)) is thinks


def test_the_model_of_the_call_decides(fake: Any) -> None:
    chat_with(fake, model="qwen3.5-plus").invoke("hi", model="qwen3-8b")
    assert fake.last["enable_thinking"] is False


def test_calls_and_bind_win_over_the_instance_which_stays(fake: Any) -> None:
    model = chat_with(fake, enable_thinking=True, thinking_budget=100)
    before = pickle.dumps(model.model_dump())
    model.invoke("hi", enable_thinking=False)
    assert fake.last["enable_thinking"] is False
    assert "thinking_budget" not in fake.last
    model.bind(thinking_budget=7).invoke("hi")
    assert (fake.last["enable_thinking"], fake.last["thinking_budget"]) == (True, 7)
    list(model.bind(enable_thinking=None, thinking_budget=None).stream("hi"))
    assert not {"enable_thinking", "thinking_budget"} & set(fake.last)
    model.invoke("hi", extra_body={"enable_thinking": False, "top_k": 3})
    assert (fake.last["enable_thinking"], fake.last["top_k"]) == (False, 3)
    assert pickle.dumps(model.model_dump()) == before


def test_the_tutorials_extra_body_works_and_is_kept(fake: Any) -> None:
    model = chat_with(fake, extra_body={"enable_thinking": True, "top_k": 20})
    assert reasoning_in(model.invoke("hi"))
    model.invoke("hi", enable_thinking=False, extra_body={"enable_search": True})
    assert {k: fake.last[k] for k in ("enable_thinking", "top_k", "enable_search")} == {
        "enable_thinking": False,
        "top_k": 20,
        "enable_search": True,
    }


@pytest.mark.parametrize("wrong", [{"thinking_budget": 0}, {"thinking_budget": "many"}])
def test_wrong_values_in_a_call_are_refused_before_sending(fake: Any, wrong: Any) -> None:
    with pytest.raises(ValueError, match="positive whole number"):
        chat_with(fake).invoke("hi", **wrong)
    with pytest.raises(TypeError, match="True, False or None"):
        chat_with(fake).invoke("hi", enable_thinking="false")
    assert fake.requests == []


def test_the_servers_own_errors_come_through(fake: Any) -> None:
    with pytest.raises(openai.BadRequestError, match=ONLY_TRUE):
        chat_with(fake, model="qwen3-next-80b-a3b-thinking", enable_thinking=False).invoke("hi")
    with pytest.raises(openai.BadRequestError, match="word 'json'"):
        chat_with(fake).bind(response_format={"type": "json_object"}).invoke("hi")
    bare = chat_with(fake).root_client
    with pytest.raises(openai.BadRequestError, match=NOT_STREAMED):  # the fake refuses what we avoid
        bare.chat.completions.create(
            model="qwen-plus", messages=[{"role": "user", "content": "hi"}], extra_body={"enable_thinking": True}
        )


def test_several_answers_cannot_be_streamed_inside(fake: Any) -> None:
    with pytest.raises(ValueError, match="n must be 1"):
        chat_with(fake, n=2).invoke("hi", enable_thinking=True)


@pytest.mark.parametrize(("wanted", "expected"), [(None, True), (True, True), (False, False)])
def test_token_counts_in_a_stream_are_on_and_can_be_turned_off(fake: Any, wanted: Any, expected: Any) -> None:
    arguments = {} if wanted is None else {"stream_usage": wanted}
    chunks = list(chat_with(fake, **arguments).stream("hi"))
    assert any(chunk.usage_metadata for chunk in chunks) is expected


def test_handlers_see_the_chunks_that_the_caller_sees(fake: Any) -> None:
    seen: list[Any] = []

    class Handler(BaseCallbackHandler):
        def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
            seen.append((token, reasoning_in(chunk.message)))

    chat_with(fake, enable_thinking=True).invoke("hi", config={"callbacks": [Handler()]})
    assert "".join(token for token, _ in seen) == fake.content
    assert "".join(thought for _, thought in seen) == fake.reasoning


async def test_async_handlers_too(fake: Any) -> None:
    seen: list[str] = []

    class Handler(AsyncCallbackHandler):
        async def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
            seen.append(token)

    await chat_with(fake, enable_thinking=True).ainvoke("hi", config={"callbacks": [Handler()]})
    assert "".join(seen) == fake.content


def test_event_stream(fake: Any) -> None:
    stream = chat_with(fake).stream_events("hi", version="v3")
    assert "".join(stream.reasoning) == fake.reasoning
    assert "".join(stream.text) == fake.content
    assert block_types(stream.output) == ["reasoning", "text"]


async def test_async_event_stream(fake: Any) -> None:
    stream = await chat_with(fake).astream_events("hi", version="v3")
    assert "".join([piece async for piece in stream.reasoning]) == fake.reasoning
    assert "".join([piece async for piece in stream.text]) == fake.content


def test_content_as_blocks(fake: Any) -> None:
    message = chat_with(fake, output_version="v1", enable_thinking=True).invoke("hi")
    assert [block["type"] for block in message.content if isinstance(block, dict)] == ["reasoning", "text"]
    assert (message.text, reasoning_in(message)) == (fake.content, fake.reasoning)


def test_a_cached_answer_knows_the_thinking_of_its_call(fake: Any) -> None:
    from langchain_core.caches import InMemoryCache

    model = chat_with(fake, cache=InMemoryCache())
    assert not reasoning_in(model.invoke("hi"))
    assert reasoning_in(model.invoke("hi", enable_thinking=True))
    model.invoke("hi")
    assert len(fake.requests) == 2


# --- tools and structured output on DashScope --------------------------------------------------------------


def test_reasoning_beside_tool_calls() -> None:
    fake = FakeDashScope(tool_calls=[{"name": "get_weather", "args": {"city": "Oslo"}}])
    model = chat_with(fake, enable_thinking=True).bind_tools([get_weather, get_time])
    for message in (model.invoke("Oslo?"), _sum(model.stream("Oslo?"))):
        assert [(call["name"], call["args"]) for call in message.tool_calls] == [("get_weather", {"city": "Oslo"})]
        assert reasoning_in(message) == fake.reasoning
        assert "tool_call" in block_types(message)


def test_a_tool_loop_is_sent_as_plain_text(fake: Any) -> None:
    call = {"name": "get_weather", "args": {"city": "Oslo"}, "id": "1"}
    thought = AIMessage(content="", tool_calls=[call], additional_kwargs={"reasoning_content": "hm"})
    blocks = AIMessage(content=[{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "ok"}])
    chat_with(fake).invoke(
        [HumanMessage("a"), thought, ToolMessage("sunny", tool_call_id="1"), blocks, HumanMessage("b")]
    )
    assert [message["content"] for message in fake.last["messages"]] == ["a", "", "sunny", "ok", "b"]
    assert len(fake.last["messages"][1]["tool_calls"]) == 1


def test_an_answer_of_the_event_stream_can_be_sent_back(fake: Any) -> None:
    model = chat_with(fake)
    answer = model.stream_events("hi", version="v3").output
    model.invoke([HumanMessage("hi"), answer, HumanMessage("and?")])
    assert fake.last["messages"][1]["content"] == fake.content


def test_images_stay_a_list(fake: Any) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    chat_with(fake).invoke([HumanMessage([{"type": "text", "text": "what?"}, picture])])
    assert fake.last["messages"][0]["content"] == [{"type": "text", "text": "what?"}, picture]


@pytest.mark.parametrize("choice", ["any", "required", "get_weather", True])
@pytest.mark.parametrize("enable", [None, True])
def test_forced_tools_switch_thinking_off_for_the_call(fake: Any, choice: Any, enable: Any, caplog: Any) -> None:
    fake.tool_calls = [{"name": "get_weather", "args": {"city": "Oslo"}}]
    model = chat_with(fake, enable_thinking=enable, thinking_budget=99)
    forced = model.bind_tools([get_weather], tool_choice=choice)
    with caplog.at_level(logging.DEBUG, logger="langchain_qwen3"):
        assert forced.invoke("Oslo?").tool_calls
        assert list(forced.stream("Oslo?"))
    assert "thinking is off for this call" in caplog.text
    assert fake.last["enable_thinking"] is False
    assert fake.last["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}
    assert model.enable_thinking is enable
    assert reasoning_in(_sum(model.stream("hi")))


def test_any_of_several_tools_is_required(fake: Any) -> None:
    chat_with(fake).bind_tools([get_weather, get_time], tool_choice="any").invoke("Oslo?")
    assert fake.last["tool_choice"] == "required"


def test_free_tool_choice_leaves_thinking_alone(fake: Any) -> None:
    for choice in (None, "auto", "none"):
        chat_with(fake, enable_thinking=True).bind_tools([get_weather], tool_choice=choice).invoke("Oslo?")
        assert fake.last["enable_thinking"] is True


def test_strict_and_parallel_tool_calls_are_forwarded(fake: Any) -> None:
    chat_with(fake).bind_tools([get_weather], strict=True, parallel_tool_calls=False).invoke("Oslo?")
    assert fake.last["tools"][0]["function"]["strict"] is True
    assert fake.last["parallel_tool_calls"] is False
    chat_with(fake).bind_tools([get_weather]).invoke("Oslo?")
    assert "parallel_tool_calls" not in fake.last


class PersonDict(TypedDict):
    """A person."""

    name: str
    age: int


@pytest.mark.parametrize("enable", [None, True])
@pytest.mark.parametrize("method", [None, "function_calling", "json_schema", "json_mode"])
@pytest.mark.parametrize("schema", [Person, PersonDict])
def test_structured_output(enable: Any, method: Any, schema: Any) -> None:
    ann = {"name": "Ann", "age": 30}
    fake = FakeDashScope(content=json.dumps(ann), tool_calls=[{"name": schema.__name__, "args": ann}])
    model = chat_with(fake, enable_thinking=enable)
    structured = model.with_structured_output(schema, method=method, include_raw=True)
    answer = structured.invoke("Ann is 30 (json)")
    assert answer["parsing_error"] is None
    assert answer["parsed"] == (Person(**ann) if schema is Person else ann)
    assert fake.last["enable_thinking"] is False
    assert model.enable_thinking is enable
    assert reasoning_in(_sum(model.stream("hi")))


def test_broken_tool_arguments_are_invalid_rather_than_guessed(fake: Any) -> None:
    fake.tool_calls = [{"name": "get_weather", "args": {"city": "Oslo"}}]
    original = fake._calls

    def broken(body: dict[str, Any]) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = original(body)
        for call in calls:
            call["function"]["arguments"] = '{"city": "Os'
        return calls

    fake._calls = broken
    message = chat_with(fake, enable_thinking=True).bind_tools([get_weather]).invoke("Oslo?")
    assert message.tool_calls == []
    assert message.invalid_tool_calls[0]["args"] == '{"city": "Os'


# --- other servers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("content", ["\n\nso", "<think> is a tag"])
def test_reasoning_fields_of_other_servers(field: Any, content: Any) -> None:
    model = answering({field: "why", "content": content})
    expected = ("why", content.lstrip("\n"))
    for message in (model.invoke("hi"), _sum(model.stream("hi"))):
        assert (reasoning_in(message), message.text) == expected


def test_reasoning_without_an_answer() -> None:
    message = answering({"reasoning": "cut short", "content": None}).invoke("hi")
    assert (reasoning_in(message), message.text) == ("cut short", "")


@pytest.mark.parametrize(
    ("model", "content", "expected"),
    [
        ("m", "<think>\nwhy\n</think>\n\nso", ("why", "so")),
        ("m", "<think>\n\n</think>\n\nso", ("", "so")),
        ("m", "<think>why", ("why", "")),
        ("m", "use <think> and </think>", ("", "use <think> and </think>")),
        ("Qwen3-4B-Thinking-2507", "why\n</think>\n\nso", ("why", "so")),
    ],
)
def test_tags_that_a_server_left_in_the_text(model: Any, content: Any, expected: Any) -> None:
    chat = answering({"content": content}, model=model)
    chunks = list(chat.stream("hi"))
    assert not [chunk for chunk in chunks if chunk.text and reasoning_in(chunk)]
    for message in (chat.invoke("hi"), _sum(chunks)):
        assert (reasoning_in(message), message.text) == expected


def test_the_shared_switch_and_named_tools() -> None:
    fake = FakeDashScope()
    model = chat_with(fake, base_url=f"{OTHER[:-3]}/compatible-mode/v1", enable_thinking=False)
    model.bind_tools([get_weather, get_time], tool_choice="get_time").invoke(
        "hi", extra_body={"chat_template_kwargs": {"x": 1}}, model="m"
    )
    assert fake.last["chat_template_kwargs"] == {"enable_thinking": False, "x": 1}
    assert "enable_thinking" not in fake.last
    assert fake.last["tool_choice"] == "required"
    assert [each["function"]["name"] for each in fake.last["tools"]] == ["get_time"]


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


async def test_a_server_that_is_down(closed_port: Any) -> None:
    model = ChatQwen3(base_url=closed_port, max_retries=0)
    errors = []
    for call in (lambda: model.invoke("hi"), lambda: list(model.stream("hi"))):
        with pytest.raises(openai.APIConnectionError) as caught:
            call()
        errors.append(caught.value)
    with pytest.raises(openai.APIConnectionError) as caught:
        await model.ainvoke("hi")
    errors.append(caught.value)
    with pytest.raises(openai.APIConnectionError) as caught:
        _ = [chunk async for chunk in model.astream("hi")]
    errors.append(caught.value)
    for error in errors:
        assert closed_port in str(error)
        assert "base_url" in str(error)
        assert isinstance(error.__cause__, openai.APIConnectionError)


def test_a_server_that_does_not_answer_in_time() -> None:
    def handle(request: Any) -> Any:
        message = "silence"
        raise httpx.ReadTimeout(message, request=request)

    client = httpx.Client(transport=httpx.MockTransport(handle))
    with pytest.raises(openai.APITimeoutError, match=f"{OTHER} did not answer in time"):
        ChatQwen3(base_url=OTHER, http_client=client, max_retries=0).invoke("hi")


def _sum(chunks: Any) -> Any:
    whole, *rest = chunks
    for chunk in rest:
        whole += chunk
    return whole


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
async def test_llama_cpp_thinks(llama_cpp: Any, server: Any, body: Any) -> None:
    # langchain-openai shares one async client for each URL, which does not outlive a test's event loop.
    own = openai.DefaultAsyncHttpxClient()
    model = ChatQwen3(
        base_url=llama_cpp,
        server=server,
        enable_thinking=True,
        extra_body={**GRAMMAR, **body},
        http_async_client=own,
    )
    streamed = list(model.stream("How many legs?"))
    assert len([chunk for chunk in streamed if reasoning_in(chunk)]) > 1
    async with own:
        messages = [model.invoke("How many legs?"), _sum(streamed), await model.ainvoke("How many legs?")]
    for message in messages:
        assert (reasoning_in(message).strip(), message.text) == (THOUGHT, SAID)
        assert message.usage_metadata is not None
        assert message.usage_metadata["output_tokens"] > 5


def test_llama_cpp_reads_the_switch(llama_cpp: Any) -> None:
    model = ChatQwen3(base_url=llama_cpp, server="llama.cpp", max_tokens=1)
    tokens = {}
    for enable in (True, False):
        message = model.invoke("Hi", enable_thinking=enable)
        assert message.usage_metadata is not None
        tokens[enable] = message.usage_metadata["input_tokens"]
    assert tokens[False] > tokens[True]  # by the empty think block


def test_llama_cpp_takes_a_budget(llama_cpp: Any) -> None:
    model = ChatQwen3(base_url=llama_cpp, server="llama.cpp", enable_thinking=True, thinking_budget=5, max_tokens=4)
    assert model.invoke("Hi").usage_metadata


def test_llama_cpp_structured_output(llama_cpp: Any) -> None:
    model = ChatQwen3(base_url=llama_cpp, enable_thinking=False, max_tokens=100, temperature=0)
    assert isinstance(model.with_structured_output(Person).invoke("Ann is 30 years old."), Person)


def test_llama_cpp_reasons_with_a_response_format(llama_cpp: Any) -> None:
    words = 'root ::= "<think>\\nwhy\\n</think>\\n\\n{\\"name\\": \\"Ann\\", \\"age\\": 30}"'
    model = ChatQwen3(base_url=llama_cpp, enable_thinking=True, extra_body={"grammar": words})
    text_format: dict[str, Any] = {"response_format": {"type": "text"}}
    for message in (model.invoke("Ann?", **text_format), _sum(model.stream("Ann?", **text_format))):
        assert reasoning_in(message).strip() == "why"
        assert json.loads(message.text) == {"name": "Ann", "age": 30}
