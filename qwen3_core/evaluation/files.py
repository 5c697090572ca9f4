"""Your own files as a data set: the passages that indexing makes of them, and questions with words of their answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qwen3_core.evaluation.dataset import Dataset
from qwen3_core.evaluation.rows import read_lines
from qwen3_core.ingest.files import read_whole, walk
from qwen3_core.ingest.loaders import ALL_SUFFIXES, load_document
from qwen3_core.ingest.splitting import DEFAULT_CHUNK_SIZE, Splitting

MANY = 5
"""An answer in more passages than this is noted: finding one of them shows little."""

EXAMPLE = '{"question": "...", "answer": "words as they stand in the right passage"}'

_TOLD = 10  # bad lines in one message
_RELEVANT = 1


def read_files(path: Path, questions: Path, *, chunk_size: int = DEFAULT_CHUNK_SIZE) -> Dataset:
    """Cut files into passages as `qwen3-rag index --chunk-size` does, and find the right ones by their words.

    A passage is right for a question if it holds one of its answers, whatever the case and the white space. Passages
    are called by their file and number, as `guide/setup.md#3`, and questions by their line.

    Args:
        path: A folder, in which files are found as indexing finds them, or one file.
        questions: Lines of `question`, `answer` (a text, or a list of alternatives) and maybe `file`, the only one
            whose passages can be right, relative to the folder.
        chunk_size: Characters of a passage at most, its heading not counted.

    Raises:
        OSError: The questions or the path cannot be read.
        ValueError: No file has a text, or a question has no right passage.
    """
    rows = list(read_lines(questions))
    if not rows:
        msg = f"{questions.name} is empty: write lines of {EXAMPLE}"
        raise ValueError(msg)
    passages, refused = _passages(path, Splitting(chunk_size))
    if not passages:
        reasons = "; ".join(_left_out(refused)) or "there is no markdown, text, HTML, PDF or source code"
        msg = f"{path} has no file with text that can be read: {reasons}"
        raise ValueError(msg)
    searchable = {file: {id_: _plain(text) for id_, text in texts.items()} for file, texts in passages.items()}
    queries: dict[str, str] = {}
    judged: dict[str, dict[str, int]] = {}
    problems: list[str] = []
    common: list[str] = []
    for number, row in rows:
        try:
            asked = _Question.of(row)
            right = asked.find(searchable, refused)
        except ValueError as error:
            problems.append(f"{questions.name}, line {number}: {error}")
            continue
        queries[str(number)], judged[str(number)] = asked.text, dict.fromkeys(right, _RELEVANT)
        if len(right) > MANY:
            common.append(f"line {number} in {len(right)}")
    if problems:
        more = [f"and {len(problems) - _TOLD} more"] if len(problems) > _TOLD else []
        raise ValueError("\n".join([*problems[:_TOLD], *more]))
    documents = {id_: text for texts in passages.values() for id_, text in texts.items()}
    name = path.name or path.resolve().name
    notes = _left_out(refused)
    if common:
        notes.append(
            f"{len(common)} answers stand in more than {MANY} passages ({', '.join(common)}), any of which counts as "
            "right: take words that only one passage has, or name its file"
        )
    made = Dataset.make(name, documents, queries, judged)
    return replace(made, notes=(*made.notes, *notes))


_Passages = Mapping[str, Mapping[str, str]]
"""File to id to text."""


def _passages(path: Path, splitting: Splitting) -> tuple[_Passages, dict[str, str]]:
    """Return the passages of each file that has some, and why files could not be read."""
    found: dict[str, dict[str, str]] = {}
    refused: dict[str, str] = {}

    def refuse(file: Path, error: Exception) -> None:
        reason = error.strerror if isinstance(error, OSError) else None
        refused[_name(path, file)] = reason or str(error).removeprefix(f"{file}: ")

    for file in walk(path, ALL_SUFFIXES, refuse):
        try:
            data, _ = read_whole(file)
            chunks = splitting.cut(load_document(data, file), file)
        except Exception as error:  # parsers raise anything on a broken file, and others shall not suffer
            if file == path and isinstance(error, OSError):
                raise
            refuse(file, error)
            continue
        name = _name(path, file)
        texts = {chunk.id: chunk.text for chunk in chunks if chunk.text.strip()}  # a repeated passage is one, as there
        if texts:
            found[name] = {f"{name}#{number}": text for number, text in enumerate(texts.values(), 1)}
    return found, refused


def _name(root: Path, file: Path) -> str:
    return file.relative_to(root).as_posix() if file != root else file.name


@dataclass(frozen=True)
class _Question:
    text: str
    answers: tuple[str, ...]
    file: str | None

    @classmethod
    def of(cls, row: Any) -> _Question:
        """Take it from a line; ValueError if a field is missing or of another kind."""
        fields = row if isinstance(row, Mapping) else {}
        answer = fields.get("answer")
        answers: list[Any] = answer if isinstance(answer, list) else [answer]
        file = fields.get("file")
        if not _is_text(fields.get("question")) or not answers or not all(map(_is_text, answers)):
            msg = f"it needs a question and an answer: write {EXAMPLE}"
            raise ValueError(msg)
        if file is not None and not _is_text(file):
            msg = f"the file {file!r} is no name: write it relative to the folder, or leave it out"
            raise ValueError(msg)
        return cls(fields["question"], tuple(answers), file)

    def find(self, searchable: _Passages, refused: Mapping[str, str]) -> list[str]:
        """Return the ids of the right passages; ValueError if there is none."""
        if self.file is not None and self.file not in searchable:
            raise ValueError(self._no_file(searchable, refused))
        wanted = [_plain(answer) for answer in self.answers]
        right = {
            file: found
            for file, texts in searchable.items()
            if (found := [id_ for id_, text in texts.items() if any(answer in text for answer in wanted)])
        }
        if self.file is not None and self.file not in right and right:
            msg = f"{self._shown()} stands in no passage of {self.file}, but in {', '.join(list(right)[:3])}: name that"
            raise ValueError(msg)
        if not right:
            msg = f"{self._shown()} stands in no passage: copy a few words letter by letter, from within one paragraph"
            raise ValueError(msg)
        return [id_ for file, found in right.items() if self.file in (None, file) for id_ in found]

    def _no_file(self, searchable: _Passages, refused: Mapping[str, str]) -> str:
        if str(self.file) in refused:
            return f"the file {self.file} could not be read: {refused[str(self.file)]}"
        some = ", ".join(list(searchable)[:3])
        return f"there is no file {self.file} with text: write it relative to the folder, as {some}"

    def _shown(self) -> str:
        return f"the answer {' / '.join(self.answers)[:80]!r}"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _left_out(refused: Mapping[str, str]) -> list[str]:
    """Say which files could not be read, once for each reason."""
    files: dict[str, list[str]] = {}
    for file, reason in refused.items():
        files.setdefault(reason, []).append(file)
    return [
        f"{len(names)} files were left out ({', '.join(names[:3])}{', ...' if names[3:] else ''}): {reason}"
        for reason, names in files.items()
    ]
