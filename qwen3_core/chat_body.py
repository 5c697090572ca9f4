"""Request bodies of chat: what a caller wants of thinking, written as the server reads it. Pure functions over data."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from qwen3_core.families import ModelFamily, model_family
from qwen3_core.thinking import DIALECTS, Dialect, Path


@dataclass(frozen=True)
class Thinking:
    """What a caller wants of thinking; None leaves a thing to the server.

    Attributes:
        enable_thinking: Whether to think.
        thinking_budget: The most tokens to think for, at least 1.
        reasoning_effort: How hard to think, in the words of the model's family; "none" is ``enable_thinking=False``.
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


def wanted_body(
    dialect: Dialect,
    model: str,
    extra_body: Mapping[str, Any],
    own: Mapping[str, Any],
    call: Mapping[str, Any],
) -> dict[str, Any]:
    """Lay the wishes on one another: the instance's extra_body and fields, then those of the call.

    Args:
        dialect: The server's dialect.
        model: The model of this call.
        extra_body: The instance's own.
        own: The instance's `THINKING_FIELDS`.
        call: The arguments of this call. An explicit None among them means the server's own default, so then the
            instance's field does not count.

    Raises:
        TypeError: A wish has the wrong type.
        ValueError: The server or the model cannot do what is wanted; see `check_thinking`.
    """
    instance = Thinking.of({name: value for name, value in own.items() if name not in call})
    body = write_thinking(dialect, model, extra_body, instance)
    body = merge_bodies(body, call.get("extra_body") or {})
    return write_thinking(dialect, model, body, Thinking.of(call))


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
        _check_family(family, model, wanted)
    if wanted.preserve_thinking and dialect.preserve is None:
        message = f"preserve_thinking has no field on server={dialect.server!r}."
        raise ValueError(message)


def write_thinking(dialect: Dialect, model: str, body: Mapping[str, Any], wanted: Thinking) -> dict[str, Any]:
    """Return a copy of a request body that says what is wanted; None leaves things as they are.

    Raises:
        TypeError: See `check_thinking`.
        ValueError: See `check_thinking`.
    """
    check_thinking(dialect, model, wanted)
    if wanted.reasoning_effort == "none":
        wanted = replace(wanted, enable_thinking=False, reasoning_effort=None)
    written = dict(body)
    if wanted.enable_thinking is not None:
        written = _write_switch(dialect, written, on=wanted.enable_thinking)
    if wanted.thinking_budget is not None and dialect.budget:
        # What is laid on later displaces its rival of the layer below.
        written = without(written, dialect.effort) if dialect.budget_excludes_effort else written
        written = put(written, dialect.budget, wanted.thinking_budget)
    if wanted.reasoning_effort is not None and dialect.effort:
        written = without(written, dialect.budget) if dialect.budget_excludes_effort else written
        written = put(written, dialect.effort, _level(model, wanted.reasoning_effort))
    if wanted.preserve_thinking is not None and dialect.preserve:
        written = put(written, dialect.preserve, wanted.preserve_thinking)
    return written


def read_switch(dialect: Dialect, body: Mapping[str, Any]) -> bool | None:
    """Return what a request body says about thinking; None is the server's own default."""
    value = get(body, dialect.switch)
    if value is None or (isinstance(value, bool) and dialect.on is None):
        return None
    if value == dialect.off:
        return False
    return True if dialect.on is None or value is dialect.on else None


def thinks(dialect: Dialect, model: str, body: Mapping[str, Any]) -> bool | None:
    """Tell whether a model thinks when it is sent this body, None if that cannot be known."""
    family = model_family(model)
    if family and family.thinks != "switch":
        return family.thinks == "always"
    switch = read_switch(dialect, body)
    if switch is not None or family is None:
        return switch
    return family.thinks_by_default or _limits_thinking(dialect, body)


def must_stream(dialect: Dialect, model: str, body: Mapping[str, Any]) -> bool:
    """Tell whether the server refuses this request unless it is streamed.

    DashScope answers 400 "parameter.enable_thinking must be set to false for non-streaming calls" to the models of
    the Qwen3 generation; Qwen3.5 and later also think without streaming (langgenius/dify-official-plugins#2626).
    """
    if not dialect.refuses_unstreamed_thinking:
        return False
    family = model_family(model)
    if body.get("enable_search") and thinks(dialect, model, body):
        return True  # "Non-streaming mode does not support Web Search in thinking mode."
    if family and (family.thinks_unstreamed or family.thinks == "never"):
        return False
    if family and family.thinks == "always":
        return True
    switch = read_switch(dialect, body)
    return switch is True or (switch is None and family is not None and _limits_thinking(dialect, body))


