r"""A checkpoint's own chat template, rendered so that what people wrote stays text.

Users, documents and tools may write ``<|im_end|>`` or ``<tool_call>``; rendered and tokenised as one string, that
would be the real token. Here every ``<`` of theirs is replaced by a private character while the template renders, so
whatever control token stands in the result is the template's. The text between two control tokens is then tokenised
as one, without added tokens: exactly what the tokenizer itself does with text that has no control tokens, seams and
all (``?\n`` is one token even where the ``?`` is the user's and the line break the template's).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

from qwen3_core.think_tags import CLOSE_TAG, OPEN_TAG, split_thinking
from qwen3_core.thinking import reasoning_of
from qwen3_core.tokens import TextTokenizer

ToolFormat = Literal["json", "xml"]
"""How a model writes tool calls: Hermes JSON (Qwen3) or ``<function=...>`` elements (Qwen3-Coder, Qwen3.5 and on)."""

_SWITCH = "enable_thinking"
_TURN = "<|im_start|>"
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
# Blocks that stand in a content for what has a field of its own.
_BESIDE_THE_TEXT = frozenset({"reasoning", "thinking", "tool_call", "invalid_tool_call", "tool_use"})
_PRIVATE_USE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE))  # Unicode's areas for characters without a meaning
_PROBE = "3d1c6a"


@dataclass(frozen=True)
class Prompt:
    """What the model reads before it answers.

    Attributes:
        ids: The token ids.
        inside: Whether the template has written the opening ``<think>``, so that the answer begins inside it.
        thinks: Whether the model is to think.
    """

    ids: list[int]
    inside: bool
    thinks: bool


class ChatTemplate:
    """The chat template of one checkpoint.

    Args:
        tokenizer: The tokenizer as transformers loads it.
        texts: The same, as it tokenises text.
        name: What the model is called, for messages.

    Raises:
        ValueError: If there is no template, if it leaves out what users say, or if control tokens do not begin with
            ``<`` as all of Qwen's do.
    """

    def __init__(self, tokenizer: Any, texts: TextTokenizer, name: str) -> None:
        self._tokenizer, self._texts, self._name = tokenizer, texts, name
        self._source = str(tokenizer.chat_template or "")
        self._added: dict[str, int] = tokenizer.get_added_vocab()
        longest_first = sorted(self._added, key=len, reverse=True)
        self._control = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")
        self._refuse_others()

    @property
    def has_switch(self) -> bool:
        """Whether thinking can be turned on and off."""
        return _SWITCH in self._source

    @property
    def tool_format(self) -> ToolFormat:
        """How the model writes tool calls."""
        return "xml" if "<function=" in self._source else "json"

    def prompt(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        *,
        enable_thinking: bool | None = None,
        skip_thinking: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> Prompt:
        """Return the prompt of a conversation.

        Args:
            messages: In the format of Chat Completions; text only. ``reasoning_content`` of an assistant's message
                goes to the template, which decides whether the model sees it again.
            tools: Definitions in the same format.
            enable_thinking: None for the template's own default.
            skip_thinking: Whether to begin behind an empty thinking block in any case.
            variables: What else the template reads.

        Raises:
            ValueError: If there is no message or one that cannot be rendered, if thinking cannot be switched as
                asked, or the template knows nothing of a variable.
        """
        if not messages:
            msg = "the conversation is empty: give it at least one message"
            raise ValueError(msg)
        variables = dict(variables or {})
        if unknown := [name for name in variables if name not in self._source]:
            msg = f"the chat template of {self._name} knows no {unknown[0]}: leave it out"
            raise ValueError(msg)
        if skip_thinking:
            enable_thinking = False
        conversation = [plain_message(message) for message in messages]
        mark = _unused_character(json.dumps([conversation, list(tools)], ensure_ascii=False) + self._source)
        if enable_thinking is not None:  # Qwen3's template takes None for True, others take it for False
            variables[_SWITCH] = enable_thinking
        text = self._render(_hide(conversation, mark), _hide(list(tools), mark), _hide(variables, mark))
        if skip_thinking and self._is_inside(self._encode(text, mark)):
            text = f"{text.rstrip()}\n\n{CLOSE_TAG}\n\n"
        ids = self._encode(text, mark)
        inside = self._is_inside(ids)
        self._check(wanted=enable_thinking, inside=inside)
        closed = self._added.get(CLOSE_TAG) in self._last_turn(ids)
        thinks = inside or (self.has_switch and enable_thinking is not False and not closed)
        return Prompt(ids, inside, thinks)

    def _render(self, messages: Any, tools: Any, variables: Mapping[str, Any]) -> str:
        from jinja2 import TemplateError

        try:
            text = self._tokenizer.apply_chat_template(
                messages, tools=tools or None, add_generation_prompt=True, tokenize=False, **variables
            )
        except (TemplateError, TypeError) as error:
            msg = f"the chat template of {self._name} refuses this conversation: {error}"
            raise ValueError(msg) from error
        return str(text)

    def _encode(self, text: str, mark: str) -> list[int]:
        """Turn rendered text, in which `mark` stands for a ``<`` of the users', into ids."""
        escaped = json.dumps(mark)[1:-1]  # what a template that escapes makes of it
        ids: list[int] = []
        for place, part in enumerate(self._control.split(text)):
            if place % 2:
                ids.append(self._added[part])
            elif part:
                ids += self._texts.data(part.replace(mark, "<").replace(escaped, "<"))
        return ids

    def _last_turn(self, ids: list[int]) -> list[int]:
        start = self._added.get(_TURN)
        return ids[len(ids) - ids[::-1].index(start) :] if start in ids else []

    def _is_inside(self, ids: list[int]) -> bool:
        turn = self._last_turn(ids)
        return self._added.get(OPEN_TAG) in turn and self._added.get(CLOSE_TAG) not in turn

    def _check(self, *, wanted: bool | None, inside: bool) -> None:
        if wanted is False and inside:
            msg = f"{self._name} cannot stop thinking; take a model that can, or leave enable_thinking out"
            raise ValueError(msg)
        if wanted is True and not (inside or self.has_switch):
            msg = f"{self._name} does not think; take a model that does, or leave enable_thinking out"
            raise ValueError(msg)

    def _refuse_others(self) -> None:
        if not self._source:
            msg = f"{self._name} has no chat template: it is not a chat model (the base models have none)"
            raise ValueError(msg)
        if strange := [token for token in self._added if not token.startswith("<")]:
            msg = f"{self._name} has a control token {strange[0]!r}; this engine knows only those that begin with '<'"
            raise ValueError(msg)
        if _PROBE not in self._render([{"role": "user", "content": _PROBE}], [], {}):
            msg = f"the chat template of {self._name} leaves out what users say: it is an embedding or reranking model"
            raise ValueError(msg)


