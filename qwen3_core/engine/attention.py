"""Causal attention of packed sequences: in groups of about one length, each group a rectangle.

Everything else in a forward pass runs on tokens end to end without padding. Attention alone needs sequences apart, and
sequence by sequence it would be hundreds of small products. So sequences of similar length go together, padded at their
ends, where a causal mask lets nothing of a text look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch.nn.functional import scaled_dot_product_attention

_BLOCK = 128
"""Queries at a time on a CPU: what they must not see is then at most one block wide. It takes 0.3 of the time of
torch's flash attention on 1,024 tokens, and on 80, which are one block (bfloat16, two cores of an AMD Zen 5)."""

_ALIGNED = 32
"""torch's softmax of bfloat16 on a CPU takes half the time where rows are whole vectors (AVX-512)."""

_LONGER = 1.25
"""How much longer than its shortest the longest of a group may be."""


@dataclass(frozen=True)
class Group:
    """Sequences of about one length, each with a row of a rectangle; behind its end a sequence repeats its last token.

    Attributes:
        shape: (sequences, longest, known). The known begin with what all sequences continue, and may go on behind the
            longest.
        asked: The queries of the rectangle in (tokens * heads) of the pack, by sequence and head.
        known: Their keys, and values, in (prefix tokens + tokens) * kv_heads, by sequence and head.
        lengths: The tokens of each, (sequences,).
        members: Which sequences of the pack these are, (sequences,).
    """

    shape: tuple[int, int, int]
    asked: torch.Tensor
    known: torch.Tensor
    lengths: torch.Tensor
    members: torch.Tensor


@dataclass(frozen=True)
class Plan:
    """How the sequences of a pack are attended to; the same for all layers.

    Attributes:
        prefix: How many tokens all sequences continue.
        groups: Every sequence in one of them.
        home: Where in the groups' rectangles, laid end to end, each head of each token of the pack stands.
        ends: The last token of each sequence, (sequences,).
        home_of_ends: Where in the groups' lists, laid end to end, each sequence stands, (sequences,).
    """

    prefix: int
    groups: Sequence[Group]
    home: torch.Tensor
    ends: torch.Tensor
    home_of_ends: torch.Tensor


