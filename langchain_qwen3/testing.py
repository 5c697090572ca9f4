"""What a LangChain document compressor that reranks has to do: a suite to subclass.

`langchain-tests` has none for compressors. This one takes pytest and langchain-core, and runs for any
`BaseDocumentCompressor`.
"""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import BaseDocumentCompressor, Document

QUERY = "Where is data stored?"
TEXTS = ["Cats sleep all day.", "Data is stored in segments.", "etcd keeps the metadata.", "数据保存在磁盘上。"]
LONG_TEXT = "The weather was fine and nothing happened. " * 150


def make_documents(texts: Sequence[str] = TEXTS) -> list[Document]:
    """Return documents as a retriever gives them."""
    return [
        Document(id=str(number), page_content=text, metadata={"page": number, "tags": ["a"]})
        for number, text in enumerate(texts)
    ]


class DocumentCompressorTests:
    """Checks for any reranking `BaseDocumentCompressor`: subclass it in a test file, as those of langchain-tests.

    ```python
    class TestCohere(DocumentCompressorTests):
        @property
        def compressor_class(self) -> type[CohereRerank]:
            return CohereRerank

        @property
        def compressor_params(self) -> dict[str, Any]:
            return {"model": "rerank-v3.5"}
    ```

    Each check makes compressors of its own, with ``top_n=`` the number of documents to keep. Where loading is
    slow, override `make` and share the weights. What a class cannot do, its check says by failing.
    """

    tolerance = 1e-2
    """How much a score may differ between batches; half precision moves it."""

    @property
    def compressor_class(self) -> type[BaseDocumentCompressor]:
        """What is tested."""
        raise NotImplementedError

    @property
    def compressor_params(self) -> dict[str, Any]:
        """The arguments of every compressor that is made."""
        return {}

    def make(self, **kwargs: Any) -> BaseDocumentCompressor:
        """Return a compressor with `compressor_params` and these arguments."""
        return self.compressor_class(**(self.compressor_params | kwargs))

    def ids(self, documents: Sequence[Document]) -> list[str | None]:
        """Return the ids of documents, in order."""
        return [document.id for document in documents]

    def scores(self, documents: Sequence[Document]) -> dict[str | None, float]:
        """Return the scores of documents by their ids."""
        return {document.id: document.metadata["relevance_score"] for document in documents}

    def test_best_first(self) -> None:
        """Documents come back in the order of ``metadata["relevance_score"]``, a float, each once."""
        found = self.make(top_n=99).compress_documents(make_documents(), QUERY)
        scores = list(self.scores(found).values())
        assert all(type(score) is float for score in scores), "a NumPy number cannot be stored as JSON"
        assert scores == sorted(scores, reverse=True)
        assert sorted(self.ids(found), key=str) == self.ids(make_documents())

    def test_scores_belong_to_their_documents(self) -> None:
        """A document's score depends on its text, not on its place or its neighbours."""
        compressor = self.make(top_n=99)
        wanted: dict[str | None, float] = {}
        for document in make_documents():
            wanted |= self.scores(compressor.compress_documents([document], QUERY))
        assert len(set(wanted.values())) > 1
        for documents in (make_documents(), make_documents()[::-1]):
            found = self.scores(compressor.compress_documents(documents, QUERY))
            assert found == pytest.approx(wanted, abs=self.tolerance)

    def test_top_n(self) -> None:
        """`top_n` keeps the best, and no more than there are."""
        every = self.make(top_n=99).compress_documents(make_documents(), QUERY)
        two = self.make(top_n=2).compress_documents(make_documents(), QUERY)
        assert len(every) == len(TEXTS)
        assert self.ids(two) == self.ids(every)[:2]

    def test_equal_documents_stay_apart_and_in_order(self) -> None:
        """Two documents of one text keep their own ids, and where scores are equal the order given stands."""
        found = self.make(top_n=99).compress_documents(make_documents(["same"] * 3), QUERY)
        assert self.ids(found) == ["0", "1", "2"]

    def test_ids_and_metadata_are_kept(self) -> None:
        """What comes back is the document and a score, nothing lost."""
        given = {document.id: document for document in make_documents()}
        for document in self.make(top_n=99).compress_documents(make_documents(), QUERY):
            wanted = given[document.id]
            assert document.page_content == wanted.page_content
            rest = {key: value for key, value in document.metadata.items() if key != "relevance_score"}
            assert rest == wanted.metadata

    def test_documents_given_are_not_changed(self) -> None:
        """Retrievers may keep their documents; neither the call nor a change of its result reaches them."""
        documents = make_documents()
        before = copy.deepcopy(documents)
        found = self.make(top_n=99).compress_documents(documents, QUERY)
        assert documents == before
        for document in found:
            document.metadata["page"] = "changed"
        assert documents == before, "what comes back shares its metadata with what was given"

    def test_any_sequence_of_documents(self) -> None:
        """The interface says `Sequence`: a tuple is one."""
        compressor = self.make()
        found = compressor.compress_documents(tuple(make_documents()), QUERY)
        assert self.ids(found) == self.ids(compressor.compress_documents(make_documents(), QUERY))

    def test_no_documents(self) -> None:
        """A retriever that finds nothing is no error."""
        compressor = self.make()
        assert list(compressor.compress_documents([], QUERY)) == []
        assert list(asyncio.run(compressor.acompress_documents([], QUERY))) == []

    def test_empty_document(self) -> None:
        """A blank page has a score and stops nothing."""
        assert len(self.make(top_n=2).compress_documents(make_documents(["", TEXTS[0]]), QUERY)) == 2

    @pytest.mark.parametrize("query", ["", " \n"])
    def test_blank_query_is_refused(self, query: str) -> None:
        """Without a query there is nothing to judge by; the error says so, sync and async."""
        compressor = self.make()
        with pytest.raises(ValueError, match=r"(?i)query"):
            compressor.compress_documents(make_documents(), query)
        with pytest.raises(ValueError, match=r"(?i)query"):
            asyncio.run(compressor.acompress_documents(make_documents(), query))

    def test_long_documents_are_read(self) -> None:
        """The end of a document of 1,500 tokens counts; 512 is a common default."""
        documents = make_documents([LONG_TEXT + "Data is stored in segments.", LONG_TEXT + "Cats sleep."])
        found = self.scores(self.make(top_n=2).compress_documents(documents, QUERY))
        assert found["0"] != found["1"]

    def test_callbacks_are_accepted(self) -> None:
        """`ContextualCompressionRetriever` passes its callbacks on, by name."""
        compressor, handler = self.make(), BaseCallbackHandler()
        wanted = compressor.compress_documents(make_documents(), QUERY)
        assert compressor.compress_documents(make_documents(), QUERY, callbacks=[handler]) == wanted
        found = asyncio.run(compressor.acompress_documents(make_documents(), QUERY, callbacks=[handler]))
        assert self.ids(found) == self.ids(wanted)

    def test_async_equals_sync(self) -> None:
        """Both ways keep the same documents with the same scores."""
        compressor = self.make(top_n=3)
        found = self.scores(asyncio.run(compressor.acompress_documents(make_documents(), QUERY)))
        wanted = self.scores(compressor.compress_documents(make_documents(), QUERY))
        assert found == pytest.approx(wanted, abs=self.tolerance)

    def test_async_leaves_the_event_loop_free(self) -> None:
        """A server answers others while it reranks; a blocked loop comes round a handful of times."""
        compressor = self.make()
        compressor.compress_documents(make_documents(), QUERY)  # loads

        async def turns() -> int:
            documents = make_documents([LONG_TEXT, LONG_TEXT + "x"])
            task = asyncio.ensure_future(compressor.acompress_documents(documents, QUERY))
            count = 0
            while not task.done():
                count += 1
                await asyncio.sleep(0)
            await task
            return count

        assert asyncio.run(turns()) > 10

    def test_async_calls_at_once_and_in_another_event_loop(self) -> None:
        """Calls at once don't mix their documents, and `asyncio.run` works twice."""
        compressor = self.make(top_n=99)

        async def both() -> list[list[str | None]]:
            calls = [compressor.acompress_documents(make_documents(TEXTS[:n]), QUERY) for n in (1, 2, 3, 4)]
            return [self.ids(found) for found in await asyncio.gather(*calls)]

        wanted = [self.ids(compressor.compress_documents(make_documents(TEXTS[:n]), QUERY)) for n in (1, 2, 3, 4)]
        assert asyncio.run(both()) == wanted
        assert asyncio.run(both()) == wanted

    def test_pickle_and_deepcopy(self) -> None:
        """A compressor travels to other processes, also after first use."""
        compressor = self.make(top_n=2)
        wanted = self.scores(compressor.compress_documents(make_documents(), QUERY))
        for twin in (pickle.loads(pickle.dumps(compressor)), copy.deepcopy(compressor)):  # noqa: S301
            found = self.scores(twin.compress_documents(make_documents(), QUERY))
            assert found == pytest.approx(wanted, abs=self.tolerance)

    def test_unknown_arguments_are_refused(self) -> None:
        """A misspelt argument must not pass silently."""
        with pytest.raises((TypeError, ValueError)):
            self.make(no_such_argument=1)
