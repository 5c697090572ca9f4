"""What the dialects' rules are made of: errors, and a plan out of a body."""

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from scripted_chat.model import Family, Message, Plan, Seen, family_of, reasoning_in_template

SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "seed",
)
"""Fields that choose how tokens are drawn."""


def names(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


OPENAI_BASICS = names(
    "messages model stream stream_options max_tokens temperature top_p presence_penalty frequency_penalty seed stop "
    "tools tool_choice response_format"
)
"""What practically every server reads."""

UNVERIFIED_EFFORT = "Unsupported reasoning_effort"
"""Qwen3.8's chat template raises for a word that it does not know; what it says is not verified."""


class Refusal(Exception):  # noqa: N818 - it is an answer
    """An error as the server sends it."""

    def __init__(
        self,
        message: str,
        status: int = 400,
        *,
        code: str | int | None = None,
        kind: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.code, self.kind, self.param = message, status, code, kind, param


def plan_for(
    body: Mapping[str, Any],
    messages: list[Message],
    reads: frozenset[str],
    *,
    family: Family | None = None,
    enable: bool | None = None,
    effort: str | None = None,
    preserve: bool | None = None,
    budget: int | None = None,
) -> Plan:
    """Return the plan for a body that gave these wishes to the chat template.

    Args:
        body: The request.
        messages: Its messages as the template gets them.
        reads: The fields that the server looks at.
        family: How the model thinks; by default what its name says.
        enable: The template's ``enable_thinking``, None where it is undefined.
        effort: The template's ``reasoning_effort``.
        preserve: The template's ``preserve_thinking``.
        budget: The limit on thinking tokens that is enforced.
    """
    family = family or family_of(body["model"])
    on = family.default if enable is None else enable
    thinks = family.thinks == "always" or (family.thinks == "switch" and on)
    had, kept = reasoning_in_template(messages, preserve=family.preserves if preserve is None else preserve)
    read = {name: value for name, value in body.items() if name in reads and value is not None}
    choice = read.get("tool_choice")
    tools = [] if choice == "none" else read.get("tools") or []
    stop = read.get("stop") or ()
    seen = Seen(
        enable_thinking=enable,
        effort=effort,
        preserve_thinking=preserve,
        budget=budget if thinks else None,
        reasoning=tuple(had),
        kept=tuple(kept),
        sampling={name: read[name] for name in SAMPLING if name in read},
        messages=messages,
        tools=tuple(tool["function"]["name"] for tool in tools),
    )
    return Plan(
        thinks=thinks,
        seen=seen,
        tools=tools,
        forced=forced(choice) if tools else None,
        schema=schema_of(read),
        limit=read.get("max_completion_tokens", read.get("max_tokens")),
        n=read.get("n", 1),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        dropped=tuple(sorted(set(body) - reads)),
    )


def check_effort(plan: Plan, family: Family, effort: object) -> None:
    """Raise what a server makes of a chat template that refuses an effort.

    Raises:
        Refusal: The template knows levels, and not this one.
    """
    if plan.thinks and family.efforts and effort not in (None, "none", *family.efforts):
        raise Refusal(UNVERIFIED_EFFORT)


def forced(choice: Any) -> str | None:
    """Return the tool that ``tool_choice`` forces, ``"*"`` for any."""
    if isinstance(choice, dict):
        return str(choice["function"]["name"])
    return "*" if choice == "required" else None


def schema_of(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the schema that ``response_format`` holds the answer to, ``{}`` for any object."""
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        return dict(wanted.get("json_schema", {}).get("schema") or {})
    return {} if wanted.get("type") == "json_object" else None


def template_kwargs(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of ``chat_template_kwargs``."""
    return dict(body.get("chat_template_kwargs") or {})


def without_reasoning(message: Message, *names: str) -> Message:
    """Return a copy of a message without these fields."""
    return {key: value for key, value in message.items() if key not in names}


def cut(text: str, chance: Random) -> Iterator[str]:
    """Cut a text at random places into pieces of one to six characters."""
    while text:
        size = chance.randint(1, 6)
        yield text[:size]
        text = text[size:]
