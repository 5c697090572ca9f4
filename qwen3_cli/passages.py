"""What the commands pass on, whichever framework found it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Passage:
    """A passage with its scores.

    Attributes:
        id: Its id in the collection.
        text: Its text.
        metadata: Its metadata, ``retrieval_score``, and ``relevance_score`` if it was reranked.
    """

    id: str | None
    text: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """An answer with what it rests on.

    Attributes:
        input: The question.
        context: The passages that the model saw, in the order of their numbers.
        answer: The answer alone.
        reasoning: What the model thought, empty if it did not.
        citations: The sources that the answer names: number, id and source of each.
    """

    input: str
    context: list[Passage]
    answer: str
    reasoning: str
    citations: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class Researched(Answer):
    """An answer of several rounds.

    Attributes:
        reason: Why the search ended.
        notes: What the model did badly, and what was done instead.
    """

    reason: str
    notes: list[str]
