"""Thinking on the wire: dialects, request bodies, and the reader of `<think>` tags."""

import copy
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_core.think_tags import ThinkReader, ThinkState, split_thinking, think_step
from qwen3_core.thinking import (
    CHAT_TEMPLATE_KWARGS,
    DASHSCOPE,
    LLAMA_CPP,
    dialect_of,
    is_dashscope_url,
    merge_bodies,
    must_stream,
    read_switch,
    reasoning_of,
    settle_body,
    thinks_only,
    write_thinking,
)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://dashscope.aliyuncs.com/compatible-mode/v1", True),
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", True),
        ("https://DASHSCOPE-us.aliyuncs.com/compatible-mode/v1", True),
        ("https://ws-1.ap-southeast-1.maas.aliyuncs.com/compatible-mode/v1", True),
        ("https://1234.cn-beijing.pai-eas.aliyuncs.com/api/predict/vllm/v1", False),
        ("https://dashscope.aliyuncs.com.example.org/v1", False),
        ("https://example.org/dashscope.aliyuncs.com/v1", False),
        ("http://127.0.0.1:8000/v1", False),
        ("", False),
    ],
)
def test_dashscope_is_told_by_the_host_alone(url: Any, expected: Any) -> None:
    assert is_dashscope_url(url) is expected


def test_auto_infers_and_a_name_wins_over_the_url() -> None:
    assert dialect_of("auto", "https://dashscope.aliyuncs.com/compatible-mode/v1") is DASHSCOPE
    assert dialect_of("auto", "http://127.0.0.1:8000/v1") is CHAT_TEMPLATE_KWARGS
    assert dialect_of("dashscope", "http://gateway.internal/v1") is DASHSCOPE
    assert dialect_of("llama.cpp", "http://127.0.0.1:8080/v1") is LLAMA_CPP


@pytest.mark.parametrize("server", ["vllm", "ollama", "nonsense"])
def test_a_server_without_a_dialect_is_refused_with_a_way_out(server: Any) -> None:
    with pytest.raises(ValueError, match=r"(?s)not built in.*server=\"auto\".*extra_body"):
        dialect_of(server, "http://127.0.0.1:8000/v1")


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (DASHSCOPE, {"top_k": 20, "enable_thinking": False, "thinking_budget": 9}),
        (
            LLAMA_CPP,
            {"top_k": 20, "chat_template_kwargs": {"enable_thinking": False}, "thinking_budget_tokens": 9},
        ),
    ],
)
def test_where_the_switch_and_the_budget_go(dialect: Any, expected: Any) -> None:
    assert write_thinking(dialect, {"top_k": 20}, enable=False, budget=9) == expected
    assert read_switch(dialect, expected) is False
    assert read_switch(dialect, {"top_k": 20}) is None


def test_the_shared_dialect_has_a_switch_and_says_how_to_get_a_budget() -> None:
    body = {"chat_template_kwargs": {"preserve": 1}}
    before = copy.deepcopy(body)
    assert write_thinking(CHAT_TEMPLATE_KWARGS, body, enable=True) == {
        "chat_template_kwargs": {"preserve": 1, "enable_thinking": True}
    }
    assert body == before
    with pytest.raises(ValueError, match=r"server has to be named.*llama\.cpp"):
        write_thinking(CHAT_TEMPLATE_KWARGS, {}, budget=9)


@pytest.mark.parametrize("budget", [0, -1, 1.5, True, "9"])
def test_a_budget_is_a_positive_whole_number(budget: Any) -> None:
    with pytest.raises(ValueError, match="positive whole number"):
        write_thinking(DASHSCOPE, {}, budget=budget)


@pytest.mark.parametrize("enable", ["false", 0, 1])
def test_the_switch_is_a_real_bool(enable: Any) -> None:
    with pytest.raises(TypeError, match="True, False or None"):
        write_thinking(DASHSCOPE, {}, enable=enable)


def test_merging_keeps_siblings_and_changes_nothing_given() -> None:
    below, over = {"a": {"x": 1, "y": {"z": 1}}, "b": 1}, {"a": {"y": {"w": 2}}, "b": {"c": 3}}
    frozen = copy.deepcopy((below, over))
    assert merge_bodies(below, over) == {"a": {"x": 1, "y": {"z": 1, "w": 2}}, "b": {"c": 3}}
    assert (below, over) == frozen


@pytest.mark.parametrize(
    ("model", "body", "expected"),
    [
        ("qwen3-8b", {}, False),  # settle_body sends False instead
        ("qwen3-8b", {"enable_thinking": True}, True),
        ("Qwen/Qwen3-30B-A3B", {"thinking_budget": 64}, True),
        ("qwen3-8b", {"enable_thinking": False, "thinking_budget": 64}, False),
        ("qwen-plus", {}, False),
        ("qwen-plus", {"enable_thinking": True}, True),
        ("qwen-plus", {"thinking_budget": 64}, False),
        ("qwen3-next-80b-a3b-thinking", {}, True),
        ("qwq-32b", {}, True),
        ("qwen3.5-plus", {"enable_thinking": True}, False),
        ("qwen3-30b-a3b-instruct-2507", {}, False),
    ],
)
def test_what_dashscope_wants_streamed(model: Any, body: Any, expected: Any) -> None:
    assert must_stream(DASHSCOPE, model, body) is expected
    assert must_stream(CHAT_TEMPLATE_KWARGS, model, body) is False


