"""The tests' chat template against golden strings, and against the genuine one where that is at hand."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from chat_template import QWEN3_STYLE_TEMPLATE
from hypothesis import given
from hypothesis import strategies as st

GENUINE = os.environ.get("QWEN3_TOKENIZER_FOLDER")

USER_A, USER_C = {"role": "user", "content": "a"}, {"role": "user", "content": "c"}
EMPTY_THOUGHT = "<think>\n\n</think>\n\n"
CALL = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
TOOL = {"type": "function", "function": {"name": "f", "description": "größer <b> 'x'", "parameters": {}}}


def render(messages: list[dict[str, Any]], template: str = QWEN3_STYLE_TEMPLATE, **variables: Any) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    tools = variables.pop("tools", None)
    variables.setdefault("add_generation_prompt", True)
    rendered = render_jinja_template([messages], tools=tools, chat_template=template, **variables)[0][0]
    assert isinstance(rendered, str)
    return rendered


def answer(text: str, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **fields}


def test_only_a_real_false_switches_thinking_off() -> None:
    start = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"
    assert render([USER_A], enable_thinking=False) == start + EMPTY_THOUGHT
    for switch in ({}, {"enable_thinking": True}, {"enable_thinking": None}, {"enable_thinking": "false"}):
        assert render([USER_A], **switch) == start


def test_a_system_message_comes_first() -> None:
    messages = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "Hello"}]
    assert render(messages, enable_thinking=False) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\n" + EMPTY_THOUGHT
    )


@pytest.mark.parametrize("turn", [answer("<think>\nr1\n</think>\n\nb"), answer("b", reasoning_content="r1")])
def test_reasoning_of_an_earlier_turn_is_dropped(turn: dict[str, Any]) -> None:
    assert render([USER_A, turn, USER_C]) == (
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
        "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n"
    )


def test_reasoning_within_a_tool_loop_is_kept_and_results_share_a_turn() -> None:
    messages = [
        USER_A,
        answer("", reasoning_content="need tool", tool_calls=[CALL]),
        {"role": "tool", "content": '{"r":2}'},
        {"role": "tool", "content": "3"},
    ]
    assert render(messages) == (
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n<think>\nneed tool\n</think>\n\n"
        '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call><|im_end|>\n'
        '<|im_start|>user\n<tool_response>\n{"r":2}\n</tool_response>\n<tool_response>\n3\n</tool_response><|im_end|>\n'
        "<|im_start|>assistant\n"
    )


def test_a_final_answer_without_reasoning_gets_an_empty_thought() -> None:
    assert render([USER_A, answer("b")], add_generation_prompt=False) == (
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nb<|im_end|>\n"
    )


@pytest.mark.parametrize("message", [{"role": "user", "content": ["a"]}, answer(None)], ids=["list", "null"])  # type: ignore[arg-type]
def test_content_that_is_no_text_is_refused(message: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"argument of type 'NoneType'|no attribute 'startswith'|concatenate"):
        render([USER_A, message])


@pytest.mark.parametrize("system", [[], [{"role": "system", "content": "S"}]])
def test_the_text_about_tools(system: list[dict[str, Any]]) -> None:
    assert render([*system, USER_A], tools=[TOOL]) == (
        "<|im_start|>system\n" + ("S\n\n" if system else "") + "# Tools\n\n"
        "You may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
        + json.dumps(TOOL, ensure_ascii=False)
        + "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
        "<tool_call></tool_call> XML tags:\n<tool_call>\n"
        '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"
    )


TEXTS = st.lists(
    st.sampled_from(["a", " ", "\n", "<think>", "</think>", "<tool_response>", "</tool_response>", "{}", "é"]),
    max_size=5,
).map("".join)
CALLS = st.lists(st.sampled_from([CALL, CALL["function"], {"name": "g", "arguments": '{"y": "ü"}'}]), max_size=3)
TURNS = st.one_of(
    st.builds(lambda role, content: {"role": role, "content": content}, st.sampled_from(["user", "tool"]), TEXTS),
    st.builds(lambda content: {"role": "system", "content": content}, TEXTS),
    st.builds(answer, TEXTS, tool_calls=CALLS),
    st.builds(answer, TEXTS, tool_calls=CALLS, reasoning_content=st.none() | TEXTS),
    st.builds(answer, TEXTS),
)


@pytest.mark.skipif(not GENUINE, reason="QWEN3_TOKENIZER_FOLDER does not name a folder with Qwen3's own tokenizer")
@given(
    messages=st.lists(TURNS, min_size=1, max_size=7),
    tools=st.sampled_from([None, [], [TOOL], [TOOL, CALL]]),
    generate=st.booleans(),
    switch=st.sampled_from([{}, {"enable_thinking": True}, {"enable_thinking": False}, {"enable_thinking": "false"}]),
)
def test_it_renders_what_the_genuine_template_renders(
    messages: list[dict[str, Any]], tools: Any, generate: Any, switch: Any
) -> None:
    config = Path(GENUINE or "", "tokenizer_config.json").read_text(encoding="utf-8")
    ours, theirs = (
        render(messages, template, tools=tools, add_generation_prompt=generate, **switch)
        for template in (QWEN3_STYLE_TEMPLATE, json.loads(config)["chat_template"])
    )
    assert ours == theirs
