"""From a document's sections to chunks of a size, in characters or in the embedding model's own tokens."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semantic_text_splitter import CodeSplitter, MarkdownSplitter, TextSplitter

from qwen3_core.ingest.loaders import Document, grammar
from qwen3_core.local import LocalEmbedder
from qwen3_core.remote import RemoteEmbedder

DEFAULT_CHUNK_SIZE = 1000
"""Characters of a chunk, about 250 tokens of English: one answer of a FAQ, one section of a manual."""

DEFAULT_CHUNK_TOKENS = 256
"""Tokens of a chunk where the embedding's tokenizer is at hand: as long as the default in characters."""

CUT_VERSION = 1
"""Raised when the same file and sizes give other chunks than before, so that they are cut again."""


@dataclass(frozen=True)
class Chunk:
    """A passage of a file.

    Attributes:
        id: A SHA-256 of source, heading and text: the same passage of the same file has the same id in every run.
        text: The passage; a part of a section starts with the section's own heading.
        metadata: ``source`` (the path as given), ``title`` of the file, and ``heading``, the path of headings
            joined by " > "; ``page`` of a PDF, from 1, and ``language`` of source code.
    """

    id: str
    text: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Splitting:
    """How long a chunk may be, its heading not counted.

    Args:
        size: Characters or tokens of a chunk at most.
        tokenizer: Gives a `tokenizers.Tokenizer`, of whose tokens `size` then is; asked when something is cut. It has
            no truncation.
        name: What tells that tokenizer from others.

    Raises:
        ValueError: `size` is below 1.
    """

    size: int = DEFAULT_CHUNK_SIZE
    tokenizer: Callable[[], Any] | None = field(default=None, repr=False, compare=False)
    name: str = ""

    def __post_init__(self) -> None:
        """Refuse what the splitters would take for something else."""
        if self.size < 1:
            what = "chunk_tokens" if self.tokenizer else "chunk_size"
            msg = f"{what}={self.size} is out of range: at least 1"
            raise ValueError(msg)

    @property
    def fingerprint(self) -> str:
        """What decides where cuts fall: chunks of the same file are the same where this is the same."""
        return f"{CUT_VERSION} {self.size} {'tokens of ' + self.name if self.tokenizer else 'characters'}"

    def cut(self, document: Document, source: Path) -> list[Chunk]:
        """Cut a document into chunks.

        Args:
            document: The document.
            source: Where it came from, as it is named in the metadata.

        Raises:
            ImportError: The grammar of a language is not installed.
        """
        splitter = self._splitter(document)
        fixed = {"language": document.language} if document.language else {}
        return [
            _chunk(
                f"{section.headings[-1]}\n\n{part}" if section.headings else part,
                {
                    "source": source.as_posix(),
                    "title": document.title,
                    "heading": " > ".join(section.headings),
                    **({"page": section.page} if section.page is not None else {}),
                    **fixed,
                },
            )
            for section in document.sections
            for part in splitter.chunks(section.body)
        ]

    def _splitter(self, document: Document) -> CodeSplitter | MarkdownSplitter | TextSplitter:
        if document.structure == "code" and document.language:
            rules = grammar(document.language)
            if self.tokenizer:
                return CodeSplitter.from_huggingface_tokenizer(rules, self.tokenizer(), self.size)
            return CodeSplitter(rules, self.size)
        kind = MarkdownSplitter if document.structure == "markdown" else TextSplitter
        # The Rust tokenizer itself, not a function: Ctrl-C in a function that Rust calls ends as a Rust panic.
        return kind.from_huggingface_tokenizer(self.tokenizer(), self.size) if self.tokenizer else kind(self.size)


def _chunk(text: str, metadata: dict[str, Any]) -> Chunk:
    identity = json.dumps([metadata["source"], metadata["heading"], text])
    return Chunk(id=hashlib.sha256(identity.encode()).hexdigest(), text=text, metadata=metadata)


def splitting_for(embedder: object, *, chunk_tokens: int | None = None, chunk_size: int | None = None) -> Splitting:
    """Return sizes in the embedder's own tokens, or in characters where that is asked for or nothing else is known.

    Args:
        embedder: A `LocalEmbedder` has a tokenizer, which is loaded with its weights on first use; a `RemoteEmbedder`
            may have one; others have none.
        chunk_tokens: Tokens of a chunk at most; 256 if nothing is given.
        chunk_size: Characters of a chunk at most; 1,000 if nothing is given and there is no tokenizer.

    Raises:
        ValueError: Both are given, one is below 1, or there is no tokenizer to count tokens with.
    """
    if chunk_tokens is not None and chunk_size is not None:
        msg = "pass chunk_tokens or chunk_size, not both"
        raise ValueError(msg)
    if chunk_size is not None:
        return Splitting(chunk_size)
    found = _tokenizer_for(embedder)
    if found is None and chunk_tokens is not None:
        msg = (
            "chunk_tokens needs the embedding's tokenizer: that of local weights, or tokenizer=... beside a server's "
            "URL. Or pass chunk_size"
        )
        raise ValueError(msg)
    if found is None:
        return Splitting(DEFAULT_CHUNK_SIZE)
    return Splitting(DEFAULT_CHUNK_TOKENS if chunk_tokens is None else chunk_tokens, *found)


def _tokenizer_for(embedder: object) -> tuple[Callable[[], Any], str] | None:
    """Return what gives an embedder's tokenizer, and its name."""
    if isinstance(embedder, LocalEmbedder):
        return functools.partial(_tokenizer_of, embedder), f"{embedder.model}@{embedder.revision or ''}"
    if isinstance(embedder, RemoteEmbedder) and embedder.find_tokenizer():
        return embedder.find_tokenizer, f"{embedder.model}@"
    return None


def _tokenizer_of(embedder: LocalEmbedder) -> Any:
    _, tokenizer, _ = embedder._loaded.get()
    return tokenizer._data
