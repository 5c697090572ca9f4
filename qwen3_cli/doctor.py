"""`qwen3-rag doctor`: what a chat server is and how it thinks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import openai
import typer
from rich.markup import escape
from rich.table import Table

from qwen3_cli import options
from qwen3_cli.app import print_result, reported
from qwen3_core.chat.doctor import DEFAULT_MAX_TOKENS, Diagnosis, diagnose
from qwen3_core.chat.server import server_key, server_url
from qwen3_core.thinking import dialect_of


def doctor(
    *,
    chat: Annotated[str, typer.Option(help="The URL of a chat server, as http://host:8000/v1.")],
    chat_model: options.ChatModel = None,
    chat_key: options.ChatKey = None,
    server: options.ChatServer = "auto",
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of each answer.")] = DEFAULT_MAX_TOKENS,
    as_json: options.Json = False,
) -> None:
    """Ask a chat server what it is, and with thinking on and off, and say what to pass to the components."""
    with reported():
        url = server_url(chat)
        key = chat_key or server_key(dialect_of(server, url), url)
        with openai.OpenAI(base_url=url, api_key=key) as client:
            found = diagnose(client, url, server=server, model=chat_model, max_tokens=max_tokens)
        print_result(asdict(found), *_shown(found), as_json=as_json)
        if any(trial.error for trial in found.trials):
            raise typer.Exit(1)


def _shown(found: Diagnosis) -> Iterator[Any]:
    identity = found.identity
    yield f"[bold]{escape(found.url)}[/bold]"
    yield f'server: "{identity.server}" ({escape(identity.evidence)})'
    yield f"model:  {escape(found.model)}" + (f" ({escape(found.family)})" if found.family else "")
    table = Table()
    for title in ("asked with", "sent", "reasoning came in", "reasoning", "answer", "first text"):
        table.add_column(title)
    for trial in found.trials:
        sent = escape(json.dumps(trial.sent)) if trial.sent else "nothing"
        if trial.error:
            table.add_row(trial.wanted, sent, f"[red]{escape(trial.error)}[/red]")
            continue
        place = escape(trial.reasoning_in) if trial.reasoning_in else "-"
        first = f"{trial.first_token:.2f} s" if trial.first_token is not None else "-"
        table.add_row(
            trial.wanted, sent, place, f"{trial.reasoning:,} characters", f"{trial.answer:,} characters", first
        )
    yield table
    for line in found.advice or ("Nothing to change.",):
        yield f"- {escape(line)}"
