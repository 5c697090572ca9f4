"""Two-stage retrieval as a LlamaIndex query engine: embed, search Milvus, rerank, answer with sources."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from typing import Any

from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    StreamingResponse,
)
from llama_index.core.bridge.pydantic import SecretStr
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.indices.prompt_helper import ChatPromptHelper, PromptHelper
from llama_index.core.llms import ChatMessage, MessageRole
from llama_index.core.llms.llm import LLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import ChatPromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer
from llama_index.core.schema import BaseNode, Document, MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.tools import QueryEngineTool
from llama_index.core.vector_stores.types import VectorStoreQueryMode

from llamaindex_qwen3.filters import Filters
from llamaindex_qwen3.indexing import index_nodes
from llamaindex_qwen3.query_engine_tool import TOOL_DESCRIPTION, TOOL_NAME, Qwen3QueryEngineTool
from llamaindex_qwen3.reasoning import ReasoningCollector, collect_reasoning
from llamaindex_qwen3.vector_store import Qwen3VectorStore, create_vector_store
from qwen3_core.answers import ANSWER_INSTRUCTION, cited_numbers, number_sources
from qwen3_core.base import require_query
from qwen3_core.milvus.errors import MilvusStoreError
from qwen3_core.prompts import escape_control_tokens

ANSWER_PROMPT = ChatPromptTemplate(
    message_templates=[
        ChatMessage(role=MessageRole.SYSTEM, content=ANSWER_INSTRUCTION + "\n\n{context_str}"),
        ChatMessage(role=MessageRole.USER, content="{query_str}"),
    ]
)
"""Takes ``context_str`` (the numbered sources as text) and ``query_str``."""


class Qwen3QueryEngine(RetrieverQueryEngine):
    """A `RetrieverQueryEngine` that keeps the reasoning and knows which sources the answer names.

    ``response.metadata`` has, beside the metadata of each node by its id, ``"reasoning"`` (a string, empty if the model
    gave none) and ``"citations"`` (numbers of `source_nodes`, counted from 1, in the order of first mention). With a
    streaming engine both grow while ``response.response_gen`` is read; `collect_reasoning` shows reasoning live.
    Text of nodes and questions cannot act as a control token of the chat template.
    """

    store: Qwen3VectorStore
    """Where the nodes are; ``with engine:`` or ``engine.close()`` closes it."""

    numbered: bool = True
    """Whether the model sees numbered sources."""

    def as_tool(
        self, *, name: str = TOOL_NAME, description: str = TOOL_DESCRIPTION, return_direct: bool = False
    ) -> QueryEngineTool:
        """Return a tool for agents: `FunctionAgent(llm=Qwen3(...), tools=[engine.as_tool()])`.

        The model is shown the answer and a numbered list of its sources, the program finds the engine's response in
        ``raw_output``.

        Args:
            name: The tool's name.
            description: What the model is told of the tool; better than the general default, which says nothing of
                what your documents are about.
            return_direct: Whether the tool's answer ends the agent's run.
        """
        return Qwen3QueryEngineTool.from_defaults(self, name=name, description=description, return_direct=return_direct)

    def close(self) -> None:
        """Close the store, and free a Milvus Lite file for other processes."""
        self.store.close()

    def __enter__(self) -> Qwen3QueryEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        question = _question(query_bundle)
        with self._event(query_bundle) as event, collect_reasoning() as reasoning:
            nodes = self.retrieve(query_bundle)
            response = self.synthesize(question, self._shown(nodes))
            _finish(response, nodes, reasoning)
            event.on_end(payload={EventPayload.RESPONSE: response})
        return response

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        question = _question(query_bundle)
        with self._event(query_bundle) as event, collect_reasoning() as reasoning:
            nodes = await self.aretrieve(query_bundle)
            response = await self.asynthesize(question, self._shown(nodes))
            _finish(response, nodes, reasoning)
            event.on_end(payload={EventPayload.RESPONSE: response})
        return response

    def _event(self, query_bundle: QueryBundle) -> Any:
        payload: dict[str, Any] = {EventPayload.QUERY_STR: query_bundle.query_str}
        return self.callback_manager.event(CBEventType.QUERY, payload=payload)

    def _shown(self, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
        """Return what the model sees in place of the nodes, which stay as they are."""
        texts = [node.node.get_content(MetadataMode.LLM) for node in nodes]
        shown = number_sources(texts) if self.numbered else list(map(escape_control_tokens, texts))
        return [
            NodeWithScore(node=TextNode(id_=node.node.node_id, text=text), score=node.score)
            for node, text in zip(nodes, shown, strict=True)
        ]


def create_query_engine(
    documents: Sequence[Document | BaseNode] | None = None,
    *,
    llm: LLM,
    embed_model: BaseEmbedding,
    reranker: BaseNodePostprocessor | None = None,
    uri: str | os.PathLike[str] = "./milvus.db",
    token: SecretStr | str | None = None,
    db_name: str = "",
    collection_name: str = "docs",
    hybrid: bool = False,
    analyzer: str | None = None,
    alpha: float | None = None,
    tenant: str | None = None,
    fetch_k: int = 10,
    top_n: int | None = None,
    filters: Filters | None = None,
    citations: bool = True,
    streaming: bool = False,
    response_mode: ResponseMode = ResponseMode.COMPACT,
    splitter: SentenceSplitter | None = None,
    drop_old: bool = False,
    timeout: float = 60.0,
    show_progress: bool = False,
) -> Qwen3QueryEngine:
    """Index documents, or open what is indexed, and return an engine that answers from them.

    ```python
    engine = create_query_engine(
        documents, llm=Qwen3(model="qwen3-8b"), embed_model=Qwen3Embedding(model_name="mini"),
        reranker=Qwen3Rerank(model="mini"), fetch_k=10, top_n=3,
    )
    response = engine.query("How is data stored?")
    response.response, response.source_nodes, response.metadata["reasoning"], response.metadata["citations"]
    ```

    The global ``Settings`` are neither read nor written.

    Args:
        documents: Documents are split, and their passages have ids made of their content, so that what is there is not
            embedded again. Nodes are embedded as they are and replace those with their ids. None opens the collection.
        llm: Any LlamaIndex LLM; the reasoning is kept if it is a `Qwen3`.
        embed_model: What made, or will make, the vectors.
        reranker: What orders the candidates, a `Qwen3Rerank` or another; None keeps the order of the search.
        uri: Where the collection is; see `create_vector_store`, also for the next three.
        token: `user:password` or an API key.
        db_name: A database of the server.
        collection_name: Letters, digits and underscores.
        hybrid: Search by vector and by BM25.
        analyzer: What cuts the text into words for BM25; see `create_vector_store`.
        alpha: How much the vector counts in a hybrid search, 0 to 1, against BM25; None fuses the ranks of both (RRF).
        tenant: Whose nodes are indexed and searched, in a collection with tenants.
        fetch_k: How many candidates the search fetches, 1 or more.
        top_n: How many are kept, at most `fetch_k`; None is the reranker's own number, or 3 without one.
        filters: What nodes have to fulfil: LlamaIndex's filters, a mapping, or an expression.
        citations: Whether sources are numbered and named in the answer.
        streaming: Whether the answer comes in pieces, from ``response.response_gen``.
        response_mode: How an answer is made of many sources; LlamaIndex's.
        splitter: Cuts documents; None cuts at sentences after 512 tokens of the embedding model.
        drop_old: Delete the collection first.
        timeout: Seconds for each call of Milvus.
        show_progress: Whether embedding shows a progress bar.

    Raises:
        ValueError: A number is out of range; when queried, if the question is blank.
        MilvusStoreError: There is no collection and nothing to index, or see `create_vector_store`.
    """
    _check_counts(fetch_k, top_n)
    _check_alpha(alpha, hybrid=hybrid)
    store = create_vector_store(
        embed_model,
        uri=uri,
        token=token,
        db_name=db_name,
        collection_name=collection_name,
        hybrid=hybrid,
        analyzer=analyzer,
        tenant=tenant,
        timeout=timeout,
        drop_old=drop_old,
    )
    try:
        if documents is None:
            _require_collection(store)
        else:
            index_nodes(store, documents, embed_model, splitter=splitter, show_progress=show_progress)
        return _assemble(
            store, llm, embed_model, reranker, fetch_k=fetch_k, top_n=top_n, alpha=alpha, filters=filters,
            citations=citations, streaming=streaming, response_mode=response_mode,
        )  # fmt: skip
    except BaseException:
        store.close()
        raise


def _require_collection(store: Qwen3VectorStore) -> None:
    if not store.has_collection:
        msg = f"There is no collection {store.collection_name!r} at {store.uri}: pass documents to make it."
        raise MilvusStoreError(msg)


def _check_counts(fetch_k: int, top_n: int | None) -> None:
    if fetch_k < 1 or (top_n is not None and not 1 <= top_n <= fetch_k):
        msg = f"fetch_k={fetch_k}, top_n={top_n}: at least 1, and the reranker cannot keep more than it is given."
        raise ValueError(msg)


def _check_alpha(alpha: float | None, *, hybrid: bool) -> None:
    if alpha is not None and not (hybrid and 0 <= alpha <= 1):
        msg = f"alpha={alpha}: pass 0 to 1, together with hybrid=True."
        raise ValueError(msg)


def _assemble(
    store: Qwen3VectorStore,
    llm: LLM,
    embed_model: BaseEmbedding,
    reranker: BaseNodePostprocessor | None,
    *,
    fetch_k: int,
    top_n: int | None,
    alpha: float | None,
    filters: Filters | None,
    citations: bool,
    streaming: bool,
    response_mode: ResponseMode,
) -> Qwen3QueryEngine:
    # Everything is handed over: what is left out, LlamaIndex takes from the global Settings, and sets there.
    callback_manager = llm.callback_manager
    index = VectorStoreIndex.from_vector_store(
        store,
        embed_model=embed_model,
        transformations=[SentenceSplitter(callback_manager=callback_manager)],
        callback_manager=callback_manager,
    )
    retriever = index.as_retriever(
        similarity_top_k=fetch_k,
        sparse_top_k=fetch_k,
        hybrid_top_k=fetch_k,
        alpha=alpha,
        vector_store_query_mode=VectorStoreQueryMode.HYBRID if store.hybrid else VectorStoreQueryMode.DEFAULT,
        filters=filters,
    )
    synthesizer = get_response_synthesizer(
        llm=llm,
        prompt_helper=PromptHelper.from_llm_metadata(llm.metadata),
        chat_prompt_helper=ChatPromptHelper.from_llm_metadata(llm.metadata),
        text_qa_template=ANSWER_PROMPT if citations else None,
        response_mode=response_mode,
        streaming=streaming,
        callback_manager=callback_manager,
    )
    engine = Qwen3QueryEngine(
        retriever=retriever,
        response_synthesizer=synthesizer,
        node_postprocessors=[_keep(reranker, top_n)],
        callback_manager=callback_manager,
    )
    engine.store, engine.numbered = store, citations
    return engine


class _First(BaseNodePostprocessor):
    """Keeps the first nodes, in the order of the search."""

    top_n: int = 3

    def _postprocess_nodes(
        self,
        nodes: list[NodeWithScore],
        query_bundle: QueryBundle | None = None,  # noqa: ARG002 - part of the interface
    ) -> list[NodeWithScore]:
        return nodes[: self.top_n]


def _keep(reranker: BaseNodePostprocessor | None, top_n: int | None) -> BaseNodePostprocessor:
    """Return what keeps the best; a copy, since engines put their callback manager into it."""
    if reranker is None:
        return _First(top_n=top_n or 3)
    if top_n is not None and not hasattr(reranker, "top_n"):
        msg = f"top_n={top_n}: a {type(reranker).__name__} has no top_n; set its own number instead."
        raise ValueError(msg)
    return reranker.model_copy(update={} if top_n is None else {"top_n": top_n})


def _question(query_bundle: QueryBundle) -> QueryBundle:
    return QueryBundle(query_str=escape_control_tokens(require_query(query_bundle.query_str)))


def _finish(response: RESPONSE_TYPE, nodes: list[NodeWithScore], reasoning: ReasoningCollector) -> None:
    """Put the nodes in place of what the model saw, and reasoning and citations beside them."""
    response.source_nodes = nodes
    metadata: dict[str, Any] = {node.node.node_id: node.node.metadata for node in nodes}
    response.metadata = metadata

    def note(answer: str) -> None:
        metadata["reasoning"] = reasoning.text
        metadata["citations"] = cited_numbers(answer, len(nodes))

    note("")
    # LlamaIndex's synthesizers ask the LLM when the first piece is read, which is after the query has returned.
    if isinstance(response, StreamingResponse):
        response.response_gen = _noted(reasoning.reading(response.response_gen), note)
    elif isinstance(response, AsyncStreamingResponse):
        response.response_gen = _anoted(reasoning.areading(response.response_gen), note)
    else:
        note(str(response.response or ""))


def _noted(pieces: Generator[str, None, None], note: Callable[[str], None]) -> Generator[str, None, None]:
    answer = ""
    for piece in pieces:
        answer += piece
        note(answer)
        yield piece
    note(answer)


async def _anoted(pieces: AsyncGenerator[str, None], note: Callable[[str], None]) -> AsyncGenerator[str, None]:
    answer = ""
    async for piece in pieces:
        answer += piece
        note(answer)
        yield piece
    note(answer)
