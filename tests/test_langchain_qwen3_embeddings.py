"""`Qwen3Embeddings`: langchain's own suites, and what the adapter adds to the engine."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from pydantic import ValidationError

from langchain_qwen3 import Qwen3Embeddings
from qwen3_core import LocalEmbedder


class TestUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[Qwen3Embeddings]:
        return Qwen3Embeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "mini"}


class TestIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[Qwen3Embeddings]:
        return Qwen3Embeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "mini"}


@pytest.fixture(scope="module")
def embeddings(embedding_folder: Path) -> Qwen3Embeddings:
    return Qwen3Embeddings(model=str(embedding_folder), dtype="float32")


def test_it_is_the_core_engine(embeddings: Qwen3Embeddings, embedding_folder: Path) -> None:
    engine = LocalEmbedder(str(embedding_folder), dtype="float32")
    assert embeddings.embed_query("q") == engine.embed_query("q")
    assert embeddings.embed_query("q", instruction="Find it") == engine.embed_query("q", instruction="Find it")
    assert embeddings.embed_documents(["a", "b\nc"]) == engine.embed_documents(["a", "b\nc"])


def test_every_argument_reaches_the_engine(embedding_folder: Path) -> None:
    made = Qwen3Embeddings(model=str(embedding_folder), instruction="Find it", dimensions=32, max_length=8)
    engine = LocalEmbedder(str(embedding_folder), instruction="Find it", dimensions=32, max_length=8)
    text = "one two three four five six seven eight nine ten"
    assert made.embed_query(text) == engine.embed_query(text)
    assert made.embed_documents([text]) == engine.embed_documents([text])


async def test_async_equals_sync(embeddings: Qwen3Embeddings) -> None:
    assert await embeddings.aembed_query("q") == embeddings.embed_query("q")
    assert await embeddings.aembed_documents(["a", "b"]) == embeddings.embed_documents(["a", "b"])


def test_the_texts_given_stay_as_they_are(embeddings: Qwen3Embeddings) -> None:
    texts = ["a\nb", "c"]
    embeddings.embed_documents(texts)
    assert texts == ["a\nb", "c"]


@pytest.mark.parametrize(
    "wrong", [{"modle": "mini"}, {"dimensions": 16}, {"dtype": "int8"}, {"max_length": 1}, {"trust_remote_code": True}]
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Qwen3Embeddings(**wrong)


def test_instances_do_not_change(embeddings: Qwen3Embeddings) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        embeddings.dimensions = 64  # type: ignore[misc]


def test_copies_and_pickles_work(embeddings: Qwen3Embeddings) -> None:
    vector = embeddings.embed_query("q")
    for twin in (copy.deepcopy(embeddings), pickle.loads(pickle.dumps(embeddings))):
        assert twin.model_dump() == embeddings.model_dump()
        assert twin.embed_query("q") == vector


def test_making_one_loads_nothing() -> None:
    assert Qwen3Embeddings().model == "Qwen/Qwen3-Embedding-0.6B"


def test_a_ready_engine_is_used_and_not_loaded_again() -> None:
    engine = LocalEmbedder("mini", instruction="Find the answer", dimensions=64)
    embeddings = Qwen3Embeddings.from_embedder(engine)
    assert embeddings.model_dump() == Qwen3Embeddings(**engine.settings).model_dump()
    assert embeddings._embedder is engine
    assert embeddings.embed_query("a question") == engine.embed_query("a question")


def test_a_changed_copy_is_changed_and_an_equal_copy_shares_the_weights() -> None:
    embeddings = Qwen3Embeddings(model="mini")
    assert len(embeddings.model_copy(update={"dimensions": 64}).embed_query("a question")) == 64
    assert embeddings.model_copy()._embedder is embeddings._embedder
    assert embeddings.model_copy(update={"instruction": "Find code"})._embedder is not embeddings._embedder
