"""A chat model that researches as it is told, for scripted servers: competent, or bad at one step."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scripted_chat.model import Message, Reply, text_of

from qwen3_core.deep_search.prompts import PLAN, REFLECT, REPORT, REWRITE

CORPUS = {
    "owner": "The plant in Ulm belongs to Nordwind.",
    "founder": "Nordwind was founded by Ada Berg.",
    "born": "Ada Berg was born in Bergen.",
    "weather": "The weather in Ulm was fine.",
}
QUESTION = "Who is the owner of the plant and how is the weather there?"
HOPS = {"Nordwind": "founder of Nordwind: Berg", "Ada Berg": "where was she born: Bergen"}
"""A question of three hops: what is known leads to what is to be asked next."""

STEPS = {"plan": PLAN, "reflect": REFLECT, "rewrite": REWRITE, "report": REPORT}


@dataclass
class Researcher:
    """A brain for `scripted_chat` that splits questions at "and", and knows what each hop leads to.

    Attributes:
        hops: What is missing as long as a word of the passages has not led to another: word and next query.
        bad: Replies that take the place of a step's own.
        asked: The steps that were asked for, with whether the model thought.
    """

    hops: Mapping[str, str] = field(default_factory=dict)
    bad: Mapping[str, str] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)

    def __call__(self, messages: list[Message], _: list[dict[str, Any]], body: dict[str, Any]) -> Reply:
        """Answer a step of a deep search, or a plain question from sources."""
        system, user = text_of(messages[0]["content"]), text_of(messages[-1]["content"])
        step = step_of(system)
        self.asked.append((step, (body.get("chat_template_kwargs") or {}).get("enable_thinking")))
        if step in self.bad:
            return Reply(self.bad[step], "I am not sure.")
        steps: dict[str, Callable[[str, str], str]] = {
            "plan": self._plan, "reflect": self._reflect, "rewrite": self._rewrite, "report": self._report,
            "plain": self._report,
        }  # fmt: skip
        return Reply(steps[step](system, user), f"I think about the {step}.")

    def _plan(self, _: str, user: str) -> str:
        return "\n".join(f"{number}. {part.strip()}" for number, part in enumerate(user.split(" and "), 1))

    def _reflect(self, _: str, user: str) -> str:
        passages = numbered(user)
        useful = [number for number, text in passages.items() if "weather" not in text]
        missing = [query for word, query in self.hops.items() if self._leads(word, query, passages.values())]
        return f"USEFUL: {', '.join(map(str, useful)) or 'none'}\nMISSING: {missing[0] if missing else 'nothing'}"

    def _rewrite(self, _: str, user: str) -> str:
        return "1. " + re.search(r"Missing: (.*)", user)[1]  # type: ignore[index]

    def _report(self, system: str, _: str) -> str:
        return " ".join(f"{text.rstrip('.')} [{number}]." for number, text in numbered(system).items())

    def _leads(self, word: str, query: str, passages: Any) -> bool:
        known: Sequence[str] = list(passages)
        return any(word in text for text in known) and not any(query.split()[-1] in text for text in known)


def step_of(system: str) -> str:
    """Return the step of a deep search that a system message is of, "plain" for any other."""
    return next((name for name, text in STEPS.items() if system.startswith(text.partition("{")[0])), "plain")


def numbered(text: str) -> dict[int, str]:
    """Return the numbered passages of a message, each on one line."""
    passages = re.findall(r"^\[(\d+)\] (.*?)(?=^\[\d+\] |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    return {int(number): " ".join(found.split()) for number, found in passages}
