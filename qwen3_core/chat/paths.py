"""Fields of nested request bodies, by their path. Nothing given is changed."""

from collections.abc import Mapping
from typing import Any

from qwen3_core.thinking import Path


def merge_bodies(body: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``body`` with ``over`` laid on it, object by object, so that siblings of a nested field survive."""
    merged = dict(body)
    for key, value in over.items():
        below = merged.get(key)
        nested = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = merge_bodies(below, value) if nested else value  # type: ignore[arg-type]
    return merged


def get(body: Mapping[str, Any], path: Path | None) -> Any:
    """Return what stands at a path, None if nothing does."""
    if path is None:
        return None
    value: Any = body
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def put(body: Mapping[str, Any], path: Path, value: object) -> dict[str, Any]:
    """Return a copy with a value at a path."""
    for key in reversed(path):
        value = {key: value}
    return merge_bodies(body, value)  # type: ignore[arg-type]


def without(body: Mapping[str, Any], path: Path | None) -> dict[str, Any]:
    """Return a copy with nothing at a path; an object that is empty then goes as well."""
    if not path or path[0] not in body:
        return dict(body)
    key, *rest = path
    below = body[key]
    if rest and not isinstance(below, Mapping):
        return dict(body)
    shrunk = without(below, tuple(rest)) if rest else None
    kept = {other: value for other, value in body.items() if other != key}
    return {**kept, key: shrunk} if shrunk else kept
