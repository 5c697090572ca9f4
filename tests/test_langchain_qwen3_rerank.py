"""`Qwen3Rerank` as a document compressor, by indices, and as a cross encoder."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, ValidationError

from langchain_qwen3 import Qwen3Rerank
from langchain_qwen3.testing import DocumentCompressorTests
from qwen3_core import LocalReranker

QUERY = "Where is data kept?"
TEXTS = ["Data is kept in object storage.", "Cats sleep all day.", "etcd keeps the metadata.", "数据保存在磁盘上。"]


class TestCompressor(DocumentCompressorTests):
    @property
    def compressor_class(self) -> type[Qwen3Rerank]:
        return Qwen3Rerank

    @property
    def compressor_params(self) -> dict[str, Any]:
        return {"model": "mini"}


class Mutating(Qwen3Rerank):
    def compress_documents(self, documents: Any, query: str, callbacks: Any = None) -> list[Document]:
        for rank in self.rerank(documents, query, top_n=None):
            documents[rank["index"]].metadata["relevance_score"] = rank["relevance_score"]
        return sorted(documents, key=lambda document: -document.metadata["relevance_score"])


class Blocking(Qwen3Rerank):
    async def acompress_documents(self, documents: Any, query: str, callbacks: Any = None) -> list[Document]:
        return self.compress_documents(documents, query)


class NoScores(Qwen3Rerank):
    def compress_documents(self, documents: Any, query: str, callbacks: Any = None) -> list[Document]:
        return [documents[rank["index"]] for rank in self.rerank(documents, query)]


class Short(Qwen3Rerank):
    max_length: int = 512


class Lenient(Qwen3Rerank):
    model_config = ConfigDict(extra="ignore")


@pytest.mark.parametrize(
    ("made", "check"),
    [
        (Mutating, "documents_given_are_not_changed"),
        (Mutating, "top_n"),
        (Blocking, "async_leaves_the_event_loop_free"),
        (NoScores, "best_first"),
        (Short, "long_documents_are_read"),
        (Lenient, "unknown_arguments_are_refused"),
    ],
)
def test_the_suite_catches(made: type[Qwen3Rerank], check: str) -> None:
    class Suite(DocumentCompressorTests):
        def make(self, **kwargs: Any) -> Qwen3Rerank:
            arguments: dict[str, Any] = {"model": "mini"} | kwargs
            return made(**arguments)

    with pytest.raises((AssertionError, KeyError, pytest.fail.Exception)):
        getattr(Suite(), f"test_{check}")()


@pytest.fixture(scope="module")
def reranker(reranker_folder: Path) -> Qwen3Rerank:
    return Qwen3Rerank(model=str(reranker_folder), dtype="float32", top_n=2)


@pytest.fixture(scope="module")
def scores(reranker_folder: Path) -> list[float]:
    found = LocalReranker(str(reranker_folder), dtype="float32").score(QUERY, TEXTS)
    assert len(set(found)) == len(TEXTS)
    return found


@pytest.fixture
def documents() -> list[Document]:
    return [Document(id=str(n), page_content=text, metadata={"n": n}) for n, text in enumerate(TEXTS)]


def test_both_interfaces() -> None:
    assert issubclass(Qwen3Rerank, BaseDocumentCompressor)
    assert issubclass(Qwen3Rerank, BaseCrossEncoder)


def test_best_first_with_scores(reranker: Qwen3Rerank, documents: list[Document], scores: list[float]) -> None:
    kept = reranker.compress_documents(documents, QUERY)
    order = sorted(range(len(TEXTS)), key=lambda n: -scores[n])[:2]
    assert [document.metadata["n"] for document in kept] == order
    assert [document.id for document in kept] == [str(n) for n in order]
    assert [document.metadata["relevance_score"] for document in kept] == pytest.approx([scores[n] for n in order])


def test_inputs_are_not_changed(reranker: Qwen3Rerank, documents: list[Document]) -> None:
    before = copy.deepcopy(documents)
    kept = reranker.compress_documents(documents, QUERY)
    assert documents == before
    kept[0].metadata["n"] = "changed"
    assert documents == before


async def test_async_equals_sync(reranker: Qwen3Rerank, documents: list[Document]) -> None:
    assert await reranker.acompress_documents(documents, QUERY) == reranker.compress_documents(documents, QUERY)
    assert await reranker.arerank(TEXTS, QUERY) == reranker.rerank(TEXTS, QUERY)


def test_rerank_gives_places_and_scores(reranker: Qwen3Rerank, documents: list[Document], scores: list[float]) -> None:
    ranked = reranker.rerank(TEXTS, QUERY, top_n=None)
    assert [scores[rank["index"]] for rank in ranked] == sorted(scores, reverse=True)
    assert [rank["relevance_score"] for rank in ranked] == pytest.approx(sorted(scores, reverse=True))
    assert reranker.rerank(TEXTS, QUERY) == ranked[:2], "the instance's own number"
    assert reranker.rerank(TEXTS, QUERY, top_n=1) == ranked[:1]
    assert reranker.rerank(documents, QUERY, top_n=None) == ranked
    assert reranker.rerank([{"text": text} for text in TEXTS], QUERY, top_n=None) == ranked


def test_threshold(reranker: Qwen3Rerank, scores: list[float], reranker_folder: Path) -> None:
    second = sorted(scores, reverse=True)[1]
    strict = Qwen3Rerank(model=str(reranker_folder), dtype="float32", score_threshold=(second + max(scores)) / 2)
    assert len(strict.rerank(TEXTS, QUERY)) == 1
    assert len(strict.rerank(TEXTS, QUERY, score_threshold=0.0)) == 3, "0.0 is a threshold, not the lack of one"
    assert strict.rerank(TEXTS, QUERY, score_threshold=1.0) == []


def test_own_instruction(reranker: Qwen3Rerank) -> None:
    assert reranker.rerank(TEXTS, QUERY, instruction="Find cats") != reranker.rerank(TEXTS, QUERY)


def test_cross_encoder_scores_pairs_in_order(reranker: Qwen3Rerank, scores: list[float]) -> None:
    pairs = [(QUERY, TEXTS[0]), ("Who sleeps?", TEXTS[1]), (QUERY, TEXTS[2])]
    found = reranker.score(pairs)
    assert [found[0], found[2]] == pytest.approx([scores[0], scores[2]], abs=1e-5)
    assert found[1] == pytest.approx(reranker.rerank([TEXTS[1]], "Who sleeps?")[0]["relevance_score"], abs=1e-5)
    assert reranker.score([]) == []


def test_batch_of_queries(reranker: Qwen3Rerank, documents: list[Document]) -> None:
    requests = [(documents, QUERY), (documents[:2], "Who sleeps?"), ([], QUERY)]
    assert reranker.batch(requests) == [reranker.compress_documents(*request) for request in requests]


def test_no_documents(reranker: Qwen3Rerank) -> None:
    assert reranker.compress_documents([], QUERY) == []
    assert reranker.rerank([], QUERY) == []


def test_equal_scores_keep_their_order(reranker: Qwen3Rerank) -> None:
    assert [rank["index"] for rank in reranker.rerank(["same"] * 3, QUERY, top_n=None)] == [0, 1, 2]


@pytest.mark.parametrize("wrong", [{"top_k": 3}, {"top_n": 0}, {"score_threshold": 1.5}, {"dtype": "int8"}])
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Qwen3Rerank(**wrong)


def test_wrong_calls_are_refused(reranker: Qwen3Rerank) -> None:
    with pytest.raises(ValueError, match="top_n=0 is out of range"):
        reranker.rerank(TEXTS, QUERY, top_n=0)
    with pytest.raises(ValueError, match="query is empty"):
        reranker.rerank(TEXTS, " ")
    with pytest.raises(TypeError, match=r"pass \[document\]"):
        reranker.rerank("one document", QUERY)


def test_pickles_work(reranker: Qwen3Rerank) -> None:
    assert pickle.loads(pickle.dumps(reranker)).rerank(TEXTS, QUERY) == reranker.rerank(TEXTS, QUERY)


def test_a_ready_engine_is_used_and_not_loaded_again() -> None:
    engine = LocalReranker("mini", instruction="Find the answer")
    reranker = Qwen3Rerank.from_reranker(engine, top_n=1)
    assert reranker.model_dump() == Qwen3Rerank(**engine.settings, top_n=1).model_dump()
    assert reranker._reranker is engine
    [found] = reranker.rerank(["one", "two"], "a question")
    assert found["relevance_score"] == max(engine.score("a question", ["one", "two"]))


def test_a_changed_copy_is_changed_and_others_share_the_weights() -> None:
    reranker = Qwen3Rerank(model="mini")
    shorter = reranker.model_copy(update={"max_length": 100})
    with pytest.raises(ValueError, match="max_length=100"):
        shorter.rerank(["a document"], "a long question " * 30)
    assert reranker.with_options(top_n=1)._reranker is reranker._reranker
