"""The commands of `qwen3-rag`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import openai
import typer
from langchain_core.documents import Document
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from langchain_qwen3.cli import options, render
from langchain_qwen3.cli.options import ChatOptions, StoreOptions
from langchain_qwen3.rag_chain import create_rag_chain
from langchain_qwen3.vector_store import Qwen3VectorStore
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
        with StoreOptions(uri=uri, token=token, collection=collection, embedding=embedding).open() as store:
            added = add_chunks(store, chunks, console)
        result = {"collection": collection, "uri": uri, "chunks": len(chunks), "added": added}
        _print(result, f"{len(chunks)} chunks in {collection!r} of {uri}: {added} new", as_json=as_json)


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
    as_json: options.Json = False,
) -> None:
    """Show the best documents for a question, by vector and after reranking."""
    with reported():
        require_query(question)
        with StoreOptions(uri=uri, token=token, collection=collection, embedding=embedding).open_indexed() as store:
            candidates = retrieve(store, question, reranker, fetch_k=fetch_k, top_n=top_n)
        documents = candidates[:top_n]
        _print([render.as_json(document) for document in documents], table(candidates, top_n), as_json=as_json)


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
    as_json: options.Json = False,
) -> None:
    """Answer a question from the documents, with numbered sources."""
    with reported():
        require_query(question)
        model = ChatOptions(
            chat=chat,
            model=chat_model,
            key=chat_key,
            server=server,
            think=think,
            thinking_budget=thinking_budget,
            max_tokens=max_tokens,
        ).make()
        with StoreOptions(uri=uri, token=token, collection=collection, embedding=embedding).open_indexed() as store:
            retriever = options.make_retriever(store, reranker, fetch_k=fetch_k, top_n=top_n)
            output = create_rag_chain(retriever, model).invoke({"input": question})
        _print(render.answer_json(output), *render.answer(output), as_json=as_json)


def add_chunks(store: Qwen3VectorStore, chunks: Sequence[Chunk], console: Console) -> int:
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


def retrieve(store: Qwen3VectorStore, question: str, reranker: str, *, fetch_k: int, top_n: int) -> list[Document]:
    """Return every candidate with its scores, best first; a table of both orders needs them all."""
    retriever = options.make_retriever(store, reranker, fetch_k=fetch_k, top_n=top_n)
    return retriever.invoke(question, k=fetch_k)


def table(candidates: Sequence[Document], top_n: int) -> Table:
    """Lay out what `retrieve` returned: both orders, or the one there is without a reranker."""
    if candidates and "relevance_score" not in candidates[0].metadata:
        return render.ranking(candidates[:top_n])
    return render.comparison(candidates, candidates[:top_n], top_n)


def _print(data: Any, *shown: Any, as_json: bool) -> None:
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


# Registered last: the demo uses the functions above.
from langchain_qwen3.cli import demo  # noqa: E402

app.command(name="demo")(demo.demo)
