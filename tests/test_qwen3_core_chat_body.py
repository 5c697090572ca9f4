"""Request bodies: how wishes lie on one another, what a body then means, and what is settled for a server."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_core.chat.body import must_stream, read_switch, settle_body, thinks, wanted_body, write_thinking
from qwen3_core.chat.wishes import Thinking
from qwen3_core.thinking import (
    CHAT_TEMPLATE_KWARGS,
    DASHSCOPE,
    DIALECTS,
    LLAMA_CPP,
    LMSTUDIO,
    OLLAMA,
    OPENAI,
    VLLM,
    XINFERENCE,
    Dialect,
)

HYBRID, EIGHT = "Qwen/Qwen3-8B", "Qwen/Qwen3.8-27B"
ON, OFF = {"enable_thinking": True}, {"enable_thinking": False}


# --- layers


def test_later_layers_win_and_siblings_survive() -> None:
    fields: dict[str, Any] = {"enable_thinking": True, "thinking_budget": 9}
    below: dict[str, Any] = {"top_k": 3, "x": {"y": 1}, "enable_thinking": False}

    def wanted(**call: Any) -> dict[str, Any]:
        return wanted_body(DASHSCOPE, HYBRID, below, fields, call)

    assert wanted() == {**below, **ON, "thinking_budget": 9}
    assert wanted(enable_thinking=False) == {**below, **OFF, "thinking_budget": 9}
    assert wanted(extra_body={**OFF, "x": {"z": 2}}) == {**below, **OFF, "x": {"y": 1, "z": 2}, "thinking_budget": 9}
    assert wanted(extra_body=OFF, enable_thinking=True) == {**below, **ON, "thinking_budget": 9}
    assert wanted(extra_body=None, temperature=1) == wanted()


@pytest.mark.parametrize("dialect", [DASHSCOPE, VLLM, OLLAMA, XINFERENCE], ids=lambda dialect: dialect.server)
def test_an_explicit_none_is_the_servers_own_default_whatever_the_instance_says(dialect: Dialect) -> None:
    instances: list[dict[str, Any]] = [OFF, {"reasoning_effort": "low"}, {"reasoning_effort": "none"}]
    instances += [{"thinking_budget": 9}] if dialect.budget else []
    instances += [{"preserve_thinking": False}] if dialect.preserve else []
    for instance in instances:
        body = wanted_body(dialect, EIGHT, {"top_k": 3}, instance, {})
        assert body != {"top_k": 3}
        nothing = dict.fromkeys(("enable_thinking", "thinking_budget", "reasoning_effort", "preserve_thinking"))
        assert wanted_body(dialect, EIGHT, {"top_k": 3}, instance, nothing) == {"top_k": 3}
        assert wanted_body(dialect, EIGHT, body, {}, nothing) == {"top_k": 3}, "the instance's extra_body"
        # What the call itself says in extra_body stays.
        assert wanted_body(dialect, EIGHT, {}, {}, {**nothing, "extra_body": body}) == body


def test_one_none_leaves_the_other_wish_where_both_share_a_field() -> None:
    low, off = {"reasoning_effort": "low"}, {"reasoning_effort": "none"}
    assert wanted_body(OLLAMA, EIGHT, {}, low, {"enable_thinking": None}) == low
    assert wanted_body(OLLAMA, EIGHT, {}, OFF, {"reasoning_effort": None}) == off
    assert wanted_body(OLLAMA, EIGHT, {}, {**OFF, **low}, {"enable_thinking": None}) == low
    assert wanted_body(OLLAMA, EIGHT, low, {}, {"reasoning_effort": None}) == {}


def test_a_call_turns_off_and_on_again_where_the_switch_is_an_effort() -> None:
    low = {"reasoning_effort": "low"}
    assert wanted_body(OLLAMA, EIGHT, {}, low, OFF) == {"reasoning_effort": "none"}
    assert wanted_body(OLLAMA, EIGHT, {}, OFF, ON) == {}
    assert wanted_body(OLLAMA, EIGHT, {}, OFF, {**ON, **low}) == low
    assert wanted_body(OLLAMA, EIGHT, {}, low, ON) == low
    assert wanted_body(OLLAMA, EIGHT, {}, {"reasoning_effort": "none"}, low) == low
    # An effort does not turn thinking on, as on every other server.
    assert wanted_body(OLLAMA, EIGHT, {}, OFF, low) == {"reasoning_effort": "none"}
    assert settle_body(VLLM, EIGHT, wanted_body(VLLM, EIGHT, {}, OFF, low), stream=True, constrained=False) == {
        "chat_template_kwargs": OFF
    }


def test_of_budget_and_effort_the_later_one_stays_where_only_one_is_allowed() -> None:
    budget, effort = {"thinking_budget": 9}, {"reasoning_effort": "low"}
    assert wanted_body(DASHSCOPE, EIGHT, {}, budget, effort) == effort
    assert wanted_body(DASHSCOPE, EIGHT, {}, effort, budget) == budget
    assert wanted_body(DASHSCOPE, EIGHT, budget, effort, {}) == effort
    assert wanted_body(DASHSCOPE, EIGHT, {}, effort, {"extra_body": budget}) == budget
    assert wanted_body(VLLM, EIGHT, {}, budget, effort) == {
        "thinking_token_budget": 9,
        "chat_template_kwargs": effort,
    }


def test_wishes_of_the_instance_are_held_against_the_model_of_the_call() -> None:
    with pytest.raises(ValueError, match="cannot stop thinking"):
        wanted_body(VLLM, "Qwen/QwQ-32B", {}, OFF, {})
    assert wanted_body(VLLM, "Qwen/QwQ-32B", {}, OFF, {"enable_thinking": None}) == {}


# --- what a body says


@pytest.mark.parametrize("dialect", [*DIALECTS.values(), CHAT_TEMPLATE_KWARGS], ids=lambda dialect: dialect.server)
def test_what_was_written_is_read(dialect: Dialect) -> None:
    assert read_switch(dialect, write_thinking(dialect, HYBRID, {}, Thinking(enable_thinking=False))) is False
    on = read_switch(dialect, write_thinking(dialect, HYBRID, {}, Thinking(enable_thinking=True)))
    assert on is (True if dialect.on else None)
    assert read_switch(dialect, {"top_k": 20}) is None


def test_only_a_real_switch_is_read() -> None:
    assert read_switch(DASHSCOPE, {"enable_thinking": "false"}) is None
    assert read_switch(DASHSCOPE, {"enable_thinking": 0}) is None
    assert read_switch(VLLM, {"chat_template_kwargs": "none"}) is None
    assert read_switch(OLLAMA, {"reasoning_effort": "medium"}) is True
    assert read_switch(OLLAMA, {"reasoning_effort": False}) is None


@pytest.mark.parametrize(
    ("dialect", "model", "body", "expected"),
    [
        (DASHSCOPE, "qwen3-8b", {}, True),
        (DASHSCOPE, "qwen3-8b", OFF, False),
        (DASHSCOPE, "qwen-plus", {}, False),
        (DASHSCOPE, "qwen-plus-latest", ON, True),
        (DASHSCOPE, "qwen-plus-2025-04-28", {"thinking_budget": 64}, False),  # a budget turns nothing on
        (DASHSCOPE, "qwen-flash", {}, False),
        (DASHSCOPE, "qwen-turbo", {}, False),
        (DASHSCOPE, "qwen3-max", {}, False),
        (DASHSCOPE, "qwen3-max-2026-01-23", ON, True),
        (DASHSCOPE, "qwen3-vl-plus", {}, False),
        (DASHSCOPE, "qwen3-omni-flash", {}, False),
        (DASHSCOPE, "qwen-max", ON, False),
        (DASHSCOPE, "qwen3-coder-plus", {}, False),
        (DASHSCOPE, "qwen3.5-plus", {}, True),
        (DASHSCOPE, "qwen3.6-flash", {}, True),
        (DASHSCOPE, "qwen3.7-max", {}, True),
        (DASHSCOPE, "qwen3.8-max", {"reasoning_effort": "low"}, True),
        (DASHSCOPE, "qwq-plus", OFF, True),
        (VLLM, "Qwen/Qwen3.5-0.8B", {}, False),
        (VLLM, "Qwen/Qwen3.5-27B", {}, True),
        (OLLAMA, "qwen3.5:0.8b", {}, True),  # Ollama turns it on where nothing is said
        (OLLAMA, "qwen3:8b", {"reasoning_effort": "none"}, False),
        (LMSTUDIO, "qwen3.5-0.8b", {}, False),
        (OPENAI, "qwen-plus", {}, False),
        (VLLM, "my-own-model", {}, None),
        (VLLM, "my-own-model", {"chat_template_kwargs": ON}, True),
        (OLLAMA, "my-own-model", {}, None),
    ],
)
def test_what_thinks(dialect: Dialect, model: str, body: Any, expected: Any) -> None:
    assert thinks(dialect, model, body) is expected


@pytest.mark.parametrize(
    ("model", "body", "expected"),
    [
        ("qwen3-8b", {}, False),  # settle_body sends False instead
        ("qwen3-8b", ON, True),
        ("qwen3-8b", OFF, False),
        ("Qwen/Qwen3-30B-A3B", {"thinking_budget": 64}, True),
        ("qwen3-8b", {**OFF, "thinking_budget": 64}, False),
        ("qwen-plus", {}, False),
        ("qwen-plus", ON, True),
        ("qwen-plus", {"thinking_budget": 64}, False),
        ("qwen-plus", {"enable_search": True}, False),
        ("qwen3-next-80b-a3b-thinking", {}, True),
        ("qwq-32b", {}, True),
        ("qwen3.5-plus", ON, False),
        ("qwen3.5-plus", {"enable_search": True}, True),
        ("qwen3.5-plus", {**OFF, "enable_search": True}, False),
        ("qwen3.7-max-preview", {}, False),
        ("qwen3-30b-a3b-instruct-2507", {}, False),
        ("qwen3-30b-a3b-instruct-2507", ON, False),
        ("my-own-model", {}, False),
        ("my-own-model", ON, True),
    ],
)
def test_what_dashscope_wants_streamed(model: Any, body: Any, expected: Any) -> None:
    assert must_stream(DASHSCOPE, model, body) is expected
    assert must_stream(XINFERENCE, model, body) is False


# --- what is settled


@pytest.mark.parametrize(
    ("model", "body", "stream", "constrained", "expected"),
    [
        ("qwen3-8b", {}, False, False, OFF),
        ("qwen3-8b", {}, True, False, {}),
        ("qwen3-8b", {}, True, True, OFF),
        ("qwen3-8b", ON, False, False, ON),  # whoever asks for it has to stream: see must_stream
        ("qwen3-8b", {"thinking_budget": 9}, True, False, {"thinking_budget": 9}),
        ("qwen3-8b", {**OFF, "thinking_budget": 9}, True, False, OFF),
        ("qwen-plus", {}, False, True, {}),
        ("qwen-plus", {"thinking_budget": 9}, False, False, {"thinking_budget": 9}),
        ("qwen-plus", {**ON, "thinking_budget": 9}, True, True, OFF),
        ("qwen3.5-plus", {}, False, False, {}),
        ("qwen3.5-plus", {}, False, True, OFF),
        ("qwen3.8-max", {"reasoning_effort": "low", "top_k": 3}, True, True, {**OFF, "top_k": 3}),
        ("qwen3-30b-a3b-thinking-2507", {}, True, True, {}),
        ("qwen3-30b-a3b-thinking-2507", {}, False, False, {}),
        ("qwen3-30b-a3b-instruct-2507", {}, False, True, {}),
        ("my-own-model", {}, False, True, {}),  # who knows whether it thinks
        ("my-own-model", ON, True, True, OFF),
    ],
)
def test_what_dashscope_is_sent(model: Any, body: Any, stream: Any, constrained: Any, expected: Any) -> None:
    assert settle_body(DASHSCOPE, model, body, stream=stream, constrained=constrained) == expected


def test_a_constrained_call_of_another_server_says_so_in_its_words() -> None:
    assert settle_body(OLLAMA, EIGHT, {"reasoning_effort": "low"}, stream=True, constrained=True) == {
        "reasoning_effort": "none"
    }
    kwargs = {"enable_thinking": True, "reasoning_effort": "low", "own": 1}
    settled = settle_body(LLAMA_CPP, EIGHT, {"chat_template_kwargs": kwargs}, stream=False, constrained=True)
    assert settled == {"chat_template_kwargs": {"enable_thinking": False, "own": 1}}


MODELS = st.sampled_from(
    [HYBRID, EIGHT, "qwen-plus", "qwen3.5-plus", "Qwen/Qwen3-4B-Thinking-2507", "qwen3-coder-plus", "my-own-model"]
)
WISHES = st.fixed_dictionaries(
    {},
    optional={
        "enable_thinking": st.none() | st.booleans(),
        "thinking_budget": st.none() | st.integers(1, 9),
        "reasoning_effort": st.none() | st.sampled_from(["none", "low", "high"]),
        "preserve_thinking": st.none() | st.booleans(),
    },
)
EXTRA = st.fixed_dictionaries(
    {},
    optional={
        "top_k": st.integers(1, 9),
        "enable_thinking": st.booleans(),
        "thinking_budget": st.integers(1, 9),
        "chat_template_kwargs": st.dictionaries(st.sampled_from(["enable_thinking", "own"]), st.booleans()),
    },
)


@given(
    dialect=st.sampled_from([*DIALECTS.values(), CHAT_TEMPLATE_KWARGS]),
    model=MODELS,
    extra=EXTRA,
    own=WISHES,
    call=st.tuples(WISHES, EXTRA).map(lambda parts: {**parts[0], "extra_body": parts[1]}),
    stream=st.booleans(),
    constrained=st.booleans(),
)
def test_nothing_given_is_changed_and_settling_settles(
    dialect: Any, model: Any, extra: Any, own: Any, call: Any, stream: Any, constrained: Any
) -> None:
    before = copy.deepcopy((extra, own, call))
    try:
        wanted = wanted_body(dialect, model, extra, own, call)
    except ValueError:
        assert (extra, own, call) == before
        return
    kept = copy.deepcopy(wanted)
    settled = settle_body(dialect, model, wanted, stream=stream, constrained=constrained)
    assert (extra, own, call) == before
    assert wanted == kept
    assert settle_body(dialect, model, settled, stream=stream, constrained=constrained) == settled
    if call.get("enable_thinking") is not None and not constrained and call.get("reasoning_effort") != "none":
        assert thinks(dialect, model, settled) in (call["enable_thinking"], None)
