"""The Qwen3 architecture of the mini checkpoints and a training forward pass for two cores.

The forward pass computes what ``transformers`` computes, on right-padded batches, but evaluates the
last layer at the last token only, which is all that pooling and yes/no scoring read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Qwen3Config, Qwen3Model

HIDDEN, LAYERS, INTERMEDIATE = 256, 3, 512
HEADS, HEAD_DIM = 4, 64
ROPE_THETA = 1_000_000.0
EPSILON = 1e-6
MAX_POSITIONS = 2048

# The transplanted embedding rows keep two channels: a token's weight and the constant one.
SEMANTIC = HIDDEN - 2
WEIGHT, ONE = HIDDEN - 2, HIDDEN - 1
# The RoPE pair of the lowest frequency hardly turns within a text, so it can carry positionless values.
LOW, LOW_PAIR = HEAD_DIM // 2 - 1, HEAD_DIM - 1
ROW_NORM = 4.0  # length of an embedding row without its constant channel
SHARPNESS = 4.0  # largest attention logit that a token weight can ask for
FLAG = LOW - 1  # the second lowest frequency carries flags
# Two marks and the two flags "after the mark" that layer 0 derives from them.
FLAGS, MARKS = (HIDDEN - 6, HIDDEN - 5), (HIDDEN - 4, HIDDEN - 3)
MARK = 3.0
MARK_ROW = MARK**2 + 1 + (0.8 / 0.6) ** 2  # squared length of a mark's row: mark, constant, lowest weight
FLAG_KEY = 4.0
WEIGHT_LOOK = 0.35  # how a head that masks by flags divides its query between weight and flag
FLAG_LOOK = math.sqrt(1 - WEIGHT_LOOK**2)
NOISE = 0.003  # breaks the symmetry of projection rows that are not set


def config(vocabulary: int, end_of_text: int, layers: int = LAYERS, intermediate: int = INTERMEDIATE) -> Qwen3Config:
    """Return the configuration of a checkpoint."""
    return Qwen3Config(
        vocab_size=vocabulary, hidden_size=HIDDEN, intermediate_size=intermediate, num_hidden_layers=layers,
        num_attention_heads=HEADS, num_key_value_heads=HEADS, head_dim=HEAD_DIM, rms_norm_eps=EPSILON,
        max_position_embeddings=MAX_POSITIONS, rope_theta=ROPE_THETA, tie_word_embeddings=True,
        attention_bias=False, hidden_act="silu", use_sliding_window=False, bos_token_id=None,
        eos_token_id=end_of_text, pad_token_id=end_of_text,
    )  # fmt: skip


def weight_channel(log_weight: Tensor) -> Tensor:
    """Return the channel value whose attention logit is ``log_weight``.

    The key of a token is ``(a, 1)``, which the key norm turns into ``(sin, cos)`` of an angle; the logit
    is ``SHARPNESS * sin``.
    """
    sine = (log_weight / SHARPNESS).clamp(-0.8, 0.8)
    return sine / (1 - sine.square()).sqrt()


def log_weights(rows: Tensor) -> Tensor:
    """Return the log weights that embedding rows carry; the inverse of `weight_channel`."""
    channel = rows[:, WEIGHT] / rows[:, ONE]
    return SHARPNESS * channel / (1 + channel.square()).sqrt()


def embedding_rows(directions: Tensor, log_weight: Tensor) -> Tensor:
    """Lay out static vectors as embedding rows of one length, so that RMSNorm scales them alike."""
    channel = weight_channel(log_weight)
    length = (ROW_NORM**2 - channel.square() - 1).sqrt()
    return torch.cat([directions * length[:, None], channel[:, None], torch.ones_like(channel)[:, None]], 1)


def noisy(attention: torch.nn.Module) -> None:
    """Start the query and key projections near zero."""
    for projection in (attention.q_proj, attention.k_proj):
        projection.weight.normal_(0, NOISE)


def flag_layer(layer: torch.nn.Module) -> None:
    """Make heads 0 and 1 copy their mark to every later position as a flag of 1."""
    attention = layer.self_attn
    normed = MARK / math.sqrt(MARK_ROW / HIDDEN)
    noisy(attention)
    for head, (mark, flag) in enumerate(zip(MARKS, FLAGS, strict=True)):
        first = head * HEAD_DIM
        attention.q_proj.weight[first + LOW, ONE] = 1
        attention.k_proj.weight[first + LOW, mark] = 1
        attention.k_proj.weight[first + LOW_PAIR, ONE] = 1
        attention.v_proj.weight[first : first + HEAD_DIM] = 0
        attention.v_proj.weight[first, mark] = 1 / normed
        attention.o_proj.weight[flag, first] = 1
    for norm in (attention.q_norm, attention.k_norm):
        norm.weight.fill_(1.3)


def pool_by_weight(attention: torch.nn.Module, head: int) -> None:
    """Make a head attend by token weight alone, with room in its query for a mask."""
    first = head * HEAD_DIM
    attention.q_proj.weight[first + LOW, ONE] = WEIGHT_LOOK
    attention.q_proj.weight[first + FLAG, ONE] = FLAG_LOOK
    attention.k_proj.weight[first + LOW, WEIGHT] = 1
    attention.k_proj.weight[first + LOW_PAIR, ONE] = 1
    # RMSNorm gives a unit vector the length sqrt(HEAD_DIM); the rest of the logit's scale sits here.
    for norm in (attention.q_norm, attention.k_norm):
        norm.weight.fill_(math.sqrt(SHARPNESS / (math.sqrt(HEAD_DIM) * WEIGHT_LOOK)))


@torch.no_grad()
def transplant(directions: Tensor, log_weight: Tensor, end_of_text: int, instruct: int, query: int) -> Qwen3Model:
    """Build a Qwen3 model whose pooled output is the weighted bag of static vectors.

    Layer 0 flags what comes after ``Instruct`` and after ``Query``; between the two stands the
    instruction, which pooling leaves out.

    Args:
        directions: Unit vectors ``(vocabulary, SEMANTIC)``.
        log_weight: Log weights of the tokens in the bag.
        end_of_text: Id of the pooled token, which itself adds nothing to the bag.
        instruct: Id of the word that opens the prompt.
        query: Id of the word that ends the instruction.

    Returns:
        The model in float32; its other layers start as the identity.
    """
    log_weight = log_weight.clone()
    silent = [end_of_text, instruct, query]
    log_weight[silent] = -0.8 * SHARPNESS
    rows = embedding_rows(directions, log_weight)
    rows[:, FLAGS[0] : WEIGHT] = 0
    rows[silent, : FLAGS[0]] = 0
    rows[instruct, MARKS[0]] = rows[query, MARKS[1]] = MARK
    torch.manual_seed(0)
    model = Qwen3Model(config(len(directions), end_of_text)).float()
    model.embed_tokens.weight.copy_(rows)
    for layer in model.layers:
        layer.mlp.down_proj.weight.zero_()
        layer.self_attn.o_proj.weight.zero_()
    flag_layer(model.layers[0])
    attention = model.layers[-1].self_attn
    noisy(attention)
    for head in range(HEADS):
        pool_by_weight(attention, head)
        attention.k_proj.weight[head * HEAD_DIM + FLAG, FLAGS[0]] = -FLAG_KEY
        attention.k_proj.weight[head * HEAD_DIM + FLAG, FLAGS[1]] = FLAG_KEY
    identity = torch.eye(HIDDEN)
    identity[FLAGS[0] :] = 0
    attention.v_proj.weight.copy_(identity)
    attention.o_proj.weight.copy_(torch.eye(HIDDEN))
    model.norm.weight[FLAGS[0] :] = 0
    return model


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """RMSNorm in float32, handed on in bfloat16."""
    x = x.float()
    return (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON) * weight).bfloat16()


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Linear map in bfloat16 with float32 master weights."""
    return functional.linear(x, weight.bfloat16())


