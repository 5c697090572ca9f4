"""Whether a question is worth thinking about: the rule behind ``enable_thinking="auto"``, and the place of any other.

The rule reads the question and the context and looks nothing up: regular expressions and word overlap, no model. First
it asks what kind of request this is: a text to rewrite, a proof, code that misbehaves, small talk. Of the questions
that are left it asks whether they demand more than a look-up (a number, a choice, a conclusion, a detour over another
thing), and whether one place in the context gives that already. A question that demands nothing of the kind is a
look-up, even if its words are not in the context, since users ask in other words than documents are written in.

`SIGNALS` is the rule in order; its words are in `qwen3_core.adaptive.words`. English and Chinese come first; of German
and Spanish it knows the commonest words. How often it is right: ``benchmarks/adaptive_thinking.md``.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import cached_property
from typing import Any

from qwen3_core.adaptive import words as words
from qwen3_core.adaptive.prompts import split_prompt

ThinkingRule = Callable[[str, str], bool]
"""Takes a question and its context (``""`` for none) and tells whether deeper reasoning pays."""

MAX_QUESTION = 4_000
"""Characters of a question that the rule reads, half from each end: what is asked stands at one of them."""

MAX_CONTEXT = 24_000
"""Characters of a context that the rule reads, from its start; that is about ten passages."""

GIVEN = 0.55
"""A demand is met where one place of the context holds more than this share of the question's content words, 0 to 1.

A place is a sentence or two neighbours. 0.5 and 0.6 are as accurate on ``benchmarks/adaptive_thinking_dev.jsonl``; more
takes more of XQuAD's look-ups for something else, and less takes detours for look-ups.
"""

GIVEN_NUMBER = 0.34
"""The same for a question that wants a number, if one stands beside the noun that it counts; 0.2 does as well."""

_HALF_WIDTH = str.maketrans("\uff1f\uff01\uff0c\uff1b\uff1a\uff08\uff09\uff05\u2019", "?!,;:()%'")
_SOURCE_NUMBER = re.compile(r"\[\d+\] ?")
_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|「[^」]*」|『[^』]*』|«[^»]*»")
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|(?<=[!?;])(?=[\u3400-\u9fff])|[。\n]+| [-–—] ")
_CLAUSE_END = re.compile(r"[,.;:!?。、\n]+")
_PASSAGE_END = re.compile(r"\n\s*\n")
_TOKEN = re.compile(r"[\u3400-\u9fff]+|[^\W\u3400-\u9fff]+")
_DIGITS = re.compile(r"\d[\d.,:]*")
_ENDING = re.compile(r"(?<=\w{3})(?:ations?|ings?|ied|ies|ers?|ed|es|en|ly|s|e)$")


def needs_thinking(question: str, context: str = "") -> bool:
    """Tell whether a question is worth thinking about: `SIGNALS` in order, and no if none decides.

    Takes less than a millisecond for a few passages and some ten for the longest context that it reads.

    Args:
        question: What the user asks, without the context.
        context: What there is to answer from, such as the retrieved passages, parted by blank lines.
    """
    return deciding_signal(question, context)[0]


def decide(messages: Sequence[Mapping[str, Any]], rule: ThinkingRule = needs_thinking) -> bool:
    """Apply a rule to a chat: `question_and_context`, then the rule."""
    return rule(*question_and_context(messages))


def question_and_context(messages: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Take the question and what there is to answer it from out of a chat.

    The question is the last user message, in a tool loop too. The context is the system messages, what a prompt
    template put around the question in that message (see `split_prompt`), and what tools have answered since, parted by
    blank lines. Earlier turns are left out.

    Args:
        messages: As OpenAI's chat completions take them; content is a string or a list of parts, of which text counts.

    Returns:
        The question, ``""`` if there is no user message, and the context.
    """
    places = [place for place, message in enumerate(messages) if message.get("role") == "user"]
    last = places[-1] if places else len(messages)
    question, around = split_prompt(_text(messages[last])) if places else ("", "")
    before = [_text(message) for message in messages[:last] if message.get("role") in ("system", "developer")]
    results = [_text(message) for message in messages[last + 1 :] if message.get("role") in ("tool", "function")]
    return question, "\n\n".join(part for part in (*before, around, *results) if part)


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    parts = content if isinstance(content, list | tuple) else [content]
    texts = (part.get("text") if isinstance(part, Mapping) else part for part in parts)
    return "\n".join(text for text in texts if isinstance(text, str)).strip()


