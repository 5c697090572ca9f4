"""Milvus's rules: filters, rows, identity, addresses and errors, on a real Milvus Lite where Milvus is needed."""

from __future__ import annotations

import fcntl
import itertools
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qwen3_core.milvus import (
    GuardedClient,
    LiteFile,
    MilvusAddress,
    check_collection_name,
    compile_filter,
    compile_ids,
    content_id,
    join_all,
)
from qwen3_core.milvus.errors import (
    EmbeddingMismatchError,
    MilvusStoreError,
    MilvusTimeoutError,
    MilvusUnavailableError,
    causes,
    explain,
)
from qwen3_core.milvus.identity import EmbeddingIdentity, check_identity
from qwen3_core.milvus.rows import MAX_TEXT_BYTES, Rows, check_vectors

NASTY = [
    "",
    " ",
    '"',
    "'",
    "\\",
    '\\"',
    "\\n",
    "\n",
    "\r\n",
    "\t",
    "\x00",
    "\x1b\x7f",
    "\u2028",
    "é",
    "e\u0301",
    "中文",
    "😀",
    "{x}",
    "${x}",
    "%s",
    "null",
    "true",
    "1",
    "$meta",
    "a b",
    "x.y",
    "x]",
    '" or pk != "',
    '"] or pk != "',
    "1 == 1",
]


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedClient]:
    """A Milvus Lite with an empty collection `rows`, its dense index and dynamic fields."""
    from pymilvus import DataType, MilvusClient

    address = MilvusAddress(str(tmp_path_factory.mktemp("milvus") / "filters.db"))
    file = LiteFile.acquire(address.uri)
    client = GuardedClient(MilvusClient(**address.client_args()), address)
    schema = client.create_schema(auto_id=False, enable_dynamic_field=True)
    schema.add_field("pk", DataType.VARCHAR, is_primary=True, max_length=512)
    schema.add_field("text", DataType.VARCHAR, max_length=1000)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    params = client.prepare_index_params()
    params.add_index(field_name="vector", **client.dense_index())
    client.create_collection("rows", schema=schema, index_params=params)
    yield client
    client.close()
    file.release()


# -- filters --------------------------------------------------------------------------------------------------

_keys = st.sampled_from(["a", "a b", 'q"', "\\", "\n", "", "é", "exists", "in", "id", "$x", "x.y", "x]"]) | st.text(
    max_size=4
)
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(NASTY)
    | st.text(max_size=6)
)
_stored = _scalars | st.lists(_scalars, max_size=2) | st.dictionaries(st.text(max_size=2), _scalars, max_size=2)
_rows = st.lists(st.dictionaries(_keys, _stored, max_size=5), min_size=1, max_size=6)
_numbers = itertools.count()


def _equal(stored: Any, wanted: Any) -> bool:
    if wanted is None or stored is None:
        return stored is wanted
    return not isinstance(stored, (list, dict)) and bool(stored == wanted)


def _holds(row: dict[str, Any], conditions: dict[str, Any]) -> bool:
    for key, wanted in conditions.items():
        members = wanted if isinstance(wanted, (list, tuple, set)) else [wanted]
        if not any(_equal(row.get(key), member) for member in members):
            return False
    return True


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), rows=_rows)
def test_a_compiled_filter_selects_what_plain_python_selects(
    lite: GuardedClient, data: st.DataObject, rows: list[dict[str, Any]]
) -> None:
    taken = {"pk", "text", "vector", "$meta"}
    rows = [{key: value for key, value in row.items() if key not in taken} for row in rows]
    present = [key for row in rows for key in row]
    values = [v for row in rows for v in row.values() if not isinstance(v, (list, dict))]
    value = (st.sampled_from(values) if values else st.none()) | _scalars
    key = (st.sampled_from(present) if present else st.just("a")) | _keys.filter(lambda k: k not in taken)
    key = key.filter(bool)  # a server cannot look up an empty key, so that it is refused everywhere
    conditions = data.draw(st.dictionaries(key, value | st.lists(value, max_size=4), max_size=2))
    number = next(_numbers)
    stored = {f"{number}-{index}": row for index, row in enumerate(rows)}
    lite.upsert("rows", [{**row, "pk": pk, "text": "t", "vector": [1.0, 0.0]} for pk, row in stored.items()])
    if number % 5 == 0:
        lite.flush("rows")
    expression = join_all(compile_ids(list(stored)), compile_filter(conditions))
    found = {row["pk"] for row in lite.query("rows", filter=expression, output_fields=["pk"])}
    assert found == {pk for pk, row in stored.items() if _holds(row, conditions)}


