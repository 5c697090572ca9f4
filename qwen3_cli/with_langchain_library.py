"""A collection that stays open for many callers, with the LangChain components."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from langchain_core.documents import Document as LangChainDocument
from langchain_core.runnables import Runnable

from langchain_qwen3 import ChatQwen3, Qwen3Retriever, create_deep_search, create_rag_chain
from langchain_qwen3.vector_store import Qwen3VectorStore
from qwen3_cli.library import MAX_PASSAGES, Document, Wanted
from qwen3_cli.options import AnswerOptions, ResearchOptions, Stages, StoreOptions
from qwen3_cli.passages import Answer, Passage, Researched
from qwen3_cli.with_langchain import make_chat, make_retriever, open_indexed, passages, to_answer

_SOURCES_STAY = 60.0  # seconds; to list them, all rows are looked at


def has_chat(chat: AnswerOptions) -> bool:
    """Tell whether there is a chat model: one that is named, or a key for the default one."""
    return bool(chat.chat or os.environ.get("DASHSCOPE_API_KEY"))


@contextmanager
def open_library(
    store: StoreOptions, stages: Stages, chat: AnswerOptions, research: ResearchOptions
) -> Iterator[LangChainLibrary]:
    """Open a collection that was indexed, with its models, and close it at the end.

    Without `--chat`, and without a key for DashScope, there is no chat model.

    Raises:
        ValueError: There is no such collection, or it has tenants and none is named.
        OSError: A server of a model cannot be asked for what it serves.
        MilvusStoreError: The collection cannot be opened.
    """
    model = make_chat(chat) if has_chat(chat) else None
    with open_indexed(store) as opened:
        opened.search_by_metadata(limit=1)  # says now that a tenant has to be named
        yield LangChainLibrary(opened, make_retriever(opened, stages), model, research.searching(think=chat.think))


class LangChainLibrary:
    """A `Library` on a vector store, a retriever and a chat model.

    Searches, scores and answers of several callers run side by side; the local models take turns.
    """

    def __init__(
        self, store: Qwen3VectorStore, retriever: Qwen3Retriever, chat: ChatQwen3 | None, searching: Mapping[str, Any]
    ) -> None:
        self.answers = chat is not None
        self._store, self._retriever, self._chat, self._searching = store, retriever, chat, searching
        self._sources: tuple[float, dict[str, int]] | None = None

    async def search(self, wanted: Wanted) -> list[Passage]:
        """Return the best passages, with their scores."""
        return passages(await self._bound(wanted).ainvoke(wanted.query))

    async def ask(self, wanted: Wanted) -> Answer:
        """Answer from the best passages."""
        chain = create_rag_chain(self._bound(wanted), self._require_chat())
        return to_answer(await chain.ainvoke({"input": wanted.query}))

    async def research(self, wanted: Wanted) -> Researched:
        """Search in several rounds, as far as the operator lets it go, and report; `Wanted.k` is for each query."""
        graph = create_deep_search(self._bound(wanted), self._require_chat(), **self._searching)
        output: Any = await graph.ainvoke({"input": wanted.query})
        answer = to_answer(output | {"reasoning": ""})
        return Researched(**vars(answer), reason=output["reason"], notes=output["notes"])

    async def sources(self) -> dict[str, int]:
        """Return the documents' names in alphabetical order, with how many passages each has; a minute old at most."""
        if self._sources is None or time.monotonic() - self._sources[0] > _SOURCES_STAY:
            found = await asyncio.to_thread(self._store.count_sources)
            self._sources = (time.monotonic(), found)
        return self._sources[1]

    async def document(self, source: str) -> Document | None:
        """Return a document, None if there is none of this name.

        The collection keeps no places, so the passages come as Milvus gives them, by pages where they have some. Seen
        on Milvus Lite: in the order in which they were written, which is the file's until it changes.
        """
        found = await asyncio.to_thread(
            self._store.search_by_metadata, filter={"source": source}, limit=MAX_PASSAGES + 1
        )
        shown = sorted(passages(found[:MAX_PASSAGES]), key=_page)
        return Document(source, shown, complete=len(found) <= MAX_PASSAGES) if found else None

    def _require_chat(self) -> ChatQwen3:
        if self._chat is None:
            msg = "there is no chat model"
            raise ValueError(msg)
        return self._chat

    def _bound(self, wanted: Wanted) -> Runnable[str, list[LangChainDocument]]:
        retriever = self._retriever
        k = retriever.k if wanted.k is None else wanted.k
        return retriever.bind(k=k, fetch_k=max(retriever.fetch_k, k or 1), filter=wanted.filters or None)


def _page(passage: Passage) -> float:
    page = passage.metadata.get("page")
    return page if isinstance(page, int | float) else 0
