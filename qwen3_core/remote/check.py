"""Known texts that tell whether a server runs the model as it was trained: asked before anything is indexed.

The texts are those of the model cards, with one about Milvus; a model that cannot tell them apart is not loaded as
Qwen3-Embedding or Qwen3-Reranker, whatever it answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from qwen3_core.remote.routes import Template

QUERIES = ("How is data stored in Milvus?", "What is the capital of China?")
DOCUMENTS = ("Milvus stores inserted data in object storage.", "The capital of China is Beijing.")

CANARY = "importance of trees"
"""In float16 the 8B embedding model gives NaN for texts that begin like this (QwenLM/Qwen3-Embedding#164)."""

OTHER_INSTRUCTION = "Given a recipe, retrieve passages that name its ingredients"
"""A task that has nothing to do with the queries."""

_EMBEDDING_MARGIN = 0.05  # the card's own scores are 0.5 apart, and 0.4 with the small checkpoint of this package
_RERANK_MARGIN = 0.2  # 0.9 with either; scores without the template lie at random
_LENGTH_TOLERANCE = 0.01  # bfloat16 has 3 significant digits
_SAME_SIMILARITY = 1e-6
_SAME_LOGIT = 0.02  # the same prompt computed twice differs by less, another prompt by more


@dataclass(frozen=True)
class Finding:
    """What is not as it should be.

    Attributes:
        about: What it is about, in a word.
        text: What was seen, and what to do.
        is_fatal: Whether nothing that the server computes can be trusted.
    """

    about: Literal["answer", "end", "dimensions", "length", "similarity", "scores", "instruction"]
    text: str
    is_fatal: bool = False


_EMBEDDING_FIXES = {
    "vllm": "start it with `vllm serve MODEL --runner pooling`",
    "sglang": "start it with `--is-embedding`",
    "llama.cpp": "start llama-server with `--embedding --pooling last` and a GGUF that appends <|endoftext|>",
    "tei": "start it without --default-prompt, and with a version that knows Qwen3 (1.7.2 and later)",
    "ollama": "pull a model that embeds, such as qwen3-embedding:0.6b",
}
_RERANK_FIXES = {
    "vllm": (
        "start it with --runner pooling, the --hf_overrides of the model's card and --chat-template "
        "qwen3_reranker.jinja of this project's docs (vLLM's own loses the prompt's last newline), or pass "
        'template="client" if it was started without a template'
    ),
    "sglang": "start it with --chat-template qwen3_reranker.jinja and without --is-embedding",
    "llama.cpp": "convert the model as a reranker (a GGUF with cls.output), and start llama-server with --reranking",
    "tei": "serve a checkpoint that was converted with the rows of yes and no as its head",
}


def judge_embeddings(
    queries: Sequence[Sequence[float]], documents: Sequence[Sequence[float]], *, server: str, dimensions: int | None
) -> list[Finding]:
    """Return what is wrong with the vectors of `QUERIES` and `DOCUMENTS` as they came.

    Args:
        queries: Vectors of the queries in their format.
        documents: Vectors of the documents.
        server: The server's word.
        dimensions: How many numbers the server was asked for; None if it was not.
    """
    found = []
    size = len(documents[0])
    if any(len(vector) != size for vector in (*queries, *documents)):
        return [
            Finding("dimensions", "its vectors have different lengths: several models behind one URL", is_fatal=True)
        ]
    if dimensions is not None and size < dimensions:
        found.append(
            Finding("dimensions", f"its vectors have {size} numbers, fewer than dimensions={dimensions}", is_fatal=True)
        )
    elif dimensions is not None and size != dimensions:
        found.append(
            Finding("dimensions", f"it ignores dimensions={dimensions} and gives {size} numbers, which are cut here")
        )
    lengths = [math.hypot(*vector) for vector in (*queries, *documents)]
    if any(abs(length - 1) > _LENGTH_TOLERANCE for length in lengths):
        found.append(
            Finding(
                "length", f"its vectors have lengths up to {max(lengths):.3g} instead of 1; they are normalised here"
            )
        )
    scores = [[_cosine(query, document) for document in documents] for query in queries]
    if not _stands_out(scores, _EMBEDDING_MARGIN):
        fix = _EMBEDDING_FIXES.get(server, "check that it serves a Qwen3-Embedding model with last-token pooling")
        found.append(
            Finding(
                "similarity",
                f"it cannot tell known passages apart (similarities {_shown(scores)}): {fix}",
                is_fatal=True,
            )
        )
    return found


def judge_end_token(added: Sequence[object], bare: Sequence[object]) -> list[Finding]:
    """Return what is wrong with the tokens of a text, with those that the server adds and without.

    Vectors are those of <|endoftext|> behind the text, which the tokenizer has to add: once.
    """
    if len(added) == len(bare) + 1 and list(added[:-1]) == list(bare):
        return []
    what = "no token" if len(added) == len(bare) else f"{len(added) - len(bare)} tokens"
    fix = (
        "take the tokenizer.json of the model's repository as it is now, or a GGUF made from it: older ones lack "
        "<|endoftext|> at the end (QwenLM/Qwen3-Embedding#54, llama.cpp#14314)"
    )
    return [
        Finding("end", f"its tokenizer adds {what} to a text, where it should add the end token: {fix}", is_fatal=True)
    ]


def judge_scores(scores: Sequence[Sequence[float]], *, server: str, template: Template) -> list[Finding]:
    """Return what is wrong with the scores of `DOCUMENTS` for each of `QUERIES`.

    Args:
        scores: The scores.
        server: The server's word.
        template: Who wrote the prompt.
    """
    if _stands_out(scores, _RERANK_MARGIN) and min(row[i] for i, row in enumerate(scores)) > 0.5:
        return []
    fix = _RERANK_FIXES.get(server, "check that it serves a Qwen3-Reranker and applies its chat template, once")
    if template == "client" and server == "vllm":
        fix = 'if it was started with a chat template, that is applied as well: pass template="server"'
    return [Finding("scores", f"it scores known pairs wrongly ({_shown(scores)}): {fix}", is_fatal=True)]


def judge_direction(scores: Sequence[float], turned: Sequence[float]) -> list[Finding]:
    """Return what is wrong if queries and a document score the same when they change places.

    That is what embedding models do, whose cosines vLLM gives as scores; a reranker reads the two differently.
    """
    if any(abs(score - other) > _SAME_SIMILARITY for score, other in zip(scores, turned, strict=True)):
        return []
    text = (
        "its scores are similarities of an embedding model: give the URL of a server that was started with a reranker"
    )
    return [Finding("scores", text, is_fatal=True)]


def judge_instruction(scores: Sequence[float], others: Sequence[float], *, server: str) -> list[Finding]:
    """Return what is wrong if scores are the same with `OTHER_INSTRUCTION`."""
    if any(abs(_logit(one) - _logit(other)) > _SAME_LOGIT for one, other in zip(scores, others, strict=True)):
        return []
    fix = 'update it (vllm#42412), or pass template="client"' if server == "vllm" else "its template has one of its own"
    return [Finding("instruction", f"it ignores the instruction: {fix}")]


def _stands_out(scores: Sequence[Sequence[float]], margin: float) -> bool:
    """Tell whether each query has its own document clearly first."""
    right = min(row[place] for place, row in enumerate(scores))
    wrong = max(score for place, row in enumerate(scores) for other, score in enumerate(row) if other != place)
    return right - wrong > margin


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other) or 1.0)


def _logit(score: float) -> float:
    bounded = min(max(score, 1e-300), 1 - 1e-16)  # as far as numbers reach: some models are that sure
    return math.log(bounded) - math.log1p(-bounded)


def _shown(scores: Sequence[Sequence[float]]) -> str:
    return ", ".join(f"{score:.2f}" for row in scores for score in row)
