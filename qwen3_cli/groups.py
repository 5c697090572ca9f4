"""Options that stand together in many commands: a dataclass in a command's signature is the options of its fields."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints

from qwen3_cli.console import reported


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that typer can read: each parameter that is a dataclass becomes the options of its fields.

    Fields are annotated as typer wants it, with the names of their options, and may be such dataclasses themselves.
    What a dataclass refuses is reported as any error of a command is.

    Args:
        command: A function of arguments, options and dataclasses of options.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if _is_group(kind)}
    parameters = [
        found
        for parameter in inspect.signature(command).parameters.values()
        for found in (
            _options(parameter.name, groups[parameter.name])
            if parameter.name in groups
            else [parameter.replace(annotation=hints[parameter.name])]
        )
    ]

    def run(**values: Any) -> None:
        rest = {name: value for name, value in values.items() if _SEPARATOR not in name}
        with reported():
            made = {name: _make(name, kind, values) for name, kind in groups.items()}
        command(**rest, **made)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


_SEPARATOR = "__"  # between the names of a group and its field: no option is called so


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and is_dataclass(kind)


def _of(prefix: str, group: Any) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield each field's name, its parameter's name, its type and its default."""
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        yield field.name, f"{prefix}{_SEPARATOR}{field.name}", hints[field.name], default


def _options(prefix: str, group: Any) -> list[inspect.Parameter]:
    found = []
    for _, name, kind, default in _of(prefix, group):
        if _is_group(kind):
            found += _options(name, kind)
        else:
            found.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind))
    return found


def _make(prefix: str, group: Any, values: Mapping[str, Any]) -> Any:
    return group(
        **{
            field: _make(name, kind, values) if _is_group(kind) else values[name]
            for field, name, kind, _ in _of(prefix, group)
        }
    )
