"""``transformers serve``. `test_scripted_chat.py` holds the list of fields against the installed server's own.

Source: transformers 5.23, ``transformers/cli/serving/chat_completion.py`` and ``utils.py``.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, ClassVar

from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming

from scripted_chat.base import ScriptedChat
from scripted_chat.model import Message, Plan, text_of
from scripted_chat.rules import SAMPLING, Refusal, names, template_kwargs

ACCEPTED = frozenset(CompletionCreateParamsStreaming.__mutable_keys__) | {  # type: ignore[attr-defined]
    "generation_config",
    "seed",
    "chat_template_kwargs",
}
"""``TransformersCompletionCreateParamsStreaming``: OpenAI's fields and three of its own; all others are refused."""

IGNORED = names(
    "audio function_call functions logprobs metadata modalities n parallel_tool_calls prediction presence_penalty "
    "reasoning_effort response_format service_tier store stream_options tool_choice top_logprobs user "
    "web_search_options"
)
"""``UNUSED_CHAT_COMPLETION_FIELDS``: accepted with a warning in the log, and nothing comes of them."""

UNEXPECTED = "Unexpected fields in the request: {fields}"
PINNED = "Server is pinned to '{pinned}'; requested '{model}'."
NEW_TOKENS = 1024
"""The longest answer of a request that says nothing (``_build_generation_config``)."""

TOKENS_OF_A_NEW_CONFIG = 20
"""The longest answer with a ``generation_config`` that says nothing: it replaces the checkpoint's own."""


@dataclass
class TransformersServe(ScriptedChat):
    """Refuses what it does not know, forces nothing, and forgets the reasoning of earlier turns.

    Attributes:
        reasoning: As elsewhere; ``--reasoning off`` at its start is the same as `switched_off`.
        switched_off: Whether it was started with ``--reasoning off``.
        pinned: The model that it was started with, "" for none.
    """

    switched_off: bool = False
    pinned: str = ""

    server: ClassVar[str] = "transformers"
    url: ClassVar[str] = "http://127.0.0.1:8000/v1"
    ends_with_done: ClassVar[bool] = False
    counts_with_finish: ClassVar[bool] = True
    reads: ClassVar[frozenset[str]] = ACCEPTED - IGNORED

    def judge(self, body: dict[str, Any]) -> Plan:
        """Apply ``_validate_request``, ``_resolve_model`` and ``_build_generation_config``."""
        if unexpected := set(body) - ACCEPTED:
            raise Refusal(UNEXPECTED.format(fields=unexpected), 422)
        if self.pinned and body["model"] != self.pinned:
            raise Refusal(PINNED.format(pinned=self.pinned, model=body["model"]))
        kwargs = template_kwargs(body)
        enable = kwargs.get("enable_thinking", False if self.switched_off else None)
        plan = self.plan(
            body,
            enable=enable if enable is None else enable is not False,
            effort=kwargs.get("reasoning_effort"),
            preserve=kwargs.get("preserve_thinking"),
        )
        config: dict[str, Any] = json.loads(body.get("generation_config") or "{}")
        sampling = {**{key: config[key] for key in SAMPLING if key in config}, **plan.seen.sampling}
        seen = replace(plan.seen, sampling=sampling)
        default = TOKENS_OF_A_NEW_CONFIG if config else NEW_TOKENS
        return replace(plan, seen=seen, limit=plan.limit or config.get("max_new_tokens", default))

    def template_messages(self, messages: Sequence[Message]) -> list[Message]:
        """Build the messages anew: reasoning is lost, and content beside tool calls too."""
        given = []
        for message in messages:
            kept: Message = {key: message[key] for key in ("role", "tool_calls", "tool_call_id") if key in message}
            content = message.get("content")
            parts = [text_of([part]) for part in content] if isinstance(content, list) else [text_of(content)]
            given.append({**kept, "content": "" if "tool_calls" in message else " ".join(parts)})
        return given

    def error(self, refusal: Refusal) -> dict[str, Any]:
        """Return FastAPI's error."""
        return {"detail": refusal.message}

    def first_delta(self) -> dict[str, Any]:
        """Open with the role alone: what is null is left out."""
        return {"role": "assistant"}

    def call_deltas(self, place: int, call: Mapping[str, Any], chance: Random) -> Iterator[dict[str, Any]]:
        """Send a call in one piece."""
        yield {"index": place, **self.call(place, call)}

    def message(self, plan: Plan, said: Any, reasoning: str, content: str) -> dict[str, Any]:
        """Leave out what is empty or null, as ``exclude_none`` does."""
        message = super().message(plan, said, reasoning, content)
        return message if content or not said.calls else {k: v for k, v in message.items() if k != "content"}

    def chunk(self, head: dict[str, Any], choices: list[dict[str, Any]], usage: Any = None) -> dict[str, Any]:
        """Leave out null fields."""
        choices = [{key: value for key, value in choice.items() if value is not None} for choice in choices]
        return super().chunk({**head, "system_fingerprint": ""}, choices, usage)

    def stream_error(self, message: str) -> dict[str, Any]:
        """Return the event of an error inside a stream, which is a string."""
        return {"error": message}

    def pages(self) -> dict[str, Any]:
        """Serve its health and its models."""
        paths: dict[str, Any] = {path: {} for path in ("/v1/chat/completions", "/v1/systemone", "/load_model")}
        described = {"info": {"title": "FastAPI"}, "paths": paths}
        return {**super().pages(), "/health": {"status": "ok"}, "/openapi.json": described}
