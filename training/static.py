"""Stage 1: distil the teacher into a weighted bag of static token vectors.

A minute of this gives the Qwen3 model most of its quality before its first step: ``model.transplant``
turns the result into a checkpoint that computes the same bag.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from data import Texts, TrainingSet, dev_figures, load
from model import SEMANTIC
from torch import Tensor
from torch.nn import functional

DIMENSIONS = (32, 64, 128, SEMANTIC)
TEMPERATURE = 0.05
BATCH = 384
LOG_WEIGHT_LIMIT = 3.2


class StaticModel(torch.nn.Module):
    """Unit directions and log weights per token."""

    def __init__(self, counts: np.ndarray) -> None:
        super().__init__()
        self.directions = torch.nn.Parameter(torch.randn(len(counts), SEMANTIC) * 0.05)
        # Rare tokens start heavier, as in smooth inverse frequency weighting.
        share = torch.from_numpy(counts / counts.sum()).float()
        self.log_weight = torch.nn.Parameter(((1e-3 / (1e-3 + share)).log() + 2).clamp(-3, 2))

    def table(self) -> Tensor:
        """Return the weighted vectors ``(vocabulary, SEMANTIC)``."""
        weight = self.log_weight.clamp(-LOG_WEIGHT_LIMIT, LOG_WEIGHT_LIMIT).exp()
        return functional.normalize(self.directions, dim=-1) * weight[:, None]

    @staticmethod
    def bag(table: Tensor, ids: list[list[int]]) -> Tensor:
        """Return the unit vectors of texts."""
        rows = [row or [0] for row in ids]
        flat = torch.tensor([token for row in rows for token in row])
        offsets = torch.tensor([0, *np.cumsum([len(row) for row in rows])[:-1].tolist()])
        return functional.normalize(functional.embedding_bag(flat, table, offsets, mode="sum"), dim=-1)


def ranking_loss(queries: Tensor, documents: Tensor, target: Tensor) -> Tensor:
    """KL divergence of the in-batch similarities from the teacher's, over nested dimensions."""
    total = torch.zeros(())
    for size in DIMENSIONS:
        scores = functional.normalize(queries[:, :size], dim=-1) @ functional.normalize(documents[:, :size], dim=-1).T
        total = total + functional.kl_div(
            functional.log_softmax(scores / TEMPERATURE, -1), target, reduction="batchmean"
        )
    return total / len(DIMENSIONS)


def start_directions(data: TrainingSet, vocabulary: int) -> tuple[Tensor, np.ndarray]:
    """Start each token at the mean teacher vector of the passages that hold it."""
    sums, counts = torch.zeros(vocabulary, SEMANTIC), np.zeros(vocabulary)
    mean = data.passages.vectors.mean(0)
    for texts in (data.passages, data.queries):
        for ids, vector in zip(texts.ids[::2], texts.vectors[::2], strict=True):
            unique = list(set(ids))
            sums[unique] += (vector - mean) / max(1, len(unique))
            np.add.at(counts, ids, 1)
    return functional.normalize(sums + 1e-4 * torch.randn_like(sums), dim=-1), counts


def evaluate(model: StaticModel, data: TrainingSet) -> dict[str, float]:
    """Return the dev figures of the bag."""
    with torch.no_grad():
        table = model.table()

        def encode(texts: list[str]) -> Tensor:
            return model.bag(table, data.tokenizer(texts, add_special_tokens=False)["input_ids"])

        return dev_figures(encode(data.dev.queries) @ encode(data.dev.passages).T, data.dev.gold)


def step_loss(model: StaticModel, data: TrainingSet, paired: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Return the loss of one random batch of queries, their passages and other passages."""
    table = model.table()

    def encode(texts: Texts, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        return model.bag(table, [texts.ids[i] for i in rows]), texts.vectors[rows]

    rows = rng.choice(paired, BATCH)
    queries, query_targets = encode(data.queries, rows)
    mixed = np.concatenate([data.query_passage[rows], rng.integers(0, len(data.passages.ids), BATCH // 2)])
    documents, document_targets = encode(data.passages, mixed)
    loss = (1 - (queries * query_targets).sum(-1)).mean() + (1 - (documents * document_targets).sum(-1)).mean()
    target = functional.softmax(query_targets @ document_targets.T / TEMPERATURE, -1)
    return loss + 0.3 * ranking_loss(queries, documents, target)


def main() -> None:
    """Write ``static.pt`` into the working folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="working folder")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    data = load(args.work)
    start, counts = start_directions(data, len(data.tokenizer))
    model = StaticModel(counts)
    model.directions.data = start
    optimizer = torch.optim.Adam(
        [{"params": [model.directions], "lr": 4e-3}, {"params": [model.log_weight], "lr": 2e-2}]
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 20) * max(0.02, 1 - step / args.steps)
    )
    paired = np.flatnonzero(data.query_passage >= 0)
    began = time.monotonic()
    for step in range(args.steps + 1):
        if step % 125 == 0:
            print(step, f"{time.monotonic() - began:.0f} s", evaluate(model, data), flush=True)
        loss = step_loss(model, data, paired, rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    directions = functional.normalize(model.directions.data, dim=-1)
    limited = model.log_weight.data.clamp(-LOG_WEIGHT_LIMIT, LOG_WEIGHT_LIMIT)
    torch.save({"directions": directions, "log_weight": limited}, args.work / "static.pt")
    teacher = dev_figures(data.dev.query_vectors @ data.dev.passage_vectors.T, data.dev.gold)
    print("teacher", teacher, flush=True)


if __name__ == "__main__":
    main()
