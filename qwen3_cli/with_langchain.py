"""Index, search and answer with the LangChain components."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_qwen3 import (
    ChatQwen3,
    Qwen3Embeddings,
    Qwen3Rerank,
    Qwen3Retriever,
    create_deep_search,
    create_rag_chain,
    create_vector_store,
    index_documents,
)
from langchain_qwen3.rag_chain import RagOutput
from langchain_qwen3.vector_store import Qwen3VectorStore
from qwen3_cli.options import ChatOptions, Stages, StoreOptions
from qwen3_cli.passages import Answer, Passage
from qwen3_core.ingest.indexing import IndexOptions
from qwen3_core.ingest.summary import IndexSummary


@contextmanager
def open_store(options: StoreOptions) -> Iterator[Qwen3VectorStore]:
    """Open the collection and close it at the end, so that another process may open the file."""
    with create_vector_store(Qwen3Embeddings(**options.embedding.arguments()), **options.opening) as store:
        yield store


def index(options: StoreOptions, paths: Sequence[Path], indexing: IndexOptions) -> IndexSummary:
    """Make the collection hold the passages of files."""
    with open_store(options) as store:
        return index_documents(store, paths, **indexing)


@contextmanager
def open_indexed(options: StoreOptions) -> Iterator[Qwen3VectorStore]:
    """Open a collection that is there, and close it at the end.

    Raises:
        ValueError: It is not.
    """
    options.require_path()
    with open_store(options) as store:
        if store.col is None:
            raise options.missing()
        yield store


def make_retriever(store: Qwen3VectorStore, stages: Stages) -> Qwen3Retriever:
    """Build the two-stage retriever; with the reranker "none" it is one stage."""
    reranker = Qwen3Rerank(**stages.reranker.arguments(), top_n=stages.top_n) if stages.reranker.reranks else None
    return Qwen3Retriever(vector_store=store, reranker=reranker, fetch_k=stages.fetch_k, k=stages.top_n)


def make_chat(options: ChatOptions, **more: Any) -> ChatQwen3:
    """Build the chat model that `--chat` names."""

    def make(model: str, *, url: str | None, key: str | None) -> ChatQwen3:
        where = {} if url is None else {"base_url": url, "api_key": key, "server": options.server}
        return ChatQwen3(model=model, **options.answering, **where, **more)

    return options.make(make)


def candidates(store: Qwen3VectorStore, question: str, stages: Stages) -> list[Document]:
    """Return every candidate with its scores, best first; a table of both orders needs them all."""
    return make_retriever(store, stages).invoke(question, k=stages.fetch_k)


def search(store: StoreOptions, question: str, stages: Stages) -> list[Passage]:
    """Return every candidate with its scores, best first."""
    with open_indexed(store) as opened:
        return passages(candidates(opened, question, stages))


def ask(store: StoreOptions, question: str, stages: Stages, chat: ChatOptions) -> Answer:
    """Answer a question from the collection."""
    model = make_chat(chat)
    with open_indexed(store) as opened:
        return answer(question, make_retriever(opened, stages), model)


def research(
    store: StoreOptions,
    question: str,
    stages: Stages,
    chat: ChatOptions,
    searching: Mapping[str, Any],
    tell: Callable[[Mapping[str, Any]], None],
) -> dict[str, Any]:
    """Research a question as far as `ResearchOptions.searching` says; each step is told as it ends."""
    model = make_chat(chat)
    output: dict[str, Any] = {}
    with open_indexed(store) as opened:
        graph: Any = create_deep_search(make_retriever(opened, stages), model, **searching)
        for kind, chunk in graph.stream({"input": question}, stream_mode=["updates", "values"]):
            if kind == "values":
                output = chunk
                continue
            for update in chunk.values():
                tell(update["steps"][-1])
    return {**output, "context": [asdict(passage) for passage in passages(output["context"])]}


def answer(question: str, retriever: Runnable[str, list[Document]] | Sequence[Document], chat: ChatQwen3) -> Answer:
    """Answer a question from what a retriever finds, or from documents."""
    found = retriever if isinstance(retriever, Runnable) else RunnableLambda(lambda _: list(retriever))
    return to_answer(create_rag_chain(found, chat).invoke({"input": question}))


def to_answer(output: RagOutput) -> Answer:
    """Return what the chain gives as the commands pass it on."""
    return Answer(
        input=output["input"],
        context=passages(output["context"]),
        answer=output["answer"],
        reasoning=output["reasoning"],
        citations=[dict(citation) for citation in output["citations"]],
    )


def passages(documents: Sequence[Document]) -> list[Passage]:
    """Return documents as the commands pass them on."""
    return [Passage(document.id, document.page_content, document.metadata) for document in documents]
