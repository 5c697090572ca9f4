"""How each server is asked for vectors: a pure pair of request and parse for each route.

Sources, where no other is named: for vLLM ``vllm/entrypoints/pooling/base/protocol.py``, for SGLang
``python/sglang/srt/entrypoints/openai/serving_embedding.py``, for llama.cpp ``tools/server/server-context.cpp``, for
TEI ``router/src/http/types.rs``, for Ollama docs.ollama.com/api/embed, for DashScope the pages text-embedding-api and
text-embedding-synchronous-api of Model Studio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from qwen3_core.remote.errors import AnswerError
from qwen3_core.remote.routes import (
    Limits,
    Route,
    Template,
    dashscope_root,
    in_order,
    in_places,
    root_of,
    rows_of,
    v1_of,
    vector_of,
)

Request = tuple[str, dict[str, Any]]
"""A URL and a body."""


@dataclass(frozen=True)
class EmbeddingInput:
    """What a request asks for.

    Attributes:
        model: The model's name on the server.
        texts: What is embedded.
        dimensions: How many numbers the server is asked for; None leaves it to the server.
        instruction: What makes a query of the texts, where the server writes the query format; else None.
        cut_at: Tokens after which the server is to cut a text; None forbids it where that is possible.
        max_length: Tokens of one text that the model should take.
    """

    model: str
    texts: Sequence[str]
    dimensions: int | None = None
    instruction: str | None = None
    cut_at: int | None = None
    max_length: int = 8192


@dataclass(frozen=True)
class SparseVector:
    """The words of a text and their weights, as DashScope's ``output_type`` has them.

    Attributes:
        indices: Numbers of the words.
        values: Their weights.
    """

    indices: tuple[int, ...]
    values: tuple[float, ...]


class EmbeddingRoute(Route):
    """``/v1/embeddings`` as OpenAI has it, which most servers speak; subclasses say what others do."""

    templates: ClassVar[tuple[Template, ...]] = ("client",)
    """Who may write the query format; the first is the default."""
    any_instruction: ClassVar[bool] = True
    """Whether the server takes an instruction of ours where it writes the format."""
    encoding: ClassVar[Literal["float", "base64"]] = "float"
    """LM Studio and SGLang answer with floats whatever they are asked for, and DashScope takes nothing else."""

    def require(self, model: str, dimensions: int | None) -> None:
        """Refuse what the server is known to refuse.

        Raises:
            ValueError: It does not give vectors of that length.
        """

    def request(self, base_url: str, wanted: EmbeddingInput) -> Request:
        """Return where to send what."""
        body: dict[str, Any] = {"model": wanted.model, "input": list(wanted.texts), "encoding_format": self.encoding}
        if wanted.dimensions is not None:
            body["dimensions"] = wanted.dimensions
        return f"{v1_of(base_url)}/embeddings", body

    def parse(self, answer: Any, count: int) -> list[list[float]]:
        """Return the vectors in the order of the texts.

        Raises:
            AnswerError: They cannot be used.
        """
        rows = rows_of(answer, "data")
        return _of_one_length(in_places(rows, count, lambda row: vector_of(row.get("embedding")), index="index"))

    def tokenize_request(self, base_url: str, model: str, text: str, *, add_end: bool) -> Request | None:  # noqa: ARG002
        """Return where to ask for the tokens of a text, with or without those that the server adds; None if nowhere."""
        return None

    def parse_tokens(self, answer: Any) -> Sequence[Any]:
        """Return the tokens.

        Raises:
            AnswerError: There are none.
        """
        return rows_of(answer, "tokens")


class VllmEmbedding(EmbeddingRoute):
    """vLLM; base64 is a quarter of the bytes."""

    server = "vllm"
    encoding = "base64"

    def tokenize_request(self, base_url: str, model: str, text: str, *, add_end: bool) -> Request:
        """Return where to ask for tokens (vllm/entrypoints/serve/tokenize/protocol.py)."""
        return f"{root_of(base_url)}/tokenize", {"model": model, "prompt": text, "add_special_tokens": add_end}


class SglangEmbedding(EmbeddingRoute):
    """SGLang, which refuses a whole request for one blank text."""

    server = "sglang"
    own_limits = Limits(refuses="blank")


class LlamaCppEmbedding(EmbeddingRoute):
    """llama.cpp, which ignores ``dimensions`` (ggml-org/llama.cpp#25210) and takes ``-ub`` tokens in a text."""

    server = "llama.cpp"
    encoding = "base64"

    def tokenize_request(self, base_url: str, model: str, text: str, *, add_end: bool) -> Request:  # noqa: ARG002
        """Return where to ask for tokens (tools/server/README.md)."""
        return f"{root_of(base_url)}/tokenize", {"content": text, "add_special": add_end}


class LmStudioEmbedding(EmbeddingRoute):
    """LM Studio."""

    server = "lmstudio"


class XinferenceEmbedding(EmbeddingRoute):
    """Xinference, which cuts long texts without a word (xorbitsai/inference#3783)."""

    server = "xinference"
    own_limits = Limits(cuts=True)


class OpenAIEmbedding(EmbeddingRoute):
    """Any other server of OpenAI's API."""

    server = "openai"


class TeiEmbedding(EmbeddingRoute):
    """Text Embeddings Inference by its own route, which can refuse or cut, request by request."""

    server = "tei"
    templates = ("client", "server")
    any_instruction = False  # a prompt of the model's own configuration, by its name
    own_limits = Limits(rows=32, refuses="empty")  # max_client_batch_size, unless it was started with another
    lists_models = False

    def request(self, base_url: str, wanted: EmbeddingInput) -> Request:
        """Return where to send what."""
        body: dict[str, Any] = {"inputs": list(wanted.texts), "normalize": True, "truncate": wanted.cut_at is not None}
        if wanted.cut_at is not None:
            body["truncation_direction"] = "Right"
        if wanted.instruction is not None:
            body["prompt_name"] = "query"  # in Qwen3-Embedding's config_sentence_transformers.json
        if wanted.dimensions is not None:
            body["dimensions"] = wanted.dimensions
        return f"{root_of(base_url)}/embed", body

    def parse(self, answer: Any, count: int) -> list[list[float]]:
        """Return the vectors; rows name no places."""
        return _of_one_length(in_order(rows_of(answer), count, vector_of))

    def tokenize_request(self, base_url: str, model: str, text: str, *, add_end: bool) -> Request:  # noqa: ARG002
        """Return where to ask for tokens."""
        return f"{root_of(base_url)}/tokenize", {"inputs": [text], "add_special_tokens": add_end}

    def parse_tokens(self, answer: Any) -> Sequence[Any]:
        """Return the ids of the only text."""
        first = rows_of(answer)[0] if rows_of(answer) else []
        return [each.get("id") for each in first if isinstance(each, Mapping)]


class OllamaEmbedding(EmbeddingRoute):
    """Ollama by its own route: only there can it be told not to cut, and how much context to take."""

    server = "ollama"

    def request(self, base_url: str, wanted: EmbeddingInput) -> Request:
        """Return where to send what."""
        body: dict[str, Any] = {
            "model": wanted.model,
            "input": list(wanted.texts),
            "truncate": wanted.cut_at is not None,
            "options": {"num_ctx": wanted.max_length},  # its default is far below what the model takes
        }
        if wanted.dimensions is not None:
            body["dimensions"] = wanted.dimensions
        return f"{root_of(base_url)}/api/embed", body

    def parse(self, answer: Any, count: int) -> list[list[float]]:
        """Return the vectors; rows name no places."""
        return _of_one_length(in_order(rows_of(answer, "embeddings"), count, vector_of))


# Numbers of a vector, rows of a request and tokens of a row (Model Studio, text-embedding-api).
_V4_DIMENSIONS = (64, 128, 256, 512, 768, 1024, 1536, 2048)
_DASHSCOPE: Mapping[str, tuple[tuple[int, ...], int, int]] = {
    "text-embedding-v4": (_V4_DIMENSIONS, 10, 8_192),
    "text-embedding-v3": ((64, 128, 256, 512, 768, 1024), 10, 8_192),
    "qwen3.7-text-embedding": ((256, 512, 768, 1024, 1536, 2048, 2560), 20, 128_000),
    "qwen3.7-text-embedding-flash": ((256, 512, 768, 1024), 20, 128_000),
}


class DashScopeEmbedding(EmbeddingRoute):
    """DashScope's route for OpenAI's clients; ``text_type`` and ``instruct`` exist on its own route only."""

    server = "dashscope"
    default_model = "text-embedding-v4"
    lists_models = False

    def limits(self, model: str) -> Limits:
        """Return what one request may hold; an unknown model is taken for one of the smaller ones."""
        _, rows, row_tokens = _DASHSCOPE.get(model, ((), 10, 8_192))
        # Requests of many tokens were seen to hang with the flash model, and more requests cost little.
        return Limits(rows=rows, tokens=16_384, fixed=True, row_tokens=row_tokens, refuses="blank")

    def require(self, model: str, dimensions: int | None) -> None:
        """Refuse a length that the model does not have."""
        known, *_ = _DASHSCOPE.get(model, ((), 0, 0))
        if dimensions is not None and known and dimensions not in known:
            message = f"dimensions={dimensions}: {model} has {', '.join(map(str, known))}"
            raise ValueError(message)

    def request(self, base_url: str, wanted: EmbeddingInput) -> Request:
        """Return where to send what."""
        _, body = super().request(base_url, wanted)
        return f"{dashscope_root(base_url)}/compatible-mode/v1/embeddings", body


class DashScopeNativeEmbedding(DashScopeEmbedding):
    """DashScope's own route, for a base URL that ends in ``/api/v1``: the server can write the query format."""

    templates = ("server", "client")
    output_type: ClassVar[Literal["dense", "dense&sparse"]] = "dense"

    def request(self, base_url: str, wanted: EmbeddingInput) -> Request:
        """Return where to send what; texts that carry the query format already are documents for the server."""
        is_query = wanted.instruction is not None
        parameters: dict[str, Any] = {
            "text_type": "query" if is_query else "document",
            "output_type": self.output_type,
        }
        if is_query:
            parameters["instruct"] = wanted.instruction
        if wanted.dimensions is not None:
            parameters["dimension"] = wanted.dimensions
        body = {"model": wanted.model, "input": {"texts": list(wanted.texts)}, "parameters": parameters}
        return f"{dashscope_root(base_url)}/api/v1/services/embeddings/text-embedding/text-embedding", body

    def parse(self, answer: Any, count: int) -> list[list[float]]:
        """Return the vectors in the order of the texts."""
        rows = rows_of(answer, "output", "embeddings")
        return _of_one_length(in_places(rows, count, lambda row: vector_of(row.get("embedding")), index="text_index"))


class DashScopeHybridEmbedding(DashScopeNativeEmbedding):
    """The same with the sparse vectors beside the dense ones."""

    output_type = "dense&sparse"

    def parse_sparse(self, answer: Any, count: int) -> list[SparseVector]:
        """Return the sparse vectors in the order of the texts.

        Raises:
            AnswerError: They cannot be used.
        """
        return in_places(rows_of(answer, "output", "embeddings"), count, _sparse_of, index="text_index")


_ROUTES: dict[str, EmbeddingRoute] = {
    route.server: route
    for route in (
        EmbeddingRoute(), VllmEmbedding(), SglangEmbedding(), LlamaCppEmbedding(), LmStudioEmbedding(),
        XinferenceEmbedding(), OpenAIEmbedding(), TeiEmbedding(), OllamaEmbedding(), DashScopeEmbedding(),
    )
}  # fmt: skip


def embedding_route(server: str, base_url: str) -> EmbeddingRoute:
    """Return the route of a server.

    Args:
        server: One of `qwen3_core.thinking.Server`.
        base_url: Its URL; DashScope's own route is the one whose URL has ``/api/v1``.

    Raises:
        ValueError: The server embeds no texts, or is unknown.
    """
    if server == "dashscope" and "/api/v1" in base_url:
        return DashScopeNativeEmbedding()
    if server in _ROUTES:
        return _ROUTES[server]
    message = f"server={server!r} embeds no texts as far as is known here; those that do are {sorted(_ROUTES)}"
    raise ValueError(message)


def _of_one_length(vectors: list[list[float]]) -> list[list[float]]:
    if len({len(vector) for vector in vectors}) > 1:
        message = f"the answer has vectors of different lengths: {sorted({len(vector) for vector in vectors})}"
        raise AnswerError(message)
    return vectors


def _sparse_of(row: Mapping[str, Any]) -> SparseVector:
    """Read ``[{"index": 7, "value": 0.3, "token": "..."}]``."""
    try:
        pairs = sorted((int(each["index"]), float(each["value"])) for each in row["sparse_embedding"])
    except (KeyError, TypeError, ValueError) as error:
        message = "the answer has a row without a sparse vector"
        raise AnswerError(message) from error
    return SparseVector(tuple(index for index, _ in pairs), tuple(value for _, value in pairs))
