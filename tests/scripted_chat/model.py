"""The model behind a scripted server: what it thinks, says and calls, within what the server holds it to.

There is no model, of course. A `Reply` is what it would say unconstrained; `compose` bends that to a plan as a grammar,
a budget, a token limit and stop sequences would.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Message = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What the model would say, were it free.

    Attributes:
        content: The answer, without tags.
        reasoning: What it thinks first, where it thinks.
        tool_calls: Calls, each ``{"name": ..., "args": {...}}``.
    """

    content: str = ""
    reasoning: str = ""
    tool_calls: Sequence[Mapping[str, Any]] = ()


Brain = Callable[[list[Message], list[dict[str, Any]], dict[str, Any]], Reply]
"""A model that answers by the messages, the tools that it may call, and the request's body."""


@dataclass(frozen=True)
class Family:
    """How a generation of Qwen3 thinks.

    Attributes:
        thinks: By "switch", "always" or "never".
        default: Whether it thinks unless told otherwise.
        prefilled: Whether the template writes the opening tag, so that the text has only the closing one.
        preserves: Whether reasoning of earlier turns is kept by default.
        efforts: The levels that its template knows.
        sees: Whether it reads images.
        later: Whether it is of the generations that DashScope lets think unstreamed.
    """

    thinks: Literal["switch", "always", "never"]
    default: bool = True
    prefilled: bool = False
    preserves: bool = False
    efforts: tuple[str, ...] = ()
    sees: bool = False
    later: bool = False


def family_of(model: str) -> Family:
    """Return what a model's name says; the first rule that fits wins.

    Sources: the model cards (see the fact sheet's chat family section); for DashScope's names its *deep-thinking* page.
    """
    name = model.rsplit("/", 1)[-1].lower()
    sees = "-vl-" in name or name.startswith("qvq")
    if "-thinking" in name or name.startswith(("qwq", "qvq")):
        return Family("always", prefilled=True, sees=sees)
    if "-instruct" in name or name.startswith(("qwen2", "qwen-max", "qwen3-coder")):
        return Family("never", default=False, sees=sees)
    if re.match(r"qwen-(plus|flash|turbo)|qwen3-max|qwen3-vl-(plus|flash)", name):
        return Family("switch", default=False, sees=sees)
    if re.match(r"qwen3\.\d", name):
        newest = name.startswith("qwen3.8")
        efforts = ("low", "medium", "xhigh") if newest else ()
        return Family("switch", prefilled=True, preserves=newest, efforts=efforts, sees=True, later=True)
    return Family("switch", sees=sees)


