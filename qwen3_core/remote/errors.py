"""What a server of embeddings or scores does wrong, and what to do about it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_SHOWN = 400  # characters of what a server says

# What servers say, and what helps. Sources: vllm/renderers/params.py and vllm#19260; sglang#8096; llama.cpp's
# tools/server/server-context.cpp; text-embeddings-inference/core/src/tokenization.rs; ollama's EmbedHandler;
# Model Studio's page of error codes.
TOO_LONG = re.compile(
    r"maximum context length|context length is only|maximum input length|longer than the model's context length"
    r"|too large to process|exceeds the available context|exceed_context_size|larger than the max context"
    r"|must have less than \d+ (?:token|character)"
    r"|input length exceeds|range of input length",
    re.IGNORECASE,
)
NO_MATRYOSHKA = re.compile(r"matryoshka|dimensions?['\"`]? (?:is|are) not|not support.{0,40}dimension", re.IGNORECASE)
_TOO_MANY_ROWS = re.compile(r"larger than (\d+)\.?: input|maximum allowed batch size (\d+)", re.IGNORECASE)
_NO_SUCH_FIELD = "Unexpected keyword"
_NOT_SUPPORTED = re.compile(r"does not support (?:embeddings|reranking)", re.IGNORECASE)

# 408 and 425 ask for another try; 429 for a slower one; 409 is what some gateways send for a lock.
_PASSING_STATUS = frozenset({408, 409, 425, 429, 502, 503, 504, 520, 521, 522, 523, 524, 529})
_BROKEN_ATTEMPTS = 3  # a 500 may be one bad text: what is asked next is half of it


class ServerError(OSError):
    """A server refused a request, or answered with what cannot be used; the message says what to do.

    Attributes:
        status: The HTTP status; None if there was no answer.
        said: What the server said.
    """

    def __init__(self, message: str, *, status: int | None = None, said: str = "") -> None:
        super().__init__(message)
        self.status, self.said = status, said

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), self.args, dict(vars(self)))

    @property
    def is_about_a_row(self) -> bool:
        """Whether one text among others may be the cause."""
        return self.status in {400, 413, 422, 424, 500}


class PassingError(ServerError):
    """What may be well the next time.

    Attributes:
        retry_after: Seconds that the server asks to wait.
        attempts: How often it is worth asking in all; None leaves it to ``max_retries``.
    """

    retry_after: float | None = None
    attempts: int | None = None


class AnswerError(PassingError):
    """An answer of the right status and the wrong content: too few rows, an index twice, numbers that are none."""

    attempts = 2

    @property
    def is_about_a_row(self) -> bool:
        """Always: a text that makes a model give NaN does so whoever is beside it."""
        return True


class PartialError(ServerError):
    """Some texts could not be computed; the others are here, and the object that raised it keeps them.

    Attributes:
        results: A vector or a score for each text in order, None where there is none.
        missing: The places without one, and why.
    """

    def __init__(self, message: str, results: Sequence[Any], missing: Mapping[int, ServerError]) -> None:
        super().__init__(message)
        self.results, self.missing = list(results), dict(missing)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (*self.args, self.results, self.missing), dict(vars(self)))


def refusal(status: int, body: bytes, *, shown_url: str, retry_after: float | None) -> ServerError:
    """Return the error for an answer whose status is none of success.

    Args:
        status: The status.
        body: The body.
        shown_url: The URL as messages may show it.
        retry_after: Seconds that the server asks to wait.
    """
    said = _said(body)
    message = f"{shown_url} answered {status}: {said or 'nothing more'}"
    if hint := _hint(status, said):
        message = f"{message} - {hint}"
    final = TOO_LONG.search(said) or _NO_SUCH_FIELD in said  # llama.cpp and Xinference answer these with 500
    if status in _PASSING_STATUS or (status >= 500 and status not in {501, 505} and not final):
        error = PassingError(message, status=status, said=said)
        error.retry_after = retry_after
        error.attempts = None if status in _PASSING_STATUS else _BROKEN_ATTEMPTS
        return error
    return ServerError(message, status=status, said=said)


def _said(body: bytes) -> str:
    """Return what a server says, wherever it says it.

    ``error`` is a text with TEI's own routes and Ollama, a mapping with what speaks OpenAI, and absent with older
    vLLM, SGLang and DashScope's own routes, which have ``message``; FastAPI has ``detail``; TEI's 401 is empty, and
    proxies send a page.
    """
    text = body.decode("utf-8", "replace").strip()
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text)).strip()[:_SHOWN]
    for name in ("error", "message", "detail"):
        while isinstance(answer, Mapping) and answer.get(name):
            answer = answer[name]
    return (answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False))[:_SHOWN]


def _hint(status: int, said: str) -> str:
    if status in {401, 403}:
        return "pass the key that this server wants, api_key=..."
    if status == 404:
        return "check the URL, the name of the model, and that the server was started for this task"
    if TOO_LONG.search(said):
        return (
            'shorten the text, or let its end be cut: truncation="end" with a max_length that the server takes; '
            "llama.cpp takes as many tokens as its -ub says"
        )
    if found := _TOO_MANY_ROWS.search(said):
        return f"pass batch_size={found[1] or found[2]}"
    if NO_MATRYOSHKA.search(said):
        return "vectors are cut here instead if the server is not asked for fewer dimensions"
    if _NO_SUCH_FIELD in said:
        return "this version takes no instruction: update the server (Xinference 1.17 and later take one)"
    if _NOT_SUPPORTED.search(said):
        return "start llama-server with --embedding --pooling last, or with --reranking and a converted reranker"
    if status == 429:
        return "lower max_concurrency, or raise max_retries and deadline"
    return ""
