"""JSON that is still being written."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaindex_qwen3.partial_json import read_partial_json

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=4), VALUES, max_size=4) | st.lists(VALUES, max_size=4)


def _begins(part: Any, whole: Any) -> bool:
    """Tell whether a value can become another by more of its text."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and _begins(value, whole[key]) for key, value in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) <= len(whole) and all(_begins(*pair) for pair in zip(part, whole, strict=False))
    if isinstance(part, str) and isinstance(whole, str):
        return whole.startswith(part)
    if type(part) is int and type(whole) is int:
        return str(whole).startswith(str(part))
    return type(part) is type(whole) and bool(part == whole)


@given(OBJECTS, st.booleans(), st.sampled_from(["", "Here: ", "```json\n"]), st.sampled_from(["", "\n```", " Done."]))
def test_every_beginning_is_a_beginning_of_the_value(value: Any, ascii_only: Any, before: str, behind: str) -> None:
    text = before + json.dumps(value, ensure_ascii=ascii_only)
    for end in range(len(text)):
        part = read_partial_json(text[:end])
        assert part is None or _begins(part, value)
    assert read_partial_json(text + behind) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("no JSON", None),
        ("{", {}),
        ('{"a', {}),
        ('{"a":', {}),
        ('{"a": "Os', {"a": "Os"}),
        ('{"a": "O\\', {"a": "O"}),
        ('{"a": "\\u00', {}),
        ('{"a": 1, "b": tr', {"a": 1}),
        ('{"a": [1, {"b": "x"}, {', {"a": [1, {"b": "x"}, {}]}),
        ('[{"a": "}"', [{"a": "}"}]),
    ],
)
def test_what_is_cut_is_shown_as_far_as_it_goes(text: str, value: Any) -> None:
    assert read_partial_json(text) == value


def test_what_is_no_json_is_an_error() -> None:
    with pytest.raises(ValueError, match="property name"):
        read_partial_json("{so}")
