"""What a LlamaIndex embedding for retrieval has to do: a suite to subclass.

It takes nothing but pytest and the framework, so it runs for any `BaseEmbedding`.
"""

from __future__ import annotations

import asyncio
import copy
import math
import pickle
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

import pytest
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CBEventType
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from llama_index.core.schema import MetadataMode, TextNode

from llamaindex_qwen3.testing import probes

TEXT = "Where is data stored?"
TEXTS = ["Data is stored in segments.", "Cats sleep all day.", "", "数据保存在磁盘上。", "etcd keeps the metadata.",
         "Data is stored in segments.", "A\nB"]  # fmt: skip
LONG_TEXTS = [f"{number} " + "Milvus keeps vectors in segments. " * 20 for number in range(12)]


class EmbeddingContract:
    """Checks for any `BaseEmbedding`: subclass it in a test file, under a name that starts with "Test".

    ```python
    class TestHuggingFace(EmbeddingContract):
        embedding_class = HuggingFaceEmbedding
        params = {"model_name": "Qwen/Qwen3-Embedding-0.6B"}
        smaller = {"truncate_dim": 64}
        other_instruction = {"query_instruction": "Find the code"}
    ```

    Each check makes embeddings of its own. Where loading is slow, override `make` and share the weights. What
    a class cannot do, its check says by failing.
    """

    embedding_class: type[BaseEmbedding]
    """What is tested."""

    params: ClassVar[dict[str, Any]] = {}
    """The arguments of every embedding that is made."""

    smaller: ClassVar[dict[str, Any]] = {}
    """The arguments that ask for shorter vectors."""

    other_instruction: ClassVar[dict[str, Any]] = {}
    """The arguments that give queries another instruction."""

    tolerance = 1e-2
    """How much one number of a vector may differ between batches; half precision moves it."""

    def make(self, **kwargs: Any) -> BaseEmbedding:
        """Return an embedding with `params` and these arguments."""
        return self.embedding_class(**(self.params | kwargs))

    def make_smaller(self, **kwargs: Any) -> BaseEmbedding:
        """Return an embedding with shorter vectors."""
        assert self.smaller, "there is no way to ask for shorter vectors"
        return self.make(**self.smaller, **kwargs)

    def make_instructed(self, **kwargs: Any) -> BaseEmbedding:
        """Return an embedding with another instruction."""
        assert self.other_instruction, "there is no way to give an instruction"
        return self.make(**self.other_instruction, **kwargs)

    def same(self, found: Sequence[float], wanted: Sequence[float]) -> bool:
        """Whether two vectors are one, but for rounding."""
        return len(found) == len(wanted) and math.dist(found, wanted) <= self.tolerance * math.hypot(*wanted)

    def same_all(self, found: Sequence[Sequence[float]], wanted: Sequence[Sequence[float]]) -> bool:
        """Whether two lists of vectors are one, but for rounding."""
        return len(found) == len(wanted) and all(map(self.same, found, wanted))

    # What vectors are

    def test_batches_equal_single_texts(self) -> None:
        """Every text has its own vector, in order, whatever the batch; a query engine mixes both ways."""
        embedding = self.make(embed_batch_size=3)
        singles = [embedding.get_text_embedding(text) for text in TEXTS]
        assert all(isinstance(number, float) for vector in singles for number in vector)
        assert self.same_all(embedding.get_text_embedding_batch(list(TEXTS)), singles)
        assert not self.same(singles[0], singles[1])

    def test_empty_text_and_empty_batch(self) -> None:
        """A blank page must not stop an ingestion, nor may an empty one."""
        embedding = self.make()
        assert embedding.get_text_embedding_batch([]) == []
        assert asyncio.run(embedding.aget_text_embedding_batch([])) == []
        assert all(map(math.isfinite, embedding.get_text_embedding("")))

    def test_queries_and_documents_differ(self) -> None:
        """Qwen3-Embedding was trained with an instruction before queries only; without it retrieval is worse."""
        embedding = self.make()
        assert not self.same(embedding.get_query_embedding(TEXT), embedding.get_text_embedding(TEXT))

    def test_instruction_changes_queries_only(self) -> None:
        """Stored vectors must survive a change of the instruction."""
        plain, other = self.make(), self.make_instructed()
        assert not self.same(other.get_query_embedding(TEXT), plain.get_query_embedding(TEXT))
        assert self.same(other.get_text_embedding(TEXT), plain.get_text_embedding(TEXT))

    def test_shorter_vectors(self) -> None:
        """What is asked for is what a collection of that dimension gets, on both sides, of unit length."""
        full, small = self.make().get_text_embedding(TEXT), self.make_smaller()
        vectors = [small.get_text_embedding(TEXT), small.get_query_embedding(TEXT)]
        assert len(vectors[0]) == len(vectors[1]) < len(full)
        assert [math.hypot(*vector) for vector in vectors] == pytest.approx([1, 1], abs=self.tolerance)

    def test_nodes_get_the_vector_of_their_embed_text(self) -> None:
        """As a pipeline's transformation it embeds what `MetadataMode.EMBED` shows, and nothing else changes."""
        embedding = self.make()
        nodes = [
            TextNode(text=text, metadata={"a": 1, "b": 2}, excluded_embed_metadata_keys=["b"]) for text in TEXTS[:2]
        ]
        before = copy.deepcopy(nodes)
        done = embedding(nodes)
        assert [node.model_dump(exclude={"embedding"}) for node in done] == [
            node.model_dump(exclude={"embedding"}) for node in before
        ]
        wanted = [embedding.get_text_embedding(node.get_content(MetadataMode.EMBED)) for node in before]
        assert self.same_all([node.get_embedding() for node in done], wanted)

    # Caches

    def test_cache_keeps_queries_and_documents_apart(self) -> None:
        """The framework keys its cache by the raw text: a query equal to a document gets the document's vector."""
        plain, cached = self.make(), self.make(embeddings_cache=probes.CountingStore())
        query, document = plain.get_query_embedding(TEXT), plain.get_text_embedding(TEXT)
        assert not self.same(query, document), "both sides are one already without a cache"
        for _ in range(2):
            assert self.same(cached.get_text_embedding(TEXT), document)
            assert self.same(cached.get_query_embedding(TEXT), query)
            assert self.same(cached.get_text_embedding_batch([TEXT])[0], document)
            assert self.same(asyncio.run(cached.aget_query_embedding(TEXT)), query)
            assert self.same(asyncio.run(cached.aget_text_embedding(TEXT)), document)

    def test_cache_keeps_dimensions_apart(self) -> None:
        """Two sizes of one model share a store without giving each other's vectors."""
        store = probes.CountingStore()
        full, small = self.make(embeddings_cache=store), self.make_smaller(embeddings_cache=store)
        assert len(small.get_text_embedding(TEXT)) < len(full.get_text_embedding(TEXT))
        assert len(small.get_query_embedding(TEXT)) < len(full.get_query_embedding(TEXT))

    def test_cache_keeps_instructions_apart(self) -> None:
        """A cached query of another task is another vector; documents are shared between tasks."""
        store = probes.CountingStore()
        plain, other = self.make(embeddings_cache=store), self.make_instructed(embeddings_cache=store)
        assert not self.same(other.get_query_embedding(TEXT), plain.get_query_embedding(TEXT))
        plain.get_text_embedding(TEXT)
        writes = store.writes
        other.get_text_embedding(TEXT)
        assert store.writes == writes, "the document was computed again"

    def test_cache_answers_the_second_time(self) -> None:
        """The store that was given is written and read, by single calls, batches and async calls alike."""
        store = probes.CountingStore()
        embedding = self.make(embeddings_cache=store)
        assert embedding.embeddings_cache is store
        query = f"another text than {TEXT}"  # equal ones are another check's business
        first = [embedding.get_text_embedding(TEXT), embedding.get_query_embedding(query)]
        writes, hits = store.writes, store.hits
        assert writes == 2
        assert [embedding.get_text_embedding_batch([TEXT])[0], embedding.get_query_embedding(query)] == first
        assert asyncio.run(embedding.aget_text_embedding_batch([TEXT])) == first[:1]
        assert (store.writes, store.hits) == (writes, hits + 3)

    def test_pipeline_cache_sees_dimensions(self) -> None:
        """`IngestionPipeline` must not serve long vectors from its cache when short ones are asked for."""
        node = TextNode(text=TEXT)
        full = get_transformation_hash([node], self.make())
        assert get_transformation_hash([node], self.make_smaller()) != full

    def test_pipeline_cache_is_stable(self) -> None:
        """Two equal embeddings have one key, or no cache is ever hit."""
        node = TextNode(text=TEXT)
        assert len({get_transformation_hash([node], self.make(embed_batch_size=7)) for _ in range(2)}) == 1

    # Copies and arguments

    def test_dict_and_json_round_trip(self) -> None:
        """Indices and pipelines are stored as dictionaries; what comes back embeds the same."""
        embedding = self.make(embed_batch_size=7, **self.other_instruction)
        for twin in (
            type(embedding).from_dict(embedding.to_dict()),
            type(embedding).from_json(embedding.to_json()),
        ):
            assert twin.to_dict() == embedding.to_dict()
            assert twin.embed_batch_size == 7
            assert self.same(twin.get_query_embedding(TEXT), embedding.get_query_embedding(TEXT))

    def test_pickle_and_deepcopy(self) -> None:
        """Pipelines with workers send their transformations to other processes, also after first use."""
        embedding = self.make(embed_batch_size=7, **self.other_instruction)
        vector = embedding.get_query_embedding(TEXT)
        for twin in (pickle.loads(pickle.dumps(embedding)), copy.deepcopy(embedding)):  # noqa: S301
            assert twin.to_dict() == embedding.to_dict()
            assert self.same(twin.get_query_embedding(TEXT), vector)

    def test_unknown_arguments_are_refused(self) -> None:
        """A misspelt argument must not pass silently."""
        with pytest.raises((TypeError, ValueError)):
            self.make(no_such_argument=1)

    def test_num_workers(self) -> None:
        """The documented `num_workers` is accepted, and the order stays."""
        embedding = self.make(num_workers=2, embed_batch_size=2)
        found = asyncio.run(embedding.aget_text_embedding_batch(list(TEXTS)))
        assert self.same_all(found, embedding.get_text_embedding_batch(list(TEXTS)))

    def test_rate_limiter(self) -> None:
        """The documented `rate_limiter` is asked once for each request."""
        limiter = probes.CountingLimiter()
        embedding = self.make(rate_limiter=limiter, embed_batch_size=4)
        embedding.get_query_embedding(TEXT)
        embedding.get_text_embedding_batch(list(TEXTS))
        asyncio.run(embedding.aget_text_embedding_batch(list(TEXTS)))
        assert limiter.asked == 1 + 2 + 2

    # Async

    def test_async_equals_sync(self) -> None:
        """All four async calls give what the sync ones give."""
        embedding = self.make(embed_batch_size=3)

        async def everything() -> list[list[float]]:
            return [
                await embedding.aget_query_embedding(TEXT),
                await embedding.aget_text_embedding(TEXT),
                *await embedding.aget_text_embedding_batch(list(TEXTS)),
                (await embedding.acall([TextNode(text=TEXT)]))[0].get_embedding(),
            ]

        document = embedding.get_text_embedding(TEXT)
        batch = embedding.get_text_embedding_batch(list(TEXTS))
        wanted = [embedding.get_query_embedding(TEXT), document, *batch, document]
        assert self.same_all(asyncio.run(everything()), wanted)

    def test_async_leaves_the_event_loop_free(self) -> None:
        """The framework's own default blocks: a server would answer nobody while it embeds."""
        embedding = self.make()
        long = " ".join(LONG_TEXTS)
        embedding.get_text_embedding(TEXT)  # loads
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: embedding.aget_query_embedding(long),
            lambda: embedding.aget_text_embedding(long),
            lambda: embedding.aget_text_embedding_batch(LONG_TEXTS),
        ]
        for call in calls:
            assert probes.loop_turns_during(call) > 10, "the loop stood still"

    def test_async_batches_do_not_crowd_the_model(self) -> None:
        """The framework starts all batches at once; one local model must not run them in as many threads.

        Up to three may wait, so that the model can compute them together. Override it where the model runs elsewhere.
        """
        embedding = self.make(embed_batch_size=1)
        embedding.get_text_embedding(TEXT)  # loads
        assert probes.threads_during(lambda: embedding.aget_text_embedding_batch(LONG_TEXTS)) <= 4

    def test_async_in_other_event_loops(self) -> None:
        """Notebooks and the framework's own sync wrappers open a loop for each call, and servers one per thread."""
        embedding = self.make(embed_batch_size=2)
        wanted = embedding.get_text_embedding_batch(list(TEXTS))
        for _ in range(2):
            assert self.same_all(asyncio.run(embedding.aget_text_embedding_batch(list(TEXTS))), wanted)
        for found in probes.run_in_threads(lambda: embedding.aget_text_embedding_batch(list(TEXTS)), 3):
            assert self.same_all(found, wanted)

    def test_a_cancelled_call_blocks_nobody(self) -> None:
        """A client that hangs up takes no other request with it."""
        embedding = self.make()
        wanted = embedding.get_query_embedding(TEXT)
        found = asyncio.run(probes.cancel_one_of_three(lambda: embedding.aget_query_embedding(TEXT)))
        assert self.same_all(found, [wanted, wanted])

    # Events

    def test_events_once_per_request(self) -> None:
        """One start and one end for each request, in the instrumentation and in callbacks, or traces lie."""
        log = probes.CallbackLog()
        embedding = self.make(embed_batch_size=4, callback_manager=log.manager())
        with probes.recorded_events() as events:
            embedding.get_query_embedding(TEXT)
            embedding.get_text_embedding(TEXT)
            embedding.get_text_embedding_batch(list(TEXTS))  # in two
            asyncio.run(embedding.aget_query_embedding(TEXT))
            asyncio.run(embedding.aget_text_embedding(TEXT))
            asyncio.run(embedding.aget_text_embedding_batch(list(TEXTS)))
        assert probes.count_kinds(events, EmbeddingStartEvent, EmbeddingEndEvent) == [8, 8]
        assert log.started[CBEventType.EMBEDDING] == log.ended[CBEventType.EMBEDDING] == 8
