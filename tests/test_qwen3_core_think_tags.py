"""The reader of `<think>` tags: what is reasoning, what is answer, and that no chunk boundary matters."""

import itertools
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_core.think_tags import ThinkReader, ThinkState, split_thinking, think_step


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", ("", "plain")),
        ("", ("", "")),
        (" \n ", ("", " \n ")),
        ("<think>\nwhy\n</think>\n\n  indented", ("why", "  indented")),
        ("\n\n<think>why</think>so", ("why", "so")),
        ("<think>\n\n</think>\n\nso", ("", "so")),
        ("<think>why</think>\r\n\r\nso\n\nand so", ("why", "so\n\nand so")),
        ("<think>never closed", ("never closed", "")),
        ("<think>cut </thi", ("cut </thi", "")),
        ("<think>", ("", "")),
        ("<thin", ("", "<thin")),
        ("<thinker>", ("", "<thinker>")),
        ("The tag <think> opens and </think> closes.", ("", "The tag <think> opens and </think> closes.")),
        ("only </think> alone", ("", "only </think> alone")),
        ("<think>a</think>Use <think>b</think>.", ("a", "Use <think>b</think>.")),
        ("<think>a</think>Close it with </think>.", ("a", "Close it with </think>.")),
    ],
)
def test_splitting_a_whole_text(text: Any, expected: Any) -> None:
    assert split_thinking(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>a <think>b</think> c</think>so", ("a <think>b</think> c", "so")),
        ("<think><think>b</think></think>\n\nso", ("<think>b</think>", "so")),
        ("<think>a <think>b <think>c</think> d</think> e</think>so", ("a <think>b <think>c</think> d</think> e", "so")),
        ("<think>a<think>b</think>c<think>d</think>e</think>so", ("a<think>b</think>c<think>d</think>e", "so")),
        # An opening tag that is mentioned only, as a model does that is asked about its own format.
        ("<think>The tag <think> is meant.</think>so", ("The tag <think> is meant.", "so")),
        ("<think>{'a': '<think>'} </thinking></think>x", ("{'a': '<think>'} </thinking>", "x")),
        (
            '<think>{"tags": ["<think>", "</think>"]}</think>\n\n{"a": 1}',
            ('{"tags": ["<think>", "</think>"]}', '{"a": 1}'),
        ),
        ("<think>a <think> b", ("a <think> b", "")),
        ("<think>a <think> b </think", ("a <think> b </think", "")),
    ],
)
def test_tags_within_the_reasoning(text: Any, expected: Any) -> None:
    assert split_thinking(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\nwhy\n</think>\n\nso", ("why", "so")),
        ("<think>why</think>so", ("why", "so")),
        ("still thinking", ("still thinking", "")),
        ("</think>so", ("", "so")),
        ("a <think>b</think> c</think>so", ("a <think>b</think> c", "so")),
    ],
)
def test_a_template_that_wrote_the_opening_tag(text: Any, expected: Any) -> None:
    assert split_thinking(text, prefilled=True) == expected


PARTS = st.sampled_from(
    ["<think>", "</think>", "<th", "ink>", "</", "think", ">", "\n", " ", "a", "答", "<", "{}", "\r\n", "\u2003"]
)
PLAIN = st.text(alphabet="ab{} \n答<", max_size=8)
NESTED = st.recursive(
    PLAIN, lambda inner: st.lists(inner | inner.map(lambda text: f"<think>{text}</think>"), max_size=4).map("".join)
)
TEXTS = (
    st.lists(PARTS, max_size=12).map("".join)
    | st.text(max_size=30)
    | st.tuples(NESTED, NESTED).map(lambda parts: f"<think>{parts[0]}</think>{parts[1]}")
    | NESTED.map(lambda text: f"<think>{text}")
)


@settings(max_examples=400)
@given(text=TEXTS, cuts=st.lists(st.integers(0, 120), max_size=12), prefilled=st.booleans())
def test_no_chunk_boundary_matters(text: Any, cuts: Any, prefilled: Any) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    state = ThinkState("prefilled" if prefilled else "start")
    reasoning = answer = ""
    for start, end in itertools.pairwise(edges):
        state, thought, said = think_step(state, text[start:end])
        assert not (thought and answer), "reasoning behind the answer"
        reasoning, answer = reasoning + thought, answer + said
    _, thought, said = think_step(state, "", final=True)
    assert (reasoning + thought, answer + said) == split_thinking(text, prefilled=prefilled)


