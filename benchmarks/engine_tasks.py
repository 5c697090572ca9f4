"""What the engine benchmark asks for, and what that needs at least: texts, multiply-adds, the machine's own peaks."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from engine_checkpoint import SHAPE

from qwen3_core.prompts import (
    DEFAULT_INSTRUCTION,
    RERANK_PREFIX,
    RERANK_SUFFIX,
    format_query,
    format_rerank_document,
    format_rerank_head,
)
from qwen3_core.tokens import TextTokenizer

HERE = Path(__file__).parent
QUERY = "How is data stored in Milvus?"
FAQ_CHUNKS = 72
PEAK_SIZE = 1024, 4096, 4096
"""Tokens, outputs and inputs of the product whose speed is the peak: the fastest of those that were tried."""

Kind = Literal["embed", "rerank", "index"]


@dataclass(frozen=True)
class Task:
    """Something that every engine is asked for.

    Attributes:
        name: Of the column in the report.
        kind: What is done with the texts.
        texts: What is embedded, indexed or reranked.
        cut: Whether each turn gets a part of the texts, instead of all of them again.
        repeats: How often it is run in a turn, of which the median counts.
        patience: How many times as long as others it may take: seconds that do not depend on the texts weigh less then.
    """

    name: str
    kind: Kind
    texts: Sequence[str]
    cut: bool = False
    repeats: int = 1
    patience: float = 1

    def slices(self, count: int, share: float = 1.0) -> list[Task]:
        """Cut into tasks of texts of about the same lengths each.

        Args:
            count: How many.
            share: Of each, the part that is kept, of all lengths again; at least two texts, or all.
        """
        ordered = sorted(self.texts, key=len)
        parts = [ordered[first::count] for first in range(count)]
        kept = [part[:: max(1, min(round(1 / share), len(part) // 2))] for part in parts]
        return [replace(self, texts=random.Random(0).sample(part, len(part))) for part in kept]


def passages(count: int, words: float, spread: float, seed: int) -> list[str]:
    """Return distinct passages cut out of this project's documentation.

    Args:
        count: How many.
        words: Their median length.
        spread: Of the logarithm of their lengths.
        seed: Of the places and lengths.
    """
    text = [word for path in sorted(HERE.parent.glob("docs/**/*.md")) for word in path.read_text("utf-8").split()]
    chance = random.Random(seed)
    found: list[str] = []
    for _ in range(count):
        length = max(3, min(1500, round(words * 2.718281828 ** chance.gauss(0, spread))))
        start = chance.randrange(len(text) - length)
        found.append(" ".join(text[start : start + length]))
    return found


def faq(folder: Path | None) -> list[str]:
    """Return the chunks of the tutorial's FAQ, cut at "# " as it does, or passages of their lengths."""
    if folder is None:
        return passages(FAQ_CHUNKS, 40, 0.6, seed=1)
    return [chunk for path in sorted(folder.glob("*.md")) for chunk in path.read_text("utf-8").split("# ")]