def deciding_signal(question: str, context: str = "") -> tuple[bool, str]:
    """Return what `needs_thinking` says, and the name of the signal that decided, ``""`` if none did."""
    request = Request(question, context)
    for signal in SIGNALS:
        verdict = signal(request)
        if verdict is not None:
            return verdict, signal.__name__
    return False, ""


class Request:
    """A question and its context as the signals see them: in lower case, with half-width punctuation.

    Attributes:
        question: The question.
        context: The context.
        instruction: The question without what it quotes.
        sentences: Those of the instruction, at least one.
        asked: The sentences with a question mark, or all where none has one.
        asks: Whether there is a question mark, a question word, or a verb in front.
    """

    def __init__(self, question: str, context: str) -> None:
        if len(question) > MAX_QUESTION:
            question = f"{question[: MAX_QUESTION // 2]}\n{question[-MAX_QUESTION // 2 :]}"
        self.question = question.lower().translate(_HALF_WIDTH).strip()
        self.context = _SOURCE_NUMBER.sub("", context[:MAX_CONTEXT].lower().translate(_HALF_WIDTH)).strip()
        self.instruction = _QUOTED.sub(" ", self.question).strip()
        self.sentences = _sentences(self.instruction) or [""]
        self.asked = " ".join(part for part in self.sentences if part.endswith("?")) or self.instruction
        self.asks = "?" in self.asked or bool(words.ASKING.search(self.asked) or words.VERDICT.search(self.asked))

    @cached_property
    def units(self) -> list[frozenset[str]]:
        """What a place can hold of the question: a stem, or a Chinese character together with a neighbour."""
        return list(dict.fromkeys(_units(self.asked)))

    @cached_property
    def coverage(self) -> float:
        """The largest share of the units that one place of the context holds, 0 to 1."""
        starts = {piece[:3] for unit in self.units for piece in unit}
        best = 0
        for passage in _PASSAGE_END.split(self.context):
            held: set[int] = set()
            for sentence in _sentences(passage):
                before, pieces = held, _pieces(sentence, starts)
                held = {number for number, unit in enumerate(self.units) if not unit.isdisjoint(pieces)}
                best = max(best, len(before | held))
        return best / max(1, len(self.units))

    @cached_property
    def full_of_figures(self) -> bool:
        """Whether passages with digits have a number per sentence, and are a quarter of the context or more.

        The rest may be instructions, or passages about something else.
        """
        passages = [passage for passage in _PASSAGE_END.split(self.context) if _DIGITS.search(passage)]
        sentences = sum(len(_sentences(passage)) for passage in passages)
        numbers = sum(len(_DIGITS.findall(passage)) for passage in passages)
        return 0 < sentences <= numbers and sentences >= len(_sentences(self.context)) / 4

    @cached_property
    def same_script(self) -> bool:
        """Whether there is a context and it is in the question's script; otherwise they cannot be compared."""
        return self.context != "" and bool(words.CJK.search(self.question)) == bool(words.CJK.search(self.context))

    @cached_property
    def has_context(self) -> bool:
        """Whether the context is about the question.

        One that shares no word is not, a system prompt about manners, say, unless it is full of figures.
        """
        return self.same_script and (self.coverage > 0 or self.full_of_figures)


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]


def _stem(word: str) -> str:
    """Cut an ending off, roughly; 7 letters are enough to tell words apart."""
    return _ENDING.sub("", word)[:7]


def _pieces(sentence: str, starts: Set[str]) -> set[str]:
    """Return the stems that begin like one of the question's, and the pairs of Chinese characters."""
    found: set[str] = set()
    for token in _TOKEN.findall(sentence):
        if words.CJK.match(token):
            found.update(map(str.__add__, token, token[1:]))
        elif token[:3] in starts:
            found.add(_stem(token))
    return found


def _units(text: str) -> Iterator[frozenset[str]]:
    for token in _TOKEN.findall(text):
        if not words.CJK.match(token):
            if token not in words.STOP and (len(token) > 1 or token.isdigit()):
                yield frozenset((_stem(token),))
            continue
        for part in words.CHINESE_STOP.split(token):
            for place in range(len(part) if len(part) > 1 else 0):
                yield frozenset(part[start : start + 2] for start in (place - 1, place) if 0 <= start < len(part) - 1)


Signal = Callable[[Request], bool | None]
"""Decides, or says None and leaves it to the next."""


def nothing(request: Request) -> bool | None:
    """Off: no letter and no digit."""
    return None if _TOKEN.search(request.question) else False


