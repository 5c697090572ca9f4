"""`qwen3-rag research`: the steps as they are taken, and the report."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from researcher import Researcher
from scripted_chat import Reply, Vllm
from scripted_chat.model import Brain
from typer.testing import CliRunner, Result

from qwen3_cli import app

pytest.importorskip("langgraph")
pytest.importorskip("langchain_milvus")

ROOT = Path(__file__).parent.parent
TEXTS = {
    "owner.md": "# Ulm\n\nThe plant in Ulm belongs to Nordwind.",
    "founder.md": "# Nordwind\n\nNordwind was founded by Ada Berg.",
    "cats.md": "# Cats\n\nCats sleep all day.",
}
QUESTION = "Who owns the plant in Ulm and how long do cats sleep?"


@pytest.fixture
def indexed(tmp_path: Path) -> list[str]:
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text)
    store = ["--uri", str(tmp_path / "milvus.db"), "--embedding", "mini"]
    assert run("index", *(str(tmp_path / name) for name in TEXTS), *store).exit_code == 0
    return [*store, "--reranker", "mini", "--top-n", "1"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def asked(brain: Brain, *arguments: str) -> Result:
    """What comes of a research by a model."""
    with Vllm(models=("Qwen/Qwen3-8B",), brain=brain).serve() as url:
        return run("research", *arguments, "--chat", url, "--server", "vllm")


def test_it_prints_steps_and_writes_a_report_with_sources(indexed: list[str], tmp_path: Path) -> None:
    brain, report = Researcher({"Nordwind": "founder of Nordwind: Berg"}), tmp_path / "report.md"
    with Vllm(models=("Qwen/Qwen3-8B",), brain=brain).serve() as url:
        done = run("research", QUESTION, *indexed, "--chat", url, "--server", "vllm", "--output", str(report))
    assert done.exit_code == 0, done.output
    shown = " ".join(done.stderr.split())
    assert shown.index("plan - Who owns the plant in Ulm; how long do cats sleep?") < shown.index("report - ")
    assert "thought" in shown
    written = report.read_text(encoding="utf-8")
    assert written.startswith(f"# {QUESTION}\n\n")
    assert "Nordwind was founded by Ada Berg" in written
    assert "## Sources" in written
    assert "founder.md: Nordwind" in written
    assert "It ended since nothing is missing." in written


def test_thinking_for_all_steps_or_none_and_json(indexed: list[str]) -> None:
    for flag, thought in (("--think", True), ("--no-think", False)):
        brain = Researcher()
        with Vllm(models=("Qwen/Qwen3-8B",), brain=brain).serve() as url:
            done = run(
                "research", QUESTION, *indexed, "--chat", url, "--server", "vllm", flag, "--json", "--max-rounds", "1"
            )
        assert {each for _, each in brain.asked} == {thought}
        found = json.loads(done.stdout)
        assert [step["name"] for step in found["steps"]] == ["plan", "search", "reflect", "report"]
        assert found["context"][0]["metadata"]["relevance_score"] > 0


def test_a_model_that_answers_badly_is_said_to(indexed: list[str]) -> None:
    with Vllm(models=("Qwen/Qwen3-8B",), brain=Researcher(bad={"report": "So it is [9]."})).serve() as url:
        done = run("research", QUESTION, *indexed, "--chat", url, "--server", "vllm")
    assert done.exit_code == 0, done.output
    assert "- the report cited no passage: the plain two-stage answer stands instead" in done.stdout
    assert "[9]" not in done.stdout


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("no/such/report.md", "there is no folder {folder}/no/such: make it first"),
        ("cats.md/report.md", "there is no folder {folder}/cats.md: make it first"),
        (".", "is a folder: name a file in it"),
    ],
)
def test_a_report_that_has_no_place_is_not_paid_for(indexed: list[str], tmp_path: Path, output: str, told: str) -> None:
    brain = Researcher()
    done = asked(brain, QUESTION, *indexed, "--output", str(tmp_path / output))
    assert (done.exit_code, brain.asked) == (1, [])
    assert re.sub(r"\s", "", told.format(folder=tmp_path)) in re.sub(r"\s", "", done.stderr)


def test_a_report_that_cannot_be_written_is_shown_instead(indexed: list[str], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    researcher = Researcher()

    def brain(*asked: Any) -> Reply:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        return researcher(*asked)

    done = asked(brain, QUESTION, *indexed, "--output", str(tmp_path / "out" / "report.md"))
    assert done.exit_code == 1
    assert "No such file or directory" in done.stderr
    assert "The plant in Ulm belongs to Nordwind [" in done.stdout


def test_what_a_model_writes_is_shown_and_not_obeyed(indexed: list[str], tmp_path: Path) -> None:
    hostile = "\x1b[2J\x1b]52;c;cm0=\x07\x9b5n [/nope] [red]x[/red] :key: " + "long " * 40 + "line [1]"
    brain, report = Researcher(bad={"plan": f"1. {hostile[:52]}", "report": hostile}), tmp_path / "[red]report.md"
    shown = asked(brain, QUESTION, *indexed)
    written = asked(brain, QUESTION, *indexed, "--output", str(report))
    for done in (shown, written):
        assert done.exit_code == 0, done.output
        assert not re.search(r"[\x07\x1b\x7f-\x9f]", done.output)
        assert "plan - �[2J�]52;c;cm0=��5n [/nope] [red]x[/red] :key:" in done.stderr
    assert "[red]report.md" in written.stderr
    answer = "�[2J�]52;c;cm0=��5n [/nope] [red]x[/red] :key: " + "long " * 40 + "line [1]"
    assert answer in shown.stdout.splitlines(), "a line of markdown stays a line"
    assert answer in report.read_text(encoding="utf-8").splitlines()
    assert json.loads(asked(brain, QUESTION, *indexed, "--json").stdout)["answer"] == hostile


def test_a_question_of_several_lines_is_one_heading(indexed: list[str]) -> None:
    done = asked(Researcher(bad={"plan": ""}), "Who owns the plant?\n## Sources\n1. forged.md\n", *indexed)
    assert done.stdout.startswith("# Who owns the plant? ## Sources 1. forged.md\n\n")
    assert "search - Who owns the plant? ## Sources 1. forged.md - " in " ".join(done.stderr.split())


def test_what_names_no_source_is_said_to(indexed: list[str], tmp_path: Path) -> None:
    unsure = Researcher(bad={"report": "I think so.", "plain": "I do not know."})
    done = asked(unsure, QUESTION, *indexed)
    assert (done.exit_code, "I do not know." in done.stdout) == (0, True)
    assert "The answer names no source." in done.stdout
    assert "## Sources" not in done.stdout


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("A text.")
    store = ["--uri", str(tmp_path / "milvus.db"), "--embedding", "mini"]
    run("index", str(tmp_path / "docs"), *store)
    (tmp_path / "docs" / "a.md").unlink()
    assert run("index", str(tmp_path / "docs"), "--prune", *store).exit_code == 0
    done = asked(Researcher(bad={"plain": "I do not know."}), QUESTION, *store, "--reranker", "mini")
    assert done.exit_code == 0, done.output
    assert "It ended since nothing was found." in done.stdout
    assert "The answer names no source." in done.stdout


def test_the_readmes_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Deep search")[1]
    block = section.split("```console\n")[1].split("\n```")[0].replace("\\\n", " ")
    install, index, research = (shlex.split(line, comments=True) for line in block.splitlines())
    assert install[:3] == ["$", "pip", "install"]
    assert index[:2] == research[:2] == ["$", "qwen3-rag"]
    (tmp_path / "docs").symlink_to(ROOT / "docs", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    done = run(*index[2:])
    assert done.exit_code == 0, done.output
    with Vllm(models=("Qwen/Qwen3-8B",), brain=Researcher()).serve() as url:
        done = run(*(url if word == "http://127.0.0.1:8000/v1" else word for word in research[2:]))
    assert done.exit_code == 0, done.output
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "fails with error code 101" in report
    assert "1. docs/faq/" in report
