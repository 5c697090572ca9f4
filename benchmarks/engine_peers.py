"""What users would run Qwen3-Embedding and Qwen3-Reranker with instead of this package, for the engine benchmark.

Each peer is made from the folder that `engine_checkpoint.checkpoint` returns and does the same work: a unit vector for
a document, the probability of "yes" for a pair. All take as many threads as torch does.

    python benchmarks/engine_peers.py --check              # does each do the same work?
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from engine_checkpoint import CACHE, checkpoint, gguf
from engine_graphs import Batched, OnnxRuntime, OpenVino, onnx_fp32, onnx_int8, openvino_graph
from engine_llama import LlamaCpp

from qwen3_core.prompts import DEFAULT_INSTRUCTION, RERANK_PREFIX, RERANK_SUFFIX, format_rerank_body

MAX_LENGTH = 8192  # model card

QUERY = "What is the capital of China?"
TEXTS = [
    "The capital of China is Beijing.",
    "Gravity is a force that attracts two bodies towards each other. " * 4,
    "Data is stored in Milvus as segments, which are written to object storage once they are sealed. " * 3,
    "一条鱼在水里游泳。",
    "def add(a, b):\n    return a + b",
]


class Peer(Protocol):
    """What the columns of the benchmark have in common."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return a unit vector for each text."""

    def rerank(self, query: str, documents: Sequence[str]) -> list[float]:
        """Return the probability of "yes" for each document."""


