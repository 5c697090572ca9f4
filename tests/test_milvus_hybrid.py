"""Hybrid search: analyzers, depth, ranks and weights, in both frameworks, on Milvus Lite and through its server."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from milvus_servers import TOKEN

from qwen3_core.milvus import Collection, Connection, EmbeddingIdentity, Field, MilvusAddress
from qwen3_core.milvus.analyzers import ANALYZERS, LITE_ANALYZERS
from qwen3_core.milvus.collection import Row
from qwen3_core.milvus.errors import MilvusStoreError

CHINESE = {
    "lake": "西湖在杭州市中心的西面,湖上有两道长堤,春天游人最多。",
    "disk": "错误代码E42表示磁盘已满,请先删除旧的日志再重新启动服务。",
    "vector": "向量数据库把每一段文字存成一个向量,再按照相似程度检索。",
    "tea": "龙井茶产于杭州附近的山村,清明之前采摘的最为珍贵。",
    "train": "高速铁路把北京和上海之间的旅程缩短到四个半小时。",
    "index": "倒排索引记录每个词语出现在哪些文章里,全文检索靠它找到关键词。",
}
ENGLISH = {
    "e42": "Error code E42 means that the disk is full.",
    "e43": "Error code E43 means that the network is down.",
    "disk": "A disk that is full stops the whole service, so watch the disk and clean the disk.",
    "cat": "Cats sleep for most of the day.",
}

Make = Callable[..., Collection]


@pytest.fixture(params=["lite", "milvus-lite server"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Open collections on a Milvus Lite file, and in a `milvus-lite server`."""
    remote = request.param != "lite"
    uri = request.getfixturevalue("lite_server_uri") if remote else str(tmp_path / "milvus.db")
    connection = Connection(MilvusAddress(uri))
    made: list[Collection] = []

    def opener(name: str = "hybrid", **options: Any) -> Collection:
        options = {"hybrid": True, **options}
        made.append(Collection(connection, name, EmbeddingIdentity("test"), measure=lambda: 2, **options))
        return made[-1]

    yield opener
    for collection in made:
        collection.drop()
    connection.close()


def fill(collection: Collection, texts: dict[str, str]) -> Collection:
    """Write texts whose vectors turn away from (1, 0), each a little more than the one before it."""
    rows = collection.rows(list(texts.values()), [{"n": n} for n in range(len(texts))], list(texts))
    collection.write(rows, range(len(texts)), [[1.0, 0.1 * n] for n in range(len(texts))])
    collection.flush()
    return collection


def names(hits: list[Row]) -> list[str]:
    return [hit["entity"]["pk"] for hit in hits]


# -- words alone ----------------------------------------------------------------------------------------------


def test_words_are_found_and_higher_scores_are_better(make: Make) -> None:
    collection = fill(make(), ENGLISH)
    hits = collection.text_search("disk e42", 10)
    assert names(hits) == ["e42", "disk"] or names(hits) == ["disk", "e42"]
    scores = [hit["distance"] for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] > 0
    assert names(collection.text_search("E43", 10)) == ["e43"]
    assert names(collection.text_search("disk", 10, condition=Field("n") < 1)) == ["e42"]
    assert collection.text_search("?!", 10) == []
    assert make("none").text_search("disk", 10) == []
    with pytest.raises(ValueError, match="without hybrid=True"):
        make("dense", hybrid=False).text_search("disk", 10)


# -- both sides -----------------------------------------------------------------------------------------------


def test_ranks_are_fused_by_default_and_weights_by_choice(make: Make) -> None:
    collection = fill(make(), ENGLISH)
    vector = [1.0, 0.3]  # nearest: cat, then disk
    dense = names(collection.search(vector, 4))
    assert dense[:2] == ["cat", "disk"]
    fused = collection.hybrid_search("e43 disk", vector, 4)
    text = names(collection.text_search("e43 disk", 4))
    ranks = {name: sum(1 / (61 + order.index(name)) for order in (dense, text) if name in order) for name in ENGLISH}
    assert names(fused) == sorted(ranks, key=ranks.__getitem__, reverse=True)
    assert [hit["distance"] for hit in fused] == pytest.approx(sorted(ranks.values(), reverse=True), abs=1e-6)
    sharper = collection.hybrid_search("e43", vector, 1, ranker_params={"k": 1})
    assert sharper[0]["distance"] == pytest.approx(1 / 2 + 1 / (2 + dense.index("e43")), abs=1e-6)
    for weights, best in (((1.0, 0.0), "cat"), ((0.0, 1.0), "e43")):
        hits = collection.hybrid_search("e43", vector, 4, ranker="weighted", ranker_params={"weights": weights})
        assert names(hits)[0] == best
    with pytest.raises(ValueError, match="'rrf' or 'weighted'"):
        collection.hybrid_search("e43", vector, 4, ranker="best")  # type: ignore[arg-type]


