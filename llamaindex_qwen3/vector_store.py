"""A Milvus vector store for LlamaIndex over the collection that LangChain's twin uses.

It implements LlamaIndex's interface itself and is no subclass of `MilvusVectorStore`
(llama-index-vector-stores-milvus 1.2.0): each of that class's public methods, its constructor included, has one of
the traps that are closed here (a client bound to one event loop, filters that fall away or are not escaped,
`sys.exit`, half-made collections, ignored options), so nothing of it would be left; and it pins pymilvus below 3,
which LangChain's store needs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import ConfigDict, PrivateAttr, SecretStr
from llama_index.core.schema import BaseNode, MetadataMode, TextNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict
from typing_extensions import Self

from llamaindex_qwen3.filters import Filters, of_documents, to_expression
from llamaindex_qwen3.search import search
from qwen3_core.milvus import And, Collection, Connection, EmbeddingIdentity, Expression, MilvusAddress
from qwen3_core.milvus.collection import Row
from qwen3_core.milvus.filters import PRIMARY_FIELD, TEXT_FIELD, has_id
from qwen3_core.milvus.rows import metadata_of


class Qwen3VectorStore(BasePydanticVectorStore):
    """A Milvus collection as a LlamaIndex vector store.

    ```python
    store = create_vector_store(Qwen3Embedding(model_name="mini"), uri="./milvus.db")
    ```

    - Similarities are cosines in [-1, 1], higher is better; with HYBRID they are fused ranks, with SPARSE and
      TEXT_SEARCH BM25 scores.
    - A node replaces the one with its id. Values in filters and ids are data. Wherever LlamaIndex takes
      `MetadataFilters`, a mapping or an expression is taken as well: `filters=Field("page") >= 3`.
    - With `tenants=True` each node belongs to a tenant, and every call goes through the store of `for_tenant("a")`,
      which sees, replaces and deletes that tenant's nodes only.
    - Async methods run the synchronous ones in a thread, so that they work in every event loop, one after another.
    - The collection remembers the embedding that made it, and refuses another. `langchain_qwen3`'s store opens the
      same collection: text, id, vector and metadata have the same fields.

    `create_vector_store` tells the arguments and errors. `to_dict` leaves the token out.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    stores_text: bool = True
    uri: str = "./milvus.db"
    db_name: str = ""
    collection_name: str = "docs"
    hybrid: bool = False
    analyzer: str | None = None
    tenants: bool = False
    tenant: str | None = None
    consistency_level: str = "Session"
    timeout: float = 60.0
    embedding: str = ""
    """The identity of the embedding, as `EmbeddingIdentity.to_json` gives it."""

    _connection: Connection = PrivateAttr()
    _collection: Collection = PrivateAttr()
    _borrowed: bool = PrivateAttr(default=False)

    def __init__(
        self,
        embed_model: BaseEmbedding | None = None,
        *,
        token: SecretStr | str | None = None,
        drop_old: bool = False,
        **fields: Any,
    ) -> None:
        if embed_model is not None:
            fields["embedding"] = EmbeddingIdentity.of(embed_model).to_json()
        fields.pop("class_name", None)  # from_dict hands it over
        super().__init__(**fields)
        if not self.embedding:
            msg = "pass embed_model=...: the collection remembers which embedding made its vectors"
            raise ValueError(msg)
        if self.tenant is not None and drop_old:
            msg = "drop_old=True deletes the nodes of all tenants. Open the store with tenants=True to do that."
            raise ValueError(msg)
        plain = token.get_secret_value() if isinstance(token, SecretStr) else token
        self._connection = Connection(MilvusAddress(self.uri, plain or "", self.db_name, self.timeout))
        try:
            self._collection = Collection(
                self._connection,
                self.collection_name,
                EmbeddingIdentity.from_json(self.embedding),
                measure=lambda: _measure(embed_model),
                hybrid=self.hybrid,
                analyzer=self.analyzer,
                tenants=self.tenants or self.tenant is not None,
                consistency_level=self.consistency_level,
                drop_old=drop_old,
            )
            if self.tenant is not None:
                self._collection = self._collection.for_tenant(self.tenant)
        except BaseException:
            self.close()
            raise

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex serialises it."""
        return "Qwen3VectorStore"

    @property
    def client(self) -> Any:
        """The `pymilvus.MilvusClient`, with a deadline on each call."""
        return self._connection.client

    def for_tenant(self, tenant: str) -> Qwen3VectorStore:
        """Return a store of one tenant, of which each call sees that tenant's nodes only.

        It shares this store's connection; closing it does nothing, closing this store closes both.

        Raises:
            TypeError: The tenant is no string.
            ValueError: The collection has no tenants, or this is already the store of another one.
        """
        store = self.model_copy(update={"tenant": tenant})
        store._collection, store._borrowed = self._collection.for_tenant(tenant), True
        return store

    def close(self) -> None:
        """Close the connection, and free a Lite file for other processes; doing it twice is fine."""
        if not self._borrowed:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, nodes: Sequence[BaseNode], **_: Any) -> list[str]:
        """Write nodes with their embeddings; everything is checked before anything is written.

        Returns:
            The nodes' ids.

        Raises:
            ValueError: A node has no embedding, is too long, or has metadata that cannot be stored; or no tenant is
                named where there are some.
            EmbeddingMismatchError: The vectors have another length than the collection's.
            MilvusStoreError: Milvus failed.
        """
        if not nodes:
            return []
        texts = [node.get_content(MetadataMode.NONE) for node in nodes]
        metadatas = [node_to_metadata_dict(node, remove_text=True) for node in nodes]
        rows = self._collection.rows(texts, metadatas, [node.node_id for node in nodes])
        places = list(rows.first.values())
        self._collection.write(rows, places, [nodes[place].get_embedding() for place in places])
        self._collection.flush(len(places))
        return rows.keys

    def delete(self, ref_doc_id: str, **_: Any) -> None:
        """Delete the nodes of a document."""
        self._collection.delete(of_documents([ref_doc_id]))

    def delete_nodes(self, node_ids: list[str] | None = None, filters: Filters | None = None, **_: Any) -> None:
        """Delete nodes by id, by filters, or those that fulfil both.

        Raises:
            ValueError: Nothing says which ones.
        """
        self._collection.delete(_condition(node_ids, filters))

    def get_nodes(
        self, node_ids: list[str] | None = None, filters: Filters | None = None, limit: int = 16_384
    ) -> list[BaseNode]:
        """Return nodes by id and filters, those with ids in their order.

        Args:
            node_ids: Ids; those that do not exist are left out.
            filters: What the nodes have to fulfil.
            limit: How many at most without ids; 16,384 is the most that a Milvus server returns.

        Raises:
            ValueError: Nothing says which ones.
        """
        condition = _condition(node_ids, filters)
        if condition == And():
            msg = "pass node_ids or filters"
            raise ValueError(msg)
        rows = self._collection.query(condition, limit=limit if node_ids is None else max(len(node_ids), 1))
        if node_ids is None:
            return [_node(row) for row in rows]
        found = {row[PRIMARY_FIELD]: row for row in rows}
        return [_node(found[id_]) for id_ in node_ids if id_ in found]

    def clear(self) -> None:
        """Delete the collection, for the next node to make it anew; in a tenant's store the tenant's nodes."""
        self._collection.drop()

    @property
    def has_collection(self) -> bool:
        """Whether there is anything to search."""
        return self._collection.info is not None

    def existing_ids(self, ids: Sequence[str]) -> set[str]:
        """Return those of `ids` that are in the collection, whoever wrote them."""
        return self._collection.existing_ids(ids)

    def query(self, query: VectorStoreQuery, **_: Any) -> VectorStoreQueryResult:
        """Search.

        DEFAULT is by vector, HYBRID by vector and BM25 (`similarity_top_k` and `sparse_top_k` candidates of either,
        `hybrid_top_k` results, `alpha` as the vector's weight, reciprocal rank fusion without it), SPARSE and
        TEXT_SEARCH by BM25, MMR by vector for nearness and variety (`mmr_threshold`; 1 is nearness alone).

        Raises:
            ValueError: The mode needs a vector, a text, or `hybrid=True`, or it is not one of Milvus's.
            EmbeddingMismatchError: The vector has another length than the collection's.
            MilvusStoreError: Milvus failed.
        """
        # An index that was opened and not built hands over an empty list of node ids, which means no restriction.
        condition = And(_condition(query.node_ids or None, query.filters), of_documents(query.doc_ids))
        hits = search(self._collection, query, condition)
        bounded = query.mode in {VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.MMR}
        # A cosine in float32 may come out as 1.0000001.
        scores = [max(-1.0, min(1.0, hit["distance"])) if bounded else float(hit["distance"]) for hit in hits]
        nodes = [_node(hit["entity"]) for hit in hits]
        return VectorStoreQueryResult(nodes=nodes, similarities=scores, ids=[node.node_id for node in nodes])

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Run `add` in a thread."""
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    async def adelete(self, ref_doc_id: str, **kwargs: Any) -> None:
        """Run `delete` in a thread."""
        await asyncio.to_thread(self.delete, ref_doc_id, **kwargs)

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: Filters | None = None, **kwargs: Any
    ) -> None:
        """Run `delete_nodes` in a thread."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **kwargs)

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: Filters | None = None, limit: int = 16_384
    ) -> list[BaseNode]:
        """Run `get_nodes` in a thread."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters, limit)

    async def aclear(self) -> None:
        """Run `clear` in a thread."""
        await asyncio.to_thread(self.clear)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Run `query` in a thread."""
        return await asyncio.to_thread(self.query, query, **kwargs)


def create_vector_store(
    embed_model: BaseEmbedding,
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
    drop_old: bool = False,
) -> Qwen3VectorStore:
    """Open a collection, or prepare to create it with the first node.

    Args:
        embed_model: The embedding whose vectors the collection holds; only its identity is kept.
        uri: A path that ends with `.db` (Milvus Lite, in this process; one process at a time), or
            `http(s)://host:port` of a server, a cluster, Zilliz Cloud, or `milvus-lite server`.
        token: `user:password` or an API key.
        db_name: A database of the server; empty is the default one.
        collection_name: Letters, digits and underscores.
        hybrid: Also index the text for BM25. Needs Milvus Lite 3 or Milvus 2.5.
        analyzer: What cuts the text into words for BM25: "standard", "jieba" (Chinese), and on servers also "english",
            "chinese" and "icu". None is the collection's own, and "standard" for a new one.
        tenants: Give each node of a new collection to a tenant.
        tenant: Open the store of this tenant; means `tenants=True` as well.
        consistency_level: Milvus's; "Session" sees this store's own writes.
        timeout: Seconds for each call; loading and flushing may take ten times as long.
        drop_old: Delete the collection first, with the nodes of all tenants.

    Raises:
        ValueError: An argument is out of range, or the collection has no tenants and should.
        EmbeddingMismatchError: Another model or another number of dimensions made the collection.
        MilvusLockedError: Another process holds the Lite file.
        MilvusAuthError: The server refuses the token.
        MilvusUnavailableError: No server answers.
        MilvusTimeoutError: The server is there and hangs.
        MilvusStoreError: The collection was not made by this package, lacks the BM25 index or has another analyzer,
            this Milvus lacks the analyzer, or Milvus failed.
    """
    return Qwen3VectorStore(
        embed_model,
        uri=os.fspath(uri),
        token=token,
        db_name=db_name,
        collection_name=collection_name,
        hybrid=hybrid,
        analyzer=analyzer,
        tenants=tenants,
        tenant=tenant,
        consistency_level=consistency_level,
        timeout=timeout,
        drop_old=drop_old,
    )


def _measure(embed_model: BaseEmbedding | None) -> int:
    if embed_model is None:
        msg = "pass embed_model=...: its name alone does not tell how long its vectors are"
        raise ValueError(msg)
    return len(embed_model.get_query_embedding("How long is a vector?"))


def _condition(node_ids: Sequence[str] | None, filters: Filters | None) -> Expression:
    wanted = to_expression(filters)
    return And(wanted) if node_ids is None else And(has_id(node_ids), wanted)


def _node(row: Row) -> BaseNode:
    text = row[TEXT_FIELD]
    if "_node_content" in row:
        return metadata_dict_to_node(dict(row), text)
    # Written by another framework: what it calls a document is a node without relations.
    return TextNode(id_=row[PRIMARY_FIELD], text=text, metadata=metadata_of(row))
