"""Split HTML, Markdown and reStructuredText documents into headed sections."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path


@dataclass
class Section:
    """A heading path and the paragraphs under it."""

    headings: tuple[str, ...]
    paragraphs: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        """Return the heading path as one line."""
        return " > ".join(self.headings)


class _Outline:
    """Collects paragraphs under the current heading path."""

    def __init__(self) -> None:
        self.sections: list[Section] = [Section(())]
        self._stack: list[tuple[int, str]] = []

    def heading(self, level: int, text: str) -> None:
        text = tidy(text).strip("¶#§ ")
        if not text:
            return
        while self._stack and self._stack[-1][0] >= level:
            self._stack.pop()
        self._stack.append((level, text))
        self.sections.append(Section(tuple(title for _, title in self._stack)))

    def paragraph(self, text: str) -> None:
        text = tidy(text)
        if text:
            self.sections[-1].paragraphs.append(text)

    def done(self) -> list[Section]:
        return [section for section in self.sections if section.paragraphs]


def tidy(text: str) -> str:
    """Collapse white space and drop the marks that Sphinx puts after headings."""
    return re.sub(r"\s+", " ", text.replace("¶", " ").replace("\u200b", "")).strip()


_SKIP = {"script", "style", "nav", "header", "footer", "pre", "head", "svg", "form", "button", "select"}
_BLOCK = {
    "p",
    "li",
    "dd",
    "dt",
    "td",
    "th",
    "div",
    "section",
    "table",
    "tr",
    "ul",
    "ol",
    "dl",
    "body",
    "br",
    "blockquote",
}
# Page furniture: navigation bars of Sphinx, javadoc and rustdoc, tables of contents.
_FURNITURE = re.compile(r"sidebar|related|navbar|navheader|navfooter|toctree|\btoc\b|breadcrumb|footer|sphinxsidebar")


class _HtmlOutline(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.outline = _Outline()
        self._text: list[str] = []
        self._level = 0
        self._skip_tag = ""
        self._skip_depth = 0

    def _flush(self) -> None:
        text = "".join(self._text)
        self._text = []
        if self._level:
            self.outline.heading(self._level, text)
            self._level = 0
        else:
            self.outline.paragraph(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._skip_depth:
            self._skip_depth += tag == self._skip_tag
            return
        marks = " ".join(value or "" for name, value in attrs if name in {"class", "id", "role"})
        if tag in _SKIP or (tag in {"div", "ul", "table", "aside"} and _FURNITURE.search(marks)):
            self._flush()
            self._skip_tag, self._skip_depth = tag, 1
        elif re.fullmatch(r"h[1-6]", tag):
            self._flush()
            self._level = int(tag[1])
        elif tag in _BLOCK:
            self._flush()

    def handle_endtag(self, tag: str) -> None:
        if self._skip_depth:
            self._skip_depth -= tag == self._skip_tag
        elif tag in _BLOCK or re.fullmatch(r"h[1-6]", tag):
            self._flush()

    def handle_data(self, data: str) -> None:
        if not self._skip_depth:
            self._text.append(data)


def from_html(text: str) -> list[Section]:
    """Return the sections of an HTML page, without code blocks and navigation."""
    parser = _HtmlOutline()
    parser.feed(text)
    parser.close()
    parser._flush()
    return parser.outline.done()


def from_markdown(text: str) -> list[Section]:
    """Return the sections of a Markdown file, without code blocks."""
    outline = _Outline()
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.S)
    text = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.S | re.M)
    text = re.sub(r"<!--.*?-->|<[^>]{1,200}>|\{[{%].*?[%}]\}", " ", text, flags=re.S)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", " ", text)
    text = re.sub(r"\[([^\]]+)\](\([^)]*\)|\[[^\]]*\])", r"\1", text)
    text = re.sub(r"[*_`]{1,3}(\S(?:.*?\S)?)[*_`]{1,3}", r"\1", text)
    for block in re.split(r"\n\s*\n|\n(?=#|\s*[-*] )|(?<=\n)(?=#)", text):
        match = re.match(r"\s*(#{1,6})\s+(.+?)(?:\n|\Z)", block)
        if match:
            outline.heading(len(match[1]), match[2])
            block = block[match.end() :]
        outline.paragraph(block)
    return outline.done()


def _plain_rst(text: str) -> str:
    text = re.sub(r":[\w:+.-]+:`~?\.?([^`<]+?)(?:\s*<[^>]*>)?`", r"\1", text)
    text = re.sub(r"`([^`<]+?)(?:\s*<[^>]*>)?`_{0,2}", r"\1", text)
    return re.sub(r"\*{1,2}(\S(?:.*?\S)?)\*{1,2}|``", r"\1", text)


def from_rst(text: str) -> list[Section]:
    """Return the sections of a reStructuredText file, without directives and literal blocks."""
    outline = _Outline()
    # The underline characters rank by first appearance in the file.
    ranks: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        lines = [line for line in block.split("\n") if line.strip()]
        for row in range(1, len(lines)):
            mark = lines[row].strip()
            if re.fullmatch(r"([=\-~^\"'#*+.])\1{2,}", mark) and len(mark) >= len(lines[row - 1].strip()) - 1:
                if mark[0] not in ranks:
                    ranks.append(mark[0])
                outline.heading(ranks.index(mark[0]) + 1, _plain_rst(lines[row - 1]))
                lines = lines[row + 1 :]
                break
        body = "\n".join(lines)
        # Directives, comments and indented literals are mostly options and code.
        if lines and not body.startswith(("..", "   ", "\t", ">>>", "+--")) and "====" not in body:
            outline.paragraph(_plain_rst(body))
    return outline.done()


def sections_of(path: Path) -> list[Section]:
    """Return the sections of a document, chosen by its suffix."""
    data = path.read_bytes()
    # Debian compresses the larger documents.
    name, data = (path.stem, gzip.decompress(data)) if path.suffix == ".gz" else (path.name, data)
    text = data.decode("utf-8", errors="ignore")
    if name.endswith((".html", ".htm")):
        return from_html(text)
    if name.endswith(".md"):
        return from_markdown(text)
    return from_rst(text)
