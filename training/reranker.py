"""Stage 3: distil the teacher into the constructed reranker.

It learns on the lists it will see in use, the top candidates of the trained embedder, with the
teacher's cosine as a soft target: as a ranking within the list and as a probability on its own.
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
from construct import BALLAST, PREFIX, SCORE, SUFFIX, Marks, construct
from data import TrainingSet, dev_figures, load
from embedder import OTHER_TASKS, TASK, encode, end_of_text_id, prompt
from model import config, last_hidden, pad
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM, Qwen3Model

# A teacher cosine of MIDDLE becomes p(yes) = 0.5; SLOPE is the log odds per unit of cosine.
MIDDLE, SLOPE = 0.42, 14.0
GOLD_BONUS = 0.08  # a passage's own heading or sentence tells more than the teacher's cosine
QUERIES, POOL = 8_000, 12_000  # mined queries and candidate passages
LISTS, CANDIDATES = 12, 8  # lists in a batch and candidates in a list
BODY_TOKENS = 120
ALL, SOME = slice(None), slice(0, None, 5)  # dev queries of the last and of interim evaluations


class Pairs:
    """Turns queries and documents into the ids that inference scores."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.suffix: list[int] = tokenizer(SUFFIX)["input_ids"]

    def prefix(self, task: str) -> Tensor:
        """Return the ids before the query; the space that follows keeps the cut clean."""
        text = f"{PREFIX}<Instruct>: {task}\n<Query>:"
        return torch.tensor([self.tokenizer(text)["input_ids"]])

    def rows(self, pairs: list[tuple[str, str]], limit: int = BODY_TOKENS) -> list[list[int]]:
        """Return query, document and suffix ids of pairs."""
        bodies = self.tokenizer([f" {query}\n<Document>: {document}" for query, document in pairs])["input_ids"]
        return [body[:limit] + self.suffix for body in bodies]