@pytest.mark.parametrize("text", NASTY)
def test_an_id_and_a_text_select_themselves_only(lite: GuardedClient, text: str) -> None:
    own, other = f"own {text}", "other"
    lite.upsert("rows", [{"pk": pk, "text": pk, "vector": [1.0, 0.0]} for pk in (own, other)])
    assert [r["pk"] for r in lite.query("rows", filter=compile_ids([own]), output_fields=["pk"])] == [own]
    assert [r["pk"] for r in lite.query("rows", filter=compile_filter({"text": own}), output_fields=["pk"])] == [own]


def test_a_long_list_is_a_shallow_expression(lite: GuardedClient) -> None:
    lite.upsert("rows", [{"pk": "many", "text": "t", "vector": [1.0, 0.0], "page": 1999}])
    expression = compile_filter({"page": list(range(2000))})
    assert [r["pk"] for r in lite.query("rows", filter=expression, output_fields=["pk"])] == ["many"]


@pytest.mark.parametrize(
    ("conditions", "expression"),
    [
        (None, ""),
        ({}, ""),
        ({"a": 1}, '$meta["a"] == 1'),
        ({"a": True, "b": False}, '($meta["a"] == true and $meta["b"] == false)'),
        ({"a": -1.5e-9}, '$meta["a"] == -1.5e-09'),
        ({"a": 'x"\\\n'}, '$meta["a"] == "x\\"\\\\\\n"'),
        ({"a": []}, "pk in []"),
        ({"a": ("x", None)}, '((not (exists $meta["a"])) or $meta["a"] == "x")'),
        ({"pk": "1"}, 'pk == "1"'),
        ({"text": None}, "pk in []"),
    ],
)
def test_compiled_expressions(conditions: dict[str, Any] | None, expression: str) -> None:
    assert compile_filter(conditions) == expression


