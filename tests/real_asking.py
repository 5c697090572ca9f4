"""Asking a real chat server with plain HTTP: a connection for each request, since llama.cpp closes those of streams."""

from __future__ import annotations

from typing import Any

from chat_checkpoint import CHAT_MODEL
from chat_conversations import WEATHER
from scripted_chat import httpx

ON = {"chat_template_kwargs": {"enable_thinking": True}}
OFF = {"chat_template_kwargs": {"enable_thinking": False}}
CALL = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def loop(**fields: Any) -> list[dict[str, Any]]:
    """A tool loop in which the result has come."""
    asked = {"role": "assistant", "content": "", "tool_calls": [CALL], **fields}
    return [*user(WEATHER.question), asked, {"role": "tool", "tool_call_id": "1", "content": "21 degrees"}]


def post(url: str, question: str | list[dict[str, Any]], **body: Any) -> Any:
    messages = user(question) if isinstance(question, str) else question
    return httpx.post(f"{url}/chat/completions", json={"model": CHAT_MODEL, "messages": messages, **body}, timeout=120)


def said(url: str, question: str | list[dict[str, Any]], **body: Any) -> tuple[str, str]:
    """Return the reasoning, without white space around it, and the content."""
    response = post(url, question, **body)
    assert response.status_code == 200, response.text
    message = response.json()["choices"][0]["message"]
    return (message.get("reasoning_content") or "").strip(), message["content"]


def prompt_tokens(url: str, messages: list[dict[str, Any]]) -> int:
    count: int = post(url, messages, max_tokens=1).json()["usage"]["prompt_tokens"]
    return count