class Loop:
    """The code of the model cards, with transformers in bfloat16.

    Embedding: left padding, the hidden state of the last position, normalised. Reranking: all pairs in one padded
    batch, the logits of the whole vocabulary at every position, of which the last one's "yes" and "no" are taken.

    Args:
        folder: The checkpoint.
        size: Texts that are embedded at once. Milvus' tutorial embeds one at a time (`encode([text])`); the model card
            puts all of its few texts into one batch, which nobody could with a thousand.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._folder, self._size = folder, size

    @functools.cached_property
    def _embedding(self) -> tuple[Any, Any]:
        return self._load("AutoModel", "embedding")

    @functools.cached_property
    def _reranker(self) -> tuple[Any, Any]:
        return self._load("AutoModelForCausalLM", "reranker")

    def _load(self, kind: str, name: str) -> tuple[Any, Any]:
        import torch
        import transformers

        model = getattr(transformers, kind).from_pretrained(self._folder / name, dtype=torch.bfloat16).eval()
        return transformers.AutoTokenizer.from_pretrained(self._folder / name, padding_side="left"), model

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return a unit vector for each text."""
        parts = [self._embed(list(texts[first : first + self._size])) for first in range(0, len(texts), self._size)]
        return np.concatenate(parts)

    def _embed(self, texts: list[str]) -> np.ndarray:
        import torch

        tokenizer, model = self._embedding
        with torch.no_grad():
            inputs = tokenizer(texts, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
            hidden = model(**inputs).last_hidden_state[:, -1]
            vectors: np.ndarray = torch.nn.functional.normalize(hidden, dim=1).float().numpy()
        return vectors

    def rerank(self, query: str, documents: Sequence[str]) -> list[float]:
        """Return the probability of "yes" for each document."""
        if self._size > 1:
            msg = "the same code as the tutorial's loop"
            raise NotImplementedError(msg)
        import torch

        tokenizer, model = self._reranker
        prefix, suffix = (tokenizer.encode(text, add_special_tokens=False) for text in (RERANK_PREFIX, RERANK_SUFFIX))
        room = MAX_LENGTH - len(prefix) - len(suffix)
        bodies = [format_rerank_body(query, document, DEFAULT_INSTRUCTION) for document in documents]
        ids = tokenizer(bodies, padding=False, truncation=True, return_attention_mask=False, max_length=room).input_ids
        with torch.no_grad():
            inputs = tokenizer.pad({"input_ids": [prefix + each + suffix for each in ids]}, return_tensors="pt")
            logits = model(**inputs).logits[:, -1, :]
            both = torch.stack([logits[:, tokenizer.convert_tokens_to_ids(word)] for word in ("no", "yes")], dim=1)
            scores: list[float] = torch.nn.functional.log_softmax(both, dim=1)[:, 1].exp().tolist()
        return scores


class SentenceTransformers(Batched):
    """sentence-transformers in bfloat16; `LogitScore` has the logits of the last position only computed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @functools.cached_property
    def _embedding(self) -> Any:
        import torch
        from sentence_transformers import SentenceTransformer

        kwargs = {"dtype": torch.bfloat16}
        return SentenceTransformer(str(self._folder / "embedding"), device="cpu", model_kwargs=kwargs)

    @functools.cached_property
    def _reranker(self) -> Any:
        import torch
        from sentence_transformers import CrossEncoder

        kwargs = {"dtype": torch.bfloat16}
        return CrossEncoder(str(self._folder / "reranker"), device="cpu", model_kwargs=kwargs)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return a unit vector for each text."""
        # Rows that are not float32 come normalised to their own precision only.
        found = self._embedding.encode(list(texts), batch_size=self.embed_size, convert_to_tensor=True)
        vectors: np.ndarray = found.float().numpy()
        return vectors

    def rerank(self, query: str, documents: Sequence[str]) -> list[float]:
        """Return the probability of "yes" for each document."""
        import torch

        pairs = [(query, document) for document in documents]
        scores = self._reranker.predict(pairs, batch_size=self.rerank_size, activation_fn=torch.nn.Sigmoid())
        found: list[float] = scores.tolist()
        return found


PEERS: dict[str, Callable[[Path], Peer]] = {
    "tutorial's loop": functools.partial(Loop, size=1),
    "model card's loop": functools.partial(Loop, size=10),
    "sentence-transformers": SentenceTransformers,
    "llama.cpp Q8_0": functools.partial(LlamaCpp, kind="Q8_0"),
    "llama.cpp BF16": functools.partial(LlamaCpp, kind="BF16"),
    "ONNX Runtime fp32": functools.partial(OnnxRuntime, dtype="fp32"),
    "ONNX Runtime int8": functools.partial(OnnxRuntime, dtype="int8"),
    "OpenVINO bf16": OpenVino,
}


def reference(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return what this package computes in float32 for the five texts: vectors and log-odds."""
    from qwen3_core import LocalEmbedder, LocalReranker

    vectors = LocalEmbedder(str(folder / "embedding"), dtype="float32").embed_documents(TEXTS)
    scores = LocalReranker(str(folder / "reranker"), dtype="float32").score(QUERY, TEXTS)
    return np.array(vectors), log_odds(scores)


def log_odds(scores: Sequence[float]) -> np.ndarray:
    """Return the logits of probabilities."""
    values = np.array(scores)
    odds: np.ndarray = np.log(values / (1 - values))
    return odds


def check(folder: Path, name: str, vectors: np.ndarray, logits: np.ndarray, *, tune: bool) -> str:
    """Return how near a peer is to the reference and how long ten texts take it."""
    peer = PEERS[name](folder)
    found = peer.embed(TEXTS)
    cosine = float((found * vectors).sum(axis=1).min())
    off = float(np.abs(log_odds(peer.rerank(QUERY, TEXTS)) - logits).max())
    ten = [f"{number}: {TEXTS[2]}{TEXTS[1]}" for number in range(10)]
    sizes = [peer.tune(kind, ten) for kind in ("embed", "rerank")] if tune and isinstance(peer, Batched) else []
    started = time.perf_counter()
    peer.embed(ten)
    embedded = time.perf_counter()
    peer.rerank(QUERY, ten)
    reranked = time.perf_counter()
    assert found.shape == vectors.shape, found.shape
    verdict = "same" if cosine > 0.99 and off < 0.1 else "DIFFERENT"
    return (
        f"{name:22} {verdict}: cosine {cosine:.5f}, logits off by {off:.3f} of {logits.std():.3f}; ten texts "
        f"{embedded - started:.2f} s, ten pairs {reranked - embedded:.2f} s {sizes or ''}"
    )


def prepare(folder: Path, names: Sequence[str]) -> None:
    """Write what peers read, before any clock starts; what cannot be written is for the peer to report."""
    files: dict[str, Callable[[Path], object]] = {
        "llama.cpp Q8_0": functools.partial(gguf, kind="Q8_0"),
        "llama.cpp BF16": functools.partial(gguf, kind="BF16"),
        "ONNX Runtime fp32": onnx_fp32,
        "ONNX Runtime int8": onnx_int8,
        "OpenVINO bf16": openvino_graph,
    }
    for name in set(names) & files.keys():
        with contextlib.suppress(Exception), child() as process:
            process.submit(files[name], folder).result()


def main() -> None:
    """Check peers, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--check", nargs="*", metavar="PEER", help=f"all, or some of: {', '.join(PEERS)}")
    parser.add_argument("--tune", action="store_true", help="with the best batch sizes instead of 8")
    arguments = parser.parse_args()
    folder = checkpoint(arguments.cache)
    with child() as process:
        vectors, logits = process.submit(reference, folder).result()
    print(f"between texts: cosine up to {np.triu(vectors @ vectors.T, 1).max():.3f}", flush=True)
    for name in arguments.check or PEERS:
        with child() as process:
            print(process.submit(check, folder, name, vectors, logits, tune=arguments.tune).result(), flush=True)


def child() -> ProcessPoolExecutor:
    """Return a process: nothing that one peer has loaded or set is there for the next."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


if __name__ == "__main__":
    main()
