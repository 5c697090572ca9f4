"""One table for each dialect: what is wanted of a model, and the exact body that goes out for it."""

import logging
from typing import Any

import pytest

from qwen3_core.chat.body import wanted_body
from qwen3_core.chat.server import settle_payload
from qwen3_core.prompts import THINKING_STOP
from qwen3_core.thinking import CHAT_TEMPLATE_KWARGS, DIALECTS, Dialect, dialect_of

HYBRID, INSTRUCT, ALWAYS = "Qwen/Qwen3-8B", "Qwen/Qwen3-4B-Instruct-2507", "Qwen/Qwen3-4B-Thinking-2507"
SIX, EIGHT, EIGHT_ALWAYS = "Qwen/Qwen3.6-27B", "Qwen/Qwen3.8-27B", "Qwen/Qwen3.8-2.4T-A95B"
ADD: dict[str, Any] = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
SUB: dict[str, Any] = {"type": "function", "function": {"name": "sub", "parameters": {"type": "object"}}}
NAMED = {"type": "function", "function": {"name": "add"}}
ONE, BOTH = {"tools": [ADD]}, {"tools": [ADD, SUB]}
JSON = {"type": "json_object"}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}

Row = tuple[str, dict[str, Any], dict[str, Any], dict[str, Any] | str]
"""A model, what is wanted, OpenAI's arguments, and the body without model and messages, or what the refusal says."""


