"""vLLM's OpenAI server, in the three shapes that it has had.

Sources, in vllm-project/vllm: ``vllm/entrypoints/openai/chat_completion/protocol.py`` at 002032ee (fields,
``check_tool_usage``, ``build_chat_params``, ``_normalize_messages_before``) and ``serving.py`` at 006c49d4 (streams,
``finish_reason``); ``_parse_chat_message_content`` in its chat utilities (what history the template gets).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from scripted_chat.base import ScriptedChat
from scripted_chat.model import Message, Plan, Said
from scripted_chat.rules import OPENAI_BASICS, Refusal, check_effort, names, template_kwargs, without_reasoning

NO_AUTO_TOOLS = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
# The text of 0.31; up to 0.26 it named --reasoning-config alone (NVIDIA-NeMo/RL#4220).
NO_BUDGET = (
    "thinking_token_budget is set but reasoning_config is not configured. Please set --reasoning-parser and/or "
    "--reasoning-config to use thinking_token_budget."
)
EMPTY_TOOLS = "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely."
CHOICE_WITHOUT_TOOLS = "When using `tool_choice`, `tools` must be set."
BAD_CHOICE = 'Invalid value for `tool_choice`: {choice}! Only named tools, "none", "auto" or "required" are supported.'
UNKNOWN_TOOL = "The tool specified in `tool_choice` does not match any of the specified `tools`"
STREAM_OPTIONS = "Stream options can only be defined when `stream=True`."
BLIND = "{model} is not a multimodal model"

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


@dataclass
class Vllm(ScriptedChat):
    """Reads the switch in ``chat_template_kwargs``; what it does not know at the top level it ignores.

    Attributes:
        version: "0.9" says ``reasoning_content`` and lets none back in; "0.15" says ``reasoning`` and reads only that
            (#27755, #33402); "current" reads ``reasoning_content`` again, under the other name (#42664).
        reasoning_parser: Whether it was started with ``--reasoning-parser qwen3``.
        auto_tools: Whether it was started with ``--enable-auto-tool-choice`` and a parser.
        prompt_details: Whether it was started with ``--enable-prompt-tokens-details``.
        api_key: The key that it was started with, "" for none.
    """

    version: Literal["current", "0.15", "0.9"] = "current"
    reasoning_parser: bool = True
    auto_tools: bool = True
    prompt_details: bool = False
    api_key: str = ""

    server: ClassVar[str] = "vllm"
    url: ClassVar[str] = "http://127.0.0.1:8000/v1"
    reads: ClassVar[frozenset[str]] = OPENAI_BASICS | names(
        "chat_template_kwargs reasoning_effort thinking_token_budget include_reasoning max_completion_tokens n "
        "logprobs top_logprobs parallel_tool_calls top_k min_p repetition_penalty structured_outputs logit_bias user "
        "min_tokens stop_token_ids ignore_eos skip_special_tokens add_generation_prompt continue_final_message"
    )

    @property
    def reasoning_field(self) -> str:
        """Where reasoning goes out in this version."""
        return "reasoning_content" if self.version == "0.9" else "reasoning"

    def judge(self, body: dict[str, Any]) -> Plan:
        """Apply the validators of its request model and what the engine checks."""
        self.require_key(self.api_key, "Unauthorized")
        self._check(body)
        family, kwargs, effort = self.known_family(body), template_kwargs(body), body.get("reasoning_effort")
        enable = kwargs.get("enable_thinking")
        if self.version == "current" and effort is not None and "enable_thinking" not in kwargs:
            enable = effort != "none"
        # The template asks for a real false; anything else leaves thinking on.
        enable = enable if enable is None else enable is not False
        effort = kwargs.get("reasoning_effort", effort)
        budget = body.get("thinking_token_budget") if self.version == "current" else None
        plan = self.plan(body, enable=enable, effort=effort, preserve=kwargs.get("preserve_thinking"), budget=budget)
        check_effort(plan, family, effort)
        if not plan.forced and plan.tools and not self.auto_tools:
            raise Refusal(NO_AUTO_TOOLS)
        # Before the parser was taught better it wanted both tags (#22507).
        splits = self.reasoning_parser and (self.version == "current" or not family.prefilled)
        return replace(plan, separate=splits)

    def _check(self, body: dict[str, Any]) -> None:
        tools, choice, budget = body.get("tools"), body.get("tool_choice"), body.get("thinking_token_budget")
        names = [tool["function"]["name"] for tool in tools or ()]
        effort = body.get("reasoning_effort")
        images = [part for message in body["messages"] for part in _parts(message) if part.get("type") == "image_url"]
        refusals = [
            (tools == [] and self.version == "current", EMPTY_TOOLS),
            (choice not in (None, "none") and not tools, CHOICE_WITHOUT_TOOLS),
            (
                choice not in (None, "none", "auto", "required") and not isinstance(choice, dict),
                BAD_CHOICE.format(choice=choice),
            ),
            (isinstance(choice, dict) and choice.get("function", {}).get("name") not in names, UNKNOWN_TOOL),
            (bool(body.get("stream_options")) and not body.get("stream"), STREAM_OPTIONS),
            (budget is not None and self.version == "current" and not self.reasoning_parser, NO_BUDGET),
            (effort is not None and effort not in EFFORTS, f"Input should be {_listed(EFFORTS)}"),
            (bool(images) and not self.known_family(body).sees, BLIND.format(model=body["model"])),
        ]
        for wrong, text in refusals:
            if wrong:
                raise Refusal(text)

    def template_messages(self, messages: Sequence[Message]) -> list[Message]:
        """Give the template what this version lets back in, under both names."""
        given = []
        for message in messages:
            reasoning = message.get("reasoning") if self.version != "0.9" else None
            if self.version == "current" and reasoning is None:
                reasoning = message.get("reasoning_content")
            rest = without_reasoning(message, "reasoning", "reasoning_content")
            given.append(rest if reasoning is None else {**rest, "reasoning_content": reasoning})
        return given

    def error(self, refusal: Refusal) -> dict[str, Any]:
        """Return its error: flat in old versions, nested today; a wrong key gets neither."""
        if refusal.status == 401:
            return {"error": "Unauthorized"}
        kind = refusal.kind or "BadRequestError"
        error = {"message": refusal.message, "type": kind, "param": refusal.param, "code": refusal.status}
        return {"object": "error", **error} if self.version == "0.9" else {"error": error}

    def usage(self, plan: Plan, prompt: int, thought: int, answered: int) -> dict[str, Any]:
        """Return counts; today's server says what was reasoning, where it has a parser."""
        counts = super().usage(plan, prompt, thought, answered)
        if self.version == "current" and self.reasoning_parser:
            counts["completion_tokens_details"] = {"reasoning_tokens": thought}
        if self.prompt_details:
            counts["prompt_tokens_details"] = {"cached_tokens": 0}
        return counts

    def dress(self, plan: Plan, said: Said, *, stream: bool) -> tuple[str, str]:
        """Leave the newlines around the tags where the model wrote them."""
        if not said.reasoning:
            return "", said.content
        content = "\n\n" + said.content if said.content else ""
        return f"\n{said.reasoning}\n", content

    def message(self, plan: Plan, said: Said, reasoning: str, content: str) -> dict[str, Any]:
        """Return all fields of its message; null content where it was still thinking."""
        empty = ("refusal", "annotations", "audio", "function_call")
        message = {"role": "assistant", "content": content or None, **dict.fromkeys(empty)}
        if plan.forced:
            message["content"] = content  # never null beside a forced call
        message[self.reasoning_field] = reasoning or None
        if said.calls:
            message["tool_calls"] = [self.call(place, call) for place, call in enumerate(said.calls)]
        return message

    def finish(self, plan: Plan, said: Said) -> str:
        """Say "stop" for a tool that was named, as OpenAI does."""
        return "stop" if plan.forced not in (None, "*") and said.calls else said.finish

    def pages(self) -> dict[str, Any]:
        """Serve its model cards and its version."""
        models = super().pages()["/v1/models"]
        cards = [{**card, "max_model_len": 40960, "root": card["id"]} for card in models["data"]]
        return {"/v1/models": {**models, "data": cards}, "/version": {"version": "0.31.0"}}


def _parts(message: Message) -> list[dict[str, Any]]:
    content = message.get("content")
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _listed(words: Sequence[str]) -> str:
    *most, last = (json.dumps(word).replace('"', "'") for word in words)
    return f"{', '.join(most)} or {last}"
