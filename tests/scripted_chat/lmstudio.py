"""LM Studio's OpenAI route.

Sources, in lmstudio-ai/lmstudio-bug-tracker: #670 (named tools), #189 and #307 (``json_object``), #1990 and #632
(``enable_thinking`` and ``chat_template_kwargs`` ignored), #2413 ("off" ignored), #2284 (levels that fall back to on).
That "none" switches thinking off here is a third party's word (ruby_llm-providers-lms).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from scripted_chat.base import ScriptedChat
from scripted_chat.model import Message, Plan
from scripted_chat.rules import OPENAI_BASICS, Refusal, names, without_reasoning

BAD_CHOICE = "Invalid tool_choice type: 'object'. Supported string values: none, auto, required"
BAD_FORMAT = "'response_format.type' must be 'json_schema' or 'text'"


@dataclass
class LmStudio(ScriptedChat):
    """Has no switch but effort, and refuses named tools and ``json_object``.

    Attributes:
        separates: Whether the app's setting "separate reasoning_content" is on; else ``<think>`` stays in the text.
    """

    separates: bool = True

    server: ClassVar[str] = "lmstudio"
    url: ClassVar[str] = "http://127.0.0.1:1234/v1"
    software: ClassVar[str] = "Express"
    reads: ClassVar[frozenset[str]] = OPENAI_BASICS | names(
        "reasoning_effort top_k repeat_penalty logit_bias max_completion_tokens"
    )

    def judge(self, body: dict[str, Any]) -> Plan:
        """Apply its two refusals and its one switch."""
        if isinstance(body.get("tool_choice"), dict):
            raise Refusal(BAD_CHOICE)
        if (body.get("response_format") or {}).get("type", "text") not in ("text", "json_schema"):
            raise Refusal(BAD_FORMAT)
        enable = False if body.get("reasoning_effort") == "none" else None
        return replace(self.plan(body, enable=enable), separate=self.separates)

    def template_messages(self, messages: Sequence[Message]) -> list[Message]:
        """Keep ``reasoning_content`` alone; not verified."""
        return [without_reasoning(message, "reasoning") for message in messages]

    def error(self, refusal: Refusal) -> dict[str, Any]:
        """Return its error, which is a string."""
        return {"error": refusal.message}

    def usage(self, plan: Plan, prompt: int, thought: int, answered: int) -> dict[str, Any]:
        """Return counts with the reasoning among the details."""
        counts = super().usage(plan, prompt, thought, answered)
        return {**counts, "completion_tokens_details": {"reasoning_tokens": thought}}

    def pages(self) -> dict[str, Any]:
        """Serve its own model list beside OpenAI's."""
        pages = super().pages()
        cards = pages["/v1/models"]["data"]
        for card in cards:
            card["owned_by"] = "organization_owner"
        own = [{"id": card["id"], "object": "model", "type": "llm", "state": "loaded"} for card in cards]
        return {**pages, "/api/v0/models": {"object": "list", "data": own}}
