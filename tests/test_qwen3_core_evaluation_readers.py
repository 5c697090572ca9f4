"""Data sets: what each format says, what is left out, and what is refused with advice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_core.evaluation import Dataset, read_dataset
from qwen3_core.evaluation.readers import read_qrels, read_queries

SHARED = Path(__file__).parents[2] / "shared" / "data" / "xquad_dev"


def lines(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "beir"
    lines(
        folder / "corpus.jsonl",
        {"_id": "d1", "title": "Cats", "text": "They sleep."},
        {"_id": "d2", "text": "Dogs bark.\u2028They do."},
        {"_id": "d3", "title": "", "text": " "},
    )
    lines(folder / "queries.jsonl", {"_id": "q1", "text": "Who sleeps?"}, {"_id": "q2", "text": "Of another split"})
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n")
    return folder


SQUAD = {
    "version": "1.1",
    "data": [
        {
            "title": "Panthers",
            "paragraphs": [
                {"context": "They gave up 308 points.", "qas": [{"id": "a", "question": "How many?", "answers": []}]},
                {"context": "They won.", "qas": [{"id": "b", "question": "Who?", "is_impossible": True}]},
            ],
        },
        {
            "title": "Again",
            "paragraphs": [
                {"context": "They won.", "qas": [{"id": "c", "question": "What happened?"}]},
            ],
        },
    ],
}


def test_beir(beir: Path) -> None:
    data = read_dataset(beir)
    assert data.name == "beir"
    assert dict(data.documents) == {"d1": "Cats They sleep.", "d2": "Dogs bark.\u2028They do."}
    assert dict(data.queries) == {"q1": "Who sleeps?"}
    assert dict(data.judgements) == {"q1": {"d1": 2, "d2": 0}}
    assert data.notes == ("1 documents without text were left out",)


def test_beir_with_judgements_of_trec(beir: Path, tmp_path: Path) -> None:
    qrels = tmp_path / "qrels.txt"
    qrels.write_text("q2 0 d2 1\r\nq2 0 gone 1\r\n\r\nq9 Q0 d1 1\n")
    data = read_dataset(beir, qrels=qrels)
    assert dict(data.judgements) == {"q2": {"d2": 1, "gone": 1}}
    assert data.notes == (
        "1 documents without text were left out",
        "1 relevant documents are not among the documents, and count as not found",
        "1 judged queries are not among the queries",
    )


def test_squad(tmp_path: Path) -> None:
    data = read_dataset(lines(tmp_path / "squad.json", SQUAD))
    assert sorted(data.documents.values()) == ["They gave up 308 points.", "They won."]  # once, though twice there
    assert dict(data.queries) == {"a": "How many?", "c": "What happened?"}
    assert {data.documents[id_] for id_ in data.judgements["c"]} == {"They won."}


def test_questions_in_another_language(tmp_path: Path) -> None:
    english = lines(tmp_path / "en.json", SQUAD)
    chinese = json.loads(json.dumps(SQUAD))
    chinese["data"][0]["paragraphs"][0]["qas"][0]["question"] = "丢了多少分？"
    data = read_dataset(english, queries=lines(tmp_path / "zh.json", chinese))
    assert data.queries["a"] == "丢了多少分？"
    assert "They won." in data.documents.values()
    own = lines(tmp_path / "queries.jsonl", {"_id": "a", "text": "几分？"}, {"_id": "z", "text": "?"})
    assert dict(read_dataset(english, queries=own).queries) == {"a": "几分？"}
    assert read_queries(own) == {"a": "几分？", "z": "?"}


def test_code_search(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "cosqa.json",
        [
            {"idx": "t-0", "doc": "sort a list", "code": "def s(x): return sorted(x)", "label": 1},
            {"idx": "t-1", "doc": "sort a list", "code": "def t(x): return x", "label": 0},
            {"idx": "t-2", "doc": "read a file", "code": "def r(p): return open(p).read()"},
            {"idx": "t-2", "doc": "the same number", "code": "def s(x): return sorted(x)"},
        ],
    )
    data = read_dataset(path)
    assert len(data.documents) == 3
    assert sorted(data.queries.values()) == ["read a file", "sort a list", "the same number"]
    assert sorted(data.judgements["t-0"].values()) == [0, 1]
    right = {data.queries[query]: [id_ for id_, value in judged.items() if value] for query, judged in
             data.judgements.items()}  # fmt: skip
    assert right["sort a list"] == right["the same number"]


def test_code_search_among_all_code_of_cosqa(tmp_path: Path) -> None:
    (tmp_path / "code_idx_map.txt").write_text(json.dumps({"def a(): 0": 0, "def b(): 1": 1, "def c(): 2": 2}))
    path = lines(tmp_path / "cosqa-retrieval-test-500.json", [
        {"idx": "t-0", "doc": "one", "code": "def b(): 1", "retrieval_idx": 1, "label": 1},
        {"idx": "t-1", "doc": "two", "retrieval_idx": 2},
        {"idx": "t-2", "doc": "another with a number that is taken", "code": "def d(): 3", "retrieval_idx": 0},
    ])  # fmt: skip
    data = read_dataset(path)
    assert list(data.documents.values()) == ["def a(): 0", "def b(): 1", "def c(): 2", "def d(): 3"]
    assert dict(data.judgements["t-0"]) == {"1": 1}
    assert dict(data.judgements["t-1"]) == {"2": 1}
    assert data.documents[next(iter(data.judgements["t-2"]))] == "def d(): 3"


def test_code_search_in_lines(tmp_path: Path) -> None:
    rows = ({"docstring": "Adds.", "code": "a + b"}, {"query": "Subtracts.", "function": "a - b"})
    assert len(read_dataset(lines(tmp_path / "advtest.jsonl", *rows)).queries) == 2


def test_the_first_queries(tmp_path: Path) -> None:
    data = read_dataset(lines(tmp_path / "squad.json", SQUAD))
    first = data.limited(1)
    assert list(first.queries) == list(first.judgements) == ["a"]
    assert first.notes == ("the first 1 of 2 queries",)
    assert first.documents == data.documents
    assert data.limited(None) == data.limited(2) == data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q1\td1", "line 1: 'q1\\\\td1' is no judgement: write `query 0 document relevance`"),
        ("q1 0 d1 1\nq1 0 d1 0.5", "line 2: .*with a whole number"),
        ("q1 0 d1 1 more", "line 1"),
    ],
)
def test_judgements_of_another_form(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "qrels"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_qrels(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"data": [{"paragraphs": [{}]}]}', "is not like SQuAD's files: data > paragraphs > context"),
        ('{"data": 3}', "is not like SQuAD's files"),
        ('[{"doc": "a question"}]', "entry 1: it needs a question .* and code"),
        ('[{"code": "x"}]', "entry 1: it needs a question"),
        ('[{"doc": "q", "code": "x", "label": "yes"}]', "entry 1: the label 'yes' is no whole number"),
        ("[1]", "entry 1: '1' is no JSON object"),
        ('{"doc": "q"}\n{', "line 2 is no JSON"),
        ("", "no document has a text"),
    ],
)
def test_files_of_another_form(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "data.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_dataset(path)


def test_folders_of_another_form(beir: Path) -> None:
    with pytest.raises(ValueError, match=r"no qrels/dev.tsv: take one of --split test"):
        read_dataset(beir, split="dev")
    (beir / "qrels" / "test.tsv").unlink()
    with pytest.raises(ValueError, match="name the judgements with --qrels"):
        read_dataset(beir)
    with pytest.raises(ValueError, match=r"is read as your own files \(a BEIR folder has corpus\.jsonl\)"):
        read_dataset(beir / "qrels")
    lines(beir / "corpus.jsonl", {"id": "d1", "text": "x"})
    with pytest.raises(ValueError, match=r'corpus\.jsonl, entry 1: it needs "_id" and "text"'):
        read_dataset(beir, qrels=beir / "corpus.jsonl")
    lines(beir / "corpus.jsonl", {"_id": "d1", "text": "x"}, {"_id": "d1", "text": "y"})
    with pytest.raises(ValueError, match="entry 2: the _id 'd1' is there twice"):
        read_dataset(beir, qrels=beir / "corpus.jsonl")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"data\.json is no UTF-8 text"):
        read_dataset(tmp_path / "data.json")
    with pytest.raises(FileNotFoundError):
        read_dataset(tmp_path / "gone.json")


def test_parts_that_do_not_belong_together() -> None:
    with pytest.raises(ValueError, match=r"none of the 1 queries \('q', ...\) has a relevant document .*\('p', ...\)"):
        Dataset.make("x", {"d": "text"}, {"q": "?"}, {"p": {"d": 1}})
    with pytest.raises(ValueError, match=r"none of the 1 relevant documents \('e', ...\) is among the 1 documents"):
        Dataset.make("x", {"d": "text"}, {"q": "?"}, {"q": {"e": 1}})


ids = st.text(st.characters(exclude_categories=["Zs", "Zl", "Zp", "Cc", "Cs"]), min_size=1, max_size=5)


@given(st.dictionaries(ids, st.dictionaries(ids, st.integers(-1, 3), min_size=1), max_size=4))
def test_judgements_come_back(tmp_path_factory: pytest.TempPathFactory, judged: dict[str, dict[str, int]]) -> None:
    path = tmp_path_factory.mktemp("qrels") / "qrels"
    rows = [(query, document, value) for query, values in judged.items() for document, value in values.items()]
    path.write_text("".join(f"{q} 0 {d} {v}\n" for q, d, v in rows), encoding="utf-8", newline="")
    assert read_qrels(path) == judged
    text = "query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t{v}\n" for q, d, v in rows)
    path.write_text(text, encoding="utf-8", newline="")
    assert read_qrels(path) == judged


texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.dictionaries(ids, texts, min_size=1), st.dictionaries(ids, texts, min_size=1), st.data())
def test_any_beir_folder_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, documents: dict[str, str], queries: dict[str, str], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("beir")
    lines(folder / "corpus.jsonl", *({"_id": id_, "text": text} for id_, text in documents.items()))
    lines(folder / "queries.jsonl", *({"_id": id_, "text": text} for id_, text in queries.items()))
    chosen = data.draw(st.lists(st.tuples(st.sampled_from(list(queries)), st.sampled_from(list(documents)))))
    (folder / "qrels").mkdir()
    rows = ["query-id\tcorpus-id\tscore", *(f"{query}\t{document}\t1" for query, document in chosen)]
    (folder / "qrels" / "test.tsv").write_text("\n".join(rows), encoding="utf-8", newline="")
    try:
        read = read_dataset(folder)
    except ValueError:
        assert not any(queries[query].strip() for query, _ in chosen) or not any(
            text.strip() for text in documents.values()
        )
        return
    assert set(read.queries) == set(read.judgements) == {query for query, _ in chosen if queries[query].strip()}
    assert all(read.documents[id_] == documents[id_].strip() for id_ in read.documents)


@given(st.text())
def test_any_file_is_read_or_refused_with_a_value_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("any") / "data.json"
    path.write_text(text.encode("utf-8", "ignore").decode(), encoding="utf-8", newline="")
    with pytest.raises(ValueError, match=r"data\.json"):
        read_dataset(path)


@pytest.mark.skipif(not SHARED.exists(), reason="XQuAD is not here")
def test_xquad_in_two_languages() -> None:
    data = read_dataset(SHARED / "xquad.en.json", queries=SHARED / "xquad.zh.json")
    assert len(data.documents) == 120
    assert len(data.queries) == 632
    assert data.queries["56beb4343aeaaa14008c925b"] == "黑豹队的防守丢了多少分？"
