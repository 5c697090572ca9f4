"""The pure parts of the clients: batches, halves, rows, vectors, URLs, waits, plain texts, limits and errors."""

import base64
import contextlib
import email.utils
import itertools
import math
import time
import unicodedata
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from qwen3_core.prompts import RERANK_PREFIX, RERANK_SUFFIX
from qwen3_core.remote.batching import Streak, batches, each_row
from qwen3_core.remote.check import judge_embeddings
from qwen3_core.remote.errors import AnswerError, ServerError
from qwen3_core.remote.http import Call, _seconds
from qwen3_core.remote.routes import (
    dashscope_root,
    in_order,
    in_places,
    root_of,
    rows_of,
    score_of,
    unit,
    v1_of,
    vector_of,
)
from qwen3_core.remote.texts import Ruler, plain

whole_numbers = st.integers(0, 50)
number = st.floats(-1e6, 1e6, width=32)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)


@given(st.lists(whole_numbers), st.integers(1, 8), st.integers(0, 60))
def test_batches_part_texts_in_order_within_both_limits(costs: list[int], rows: int, tokens: int) -> None:
    found = batches(costs, rows, tokens)
    assert [place for batch in found for place in batch] == list(range(len(costs)))
    for batch, behind in itertools.zip_longest(found, found[1:]):
        spent = sum(costs[place] for place in batch)
        assert 1 <= len(batch) <= rows
        assert spent <= tokens or len(batch) == 1
        assert behind is None or len(batch) == rows or spent + costs[behind[0]] > tokens, "none could be fuller"


def drive(job: Generator[Call, Any, Any], answer: Any) -> Any:
    """Run a job; `answer` returns or raises."""
    try:
        call = next(job)
        while True:
            try:
                value = answer(call)
            except ServerError as error:
                call = job.throw(error)
            else:
                call = job.send(value)
    except StopIteration as end:
        return end.value


def well() -> Generator[Call, Any, list[int]]:
    """A server that is well."""
    yield from ()
    return []


@given(st.integers(1, 64), st.sets(st.integers(0, 63)), st.sampled_from([400, 413, 422, 424, 500]))
def test_halving_finds_exactly_the_bad_rows(size: int, places: set[int], status: int) -> None:
    bad, asked = {place for place in places if place < size}, []
    failure = ServerError("bad", status=status)

    def ask(batch: Sequence[int]) -> Generator[Call, Any, list[int]]:
        found: list[int] = yield Call("http://a.test", {"batch": list(batch)}, lambda answer: answer)
        return found

    def answer(call: Call) -> list[int]:
        batch = (call.body or {})["batch"]
        asked.append(batch)
        if bad & set(batch):
            raise failure
        return [10 * place for place in batch]

    rows = drive(each_row(list(range(size)), ask, Streak(well)), answer)
    assert [place for place, row in enumerate(rows) if isinstance(row, ServerError)] == sorted(bad)
    assert all(row == 10 * place for place, row in enumerate(rows) if place not in bad)
    assert len(asked) <= 1 + 2 * len(bad) * math.ceil(math.log2(size)) if size > 1 else len(asked) == 1


@given(st.integers(1, 64), st.sampled_from([None, 401, 404, 429, 503]))
def test_what_is_not_about_a_row_is_not_asked_in_halves(size: int, status: int | None) -> None:
    asked, failure = [], ServerError("no", status=status)

    def ask(batch: Sequence[int]) -> Generator[Call, Any, list[int]]:
        asked.append(batch)
        found: list[int] = yield Call("http://a.test", None, lambda answer: answer)
        return found

    def refuse(call: Call) -> None:
        raise failure

    assert len(drive(each_row(range(size), ask, Streak(well)), refuse)) == size
    assert len(asked) == 1


@given(st.permutations(range(12)), st.integers(0, 12))
def test_rows_go_to_the_places_they_name(order: list[int], count: int) -> None:
    rows = [{"at": place, "value": str(place)} for place in order if place < count]
    assert in_places(rows, count, lambda row: row["value"], index="at") == [str(place) for place in range(count)]


@pytest.mark.parametrize("place", [0.0, 1.0, "1", {}, [], None, 2, -1, 0, math.nan])
def test_rows_of_a_wrong_place_are_refused(place: Any) -> None:
    for rows in ([{"at": 0}, {"at": place}], [{"at": place}, {"at": 0}], [{"at": 0}, {}], [{"at": 0}, place]):
        with pytest.raises(AnswerError, match="2 rows for 2 texts"):
            in_places(rows, 2, dict, index="at")
    for rows in ([{"at": 0}], [{"at": 0}, {"at": 1}, {"at": 2}], [{"at": 0}, {"at": 1}, {"at": 1}]):
        with pytest.raises(AnswerError):
            in_places(rows, 2, dict, index="at")
        with pytest.raises(AnswerError):
            in_order(rows, 2, dict)


