"""langchain-tests' suites against the scripted DashScope, vLLM and SGLang, with nothing refused and nothing in vain.

What is not run is what Qwen3 has no input for (PDF, audio, video, Anthropic's blocks) and the benchmark that wants
recorded cassettes.
"""

import importlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar, Literal

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.tools import tool
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from langchain_tests.utils.stream_lifecycle import assert_valid_event_stream
from pydantic import BaseModel, Field
from scripted_chat import DashScope, ScriptedChat, Sglang, Vllm
from scripted_chat.brains import PNG, competent
from syrupy.assertion import SnapshotAssertion
from syrupy.filters import props

from langchain_qwen3.chat_models import ChatQwen3

pytestmark = [
    # The v3 event stream calls itself beta.
    pytest.mark.filterwarnings("ignore:The (function|method) .* is in beta"),
    # langchain-openai dumps the SDK's event with the parsed object in it (`BaseChatOpenAI._stream`, 1.7.3).
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
]

PICTURE = PNG + b"\x00" * 64
Details = dict[Literal["invoke", "stream"], list[Any]]


def chat_on(server: ScriptedChat, **arguments: Any) -> ChatQwen3:
    return ChatQwen3(**(params_for(server) | arguments))


def params_for(server: ScriptedChat) -> dict[str, Any]:
    own = {"base_url": server.url, "server": server.server, "api_key": server.key, "max_retries": 0}
    return {**own, **server.clients()}


def reasoning_in(message: Any) -> str:
    return "".join(block["reasoning"] for block in message.content_blocks if block["type"] == "reasoning")


def assert_nothing_in_vain(server: ScriptedChat) -> None:
    """Every request was accepted, and the server looked at every field of it."""
    assert len(server.plans) == len(server.requests)
    assert {field for plan in server.plans for field in plan.dropped} == set()


async def _collected(chunks: AsyncIterator[AIMessageChunk]) -> AIMessageChunk:
    first, *rest = [chunk async for chunk in chunks]
    return first + rest if rest else first


@tool
def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


@tool
def get_time(city: str) -> str:
    """Tell the time in a city."""
    return f"noon in {city}"


class Joke(BaseModel):
    """A joke."""

    setup: str = Field(description="The question")
    punchline: str


# --- the unit suite ----------------------------------------------------------------------------------------


class Unit(ChatModelUnitTests):
    """A model that knows its server's name; nothing is sent."""

    scripted: ClassVar[type[ScriptedChat]]

    @property
    def chat_model_class(self) -> type[ChatQwen3]:
        return ChatQwen3

    @property
    def chat_model_params(self) -> dict[str, Any]:
        own = {"server": self.scripted.server, "base_url": self.scripted.url}
        return {"model": "Qwen/Qwen3-8B", "api_key": "test", **own}

    @pytest.fixture(autouse=True)
    def _trusted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # "all" in `test_serdes` means the packages that langchain-core lists; users pass allowed_objects=[ChatQwen3].
        core_load = importlib.import_module("langchain_core.load.load")
        listed = core_load._get_default_allowed_class_paths("all")
        monkeypatch.setitem(core_load._default_class_paths_cache, "all", {*listed, tuple(ChatQwen3.lc_id())})

    @pytest.fixture
    def snapshot(self, snapshot: SnapshotAssertion) -> SnapshotAssertion:
        return snapshot.with_defaults(exclude=props("lc_versions"))  # installed versions are no property of ours


class TestUnitDashScope(Unit):
    """DashScope, whose URL and key can come from the environment."""

    scripted = DashScope

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        url = "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"
        environment = {"DASHSCOPE_API_KEY": "test-env", "DASHSCOPE_API_BASE": url}
        return environment, {"model": "qwen3-8b"}, {"openai_api_key": "test-env", "openai_api_base": url}


class TestUnitVllm(Unit):
    """vLLM."""

    scripted = Vllm


class TestUnitSglang(Unit):
    """SGLang."""

    scripted = Sglang


