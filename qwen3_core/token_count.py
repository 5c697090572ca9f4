"""How many tokens a text or a conversation has: with the model's own tokenizer where it is at hand, else estimated.

Nothing is downloaded. tokenizers and huggingface-hub are imported inside the functions that use them.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# The chat template of Qwen3: ``<|im_start|>`` before a message, ``<|im_end|>`` and a line break behind it, and
# ``<|im_start|>assistant`` with a line break at the end.
_AROUND_MESSAGE = 3
_ANSWER_BEGINS = 3
_TAGS = 4  # around a tool call or a tool's result: a tag and a line break on each side
_TOOLS_INTRODUCED = 83  # what it tells the model about tools, and the system turn for that
_FILE = "tokenizer.json"

# Qwen3's tokenizer takes text apart in about this way before it looks for tokens; digits stay single.
_EAST_ASIAN = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_PIECES = re.compile(
    rf"(?P<one>\d| (?=\d)|[\r\n]+|[^\S\r\n]{{2,}}|_+)|(?P<east_asian>[{_EAST_ASIAN}]+)"
    rf"|(?P<word>[^\W\d_{_EAST_ASIAN}]+)|(?P<signs>[^\w\s]+)[\r\n]*"
)
# Letters in a token, measured with that tokenizer on this project's documentation and code, on the descriptions of
# Python packages, and on sentences in eleven languages.
_EAST_ASIAN_LETTERS = 1.6
_ASCII_LETTERS = 6.5
_OTHER_LETTERS = 2.8
_ASCII_SIGNS = 2.5


def count_tokens(text: str, *, tokenizer: str | None = None, model: str = "") -> int:
    """Return the number of tokens of a text, without control tokens around it.

    Args:
        text: The text; what looks like a control token in it counts as text.
        tokenizer: A folder with a ``tokenizer.json``, that file, or a hub name that is in the local cache.
        model: A hub name to look for in the local cache where no tokenizer is named.

    Returns:
        The exact number with a tokenizer, else an estimate from the kinds of characters: within a third for texts of
        some length in natural languages, code, JSON and figures, but a third of the truth for base64 and the like.

    Raises:
        ValueError: ``tokenizer`` is given and is not there.
    """
    return _counter(tokenizer, model)(text)


def count_message_tokens(
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[object] | None = None,
    tokenizer: str | None = None,
    model: str = "",
) -> int:
    """Return the number of tokens of a conversation, with what Qwen3's chat template writes around the messages.

    Of system, user and assistant messages with a text each, the number is that of the rendered prompt, up to where
    the answer begins; where thinking is turned off, four tokens follow for the empty thought. About right are tool
    calls, results and definitions, which the generations of Qwen3 write differently. Reasoning of earlier messages
    does not count, although the template keeps it inside a tool loop; nor do images.

    Args:
        messages: Messages as Chat Completions takes them.
        tools: Tools as Chat Completions takes them; counted as JSON.
        tokenizer: See `count_tokens`.
        model: See `count_tokens`.

    Raises:
        ValueError: ``tokenizer`` is given and is not there.
    """
    count = _counter(tokenizer, model)
    total = sum(_count_message(count, message) for message in messages) + _ANSWER_BEGINS
    if tools:
        written = (json.dumps(tool, ensure_ascii=False, default=str) for tool in tools)
        total += _TOOLS_INTRODUCED + sum(map(count, written))
    return total


def find_tokenizer(tokenizer: str | None, *, model: str = "") -> Tokenizer | None:
    """Return a tokenizer that is on this machine; None if none is named and the model's is not there.

    Args:
        tokenizer: See `count_tokens`.
        model: See `count_tokens`.

    Raises:
        ValueError: ``tokenizer`` is given and is not there.
    """
    file = _find_file(tokenizer or model)
    if file is None and tokenizer:
        message = (
            f"There is no {_FILE} for tokenizer={tokenizer!r}: give a folder that holds one, or a hub name that was "
            "downloaded before (`hf download Qwen/Qwen3-0.6B tokenizer.json`); nothing is downloaded to count tokens."
        )
        raise ValueError(message)
    return None if file is None else _load(str(file), file.stat().st_mtime)


def tokenizer_function(tokenizer: str | None, *, model: str = "") -> Callable[[str], list[int]]:
    """Return a function from a text to its token ids, as splitters and memories take it.

    Args:
        tokenizer: See `count_tokens`.
        model: See `count_tokens`.

    Raises:
        ValueError: Neither is on this machine.
    """
    found = find_tokenizer(tokenizer, model=model)
    if found is None:
        message = f"The tokenizer of {model!r} is not on this machine: name its folder, tokenizer='...'."
        raise ValueError(message)
    return functools.partial(_ids, found)


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    whole = text.encode("utf-8", "replace").decode()  # half an emoji, as broken JSON has it, is a TypeError there
    return tokenizer.encode(whole, add_special_tokens=False).ids


def _counter(tokenizer: str | None, model: str) -> Callable[[str], int]:
    """Return what counts the tokens of a text."""
    found = find_tokenizer(tokenizer, model=model)
    return _estimate if found is None else lambda text: len(_ids(found, text))


def _estimate(text: str) -> int:
    """Estimate the number of tokens of a text by the kinds of its characters."""
    total = 0.0
    for piece in _PIECES.finditer(text):
        kind, size = piece.lastgroup, len(piece[piece.lastgroup or 0])
        if kind == "one":
            total += 1
        elif kind == "east_asian":
            total += size / _EAST_ASIAN_LETTERS
        elif kind == "word":
            total += max(1, size / (_ASCII_LETTERS if piece[0].isascii() else _OTHER_LETTERS))
        else:
            total += max(1, size / _ASCII_SIGNS) if piece[0].isascii() else size
    return math.ceil(total)


def _find_file(name: str) -> Path | None:
    if not name:
        return None
    path = Path(os.path.expanduser(name))  # unlike Path's own it leaves an unknown user's name as it is
    for candidate in (path, path / _FILE):
        if candidate.name == _FILE and candidate.is_file():
            return candidate
    if name.count("/") != 1 or path.exists():
        return None
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    try:
        cached = try_to_load_from_cache(name, _FILE)
    except ValueError:  # no name that the hub would have: other servers' names may have a colon
        return None
    return Path(cached) if isinstance(cached, str) else None


@functools.lru_cache(maxsize=2)
def _load(file: str, changed: float) -> Tokenizer:  # noqa: ARG001 - a file that changed is read again
    from tokenizers import Tokenizer

    whole = Tokenizer.from_file(file)
    bare = Tokenizer(whole.model)  # without added tokens: text is text
    bare.normalizer, bare.pre_tokenizer = whole.normalizer, whole.pre_tokenizer
    return bare


def _count_message(count: Callable[[str], int], message: Mapping[str, Any]) -> int:
    """Count the tokens of a message as the template writes it."""
    content = message.get("content") or ""
    text = content if isinstance(content, str) else "".join(map(_text, content))
    role = message.get("role", "")
    total = _AROUND_MESSAGE + count(f"{role}\n{text}") + (_TAGS if role == "tool" else 0)
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        name, arguments = function.get("name", ""), function.get("arguments", "")
        total += _TAGS + count(f'{{"name": "{name}", "arguments": {arguments}}}')
    return total


def _text(part: object) -> str:
    return part if isinstance(part, str) else str(part.get("text", "")) if isinstance(part, Mapping) else ""
