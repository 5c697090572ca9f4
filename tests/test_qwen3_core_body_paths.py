"""Fields of nested bodies by their path."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qwen3_core.chat.paths import get, merge_bodies, put, without

KEYS = st.sampled_from(["a", "b", "c"])
BODIES = st.dictionaries(KEYS, st.recursive(st.integers() | st.none(), lambda inner: st.dictionaries(KEYS, inner)))
PATHS = st.lists(KEYS, min_size=1, max_size=3).map(tuple)


def test_merging_keeps_siblings() -> None:
    below, over = {"a": {"x": 1, "y": {"z": 1}}, "b": 1}, {"a": {"y": {"w": 2}}, "b": {"c": 3}}
    assert merge_bodies(below, over) == {"a": {"x": 1, "y": {"z": 1, "w": 2}}, "b": {"c": 3}}


def test_a_body_without_a_path_loses_the_object_that_is_empty_then() -> None:
    assert without({"a": {"b": 1}, "c": 2}, ("a", "b")) == {"c": 2}
    assert without({"a": {"b": 1, "d": 3}}, ("a", "b")) == {"a": {"d": 3}}
    assert without({"a": 1}, ("a", "b")) == {"a": 1}  # what stands there is no object
    assert without({"a": 1}, ("b",)) == without({"a": 1}, None) == {"a": 1}


@given(body=BODIES, path=PATHS, value=st.integers())
def test_what_is_put_is_found_and_gone_again(body: Any, path: Any, value: Any) -> None:
    written = put(body, path, value)
    assert get(written, path) == value
    assert get(without(written, path), path) is None
    assert get(body, None) is None


@given(body=BODIES, over=BODIES, path=PATHS)
def test_nothing_given_is_changed(body: Any, over: Any, path: Any) -> None:
    before = copy.deepcopy((body, over))
    merged = merge_bodies(body, over)
    put(merged, path, 1)
    without(merged, path)
    assert (body, over) == before
    assert {key: merged[key] for key in over if not isinstance(over[key], dict)} == {
        key: value for key, value in over.items() if not isinstance(value, dict)
    }
