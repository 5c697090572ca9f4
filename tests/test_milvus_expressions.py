"""Filter expressions: random ones over random rows, on Milvus Lite and on a real server, against plain Python."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from milvus_servers import TOKEN

from qwen3_core.milvus import (
    And,
    Collection,
    Connection,
    EmbeddingIdentity,
    Expression,
    Field,
    In,
    MilvusAddress,
    Not,
    Or,
    compile_filter,
    raw,
)
from qwen3_core.milvus.errors import MilvusStoreError
from qwen3_core.milvus.expressions import Comparison
from qwen3_core.milvus.filters import MAX_DEPTH, NOTHING
from qwen3_core.milvus.rows import Rows

TEXTS = [
    "", " ", '"', "'", "\\", '\\"', "\\n", "\n", "a\nb", "\r\n", "\t", "\x00", "\x1b\x7f", "\u2028", "é", "e\u0301",
    "中文", "中文检索", "😀", "{x}", "${x}", "%s", "a_b", "null", "true", "1", "$meta", "a b", "x]", "/", "~1", "[1]",
    '{"n": 1}', '" or pk != "', '"] or pk != "', "1 == 1",
]  # fmt: skip
KEYS = ["a", "a b", 'q"', "\\", "\n", "é", "exists", "in", "id", "$x", "x.y", "x]", "a/b", "m~n", "~1"]
"""What stands under these keys is equal, one of some, there, or has a text in it; under `o` it is also ordered."""


# -- rows -----------------------------------------------------------------------------------------------------


def _scalar(rng: random.Random) -> Any:
    kinds: list[Any] = [
        lambda: rng.choice(TEXTS),
        lambda: rng.randint(-3, 3),
        lambda: rng.choice([0.5, -0.0, 1.0, 2.5, 1e22, -1e-7, 2**53, -(2**53), 2**62]),
        lambda: rng.random() < 0.5,
    ]
    return rng.choice(kinds)()


def _value(rng: random.Random) -> Any:
    kinds: list[Any] = [
        lambda: None,
        lambda: _scalar(rng),
        lambda: _scalar(rng),
        lambda: [_scalar(rng) for _ in range(rng.randint(0, 2))],
        lambda: {rng.choice(["n", "", "é", "a/b"]): _scalar(rng) for _ in range(rng.randint(0, 2))},
    ]
    return rng.choice(kinds)()


def _ordered(rng: random.Random) -> Any:
    return rng.choice([None, rng.randint(-3, 3), rng.randint(-30, 30) / 8, rng.choice(TEXTS), rng.random() < 0.5])


def _row(rng: random.Random) -> dict[str, Any]:
    row = {key: _value(rng) for key in rng.sample(KEYS, rng.randint(0, 6))}
    if rng.random() < 0.7:
        row["o"] = _ordered(rng)
    if rng.random() < 0.7:
        parts = {name: _ordered(rng) for name in rng.sample(["n", "é", "a/b"], rng.randint(0, 2))}
        deep = [parts, [parts, _ordered(rng)], '{"n": 1}', "[{}, 2]", _ordered(rng)]
        row["deep"] = rng.choice(deep)
    return row


def _uniform_rows(rng: random.Random) -> list[dict[str, Any]]:
    """Rows in which a key has one type: Milvus Lite evaluates those in columns, others one by one."""
    makers: list[Any] = [
        lambda: rng.randint(-3, 3),
        lambda: rng.choice(TEXTS),
        lambda: rng.choice([0.5, 1.0, 2.5]),
        lambda: rng.random() < 0.5,
    ]
    key = rng.choice(["a", "o", "a b"])
    make = rng.choice(makers)
    return [{key: make()} if rng.random() < 0.8 else {} for _ in range(6)]


def make_rows(seed: int = 7) -> list[list[dict[str, Any]]]:
    """Return rows in batches; each becomes a segment of its own on Milvus Lite."""
    rng = random.Random(seed)
    return [[_row(rng) for _ in range(120)]] + [_uniform_rows(rng) for _ in range(8)]


# -- random expressions ---------------------------------------------------------------------------------------

_literals = st.sampled_from(
    [*TEXTS, -3, -1, 0, 1, 2, 3, 0.5, -0.0, 1.0, 2.5, 1e22, -1e-7, 2**53, 2**62, True, False]
) | st.text(max_size=3)
_numbers = st.integers(-4, 4) | st.floats(-4, 4, allow_subnormal=False) | st.sampled_from([2**62, -1e300])
_ordering = st.sampled_from(["<", "<=", ">", ">="])
_parts = st.sampled_from(["n", "é", "a/b", "none", 0, 1, 7])
_plain_text = st.sampled_from([text for text in TEXTS if not set(text) & set("%_\\")])
_fields = st.builds(Field, st.sampled_from([*KEYS, "o", "deep"])) | st.builds(
    Field, st.sampled_from(["deep", "a", "a b", "é"]), _parts
)


def _leaves(*, contains: bool) -> st.SearchStrategy[Expression]:
    texts = st.builds(Field.contains, _fields, _plain_text if contains else st.just(""))
    ordered = st.sampled_from([Field("o"), Field("deep")["n"], Field("deep")["a/b"], Field("deep")[1]])
    return st.one_of(
        st.builds(lambda field, value: field == value, _fields, _literals | st.none()),
        st.builds(lambda field, value: field != value, _fields, _literals | st.none()),
        st.builds(In, _fields, st.lists(_literals | st.none(), max_size=4)),
        st.builds(Field.exists, _fields),
        texts,
        st.builds(lambda f, o, v: Comparison(f._path, o, v), ordered, _ordering, _numbers | _plain_text),
        st.builds(lambda f, o, v: Comparison(f._path, o, v), st.just(Field("text")), _ordering, _plain_text),
        st.builds(lambda f, v: f == v, st.sampled_from([Field("pk"), Field("text")]), _literals | st.none()),
        st.builds(In, st.just("pk"), st.lists(st.sampled_from(["r1", "r2", "r50", "none", 3, None]), max_size=3)),
    )


def _trees(*, contains: bool = True) -> st.SearchStrategy[Expression]:
    def grow(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
        several = st.lists(inner, max_size=3)
        return st.one_of(several.map(lambda parts: And(*parts)), several.map(lambda parts: Or(*parts)), inner.map(Not))

    return st.recursive(_leaves(contains=contains), grow, max_leaves=8)


# -- what they mean -------------------------------------------------------------------------------------------


_NOWHERE: Any = {}


@dataclass(frozen=True)
class Judge:
    """Plain Python's opinion of a row.

    Attributes:
        strict: Whether True is another value than 1, and no number (a server).
        null_exists: Whether a stored null counts as a value (Milvus 2.3).
    """

    strict: bool = False
    null_exists: bool = False

    def holds(self, condition: Expression, row: dict[str, Any]) -> bool:
        if isinstance(condition, And):
            return all(self.holds(part, row) for part in condition.parts)
        if isinstance(condition, Or):
            return any(self.holds(part, row) for part in condition.parts)
        if isinstance(condition, Not):
            return not self.holds(condition.part, row)
        assert isinstance(condition, Comparison)
        return self._compare(condition, row)

    def _compare(self, condition: Comparison, row: dict[str, Any]) -> bool:
        value, there = cast("Any", row), True
        for part in condition.path:
            kind: type[Any] = dict if isinstance(part, str) else list
            try:
                value = (value if isinstance(value, kind) else _NOWHERE)[part]
            except (KeyError, IndexError):
                value, there = None, False
                break
        there = there and (self.null_exists or value is not None)
        if condition.operator == "exists":
            return there
        wanted = condition.value if condition.operator == "in" else [condition.value]
        if condition.operator in {"==", "in"}:
            return any(not there if each is None else self._equal(value, each) for each in wanted)
        if condition.operator == "contains":
            return isinstance(value, str) and condition.value in value
        return self._ordered(value, condition.operator, condition.value)

    def _equal(self, stored: Any, wanted: Any) -> bool:
        if self.strict and isinstance(stored, bool) != isinstance(wanted, bool):
            return False
        return isinstance(stored, (str, int, float)) and bool(stored == wanted)

    def _ordered(self, stored: Any, operator: str, wanted: Any) -> bool:
        if self.strict and isinstance(stored, bool):
            return False
        try:
            return bool(
                {"<": stored < wanted, "<=": stored <= wanted, ">": stored > wanted, ">=": stored >= wanted}[operator]
            )
        except TypeError:
            return False


@dataclass
class Stored:
    """A collection with rows, and the rows as Python has them."""

    collection: Collection
    rows: dict[str, dict[str, Any]]
    judge: Judge

    def selected(self, condition: Any) -> set[str]:
        found = self.collection.query(condition, ["pk"], limit=10_000, consistency_level="Eventually")
        return {row["pk"] for row in found}

    def check(self, condition: Expression) -> None:
        expected = {pk for pk, row in self.rows.items() if self.judge.holds(condition, row)}
        assert self.selected(condition) == expected, compile_filter(condition)


def _fill(address: MilvusAddress, judge: Judge, **options: Any) -> Iterator[Stored]:
    connection = Connection(address)
    try:
        collection = Collection(connection, "expressions", EmbeddingIdentity("test"), measure=lambda: 2, **options)
        stored: dict[str, dict[str, Any]] = {}
        for batch in make_rows():
            names = [f"r{len(stored) + index}" for index in range(len(batch))]
            texts = [f"{name} {TEXTS[index % len(TEXTS)]}" for index, name in enumerate(names)]
            rows = Rows(texts, batch, names)
            collection.write(rows, range(len(batch)), [[1.0, 0.0]] * len(batch))
            collection.flush()
            both = zip(batch, names, texts, strict=True)
            stored |= {name: {**row, "pk": name, "text": text} for row, name, text in both}
        assert len(collection.query("", ["pk"], limit=10_000, consistency_level="Strong")) == len(stored)
        yield Stored(collection, stored, judge)
    finally:
        connection.close()


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    yield from _fill(MilvusAddress(str(tmp_path_factory.mktemp("expressions") / "milvus.db")), Judge())


@pytest.fixture(scope="module")
def server(milvus_2_3: str) -> Iterator[Stored]:
    judge = Judge(strict=True, null_exists=True)
    yield from _fill(MilvusAddress(milvus_2_3, TOKEN), judge, drop_old=True)


@settings(max_examples=400)
@given(_trees())
def test_an_expression_selects_what_plain_python_selects_on_lite(lite: Stored, condition: Expression) -> None:
    lite.check(condition)


@settings(max_examples=150)
@given(_trees(contains=False))
def test_an_expression_selects_what_plain_python_selects_on_a_server(server: Stored, condition: Expression) -> None:
    server.check(condition)


@pytest.fixture(params=["lite", "server"])
def stored(request: pytest.FixtureRequest) -> Stored:
    """The same rows on Milvus Lite and on a real server."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_a_value_is_data_wherever_it_stands(stored: Stored, text: str) -> None:
    for condition in (
        Field("a") == text,
        Field("a") != text,
        In("a", [text, "other"]),
        Field("deep")["n"] == text,
        Field(text or "a") == text,
        Field("deep")["n" if text in {"", "1"} else text] == 1,
        Field("text") == text,
        In("pk", [text]),
        Field("o") <= text,
    ):
        stored.check(condition)


