"""`ChatQwen3` as an object: what it takes and refuses, keys and URLs, serialisation, the profile, counting, clients."""

import asyncio
import copy
import json
import logging
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_chat import OTHER, SECRET, chat_on, get_weather, whole
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import ModelProfile
from langchain_core.load import dumpd, dumps, load
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from scripted_chat import DashScope, Ollama, ScriptedChat, Sglang, TransformersServe, Vllm

from langchain_qwen3.chat_models import ChatQwen3
from qwen3_core.chat.server import DASHSCOPE_BEIJING
from qwen3_core.families import recommended_sampling

# `load` calls itself beta.
pytestmark = pytest.mark.filterwarnings("ignore:The function `load` is in beta")


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DASHSCOPE_API_KEY", "DASHSCOPE_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    # Traps: none of these may ever be used.
    for name in ("ADMIN_KEY", "API_KEY", "API_BASE", "BASE_URL", "ORG_ID", "PROJECT_ID", "PROXY"):
        monkeypatch.setenv(f"OPENAI_{name}", f"http://trap-{name.lower()}.invalid")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer trap\nX-Trap: trap")
    monkeypatch.setenv("LANGSMITH_GATEWAY", "http://trap-gateway.invalid")


@pytest.fixture
def dashscope() -> DashScope:
    return DashScope()


# --- where it goes -----------------------------------------------------------------------------------------


def test_the_default_is_dashscope_in_beijing(dashscope: DashScope) -> None:
    model = ChatQwen3(api_key=dashscope.key, **dashscope.clients())
    assert str(model.root_client.base_url).rstrip("/") == DASHSCOPE_BEIJING
    assert model.invoke("hi").text == dashscope.content
    headers = dict(dashscope.headers[-1])
    assert headers["authorization"] == f"Bearer {dashscope.key}"
    assert not [name for name in headers if name.startswith("openai-")]
    assert "trap" not in json.dumps(headers)


