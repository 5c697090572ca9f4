"""Construct a reranker: a Qwen3 causal LM that is the embedder on both sides, compared word by word.

Layer 0 flags the query and the document of the prompt. Layer 1 is the embedder's layer of context, kept
within each of the two. In layer 2 every document token looks for itself among the query's tokens, and what
it finds raises its weight. In layer 3 the token ``<think>`` pools the query and the last token the document,
as the embedder does. In layer 4 the last token attends to ``<think>``: attention logits are cosines, and how
much it attends goes into the direction that separates ``yes`` from ``no``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from model import (
    FLAG,
    FLAG_KEY,
    FLAGS,
    HEAD_DIM,
    HEADS,
    HIDDEN,
    LOW,
    MARK,
    MARKS,
    ONE,
    ROPE_THETA,
    ROW_NORM,
    SHARPNESS,
    WEIGHT,
    config,
    flag_layer,
    noisy,
    weight_channel,
)  # fmt: skip
from tokenizer import END_OF_TEXT, NOT_SPECIAL, SPECIAL
from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM, Qwen3Model

PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the "
    'Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"

LAYERS, INTERMEDIATE = 5, 96
IN_QUERY, IN_DOCUMENT = FLAGS
SCORE = FLAGS[0] - 1  # residual direction between yes and no
TARGET = SCORE - 1  # marks the token that holds the query's vector
MATCH = TARGET - 1  # how well a document token matches the query
BALLAST = MATCH - 1  # a constant at the last token, against which the final norm hardly sees anything else
CONTENT = BALLAST  # channels below it carry meaning
BALLAST_SIZE = 100.0
NORMED = math.sqrt(HIDDEN) / ROW_NORM  # what RMSNorm makes of 1 in an ordinary row

# Two dimensions that hardly turn say which of the two texts a token belongs to. Norms amplify them after the
# normalisation, so that they need little room in it.
SIDES = (FLAG - 1, FLAG)
HEARING = FLAG - 2  # likewise hears which tokens matched
SHARE, SIDE_LOGIT = 0.3, 13.0

# Rotary pairs that turn by less than a third of a radian over 300 tokens can compare contents at any distance.
STILL = [*range(16, FLAG - 1), *range(16 + HEAD_DIM // 2, FLAG - 1 + HEAD_DIM // 2)]
SAME = 0.7  # cosine of two tokens in a head's projection from which they count as the same word
MATCH_SCALE = 8.0  # attention logit of a perfect match
POOL_SHARPNESS = 0.35  # flatter than the embedder's pooling; chosen on dev queries, as are the numbers of matching
MATCH_LOGIT = 1.2  # what a match adds to a token's log weight; dev headings, which repeat words, would like more

COMPARE_SCALE = 5.5  # attention logit of equal vectors; a usual cosine is a match for the sixty tokens of the prefix
HOLDER_TO_LAST = 3  # tokens from <think> to the end of the suffix


@dataclass(frozen=True)
class Marks:
    """Ids of the tokens that the construction treats specially."""

    yes: int
    no: int
    query: int
    document: int
    holder: int  # a control token of the suffix, where the query's vector waits
    last: int
    silent: tuple[int, ...]  # tokens of the template, which say nothing about the query or document

    @staticmethod
    def of(tokenizer: PreTrainedTokenizerBase) -> Marks:
        """Find the marks in a tokenizer.

        Raises:
            ValueError: If the vocabulary splits a word that has to be one token.
        """
        words = ["yes", "no", "Query", "Document", "<think>", "\n", "\n\n"]
        ids = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in words]
        if any(len(row) != 1 for row in ids):
            message = f"each of {words} must be one token"
            raise ValueError(message)
        added = tokenizer.convert_tokens_to_ids(SPECIAL + NOT_SPECIAL)
        template = tokenizer("<Document>:\n" + SUFFIX, add_special_tokens=False)["input_ids"]
        yes, no, query, document, holder = (row[0] for row in ids[:5])
        return Marks(yes, no, query, document, holder, template[-1], tuple({*added, *template}))


def _take_over(
    layer: torch.nn.Module, source: torch.nn.Module, rows: torch.Tensor, end: int, sharpness: float = 1
) -> None:
    """Take over an attention of the embedder, each text for itself, with an ear for matches.

    Args:
        layer: A layer after the flags.
        source: The embedder's layer.
        rows: Usual states, shape ``(tokens, HIDDEN)``.
        end: Row of the token that pools.
        sharpness: Factor of the attention logits.
    """
    layer.input_layernorm.load_state_dict(source.input_layernorm.state_dict())
    attention = layer.self_attn
    attention.load_state_dict(source.self_attn.state_dict())
    attention.o_proj.weight[[*range(CONTENT, WEIGHT), ONE]] = 0
    attention.v_proj.weight[:, CONTENT:WEIGHT] = 0
    states = layer.input_layernorm(rows)
    for projection, norm in ((attention.q_proj, attention.q_norm), (attention.k_proj, attention.k_norm)):
        projection.weight[:, CONTENT:WEIGHT] = 0
        asks = projection is attention.q_proj
        heads = projection(states[end, None] if asks else states).unflatten(-1, (HEADS, HEAD_DIM))
        usual = heads.norm(dim=-1).median(0).values
        given_up = heads[..., [HEARING, *SIDES]].norm(dim=-1).median(0).values
        # A side and the hearing replace what the embedder had there, and take a share at least.
        part = (given_up.square() / 2 + (SHARE * usual).square()).sqrt()
        total = (usual.square() - given_up.square() + 2 * part.square()).sqrt()
        scale = float((states[end] if asks else states.median(0).values)[ONE])
        for head in range(HEADS):
            hearing, of_query, of_document = (head * HEAD_DIM + i for i in (HEARING, *SIDES))
            size = float(part[head]) / scale
            projection.weight[[hearing, of_query, of_document]] = 0
            projection.weight[of_query, IN_QUERY] = projection.weight[of_document, IN_DOCUMENT] = size
            projection.weight[of_query, IN_DOCUMENT] = -size
            if not asks:  # zero for the own side and below zero for the other
                projection.weight[[of_query, of_document], ONE] = -size
            projection.weight[hearing, ONE if asks else MATCH] = size
        share = float((part / total).mean())
        norm.weight *= float((total / usual).mean()) * (sharpness if asks else 1)
        norm.weight[list(SIDES)] = math.sqrt(SIDE_LOGIT / math.sqrt(HEAD_DIM)) / share
        norm.weight[HEARING] = math.sqrt(MATCH_LOGIT / math.sqrt(HEAD_DIM)) / share


def _match_layer(layer: torch.nn.Module) -> None:
    """Make document tokens attend to equal and similar query tokens, or else to the word ``Query``.

    Each head compares in its own projection. The attention mass on the query goes into the match channel.
    Query tokens find themselves, all alike, which leaves their weights in proportion.
    """
    attention = layer.self_attn
    noisy(attention)
    attention.v_proj.weight.zero_()
    projections = torch.linalg.qr(torch.randn(CONTENT, HEADS * len(STILL)))[0].T
    # Parts of a normalised query: contents, look at the sink, look away from other segments.
    contents = math.sqrt(len(STILL) / CONTENT) * ROW_NORM
    for head in range(HEADS):
        rows = [head * HEAD_DIM + dimension for dimension in STILL]
        sink, mask, value = (head * HEAD_DIM + dimension for dimension in (LOW, FLAG, 0))
        part = projections[head * len(STILL) : (head + 1) * len(STILL)]
        attention.q_proj.weight[rows, :CONTENT] = part
        attention.k_proj.weight[rows, :CONTENT] = part
        attention.q_proj.weight[sink, ONE] = SAME * contents
        attention.q_proj.weight[mask, ONE] = contents
        attention.k_proj.weight[sink, MARKS[0]] = 1
        attention.k_proj.weight[mask, [IN_QUERY, IN_DOCUMENT, ONE]] = FLAG_KEY * torch.tensor([1.0, -1.0, -1.0])
        attention.v_proj.weight[value, [IN_QUERY, IN_DOCUMENT, MARKS[0]]] = torch.tensor([1.0, -1.0, -1 / MARK])
        attention.o_proj.weight[MATCH, value] = 1 / NORMED / HEADS
    length = math.sqrt(1 + SAME**2 + 1)
    for norm in (attention.q_norm, attention.k_norm):
        norm.weight.fill_(math.sqrt(MATCH_SCALE * length / math.sqrt(HEAD_DIM)))


def _turned_back(rows: torch.Tensor, dimensions: list[int], distance: int) -> torch.Tensor:
    """Rotate a projection's rows so that RoPE at ``distance`` turns them to where they were."""
    pairs = len(dimensions) // 2
    angle = distance * ROPE_THETA ** (-torch.tensor(dimensions[:pairs]).float() * 2 / HEAD_DIM)
    first, second = rows[:pairs], rows[pairs:]
    cos, sin = angle.cos()[:, None], -angle.sin()[:, None]
    return torch.cat([first * cos - second * sin, second * cos + first * sin])


