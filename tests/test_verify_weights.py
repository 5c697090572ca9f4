"""`make verify-weights`: what agrees, what differs, and what it says without weights."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest
from conftest import MINI

from qwen3_core import LocalEmbedder, LocalReranker

FAQ = Path(__file__).parents[2] / "shared" / "data" / "milvus_docs" / "en" / "faq"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parent.parent / "benchmarks" / "verify_weights.py"
    spec = importlib.util.spec_from_file_location("verify_weights", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["verify_weights"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_without_weights_nothing_is_checked(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main([]) == 0
    assert "nothing was checked: name the weights with MODELS=hub" in capsys.readouterr().out


def test_weights_that_are_not_there(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--models", str(tmp_path)]) == 1
    assert "holds neither Qwen3-Embedding-0.6B nor embedding" in capsys.readouterr().out


def test_other_weights_differ(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.md").write_text("Where does Milvus store data?\n\nIn object storage.\n\n# Cats\n\nThey sleep.")
    assert script.main(["--models", str(MINI), "--faq", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 15
    assert lines[0].startswith("DIFFERS card, 'What is the capital of China?' and 'The capital of China is ': ")
    assert lines[5].startswith("DIFFERS planets, Mars: published 0.9992, here 0.9")
    assert lines[8].startswith("DIFFERS tutorial by vector, 1. 'Where does Milvus store data?': published 0.8307")
    assert "(+-0.001)" in lines[8]
    assert "published 0.7303, here 'Cats" in lines[9]
    assert lines[-1] == "14 of 14 values differ"


def test_a_folder_without_the_faq(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--models", str(MINI), "--faq", str(tmp_path)]) == 1
    assert "holds no Markdown files: name the folder site/en/faq" in capsys.readouterr().out


def test_what_agrees(script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    embedder, reranker = LocalEmbedder("mini", dtype="float32"), LocalReranker("mini", dtype="float32")
    monkeypatch.setattr(script, "CARD_COSINES", tuple(
        tuple(script.cosine(embedder.embed_query(query), document)
              for document in embedder.embed_documents(script.CARD_DOCUMENTS))
        for query in script.CARD_QUERIES
    ))  # fmt: skip
    texts = [text for text, _ in script.PLANETS]
    scores = reranker.score(script.PLANET_QUERY, texts)
    odds = [(text, math.log(score / (1 - score))) for text, score in zip(texts, scores, strict=True)]
    monkeypatch.setattr(script, "PLANETS", odds)
    assert script.main(["--models", str(MINI)]) == 0
    out = capsys.readouterr().out
    assert "not checked: the tutorial's scores, which need FAQ=" in out
    assert out.endswith("all 8 values agree\n")


@pytest.mark.skipif(not FAQ.exists(), reason="the FAQ of Milvus is not here")
def test_the_tutorials_chunks_are_in_the_faq(script: ModuleType) -> None:
    chunks = [chunk.strip() for path in FAQ.glob("*.md") for chunk in path.read_text("utf-8").split("# ")]
    assert len(chunks) == 72
    for heading, _ in (*script.FAQ_COSINES, *script.FAQ_SCORES):
        assert sum(chunk.startswith(heading) for chunk in chunks) == 1, heading


def test_the_mean_of_a_benchmark(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mteb")
    from mteb_tasks import MadeRetrieval, MadeSts

    from qwen3_core.evaluation.mteb import MtebEmbedder

    model = MtebEmbedder.of(LocalEmbedder("mini"))
    (check,) = script.benchmark(model, [MadeRetrieval(), MadeSts()], "made", 90.0, tmp_path)
    assert 50 < check.found <= 100
    assert not check.agrees or abs(check.found - 90) <= 0.5
    assert "MadeRetrieval: 100.00" in capsys.readouterr().out
    (again,) = script.benchmark(model, [MadeRetrieval(), MadeSts()], "made", check.found, tmp_path)
    assert again.agrees
