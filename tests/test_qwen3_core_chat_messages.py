"""Messages on the wire: flat content, reasoning that goes back, and what a forced tool is called."""

import copy
from typing import Any

import pytest

from qwen3_core.chat.messages import (
    fit_request,
    flatten_content,
    is_constrained,
    pass_reasoning_back,
    takes_json_schema,
)
from qwen3_core.thinking import (
    CHAT_TEMPLATE_KWARGS,
    DASHSCOPE,
    DIALECTS,
    LLAMA_CPP,
    OLLAMA,
    OPENAI,
    SGLANG,
    TRANSFORMERS,
    VLLM,
    Dialect,
)

HYBRID, SIX, EIGHT = "Qwen/Qwen3-8B", "Qwen/Qwen3.6-27B", "Qwen/Qwen3.8-27B"


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("as it is", "as it is"),
        (None, ""),
        ([], ""),
        ([text("a"), text("b", id="1", index=0, annotations=[])], "ab"),
        (["a", text("b")], "ab"),
        ([{"type": "reasoning", "reasoning": "why"}, text("so")], "so"),
        ([{"type": "reasoning", "reasoning": "why"}], ""),
    ],
)
def test_content_is_a_string_where_that_loses_nothing(content: Any, expected: str) -> None:
    message = {"role": "assistant", "content": content, "name": "x"}
    before = copy.deepcopy(message)
    assert flatten_content(message) == {"role": "assistant", "content": expected, "name": "x"}
    assert message == before


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image_url", "image_url": {"url": "data:"}},
        text("cached", cache_control={"type": "ephemeral"}),
        {"type": "file", "id": "1"},
    ],
)
def test_blocks_that_say_more_than_their_text_stay(block: Any) -> None:
    message = {"role": "user", "content": [{"type": "reasoning"}, text("a"), block]}
    assert flatten_content(message)["content"] == [text("a"), block]


# --- reasoning

CALL = {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}
HISTORY: list[dict[str, Any]] = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "first"},
    {"role": "assistant", "content": "one"},
    {"role": "user", "content": "second"},
    CALL,
    {"role": "tool", "content": "result", "tool_call_id": "1"},
    {**CALL, "content": "more"},
    {"role": "tool", "content": "result", "tool_call_id": "1"},
]
THOUGHTS = ["", "", "old", "", "loop", "", "again", ""]
IN_THE_LOOP, EVERYWHERE = {4: "loop", 6: "again"}, {2: "old", 4: "loop", 6: "again"}


def kwargs(**fields: Any) -> dict[str, Any]:
    return {"chat_template_kwargs": fields}


@pytest.mark.parametrize(
    ("dialect", "model", "body", "fields", "expected"),
    [
        (DASHSCOPE, "qwen3-8b", {}, ["reasoning_content"], IN_THE_LOOP),
        (DASHSCOPE, "qwen3.6-plus", {}, ["reasoning_content"], IN_THE_LOOP),
        (DASHSCOPE, "qwen3.6-plus", {"preserve_thinking": True}, ["reasoning_content"], EVERYWHERE),
        (DASHSCOPE, "qwen3.8-max", {}, ["reasoning_content"], EVERYWHERE),
        (DASHSCOPE, "qwen3.8-max", {"preserve_thinking": False}, ["reasoning_content"], IN_THE_LOOP),
        (VLLM, HYBRID, {}, ["reasoning", "reasoning_content"], IN_THE_LOOP),
        (VLLM, SIX, kwargs(preserve_thinking=True), ["reasoning", "reasoning_content"], EVERYWHERE),
        (VLLM, EIGHT, {}, ["reasoning", "reasoning_content"], EVERYWHERE),
        (VLLM, EIGHT, kwargs(preserve_thinking=False), ["reasoning", "reasoning_content"], IN_THE_LOOP),
        (VLLM, "my-own-model", {}, ["reasoning", "reasoning_content"], IN_THE_LOOP),
        (SGLANG, HYBRID, {}, ["reasoning_content"], IN_THE_LOOP),
        (LLAMA_CPP, EIGHT, {}, ["reasoning_content"], EVERYWHERE),
        (CHAT_TEMPLATE_KWARGS, HYBRID, {}, ["reasoning", "reasoning_content"], IN_THE_LOOP),
        (OLLAMA, "qwen3:8b", {}, ["reasoning"], IN_THE_LOOP),
        (OLLAMA, "qwen3.8:27b", {}, ["reasoning"], EVERYWHERE),
        (TRANSFORMERS, EIGHT, {}, [], {}),
        (OPENAI, HYBRID, {}, [], {}),
    ],
)
def test_which_reasoning_goes_back_and_where(dialect: Any, model: Any, body: Any, fields: Any, expected: Any) -> None:
    before = copy.deepcopy(HISTORY)
    sent = pass_reasoning_back(dialect, model, HISTORY, THOUGHTS, body)
    assert sent == [
        {**message, **dict.fromkeys(fields, expected[place])} if place in expected else message
        for place, message in enumerate(HISTORY)
    ]
    assert before == HISTORY


def test_without_a_question_all_of_it_is_the_loop() -> None:
    sent = pass_reasoning_back(SGLANG, HYBRID, [CALL], ["why"], {})
    assert sent == [{**CALL, "reasoning_content": "why"}]