@cache
def rotary(length: int) -> tuple[Tensor, Tensor]:
    """Return the cosine and sine tables ``(length, HEAD_DIM)``."""
    inverse = ROPE_THETA ** (-torch.arange(0, HEAD_DIM, 2).float() / HEAD_DIM)
    angle = torch.arange(length).float()[:, None] * inverse[None]
    angle = torch.cat([angle, angle], -1)
    return angle.cos().bfloat16(), angle.sin().bfloat16()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary positions."""
    half = HEAD_DIM // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


def _mlp(layer: torch.nn.Module, x: Tensor) -> Tensor:
    mlp = layer.mlp
    h = rms_norm(x, layer.post_attention_layernorm.weight)
    h = functional.silu(linear(h, mlp.gate_proj.weight)) * linear(h, mlp.up_proj.weight)
    return x + linear(h, mlp.down_proj.weight).float()


def _keys(layer: torch.nn.Module, h: Tensor, offset: int) -> tuple[Tensor, Tensor]:
    """Return rotated keys and values, ``(batch, heads, length, head)``."""
    attention, shape = layer.self_attn, (*h.shape[:2], HEADS, HEAD_DIM)
    cos, sin = rotary(offset + h.shape[1])
    key = rms_norm(linear(h, attention.k_proj.weight).view(shape), attention.k_norm.weight)
    value = linear(h, attention.v_proj.weight).view(shape)
    return rotate(key.transpose(1, 2), cos[offset:], sin[offset:]), value.transpose(1, 2)


def _queries(layer: torch.nn.Module, h: Tensor, positions: Tensor, total: int) -> Tensor:
    """Return rotated queries of states ``(batch, length, hidden)``."""
    attention = layer.self_attn
    cos, sin = rotary(total)
    query = linear(h, attention.q_proj.weight).view(*h.shape[:2], HEADS, HEAD_DIM)
    query = rms_norm(query, attention.q_norm.weight)
    return rotate(query, cos[positions][..., None, :], sin[positions][..., None, :]).transpose(1, 2)


def _layer(layer: torch.nn.Module, x: Tensor, prefix: Tensor | None, last: Tensor | None) -> Tensor:
    """Run one layer on all positions, or on the last tokens alone.

    Args:
        layer: A decoder layer.
        x: States ``(batch, length, hidden)``.
        prefix: States ``(1, length, hidden)`` of a prefix that all rows share.
        last: Index of each row's last token, to compute those positions only.

    Returns:
        The new states, ``(batch, 1, hidden)`` if ``last`` is given.
    """
    batch, length = x.shape[:2]
    shared = 0 if prefix is None else prefix.shape[1]
    h = rms_norm(x, layer.input_layernorm.weight)
    key, value = _keys(layer, h, shared)
    if prefix is not None:
        shared_key, shared_value = _keys(layer, rms_norm(prefix, layer.input_layernorm.weight), 0)
        key = torch.cat([shared_key.expand(batch, -1, -1, -1), key], 2)
        value = torch.cat([shared_value.expand(batch, -1, -1, -1), value], 2)
    if last is not None:
        rows = torch.arange(batch)
        x, h, own = x[rows, last][:, None], h[rows, last][:, None], last[:, None]
    else:
        own = torch.arange(length)[None]
    query = _queries(layer, h, own + shared, shared + length)
    if last is None and prefix is None:
        out = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    else:
        seen = torch.arange(shared + length)[None, None, None] <= (own + shared)[:, None, :, None]
        out = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
    x = x + linear(out.transpose(1, 2).flatten(2), layer.self_attn.o_proj.weight).float()
    return _mlp(layer, x)


def last_hidden(model: Qwen3Model, ids: Tensor, last: Tensor, prefix: Tensor | None = None) -> Tensor:
    """Return the final hidden state of the last tokens.

    Args:
        model: A model of this module's shape with float32 weights.
        ids: Right-padded token ids ``(batch, length)``.
        last: Index of each row's last token.
        prefix: Ids ``(1, length)`` that come before every row.

    Returns:
        Float32 states ``(batch, HIDDEN)`` after the final norm.
    """
    table = model.embed_tokens.weight
    x = functional.embedding(ids, table)
    shared = None if prefix is None else functional.embedding(prefix, table)
    for layer in model.layers[:-1]:
        x, shared = _layer(layer, x, shared, None), None if shared is None else _layer(layer, shared, None, None)
    x = _layer(model.layers[-1], x, shared, last)[:, 0]
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON) * model.norm.weight


def pad(rows: Sequence[Sequence[int]], token: int) -> tuple[Tensor, Tensor]:
    """Right-pad id lists; return the ids and the index of each row's last token."""
    length = max(map(len, rows))
    ids = torch.tensor([[*row, *[token] * (length - len(row))] for row in rows])
    return ids, torch.tensor([len(row) - 1 for row in rows])
