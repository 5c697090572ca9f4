"""Files in, chunks out: markdown and text, cut at headings first and then to size."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from markdown_it import MarkdownIt
from mdit_py_plugins.front_matter import front_matter_plugin
from semantic_text_splitter import MarkdownSplitter, TextSplitter

MARKDOWN_SUFFIXES = frozenset({".md", ".markdown"})
TEXT_SUFFIXES = frozenset({".txt", ".rst", ".text"})

DEFAULT_CHUNK_SIZE = 1000
"""Characters of a chunk, about 250 tokens of English: one answer of a FAQ, one section of a manual."""

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


class IngestError(ValueError):
    """Files that cannot be read; the message has a line for each that says why and what to do."""


@dataclass(frozen=True)
class Chunk:
    """A passage of a file.

    Attributes:
        id: A SHA-256 of source, heading and text: the same passage of the same file has the same id in every run.
        text: The passage; a part of a section starts with the section's own heading.
        metadata: ``source`` (the path as given), ``title`` of the file, and ``heading``, the path of headings
            joined by " > ".
    """

    id: str
    text: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class _Section:
    headings: tuple[str, ...]
    body: str


def load_chunks(
    paths: Iterable[str | Path],
    *,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    encoding: str = "utf-8",
    on_error: Literal["raise", "skip"] = "raise",
) -> list[Chunk]:
    """Read files and folders and cut them into chunks. All is read before anything is returned.

    Args:
        paths: Files of any name, and folders, in which markdown and text files are found at any depth.
        chunk_size: Characters of a chunk at most, its heading not counted.
        encoding: How the files are encoded; a byte order mark is dropped.
        on_error: "raise" refuses the whole if one file cannot be read; "skip" leaves such files out.

    Raises:
        IngestError: If a path does not exist, a file is empty, binary or in another encoding, or nothing is left.
        ValueError: If `chunk_size` is below 1 or `encoding` is unknown.
    """
    chunks: list[Chunk] = []
    problems: list[str] = []
    for path in paths:
        try:
            files = find_files(Path(path))
        except IngestError as error:
            problems.append(str(error))
            continue
        for file in files:
            try:
                text = read_text(file, encoding)
            except IngestError as error:
                problems.append(str(error))
            else:
                chunks += split_text(text, file, chunk_size=chunk_size)
    if problems and (on_error == "raise" or not chunks):
        raise IngestError("\n".join(problems))
    if not chunks:
        msg = "there is nothing to index: give at least one file or folder"
        raise IngestError(msg)
    return chunks


def find_files(path: Path) -> list[Path]:
    """Return a file itself, or the markdown and text files of a folder, sorted; hidden ones are left out.

    Raises:
        IngestError: If the path does not exist, or the folder has no such file.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        msg = f"{path}: no such file or folder"
        raise IngestError(msg)
    wanted = MARKDOWN_SUFFIXES | TEXT_SUFFIXES
    found = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in wanted
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not found:
        msg = f"{path}: no {', '.join(sorted(wanted))} file in this folder"
        raise IngestError(msg)
    return found


def read_text(file: Path, encoding: str = "utf-8") -> str:
    """Return the text of a file, line ends normalised.

    Raises:
        IngestError: If it is empty, unreadable, binary or in another encoding.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        msg = f"{file}: cannot be read ({error.strerror}): check its permissions"
        raise IngestError(msg) from error
    if b"\0" in data and not encoding.lower().startswith(("utf-16", "utf16", "utf-32", "utf32")):
        msg = f"{file}: is binary, or text in UTF-16: convert it to UTF-8 text, or give its encoding"
        raise IngestError(msg)
    try:
        text = data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        msg = f"{file}: is not {encoding} (byte {error.start}): convert it, or give its encoding, such as latin-1"
        raise IngestError(msg) from error
    except LookupError as error:
        msg = f"unknown encoding {encoding!r}"
        raise ValueError(msg) from error
    if not text.strip():
        msg = f"{file}: is empty: remove it, or leave it out"
        raise IngestError(msg)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def split_text(text: str, source: Path, *, chunk_size: int = DEFAULT_CHUNK_SIZE) -> list[Chunk]:
    """Cut one file's text into chunks: markdown by its headings, and what is too long by its structure.

    Args:
        text: The text of the file.
        source: Where it came from; the suffix says whether it is markdown.
        chunk_size: Characters of a chunk at most, its heading not counted.
    """
    if chunk_size < 1:
        msg = f"chunk_size={chunk_size} is out of range: at least 1"
        raise ValueError(msg)
    if source.suffix.lower() in MARKDOWN_SUFFIXES:
        sections = _markdown_sections(text)
        splitter: MarkdownSplitter | TextSplitter = MarkdownSplitter(chunk_size)
    else:
        sections = [_Section((), text)]
        splitter = TextSplitter(chunk_size)
    title = next((section.headings[0] for section in sections if section.headings), source.stem)
    return [
        _chunk(f"{section.headings[-1]}\n\n{part}" if section.headings else part, source, title, section.headings)
        for section in sections
        for part in splitter.chunks(section.body)
    ]


def _chunk(text: str, source: Path, title: str, headings: Sequence[str]) -> Chunk:
    metadata = {"source": source.as_posix(), "title": title, "heading": " > ".join(headings)}
    identity = json.dumps([metadata["source"], metadata["heading"], text])
    return Chunk(id=hashlib.sha256(identity.encode()).hexdigest(), text=text, metadata=metadata)


def _markdown_sections(text: str) -> list[_Section]:
    """Return the sections that have a body; a document of nothing but headings is one section."""
    sections = [section for section in _all_sections(text) if section.body]
    return sections or [_Section((), text.strip())]


def _all_sections(text: str) -> Iterator[_Section]:
    lines = text.split("\n")
    headings: tuple[tuple[int, str], ...] = ()
    start = _front_matter_end(text)
    for level, title, first, end in [*_headings(text), (0, "", len(lines), len(lines))]:
        body = _COMMENT.sub("", "\n".join(lines[start:first])).strip()
        yield _Section(tuple(name for _, name in headings), body)
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
