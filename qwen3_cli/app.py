"""The commands of `qwen3-rag`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from qwen3_cli import demo, doctor, evaluate, mcp, options, render, research, transfer
from qwen3_cli.console import framework_of, print_result, reported
from qwen3_cli.groups import grouped
from qwen3_cli.options import AnswerOptions, Stages, StoreOptions
from qwen3_core.base import require_query
from qwen3_core.ingest.files import MAX_FILE_BYTES, is_gone
from qwen3_core.ingest.indexing import IndexOptions
from qwen3_core.ingest.pipeline import check_paths
from qwen3_core.ingest.summary import IndexProgress

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # they would print tokens and keys
    help="Answer questions about your documents with Qwen3 and Milvus.",
)

IndexPaths = Annotated[
    list[Path], typer.Argument(help="Files, and folders with markdown, text, HTML, PDF and source code.")
]
Question = Annotated[str, typer.Argument(help="The question.")]


@app.command()
@grouped
def index(
    paths: IndexPaths,
    *,
    store: StoreOptions,
    chunk_tokens: options.ChunkTokens = None,
    chunk_size: options.ChunkSize = None,
    encoding: Annotated[str, typer.Option(help="How text files are encoded.")] = "utf-8",
    prune: Annotated[bool, typer.Option("--prune", help="Also drop what was indexed from PATHS and is gone.")] = False,
    manifest: options.Manifest = None,
    max_file_mib: Annotated[int, typer.Option(min=1, help="MiB of a file at most.")] = MAX_FILE_BYTES // 2**20,
    skip_unreadable: Annotated[bool, typer.Option(help="Succeed although files could not be read.")] = False,
    framework: options.Framework = "langchain",
    as_json: options.Json = False,
) -> None:
    """Make a collection hold the passages of files, as they are now. Files that have not changed are skipped."""
    with reported(goes_on=True) as console:
        if any(is_gone(str(path)) for path in check_paths(paths, prune=prune)):
            store.require_path()
        indexing: IndexOptions = {
            "chunk_tokens": chunk_tokens,
            "chunk_size": chunk_size,
            "encoding": encoding,
            "prune": prune,
            "manifest": True if manifest is None else manifest,
            "max_file_bytes": max_file_mib * 2**20,
        }
        with indexing_progress(console) as report:
            summary = framework_of(framework).index(store, paths, {**indexing, "progress": report})
        result = {"collection": store.collection, "uri": store.uri, **summary.to_dict()}
        print_result(result, *render.index_summary(summary, store.collection, store.uri), as_json=as_json)
        if summary.failed and not skip_unreadable:
            raise typer.Exit(1)


@app.command()
@grouped
def search(
    question: Question,
    *,
    store: StoreOptions,
    stages: Stages,
    framework: options.Framework = "langchain",
    as_json: options.Json = False,
) -> None:
    """Show the best documents for a question, by vector and after reranking."""
    with reported():
        require_query(question)
        candidates = framework_of(framework).search(store, question, stages)
        shown = render.table(candidates, stages.top_n)
        print_result([asdict(each) for each in candidates[: stages.top_n]], shown, as_json=as_json)


@app.command()
@grouped
def ask(
    question: Question,
    *,
    store: StoreOptions,
    stages: Stages,
    chat: AnswerOptions,
    framework: options.Framework = "langchain",
    as_json: options.Json = False,
) -> None:
    """Answer a question from the documents, with numbered sources."""
    with reported():
        require_query(question)
        answer = framework_of(framework).ask(store, question, stages, chat)
        print_result(answer.to_dict(), *render.answer(answer), as_json=as_json)


@contextmanager
def indexing_progress(console: Console) -> Iterator[Callable[[IndexProgress], None]]:
    """Show how far the indexing is, how fast, and how long it will take; from the first batch on."""
    # pypdf says of broken files what the summary says as well, in the middle of the bar.
    logging.getLogger("pypdf").addHandler(logging.NullHandler())
    columns = (TextColumn("embedding"), BarColumn(), TextColumn("{task.fields[shown]}"), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("embedding", total=None, shown="", visible=False)

        def report(now: IndexProgress) -> None:
            rate = now.chunks / max(progress.tasks[task].elapsed or 0.0, 0.001)
            shown = f"{now.files}/{now.files_total} files, {now.chunks} chunks, {rate:.1f} a second"
            progress.update(task, total=now.bytes_total, completed=now.bytes, shown=shown, visible=True)

        yield report


app.command(name="demo")(demo.demo)
app.command(name="doctor")(doctor.doctor)
app.command(name="evaluate")(evaluate.evaluate)
app.command(name="export")(transfer.export)
app.command(name="import")(transfer.import_)
app.command(name="mcp")(mcp.mcp)
app.command(name="research")(research.research)