def test_rows_of_a_place_that_is_true_are_refused() -> None:
    with pytest.raises(AnswerError):
        in_places([{"at": False}, {"at": True}], 2, dict, index="at")


@given(anything, st.lists(st.sampled_from(["data", "output", ""]), max_size=2))
def test_whatever_a_server_answers_is_rows_or_an_answer_error(answer: Any, path: list[str]) -> None:
    for read in (
        lambda: rows_of(answer, *path), lambda: vector_of(answer), lambda: score_of(answer),
        lambda: in_places(answer if isinstance(answer, list) else [answer], 1, vector_of, index="index"),
    ):  # fmt: skip
        with contextlib.suppress(AnswerError):
            read()


@pytest.mark.parametrize("read", [score_of, lambda value: vector_of([value]), lambda value: vector_of([value, 0.5])])
def test_a_number_beyond_any_float_is_an_answer_error(read: Any) -> None:
    with pytest.raises(AnswerError):
        read(10**400)


@given(st.lists(number, min_size=1, max_size=40))
def test_a_vector_is_read_from_a_list_and_from_base64(vector: list[float]) -> None:
    packed = base64.b64encode(np.array(vector, "<f4").tobytes()).decode()
    assert vector_of(vector) == vector
    assert vector_of(packed) == pytest.approx(vector)


BAD_BASE64 = [base64.b64encode(np.array(each, "<f4").tobytes()).decode() for each in ([1, math.nan], [math.inf], [])]


@pytest.mark.parametrize(
    "value",
    [None, {}, [], "", 1.0, True, [None], ["1"], [True, False], [[1.0]], [math.nan], [math.inf, -math.inf], [0.5, None],
     "AAA", "AAAA", "not base64!", "äöü", *BAD_BASE64],
)  # fmt: skip
def test_what_is_no_vector_is_refused(value: Any) -> None:
    with pytest.raises(AnswerError):
        vector_of(value)


@pytest.mark.parametrize("value", [None, "0.5", True, math.nan, math.inf, -0.001, 1.001, 7.74, [0.5], {}])
def test_what_is_no_probability_is_refused(value: Any) -> None:
    with pytest.raises(AnswerError):
        score_of(value)


@given(st.lists(number, min_size=1, max_size=64), st.integers(1, 64))
def test_unit_cuts_and_then_normalises(vector: list[float], size: int) -> None:
    if len(vector) < size:
        with pytest.raises(ServerError, match=f"{len(vector)} numbers"):
            unit(vector, size)
    elif math.hypot(*vector[:size]) == 0:
        with pytest.raises(AnswerError, match="length 0"):
            unit(vector, size)
    elif math.hypot(*vector[:size]) > 1e-30:
        cut = unit(vector, size)
        assert math.hypot(*cut) == pytest.approx(1, abs=1e-12)
        assert cut == pytest.approx(unit(vector[:size], None))
        assert cut == pytest.approx(unit(unit(vector, None), size))
        assert cut == pytest.approx([each / math.hypot(*vector[:size]) for each in vector[:size]])


def test_known_texts_of_different_lengths_are_a_finding() -> None:
    assert judge_embeddings([[1.0, 0.0], [0.0, 1.0]], [[1.0] * 3, [0.5] * 3], server="vllm", dimensions=None)


@pytest.mark.parametrize("root", ["http://host:8000", "https://gateway.test/x", "http://127.0.0.1", "https://a.b/c/d"])
@pytest.mark.parametrize("slash", ["", "/", "//"])
@pytest.mark.parametrize(
    "pasted",
    ["", "/v1", "/v1/embeddings", "/v1/rerank", "/v1/score", "/embed", "/rerank", "/v1/reranks", "/api/embed", "/api"],
)
def test_a_pasted_url_leads_to_the_server(root: str, slash: str, pasted: str) -> None:
    assert root_of(root + pasted + slash) == root
    assert v1_of(root + pasted + slash) == f"{root}/v1"


