"""How commands begin and end: the framework they import, what they print, and errors as messages."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import typer
from rich.console import Console

from qwen3_cli import render
from qwen3_core.milvus.errors import MilvusStoreError

_INTERRUPTED = 130  # the shell's own code for Ctrl-C
# What users can mend; anything else is a bug of ours and keeps its traceback.
_EXPECTED = (ValueError, OSError, ImportError, FloatingPointError, MilvusStoreError, openai.OpenAIError)


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
