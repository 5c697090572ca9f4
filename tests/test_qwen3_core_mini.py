"""The mini checkpoints: genuine layout, small, usable by other libraries, and better than chance."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import reference
import torch
from conftest import MINI

from qwen3_core import LocalEmbedder, LocalReranker
from qwen3_core.prompts import DEFAULT_INSTRUCTION, format_query

PASSAGES = [
    "To delete a table, run DROP TABLE followed by its name.",
    "The server writes log files to the directory named in the configuration.",
    "An index makes a query on a large table faster at the price of slower writes.",
    "Install the package with pip and import it in your program.",
    "A thread is stopped by setting an event that it checks regularly.",
    "Passwords are stored as salted hashes and never as plain text.",
]
QUESTIONS = [
    "how do I remove a table",
    "where do the logs go",
    "why is my query on a large table slow",
    "how to install the package",
    "how can I stop a thread",
    "are passwords kept in plain text",
]


@pytest.fixture(scope="module")
def embedder() -> LocalEmbedder:
    return LocalEmbedder("mini", dtype="float32")


@pytest.fixture(scope="module")
def reranker() -> LocalReranker:
    return LocalReranker("mini", dtype="float32")


@pytest.mark.parametrize("kind", ["embedding", "reranker"])
def test_small_and_described(kind: str) -> None:
    folder = MINI / kind
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) <= 12_000_000
    card = (folder / "README.md").read_text(encoding="utf-8").lower()
    for word in ("licen", "apache-2.0", "not for production", "recall@3", "limits"):
        assert word in card, word
    assert json.loads((folder / "config.json").read_text())["model_type"] == "qwen3"


@pytest.mark.parametrize("kind", ["embedding", "reranker"])
def test_the_tokenizer_has_qwen3s_control_tokens(kind: str) -> None:
    from test_qwen3_core_tokens import control_tokens

    state = json.loads((MINI / kind / "tokenizer.json").read_text(encoding="utf-8"))
    assert [token["content"] for token in state["added_tokens"]] == control_tokens()
    ids = [token["id"] for token in state["added_tokens"]]
    assert ids == list(range(len(state["model"]["vocab"]), len(state["model"]["vocab"]) + 26))


def test_embedding_equals_the_official_recipe(embedder: LocalEmbedder) -> None:
    ours = torch.tensor(embedder.embed_documents([*PASSAGES, ""]))
    expected = reference.embed(MINI / "embedding", [*PASSAGES, ""])
    assert torch.cosine_similarity(ours, expected).min() >= 0.99999


def test_scores_equal_the_official_recipe(reranker: LocalReranker) -> None:
    expected = reference.score(MINI / "reranker", QUESTIONS[0], PASSAGES, DEFAULT_INSTRUCTION)
    assert reranker.score(QUESTIONS[0], PASSAGES) == pytest.approx(expected, abs=1e-4)


def test_float32_by_default(embedder: LocalEmbedder, reranker: LocalReranker) -> None:
    assert LocalEmbedder("mini").embed_documents(PASSAGES) == embedder.embed_documents(PASSAGES)
    assert LocalReranker("mini").score(QUESTIONS[0], PASSAGES) == reranker.score(QUESTIONS[0], PASSAGES)


def test_sentence_transformers_gives_the_same_vectors(embedder: LocalEmbedder) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(MINI / "embedding"), device="cpu", model_kwargs={"dtype": torch.float32})
    theirs = model.encode([format_query(QUESTIONS[0]), *PASSAGES], convert_to_tensor=True)
    ours = torch.tensor([embedder.embed_query(QUESTIONS[0]), *embedder.embed_documents(PASSAGES)])
    assert torch.cosine_similarity(theirs.cpu(), ours).min() >= 0.99999


def test_sentence_transformers_gives_the_same_scores(reranker: LocalReranker) -> None:
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(MINI / "reranker"), device="cpu", model_kwargs={"dtype": torch.float32})
    logits = model.predict([(QUESTIONS[0], passage) for passage in PASSAGES], activation_fn=torch.nn.Identity())
    assert torch.tensor(logits).sigmoid().tolist() == pytest.approx(reranker.score(QUESTIONS[0], PASSAGES), abs=1e-3)


def test_the_first_publication_had_no_modules(reranker: LocalReranker, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(MINI / "reranker", tmp_path / "first")
    for name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (tmp_path / "first" / name).unlink(missing_ok=True)
    first = LocalReranker(str(tmp_path / "first"), dtype="float32")
    assert first.score(QUESTIONS[0], PASSAGES) == reranker.score(QUESTIONS[0], PASSAGES)


@pytest.mark.parametrize("dimensions", [None, 128, 64])
def test_finds_what_was_asked_for(dimensions: int | None) -> None:
    embedder = LocalEmbedder("mini", dimensions=dimensions)
    similarity = (
        torch.tensor([embedder.embed_query(question) for question in QUESTIONS])
        @ torch.tensor(embedder.embed_documents(PASSAGES)).T
    )
    found = (similarity.argmax(dim=1) == torch.arange(len(QUESTIONS))).sum()
    assert found >= 5, "by chance it would be 1 of 6"


def test_reranks_what_was_asked_for_to_the_top(reranker: LocalReranker) -> None:
    best = [max(range(6), key=reranker.score(question, PASSAGES).__getitem__) for question in QUESTIONS]
    assert sum(place == number for number, place in enumerate(best)) >= 5, "by chance it would be 1 of 6"