@given(text=TEXTS, prefilled=st.booleans())
def test_every_character_at_a_time_too(text: Any, prefilled: Any) -> None:
    reader = ThinkReader(prefilled=prefilled)
    parts = [*map(reader.read, text), reader.finish()]
    assert tuple(map("".join, zip(*parts, strict=True))) == split_thinking(text, prefilled=prefilled)


@given(text=TEXTS, prefilled=st.booleans())
def test_nothing_is_lost_but_white_space_and_two_tags(text: Any, prefilled: Any) -> None:
    whole, *parts = (re.sub(r"\s", "", part) for part in (text, *split_thinking(text, prefilled=prefilled)))
    reasoning, answer = parts
    assert whole in {f"{start}{reasoning}{end}{answer}" for start in ("", "<think>") for end in ("", "</think>")}


FREE = st.lists(PARTS, max_size=12).map("".join) | st.text(max_size=30)


@given(text=FREE.filter(lambda text: not text.lstrip().startswith("<think>")))
def test_a_text_that_does_not_begin_with_the_tag_is_left_alone(text: Any) -> None:
    assert split_thinking(text) == ("", text)


@given(inside=FREE.filter(lambda text: "think>" not in text + "</think"), behind=FREE)
def test_a_tagged_text_comes_apart(inside: Any, behind: Any) -> None:
    assert split_thinking(f"<think>{inside}</think>{behind}") == (inside.strip(), behind.lstrip("\r\n"))


@given(inside=NESTED, behind=PLAIN)
def test_balanced_tags_within_the_reasoning_stay_there(inside: Any, behind: Any) -> None:
    assert split_thinking(f"<think>{inside}</think>{behind}") == (inside.strip(), behind.lstrip("\r\n"))


def test_what_is_certain_comes_at_once() -> None:
    reader = ThinkReader()
    pieces = [reader.read(piece) for piece in ("<think>", "one ", "two", "</think>", "\n\n", "three", " four")]
    assert pieces == [("", ""), ("one", ""), (" two", ""), ("", ""), ("", ""), ("", "three"), ("", " four")]


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ([("<think>wh", ""), ("y</think>\n", ""), ("\nso", "")], ("why", "so")),
        ([("", "wh"), ("", "y"), ("\n\nso", "")], ("why", "so")),
        ([("", "why"), ("<think> is a tag", "")], ("why", "<think> is a tag")),  # the server has split it
        ([("", "why <think>"), ("</think> is a tag", "")], ("why <think>", "</think> is a tag")),
        ([("", "\n"), ("", "one "), ("", "\n"), ("", "two\n"), ("\n\nso", "")], ("one \ntwo", "so")),
        ([("", "\n\n"), ("\n\nso", "")], ("", "so")),  # transformers serve, with thinking off
        ([("<thi", "")], ("", "<thi")),
    ],
)
def test_a_reader_takes_reasoning_from_the_server_or_from_tags(deltas: Any, expected: Any) -> None:
    reader = ThinkReader()
    parts = [*itertools.starmap(reader.read, deltas), reader.finish()]
    assert ("".join(thought for thought, _ in parts), "".join(answer for _, answer in parts)) == expected
    text, reasoning = ("".join(column) for column in zip(*deltas, strict=True))
    assert split_thinking(text, reasoning=reasoning) == expected


@given(reasoning=st.lists(FREE, max_size=6), text=st.lists(FREE, max_size=6))
def test_what_a_server_has_split_loses_the_white_space_around_it_in_any_chunks(reasoning: Any, text: Any) -> None:
    reader = ThinkReader()
    parts = [reader.read("", piece) for piece in reasoning] + [reader.read(piece) for piece in text] + [reader.finish()]
    read = tuple(map("".join, zip(*parts, strict=True)))
    assert read == split_thinking("".join(text), reasoning="".join(reasoning))
