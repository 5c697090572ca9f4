"""Where a chat model goes, with which key, and the whole request that goes there."""

import copy
import logging
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_chat import SERVERS, Ollama, httpx

from qwen3_core.chat.body import must_stream, thinks, wanted_body
from qwen3_core.chat.messages import is_constrained, takes_json_schema
from qwen3_core.chat.paths import get
from qwen3_core.chat.server import (
    DASHSCOPE_BEIJING,
    decide_thinking,
    prepare_client,
    refuse_unknown,
    server_key,
    server_url,
    settle_payload,
)
from qwen3_core.thinking import CHAT_TEMPLATE_KWARGS, DASHSCOPE, DIALECTS, LLAMA_CPP, OPENAI, VLLM

URL = "http://127.0.0.1:9/v1"
LOGGER = logging.getLogger("someone.else")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DASHSCOPE_API_KEY", "DASHSCOPE_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("API_KEY", "BASE_URL", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", "http://trap.invalid")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Trap: trap")


# --- where to go


def test_the_url_is_the_callers_then_the_environments_then_beijing(monkeypatch: Any) -> None:
    assert server_url(None) == server_url("") == DASHSCOPE_BEIJING
    monkeypatch.setenv("DASHSCOPE_API_BASE", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1")
    assert server_url(None) == "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"
    assert server_url(URL) == URL


@pytest.mark.parametrize(
    ("region", "workspace", "expected"),
    [
        ("cn-beijing", None, DASHSCOPE_BEIJING),
        ("ap-southeast-1", None, "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
        ("us-east-1", None, "https://dashscope-us.aliyuncs.com/compatible-mode/v1"),
        ("eu-central-1", "ws-1", "https://ws-1.eu-central-1.maas.aliyuncs.com/compatible-mode/v1"),
        ("cn-hongkong", "ws-1", "https://ws-1.cn-hongkong.maas.aliyuncs.com/compatible-mode/v1"),
        (None, "ws-1", "https://ws-1.cn-beijing.maas.aliyuncs.com/compatible-mode/v1"),
    ],
)
def test_a_region_and_a_workspace_say_where_dashscope_is(region: Any, workspace: Any, expected: str) -> None:
    assert server_url(None, region=region, workspace=workspace) == expected


@pytest.mark.parametrize(
    ("url", "region", "workspace", "says"),
    [
        (URL, "cn-beijing", None, "give one of the two"),
        (URL, None, "ws-1", "give one of the two"),
        (None, "mars-1", None, "no region 'mars-1'; it has cn-beijing, ap-southeast-1"),
        (None, "eu-central-1", None, r"for each workspace only: pass workspace=\.\.\."),
    ],
)
def test_a_place_that_is_none_is_refused(url: Any, region: Any, workspace: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        server_url(url, region=region, workspace=workspace)


def test_only_dashscope_gets_its_key(monkeypatch: Any) -> None:
    with pytest.raises(ValueError, match=rf"(?s){DASHSCOPE_BEIJING}.*DASHSCOPE_API_KEY.*point api_base at"):
        server_key(DASHSCOPE, DASHSCOPE_BEIJING, url_argument="api_base")
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-1")
    assert server_key(DASHSCOPE, DASHSCOPE_BEIJING) == "sk-1"
    assert server_key(CHAT_TEMPLATE_KWARGS, URL) == server_key(LLAMA_CPP, URL) == "not-needed"


def test_a_missing_key_shows_no_other_secret() -> None:
    with pytest.raises(ValueError, match="There is no key for DashScope") as caught:
        server_key(DASHSCOPE, "https://user:hidden@dashscope.aliyuncs.com/v1?token=hidden")
    assert "hidden" not in str(caught.value)


def test_unknown_arguments_are_refused_with_a_hint() -> None:
    refuse_unknown("Qwen3", {"model": "m"}, {"model", "server"})
    with pytest.raises(ValueError, match=r"^Qwen3 has no argument 'servr'. Did you mean 'server'\? .*extra_body"):
        refuse_unknown("Qwen3", {"servr": "x"}, {"model", "server"})
    with pytest.raises(ValueError, match="api_kee") as caught:
        refuse_unknown("Qwen3", {"api_kee": "sk-secret"}, {"api_key"})
    assert "sk-secret" not in str(caught.value)


def test_a_client_forgets_openais_account() -> None:
    seen: list[Any] = []

    def handle(request: Any) -> Any:
        seen.append(request)
        return httpx.Response(200, json={"object": "list", "data": []})

    with httpx.Client(transport=httpx.MockTransport(handle)) as http:
        client = openai.OpenAI(base_url=URL, api_key="k", http_client=http, default_headers={"X-Mine": "1"})
        prepare_client(client, 600, {"X-Mine": "1"})
        client.models.list()
    headers = dict(seen[0].headers)
    assert "trap" not in str(headers)
    assert not [name for name in headers if name.startswith("openai-")]
    assert (headers["authorization"], headers["x-mine"]) == ("Bearer k", "1")
    assert client.timeout == openai.Timeout(600, connect=10)


def test_a_short_timeout_holds_for_connecting_too_and_ones_own_is_left_alone() -> None:
    client = openai.OpenAI(base_url=URL, api_key="k")
    prepare_client(client, 2)
    assert client.timeout == openai.Timeout(2, connect=2)
    own = openai.Timeout(5, connect=60)
    client.timeout = own
    prepare_client(client, own)
    assert client.timeout is own
    client.close()


# --- deciding


@pytest.mark.parametrize(
    ("model", "expected"),
    [("qwen3-8b", True), ("my-own-model", True), ("qwq-32b", None), ("qwen3-coder-plus", None)],
)
def test_a_rule_is_asked_for_models_that_have_the_choice(model: str, expected: Any, caplog: Any) -> None:
    asked: list[Any] = []

    def rule(question: str, context: str) -> bool:
        asked.append(question)
        return True

    with caplog.at_level(logging.DEBUG, logger="someone"):
        assert (
            decide_thinking(DIALECTS["vllm"], model, [{"role": "user", "content": "9.11 or 9.9?"}], rule, LOGGER)
            is expected
        )
    assert len(asked) == bool(expected)
    assert bool(expected) is ("thinking is on for this call" in caplog.text)


# --- the whole request

ADD: dict[str, Any] = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
SUB: dict[str, Any] = {"type": "function", "function": {"name": "sub", "parameters": {"type": "object"}}}
NAMED = {"type": "function", "function": {"name": "add"}}
LOOP: list[dict[str, Any]] = [
    {"role": "user", "content": "Answer in JSON."},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "1", "content": "3"},
]
THOUGHTS = ["", "I need the sum.", ""]


def test_a_payload_that_dashscope_would_refuse_is_settled(caplog: Any) -> None:
    payload: dict[str, Any] = {
        "model": "qwen3-8b",
        "messages": LOOP,
        "tools": [ADD, SUB],
        "tool_choice": NAMED,
        "temperature": 0,
        "extra_body": {"a": 1},
    }
    wanted = {"enable_thinking": True, "thinking_budget": 9}
    before = copy.deepcopy((payload, wanted))
    with caplog.at_level(logging.DEBUG, logger="someone"):
        settled = settle_payload(DASHSCOPE, payload, wanted, THOUGHTS, sampling=True, logger=LOGGER)
    assert (payload, wanted) == before
    assert settled.pop("messages")[1]["reasoning_content"] == "I need the sum."
    assert settled == {
        "model": "qwen3-8b",
        "tools": [ADD, SUB],
        "tool_choice": NAMED,
        "temperature": 0,  # it does not think any more
        "top_p": 0.8,
        "extra_body": {"enable_thinking": False, "top_k": 20},
    }
    assert "thinking is off for this call: dashscope refuses the request otherwise" in caplog.text


def test_a_plain_payload_stays_as_it_is(caplog: Any) -> None:
    payload = {"model": "my-own-model", "messages": LOOP, "temperature": 0}
    with caplog.at_level(logging.DEBUG, logger="someone"):
        settled = settle_payload(CHAT_TEMPLATE_KWARGS, payload, {}, ["", "", ""], sampling=True, logger=LOGGER)
    assert settled == payload
    assert not caplog.records


def test_a_changed_tool_choice_is_said(caplog: Any) -> None:
    payload = {"model": "qwen3-8b", "messages": LOOP, "tools": [ADD, SUB], "tool_choice": NAMED}
    with caplog.at_level(logging.DEBUG, logger="someone"):
        settled = settle_payload(LLAMA_CPP, payload, {}, ["", "", ""], sampling=False, logger=LOGGER)
    assert (settled["tools"], settled["tool_choice"]) == ([ADD], "required")
    assert "tool_choice is 'required' for this call, as llama.cpp reads it" in caplog.text


@pytest.mark.parametrize("on", [True, False])
def test_thinking_is_never_greedy_even_without_recommended_sampling(on: Any) -> None:
    payload = {"model": "Qwen/Qwen3-8B", "messages": LOOP, "temperature": 0}
    body = {"chat_template_kwargs": {"enable_thinking": on}}
    settled = settle_payload(VLLM, payload, body, ["", "", ""], sampling=False, logger=LOGGER)
    assert settled["temperature"] == (0.6 if on else 0)
    assert "top_p" not in settled
    insisting = settle_payload(
        VLLM, {**payload, "temperature": None}, {**body, "temperature": 0}, ["", "", ""], sampling=True, logger=LOGGER
    )
    assert (insisting["temperature"], insisting["extra_body"]["temperature"]) == (None, 0)


OPEN = ["Qwen/Qwen3-8B", "Qwen/Qwen3-4B-Thinking-2507", "Qwen/Qwen3-4B-Instruct-2507", "Qwen/Qwen3.6-27B"]
OPEN += ["Qwen/Qwen3.8-27B", "Qwen/Qwen3.5-27B"]
ON_DASHSCOPE = ["qwen3-8b", "qwen-plus", "qwen3.5-plus", "qwen3.6-plus", "qwen3.8-max", "qwen3-coder-plus", "qwq-32b"]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
NOT_READ = {"ollama": {"tool_choice"}, "transformers": {"tool_choice"}}
WISHES = st.fixed_dictionaries(
    {},
    optional={
        "enable_thinking": st.none() | st.booleans(),
        "thinking_budget": st.none() | st.integers(1, 9),
        "reasoning_effort": st.none() | st.sampled_from(["none", "low", "high"]),
        "preserve_thinking": st.none() | st.booleans(),
    },
)
REQUESTS = st.fixed_dictionaries(
    {"tools": st.sampled_from([[ADD], [ADD, SUB]])},
    optional={
        "tool_choice": st.sampled_from(["auto", "none", "required", NAMED]),
        "response_format": st.just(SCHEMA),
        "temperature": st.just(0),
    },
)


@settings(max_examples=500)
@given(
    server=st.sampled_from(sorted(SERVERS)),
    place=st.integers(0, 5),
    own=WISHES,
    call=WISHES,
    request=REQUESTS,
    stream=st.booleans(),
)
def test_a_server_takes_what_is_settled_for_it_and_does_what_was_wanted(
    server: str, place: int, own: Any, call: Any, request: Any, stream: Any
) -> None:
    dialect = DIALECTS[server]
    model = (ON_DASHSCOPE if server == "dashscope" else OPEN)[place]
    try:
        wanted = wanted_body(dialect, model, {}, own, call)
    except ValueError:
        return  # test_qwen3_core_dialects.py has what is refused
    payload = {"model": model, "messages": LOOP, **request}
    if not takes_json_schema(dialect, model) or dialect is DASHSCOPE:
        payload.pop("response_format", None)

    def settled(*, stream: bool) -> dict[str, Any]:
        asked = {**payload, **({"stream": True} if stream else {})}
        sent = settle_payload(dialect, asked, wanted, THOUGHTS, sampling=True, logger=LOGGER)
        body: dict[str, Any] = sent.pop("extra_body", {})
        return body | sent

    body = settled(stream=True)
    if not stream and not must_stream(dialect, model, body):
        body = settled(stream=False)

    script = Ollama(newer=True) if server == "ollama" else SERVERS[server]()
    script.headers.append({"authorization": f"Bearer {script.key}"})
    script.requests.append(body)
    plan = script.judge(body)

    assert set(plan.dropped) <= NOT_READ.get(server, set())
    assert plan.seen.reasoning == ("I need the sum." if dialect.reasoning_in else None,)
    if dialect is OPENAI:
        return  # it does not say whether it thinks
    assert plan.thinks is thinks(dialect, model, body)
    off = call.get("reasoning_effort") == "none"
    if call.get("enable_thinking") is not None and not off and not is_constrained(dialect, body):
        assert plan.thinks is call["enable_thinking"]
    if plan.thinks:
        assert body.get("temperature") != 0
        assert plan.seen.budget in (None, get(body, dialect.budget))
        assert server == "lmstudio" or plan.seen.effort == (get(body, dialect.effort) or None)
    else:
        assert get(body, dialect.budget) is None or model == "qwen-plus"


def test_the_rule_is_not_asked_where_its_yes_could_not_be_said() -> None:
    def rule(question: str, context: str) -> bool:
        raise AssertionError(question)

    assert decide_thinking(OPENAI, "qwen-plus", [{"role": "user", "content": "9.11 or 9.9?"}], rule, LOGGER) is None
