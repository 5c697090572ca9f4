"""`qwen3-rag research`: several rounds of search, step by step before one's eyes, and a report with sources."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from qwen3_cli import options
from qwen3_cli.console import framework_of, print_result, reported
from qwen3_cli.groups import grouped
from qwen3_cli.options import ChatOptions, ResearchOptions, Stages, StoreOptions
from qwen3_cli.render import literal, plain
from qwen3_core.base import require_query

Question = Annotated[str, typer.Argument(help="The question.")]

_LONGEST = 70  # characters of a query in the line of a step


@grouped
def research(
    question: Question,
    *,
    store: StoreOptions,
    stages: Stages,
    chat: ChatOptions,
    think: Annotated[
        bool | None, typer.Option("--think/--no-think", help="In all steps or in none; else where it pays.")
    ] = None,
    limits: ResearchOptions,
    output: Annotated[Path | None, typer.Option(help="Where the report goes, as markdown; else it is printed.")] = None,
    as_json: options.Json = False,
) -> None:
    """Research a question in several rounds: split it, search, judge, search again, and report with sources."""
    with reported() as console:
        require_query(question)
        if output is not None:
            _require_place(output)
        found = framework_of("langchain").research(
            store,
            question,
            stages,
            chat,
            limits.searching(think=think),
            lambda step: console.print(_line(step)),
        )
        report = plain("\n".join(_markdown(found)))
        if as_json:
            print_result(found, as_json=True)
        elif output is None:
            typer.echo(report)  # not by rich, which breaks lines
        if output is not None:
            _write(output, report, console, shown=as_json)


def _require_place(output: Path) -> None:
    """Refuse a path where no report can be written, before a model is paid for one."""
    if output.is_dir():
        msg = f"--output {output} is a folder: name a file in it"
        raise ValueError(msg)
    if not output.parent.is_dir():
        msg = f"--output {output}: there is no folder {output.parent}: make it first"
        raise ValueError(msg)
    if not os.access(output if output.exists() else output.parent, os.W_OK):
        msg = f"--output {output} cannot be written: name another file"
        raise ValueError(msg)


def _write(output: Path, report: str, console: Console, *, shown: bool) -> None:
    try:
        output.write_text(report + "\n", encoding="utf-8")
    except OSError:
        if not shown:
            typer.echo(report)
        raise
    console.print(f"the report is in {literal(str(output))}", soft_wrap=True)


def _line(step: Mapping[str, Any]) -> str:
    """Return a step in one line."""
    usage, parts = step["usage"], [f"[bold]{step['name']}[/bold]"]
    if step["queries"]:
        parts.append("; ".join(literal(_one_line(query)[:_LONGEST]) for query in step["queries"]))
    if step["name"] == "search":
        parts.append(f"{step['passages']} passages so far")
    if usage["output"]:
        thought = f", {usage['reasoning']:,} of them thought" if usage["reasoning"] else ""
        parts.append(f"{usage['input']:,} tokens read, {usage['output']:,} written{thought}")
    parts.append(f"{step['seconds']:.1f} s")
    if step["note"]:
        parts.append(f"[yellow]{literal(step['note'])}[/yellow]")
    return " - ".join(parts)


def _markdown(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {_one_line(found['input'])}\n"
    yield f"{found['answer']}\n"
    yield "## Sources\n" if found["citations"] else "The answer names no source."
    for citation in found["citations"]:
        passage = found["context"][citation["number"] - 1]
        place = passage["metadata"].get("heading")
        named = f"{citation['number']}. {citation['source'] or citation['id']}" + (f": {place}" if place else "")
        yield _one_line(named)
    usage, steps = found["usage"], found["steps"]
    yield "\n## How it was found\n"
    yield (
        f"{_count(steps, 'search')} searches, {len(steps)} steps, {usage['input'] + usage['output']:,} tokens "
        f"({usage['reasoning']:,} thought), {sum(step['seconds'] for step in steps):.0f} s. It ended since "
        f"{found['reason']}."
    )
    for note in found["notes"]:
        yield f"- {note}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _count(steps: Sequence[Mapping[str, Any]], name: str) -> int:
    return sum(step["name"] == name for step in steps)
