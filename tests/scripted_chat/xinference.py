"""Xinference's OpenAI route.

Sources: xorbitsai/inference#5383 (effort of Qwen3.8), #3718 and #3794 (``enable_thinking`` in
``chat_template_kwargs``); that the switch is read at the top level too is its documentation's word. What its engines
do with a budget, with several answers and with history is not verified; here it is as with vLLM before the rename.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from scripted_chat.base import ScriptedChat
from scripted_chat.model import Message, Plan
from scripted_chat.rules import OPENAI_BASICS, Refusal, names, template_kwargs, without_reasoning

UNVERIFIED_EFFORT = "Unsupported reasoning_effort for qwen3.8"
UNVERIFIED_CONFLICT = "reasoning_effort conflicts with chat_template_kwargs.reasoning_effort"


@dataclass
class Xinference(ScriptedChat):
    """Reads the switch at the top level and in ``chat_template_kwargs``.

    Attributes:
        reasoning_parser: Whether the model was launched with ``reasoning_content=True``.
    """

    reasoning_parser: bool = True

    server: ClassVar[str] = "xinference"
    url: ClassVar[str] = "http://127.0.0.1:9997/v1"
    reads: ClassVar[frozenset[str]] = OPENAI_BASICS | names(
        "enable_thinking chat_template_kwargs max_completion_tokens logprobs top_logprobs parallel_tool_calls top_k "
        "repetition_penalty user"
    )

    def judge(self, body: dict[str, Any]) -> Plan:
        """Merge the switch into the template's arguments, and the effort where the model is Qwen3.8."""
        kwargs, effort = template_kwargs(body), body.get("reasoning_effort")
        if "enable_thinking" in body:
            kwargs.setdefault("enable_thinking", body["enable_thinking"])
        efforts = self.known_family(body).efforts
        if efforts and effort is not None:
            if effort not in efforts:
                raise Refusal(UNVERIFIED_EFFORT)
            if kwargs.setdefault("reasoning_effort", effort) != effort:
                raise Refusal(UNVERIFIED_CONFLICT)
        enable = kwargs.get("enable_thinking")
        plan = self.plan(
            body,
            enable=enable if enable is None else enable is not False,
            effort=kwargs.get("reasoning_effort"),
            preserve=kwargs.get("preserve_thinking"),
        )
        dropped = tuple(name for name in plan.dropped if name != "reasoning_effort" or not efforts)
        return replace(plan, separate=self.reasoning_parser, dropped=dropped)

    def template_messages(self, messages: Sequence[Message]) -> list[Message]:
        """Keep ``reasoning_content`` alone."""
        return [without_reasoning(message, "reasoning") for message in messages]

    def error(self, refusal: Refusal) -> dict[str, Any]:
        """Return FastAPI's error."""
        return {"detail": refusal.message}

    def pages(self) -> dict[str, Any]:
        """Serve its models, which say how they run."""
        pages = super().pages()
        for card in pages["/v1/models"]["data"]:
            card.update(model_type="LLM", model_name=card["id"], model_engine="vLLM")
        return {**pages, "/v1/cluster/auth": {"auth": False}}
