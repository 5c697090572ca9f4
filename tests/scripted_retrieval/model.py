"""The "models" behind the scripted servers: words for tokens, bags of words for vectors, overlap for relevance."""

import math
import re
import zlib
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripted_retrieval.templates import JUDGE, PROMPT, split_query

Vector = NDArray[np.float64]

END = "<|endoftext|>"
# Ids of Qwen3's tokenizer (fact sheet §7).
KNOWN_IDS = {
    END: 151643,
    "<|im_start|>": 151644,
    "<|im_end|>": 151645,
    "<think>": 151667,
    "</think>": 151668,
    "yes": 9693,
    "no": 2152,
}
CONTROL = r"<\|(?:endoftext|im_start|im_end)\|>|</?think>"
_TOKEN = re.compile(CONTROL + r"|[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]{1,8}|[^\w\s]")
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")
_CONTROL = re.compile(CONTROL)
_STOPPED = (
    "a an and are as at be by did do does for from has have how i in is it its me of on or so that the their there "
    "this to was were what when where which who why will with you your can 的 了 是 在 什 么 吗 有"
)
_STOP = frozenset(_STOPPED.split())
# A turn of the assistant inside the text, and what it answers: the model reads it as its own.
_ANSWERED = re.compile(r"(?:<\|im_start\|>assistant\n(?:<think>\s*)?|</think>\s*)+(?:</think>\s*)?(yes|no)\b")


def tokens_of(text: str) -> list[str]:
    """Cut a text into tokens; control tokens are one each."""
    return _TOKEN.findall(text)


def count_tokens(text: str) -> int:
    """Count a text's tokens, without those that a server adds."""
    return len(tokens_of(text))


def token_ids(text: str) -> list[int]:
    """Return a number for each token: Qwen3's own for control tokens, "yes" and "no"."""
    return [KNOWN_IDS.get(token, zlib.crc32(token.encode()) % 151643) for token in tokens_of(text)]


def head(text: str, count: int) -> str:
    """Return the first tokens of a text."""
    ends = [found.end() for found in _TOKEN.finditer(text)]
    return text if len(ends) <= count else text[: ends[count - 1] if count > 0 else 0]


def tail(text: str, count: int) -> str:
    """Return the last tokens of a text."""
    starts = [found.start() for found in _TOKEN.finditer(text)]
    return text if len(starts) <= count else text[starts[-count] if count > 0 else len(text) :]


def words_of(text: str) -> list[str]:
    """Return a text's words in lower case, without a plural's s."""
    words = [word.lower() for word in _WORD.findall(_CONTROL.sub(" ", text))]
    return [word[:-1] if len(word) > 3 and word.endswith("s") else word for word in words]


@lru_cache(maxsize=20_000)
def _direction(word: str, size: int) -> Vector:
    return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(size)


def _bag(text: str, size: int) -> Vector:
    total = np.zeros(size)
    words = words_of(text)
    for word in dict.fromkeys(words):
        weight = (0.2 if word in _STOP else 1.0) * (1 + math.log(words.count(word)))
        total += weight * _direction(word, size)
    for token in _CONTROL.findall(text):
        total += 0.5 * _direction(token, size)
    return _unit(total) if total.any() else _direction("nothing: " + text, size) / math.sqrt(size)


def _unit(vector: Vector) -> Vector:
    return vector / float(np.linalg.norm(vector))


def embed(text: str, size: int, *, ends: bool = True) -> Vector:
    """Return the unit vector of a text; what stands behind "Query:" counts most, and the task a little.

    Args:
        text: The text as it reached the tokenizer.
        size: The full dimension.
        ends: Whether the tokenizer appends ``<|endoftext|>``, whose state is the vector. Without it the vector is
            another token's, and hardly comparable (ggml-org/llama.cpp#14252).
    """
    closed = ends or text.endswith(END)
    task, query = split_query(text if ends else text.removesuffix(END))
    vector = _bag(query, size)
    if task:
        vector = _unit(vector + 0.2 * _bag(task, size))
    return vector if closed else _unit(vector + 1.5 * _unit(_direction("open: " + text, size)))


def noise(text: str, around: float = 0.5) -> float:
    """Return a score that has nothing to do with relevance, within 0.15 of the middle."""
    return around + 0.3 * (zlib.crc32(text.encode()) / 2**32 - 0.5)


def judge(prompt: str) -> float:
    """Return P(yes) for what reached the tokenizer of a reranker.

    A prompt that is not Qwen3's, or has it twice, gets `noise`. Control tokens take effect: a document that closes its
    turn and answers "yes" in the assistant's place is found relevant, as by the real model (fact sheet §6).
    """
    found = PROMPT.fullmatch(prompt)
    if not found or prompt.count(JUDGE) != 1:
        return noise(prompt)
    instruct, query, document = found["instruct"], found["query"], found["document"]
    if "<Query>: " in query or document.startswith("<Document>: "):
        return noise(prompt)
    answers = _ANSWERED.findall(query + "\n" + document)
    if answers:
        return 0.99 if answers[-1] == "yes" else 0.01
    wanted = set(words_of(query))
    wanted = wanted - _STOP or wanted
    had = set(words_of(document))
    share = len(wanted & had) / len(wanted) if wanted else 0.0
    leaning = noise(f"{instruct}\n{document}", 0.0) * 2
    broken = 0.5 * len(_CONTROL.findall(query + document))
    return 1 / (1 + math.exp(-(10 * share - 5.5 + leaning + broken)))


def as_list(vector: Vector) -> list[Any]:
    """Return a vector as JSON has it, shorter than its doubles."""
    return [round(float(value), 8) for value in vector]


def log_odds(probability: float) -> float:
    """Return what a probability was before its sigmoid."""
    return math.log(probability / (1 - probability))