def test_deep_and_long_conditions(stored: Stored) -> None:
    deep: Expression = Field("o") > 0
    for level in range(MAX_DEPTH - 1):
        deep = And(Field("a") != level, deep) if level % 2 else Or(Field("a") == level, deep)
    stored.check(deep)
    stored.check(Not(deep))
    for _ in range(2):
        deep = Or(And(deep, Field("a") != "x"), Field("a") == "y")
    with pytest.raises(ValueError, match="more than 40 deep"):
        stored.selected(deep)
    several: Expression = Field("o") == -100
    for number in range(600):
        several |= Field("o") == number
    stored.check(several)
    stored.check(In("o", range(1500)))
    stored.check(Not(In("o", range(1500))))


def test_a_raw_condition_is_combined_as_a_whole(stored: Stored) -> None:
    both = {pk for pk, row in stored.rows.items() if pk in {"r1", "r2"}}
    assert stored.selected(raw('pk == "r1" or pk == "r2"') & In("pk", ["r2", "r3"])) == {"r2"}
    assert stored.selected(raw('pk in ["r1", "r2"]')) == both
    assert stored.selected(~raw('pk in ["r1", "r2"]')) == stored.rows.keys() - both


def test_a_delete_takes_the_same_conditions(stored: Stored) -> None:
    collection = stored.collection
    odd: dict[str, Any] = {'zz"] or pk != "': {"x": 'say "no"\\\n'}, "gone": {"x": {"y": 3}}, "kept": {"x": {"y": 2}}}
    collection.write(Rows(list(odd), list(odd.values()), list(odd)), [0, 1, 2], [[0.0, 1.0]] * 3)
    try:
        collection.delete((Field("x")["y"] > 2) | In("pk", ['"] or pk != "']))
        assert collection.existing_ids(list(odd)) == {'zz"] or pk != "', "kept"}
        collection.delete(Field("x") == 'say "no"\\\n')
        assert collection.existing_ids([*odd, "r1"]) == {"kept", "r1"}
        conditions: list[Any] = [{}, And(), Not(Or()), None, ""]
        for everything in conditions:
            with pytest.raises(ValueError, match="would delete everything"):
                collection.delete(everything)
        assert len(collection.existing_ids(list(stored.rows))) == len(stored.rows)
    finally:
        collection.delete_ids(list(odd))


