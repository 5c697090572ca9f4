"""Qwen3-Embedding and Qwen3-Reranker with local weights.

Nothing here imports torch until a model is first used; `checkpoint` loads and `engine` computes.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from qwen3_core.base import DType, Embedder, Quantization, Reranker, require_texts
from qwen3_core.prompts import (
    DEFAULT_INSTRUCTION,
    END_OF_TEXT,
    RERANK_FALSE_TOKEN,
    RERANK_PREFIX,
    RERANK_SUFFIX,
    RERANK_TRUE_TOKEN,
    format_rerank_document,
    format_rerank_head,
    query_opening,
    rerank_opening,
)
from qwen3_core.tokens import TextTokenizer

if TYPE_CHECKING:
    from qwen3_core.checkpoint import Kind
    from qwen3_core.engine import Network

DEFAULT_EMBEDDING_MODEL = "Qwen/Qwen3-Embedding-0.6B"
DEFAULT_RERANKER_MODEL = "Qwen/Qwen3-Reranker-0.6B"

DEFAULT_MAX_LENGTH = 8192
"""Tokens of one text, as in all sample code of the model cards; the models were trained up to 32,768."""

MIN_DIMENSIONS = 32
"""The shortest Matryoshka prefix that Qwen3-Embedding was trained for (model card)."""

_SHARED_SETTINGS = (
    "model", "instruction", "max_length", "device", "dtype", "quantization", "batch_tokens", "revision", "cache_folder"
)  # fmt: skip

INSTALL_LOCAL = 'local weights need torch and transformers: pip install "qwen3-rag[local]"'

_T = TypeVar("_T")


class Lazy(Generic[_T]):
    """A value that is made on first use, once, whichever thread asks; it travels unmade in copies and pickles."""

    def __init__(self, make: Callable[..., _T], *arguments: Any) -> None:
        self._make, self._arguments = make, arguments
        self._lock = threading.Lock()
        self._value: _T | None = None

    def get(self) -> _T:
        """Return the value, made by the first call."""
        with self._lock:
            if self._value is None:
                self._value = self._make(*self._arguments)
            return self._value

    def __reduce__(self) -> tuple[Any, ...]:
        return (Lazy, (self._make, *self._arguments))


@dataclass(frozen=True)
class _Source:
    """Where a checkpoint comes from and how it is loaded."""

    model: str
    kind: Kind
    revision: str | None
    cache_folder: str | None
    device: str | None
    dtype: DType
    quantization: Quantization | None
    batch_tokens: int | None


class LocalEmbedder(Embedder):
    """Qwen3-Embedding in this process: last-token pooling, unit vectors.

    Args:
        model: A hub name, a local folder, or "mini" for the small checkpoint in this package, which is for
            trying, tests and CI, not for production quality.
        instruction: What queries are for, in one English sentence; documents never carry it.
        dimensions: Length of the vectors, 32 to the model's hidden size: the first numbers of the full vector,
            normalised again (Matryoshka). None is the hidden size.
        max_length: Tokens of one text at most, the end token included. What is longer loses its end.
        device: A torch device; None takes CUDA, then MPS, then the CPU.
        dtype: "auto", "float32", "bfloat16" or "float16". "auto" is bfloat16 where the hardware has it, and
            float32 elsewhere and for "mini"; never float16.
        quantization: "int8" rounds weights and activations to 8 bits for the products, on a CPU: faster and half
            the memory, at a price in exactness. None computes in `dtype`.
        batch_tokens: Tokens in one forward pass at most; a longer text goes alone. None is 1,024 on a CPU and
            16,384 elsewhere.
        show_progress: Whether `embed_documents` shows a progress bar.
        revision: Branch, tag or commit on the hub.
        cache_folder: Where downloads are kept; None is the hub library's own cache.

    The weights are loaded on first use. Calls from several threads or event loops are safe: they take turns, a forward
    pass each, and texts that wait at the same moment are computed together.
    """

    CONCURRENT_CALLS = 3  # one computes, and two wait to go together

    def __init__(
        self,
        model: str = DEFAULT_EMBEDDING_MODEL,
        *,
        instruction: str = DEFAULT_INSTRUCTION,
        dimensions: int | None = None,
        max_length: int = DEFAULT_MAX_LENGTH,
        device: str | None = None,
        dtype: DType = "auto",
        quantization: Quantization | None = None,
        batch_tokens: int | None = None,
        show_progress: bool = False,
        revision: str | None = None,
        cache_folder: str | None = None,
    ) -> None:
        super().__init__(instruction)
        _require_at_least("max_length", max_length, 2)
        if batch_tokens is not None:
            _require_at_least("batch_tokens", batch_tokens, 1)
        if dimensions is not None:
            _require_at_least("dimensions", dimensions, MIN_DIMENSIONS)
        self.model, self.dimensions, self.max_length = model, dimensions, max_length
        self.quantization, self.batch_tokens, self.show_progress = quantization, batch_tokens, show_progress
        self.device, self.dtype, self.revision, self.cache_folder = device, dtype, revision, cache_folder
        source = _Source(model, "embedding", revision, cache_folder, device, dtype, quantization, batch_tokens)
        self._loaded = Lazy(_load_embedding, source, dimensions)

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor, from which an equal embedder can be made."""
        return {name: getattr(self, name) for name in (*_SHARED_SETTINGS, "dimensions", "show_progress")}

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of a text as they reach the model, without the end token; `max_length` does not cut them."""
        _, tokenizer, _ = self._loaded.get()
        return tokenizer.data(text)

    def embed_batch(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed texts as given; see `Embedder.embed_batch`. The same text twice is computed once.

        Raises:
            OSError: If the model cannot be found or fetched.
            ValueError: If the model is not a Qwen3 checkpoint, or `dimensions` is more than its hidden size.
            FloatingPointError: If a vector is not finite.
        """
        distinct = list(dict.fromkeys(texts))
        found = dict(zip(distinct, self._vectors(distinct, len(distinct)), strict=True))
        return [list(found[text]) for text in texts]

    def embed_stream(self, texts: Iterable[str]) -> Iterator[list[float]]:
        """Embed any number of documents in constant memory: an iterator in, vectors out, in order.

        Texts are taken about 2,000 ahead, and those ahead are tokenised while the others are computed.

        Args:
            texts: Documents, as `embed_documents` takes them.

        Yields:
            A vector of unit length for each text.

        Raises:
            TypeError: If `texts` is a single string or holds something that is not a string.
            OSError: If the model cannot be found or fetched.
            ValueError: See `embed_batch`.
            FloatingPointError: If a vector is not finite.
        """
        if isinstance(texts, str):
            require_texts(texts)
        return self._vectors(texts, None)

    def _vectors(self, texts: Iterable[str], count: int | None) -> Iterator[list[float]]:
        network, tokenizer, end = self._loaded.get()
        from tqdm.auto import tqdm

        from qwen3_core import engine

        def tokenize(window: list[str]) -> list[list[int]]:
            return [[*ids[: self.max_length - 1], end] for ids in tokenizer.data_batch(require_texts(window))]

        opening = tokenizer.data(query_opening(self.instruction))
        hide = not self.show_progress or count == 1
        with tqdm(total=count, desc="embedding", unit="text", disable=hide) as bar:

            def compute(batch: list[list[int]]) -> list[list[float]]:
                prefix, rest = network.behind(opening, batch)
                vectors = _unit_vectors(network.last_hidden_states(rest, prefix), self.dimensions)
                bar.update(len(batch))
                return vectors

            for sequences in engine.windows(texts, tokenize):
                yield from engine.in_batches(sequences, network.batch_tokens, compute)


