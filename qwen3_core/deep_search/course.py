"""Which step of a deep search comes next, and what each costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, TypedDict, TypeVar

_T = TypeVar("_T")

Name = Literal["plan", "search", "reflect", "rewrite", "report"]


class Thinking(TypedDict, total=False):
    """Whether the model thinks in a step; a step that is left out has the model's own default."""

    plan: bool
    reflect: bool
    rewrite: bool
    report: bool


THINKING: Thinking = {"plan": True, "reflect": True, "rewrite": False, "report": False}
"""Thinking where something is decided, none where something is written down."""


class Usage(TypedDict):
    """Tokens of a call; ``reasoning`` is the part of ``output`` that was thought."""

    input: int
    output: int
    reasoning: int


NO_USAGE: Usage = {"input": 0, "output": 0, "reasoning": 0}

NO_PLAN = "the plan was no list of questions: the question itself was searched for"
NO_PASSAGE = "no query found a passage: the plain two-stage answer stands instead"
NO_JUDGEMENT = "the judgement of the passages could not be read: none was left out by it"
NO_CITATION = "the report cited no passage: the plain two-stage answer stands instead"
FALSE_CITATIONS = "citations of passages that do not exist were taken out"
"""Notes of a step that did not go as it should."""

NOTHING_FOUND = "nothing was found"
NOT_JUDGED = "the judgement failed"
"""Why a search ended, where `Course` does not say."""


def add_usage(one: Usage, other: Usage) -> Usage:
    """Return the tokens of both."""
    return {
        "input": one["input"] + other["input"],
        "output": one["output"] + other["output"],
        "reasoning": one["reasoning"] + other["reasoning"],
    }


def merge_found(
    known: Sequence[_T], useful: Sequence[int], found: Sequence[Sequence[_T]], key: Callable[[_T], str]
) -> tuple[list[_T], int, list[int]]:
    """Put what was found to what is known: first what is useful, then what is new, then what was not useful.

    A model is shown the first of them, so what a later round finds does not stand behind what an earlier one rejected.

    Args:
        known: Passages of the rounds before.
        useful: The numbers of those that were judged useful, from 1.
        found: What each query of this round found, best first.
        key: What two passages have in common that are one.

    Returns:
        The passages, each once; how many of them are new; and the numbers of those that are useful or new.
    """
    names = {key(passage) for passage in known}
    new: dict[str, _T] = {}
    for passages in zip_longest(*found):
        for passage in passages:
            if passage is not None and key(passage) not in names:
                new.setdefault(key(passage), passage)
    kept = [known[number - 1] for number in useful]
    rest = [passage for number, passage in enumerate(known, 1) if number not in useful]
    return [*kept, *new.values(), *rest], len(new), list(range(1, len(kept) + len(new) + 1))


class Step(TypedDict):
    """One step as it was taken.

    ``note`` says what did not go as it should, and is empty if all did.
    """

    name: Name
    round: int
    seconds: float
    thinking: bool | None
    usage: Usage
    queries: list[str]
    passages: int
    note: str


@dataclass(frozen=True)
class Limits:
    """When to stop.

    Attributes:
        max_rounds: Searches at most.
        token_budget: Tokens at most, prompts included, after which the report is written; None sets none.
        max_queries: Queries of one search at most.
        max_passages: Passages that the model is shown at most.

    Raises:
        ValueError: A number is below 1.
    """

    max_rounds: int = 3
    token_budget: int | None = None
    max_queries: int = 4
    max_passages: int = 20

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("max_rounds", "token_budget", "max_queries", "max_passages"):
            value = getattr(self, name)
            if value is not None and value < 1:
                message = f"{name}={value} is out of range: at least 1"
                raise ValueError(message)


@dataclass(frozen=True)
class Course:
    """Decides what follows a step.

    Attributes:
        limits: When to stop.
    """

    limits: Limits

    def after_search(self, *, round_: int, new: int, spent: int) -> tuple[Name, str]:
        """Return what follows a search, and why if that is the end.

        Args:
            round_: How many searches there were.
            new: Passages that the last one found and no other had.
            spent: Tokens so far.
        """
        if self._is_spent(spent):
            return "report", "the token budget is spent"
        if round_ > 1 and not new:
            return "report", "the last search found nothing new"
        return "reflect", ""

    def after_reflect(self, *, round_: int, missing: str, spent: int) -> tuple[Name, str]:
        """Return what follows a judgement, and why if that is the end."""
        if not missing:
            return "report", "nothing is missing"
        if round_ >= self.limits.max_rounds:
            return "report", "no round is left"
        if self._is_spent(spent):
            return "report", "the token budget is spent"
        return "rewrite", ""

    def after_rewrite(self, *, queries: int) -> tuple[Name, str]:
        """Return what follows new queries, and why if there are none."""
        return ("search", "") if queries else ("report", "there is nothing new to ask")

    def _is_spent(self, spent: int) -> bool:
        return self.limits.token_budget is not None and spent >= self.limits.token_budget