def asked(server: str, model: str, wanted: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the body that goes out for a call, without model and messages."""
    dialect = dialect_of(server, "http://127.0.0.1:9/v1")
    body = wanted_body(dialect, model, {}, {}, wanted)
    payload = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **arguments}
    sent = settle_payload(dialect, payload, body, [""], sampling=False, logger=logging.getLogger(__name__))
    assert sent.pop("model") == model
    assert sent.pop("messages") == payload["messages"]
    extra: dict[str, Any] = sent.pop("extra_body", {})
    return extra | sent  # the SDK merges them


def hold(server: str, row: Row) -> None:
    """Hold one row of a table against what goes out."""
    model, wanted, arguments, expected = row
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            asked(server, model, wanted, arguments)
    else:
        assert asked(server, model, wanted, arguments) == expected


def kwargs(**fields: Any) -> dict[str, Any]:
    return {"chat_template_kwargs": fields}


ON, OFF = {"enable_thinking": True}, {"enable_thinking": False}
STREAM = {"stream": True}


@pytest.mark.parametrize(
    "row",
    [
        # The open models think by default and may only in a stream, so a request that is none says False.
        (HYBRID, {}, STREAM, STREAM),
        (HYBRID, {}, {}, OFF),
        (HYBRID, ON, STREAM, {**STREAM, **ON}),
        (HYBRID, OFF, {}, OFF),
        (HYBRID, {"thinking_budget": 64}, STREAM, {**STREAM, "thinking_budget": 64}),
        (HYBRID, {**OFF, "thinking_budget": 64}, STREAM, {**STREAM, **OFF}),  # there is nothing to limit
        ("qwen-plus", {}, {}, {}),
        ("qwen-plus", ON, STREAM, {**STREAM, **ON}),
        ("qwen3.5-plus", {}, {}, {}),  # thinks unstreamed
        ("qwen3.5-plus", ON, {}, ON),
        (INSTRUCT, OFF, {}, OFF),
        (ALWAYS, {}, STREAM, STREAM),
        (INSTRUCT, ON, {}, "does not think; take a model that does"),
        (INSTRUCT, {"thinking_budget": 9}, {}, "does not think"),
        (ALWAYS, OFF, {}, "cannot stop thinking"),
        ("qwen3.8-2.4t-a95b", {"reasoning_effort": "none"}, {}, "cannot stop thinking"),
        ("qwen3.7-max-preview", OFF, {}, "cannot stop thinking"),
        ("qwen3.8-max", {"reasoning_effort": "high"}, {}, {"reasoning_effort": "xhigh"}),
        ("qwen3.8-max", {"reasoning_effort": "minimal"}, {}, {"reasoning_effort": "low"}),
        ("qwen3.8-max", {"reasoning_effort": "none"}, {}, OFF),
        ("qwen3.8-max", {**OFF, "reasoning_effort": "low"}, {}, OFF),
        ("qwen3.8-max", {"reasoning_effort": "low", "thinking_budget": 9}, {}, "or reasoning_effort, not both"),
        ("qwen3.8-max", {"reasoning_effort": "extreme"}, {}, "it has minimal, low, medium, high, xhigh, max"),
        (HYBRID, {"reasoning_effort": "low"}, {}, r"\(Qwen3\) has no reasoning_effort='low': leave it out"),
        (HYBRID, {**ON, "reasoning_effort": "none"}, {}, "say one"),
        ("qwen3.6-plus", {"preserve_thinking": True}, {}, {"preserve_thinking": True}),
        ("qwen3.8-max", {"preserve_thinking": False}, {}, {"preserve_thinking": False}),
        (HYBRID, {"preserve_thinking": True}, {}, "began with Qwen3.6"),
        # Forced tools are refused while thinking, and "required" is not understood for one tool.
        (HYBRID, ON, {**STREAM, **BOTH, "tool_choice": "auto"}, {**STREAM, **BOTH, "tool_choice": "auto", **ON}),
        (HYBRID, ON, {**STREAM, **ONE, "tool_choice": "required"}, {**STREAM, **ONE, "tool_choice": NAMED, **OFF}),
        (HYBRID, {}, {**BOTH, "tool_choice": NAMED}, {**BOTH, "tool_choice": NAMED, **OFF}),
        ("qwen3.8-max", {}, {**BOTH, "tool_choice": "required"}, {**BOTH, "tool_choice": "required", **OFF}),
        ("qwen-plus", {}, {**BOTH, "tool_choice": "required"}, {**BOTH, "tool_choice": "required"}),
        (ALWAYS, {}, {**STREAM, **BOTH, "tool_choice": NAMED}, {**STREAM, **ONE, "tool_choice": "auto"}),
        (ALWAYS, {}, {**STREAM, **BOTH, "tool_choice": "required"}, {**STREAM, **BOTH, "tool_choice": "auto"}),
        # So is an output format, up to Qwen3.6.
        (
            HYBRID,
            {**ON, "thinking_budget": 9},
            {**STREAM, "response_format": JSON},
            {**STREAM, "response_format": JSON, **OFF},
        ),
        ("qwen3.6-plus", {}, {"response_format": JSON}, {"response_format": JSON, **OFF}),
        ("qwen3.6-plus", {}, {"response_format": {"type": "text"}}, {"response_format": {"type": "text"}}),
        ("qwen3.7-plus", {}, {"response_format": SCHEMA}, {"response_format": SCHEMA}),
        ("qwen3.8-max", ON, {"response_format": SCHEMA}, {"response_format": SCHEMA, **ON}),
        ("qwen-plus", {}, {"response_format": JSON}, {"response_format": JSON}),
    ],
)
def test_dashscope(row: Row) -> None:
    hold("dashscope", row)


# What vLLM, SGLang, llama.cpp and the shared dialect write alike.
TEMPLATE_ROWS: list[Row] = [
    (HYBRID, {}, {}, {}),
    (HYBRID, ON, {}, kwargs(**ON)),
    (HYBRID, OFF, STREAM, {**STREAM, **kwargs(**OFF)}),
    (HYBRID, {"reasoning_effort": "none"}, {}, kwargs(**OFF)),
    ("my-own-model", {**ON, "reasoning_effort": "high"}, {}, kwargs(**ON, reasoning_effort="high")),
    (EIGHT, {"reasoning_effort": "high"}, {}, kwargs(reasoning_effort="xhigh")),
    (EIGHT, {**OFF, "reasoning_effort": "high"}, {}, kwargs(**OFF)),
    (EIGHT, {"preserve_thinking": False}, {}, kwargs(preserve_thinking=False)),
    (SIX, {**ON, "preserve_thinking": True}, {}, kwargs(**ON, preserve_thinking=True)),
    (SIX, {"reasoning_effort": "low"}, {}, "leave it out"),
    (HYBRID, {"preserve_thinking": True}, {}, "began with Qwen3.6"),
    (INSTRUCT, ON, {}, "does not think"),
    (ALWAYS, OFF, {}, "cannot stop thinking"),
    (EIGHT_ALWAYS, OFF, {}, "cannot stop thinking"),
    (HYBRID, ON, {**ONE, "tool_choice": "required"}, {**ONE, "tool_choice": "required", **kwargs(**ON)}),
    (HYBRID, ON, {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, kwargs(**ON)),
    (HYBRID, {}, {**ONE, "tool_choice": None}, ONE),
    (HYBRID, {}, {**BOTH, "tool_choice": "none", "parallel_tool_calls": False}, {}),
    (HYBRID, ON, {"response_format": SCHEMA}, {"response_format": SCHEMA, **kwargs(**ON)}),
    (HYBRID, ON, {"response_format": JSON}, {"response_format": JSON, **kwargs(**ON)}),
]


@pytest.mark.parametrize(
    "row",
    [
        *TEMPLATE_ROWS,
        (HYBRID, {"thinking_budget": 64}, {}, {"thinking_token_budget": 64}),
        (
            EIGHT,
            {"thinking_budget": 64, "reasoning_effort": "low"},
            {},
            {"thinking_token_budget": 64, **kwargs(reasoning_effort="low")},
        ),
        (HYBRID, {**OFF, "thinking_budget": 64}, {}, kwargs(**OFF)),
        (HYBRID, {}, {**BOTH, "tool_choice": NAMED}, {**BOTH, "tool_choice": NAMED}),
    ],
)
def test_vllm(row: Row) -> None:
    hold("vllm", row)


@pytest.mark.parametrize(
    "row",
    [
        *TEMPLATE_ROWS,
        (HYBRID, {"thinking_budget": 64}, {}, {"custom_params": {"thinking_budget": 64}}),
        (HYBRID, {**OFF, "thinking_budget": 64}, {}, kwargs(**OFF)),
        (HYBRID, {}, {**BOTH, "tool_choice": NAMED}, {**BOTH, "tool_choice": NAMED}),
    ],
)
def test_sglang(row: Row) -> None:
    hold("sglang", row)


@pytest.mark.parametrize(
    "row",
    [
        *TEMPLATE_ROWS,
        (
            HYBRID,
            {"thinking_budget": 64},
            {},
            {"thinking_budget_tokens": 64, "reasoning_budget_message": f"{THINKING_STOP}\n"},
        ),
        (HYBRID, {**OFF, "thinking_budget": 64}, {}, kwargs(**OFF)),
        # A name would silently become "auto".
        (HYBRID, {}, {**BOTH, "tool_choice": NAMED}, {**ONE, "tool_choice": "required"}),
        (HYBRID, {}, {"tools": [SUB], "tool_choice": NAMED}, r"tool_choice names 'add', and the tools are \['sub'\]"),
    ],
)
def test_llama_cpp(row: Row) -> None:
    hold("llama.cpp", row)


@pytest.mark.parametrize(
    "row",
    [
        *TEMPLATE_ROWS,
        (HYBRID, {"thinking_budget": 64}, {}, r"name yours.*\['dashscope', 'llama.cpp', 'sglang', 'vllm'\]"),
        (HYBRID, {}, {**BOTH, "tool_choice": NAMED}, {**ONE, "tool_choice": "required"}),
    ],
)
def test_auto(row: Row) -> None:
    hold("auto", row)


@pytest.mark.parametrize(
    "row",
    [
        (HYBRID, {}, {}, {}),
        (HYBRID, ON, {}, kwargs(**ON)),
        (HYBRID, OFF, STREAM, {**STREAM, **kwargs(**OFF)}),
        (EIGHT, {"reasoning_effort": "low"}, {}, kwargs(reasoning_effort="low")),
        (HYBRID, {"thinking_budget": 64}, {}, "cannot carry a thinking_budget"),
        (EIGHT, {"preserve_thinking": True}, {}, "cannot be set on server='transformers'"),
        (EIGHT, {"preserve_thinking": False}, {}, "cannot be set on server='transformers'"),
        (SIX, {"preserve_thinking": False}, {}, {}),  # as it is anyway
        # It forces nothing, so the tool is only the one on offer.
        (HYBRID, {}, {**BOTH, "tool_choice": NAMED}, {**ONE, "tool_choice": "auto"}),
        (HYBRID, {}, {**BOTH, "tool_choice": "required"}, {**BOTH, "tool_choice": "auto"}),
    ],
)
def test_transformers(row: Row) -> None:
    hold("transformers", row)


# Where the only switch is an effort. Nothing turns thinking on but leaving it out.
EFFORT_ROWS: list[Row] = [
    (HYBRID, {}, {}, {}),
    (HYBRID, ON, {}, {}),
    (HYBRID, OFF, {}, {"reasoning_effort": "none"}),
    (HYBRID, {"reasoning_effort": "none"}, {}, {"reasoning_effort": "none"}),
    (EIGHT, {"reasoning_effort": "medium"}, {}, {"reasoning_effort": "medium"}),
    (EIGHT, {**ON, "reasoning_effort": "medium"}, {}, {"reasoning_effort": "medium"}),
    (EIGHT, {**OFF, "reasoning_effort": "medium"}, {}, {"reasoning_effort": "none"}),
    ("my-own-model", {"reasoning_effort": "high"}, {}, {"reasoning_effort": "high"}),
    (HYBRID, {**ON, "reasoning_effort": "none"}, {}, "say one"),
    (HYBRID, {"reasoning_effort": "low"}, {}, "leave it out"),
    (HYBRID, {"thinking_budget": 64}, {}, "cannot carry a thinking_budget"),
    (EIGHT, {"preserve_thinking": False}, {}, "cannot be set"),
    (ALWAYS, OFF, {}, "cannot stop thinking"),
    (INSTRUCT, OFF, {}, {"reasoning_effort": "none"}),
]


@pytest.mark.parametrize(
    "row",
    [
        *EFFORT_ROWS,
        ("qwen3.5:0.8b", ON, {}, {}),  # routes.go turns it on whatever the template would do
        ("qwen3:8b", {}, {**BOTH, "tool_choice": NAMED}, {**ONE, "tool_choice": "auto"}),
        ("qwen3:8b", {}, {**ONE, "tool_choice": "required"}, {**ONE, "tool_choice": "auto"}),
        ("qwen3:8b", ON, {"response_format": SCHEMA}, {"response_format": SCHEMA}),
    ],
)
def test_ollama(row: Row) -> None:
    hold("ollama", row)


@pytest.mark.parametrize(
    "row",
    [
        *EFFORT_ROWS,
        ("qwen3.5-0.8b", ON, {}, "can turn thinking off only.*has it off by default"),
        (HYBRID, {}, {**BOTH, "tool_choice": NAMED}, {**ONE, "tool_choice": "required"}),
        (
            HYBRID,
            {},
            {"response_format": JSON},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "json_object", "schema": {"type": "object"}},
                }
            },
        ),
        (HYBRID, {}, {"response_format": SCHEMA}, {"response_format": SCHEMA}),
    ],
)
def test_lmstudio(row: Row) -> None:
    hold("lmstudio", row)


@pytest.mark.parametrize(
    "row",
    [
        *EFFORT_ROWS,
        ("qwen-plus", ON, {}, "name the server that runs it"),
        (HYBRID, {}, {**BOTH, "tool_choice": NAMED}, {**BOTH, "tool_choice": NAMED}),
        (HYBRID, {}, {**ONE, "tool_choice": "required"}, {**ONE, "tool_choice": "required"}),
        (HYBRID, {}, {"response_format": JSON}, {"response_format": JSON}),
    ],
)
def test_openai(row: Row) -> None:
    hold("openai", row)


@pytest.mark.parametrize(
    "row",
    [
        (HYBRID, {}, {}, {}),
        (HYBRID, ON, {}, ON),
        (HYBRID, OFF, STREAM, {**STREAM, **OFF}),
        (EIGHT, {"reasoning_effort": "max"}, {}, {"reasoning_effort": "xhigh"}),
        (EIGHT, {**OFF, "reasoning_effort": "max"}, {}, OFF),
        (EIGHT, {"preserve_thinking": False}, {}, kwargs(preserve_thinking=False)),
        (HYBRID, {"thinking_budget": 64}, {}, "cannot carry a thinking_budget"),
        (HYBRID, ON, {**BOTH, "tool_choice": NAMED}, {**BOTH, "tool_choice": NAMED, **ON}),
    ],
)
def test_xinference(row: Row) -> None:
    hold("xinference", row)


def test_every_dialect_has_a_table() -> None:
    assert {f"test_{name.replace('.', '_')}" for name in DIALECTS} <= set(globals())


@pytest.mark.parametrize("dialect", [*DIALECTS.values(), CHAT_TEMPLATE_KWARGS], ids=lambda dialect: dialect.server)
def test_the_default_of_every_server_is_an_empty_body(dialect: Dialect) -> None:
    assert wanted_body(dialect, "my-own-model", {}, {}, {}) == {}
