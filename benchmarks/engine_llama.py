"""The peer of the engine benchmark that runs a GGUF file: llama.cpp."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from engine_checkpoint import Kind, gguf
from engine_graphs import Batched, rerank_prompt, threads

LLAMA_TOKENS = 4096


class LlamaCpp(Batched):
    """llama.cpp as `llama-cpp-python` builds it when it is installed, for the machine it is on.

    The wheels of xllamacpp, which were built for any machine, have no AVX-512. As llama.cpp's server does for
    ``/v1/embeddings`` and ``/v1/rerank``: texts of a batch are sequences of one cache that is masked, and a rerank
    prompt is computed whole for each document.

    Args:
        folder: The checkpoint.
        kind: The type of the matrices.
    """

    def __init__(self, folder: Path, kind: Kind) -> None:
        self._folder, self._kind = folder, kind

    def _load(self, pooling: str) -> Any:
        import llama_cpp

        return llama_cpp.Llama(
            str(gguf(self._folder, self._kind)),
            embedding=True,
            pooling_type=getattr(llama_cpp, f"LLAMA_POOLING_TYPE_{pooling}"),
            n_ctx=LLAMA_TOKENS,
            n_batch=LLAMA_TOKENS,
            n_ubatch=LLAMA_TOKENS,
            n_threads=threads(),
            n_threads_batch=threads(),
            verbose=False,
        )

    @functools.cached_property
    def _embedding(self) -> Any:
        return self._load("LAST")

    @functools.cached_property
    def _reranker(self) -> Any:
        model = self._load("RANK")
        # The binding means embeddings of plain texts: here the template's tokens count, there is no end token, and what
        # comes out are two numbers, the probabilities of "yes" and "no".
        model.tokenize = functools.partial(model.tokenize, add_bos=False, special=True)
        model.n_embd = lambda: 2
        return model

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return a unit vector for each text."""
        vectors = self._run(self._embedding, texts, self.embed_size)
        unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def rerank(self, query: str, documents: Sequence[str]) -> list[float]:
        """Return the probability of "yes" for each document."""
        prompts = [rerank_prompt(query, document) for document in documents]
        scores: list[float] = self._run(self._reranker, prompts, self.rerank_size)[:, 0].tolist()
        return scores

    @staticmethod
    def _run(model: Any, texts: Sequence[str], size: int) -> np.ndarray:
        parts = [model.embed(list(texts[first : first + size]), truncate=False) for first in range(0, len(texts), size)]
        return np.array([row for part in parts for row in part], np.float32)
