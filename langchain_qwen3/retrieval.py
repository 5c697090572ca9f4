"""Two-stage retrieval: many candidates from the vector store, the best of them by the reranker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool
from langchain_core.vectorstores import VectorStore
from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from langchain_qwen3.rerank import Qwen3Rerank
from langchain_qwen3.retriever_tool import TOOL_DESCRIPTION, TOOL_NAME, make_retriever_tool
from langchain_qwen3.vector_store import Qwen3VectorStore
from qwen3_core.base import require_query
from qwen3_core.milvus import Expression

_DEFAULT_K = 4  # langchain-core's own default for a search


class Qwen3Retriever(BaseRetriever):
    """Fetch candidates from a vector store, rerank them, return the best.

    ```python
    retriever = Qwen3Retriever(vector_store=store, reranker=Qwen3Rerank(model="mini", top_n=3), fetch_k=10)
    retriever.invoke("How is data stored?", filter={"tenant": "a"})
    ```

    The documents that come back are copies, best first, with ``metadata["retrieval_score"]`` (the store's own
    score) and, if there is a reranker, ``metadata["relevance_score"]``. Every argument except the store and the
    reranker can also be given to ``invoke`` and ``ainvoke`` for one call.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    vector_store: VectorStore
    """Where candidates come from, such as `create_vector_store` gives; any LangChain vector store works."""

    reranker: BaseDocumentCompressor | None = None
    """What orders the candidates, a `Qwen3Rerank` or another compressor; None keeps the store's order."""

    k: int | None = Field(default=None, ge=1)
    """How many documents are returned at most. None is `top_n`, then the reranker's own `top_n`, then 4."""

    fetch_k: int = Field(default=10, ge=1)
    """How many candidates the reranker sees; unused without one."""

    top_n: int | None = Field(default=None, ge=1)
    """How many documents reranking keeps at most; None is `k`. With both, the smaller counts."""

    filter: Mapping[str, Any] | Expression | None = None
    """Conditions on metadata, as the vector store takes them; with ours, values are data."""

    tenant: str | None = None
    """Whose documents, in a collection with tenants. Needs a store of `create_vector_store`."""

    instruction: str | None = None
    """One English sentence that replaces the instruction of the embeddings and of the reranker.

    Needs a store of `create_vector_store` with `Qwen3Embeddings`.
    """

    score_threshold: float | None = None
    """Documents with a lower score (the reranker's, or without one the store's) are dropped."""

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        self._plan({})
        return self

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        plan = self._plan(kwargs)
        found = self.vector_store.similarity_search_with_score(require_query(query), **plan.search)
        candidates = _with_scores(found)
        if self.reranker is None or not candidates:
            return plan.cut(candidates, "retrieval_score")
        reranker = plan.reranker(self.reranker)
        kept = reranker.compress_documents(candidates, query, callbacks=run_manager.get_child())
        return plan.cut(kept, "relevance_score")

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        plan = self._plan(kwargs)
        found = await self.vector_store.asimilarity_search_with_score(require_query(query), **plan.search)
        candidates = _with_scores(found)
        if self.reranker is None or not candidates:
            return plan.cut(candidates, "retrieval_score")
        reranker = plan.reranker(self.reranker)
        kept = await reranker.acompress_documents(candidates, query, callbacks=run_manager.get_child())
        return plan.cut(kept, "relevance_score")

    def as_tool(
        self,
        args_schema: type[BaseModel] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        arg_types: dict[str, type] | None = None,
    ) -> BaseTool:
        """Return a tool for agents, which takes a ``query``.

        ```python
        create_agent(ChatQwen3(model="qwen3-8b"), [retriever.as_tool()])
        ```

        The model is shown numbered passages with their sources, in which no text can act as a control token of the chat
        template. The `ToolMessage` has the documents as its ``artifact``, with both scores. What the retriever was
        built with holds, `filter` and `tenant` too: the model chooses the query and nothing else. An empty query
        is told to the model as the tool's error.

        Args:
            args_schema: Not for this tool; LangChain's own `as_tool` has it.
            name: The tool's name; "search_documents" if None.
            description: What the model is told of the tool; better than the general default, which says nothing of
                what your documents are about.
            arg_types: Not for this tool.

        Raises:
            ValueError: `args_schema` or `arg_types` is given.
        """
        if args_schema is not None or arg_types is not None:
            msg = "args_schema and arg_types cannot be chosen: the tool takes a query, and the retriever has the rest"
            raise ValueError(msg)
        return make_retriever_tool(self, name or TOOL_NAME, description or TOOL_DESCRIPTION)

    def _plan(self, call: Mapping[str, Any]) -> _Plan:
        """Settle one call's numbers: what the call says, else what the instance says."""
        allowed = {"k", "fetch_k", "top_n", "filter", "tenant", "instruction", "score_threshold"}
        unknown = sorted(call.keys() - allowed)
        if unknown:
            msg = f"unknown argument {unknown[0]!r}: a call takes {', '.join(sorted(allowed))}"
            raise TypeError(msg)
        chosen = {name: call.get(name, getattr(self, name)) for name in allowed}
        # A number given with the call must not be cut by the other one of the instance.
        limits = [call.get(name) for name in ("k", "top_n")]
        limits = limits if any(limits) else [self.k, self.top_n]
        given = [limit for limit in limits if limit is not None]
        keep = min(given) if given else getattr(self.reranker, "top_n", None) or _DEFAULT_K
        _check_store(self.vector_store, chosen)
        if keep < 1:
            msg = f"k and top_n are at least 1, not {keep}"
            raise ValueError(msg)
        if self.reranker is not None and chosen["fetch_k"] < keep:
            msg = (
                f"fetch_k={chosen['fetch_k']} is less than the {keep} documents to return: "
                "fetch at least as many candidates as are kept"
            )
            raise ValueError(msg)
        search = {
            "k": keep if self.reranker is None else chosen["fetch_k"],
            "filter": chosen["filter"],
            "tenant": chosen["tenant"],
            "instruction": chosen["instruction"],
        }
        return _Plan(
            keep=keep,
            search={name: value for name, value in search.items() if value is not None},
            instruction=chosen["instruction"],
            score_threshold=chosen["score_threshold"],
        )