# --- the integration suite ---------------------------------------------------------------------------------


class Conversations(ChatModelIntegrationTests):
    """A competent model behind a scripted server.

    Attributes:
        scripted: The server.
        options: How it was started.
        model_name: The model.
        override: Another model that it serves.
        arguments: More arguments for `ChatQwen3`.
        sees: Whether the model reads images.
        no_schemas: Whether the model has no JSON Schema mode, so that the method is left to `ChatQwen3`.
    """

    scripted: ClassVar[type[ScriptedChat]]
    options: ClassVar[dict[str, Any]] = {}
    model_name: ClassVar[str]
    override: ClassVar[str]
    arguments: ClassVar[dict[str, Any]] = {}
    sees: ClassVar[bool] = False
    no_schemas: ClassVar[bool] = False
    servers: list[ScriptedChat]

    @pytest.fixture(autouse=True)
    def _watched(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        self.servers = []
        # The suite fetches its picture from the network.
        monkeypatch.setattr("httpx.get", lambda url, **_: type("Fetched", (), {"content": PICTURE}))
        yield
        for server in self.servers:
            assert_nothing_in_vain(server)

    def new_server(self) -> ScriptedChat:
        """Start a server and watch it."""
        models = (self.model_name, self.override)
        server = self.scripted(brain=competent, models=models, seed=len(self.servers), **self.options)
        self.servers.append(server)
        return server

    @property
    def chat_model_class(self) -> type[ChatQwen3]:
        return ChatQwen3

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": self.model_name, **params_for(self.new_server()), **self.arguments}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_image_inputs(self) -> bool:
        return self.sees

    @property
    def supports_image_urls(self) -> bool:
        return self.sees

    @property
    def supports_image_tool_message(self) -> bool:
        return self.sees

    @property
    def model_override_value(self) -> str:
        return self.override

    @property
    def supported_usage_metadata_details(self) -> Details:
        return {"invoke": ["reasoning_output", "cache_read_input"], "stream": ["reasoning_output", "cache_read_input"]}

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        model = ChatQwen3(**{**self.chat_model_params, "enable_thinking": True})
        message = _asked(model, "How many legs has a spider?", stream=stream)
        assert reasoning_in(message).strip().startswith("The user says: How many legs")
        assert message.usage_metadata is not None
        assert message.usage_metadata["output_token_details"]["reasoning"] > 5
        return message

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        return _asked(ChatQwen3(**self.chat_model_params), "Hello", stream=stream)

    # What the suite has for `invoke` alone, asynchronous and streamed.

    @pytest.mark.parametrize("model", [{}, {"output_version": "v1"}], indirect=True)
    async def test_tool_choice_async(self, model: Any) -> None:
        for choice in ("any", "get_weather"):
            bound = model.bind_tools([get_weather, get_time], tool_choice=choice)
            whole = await _collected(bound.astream("Hello!"))
            for message in (await bound.ainvoke("Hello!"), whole):
                assert [call["name"] for call in message.tool_calls] == ["get_weather"]
                assert [block for block in message.content_blocks if block["type"] == "tool_call"]

    async def test_json_mode_async(self, model: Any) -> None:
        chat = model.with_structured_output(Joke, method="json_mode")
        question = "Tell me a joke about cats. Return the result as a JSON with 'setup' and 'punchline' keys."
        assert isinstance(await chat.ainvoke(question), Joke)
        *_, last = [part async for part in chat.astream(question)]
        assert isinstance(last, Joke)

    @pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
    async def test_structured_output_with_the_raw_message(self, model: Any, method: Any) -> None:
        if method == "json_schema" and self.no_schemas:
            method = None
        options = {} if method is None else {"method": method}
        chat = model.with_structured_output(Joke, include_raw=True, **options)
        question = "Tell me a joke. Answer in JSON with 'setup' and 'punchline' keys."
        for answer in (chat.invoke(question), await chat.ainvoke(question)):
            assert isinstance(answer["raw"], AIMessage)
            assert answer["parsing_error"] is None
            assert isinstance(answer["parsed"], Joke)
        streamed = list(chat.stream(question))
        assert isinstance(next(part["parsed"] for part in reversed(streamed) if part.get("parsed")), Joke)

    async def test_agent_loop_async(self, model: Any) -> None:
        bound = model.bind_tools([get_weather, get_time])
        question = HumanMessage("What is the weather in San Francisco, CA?")
        first = await bound.ainvoke([question])
        (call,) = first.tool_calls
        assert call["args"] == {"city": question.content}
        last = await bound.ainvoke([question, first, get_weather.invoke(call)])
        assert last.text == f"The tool says: sunny in {question.content}"
        seen = self.servers[-1].seen
        thought = reasoning_in(first).strip()
        assert [kept.strip() for kept in seen.kept] == ([thought] if thought else [])

    @pytest.mark.parametrize("asked", ["Hello", "What is the weather in Paris?"])
    async def test_event_streams_with_thinking_and_tools(self, model: Any, asked: str) -> None:
        bound = model.bind_tools([get_weather])
        whole = await _collected(bound.astream(asked))
        events = list(stream := bound.stream_events(asked, version="v3"))
        assert_valid_event_stream(events)
        later = await bound.astream_events(asked, version="v3")
        assert_valid_event_stream([event async for event in later])
        for message in (stream.output, await later.output):
            assert [block["type"] for block in message.content_blocks] == [b["type"] for b in whole.content_blocks]
            assert (message.text, reasoning_in(message)) == (whole.text, reasoning_in(whole))
            assert [call["args"] for call in message.tool_calls] == [call["args"] for call in whole.tool_calls]
            assert message.usage_metadata == whole.usage_metadata


def _asked(model: ChatQwen3, question: str, *, stream: bool) -> AIMessage:
    if not stream:
        return model.invoke(question)
    first, *rest = model.stream(question)
    return first + rest if rest else first


class TestDashScope(Conversations):
    """A model that may think in streams only, by default."""

    scripted = DashScope
    model_name = "qwen3-8b"
    override = "qwen-plus"
    no_schemas = True


class TestDashScopeThinking(TestDashScope):
    """The same, told to think."""

    arguments: ClassVar[dict[str, Any]] = {"enable_thinking": True}


class TestDashScopeCommercial(TestDashScope):
    """A model that thinks when asked."""

    model_name = "qwen-plus"
    override = "qwen3-8b"
    no_schemas = False


class TestDashScopeSeeing(Conversations):
    """A model that thinks by default, also unstreamed, and sees."""

    scripted = DashScope
    model_name = "qwen3.6-plus"
    override = "qwen3.8-max"
    sees = True


class TestVllm(Conversations):
    """Thinks by default, and says so in ``reasoning``."""

    scripted = Vllm
    options: ClassVar[dict[str, Any]] = {"prompt_details": True}
    model_name = "Qwen/Qwen3-8B"
    override = "Qwen/Qwen3-4B-Instruct-2507"


class TestVllmNotThinking(TestVllm):
    """The same, told not to think."""

    arguments: ClassVar[dict[str, Any]] = {"enable_thinking": False}


class TestVllmSeeing(TestVllm):
    """A model that sees."""

    model_name = "Qwen/Qwen3.6-27B"
    override = "Qwen/Qwen3.8-27B"
    sees = True


class TestSglang(Conversations):
    """Thinks by default, and says so in ``reasoning_content``."""

    scripted = Sglang
    options: ClassVar[dict[str, Any]] = {"cache_report": True}
    model_name = "Qwen/Qwen3-8B"
    override = "Qwen/Qwen3-4B-Instruct-2507"


class TestSglangNotThinking(TestSglang):
    """The same, told not to think."""

    arguments: ClassVar[dict[str, Any]] = {"enable_thinking": False}


class TestSglangSeeing(TestSglang):
    """A model that sees."""

    model_name = "Qwen/Qwen3.6-27B"
    override = "Qwen/Qwen3.8-27B"
    sees = True