def test_finding_a_text_is_refused_where_the_server_finds_prefixes_only(server: Stored) -> None:
    with pytest.raises(MilvusStoreError, match=r"contains\(\) needs Milvus 2\.4 .*v2\.3\.5"):
        server.selected(~Field("a").contains("x") & {"b": 1})


def test_what_lite_cannot_tell_of_lists(lite: Stored) -> None:
    """Told in `compile_filter`: a stored list is neither greater nor less, nor on Lite the negation of it."""
    rows = Rows(["list"], [{"only": [1]}], ["list"])
    lite.collection.write(rows, [0], [[1.0, 0.0]])
    try:
        assert lite.selected((Field("only") > 0) & In("pk", ["list"])) == set()
        assert lite.selected(Not(Field("only") > 0) & In("pk", ["list"])) == set()
        assert lite.selected((Field("only") != 0) & In("pk", ["list"])) == {"list"}
        assert lite.selected((Field("only")[0] > 0) & In("pk", ["list"])) == {"list"}
    finally:
        lite.collection.delete_ids(["list"])


# -- the objects themselves -----------------------------------------------------------------------------------

SAME: list[tuple[Expression, str, str]] = [
    (Field("page") >= 3, "(Field('page') >= 3)", '$meta["page"] >= 3'),
    (Field("a") == None, "(Field('a') == None)", '(not (exists $meta["a"]))'),  # noqa: E711
    (Field("a").exists(), "Field('a').exists()", '(exists $meta["a"])'),
    (Field("a").contains('"x'), "Field('a').contains('\"x')", '$meta["a"] like "%\\"x%"'),
    (In("a", (1, "x")), "In(Field('a'), (1, 'x'))", '($meta["a"] == 1 or $meta["a"] == "x")'),
    (In("a", {2, 1}), "In(Field('a'), (1, 2))", '($meta["a"] == 1 or $meta["a"] == 2)'),
    (In("pk", ["x", 1]), "In(Field('pk'), ('x', 1))", 'pk in ["x"]'),
    (Field("author")["name"].exists() | {"b": 2}, "Or(Field('author')['name'].exists(), And((Field('b') == 2)))",
     '(((exists $meta["author"]["name"]) and (not ($meta["author"] like "%"))) or $meta["b"] == 2)'),
    (~(Field("a") == 1) & (Field("text") != "x"), "And(Not((Field('a') == 1)), Not((Field('text') == 'x')))",
     '(((not (exists $meta["a"])) or (not ($meta["a"] == 1))) and (not (text == "x")))'),
    (raw("page > 3"), "raw('page > 3')", "(page > 3)"),
    (And(), "And()", ""),
    (Or(), "Or()", NOTHING),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "shown", "expression"), SAME, ids=[shown for _, shown, _ in SAME])
