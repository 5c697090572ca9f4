"""What a LlamaIndex reranker has to do: a suite to subclass.

It takes nothing but pytest and the framework, so it runs for any `BaseNodePostprocessor` that reranks.
"""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

import pytest
from llama_index.core.callbacks import CBEventType
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode

from llamaindex_qwen3.testing import probes

QUERY = "Where is data stored?"
TEXTS = ["Cats sleep all day.", "Data is stored in segments.", "etcd keeps the metadata.", "数据保存在磁盘上。"]
FILLER = "The weather was fine and nothing happened. " * 150


def make_nodes(texts: Sequence[str] = TEXTS) -> list[NodeWithScore]:
    """Return nodes as a retriever gives them, with scores in descending order."""
    return [
        NodeWithScore(node=TextNode(id_=str(number), text=text, metadata={"page": number}), score=0.9 - number / 10)
        for number, text in enumerate(texts)
    ]


class RerankContract:
    """Checks for any reranking `BaseNodePostprocessor`: subclass it in a test file, under a name with "Test" first.

    ```python
    class TestSentenceTransformer(RerankContract):
        rerank_class = SentenceTransformerRerank
        params = {"model": "BAAI/bge-reranker-v2-m3"}
        keep_retrieval_score = {"keep_retrieval_score": True}
    ```

    Each check makes rerankers of its own, with ``top_n=`` the number of nodes to keep. Where loading is slow,
    override `make` and share the weights. What a class cannot do, its check says by failing.
    """

    rerank_class: type[BaseNodePostprocessor]
    """What is tested."""

    params: ClassVar[dict[str, Any]] = {}
    """The arguments of every reranker that is made."""

    other_instruction: ClassVar[dict[str, Any]] = {}
    """The arguments that give another instruction."""

    threshold_argument = "score_threshold"
    """The argument that drops nodes with lower scores."""

    metadata_mode_argument = "metadata_mode"
    """The argument that chooses which metadata is judged."""

    keep_retrieval_score: ClassVar[dict[str, Any]] = {}
    """The arguments that keep the score of the retrieval, where that is not the default."""

    tolerance = 1e-2
    """How much a score may differ between batches; half precision moves it."""

    def make(self, **kwargs: Any) -> BaseNodePostprocessor:
        """Return a reranker with `params` and these arguments."""
        return self.rerank_class(**(self.params | kwargs))

    def scores(self, reranker: BaseNodePostprocessor, nodes: list[NodeWithScore]) -> dict[str, float]:
        """Return the scores of nodes by their ids."""
        return {item.node_id: item.get_score() for item in reranker.postprocess_nodes(nodes, query_str=QUERY)}

    def same(self, found: dict[str, float], wanted: dict[str, float]) -> bool:
        """Whether two sets of scores are one, but for rounding."""
        return found == pytest.approx(wanted, abs=self.tolerance)

    # Order and number

    def test_best_first(self) -> None:
        """Nodes come back in the order of their scores, each once."""
        found = self.make(top_n=len(TEXTS)).postprocess_nodes(make_nodes(), query_str=QUERY)
        scores = [item.get_score(raise_error=True) for item in found]
        assert scores == sorted(scores, reverse=True)
        assert sorted(item.node_id for item in found) == [str(number) for number in range(len(TEXTS))]

    def test_scores_are_floats(self) -> None:
        """A NumPy number in `NodeWithScore.score` breaks whoever stores the response as JSON."""
        found = self.make(top_n=99).postprocess_nodes(make_nodes(), query_str=QUERY)
        assert {type(item.score) for item in found} == {float}

    def test_scores_belong_to_their_nodes(self) -> None:
        """A node's score depends on its text, not on its place or its neighbours."""
        reranker = self.make(top_n=len(TEXTS))
        wanted = {key: score for item in make_nodes() for key, score in self.scores(reranker, [item]).items()}
        assert len(set(wanted.values())) > 1
        assert self.same(self.scores(reranker, make_nodes()), wanted)
        assert self.same(self.scores(reranker, make_nodes()[::-1]), wanted)

    def test_top_n(self) -> None:
        """`top_n` keeps the best, and no more than there are."""
        every = [item.node_id for item in self.make(top_n=99).postprocess_nodes(make_nodes(), query_str=QUERY)]
        two = [item.node_id for item in self.make(top_n=2).postprocess_nodes(make_nodes(), query_str=QUERY)]
        assert len(every) == len(TEXTS)
        assert two == every[:2]

    def test_equal_scores_keep_their_order(self) -> None:
        """Where the reranker sees no difference the retriever's order stands."""
        nodes = [item.model_copy(update={"node": TextNode(id_=item.node_id, text="same")}) for item in make_nodes()]
        found = self.make(top_n=99).postprocess_nodes(nodes, query_str=QUERY)
        assert [item.node_id for item in found] == [item.node_id for item in nodes]

    def test_score_threshold(self) -> None:
        """Nodes below the threshold are dropped, and all may be: an answer from nothing relevant is worse."""
        nodes = make_nodes()
        scores = sorted(self.scores(self.make(top_n=99), nodes).values(), reverse=True)
        between = (scores[0] + scores[1]) / 2
        assert len(self.scores(self.make(top_n=99, **{self.threshold_argument: between}), nodes)) == 1
        assert self.scores(self.make(top_n=99, **{self.threshold_argument: 1.0}), nodes) == {}

    # What is judged

    def test_instruction_changes_scores(self) -> None:
        """Qwen3-Reranker judges by an instruction; it must arrive."""
        assert self.other_instruction, "there is no way to give an instruction"
        plain, other = self.make(top_n=99), self.make(top_n=99, **self.other_instruction)
        assert self.scores(plain, make_nodes()) != self.scores(other, make_nodes())

    def test_metadata_mode(self) -> None:
        """Which metadata is judged is a choice: NONE is the bare text, LLM is what the answer is written from."""
        nodes = [
            NodeWithScore(node=TextNode(id_="a", text=TEXTS[0], metadata={"k": "v"}, excluded_llm_metadata_keys=["k"]))
        ]
        bare = [NodeWithScore(node=TextNode(id_="a", text=TEXTS[0]))]

        def judged(mode: MetadataMode, nodes: list[NodeWithScore]) -> float:
            return self.scores(self.make(top_n=1, **{self.metadata_mode_argument: mode}), nodes)["a"]

        wanted = pytest.approx(judged(MetadataMode.NONE, bare), abs=1e-6)
        assert judged(MetadataMode.NONE, nodes) == wanted
        assert judged(MetadataMode.LLM, nodes) == wanted
        assert judged(MetadataMode.EMBED, nodes) != wanted

    def test_long_documents_are_read(self) -> None:
        """The end of a document of 1,500 tokens counts: 512, a common default, is not Qwen3's limit."""
        # Without metadata: it comes first, and would tell the two apart.
        nodes = [NodeWithScore(node=TextNode(id_=text, text=FILLER + text)) for text in TEXTS[:2]]
        assert len(set(self.scores(self.make(top_n=2), nodes).values())) == 2

    def test_empty_text_has_a_score(self) -> None:
        """A blank chunk does not stop a query."""
        assert len(self.scores(self.make(top_n=2), make_nodes(["", TEXTS[0]]))) == 2

    # Nodes

    def test_nodes_given_are_not_changed(self) -> None:
        """Retrievers keep nodes, and share them between queries; a second query must find them as they were."""
        nodes = make_nodes()
        before = copy.deepcopy(nodes)
        found = self.make(top_n=99, **self.keep_retrieval_score).postprocess_nodes(nodes, query_str=QUERY)
        assert nodes == before, "scores or metadata were written into the caller's nodes"
        for item in found:
            item.node.metadata["page"] = "changed"
            item.node.relationships.clear()
        assert nodes == before, "what comes back shares its metadata with the caller's nodes"

    def test_retrieval_score_is_kept(self) -> None:
        """The first stage's score is there for those who log or blend it, under `retrieval_score`."""
        found = self.make(top_n=99, **self.keep_retrieval_score).postprocess_nodes(make_nodes(), query_str=QUERY)
        before = {item.node_id: item.score for item in make_nodes()}
        assert {item.node_id: item.metadata.get("retrieval_score") for item in found} == before

    def test_scores_do_not_reach_prompts(self) -> None:
        """No text for an LLM or an embedding model changes: `retrieval_score: 0.5` in a prompt misleads it."""
        reranker = self.make(top_n=99, **self.keep_retrieval_score)
        found = {item.node_id: item for item in reranker.postprocess_nodes(make_nodes(), query_str=QUERY)}
        for item in make_nodes():
            for mode in (MetadataMode.LLM, MetadataMode.EMBED, MetadataMode.NONE):
                assert found[item.node_id].get_content(mode) == item.get_content(mode)

    # Calls

    def test_no_nodes(self) -> None:
        """A retriever that finds nothing is no error."""
        reranker = self.make()
        assert reranker.postprocess_nodes([], query_str=QUERY) == []
        assert asyncio.run(reranker.apostprocess_nodes([], query_str=QUERY)) == []

    def test_missing_query_is_refused(self) -> None:
        """Without a query there is nothing to judge by; the error says so, sync and async."""
        self._refuses(None)

    def test_blank_query_is_refused(self) -> None:
        """Scores for an empty question look like scores."""
        self._refuses(QueryBundle(""))
        self._refuses(QueryBundle(" \n"))

    def test_unknown_arguments_are_refused(self) -> None:
        """A misspelt argument must not pass silently."""
        with pytest.raises((TypeError, ValueError)):
            self.make(no_such_argument=1)

    def test_dict_and_json_round_trip(self) -> None:
        """A stored reranker comes back and scores the same."""
        reranker = self.make(top_n=2)
        for twin in (type(reranker).from_dict(reranker.to_dict()), type(reranker).from_json(reranker.to_json())):
            assert twin.to_dict() == reranker.to_dict()
            assert self.same(self.scores(twin, make_nodes()), self.scores(reranker, make_nodes()))

    def test_pickle_and_deepcopy(self) -> None:
        """A reranker travels to other processes, also after first use."""
        reranker = self.make(top_n=2)
        wanted = self.scores(reranker, make_nodes())
        for twin in (pickle.loads(pickle.dumps(reranker)), copy.deepcopy(reranker)):  # noqa: S301
            assert self.same(self.scores(twin, make_nodes()), wanted)

    # Async

    def test_async_equals_sync(self) -> None:
        """Both ways keep the same nodes with the same scores."""
        reranker = self.make(top_n=3)
        found = asyncio.run(reranker.apostprocess_nodes(make_nodes(), query_str=QUERY))
        assert self.same({item.node_id: item.get_score() for item in found}, self.scores(reranker, make_nodes()))

    def test_async_leaves_the_event_loop_free(self) -> None:
        """A server answers others while it reranks."""
        reranker = self.make()
        self.scores(reranker, make_nodes())  # loads
        nodes = make_nodes([FILLER, FILLER + "x"])
        turns = probes.loop_turns_during(lambda: reranker.apostprocess_nodes(nodes, query_str=QUERY))
        assert turns > 10, "the loop stood still"

    def test_async_calls_do_not_crowd_the_model(self) -> None:
        """Many requests at once must not run one local model in as many threads.

        Override it where the model runs elsewhere.
        """
        reranker = self.make()
        self.scores(reranker, make_nodes())  # loads

        def many() -> Awaitable[Any]:
            return asyncio.gather(*(reranker.apostprocess_nodes(make_nodes(), query_str=QUERY) for _ in range(12)))

        # Two, because one thread may be ending while the next starts.
        assert probes.threads_during(many) <= 2

    def test_async_in_other_event_loops(self) -> None:
        """Notebooks and the framework's own sync wrappers open a loop for each call, and servers one per thread."""
        reranker = self.make(top_n=2)
        wanted = [item.node_id for item in reranker.postprocess_nodes(make_nodes(), query_str=QUERY)]

        def call() -> Awaitable[list[NodeWithScore]]:
            return reranker.apostprocess_nodes(make_nodes(), query_str=QUERY)

        for found in [*probes.run_in_threads(call, 1), *probes.run_in_threads(call, 3)]:
            assert [item.node_id for item in found] == wanted

    def test_a_cancelled_call_blocks_nobody(self) -> None:
        """A client that hangs up takes no other request with it."""
        reranker = self.make(top_n=2)
        call = probes.cancel_one_of_three(lambda: reranker.apostprocess_nodes(make_nodes(), query_str=QUERY))
        assert [len(found) for found in asyncio.run(call)] == [2, 2]

    # Events

    def test_events_once_per_call(self) -> None:
        """One start and one end for each call, sync and async, in the instrumentation and in callbacks."""
        assert self._events(make_nodes(), QUERY) == ([2, 2], [2, 2])

    def test_events_balance_without_nodes(self) -> None:
        """A start without its end leaves a trace open; this is where peers return early."""
        (starts, ends), (opened, closed) = self._events([], QUERY)
        assert (starts, opened) == (ends, closed)

    def test_events_balance_without_query(self) -> None:
        """Also a call that is refused closes what it opened."""
        (starts, ends), (opened, closed) = self._events(make_nodes(), None)
        assert (starts, opened) == (ends, closed)

    def test_callback_manager_given_later(self) -> None:
        """Query engines hand their own callback manager to postprocessors that exist already."""
        log, reranker = probes.CallbackLog(), self.make()
        reranker.callback_manager = log.manager()
        reranker.postprocess_nodes(make_nodes(), query_str=QUERY)
        assert log.started[CBEventType.RERANKING] == log.ended[CBEventType.RERANKING] == 1

    def _refuses(self, bundle: QueryBundle | None) -> None:
        reranker = self.make()
        with pytest.raises(ValueError, match=r"(?i)query"):
            reranker.postprocess_nodes(make_nodes(), query_bundle=bundle)
        with pytest.raises(ValueError, match=r"(?i)query"):
            asyncio.run(reranker.apostprocess_nodes(make_nodes(), query_bundle=bundle))

    def _events(self, nodes: list[NodeWithScore], query: str | None) -> tuple[list[int], list[int]]:
        """Call both ways; count starts and ends of the instrumentation and of the callbacks."""
        log, reranker = probes.CallbackLog(), self.make()
        reranker.callback_manager = log.manager()
        with probes.recorded_events() as events:
            calls: list[Callable[[], Any]] = [
                lambda: reranker.postprocess_nodes(nodes, query_str=query),
                lambda: asyncio.run(reranker.apostprocess_nodes(nodes, query_str=query)),
            ]
            for call in calls:
                try:
                    call()
                except Exception:  # noqa: BLE001 - what it raises is another check's matter
                    assert query is None
        return (
            probes.count_kinds(events, ReRankStartEvent, ReRankEndEvent),
            [log.started[CBEventType.RERANKING], log.ended[CBEventType.RERANKING]],
        )
