"""Reasoning that a server left in the text between ``<think>`` tags, parted from the answer piece by piece."""

import re
from dataclasses import dataclass
from typing import Literal

OPEN_TAG = "<think>"
CLOSE_TAG = "</think>"
_TAG = re.compile(f"{OPEN_TAG}|{CLOSE_TAG}")


@dataclass(frozen=True)
class ThinkState:
    """Where a reader of streamed text stands.

    Attributes:
        phase: ``start`` (a tag may come), ``prefilled`` (the template wrote the opening tag, so the text begins
            inside), ``opened`` and ``thinking`` (inside), ``doubtful`` (behind a closing tag that may belong to an
            opening one within the reasoning), ``gap`` (behind the closing tag), ``answer``.
        held: Text that cannot be judged before more of it arrives.
        nested: How many opening tags within the reasoning have no closing one yet.
    """

    phase: Literal["start", "prefilled", "opened", "thinking", "doubtful", "gap", "answer"] = "start"
    held: str = ""
    nested: int = 0


def think_step(state: ThinkState, text: str, *, final: bool = False) -> tuple[ThinkState, str, str]:
    """Read one more piece of a text in which the server may have left ``<think>...</think>``.

    A tag counts only at the very start of the text; anywhere else it is part of the answer. The closing tag that
    belongs to it ends the reasoning. A model that writes an opening tag within its reasoning may close it or not, so
    what follows the next closing tag is held back until another one comes or the text ends: the last one counts
    then, as the model cards have it. An unclosed tag means that everything is reasoning. White space around the
    reasoning, and line breaks before the answer, go.

    Args:
        state: The state that the previous piece left; ``ThinkState()`` at the start.
        text: The next piece, of any length, cut anywhere.
        final: Whether this is the end: nothing is held back then.

    Returns:
        The next state, the reasoning and the answer text that this piece makes certain.
    """
    phase, rest, nested = state.phase, state.held + text, state.nested
    reasoning = answer = ""
    if phase in ("start", "prefilled"):
        stripped = rest.lstrip()
        if stripped.startswith(OPEN_TAG):
            phase, rest = "opened", stripped[len(OPEN_TAG) :]
        elif OPEN_TAG.startswith(stripped) and not final:
            return ThinkState(phase, rest), "", ""
        else:
            phase = "opened" if phase == "prefilled" else "answer"
    if phase == "opened":
        rest = rest.lstrip()
        phase = "thinking" if rest else phase
    if phase == "thinking":
        phase, nested, reasoning, rest = _read_inside(rest, nested, final=final)
    if phase == "doubtful":
        phase, nested, more, rest = _read_doubtful(rest, nested, final=final)
        reasoning += more
    if phase == "gap":
        rest = rest.lstrip("\r\n")
        phase = "answer" if rest else phase
    if phase == "answer":
        answer, rest = rest, ""
    return ThinkState(phase, rest, nested), reasoning, answer


class ThinkReader:
    """Sorts the deltas of one stream into reasoning and answer, whether or not the server has split them.

    Args:
        prefilled: Whether the chat template wrote the opening tag.
    """

    def __init__(self, *, prefilled: bool = False) -> None:
        self._state = ThinkState("prefilled" if prefilled else "start")
        self._space: str | None = None  # behind the server's reasoning, shown if more follows; None before any

    def read(self, text: str, reasoning: str = "") -> tuple[str, str]:
        """Return the reasoning and the answer that a delta makes certain.

        Args:
            text: The content of the delta.
            reasoning: What the server itself sent as reasoning. Tags in the text count no more then.
        """
        if reasoning:
            reasoning = self._trimmed(reasoning)
            if self._state.phase in ("start", "prefilled"):
                self._state = ThinkState("gap")
        if not text or self._state.phase == "answer":  # nearly every delta
            return reasoning, text
        self._state, thought, answer = think_step(self._state, text)
        return reasoning + thought, answer

    def finish(self) -> tuple[str, str]:
        """Return what was held back."""
        self._state, thought, answer = think_step(self._state, "", final=True)
        return thought, answer

    def _trimmed(self, reasoning: str) -> str:
        """Return a piece of the server's reasoning without the white space around the whole of it.

        ``transformers serve`` sends the line breaks of an empty thinking block, llama.cpp the one before the tag.
        """
        whole = reasoning.lstrip() if self._space is None else self._space + reasoning
        shown = whole.rstrip()
        if shown or self._space is not None:
            self._space = whole[len(shown) :]
        return shown


def split_thinking(text: str, *, reasoning: str = "", prefilled: bool = False) -> tuple[str, str]:
    """Split a whole text into reasoning and answer; see `think_step` for the rules.

    Args:
        text: The text of a finished message.
        reasoning: What the server itself sent as reasoning. Tags in the text count no more then.
        prefilled: Whether the chat template wrote the opening tag, as the Thinking-2507 templates do, so that
            the text has only the closing one.
    """
    if reasoning:
        return reasoning.strip(), text.lstrip("\r\n")
    _, reasoning, answer = think_step(ThinkState("prefilled" if prefilled else "start"), text, final=True)
    return reasoning, answer


_Read = tuple[Literal["thinking", "doubtful", "gap"], int, str, str]  # phase, nested, reasoning, what is left


def _read_inside(text: str, nested: int, *, final: bool) -> _Read:
    """Read reasoning up to the first closing tag."""
    for tag in _TAG.finditer(text):
        if tag.group() == OPEN_TAG:
            nested += 1
            continue
        inside = text[: tag.start()].rstrip()
        if nested:
            return "doubtful", nested - 1, inside, text[len(inside) :]
        return "gap", 0, inside, text[tag.end() :]
    certain = len(text.rstrip()) if final else _certain(text)
    return "thinking", nested, text[:certain], "" if final else text[certain:]


def _read_doubtful(text: str, nested: int, *, final: bool) -> _Read:
    """Read what follows a closing tag, with which the text begins, after opening ones within the reasoning."""
    closing = text.index(CLOSE_TAG)
    reasoning = ""
    while (again := text.find(CLOSE_TAG, closing + len(CLOSE_TAG))) >= 0:
        nested += text.count(OPEN_TAG, closing, again)
        inside = text[:again].rstrip()
        reasoning += inside
        if not nested:
            return "gap", 0, reasoning, text[again + len(CLOSE_TAG) :]
        nested, text = nested - 1, text[len(inside) :]
        closing = text.index(CLOSE_TAG)
    if final:
        return "gap", 0, reasoning, text[closing + len(CLOSE_TAG) :]
    return "doubtful", nested, reasoning, text


def _certain(text: str) -> int:
    """Return the length of the part that cannot belong to a tag or the white space before it."""
    tags = (CLOSE_TAG[:-1], OPEN_TAG[:-1])
    partial = max(n for tag in tags for n in range(len(tag) + 1) if text.endswith(tag[:n]))
    return len(text[: len(text) - partial].rstrip())
