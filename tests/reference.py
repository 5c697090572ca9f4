"""The recipes of the official model cards, as plainly as they can be written: the yardstick of the parity tests."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from qwen3_core.prompts import RERANK_PREFIX, RERANK_SUFFIX, format_rerank_body


@torch.no_grad()
def embed(folder: Path, texts: list[str], max_length: int = 8192) -> torch.Tensor:
    """Left padding, last position, unit length; (len(texts), hidden_size) in float32."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    ids = [
        [*tokenizer(text, add_special_tokens=False).input_ids[: max_length - 1], tokenizer.pad_token_id]
        for text in texts
    ]
    batch = tokenizer.pad({"input_ids": ids}, padding=True, return_tensors="pt")
    return torch.nn.functional.normalize(model(**batch).last_hidden_state[:, -1], dim=-1)


@torch.no_grad()
def score(folder: Path, query: str, documents: list[str], instruction: str, max_length: int = 8192) -> list[float]:
    """Body truncated, prefix and suffix added as ids, left padding, softmax over the logits of "no" and "yes"."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    prefix = tokenizer.encode(RERANK_PREFIX, add_special_tokens=False)
    suffix = tokenizer.encode(RERANK_SUFFIX, add_special_tokens=False)
    room = max_length - len(prefix) - len(suffix)
    bodies = tokenizer(
        [format_rerank_body(query, document, instruction) for document in documents],
        truncation="longest_first",
        max_length=room,
        add_special_tokens=False,
    ).input_ids
    batch = tokenizer.pad({"input_ids": [prefix + ids + suffix for ids in bodies]}, padding=True, return_tensors="pt")
    logits = model(**batch).logits[:, -1, :]
    both = torch.stack(
        [logits[:, tokenizer.convert_tokens_to_ids("no")], logits[:, tokenizer.convert_tokens_to_ids("yes")]],
        dim=1,
    )
    scores: list[float] = both.softmax(dim=1)[:, 1].tolist()
    return scores
