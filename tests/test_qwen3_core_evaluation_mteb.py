"""`mteb` runs our embedders and rerankers, on tasks made here, without a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

mteb = pytest.importorskip("mteb")

from mteb.models.models_protocols import CrossEncoderProtocol, EncoderProtocol  # noqa: E402
from mteb.types import PromptType  # noqa: E402
from mteb_tasks import PROMPT, MadeReranking, MadeRetrieval, MadeSts  # noqa: E402

from qwen3_core import LocalEmbedder, LocalReranker  # noqa: E402
from qwen3_core.evaluation.mteb import RETRIEVAL, MtebEmbedder, MtebReranker, task_instruction  # noqa: E402
from qwen3_core.instructions import SIMILARITY, TRANSLATION  # noqa: E402

# A dependency's own, in Python 3.12 and later: threads and forks.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def scores(model: Any, task: Any, tmp_path: Path) -> dict[str, Any]:
    kept = mteb.ResultCache(cache_path=tmp_path)
    result = mteb.evaluate(model, task, cache=kept, show_progress_bar=False)
    return result.task_results[0].scores["test"][0]  # type: ignore[no-any-return]


def embedder() -> LocalEmbedder:
    return LocalEmbedder("mini")


def test_mteb_knows_the_protocols() -> None:
    assert isinstance(MtebEmbedder("mini"), EncoderProtocol)
    assert isinstance(MtebReranker("mini"), CrossEncoderProtocol)


def test_a_retrieval_task(tmp_path: Path) -> None:
    model = MtebEmbedder.of(embedder())
    assert scores(model, MadeRetrieval(), tmp_path)["ndcg_at_10"] == 1.0
    assert model.mteb_model_meta.name == "local/mini"
    assert list(tmp_path.rglob("MadeRetrieval.json"))


def test_a_reranking_task(tmp_path: Path) -> None:
    model = MtebReranker.of(LocalReranker("mini"), name="me/mini", revision="7")
    assert scores(model, MadeReranking(), tmp_path)["map_at_1000"] == 1.0
    assert (model.mteb_model_meta.name, model.mteb_model_meta.revision) == ("me/mini", "7")


def test_a_similarity_task(tmp_path: Path) -> None:
    assert scores(MtebEmbedder("mini"), MadeSts(), tmp_path)["cosine_spearman"] > 0.4


def batches(*texts: Sequence[str]) -> Any:
    return [{"text": list(batch)} for batch in texts]


def test_vectors_are_the_embedders_own() -> None:
    ours, model = embedder(), MtebEmbedder.of(embedder(), instructions={"MadeRetrieval": "Find it"})
    of_task: dict[str, Any] = {"task_metadata": MadeRetrieval.metadata, "hf_split": "test", "hf_subset": "default"}
    queries = model.encode(batches(["one", "two"], ["three"]), prompt_type=PromptType.query, **of_task)
    expected = [ours.embed_query(text, instruction="Find it") for text in ("one", "two", "three")]
    np.testing.assert_allclose(queries, expected, atol=1e-5)
    documents = model.encode(batches(["one", ""]), prompt_type=PromptType.document, batch_size=1, **of_task)
    np.testing.assert_allclose(documents, ours.embed_documents(["one", ""]), atol=1e-5)
    assert documents.dtype == np.float32
    np.testing.assert_allclose(model.similarity(queries, documents), queries @ documents.T, atol=1e-5)
    np.testing.assert_allclose(model.similarity_pairwise(queries, queries), np.ones(3), atol=1e-5)
    assert tuple(model.similarity(queries[0], documents[0]).shape) == (1, 1)


def test_scores_are_the_rerankers_own() -> None:
    ours, model = LocalReranker("mini"), MtebReranker.of(LocalReranker("mini"))
    of_task: dict[str, Any] = {"task_metadata": MadeReranking.metadata, "hf_split": "test", "hf_subset": "default"}
    got = model.predict(batches(["a", "a"], ["b"]), batches(["x"], ["y", "x"]), **of_task)
    np.testing.assert_allclose(got, [*ours.score("a", ["x", "y"]), *ours.score("b", ["x"])], atol=1e-5)
    told = MtebReranker.of(ours, instructions={"MadeReranking": PROMPT})
    got = told.predict(batches(["a"]), batches(["x"]), **of_task)
    np.testing.assert_allclose(got, ours.score("a", ["x"], instruction=PROMPT), atol=1e-5)


def test_instructions_are_found_as_the_authors_found_them() -> None:
    def task(kind: str, prompt: Any = None) -> Any:
        return SimpleNamespace(name="T", type=kind, prompt=prompt)

    both = {"T": {"query": "Refute it", "passage": "Refute that"}}
    assert task_instruction(task("STS", "mine"), both) == SIMILARITY
    assert task_instruction(task("PairClassification")) == SIMILARITY
    assert task_instruction(task("BitextMining")) == TRANSLATION
    assert task_instruction(task("Retrieval", {"query": "mine"})) == "mine"
    assert task_instruction(task("Retrieval", {"query": "mine"}), {"T": "theirs"}) == "theirs"
    assert task_instruction(task("Retrieval", {"query": "mine"}), {"T": "theirs"}, document=True) == ""
    assert task_instruction(task("Retrieval"), both) == "Refute it"
    assert task_instruction(task("Retrieval"), both, document=True) == "Refute that"
    assert task_instruction(task("InstructionRetrieval")) == task_instruction(task("Reranking")) == RETRIEVAL
    assert task_instruction(task("Classification", "Classify it")) == "Classify it"
    assert task_instruction(task("Clustering")) == ""