@pytest.mark.parametrize(
    ("conditions", "error"),
    [
        ({"a": {"b": 1}}, TypeError),
        ({"a": object()}, TypeError),
        ({"a": b"x"}, TypeError),
        ({"a": [[1]]}, TypeError),
        ({1: "x"}, TypeError),
        ("a == 1", TypeError),
        ([("a", 1)], TypeError),
        ({"a": float("nan")}, ValueError),
        ({"a": float("inf")}, ValueError),
        ({"a": 2**63}, ValueError),
        ({"a": "\ud800"}, ValueError),
        ({"\ud800": 1}, ValueError),
        ({"": 1}, ValueError),
    ],
)
def test_what_is_no_filter_is_refused(conditions: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        compile_filter(conditions)


def test_ids_are_strings_and_conditions_join() -> None:
    assert compile_ids([]) == "pk in []"
    with pytest.raises(TypeError, match="int"):
        compile_ids([1])  # type: ignore[list-item]
    assert join_all(None, "", "a == 1") == "a == 1"
    assert join_all("a == 1 or b == 2", None, "c == 3") == "(a == 1 or b == 2) and (c == 3)"


# -- rows and ids ---------------------------------------------------------------------------------------------


def test_content_ids_depend_on_text_and_metadata_only() -> None:
    first = content_id("text", {"source": "a.md", "page": 1})
    assert first == content_id("text", {"page": 1, "source": "a.md"})
    assert len(first) == 64
    others = [content_id("text"), content_id("text", {"source": "b.md"}), content_id("Text", {"source": "a.md"})]
    assert len({first, *others}) == 4


def test_rows_take_given_ids_and_make_the_others() -> None:
    rows = Rows(["x", "y", "x"], [{}, {"n": 1}, {}], [None, "given", None])
    assert rows.keys == [content_id("x"), "given", content_id("x")]
    assert rows.made == {content_id("x")}
    assert list(rows.first.values()) == [0, 1]
    assert rows.row(1, (1.0, 0.0)) == {"pk": "given", "text": "y", "vector": [1.0, 0.0], "n": 1}


@pytest.mark.parametrize(
    ("texts", "metadatas", "ids", "error", "match"),
    [
        (["a"], [], None, ValueError, "1 texts, 0 metadatas"),
        (["a"], None, ["1", "2"], ValueError, "2 ids"),
        (["a", "b"], None, ["1", "1"], ValueError, "id '1' and differ"),
        ([1], None, None, TypeError, "Document 0: the text is a int"),
        (["é" * 40_000], None, None, ValueError, "80,000 bytes"),
        (["\ud800"], None, None, ValueError, "not valid Unicode"),
        (["a"], None, [""], TypeError, "at least one character"),
        (["a"], None, [7], TypeError, "id is 7"),
        (["a"], None, ["x" * 513], ValueError, "513 bytes"),
        (["a"], [{"text": "b"}], None, ValueError, "'text' is a field"),
        (["a"], [{"pk": "b"}], None, ValueError, "'pk' is a field"),
        (["a"], [{"vector": [1]}], None, ValueError, "'vector' is a field"),
        (["a"], [{"sparse": 1}], None, ValueError, "'sparse' is a field"),
        (["a"], [{1: "b"}], None, TypeError, "key 1 is a int"),
        (["a"], [{"when": threading}], None, TypeError, "no JSON value"),
        (["a"], [{"n": {"m": [float("nan")]}}], None, ValueError, r"metadata\['n'\]\['m'\]\[0\]: nan"),
        (["a"], [{"n": 2**63}], None, ValueError, "64-bit"),
        (["a"], [{"n": ["\ud800"]}], None, ValueError, r"metadata\['n'\]\[0\] is not valid Unicode"),
        (["a"], [{"\ud800": 1}], None, ValueError, "a key is not valid Unicode"),
    ],
)
def test_rows_that_milvus_would_spoil_are_refused(
    texts: Any, metadatas: Any, ids: Any, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        Rows(texts, metadatas, ids)


def test_the_longest_text_is_counted_in_bytes() -> None:
    assert Rows(["x" * MAX_TEXT_BYTES], None, None).keys


@pytest.mark.parametrize("vectors", [[], [[]], [[1.0], [1.0, 2.0]], [[float("nan"), 1.0]], [[float("inf")]]])
def test_unusable_vectors_are_refused(vectors: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="The embedding gave"):
        check_vectors(vectors, max(len(vectors), 1))


# -- identity -------------------------------------------------------------------------------------------------


class _Ours:
    def __init__(self, **changes: Any) -> None:
        self.model, self.dimensions, self.revision, self.max_length = "m", None, None, 8192
        self.__dict__.update(changes)


class _Other:
    model_name = "other-model"


def test_identity_is_read_from_attributes_and_survives_json() -> None:
    identity = EmbeddingIdentity.of(_Ours(dimensions=256, revision="main"))
    assert identity == EmbeddingIdentity("qwen3", "m", 256, "main", 8192)
    assert EmbeddingIdentity.from_json(identity.to_json()) == identity
    later = json.dumps({**json.loads(identity.to_json()), "added_later": 1})
    assert EmbeddingIdentity.from_json(later) == identity
    assert EmbeddingIdentity.of(_Other()) == EmbeddingIdentity("_Other", "other-model")
    assert EmbeddingIdentity.of(object()) == EmbeddingIdentity("object")
    for broken in ("[]", "{}", "no JSON"):
        with pytest.raises(ValueError, match=r"identity|Expecting"):
            EmbeddingIdentity.from_json(broken)


@pytest.mark.parametrize(
    ("given", "settled"),
    [(_Ours(), True), (_Ours(dimensions=1024), True), (_Ours(dimensions=512), None), (_Ours(model="n"), None)],
)
def test_identity_is_compared_by_name_and_size(given: Any, settled: bool | None) -> None:  # noqa: FBT001
    stored, wanted = EmbeddingIdentity.of(_Ours()), EmbeddingIdentity.of(given)
    if settled is None:
        with pytest.raises(EmbeddingMismatchError, match=r"m, 1024 dimensions.*drop_old=True"):
            check_identity(stored, 1024, wanted, collection="docs")
    else:
        assert check_identity(stored, 1024, wanted, collection="docs") is settled


def test_identity_is_unsettled_where_names_cannot_tell() -> None:
    cut, whole = EmbeddingIdentity.of(_Ours(dimensions=256)), EmbeddingIdentity.of(_Ours())
    assert not check_identity(cut, 256, whole, collection="docs")
    nameless = EmbeddingIdentity.of(object())
    assert not check_identity(nameless, 256, nameless, collection="docs")


# -- addresses, Lite files, errors ----------------------------------------------------------------------------


def test_addresses_are_checked_and_shown_without_credentials(tmp_path: Path) -> None:
    assert MilvusAddress(str(tmp_path / "a.db")).is_lite
    remote = MilvusAddress("http://user:hunter2@db:19530/mine", token="secret")
    assert remote.shown == "http://db:19530/mine"
    assert "hunter2" not in repr(remote)
    assert "secret" not in repr(remote)
    with pytest.raises(ValueError, match=r"ends with \.db, or http"):
        MilvusAddress("milvus")
    with pytest.raises(ValueError, match="does not exist"):
        MilvusAddress(str(tmp_path / "none" / "a.db"))
    for timeout in (0, -1, None):
        with pytest.raises(ValueError, match="timeout"):
            MilvusAddress("http://db:19530", timeout=timeout)  # type: ignore[arg-type]
    old = tmp_path / "old.db"
    old.write_bytes(b"SQLite format 3\x00")
    with pytest.raises(MilvusStoreError, match="Milvus Lite 2"):
        MilvusAddress(str(old))


@pytest.mark.parametrize("name", ["", "my-docs", "1st", "a b", "я", "x" * 256, 'd"'])
def test_collection_names_that_a_server_refuses_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="letters, digits and underscores"):
        check_collection_name(name)


def test_a_lite_file_is_released_by_its_last_user(tmp_path: Path) -> None:
    from pymilvus import MilvusClient

    address = MilvusAddress(str(tmp_path / "shared.db"))
    first, second = LiteFile.acquire(address.uri), LiteFile.acquire(address.uri)
    assert first is second
    client = MilvusClient(**address.client_args())
    first.release()
    assert client.list_collections() == []
    client.close()
    second.release()
    with (Path(address.uri) / "LOCK").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fresh = LiteFile.acquire(address.uri)
    assert fresh is not first
    fresh.release()


class _OldServer:
    """What pymilvus reports of the real server in PyPI's package `milvus`."""

    def get_server_version(self, timeout: float) -> str:
        return "v2.3.5-lite"


def test_a_server_without_full_text_search_is_refused() -> None:
    client = GuardedClient(_OldServer(), MilvusAddress("http://db:19530"))
    assert not client.is_lite
    with pytest.raises(MilvusStoreError, match=r"needs Milvus 2.5 .*v2\.3\.5-lite"):
        client.require_full_text()


def test_every_cause_is_seen_once_and_unknown_errors_keep_their_text() -> None:
    first, second = ValueError("first"), RuntimeError("second")
    first.__cause__, second.__cause__ = second, first
    assert list(causes(first)) == [first, second]
    error = explain(first, server="db", doing="search", timeout=1.0)
    assert type(error) is MilvusStoreError
    assert "first" in str(error)
    user = explain(ValueError('cannot parse "timeout"'), server="db", doing="search", timeout=1.0)
    assert type(user) is MilvusStoreError
    slow = explain(ValueError("wait for loading collection timeout"), server="db", doing="load", timeout=1.0)
    assert type(slow) is MilvusTimeoutError


def test_a_dead_server_is_named_and_the_secret_is_not() -> None:
    from pymilvus import MilvusClient

    address = MilvusAddress("http://127.0.0.1:9", token="root:hunter2", timeout=2)
    with pytest.raises(MilvusUnavailableError, match=r"127\.0\.0\.1:9") as caught, address.errors("connecting"):
        MilvusClient(**address.client_args())
    assert "hunter2" not in "".join(str(cause) for cause in causes(caught.value))
