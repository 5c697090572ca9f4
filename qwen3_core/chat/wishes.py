"""What a caller can want of thinking, and which wishes are refused before anything is sent."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from qwen3_core.families import ModelFamily, model_family
from qwen3_core.thinking import DIALECTS, Dialect


@dataclass(frozen=True)
class Thinking:
    """What a caller wants of thinking; None leaves a thing to the server.

    Attributes:
        enable_thinking: Whether to think.
        thinking_budget: The most tokens to think for, at least 1. It does not turn thinking on.
        reasoning_effort: How hard to think, in the words of the model's family; "none" is ``enable_thinking=False``.
            Any other word has no effect beside ``enable_thinking=False``.
        preserve_thinking: Whether the model sees what it thought in earlier turns.
    """

    enable_thinking: bool | None = None
    thinking_budget: int | None = None
    reasoning_effort: str | None = None
    preserve_thinking: bool | None = None

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Thinking":
        """Take the four wishes out of arguments that may hold others as well."""
        return cls(**{name: arguments.get(name) for name in THINKING_FIELDS})


THINKING_FIELDS = tuple(field.name for field in fields(Thinking))
"""The arguments of a chat model that are written where the server's dialect wants them."""


def check_thinking(dialect: Dialect, model: str, wanted: Thinking) -> None:
    """Refuse wishes that the server or the model would drop or answer with an error.

    Raises:
        TypeError: ``enable_thinking`` or ``preserve_thinking`` is not a bool: chat templates compare with a real
            ``false``, so a string would silently turn thinking on.
        ValueError: A wish is out of range, has no field on this server, contradicts another, or is nothing that
            this family of models can do.
    """
    for name in ("enable_thinking", "preserve_thinking"):
        value = getattr(wanted, name)
        if value is not None and not isinstance(value, bool):
            message = f"{name} must be True, False or None, not {value!r}."
            raise TypeError(message)
    _check_budget(dialect, wanted.thinking_budget)
    _check_effort(dialect, model, wanted)
    if family := model_family(model):
        _check_switch(dialect, family, model, wanted)
    _check_preserve(dialect, family, model, wanted.preserve_thinking)


def _check_budget(dialect: Dialect, budget: object) -> None:
    if budget is None:
        return
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
        message = f"thinking_budget must be a positive whole number of tokens, not {budget!r}."
        raise ValueError(message)
    if dialect.budget is None:
        able = sorted(name for name, other in DIALECTS.items() if other.budget)
        message = (
            f"A request cannot carry a thinking_budget to server={dialect.server!r}. Every server that takes one has "
            f"another field for it: name yours, server= one of {able}, or put its own field into extra_body."
        )
        raise ValueError(message)


def _check_effort(dialect: Dialect, model: str, wanted: Thinking) -> None:
    effort = wanted.reasoning_effort
    if effort is None:
        return
    if not isinstance(effort, str) or not effort:
        message = f"reasoning_effort must be a word such as 'low', 'medium' or 'xhigh', not {effort!r}."
        raise ValueError(message)
    if effort == "none":
        if wanted.enable_thinking:
            message = "reasoning_effort='none' turns thinking off, and enable_thinking=True turns it on: say one."
            raise ValueError(message)
        return
    family = model_family(model)
    if family and effort not in family.efforts:
        known = f"it has {', '.join(family.efforts)}" if family.efforts else "leave it out"
        message = f"{model} ({family.name}) has no reasoning_effort={effort!r}: {known}."
        raise ValueError(message)
    if dialect.budget_excludes_effort and wanted.thinking_budget is not None:
        message = f"server={dialect.server!r} takes thinking_budget or reasoning_effort, not both: leave one out."
        raise ValueError(message)


def _check_switch(dialect: Dialect, family: ModelFamily, model: str, wanted: Thinking) -> None:
    off = wanted.enable_thinking is False or wanted.reasoning_effort == "none"
    if family.thinks == "always" and off:
        message = f"{model} ({family.name}) cannot stop thinking; take a model that can, or leave enable_thinking out."
        raise ValueError(message)
    if family.thinks == "never" and (wanted.enable_thinking or wanted.thinking_budget is not None):
        message = f"{model} ({family.name}) does not think; take a model that does, or leave enable_thinking out."
        raise ValueError(message)
    off_by_default = family.thinks == "switch" and not family.thinks_by_default
    if wanted.enable_thinking and off_by_default and dialect.on is None and not dialect.default:
        message = (
            f"A request to server={dialect.server!r} can turn thinking off only, and {model} has it off by default: "
            "name the server that runs it, or put its own field into extra_body."
        )
        raise ValueError(message)


def _check_preserve(dialect: Dialect, family: ModelFamily | None, model: str, preserve: object) -> None:
    default = family.preserves if family else None
    if family and default is None and preserve:
        message = f"{model} ({family.name}) cannot be shown earlier reasoning: preserve_thinking began with Qwen3.6."
        raise ValueError(message)
    if dialect.preserve is None and preserve is not None and (preserve or default):
        message = f"preserve_thinking cannot be set on server={dialect.server!r}: leave it out."
        raise ValueError(message)
