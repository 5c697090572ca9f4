"""`qwen3-rag research`: the steps as they are taken, and the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from researcher import Researcher
from scripted_chat import Vllm
from typer.testing import CliRunner, Result

from qwen3_cli import app

pytest.importorskip("langgraph")
pytest.importorskip("langchain_milvus")

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
