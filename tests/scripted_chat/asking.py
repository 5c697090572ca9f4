"""Asking a scripted server with plain HTTP, and reading what comes: for tests of the servers themselves."""

import json
from collections.abc import Iterator
from typing import Any

from scripted_chat.base import ScriptedChat

HI: list[dict[str, Any]] = [{"role": "user", "content": "Which is larger? Answer in JSON."}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
OTHER_TOOL = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object"}}}
NAMED = {"type": "function", "function": {"name": "get_weather"}}
CALL = {"name": "get_weather", "args": {"city": "Zürich"}}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
WITH_SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
JSON_MODE = {"type": "json_object"}
OFF_NESTED = {"chat_template_kwargs": {"enable_thinking": False}}
IMAGE = [
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]}
]

# A model that thinks unless told otherwise, and that DashScope lets think unstreamed.
MODEL = "qwen3.6-plus"

LOOP: list[dict[str, Any]] = [
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "1", "content": "sunny"},
]


def loop_with(**fields: str) -> list[dict[str, Any]]:
    return [LOOP[0], {**LOOP[1], **fields}, LOOP[2]]


def ask(server: ScriptedChat, **body: Any) -> Any:
    headers = {"authorization": f"Bearer {server.key}"}
    whole = {"model": MODEL, "messages": HI, **body}
    return server.clients()["http_client"].post(server.url + "/chat/completions", json=whole, headers=headers)


def events_of(response: Any) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def deltas_of(response: Any) -> Iterator[dict[str, Any]]:
    for event in events_of(response):
        if event != "[DONE]":
            yield from (choice["delta"] for choice in event.get("choices", ()))


def joined(response: Any, *names: str) -> str:
    return "".join(delta.get(name) or "" for delta in deltas_of(response) for name in names)


def message_of(response: Any) -> dict[str, Any]:
    message: dict[str, Any] = response.json()["choices"][0]["message"]
    return message


def error_text(response: Any) -> str:
    """The text of an error, wherever the server puts it."""
    body = response.json()
    error = body.get("error", body)
    text = error if isinstance(error, str) else error.get("message", body.get("detail"))
    assert isinstance(text, str)
    return text


def reasoning_in(message: dict[str, Any]) -> str:
    return message.get("reasoning") or message.get("reasoning_content") or ""
