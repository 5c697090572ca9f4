"""`compare_retrieval`, over Milvus Lite, with the mini models and with embeddings of others."""

from __future__ import annotations

import pytest
from langchain_core.embeddings import Embeddings

from langchain_qwen3 import Qwen3Embeddings, Qwen3Rerank, compare_retrieval
from qwen3_core.evaluation import Clock, Dataset, System

pytest.importorskip("ir_measures")

DATASET = Dataset.make(
    "animals",
    {
        "cats": "Cats sleep most of the day and hunt at night.",
        "milvus": "Milvus stores inserted data in object storage.",
        "screws": "The part XK-4711 is a screw made of steel.",
    },
    {"cats": "What do cats do all day?", "screws": "What is XK-4711?"},
    {"cats": {"cats": 1}, "screws": {"screws": 1}},
)


class Letters(Embeddings):
    """Somebody else's embedding: how often each letter is there."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [
            [1.0 + text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz0123456789"] for text in texts
        ]

    def embed_query(self, text: str) -> list[float]:
        self.asked.append(text)
        return self.embed_documents([text])[0]


def test_all_systems_with_the_mini_models() -> None:
    told: list[tuple[str, int, int]] = []
    clock = Clock()
    # The reranker's own top_n and threshold are for answers; a measure needs every candidate.
    reranker = Qwen3Rerank(model="mini", top_n=1, score_threshold=0.999)
    results = compare_retrieval(
        DATASET, Qwen3Embeddings(model="mini"), reranker,
        cutoffs=[1, 3], clock=clock, progress=lambda *step: told.append(step),
    )  # fmt: skip
    assert [result.system for result in results] == [
        "dense", "dense+rerank", "bm25", "bm25+rerank", "hybrid", "hybrid+rerank",
    ]  # fmt: skip
    for result in results:
        assert list(result.values) == ["nDCG@10", "Recall@1", "Recall@3", "MRR"]
        assert (result.rerank_seconds > 0) == result.system.endswith("+rerank")
        if result.system.startswith("dense"):
            assert result.values["Recall@3"] == [1, 1]
    assert [stage.name for stage in clock.stages][:4] == [
        "load the embedding", "load the reranker", "embed the documents", "write the index",
    ]  # fmt: skip
    assert ("embedding documents", 3, 3) in told


def test_without_a_reranker_all_are_the_first_stages() -> None:
    embeddings = Letters()
    results = compare_retrieval(DATASET, embeddings)
    assert [result.system for result in results] == ["dense", "bm25", "hybrid"]
    assert results[0].values["Recall@10"] == [1, 1]
    assert set(embeddings.asked) >= set(DATASET.queries.values())


def test_words_alone_need_no_embeddings() -> None:
    embeddings = Letters()
    without, beside = (compare_retrieval(DATASET, given, systems="bm25") for given in (None, embeddings))
    assert without[0].values == beside[0].values
    assert without[0].values["MRR"][1] == 1
    assert embeddings.asked == []
    reranked = compare_retrieval(DATASET, None, Qwen3Rerank(model="mini"), systems="bm25+rerank")
    assert reranked[0].rerank_seconds > 0


def test_systems_as_they_are_parsed() -> None:
    systems = System.parse("bm25,dense", reranker=False)
    assert [result.system for result in compare_retrieval(DATASET, Letters(), systems=systems)] == ["bm25", "dense"]


def test_what_is_refused_before_any_work() -> None:
    told: list[object] = []

    def tell(*step: object) -> None:
        told.append(step)

    clock, embeddings = Clock(), Letters()
    with pytest.raises(ValueError, match=r"dense, hybrid cannot search by vector without embeddings: give some, or"):
        compare_retrieval(DATASET, None, clock=clock, progress=tell)
    for systems in ("bm25+rerank", System.parse("bm25+rerank", reranker=True)):
        with pytest.raises(ValueError, match=r"needs a reranker: name one"):
            compare_retrieval(DATASET, embeddings, systems=systems, clock=clock, progress=tell)
    with pytest.raises(ValueError, match="no system is named"):
        compare_retrieval(DATASET, embeddings, systems=[], clock=clock, progress=tell)
    with pytest.raises(ValueError, match="name numbers from 1 to 100"):
        compare_retrieval(DATASET, embeddings, cutoffs=[1000], clock=clock, progress=tell)
    with pytest.raises(ValueError, match="fetch_k=101 is out of range"):
        compare_retrieval(DATASET, embeddings, fetch_k=101, clock=clock, progress=tell)
    assert not told
    assert not clock.stages
    assert not embeddings.asked