@pytest.mark.parametrize(
    ("arguments", "url"),
    [
        ({"region": "ap-southeast-1"}, "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
        ({"region": "us-east-1", "workspace": "ws1"}, "https://ws1.us-east-1.maas.aliyuncs.com/compatible-mode/v1"),
        ({"workspace": "ws1"}, "https://ws1.cn-beijing.maas.aliyuncs.com/compatible-mode/v1"),
        ({"base_url": OTHER}, OTHER),
    ],
)
def test_a_region_or_a_workspace_is_as_good_as_a_url(monkeypatch: Any, arguments: Any, url: str) -> None:
    monkeypatch.setenv("DASHSCOPE_API_BASE", "http://elsewhere.invalid/v1")
    model = ChatQwen3(api_key=SECRET, **arguments)
    assert str(model.root_client.base_url).rstrip("/") == str(model.root_async_client.base_url).rstrip("/") == url


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


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"thinking": True}, "no argument 'thinking'.*extra_body"),
        ({"enable_thinkin": True}, "Did you mean 'enable_thinking'"),
        ({"organization": "o"}, "no argument 'organization'"),
        ({"reasoning": {"effort": "low"}}, "no argument 'reasoning'"),
        ({"use_responses_api": True}, "Chat Completions"),
        ({"server": "vlm"}, "server"),
        ({"server": "tei", "base_url": OTHER}, "no chat server that is known"),
        ({"base_url": OTHER, "thinking_budget": 5}, "name yours, server="),
        ({"thinking_budget": 0}, "greater than or equal to 1"),
        ({"base_url": OTHER, "region": "cn-beijing"}, "give one of the two"),
        ({"region": "eu-central-1"}, "workspace"),
        ({"model": "qwen3-30b-a3b-instruct-2507", "enable_thinking": True}, "does not think"),
        ({"model": "qwen3-30b-a3b-thinking-2507", "enable_thinking": False}, "cannot stop thinking"),
        ({"model": "qwen3.8-max", "thinking_budget": 9, "reasoning_effort": "low"}, "not both"),
        ({"model": "qwen3-8b", "reasoning_effort": "low"}, "no reasoning_effort"),
    ],
)
def test_what_it_refuses_at_once(arguments: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        ChatQwen3(api_key=SECRET, **arguments)
    assert SECRET not in str(caught.value)


def test_the_callers_arguments_stay_as_they_are(dashscope: DashScope) -> None:
    arguments = {"model_kwargs": {"user": "u"}, "extra_body": {"enable_search": True, "x": {"y": 1}}}
    before = copy.deepcopy(arguments)
    model = chat_on(dashscope, **arguments)
    model.invoke("hi", enable_thinking=True, extra_body={"x": {"z": 2}})
    assert arguments == before
    assert model.extra_body == before["extra_body"]


# --- keys, proxies and sockets -----------------------------------------------------------------------------


async def test_a_key_can_be_a_function_or_a_coroutine_function(dashscope: DashScope) -> None:
    assert chat_on(dashscope, api_key=lambda: dashscope.key).invoke("hi").text == dashscope.content

    async def fetch() -> str:
        await asyncio.sleep(0)
        return dashscope.key

    model = chat_on(dashscope, api_key=fetch, enable_thinking=True)
    assert (await model.ainvoke("hi")).text == dashscope.content
    assert dashscope.headers[-1]["authorization"] == f"Bearer {dashscope.key}"
    with pytest.raises(ValueError, match="Sync client is not available"):
        model.invoke("hi")


def _proxies(client: Any) -> set[str]:
    pools = [transport._pool for transport in client._client._mounts.values()]
    return {f"{pool._proxy_url.host.decode()}:{pool._proxy_url.port}" for pool in pools}


def test_a_proxy_and_socket_options_reach_both_clients() -> None:
    proxied = ChatQwen3(base_url=OTHER, openai_proxy="http://127.0.0.1:3128")
    assert _proxies(proxied.root_client) == _proxies(proxied.root_async_client) == {"127.0.0.1:3128"}
    options = [(6, 1, 1)]
    tuned = ChatQwen3(base_url=OTHER, http_socket_options=options)
    for client in (tuned.root_client, tuned.root_async_client):
        assert client._client._transport._pool._socket_options == options
    assert _proxies(ChatQwen3(base_url=OTHER).root_client) == set()


def test_a_key_shows_nowhere(dashscope: DashScope, caplog: Any) -> None:
    model = chat_on(dashscope, api_key=SECRET)
    with caplog.at_level(logging.DEBUG), pytest.raises(openai.AuthenticationError) as caught:
        model.invoke("hi")
    texts = [repr(model), str(model), dumps(model), str(caught.value), caplog.text]
    assert not [text for text in (*texts, json.dumps(model._identifying_params)) if SECRET in text]


def test_a_host_that_does_not_answer_is_noticed_soon() -> None:
    assert ChatQwen3(base_url=OTHER).root_client.timeout.connect == 10
    assert ChatQwen3(base_url=OTHER, timeout=3).root_async_client.timeout == openai.Timeout(3)


@pytest.mark.parametrize("ask", ["invoke", "stream"])
def test_one_model_serves_one_event_loop_after_another(ask: str) -> None:
    server = Vllm()
    with server.serve() as url:
        model = ChatQwen3(model="Qwen/Qwen3-8B", base_url=url, server="vllm", max_retries=0)

        async def once() -> str:
            if ask == "invoke":
                return (await model.ainvoke("hi")).text
            return str(whole([chunk async for chunk in model.astream("hi")]).text)

        assert [asyncio.run(once()) for _ in range(3)] == [server.content] * 3
    assert {headers["connection"] for headers in server.headers} == {"close"}


async def test_a_client_of_the_users_keeps_its_connections() -> None:
    server = Vllm()
    with server.serve() as url:
        async with openai.DefaultAsyncHttpxClient() as own:
            model = ChatQwen3(model="m", base_url=url, http_async_client=own)
            await model.ainvoke("hi")
    assert server.headers[-1]["connection"] == "keep-alive"


# --- serialisation and caches ------------------------------------------------------------------------------

LOADING: dict[str, Any] = {
    "valid_namespaces": ["langchain_qwen3"],
    "allowed_objects": [ChatQwen3],
    "secrets_from_env": True,
}


def test_dumps_and_load_bring_a_model_back_that_asks_the_same(monkeypatch: Any, dashscope: DashScope) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", dashscope.key)
    model = ChatQwen3(
        model="qwen3.8-max",
        enable_thinking=True,
        reasoning_effort="low",
        preserve_thinking=False,
        temperature=0.5,
        extra_body={"enable_search": True},
        **dashscope.clients(),
    )
    again = load(json.loads(dumps(model)), **LOADING)
    assert again.root_client.api_key == dashscope.key
    model.invoke("hi")
    assert (
        again._get_request_payload("hi", stream=True)["extra_body"]
        == model._get_request_payload("hi", stream=True)["extra_body"]
    )
    assert (again.model_name, again.temperature) == ("qwen3.8-max", 0.5)


def test_a_model_with_a_region_comes_back_too(monkeypatch: Any) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", SECRET)
    model = ChatQwen3(region="eu-central-1", workspace="ws1")
    again = load(json.loads(dumps(model)), **LOADING)
    assert (again.region, again.openai_api_base) == ("eu-central-1", model.openai_api_base)


def test_serialisation_names_the_secret_of_the_server_it_is_for(monkeypatch: Any) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", SECRET)
    own = load(dumpd(ChatQwen3(enable_thinking=True, thinking_budget=7)), **LOADING)
    assert (own.enable_thinking, own.thinking_budget, own.root_client.api_key) == (True, 7, SECRET)
    other = load(dumpd(ChatQwen3(base_url=OTHER, api_key="mine")), **LOADING)
    assert other.root_client.api_key == "not-needed"


def test_a_cached_answer_is_that_of_the_same_wishes_only() -> None:
    server, cache = Vllm(), InMemoryCache()

    def ask(call: dict[str, Any], **arguments: Any) -> None:
        chat_on(server, cache=cache, model="Qwen/Qwen3.6-27B", **arguments).invoke("hi", **call)

    variants: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {}),
        ({"enable_thinking": True}, {}),
        ({"enable_thinking": False}, {}),
        ({}, {"enable_thinking": False}),
        ({}, {"enable_thinking": True, "thinking_budget": 9}),
        ({}, {"preserve_thinking": True}),
        ({}, {"temperature": 0.1}),
        ({}, {"recommended_sampling": False}),
    ]
    for call, arguments in variants * 2:
        ask(call, **arguments)
    assert len(server.requests) == len(variants)