def plain_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message with what chat templates of text models read: text, reasoning and calls with parsed arguments.

    Raises:
        ValueError: If the role is unknown or the content is more than text.
    """
    role = _ROLES.get(message.get("role", ""))
    if role is None:
        msg = f"a message has role={message.get('role')!r}; chat templates know {sorted(_ROLES)}"
        raise ValueError(msg)
    plain: dict[str, Any] = {"role": role, "content": _text_of(message.get("content"))}
    if role != "assistant":
        return plain
    reasoning = reasoning_of(message)
    if not reasoning:
        reasoning, plain["content"] = split_thinking(plain["content"])
    if reasoning:
        plain["reasoning_content"] = reasoning
    if calls := message.get("tool_calls"):
        plain["tool_calls"] = [
            {"type": "function", "function": _plain_call(call.get("function", call))} for call in calls
        ]
    return plain


def _plain_call(function: Mapping[str, Any]) -> dict[str, Any]:
    """Parse the arguments: Qwen3's template writes strings as they are, the later ones take objects only."""
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            parsed = json.loads(arguments)
        except ValueError:
            parsed = None
        arguments = parsed if isinstance(parsed, dict) else arguments
    return {"name": function["name"], "arguments": arguments}


def _text_of(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for block in content:
        kind = "text" if isinstance(block, str) else block.get("type", "text")
        if kind in _BESIDE_THE_TEXT:
            continue
        if kind != "text" or (isinstance(block, Mapping) and "text" not in block):
            msg = f"a model of text takes text only, not a content block of type {kind!r}"
            raise ValueError(msg)
        texts.append(block if isinstance(block, str) else block["text"])
    return "".join(texts)


def _unused_character(text: str) -> str:
    for number in chain(*_PRIVATE_USE):
        if chr(number) not in text and json.dumps(chr(number))[1:-1] not in text:
            return chr(number)
    msg = "the conversation holds all of Unicode's private characters, one of which is needed to mark its text"
    raise ValueError(msg)


def _hide(value: Any, mark: str) -> Any:
    """Replace every ``<`` in a value, names of fields included."""
    if isinstance(value, str):
        return value.replace("<", mark)
    if isinstance(value, Mapping):
        return {_hide(key, mark): _hide(item, mark) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hide(item, mark) for item in value]
    return value
