"""A folder of somebody's own files as a data set: its passages, which of them are right, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_core.evaluation import Dataset, read_dataset
from qwen3_core.evaluation.files import MANY
from qwen3_core.ingest import load_chunks

ROOT = Path(__file__).parent.parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "handbook"
    (made / "guide").mkdir(parents=True)
    (made / "guide" / "setup.md").write_text(
        "# Setup\n\nTurn the\n   RED  key.\n\n## Trouble\n\nCall the caf\u00e9 on Stra\u00dfe 5.\n", encoding="utf-8"
    )
    (made / "notes.txt").write_text("Turn the red key twice in winter.", encoding="utf-8")
    (made / "empty.md").write_text("")
    (made / ".hidden.md").write_text("Turn the red key never.")
    (made / "data.json").write_text('{"text": "Turn the red key."}')
    return made


def write(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


def read(folder: Path, *rows: Any, **options: Any) -> Dataset:
    return read_dataset(folder, queries=write(folder.parent / "questions.jsonl", *rows), **options)


def right(data: Dataset) -> list[list[str]]:
    return [sorted(judged) for judged in data.judgements.values()]


def test_passages_and_the_right_ones(folder: Path) -> None:
    data = read(
        folder,
        {"question": "How is it started?", "answer": "turn the red KEY"},
        {"question": "How is it started in general?", "answer": "Turn the red key", "file": "guide/setup.md"},
        {"question": "Who helps?", "answer": ["nobody at all", "CAFÉ on strasse"], "remark": "kept out"},
        {"question": "What about winter or trouble?", "answer": ["in winter", "Call the"]},
    )
    assert data.name == "handbook"
    assert dict(data.documents) == {
        "guide/setup.md#1": "Setup\n\nTurn the\n   RED  key.",
        "guide/setup.md#2": "Trouble\n\nCall the café on Straße 5.",
        "notes.txt#1": "Turn the red key twice in winter.",
    }
    assert right(data) == [
        ["guide/setup.md#1", "notes.txt#1"], ["guide/setup.md#1"], ["guide/setup.md#2"],
        ["guide/setup.md#2", "notes.txt#1"],
    ]  # fmt: skip
    assert list(data.queries) == ["1", "2", "3", "4"]
    assert data.queries["1"] == "How is it started?"
    assert data.notes == ()


def test_one_file(folder: Path) -> None:
    row = {"question": "When twice?", "answer": "in winter", "file": "notes.txt"}
    data = read(folder / "notes.txt", row)
    assert dict(data.documents) == {"notes.txt#1": "Turn the red key twice in winter."}
    assert right(data) == [["notes.txt#1"]]
    # A format that is named goes before a suffix.
    (folder / "letter").write_text("Winter is long.")
    questions = write(folder.parent / "q.jsonl", {"question": "How is winter?", "answer": "is long"})
    assert list(read_dataset(folder / "letter", queries=questions, kind="files").documents) == ["letter#1"]


def test_the_cut_is_that_of_indexing(tmp_path: Path) -> None:
    chunks = load_chunks([ROOT / "docs" / "faq"], chunk_size=300)
    questions = write(tmp_path / "q.jsonl", {"question": "Who may open it?", "answer": "Only one process"})
    data = read_dataset(ROOT / "docs" / "faq", queries=questions, chunk_size=300)
    assert list(data.documents.values()) == [chunk.text for chunk in chunks]


def test_the_projects_own_questions() -> None:
    data = read_dataset(ROOT / "docs" / "faq", queries=ROOT / "docs" / "faq_questions.jsonl")
    assert len(data.queries) == 20
    assert all(len(judged) == 1 for judged in data.judgements.values())
    assert len({next(iter(judged)) for judged in data.judgements.values()}) == 20, "one passage each, none twice"
    assert {id_.partition("#")[0] for judged in data.judgements.values() for id_ in judged} == {
        path.name for path in (ROOT / "docs" / "faq").iterdir()
    }
    assert data.notes == ()
    for line in (ROOT / "docs" / "faq_questions.jsonl").read_text(encoding="utf-8").splitlines():
        words = " ".join(
            " ".join(path.read_text(encoding="utf-8").split()) for path in (ROOT / "docs" / "faq").iterdir()
        )
        assert json.loads(line)["answer"] in words, "copied letter by letter"


def test_blank_lines_count(folder: Path) -> None:
    questions = folder.parent / "questions.jsonl"
    questions.write_text('\ufeff\n{"question": "When?", "answer": "winter"}\r\n\n', encoding="utf-8", newline="")
    assert list(read_dataset(folder, queries=questions).queries) == ["2"]


def test_an_answer_in_many_passages_is_noted(folder: Path) -> None:
    for number in range(MANY):
        (folder / f"more{number}.txt").write_text(f"The red lamp, number {number}.")
    data = read(
        folder,
        {"question": "Which colour?", "answer": "red"},
        {"question": "Which lamp?", "answer": "red lamp"},
    )
    assert data.notes == (
        "1 answers stand in more than 5 passages (line 1 in 7), any of which counts as right: take words that only one "
        "passage has, or name its file",
    )


def test_files_that_cannot_be_read_are_noted(folder: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (folder / name).write_bytes(b"\0\1")
    (folder / "latin.md").write_bytes(b"caf\xe9")
    data = read(folder, {"question": "When?", "answer": "winter"})
    assert data.notes == (
        "2 files were left out (a.txt, b.txt): is binary, or text in UTF-16: convert it to UTF-8 text, or give its "
        "encoding",
        "1 files were left out (latin.md): is not utf-8 (byte 3): convert it, or give its encoding, such as latin-1",
    )
    with pytest.raises(ValueError, match=r"line 1: the file latin\.md could not be read: is not utf-8"):
        read(folder, {"question": "Where?", "answer": "caf", "file": "latin.md"})
    with pytest.raises(ValueError, match=r"a\.txt has no file with text that can be read: .*is binary"):
        read(folder / "a.txt", {"question": "Where?", "answer": "caf"})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"question": "Where?"},
            'line 2: it needs a question and an answer: write {"question": "...", "answer": "words',
        ),
        ({"answer": "winter"}, "line 2: it needs a question"),
        ({"question": " ", "answer": "winter"}, "line 2: it needs a question"),
        ({"question": "When?", "answer": "\n"}, "line 2: it needs a question"),
        ({"question": "When?", "answer": []}, "line 2: it needs a question"),
        ({"question": "When?", "answer": ["winter", ""]}, "line 2: it needs a question"),
        ({"_id": "q1", "text": "When?"}, "line 2: it needs a question"),
        ([1], "line 2: it needs a question"),
        ({"question": "When?", "answer": "winter", "file": 3}, "line 2: the file 3 is no name"),
        (
            {"question": "When?", "answer": "winter", "file": "setup.md"},
            "line 2: there is no file setup.md with text: write it relative to the folder, as notes.txt, guide",
        ),
        (
            {"question": "When?", "answer": "in winter", "file": "guide/setup.md"},
            "line 2: the answer 'in winter' stands in no passage of guide/setup.md, but in notes.txt: name that",
        ),
        (
            {"question": "When?", "answer": ["in summer", "at night"]},
            "line 2: the answer 'in summer / at night' stands in no passage: copy a few words letter by letter, from",
        ),
    ],
)
def test_lines_that_are_refused(folder: Path, row: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        read(folder, {"question": "When?", "answer": "winter"}, row)
    assert str(caught.value).startswith(f"questions.jsonl, {message}")


def test_all_bad_lines_are_told_at_once(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"(?s)line 1: .*\n.*line 3: .*\n.*line 11: .*\nand 3 more$"):
        read(folder, {}, {"question": "When?", "answer": "winter"}, *[{"question": "?"}] * 12)


def test_what_is_refused_as_a_whole(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"handbook is read as your own files .*name it with --queries"):
        read_dataset(folder)
    questions = write(tmp_path / "q.jsonl", {"question": "When?", "answer": "winter"})
    with pytest.raises(ValueError, match="leave out --qrels"):
        read_dataset(folder, queries=questions, qrels=questions)
    (tmp_path / "bare").mkdir()
    with pytest.raises(ValueError, match="bare has no file with text that can be read: there is no markdown, text"):
        read_dataset(tmp_path / "bare", queries=questions)
    with pytest.raises(ValueError, match="chunk_size=0 is out of range"):
        read_dataset(folder, queries=questions, chunk_size=0)
    with pytest.raises(FileNotFoundError):
        read_dataset(tmp_path / "gone.md", queries=questions)
    with pytest.raises(FileNotFoundError):
        read_dataset(folder, queries=tmp_path / "gone.jsonl")
    questions.write_text(" \n")
    with pytest.raises(ValueError, match=r"q\.jsonl is empty: write lines of"):
        read_dataset(folder, queries=questions)
    questions.write_text('{"question": \n "When?"}')
    with pytest.raises(ValueError, match=r"q\.jsonl, line 1 is no JSON"):
        read_dataset(folder, queries=questions)


def test_source_code_and_repeated_passages(folder: Path) -> None:
    pytest.importorskip("tree_sitter_python")
    (folder / "tool.py").write_text("def winter():\n    return 'snow tyres'\n")
    (folder / "twice.md").write_text("# Same\n\nSame text.\n\n# Same\n\nSame text.\n")
    data = read(folder, {"question": "Which tyres?", "answer": "snow tyres"})
    assert right(data) == [["tool.py#1"]]
    assert [id_ for id_ in data.documents if id_.startswith("twice")] == ["twice.md#1"]


words = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=6)
gaps = st.text(st.sampled_from(" \n\t\u00a0"), min_size=1, max_size=3)


@given(st.lists(words, min_size=2, max_size=12), st.data())
def test_any_words_of_a_passage_are_found(
    tmp_path_factory: pytest.TempPathFactory, text: list[str], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("files")
    (folder / "one.txt").write_text("".join(word + data.draw(gaps) for word in text), encoding="utf-8", newline="")
    first = data.draw(st.integers(0, len(text) - 1))
    some = text[first : data.draw(st.integers(first + 1, len(text)))]
    answer = data.draw(gaps).join(some)
    shouted = answer.upper()
    if data.draw(st.booleans()) and shouted.casefold() == answer.casefold():  # a few letters have no way back
        answer = shouted
    questions = folder.parent / f"{folder.name}.jsonl"
    read = read_dataset(folder, queries=write(questions, {"question": "?", "answer": answer}))
    os.remove(questions)
    assert list(read.judgements["1"]) == ["one.txt#1"]
