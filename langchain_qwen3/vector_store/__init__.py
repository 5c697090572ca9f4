"""A Milvus vector store for LangChain without the traps of the ready-made one.

`Qwen3VectorStore` is `langchain_milvus.Milvus` with overrides where its behaviour with Milvus Lite 3.2.2, a
server, or one of the two supported pairs (langchain-milvus 0.4.0 with pymilvus 3, 0.3.3 with pymilvus 2.6)
loses data, hangs or fails; each override names its trap. What is true of Milvus whatever the framework is in
`qwen3_core.milvus`.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from langchain_core.embeddings import Embeddings
from pydantic import SecretStr

from langchain_qwen3.vector_store.search import SearchableCollection

_Store = TypeVar("_Store", bound="Qwen3VectorStore")


def create_vector_store(
    embeddings: Embeddings,
    *,
    uri: str | os.PathLike[str] = "./milvus.db",
    token: SecretStr | str | None = None,
    db_name: str = "",
    collection_name: str = "docs",
    hybrid: bool = False,
    analyzer: str | None = None,
    tenants: bool = False,
    tenant: str | None = None,
    consistency_level: str = "Session",
    timeout: float = 60.0,
    batch_size: int = 64,
    drop_old: bool = False,
) -> Qwen3VectorStore:
    """Open a collection, or prepare to create it with the first document.

    ```python
    with create_vector_store(Qwen3Embeddings(model="mini"), uri="./milvus.db") as store:
        store.add_documents(documents)
        store.similarity_search("a question", filter={"lang": "en"})
    ```

    Arguments and errors are those of `Qwen3VectorStore`.
    """
    return Qwen3VectorStore(
        embeddings,
        uri=uri,
        token=token,
        db_name=db_name,
        collection_name=collection_name,
        hybrid=hybrid,
        analyzer=analyzer,
        tenants=tenants,
        tenant=tenant,
        consistency_level=consistency_level,
        timeout=timeout,
        batch_size=batch_size,
        drop_old=drop_old,
    )


def _in_thread(name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Make the asynchronous twin of a method: the method, in a thread."""

    async def twin(self: Qwen3VectorStore, *args: Any, **kwargs: Any) -> Any:
        return await asyncio.to_thread(getattr(self, name), *args, **kwargs)

    twin.__name__ = f"a{name}"
    twin.__doc__ = f"Run `{name}` in a thread."
    return twin


class Qwen3VectorStore(SearchableCollection):
    """A Milvus collection as a LangChain vector store: COSINE, dynamic metadata, content-hash ids.

    - Ids: a document without an id gets the hash of its text and metadata. Adding it again neither embeds nor
      writes anything. A document with an id replaces the one that has it.
    - Scores: cosine similarity in [-1, 1], higher is better; with `hybrid=True` reciprocal rank fusion, of
      which only the order means something.
    - Filters: `filter={"lang": "en", "page": [1, 2]}` or `filter=(Field("page") >= 3) & ~Field("draft").exists()` on
      searches and `delete`; values are data. `expr=raw("...")` passes a Milvus expression as it stands: never build
      one from user input.
    - Tenants: with `tenants=True` each document belongs to one, and every call needs `tenant="a"`, or a store of
      `for_tenant("a")`, which sees, replaces and deletes that tenant's documents only.
    - Async methods run the synchronous ones in a thread: pymilvus's asynchronous client is bound to one event
      loop, and a second `asyncio.run()` would fail.
    - The collection remembers the embedding that made it, and refuses another.

    Args:
        embeddings: any LangChain embeddings.
        uri: a path that ends with `.db` (Milvus Lite, in this process; one process at a time), or
            `http(s)://host:port` of a server, a cluster, Zilliz Cloud, or `milvus-lite server`.
        token: `user:password` or an API key.
        db_name: a database of the server; empty is the default one.
        collection_name: letters, digits and underscores.
        hybrid: also index the text for BM25, and search by both. Needs Milvus Lite 3 or Milvus 2.5.
        analyzer: what cuts the text into words for BM25: "standard", "jieba" (Chinese), and on servers also "english",
            "chinese" and "icu". None is the collection's own, and "standard" for a new one.
        tenants: give each document of a new collection to a tenant.
        tenant: open the store of this tenant; means `tenants=True` as well.
        consistency_level: Milvus's; "Session" sees this store's own writes. "Strong" costs a server about 200
            ms a search where the others take 6 ms.
        timeout: seconds for each call; loading and flushing, which build indexes, may take ten times as long.
        batch_size: documents that are embedded and written together: what an interruption loses at most.
        drop_old: delete the collection first, with the documents of all tenants.

    Raises:
        ValueError: an argument is out of range, or the collection has no tenants and should.
        TypeError: `embeddings` is no LangChain embeddings.
        EmbeddingMismatchError: another model or another number of dimensions made the collection.
        MilvusLockedError: another process holds the Lite file.
        MilvusAuthError: the server refuses the token.
        MilvusUnavailableError: no server answers.
        MilvusTimeoutError: the server is there and hangs.
        MilvusStoreError: the collection was not made by this package, lacks the BM25 index or has another analyzer,
            this Milvus lacks the analyzer, or Milvus failed.
    """

    @classmethod
    def from_texts(  # type: ignore[override]
        cls: type[_Store],
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> _Store:
        """Open a store (`kwargs` are the constructor's) and add texts."""
        store = cls(embedding, **kwargs)
        try:
            store.add_texts(texts, metadatas, ids=ids)
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    async def afrom_texts(cls: type[_Store], *args: Any, **kwargs: Any) -> _Store:
        """Run `from_texts` in a thread."""
        return await asyncio.to_thread(functools.partial(cls.from_texts, *args, **kwargs))

    # Trap: "Event loop is closed" in the second asyncio.run(), and Lite half supports the asynchronous client.
    aadd_texts = _in_thread("add_texts")
    aadd_documents = _in_thread("add_documents")
    aadd_embeddings = _in_thread("add_embeddings")
    aupsert = _in_thread("upsert")
    adelete = _in_thread("delete")
    aget_by_ids = _in_thread("get_by_ids")
    aget_pks = _in_thread("get_pks")
    asearch_by_metadata = _in_thread("search_by_metadata")
    atext_search = _in_thread("text_search")
    atext_search_with_score = _in_thread("text_search_with_score")
    asimilarity_search = _in_thread("similarity_search")
    asimilarity_search_by_vector = _in_thread("similarity_search_by_vector")
    asimilarity_search_with_score = _in_thread("similarity_search_with_score")
    asimilarity_search_with_score_by_vector = _in_thread("similarity_search_with_score_by_vector")
    amax_marginal_relevance_search = _in_thread("max_marginal_relevance_search")
    amax_marginal_relevance_search_by_vector = _in_thread("max_marginal_relevance_search_by_vector")
