"""`make bench-deep`: what rounds of search find and what thinking costs, with a model that reads well."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from scripted_chat import Vllm

from langchain_qwen3 import ChatQwen3

pytest.importorskip("langgraph")

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
XQUAD = Path(__file__).parents[2] / "shared" / "data" / "xquad_dev" / "xquad.en.json"

sys.path.insert(0, str(BENCHMARKS))
import deep_search as benchmark  # noqa: E402
from deep_search_reader import Hop, Question, Reader, read_questions, require_gold  # noqa: E402
from deep_search_report import ALWAYS, MANY, NEVER, PER_STEP, PLAIN, PLAIN_MANY, Run, report  # noqa: E402

sys.path.remove(str(BENCHMARKS))


def mean(runs: Sequence[Run], field: str) -> float:
    return float(sum(getattr(run, field) for run in runs) / len(runs))


def test_thirty_questions_of_several_hops() -> None:
    questions = read_questions()
    assert [question.corpus for question in questions] == ["faq"] * 15 + ["xquad"] * 15
    assert len({question.text for question in questions}) == 30
    for question in questions:
        assert 2 <= len(question.hops) <= 3
        assert all(hop.after is None or hop.after < place for place, hop in enumerate(question.hops))
        assert any(hop.after is None for hop in question.hops)


def test_each_hop_of_the_faq_has_one_right_passage() -> None:
    passages = benchmark.read_corpora(None)["faq"]
    questions = [question for question in read_questions() if question.corpus == "faq"]
    require_gold(questions, passages)
    with pytest.raises(ValueError, match="faq-01: 'This is called last-token pooling' stands in 0 passages"):
        require_gold(questions, [])
    with pytest.raises(ValueError, match="stands in 2 passages, and has to stand in one"):
        require_gold(questions, [*passages, *passages])


@pytest.mark.skipif(not XQUAD.exists(), reason="XQuAD is not here")
def test_each_hop_about_xquad_has_one_right_passage() -> None:
    require_gold(
        [question for question in read_questions() if question.corpus == "xquad"],
        benchmark.read_corpora(XQUAD)["xquad"],
    )


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[Run]], str]:
    out = tmp_path_factory.mktemp("deep") / "report.md"
    return benchmark.main(["--limit", "4", "--pace", "0", "--out", str(out)]), out.read_text(encoding="utf-8")


def test_rounds_of_search_find_what_one_search_does_not(compared: tuple[dict[str, list[Run]], str]) -> None:
    runs, _ = compared
    assert list(runs) == [PLAIN, PLAIN_MANY, NEVER, PER_STEP, ALWAYS]
    assert mean(runs[PER_STEP], "coverage") > mean(runs[PLAIN], "coverage")
    assert [run.coverage for run in runs[NEVER]] == [run.coverage for run in runs[PER_STEP]], "it reads as well"
    assert {run.calls for run in runs[PLAIN]} == {1}
    assert all(run.calls >= 3 for run in runs[PER_STEP]), "plan, reflect, report"
    assert not [run.notes for all_ in runs.values() for run in all_ if run.notes]


def test_thinking_is_counted_where_it_is_asked_for(compared: tuple[dict[str, list[Run]], str]) -> None:
    runs, _ = compared
    for name in (PLAIN, PLAIN_MANY, NEVER):
        assert mean(runs[name], "thought") == 0
    for never, per_step, always in zip(runs[NEVER], runs[PER_STEP], runs[ALWAYS], strict=True):
        assert 0 < per_step.thought < always.thought
        assert never.written + per_step.thought == per_step.written
        assert never.written + always.thought == always.written
        assert never.read == per_step.read == always.read


def test_the_report_has_each_strategy(compared: tuple[dict[str, list[Run]], str]) -> None:
    runs, text = compared
    assert "4 questions of two or three hops" in text
    assert "scripted, no real one" in text
    for name in runs:
        assert text.count(f"| {name} ") >= 2


def test_the_chat_model_of_a_server_is_asked(tmp_path: Path) -> None:
    with Vllm(models=("Qwen/Qwen3-32B",), brain=Reader(read_questions())).serve() as url:
        runs = benchmark.main(["--limit", "1", "--chat", url, "--server", "vllm", "--out", str(tmp_path / "deep.md")])
    assert runs[PER_STEP][0].thought > 0
    assert "- chat model: Qwen/Qwen3-32B, on a server" in (tmp_path / "deep.md").read_text(encoding="utf-8")


class Retriever:
    """Gives passages whatever is asked."""

    def __init__(self, passages: Sequence[str]) -> None:
        self.documents = [Document(text) for text in passages]

    def __call__(self, _: str) -> Any:
        return self.documents


QUESTION = Question("one", "faq", "Who founded it, and where?", (Hop("Who?", "by Ada Berg"), Hop("Where?", "in Ulm")))


@pytest.mark.parametrize(
    ("reply", "coverage", "precision"),
    [
        ("By Berg [1], in Ulm [2].", 1.0, 1.0),
        ("By Berg [1].", 0.5, 1.0),
        ("By Berg [1], and it rained [3].", 0.5, 0.5),
        ("It rained [3, 3].", 0.0, 0.0),
        ("I do not know.", 0.0, None),
        ("By Berg [7].", 0.0, None),
    ],
)
def test_what_an_answer_is_worth(reply: str, coverage: float, precision: float | None) -> None:
    server = Vllm(models=("Qwen/Qwen3-8B",), content=reply)
    chat = ChatQwen3(model="Qwen/Qwen3-8B", server="vllm", base_url=server.url, **server.clients())
    passages: Any = RunnableLambda(Retriever(["It was founded\nby Ada Berg.", "It stands in Ulm.", "It rained."]))
    retrievers: Mapping[int, Any] = {benchmark.TOP_N: passages, MANY: passages}
    run = benchmark.ask(benchmark.strategies(retrievers, chat)[PLAIN], QUESTION)
    assert (run.coverage, run.precision, run.calls) == (coverage, precision, 1)
    assert run.read > 0
    assert run.written > 0
    assert run.seconds > 0
    text = report({name: [run] for name in (PLAIN, PLAIN_MANY, NEVER, PER_STEP, ALWAYS)}, [QUESTION], {})
    assert f"| {coverage:.3f} | {'-' if precision is None else f'{precision:.3f}'}" in " ".join(text.split())