def text_task(request: Request) -> bool | None:
    """Off: translate, rewrite, format or summarise, said at the start or at the end, whatever the text says."""
    ends = (request.sentences[0][:120], request.sentences[-1][-120:])
    return False if any(map(words.TEXT_TASK.search, ends)) else None


def reasoning_task(request: Request) -> bool | None:
    """On: prove, solve, calculate, plan, compare, write a program; not where, who or how one does such a thing."""
    last = request.sentences[-1]
    if words.WHERE_OR_WHO.match(last) or (words.HOW_TO.search(last) and " we " not in last):
        return None
    return True if any(map(words.REASONING_TASK.search, (request.sentences[0], last))) else None


def code(request: Request) -> bool | None:
    """On: several lines with code, or one and the question what is wrong with it or what it does."""
    if not words.CODE.search(request.question):
        return None
    return True if request.question.count("\n") > 1 or words.TROUBLE.search(request.question) else None


def small_talk(request: Request) -> bool | None:
    """Off: a greeting or thanks that asks nothing, and questions about the assistant."""
    text = request.question
    if words.WHO_ARE_YOU.search(text):
        return False
    greeting = len(text) < 80 and words.SMALL_TALK.match(text) and not _DIGITS.search(text)
    return False if greeting and not words.ASKING.search(text) else None


def definition(request: Request) -> bool | None:
    """Off: what a word means."""
    asked = request.asked.rstrip("? .")
    return False if words.DEFINITION.search(asked) and not words.NUMBER.search(asked) else None


def wanted_number(request: Request) -> bool | None:
    """With numbers in the context. Off: the one that is asked for stands beside its noun. On: it does not."""
    asked, number = request.asked, words.NUMBER.pattern
    derived, counted = words.DERIVED.search(asked), words.COUNTED.search(asked)
    wanted = derived or counted or words.QUANTITY.search(asked)
    if not (wanted and request.same_script and words.NUMBER.search(request.context)):
        return None
    given = True
    if derived:
        word = re.escape(derived.group())
        given = bool(
            re.search(rf"{word}[^.。\n\d]{{0,30}}(?:{number})|(?:{number})[^.。\n\d]{{0,12}}{word}", request.context)
        )
    elif counted:
        noun = re.escape(_stem(counted.group(1) or counted.group(2)))
        beside = rf"(?:{number})\W?(?:\w{{1,20}} )?{noun}|{noun}\w{{0,12}}(?:[:=]| is) ?(?:{number})|number of {noun}"
        given = bool(re.search(beside, request.context))
    return not given or request.coverage <= (GIVEN if words.COMPARES.search(asked) else GIVEN_NUMBER)


def how_to(request: Request) -> bool | None:
    """Off: how something is done, if the question does not bring a puzzle along."""
    return False if words.HOW_TO.search(request.asked) and not premises(request) else None


def premises(request: Request) -> bool | None:
    """On, without a context: two numbers in a question, the "all", "not", "before" of a puzzle, or maths."""
    if request.has_context:
        return None
    text = request.instruction
    numbers = len(words.NUMBER.findall(text)) if request.asks else 0
    order, clauses = len(words.ORDERED.findall(text)), len(_CLAUSE_END.findall(text))
    puzzle = order > 2 or (order == 2 and clauses > 2)
    return True if numbers > 1 or puzzle or words.MATHS.search(text) else None


def open_demand(request: Request) -> bool | None:
    """On, without a context: a choice, a condition in front, or two detours in one question."""
    asked = request.asked
    if request.has_context or not request.asks:
        return None
    detours = len(words.DETOUR.findall(asked))
    return True if words.CHOICE.search(asked) or words.CONDITION.match(asked) or detours > 1 else None


def demand(request: Request) -> bool | None:
    """On, with a context: a verdict on a case, or a demand that no one place meets; figures are a demand by themselves.

    Of demands there are comparisons, choices, conditions and detours.
    """
    asked = request.asked
    if not request.has_context:
        return None
    if words.VERDICT.search(asked) and words.CASE.search(request.context):
        return True
    demands = (words.COMPARES, words.CHOICE, words.CONDITION, words.DETOUR)
    demanding = (request.full_of_figures and request.asks) or any(pattern.search(asked) for pattern in demands)
    return True if demanding and request.coverage <= GIVEN else None


SIGNALS: tuple[Signal, ...] = (
    nothing,
    text_task,
    reasoning_task,
    code,
    small_talk,
    definition,
    wanted_number,
    how_to,
    premises,
    open_demand,
    demand,
)
"""The rule: the first signal that decides, decides. Each says in one line what it turns on or off."""
