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

_LONGER = 1.25
"""How much longer than its shortest the longest of a group may be."""


@dataclass(frozen=True)
class Group:
    """Sequences of about one length.

    Attributes:
        rows: Which token of the pack stands where, (sequences, longest); behind its end a sequence repeats its last.
        lengths: The tokens of each, (sequences,).
        members: Which sequences of the pack these are, (sequences,).
    """

    rows: torch.Tensor
    lengths: torch.Tensor
    members: torch.Tensor

    def of(self, packed: torch.Tensor) -> torch.Tensor:
        """Return (tokens, ...) as (sequences, longest, ...)."""
        # `index_select` copies whole rows where indexing goes number by number.
        return packed.flatten(1).index_select(0, self.rows.flatten()).view(*self.rows.shape, *packed.shape[1:])


@dataclass(frozen=True)
class Plan:
    """How the sequences of a pack are attended to; the same for all layers.

    Attributes:
        groups: Every sequence in one of them.
        home: Where in the groups' rectangles, laid end to end, each token of the pack stands, (tokens,).
        ends: The last token of each sequence, (sequences,).
        home_of_ends: Where in the groups' lists, laid end to end, each sequence stands, (sequences,).
    """

    groups: Sequence[Group]
    home: torch.Tensor
    ends: torch.Tensor
    home_of_ends: torch.Tensor


def plan(lengths: Sequence[int], device: torch.device) -> Plan:
    """Group the sequences of a pack.

    Args:
        lengths: The tokens of each sequence, in the order of the pack; at least one each.
        device: Where the pack is.
    """
    starts = [end - length for end, length in zip(accumulate(lengths), lengths, strict=True)]
    home, home_of_ends = torch.empty(sum(lengths), dtype=torch.long), torch.empty(len(lengths), dtype=torch.long)
    groups, before, members_before = [], 0, 0
    for members in _similar(lengths):
        counts = torch.tensor([lengths[member] for member in members])
        longest = int(counts.max())
        steps = torch.arange(longest)
        rows = torch.tensor([starts[member] for member in members])[:, None] + steps.minimum(counts[:, None] - 1)
        inside = steps < counts[:, None]
        home[rows[inside]] = before + inside.flatten().nonzero().squeeze(1)
        home_of_ends[members] = torch.arange(members_before, members_before + len(members))
        groups.append(Group(rows.to(device), counts.to(device), torch.tensor(members, device=device)))
        before, members_before = before + rows.numel(), members_before + len(members)
    ends = torch.tensor(list(accumulate(lengths))) - 1
    return Plan(groups, home.to(device), ends.to(device), home_of_ends.to(device))


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
        layout: Of the pack's sequences.
        before: What all sequences continue.

    Returns:
        (tokens, heads * head_dim).
    """
    by_group = _blocks if queries.device.type == "cpu" else _fused
    parts = [by_group(group.of(queries), known, held) for group, known, held in _groups(keys, values, layout, before)]
    return _laid_out(parts, layout.home)


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
        offset = known.shape[1] - group.rows.shape[1]
        padding = torch.arange(known.shape[1], device=known.device) >= offset + group.lengths[:, None]
        asked = queries[group.members].unsqueeze(1)
        parts.append(_product(asked, known, held, hidden=padding[:, None, None, None]))
    return _laid_out(parts, layout.home_of_ends)


def _groups(
    keys: torch.Tensor, values: torch.Tensor, layout: Plan, before: Cache | None
) -> Iterator[tuple[Group, torch.Tensor, torch.Tensor]]:
    """Yield each group with its keys and values, (sequences, known, kv_heads, head_dim)."""
    for group in layout.groups:
        known, held = group.of(keys), group.of(values)
        yield (group, known, held) if before is None else (group, _behind(before[0], known), _behind(before[1], held))


def _behind(shared: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Put what all sequences begin with in front of each one's own."""
    return torch.cat([shared.unsqueeze(0).expand(len(own), *shared.shape), own], dim=1)


def _laid_out(parts: list[torch.Tensor], home: torch.Tensor) -> torch.Tensor:
    """Return groups of (sequences, asked, heads, head_dim) in the order of the pack, (asked, heads * head_dim)."""
    rows = [part.flatten(0, 1).flatten(1) for part in parts]
    return (rows[0] if len(rows) == 1 else torch.cat(rows)).index_select(0, home)


def _fused(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Attend with torch's own kernel; (sequences, tokens, heads, head_dim) in and out."""
    asked, known = queries.shape[1], keys.shape[1]
    # `is_causal` aligns the mask at the top left: right only where both lengths agree.
    mask = None
    if asked != known:
        mask = torch.ones(asked, known, dtype=torch.bool, device=queries.device).tril(known - asked)
    return scaled_dot_product_attention(
        queries.transpose(1, 2),
        keys.transpose(1, 2),
        values.transpose(1, 2),
        attn_mask=mask,
        is_causal=mask is None,
        scale=1.0,
        enable_gqa=queries.shape[2] != keys.shape[2],
    ).transpose(1, 2)


def _blocks(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Attend block by block of queries, each to the keys that any of them may see."""
    asked, offset = queries.shape[1], keys.shape[1] - queries.shape[1]
    parts = []
    for start in range(0, asked, _BLOCK):
        end = min(start + _BLOCK, asked)
        seen = offset + end
        later = torch.ones(end - start, seen, dtype=torch.bool, device=queries.device).triu(offset + start + 1)
        parts.append(_product(queries[:, start:end], keys[:, :seen], values[:, :seen], hidden=later))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _product(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *, hidden: torch.Tensor) -> torch.Tensor:
    """Attend with plain products; the query heads that share a key head are rows of one product.

    Args:
        queries: (sequences, asked, heads, head_dim).
        keys: (sequences, known, kv_heads, head_dim).
        values: Like `keys`.
        hidden: What must not be seen, broadcast to (sequences, kv_heads, heads per kv_head, asked, known).
    """
    count, asked, heads, size = queries.shape
    known, kv_heads = keys.shape[1:3]
    shared = heads // kv_heads
    rows = queries.reshape(count, asked, kv_heads, shared, size).permute(0, 2, 3, 1, 4)
    columns = keys.permute(0, 2, 3, 1).reshape(count * kv_heads, size, known)
    scores = torch.bmm(rows.reshape(count * kv_heads, shared * asked, size), columns)
    scores.view(count, kv_heads, shared, asked, known).masked_fill_(hidden, float("-inf"))
    weights = torch.softmax(scores, dim=-1)
    found = torch.bmm(weights, values.transpose(1, 2).reshape(count * kv_heads, known, size))
    return found.view(count, kv_heads, shared, asked, size).permute(0, 3, 1, 2, 4).reshape(count, asked, heads, size)