def test_the_depth_of_each_side_decides_what_can_meet(make: Make) -> None:
    """`both` is second by words and second by vector: with one candidate a side nobody sees it."""
    texts = {"word": "zebra zebra", "both": "zebra ox", "near": "ox", "far": "cow", "farther": "cow"}
    collection = make()
    rows = collection.rows(list(texts.values()), None, list(texts))
    vectors = [[-1.0, 0.2], [1.0, 0.1], [1.0, 0.0], [0.5, 1.0], [0.0, 1.0]]
    collection.write(rows, range(5), vectors)
    collection.flush()
    assert names(collection.hybrid_search("zebra", [1.0, 0.0], 1)) == ["both"]
    assert names(collection.hybrid_search("zebra", [1.0, 0.0], 1, depth=2)) == ["both"]
    assert names(collection.hybrid_search("zebra", [1.0, 0.0], 5, depth=(2, 1)))[0] != "word"
    assert set(names(collection.hybrid_search("zebra", [1.0, 0.0], 5, depth=(1, 1)))) == {"word", "near"}
    assert names(collection.hybrid_search("zebra", [1.0, 0.0], 1, depth=1)) != ["both"]
    narrow = Field("pk") != "both"
    assert "both" not in names(collection.hybrid_search("zebra", [1.0, 0.0], 5, condition=narrow))


# -- analyzers ------------------------------------------------------------------------------------------------


def test_jieba_finds_chinese_words_that_standard_does_not(make: Make) -> None:
    pytest.importorskip("jieba", reason="the extra qwen3-rag[chinese] is not installed")
    questions = {"西湖": "lake", "磁盘": "disk", "e42": "disk", "龙井茶": "tea", "铁路": "train", "关键词": "index"}
    jieba = fill(make("words", analyzer="jieba"), CHINESE)
    assert jieba.analyzer == "jieba"
    assert {question: names(jieba.text_search(question, 1)) for question in questions} == {
        question: [found] for question, found in questions.items()
    }
    assert set(names(jieba.text_search("杭州", 5))) == {"lake", "tea"}
    assert names(jieba.hybrid_search("哪里可以看到西湖?", [1.0, 0.5], 1, depth=6)) == ["lake"]
    plain = fill(make("plain", analyzer="standard"), CHINESE)
    assert [plain.text_search(question, 1) for question in ("西湖", "磁盘", "铁路", "关键词")] == [[]] * 4


def test_the_analyzer_is_remembered_and_another_is_refused(make: Make) -> None:
    pytest.importorskip("jieba", reason="the extra qwen3-rag[chinese] is not installed")
    fill(make(analyzer="jieba"), CHINESE)
    assert make().analyzer == "jieba"
    assert names(make().text_search("西湖", 1)) == ["lake"]
    with pytest.raises(MilvusStoreError, match=r"made with analyzer='jieba'.*'standard'"):
        make(analyzer="standard")
    standard = fill(make("standard"), ENGLISH)
    assert standard.analyzer == "standard"
    with pytest.raises(MilvusStoreError, match="made with analyzer='standard'"):
        make("standard", analyzer="jieba")
    dense = make("dense", hybrid=False)
    assert fill(dense, ENGLISH).analyzer is None


@pytest.mark.parametrize("analyzer", sorted(ANALYZERS.keys() - set(LITE_ANALYZERS)))
def test_an_analyzer_that_lite_lacks_is_refused_before_anything_is_made(make: Make, analyzer: str) -> None:
    with pytest.raises(MilvusStoreError, match=rf"analyzer='{analyzer}' needs a Milvus server.*standard and jieba"):
        make("refused", analyzer=analyzer)
    assert make("other")._client.list_collections().count("refused") == 0


def test_senseless_analyzers_are_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="pass one of standard, jieba, english, chinese, icu"):
        make(analyzer="klingon")
    with pytest.raises(ValueError, match="hybrid=True as well"):
        make(analyzer="standard", hybrid=False)


def test_jieba_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection(MilvusAddress(str(tmp_path / "milvus.db")))

    def opened(name: str, analyzer: str | None) -> Collection:
        options: dict[str, Any] = {"measure": lambda: 2, "hybrid": True, "analyzer": analyzer}
        return Collection(connection, name, EmbeddingIdentity("t"), **options)

    there = importlib.util.find_spec("jieba") is not None
    if there:
        fill(opened("made", "jieba"), CHINESE)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name, analyzer in [("new", "jieba")] + ([("made", None)] if there else []):
        with pytest.raises(MilvusStoreError, match=r"pip install 'qwen3-rag\[chinese\]'"):
            opened(name, analyzer)
    connection.close()


