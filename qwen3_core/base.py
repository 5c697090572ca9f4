"""What an embedder and a reranker are: one abstract method each, the rest given away."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

from qwen3_core.prompts import DEFAULT_INSTRUCTION, format_query
from qwen3_core.workers import Workers

DType = Literal["auto", "float32", "bfloat16", "float16"]
"""What weights are computed in. "auto" is bfloat16 where the hardware has it, else float32; never float16, and
float32 for "mini"."""

Quantization = Literal["int8"]
"""How weights and activations are rounded for the products of a CPU."""


class Embedder(ABC):
    """Texts in, unit vectors out. Subclasses implement `embed_batch`.

    The async methods run `CONCURRENT_CALLS` computations at a time, however many calls wait, from any event loop.

    Args:
        instruction: One English sentence that says what the queries are for. Queries carry it, documents
            never do.
    """

    CONCURRENT_CALLS: ClassVar[int] = 1
    """Calls from event loops that run at once: one, unless a subclass says that it gains from more."""

    def __init__(self, instruction: str = DEFAULT_INSTRUCTION) -> None:
        self.instruction = instruction
        self._workers = Workers(self.CONCURRENT_CALLS)

    @abstractmethod
    def embed_batch(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed texts exactly as given, in order: one vector of unit length for each."""

    def embed_query(self, text: str, *, instruction: str | None = None) -> list[float]:
        """Embed a search query.

        Args:
            text: The question as the user typed it; the Qwen3 query format is applied here.
            instruction: Replaces the embedder's own instruction for this call.

        Returns:
            A vector of unit length.

        Raises:
            ValueError: If the query is blank.
        """
        task = self.instruction if instruction is None else instruction
        return self.embed_batch([format_query(require_query(text), task)])[0]

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed documents as they are, without an instruction.

        Args:
            texts: Documents; an empty string is allowed and has a vector.

        Returns:
            One vector of unit length for each text, in order.

        Raises:
            TypeError: If `texts` is a single string or holds something that is not a string.
        """
        checked = require_texts(texts)
        return self.embed_batch(checked) if checked else []

    async def aembed_query(self, text: str, *, instruction: str | None = None) -> list[float]:
        """Embed a query without blocking the event loop; see `embed_query`."""
        return await self._workers.run(self.embed_query, text, instruction=instruction)

    async def aembed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed documents without blocking the event loop; see `embed_documents`."""
        return await self._workers.run(self.embed_documents, texts)


class Reranker(ABC):
    """A query and documents in, one relevance score for each out. Subclasses implement `score_batch`.

    `ascore` runs one computation at a time, however many calls wait, from any event loop.

    Args:
        instruction: One English sentence that says what makes a document relevant.
    """

    def __init__(self, instruction: str = DEFAULT_INSTRUCTION) -> None:
        self.instruction = instruction
        self._workers = Workers()

    @abstractmethod
    def score_batch(self, query: str, documents: Sequence[str], instruction: str) -> list[float]:
        """Score documents that have been checked, in order."""

    def score(self, query: str, documents: Sequence[str], *, instruction: str | None = None) -> list[float]:
        """Score how well each document answers the query.

        Args:
            query: The question as the user typed it.
            documents: The candidates.
            instruction: Replaces the reranker's own instruction for this call.

        Returns:
            The probability of "yes" in [0, 1] for each document, in the order they were given.

        Raises:
            ValueError: If the query is blank.
            TypeError: If `documents` is a single string or holds something that is not a string.
        """
        require_query(query)
        texts = require_texts(documents)
        return self.score_batch(query, texts, self.instruction if instruction is None else instruction) if texts else []

    async def ascore(self, query: str, documents: Sequence[str], *, instruction: str | None = None) -> list[float]:
        """Score without blocking the event loop; see `score`."""
        return await self._workers.run(self.score, query, documents, instruction=instruction)


def require_query(query: str) -> str:
    """Return the query, or raise if it has nothing to search for.

    Raises:
        TypeError: If it is not a string.
        ValueError: If it is blank.
    """
    if not isinstance(query, str):
        msg = f"a query is a string, not {type(query).__name__}"
        raise TypeError(msg)
    if not query.strip():
        msg = "the query is empty: give it at least one word"
        raise ValueError(msg)
    return query


def require_texts(texts: Sequence[str]) -> list[str]:
    """Return the texts as a list, or raise `TypeError` that names the first one that is not a string."""
    if isinstance(texts, str):
        msg = "expected a list of texts, got one string: pass [text]"
        raise TypeError(msg)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            msg = f"text {index} is {type(text).__name__}, not a string"
            raise TypeError(msg)
    return list(texts)
