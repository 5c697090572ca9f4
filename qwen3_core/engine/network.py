"""A Qwen3 network as few passes over memory: weights joined and folded, everything but attention on packed tokens.

What `Network` computes is what transformers' ``Qwen3Model`` computes, which wants padded rectangles, finishes every
position, and goes over the activations a dozen times in each layer beside the products. Here

- the products of queries and keys are one, norm weights are part of the weights behind them, and the scale of
  attention is part of the queries' norm;
- rotary pairs stand side by side, so that the rotation is a product of complex numbers;
- SiLU, its product and both residual sums are part of the products (`linear`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from qwen3_core.engine.attention import Cache, Plan, attend, attend_from_ends, plan
from qwen3_core.engine.batches import CPU_BATCH_TOKENS, GPU_BATCH_TOKENS
from qwen3_core.engine.linear import Linear
from qwen3_core.engine.turns import Turns

_OPENINGS = 4
_OPENING_TOKENS = 256
"""Openings that are kept, and tokens of the longest: with a 0.6B model at most 120 MB in bfloat16, usually 3 to 10."""


@dataclass(frozen=True)
class Prefix:
    """Keys and values of a text that several sequences continue, one pair for each layer."""

    length: int
    layers: Sequence[Cache]


@dataclass(frozen=True)
class Layer:
    """The weights of one layer, and by what the inputs of the two blocks are multiplied (`Linear.balance`)."""

    queries_keys: Linear
    values: Linear
    head_norms: torch.Tensor  # (heads + kv_heads, head_dim), float32
    out: Linear
    gate: Linear
    up: Linear
    down: Linear
    into_attention: torch.Tensor | None
    into_mlp: torch.Tensor | None


class Network:
    """The layers of a Qwen3 model, for the last hidden state of each sequence.

    Any number of threads may call it: they take turns, and those who wait are computed together (`turns`).

    Args:
        model: A ``Qwen3Model``. Its layers are taken out of it, so that weights are not in memory twice.
        kind: How products are computed.
        batch_tokens: Up to how many tokens the sequences of several callers are joined; None is what this device
            computes best at once.
    """

    def __init__(self, model: Any, kind: type[Linear] = Linear, batch_tokens: int | None = None) -> None:
        config = model.config
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self._head_dim, self._eps = model.layers[0].self_attn.head_dim, config.rms_norm_eps
        self._kind, self._dtype = kind, model.dtype
        self._embed, self._rotary = model.embed_tokens, model.rotary_emb
        self._norm = model.norm.weight.detach().float()
        self._layers = []
        while len(model.layers):
            self._layers.append(self._layer(model.layers[0], last=len(model.layers) == 1))
            del model.layers[0]
        self.batch_tokens = batch_tokens or (CPU_BATCH_TOKENS if self.device.type == "cpu" else GPU_BATCH_TOKENS)
        self._turns = Turns(self._last_hidden_states, self.batch_tokens)
        self._opening = lru_cache(_OPENINGS)(self.prefix)
        _let_the_allocator_keep_memory()

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        device: torch.device = self._embed.weight.device
        return device

    def last_hidden_states(self, sequences: Sequence[Sequence[int]], prefix: Prefix | None = None) -> torch.Tensor:
        """Return the final hidden state at the last position of each sequence.

        Args:
            sequences: Token ids, each of at least one token.
            prefix: Keys and values of the text that every sequence continues; None if they start at position 0.

        Returns:
            A float32 tensor (len(sequences), hidden_size), normalised by the model's final RMSNorm.
        """
        return self._turns(sequences, prefix)

    def prefix(self, ids: Sequence[int], before: Prefix | None = None) -> Prefix:
        """Run a text once and keep its keys and values.

        Args:
            ids: At least one token.
            before: What the text continues; the new prefix begins with it.
        """
        with self._turns.alone():
            return self._prefix(ids, before)

    def behind(
        self, opening: Sequence[int], sequences: Sequence[Sequence[int]]
    ) -> tuple[Prefix | None, Sequence[Sequence[int]]]:
        """Split off what many calls begin with, as instructions do: it is computed once and kept for the next.

        Args:
            opening: What sequences may begin with.
            sequences: Token ids.

        Returns:
            The opening's prefix and what sequences have behind it; None and the sequences if one does not continue it.
        """
        start, count = list(opening), len(opening)
        continued = all(len(ids) > count and list(ids[:count]) == start for ids in sequences)
        if not (continued and 0 < count <= _OPENING_TOKENS):
            return None, sequences
        return self._opening(tuple(start)), [ids[count:] for ids in sequences]

    @torch.inference_mode()
    def _last_hidden_states(self, sequences: Sequence[Sequence[int]], prefix: Prefix | None) -> torch.Tensor:
        hidden, layout, rotation = self._begin(sequences, prefix)
        for number, layer in enumerate(self._layers[:-1]):
            before = prefix.layers[number] if prefix else None
            queries, keys, values = self._project(layer, hidden, rotation)
            hidden = self._finish(layer, hidden, attend(queries, keys, values, layout, before))
        ends = self._last(self._layers[-1], hidden, layout, rotation, prefix.layers[-1] if prefix else None).float()
        return ends.mul(self._inverse_rms(ends)).mul(self._norm)

    @torch.inference_mode()
    def _prefix(self, ids: Sequence[int], before: Prefix | None) -> Prefix:
        hidden, layout, rotation = self._begin([ids], before)
        kept: list[Cache] = []
        for number, layer in enumerate(self._layers):
            known = before.layers[number] if before else None
            queries, keys, values = self._project(layer, hidden, rotation)
            kept.append((torch.cat([known[0], keys]), torch.cat([known[1], values])) if known else (keys, values))
            if number < len(self._layers) - 1:
                hidden = self._finish(layer, hidden, attend(queries, keys, values, layout, known))
        return Prefix(layout.prefix + len(ids), kept)

    def _begin(
        self, sequences: Sequence[Sequence[int]], prefix: Prefix | None
    ) -> tuple[torch.Tensor, Plan, torch.Tensor]:
        offset = prefix.length if prefix else 0
        lengths = [len(ids) for ids in sequences]
        ids = torch.tensor([i for sequence in sequences for i in sequence], device=self.device)
        positions = torch.cat([torch.arange(offset, offset + length) for length in lengths]).to(self.device)
        cos, sin = self._rotary(self._norm, positions.unsqueeze(0))  # the first says only: in float32
        half = self._head_dim // 2
        rotation = torch.complex(cos[0, :, None, :half], sin[0, :, None, :half])
        layout = plan(lengths, self.heads, self.kv_heads, offset, self.device)
        return self._embed(ids).to(self._kind.residual_dtype(self._dtype)), layout, rotation

    def _project(
        self, layer: Layer, hidden: torch.Tensor, rotation: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        inverse = self._inverse_rms(hidden)
        x = self._kind.scaled(hidden, inverse, layer.into_attention)

        def of(product: Linear) -> torch.Tensor:
            if isinstance(product, self._kind):
                return product(x)
            return product(product.scaled(hidden, inverse).to(product.weight.dtype))  # see `Int8Linear`

        heads = self._rotated(of(layer.queries_keys), layer.head_norms, rotation)
        queries, keys = (
            part.to(self._dtype, memory_format=torch.contiguous_format)
            for part in (heads[:, : self.heads], heads[:, self.heads :])
        )
        values = of(layer.values).to(self._dtype).view(-1, self.kv_heads, self._head_dim)
        return queries, keys, values

    def _last(
        self, layer: Layer, hidden: torch.Tensor, layout: Plan, rotation: torch.Tensor, before: Cache | None
    ) -> torch.Tensor:
        """Run the last layer, from which only the ends of sequences go on; the others are wanted for keys and values.

        Their queries come along in the product with the keys: a two-hundredth of all work with the 0.6B models.
        """
        queries, keys, values = self._project(layer, hidden, rotation)
        attended = attend_from_ends(queries[layout.ends], keys, values, layout, before)
        return self._finish(layer, hidden[layout.ends], attended)

    def _finish(self, layer: Layer, hidden: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        scaled = self._kind.scaled
        hidden = layer.out.plus(scaled(attended), hidden)
        x = scaled(hidden, self._inverse_rms(hidden), layer.into_mlp)
        return layer.down.plus(layer.up.times(x, layer.gate.silu(x)), hidden)

    def _rotated(self, projected: torch.Tensor, norms: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
        """Normalise each head and turn it by its position; float32, (tokens, heads, head_dim)."""
        heads = projected.view(len(projected), -1, self._head_dim).float()
        inverse = self._inverse_rms(heads)
        heads.mul_(norms).mul_(inverse)
        torch.view_as_complex(heads.view(*heads.shape[:2], -1, 2)).mul_(rotation)
        return heads

    def _inverse_rms(self, x: torch.Tensor) -> torch.Tensor:
        norm: torch.Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        return norm.square_().div_(x.shape[-1]).add_(self._eps).rsqrt_()

    @torch.inference_mode()
    def _layer(self, layer: Any, *, last: bool) -> Layer:
        """Take the weights of a layer of transformers, joined and folded."""
        block, mlp = layer.self_attn, layer.mlp
        first, second = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
        pairs = torch.arange(self._head_dim).view(2, -1).t().flatten()  # dimension i beside i + head_dim / 2
        queries_keys = torch.cat([block.q_proj.weight, block.k_proj.weight])
        paired = queries_keys.view(-1, self._head_dim, queries_keys.shape[1])[:, pairs].flatten(0, 1)
        asking, values = _folded(paired, first), _folded(block.v_proj.weight, first)
        gate, up, down = (
            _folded(mlp.gate_proj.weight, second),
            _folded(mlp.up_proj.weight, second),
            mlp.down_proj.weight,
        )
        kind = self._kind
        into_attention = kind.balance(asking)
        into_mlp, inside = kind.balance(gate, up), kind.balance(down)
        query_norm = block.q_norm.weight.float()[pairs] * block.scaling
        key_norm = block.k_norm.weight.float()[pairs]
        return Layer(
            queries_keys=kind.of_last_attention(asking) if last else kind(_divided(asking, into_attention)),
            values=kind.of_values(values),
            head_norms=torch.cat([query_norm.expand(self.heads, -1), key_norm.expand(self.kv_heads, -1)]),
            out=kind(block.o_proj.weight.detach()),
            gate=kind(_divided(gate, into_mlp)),
            # What multiplies the inputs of `down` comes with the outputs of `up`.
            up=kind(_divided(up, into_mlp) if inside is None else _divided(up, into_mlp) * inside[:, None]),
            down=kind(_divided(down.detach(), inside)),
            into_attention=into_attention,
            into_mlp=into_mlp,
        )


def _let_the_allocator_keep_memory() -> None:
    """Have glibc keep what activations leave, instead of giving it back and being given it again page by page.

    Its threshold follows the largest block that was ever freed, up to 32 MiB; the activations' own blocks are smaller,
    and a tenth of the time went into page faults. At most 64 MiB stay with the process. Other allocators do not care.
    """
    block = torch.empty(2**25 - 2**14, dtype=torch.uint8)
    del block


def _folded(weight: torch.Tensor, norm: torch.Tensor) -> torch.Tensor:
    """Return weights that take the norm's weights upon them."""
    return (weight.float() * norm.float()).to(weight.dtype)


def _divided(weight: torch.Tensor, channels: torch.Tensor | None) -> torch.Tensor:
    """Return weights whose inputs are multiplied by `channels`."""
    return weight if channels is None else weight.float() / channels
