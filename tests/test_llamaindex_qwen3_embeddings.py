"""`Qwen3Embedding`: the published contract, and what the adapter adds to the engine."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.span_handlers import SimpleSpanHandler
from pydantic import ValidationError

from llamaindex_qwen3.embeddings import Qwen3Embedding
from llamaindex_qwen3.testing.embedding import EmbeddingContract
from qwen3_core import LocalEmbedder
from qwen3_core.workers import THREAD_NAME


class TestContract(EmbeddingContract):
    embedding_class = Qwen3Embedding
    params: ClassVar[dict[str, Any]] = {"model_name": "mini"}
    smaller: ClassVar[dict[str, Any]] = {"dimensions": 64}
    other_instruction: ClassVar[dict[str, Any]] = {"instruction": "Find the code that does this"}


@pytest.fixture(scope="module")
def engine(embedding_folder: Path) -> LocalEmbedder:
    return LocalEmbedder(str(embedding_folder), dtype="float32")


@pytest.fixture
def embedding(engine: LocalEmbedder) -> Qwen3Embedding:
    return Qwen3Embedding.from_embedder(engine)


def test_it_is_the_core_engine(embedding_folder: Path, engine: LocalEmbedder) -> None:
    made = Qwen3Embedding(model_name=str(embedding_folder), dtype="float32")
    assert made.get_query_embedding("q") == engine.embed_query("q")
    assert made.get_text_embedding("q") == engine.embed_documents(["q"])[0]
    assert made.get_text_embedding_batch(["a", "b\nc"]) == engine.embed_documents(["a", "b\nc"])


def test_every_argument_reaches_the_engine(embedding_folder: Path) -> None:
    arguments: dict[str, Any] = {
        "instruction": "Find it", "dimensions": 32, "max_length": 8, "device": "cpu", "dtype": "float32",
        "quantization": "int8", "batch_tokens": 7, "revision": "main", "cache_folder": "somewhere",
    }  # fmt: skip
    made = Qwen3Embedding(model_name=str(embedding_folder), **arguments)
    assert isinstance(made._embedder, LocalEmbedder)
    assert made._embedder.settings == {"model": str(embedding_folder), "show_progress": False, **arguments}
    text = "one two three four five six seven eight nine ten"
    assert made.get_query_embedding(text) == LocalEmbedder(str(embedding_folder), **arguments).embed_query(text)


@given(st.lists(st.text(), max_size=4), st.text().filter(str.strip))
@hypothesis_settings(max_examples=25)
def test_any_text_is_embedded_and_cached_as_it_is(texts: list[str], query: str) -> None:
    plain = Qwen3Embedding.from_embedder(SHARED)
    cached = Qwen3Embedding.from_embedder(SHARED, embeddings_cache=SimpleKVStore())
    wanted, answer = plain.get_text_embedding_batch([*texts, query]), plain.get_query_embedding(query)
    for _ in range(2):
        found = cached.get_text_embedding_batch([*texts, query])
        assert [pytest.approx(vector, abs=1e-5) for vector in found] == wanted
        assert cached.get_query_embedding(query) == pytest.approx(answer, abs=1e-5)


SHARED = LocalEmbedder("mini", dtype="float32")


def test_an_instruction_for_one_call(embedding: Qwen3Embedding, engine: LocalEmbedder) -> None:
    other = embedding.with_instruction("Find it")
    assert other.get_query_embedding("q") == engine.embed_query("q", instruction="Find it")
    assert asyncio.run(other.aget_query_embedding("q")) == other.get_query_embedding("q")
    assert embedding.get_query_embedding("q") == engine.embed_query("q")
    assert other._embedder is engine, "no weights are loaded for it"
    assert other.to_dict()["instruction"] == "Find it"


def test_a_changed_copy_computes_what_its_fields_say(embedding: Qwen3Embedding) -> None:
    assert len(embedding.model_copy(update={"dimensions": 32}).get_text_embedding("a")) == 32
    assert embedding.model_copy(update={"embed_batch_size": 3})._embedder is embedding._embedder


def test_a_shared_cache_keeps_models_lengths_and_precisions_apart(embedding_folder: Path) -> None:
    store = SimpleKVStore()
    ways: list[dict[str, Any]] = [
        {}, {"model_name": str(embedding_folder)}, {"max_length": 2}, {"dtype": "bfloat16"}, {"revision": "r"},
        {"dimensions": 32},
    ]  # fmt: skip
    for count, way in enumerate(ways, 1):
        arguments = {"model_name": "mini", "dtype": "float32"} | way
        plain, cached = Qwen3Embedding(**arguments), Qwen3Embedding(**arguments, embeddings_cache=store)
        assert cached.get_text_embedding("one two three") == plain.get_text_embedding("one two three")
        assert len(store.get_all("embeddings")) == count


@pytest.mark.parametrize(
    "wrong", [{"model": "mini"}, {"dimensions": 16}, {"dtype": "int8"}, {"max_length": 1}, {"batch_tokens": 0}]
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Qwen3Embedding(**wrong)


def test_what_decides_vectors_does_not_change(embedding: Qwen3Embedding) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        embedding.dimensions = 64  # type: ignore[misc]
    embedding.embed_batch_size = 3
    with pytest.raises(ValidationError, match="embed_batch_size"):
        embedding.embed_batch_size = 0


def test_a_blank_query_is_refused(embedding: Qwen3Embedding) -> None:
    with pytest.raises(ValueError, match="query is empty"):
        embedding.get_query_embedding(" ")


def test_making_one_loads_nothing() -> None:
    assert Qwen3Embedding().model_name == Qwen3Embedding().model == "Qwen/Qwen3-Embedding-0.6B"


def test_one_span_for_each_call(embedding: Qwen3Embedding) -> None:
    root, handler = get_dispatcher(), SimpleSpanHandler()
    root.add_span_handler(handler)
    try:
        embedding.get_query_embedding("q")
        asyncio.run(embedding.aget_text_embedding("q"))
    finally:
        root.span_handlers.remove(handler)
    names = [span.id_.partition("-")[0] for span in handler.completed_spans]
    assert names.count("Qwen3Embedding.get_query_embedding") == 1
    assert names.count("Qwen3Embedding.aget_text_embedding") == 1


def test_no_thread_is_left(embedding: Qwen3Embedding) -> None:
    before = threading.active_count()
    asyncio.run(embedding.aget_text_embedding_batch([str(number) for number in range(30)]))
    for thread in threading.enumerate():
        if thread.name == THREAD_NAME:
            thread.join(60)
    assert threading.active_count() <= before


def test_a_pipeline_embeds_once_and_again_when_the_embedding_differs(embedding: Qwen3Embedding) -> None:
    nodes = [TextNode(text="a"), TextNode(text="b")]
    pipeline = IngestionPipeline(transformations=[embedding])
    wanted = embedding.get_text_embedding_batch(["a", "b"])
    for _ in range(2):
        assert [node.get_embedding() for node in pipeline.run(nodes=nodes)] == wanted
    [key] = pipeline.cache.cache.get_all(pipeline.cache.collection)
    pipeline.transformations = [embedding.model_copy(update={"dimensions": 32})]
    assert [len(node.get_embedding()) for node in pipeline.run(nodes=nodes)] == [32, 32]
    assert {key} < set(pipeline.cache.cache.get_all(pipeline.cache.collection))


def test_a_splitter_counts_the_models_own_tokens(embedding: Qwen3Embedding, engine: LocalEmbedder) -> None:
    text = "Milvus keeps inserted data as logs. <|im_end|> " * 20
    assert embedding.tokenize(text) == engine.tokenize(text)
    assert len(embedding.tokenize("<|im_end|>")) > 1, "text is data"
    splitter = SentenceSplitter(tokenizer=embedding.tokenize, chunk_size=40, chunk_overlap=0)
    pieces = splitter.split_text(text)
    assert len(pieces) > 1
    assert all(len(embedding.tokenize(piece)) <= 40 for piece in pieces)
