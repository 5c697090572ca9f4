"""The LlamaIndex `Qwen3Rerank`: the published contract, and what the adapter adds to the engine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from llama_index.core.callbacks import CBEventType
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.schema import BaseNode, ImageNode, MediaResource, MetadataMode, Node, NodeWithScore, TextNode
from pydantic import ValidationError

from llamaindex_qwen3.rerank import Qwen3Rerank
from llamaindex_qwen3.testing import probes
from llamaindex_qwen3.testing.rerank import QUERY, TEXTS, RerankContract, make_nodes
from qwen3_core import LocalReranker


class TestContract(RerankContract):
    rerank_class = Qwen3Rerank
    params: ClassVar[dict[str, Any]] = {"model": "mini"}
    other_instruction: ClassVar[dict[str, Any]] = {"instruction": "Find the text about animals"}


@pytest.fixture(scope="module")
def engine(reranker_folder: Path) -> LocalReranker:
    return LocalReranker(str(reranker_folder), dtype="float32")


@pytest.fixture
def reranker(engine: LocalReranker) -> Qwen3Rerank:
    return Qwen3Rerank.from_reranker(engine, top_n=None, metadata_mode=MetadataMode.NONE)


def test_scores_are_the_engines(reranker: Qwen3Rerank, engine: LocalReranker) -> None:
    found = {item.node_id: item.score for item in reranker.postprocess_nodes(make_nodes(), query_str=QUERY)}
    assert [found[str(number)] for number in range(len(TEXTS))] == engine.score(QUERY, TEXTS)


def test_every_argument_reaches_the_engine(reranker_folder: Path) -> None:
    arguments: dict[str, Any] = {
        "model": str(reranker_folder), "instruction": "Find it", "max_length": 99, "device": "cpu",
        "dtype": "float32", "quantization": "int8", "batch_tokens": 7, "revision": "main", "cache_folder": "somewhere",
    }  # fmt: skip
    made = Qwen3Rerank(**arguments)
    assert isinstance(made._reranker, LocalReranker)
    assert made._reranker.settings == arguments
    [found] = made.postprocess_nodes(make_nodes()[:1], query_str=QUERY)
    assert found.score == LocalReranker(**arguments).score(QUERY, [make_nodes()[0].get_content(MetadataMode.EMBED)])[0]


def test_a_changed_copy_scores_as_its_fields_say(reranker: Qwen3Rerank, engine: LocalReranker) -> None:
    other = reranker.model_copy(update={"instruction": "Find cats"})
    assert other._reranker is engine
    [found] = other.postprocess_nodes(make_nodes()[:1], query_str=QUERY)
    assert found.score == engine.score(QUERY, TEXTS[:1], instruction="Find cats")[0]
    short = reranker.model_copy(update={"max_length": 3})
    with pytest.raises(ValueError, match="max_length=3"):
        short.postprocess_nodes(make_nodes(), query_str=QUERY)


@given(st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=5), st.none() | st.integers(1, 6), st.floats(0, 1))
@hypothesis_settings(max_examples=40)
def test_what_is_kept(texts: list[str], top_n: int | None, threshold: float) -> None:
    scores = SHARED.score(QUERY, texts)
    best = sorted(range(len(texts)), key=lambda number: (-scores[number], number))[:top_n]
    reranker = Qwen3Rerank.from_reranker(
        SHARED, top_n=top_n, score_threshold=threshold, metadata_mode=MetadataMode.NONE
    )
    found = reranker.postprocess_nodes(make_nodes(texts), query_str=QUERY)
    assert [item.node_id for item in found] == [str(number) for number in best if scores[number] >= threshold]


SHARED = LocalReranker("mini", dtype="float32")


@pytest.mark.parametrize(
    "node",
    [
        ImageNode(id_="x", image_url="http://127.0.0.1/a.png"),
        Node(id_="x", image_resource=MediaResource(path=Path("a.png"))),
    ],
)
def test_media_without_a_text_is_refused_by_its_position(reranker: Qwen3Rerank, node: BaseNode) -> None:
    nodes = [*make_nodes()[:2], NodeWithScore(node=node)]
    with pytest.raises(ValueError, match=r"node 2 \(x\) has media and no text"):
        reranker.postprocess_nodes(nodes, query_str=QUERY)
    node.set_content("A diagram of the storage")
    assert len(reranker.postprocess_nodes(nodes, query_str=QUERY)) == 3


def test_events_say_what_happened(reranker: Qwen3Rerank) -> None:
    nodes = make_nodes()
    with probes.recorded_events() as events:
        kept = reranker.postprocess_nodes(nodes, query_str=QUERY)
    [start, end] = [event for event in events if isinstance(event, ReRankStartEvent | ReRankEndEvent)]
    assert isinstance(start, ReRankStartEvent)
    assert (start.query, start.nodes, start.top_n, start.model_name) == (QUERY, nodes, len(TEXTS), reranker.model)
    assert isinstance(end, ReRankEndEvent)
    assert end.nodes == kept


async def test_events_balance_when_the_model_fails() -> None:
    log = probes.CallbackLog()
    reranker = Qwen3Rerank(model="/no/such/folder", callback_manager=log.manager())
    with probes.recorded_events() as events:
        with pytest.raises(OSError, match="no/such/folder"):
            reranker.postprocess_nodes(make_nodes(), query_str=QUERY)
        with pytest.raises(OSError, match="no/such/folder"):
            await reranker.apostprocess_nodes(make_nodes(), query_str=QUERY)
    assert probes.count_kinds(events, ReRankStartEvent, ReRankEndEvent) == [2, 2]
    assert log.started[CBEventType.RERANKING] == log.ended[CBEventType.RERANKING] == 2


async def test_events_balance_when_a_call_is_cancelled() -> None:
    log = probes.CallbackLog()
    reranker = Qwen3Rerank(model="mini", callback_manager=log.manager())
    with probes.recorded_events() as events:
        await probes.cancel_one_of_three(lambda: reranker.apostprocess_nodes(make_nodes(), query_str=QUERY))
    assert probes.count_kinds(events, ReRankStartEvent, ReRankEndEvent) == [3, 3]
    assert log.started[CBEventType.RERANKING] == log.ended[CBEventType.RERANKING] == 3


def test_rerankers_in_a_row_keep_the_first_retrievals_score(reranker: Qwen3Rerank) -> None:
    once = reranker.postprocess_nodes(make_nodes(), query_str=QUERY)
    twice = reranker.postprocess_nodes(once, query_str="Who sleeps?")
    assert {item.node_id: item.metadata["retrieval_score"] for item in twice} == {
        item.node_id: item.score for item in make_nodes()
    }
    assert twice[0].node.excluded_llm_metadata_keys == ["retrieval_score"]


def test_no_retrieval_score_leaves_no_trace(reranker: Qwen3Rerank) -> None:
    [found] = reranker.postprocess_nodes([NodeWithScore(node=TextNode(text="a"))], query_str=QUERY)
    assert "retrieval_score" not in found.metadata
    assert found.node.excluded_llm_metadata_keys == []


def test_only_the_mode_that_shows_all_shows_the_retrieval_score(reranker: Qwen3Rerank) -> None:
    [found] = reranker.postprocess_nodes(make_nodes()[:1], query_str=QUERY)
    assert "retrieval_score: 0.9" in found.node.get_content(MetadataMode.ALL)
    assert "retrieval_score" not in found.node.get_content(MetadataMode.LLM)


@pytest.mark.parametrize(
    "wrong", [{"top_k": 3}, {"top_n": 0}, {"score_threshold": 1.5}, {"dtype": "int8"}, {"metadata_mode": "some"}]
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Qwen3Rerank(**wrong)


def test_what_the_engine_has_does_not_change(reranker: Qwen3Rerank) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        reranker.max_length = 64  # type: ignore[misc]
    reranker.top_n = 1
    assert len(reranker.postprocess_nodes(make_nodes(), query_str=QUERY)) == 1
    with pytest.raises(ValidationError, match="top_n"):
        reranker.top_n = 0


def test_making_one_loads_nothing() -> None:
    assert Qwen3Rerank().model == "Qwen/Qwen3-Reranker-0.6B"
    assert asyncio.run(Qwen3Rerank(model="/no/such/folder").apostprocess_nodes([], query_str=QUERY)) == []
