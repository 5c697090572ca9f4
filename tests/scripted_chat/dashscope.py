"""DashScope (Alibaba Cloud Model Studio), the OpenAI-compatible route.

The texts without a source beside them are those of its error-code page (model-studio/error-code, Sep 28 2026).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any, ClassVar

from scripted_chat.base import ScriptedChat
from scripted_chat.model import Family, Message, Plan, text_of
from scripted_chat.rules import OPENAI_BASICS, Refusal, names
from scripted_chat.wire import Answer

ALGO = "<400> InternalError.Algo.InvalidParameter: "
NOT_STREAMED_OPEN = "parameter.enable_thinking must be set to false for non-streaming calls"
NOT_STREAMED = "parameter.enable_thinking only support stream call"
STREAM_ONLY = "This model only support stream mode, please enable the stream parameter to access the model."
ONLY_TRUE = "The value of the enable_thinking parameter is restricted to True."
# with the prefix: CherryHQ/cherry-studio#7263
BAD_BUDGET = ALGO + "The thinking_budget parameter must be a positive integer and not greater than {most}"
# anomalyco/opencode#41531
EFFORT_AND_BUDGET = "'reasoning_effort' and 'thinking_budget' cannot be set simultaneously"
# cloudwego/eino#994, agentscope-ai/agentscope#1608
FORCED_TOOL = ALGO + "The tool_choice parameter does not support being set to required or object in thinking mode"
JSON_WHILE_THINKING = "Json mode response is not supported when enable_thinking is true"  # presenton/presenton#184
# with the prefix: agno-agi/agno#5317
NO_JSON_WORD = (
    ALGO + "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
)
NO_SEARCH = "Non-streaming mode does not support Web Search in thinking mode."
BAD_LIMIT = "Range of max_tokens should be [1, {most}]"
TOOL_WITHOUT_CALL = 'messages with role "tool" must be a response to a preceeding message with "tool_calls".'  # sic
# What it says to these is not known; the tests may rely on the status alone.
UNVERIFIED_EFFORT = ALGO + "The reasoning_effort parameter is invalid."
UNVERIFIED_SCHEMA = ALGO + "'response_format.type' 'json_schema' is not supported by this model."
UNVERIFIED_N = ALGO + "n should be 1 in thinking mode."

EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "xhigh", "xhigh": "xhigh", "max": "xhigh"}
"""The words for effort that Qwen3.8 takes, and what each means (its *deep-thinking* page)."""


@dataclass
class DashScope(ScriptedChat):
    """Reads the switch at the top level and refuses a lot.

    Attributes:
        errors_in_stream: Whether a streamed request is refused by an event inside a 200, as seen with Qwen3.8
            (anomalyco/opencode#41531).
    """

    errors_in_stream: bool = False

    server: ClassVar[str] = "dashscope"
    url: ClassVar[str] = "https://dashscope.aliyuncs.com/compatible-mode/v1"
    key: ClassVar[str] = "sk-fake-dashscope"
    reads: ClassVar[frozenset[str]] = OPENAI_BASICS | names(
        "enable_thinking thinking_budget preserve_thinking reasoning_effort top_k repetition_penalty enable_search "
        "search_options enable_code_interpreter tool_stream max_completion_tokens parallel_tool_calls n logprobs "
        "top_logprobs modalities audio vl_high_resolution_images"
    )

    def judge(self, body: dict[str, Any]) -> Plan:
        """Apply the rules of DashScope's reference; ``chat_template_kwargs`` is not looked at (evalscope#998)."""
        self.require_key(self.key, "Incorrect API key provided.", code="invalid_api_key")
        family, model = self.known_family(body), str(body["model"])
        effort, switch, budget = (body.get(name) for name in ("reasoning_effort", "enable_thinking", "thinking_budget"))
        if family.thinks == "always" and switch is False:
            raise Refusal(ONLY_TRUE)
        if family.efforts and effort is not None:
            switch = switch is not False and self._effort(effort, budget) if effort != "none" else False
        plan = self.plan(
            body,
            enable=switch,
            effort=EFFORTS.get(effort) if family.efforts and isinstance(effort, str) else None,
            preserve=body.get("preserve_thinking"),
            budget=budget,
        )
        _check_budget(model, budget)
        _check_stream(body, family, model, thinks=plan.thinks)
        _check_output(body, model, thinks=plan.thinks)
        _check_messages(body["messages"])
        return replace(
            plan,
            limit_spares_reasoning="max_completion_tokens" not in body,  # max_tokens leaves reasoning out
            parallel=bool(body.get("parallel_tool_calls")),  # its default here is false
        )

    def _effort(self, effort: Any, budget: Any) -> bool:
        if effort not in EFFORTS:
            raise Refusal(UNVERIFIED_EFFORT)
        if budget is not None:
            raise Refusal(EFFORT_AND_BUDGET)
        return True

    def error(self, refusal: Refusal) -> dict[str, Any]:
        """Return its error body, with the request's id beside the error."""
        kind = refusal.kind or "invalid_request_error"
        code = refusal.code or "invalid_parameter_error"
        error = {"message": refusal.message, "type": kind, "param": None, "code": code}
        number = f"5bf78562-{len(self.requests)}"
        return {"error": error, "id": f"chatcmpl-{number}", "request_id": number}

    def refuse(self, body: Mapping[str, Any], refusal: Refusal) -> Answer:
        """Send the error as an event where it is set to."""
        if not (self.errors_in_stream and body.get("stream")):
            return super().refuse(body, refusal)
        return self.sse([json.dumps(self.error(refusal))], Random(self.seed))

    def trouble(self, status: int) -> Refusal:
        """Return its 429, whose type and code are the same word, or its 5xx."""
        if status == 429:
            return Refusal(
                "You exceeded your current requests list.", 429, kind="limit_requests", code="limit_requests"
            )
        return Refusal("An internal error has occured, please try again later.", status, code="internal_error")

    def unknown_model(self, model: str) -> Refusal:
        """Return its 404."""
        text = f"The model `{model}` does not exist or you do not have access to it."
        return Refusal(text, 404, code="model_not_found")

    def usage(self, plan: Plan, prompt: int, thought: int, answered: int) -> dict[str, Any]:
        """Return counts with the reasoning among the completion's details."""
        counts = super().usage(plan, prompt, thought, answered)
        details = {"completion_tokens_details": {"reasoning_tokens": thought}}
        return {**counts, **details, "prompt_tokens_details": {"cached_tokens": 0}}

    def first_delta(self) -> dict[str, Any]:
        """Open with a null content and empty reasoning."""
        return {"role": "assistant", "content": None, "reasoning_content": ""}

    def text_delta(self, name: str, piece: str) -> dict[str, Any]:
        """Return both fields, the other one null."""
        return {"content": None, "reasoning_content": None, name: piece}

    def call_deltas(self, place: int, call: Mapping[str, Any], chance: Random) -> Iterator[dict[str, Any]]:
        """Give later pieces an empty id and the type again."""
        for number, delta in enumerate(super().call_deltas(place, call, chance)):
            yield delta if not number else {**delta, "id": "", "type": "function"}

    def calls_delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        """Return a null content beside the call."""
        return {"content": None, "tool_calls": [delta]}

    def last_delta(self) -> dict[str, Any]:
        """End with empty content."""
        return {"content": "", "reasoning_content": None}

    def chunk(self, head: dict[str, Any], choices: list[dict[str, Any]], usage: Any = None) -> dict[str, Any]:
        """Write nulls where there is nothing."""
        choices = [{**choice, "logprobs": None} for choice in choices]
        return {**head, "choices": choices, "system_fingerprint": None, "usage": usage}

    def pages(self) -> dict[str, Any]:
        """Serve nothing: which models there are is said in its documentation."""
        return {}


def _check_budget(model: str, budget: Any) -> None:
    newest = "qwen3.8" in model
    least, most = (0, 262_144) if newest else (1, 38_912)  # models.dev's qwen3.8-max; cherry-studio#7263
    if budget is not None and (type(budget) is not int or not least <= budget <= most):
        raise Refusal(BAD_BUDGET.format(most=most))


def _check_stream(body: Mapping[str, Any], family: Family, model: str, *, thinks: bool) -> None:
    if body.get("stream") or not thinks:
        return
    if body.get("enable_search"):
        raise Refusal(NO_SEARCH)
    if family.later:  # langgenius/dify-official-plugins#2626: these answer
        return
    if re.match("qwq|qvq", model):
        raise Refusal(STREAM_ONLY)
    raise Refusal(NOT_STREAMED_OPEN if re.match(r"qwen3-\d", model) and family.thinks == "switch" else NOT_STREAMED)


def _check_output(body: Mapping[str, Any], model: str, *, thinks: bool) -> None:
    wanted = (body.get("response_format") or {}).get("type", "text")
    said = " ".join(text_of(message.get("content")) for message in body["messages"])
    limit = body.get("max_tokens")
    refusals = [
        (thinks and body.get("tool_choice") not in (None, "auto", "none"), FORCED_TOOL),
        # The newest may think first (qwen-structured-output, autumn 2026).
        (thinks and wanted != "text" and not re.match(r"qwen3\.[78]", model), JSON_WHILE_THINKING),
        (wanted == "json_object" and "json" not in said.lower(), NO_JSON_WORD),
        (wanted == "json_schema" and not _knows_schemas(model), UNVERIFIED_SCHEMA),
        (thinks and body.get("n", 1) != 1, UNVERIFIED_N),
        (limit is not None and not 1 <= limit <= 32_768, BAD_LIMIT.format(most=32_768)),
    ]
    for wrong, text in refusals:
        if wrong:
            raise Refusal(text)


def _knows_schemas(model: str) -> bool:
    """Tell whether a model has JSON Schema mode: "only some qwen-plus models" (qwen-structured-output, Dec 2025)."""
    return bool(re.match(r"qwen-plus|qwen3\.\d-(plus|max|flash)", model))


def _check_messages(messages: list[Message]) -> None:
    asked: set[str] = set()
    for message in messages:
        asked |= {call["id"] for call in message.get("tool_calls") or ()}
        if message["role"] == "tool" and message.get("tool_call_id") not in asked:
            raise Refusal(TOOL_WITHOUT_CALL)
