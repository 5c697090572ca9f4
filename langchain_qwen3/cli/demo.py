"""The demo: everything on this machine, with the mini models and a real llama.cpp server."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from langchain_core.runnables import RunnableLambda
from rich.console import Console

from langchain_qwen3.chat_models import ChatQwen3
from langchain_qwen3.cli import app as cli
from langchain_qwen3.cli import options, render
from langchain_qwen3.cli.options import ChatOptions, StoreOptions
from langchain_qwen3.demo_server import smollm2_server
from langchain_qwen3.rag_chain import create_rag_chain
from qwen3_core.ingest import load_chunks

QUESTION = "How is data stored in Milvus?"

_STAND_IN = (
    "[yellow]SmolLM2-135M stands in for a Qwen3 chat model, and answers like the toy it is.[/yellow] "
    "For a real one set DASHSCOPE_API_KEY, or pass --chat http://host:8000/v1."
)
_MINI = (
    "[yellow]The mini models are for trying, not for production.[/yellow] "
    "For real ones pass --embedding and --reranker."
)


def demo(
    paths: Annotated[list[Path], typer.Argument(help="Files, and folders with markdown and text files.")],
    question: Annotated[str, typer.Option("--question", "-q", help="The question.")] = QUESTION,
    uri: options.Uri = "./demo.db",
    embedding: options.Embedding = "mini",
    reranker: options.Reranker = "mini",
    chat: options.Chat = None,
    chat_model: options.ChatModel = None,
    chat_key: options.ChatKey = None,
    server: options.ChatServer = "auto",
    fetch_k: options.FetchK = 10,
    top_n: options.TopN = 3,
    think: options.Think = None,
    thinking_budget: options.ThinkingBudget = None,
    max_tokens: options.MaxTokens = None,
) -> None:
    """Index documents, search them in two stages, and answer a question: all on this machine."""
    with cli.reported() as console:
        chunks = load_chunks(paths)
        store_options = StoreOptions(uri=uri, collection=_collection(paths, embedding), embedding=embedding)
        with store_options.open() as store:
            added = cli.add_chunks(store, chunks, console)
            console.print(f"{len(chunks)} chunks in {uri}: {added} new", highlight=False)
            if "mini" in {embedding, reranker}:
                console.print(_MINI)
            candidates = cli.retrieve(store, question, reranker, fetch_k=fetch_k, top_n=top_n)
        output = Console()
        output.print(f"\n[bold]{question}[/bold]\n")
        output.print(cli.table(candidates, top_n))
        with _chat_server(chat, console) as url:
            chat_options = ChatOptions(
                chat=chat,
                model=chat_model,
                key=chat_key,
                server=server,
                think=think,
                thinking_budget=thinking_budget,
                max_tokens=max_tokens,
            )
            model = _stand_in(url, max_tokens) if url else chat_options.make()
            chain = create_rag_chain(RunnableLambda(lambda _: candidates[:top_n]), model)
            for part in render.answer(chain.invoke({"input": question})):
                output.print(part)


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


def _stand_in(url: str, max_tokens: int | None) -> ChatQwen3:
    # A model this small repeats itself: greedy, short, and with a penalty (llama.cpp's own field).
    return ChatQwen3(
        model="smollm2-135m-instruct",
        base_url=url,
        server="llama.cpp",
        temperature=0,
        max_tokens=max_tokens or 120,
        extra_body={"repeat_penalty": 1.08},
    )
