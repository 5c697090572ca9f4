"""Ollama's OpenAI route.

Sources, in ollama/ollama: ``openai/openai.go`` at 634c4166 (fields, effort, messages) and, for what newer servers take
as effort, ``openai/thinking_test.go`` at 1a204a63; ``server/routes.go`` (models that cannot think).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

from scripted_chat.base import ScriptedChat
from scripted_chat.model import Message, Plan, Said
from scripted_chat.rules import OPENAI_BASICS, Refusal, names, without_reasoning

BAD_EFFORT = 'invalid reasoning value: \'{effort}\' (must be "high", "medium", "low", or "none")'
CANNOT_THINK = '"{model}" does not support thinking'
BAD_MESSAGE = "invalid message format"
NO_CONTENT = "invalid message content type: <nil>"
REMOTE_IMAGE = "image URLs are not currently supported, please use base64 encoded data instead"


@dataclass
class Ollama(ScriptedChat):
    """Has no switch but effort, forces no tool, and says and reads ``reasoning``.

    Attributes:
        newer: Whether it knows more words for effort: "minimal", "xhigh" and "max" too.
    """

    newer: bool = False

    server: ClassVar[str] = "ollama"
    url: ClassVar[str] = "http://127.0.0.1:11434/v1"
    software: ClassVar[str] = ""
    reads: ClassVar[frozenset[str]] = (OPENAI_BASICS - {"tool_choice"}) | names(
        "reasoning reasoning_effort logprobs top_logprobs"
    )

    @property
    def reasoning_field(self) -> str:
        """Where reasoning goes out."""
        return "reasoning"

    def judge(self, body: dict[str, Any]) -> Plan:
        """Apply ``FromChatRequest`` and the chat handler's check of what the model can do."""
        nested = body.get("reasoning")
        effort = nested.get("effort") if isinstance(nested, dict) else body.get("reasoning_effort")
        words = ("high", "medium", "low", "none", *(("minimal", "xhigh", "max") if self.newer else ()))
        if effort and effort not in words:
            raise Refusal(BAD_EFFORT.format(effort=effort))
        for message in body["messages"]:
            _check_message(message)
        if effort not in (None, "", "none") and self.known_family(body).thinks == "never":
            raise Refusal(CANNOT_THINK.format(model=body["model"]))
        enable = None if not effort else effort != "none"
        return self.plan(body, enable=enable, effort=effort if enable else None)

    def template_messages(self, messages: Sequence[Message]) -> list[Message]:
        """Read ``reasoning`` and drop ``reasoning_content``; in a list of parts it is lost, unless tools are called."""
        given = []
        for message in messages:
            kept = without_reasoning(message, "reasoning", "reasoning_content")
            lost = isinstance(message.get("content"), list) and not message.get("tool_calls")
            reasoning = None if lost else message.get("reasoning")
            given.append(kept if reasoning is None else {**kept, "reasoning_content": reasoning})
        return given

    def error(self, refusal: Refusal) -> dict[str, Any]:
        """Return its error (``NewError``)."""
        kinds = {400: "invalid_request_error", 404: "not_found_error"}
        kind = kinds.get(refusal.status, "api_error")
        return {"error": {"message": refusal.message, "type": kind, "param": None, "code": None}}

    def unknown_model(self, model: str) -> Refusal:
        """Return its 404."""
        return Refusal(f'model "{model}" not found, try pulling it first', 404)

    def text_delta(self, name: str, piece: str) -> dict[str, Any]:
        """Return role and content in every delta; an empty ``reasoning`` is left out."""
        return {"role": "assistant", "content": "", name: piece}

    def first_delta(self) -> dict[str, Any] | None:
        """Open with nothing of its own."""
        return None

    def call_deltas(self, place: int, call: Mapping[str, Any], chance: Random) -> Iterator[dict[str, Any]]:
        """Send a call in one piece."""
        yield {"index": place, **self.call(place, call)}

    def calls_delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        """Return a call with role and content."""
        return {"role": "assistant", "content": "", "tool_calls": [delta]}

    def last_delta(self) -> dict[str, Any]:
        """End with role and content."""
        return {"role": "assistant", "content": ""}

    def chunk(self, head: dict[str, Any], choices: list[dict[str, Any]], usage: Any = None) -> dict[str, Any]:
        """Sign with its fingerprint."""
        return super().chunk({**head, "system_fingerprint": "fp_ollama"}, choices, usage)

    def message(self, plan: Plan, said: Said, reasoning: str, content: str) -> dict[str, Any]:
        """Number the calls of a whole message too."""
        message = super().message(plan, said, reasoning, content)
        for place, call in enumerate(message.get("tool_calls", ())):
            call["index"] = place
        return message

    def pages(self) -> dict[str, Any]:
        """Serve its version beside the models."""
        pages = super().pages()
        for card in pages["/v1/models"]["data"]:
            card["owned_by"] = "library"
        return {**pages, "/api/version": {"version": "0.17.0"}}


def _check_message(message: Message) -> None:
    content = message.get("content")
    if content is None and not message.get("tool_calls"):
        raise Refusal(NO_CONTENT)
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, dict) or part.get("type") not in ("text", "image_url"):
            raise Refusal(BAD_MESSAGE)
        url = part.get("image_url", "")
        if str(url.get("url", "") if isinstance(url, dict) else url).startswith(("http://", "https://")):
            raise Refusal(REMOTE_IMAGE)
