"""llama.cpp's server. `test_scripted_chat.py` holds these rules against the real one, which is installed.

Sources: xllamacpp 2026.10.11549 (asked over HTTP, and the texts in its binary); ggml-org/llama.cpp,
``tools/server/server-common.cpp`` (``oaicompat_chat_params_parse``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from scripted_chat.base import ScriptedChat
from scripted_chat.model import Message, Plan
from scripted_chat.rules import OPENAI_BASICS, Refusal, names, template_kwargs, without_reasoning

NOT_A_BOOL = 'invalid type for "enable_thinking" (expected boolean, got string)'
BAD_CHOICE = "Invalid tool_choice: {choice}"
BAD_FORMAT = 'response_format type must be one of "text" or "json_object", but got: {kind}'
BAD_N = "Field 'n': Value must be between 1 <= value <= 1, but got {n}"
BAD_BUDGET = "Field 'reasoning_budget_tokens': Value must be between -1 <= value <= 2147483647, but got {budget}"
LOGPROBS = "logprobs is not supported with tools + stream"
TOP_LOGPROBS = "top_logprobs requires logprobs to be set to true"
NO_CONTENT = "All non-assistant messages must contain 'content'"
TWO_ANSWERS = "Cannot have 2 or more assistant messages at the end of the list."
BAD_PART = "unsupported content[].type"
BLIND = "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"
BAD_REASONING_FORMAT = "Unknown reasoning format: {name}"


@dataclass
class LlamaCpp(ScriptedChat):
    """Reads the switch in ``chat_template_kwargs``, a named tool as "auto", and no ``reasoning`` in the history.

    Attributes:
        loading: How many requests find it still loading the model.
        api_key: The key that it was started with, "" for none.
        mmproj: Whether it was given a projector, so that it sees.
    """

    loading: int = 0
    api_key: str = ""
    mmproj: bool = False

    server: ClassVar[str] = "llama.cpp"
    url: ClassVar[str] = "http://127.0.0.1:8080/v1"
    software: ClassVar[str] = "llama.cpp"
    reads: ClassVar[frozenset[str]] = OPENAI_BASICS | names(
        "chat_template_kwargs reasoning_effort thinking_budget_tokens reasoning_budget_tokens "
        "reasoning_budget_message reasoning_format n "
        "max_completion_tokens n_predict logprobs top_logprobs parallel_tool_calls top_k min_p grammar json_schema "
        "typical_p repeat_penalty repeat_last_n dry_multiplier mirostat cache_prompt logit_bias"
    )

    def judge(self, body: dict[str, Any]) -> Plan:
        """Apply ``oaicompat_chat_params_parse``."""
        if len(self.requests) <= self.loading:
            raise self.trouble(503)
        self.require_key(self.api_key, "Invalid API Key", kind="authentication_error")
        self._check(body)
        kwargs, effort = template_kwargs(body), body.get("reasoning_effort")
        enable = kwargs.get("enable_thinking")
        if effort == "none":  # it wins over the template's own argument
            enable, effort = False, None
        plan = self.plan(
            # An object is no string, and anything but a string is the default.
            {**body, "tool_choice": "auto"} if isinstance(body.get("tool_choice"), dict) else body,
            enable=enable,
            effort=effort if isinstance(effort, str) else kwargs.get("reasoning_effort"),
            preserve=kwargs.get("preserve_thinking"),
            budget=_budget(body),
        )
        splits = body.get("reasoning_format", "auto") != "none"
        return replace(plan, separate=splits, parallel=bool(body.get("parallel_tool_calls", True)))

    def _check(self, body: Mapping[str, Any]) -> None:
        messages, choice, n = body["messages"], body.get("tool_choice"), body.get("n", 1)
        kind = (body.get("response_format") or {}).get("type", "text")
        parts = [part for message in messages for part in _parts(message)]
        images = [part for part in parts if part.get("type") == "image_url"]
        odd = [part for part in parts if part.get("type") not in ("text", "image_url", "input_audio")]
        refusals = [
            (any(message["role"] != "assistant" and "content" not in message for message in messages), NO_CONTENT),
            (bool(odd), BAD_PART),
            (isinstance(choice, str) and choice not in ("auto", "none", "required"), BAD_CHOICE.format(choice=choice)),
            (isinstance(template_kwargs(body).get("enable_thinking"), str), NOT_A_BOOL),
            (kind not in ("text", "json_object", "json_schema"), BAD_FORMAT.format(kind=kind)),
            ([message["role"] for message in messages[-2:]] == ["assistant"] * 2, TWO_ANSWERS),
            (bool(body.get("logprobs") and body.get("tools") and body.get("stream")), LOGPROBS),
            (body.get("top_logprobs") is not None and not body.get("logprobs"), TOP_LOGPROBS),
            (n != 1, BAD_N.format(n=n)),
            ((_budget(body) or 0) < -1, BAD_BUDGET.format(budget=_budget(body))),
        ]
        if images and not self.mmproj:
            raise Refusal(BLIND, 500, kind="server_error")
        if (name := body.get("reasoning_format", "auto")) not in ("auto", "none", "deepseek", "deepseek-legacy"):
            raise Refusal(BAD_REASONING_FORMAT.format(name=name), 500, kind="server_error")
        for wrong, text in refusals:
            if wrong:
                raise Refusal(text)

    def template_messages(self, messages: Sequence[Message]) -> list[Message]:
        """Keep ``reasoning_content`` alone."""
        return [without_reasoning(message, "reasoning") for message in messages]

    def error(self, refusal: Refusal) -> dict[str, Any]:
        """Return its error, in its own order."""
        kind = refusal.kind or "invalid_request_error"
        return {"error": {"code": refusal.status, "message": refusal.message, "type": kind}}

    def trouble(self, status: int) -> Refusal:
        """Return its 503 while it loads the model."""
        if status == 503:
            return Refusal("Loading model", 503, kind="unavailable_error")
        return super().trouble(status)

    def usage(self, plan: Plan, prompt: int, thought: int, answered: int) -> dict[str, Any]:
        """Return counts; it does not say what was reasoning."""
        counts = super().usage(plan, prompt, thought, answered)
        return {**counts, "prompt_tokens_details": {"cached_tokens": 0}}

    def first_delta(self) -> dict[str, Any]:
        """Open with null content."""
        return {"role": "assistant", "content": None}

    def pages(self) -> dict[str, Any]:
        """Serve its properties and its health."""
        alias = (self.models or ("qwen3",))[0]
        pages = super().pages()
        for card in pages["/v1/models"]["data"]:
            card["owned_by"] = "llamacpp"
        return {**pages, "/props": {"model_alias": alias, "total_slots": 1}, "/health": {"status": "ok"}}


def _budget(body: Mapping[str, Any]) -> int | None:
    value = body.get("reasoning_budget_tokens", body.get("thinking_budget_tokens"))
    return value if type(value) is int and value != -1 else None


def _parts(message: Message) -> list[dict[str, Any]]:
    content = message.get("content")
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
