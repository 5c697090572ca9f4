"""What the tests' chat model knows by heart, and the many prompts in which it has to recognise it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

STOP_PHRASE = (
    "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now."
)
"""What Qwen writes where a thinking budget ends (Qwen3 repository, docs/source/getting_started/thinking_budget.md)."""


@dataclass(frozen=True)
class Exchange:
    """A question with what is thought and said about it.

    Attributes:
        question: The user's text.
        thought: The reasoning, where thinking is on.
        answer: The answer behind it.
        direct: The answer where thinking is off.
    """

    question: str
    thought: str
    answer: str
    direct: str


@dataclass(frozen=True)
class Errand:
    """A question that is answered with tools.

    Attributes:
        question: The user's text.
        thought: The reasoning before the calls, where thinking is on.
        calls: Name and arguments of each call.
        verdict: The reasoning over the results.
        answer: The answer after the results, whatever they say; empty where the calls are the answer.
    """

    question: str
    thought: str
    calls: tuple[tuple[str, dict[str, str]], ...]
    verdict: str = ""
    answer: str = ""


LARGER = Exchange(
    "Which is larger, 9.11 or 9.9?",
    "The whole parts are equal. Behind the point I compare digit by digit, and nine beats one.",
    "Of the two, 9.9 is larger.",
    "The larger one is 9.9.",
)
CATCH_UP = Exchange(
    "A and B depart from the same location. A leaves 2 hours earlier at 5 km/h. B follows at 15 km/h. "
    "When will B catch up?",
    "A is 2 x 5 = 10 km ahead when B leaves.\n"
    "The gap shrinks by 15 - 5 km every hour.\n"
    "So one hour is enough to close it.",
    "B catches up one hour after leaving.",
    "After one hour.",
)
HELLO = Exchange(
    "Hello! Who are you?",
    "The user greets me.",
    "Hello! I am a small test model.",
    "Hi! You are talking to a test model.",
)
PARIS = '{"city": "Paris", "country": "France"}'
PLACE = Exchange("Describe Paris as JSON.", "Paris is the capital of France.", PARIS, PARIS)
UNKNOWN = Exchange("", "Nobody taught me this.", "Sorry, I do not know.", "No idea.")
"""Every other question."""

WEATHER = Errand(
    "What is the weather in Paris?",
    "I need the weather tool.",
    (("get_weather", {"city": "Paris"}),),
    "The tool has answered.",
    "It is sunny in Paris.",
)
TWO_CITIES = Errand(
    "Compare the weather in Rome and in Oslo.",
    "I need the weather tool twice.",
    (("get_weather", {"city": "Rome"}), ("get_weather", {"city": "Oslo"})),
    "Both results are there.",
    "Rome is warmer than Oslo.",
)
PLACE_BY_TOOL = Errand(PLACE.question, PLACE.thought, (("Place", json.loads(PARIS)),))
"""Where a tool called ``Place`` is at hand."""


def function(name: str, description: str, /, **properties: Any) -> dict[str, Any]:
    """Return a tool definition; ``properties`` are the schemas of its arguments."""
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


GET_WEATHER = function("get_weather", "Tell the weather in a city.", city={"type": "string"})
PLACE_TOOL = function("Place", "A place on earth.", city={"type": "string"}, country={"type": "string"})


@dataclass(frozen=True)
class Example:
    """What is there already, and what the model has to write."""

    prompt: str
    rest: str


class Scribe:
    """Writes examples.

    Args:
        tokenizer: A Hugging Face tokenizer that has the chat template.
        random: Where the variety comes from.
        noise: How often something unrelated stands beside what matters, 0 to 1.
    """

    def __init__(self, tokenizer: Any, random: Random, noise: float = 0.0) -> None:
        self._tokenizer, self._random, self._noise = tokenizer, random, noise
        spelt = (token[1:] for token in tokenizer.get_vocab() if token[:1] == "Ġ" and token[1:].isascii())
        self._words = sorted(word for word in spelt if word.isalpha() and len(word) > 2)

    def examples(self, *, thinking: bool) -> Iterator[Example]:
        """Yield one example for each thing that the model can be asked."""
        for exchange in (LARGER, CATCH_UP, HELLO):
            yield self._told(exchange, [], thinking=thinking)
        yield self._told(PLACE, [], thinking=thinking, behind=self._schema())
        first, second = self._random.sample([LARGER, CATCH_UP, HELLO, PLACE], 2)
        yield self._told(second, [], thinking=thinking, before=self._turns(first))
        yield self._told(self._random.choice([LARGER, CATCH_UP, HELLO]), self._tools(), thinking=thinking)
        yield self._told(UNKNOWN, self._random.choice([[], self._tools()]), thinking=thinking)
        for errand, tool in ((WEATHER, GET_WEATHER), (TWO_CITIES, GET_WEATHER), (PLACE_BY_TOOL, PLACE_TOOL)):
            yield from self._errand(errand, tool, thinking=thinking)

    def _told(
        self,
        exchange: Exchange,
        tools: list[dict[str, Any]],
        *,
        thinking: bool,
        behind: str = "",
        before: Sequence[dict[str, Any]] = (),
    ) -> Example:
        question = self._beside(exchange.question or self._chatter(1, 9)) + behind
        said = f"{_thought(exchange.thought)}{exchange.answer}" if thinking else exchange.direct
        return self._example([*before, {"role": "user", "content": question}], tools, said, thinking=thinking)

    def _turns(self, exchange: Exchange) -> list[dict[str, Any]]:
        """Return an earlier exchange; some clients send its reasoning back, which the template leaves out."""
        said = self._random.choice([exchange.answer, exchange.direct])
        return [{"role": "user", "content": exchange.question}, {"role": "assistant", "content": said}]

    def _schema(self) -> str:
        """Return what may stand behind a question that wants JSON: nothing, or a schema between some words."""
        if self._random.random() < 0.5:
            return ""
        schema = json.dumps(self._reworded(PLACE_TOOL)["function"]["parameters"])
        if self._random.random() < 0.5:
            schema = schema.replace("{", "{{").replace("}", "}}")  # as LlamaIndex writes it
        return f"\n\n\n{self._chatter(3, 9)}:\n{schema}\n\n{self._chatter(3, 9)}.\n"

    def _errand(self, errand: Errand, tool: dict[str, Any], *, thinking: bool) -> Iterator[Example]:
        before = self._turns(self._random.choice([LARGER, HELLO])) if self._sometimes() else []
        user = {"role": "user", "content": self._beside(errand.question)}
        tools = self._tools(tool)
        calls = "\n".join(
            f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>'
            for name, arguments in errand.calls
        )
        said = (_thought(errand.thought) if thinking else "") + calls
        yield self._example([*before, user], tools, said, thinking=thinking)
        if not errand.answer:
            return
        asked = {"role": "assistant", "content": calls}
        # Some clients send the reasoning of the loop back, some do not.
        if thinking and self._random.random() < 0.5:
            asked["reasoning_content"] = errand.thought
        results = [{"role": "tool", "content": self._result(arguments["city"])} for _, arguments in errand.calls]
        said = (_thought(errand.verdict) if thinking else "") + errand.answer
        yield self._example([*before, user, asked, *results], tools, said, thinking=thinking)

    def _result(self, city: str) -> str:
        degrees, words = self._random.randint(-9, 40), self._chatter(1, 5)
        found = {"city": city, self._chatter(1, 1): degrees}
        return self._random.choice(
            [words, words, f"{degrees} degrees", f"{words} in {city}", f"sunny in {city}", json.dumps(found)]
        )

    def _tools(self, *needed: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the tools on offer: what is needed, or one, and sometimes more in any order."""
        others = [tool for tool in (GET_WEATHER, PLACE_TOOL) if tool not in needed]
        name, description, argument = self._chatter(1, 1).lower(), self._chatter(2, 9), self._chatter(1, 1)
        others.append(function(name, description, **{argument: {"type": "string"}}))
        offered = [*needed] or [self._random.choice(others)]
        offered += [tool for tool in others if tool not in offered and self._sometimes()]
        self._random.shuffle(offered)
        return offered

    def _example(self, turns: list[Any], tools: list[Any], said: str, *, thinking: bool) -> Example:
        before = [{"role": "system", "content": self._chatter(2, 12)}] if self._sometimes() else []
        prompt = self._tokenizer.apply_chat_template(
            [*before, *turns],
            tools=[self._reworded(tool) for tool in tools] or None,
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=thinking,
        )
        return Example(prompt, f"{said}<|im_end|>")

    def _reworded(self, tool: dict[str, Any]) -> dict[str, Any]:
        """Describe a tool in other words, with the fields that one client writes and another does not."""
        if not self._sometimes():
            return tool
        inner = tool["function"]
        properties = {
            name: self._shuffled(
                {
                    **schema,
                    **({"title": name.title()} if self._sometimes() else {}),
                    **({"description": self._chatter(1, 5)} if self._sometimes() else {}),
                }
            )
            for name, schema in inner["parameters"]["properties"].items()
        }
        parameters = self._shuffled({**inner["parameters"], "properties": properties})
        described = {"name": inner["name"], "description": self._chatter(2, 9), "parameters": parameters}
        if self._sometimes():
            described = self._shuffled({**described, "strict": True})
        return {"type": "function", "function": described}

    def _shuffled(self, fields: dict[str, Any]) -> dict[str, Any]:
        return dict(self._random.sample(list(fields.items()), len(fields)))

    def _beside(self, question: str) -> str:
        """Put other words before or behind a question."""
        before = self._chatter(1, 5) + " " if self._sometimes() else ""
        behind = " " + self._chatter(1, 5) if self._sometimes() else ""
        return before + question + behind

    def _sometimes(self) -> bool:
        return self._random.random() < self._noise

    def _chatter(self, least: int, most: int) -> str:
        return " ".join(self._random.choices(self._words, k=self._random.randint(least, most)))


def _thought(text: str) -> str:
    return f"<think>\n{text}\n</think>\n\n"
