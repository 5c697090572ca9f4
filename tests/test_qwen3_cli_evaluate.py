"""`qwen3-rag evaluate`, on the mini models and Milvus Lite."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from qwen3_cli import app
from qwen3_core.instructions import CODE, CROSS_LINGUAL, INSTRUCTIONS

pytest.importorskip("ir_measures")

ROOT = Path(__file__).parent.parent

TOPICS = {
    "cats": "Cats sleep most of the day and hunt at night.",
    "milvus": "Milvus stores inserted data in object storage.",
    "beijing": "The capital of China is Beijing, in the north of the country.",
    "screws": "The part XK-4711 is a screw made of steel.",
    "rain": "Rain falls when warm air rises and cools.",
}
QUESTIONS = {
    "cats": "What do cats do all day?",
    "milvus": "How is data stored in Milvus?",
    "beijing": "Which city is the capital of China?",
    "screws": "What is XK-4711?",
}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def found(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    data: dict[str, Any] = json.loads(result.stdout)
    return data


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", TOPICS), ("queries", QUESTIONS)):
        rows = [json.dumps({"_id": id_, "text": text}) for id_, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(rows))
    rows = [f"{id_}\t{id_}\t1" for id_ in QUESTIONS]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]))
    return folder


def test_all_systems(beir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("evaluate", "--dataset", beir, "--embedding", "mini", "--reranker", "mini", "--k", "5,1", "--out", out)
    data = found(run(*command, "--json"))
    assert data["dataset"] == {"name": "mine", "documents": 5, "queries": list(QUESTIONS), "notes": []}
    systems = {each["system"]: each for each in data["systems"]}
    assert list(systems) == ["dense", "dense+rerank", "bm25", "bm25+rerank", "hybrid", "hybrid+rerank"]
    for name, system in systems.items():
        assert list(system["measures"]) == ["nDCG@10", "Recall@1", "Recall@5", "MRR"]
        assert system["measures"]["MRR"]["mean"] > 0.8, name
        assert (system["rerank_seconds"] > 0) == name.endswith("+rerank")
    assert systems["dense"]["measures"]["Recall@5"]["per_query"] == [1, 1, 1, 1]
    assert systems["bm25"]["measures"]["MRR"]["per_query"][3] == 1
    assert {stage["name"] for stage in data["stages"]} >= {"embed the documents", "write the index", "rerank: hybrid"}
    assert json.loads((out / "report.json").read_text(encoding="utf-8")) == data
    assert str(beir.parent) not in (out / "report.md").read_text(encoding="utf-8")
    assert (out / "chart.png").exists()
    again = found(run(*command, "--json"))
    assert [each["measures"] for each in again["systems"]] == [each["measures"] for each in data["systems"]]


def test_words_alone_need_no_model(beir: Path, tmp_path: Path) -> None:
    result = run("evaluate", "--dataset", beir, "--systems", "bm25", "--embedding", "gone/gone", "--out",
                 tmp_path / "o", "--limit", 3)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "5 documents, 3 queries" in result.output
    assert "the first 3 of 4 queries" in (tmp_path / "o" / "report.md").read_text(encoding="utf-8")
    assert "- embedding: none\n- reranker: none" in (tmp_path / "o" / "report.md").read_text(encoding="utf-8")


def test_questions_in_chinese_with_their_instruction(beir: Path, tmp_path: Path) -> None:
    questions = tmp_path / "zh.jsonl"
    questions.write_text(json.dumps({"_id": "beijing", "text": "中国的首都是哪里？"}), encoding="utf-8")
    result = run("evaluate", "--dataset", beir, "--queries", questions, "--instruction", "cross-lingual", "--systems",
                 "dense,bm25", "--embedding", "mini", "--analyzer", "jieba", "--out", tmp_path / "o",
                 "--json")  # fmt: skip
    data = found(result)
    assert data["settings"]["instruction"] == CROSS_LINGUAL
    assert data["dataset"]["queries"] == ["beijing"]
    bm25 = data["systems"][1]["measures"]
    assert bm25["MRR"]["mean"] == 0, "no word is the same"


def test_code_search_on_a_server(tmp_path: Path, llama_cpp_embedding_url: str, llama_cpp_reranker_url: str) -> None:
    path = tmp_path / "cosqa.json"
    rows = [
        {"idx": "0", "doc": "sort a list", "code": "def sort(items):\n    return sorted(items)"},
        {"idx": "1", "doc": "read a file", "code": "def read(path):\n    return open(path).read()"},
        {"idx": "2", "doc": "capital of China", "code": "def capital():\n    return 'Beijing'"},
    ]
    path.write_text(json.dumps(rows))
    common: tuple[object, ...] = ("evaluate", "--dataset", path, "--out", tmp_path / "o", "--json")
    common += ("--embedding", llama_cpp_embedding_url, "--embedding-server", "llama.cpp")
    reranker = (
        "--reranker",
        llama_cpp_reranker_url,
        "--reranker-server",
        "llama.cpp",
        "--systems",
        "dense,dense+rerank",
    )
    data = found(run(*common, "--instruction", "code", "--systems", "dense"))
    assert data["settings"]["instruction"] == CODE
    assert data["settings"]["embedding"] == llama_cpp_embedding_url
    assert data["systems"][0]["measures"]["Recall@10"]["mean"] == 1
    both = found(run(*common, *reranker))
    assert both["systems"][1]["measures"]["Recall@1"]["mean"] > 0.5
    refused = run(*common, *reranker, "--instruction", "code")
    assert refused.exit_code == 1
    assert "takes no instruction with a request" in " ".join(refused.stderr.split())
    assert "embedding documents" not in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--systems", "dense,sparse"), "unknown system 'sparse': write all, or some of"),
        (("--systems", "dense+rerank", "--reranker", "none"), "needs a reranker"),
        (("--k", "1,x"), "--k 1,x: write whole numbers"),
        (("--k", "1000"), "name numbers from 1 to 100"),
        (("--instruction", "cross-lingul"), "'cross-lingul' is no instruction"),
        (("--split", "dev"), "take one of --split test"),
        (("--format", "squad"), "error"),
        (("--embedding-model", "x"), "are about the URL of --embedding URL"),
    ],
)
def test_what_is_refused_before_any_work(beir: Path, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run("evaluate", "--dataset", beir, "--embedding", "mini", "--out", tmp_path / "o", *arguments)
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "o").exists()


def test_own_files(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.txt").write_text("Turn the red key.\n\nCall the porter at night.")
    (folder / "broken.md").write_bytes(b"\0")
    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps({"question": "Who helps at night?", "answer": "the porter"}))
    command = ("evaluate", "--dataset", folder, "--queries", questions, "--systems", "bm25", "--out", tmp_path / "o")
    data = found(run(*command, "--chunk-size", 25, "--json"))
    assert data["dataset"]["documents"] == 2
    assert data["dataset"]["notes"] == ["1 files were left out (broken.md): is binary, or text in UTF-16: convert it "
                                        "to UTF-8 text, or give its encoding"]  # fmt: skip
    assert data["systems"][0]["measures"]["MRR"]["mean"] == 1
    assert found(run(*command, "--json"))["dataset"]["documents"] == 1
    assert str(tmp_path) not in (tmp_path / "o" / "report.md").read_text(encoding="utf-8")
    without = run("evaluate", "--dataset", folder)
    assert without.exit_code == 1
    assert '{"question": "...", "answer": "words' in " ".join(without.stderr.split())


def test_the_readmes_three_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## How well it finds")[1]
    show, shown, evaluate = section.split("```console\n")[1].split("\n```")[0].split("\n")
    monkeypatch.chdir(ROOT)
    printed = subprocess.run(["/bin/sh", "-c", show.removeprefix("$ ")], check=True, capture_output=True, text=True)
    assert printed.stdout == f"{shown}\n"
    command = evaluate.split()
    assert command[:2] == ["$", "qwen3-rag"]
    out = tmp_path / "evaluation"
    result = run(*command[2:], "--limit", 2, "--out", out)  # a reader has the time for all twenty
    assert result.exit_code == 0, result.output
    assert "44 documents, 2 queries" in result.output
    assert sorted(path.name for path in out.iterdir()) == ["chart.png", "report.json", "report.md"]
    assert "- hybrid+rerank instead of hybrid: " in (out / "report.md").read_text(encoding="utf-8")


def test_the_page_names_every_instruction() -> None:
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z][a-z-]*)` \| (.+?) \|", page, flags=re.MULTILINE))
    assert rows == dict(INSTRUCTIONS)
