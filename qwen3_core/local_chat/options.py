"""What can be said about one reply of a local chat model, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from qwen3_core.adaptive import ThinkingRule, needs_thinking
from qwen3_core.local_chat.tool_calls import tool_name


@dataclass(frozen=True, kw_only=True)
class ChatOptions:
    """How to answer one conversation. What is None is chosen by the model's card, or is no limit.

    Attributes:
        max_tokens: The longest reply, reasoning included, at least 1; None is what the context window has room for.
        temperature: 0 to 2. 0 takes the most likely token; a model that thinks is never sampled so.
        top_p: Above 0, to 1.
        top_k: At least 0; 0 is no limit.
        min_p: 0 to 1.
        presence_penalty: -2 to 2; lowers the scores of tokens that the reply has already.
        seed: The same seed gives the same text. None is never the same.
        stop: Texts that end the answer and are not part of it; in reasoning and tool calls they do not count.
        enable_thinking: Whether to think; None is the chat template's default, "auto" asks the ``thinking_rule``.
        thinking_budget: The most tokens to think for, at least 1. When they are spent, Qwen's own sentence for that
            ends the reasoning and the answer begins.
        thinking_rule: Takes a question and its context and says whether thinking pays.
        reasoning_effort: A level that the chat template knows ("low", "medium" or "xhigh": Qwen3.8).
        preserve_thinking: Whether the model sees what it thought in earlier turns (Qwen3.6 and later); within a tool
            loop it always does.
        tools: Definitions in the format of Chat Completions.
        tool_choice: "auto" or None, "none", "required" or "any", or a tool's name, also as Chat Completions writes it.
        parallel_tool_calls: False ends the reply after the first call.

    Raises:
        TypeError: If a switch is not a bool, or a number is none.
        ValueError: If a value is out of range, or a tool is chosen that is not among the tools.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: Sequence[str] | str | None = None
    enable_thinking: bool | Literal["auto"] | None = None
    thinking_budget: int | None = None
    thinking_rule: ThinkingRule = field(default=needs_thinking, repr=False)
    reasoning_effort: str | None = None
    preserve_thinking: bool | None = None
    tools: Sequence[Mapping[str, Any]] | None = field(default=None, repr=False)
    tool_choice: str | bool | Mapping[str, Any] | None = None
    parallel_tool_calls: bool | None = None

    def __post_init__(self) -> None:
        # Chat templates compare with a real False: a string would turn thinking on.
        for name, value in (("enable_thinking", self.enable_thinking), ("preserve_thinking", self.preserve_thinking)):
            if value not in (None, "auto") and not isinstance(value, bool):
                msg = f"{name} must be True, False or None, not {value!r}"
                raise TypeError(msg)
        for name, (kind, least, most) in _RANGES.items():
            number: Any = getattr(self, name)
            if number is not None and (isinstance(number, bool) or not isinstance(number, kind)):
                msg = f"{name} must be a {'whole ' if kind is int else ''}number, not {number!r}"
                raise TypeError(msg)
            if number is not None and not (least <= number <= most):
                msg = f"{name}={number!r} is out of range: {least} to {most}"
                raise ValueError(msg)
        if self.top_p == 0 or "" in self.stops:
            msg = "top_p must be above 0, and a stop text must not be empty"
            raise ValueError(msg)
        self.forced_tools  # noqa: B018 - refuses a tool that is not there

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end the answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def offered_tools(self) -> tuple[Mapping[str, Any], ...]:
        """The tools that the model may call."""
        return () if self.tool_choice == "none" else tuple(self.tools or ())

    @property
    def forced_tools(self) -> tuple[str, ...]:
        """The names of which one must be called; empty if none must."""
        choice = self.tool_choice
        if isinstance(choice, Mapping):
            choice = str(choice.get("function", choice).get("name"))
        names = tuple(tool_name(tool) for tool in self.tools or ())
        if choice in (None, False, "auto", "none"):
            return ()
        found = names if choice in _ANY else tuple(name for name in names if name == choice)
        if not found:
            msg = f"tool_choice={self.tool_choice!r}, and the tools are {list(names)}"
            raise ValueError(msg)
        return found

    @property
    def template_variables(self) -> dict[str, Any]:
        """What the chat template reads besides the switch."""
        wanted = {"reasoning_effort": self.reasoning_effort, "preserve_thinking": self.preserve_thinking}
        return {name: value for name, value in wanted.items() if value is not None}

    @property
    def most_calls(self) -> int | None:
        """How many tools may be called; None is any number."""
        named = bool(self.forced_tools) and self.tool_choice not in _ANY
        return 1 if named or self.parallel_tool_calls is False else None


_ANY = (True, "required", "any")
_RANGES: Mapping[str, tuple[Any, float, float]] = {
    "max_tokens": (int, 1, float("inf")),
    "temperature": ((int, float), 0, 2),
    "top_p": ((int, float), 0, 1),
    "top_k": (int, 0, float("inf")),
    "min_p": ((int, float), 0, 1),
    "presence_penalty": ((int, float), -2, 2),
    "seed": (int, -(2**63), 2**63 - 1),
    "thinking_budget": (int, 1, float("inf")),
}