def test_only_an_assistant_thinks() -> None:
    asked = [{"role": "user", "content": "a"}]
    assert pass_reasoning_back(SGLANG, EIGHT, asked, ["of the user"], {}) == asked


def test_messages_and_reasoning_go_in_pairs() -> None:
    with pytest.raises(ValueError, match="shorter"):
        pass_reasoning_back(SGLANG, HYBRID, HISTORY, ["too few"], {})


# --- tools and formats; test_qwen3_core_dialects.py has a table of them for each server

TOOLS = [{"type": "function", "function": {"name": name}} for name in ("add", "sub")]
NAMED = {"type": "function", "function": {"name": "add"}}


@pytest.mark.parametrize("dialect", [*DIALECTS.values(), CHAT_TEMPLATE_KWARGS], ids=lambda dialect: dialect.server)
def test_a_request_is_fitted_without_changing_it(dialect: Dialect) -> None:
    for choice in ("auto", "none", "required", NAMED, None):
        payload = {"tools": TOOLS, "tool_choice": choice, "response_format": {"type": "json_object"}, "seed": 1}
        before = copy.deepcopy(payload)
        fitted = fit_request(dialect, HYBRID, payload)
        assert payload == before
        assert fitted["seed"] == 1
        assert fit_request(dialect, HYBRID, fitted) == fitted
        assert ("tool_choice" in fitted) is (choice not in (None, "none"))
        assert ("tools" in fitted) is (choice != "none")


@pytest.mark.parametrize("tools", [None, []])
def test_no_tools_are_no_field(tools: Any) -> None:
    payload = {"tools": tools, "tool_choice": "required", "parallel_tool_calls": False, "seed": 1}
    assert fit_request(VLLM, HYBRID, payload) == {"seed": 1}


@pytest.mark.parametrize("choice", [{"type": "function", "function": {"name": "mul"}}, {"type": "allowed_tools"}])
def test_a_tool_that_is_not_there_is_refused_where_the_server_would_not_notice(choice: Any) -> None:
    with pytest.raises(ValueError, match=r"tool_choice names .*, and the tools are \['add', 'sub'\]"):
        fit_request(LLAMA_CPP, HYBRID, {"tools": TOOLS, "tool_choice": choice})
    assert fit_request(VLLM, HYBRID, {"tools": TOOLS, "tool_choice": choice})["tool_choice"] == choice


def test_tools_of_another_kind_are_left_to_the_server() -> None:
    search = {"type": "web_search"}
    assert fit_request(DASHSCOPE, HYBRID, {"tools": [search], "tool_choice": "required"}) == {
        "tools": [search],
        "tool_choice": "required",
    }


@pytest.mark.parametrize(
    ("dialect", "model", "arguments", "expected"),
    [
        (DASHSCOPE, "qwen3-8b", {}, False),
        (DASHSCOPE, "qwen3-8b", {"tool_choice": "auto"}, False),
        (DASHSCOPE, "qwen3-8b", {"tool_choice": "none"}, False),
        (DASHSCOPE, "qwen3-8b", {"tool_choice": "required"}, True),
        (DASHSCOPE, "qwen3.8-max", {"tool_choice": NAMED}, True),
        (DASHSCOPE, "qwen3-8b", {"response_format": {"type": "json_object"}}, True),
        (DASHSCOPE, "qwen3-8b", {"response_format": {"type": "text"}}, False),
        (DASHSCOPE, "qwen3-8b", {"response_format": dict}, True),  # a class, which the SDK makes a schema of
        (DASHSCOPE, "qwen3.7-max", {"response_format": {"type": "json_schema"}}, False),
        (DASHSCOPE, "my-own-model", {"response_format": {"type": "json_schema"}}, True),
        (VLLM, HYBRID, {"tool_choice": "required", "response_format": {"type": "json_schema"}}, False),
    ],
)
def test_what_a_server_refuses_beside_thinking(dialect: Any, model: Any, arguments: Any, expected: Any) -> None:
    assert is_constrained(dialect, {"model": model, **arguments}) is expected


@pytest.mark.parametrize(
    ("dialect", "model", "expected"),
    [
        *((dialect, HYBRID, dialect not in (DASHSCOPE, TRANSFORMERS)) for dialect in DIALECTS.values()),
        (DASHSCOPE, "qwen3.7-plus", True),
        (DASHSCOPE, "qwen3.7-flash", True),
        (DASHSCOPE, "qwen3.7-max-2026-05-20", True),
        (DASHSCOPE, "qwen3.8-max-0902", True),
        (DASHSCOPE, "qwen3.8-flash", True),
        (DASHSCOPE, "qwen3.8-27b", False),
        (DASHSCOPE, "qwen3.8-omni-flash", False),
        (DASHSCOPE, "qwen3.6-plus", False),
        (DASHSCOPE, "qwen-plus", False),
        (VLLM, "Qwen/Qwen3.8-27B", True),
        (TRANSFORMERS, "Qwen/Qwen3.8-27B", False),
    ],
)
def test_where_an_answer_is_held_to_a_json_schema(dialect: Dialect, model: str, expected: Any) -> None:
    assert takes_json_schema(dialect, model) is expected
