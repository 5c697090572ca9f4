"""Tool calls as Qwen writes them: Hermes JSON (Qwen3) and elements (Qwen3-Coder, Qwen3.5 and later). Pure functions.

Sources: the chat templates of Qwen3-8B ("return a json object with function name and arguments within <tool_call>
tags") and of Qwen3.5 to 3.8 (``<function=name>``, ``<parameter=name>`` with the value on lines of its own).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from qwen3_core.local_chat.template import ToolFormat

_HERMES_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(.*)', re.DOTALL)
_FUNCTION = re.compile(r"\s*<function=([^>\n]+)>(.*)", re.DOTALL)
# A value may itself talk of </parameter>: it ends where another parameter or the end follows.
_PARAMETER = re.compile(r"\s*<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>(?=\s*(?:<parameter=|\Z))", re.DOTALL)
_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}  # later templates show scalars as Python does


@dataclass(frozen=True)
class ToolCall:
    """A call that the model wrote.

    Attributes:
        id: A name for this call, unique everywhere.
        name: The tool's name, which need not exist.
        arguments: A JSON object as text; if the model wrote none, what it wrote instead.
    """

    id: str
    name: str
    arguments: str


def begin_call(name: str, tool_format: ToolFormat) -> str:
    """Return what a call of a tool begins with, behind ``<tool_call>``.

    It ends where the model's own tokens can go on: the space before a JSON object belongs to the object's first token.
    """
    if tool_format == "xml":
        return f"\n<function={name}>\n"
    return f'\n{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments":'


def read_call(body: str, tools: Sequence[Mapping[str, Any]]) -> ToolCall | None:
    """Read what stands between ``<tool_call>`` and ``</tool_call>``, or as much of it as there is.

    Args:
        body: The text, in either format.
        tools: The definitions, whose schemas say what the untyped values of elements are.

    Returns:
        The call, or None if not even a name can be made out.
    """
    found = _read_elements(body, tools) if body.lstrip().startswith("<function=") else _read_hermes(body)
    return ToolCall(f"call_{uuid4().hex}", *found) if found else None


def tool_name(tool: Mapping[str, Any]) -> str:
    """Return the name in a tool's definition."""
    return str(tool["function"]["name"])


def _read_hermes(body: str) -> tuple[str, str] | None:
    whole = _json(body)
    if isinstance(whole, dict) and isinstance(whole.get("name"), str):
        return whole["name"], _as_text(whole.get("arguments") or {})
    head = _HERMES_HEAD.match(body)
    name = _json(head[1]) if head else None
    if head is None or not isinstance(name, str):
        return None
    # Without its last brace the call is broken, but its arguments may be whole.
    arguments = _json(head[2])
    return name, _as_text(arguments) if isinstance(arguments, dict) else head[2].strip()


def _read_elements(body: str, tools: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    function = _FUNCTION.match(body)
    if function is None:
        return None
    name, rest = function[1].strip(), function[2].strip()
    schemas = _properties(name, tools)
    inside = rest.removesuffix("</function>")
    arguments: dict[str, Any] = {}
    place = 0
    while parameter := _PARAMETER.match(inside, place):
        key = parameter[1].strip()
        arguments[key] = _typed(parameter[2], schemas.get(key, {}))
        place = parameter.end()
    if inside == rest or inside[place:].strip():
        return name, rest
    return name, json.dumps(arguments, ensure_ascii=False)


def _properties(name: str, tools: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    parameters = next((tool["function"].get("parameters") for tool in tools if tool_name(tool) == name), None) or {}
    properties: Mapping[str, Any] = parameters.get("properties") or {}
    return properties


def _typed(text: str, schema: Mapping[str, Any]) -> Any:
    """Return a value as its schema wants it; text where that cannot be had, for the tool to refuse."""
    kinds = _kinds(schema)
    if "string" in kinds:
        return None if "null" in kinds and text in ("null", "None") else text
    if not kinds and text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        return json.loads(_PYTHON_WORDS.get(text.strip(), text))
    except ValueError:
        return text


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    """Return the JSON types that a schema allows; none are known of a reference."""
    kind = schema.get("type")
    kinds = {kind} if isinstance(kind, str) else set(kind or ())
    return kinds.union(*(_kinds(other) for word in ("anyOf", "oneOf") for other in schema.get(word, ())))


def _json(text: str) -> Any:
    try:
        return json.loads(text, strict=False)  # models write line breaks into strings
    except ValueError:
        return None


def _as_text(arguments: Any) -> str:
    """Return arguments as text; some models write the object as a string already."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
