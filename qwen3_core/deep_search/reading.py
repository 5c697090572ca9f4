"""What is made of a model's replies in a deep search. A reply that cannot be read is None, never a guess."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from qwen3_core.answers import CITATION, cited_numbers, read_citation

# "1. ...", "2) ...", "(3) ...", "- ...", and as Chinese is written: "1、...", "（2）..."
_LINE = re.compile(r"^\s*(?:(?:[-*•]|\(?\d{1,2}[.):]\)?)\s+|（?\d{1,2}[、．）]\s*)(.+?)\s*$")
_USEFUL = re.compile(r"^\W*USEFUL\W*[:：]\W*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)
_MISSING = re.compile(r"^\W*MISSING\W*[:：]\s*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)
_NOTHING = frozenset({"", "none", "nothing", "no", "n/a", "-", "nothing is missing", "无", "没有", "無"})
_QUERY_CHARACTERS = 400  # longer lines are talk, not queries

# Markdown code, where [1] is an index, or a citation.
_CODE_OR_CITATION = re.compile(rf"(`+).*?\1|\s?{CITATION}", re.DOTALL)


@dataclass(frozen=True)
class Reflection:
    """What a model thinks of the passages.

    Attributes:
        useful: The numbers of those that support an answer, from 1.
        missing: What is in none of them; empty if nothing is.
    """

    useful: tuple[int, ...]
    missing: str


def read_queries(reply: str, most: int) -> list[str] | None:
    """Return the questions of a numbered or dashed list, or of one bare line; None for anything else.

    Args:
        reply: What the model wrote.
        most: How many are taken.
    """
    lines = [line for line in reply.splitlines() if line.strip()]
    found = [match[1] for line in lines if (match := _LINE.match(line))]
    if not found and len(lines) == 1:
        found = [lines[0].strip()]
    kept = distinct(query.strip(" \"'*`") for query in found if 0 < len(query) <= _QUERY_CHARACTERS)
    return kept[:most] or None


def distinct(queries: Iterable[str], besides: Iterable[str] = ()) -> list[str]:
    """Return queries, each once and none of ``besides``, whatever their case, spaces and punctuation."""
    seen = {_bare(query) for query in besides} | {""}
    kept = []
    for query in queries:
        if (bare := _bare(query)) not in seen:
            seen.add(bare)
            kept.append(query)
    return kept


def read_reflection(reply: str, count: int) -> Reflection | None:
    """Return a judgement of passages, None if neither line is there.

    Args:
        reply: What the model wrote.
        count: How many passages there were; other numbers are left out.
    """
    useful, missing = _USEFUL.search(reply), _MISSING.search(reply)
    if useful is None or missing is None:
        return None
    groups = re.findall(r"\d+(?:\s*[-–—]\s*\d+)?", useful[1])
    numbers = dict.fromkeys(number for group in groups for number in read_citation(group, count)[0])
    text = missing[1].strip()
    return Reflection(tuple(numbers), "" if text.rstrip(".。").casefold() in _NOTHING else text)


def clean_citations(report: str, count: int) -> tuple[str, list[int], bool]:
    """Take numbers out of a report that no passage has.

    Args:
        report: What the model wrote.
        count: How many passages there were.

    Returns:
        The report, the numbers that it names, and whether any had to be taken out.
    """
    removed = False

    def keep(match: re.Match[str]) -> str:
        nonlocal removed
        if match[2] is None:
            return match[0]
        valid, false = read_citation(match[2], count)
        removed = removed or false
        if not false:
            return match[0]
        lead = " " if match[0].startswith(" ") else ""
        return f"{lead}[{', '.join(map(str, valid))}]" if valid else ""

    cleaned = _CODE_OR_CITATION.sub(keep, report).strip()
    return cleaned, cited_numbers(cleaned, count), removed


def _bare(query: str) -> str:
    return re.sub(r"\W+", " ", query).strip().casefold()