@pytest.mark.parametrize(
    "path",
    ["/api/v1", "/compatible-mode/v1/embeddings", "/compatible-api/v1/reranks", "/compatible-mode/v1/", "",
     "/api/v1/services/embeddings/text-embedding/text-embedding", "/api/v1/services/rerank/text-rerank/text-rerank"],
)  # fmt: skip
@pytest.mark.parametrize("root", ["https://dashscope-intl.aliyuncs.com", "https://gateway.test/x"])
def test_dashscopes_urls_lead_to_all_its_apis(root: str, path: str) -> None:
    assert dashscope_root(root + path) == root


@pytest.mark.parametrize("url", ["https://openrouter.ai/api/v1", "https://openwebui.test/api/v1/embeddings"])
def test_a_gateway_whose_v1_is_under_api_is_asked_there(url: str) -> None:
    assert v1_of(url) == url.removesuffix("/embeddings")


@given(st.floats(0, 1e9))
def test_seconds_to_wait_are_read(seconds: float) -> None:
    assert _seconds(str(seconds)) == seconds
    assert _seconds(str(int(seconds))) == int(seconds)
    assert _seconds(str(-seconds - 1)) == 0
    date = email.utils.formatdate(time.time() + int(seconds) % 10**6, usegmt=True)
    assert _seconds(date) == pytest.approx(int(seconds) % 10**6, abs=3)


@given(st.text() | st.from_regex(r"\w{3}, \d+ [A-Z][a-z]{2} \d+ [\d:]+ [+-]?\w+", fullmatch=True))
@example("soon")
@example("nan")
@example("inf")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
def test_rubbish_is_no_wait_and_no_crash(text: str) -> None:
    found = _seconds(text)
    assert found is None or 0 <= found < math.inf


def test_a_date_that_no_calendar_has_is_rubbish() -> None:
    assert _seconds("Mon, 01 Jan 99999999999999999999 00:00:00 GMT") is None


# --- texts

PIECES = [
    "<", "|", ">", "/", "<|", "|>", "im_", "im_end", "<|im_end|>", "<|im_start|>", "think", "<think>", "</think>",
    "<|endoftext|>", "<tool_call>", "\u200b", "\u0338", "e\u0301", "\ud83d", "\udc4d", "\u212a", "鱼", " ", "\n", "👍",
    "<|vision_start|>", "</tool_response>", "<|fim_prefix|>",
]  # fmt: skip
mixed = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=12).map("".join)


@pytest.fixture(scope="module")
def genuine(qwen3_tokenizer_folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(qwen3_tokenizer_folder / "tokenizer.json"))


@given(mixed)
@settings(max_examples=300)
def test_a_plain_text_holds_no_control_token(genuine: Tokenizer, text: str) -> None:
    safe = plain(text)
    assert max(genuine.encode(safe, add_special_tokens=False).ids, default=0) < 151_643
    assert plain(safe) == safe == unicodedata.normalize("NFC", safe)
    whole = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())
    assert safe.replace("\u200b", "") == whole.replace("\u200b", ""), "it reads the same"
    ids = genuine.encode(RERANK_PREFIX + safe + RERANK_SUFFIX, add_special_tokens=False).ids
    assert sum(each >= 151_643 for each in ids) == 7, "the prompt's own: three turns begin, two end, a thought"


@given(mixed.map(lambda text: text * 5), st.integers(1, 40), st.sampled_from(["exactly", "by an estimate"]))
@settings(max_examples=300)
def test_a_cut_text_fits_and_is_a_beginning(qwen3_tokenizer_folder: Path, text: str, limit: int, how: str) -> None:
    exact = how == "exactly"
    ruler = Ruler(str(qwen3_tokenizer_folder) if exact else None, "")
    safe = plain(text)
    cut = ruler.fit(safe, limit, "end", name="text 0", is_final=False)
    whole = ruler.count(safe)
    assert safe.startswith(cut)
    assert ruler.count(cut) <= limit
    assert cut == safe or (whole if exact else whole * 4 / 3) > limit
    if exact and whole > limit:
        with pytest.raises(ValueError, match=f"^text 0 has {whole:,} tokens, and {limit} is the limit"):
            ruler.fit(safe, limit, "error", name="text 0", is_final=False)
    elif exact:
        assert ruler.fit(safe, limit, "error", name="text 0", is_final=True) == safe


@given(st.lists(mixed.map(plain), max_size=20), st.integers(1, 8), st.integers(0, 200))
def test_costs_are_never_too_low(qwen3_tokenizer_folder: Path, texts: list[str], rows: int, tokens: int) -> None:
    ruler = Ruler(str(qwen3_tokenizer_folder), "")
    assert all(cost >= ruler.count(text) for cost, text in zip(ruler.costs(texts, rows, tokens), texts, strict=True))
