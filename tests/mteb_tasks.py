"""Small tasks for `mteb`, made in memory."""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from mteb.abstasks import AbsTaskRetrieval, AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata

PROMPT = "Given a question, find its answer"


def metadata(name: str, kind: str, score: str, prompt: Any = None) -> TaskMetadata:
    return TaskMetadata(
        name=name, type=kind, main_score=score, prompt=prompt, description="made here", reference="https://example.org",
        dataset={"path": "none", "revision": "1"}, category="t2t", eval_splits=["test"], eval_langs=["eng-Latn"],
        date=("2026-01-01", "2026-01-01"), dialect=[], domains=[], task_subtypes=[], license="cc-by-4.0",
        annotations_creators="derived", modalities=["text"], sample_creation="created", bibtex_citation="",
    )  # fmt: skip


TEXTS = (
    ("What do cats do all day?", "Cats sleep most of the day."),
    ("How is data stored in Milvus?", "Milvus stores data in object storage."),
    ("What is the capital of China?", "The capital of China is Beijing."),
)


def search_data(*, candidates: bool) -> Any:
    """Four documents, and a question about each of three."""
    documents = [{"id": f"d{number}", "title": "", "text": text} for number, (_, text) in enumerate(TEXTS)]
    queries = [f"q{number}" for number in range(len(TEXTS))]
    questions = [{"id": id_, "text": question} for id_, (question, _) in zip(queries, TEXTS, strict=True)]
    return {
        "queries": Dataset.from_list(questions),
        "corpus": Dataset.from_list([*documents, {"id": "d9", "title": "", "text": "Rain falls."}]),
        "relevant_docs": {id_: {f"d{id_[1:]}": 1} for id_ in queries},
        "top_ranked": {id_: ["d9", "d0", "d1", "d2"] for id_ in queries} if candidates else None,
    }


class MadeRetrieval(AbsTaskRetrieval):
    metadata = metadata("MadeRetrieval", "Retrieval", "ndcg_at_10", {"query": PROMPT})

    def load_data(self, *_: Any, **__: Any) -> None:
        self.dataset = {"default": {"test": search_data(candidates=False)}}
        self.data_loaded = True


class MadeReranking(AbsTaskRetrieval):
    metadata = metadata("MadeReranking", "Reranking", "map_at_1000")

    def load_data(self, *_: Any, **__: Any) -> None:
        self.dataset = {"default": {"test": search_data(candidates=True)}}
        self.data_loaded = True


class MadeSts(AbsTaskSTS):
    metadata = metadata("MadeSts", "STS", "cosine_spearman")
    min_score, max_score = 0, 1

    def load_data(self, *_: Any, **__: Any) -> None:
        rows = [
            {"sentence1": "A cat sleeps.", "sentence2": "A cat is sleeping.", "score": 1.0},
            {"sentence1": "A cat sleeps.", "sentence2": "Stocks fell on Monday.", "score": 0.0},
            {"sentence1": "It rains today.", "sentence2": "It is a rainy day.", "score": 0.8},
        ]
        self.dataset = {"test": Dataset.from_list(rows)}
        self.data_loaded = True
