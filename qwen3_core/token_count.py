"""How many tokens a text or a conversation has: with the model's own tokenizer where it is at hand, else estimated.

Nothing is downloaded. tokenizers and huggingface-hub are imported inside the functions that use them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# ``<|im_start|>``, the role, a line break; behind the content ``<|im_end|>`` and a line break (chat_template of Qwen3).
_AROUND_MESSAGE = 5
_ANSWER_BEGINS = 3  # ``<|im_start|>assistant`` and a line break
_BYTES_PER_TOKEN = 4  # Qwen3's tokenizer: 3.1 to 5.2 for English, Chinese and Python
_FILE = "tokenizer.json"


def count_tokens(text: str, *, tokenizer: str | None = None, model: str = "") -> int:
    """Return the number of tokens of a text, without control tokens around it.

    Args:
        text: The text; what looks like a control token in it counts as text.
        tokenizer: A folder with a ``tokenizer.json``, that file, or a hub name that is in the local cache.
        model: A hub name to look for in the local cache where no tokenizer is named.

    Returns:
        The exact number with a tokenizer, else a quarter of the UTF-8 bytes, rounded up, which is within a third for
        English, Chinese and Python.

    Raises:
        ValueError: ``tokenizer`` is given and is not there.
    """
    found = find_tokenizer(tokenizer, model=model)
    if found is None:
        return -(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)
    return len(_ids(found, text))


def count_message_tokens(
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[object] | None = None,
    tokenizer: str | None = None,
    model: str = "",
) -> int:
    """Return the number of tokens of a conversation, with what the chat template writes around the messages.

    Args:
        messages: Messages as Chat Completions takes them; text and tool calls count, images do not.
        tools: Tools as Chat Completions takes them; counted as JSON.
        tokenizer: See `count_tokens`.
        model: See `count_tokens`.

    Raises:
        ValueError: ``tokenizer`` is given and is not there.
    """
    texts = [part for message in messages for part in _texts(message)]
    texts += [json.dumps(tool, ensure_ascii=False, default=str) for tool in tools or ()]
    inside = sum(count_tokens(text, tokenizer=tokenizer, model=model) for text in texts)
    return inside + _AROUND_MESSAGE * len(messages) + _ANSWER_BEGINS


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
    return tokenizer.encode(text, add_special_tokens=False).ids


def _find_file(name: str) -> Path | None:
    if not name:
        return None
    path = Path(name).expanduser()
    for candidate in (path, path / _FILE):
        if candidate.name == _FILE and candidate.is_file():
            return candidate
    if name.count("/") != 1 or path.exists():
        return None
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    cached = try_to_load_from_cache(name, _FILE)
    return Path(cached) if isinstance(cached, str) else None


@functools.lru_cache(maxsize=2)
def _load(file: str, changed: float) -> Tokenizer:  # noqa: ARG001 - a file that changed is read again
    from tokenizers import Tokenizer

    whole = Tokenizer.from_file(file)
    bare = Tokenizer(whole.model)  # without added tokens: text is text
    bare.normalizer, bare.pre_tokenizer = whole.normalizer, whole.pre_tokenizer
    return bare


def _texts(message: Mapping[str, Any]) -> list[str]:
    content = message.get("content") or ""
    parts = [content] if isinstance(content, str) else [_text(part) for part in content]
    calls = [call.get("function", {}) for call in message.get("tool_calls") or ()]
    return [*parts, *(f"{call.get('name', '')}{call.get('arguments', '')}" for call in calls)]


def _text(part: object) -> str:
    return part if isinstance(part, str) else str(part.get("text", "")) if isinstance(part, Mapping) else ""
