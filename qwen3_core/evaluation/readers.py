"""Reading data sets: your files, BEIR folders, files like SQuAD's and CoSQA's, and judgements as of TREC or BEIR."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from qwen3_core.evaluation.dataset import Dataset, Judgements
from qwen3_core.evaluation.files import EXAMPLE, read_files
from qwen3_core.evaluation.rows import read_objects, read_text
from qwen3_core.ingest.loaders import ALL_SUFFIXES
from qwen3_core.ingest.splitting import DEFAULT_CHUNK_SIZE

Format = Literal["auto", "files", "beir", "squad", "code"]

CODE_MAP = "code_idx_map.txt"
"""CoSQA's file of all its code: a JSON object of code to number, beside the questions."""

_QUESTION_FIELDS = ("doc", "query", "question", "docstring")
_CODE_FIELDS = ("code", "function", "original_string")
_RELEVANT = 1


def read_dataset(
    path: Path,
    *,
    qrels: Path | None = None,
    queries: Path | None = None,
    kind: Format = "auto",
    split: str = "test",
    chunk_size: int = DEFAULT_CHUNK_SIZE,
) -> Dataset:
    """Read a data set.

    Args:
        path: A folder of your own files, or one of them; a BEIR folder (`corpus.jsonl`, `queries.jsonl`, `qrels/`); a
            JSON file like SQuAD's; or a JSON or JSON Lines file of questions and code like CoSQA's, whose
            `code_idx_map.txt` beside it is all its code.
        qrels: Judgements that replace the data set's own, as of TREC (four columns) or BEIR (three, with a heading).
        queries: For your own files, lines of `question`, `answer` (words of the right passage, or a list of such) and
            maybe `file`; see `qwen3_core.evaluation.files.read_files`. Elsewhere queries that replace the data set's
            own under the same ids, such as in another language: `queries.jsonl`, or a file like SQuAD's.
        kind: The format; "auto" goes by what is there.
        split: Which `qrels/<split>.tsv` of a BEIR folder.
        chunk_size: Characters of a passage of your own files at most.

    Raises:
        OSError: A file cannot be read.
        ValueError: A file has another format, or the parts do not belong together.
    """
    known = _recognise(path) if kind == "auto" else kind
    if known == "files":
        if queries is None or qrels is not None:
            msg = (
                f"{path} is read as your own files (a BEIR folder has corpus.jsonl): write lines of {EXAMPLE} into a "
                "file, name it with --queries, and leave out --qrels"
            )
            raise ValueError(msg)
        return read_files(path, queries, chunk_size=chunk_size)
    if known == "beir":
        documents, asked, judged = _read_beir(path, split, own_qrels=qrels is None)
    else:
        documents, asked, judged = (_read_squad if known == "squad" else _read_code)(path)
    if queries is not None:
        asked = read_queries(queries)
    return Dataset.make(path.name or path.resolve().name, documents, asked, read_qrels(qrels) if qrels else judged)


def read_qrels(path: Path) -> Judgements:
    """Read judgements: `query 0 document relevance` (TREC), or `query document relevance` (BEIR, with a heading).

    Raises:
        OSError: The file cannot be read.
        ValueError: A line has another form.
    """
    judged: dict[str, dict[str, int]] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        columns = line.split("\t") if line.count("\t") in (2, 3) else line.split()
        if not line.strip() or (number == 1 and columns[0].strip() == "query-id"):
            continue
        try:
            query, document = columns[0], columns[-2]
            value = int(columns[-1])
            if len(columns) not in (3, 4):
                raise ValueError
        except (IndexError, ValueError):
            msg = (
                f"{path.name}, line {number}: {line[:80]!r} is no judgement: write `query 0 document relevance` (TREC) "
                "or `query document relevance` below a heading (BEIR), with a whole number as relevance"
            )
            raise ValueError(msg) from None
        judged.setdefault(query.strip(), {})[document.strip()] = value
    return judged


def read_queries(path: Path) -> dict[str, str]:
    """Read queries by id: lines of `{"_id": ..., "text": ...}`, or a file like SQuAD's."""
    return _read_squad(path)[1] if _first(path).get("data") is not None else _texts(path)


_Parts = tuple[Mapping[str, str], dict[str, str], Judgements]


def _recognise(path: Path) -> Format:
    if path.is_dir():
        return "beir" if (path / "corpus.jsonl").exists() else "files"
    if path.suffix.lower() in ALL_SUFFIXES:
        return "files"
    return "squad" if "data" in _first(path) else "code"