def settle_body(
    dialect: Dialect, model: str, body: Mapping[str, Any], *, stream: bool, constrained: bool
) -> dict[str, Any]:
    """Return the body to send, with thinking switched off where the server would refuse the request otherwise.

    Args:
        dialect: The server's dialect.
        model: The model's name; which models think by default is known from it.
        body: What the caller asks for.
        stream: Whether the answer is streamed. The open-source Qwen3 models on DashScope think by default and
            refuse to without streaming, so with no wish expressed they get an explicit False.
        constrained: Whether a tool is forced or the output has a format that the server refuses while thinking.

    Returns:
        A new body. Models that cannot stop thinking are left alone: the server's own error says it best.
    """
    settled = dict(body)
    family = model_family(model)
    switchable = family is None or family.thinks == "switch"
    asleep = dialect.refuses_unstreamed_thinking and not stream and not must_stream(dialect, model, body)
    unwanted = asleep and family is not None and not family.thinks_unstreamed and read_switch(dialect, body) is None
    if switchable and thinks(dialect, model, body) and (constrained or unwanted):
        settled = _write_switch(dialect, settled, on=False)
    if thinks(dialect, model, settled) is False:  # there is nothing to limit
        settled = without(settled, dialect.budget)
        settled = settled if dialect.effort == dialect.switch else without(settled, dialect.effort)
    return settled


def merge_bodies(body: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``body`` with ``over`` laid on it, object by object, so that siblings of a nested field survive."""
    merged = dict(body)
    for key, value in over.items():
        below = merged.get(key)
        nested = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = merge_bodies(below, value) if nested else value  # type: ignore[arg-type]
    return merged


def get(body: Mapping[str, Any], path: Path | None) -> Any:
    """Return what stands at a path, None if nothing does."""
    if path is None:
        return None
    value: Any = body
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def put(body: Mapping[str, Any], path: Path, value: object) -> dict[str, Any]:
    """Return a copy with a value at a path."""
    for key in reversed(path):
        value = {key: value}
    return merge_bodies(body, value)  # type: ignore[arg-type]


def without(body: Mapping[str, Any], path: Path | None) -> dict[str, Any]:
    """Return a copy with nothing at a path; an object that is empty then goes as well."""
    if not path or path[0] not in body:
        return dict(body)
    key, *rest = path
    below = body[key]
    shrunk = without(below, tuple(rest)) if rest and isinstance(below, Mapping) else None
    kept = {other: value for other, value in body.items() if other != key}
    return {**kept, key: shrunk} if shrunk else kept


def _write_switch(dialect: Dialect, body: Mapping[str, Any], *, on: bool) -> dict[str, Any]:
    if dialect.switch is None:
        return dict(body)
    if not on:
        return put(body, dialect.switch, dialect.off)
    if dialect.on is not None:
        return put(body, dialect.switch, dialect.on)
    return without(body, dialect.switch) if get(body, dialect.switch) == dialect.off else dict(body)


def _level(model: str, effort: str) -> str:
    """Return the level that a word for the effort means."""
    family = model_family(model)
    return family.efforts[effort] if family else effort


def _limits_thinking(dialect: Dialect, body: Mapping[str, Any]) -> bool:
    """Tell whether a body has a budget or an effort, which only a model that thinks has a use for."""
    return get(body, dialect.budget) is not None or get(body, dialect.effort) is not None


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
        known = f"it has {', '.join(family.efforts)}" if family.efforts else "limit it with thinking_budget"
        message = f"{model} ({family.name}) has no reasoning_effort={effort!r}: {known}."
        raise ValueError(message)
    if dialect.budget_excludes_effort and wanted.thinking_budget is not None:
        message = f"server={dialect.server!r} takes thinking_budget or reasoning_effort, not both: leave one out."
        raise ValueError(message)


def _check_family(family: ModelFamily, model: str, wanted: Thinking) -> None:
    off = wanted.enable_thinking is False or wanted.reasoning_effort == "none"
    if family.thinks == "always" and off:
        message = f"{model} ({family.name}) cannot stop thinking; take a model that can, or leave enable_thinking out."
        raise ValueError(message)
    if family.thinks == "never" and (wanted.enable_thinking or wanted.thinking_budget is not None):
        message = f"{model} ({family.name}) does not think; take a model that does, or leave enable_thinking out."
        raise ValueError(message)
    if family.preserves is None and wanted.preserve_thinking:
        message = f"{model} ({family.name}) cannot be shown earlier reasoning: preserve_thinking began with Qwen3.6."
        raise ValueError(message)