@pytest.mark.parametrize(
    ("model", "body", "stream", "constrained", "expected"),
    [
        ("qwen3-8b", {}, False, False, {"enable_thinking": False}),
        ("qwen3-8b", {}, True, False, {}),
        ("qwen3-8b", {}, True, True, {"enable_thinking": False}),
        ("qwen-plus", {}, False, True, {}),
        ("qwen-plus", {"enable_thinking": True, "thinking_budget": 9}, True, True, {"enable_thinking": False}),
        ("qwen3.5-plus", {}, False, False, {}),
        ("qwen3.5-plus", {}, False, True, {"enable_thinking": False}),
        ("qwen3-30b-a3b-thinking-2507", {}, True, True, {}),
        ("qwen3-8b", {"enable_thinking": False, "thinking_budget": 9}, True, False, {"enable_thinking": False}),
    ],
)
def test_what_dashscope_is_sent(model: Any, body: Any, stream: Any, constrained: Any, expected: Any) -> None:
    before = dict(body)
    assert settle_body(DASHSCOPE, model, body, stream=stream, constrained=constrained) == expected
    assert body == before


def test_thinking_only_models_by_name() -> None:
    assert thinks_only("Qwen/Qwen3-4B-Thinking-2507")
    assert not thinks_only("Qwen/Qwen3-4B-Instruct-2507")


def test_reasoning_is_read_from_either_field() -> None:
    assert reasoning_of({"reasoning_content": None, "reasoning": "b"}) == "b"
    assert reasoning_of({"reasoning_content": "a", "reasoning": "b"}) == "a"
    assert reasoning_of({"reasoning": {"effort": "low"}}) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", ("", "plain")),
        ("", ("", "")),
        (" \n ", ("", " \n ")),
        ("<think>\nwhy\n</think>\n\n  indented", ("why", "  indented")),
        ("\n\n<think>why</think>so", ("why", "so")),
        ("<think>\n\n</think>\n\nso", ("", "so")),
        ("<think>never closed", ("never closed", "")),
        ("<think>cut </thi", ("cut </thi", "")),
        ("<thin", ("", "<thin")),
        ("<thinker>", ("", "<thinker>")),
        ("The tag <think> opens and </think> closes.", ("", "The tag <think> opens and </think> closes.")),
        ("only </think> alone", ("", "only </think> alone")),
        ("<think>a</think>Use <think>b</think>.", ("a", "Use <think>b</think>.")),
        ("<think>{'a': '<think>'} </thinking></think>x", ("{'a': '<think>'} </thinking>", "x")),
    ],
)
def test_splitting_a_whole_text(text: Any, expected: Any) -> None:
    assert split_thinking(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\nwhy\n</think>\n\nso", ("why", "so")),
        ("<think>why</think>so", ("why", "so")),
        ("still thinking", ("still thinking", "")),
        ("</think>so", ("", "so")),
    ],
)
def test_a_template_that_wrote_the_opening_tag(text: Any, expected: Any) -> None:
    assert split_thinking(text, prefilled=True) == expected


PARTS = st.sampled_from(
    ["<think>", "</think>", "<th", "ink>", "</", "think", ">", "\n", " ", "a", "答", "<", "{}", "\r\n", "\u2003"]
)
TEXTS = st.lists(PARTS, max_size=12).map("".join) | st.text(max_size=30)


@given(text=TEXTS, cuts=st.lists(st.integers(0, 60), max_size=10), prefilled=st.booleans())
def test_no_chunk_boundary_matters(text: Any, cuts: Any, prefilled: Any) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    state = ThinkState("prefilled" if prefilled else "start")
    reasoning = answer = ""
    for start, end in itertools.pairwise(edges):
        state, thought, said = think_step(state, text[start:end])
        reasoning, answer = reasoning + thought, answer + said
    _, thought, said = think_step(state, "", final=True)
    assert (reasoning + thought, answer + said) == split_thinking(text, prefilled=prefilled)


@given(text=TEXTS.filter(lambda text: not text.lstrip().startswith("<think>")))
def test_a_text_that_does_not_begin_with_the_tag_is_left_alone(text: Any) -> None:
    assert split_thinking(text) == ("", text)


@given(inside=TEXTS.filter(lambda text: "</think>" not in text + "</think"), behind=TEXTS)
def test_a_tagged_text_comes_apart(inside: Any, behind: Any) -> None:
    assert split_thinking(f"<think>{inside}</think>{behind}") == (inside.strip(), behind.lstrip("\r\n"))


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ([("<think>wh", ""), ("y</think>\n", ""), ("\nso", "")], ("why", "so")),
        ([("", "wh"), ("", "y"), ("\n\nso", "")], ("why", "so")),
        ([("", "why"), ("<think> is a tag", "")], ("why", "<think> is a tag")),  # the server has split it
        ([("<thi", "")], ("", "<thi")),
    ],
)
def test_a_reader_takes_reasoning_from_the_server_or_from_tags(deltas: Any, expected: Any) -> None:
    reader = ThinkReader()
    parts = [*itertools.starmap(reader.read, deltas), reader.finish()]
    assert ("".join(thought for thought, _ in parts), "".join(answer for _, answer in parts)) == expected
    text, reasoning = ("".join(column) for column in zip(*deltas, strict=True))
    assert split_thinking(text, reasoning=reasoning) == expected
