"""The forward pass: sequences packed end to end without padding, only the last position finished.

It drives the layers of transformers' ``Qwen3Model`` directly, because the model's own ``forward`` wants padded
rectangles and finishes every position. Attention runs per sequence, so nothing a sequence computes depends on
its neighbours. This file and `checkpoint` are the only ones of the engine that import torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

Keys = torch.Tensor  # (kv_heads, tokens, head_dim)
Values = torch.Tensor


@dataclass(frozen=True)
class Prefix:
    """Keys and values of a text that several sequences continue, one pair for each layer."""

    length: int
    layers: Sequence[tuple[Keys, Values]]


def batches(sequences: Iterable[list[int]], batch_tokens: int) -> Iterator[list[list[int]]]:
    """Group sequences, in order, so that each group has at most `batch_tokens` tokens or is one sequence."""
    batch: list[list[int]] = []
    size = 0
    for ids in sequences:
        if batch and size + len(ids) > batch_tokens:
            yield batch
            batch, size = [], 0
        batch.append(ids)
        size += len(ids)
    if batch:
        yield batch


@torch.inference_mode()
def last_hidden_states(model: Any, sequences: Sequence[Sequence[int]], prefix: Prefix | None = None) -> torch.Tensor:
    """Return the final hidden state at the last position of each sequence.

    Args:
        model: A ``Qwen3Model``.
        sequences: Token ids, each of at least one token.
        prefix: Keys and values of the text that every sequence continues; None if they start at position 0.

    Returns:
        A float32 tensor (len(sequences), hidden_size), normalised by the model's final RMSNorm.
    """
    hidden, _ = _run(model, sequences, prefix, keep_cache=False)
    return hidden.float()


@torch.inference_mode()
def compute_prefix(model: Any, ids: Sequence[int]) -> Prefix:
    """Run a prefix once and keep its keys and values."""
    _, cache = _run(model, [ids], None, keep_cache=True)
    return Prefix(len(ids), cache)


def _run(
    model: Any, sequences: Sequence[Sequence[int]], prefix: Prefix | None, *, keep_cache: bool
) -> tuple[torch.Tensor, list[tuple[Keys, Values]]]:
    device = model.embed_tokens.weight.device
    offset = prefix.length if prefix else 0
    lengths = [len(ids) for ids in sequences]
    ends = torch.tensor(list(accumulate(lengths)), device=device) - 1
    ids = torch.tensor([i for sequence in sequences for i in sequence], device=device)
    positions = torch.cat([torch.arange(offset, offset + n, device=device) for n in lengths])

    hidden = model.embed_tokens(ids)
    rope = tuple(part.squeeze(0) for part in model.rotary_emb(hidden, positions.unsqueeze(0)))
    cache: list[tuple[Keys, Values]] = []
    last = len(model.layers) - 1
    for number, layer in enumerate(model.layers):
        before = prefix.layers[number] if prefix else None
        # In the last layer every position gives keys and values, but only the ends of sequences ask.
        rows = ends if number == last else None
        attended, keys_values = _attention(layer, hidden, rope, lengths, before, rows)
        if keep_cache:
            cache.append(keys_values)
        hidden = (hidden if rows is None else hidden[rows]) + attended
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return model.norm(hidden), cache


def _attention(
    layer: Any,
    hidden: torch.Tensor,
    rope: tuple[torch.Tensor, ...],
    lengths: Sequence[int],
    before: tuple[Keys, Values] | None,
    rows: torch.Tensor | None,
) -> tuple[torch.Tensor, tuple[Keys, Values]]:
    """Self-attention of one layer; `rows` limits which positions ask (all by default)."""
    block, (cos, sin) = layer.self_attn, rope
    normed = layer.input_layernorm(hidden)
    asking = normed if rows is None else normed[rows]
    cos_asking, sin_asking = (cos, sin) if rows is None else (cos[rows], sin[rows])
    queries = _rotate(_heads(block.q_norm, block.q_proj(asking), block.head_dim), cos_asking, sin_asking)
    keys = _rotate(_heads(block.k_norm, block.k_proj(normed), block.head_dim), cos, sin)
    values = _heads(None, block.v_proj(normed), block.head_dim)

    asking_lengths = lengths if rows is None else [1] * len(lengths)
    parts = zip(
        torch.split(queries, list(asking_lengths), dim=1),
        torch.split(keys, list(lengths), dim=1),
        torch.split(values, list(lengths), dim=1),
        strict=True,
    )
    out = torch.cat([_attend(q, k, v, before, block.scaling) for q, k, v in parts], dim=1)
    return block.o_proj(out.transpose(0, 1).flatten(1)), (keys, values)


def _attend(
    queries: torch.Tensor, keys: Keys, values: Values, before: tuple[Keys, Values] | None, scaling: float
) -> torch.Tensor:
    """Causal attention of one sequence, (heads, tokens, head_dim), over its prefix and itself."""
    if before is not None:
        keys, values = torch.cat([before[0], keys], dim=1), torch.cat([before[1], values], dim=1)
    asked, known = queries.shape[1], keys.shape[1]
    # `is_causal` aligns the mask at the top left: right only where both lengths agree. A single query sees all.
    mask = None
    if asked not in {1, known}:
        mask = torch.ones(asked, known, dtype=torch.bool, device=queries.device).tril(known - asked)
    return scaled_dot_product_attention(
        queries.unsqueeze(0),
        keys.unsqueeze(0),
        values.unsqueeze(0),
        attn_mask=mask,
        is_causal=asked == known and asked > 1,
        scale=scaling,
        enable_gqa=queries.shape[0] != keys.shape[0],
    ).squeeze(0)


def _heads(norm: Any, projected: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Split (tokens, heads * head_dim) into (heads, tokens, head_dim), normalising each head if asked."""
    heads = projected.view(projected.shape[0], -1, head_dim)
    normed: torch.Tensor = heads if norm is None else norm(heads)
    return normed.transpose(0, 1)


def _rotate(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Apply rotary position embedding to (heads, tokens, head_dim)."""
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat([-second, first], dim=-1) * sin
