"""Construct a reranker: a Qwen3 causal LM that computes a dot product and answers yes or no.

Layer 0 flags the query and the document of the prompt, layer 1 pools each of them into one half of
the residual stream of the last token, and its SwiGLU multiplies the halves and writes their dot
product into the direction that separates ``yes`` from ``no``. Layer 2 starts as the identity.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from model import (
    FLAG,
    FLAG_KEY,
    FLAGS,
    HEAD_DIM,
    HEADS,
    HIDDEN,
    MARK,
    MARKS,
    NOISE,
    ONE,
    SHARPNESS,
    WEIGHT,
    config,
    flag_layer,
    weight_channel,
)  # fmt: skip
from tokenizer import END_OF_TEXT, NOT_SPECIAL, SPECIAL
from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM, Qwen3Model

PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the "
    'Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"

TASK = "Given a web search query, retrieve relevant passages that answer the query"
SAMPLES = [
    "How do I change the port of the server?",
    "An index speeds up queries at the cost of slower writes and more disk space.",
    "Set the environment variable before you start the process.",
    "what is a transaction log",
]

POOLED = 121  # semantic dimensions of each side; the MLP spends two units on each
HALF = HIDDEN // 2
SCORE = FLAGS[0] - 1  # residual direction between yes and no
IN_QUERY, IN_DOCUMENT = FLAGS


@dataclass(frozen=True)
class Marks:
    """Ids of the tokens that the construction treats specially."""

    yes: int
    no: int
    query: int
    document: int
    last: int
    silent: tuple[int, ...]  # tokens of the template, which say nothing about the query or document

    @staticmethod
    def of(tokenizer: PreTrainedTokenizerBase) -> Marks:
        """Find the marks in a tokenizer.

        Raises:
            ValueError: If the vocabulary splits a word that has to be one token.
        """
        words = ["yes", "no", "Query", "Document", "\n", "\n\n"]
        ids = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in words]
        if any(len(row) != 1 for row in ids):
            message = f"each of {words} must be one token"
            raise ValueError(message)
        added = tokenizer.convert_tokens_to_ids(SPECIAL + NOT_SPECIAL)
        template = tokenizer("<Document>:\n" + SUFFIX, add_special_tokens=False)["input_ids"]
        yes, no, query, document = (row[0] for row in ids[:4])
        return Marks(yes, no, query, document, template[-1], tuple({*added, *template}))


def _flag_and_refine(layer: torch.nn.Module, source: torch.nn.Module) -> None:
    """Flag query and document, and take over the embedder's first MLP, blind to its flags and marks."""
    flag_layer(layer)
    layer.mlp.load_state_dict(source.mlp.state_dict())
    layer.post_attention_layernorm.load_state_dict(source.post_attention_layernorm.state_dict())
    for projection in (layer.mlp.gate_proj, layer.mlp.up_proj):
        projection.weight[:, SCORE:WEIGHT] = 0
    layer.mlp.down_proj.weight[SCORE:WEIGHT] = 0
    layer.mlp.down_proj.weight[ONE] = 0


def _pool_layer(layer: torch.nn.Module, source: torch.nn.Module) -> None:
    """Make heads 0 and 1 pool the query, heads 2 and 3 the document, as the embedder pools 128 dimensions."""
    layer.input_layernorm.load_state_dict(source.input_layernorm.state_dict())
    attention, trained = layer.self_attn, source.self_attn
    attention.load_state_dict(trained.state_dict())
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        projection.weight[HALF:] = projection.weight[:HALF].clone()
    attention.o_proj.weight.zero_()
    for start in (0, HALF):
        block = trained.o_proj.weight[:POOLED, :HALF]
        attention.o_proj.weight[start : start + POOLED, start : start + HALF] = block
    for head in range(HEADS):
        # Zero inside the segment, far below zero outside of it.
        key = attention.k_proj.weight[head * HEAD_DIM + FLAG]
        key.zero_()
        key[ONE] = -FLAG_KEY
        of_query = head < HEADS // 2
        key[IN_QUERY if of_query else IN_DOCUMENT] = FLAG_KEY
        if of_query:
            key[IN_DOCUMENT] = -FLAG_KEY