class Scorer:
    """Scores pairs with a model in training."""

    def __init__(self, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model, self.pairs = model, Pairs(tokenizer)
        self.marks = Marks.of(tokenizer)
        self.end_of_text = end_of_text_id(tokenizer)

    def __call__(self, pairs: list[tuple[str, str]], task: str = TASK, limit: int = BODY_TOKENS) -> Tensor:
        """Return the log odds of yes, computed in two halves by length against padding."""
        rows = self.pairs.rows(pairs, limit)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        table = self.model.model.embed_tokens.weight
        prefix, parts = self.pairs.prefix(task), []
        for start in range(0, len(order), 48):
            ids, last = pad([rows[i] for i in order[start : start + 48]], self.end_of_text)
            hidden = last_hidden(self.model.model, ids, last, prefix)
            parts.append(hidden @ (table[self.marks.yes] - table[self.marks.no]))
        place = torch.empty(len(order), dtype=torch.long)
        place[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(parts)[place]


@dataclass
class Lists:
    """Mined candidates: rows of training queries and of their passages, best first."""

    queries: np.ndarray
    passages: np.ndarray


def mine(embedder: Qwen3Model, data: TrainingSet, rng: np.random.Generator) -> Lists:
    """Retrieve 30 candidates for a sample of training queries with the trained embedder."""
    end = embedder.config.eos_token_id
    usable = np.isin(data.kinds, ["heading", "sentence", "question", "keywords"]) & (data.query_passage >= 0)
    queries = rng.choice(np.flatnonzero(usable), QUERIES, replace=False)
    others = rng.choice(len(data.passages.ids), POOL, replace=False)
    pool = np.unique(np.concatenate([data.query_passage[queries], others]))[: POOL + QUERIES]
    documents = encode(embedder, [data.passages.ids[i][:80] for i in pool], end)
    texts = [prompt(data.queries.texts[i]) for i in queries]
    vectors = encode(embedder, [row[:72] for row in data.tokenizer(texts)["input_ids"]], end)
    best = [(vectors[i : i + 512] @ documents.T).topk(30).indices for i in range(0, QUERIES, 512)]
    return Lists(queries, pool[torch.cat(best).numpy()])


def choose(data: TrainingSet, lists: Lists, row: int, rng: random.Random) -> list[int]:
    """Choose a list: the query's own passage, close and farther candidates, a random passage."""
    own, found = int(data.query_passage[lists.queries[row]]), lists.passages[row].tolist()
    found = [p for p in found if p != own]
    close = rng.sample(found[:10], CANDIDATES - 3)
    return [own, *close, rng.choice(found[10:]), rng.randrange(len(data.passages.ids))]


def batches(data: TrainingSet, lists: Lists, seed: int) -> Iterator[tuple[list[tuple[str, str]], str, Tensor]]:
    """Yield (pairs, task, teacher targets) for ever."""
    rng = random.Random(seed)
    while True:
        task = TASK if rng.random() < 0.75 else rng.choice(OTHER_TASKS)
        pairs, targets = [], []
        for _ in range(LISTS):
            row = rng.randrange(len(lists.queries))
            query, chosen = lists.queries[row], choose(data, lists, row, rng)
            cosine = data.passages.vectors[chosen] @ data.queries.vectors[query]
            if data.kinds[query] in {"heading", "sentence"}:
                cosine[0] += GOLD_BONUS
            pairs += [(data.queries.texts[query], data.passages.texts[p]) for p in chosen]
            targets.append(SLOPE * (cosine - MIDDLE))
        yield pairs, task, torch.stack(targets)


def loss_of(scores: Tensor, targets: Tensor) -> tuple[Tensor, list[float]]:
    """Return the loss of score lists against the teacher's log odds, and its parts."""
    calibration = functional.binary_cross_entropy_with_logits(scores, targets.sigmoid())
    ranking = functional.kl_div(
        functional.log_softmax(scores, -1), functional.softmax(targets, -1), reduction="batchmean"
    )
    return ranking + calibration, [float(calibration.detach()), float(ranking.detach())]


class Evaluation:
    """Reranks the embedder's top 10 of dev queries."""

    def __init__(self, embedder: Qwen3Model, data: TrainingSet) -> None:
        self.dev, end, tokens = data.dev, embedder.config.eos_token_id, data.tokenizer
        queries = encode(embedder, tokens([prompt(q) for q in self.dev.queries])["input_ids"], end)
        documents = encode(embedder, [d[:256] for d in tokens(self.dev.passages)["input_ids"]], end)
        self.first = queries @ documents.T
        self.top = self.first.topk(10).indices

    def before(self, rows: slice = ALL) -> dict[str, float]:
        """Return the figures of the embedder's order."""
        return dev_figures(self.first[rows], self.dev.gold[rows])

    def after(self, scorer: Scorer, rows: slice = ALL) -> dict[str, float]:
        """Return the figures after reranking, with the mean p(yes) of gold and other candidates."""
        queries, top, gold = self.dev.queries[rows], self.top[rows], self.dev.gold[rows]
        with torch.no_grad():
            pairs = [(q, self.dev.passages[d]) for q, row in zip(queries, top, strict=True) for d in row]
            scores = scorer(pairs, limit=300).view(-1, 10)
        full = self.first[rows] - 1e6
        full.scatter_(1, top, scores)
        is_gold = torch.tensor([[int(d) in g for d in row] for row, g in zip(top, gold, strict=True)])
        chance = scores.sigmoid()
        means = {"p gold": round(float(chance[is_gold].mean()), 3), "p other": round(float(chance[~is_gold].mean()), 3)}
        return {**dev_figures(full, gold), **means}


@torch.no_grad()
def calibrate(scorer: Scorer, data: TrainingSet, lists: Lists, seed: int) -> None:
    """Fit scale and offset of the constructed scores to the teacher's log odds.

    The final norm scales the score channel; the ballast, constant at the last token, shifts it.
    """
    source = batches(data, lists, seed)
    drawn = [next(source) for _ in range(4)]
    targets = torch.cat([target.flatten() for _, _, target in drawn])
    table = scorer.model.model.embed_tokens.weight

    def scores() -> Tensor:
        return torch.cat([scorer(pairs, task) for pairs, task, _ in drawn])

    scorer.model.model.norm.weight[SCORE] *= targets.std() / scores().std()
    before = scores()
    table[scorer.marks.yes, BALLAST] += 1
    effect = float((scores() - before).mean())
    table[scorer.marks.yes, BALLAST] += float((targets - before).mean()) / effect - 1


def train(scorer: Scorer, data: TrainingSet, lists: Lists, check: Evaluation, args: argparse.Namespace) -> None:
    """Train for a number of minutes with a linearly falling learning rate.

    Adam moves every weight by about the rate, however small its gradient, which would blur the construction:
    norms get the full rate, matrices a tenth and embedding rows a fiftieth of it.
    """
    parameters = dict(scorer.model.model.named_parameters())
    table = parameters.pop("embed_tokens.weight")
    groups = [
        {"params": [table], "scale": 0.02},
        {"params": [p for p in parameters.values() if p.dim() > 1], "scale": 0.1},
        {"params": [p for p in parameters.values() if p.dim() == 1], "scale": 1.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=args.rate, betas=(0.9, 0.98), weight_decay=0.0)
    parts: list[list[float]] = []
    began = shown = time.monotonic()
    for step, (pairs, task, targets) in enumerate(batches(data, lists, args.seed)):
        done = (time.monotonic() - began) / (60 * args.minutes)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = args.rate * group["scale"] * min(1, (step + 1) / 40) * max(0.02, 1 - done)
        loss, values = loss_of(scorer(pairs, task).view(targets.shape), targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(scorer.model.parameters(), 1.0)
        optimizer.step()
        parts.append(values)
        if time.monotonic() - shown > 120:
            print(f"step {step}, {done:.0%}: {np.mean(parts, 0).round(3)} {check.after(scorer, SOME)}", flush=True)
            shown, parts = time.monotonic(), []


@torch.no_grad()
def blend(model: Qwen3ForCausalLM, constructed: dict[str, Tensor]) -> None:
    """Set every weight halfway between the constructed and the trained one.

    The mean keeps what training gained on texts like the training texts and loses less on others
    (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
    """
    for name, parameter in model.named_parameters():
        parameter.lerp_(constructed[name], 0.5)


def main() -> None:
    """Write the trained model to ``reranker.pt`` in the working folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="working folder")
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = load(args.work)
    embedder = Qwen3Model(config(len(data.tokenizer), end_of_text_id(data.tokenizer)))
    embedder.load_state_dict(torch.load(args.work / "embedder.pt"))
    model = construct(embedder, data.tokenizer)
    lists = mine(embedder, data, np.random.default_rng(args.seed))
    scorer, check = Scorer(model, data.tokenizer), Evaluation(embedder, data)
    calibrate(scorer, data, lists, args.seed)
    print("order given", check.before(SOME), "constructed", check.after(scorer, SOME), flush=True)
    constructed = {name: weight.clone() for name, weight in model.state_dict().items()}
    train(scorer, data, lists, check, args)
    blend(model, constructed)
    torch.save(model.state_dict(), args.work / "reranker.pt")
    figures = {"before": check.before(), "after": check.after(scorer), "seed": args.seed, "minutes": args.minutes}
    figures["dev_queries"] = len(data.dev.queries)
    print("end", figures, flush=True)
    (args.work / "reranker.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