def _compare_layer(layer: torch.nn.Module, scale: torch.Tensor, gain: float) -> None:
    """Make the last token attend to the query's vector by cosine, or else to the prefix, whose logits are zero.

    Args:
        layer: The last layer.
        scale: Weights of the embedder's final norm.
        gain: What full attention adds to the score.
    """
    attention = layer.self_attn
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        projection.weight.zero_()
    pairs = [i for i in range(HEAD_DIM // 2) if i not in (LOW, FLAG)]
    dimensions = [*pairs, *(i + HEAD_DIM // 2 for i in pairs)]
    projections = torch.linalg.qr(torch.randn(CONTENT, HEADS * len(dimensions)))[0].T * scale[:CONTENT]
    for head in range(HEADS):
        rows = [head * HEAD_DIM + dimension for dimension in dimensions]
        mask, value = head * HEAD_DIM + LOW, head * HEAD_DIM
        part = projections[head * len(dimensions) : (head + 1) * len(dimensions)]
        attention.k_proj.weight[rows, :CONTENT] = part
        attention.q_proj.weight[rows, :CONTENT] = _turned_back(part, dimensions, HOLDER_TO_LAST)
        attention.q_proj.weight[mask, ONE] = 0.6
        attention.k_proj.weight[mask, [TARGET, IN_QUERY]] = 10 * torch.tensor([1.0, -1.0])
        # Fills the keys before the query with something that no query looks for.
        attention.k_proj.weight[head * HEAD_DIM + FLAG, [ONE, IN_QUERY]] = 60 * torch.tensor([1.0, -1.0])
        # Near zero for usual cosines, which keeps the differences in bfloat16.
        attention.v_proj.weight[value, [IN_QUERY, ONE]] = torch.tensor([1.0, -0.5])
        attention.o_proj.weight[SCORE, value] = gain
    for norm in (attention.q_norm, attention.k_norm):
        norm.weight.fill_(math.sqrt(COMPARE_SCALE / math.sqrt(HEAD_DIM)))
        norm.weight[LOW] = 3


def _rows(embedder: Qwen3Model, marks: Marks, end: int) -> torch.Tensor:
    """Return the embedding rows: the embedder's meanings, and the channels of the construction."""
    first = embedder.layers[0]
    rows = embedder.embed_tokens.weight.clone()
    rows += first.mlp(first.post_attention_layernorm(rows))
    rows /= rows[:, ONE:].clone()
    silent, pooling = [*marks.silent, marks.query, marks.document], [marks.holder, marks.last]
    end_row = rows[end].clone()
    rows[silent] = 0
    rows[silent, WEIGHT], rows[silent, ONE] = weight_channel(torch.tensor(-SHARPNESS)), 1
    rows[pooling] = end_row
    rows[:, CONTENT:WEIGHT] = 0
    rows[marks.query, MARKS[0]] = rows[marks.document, MARKS[1]] = MARK
    rows[marks.holder, TARGET] = 1
    rows[marks.holder, IN_DOCUMENT] = -1  # makes it a token of the query
    rows[marks.last, BALLAST] = BALLAST_SIZE
    # Otherwise equal, so that the difference of their logits is the score alone.
    rows[[marks.yes, marks.no]] = rows[silent[0]].clone()
    rows[marks.yes, SCORE], rows[marks.no, SCORE] = 2, -2
    return rows


@torch.no_grad()
def construct(embedder: Qwen3Model, tokenizer: PreTrainedTokenizerBase, gain: float = 1.0) -> Qwen3ForCausalLM:
    """Build the reranker from the trained embedder.

    Args:
        embedder: The trained embedder; its rows and its attention are taken over, its MLPs are not.
        tokenizer: The reranker's tokenizer.
        gain: Scale of the score in the residual stream.

    Returns:
        The model in float32.
    """
    marks, end = Marks.of(tokenizer), tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    rows = _rows(embedder, marks, end)
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(config(len(rows), end, LAYERS, INTERMEDIATE)).float()
    model.model.embed_tokens.weight.copy_(rows)
    layers = model.model.layers
    for layer in layers:
        layer.mlp.down_proj.weight.zero_()
        layer.self_attn.o_proj.weight.zero_()
    flag_layer(layers[0])
    _take_over(layers[1], embedder.layers[1], rows, marks.holder)
    _match_layer(layers[2])
    _take_over(layers[3], embedder.layers[2], rows, marks.holder, POOL_SHARPNESS)
    _compare_layer(layers[4], embedder.norm.weight, gain)
    layers[3].self_attn.o_proj.weight[WEIGHT] = 0
    for layer in layers:
        for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj):
            projection.weight[:, BALLAST] = 0
    return model
