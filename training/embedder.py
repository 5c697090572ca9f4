"""Stage 2: train the Qwen3-shaped embedder from the transplanted static model.

Queries carry the instruction prompt of Qwen3-Embedding, documents are raw, and both end with
``<|endoftext|>``, whose last hidden state is the vector: exactly what inference computes.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from data import QUERY_TOKENS, TrainingSet, dev_figures, load
from model import HIDDEN, SEMANTIC, last_hidden, pad, transplant
from tokenizer import END_OF_TEXT
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerBase, Qwen3Model

TASK = "Given a web search query, retrieve relevant passages that answer the query"
OTHER_TASKS = [
    "Given a question, retrieve documentation passages that answer it",
    "Retrieve relevant documents for the query",
    "Given a question about a software product, find the passage that answers it",
    "Given a scientific query, retrieve relevant abstracts",
    "Retrieve semantically similar text",
    "Given a search query, retrieve technical documentation",
]
DIMENSIONS = (256, 128, 64, 32)
TEMPERATURE = 0.05
BATCH = 128
PROMPT_TOKENS = 24
SORTED_BATCHES = 8  # batches cut from one length-sorted pool, against padding


def prompt(query: str, task: str = TASK) -> str:
    """Return the query text of Qwen3-Embedding."""
    return f"Instruct: {task}\nQuery:{query}"


def encode(model: Qwen3Model, ids: list[list[int]], end_of_text: int, batch: int = 64) -> Tensor:
    """Return unit vectors of id lists without gradients, in the order given."""
    out = torch.zeros(len(ids), HIDDEN)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    with torch.no_grad():
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            padded, last = pad([[*ids[i], end_of_text] for i in rows], end_of_text)
            out[rows] = last_hidden(model, padded, last)
    return functional.normalize(out, dim=-1)


def evaluate(model: Qwen3Model, data: TrainingSet, end_of_text: int) -> dict[str, float]:
    """Return the dev figures of the model with the default prompt, and at 64 dimensions."""
    tokens = data.tokenizer
    queries = encode(model, tokens([prompt(q) for q in data.dev.queries])["input_ids"], end_of_text)
    documents = encode(model, [d[:256] for d in tokens(data.dev.passages)["input_ids"]], end_of_text)
    figures = dev_figures(queries @ documents.T, data.dev.gold)
    short = [functional.normalize(side[:, :64], dim=-1) for side in (queries, documents)]
    figures["MRR at 64"] = dev_figures(short[0] @ short[1].T, data.dev.gold)["MRR"]
    return figures


@dataclass
class Batch:
    """Queries, their documents and the teacher vectors of both."""

    query_ids: list[list[int]]
    document_ids: list[list[int]]
    query_targets: Tensor
    document_targets: Tensor
    passages: Tensor


class Batches:
    """Draws training batches."""

    def __init__(self, data: TrainingSet, seed: int) -> None:
        self.data = data
        self.random = random.Random(seed)
        self.rng = np.random.default_rng(seed)
        paired = data.query_passage >= 0
        self.paired = np.flatnonzero(paired & (data.kinds != "titled"))
        titled = np.flatnonzero(paired & (data.kinds == "titled"))
        self.titled = dict(zip(data.query_passage[titled].tolist(), titled.tolist(), strict=True))

    def query_text(self, row: int) -> str:
        """Put a prompt before a query; a few stay raw, so that the model is usable without one."""
        text, draw = self.data.queries.texts[row], self.random.random()
        if draw > 0.95:
            return text
        return prompt(text, TASK if draw < 0.75 else self.random.choice(OTHER_TASKS))

    def document(self, row: int) -> tuple[list[int], Tensor]:
        """Return a passage, or the same passage under its heading where there is one."""
        if row in self.titled and self.random.random() < 0.5:
            other = self.titled[row]
            return self.data.queries.ids[other], self.data.queries.vectors[other]
        return self.data.passages.ids[row], self.data.passages.vectors[row]

    def draw(self) -> Iterator[Batch]:
        """Yield batches for ever, each of documents of about one length."""
        lengths = [len(ids) for ids in self.data.passages.ids]
        while True:
            pool = self.rng.choice(self.paired, BATCH * SORTED_BATCHES)
            pool = np.array(sorted(pool, key=lambda q: lengths[self.data.query_passage[q]]))
            for part in self.rng.permutation(pool.reshape(SORTED_BATCHES, BATCH)):
                rows = self.data.query_passage[part]
                documents = [self.document(int(row)) for row in rows]
                queries = self.data.tokenizer([self.query_text(q) for q in part])["input_ids"]
                yield Batch(
                    query_ids=[q[: QUERY_TOKENS + PROMPT_TOKENS] for q in queries],
                    document_ids=[ids for ids, _ in documents],
                    query_targets=self.data.queries.vectors[part],
                    document_targets=torch.stack([vector for _, vector in documents]),
                    passages=torch.from_numpy(rows),
                )


def ranking_losses(queries: Tensor, documents: Tensor, target: Tensor, same: Tensor) -> tuple[Tensor, Tensor]:
    """Return the KL divergence over nested dimensions and the contrastive loss at full size."""
    divergence = torch.zeros(())
    for size in DIMENSIONS:
        scores = functional.normalize(queries[:, :size], dim=-1) @ functional.normalize(documents[:, :size], dim=-1).T
        logits = scores / TEMPERATURE
        part = functional.kl_div(functional.log_softmax(logits, -1), target, reduction="batchmean")
        divergence = divergence + (part if size == HIDDEN else 0.4 * part)
        if size == HIDDEN:
            labels = torch.arange(len(queries))
            contrast = functional.cross_entropy(logits.masked_fill(same, -1e4), labels)
    return divergence, contrast


def step_loss(model: Qwen3Model, batch: Batch) -> tuple[Tensor, list[float]]:
    """Return the loss of a batch and its parts."""
    end = model.config.eos_token_id
    queries = last_hidden(model, *pad([[*q, end] for q in batch.query_ids], end))
    documents = last_hidden(model, *pad([[*d, end] for d in batch.document_ids], end))
    widen = (0, HIDDEN - SEMANTIC)
    query_loss = (1 - functional.cosine_similarity(queries, functional.pad(batch.query_targets, widen))).mean()
    document_targets = functional.pad(batch.document_targets, widen)
    document_loss = (1 - functional.cosine_similarity(documents, document_targets)).mean()
    target = functional.softmax(batch.query_targets @ batch.document_targets.T / TEMPERATURE, -1)
    # The same passage can stand in a batch twice; it is no negative of itself.
    same = (batch.passages[:, None] == batch.passages[None]) & ~torch.eye(len(queries), dtype=torch.bool)
    divergence, contrast = ranking_losses(queries, documents, target, same)
    loss = 3 * query_loss + 3 * document_loss + 0.5 * divergence + 0.1 * contrast
    return loss, [float(x.detach()) for x in (query_loss, document_loss, divergence, contrast)]


def train(model: Qwen3Model, data: TrainingSet, args: argparse.Namespace) -> None:
    """Train for a number of minutes with a linearly falling learning rate."""
    embedding = [model.embed_tokens.weight]
    others = [p for n, p in model.named_parameters() if not n.startswith("embed_tokens")]
    groups = [{"params": embedding, "scale": 0.7, "weight_decay": 0.0}, {"params": others, "scale": 1.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.rate, betas=(0.9, 0.98), weight_decay=0.01)
    parts: list[list[float]] = []
    began = shown = time.monotonic()
    for step, batch in enumerate(Batches(data, args.seed).draw()):
        done = (time.monotonic() - began) / (60 * args.minutes)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = args.rate * group["scale"] * min(1, (step + 1) / 60) * max(0.02, 1 - done)
        loss, values = step_loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        parts.append(values)
        if time.monotonic() - shown > 60:
            means = [round(float(x), 3) for x in np.mean(parts, 0)]
            print(f"step {step}, {done:.0%}: {means}", flush=True)
            shown, parts = time.monotonic(), []


def end_of_text_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id of the pooled token."""
    return int(tokenizer.convert_tokens_to_ids(END_OF_TEXT))


def main() -> None:
    """Write the trained model to ``embedder.pt`` in the working folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="working folder")
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--start", type=Path, help="an earlier embedder.pt to go on from")
    parser.add_argument("--check-start", action="store_true", help="evaluate before the first step")
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = load(args.work)
    start = torch.load(args.work / "static.pt")
    marks = data.tokenizer.convert_tokens_to_ids([END_OF_TEXT, "Instruct", "Query"])
    model = transplant(start["directions"], start["log_weight"], *marks)
    if args.start:
        model.load_state_dict(torch.load(args.start))
    if args.check_start:
        print("start", evaluate(model, data, model.config.eos_token_id), flush=True)
    train(model, data, args)
    teacher = dev_figures(data.dev.query_vectors @ data.dev.passage_vectors.T, data.dev.gold)
    figures = {"student": evaluate(model, data, model.config.eos_token_id), "teacher": teacher}
    print("end", figures, flush=True)
    torch.save(model.state_dict(), args.work / "embedder.pt")
    figures |= {"seed": args.seed, "minutes": args.minutes}
    figures |= {"dev_queries": len(data.dev.queries), "dev_passages": len(data.dev.passages)}
    (args.work / "embedder.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