def _check_store(store: VectorStore, chosen: Mapping[str, Any]) -> None:
    """Refuse what only our own store understands."""
    if isinstance(store, Qwen3VectorStore):
        return
    if chosen["instruction"] is not None:
        msg = (
            "instruction needs a store of create_vector_store, because others cannot pass it to the embeddings: "
            "set it on the embeddings and on the reranker"
        )
        raise ValueError(msg)
    if chosen["tenant"] is not None:
        msg = "tenant needs a store of create_vector_store: others would not know it, and show everybody's documents"
        raise ValueError(msg)


@dataclass(frozen=True)
class _Plan:
    """What one call fetches and keeps."""

    keep: int
    search: Mapping[str, Any]
    instruction: str | None
    score_threshold: float | None

    def reranker(self, reranker: BaseDocumentCompressor) -> BaseDocumentCompressor:
        """Return the reranker to use; ours is told the call's numbers in a copy that shares the weights."""
        if not isinstance(reranker, Qwen3Rerank):
            return reranker
        return reranker.with_options(top_n=self.keep, instruction=self.instruction)

    def cut(self, documents: Sequence[Document], score: str) -> list[Document]:
        """Drop what is below the threshold or too many. A foreign reranker may leave documents unscored."""
        threshold = self.score_threshold
        return [
            document
            for document in documents[: self.keep]
            if threshold is None or document.metadata.get(score, threshold) >= threshold
        ]


def _with_scores(found: Sequence[tuple[Document, float]]) -> list[Document]:
    return [
        document.model_copy(update={"metadata": {**document.metadata, "retrieval_score": float(score)}})
        for document, score in found
    ]
