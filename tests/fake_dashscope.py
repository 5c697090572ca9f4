"""DashScope's chat endpoint at the network edge: it answers by a script and refuses what the real one refuses.

The rules and the error texts are those of Alibaba Cloud's error-code page (model-studio/error-code) and of the
issues named beside them. Hand `FakeDashScope.clients()` to a chat model in place of its HTTP clients.
"""

import importlib
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import openai

# The SDK is built on httpx up to version 2 and on its twin httpx2 from version 3.
_modules = (base.__module__.partition(".")[0] for base in openai.DefaultHttpxClient.__mro__)
httpx: Any = importlib.import_module(next(name for name in _modules if name.startswith("httpx")))

KEY = "sk-fake-dashscope"
URL = "https://dashscope.aliyuncs.com/compatible-mode/v1"

NOT_STREAMED_OPEN = "parameter.enable_thinking must be set to false for non-streaming calls"
NOT_STREAMED = "parameter.enable_thinking only support stream call"
ONLY_TRUE = "The value of the enable_thinking parameter is restricted to True."
BAD_BUDGET = "The thinking_budget parameter must be a positive integer and not greater than 38912"
JSON_WHILE_THINKING = "Json mode response is not supported when enable_thinking is true"
NO_JSON_WORD = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
# cloudwego/eino#994
FORCED_TOOL = (
    "<400> InternalError.Algo.InvalidParameter: The tool_choice parameter does not support being set to "
    "required or object in thinking mode"
)


class Refusal(Exception):  # noqa: N818 - it is an answer
    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass
class FakeDashScope:
    """What it will say, and what it was asked."""

    reasoning: str = "First I compare the digits.\nThen I know."
    content: str = "9.9 is larger."
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    seed: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def clients(self) -> dict[str, Any]:
        transport = httpx.MockTransport(self.handle)
        return {
            "http_client": httpx.Client(transport=transport),
            "http_async_client": httpx.AsyncClient(transport=transport),
        }

    @property
    def last(self) -> dict[str, Any]:
        return self.requests[-1]

    def handle(self, request: Any) -> Any:
        self.headers.append(dict(request.headers))
        body = json.loads(request.content)
        self.requests.append(body)
        try:
            if request.headers.get("authorization") != f"Bearer {KEY}":
                raise Refusal(401, "Incorrect API key provided.", "invalid_api_key")
            if request.url.path != "/compatible-mode/v1/chat/completions":
                raise Refusal(404, "Not found", "not_found")
            thinking = judge(body)
        except Refusal as refusal:
            error = {
                "message": refusal.message,
                "type": "invalid_request_error",
                "param": None,
                "code": refusal.code,
            }
            return httpx.Response(refusal.status, json={"error": error, "request_id": "fake"})
        if body.get("stream"):
            return httpx.Response(
                200,
                headers={"content-type": "text/event-stream"},
                content="".join(f"data: {line}\n\n" for line in self._events(body, thinking=thinking)),
            )
        return httpx.Response(200, json=self._whole(body, thinking=thinking))

    def _usage(self, *, thinking: bool) -> dict[str, Any]:
        thought = len(self.reasoning.split()) if thinking else 0
        said = len(self.content.split())
        return {
            "prompt_tokens": 7,
            "completion_tokens": thought + said,
            "total_tokens": 7 + thought + said,
            "completion_tokens_details": {"reasoning_tokens": thought},
        }

    def _whole(self, body: dict[str, Any], *, thinking: bool) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self._said(body)}
        if thinking:
            message["reasoning_content"] = self.reasoning
        if calls := self._calls(body):
            message["tool_calls"] = [{k: v for k, v in call.items() if k != "index"} for call in calls]
        choice = {"index": 0, "finish_reason": "tool_calls" if calls else "stop", "message": message}
        return {**_head(body, "chat.completion"), "choices": [choice], "usage": self._usage(thinking=thinking)}

    def _events(self, body: dict[str, Any], *, thinking: bool) -> Iterator[str]:
        head = _head(body, "chat.completion.chunk")

        def event(delta: dict[str, Any], finish: str | None = None) -> str:
            choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
            return json.dumps({**head, "choices": [choice], "usage": None})

        yield event({"role": "assistant", "content": None, "reasoning_content": ""})
        for piece in self._cut(self.reasoning) if thinking else ():
            yield event({"content": None, "reasoning_content": piece})
        for piece in self._cut(self._said(body)):
            yield event({"content": piece, "reasoning_content": None})
        calls = self._calls(body)
        for call in calls:
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            first = {**call, "function": {"name": name, "arguments": ""}}
            yield event({"content": None, "tool_calls": [first]})
            for piece in self._cut(arguments):  # later pieces come with an empty id
                later = {"index": call["index"], "id": "", "type": "function", "function": {"arguments": piece}}
                yield event({"content": None, "tool_calls": [later]})
        yield event({"content": "", "reasoning_content": None}, "tool_calls" if calls else "stop")
        if (body.get("stream_options") or {}).get("include_usage"):
            yield json.dumps({**head, "choices": [], "usage": self._usage(thinking=thinking)})
        yield "[DONE]"

    def _said(self, body: dict[str, Any]) -> str:
        return "" if self._calls(body) else self.content

    def _calls(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        if not body.get("tools") or body.get("tool_choice") == "none":
            return []
        return [
            {
                "index": i,
                "id": f"call_{i}",
                "type": "function",
                "function": {"name": call["name"], "arguments": json.dumps(call["args"])},
            }
            for i, call in enumerate(self.tool_calls)
        ]

    def _cut(self, text: str) -> Iterator[str]:
        chance = random.Random(self.seed)
        while text:
            size = chance.randint(1, 6)
            yield text[:size]
            text = text[size:]


def _head(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-fake", "object": kind, "created": 1, "model": body["model"], "system_fingerprint": None}


def judge(body: dict[str, Any]) -> bool:
    """Refuse a body as DashScope does, or say whether the model thinks. ``chat_template_kwargs`` is not looked at."""
    model, stream = body["model"], bool(body.get("stream"))
    only = "-thinking" in model
    hybrid = bool(re.fullmatch(r"qwen3-\d+(\.\d+)?b(-a\d+b)?", model))
    later = bool(re.match(r"qwen3\.\d", model))
    switch = body.get("enable_thinking")
    if only and switch is False:
        raise Refusal(400, ONLY_TRUE, "invalid_parameter_error")
    thinking = only or (switch if switch is not None else hybrid or later)
    budget = body.get("thinking_budget")
    refusals = [
        (thinking and not stream and hybrid, NOT_STREAMED_OPEN),
        (thinking and not stream and not later, NOT_STREAMED),
        (budget is not None and (type(budget) is not int or budget < 1), BAD_BUDGET),
        (thinking and body.get("tool_choice") not in (None, "auto", "none"), FORCED_TOOL),
        (thinking and "response_format" in body, JSON_WHILE_THINKING),
        (
            body.get("response_format", {}).get("type") == "json_object"
            and "json" not in json.dumps(body["messages"]).lower(),
            NO_JSON_WORD,
        ),
    ]
    for wrong, text in refusals:
        if wrong:
            raise Refusal(400, text, "invalid_parameter_error")
    return bool(thinking)
