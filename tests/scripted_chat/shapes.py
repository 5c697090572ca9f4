"""How answers look on the wire: what every server does alike, as hooks that a dialect changes."""

import json
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, ClassVar

from scripted_chat.model import Plan, Said
from scripted_chat.rules import OPENAI_BASICS, cut


class Shapes:
    """OpenAI's shapes; nothing here decides anything."""

    requests: list[dict[str, Any]]
    models: tuple[str, ...]

    server: ClassVar[str] = "openai"
    url: ClassVar[str] = "http://127.0.0.1:9/v1"
    key: ClassVar[str] = "not-needed"
    reads: ClassVar[frozenset[str]] = OPENAI_BASICS
    ends_with_done: ClassVar[bool] = True
    counts_with_finish: ClassVar[bool] = False
    software: ClassVar[str] = "uvicorn"

    @property
    def reasoning_field(self) -> str:
        """Where reasoning goes out."""
        return "reasoning_content"

    def usage(self, plan: Plan, prompt: int, thought: int, answered: int) -> dict[str, Any]:
        """Return the token counts of an answer."""
        total = thought + answered
        return {"prompt_tokens": prompt, "completion_tokens": total, "total_tokens": prompt + total}

    def dress(self, plan: Plan, said: Said, *, stream: bool) -> tuple[str, str]:
        """Return reasoning and content as they go out, with the white space that the server leaves in place."""
        return said.reasoning, said.content

    def message(self, plan: Plan, said: Said, reasoning: str, content: str) -> dict[str, Any]:
        """Return the message of an answer in one piece."""
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if reasoning:
            message[self.reasoning_field] = reasoning
        if said.calls:
            message["tool_calls"] = [self.call(place, call) for place, call in enumerate(said.calls)]
        return message

    def finish(self, plan: Plan, said: Said) -> str:
        """Return ``finish_reason``."""
        return said.finish

    def call(self, place: int, call: Mapping[str, Any]) -> dict[str, Any]:
        """Return a tool call of a whole message."""
        function = {"name": call["name"], "arguments": json.dumps(call["args"], ensure_ascii=False)}
        return {"id": f"call_{len(self.requests)}_{place}", "type": "function", "function": function}

    def first_delta(self) -> dict[str, Any] | None:
        """Return the delta that opens a stream, None for none."""
        return {"role": "assistant", "content": ""}

    def text_delta(self, name: str, piece: str) -> dict[str, Any]:
        """Return a delta of reasoning or content."""
        return {name: piece}

    def call_deltas(self, place: int, call: Mapping[str, Any], chance: Random) -> Iterator[dict[str, Any]]:
        """Yield a tool call's deltas; OpenAI's way: id and name come once, then arguments in pieces."""
        whole = self.call(place, call)
        function = whole["function"]
        yield {"index": place, **whole, "function": {**function, "arguments": ""}}
        for piece in cut(function["arguments"], chance):
            yield {"index": place, "function": {"arguments": piece}}

    def calls_delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        """Return the delta that carries a piece of a tool call."""
        return {"tool_calls": [delta]}

    def last_delta(self) -> dict[str, Any]:
        """Return the delta that comes with ``finish_reason``."""
        return {}

    def chunk(self, head: dict[str, Any], choices: list[dict[str, Any]], usage: Any = None) -> dict[str, Any]:
        """Return one event of a stream."""
        return {**head, "choices": choices, **({} if usage is None else {"usage": usage})}

    def pages(self) -> dict[str, Any]:
        """Return what GET answers, by path: where a client can learn which server this is."""
        names = self.models or ("qwen3",)
        cards = [{"id": name, "object": "model", "created": 1, "owned_by": self.server} for name in names]
        return {"/v1/models": {"object": "list", "data": cards}}
