"""`qwen3-rag research`: several rounds of search, step by step before one's eyes, and a report with sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from qwen3_cli import options
from qwen3_cli.app import framework_of, print_result, reported
from qwen3_cli.model_options import ModelOptions
from qwen3_cli.options import ChatOptions, Stages, StoreOptions
from qwen3_core.base import require_query
from qwen3_core.local import DEFAULT_EMBEDDING_MODEL, DEFAULT_RERANKER_MODEL

Question = Annotated[str, typer.Argument(help="The question.")]

_LONGEST = 70  # characters of a query in the line of a step


def research(
    question: Question,
    *,
    uri: options.Uri = "./milvus.db",
    token: options.Token = None,
    collection: options.Collection = "docs",
    db_name: options.DbName = "",
    tenant: options.Tenant = None,
    hybrid: options.Hybrid = False,
    analyzer: options.Analyzer = None,
    embedding: options.Embedding = DEFAULT_EMBEDDING_MODEL,
    embedding_model: options.EmbeddingModel = None,
    embedding_key: options.EmbeddingKey = None,
    embedding_server: options.EmbeddingServer = "auto",
    reranker: options.Reranker = DEFAULT_RERANKER_MODEL,
    reranker_model: options.RerankerModel = None,
    reranker_key: options.RerankerKey = None,
    reranker_server: options.RerankerServer = "auto",
    chat: options.Chat = None,
    chat_model: options.ChatModel = None,
    chat_key: options.ChatKey = None,
    server: options.ChatServer = "auto",
    fetch_k: options.FetchK = 10,
    top_n: options.TopN = 3,
    think: Annotated[
        bool | None, typer.Option("--think/--no-think", help="In all steps or in none; else where it pays.")
    ] = None,
    max_rounds: Annotated[int, typer.Option(min=1, help="Searches at most.")] = 3,
    token_budget: Annotated[int | None, typer.Option(min=1, help="Tokens at most, then the report is written.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where the report goes, as markdown; else it is printed.")] = None,
    as_json: options.Json = False,
) -> None:
    """Research a question in several rounds: split it, search, judge, search again, and report with sources."""
    with reported() as console:
        require_query(question)
        store = StoreOptions(
            uri=uri,
            token=token,
            db_name=db_name,
            collection=collection,
            tenant=tenant,
            hybrid=hybrid,
            analyzer=analyzer,
            embedding=ModelOptions(name=embedding, model=embedding_model, key=embedding_key, server=embedding_server),
        )
        second = ModelOptions(
            name=reranker, model=reranker_model, key=reranker_key, server=reranker_server, option="--reranker"
        )
        found = framework_of("langchain").research(
            store,
            question,
            Stages(reranker=second, fetch_k=fetch_k, top_n=top_n),
            ChatOptions(chat=chat, model=chat_model, key=chat_key, server=server),
            {"max_rounds": max_rounds, "token_budget": token_budget, **_thinking(think=think)},
            lambda step: console.print(_line(step)),
        )
        report = "\n".join(_markdown(found))
        if output is not None:
            output.write_text(report + "\n", encoding="utf-8")
            console.print(f"the report is in {output}")
        print_result(found, *([] if output else [escape(report)]), as_json=as_json)


def _thinking(*, think: bool | None) -> dict[str, Any]:
    steps = ("plan", "reflect", "rewrite", "report")
    return {} if think is None else {"think": dict.fromkeys(steps, think)}


def _line(step: Mapping[str, Any]) -> str:
    """Return a step in one line."""
    usage, parts = step["usage"], [f"[bold]{step['name']}[/bold]"]
    if step["queries"]:
        parts.append("; ".join(escape(query[:_LONGEST]) for query in step["queries"]))
    if step["name"] == "search":
        parts.append(f"{step['passages']} passages so far")
    if usage["output"]:
        thought = f", {usage['reasoning']:,} of them thought" if usage["reasoning"] else ""
        parts.append(f"{usage['input']:,} tokens read, {usage['output']:,} written{thought}")
    parts.append(f"{step['seconds']:.1f} s")
    if step["note"]:
        parts.append(f"[yellow]{escape(step['note'])}[/yellow]")
    return " - ".join(parts)


def _markdown(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {found['input']}\n"
    yield f"{found['answer']}\n"
    if found["citations"]:
        yield "## Sources\n"
    for citation in found["citations"]:
        passage = found["context"][citation["number"] - 1]
        place = passage["metadata"].get("heading")
        yield f"{citation['number']}. {citation['source'] or citation['id']}" + (f": {place}" if place else "")
    usage, steps = found["usage"], found["steps"]
    yield "\n## How it was found\n"
    yield (
        f"{_count(steps, 'search')} searches, {len(steps)} steps, {usage['input'] + usage['output']:,} tokens "
        f"({usage['reasoning']:,} thought), {sum(step['seconds'] for step in steps):.0f} s. It ended since "
        f"{found['reason']}."
    )
    for note in found["notes"]:
        yield f"- {note}"


def _count(steps: Sequence[Mapping[str, Any]], name: str) -> int:
    return sum(step["name"] == name for step in steps)
