"""Files of every kind as sections of text: markdown, text, HTML, PDF and source code.

What is needed beyond markdown and text is the extra `documents`, imported on use: pypdf (pure Python, BSD), markdownify
(MIT) on BeautifulSoup with lxml (BSD; Python's own parser does not end a `<p>` or `<li>` where the next one begins),
and one tree-sitter grammar a language (MIT).
"""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qwen3_core.ingest.errors import IngestError
from qwen3_core.ingest.markdown import Section, markdown_sections

MARKDOWN_SUFFIXES = frozenset({".md", ".markdown"})
TEXT_SUFFIXES = frozenset({".txt", ".rst", ".text"})
HTML_SUFFIXES = frozenset({".html", ".htm", ".xhtml"})
PDF_SUFFIXES = frozenset({".pdf"})

LANGUAGES = {
    ".bash": "bash", ".sh": "bash",
    ".c": "c", ".h": "c",
    ".cc": "cpp", ".cpp": "cpp", ".cxx": "cpp", ".hh": "cpp", ".hpp": "cpp",
    ".cs": "c_sharp",
    ".go": "go",
    ".java": "java",
    ".cjs": "javascript", ".js": "javascript", ".jsx": "javascript", ".mjs": "javascript",
    ".php": "php",
    ".py": "python", ".pyi": "python",
    ".rb": "ruby",
    ".rs": "rust",
    ".ts": "typescript",
    ".tsx": "tsx",
}  # fmt: skip
"""Suffix -> language, as the metadata of a chunk of source code has it."""

# Language -> module and function of its grammar, where they are not `tree_sitter_LANGUAGE.language`.
_GRAMMARS = {
    "php": ("tree_sitter_php", "language_php"),
    "tsx": ("tree_sitter_typescript", "language_tsx"),
    "typescript": ("tree_sitter_typescript", "language_typescript"),
}

ALL_SUFFIXES = MARKDOWN_SUFFIXES | TEXT_SUFFIXES | HTML_SUFFIXES | PDF_SUFFIXES | frozenset(LANGUAGES)
"""What is looked for in folders."""

_DROPPED_TAGS = ("head", "iframe", "nav", "noscript", "script", "style", "svg", "template")
_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")

Structure = Literal["markdown", "text", "code"]


@dataclass(frozen=True)
class Document:
    """A file's text in the pieces that its own structure gives.

    Attributes:
        title: The document's own title, or the file's name.
        structure: How a piece that is too long is cut.
        sections: The pieces in order; none for an empty file.
        language: The language of source code.
    """

    title: str
    structure: Structure
    sections: list[Section]
    language: str | None = None


def load_document(data: bytes, file: Path, encoding: str = "utf-8") -> Document:
    """Read a file's bytes by the kind that its suffix says; other suffixes are read as text.

    Raises:
        IngestError: It is binary, in another encoding, encrypted, or has no text that can be read.
        ImportError: What reads it is not installed.
        ValueError: The encoding is unknown.
    """
    suffix = file.suffix.lower()
    if suffix in PDF_SUFFIXES:
        return _load_pdf(data, file)
    if suffix in HTML_SUFFIXES:
        return _load_html(data, file, encoding)
    text = decode(data, file, encoding)
    language = LANGUAGES.get(suffix)
    if not text.strip():
        return Document(file.name, "text", [], language)
    if language:
        return Document(file.name, "code", [Section((), text)], language)
    if suffix in MARKDOWN_SUFFIXES:
        return markdown_document(text, file)
    return Document(file.stem, "text", [Section((), text)])


def markdown_document(text: str, file: Path, title: str | None = None) -> Document:
    """Cut markdown at its headings; the first one is the title where there is no other."""
    sections = markdown_sections(text)
    first = next((section.headings[0] for section in sections if section.headings), file.stem)
    return Document(title or first, "markdown", sections)


def decode(data: bytes, file: Path, encoding: str = "utf-8") -> str:
    """Return the text of a file, line ends normalised and without a byte order mark.

    Raises:
        IngestError: It is binary, or in another encoding.
        ValueError: The encoding is unknown.
    """
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
    return text.replace("\r\n", "\n").replace("\r", "\n")


def grammar(language: str) -> Any:
    """Return the tree-sitter grammar of a language.

    Raises:
        ImportError: It is not installed.
    """
    module, function = _GRAMMARS.get(language, (f"tree_sitter_{language}", "language"))
    return getattr(_needed(module, f"{language} source code"), function)()


def _needed(module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        msg = f'{what} needs {module.partition(".")[0]}: pip install "qwen3-rag[documents]"'
        raise ImportError(msg) from error


def _load_html(data: bytes, file: Path, encoding: str) -> Document:
    dammit, markdownify = _needed("bs4.dammit", "HTML"), _needed("markdownify", "HTML")
    bs4, _ = _needed("bs4", "HTML"), _needed("lxml", "HTML")
    declared = dammit.EncodingDetector.find_declared_encoding(data, is_html=True)
    text = decode(data, file, declared or encoding)
    if "<" not in text:  # BeautifulSoup warns of what looks like a path
        return Document(file.stem, "text", [Section((), text)] if text.strip() else [])
    soup = bs4.BeautifulSoup(_XML_DECLARATION.sub("", text, count=1), "lxml")  # it warns of XML as well
    title = soup.title.get_text(" ", strip=True) if soup.title else None
    for tag in soup(_DROPPED_TAGS):
        tag.decompose()
    for image in soup("img"):  # a picture's data would be a chunk of noise; its description is text
        image.replace_with(image.get("alt") or "")
    converter = markdownify.MarkdownConverter(
        heading_style="atx", strip=["a"], escape_asterisks=False, escape_underscores=False, escape_misc=False
    )
    markdown = converter.convert_soup(soup).strip()
    return markdown_document(markdown, file, title) if markdown else Document(title or file.stem, "markdown", [])


def _load_pdf(data: bytes, file: Path) -> Document:
    pypdf = _needed("pypdf", "PDF")
    if not data:
        return Document(file.stem, "text", [])
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        return _read_pdf(reader, file)
    except pypdf.errors.PyPdfError as error:
        msg = f"{file}: is no PDF that can be read ({error}): open it in a viewer and save it anew"
        raise IngestError(msg) from error


def _read_pdf(reader: Any, file: Path) -> Document:
    if reader.is_encrypted and not reader.decrypt(""):
        msg = f"{file}: is encrypted: save it without a password"
        raise IngestError(msg)
    headings = dict(_outline(reader))
    sections: list[Section] = []
    above: tuple[str, ...] = ()
    for number, page in enumerate(reader.pages, 1):
        above = headings.get(number, above)
        text = _clean(page.extract_text())
        if text:
            sections.append(Section(above, text, number))
    if not sections:
        msg = f"{file}: has no text on its {len(reader.pages)} pages: if it is a scan, run it through OCR first"
        raise IngestError(msg)
    title = str((reader.metadata and reader.metadata.title) or "").strip()
    return Document(title or file.stem, "text", sections)


def _outline(reader: Any) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the page of each bookmark, from 1, with its title and those above it."""

    def walk(entries: Any, above: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
        path = above
        for entry in entries:
            if isinstance(entry, list):
                yield from walk(entry, path)
                continue
            path = (*above, str(entry.title).strip())
            page = reader.get_destination_page_number(entry)
            if page is not None and page >= 0:
                yield page + 1, path

    yield from walk(reader.outline, ())


def _clean(text: str) -> str:
    """Drop what fonts without a map to Unicode leave: null characters and lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode().strip()
