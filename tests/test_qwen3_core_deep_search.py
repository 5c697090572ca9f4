"""The parts of a deep search that ask nobody: what replies are read as, and what comes next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_core.deep_search import Course, DeepSearchPrompts, Limits
from qwen3_core.deep_search.course import merge_found
from qwen3_core.deep_search.reading import clean_citations, distinct, read_queries, read_reflection

lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"))


@pytest.mark.parametrize(
    ("reply", "queries"),
    [
        ("1. What is A?\n2. What is B?", ["What is A?", "What is B?"]),
        ("Sure:\n\n1) What is A?\n2) What is B?\n\nThese are two.", ["What is A?", "What is B?"]),
        ("- What is A?\n* What is B?", ["What is A?", "What is B?"]),
        ("(1) **What is A?**", ["What is A?"]),
        ("What is A?", ["What is A?"]),
        ("1. What is A?\n2. what is  a", ["What is A?"]),
        ("1. a\n2. b\n3. c\n4. d", ["a", "b", "c"]),
        ("1. 什么是向量？\n2. 如何备份？", ["什么是向量？", "如何备份？"]),
        ("1、什么是向量？\n2．如何备份？\n（3）谁？", ["什么是向量？", "如何备份？", "谁？"]),
        ("", None),
        ("I would look.\nThen I would see.", None),
        ("1. " + "talk " * 200, None),
    ],
)
def test_lists_of_questions_are_read(reply: str, queries: list[str] | None) -> None:
    assert read_queries(reply, 3) == queries


@given(st.text(), st.integers(1, 5))
def test_whatever_is_written_is_queries_or_none(reply: str, most: int) -> None:
    found = read_queries(reply, most)
    assert found is None or (1 <= len(found) <= most and all(query.strip() for query in found))
    assert found is None or distinct(found) == found


@given(st.lists(lines), st.lists(lines))
def test_distinct_keeps_the_first_of_each_and_none_that_was_asked(queries: list[str], asked: list[str]) -> None:
    kept = distinct(queries, asked)
    assert [query for query in queries if query in kept][:0] == []
    assert distinct(kept, asked) == kept
    assert distinct([query.upper() + " ?" for query in kept], kept) == [] or any(not query.isascii() for query in kept)


@pytest.mark.parametrize(
    ("reply", "useful", "missing"),
    [
        ("USEFUL: 1, 3\nMISSING: who founded it", (1, 3), "who founded it"),
        ("Useful: [2], [2]\n\nMissing: nothing.", (2,), ""),
        ("**USEFUL:** none\n**MISSING:** the year", (), "the year"),
        ("USEFUL: 0, 2, 9, 1234567\nMISSING: None", (2,), ""),
        ("USEFUL：1、3\nMISSING：无。", (1, 3), ""),
        ("USEFUL: 无\nMISSING: 创始人是谁", (), "创始人是谁"),
        ("USEFUL: 1-3\nMISSING: nothing", (1, 2, 3), ""),
    ],
)
def test_reflections_are_read(reply: str, useful: tuple[int, ...], missing: str) -> None:
    found = read_reflection(reply, 3)
    assert found is not None
    assert (found.useful, found.missing.strip("* ")) == (useful, missing)


@pytest.mark.parametrize("reply", ["", "They are fine.", "USEFUL: 1", "MISSING: all"])
def test_half_a_reflection_is_none(reply: str) -> None:
    assert read_reflection(reply, 3) is None


@given(st.text(), st.integers(0, 4))
def test_a_reflection_names_only_passages_that_there_are(reply: str, count: int) -> None:
    found = read_reflection(f"USEFUL: {reply}\nMISSING: {reply}", count)
    assert found is None or all(1 <= number <= count for number in found.useful)


@pytest.mark.parametrize(
    ("report", "cleaned", "cited", "removed"),
    [
        ("A [1]. B [2, 3].", "A [1]. B [2, 3].", [1, 2, 3], False),
        ("A [7]. B [2, 9].", "A. B [2].", [2], True),
        ("A.", "A.", [], False),
        ("A[4]", "A", [], True),
        ("Take `a[4]`, and not a[4].", "Take `a[4]`, and not a.", [], True),
        ("", "", [], False),
        ("A [1-3]. B [2–9]. C [0-1].", "A [1-3]. B [2, 3]. C [1].", [1, 2, 3], True),
        ("甲【1】。乙【2、9】。丙［3］。", "甲【1】。乙[2]。丙［3］。", [1, 2, 3], True),
        ("A [1，2] and [3; 1].", "A [1，2] and [3; 1].", [1, 2, 3], False),
        ("A [3-1].", "A.", [], True),
        (f"A [{'9' * 5000}], [1-{'9' * 5000}].", "A, [1, 2, 3].", [1, 2, 3], True),
    ],
)
def test_citations_of_nothing_are_taken_out(report: str, cleaned: str, cited: list[int], removed: object) -> None:
    assert clean_citations(report, 3) == (cleaned, cited, removed)


@given(
    st.lists(
        st.sampled_from(["[1]", " [2]", "[17]", "[1, 17]", "[0]", "[1-17]", "【17】", "text", " ", "`[3]`", "[a]"])
    ).map("".join)
)
def test_no_citation_of_nothing_is_left(report: str) -> None:
    cleaned, cited, _ = clean_citations(report, 2)
    assert "17" not in cleaned
    assert set(cited) <= {1, 2}
    assert clean_citations(cleaned, 2) == (cleaned, cited, False)


@given(st.integers(1, 5), st.integers(0, 3), st.integers(0, 300), st.booleans())
def test_a_course_always_ends(rounds: int, new: int, spent: int, missing: object) -> None:
    course = Course(Limits(max_rounds=rounds, token_budget=200))
    for round_ in range(1, rounds + 1):
        step, reason = course.after_search(round_=round_, new=new, spent=spent)
        if step == "report":
            assert reason
            return
        step, reason = course.after_reflect(round_=round_, missing="something" if missing else "", spent=spent)
        if step == "report":
            assert reason
            return
    pytest.fail("a search more than there are rounds")


@given(
    st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=4), min_size=1, max_size=4),
    st.lists(st.lists(st.integers(1, 8), max_size=3), min_size=4, max_size=4),
)
def test_what_is_judged_useful_comes_first_then_what_is_new(rounds: list[list[str]], verdicts: list[list[int]]) -> None:
    known: list[str] = []
    useful: list[int] = []
    for found, verdict in zip(rounds, verdicts, strict=False):
        kept = [known[number - 1] for number in useful]
        passages, new, useful_now = merge_found(known, useful, [found], str)
        assert sorted(set(passages)) == sorted({*known, *found})
        assert len(passages) == len(set(passages))
        assert new == len(passages) - len(known)
        assert passages[: len(kept)] == kept
        assert set(passages[len(kept) : len(kept) + new]) == {*found} - {*known}
        assert useful_now == list(range(1, len(kept) + new + 1)), "what is new is not rejected before it was judged"
        known = passages
        useful = list(dict.fromkeys(number for number in verdict if number <= len(known)))


def test_prompts_break_control_tokens_and_number_passages() -> None:
    prompts, bad = DeepSearchPrompts(), "x <|im_end|>"
    for messages in (
        prompts.ask_plan(bad, 3),
        prompts.ask_reflect(bad, [bad]),
        prompts.ask_rewrite(bad, bad, [bad], 3),
        prompts.ask_report(bad, [bad, bad]),
    ):
        assert not any("<|im_end|>" in text for _, text in messages)
    assert "at most 3" in prompts.ask_plan("q", 3)[0][1]
    assert "[2] b" in prompts.ask_report("q", ["a", "b"])[0][1]
    assert DeepSearchPrompts(plan="Up to {most} of {x}").ask_plan("q", 2)[0] == ("system", "Up to 2 of {x}")
