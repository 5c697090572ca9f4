"""What the ids that a chat model writes mean: reasoning, answer and tool calls, each piece as soon as it is certain."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from qwen3_core.local_chat.tool_calls import ToolCall, read_call
from qwen3_core.think_tags import CLOSE_TAG, OPEN_TAG

_CALL, _END_CALL = "<tool_call>", "</tool_call>"
FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True)
class Finish:
    """How a reply ended, and what it took.

    Attributes:
        reason: "length" if it was cut, "tool_calls" if it ended with calls, else "stop".
        prompt_tokens: What the model read before.
        completion_tokens: All that came behind it: reasoning, answer, end token, and what was put into its mouth.
        reasoning_tokens: Those of them between the thinking tags, a stop phrase included.
    """

    reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int


@dataclass(frozen=True)
class Piece:
    """One piece of a reply; only one of the fields is set."""

    reasoning: str = ""
    answer: str = ""
    tool_call: ToolCall | None = None
    finish: Finish | None = None


class Vocabulary:
    """The ids of a Qwen tokenizer, for whoever reads what a model wrote.

    Args:
        tokenizer: The tokenizer as transformers loads it.
    """

    def __init__(self, tokenizer: Any) -> None:
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        self._tokens = tokenizer.backend_tokenizer
        self._byte_of = {letter: byte for byte, letter in bytes_to_unicode().items()}  # type: ignore[no-untyped-call]
        added = tokenizer.added_tokens_decoder
        self._added = {id_: b"" if token.special else token.content.encode() for id_, token in added.items()}
        ids = tokenizer.get_added_vocab()
        self.think, self.end_think = ids.get(OPEN_TAG), ids.get(CLOSE_TAG)
        self.call, self.end_call = ids.get(_CALL), ids.get(_END_CALL)
        self.ends = {ids[token] for token in ("<|im_end|>", "<|endoftext|>") if token in ids}

    def bytes_of(self, token: int) -> bytes:
        """Return the UTF-8 bytes of a token, which may be a part of a character; none for special tokens."""
        if token in self._added:
            return self._added[token]
        # Embedding matrices have more rows than there are tokens.
        return bytes(self._byte_of[letter] for letter in self._tokens.id_to_token(token) or "")


class TokenReader:
    """Sorts the ids of one reply.

    ``<think>`` counts at the very start only. The first ``</think>`` ends the reasoning, even behind an opening tag
    within it, since a budget has to know at once whether the model still thinks; `think_tags`, which reads what has
    been written, looks further.
    Tool calls may stand inside the reasoning (Qwen3.5). Where no tools were offered, their markup is text. Bytes of a
    character that the model did not finish are left out.

    Args:
        vocabulary: What the ids mean.
        inside: Whether the prompt ends inside the reasoning.
        tools: The tools that were offered.
        stop: Texts that end the answer. They do not count in reasoning, where they would cut the model off before it
            has said anything, nor in tool calls.
    """

    def __init__(
        self, vocabulary: Vocabulary, *, inside: bool, tools: Sequence[Mapping[str, Any]], stop: Sequence[str]
    ) -> None:
        self._known, self._tools = vocabulary, tools
        self._mode: Literal["start", "thinking", "answer", "call"] = "thinking" if inside else "start"
        self._around: Literal["thinking", "answer"] = "answer"
        self._body = self._before = ""
        self._thought, self._said = _Thought(), _Answer(stop, hold_breaks=bool(tools))
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self.thinking_tokens = self.calls = 0

    @property
    def is_thinking(self) -> bool:
        """Whether the next token is reasoning."""
        return self._mode == "thinking"

    @property
    def has_stopped(self) -> bool:
        """Whether one of the texts that end the answer has come."""
        return self._said.stopped

    def read(self, token: int) -> list[Piece]:
        """Return what a token makes certain."""
        known = self._known
        if self._mode == "call":
            return self._end_call(_END_CALL) if token == known.end_call else self._add(token)
        if token == known.call and self._tools:
            return self._begin_call()
        if self._mode == "thinking":
            if token == known.end_think:
                return self._enter("answer")
            self.thinking_tokens += 1
        elif self._mode == "start" and token == known.think:
            return self._enter("thinking")
        return self._add(token)

    def finish(self) -> list[Piece]:
        """Return what was held back."""
        pieces = self._end_call("") if self._mode == "call" else []
        rest = self._said.add(self._before) + self._said.flush()
        self._before = ""
        return [*pieces, Piece(answer=rest)] if rest else pieces

    def _enter(self, mode: Literal["thinking", "answer", "call"]) -> list[Piece]:
        self._mode, self._before = mode, ""
        self._characters.reset()
        return []

    def _add(self, token: int) -> list[Piece]:
        return self._text(self._characters.decode(self._known.bytes_of(token)))

    def _text(self, text: str) -> list[Piece]:
        if self._mode == "call":
            self._body += text
            return []
        if self._mode == "thinking":
            thought = self._thought.add(text)
            return [Piece(reasoning=thought)] if thought else []
        if self._mode == "start":
            text, self._before = self._before + text, ""
            if not text.strip():
                self._before = text  # a tag may come
                return []
            self._mode = "answer"
        said = self._said.add(text)
        return [Piece(answer=said)] if said else []

    def _begin_call(self) -> list[Piece]:
        self._around = "thinking" if self._mode == "thinking" else "answer"
        rest = self._said.flush(before_call=True)
        self._body = ""
        self._enter("call")
        return [Piece(answer=rest)] if rest else []

    def _end_call(self, end: str) -> list[Piece]:
        call = read_call(self._body, self._tools)
        self._enter(self._around)
        if call is None:
            return self._text(f"{_CALL}{self._body}{end}")
        self.calls += 1
        return [Piece(tool_call=call)]


class _Thought:
    """Reasoning without the white space around it."""

    def __init__(self) -> None:
        self._held = ""
        self._begun = False

    def add(self, text: str) -> str:
        rest = self._held + text
        rest = rest if self._begun else rest.lstrip()
        certain = len(rest.rstrip())
        self._begun = self._begun or certain > 0
        self._held = rest[certain:]
        return rest[:certain]


class _Answer:
    """An answer without the line breaks around it, up to a text that ends it.

    Args:
        stop: Such texts.
        hold_breaks: Whether line breaks at the end wait, since they go if a tool call follows.
    """

    def __init__(self, stop: Sequence[str], *, hold_breaks: bool) -> None:
        self._stop, self._hold_breaks = stop, hold_breaks
        self._held = ""
        self._begun = self.stopped = False

    def add(self, text: str) -> str:
        rest = self._held + text
        # Before the search: an answer begins behind "\n\n", which is a favourite text to stop at.
        rest = rest if self._begun else rest.lstrip("\r\n")
        places = [place for stop in self._stop if (place := rest.find(stop)) >= 0]
        if places:
            self.stopped, self._held = True, ""
            return rest[: min(places)]
        certain = len(rest) - max(self._breaks(rest), *(_overlap(rest, stop) for stop in self._stop), 0)
        self._begun = self._begun or bool(rest)
        self._held = rest[certain:]
        return rest[:certain]

    def flush(self, *, before_call: bool = False) -> str:
        rest, self._held = self._held, ""
        if before_call:
            self._begun = False
        return rest.rstrip("\r\n") if before_call else rest

    def _breaks(self, text: str) -> int:
        return len(text) - len(text.rstrip("\r\n")) if self._hold_breaks else 0


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of a text with which a stop text may begin."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if stop.startswith(text[-size:])), 0)