def _rest(embedder: Qwen3Model, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> torch.Tensor:
    """Return the mean state of the pooled token before the last layer: the constant part of a vector."""
    end = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    states = []
    for text in texts:
        ids = torch.tensor([[*tokenizer(text)["input_ids"], end]])
        states.append(embedder(input_ids=ids, output_hidden_states=True).hidden_states[-2][0, -1])
    return torch.stack(states).mean(0)


def _set_rest(model: Qwen3ForCausalLM, token: int, query: torch.Tensor, document: torch.Tensor) -> None:
    """Choose the row of the last token so that layer 0 leaves the constant parts in its two halves."""
    layer, row = model.model.layers[0], model.model.embed_tokens.weight[token]
    flags, target = torch.zeros(HIDDEN), torch.zeros(SCORE)
    flags[list(FLAGS)] = 1
    target[:POOLED], target[HALF : HALF + POOLED] = query[:POOLED], document[:POOLED]
    for _ in range(50):
        row[:SCORE] += 0.5 * (target - row[:SCORE] - layer.mlp(layer.post_attention_layernorm(row + flags))[:SCORE])


def _product(layer: torch.nn.Module, gain: float) -> None:
    """Make the MLP write ``gain * (query . document)``: u silu(g) - u silu(-g) = u g."""
    mlp = layer.mlp
    mlp.gate_proj.weight[: 2 * POOLED].normal_(0, NOISE)
    mlp.up_proj.weight[: 2 * POOLED].normal_(0, NOISE)
    for sign, offset in ((1, 0), (-1, 1)):
        for row in range(POOLED):
            unit = 2 * row + offset
            mlp.gate_proj.weight[unit, row] = sign
            mlp.up_proj.weight[unit, HALF + row] = sign
            mlp.down_proj.weight[SCORE, unit] = gain


@torch.no_grad()
def construct(embedder: Qwen3Model, tokenizer: PreTrainedTokenizerBase, gain: float = 0.002) -> Qwen3ForCausalLM:
    """Build the reranker from the trained embedder.

    Args:
        embedder: The trained embedder; its rows, first MLP and pooling are taken over.
        tokenizer: The reranker's tokenizer.
        gain: Scale of the dot product in the residual stream.

    Returns:
        The model in float32.
    """
    marks = Marks.of(tokenizer)
    rows = embedder.embed_tokens.weight.clone()
    silent = [*marks.silent, marks.query, marks.document]
    rows[:, SCORE:WEIGHT] = 0
    # Masks compare flags with the constant channel, so training's drift of it has to go.
    rows[:, WEIGHT] /= rows[:, ONE]
    rows[:, ONE] = 1
    rows[silent] = 0
    rows[silent, WEIGHT], rows[silent, ONE] = weight_channel(torch.tensor(-SHARPNESS)), 1
    rows[marks.query, MARKS[0]] = rows[marks.document, MARKS[1]] = MARK
    rows[[marks.yes, marks.no]] = rows[silent[0]].clone()
    # Otherwise equal, so that the difference of their logits is the score alone.
    rows[marks.yes, SCORE], rows[marks.no, SCORE] = 2, -2
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(config(len(rows), tokenizer.convert_tokens_to_ids(END_OF_TEXT))).float()
    model.model.embed_tokens.weight.copy_(rows)
    for layer in model.model.layers:
        layer.mlp.down_proj.weight.zero_()
        layer.self_attn.o_proj.weight.zero_()
    _flag_and_refine(model.model.layers[0], embedder.layers[0])
    _pool_layer(model.model.layers[1], embedder.layers[-1])
    _product(model.model.layers[1], gain)
    queries = [f"Instruct: {TASK}\nQuery:{text}" for text in SAMPLES]
    _set_rest(model, marks.last, _rest(embedder, tokenizer, queries), _rest(embedder, tokenizer, SAMPLES))
    return model