class LocalReranker(Reranker):
    """Qwen3-Reranker in this process: the probability that the model answers "yes".

    Args:
        model: A hub name, a local folder, or "mini" for the small checkpoint in this package, which is for
            trying, tests and CI, not for production quality. Checkpoints as first published and the 2026-04
            revision both work.
        instruction: What makes a document relevant, in one English sentence.
        max_length: Tokens of one prompt at most. A longer document loses its end; instruction, query and
            template are never cut.
        device: A torch device; None takes CUDA, then MPS, then the CPU.
        dtype: "auto", "float32", "bfloat16" or "float16"; see `LocalEmbedder`.
        quantization: "int8" or None; see `LocalEmbedder`.
        batch_tokens: Tokens in one forward pass at most; a longer document goes alone. None is 1,024 on a CPU and
            16,384 elsewhere.
        revision: Branch, tag or commit on the hub.
        cache_folder: Where downloads are kept; None is the hub library's own cache.

    The weights are loaded on first use. Calls from several threads or event loops are safe: they take turns, a forward
    pass each. A score does not depend on which other documents are scored beside it.
    """

    def __init__(
        self,
        model: str = DEFAULT_RERANKER_MODEL,
        *,
        instruction: str = DEFAULT_INSTRUCTION,
        max_length: int = DEFAULT_MAX_LENGTH,
        device: str | None = None,
        dtype: DType = "auto",
        quantization: Quantization | None = None,
        batch_tokens: int | None = None,
        revision: str | None = None,
        cache_folder: str | None = None,
    ) -> None:
        super().__init__(instruction)
        _require_at_least("max_length", max_length, 2)
        if batch_tokens is not None:
            _require_at_least("batch_tokens", batch_tokens, 1)
        self.model, self.max_length = model, max_length
        self.quantization, self.batch_tokens = quantization, batch_tokens
        self.device, self.dtype, self.revision, self.cache_folder = device, dtype, revision, cache_folder
        source = _Source(model, "reranker", revision, cache_folder, device, dtype, quantization, batch_tokens)
        self._loaded = Lazy(_load_reranker, source)

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor, from which an equal reranker can be made."""
        return {name: getattr(self, name) for name in _SHARED_SETTINGS}

    def score_batch(self, query: str, documents: Sequence[str], instruction: str) -> list[float]:
        """Score documents; see `Reranker.score`. The query side of the prompt is computed once per call.

        Raises:
            OSError: If the model cannot be found or fetched.
            ValueError: If the model is not a Qwen3 checkpoint with "yes" and "no", or if instruction and query
                leave no room for a document within `max_length`.
            FloatingPointError: If a score is not finite.
        """
        network, tokenizer, direction = self._loaded.get()
        from qwen3_core import engine

        template = tokenizer.control(RERANK_PREFIX)
        opening = template + tokenizer.data(rerank_opening(instruction))
        head = template + tokenizer.data(format_rerank_head(query, instruction))
        suffix = tokenizer.control(RERANK_SUFFIX)
        room = self.max_length - len(head) - len(suffix)
        if room < 1:
            msg = (
                f"instruction, query and template take {len(head) + len(suffix)} tokens of "
                f"max_length={self.max_length}: raise max_length or shorten the query"
            )
            raise ValueError(msg)
        distinct = list(dict.fromkeys(documents))
        bodies = tokenizer.data_batch([format_rerank_document(document) for document in distinct])
        sequences = [[*ids[:room], *suffix] for ids in bodies]
        known, (rest,) = network.behind(opening, [head])
        prefix = network.prefix(rest, known)

        def compute(batch: list[list[int]]) -> list[float]:
            found: list[float] = (network.last_hidden_states(batch, prefix) @ direction).tolist()
            return found

        logits = engine.in_batches(sequences, network.batch_tokens, compute)
        found = dict(zip(distinct, map(_probability, logits), strict=True))
        return [found[document] for document in documents]


def _load_embedding(source: _Source, dimensions: int | None) -> tuple[Network, TextTokenizer, int]:
    checkpoint, folder = _resolve(source)
    tokenizer = TextTokenizer(checkpoint.load_tokenizer(folder))
    size = checkpoint.require_qwen3(folder)["hidden_size"]
    if dimensions is not None and dimensions > size:
        msg = f"dimensions={dimensions} is out of range: {source.model} has {MIN_DIMENSIONS} to {size}"
        raise ValueError(msg)
    end = _require_token(tokenizer, END_OF_TEXT, source)
    model = checkpoint.load_model(folder, source.kind, device=source.device, dtype=source.dtype)
    return _network(model, source), tokenizer, end


def _load_reranker(source: _Source) -> tuple[Network, TextTokenizer, Any]:
    """Return the network, the tokenizer, and the head's "yes" row less its "no" row."""
    checkpoint, folder = _resolve(source)
    tokenizer = TextTokenizer(checkpoint.load_tokenizer(folder))
    yes = _require_token(tokenizer, RERANK_TRUE_TOKEN, source)
    no = _require_token(tokenizer, RERANK_FALSE_TOKEN, source)
    model = checkpoint.load_model(folder, source.kind, device=source.device, dtype=source.dtype)
    # In float32: two bfloat16 logits of about 20 differ in steps of an eighth.
    rows = model.get_output_embeddings().weight.detach()[[yes, no]].float()
    return _network(model.model, source), tokenizer, rows[0] - rows[1]


