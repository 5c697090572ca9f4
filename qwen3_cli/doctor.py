"""`qwen3-rag doctor`: what a server is, how it thinks, and whether it embeds and scores as it should."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import openai
import typer
from rich.table import Table

from qwen3_cli import model_options, options
from qwen3_cli.console import print_result, reported
from qwen3_cli.render import literal
from qwen3_core.chat.doctor import DEFAULT_MAX_TOKENS, Diagnosis, diagnose
from qwen3_core.chat.server import server_key, server_url
from qwen3_core.remote.connection import server_word
from qwen3_core.remote.doctor import Examination, examine
from qwen3_core.thinking import Server, dialect_of


def doctor(
    *,
    chat: Annotated[str | None, typer.Option(help="The URL of a chat server, as http://host:8000/v1.")] = None,
    chat_model: options.ChatModel = None,
    chat_key: options.ChatKey = None,
    server: options.ChatServer = "auto",
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of each answer.")] = DEFAULT_MAX_TOKENS,
    embedding: Annotated[str | None, typer.Option(help="The URL of a server of an embedding model.")] = None,
    embedding_model: model_options.EmbeddingModel = None,
    embedding_key: model_options.EmbeddingKey = None,
    embedding_server: model_options.EmbeddingServer = "auto",
    reranker: Annotated[str | None, typer.Option(help="The URL of a server of a reranker.")] = None,
    reranker_model: model_options.RerankerModel = None,
    reranker_key: model_options.RerankerKey = None,
    reranker_server: model_options.RerankerServer = "auto",
    as_json: options.Json = False,
) -> None:
    """Ask servers what they are and whether they do what they should, and say what to pass to the components.

    A chat server is asked with thinking on and off, others for known texts.
    """
    with reported():
        found: list[Diagnosis | Examination] = []
        if embedding is not None:
            found.append(
                examine("embedding", embedding, server=embedding_server, model=embedding_model, api_key=embedding_key)
            )
        if reranker is not None:
            found.append(
                examine("reranker", reranker, server=reranker_server, model=reranker_model, api_key=reranker_key)
            )
        if chat is not None:
            found.append(_diagnosed(chat, chat_model, chat_key, server, max_tokens))
        if not found:
            msg = "say which server to ask: --chat URL, --embedding URL or --reranker URL"
            raise ValueError(msg)
        shown = [line for each in found for line in (_shown(each) if isinstance(each, Diagnosis) else _told(each))]
        data = [asdict(each) for each in found]
        print_result(data[0] if len(data) == 1 else data, *shown, as_json=as_json)
        if any(_is_ill(each) for each in found):
            raise typer.Exit(1)


def _diagnosed(chat: str, model: str | None, key: str | None, server: Server, max_tokens: int) -> Diagnosis:
    url = server_url(chat)
    with openai.OpenAI(base_url=url, api_key=key or server_key(dialect_of(server, url), url)) as client:
        return diagnose(client, url, server=server, model=model, max_tokens=max_tokens)


def _is_ill(found: Diagnosis | Examination) -> bool:
    return bool(found.findings) if isinstance(found, Examination) else any(trial.error for trial in found.trials)


def _told(found: Examination) -> Iterator[Any]:
    identity = found.identity
    yield f"[bold]{literal(found.url)}[/bold] ({found.task})"
    yield f'server: "{identity.server}" ({literal(identity.evidence)})'
    if found.model:
        yield f"model:  {literal(found.model)}"
    if found.asked_as != server_word("auto", found.url):
        yield f'- Pass server="{found.asked_as}" (--{found.task}-server): its URL does not tell.'
    for line in found.findings or ("Known texts come out as they should.",):
        yield f"- {literal(line[0].upper() + line[1:])}"


def _shown(found: Diagnosis) -> Iterator[Any]:
    identity = found.identity
    yield f"[bold]{literal(found.url)}[/bold]"
    yield f'server: "{identity.server}" ({literal(identity.evidence)})'
    yield f"model:  {literal(found.model)}" + (f" ({literal(found.family)})" if found.family else "")
    table = Table()
    for title in ("asked with", "sent", "reasoning came in", "reasoning", "answer", "first text"):
        table.add_column(title)
    for trial in found.trials:
        sent = literal(json.dumps(trial.sent)) if trial.sent else "nothing"
        if trial.error:
            table.add_row(trial.wanted, sent, f"[red]{literal(trial.error)}[/red]")
            continue
        place = literal(trial.reasoning_in) if trial.reasoning_in else "-"
        first = f"{trial.first_token:.2f} s" if trial.first_token is not None else "-"
        table.add_row(
            trial.wanted, sent, place, f"{trial.reasoning:,} characters", f"{trial.answer:,} characters", first
        )
    yield table
    for line in found.advice or ("Nothing to change.",):
        yield f"- {literal(line)}"
