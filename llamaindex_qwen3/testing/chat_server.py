"""A chat server on 127.0.0.1 that answers what it is told to, for tests of anything that speaks to one."""

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typing_extensions import Self


@dataclass
class ScriptedChatServer:
    """An OpenAI-compatible server with one scripted reply, streamed or whole as the request asks.

    ```python
    with ScriptedChatServer(reasoning="Hm.", content="42") as server:
        llm = OpenAILike(api_base=server.url, ...)
    ```

    Attributes:
        reasoning: What the model thought, sent in `reasoning_field`; ``""`` sends the field in no message.
        content: What it said.
        reasoning_field: ``reasoning_content`` (DashScope, SGLang, llama.cpp) or ``reasoning`` (vLLM, Ollama).
        tool_calls: ``{"name", "args"}`` of the calls it makes in place of an answer when the request has tools.
        pieces: How a stream cuts the content; by default into pieces of three characters.
        error: The message of the error that it answers with.
        status: The status of that error.
        keep_alive: Whether connections stay open. Off, so that a client that never closes leaves nothing behind.
        requests: The body of each request so far.
    """

    reasoning: str = "Let me think."
    content: str = "The answer."
    reasoning_field: str = "reasoning_content"
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    pieces: list[str] | None = None
    error: str = ""
    status: int = 400
    keep_alive: bool = False
    requests: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> Self:
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, kind, text = script.answer(body, {name.lower(): value for name, value in self.headers.items()})
                payload = text.encode()
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(payload)))
                self.send_header("connection", "keep-alive" if script.keep_alive else "close")
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_: Any) -> None:
                """Keep still."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The base URL, up to and including ``/v1``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def last(self) -> dict[str, Any]:
        """The body of the last request."""
        return self.requests[-1]

    def answer(self, body: dict[str, Any], headers: Mapping[str, str] | None = None) -> tuple[int, str, str]:  # noqa: ARG002
        """Return status, content type and text of the reply to a request, and note the request.

        A subclass that translates here can stand in for a server with another format.

        Args:
            body: The body of the request.
            headers: Its headers, with names in lower case.
        """
        self.requests.append(body)
        if self.error:
            error = {"message": self.error, "type": "invalid_request_error", "param": None, "code": "invalid"}
            return self.status, "application/json", json.dumps({"error": error})
        if body.get("stream"):
            events = [*self._events(body), "[DONE]"]
            return 200, "text/event-stream", "".join(f"data: {event}\n\n" for event in events)
        message = {"role": "assistant", "content": self._said(body)}
        if self.reasoning:
            message[self.reasoning_field] = self.reasoning
        if calls := self._calls(body):
            message["tool_calls"] = calls  # type: ignore[assignment]
        choice = {"index": 0, "finish_reason": self._finish(body), "message": message}
        whole = {**_head(body, "chat.completion"), "choices": [choice], "usage": _USAGE}
        return 200, "application/json", json.dumps(whole)

    def _events(self, body: dict[str, Any]) -> Iterator[str]:
        head = _head(body, "chat.completion.chunk")

        def event(delta: dict[str, Any], finish: str | None = None) -> str:
            return json.dumps({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

        yield event({"role": "assistant", "content": ""})
        for piece in _cut(self.reasoning):
            yield event({self.reasoning_field: piece})
        content = self._said(body)
        for piece in self.pieces if self.pieces is not None and content == self.content else _cut(content):
            yield event({"content": piece})
        for index, call in enumerate(self._calls(body)):
            function = {"name": call["function"]["name"], "arguments": ""}
            yield event({"tool_calls": [{**call, "index": index, "function": function}]})
            for piece in _cut(call["function"]["arguments"]):
                yield event({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        yield event({}, self._finish(body))
        if (body.get("stream_options") or {}).get("include_usage"):
            yield json.dumps({**head, "choices": [], "usage": _USAGE})

    def _finish(self, body: dict[str, Any]) -> str:
        return "tool_calls" if self._calls(body) else "stop"

    def _said(self, body: dict[str, Any]) -> str:
        """Return the content; with a tool call only what a server left unsplit of the reasoning comes before it."""
        thought, tag, _ = self.content.partition("</think>")
        return (thought + tag if tag else "") if self._calls(body) else self.content

    def _calls(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        if not body.get("tools") or any(message["role"] == "tool" for message in body["messages"]):
            return []
        return [
            {
                "id": f"call_{index}",
                "type": "function",
                "function": {"name": call["name"], "arguments": json.dumps(call["args"])},
            }
            for index, call in enumerate(self.tool_calls)
        ]


_USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


def _head(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-scripted", "object": kind, "created": 1, "model": body["model"]}


def _cut(text: str, size: int = 3) -> Iterator[str]:
    for start in range(0, len(text), size):
        yield text[start : start + size]