def _network(model: Any, source: _Source) -> Network:
    from qwen3_core import engine

    return engine.Network(
        model, engine.linear_kind(model.device, model.dtype, source.quantization), source.batch_tokens
    )


def _resolve(source: _Source) -> tuple[Any, Any]:
    try:
        from qwen3_core import checkpoint
    except ImportError as error:
        raise ImportError(INSTALL_LOCAL) from error
    folder = checkpoint.resolve(source.model, source.kind, revision=source.revision, cache_folder=source.cache_folder)
    checkpoint.require_qwen3(folder)
    return checkpoint, folder


def _require_token(tokenizer: TextTokenizer, token: str, source: _Source) -> int:
    found = tokenizer.token_id(token)
    if found is None:
        msg = f"the tokenizer of {source.model} has no token {token!r}: it is not that of a Qwen3 {source.kind} model"
        raise ValueError(msg)
    return found


def _require_at_least(name: str, value: int, least: int) -> None:
    if value < least:
        msg = f"{name}={value} is out of range: at least {least}"
        raise ValueError(msg)


def _unit_vectors(hidden: Any, dimensions: int | None) -> list[list[float]]:
    """Slice, then normalise: the other order leaves vectors shorter than 1."""
    from torch.nn.functional import normalize

    vectors = normalize(hidden[:, :dimensions], dim=-1)
    if not bool(vectors.isfinite().all()):
        msg = 'the model gave vectors that are not finite; use dtype="float32" or "bfloat16"'
        raise FloatingPointError(msg)
    result: list[list[float]] = vectors.tolist()
    return result


def _probability(logit: float) -> float:
    if not math.isfinite(logit):
        msg = 'the model gave a score that is not finite; use dtype="float32" or "bfloat16"'
        raise FloatingPointError(msg)
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))
