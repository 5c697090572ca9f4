"""The models that `qwen3-rag evaluate` compares systems with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_qwen3 import Qwen3Embeddings, Qwen3Rerank, compare_retrieval
from qwen3_core.evaluation.dataset import Dataset
from qwen3_core.evaluation.systems import Result


def compare(
    dataset: Dataset,
    embedding: Mapping[str, Any] | None,
    reranker: Mapping[str, Any] | None,
    *,
    instruction: str,
    **options: Any,
) -> list[Result]:
    """Make the models from their arguments, None where no system needs one, and compare what is asked for.

    Args:
        dataset: What the systems run on.
        embedding: The arguments of the embedding.
        reranker: The arguments of the reranker.
        instruction: What the queries are for, for both models.
        options: What else `compare_retrieval` takes.
    """
    return compare_retrieval(
        dataset,
        None if embedding is None else Qwen3Embeddings(**embedding, instruction=instruction),
        None if reranker is None else Qwen3Rerank(**reranker, instruction=instruction),
        **options,
    )
