"""Messages and tools on the wire, as chat servers and their templates take them. Pure functions over data."""

from collections.abc import Mapping, Sequence
from typing import Any

from qwen3_core.chat.paths import get
from qwen3_core.families import model_family
from qwen3_core.thinking import DASHSCOPE, Dialect

_PLAIN_TEXT = {"type", "text", "id", "index", "annotations"}  # the fields of a block that says no more than its text


def flatten_content(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message whose content is a string where that loses nothing.

    Chat templates of text models fail on a missing content and on lists; reasoning blocks are no request content.
    Blocks that say more than their text, such as ``cache_control``, stay.
    """
    content = message.get("content")
    if content is None:
        return {**message, "content": ""}
    if not isinstance(content, list):
        return message
    blocks = [block for block in content if not (isinstance(block, dict) and block.get("type") == "reasoning")]
    if not all(isinstance(block, str) or ("text" in block and set(block) <= _PLAIN_TEXT) for block in blocks):
        return {**message, "content": blocks}
    return {**message, "content": "".join(block if isinstance(block, str) else block["text"] for block in blocks)}


def pass_reasoning_back(
    dialect: Dialect,
    model: str,
    messages: Sequence[dict[str, Any]],
    reasoning: Sequence[str],
    body: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return the messages with the reasoning that the model is to see again, where the server reads it.

    Qwen's chat templates keep what was thought since the last question, that is inside a tool loop, and drop the
    rest; with ``preserve_thinking`` (Qwen3.6, on by default in 3.8) they keep all of it. What they would drop is not
    sent.

    Args:
        dialect: The server's dialect.
        model: The model of this call.
        messages: The messages on the wire.
        reasoning: The reasoning of each, ``""`` where there is none.
        body: The fields of the server; whether thinking is preserved is read from them.
    """
    if not dialect.reasoning_in:
        return list(messages)
    family = model_family(model)
    wanted = get(body, dialect.preserve)
    preserved = wanted if isinstance(wanted, bool) else bool(family and family.preserves)
    questions = [place for place, message in enumerate(messages) if message.get("role") == "user"]
    first = 0 if preserved or not questions else questions[-1]
    return [
        {**message, **dict.fromkeys(dialect.reasoning_in, thought)}
        if thought and place >= first and message.get("role") == "assistant"
        else message
        for place, (message, thought) in enumerate(zip(messages, reasoning, strict=True))
    ]


def fit_request(dialect: Dialect, model: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request whose tool choice and output format are said in the way that the server understands.

    A tool's name, where the server knows none, becomes "required" with that tool alone. "required", where a server
    cannot force a tool, becomes "auto"; DashScope understands it as the name of the only tool. "none" leaves the tools
    out: vLLM, llama.cpp and ``transformers serve`` show them to the model all the same, and it calls them.

    Raises:
        ValueError: ``tool_choice`` names a tool that is not among the tools, and the server would not notice.
    """
    fitted = dict(payload)
    tools, choice = fitted.get("tools") or [], fitted.pop("tool_choice", None)
    if not tools or choice == "none":  # vLLM and SGLang answer 400 to an empty list, and to a choice among no tools
        fitted.pop("tools", None)
        fitted.pop("parallel_tool_calls", None)
    elif choice is not None:
        fitted["tools"], fitted["tool_choice"] = _fit_choice(dialect, model, tools, choice)
    if not dialect.json_object and fitted.get("response_format") == {"type": "json_object"}:
        anything = {"name": "json_object", "schema": {"type": "object"}}
        fitted["response_format"] = {"type": "json_schema", "json_schema": anything}
    return fitted


def is_constrained(dialect: Dialect, payload: Mapping[str, Any]) -> bool:
    """Tell whether a request forces a tool or an output format that the server refuses while the model thinks."""
    forced = payload.get("tool_choice") not in (None, "auto", "none")
    output = payload.get("response_format")
    structured = output is not None and not (isinstance(output, Mapping) and output.get("type") == "text")
    family = model_family(payload["model"])
    refused = dialect.refuses_structured_output and not (family and family.formats_while_thinking)
    return (forced and dialect.refuses_forced_tools) or (structured and refused)


def takes_json_schema(dialect: Dialect, model: str) -> bool:
    """Tell whether a server holds this model to a JSON schema in ``response_format``."""
    family = model_family(model)
    return dialect.json_schema or (dialect is DASHSCOPE and family is not None and family.json_schema)


def _fit_choice(dialect: Dialect, model: str, tools: Sequence[Any], choice: Any) -> tuple[list[Any], Any]:
    """Return the tools to offer and the choice among them as the server understands both."""
    family = model_family(model)
    always = family is not None and family.thinks == "always"
    choices = frozenset() if always and dialect.refuses_forced_tools else dialect.tool_choices
    offered = list(tools)
    if isinstance(choice, Mapping) and "named" not in choices:
        offered, choice = _named_tools(tools, choice), "required"
    if choice == "required" and dialect is DASHSCOPE and choices and len(offered) == 1 and _name_of(offered[0]):
        return offered, {"type": "function", "function": {"name": _name_of(offered[0])}}
    if choice == "required" and "required" not in choices:
        choice = "auto"
    return offered, choice


def _named_tools(tools: Sequence[Any], choice: Mapping[str, Any]) -> list[Any]:
    """Return the tools that a choice means."""
    name = _name_of(choice)
    found = [tool for tool in tools if name and _name_of(tool) == name]
    if not found:
        message = f"tool_choice names {name or dict(choice)!r}, and the tools are {[_name_of(tool) for tool in tools]}."
        raise ValueError(message)
    return found


def _name_of(tool: Mapping[str, Any]) -> str | None:
    return (tool.get("function") or {}).get("name")