def test_hybrid_is_refused_by_a_server_without_it(milvus_2_3: str) -> None:
    connection = Connection(MilvusAddress(milvus_2_3, TOKEN))
    with pytest.raises(MilvusStoreError, match=r"hybrid=True needs Milvus 2\.5 .*pass hybrid=False"):
        Collection(connection, "none", EmbeddingIdentity("t"), measure=lambda: 2, hybrid=True, analyzer="english")
    assert not connection.client.has_collection("none")
    connection.close()


def test_jieba_finds_the_passages_of_real_chinese_questions(tmp_path: Path) -> None:
    """XQuAD's Chinese paragraphs: by words alone, the right one is first for most questions."""
    pytest.importorskip("jieba", reason="the extra qwen3-rag[chinese] is not installed")
    file = Path(__file__).parents[2] / "shared" / "data" / "xquad_dev" / "xquad.zh.json"
    if not file.is_file():
        pytest.skip("XQuAD is not on this machine")
    articles = json.loads(file.read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]][:120]
    texts = {f"p{number}": paragraph["context"] for number, paragraph in enumerate(paragraphs)}
    questions = [(f"p{number}", paragraph["qas"][0]["question"]) for number, paragraph in enumerate(paragraphs)][::2]

    def first(analyzer: str) -> float:
        connection = Connection(MilvusAddress(str(tmp_path / f"{analyzer}.db")))
        options: dict[str, Any] = {"hybrid": True, "analyzer": analyzer}
        collection = fill(Collection(connection, "c", EmbeddingIdentity("t"), measure=lambda: 2, **options), texts)
        found = [names(collection.text_search(question, 1)) == [right] for right, question in questions]
        connection.close()
        return sum(found) / len(found)

    jieba, standard = first("jieba"), first("standard")
    assert jieba > 0.75
    assert standard < jieba - 0.3


# -- the same in both frameworks ------------------------------------------------------------------------------


def test_both_frameworks_search_alike(tmp_path: Path) -> None:
    pytest.importorskip("llama_index.core")
    pytest.importorskip("langchain_milvus")
    from langchain_core.embeddings import Embeddings
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.vector_stores.types import VectorStoreQuery

    import langchain_qwen3
    import llamaindex_qwen3

    def vector(text: str) -> list[float]:
        return [float(text.count(letter)) + 0.1 for letter in "aeio"]

    class Lang(Embeddings):
        model, dimensions, revision, max_length = "vowels", None, None, None

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [vector(text) for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return vector(text)

    class Llama(BaseEmbedding):
        model: str = "vowels"
        dimensions: int | None = None
        revision: str | None = None
        max_length: int | None = None

        def _get_text_embedding(self, text: str) -> list[float]:
            return vector(text)

        def _get_query_embedding(self, query: str) -> list[float]:
            return vector(query)

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return vector(query)

    place: dict[str, Any] = {"uri": str(tmp_path / "milvus.db"), "hybrid": True, "analyzer": "standard"}
    with (
        langchain_qwen3.create_vector_store(Lang(), **place) as lang,
        llamaindex_qwen3.create_vector_store(Llama(), **place) as llama,
    ):
        texts = [f"{word} number code{n} of {n % 7}" for n in range(60) for word in ("eagle", "otter")]
        lang.add_texts(texts, [{"n": n // 2} for n in range(120)])
        question = "which eagle has code17"
        condition: Any = Field("n") < 40

        def llama_query(mode: Any, **options: Any) -> VectorStoreQuery:
            return VectorStoreQuery(
                query_str=question, query_embedding=vector(question), similarity_top_k=20, sparse_top_k=20,
                hybrid_top_k=5, mode=mode, filters=condition, **options,
            )  # fmt: skip

        for ranker, alpha in (({}, None), ({"ranker_type": "weighted", "ranker_params": {"weights": (0.3, 0.7)}}, 0.3)):
            options: dict[str, Any] = {"k": 5, "fetch_k": 20, "filter": condition, **ranker}
            one = lang.similarity_search_with_score(question, **options)
            other = llama.query(llama_query("hybrid", alpha=alpha))
            assert [document.id for document, _ in one] == other.ids
            assert [score for _, score in one] == pytest.approx(other.similarities)
            assert asyncio.run(lang.asimilarity_search_with_score(question, **options)) == one
            assert asyncio.run(llama.aquery(llama_query("hybrid", alpha=alpha))).ids == other.ids
        words = lang.text_search_with_score(question, 20, filter=condition)
        found = llama.query(llama_query("text_search"))
        assert [document.id for document, _ in words] == found.ids
        assert [score for _, score in words] == pytest.approx(found.similarities)
        assert words[0][1] > words[-1][1] > 0
        assert asyncio.run(lang.atext_search(question, 20, filter=condition)) == lang.text_search(
            question, 20, filter=condition
        )
