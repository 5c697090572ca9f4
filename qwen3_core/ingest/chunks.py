"""Files in, chunks out, all at once: markdown and text, cut at headings first and then to size."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from qwen3_core.ingest.errors import IngestError
from qwen3_core.ingest.loaders import (
    MARKDOWN_SUFFIXES,
    TEXT_SUFFIXES,
    Document,
    decode,
    markdown_document,
)
from qwen3_core.ingest.markdown import Section
from qwen3_core.ingest.splitting import DEFAULT_CHUNK_SIZE, Chunk, Splitting


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
    text = decode(data, file, encoding)
    if not text.strip():
        msg = f"{file}: is empty: remove it, or leave it out"
        raise IngestError(msg)
    return text


def split_text(text: str, source: Path, *, chunk_size: int = DEFAULT_CHUNK_SIZE) -> list[Chunk]:
    """Cut one file's text into chunks: markdown by its headings, and what is too long by its structure.

    Args:
        text: The text of the file.
        source: Where it came from; the suffix says whether it is markdown.
        chunk_size: Characters of a chunk at most, its heading not counted.
    """
    if source.suffix.lower() in MARKDOWN_SUFFIXES:
        document = markdown_document(text, source)
    else:
        document = Document(source.stem, "text", [Section((), text)])
    return Splitting(chunk_size).cut(document, source)
