"""The demo: everything on this machine, with the mini models and a real llama.cpp server."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from qwen3_cli import model_options, options, render
from qwen3_cli.console import framework_of, reported
from qwen3_cli.demo_server import smollm2_server
from qwen3_cli.groups import grouped
from qwen3_cli.model_options import EmbeddingOptions, RerankerOptions
from qwen3_cli.options import AnswerOptions, Stages, StoreOptions
from qwen3_core.ingest import Chunk, load_chunks

QUESTION = "How is data stored in Milvus?"

_STAND_IN = (
    "[yellow]SmolLM2-135M stands in for a Qwen3 chat model, and answers like the toy it is.[/yellow] "
    "For a real one set DASHSCOPE_API_KEY, or pass --chat http://host:8000/v1."
)
_MINI = (
    "[yellow]The mini models are for trying, not for production.[/yellow] "
    "For real ones pass --embedding and --reranker."
)


# A model this small repeats itself: greedy, short, and with a penalty (llama.cpp's own field).
_SMALL = {"temperature": 0, "extra_body": {"repeat_penalty": 1.08}}


@grouped
def demo(
    paths: Annotated[list[Path], typer.Argument(help="Files, and folders with markdown and text files.")],
    *,
    question: Annotated[str, typer.Option("--question", "-q", help="The question.")] = QUESTION,
    uri: options.Uri = "./demo.db",
    embedding: model_options.Embedding = "mini",
    reranker: model_options.Reranker = "mini",
    chat: AnswerOptions,
    fetch_k: options.FetchK = 10,
    top_n: options.TopN = 3,
) -> None:
    """Index documents, search them in two stages, and answer a question: all on this machine."""
    with reported(goes_on=True) as console:
        chunks = load_chunks(paths)
        stages = Stages(reranker=RerankerOptions(name=reranker), fetch_k=fetch_k, top_n=top_n)
        store_options = StoreOptions(
            uri=uri, collection=_collection(paths, embedding), embedding=EmbeddingOptions(name=embedding)
        )
        langchain = framework_of("langchain")
        with langchain.open_store(store_options) as store:
            added = _add_chunks(store, chunks, console)
            console.print(f"{len(chunks)} chunks in {render.literal(uri)}: {added} new", highlight=False)
            if "mini" in {embedding, reranker}:
                console.print(_MINI)
            candidates = langchain.candidates(store, question, stages)
        output = Console(emoji=False)
        output.print(f"\n[bold]{render.literal(question)}[/bold]\n")
        output.print(render.table(langchain.passages(candidates), top_n))
        with _chat_server(chat.chat, console) as url:
            model = langchain.make_chat(_stand_in(chat, url), **_SMALL) if url else langchain.make_chat(chat)
            answer = langchain.answer(question, candidates[:top_n], model)
            for part in render.answer(answer):
                output.print(part)


def _add_chunks(store: Any, chunks: Sequence[Chunk], console: Console) -> int:
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


def _collection(paths: Sequence[Path], embedding: str) -> str:
    """Name a collection after what is in it, so that a demo of other documents does not answer from these."""
    identity = "\n".join([embedding, *sorted(str(path.resolve()) for path in paths)])
    return f"demo_{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


@contextmanager
def _chat_server(chat: str | None, console: Console) -> Iterator[str | None]:
    """Start the stand-in if no chat model is named and no key is set, and stop it at the end."""
    if chat is not None or os.environ.get("DASHSCOPE_API_KEY"):
        yield None
        return
    console.print(_STAND_IN)
    with smollm2_server() as url:
        yield url


def _stand_in(chat: AnswerOptions, url: str) -> AnswerOptions:
    return replace(chat, chat=url, model="smollm2-135m-instruct", server="llama.cpp", max_tokens=chat.max_tokens or 120)