def test_a_condition_shows_itself_and_is_a_value(condition: Expression, shown: str, expression: str) -> None:
    assert repr(condition) == shown
    assert compile_filter(condition) == expression
    again = pickle.loads(pickle.dumps(condition))
    assert again == condition
    assert {again: "found"}[condition] == "found"
    assert eval(shown) == condition
    assert len({each for each, _, _ in SAME} - {condition}) == len(SAME) - 1


def test_conditions_of_unequal_types_are_unequal() -> None:
    assert len({Field("a") == value for value in (1, 1.0, True, "1", None)}) == 5
    assert (Field("a") == 1) != "(Field('a') == 1)"
    assert pickle.loads(pickle.dumps(Field("a", "b")))._path == ("a", "b")


def test_conditions_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Field("a")._path = ("b",)
    for condition in (Field("a") == 1, And(), Not(And()), raw("a == 1")):
        with pytest.raises(AttributeError):
            condition.value = 2  # type: ignore[attr-defined]
    members = [1]
    condition = In("a", members)
    members.append(2)
    assert condition == In("a", [1])


_A: Any = Field("a")
_ONE: Any = 1
_TEXT: Any = "a == 1"


@pytest.mark.parametrize(
    "slip",
    [
        lambda: 1 < _A < 5,
        lambda: _A == 1 and Field("b") == 2,
        lambda: not _A == 1,  # noqa: SIM201
        lambda: "x" in _A,
        lambda: list(_A),
        lambda: (_A == 1) & _TEXT,
        lambda: _A > None,
        lambda: _A > True,
        lambda: _A == [1],
        lambda: In(_A, "abc"),
        lambda: In("a", [[1]]),
        lambda: Field(_ONE),
        lambda: _A[True],
        lambda: _A.contains(_ONE),
        lambda: raw(_ONE),
        lambda: Not(_TEXT),
    ],
)  # fmt: skip
def test_slips_of_the_pen_are_refused(slip: Any) -> None:
    with pytest.raises(TypeError):
        slip()


@pytest.mark.parametrize(
    "impossible",
    [
        lambda: Field("a") == float("nan"),
        lambda: Field("a") < float("inf"),
        lambda: Field("a") == 2**63,
        lambda: In("a", ["\ud800"]),
        lambda: Field("\ud800"),
        lambda: Field("a")[-1],
        lambda: Field(""),
        lambda: Field("a")[""],
        lambda: Field("a")["1"],
        lambda: Field("a").contains("100%"),
        lambda: raw(" "),
        lambda: raw("a == 1) or (b == 2"),
        lambda: raw("(a == 1"),
        lambda: raw('a == "x'),
        lambda: raw('a == "x\\"'),
    ],
)
def test_what_milvus_cannot_read_is_refused(impossible: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        impossible()


def test_raw_reads_past_parentheses_in_strings() -> None:
    assert raw(r"""a == ")" and b == '\')' """).text.startswith("a ==")
    with pytest.raises(TypeError, match=r"wrap it: raw\('a == 1'\)"):
        compile_filter("a == 1")  # type: ignore[arg-type]
