"""Writing documents to the collection: once each, in batches, and nothing twice after an interruption."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from langchain_core.documents import Document

from langchain_qwen3.vector_store.collection import MilvusCollection
from qwen3_core.milvus import And, Expression, Filter
from qwen3_core.milvus.expressions import Raw
from qwen3_core.milvus.filters import PRIMARY_FIELD
from qwen3_core.milvus.rows import check_vectors


class WritableCollection(MilvusCollection):
    """The part of `Qwen3VectorStore` that adds and deletes."""

    def add_documents(self, documents: list[Document], **kwargs: Any) -> list[str]:
        """Add documents; see `add_texts` (trap: the base drops `Document.id`)."""
        documents = list(documents)
        kwargs.setdefault("ids", [document.id for document in documents])
        return self.add_texts([d.page_content for d in documents], [d.metadata for d in documents], **kwargs)

    def add_texts(  # type: ignore[override]  # trap: the base's **kwargs swallows misspelt arguments
        self,
        texts: Iterable[str],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        timeout: float | None = None,
        batch_size: int | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        skip_existing: bool = False,
        progress: Callable[[int, int], None] | None = None,
        tenant: str | None = None,
    ) -> list[str]:
        """Embed and write texts in batches, those that are not there yet.

        Everything is checked before anything is embedded. An interruption (also Ctrl-C) loses the batch that
        is being embedded, and the next call goes on behind it.

        Args:
            texts: at most 65,535 UTF-8 bytes each.
            metadatas: one mapping of JSON values per text; the names pk, text, vector and sparse are taken.
            timeout: seconds for each write; the store's own if None.
            batch_size: texts that are embedded and written together; the store's own if None.
            ids: one per text; None makes the hash of text and metadata. A given id replaces the row that has
                it.
            skip_existing: leave rows with given ids as they are, as it is done with made ids. For ids that
                change with the content.
            progress: called after each batch with the number of texts written and to write.
            tenant: whose the texts are, in a collection with tenants.

        Returns:
            The ids, in the order of the texts.

        Raises:
            TypeError: a text is no string, or metadata holds something that is no JSON value.
            ValueError: lengths differ, a text or id is too long, a metadata name is taken, an id stands for
                two different texts, the embedding gives unusable vectors, or no tenant is named where there are
                some.
            EmbeddingMismatchError: the vectors have another length than the collection's.
            MilvusStoreError: Milvus failed.
        """
        collection = self._of(tenant)
        rows = collection.rows(list(texts), metadatas, ids)
        present = collection.existing_ids([key for key in rows.first if skip_existing or key in rows.made])
        todo = [index for key, index in rows.first.items() if key not in present]
        size = batch_size or self._batch_size
        for start in range(0, len(todo), size):
            batch = todo[start : start + size]
            vectors = self._embedding.embed_documents([rows.texts[index] for index in batch])
            collection.write(rows, batch, vectors, timeout)
            if progress:
                progress(min(start + size, len(todo)), len(todo))
        collection.flush(len(todo))
        return rows.keys

    def add_embeddings(  # type: ignore[override]
        self,
        texts: list[str],
        embeddings: list[list[float]],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        timeout: float | None = None,
        batch_size: int = 1000,
        *,
        ids: Sequence[str | None] | None = None,
        tenant: str | None = None,
    ) -> list[str]:
        """Write texts with vectors that this store's embedding made; otherwise as `add_texts`."""
        collection = self._of(tenant)
        rows = collection.rows(list(texts), metadatas, ids)
        if texts:
            check_vectors(embeddings, len(texts))
        todo = list(rows.first.values())
        for start in range(0, len(todo), batch_size):
            batch = todo[start : start + batch_size]
            collection.write(rows, batch, [embeddings[index] for index in batch], timeout)
        collection.flush(len(todo))
        return rows.keys

    def upsert(  # type: ignore[override]
        self, ids: list[str] | None = None, documents: list[Document] | None = None, **kwargs: Any
    ) -> None:
        """Add or replace documents (trap: without ids the base adds them and then fails)."""
        if documents:
            self.add_documents(documents, **({"ids": ids} if ids else {}), **kwargs)

    def delete(  # type: ignore[override]
        self,
        ids: list[str] | None = None,
        expr: Expression | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002
        timeout: float | None = None,
        tenant: str | None = None,
    ) -> bool:
        """Delete rows by id, or those that fulfil `expr` and `filter`; ids that do not exist are no error.

        Traps: the base returns False where Milvus failed, and writes ids into the expression unescaped.

        Raises:
            TypeError: `expr` is not made by `raw`.
            ValueError: nothing says what to delete, both ids and a condition do, or no tenant is named where there are
                some.
        """
        collection = self._of(tenant)
        condition = both(expr, filter)
        if (ids is None) == (condition is None):
            msg = "Pass either ids= or a condition (filter= or expr=). To delete everything, call drop()."
            raise ValueError(msg)
        if ids is not None:
            collection.delete_ids(ids, timeout)
        else:
            collection.delete(condition, timeout)
        return True

    def existing_ids(self, ids: Sequence[str], *, tenant: str | None = None) -> set[str]:
        """Return those of `ids` that are in the collection, whoever wrote them."""
        return self._of(tenant).existing_ids(ids)

    def get_pks(  # type: ignore[override]
        self,
        expr: Expression,
        *,
        filter: Filter | None = None,  # noqa: A002
        tenant: str | None = None,
        **options: Any,
    ) -> list[str]:
        """Return the ids of the rows that fulfil a condition (trap: the base reads past tenants)."""
        rows = self._of(tenant).query(both(expr, filter), [PRIMARY_FIELD], **options)
        return [row[PRIMARY_FIELD] for row in rows]


def both(expr: Expression | None, filter: Filter | None) -> Expression | None:  # noqa: A002
    """Return the condition of a call: what `raw` made, and the filter.

    Raises:
        TypeError: `expr` is not made by `raw`, or the filter is none.
    """
    if expr is not None and not isinstance(expr, Raw):
        msg = f"expr={expr!r}: to pass a Milvus expression as it stands, wrap it: raw('...'). Others go into filter=."
        raise TypeError(msg)
    given = [each for each in (expr, filter) if each is not None]
    return And(*given) if given else None