def _first(path: Path) -> Mapping[str, Any]:
    """Return the object that a JSON file is, or the first of those it lists."""
    return next(iter(read_objects(path)), {})


def _read_beir(folder: Path, split: str, *, own_qrels: bool) -> _Parts:
    judged: Judgements = {}
    if own_qrels:
        file = folder / "qrels" / f"{split}.tsv"
        if not file.exists():
            there = sorted(each.stem for each in folder.glob("qrels/*.tsv"))
            other = f"take one of --split {', '.join(there)}" if there else "name the judgements with --qrels"
            msg = f"{folder.name} has no qrels/{split}.tsv: {other}"
            raise ValueError(msg)
        judged = read_qrels(file)
    return _texts(folder / "corpus.jsonl"), _texts(folder / "queries.jsonl"), judged


def _texts(path: Path) -> dict[str, str]:
    """Read lines of `_id`, `text` and maybe `title`, which BEIR puts before the text."""
    found: dict[str, str] = {}
    for number, row in enumerate(read_objects(path), 1):
        if "_id" not in row or not isinstance(row.get("text"), str):
            msg = f'{path.name}, entry {number}: it needs "_id" and "text", as BEIR\'s files have'
            raise ValueError(msg)
        if str(row["_id"]) in found:
            msg = f"{path.name}, entry {number}: the _id {row['_id']!r} is there twice"
            raise ValueError(msg)
        found[str(row["_id"])] = f"{row.get('title') or ''} {row['text']}".strip()
    return found


def _read_squad(path: Path) -> _Parts:
    """Read paragraphs as documents; the one that a question was asked about is the relevant one."""
    documents: dict[str, str] = {}
    queries: dict[str, str] = {}
    judged: dict[str, dict[str, int]] = {}
    ids: dict[str, str] = {}  # SQuAD 2 repeats some paragraphs
    try:
        for number, article in enumerate(_first(path)["data"]):
            for place, paragraph in enumerate(article["paragraphs"]):
                id_ = ids.setdefault(paragraph["context"], f"{number}-{place}")
                documents[id_] = paragraph["context"]
                for asked in paragraph["qas"]:
                    if asked.get("is_impossible"):
                        continue
                    queries[str(asked["id"])] = asked["question"]
                    judged.setdefault(str(asked["id"]), {})[id_] = _RELEVANT
    except (KeyError, TypeError, AttributeError) as error:
        msg = (
            f"{path.name} is not like SQuAD's files: data > paragraphs > context and qas > id and question ({error!r})"
        )
        raise ValueError(msg) from error
    return documents, queries, judged


def _read_code(path: Path) -> _Parts:
    """Read pairs of a question and code; equal questions are one query, and equal code is one document."""
    documents = _code_map(path.parent / CODE_MAP)
    known = {text: id_ for id_, text in documents.items()}
    queries: dict[str, str] = {}
    ids: dict[str, str] = {}
    judged: dict[str, dict[str, int]] = {}
    for number, row in enumerate(read_objects(path)):
        question, code = _field(row, _QUESTION_FIELDS), _field(row, _CODE_FIELDS)
        place = str(row["retrieval_idx"]) if "retrieval_idx" in row else None
        if question is None or (code is None and place not in documents):
            msg = (
                f"{path.name}, entry {number + 1}: it needs a question ({', '.join(_QUESTION_FIELDS)}) and code "
                f"({', '.join(_CODE_FIELDS)}, or retrieval_idx with {CODE_MAP} beside the file)"
            )
            raise ValueError(msg)
        if code is None:
            document = str(place)
        else:
            free = place is not None and place not in documents
            document = known.setdefault(code, str(place) if free else _code_id(code))
            documents[document] = code
        name = str(row.get("idx", number))
        query = ids.setdefault(question, f"{name}-{number}" if name in queries else name)
        queries[query] = question
        before = judged.setdefault(query, {}).get(document, 0)
        judged[query][document] = max(before, _label(path, number, row))
    return documents, queries, judged


def _label(path: Path, number: int, row: Mapping[str, Any]) -> int:
    label = row.get("label", _RELEVANT)
    if not isinstance(label, int):
        msg = f"{path.name}, entry {number + 1}: the label {label!r} is no whole number"
        raise ValueError(msg)
    return label


def _code_map(path: Path) -> dict[str, str]:
    return {str(number): code for code, number in _first(path).items()} if path.exists() else {}


def _code_id(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _field(row: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((row[name] for name in names if isinstance(row.get(name), str)), None)
