"""What the commands print: tables for people, JSON for programs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from qwen3_cli.passages import Answer, Passage
from qwen3_core.answers import place_of
from qwen3_core.ingest.summary import IndexSummary

_SUMMARY = 90
# What a terminal obeys (ECMA-48, C0 and C1, but for tab and line feed), and what UTF-8 cannot say.
_NOT_SHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def plain(text: str) -> str:
    """Return a text as a terminal or a report may have it: what does more than be read is shown as a mark."""
    return _NOT_SHOWN.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def literal(text: str) -> str:
    """Return a text so that rich prints it letter for letter."""
    return escape(plain(text))


def comparison(candidates: Sequence[Passage], reranked: Sequence[Passage], top_n: int) -> Table:
    """Lay the best by vector beside the best after reranking, with both scores on both sides."""
    by_vector = sorted(candidates, key=lambda passage: -passage.metadata["retrieval_score"])[:top_n]
    table = Table(title=f"Top {top_n} of {len(candidates)} candidates", show_lines=True, expand=True)
    table.add_column("#", justify="right")
    for title in ("by vector", "after reranking"):
        table.add_column(title, ratio=1)
        table.add_column("vector", justify="right")
        table.add_column("rerank", justify="right")
    for row in range(max(len(by_vector), len(reranked))):
        cells = [*_cells(by_vector, row), *_cells(reranked, row)]
        table.add_row(str(row + 1), *cells)
    return table


def table(candidates: Sequence[Passage], top_n: int) -> Table:
    """Lay out candidates: both orders, or the one there is without a reranker."""
    if candidates and "relevance_score" not in candidates[0].metadata:
        return ranking(candidates[:top_n])
    return comparison(candidates, candidates[:top_n], top_n)


def ranking(passages: Sequence[Passage]) -> Table:
    """List passages with their retrieval scores, for a search without a reranker."""
    table = Table(show_lines=True, expand=True)
    table.add_column("#", justify="right")
    table.add_column("by vector", ratio=1)
    table.add_column("vector", justify="right")
    for number, passage in enumerate(passages, 1):
        table.add_row(str(number), summary(passage), f"{passage.metadata['retrieval_score']:.3f}")
    return table


def answer(output: Answer) -> Iterable[Any]:
    """Show the reasoning if there is any, the answer, and its numbered sources."""
    if output.reasoning:
        yield Panel(literal(output.reasoning.strip()), title="reasoning", style="dim")
    yield Panel(literal(output.answer.strip() or "(the model gave no answer)"), title="answer")
    cited = {citation["number"] for citation in output.citations}
    for number, passage in enumerate(output.context, 1):
        mark = "*" if number in cited else " "
        yield f"{mark}\\[{number}] {literal(place(passage))}"
    yield "[dim]* named in the answer[/dim]" if cited else "[dim]the answer names no source[/dim]"


def place(passage: Passage) -> str:
    """Say where a passage comes from: its file and its own heading."""
    return place_of(passage.metadata)


def summary(passage: Passage) -> str:
    """Return a passage's heading, or else its beginning, with its file below."""
    text = _heading(passage) or " ".join(passage.text.split())
    shown = text if len(text) <= _SUMMARY else text[: _SUMMARY - 1] + "…"
    return f"{literal(shown)}\n[dim]{literal(str(passage.metadata.get('source', '?')))}[/dim]"


def index_summary(summary: IndexSummary, collection: str, uri: str) -> Iterable[Any]:
    """Show what a run of the indexing did, and why files failed."""
    table = Table("files", "")
    for name in ("added", "replaced", "skipped", "removed"):
        table.add_row(name, str(getattr(summary, name)))
    table.add_row("failed", str(len(summary.failed)), style="red" if summary.failed else None)
    yield table
    yield literal(
        f"{summary.chunks} chunks in {collection!r} of {uri}: {summary.chunks_added} new, "
        f"{summary.chunks_removed} dropped, in {summary.seconds:.1f} s"
    )
    for each in summary.failed:
        yield f"[red]{literal(each.source)}[/red]: {literal(each.reason)}"
    if summary.note:
        yield f"[yellow]{literal(summary.note)}[/yellow]"


def _heading(passage: Passage) -> str:
    return str(passage.metadata.get("heading") or "").rpartition(" > ")[2]


def print_error(console: Console, error: BaseException) -> None:
    """Print what went wrong and what to do, without a traceback."""
    console.print(f"[bold red]error:[/bold red] {literal(_message(error))}", highlight=False)


def _message(error: BaseException) -> str:
    """Return what an error says; of pydantic's neither the frame nor the values, which may be keys."""
    from pydantic import ValidationError  # the frameworks' classes raise it, and not all commands load them

    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(map(_refusal, error.errors(include_url=False, include_input=False)))


def _refusal(details: Mapping[str, Any]) -> str:
    if cause := details.get("ctx", {}).get("error"):  # a validator's own
        return str(cause)
    return ": ".join(part for part in (".".join(map(str, details["loc"])), details["msg"]) if part)


def _cells(passages: Sequence[Passage], row: int) -> tuple[str, str, str]:
    if row >= len(passages):
        return "", "", ""
    metadata = passages[row].metadata
    return summary(passages[row]), f"{metadata['retrieval_score']:.3f}", f"{metadata['relevance_score']:.3f}"
