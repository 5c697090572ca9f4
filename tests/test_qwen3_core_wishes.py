"""Wishes that are refused before anything is sent, and what the refusals say to do."""

from typing import Any

import pytest

from qwen3_core.chat.wishes import THINKING_FIELDS, Thinking, check_thinking
from qwen3_core.thinking import DASHSCOPE, DIALECTS, LLAMA_CPP, OLLAMA, VLLM, Dialect

MODEL = "Qwen/Qwen3-8B"


def test_wishes_are_taken_out_of_other_arguments() -> None:
    assert THINKING_FIELDS == ("enable_thinking", "thinking_budget", "reasoning_effort", "preserve_thinking")
    assert Thinking.of({"enable_thinking": False, "temperature": 1}) == Thinking(enable_thinking=False)
    assert Thinking.of({}) == Thinking()


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
def test_no_wish_is_always_met(dialect: Dialect) -> None:
    for model in (MODEL, "Qwen/Qwen3-4B-Thinking-2507", "qwen3-coder-plus", "my-own-model"):
        check_thinking(dialect, model, Thinking())


@pytest.mark.parametrize("budget", [0, -1, 1.5, True, "9"])
def test_a_budget_is_a_positive_whole_number(budget: Any) -> None:
    with pytest.raises(ValueError, match="positive whole number of tokens, not"):
        check_thinking(DASHSCOPE, MODEL, Thinking(thinking_budget=budget))


@pytest.mark.parametrize("name", ["enable_thinking", "preserve_thinking"])
@pytest.mark.parametrize("value", ["false", "auto", 0, 1])
def test_a_switch_is_a_real_bool(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"{name} must be True, False or None, not {value!r}"):
        check_thinking(VLLM, "Qwen/Qwen3.6-27B", Thinking(**{name: value}))


@pytest.mark.parametrize("effort", ["", 3, True])
def test_an_effort_is_a_word(effort: Any) -> None:
    with pytest.raises(ValueError, match="must be a word such as 'low'"):
        check_thinking(LLAMA_CPP, "Qwen/Qwen3.8-27B", Thinking(reasoning_effort=effort))


@pytest.mark.parametrize(
    ("model", "wanted", "says"),
    [
        (
            "Qwen/Qwen3-4B-Instruct-2507",
            {"enable_thinking": True},
            "Qwen3 Instruct.* does not think; take a model that",
        ),
        ("Qwen/Qwen3-4B-Instruct-2507", {"reasoning_effort": "low"}, "has no reasoning_effort='low': leave it out"),
        ("qwen3-coder-plus", {"thinking_budget": 9}, "Qwen3 Coder.* does not think"),
        ("Qwen/QwQ-32B", {"enable_thinking": False}, "QwQ.* cannot stop thinking"),
        ("Qwen/QwQ-32B", {"reasoning_effort": "none"}, "cannot stop thinking"),
        ("Qwen/Qwen3.5-27B", {"preserve_thinking": True}, "preserve_thinking began with Qwen3.6"),
    ],
)
def test_what_a_family_cannot_do_is_refused(model: str, wanted: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_thinking(DASHSCOPE, model, Thinking(**wanted))


@pytest.mark.parametrize(
    ("dialect", "model", "wanted"),
    [
        (DASHSCOPE, "Qwen/Qwen3-4B-Instruct-2507", {"enable_thinking": False}),  # as it is anyway
        (DASHSCOPE, "Qwen/QwQ-32B", {"enable_thinking": True, "thinking_budget": 9}),
        (OLLAMA, "Qwen/Qwen3.6-27B", {"preserve_thinking": False}),
        (VLLM, "my-own-model", {"enable_thinking": True, "reasoning_effort": "colossal", "preserve_thinking": True}),
        (VLLM, "Qwen/Qwen3.8-27B", {"thinking_budget": 9, "reasoning_effort": "low"}),
    ],
)
def test_wishes_that_can_be_met_pass(dialect: Dialect, model: str, wanted: Any) -> None:
    check_thinking(dialect, model, Thinking(**wanted))