# --- what it says about itself -----------------------------------------------------------------------------


def test_tracing_says_qwen_and_the_model_of_the_call() -> None:
    params = ChatQwen3(base_url=OTHER)._get_ls_params(model="m")
    assert (params["ls_provider"], params["ls_model_name"]) == ("qwen", "m")


@pytest.mark.parametrize(
    ("model", "server", "said"),
    [
        ("qwen3-8b", "dashscope", {"max_input_tokens": 131_072, "structured_output": False, "image_inputs": False}),
        ("Qwen/Qwen3-8B", "vllm", {"max_input_tokens": 40_960, "structured_output": True, "tool_choice": True}),
        ("qwen3-30b-a3b-instruct-2507", "dashscope", {"max_input_tokens": 262_144, "reasoning_output": False}),
        ("Qwen/Qwen3-30B-A3B-Thinking-2507", "sglang", {"max_input_tokens": 262_144, "reasoning_output": True}),
        ("qwen3-next-80b-a3b-instruct", "vllm", {"max_input_tokens": 262_144, "reasoning_output": False}),
        ("qwen3.5-plus", "dashscope", {"max_input_tokens": 1_000_000, "image_inputs": True}),
        ("Qwen/Qwen3.6-27B", "vllm", {"max_input_tokens": 262_144, "image_inputs": True, "reasoning_output": True}),
        ("qwen3.7-max", "dashscope", {"structured_output": True, "image_inputs": False}),
        (
            "qwen3.8-max",
            "dashscope",
            {"reasoning_effort_levels": ["low", "medium", "xhigh"], "structured_output": True},
        ),
        ("qwen-plus", "dashscope", {"max_input_tokens": 1_000_000, "reasoning_output": True}),
        ("Qwen/Qwen3-8B", "transformers", {"structured_output": False, "tool_choice": False, "tool_calling": True}),
        ("qwen3:8b", "ollama", {"structured_output": True, "tool_choice": False}),
    ],
)
def test_the_profile_says_what_the_model_can_do_on_its_server(model: str, server: Any, said: Any) -> None:
    url = DASHSCOPE_BEIJING if server == "dashscope" else OTHER
    chat = ChatQwen3(model=model, server=server, base_url=url, api_key="k")
    # langchain-core swallows what this raises.
    assert chat.profile == chat._resolve_model_profile()
    assert chat.profile is not None
    assert said.items() <= chat.profile.items()
    assert set(chat.profile) <= set(ModelProfile.__annotations__)


