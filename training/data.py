"""The training set in memory: token ids, teacher vectors and the development split."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from model import SEMANTIC
from teacher import VectorCache
from torch import Tensor
from torch.nn import functional
from transformers import AutoTokenizer, PreTrainedTokenizerBase

DOCUMENT_TOKENS = 110
QUERY_TOKENS = 48
DEV_PASSAGES = 8000


@dataclass
class Texts:
    """Texts with their token ids and their teacher vectors (after PCA)."""

    texts: list[str]
    ids: list[list[int]]
    vectors: Tensor


@dataclass
class DevSet:
    """Held-out headings as queries over held-out passages."""

    queries: list[str]
    gold: list[set[int]]
    query_vectors: Tensor
    passages: list[str]
    passage_vectors: Tensor


@dataclass
class TrainingSet:
    """Everything the training stages read."""

    tokenizer: PreTrainedTokenizerBase
    passages: Texts
    queries: Texts
    kinds: np.ndarray
    query_passage: np.ndarray  # row of each query's passage, -1 where that has no teacher vector
    dev: DevSet
    projection: Tensor


def read(path: Path) -> list[dict[str, Any]]:
    """Read a ``.jsonl.gz`` file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def principal_axes(vectors: np.ndarray) -> Tensor:
    """Return the leading axes of the teacher's space, not centred, so that cosines survive.

    Ordered by variance, the axes make every prefix of a student vector a good short vector.
    """
    sample = torch.from_numpy(vectors).float()
    _, axes = torch.linalg.eigh(sample.T @ sample)
    return axes.flip(1)[:, :SEMANTIC].contiguous()


def project(vectors: np.ndarray, axes: Tensor) -> Tensor:
    """Project teacher vectors and normalise them."""
    return functional.normalize(torch.from_numpy(vectors).float() @ axes, dim=-1)


def build(rows: list[str], vectors: Tensor, tokenizer: PreTrainedTokenizerBase, limit: int) -> Texts:
    """Tokenise texts, cut to ``limit`` ids."""
    ids = tokenizer(rows, add_special_tokens=False)["input_ids"]
    return Texts(rows, [row[:limit] for row in ids], vectors)


def dev_set(queries: list[dict[str, Any]], passages: list[dict[str, Any]], cache: VectorCache, axes: Tensor) -> DevSet:
    """Build the development set over the dev passages."""
    wanted = [row for row, p in enumerate(passages) if p["split"] == "dev" and cache.holds(p["text"])]
    wanted = wanted[:DEV_PASSAGES]
    place = {row: i for i, row in enumerate(wanted)}
    usable = [q for q in queries if cache.holds(q["text"]) and any(g in place for g in q["gold"])]
    texts = [passages[row]["text"] for row in wanted]
    return DevSet(
        queries=[q["text"] for q in usable],
        gold=[{place[g] for g in q["gold"] if g in place} for q in usable],
        query_vectors=project(cache.lookup([q["text"] for q in usable]), axes),
        passages=texts,
        passage_vectors=project(cache.lookup(texts), axes),
    )


def load(work: Path) -> TrainingSet:
    """Load everything that has a teacher vector.

    Args:
        work: The working folder of the earlier stages.

    Returns:
        The training set; texts that the teacher has not encoded are left out.
    """
    cache = VectorCache(work / "vectors")
    tokenizer = AutoTokenizer.from_pretrained(work / "tokenizer" / "reranker")
    passages, queries = read(work / "passages.jsonl.gz"), read(work / "queries.jsonl.gz")
    rows = [i for i, p in enumerate(passages) if p["split"] == "train" and cache.holds(p["text"])]
    place = {row: i for i, row in enumerate(rows)}
    texts = [passages[i]["text"] for i in rows]
    used = [q for q in queries if q["kind"] != "dev" and cache.holds(q["text"])]
    raw_passages, raw_queries = cache.lookup(texts), cache.lookup([q["text"] for q in used])
    axes = principal_axes(np.concatenate([raw_passages[::3], raw_queries[::3]]))
    limit = np.array([q["kind"] == "titled" for q in used])
    out = TrainingSet(
        tokenizer=tokenizer,
        passages=build(texts, project(raw_passages, axes), tokenizer, DOCUMENT_TOKENS),
        queries=build([q["text"] for q in used], project(raw_queries, axes), tokenizer, DOCUMENT_TOKENS),
        kinds=np.array([q["kind"] for q in used]),
        query_passage=np.array([place.get(q["passage"], -1) for q in used]),
        dev=dev_set([q for q in queries if q["kind"] == "dev"], passages, cache, axes),
        projection=axes,
    )
    out.queries.ids = [r if d else r[:QUERY_TOKENS] for r, d in zip(out.queries.ids, limit, strict=True)]
    print(f"{len(texts)} passages, {len(used)} queries, {len(out.dev.queries)} dev queries", flush=True)
    return out


def dev_figures(scores: Tensor, gold: list[set[int]]) -> dict[str, float]:
    """Return Recall@1/3/10 (any gold passage found) and MRR of a score matrix."""
    ranking = scores.topk(min(100, scores.shape[1])).indices.tolist()
    first = [next((i for i, d in enumerate(r) if d in g), 10**6) for r, g in zip(ranking, gold, strict=True)]
    place = torch.tensor(first).float()
    figures = {f"R@{k}": float((place < k).float().mean()) for k in (1, 3, 10)}
    return {k: round(v, 4) for k, v in {**figures, "MRR": float((1 / (place + 1)).mean())}.items()}
