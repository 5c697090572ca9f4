"""A chat model that reads well, for `deep_search.py` without a real one: what a deep search gains if the model is good.

It knows how each question falls apart, and nothing of the passages: a passage is worth something to it if the words of
an answer stand in it. It says the same whether it thinks or not, so a comparison with it shows what rounds of search
find and what thinking costs, never what thinking is good for.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from researcher import numbered, step_of
from scripted_chat.model import Message, Reply, text_of, tokens

from qwen3_core.evaluation.rows import read_lines

QUESTIONS = Path(__file__).with_name("deep_search_questions.jsonl")


@dataclass(frozen=True)
class Hop:
    """A part of a question.

    Attributes:
        question: What is to be looked up.
        answer: Words as they stand in the one passage that is right.
        after: The number of the hop that has to be answered before this one can be asked, None for none.
    """

    question: str
    answer: str
    after: int | None = None

    def is_in(self, passage: str) -> bool:
        """Whether a passage answers it."""
        return self.answer in " ".join(passage.split())


@dataclass(frozen=True)
class Question:
    """A question of several hops.

    Attributes:
        id: Its name.
        corpus: What it is about, "faq" or "xquad".
        text: The question.
        hops: Its parts.
    """

    id: str
    corpus: str
    text: str
    hops: tuple[Hop, ...]

    def is_gold(self, passage: str) -> bool:
        """Whether a passage answers one of its hops."""
        return any(hop.is_in(passage) for hop in self.hops)


def read_questions(path: Path = QUESTIONS) -> list[Question]:
    """Read the questions, one JSON object a line."""
    return [
        Question(row["id"], row["corpus"], row["question"], tuple(Hop(**hop) for hop in row["hops"]))
        for _, row in read_lines(path)
    ]


def require_gold(questions: Iterable[Question], passages: Sequence[str]) -> None:
    """Check that each hop is answered by one passage.

    Raises:
        ValueError: An answer stands in none or in several, so the corpus is another or is cut in another way.
    """
    for question in questions:
        for hop in question.hops:
            if (count := sum(map(hop.is_in, passages))) != 1:
                msg = f"{question.id}: {hop.answer!r} stands in {count} passages, and has to stand in one"
                raise ValueError(msg)


class Reader:
    """A brain for `scripted_chat`.

    Args:
        questions: What it can be asked.
        pace: Tokens that it writes in a second; 0 answers at once.
    """

    def __init__(self, questions: Sequence[Question], pace: float = 0.0) -> None:
        self._questions, self._pace = questions, pace

    def __call__(self, messages: list[Message], _: list[dict[str, Any]], body: dict[str, Any]) -> Reply:
        """Answer a step of a deep search, or a plain question from sources."""
        system, user = text_of(messages[0]["content"]), text_of(messages[-1]["content"])
        asked = next(question for question in self._questions if question.text in user)
        step = step_of(system)
        if step == "plan":
            reply = self._plan(asked)
        elif step == "reflect":
            reply = self._reflect(asked, numbered(user))
        elif step == "rewrite":
            reply = self._rewrite(asked, user)
        else:
            reply = self._report(asked, numbered(system))
        self._write(reply, thinks=(body.get("chat_template_kwargs") or {}).get("enable_thinking", True))
        return reply

    def _plan(self, asked: Question) -> Reply:
        first = [hop.question for hop in asked.hops if hop.after is None]
        thought = [f"I have to find out: {hop.question}" for hop in asked.hops]
        return Reply(_listed(first), " ".join(thought))

    def _reflect(self, asked: Question, passages: Mapping[int, str]) -> Reply:
        useful = [number for number, passage in passages.items() if asked.is_gold(passage)]
        found = [any(hop.is_in(passage) for passage in passages.values()) for hop in asked.hops]
        missing = [
            hop.question
            for hop, here in zip(asked.hops, found, strict=True)
            if not here and (hop.after is None or found[hop.after])
        ]
        numbers = ", ".join(map(str, useful)) or "none"
        return Reply(f"USEFUL: {numbers}\nMISSING: {' '.join(missing) or 'nothing'}", _weigh(asked, passages))

    def _rewrite(self, asked: Question, user: str) -> Reply:
        missing, _, before = user.partition("Asked already:")
        queries = [hop.question for hop in asked.hops if hop.question in missing]
        # What was asked before and not found is asked in other words: those of the whole question.
        fresh = [f"{query} {asked.text}" if query in before else query for query in queries]
        return Reply(_listed(fresh), " ".join(f"I could ask: {query}" for query in fresh))

    def _report(self, asked: Question, passages: Mapping[int, str]) -> Reply:
        claims = [
            f"{hop.question} {hop.answer} [{number}]."
            for hop in asked.hops
            for number, passage in passages.items()
            if hop.is_in(passage)
        ]
        return Reply(" ".join(claims) or "The passages do not say.", _weigh(asked, passages))

    def _write(self, reply: Reply, *, thinks: bool) -> None:
        if self._pace:
            written = reply.content + (reply.reasoning if thinks else "")
            time.sleep(len(tokens(written)) / self._pace)


def _weigh(asked: Question, passages: Mapping[int, str]) -> str:
    """Return a thought about each passage."""
    verdicts = {True: "that answers a part of the question", False: "that does not help"}
    return " ".join(
        f"Passage {number} says: {' '.join(passage.split()[:12])}; {verdicts[asked.is_gold(passage)]}."
        for number, passage in passages.items()
    )


def _listed(queries: Sequence[str]) -> str:
    return "\n".join(f"{number}. {query}" for number, query in enumerate(queries, 1))
