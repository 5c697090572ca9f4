"""The commands of `qwen3-rag`."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import openai
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from qwen3_cli import options, render
from qwen3_cli.options import ChatOptions, Stages, StoreOptions
from qwen3_core.base import require_query
from qwen3_core.ingest import DEFAULT_CHUNK_SIZE, Chunk, load_chunks
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
Question = Annotated[str, typer.Argument(help="The question.")]


@app.command()
def index(
    paths: Paths,
    *,
    uri: options.Uri = "./milvus.db",
    token: options.Token = None,
    collection: options.Collection = "docs",
    embedding: options.Embedding = DEFAULT_EMBEDDING_MODEL,
    chunk_size: Annotated[int, typer.Option(min=1, help="Characters of a chunk at most.")] = DEFAULT_CHUNK_SIZE,
    encoding: Annotated[str, typer.Option(help="How the files are encoded.")] = "utf-8",
    skip_unreadable: Annotated[bool, typer.Option(help="Leave out files that cannot be read.")] = False,
    as_json: options.Json = False,
) -> None:
    """Read documents, embed them, and store them. What is there already is not done again."""
    with reported() as console:
        chunks = load_chunks(
            paths, chunk_size=chunk_size, encoding=encoding, on_error="skip" if skip_unreadable else "raise"
        )
        store_options = StoreOptions(uri=uri, token=token, collection=collection, embedding=embedding)
        with framework_of("langchain").open_store(store_options) as store:
            added = add_chunks(store, chunks, console)
        result = {"collection": collection, "uri": uri, "chunks": len(chunks), "added": added}
        print_result(result, f"{len(chunks)} chunks in {collection!r} of {uri}: {added} new", as_json=as_json)


@app.command()
def search(
    question: Question,
    *,
    uri: options.Uri = "./milvus.db",
    token: options.Token = None,
    collection: options.Collection = "docs",
    embedding: options.Embedding = DEFAULT_EMBEDDING_MODEL,
    reranker: options.Reranker = DEFAULT_RERANKER_MODEL,
    fetch_k: options.FetchK = 10,
    top_n: options.TopN = 3,
    framework: options.Framework = "langchain",
    as_json: options.Json = False,
) -> None:
    """Show the best documents for a question, by vector and after reranking."""
    with reported():
        require_query(question)
        store = StoreOptions(uri=uri, token=token, collection=collection, embedding=embedding)
        stages = Stages(reranker=reranker, fetch_k=fetch_k, top_n=top_n)
        candidates = framework_of(framework).search(store, question, stages)
        print_result([asdict(each) for each in candidates[:top_n]], render.table(candidates, top_n), as_json=as_json)


@app.command()
def ask(
    question: Question,
    *,
    uri: options.Uri = "./milvus.db",
    token: options.Token = None,
    collection: options.Collection = "docs",
    embedding: options.Embedding = DEFAULT_EMBEDDING_MODEL,
    reranker: options.Reranker = DEFAULT_RERANKER_MODEL,
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
        store = StoreOptions(uri=uri, token=token, collection=collection, embedding=embedding)
        stages = Stages(reranker=reranker, fetch_k=fetch_k, top_n=top_n)
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


def print_result(data: Any, *shown: Any, as_json: bool) -> None:
    """Print data as JSON on standard output, or what a person reads."""
    if as_json:
        typer.echo(json.dumps(data, ensure_ascii=False, indent=2, default=str))
    else:
        output = Console()
        for part in shown:
            output.print(part)


@contextmanager
def reported() -> Iterator[Console]:
    """Give a console on standard error, and turn what users can mend into a message and an exit code."""
    console = Console(stderr=True)
    try:
        yield console
    except KeyboardInterrupt:
        console.print("stopped; what was stored is kept, and the same command goes on from there")
        raise typer.Exit(_INTERRUPTED) from None
    except _EXPECTED as error:
        render.print_error(console, error)
        raise typer.Exit(1) from error


# Registered last: they use the functions above.
from qwen3_cli import demo, doctor  # noqa: E402

app.command(name="demo")(demo.demo)
app.command(name="doctor")(doctor.doctor)
