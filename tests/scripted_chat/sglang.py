"""SGLang's OpenAI server.

Sources, in sgl-project/sglang: ``python/sglang/srt/entrypoints/openai/protocol.py`` at 004c82e0 (fields, defaults,
``normalize_reasoning_inputs``, ``UsageInfo``) and ``serving_chat.py`` at 002897c2 (history, tool calls, streams).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, ClassVar

from scripted_chat.base import ScriptedChat
from scripted_chat.model import Message, Plan, Said
from scripted_chat.rules import OPENAI_BASICS, Refusal, check_effort, names, template_kwargs, without_reasoning

NO_PROCESSOR = (  # TokenizerManager._validate_one_request
    "The server is not configured to enable custom logit processor. "
    "Please set `--enable-custom-logit-processor` to enable this feature."
)
NO_TOOLS_ANY = "Tools cannot be empty if tool choice is set to required."
NO_TOOLS_NAMED = "Tools cannot be empty if tool choice is set to a specific tool."
UNKNOWN_TOOL = "Tool '{name}' not found in tools list."

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


@dataclass
class Sglang(ScriptedChat):
    """Reads the switch in ``chat_template_kwargs``; unknown fields are ignored.

    Attributes:
        reasoning_parser: Whether it was started with ``--reasoning-parser qwen3``.
        tool_parser: Whether it was started with a ``--tool-call-parser``; without one, calls stay text.
        logit_processor: Whether it was started with ``--enable-custom-logit-processor``. A budget needs that, the
            processor in the request, and a model with Qwen3's own token ids (#24517, #25536).
        strict_thinking: Whether it was started with ``--enable-strict-thinking``, with which it enforces
            ``custom_params.thinking_budget`` itself (docs/advanced_features/thinking_budget.mdx, #36750).
        cache_report: Whether it was started with ``--enable-cache-report``.
        api_key: The key that it was started with, "" for none.
    """

    reasoning_parser: bool = True
    tool_parser: bool = True
    logit_processor: bool = False
    strict_thinking: bool = False
    cache_report: bool = False
    api_key: str = ""

    server: ClassVar[str] = "sglang"
    url: ClassVar[str] = "http://127.0.0.1:30000/v1"
    reads: ClassVar[frozenset[str]] = OPENAI_BASICS | names(
        "chat_template_kwargs reasoning_effort reasoning separate_reasoning stream_reasoning custom_params "
        "custom_logit_processor max_completion_tokens n logprobs top_logprobs parallel_tool_calls top_k min_p "
        "repetition_penalty regex ebnf min_tokens stop_token_ids ignore_eos skip_special_tokens logit_bias user "
        "continue_final_message"
    )

    def judge(self, body: dict[str, Any]) -> Plan:
        """Apply its request model and ``_validate_request``."""
        self.require_key(self.api_key, "Unauthorized")
        self._check(body)
        family, kwargs = self.known_family(body), template_kwargs(body)
        effort = (body.get("reasoning") or {}).get("effort", body.get("reasoning_effort"))
        if effort is not None:
            kwargs.setdefault("enable_thinking", effort != "none")
        enable = kwargs.get("enable_thinking")
        effort = kwargs.get("reasoning_effort", effort)
        plan = self.plan(
            body,
            enable=enable if enable is None else enable is not False,
            effort=effort,
            preserve=kwargs.get("preserve_thinking"),
            budget=self._budget(body, qwen3_ids=not family.later),
        )
        check_effort(plan, family, effort)
        splits = self.reasoning_parser and body.get("separate_reasoning", True)
        plan = replace(plan, separate=splits)
        return plan if self.tool_parser else replace(plan, calls_as_text="array" if plan.forced else "hermes")

    def _budget(self, body: Mapping[str, Any], *, qwen3_ids: bool) -> int | None:
        wanted = (body.get("custom_params") or {}).get("thinking_budget")
        processed = self.logit_processor and body.get("custom_logit_processor") and qwen3_ids
        return wanted if processed or self.strict_thinking else None

    def _check(self, body: Mapping[str, Any]) -> None:
        tools, choice, effort = body.get("tools") or [], body.get("tool_choice"), body.get("reasoning_effort")
        named = choice["function"]["name"] if isinstance(choice, dict) else None
        known = [tool["function"]["name"] for tool in tools]
        refusals = [
            (choice == "required" and not tools, NO_TOOLS_ANY),
            (named is not None and not tools, NO_TOOLS_NAMED),
            (named is not None and named not in known, UNKNOWN_TOOL.format(name=named)),
            (bool(body.get("custom_logit_processor")) and not self.logit_processor, NO_PROCESSOR),
            (isinstance(effort, str) and effort not in EFFORTS, f"invalid reasoning effort: {effort!r}"),
        ]
        for wrong, text in refusals:
            if wrong:
                raise Refusal(text)

    def template_messages(self, messages: Sequence[Message]) -> list[Message]:
        """Keep ``reasoning_content`` alone, write "" for null, and make a user's turn of a last assistant's."""
        given = [without_reasoning(message, "reasoning") for message in messages]
        given = [{**message, "content": message.get("content") or ""} for message in given]
        if given and given[-1]["role"] == "assistant" and isinstance(given[-1]["content"], str):
            given[-1] = {"role": "user", "content": given[-1]["content"]}
        return given

    def error(self, refusal: Refusal) -> dict[str, Any]:
        """Return its flat error (``ErrorResponse``)."""
        if refusal.status == 401:
            return {"error": "Unauthorized"}
        kind = refusal.kind or "BadRequestError"
        return {"object": "error", "message": refusal.message, "type": kind, "param": None, "code": refusal.status}

    def usage(self, plan: Plan, prompt: int, thought: int, answered: int) -> dict[str, Any]:
        """Return counts with the reasoning at the top level."""
        counts = super().usage(plan, prompt, thought, answered)
        details = {"cached_tokens": 0} if self.cache_report else None
        return {**counts, "prompt_tokens_details": details, "reasoning_tokens": thought}

    def dress(self, plan: Plan, said: Said, *, stream: bool) -> tuple[str, str]:
        """Strip whole answers; streamed ones keep the newlines after thinking."""
        spaced = stream and said.reasoning and said.content
        return said.reasoning, "\n\n" + said.content if spaced else said.content

    def message(self, plan: Plan, said: Said, reasoning: str, content: str) -> dict[str, Any]:
        """Return all fields, null where empty; content is never null."""
        message = super().message(plan, said, reasoning, content)
        calls = [{**call, "index": place} for place, call in enumerate(message.get("tool_calls", ()))]
        return {**message, "reasoning_content": reasoning or None, "tool_calls": calls or None}

    def first_delta(self) -> dict[str, Any]:
        """Open with the role, the other fields null."""
        return {**self.text_delta("content", ""), "role": "assistant"}

    def text_delta(self, name: str, piece: str) -> dict[str, Any]:
        """Return all fields of a delta, as pydantic writes them."""
        return {"role": None, "content": None, "reasoning_content": None, "tool_calls": None, name: piece}

    def call_deltas(self, place: int, call: Mapping[str, Any], chance: Random) -> Iterator[dict[str, Any]]:
        """Write null for the id and the name of later pieces."""
        for number, delta in enumerate(super().call_deltas(place, call, chance)):
            later = {"id": None, "type": "function", **delta, "function": {"name": None, **delta["function"]}}
            yield later if number else delta

    def calls_delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        """Return a call with the other fields null."""
        return {**self.text_delta("content", ""), "content": None, "tool_calls": [delta]}

    def last_delta(self) -> dict[str, Any]:
        """End with all fields null."""
        return {**self.text_delta("content", ""), "content": None}

    def stream_error(self, message: str) -> dict[str, Any]:
        """Nest it, as `create_streaming_error_response` does; whole errors are flat."""
        return {"error": {"object": "error", "message": message, "type": "InternalServerError", "code": 500}}

    def pages(self) -> dict[str, Any]:
        """Serve its model cards and what it was started with."""
        path = (self.models or ("qwen3",))[0]
        return {**super().pages(), "/get_model_info": {"model_path": path, "is_generation": True}}