@dataclass(frozen=True)
class Seen:
    """What reached the chat template and the sampler: the test of whether a client's wishes arrived.

    Attributes:
        enable_thinking: The template's variable; None where it is undefined.
        effort: The template's ``reasoning_effort``.
        preserve_thinking: The template's variable.
        budget: The limit on thinking tokens that is enforced.
        reasoning: The template's ``reasoning_content`` of each assistant message, None where it had none.
        kept: The reasoning that the template renders: of all turns where it is preserved, else after the last question.
        sampling: The sampling fields that are obeyed.
        messages: The messages as the template gets them.
        tools: The names of the tools in the prompt.
    """

    enable_thinking: bool | None = None
    effort: str | None = None
    preserve_thinking: bool | None = None
    budget: int | None = None
    reasoning: tuple[str | None, ...] = ()
    kept: tuple[str, ...] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict)
    messages: Sequence[Message] = ()
    tools: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What a server will have the model do with a request that it accepts.

    Attributes:
        thinks: Whether the model thinks.
        seen: What template and sampler were given.
        tools: The tools that the model may call.
        forced: The tool that it has to call, ``"*"`` for any, None for none.
        schema: The JSON schema that its answer is held to, ``{}`` for any object, None for free text.
        separate: Whether the server splits reasoning from content; else it stays there in tags.
        limit: The most tokens.
        limit_spares_reasoning: Whether the limit counts the answer alone.
        parallel: Whether there may be several calls in one answer.
        n: How many answers.
        stop: The stop sequences.
        dropped: The fields of the body that the server does not look at.
        calls_as_text: How calls stay in the content where nothing parses them: "hermes" as Qwen3 writes them, "array"
            as a grammar for forced calls does.
    """

    thinks: bool
    seen: Seen
    tools: Sequence[dict[str, Any]] = ()
    forced: str | None = None
    schema: Mapping[str, Any] | None = None
    separate: bool = True
    limit: int | None = None
    limit_spares_reasoning: bool = False
    parallel: bool = True
    n: int = 1
    stop: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    calls_as_text: Literal["", "hermes", "array"] = ""


@dataclass(frozen=True)
class Said:
    """What the model said in the end; ``cut`` tells where ``length`` stopped it: "reasoning", "content" or nowhere."""

    reasoning: str
    content: str
    calls: Sequence[Mapping[str, Any]]
    cut: str = ""

    @property
    def finish(self) -> str:
        """``finish_reason`` as most servers give it."""
        return "length" if self.cut else "tool_calls" if self.calls else "stop"


def compose(plan: Plan, reply: Reply) -> Said:
    """Bend a reply to a plan."""
    reasoning = reply.reasoning if plan.thinks else ""
    if plan.seen.budget is not None:
        reasoning = "".join(tokens(reasoning)[: plan.seen.budget])
    calls = _calls(plan, reply)
    content = "" if plan.forced and calls else reply.content
    if plan.calls_as_text and calls:
        content, calls = content + _as_text(calls, plan.calls_as_text), []
    if plan.schema is not None and not calls and not _obeys(content, plan.schema):
        content = json.dumps(fill(plan.schema), ensure_ascii=False)
    for stop in plan.stop:
        content = content.partition(stop)[0]
    if plan.limit is None:
        return Said(reasoning, content, calls)
    left = plan.limit - (0 if plan.limit_spares_reasoning else len(tokens(reasoning)))
    if left <= 0:
        return Said("".join(tokens(reasoning)[: plan.limit]), "", (), cut="reasoning")
    if len(tokens(content)) > left:
        return Said(reasoning, "".join(tokens(content)[:left]), (), cut="content")
    return Said(reasoning, content, calls)


def _calls(plan: Plan, reply: Reply) -> list[Mapping[str, Any]]:
    allowed = {tool["function"]["name"]: tool["function"] for tool in plan.tools}
    if plan.forced not in (None, "*"):
        allowed = {name: tool for name, tool in allowed.items() if name == plan.forced}
    calls = [call for call in reply.tool_calls if call["name"] in allowed]
    if plan.forced and not calls:
        name, tool = next(iter(allowed.items()))
        calls = [{"name": name, "args": fill(tool.get("parameters") or {})}]
    return calls if plan.parallel else calls[:1]


def _as_text(calls: Sequence[Mapping[str, Any]], how: str) -> str:
    if how == "array":
        return json.dumps([{"name": call["name"], "parameters": call["args"]} for call in calls], ensure_ascii=False)
    written = ({"name": call["name"], "arguments": call["args"]} for call in calls)
    return "\n".join(f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>" for call in written)


def _obeys(content: str, schema: Mapping[str, Any]) -> bool:
    try:
        value = json.loads(content)
    except ValueError:
        return False
    return isinstance(value, dict) and set(schema.get("required", ())) <= set(value)


def fill(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> Any:
    """Return a value that a schema allows: what a grammar gets out of a model that has nothing to say."""
    root = root or schema
    if "$ref" in schema:
        found: Any = root
        for key in schema["$ref"].removeprefix("#/").split("/"):
            found = found[key]
        return fill(found, root)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return fill(schema[key][0], root)
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if kind == "object":
        return {name: fill(each, root) for name, each in schema.get("properties", {}).items()}
    simple: dict[str, Any] = {"integer": 0, "number": 0.5, "boolean": True, "null": None, "array": []}
    return simple.get(kind, schema.get("description", "something"))


def tokens(text: str) -> list[str]:
    """Cut a text into words with the space before them; the servers here count these as tokens."""
    return re.findall(r"\s*\S+|\s+$", text)


def text_of(content: Any) -> str:
    """Return a message's content as text."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in content)
    return content or ""


def questions(messages: Sequence[Message]) -> Iterator[int]:
    """Yield the places of what the user said; a tool's result in a user turn is none (Qwen3's chat template)."""
    for place, message in enumerate(messages):
        text = text_of(message.get("content"))
        if message.get("role") == "user" and not text.startswith("<tool_response>"):
            yield place


def reasoning_in_template(messages: Sequence[Message], *, preserve: bool) -> tuple[list[str | None], list[str]]:
    """Return the ``reasoning_content`` of each assistant message, and what Qwen3's template renders of it.

    Where the field is missing the template looks for ``</think>`` in the content. It drops reasoning before the last
    question unless it is preserved.
    """
    last = max(questions(messages), default=-1)
    had: list[str | None] = []
    kept: list[str] = []
    for place, message in enumerate(messages):
        if message.get("role") != "assistant":
            continue
        reasoning, content = message.get("reasoning_content"), text_of(message.get("content"))
        if not isinstance(reasoning, str) and "</think>" in content:
            reasoning = content.partition("</think>")[0].rpartition("<think>")[2].strip("\n")
        had.append(reasoning)
        if reasoning and (preserve or place > last):
            kept.append(reasoning)
    return had, kept
