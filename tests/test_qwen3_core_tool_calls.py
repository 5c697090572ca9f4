"""Tool calls in both of Qwen's formats, whole and broken."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chat_conversations import function
from chat_template import QWEN3_STYLE_TEMPLATE
from fitted_chat import HELLO, XML_STYLE_TEMPLATE
from hypothesis import given
from hypothesis import strategies as st
from test_qwen3_core_reply import PLAIN
from transformers.utils.chat_template_utils import render_jinja_template

from qwen3_core.local_chat.tool_calls import read_call


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"name": "f", "arguments": {"x": "a\nb"}}', ("f", '{"x": "a\\nb"}')),
        ('{"name": "f", "arguments": "{\\"x\\": 1}"}', ("f", '{"x": 1}')),
        ('{"name": "f"}', ("f", "{}")),
        ('{"name": "f", "arguments": null}', ("f", "{}")),
        ('{"name": "größe", "arguments": {"x": "ü"}}', ("größe", '{"x": "ü"}')),
        ('{"name": "f", "arguments": {"x": 1}', ("f", '{"x": 1}')),  # its last brace is missing
        ('{"name": "f", "arguments": {"x": "cu', ("f", '{"x": "cu')),
        ('{"name": "f", "arguments": [1]}', ("f", "[1]")),
        ('{"nam', None),
        ("", None),
        ('["f"]', None),
        ("<function=f>\n</function>", ("f", "{}")),
        ("<function=f>\n<parameter=x>\n1\n2\n</parameter>\n</function>", ("f", '{"x": "1\\n2"}')),
        ("<function=f>\n<parameter=x>\na </parameter> b</parameter>\n</function>", ("f", '{"x": "a </parameter> b"}')),
        ("<function=f>\n<parameter=x>\n1", ("f", "<parameter=x>\n1")),
        ("<function=f>\n<parameter=x>\n1\n</parameter>", ("f", "<parameter=x>\n1\n</parameter>")),
        ("<function=", None),
    ],
)  # fmt: skip
def test_calls_are_read_as_far_as_they_can_be(body: str, expected: Any) -> None:
    call = read_call(f"\n{body}\n" if body else body, [])
    assert (call and (call.name, call.arguments)) == expected


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        ({"type": "string"}, "5", "5"),
        ({"type": "integer"}, "5", 5),
        ({"type": "number"}, "0.5", 0.5),
        ({"type": "boolean"}, "True", True),
        ({"type": "boolean"}, "false", False),
        ({"type": "array", "items": {"type": "integer"}}, "[1, 2]", [1, 2]),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "None", None),
        ({"type": ["string", "null"]}, "null", None),
        ({"$ref": "#/$defs/Address"}, '{"street": "x"}', {"street": "x"}),
        ({"enum": ["a", "b"]}, "a", "a"),
        ({"type": "integer"}, "many", "many"),
        ({}, "5", "5"),
    ],
)
def test_the_schema_says_what_a_value_is(schema: dict[str, Any], text: str, expected: object) -> None:
    body = f"<function=f>\n<parameter=x>\n{text}\n</parameter>\n</function>"
    call = read_call(body, [function("f", "", x=schema)])
    assert call
    assert json.loads(call.arguments) == {"x": expected}


ARGUMENTS = st.dictionaries(
    st.text("abc", min_size=1), st.one_of(PLAIN, st.integers(), st.none(), st.lists(PLAIN)), max_size=3
)


@given(arguments=ARGUMENTS)
def test_calls_as_the_templates_show_them_are_read_back(arguments: dict[str, Any]) -> None:
    call = {"function": {"name": "f", "arguments": arguments}}
    schemas = {key: {"type": "string" if isinstance(value, str) else "null"} for key, value in arguments.items()}
    tools = [function("f", "", **schemas)]
    messages: list[Any] = [*HELLO, {"role": "assistant", "content": "", "tool_calls": [call]}]
    for source in (QWEN3_STYLE_TEMPLATE, XML_STYLE_TEMPLATE):
        shown = render_jinja_template([messages], chat_template=source)[0][0]
        found = read_call(shown.split("<tool_call>")[1].split("</tool_call>")[0], tools)
        assert found
        assert json.loads(found.arguments) == arguments
