"""Where a chat model goes, with which key, and what it says when it cannot."""

import logging
from typing import Any

import openai
import pytest
from fake_dashscope import httpx

from qwen3_core.chat_server import (
    DASHSCOPE_BEIJING,
    explained,
    prepare_client,
    refuse_unknown,
    server_key,
    server_url,
    settle_payload,
    wanted_body,
)
from qwen3_core.thinking import CHAT_TEMPLATE_KWARGS, DASHSCOPE, LLAMA_CPP

URL = "http://127.0.0.1:9/v1"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DASHSCOPE_API_KEY", "DASHSCOPE_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("API_KEY", "BASE_URL", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", "http://trap.invalid")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Trap: trap")


def test_the_url_is_the_callers_then_the_environments_then_beijing(monkeypatch: Any) -> None:
    assert server_url(None) == server_url("") == DASHSCOPE_BEIJING
    monkeypatch.setenv("DASHSCOPE_API_BASE", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1")
    assert server_url(None) == "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"
    assert server_url(URL) == URL


def test_only_dashscope_gets_its_key(monkeypatch: Any) -> None:
    with pytest.raises(ValueError, match=rf"(?s){DASHSCOPE_BEIJING}.*DASHSCOPE_API_KEY.*point api_base at"):
        server_key(DASHSCOPE, DASHSCOPE_BEIJING, url_argument="api_base")
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-1")
    assert server_key(DASHSCOPE, DASHSCOPE_BEIJING) == "sk-1"
    assert server_key(CHAT_TEMPLATE_KWARGS, URL) == server_key(LLAMA_CPP, URL) == "not-needed"


def test_unknown_arguments_are_refused_with_a_hint() -> None:
    refuse_unknown("Qwen3", {"model": "m"}, {"model", "server"})
    with pytest.raises(ValueError, match=r"^Qwen3 has no argument 'servr'. Did you mean 'server'\? .*extra_body"):
        refuse_unknown("Qwen3", {"servr": "x"}, {"model", "server"})


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


@pytest.mark.parametrize(
    ("error", "what"), [(openai.APIConnectionError, "cannot be reached"), (openai.APITimeoutError, "did not answer")]
)
def test_a_failed_connection_is_explained(error: Any, what: str) -> None:
    request = httpx.Request("POST", URL)
    with (
        pytest.raises(error, match=rf"{URL} {what}.*llama-server.*api_base") as caught,
        explained(URL, url_argument="api_base"),
    ):
        raise error(request=request) from OSError("refused by the socket")
    assert "refused by the socket" in str(caught.value)
    assert type(caught.value) is error


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), explained(URL):
        raise KeyError


def test_wishes_lie_on_one_another() -> None:
    fields: dict[str, Any] = {"enable_thinking": True, "thinking_budget": 9}

    def wanted(**call: Any) -> dict[str, Any]:
        return wanted_body(DASHSCOPE, {"top_k": 3, "x": {"y": 1}}, fields, call)

    below = {"top_k": 3, "x": {"y": 1}}
    assert wanted() == {**below, "enable_thinking": True, "thinking_budget": 9}
    assert wanted(enable_thinking=False) == {**below, "enable_thinking": False, "thinking_budget": 9}
    assert wanted(enable_thinking=None, thinking_budget=None) == below
    assert wanted(extra_body={"enable_thinking": False, "x": {"z": 2}}) == {
        "top_k": 3,
        "x": {"y": 1, "z": 2},
        "enable_thinking": False,
        "thinking_budget": 9,
    }


def test_a_payload_that_dashscope_would_refuse_is_settled(caplog: Any) -> None:
    logger = logging.getLogger("someone.else")
    payload: dict[str, Any] = {"model": "qwen3-8b", "response_format": {"type": "json_object"}, "extra_body": {"a": 1}}
    with caplog.at_level(logging.DEBUG, logger="someone"):
        settled = settle_payload(DASHSCOPE, payload, {"enable_thinking": True}, logger)
    assert settled["extra_body"] == {"enable_thinking": False}
    assert "thinking is off for this call" in caplog.text
    assert "extra_body" not in settle_payload(CHAT_TEMPLATE_KWARGS, {"model": "m"}, {}, logger)