class Costs:
    """Counts the multiply-adds that a task strictly needs, with the shape of Qwen3-0.6B.

    Each weight of a layer meets each token once, and each token sees itself and what is before it: a product for the
    score and one for the value. In the last layer only the last token of a text goes beyond keys and values. What all
    documents of a query have in front of them is computed once. Norms, softmax and other small work count nothing.

    Args:
        tokenizer: Of the checkpoint.
    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        hidden, heads, kv_heads, size = (
            SHAPE[key] for key in ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim")
        )
        self.layers: int = SHAPE["num_hidden_layers"]
        self.keys_values = hidden * 2 * kv_heads * size
        self.layer = hidden * (2 * heads * size + 3 * SHAPE["intermediate_size"]) + self.keys_values
        self.seen = 2 * heads * size

    def tokens(self, task: Task) -> int:
        """Return the tokens of a task without padding, of which shared ones count once."""
        prefix, lengths = self._lengths(task)
        return prefix + sum(lengths)

    def multiply_adds(self, task: Task) -> int:
        """Return what a task needs."""
        prefix, lengths = self._lengths(task)
        on_all = self.layers - 1
        total = prefix * (on_all * self.layer + self.keys_values) + on_all * self.seen * prefix * (prefix + 1) // 2
        for length in lengths:
            total += length * (on_all * self.layer + self.keys_values) + self.layer - self.keys_values
            total += self.seen * (on_all * (length * prefix + length * (length + 1) // 2) + prefix + length)
        return total

    def weight_bytes(self, bytes_per_weight: float = 2) -> float:
        """Return what is read at least for one query: the layers' weights."""
        return bytes_per_weight * self.layers * self.layer

    def _lengths(self, task: Task) -> tuple[int, list[int]]:
        if task.kind != "rerank":
            return 0, [len(ids) + 1 for ids in self._tokenizer.data_batch(list(task.texts))]
        head = self._tokenizer.data(format_rerank_head(QUERY, DEFAULT_INSTRUCTION))
        bodies = self._tokenizer.data_batch([format_rerank_document(text) for text in task.texts])
        suffix = len(self._tokenizer.control(RERANK_SUFFIX))
        return len(self._tokenizer.control(RERANK_PREFIX)) + len(head), [len(ids) + suffix for ids in bodies]


def tasks(faq_folder: Path | None) -> list[Task]:
    """Return the rows of the benchmark, fewest texts first."""
    chunks = faq(faq_folder)
    of_a_page = passages(100, 95, 0.25, seed=3)
    return [
        Task("one query", "embed", [format_query(QUERY, DEFAULT_INSTRUCTION)], repeats=15),
        Task("72 FAQ chunks", "embed", chunks),
        Task("1,000 passages", "embed", passages(1000, 55, 0.8, seed=2), cut=True),
        Task("rerank 10", "rerank", of_a_page[:10]),
        Task("rerank 100", "rerank", of_a_page),
        Task("index 2,000", "index", passages(2000, 55, 0.8, seed=4), cut=True, patience=3),
    ]


def growth_tasks() -> list[Task]:
    """Return short texts in growing numbers."""
    texts = passages(10_000, 12, 0.4, seed=5)
    return [Task(f"{count:,} texts", "embed", texts[:count]) for count in (10, 100, 1_000, 10_000)]


def best_time(function: Callable[[], object], seconds: float) -> float:
    """Return the shortest time of a function that is repeated for so long."""
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - started)
    return best


class Machine:
    """This machine's own peaks, measured with the kernels that are fastest here."""

    def __init__(self) -> None:
        import torch

        from qwen3_core.engine import linear_kind

        rows, outputs, inputs = PEAK_SIZE
        self._products: dict[str, Callable[[], object]] = {}
        weight = torch.randn(outputs, inputs)
        for name, dtype, quantization in (("bf16", torch.bfloat16, None), ("fp32", torch.float32, None)):
            made = linear_kind(torch.device("cpu"), dtype, quantization)(weight.to(dtype))
            x = torch.randn(rows, inputs).to(dtype)
            self._products[name] = lambda made=made, x=x: made(x)
        rounded = linear_kind(torch.device("cpu"), torch.float32, "int8")
        eighths, made8 = rounded.scaled(torch.randn(rows, inputs)), rounded(weight)
        self._products["int8"] = lambda: made8(eighths)
        self._stream = torch.ones(2**28)  # 1 GiB, more than any cache holds

    def multiply_adds_per_second(self, name: str, seconds: float = 0.7) -> float:
        """Return the peak of "bf16", "fp32" or "int8"."""
        import torch

        with torch.inference_mode():
            rows, outputs, inputs = PEAK_SIZE
            return rows * outputs * inputs / best_time(self._products[name], seconds)

    def bytes_per_second(self, seconds: float = 0.7) -> float:
        """Return how fast memory is read."""
        return 4 * len(self._stream) / best_time(self._stream.sum, seconds)
