"""The mini models in all ways: vectors and scores, for `precision`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoModelForCausalLM

from qwen3_core import LocalEmbedder, LocalReranker, checkpoint
from qwen3_core.prompts import (
    DEFAULT_INSTRUCTION,
    END_OF_TEXT,
    RERANK_PREFIX,
    RERANK_SUFFIX,
    format_query,
    format_rerank_body,
)

OURS16, THEIRS16 = "bfloat16", "bfloat16, transformers"

Ids = Sequence[Sequence[int]]
Orders = Sequence[np.ndarray]  # one row of scores for each query


def unit(rows: Any) -> np.ndarray:
    """Return float64 vectors of unit length."""
    found = np.asarray(rows, dtype=np.float64)
    unit_rows: np.ndarray = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit_rows


def last_states(model: Any, sequences: Ids) -> list[list[float]]:
    """Return what transformers' own model gives at the last token, one sequence at a time."""
    with torch.inference_mode():
        return [model(torch.tensor([ids])).last_hidden_state[0, -1].float().tolist() for ids in sequences]


def mini_embeddings(queries: list[str], passages: list[str]) -> dict[str, np.ndarray]:
    """Embed with the mini model in all ways."""
    everything = [*map(format_query, queries), *passages]
    folder = checkpoint.resolve("mini", "embedding")
    tokenizer = checkpoint.load_tokenizer(folder)
    end = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    ids = [[*tokenizer(text, add_special_tokens=False).input_ids, end] for text in everything]
    theirs = AutoModel.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa")
    ours = {
        "float32": LocalEmbedder("mini", dtype="float32"),
        OURS16: LocalEmbedder("mini", dtype="bfloat16"),
        "int8": LocalEmbedder("mini", quantization="int8"),
    }
    found = {name: unit(each.embed_batch(everything)) for name, each in ours.items()}
    return {"float32": found.pop("float32"), THEIRS16: unit(last_states(theirs, ids)), **found}


def scores(reranker: LocalReranker, queries: list[str], candidates: list[list[str]]) -> Orders:
    """Score each query's candidates."""
    return [np.array(reranker.score(query, some)) for query, some in zip(queries, candidates, strict=True)]


@torch.inference_mode()
def their_scores(queries: list[str], candidates: list[list[str]]) -> Orders:
    """Score in bfloat16 as the model card does, one prompt at a time."""
    folder = checkpoint.resolve("mini", "reranker")
    tokenizer = checkpoint.load_tokenizer(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa")
    both = tokenizer.convert_tokens_to_ids(["no", "yes"])

    def score(query: str, document: str) -> float:
        text = RERANK_PREFIX + format_rerank_body(query, document, DEFAULT_INSTRUCTION) + RERANK_SUFFIX
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        return float(model(ids, logits_to_keep=1).logits[0, -1, both].softmax(-1)[1])

    return [np.array([score(query, each) for each in some]) for query, some in zip(queries, candidates, strict=True)]


def mini_scores(queries: list[str], candidates: list[list[str]]) -> dict[str, Orders]:
    """Score with the mini reranker in all ways."""
    return {
        "float32": scores(LocalReranker("mini", dtype="float32"), queries, candidates),
        THEIRS16: their_scores(queries, candidates),
        OURS16: scores(LocalReranker("mini", dtype="bfloat16"), queries, candidates),
        "int8": scores(LocalReranker("mini", quantization="int8"), queries, candidates),
    }