def test_a_profile_of_the_users_stays() -> None:
    assert ChatQwen3(base_url=OTHER, profile={"max_input_tokens": 8_192}).profile == {"max_input_tokens": 8_192}


# --- counting tokens ---------------------------------------------------------------------------------------


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
    assert model.get_num_tokens(text * 10) == pytest.approx(ten, abs=20)


def test_tools_count_in_whatever_form_they_are_bound() -> None:
    model, question = ChatQwen3(base_url=OTHER), [HumanMessage("Oslo?")]
    plain = model.get_num_tokens_from_messages(question)
    forms = [
        get_weather,
        get_weather.args_schema,
        {"title": "get_weather", "type": "object", "properties": {"city": {"title": "City", "type": "string"}}},
    ]
    counts = [model.get_num_tokens_from_messages(question, tools=[form]) for form in forms]
    assert max(counts) - min(counts) < 20
    assert min(counts) > plain + 30


def test_the_models_own_tokenizer_counts_exactly(qwen3_tokenizer_folder: Path) -> None:
    model = ChatQwen3(base_url=OTHER, tokenizer=str(qwen3_tokenizer_folder))
    assert model.get_num_tokens("Milvus stores inserted data as incremental log.") == 10
    reasoned = AIMessage([{"type": "reasoning", "reasoning": "hm " * 50}, {"type": "text", "text": "Hi."}])
    talk = [SystemMessage("Be brief."), HumanMessage("Hello"), reasoned]
    # Qwen3's template: 5 control tokens around each message, 3 before the answer; "Be brief." 3, "Hello" 1, "Hi." 2.
    assert model.get_num_tokens_from_messages(talk) == 3 * 5 + 3 + 3 + 1 + 2


# --- sampling ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "read"),
    [
        (DashScope(), {"temperature", "top_p", "top_k"}),
        (Vllm(), {"temperature", "top_p", "top_k", "min_p"}),
        (Sglang(), {"temperature", "top_p", "top_k", "min_p"}),
        (Ollama(), {"temperature", "top_p"}),
        (TransformersServe(), {"temperature", "top_p"}),
    ],
    ids=lambda value: value.server if isinstance(value, ScriptedChat) else "",
)
@pytest.mark.parametrize("thinking", [True, False])
def test_the_cards_sampling_for_the_mode_is_sent_where_nothing_is_set(
    server: ScriptedChat, read: set[str], thinking: Any
) -> None:
    model = chat_on(server)
    model.invoke("hi", enable_thinking=thinking)
    card = recommended_sampling("qwen3-8b", thinking=thinking)
    assert {name: server.seen.sampling[name] for name in read} == {name: getattr(card, name) for name in read}
    model.invoke("hi", enable_thinking=thinking, temperature=0.42)
    assert server.seen.sampling["temperature"] == 0.42
    chat_on(server, recommended_sampling=False).invoke("hi", enable_thinking=thinking)
    assert not set(server.seen.sampling)


def test_thinking_is_never_greedy_and_says_so_once(caplog: Any) -> None:
    server = DashScope()
    model = chat_on(server, temperature=0)
    model.invoke("hi", enable_thinking=True)
    assert server.last["temperature"] == 0.6
    assert caplog.text.count("temperature=0 is greedy") == 1
    model.invoke("hi", enable_thinking=False)
    assert server.last["temperature"] == 0
    model.invoke("hi", enable_thinking=True, extra_body={"temperature": 0})
    assert server.last["temperature"] == 0
    assert caplog.text.count("temperature=0 is greedy") == 1
