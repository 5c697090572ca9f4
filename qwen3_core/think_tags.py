"""Reasoning that a server left in the text between ``<think>`` tags, parted from the answer piece by piece."""

from dataclasses import dataclass
from typing import Literal

OPEN_TAG = "<think>"
CLOSE_TAG = "</think>"


@dataclass(frozen=True)
class ThinkState:
    """Where a reader of streamed text stands.

    Attributes:
        phase: ``start`` (a tag may come), ``prefilled`` (the template wrote the opening tag, so the text begins
            inside), ``opened`` and ``thinking`` (inside), ``gap`` (behind the closing tag), ``answer``.
        held: Text that cannot be judged before more of it arrives.
    """

    phase: Literal["start", "prefilled", "opened", "thinking", "gap", "answer"] = "start"
    held: str = ""


def think_step(state: ThinkState, text: str, *, final: bool = False) -> tuple[ThinkState, str, str]:
    """Read one more piece of a text in which the server may have left ``<think>...</think>``.

    A tag counts only at the very start of the text; anywhere else it is part of the answer. The first closing
    tag ends the reasoning (the model cards split at the last, which a stream cannot know). An unclosed tag means
    that everything is reasoning. White space around the reasoning, and line breaks before the answer, go.

    Args:
        state: The state that the previous piece left; ``ThinkState()`` at the start.
        text: The next piece, of any length, cut anywhere.
        final: Whether this is the end: nothing is held back then.

    Returns:
        The next state, the reasoning and the answer text that this piece makes certain.
    """
    phase, rest = state.phase, state.held + text
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
        inside, tag, behind = rest.partition(CLOSE_TAG)
        if tag:
            phase, reasoning, rest = "gap", inside.rstrip(), behind
        else:
            certain = len(rest.rstrip()) if final else _certain(rest)
            reasoning, rest = rest[:certain], "" if final else rest[certain:]
    if phase == "gap":
        rest = rest.lstrip("\r\n")
        phase = "answer" if rest else phase
    if phase == "answer":
        answer, rest = rest, ""
    return ThinkState(phase, rest), reasoning, answer


class ThinkReader:
    """Sorts the deltas of one stream into reasoning and answer, whether or not the server has split them.

    Args:
        prefilled: Whether the chat template wrote the opening tag.
    """

    def __init__(self, *, prefilled: bool = False) -> None:
        self._state = ThinkState("prefilled" if prefilled else "start")

    def read(self, text: str, reasoning: str = "") -> tuple[str, str]:
        """Return the reasoning and the answer that a delta makes certain.

        Args:
            text: The content of the delta.
            reasoning: What the server itself sent as reasoning. Tags in the text count no more then.
        """
        if reasoning and self._state.phase in ("start", "prefilled"):
            self._state = ThinkState("gap")
        self._state, thought, answer = think_step(self._state, text)
        return reasoning + thought, answer

    def finish(self) -> tuple[str, str]:
        """Return what was held back."""
        self._state, thought, answer = think_step(self._state, "", final=True)
        return thought, answer


def split_thinking(text: str, *, reasoning: str = "", prefilled: bool = False) -> tuple[str, str]:
    """Split a whole text into reasoning and answer; see `think_step` for the rules.

    Args:
        text: The text of a finished message.
        reasoning: What the server itself sent as reasoning. Tags in the text count no more then.
        prefilled: Whether the chat template wrote the opening tag, as the Thinking-2507 templates do, so that
            the text has only the closing one.
    """
    if reasoning:
        return reasoning, text.lstrip("\r\n")
    _, reasoning, answer = think_step(ThinkState("prefilled" if prefilled else "start"), text, final=True)
    return reasoning, answer


def _certain(text: str) -> int:
    """Return the length of the part that cannot belong to a closing tag or the white space before it."""
    partial = next((n for n in range(len(CLOSE_TAG) - 1, 0, -1) if text.endswith(CLOSE_TAG[:n])), 0)
    return len(text[: len(text) - partial].rstrip())
