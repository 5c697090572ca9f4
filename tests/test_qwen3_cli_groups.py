"""Dataclasses in the signature of a command are the options of their fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from qwen3_cli import app
from qwen3_cli.groups import grouped


@dataclass(frozen=True)
class Inner:
    name: Annotated[str, typer.Option("--inner", help="A name.")] = "mini"
    number: Annotated[int, typer.Option("--inner-number", min=1)] = 3

    def __post_init__(self) -> None:
        if self.name == "bad":
            message = "--inner bad is bad: name another"
            raise ValueError(message)


@dataclass(frozen=True)
class Outer:
    flag: Annotated[bool, typer.Option("--flag")] = False
    inner: Inner = field(default_factory=Inner)


def run(*arguments: str) -> tuple[Any, list[tuple[Any, ...]]]:
    seen: list[tuple[Any, ...]] = []
    made = typer.Typer()

    @made.command()
    @grouped
    def command(
        word: Annotated[str, typer.Argument()], *, outer: Outer, name: Annotated[str, typer.Option("--name")] = "x"
    ) -> None:
        """Say what it does."""
        seen.append((word, outer, name))

    return CliRunner().invoke(made, arguments), seen


def test_groups_in_groups_are_made_of_their_options() -> None:
    result, seen = run("hello", "--flag", "--inner", "big", "--inner-number", "7", "--name", "n")
    assert result.exit_code == 0, result.output
    assert seen == [("hello", Outer(flag=True, inner=Inner("big", 7)), "n")]
    assert run("hello")[1] == [("hello", Outer(), "x")]


def test_help_names_each_option() -> None:
    result, _ = run("--help")
    for shown in ("Say what it does.", "--flag", "--inner", "A name.", "--inner-number", "--name", "WORD"):
        assert shown.casefold() in result.output.casefold()
    assert "__" not in result.output


def test_what_a_group_refuses_is_a_message() -> None:
    result, seen = run("hello", "--inner", "bad")
    assert (result.exit_code, seen) == (1, [])
    assert "--inner bad is bad: name another" in result.output
    assert "Traceback" not in result.output


def test_typer_checks_the_fields() -> None:
    result, seen = run("hello", "--inner-number", "0")
    assert (result.exit_code, seen) == (2, [])
    assert "--inner-number" in result.output


@pytest.mark.parametrize("command", ["index", "search", "ask", "demo", "doctor", "evaluate", "mcp", "research"])
def test_no_command_has_an_option_twice(command: str) -> None:
    click_command = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    names = [name for parameter in click_command.params for name in (*parameter.opts, *parameter.secondary_opts)]
    assert len(names) == len(set(names))
