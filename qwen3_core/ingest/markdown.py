"""Markdown cut at its headings, by a real parser: a `#` in a code block is none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markdown_it import MarkdownIt
from mdit_py_plugins.front_matter import front_matter_plugin

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass(frozen=True)
class Section:
    """A part of a document that is not cut across.

    Attributes:
        headings: The headings above it, the outermost first.
        body: Its text.
        page: The page of a PDF, from 1.
    """

    headings: tuple[str, ...]
    body: str
    page: int | None = None


def markdown_sections(text: str) -> list[Section]:
    """Return the sections that have a body; a document of nothing but headings is one section."""
    sections = [section for section in _all_sections(text) if section.body]
    return sections or [Section((), text.strip())]


def _all_sections(text: str) -> Iterator[Section]:
    lines = text.split("\n")
    headings: tuple[tuple[int, str], ...] = ()
    start = _front_matter_end(text)
    for level, title, first, end in [*_headings(text), (0, "", len(lines), len(lines))]:
        body = _COMMENT.sub("", "\n".join(lines[start:first])).strip()
        yield Section(tuple(name for _, name in headings), body)
        headings = (*(above for above in headings if above[0] < level), (level, title))
        start = end


def _headings(text: str) -> Iterator[tuple[int, str, int, int]]:
    """Yield level, title, first line and end line of each heading outside lists and quotes."""
    tokens = _parser().parse(text)
    for token, inline in pairwise(tokens):
        if token.type == "heading_open" and token.level == 0 and token.map:
            first, end = token.map
            yield int(token.tag[1:]), _plain(inline.children or ()), first, end


def _plain(children: Sequence[Any]) -> str:
    """Return the words of a heading without its markup."""
    return "".join(child.content for child in children if child.type in {"text", "code_inline"}).strip()


def _front_matter_end(text: str) -> int:
    first = next(iter(_parser().parse(text)), None)
    return first.map[1] if first is not None and first.type == "front_matter" and first.map else 0


def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark").use(front_matter_plugin)
