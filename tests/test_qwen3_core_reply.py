"""What a chat model writes, token by token: no character is cut, no stop text seen, no tag and no call missed."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from chat_conversations import GET_WEATHER
from fitted_chat import calls_in, told
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from qwen3_core.local_chat.reply import Piece, TokenReader, Vocabulary


@pytest.fixture(scope="module")
def official(qwen3_tokenizer_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(qwen3_tokenizer_folder)


@pytest.fixture(scope="module")
def vocabulary(official: Any) -> Vocabulary:
    return Vocabulary(official)


def read(
    vocabulary: Vocabulary, ids: Sequence[int], *, inside: bool = False, tools: Any = (), stop: Sequence[str] = ()
) -> list[Piece]:
    reader = TokenReader(vocabulary, inside=inside, tools=tools, stop=stop)
    pieces: list[Piece] = []
    for id_ in ids:
        pieces += reader.read(id_)
        if reader.has_stopped:
            return pieces
    return pieces + reader.finish()


SPOKEN = st.lists(
    st.one_of(st.text(max_size=6), st.sampled_from(["🙂", "你好", "👩‍👩‍👧", "\n", "\n\n", " ", "END", "EN", "N D"])),
    max_size=8,
).map("".join)
PLAIN = SPOKEN.filter(lambda text: "<" not in text)


@given(thought=PLAIN, answer=PLAIN)
def test_thoughts_and_answers_come_apart_with_no_character_cut(
    official: Any, vocabulary: Vocabulary, thought: str, answer: str
) -> None:
    thought, answer = unicodedata.normalize("NFC", thought), unicodedata.normalize("NFC", answer)
    ids = official(f"<think>\n{thought}\n</think>\n\n{answer}<|im_end|>").input_ids
    pieces = read(vocabulary, ids)
    assert told(pieces) == (thought.strip(), answer.lstrip("\r\n"))
    assert all("\ufffd" not in piece.answer for piece in pieces) or "\ufffd" in answer


@given(ids=st.lists(st.integers(0, 151642), max_size=30))
@example(ids=[0xF0, 100, 100])
def test_tokens_that_make_no_text_are_shown_like_the_tokenizer_shows_them(
    official: Any, vocabulary: Vocabulary, ids: list[int]
) -> None:
    _, said = told(read(vocabulary, ids))
    whole = official.decode(ids).lstrip("\r\n")
    # A character that was begun and not ended is left out; the tokenizer shows it as U+FFFD.
    assert said in (whole, whole.removesuffix("\ufffd")) or not said.strip()


@example(text="a END END b", stops=["END END"])
@example(text="one\nEND", stops=["\nEN"])
@given(text=PLAIN, stops=st.lists(st.sampled_from(["END", "\n\n", "N", "好", "END END", "\nEN"]), max_size=3))
def test_an_answer_ends_before_a_stop_text_wherever_the_tokens_are_cut(
    official: Any, vocabulary: Vocabulary, text: str, stops: list[str]
) -> None:
    text = unicodedata.normalize("NFC", text)
    answer = text.lstrip("\r\n")
    places = [answer.find(stop) for stop in stops if stop in answer]
    expected = answer[: min(places)] if places else answer
    for tools in ([], [GET_WEATHER]):
        assert told(read(vocabulary, official(text).input_ids, stop=stops, tools=tools))[1].strip(
            "\n"
        ) == expected.strip("\n")


def test_stop_texts_do_not_count_in_reasoning_and_calls(official: Any, vocabulary: Vocabulary) -> None:
    call = '<tool_call>\n{"name": "f", "arguments": {"x": "STOP"}}\n</tool_call>'
    ids = official(f"<think>\nSTOP\n\nhere\n</think>\n\nfine {call} STOP no").input_ids
    pieces = read(vocabulary, ids, stop=["STOP", "\n\n"], tools=[GET_WEATHER])
    assert told(pieces) == ("STOP\n\nhere", "fine  ")
    assert calls_in(pieces) == [("f", '{"x": "STOP"}')]


def test_an_unclosed_thought_is_no_answer(official: Any, vocabulary: Vocabulary) -> None:
    assert told(read(vocabulary, official("<think>\nall of it \n").input_ids)) == ("all of it", "")
    assert told(read(vocabulary, official("all of it").input_ids, inside=True)) == ("all of it", "")


def test_a_character_that_was_not_finished_is_left_out(official: Any, vocabulary: Vocabulary) -> None:
    begun = official.convert_tokens_to_ids("ð")  # the byte F0, which begins an emoji
    assert vocabulary.bytes_of(begun) == b"\xf0"
    thought, answer = official("<think>a").input_ids, official("b").input_ids
    assert told(read(vocabulary, [*thought, begun, vocabulary.end_think, *answer, begun])) == ("a", "b")


def test_tags_elsewhere_are_text(official: Any, vocabulary: Vocabulary) -> None:
    ids = official("<think>\na\n</think>\n\nb <think>c</think>").input_ids
    assert told(read(vocabulary, ids)) == ("a", "b <think>c</think>")
    assert told(read(vocabulary, official(" \n<think>a</think>b").input_ids)) == ("a", "b")
    assert told(read(vocabulary, official(" \nb <tool_call>").input_ids)) == ("", " \nb <tool_call>")


HERMES = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
ELEMENTS = "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>"


@pytest.mark.parametrize("call", [HERMES, ELEMENTS])
def test_calls_in_either_format_beside_text_and_in_the_reasoning(
    official: Any, vocabulary: Vocabulary, call: str
) -> None:
    wanted = ("get_weather", '{"city": "Paris"}')
    pieces = read(vocabulary, official(f"Both:\n\n{call}\n{call}<|im_end|>").input_ids, tools=[GET_WEATHER])
    assert (told(pieces)[1], calls_in(pieces)) == ("Both:", [wanted, wanted])
    ids = {piece.tool_call.id for piece in pieces if piece.tool_call}
    assert len(ids) == 2
    pieces = read(
        vocabulary, official(f"hm\n{call}\nso\n</think>\n\nDone.").input_ids, tools=[GET_WEATHER], inside=True
    )
    assert (*told(pieces), calls_in(pieces)) == ("hm\n\nso", "Done.", [wanted])


def test_calls_where_no_tool_was_offered_are_text(official: Any, vocabulary: Vocabulary) -> None:
    assert told(read(vocabulary, official(HERMES).input_ids))[1] == HERMES
