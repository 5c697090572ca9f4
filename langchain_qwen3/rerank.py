"""Qwen3-Reranker as a LangChain document compressor and cross encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, Field, PrivateAttr, model_validator
from typing_extensions import Self, TypedDict

from langchain_qwen3.server_fields import ServerFields
from qwen3_core.base import DType, Quantization, Reranker
from qwen3_core.choice import default_reranker_model, make_reranker
from qwen3_core.local import DEFAULT_MAX_LENGTH, DEFAULT_RERANKER_MODEL, LocalReranker
from qwen3_core.prompts import DEFAULT_INSTRUCTION
from qwen3_core.remote import RemoteReranker

OWN_TOP_N = -1
"""What `rerank(top_n=...)` takes for "the instance's own", as in langchain-cohere; None means all."""


# The instruction goes along with every call.
_OWN_FIELDS = frozenset({"top_n", "score_threshold", "instruction"})


class RerankResult(TypedDict):
    """One ranked document: its place in the input and its score in [0, 1]."""

    index: int
    relevance_score: float


class Qwen3Rerank(ServerFields, BaseDocumentCompressor, BaseCrossEncoder):
    """Order documents by the probability that Qwen3-Reranker calls them relevant, and keep the best.

    ```python
    reranker = Qwen3Rerank(model="mini", top_n=3)
    reranker = Qwen3Rerank(base_url="http://127.0.0.1:8001/v1", server="vllm")
    reranker.compress_documents(documents, "How is data stored?")
    ```

    The documents that come back are copies with ``metadata["relevance_score"]`` in [0, 1], best first; the
    documents given are not changed. Equal scores keep their order. The weights are loaded on first use; calls
    from several threads are safe.
    """

    # The message of a refused argument must not print the others: the key is among them.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    model: str = DEFAULT_RERANKER_MODEL
    """A hub name, a local folder, or "mini" (in this package, for trying and tests, not for production); with a server
    the name that it has there, "qwen3-rerank" with DashScope if none is given."""

    instruction: str = DEFAULT_INSTRUCTION
    """What makes a document relevant, in one English sentence."""

    top_n: int | None = Field(default=3, ge=1)
    """How many documents are kept at most; None keeps all."""

    score_threshold: float | None = Field(default=None, ge=0, le=1)
    """Documents with a lower score are dropped; None drops none."""

    max_length: int = Field(default=DEFAULT_MAX_LENGTH, ge=2)
    """Tokens of one prompt at most; a longer document loses its end, on a server if `truncation` says so; the query
    never."""

    device: str | None = None
    """A torch device; None takes CUDA, then MPS, then the CPU."""

    dtype: DType = "auto"
    """"auto" is bfloat16 where the hardware has it and float32 elsewhere and for "mini", never float16."""

    quantization: Quantization | None = None
    """"int8" rounds to 8 bits for the products of a CPU: faster, half the memory, less exact."""

    batch_tokens: int | None = Field(default=None, ge=1)
    """Tokens in one forward pass or request at most. None is 1,024 on a CPU, 16,384 elsewhere, or what a server
    takes."""

    revision: str | None = None
    """Branch, tag or commit on the hub."""

    cache_folder: str | None = None
    """Where downloads are kept; None is the hub library's own cache."""

    _reranker: Reranker = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _name_model(cls, values: Any) -> Any:
        """Take DashScope's own model where it is the server and none is named."""
        if not isinstance(values, Mapping) or values.get("model") is not None:
            return values
        return {**values, "model": default_reranker_model(values.get("base_url"), values.get("server", "auto"))}

    def model_post_init(self, _context: Any, /) -> None:
        """Make the engine or the client; nothing is loaded and nobody is asked yet."""
        self._reranker = make_reranker(self._arguments(without=_OWN_FIELDS - {"instruction"}))

    @classmethod
    def from_reranker(
        cls, reranker: LocalReranker | RemoteReranker, *, top_n: int | None = 3, score_threshold: float | None = None
    ) -> Self:
        """Return a compressor that uses a ready engine or client, so that both frameworks can share it.

        A pickled copy is made from the engine's settings and loads weights of its own.
        """
        made = cls(**reranker.settings, top_n=top_n, score_threshold=score_threshold)
        made._reranker = reranker
        return made

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy; it shares the weights unless what is changed is for the engine."""
        made = super().model_copy(update=update, deep=deep)
        if set(update or ()) - _OWN_FIELDS:
            made.model_post_init(None)
        return made

    def with_options(self, *, top_n: int | None, instruction: str | None = None) -> Qwen3Rerank:
        """Return a copy that shares the weights and keeps another number of documents.

        Args:
            top_n: How many documents the copy keeps at most; None keeps all.
            instruction: The copy's instruction; None leaves it as it is.
        """
        changes: dict[str, Any] = {"top_n": top_n} | ({} if instruction is None else {"instruction": instruction})
        return self.model_copy(update=changes)

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,  # noqa: ARG002 - part of the interface; scoring has no child runs
    ) -> list[Document]:
        """Return copies of the best documents, best first, with ``metadata["relevance_score"]``.

        Raises:
            ValueError: If the query is blank or too long for `max_length`.
            OSError: If the model cannot be found or fetched, or a server fails (`qwen3_core.ServerError`).
        """
        return _keep(documents, self.rerank(documents, query))

    async def acompress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,  # noqa: ARG002
    ) -> list[Document]:
        """Rerank without blocking the event loop; see `compress_documents`."""
        return _keep(documents, await self.arerank(documents, query))

    def batch(self, requests: Sequence[tuple[Sequence[Document], str]]) -> list[list[Document]]:
        """Rerank for several queries, each with documents of its own; see `compress_documents`."""
        return [self.compress_documents(documents, query) for documents, query in requests]

    def rerank(
        self,
        documents: Sequence[str | Document | Mapping[str, Any]],
        query: str,
        *,
        top_n: int | None = OWN_TOP_N,
        score_threshold: float | None = None,
        instruction: str | None = None,
    ) -> list[RerankResult]:
        """Rank documents and return their places and scores, best first.

        Args:
            documents: Texts, documents, or mappings with a ``text``.
            query: The question as the user typed it.
            top_n: How many to return at most; -1 is the instance's own number, None is all.
            score_threshold: Replaces the instance's threshold for this call.
            instruction: Replaces the instance's instruction for this call.

        Raises:
            ValueError: If the query is blank or too long for `max_length`, or `top_n` is 0 or below -1.
        """
        self._check(top_n)
        task = self.instruction if instruction is None else instruction
        scores = self._reranker.score(query, _texts(documents), instruction=task)
        return self._rank(scores, top_n, score_threshold)

    async def arerank(
        self,
        documents: Sequence[str | Document | Mapping[str, Any]],
        query: str,
        *,
        top_n: int | None = OWN_TOP_N,
        score_threshold: float | None = None,
        instruction: str | None = None,
    ) -> list[RerankResult]:
        """Rank without blocking the event loop; see `rerank`."""
        self._check(top_n)
        task = self.instruction if instruction is None else instruction
        scores = await self._reranker.ascore(query, _texts(documents), instruction=task)
        return self._rank(scores, top_n, score_threshold)

    def score(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Score (query, document) pairs, in order: langchain-core's `BaseCrossEncoder`.

        Pairs of one query are scored together, so that its side of the prompt is computed once.
        """
        places: dict[str, list[int]] = {}
        for place, (query, _) in enumerate(text_pairs):
            places.setdefault(query, []).append(place)
        scores = [0.0] * len(text_pairs)
        for query, rows in places.items():
            found = self._reranker.score(query, [text_pairs[row][1] for row in rows], instruction=self.instruction)
            for row, score in zip(rows, found, strict=True):
                scores[row] = score
        return scores

    def _check(self, top_n: int | None) -> None:
        if top_n is not None and top_n != OWN_TOP_N and top_n < 1:
            msg = f"top_n={top_n} is out of range: at least 1, None for all, or -1 for the instance's own"
            raise ValueError(msg)

    def _rank(self, scores: Sequence[float], top_n: int | None, score_threshold: float | None) -> list[RerankResult]:
        keep = self.top_n if top_n == OWN_TOP_N else top_n
        threshold = self.score_threshold if score_threshold is None else score_threshold
        order = sorted(range(len(scores)), key=lambda index: -scores[index])[:keep]
        return [
            {"index": index, "relevance_score": scores[index]}
            for index in order
            if threshold is None or scores[index] >= threshold
        ]


def _texts(documents: Sequence[str | Document | Mapping[str, Any]]) -> list[str]:
    if isinstance(documents, str):
        msg = "expected a list of documents, got one string: pass [document]"
        raise TypeError(msg)
    return [
        document.page_content
        if isinstance(document, Document)
        else document["text"]
        if isinstance(document, Mapping)
        else document
        for document in documents
    ]


def _keep(documents: Sequence[Document], ranking: Sequence[RerankResult]) -> list[Document]:
    """Copy what the ranking keeps; a shallow copy of the metadata is enough to leave the original alone."""
    return [
        documents[rank["index"]].model_copy(
            update={
                "metadata": {
                    **documents[rank["index"]].metadata,
                    "relevance_score": rank["relevance_score"],
                }
            }
        )
        for rank in ranking
    ]
