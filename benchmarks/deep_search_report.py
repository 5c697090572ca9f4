"""The report of `deep_search.py`: what each strategy found, and what it cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from deep_search_reader import Question
from tabulate import tabulate

from qwen3_core.evaluation.measures import interval
from qwen3_core.evaluation.report import shown
from qwen3_core.evaluation.verdict import paired

TOP_N, MANY = 3, 10
PLAIN, PLAIN_MANY = f"plain RAG, {TOP_N} passages", f"plain RAG, {MANY} passages"
NEVER, PER_STEP, ALWAYS = "deep search, never thinking", "deep search, per step", "deep search, always thinking"


@dataclass(frozen=True)
class Run:
    """What one strategy made of one question.

    Attributes:
        question: The question's id.
        coverage: The part of the question's hops whose right passage the answer cites, 0 to 1.
        precision: The part of the cited passages that are right for a hop; None where none is cited.
        calls: Calls of the chat model.
        read: Tokens of prompts.
        written: Tokens of replies, thoughts included.
        thought: Tokens of thoughts.
        seconds: From question to answer.
        notes: What the model did badly.
    """

    question: str
    coverage: float
    precision: float | None
    calls: int
    read: int
    written: int
    thought: int
    seconds: float
    notes: tuple[str, ...] = ()


def rows(runs: Mapping[str, Sequence[Run]]) -> list[list[str]]:
    """Return the table's rows."""
    table = []
    for name, all_ in runs.items():
        precisions = [run.precision for run in all_ if run.precision is not None]
        table.append(
            [
                name,
                shown(interval([run.coverage for run in all_])),
                shown(interval(precisions)) if precisions else "-",
                str(len(all_) - len(precisions)),
                *(_mean([getattr(run, field) for run in all_]) for field in ("calls", "read", "written", "thought")),
                _mean([run.seconds for run in all_]),
            ]
        )
    return table


def differences(runs: Mapping[str, Sequence[Run]]) -> list[list[str]]:
    """Return what a strategy has above another, paired by question."""
    fields: list[tuple[str, Callable[[float], str]]] = [("coverage", "{:.3f}".format), ("written", "{:.0f}".format)]
    table = []
    for one, other in ((PER_STEP, PLAIN), (PER_STEP, PLAIN_MANY), (PER_STEP, NEVER), (ALWAYS, PER_STEP)):
        row = [f"{one} - {other}"]
        for field, show in fields:
            found = paired(*([getattr(run, field) for run in runs[name]] for name in (one, other)))
            row.append(f"{show(found.mean)} [{show(found.low)}, {show(found.high)}]")
        table.append(row)
    return table


def report(runs: Mapping[str, Sequence[Run]], questions: Sequence[Question], settings: Mapping[str, str]) -> str:
    """Return the report as markdown."""
    head = [
        "strategy", "answer coverage", "citation precision", "no citation", "calls", "tokens read", "written",
        "of them thought", "seconds",
    ]  # fmt: skip
    corpora = list(dict.fromkeys(question.corpus for question in questions))
    corpus_of = {question.id: question.corpus for question in questions}
    by_corpus = [
        [name, *(_mean([run.coverage for run in all_ if corpus_of[run.question] == corpus]) for corpus in corpora)]
        for name, all_ in runs.items()
    ]
    notes = sorted({f"{name}: {note}" for name, all_ in runs.items() for run in all_ for note in run.notes})
    parts = [
        "# Deep search beside plain RAG, thinking always, never and per step",
        f"Written by `benchmarks/deep_search.py`: {len(questions)} questions of two or three hops "
        "(`benchmarks/deep_search_questions.jsonl`, written before anything was run), and one right passage for each "
        "hop. Answer coverage is the part of the hops whose passage the answer cites; citation precision the "
        "part of the cited passages that are right, over the answers that cite any. Brackets are 95% percentile "
        "bootstrap intervals over questions. Figures are means of a question.",
        "\n".join(f"- {name}: {value}" for name, value in settings.items()),
        _table(head, rows(runs)),
        "Differences, paired by question:",
        _table(["difference", "answer coverage", "tokens written"], differences(runs)),
        "Answer coverage by corpus:",
        _table(["strategy", *corpora], by_corpus),
    ]
    if notes:
        parts += ["What the model did badly, and what was done instead:", "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(parts) + "\n"


def _mean(values: Sequence[float]) -> str:
    mean = sum(values) / len(values)
    return f"{mean:,.0f}" if mean >= 100 else f"{mean:.2f}"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return tabulate(lines, headers=head, tablefmt="github", disable_numparse=True)
