"""The commands of `qwen3-rag`."""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import openai
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from qwen3_cli import options, render
from qwen3_cli.model_options import ModelOptions
from qwen3_cli.options import ChatOptions, Stages, StoreOptions
from qwen3_core.base import require_query
from qwen3_core.ingest import Chunk
from qwen3_core.ingest.files import MAX_FILE_BYTES, is_gone
from qwen3_core.ingest.indexing import IndexOptions
from qwen3_core.ingest.pipeline import check_paths
from qwen3_core.ingest.summary import IndexProgress
from qwen3_core.local import DEFAULT_EMBEDDING_MODEL, DEFAULT_RERANKER_MODEL
from qwen3_core.milvus.errors import MilvusStoreError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # they would print tokens and keys
    help="Answer questions about your documents with Qwen3 and Milvus.",
)

_INTERRUPTED = 130  # the shell's own code for Ctrl-C
# What users can mend; anything else is a bug of ours and keeps its traceback.
_EXPECTED = (ValueError, OSError, ImportError, FloatingPointError, MilvusStoreError, openai.OpenAIError)

Paths = Annotated[list[Path], typer.Argument(help="Files, and folders with markdown and text files.")]
IndexPaths = Annotated[
    list[Path], typer.Argument(help="Files, and folders with markdown, text, HTML, PDF and source code.")
]
Question = Annotated[str, typer.Argument(help="The question.")]


@app.command()
def index(
    paths: IndexPaths,
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
        result = {"collection": collection, "uri": uri, **summary.to_dict()}
        print_result(result, *render.index_summary(summary, collection, uri), as_json=as_json)
        if summary.failed and not skip_unreadable:
            raise typer.Exit(1)


@app.command()
def search(
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
    fetch_k: options.FetchK = 10,
    top_n: options.TopN = 3,
    framework: options.Framework = "langchain",
    as_json: options.Json = False,
) -> None:
    """Show the best documents for a question, by vector and after reranking."""
    with reported():
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
        stages = Stages(reranker=second, fetch_k=fetch_k, top_n=top_n)
        candidates = framework_of(framework).search(store, question, stages)
        print_result([asdict(each) for each in candidates[:top_n]], render.table(candidates, top_n), as_json=as_json)


@app.command()
def ask(
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
    think: options.Think = None,
    thinking_budget: options.ThinkingBudget = None,
    max_tokens: options.MaxTokens = None,
    framework: options.Framework = "langchain",
    as_json: options.Json = False,
) -> None:
    """Answer a question from the documents, with numbered sources."""
    with reported():
        require_query(question)
        chat_options = ChatOptions(
            chat=chat,
            model=chat_model,
            key=chat_key,
            server=server,
            think=think,
            thinking_budget=thinking_budget,
            max_tokens=max_tokens,
        )
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
        stages = Stages(reranker=second, fetch_k=fetch_k, top_n=top_n)
        answer = framework_of(framework).ask(store, question, stages, chat_options)
        print_result(answer.to_dict(), *render.answer(answer), as_json=as_json)


def framework_of(name: str) -> Any:
    """Import a framework when it is asked for: each takes more than a second, and only one may be installed.

    Raises:
        ImportError: It is not installed.
    """
    try:
        return importlib.import_module(f"qwen3_cli.with_{name}")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(("langchain", "llama_index")):
            raise
        msg = f'this needs the {name} components: pip install "qwen3-rag[{name},local]"'
        raise ImportError(msg) from error


def add_chunks(store: Any, chunks: Sequence[Chunk], console: Console) -> int:
    """Embed and store the chunks that are not there yet, with a progress bar; return how many there were."""
    ids = [chunk.id for chunk in chunks]
    missing = len(set(ids) - store.existing_ids(ids))
    if not missing:
        return 0
    columns = (TextColumn("embedding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("embedding", total=missing)
        store.add_texts(
            [chunk.text for chunk in chunks],
            [chunk.metadata for chunk in chunks],
            ids=ids,
            skip_existing=True,
            progress=lambda done, _: progress.update(task, completed=done),
        )
    return missing


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


def print_result(data: Any, *shown: Any, as_json: bool) -> None:
    """Print data as JSON on standard output, or what a person reads."""
    if as_json:
        typer.echo(json.dumps(data, ensure_ascii=False, indent=2, default=str))
    else:
        output = Console(emoji=False)
        for part in shown:
            output.print(part)


@contextmanager
def reported(*, goes_on: bool = False) -> Iterator[Console]:
    """Give a console on standard error, and turn what users can mend into a message and an exit code.

    Args:
        goes_on: Whether the command stores what it has done, and goes on from there when it is run again.
    """
    console = Console(stderr=True, emoji=False)
    try:
        yield console
    except KeyboardInterrupt:
        kept = "; what was stored is kept, and the same command goes on from there" if goes_on else ""
        console.print(f"stopped{kept}")
        raise typer.Exit(_INTERRUPTED) from None
    except _EXPECTED as error:
        render.print_error(console, error)
        raise typer.Exit(1) from error


# Registered last: they use the functions above.
from qwen3_cli import demo, doctor, evaluate, mcp, research, transfer  # noqa: E402

app.command(name="demo")(demo.demo)
app.command(name="doctor")(doctor.doctor)
app.command(name="evaluate")(evaluate.evaluate)
app.command(name="export")(transfer.export)
app.command(name="import")(transfer.import_)
app.command(name="mcp")(mcp.mcp)
app.command(name="research")(research.research)
