"""What the commands print: tables for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.documents import Document
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from langchain_qwen3.rag_chain import RagOutput

_SUMMARY = 90


def comparison(candidates: Sequence[Document], reranked: Sequence[Document], top_n: int) -> Table:
    """Lay the best by vector beside the best after reranking, with both scores on both sides."""
    by_vector = sorted(candidates, key=lambda document: -document.metadata["retrieval_score"])[:top_n]
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


def ranking(documents: Sequence[Document]) -> Table:
    """List documents with their retrieval scores, for a search without a reranker."""
    table = Table(show_lines=True, expand=True)
    table.add_column("#", justify="right")
    table.add_column("by vector", ratio=1)
    table.add_column("vector", justify="right")
    for number, document in enumerate(documents, 1):
        table.add_row(str(number), summary(document), f"{document.metadata['retrieval_score']:.3f}")
    return table


def answer(output: RagOutput) -> Iterable[Any]:
    """Show the reasoning if there is any, the answer, and its numbered sources."""
    if output["reasoning"]:
        yield Panel(escape(output["reasoning"].strip()), title="reasoning", style="dim")
    yield Panel(escape(output["answer"].strip() or "(the model gave no answer)"), title="answer")
    cited = {citation["number"] for citation in output["citations"]}
    for number, document in enumerate(output["context"], 1):
        mark = "*" if number in cited else " "
        yield f"{mark}\\[{number}] {escape(place(document))}"
    yield "[dim]* named in the answer[/dim]" if cited else "[dim]the answer names no source[/dim]"


def place(document: Document) -> str:
    """Say where a document comes from: its file and its own heading."""
    return " # ".join(part for part in (str(document.metadata.get("source", "?")), _heading(document)) if part)


def summary(document: Document) -> str:
    """Return a document's heading, or else its beginning, with its file below."""
    text = _heading(document) or " ".join(document.page_content.split())
    shown = text if len(text) <= _SUMMARY else text[: _SUMMARY - 1] + "…"
    return f"{escape(shown)}\n[dim]{escape(str(document.metadata.get('source', '?')))}[/dim]"


def _heading(document: Document) -> str:
    return str(document.metadata.get("heading") or "").rpartition(" > ")[2]


def as_json(document: Document) -> dict[str, Any]:
    """Return a document as JSON has it."""
    return {"id": document.id, "text": document.page_content, "metadata": document.metadata}


def answer_json(output: RagOutput) -> dict[str, Any]:
    """Return the chain's output as JSON has it."""
    return {**output, "context": [as_json(document) for document in output["context"]]}


def print_error(console: Console, error: BaseException) -> None:
    """Print what went wrong and what to do, without a traceback."""
    console.print(f"[bold red]error:[/bold red] {escape(str(error))}", highlight=False)


def _cells(documents: Sequence[Document], row: int) -> tuple[str, str, str]:
    if row >= len(documents):
        return "", "", ""
    metadata = documents[row].metadata
    return summary(documents[row]), f"{metadata['retrieval_score']:.3f}", f"{metadata['relevance_score']:.3f}"