def plan(lengths: Sequence[int], heads: int, kv_heads: int, prefix: int, device: torch.device) -> Plan:
    """Group the sequences of a pack.

    Args:
        lengths: The tokens of each sequence, in the order of the pack; at least one each.
        heads: Query heads.
        kv_heads: Key and value heads.
        prefix: How many tokens all sequences continue.
        device: Where the pack is.
    """
    starts = [end - length for end, length in zip(accumulate(lengths), lengths, strict=True)]
    home = torch.empty(sum(lengths), heads, dtype=torch.long)
    home_of_ends = torch.empty(len(lengths), dtype=torch.long)
    shared = torch.arange(prefix)
    aligned = _ALIGNED if device.type == "cpu" else 1
    groups, before, members_before = [], 0, 0
    for members in _similar(lengths):
        counts = torch.tensor([lengths[member] for member in members])
        longest = int(counts.max())
        known = -(-(prefix + longest) // aligned) * aligned
        steps = torch.arange(known - prefix)
        own = torch.tensor([starts[member] for member in members])[:, None] + steps.minimum(counts[:, None] - 1)
        asked = own[:, :longest]
        inside = steps[:longest] < counts[:, None]
        home[asked[inside]] = before + _by_head(len(members), heads, longest).transpose(1, 2)[inside]
        home_of_ends[members] = torch.arange(members_before, members_before + len(members))
        everything = torch.cat([shared.expand(len(members), -1), own + prefix], dim=1)
        groups.append(
            Group(
                (len(members), longest, known),
                _rows(asked, heads).to(device),
                _rows(everything, kv_heads).to(device),
                counts.to(device),
                torch.tensor(members, device=device),
            )
        )
        before, members_before = before + asked.numel() * heads, members_before + len(members)
    ends = torch.tensor(list(accumulate(lengths))) - 1
    return Plan(prefix, groups, home.flatten().to(device), ends.to(device), home_of_ends.to(device))


def _by_head(sequences: int, heads: int, longest: int) -> torch.Tensor:
    """Number the places of a rectangle, (sequences, heads, longest)."""
    return torch.arange(sequences * heads * longest).view(sequences, heads, longest)


def _rows(tokens: torch.Tensor, heads: int) -> torch.Tensor:
    """Return which rows of (tokens * heads) make a rectangle of (sequences, heads, longest)."""
    return (tokens.unsqueeze(1) * heads + torch.arange(heads)[:, None]).flatten()


def _similar(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the numbers of sequences that may share a rectangle."""
    group: list[int] = []
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and lengths[number] > lengths[group[0]] * _LONGER:
            yield group
            group = []
        group.append(number)
    yield group


Cache = tuple[torch.Tensor, torch.Tensor]
"""Keys and values of a text that all sequences continue, (tokens, kv_heads, head_dim) each."""


def attend(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, layout: Plan, before: Cache | None
) -> torch.Tensor:
    """Let every token see what comes before it in its sequence, and itself.

    Args:
        queries: (tokens, heads, head_dim), already scaled.
        keys: (tokens, kv_heads, head_dim).
        values: Like `keys`.
        layout: Of the pack's sequences, which continue `before`.
        before: What all sequences continue.

    Returns:
        (tokens, heads * head_dim).
    """
    by_group = _blocks if queries.device.type == "cpu" else _fused
    rows = queries.flatten(0, 1)
    parts = [
        by_group(_rectangle(rows, group.asked, *group.shape[:2]), known, held, layout.prefix)
        for group, known, held in _groups(keys, values, layout, before)
    ]
    found = [part.reshape(-1, part.shape[-1]) for part in parts]
    return (found[0] if len(found) == 1 else torch.cat(found)).index_select(0, layout.home).view(len(queries), -1)


def attend_from_ends(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, layout: Plan, before: Cache | None
) -> torch.Tensor:
    """Let the last token of each sequence see all of it, as `attend` does for all tokens.

    Args:
        queries: (sequences, heads, head_dim), already scaled.
        keys: As in `attend`.
        values: As in `attend`.
        layout: As in `attend`.
        before: As in `attend`.

    Returns:
        (sequences, heads * head_dim).
    """
    parts = []
    for group, known, held in _groups(keys, values, layout, before):
        padding = torch.arange(group.shape[2] - layout.prefix, device=known.device) >= group.lengths[:, None]
        hidden = known.new_zeros(padding.shape).masked_fill_(padding, float("-inf"))[:, None, None, None]
        parts.append(_product(queries[group.members].unsqueeze(2), known, held, hidden))
    return torch.cat(parts).index_select(0, layout.home_of_ends).flatten(1)


def _groups(
    keys: torch.Tensor, values: torch.Tensor, layout: Plan, before: Cache | None
) -> Iterator[tuple[Group, torch.Tensor, torch.Tensor]]:
    """Yield each group with its keys and values, (sequences, kv_heads, known, head_dim)."""
    if before is not None:
        keys, values = torch.cat([before[0], keys]), torch.cat([before[1], values])
    keys, values = keys.flatten(0, 1), values.flatten(0, 1)
    for group in layout.groups:
        count, _, known = group.shape
        yield group, _rectangle(keys, group.known, count, known), _rectangle(values, group.known, count, known)


def _rectangle(rows: torch.Tensor, chosen: torch.Tensor, sequences: int, longest: int) -> torch.Tensor:
    """Return rows of (tokens * heads, head_dim) as (sequences, heads, longest, head_dim)."""
    # One copy, of whole rows, into the order that products want; `index_select` does it many times as fast as indexing.
    return rows.index_select(0, chosen).view(sequences, -1, longest, rows.shape[1])


def _fused(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, prefix: int) -> torch.Tensor:
    """Attend with torch's own kernel; (sequences, heads, tokens, head_dim) in and out."""
    asked, known = queries.shape[2], keys.shape[2]
    # `is_causal` aligns the mask at the top left: right only where both lengths agree.
    mask = None
    if asked != known:
        mask = torch.ones(asked, known, dtype=torch.bool, device=queries.device).tril(prefix)
    return scaled_dot_product_attention(
        queries, keys, values, attn_mask=mask, is_causal=mask is None, scale=1.0, enable_gqa=True
    )


def _blocks(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, prefix: int) -> torch.Tensor:
    """Attend block by block of queries, each to the keys that any of them may see."""
    asked, known = queries.shape[2], keys.shape[2]
    parts = []
    for start in range(0, asked, _BLOCK):
        end = min(start + _BLOCK, asked)
        seen = known if end == asked else prefix + end
        later = queries.new_full((end - start, seen - prefix - start), float("-inf")).triu_(1)
        parts.append(_product(queries[:, :, start:end], keys[:, :, :seen], values[:, :, :seen], later))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _product(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Attend with plain products; the query heads that share a key head are rows of one product.

    Args:
        queries: (sequences, heads, asked, head_dim).
        keys: (sequences, kv_heads, known, head_dim).
        values: Like `keys`.
        hidden: -inf where one of the last keys must not be seen, else 0; broadcast to (sequences, kv_heads,
            heads per kv_head, asked, last of known).
    """
    count, kv_heads, known, size = keys.shape
    asked = queries.shape[2]
    columns = keys.reshape(-1, known, size).transpose(1, 2)
    scores = torch.bmm(queries.reshape(count * kv_heads, -1, size), columns)
    # A sum takes a quarter of the time of `masked_fill_`.
    scores.view(count, kv_heads, -1, asked, known)[..., known - hidden.shape[-1] :].add_(hidden)
    found = torch.bmm(torch.softmax(scores, dim=-1), values.reshape(-1, known, size))
    return found.view(count, -1, asked, size)
