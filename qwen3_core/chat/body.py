"""Request bodies of chat: what a caller wants of thinking, written as the server reads it. Pure functions over data."""

from collections.abc import Mapping, Sequence
from typing import Any

from qwen3_core.chat.paths import get, merge_bodies, put, without
from qwen3_core.chat.wishes import THINKING_FIELDS, Thinking, check_thinking
from qwen3_core.families import model_family
from qwen3_core.prompts import THINKING_STOP
from qwen3_core.thinking import Dialect


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
        call: The arguments of this call, its ``extra_body`` among them. An explicit None means the server's own
            default, whatever the instance says.

    Returns:
        The fields of the server for this call; nothing given is changed.

    Raises:
        TypeError: A wish has the wrong type.
        ValueError: The server or the model cannot do what is wanted; see `check_thinking`.
    """
    instance = Thinking.of({name: value for name, value in own.items() if name not in call})
    body = write_thinking(dialect, model, extra_body, instance)
    body = _leave_to_server(dialect, body, [name for name in THINKING_FIELDS if name in call and call[name] is None])
    body = _lay(dialect, body, call.get("extra_body") or {})
    return write_thinking(dialect, model, body, Thinking.of(call))


def write_thinking(dialect: Dialect, model: str, body: Mapping[str, Any], wanted: Thinking) -> dict[str, Any]:
    """Return a copy of a request body that says what is wanted; None leaves things as they are.

    Raises:
        TypeError: See `check_thinking`.
        ValueError: See `check_thinking`.
    """
    check_thinking(dialect, model, wanted)
    effort = wanted.reasoning_effort
    on = False if effort == "none" else wanted.enable_thinking
    written = dict(body) if on is None else _write_switch(dialect, body, on=on)
    if wanted.thinking_budget is not None and dialect.budget:
        written = _lay(dialect, written, put({}, dialect.budget, wanted.thinking_budget))
    shadowed = dialect.effort == dialect.switch and read_switch(dialect, written) is False
    if effort not in (None, "none") and not shadowed:
        written = _lay(dialect, written, put({}, dialect.effort, _level(model, effort)))
    if wanted.preserve_thinking is not None and dialect.preserve:
        written = put(written, dialect.preserve, wanted.preserve_thinking)
    return written


def read_switch(dialect: Dialect, body: Mapping[str, Any]) -> bool | None:
    """Return what a request body says about thinking; None is the server's own default."""
    value = get(body, dialect.switch)
    if isinstance(dialect.off, bool):
        return value if isinstance(value, bool) else None
    return value != dialect.off if isinstance(value, str) else None  # any word for the effort but "none"


def thinks(dialect: Dialect, model: str, body: Mapping[str, Any]) -> bool | None:
    """Tell whether a model thinks when it is sent this body, None if that cannot be known."""
    family = model_family(model)
    if family and family.thinks != "switch":
        return family.thinks == "always"
    switch = read_switch(dialect, body)
    if switch is not None or family is None:
        return switch
    return family.thinks_by_default if dialect.default is None else dialect.default


def must_stream(dialect: Dialect, model: str, body: Mapping[str, Any]) -> bool:
    """Tell whether the server refuses what this body asks for unless it is streamed.

    DashScope answers 400 "parameter.enable_thinking must be set to false for non-streaming calls" to the models of
    the Qwen3 generation; Qwen3.5 and later also think without streaming (langgenius/dify-official-plugins#2626), but
    do not search ("Non-streaming mode does not support Web Search in thinking mode.").

    Returns:
        False as well for a model that thinks by default where nothing asks for it: `settle_body` has it not think.
    """
    if not (dialect.refuses_unstreamed_thinking and thinks(dialect, model, body)):
        return False
    if body.get("enable_search"):
        return True
    if _thinks_unstreamed(dialect, model):
        return False
    family = model_family(model)
    always = family is not None and family.thinks == "always"
    return always or read_switch(dialect, body) is True or _limits_thinking(dialect, body)


def settle_body(
    dialect: Dialect, model: str, body: Mapping[str, Any], *, stream: bool, constrained: bool
) -> dict[str, Any]:
    """Return the body to send, with thinking switched off where the server would refuse the request otherwise.

    Thinking goes if a tool is forced or a format wanted that the server refuses beside it, and if the model would
    think by default only, in a request that is not streamed, where the server lets it think in streams alone. With
    thinking off, a budget and an effort go as well: there is nothing to limit.

    Args:
        dialect: The server's dialect.
        model: The model's name; which models think by default is known from it.
        body: What the caller asks for.
        stream: Whether the answer is streamed.
        constrained: Whether a tool is forced or the output has a format that the server refuses while thinking.

    Returns:
        A new body. Models that cannot stop thinking are left alone: the server's own error says it best.
    """
    settled = dict(body)
    family = model_family(model)
    switchable = family is None or family.thinks == "switch"
    if switchable and thinks(dialect, model, body):
        unasked = not must_stream(dialect, model, body) and not _thinks_unstreamed(dialect, model)
        if constrained or (unasked and not stream):
            settled = _write_switch(dialect, body, on=False)
    if read_switch(dialect, settled) is False:
        settled = without(settled, dialect.budget)
        settled = settled if dialect.effort == dialect.switch else without(settled, dialect.effort)
    limited = get(settled, dialect.budget) is not None
    if limited and dialect.budget_message and get(settled, dialect.budget_message) is None:
        settled = put(settled, dialect.budget_message, f"{THINKING_STOP}\n")  # the server adds no line break
    return settled


def _lay(dialect: Dialect, body: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay fields on a body; where only one of budget and effort is allowed, the one that comes later stays."""
    below = dict(body)
    if dialect.budget_excludes_effort:
        below = without(below, dialect.effort) if get(over, dialect.budget) is not None else below
        below = without(below, dialect.budget) if get(over, dialect.effort) is not None else below
    return merge_bodies(below, over)


def _leave_to_server(dialect: Dialect, body: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Take wishes out of a body."""
    left = dict(body)
    off = get(left, dialect.switch) == dialect.off
    if "enable_thinking" in names and (dialect.switch != dialect.effort or off):
        left = without(left, dialect.switch)
    if "reasoning_effort" in names and (dialect.switch != dialect.effort or not off):
        left = without(left, dialect.effort)
    left = without(left, dialect.budget) if "thinking_budget" in names else left
    return without(left, dialect.preserve) if "preserve_thinking" in names else left


def _write_switch(dialect: Dialect, body: Mapping[str, Any], *, on: bool) -> dict[str, Any]:
    if not on:
        return put(body, dialect.switch, dialect.off)
    if dialect.on is not None:
        return put(body, dialect.switch, dialect.on)
    return without(body, dialect.switch) if get(body, dialect.switch) == dialect.off else dict(body)


def _thinks_unstreamed(dialect: Dialect, model: str) -> bool:
    """Tell whether the server lets this model think in a request that is not streamed."""
    family = model_family(model)
    return not dialect.refuses_unstreamed_thinking or (family is not None and family.thinks_unstreamed)


def _limits_thinking(dialect: Dialect, body: Mapping[str, Any]) -> bool:
    """Tell whether a body has a budget or an effort, so that its caller counts on thinking."""
    return get(body, dialect.budget) is not None or get(body, dialect.effort) is not None


def _level(model: str, effort: str) -> str:
    """Return the level that a word for the effort means to the model's family."""
    family = model_family(model)
    return family.efforts[effort] if family else effort
