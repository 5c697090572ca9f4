"""What an evaluation runs on: documents, queries, and which documents are right for which query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice

Judgements = Mapping[str, Mapping[str, int]]
"""Query id to document id to relevance; 0 and less mean irrelevant."""


@dataclass(frozen=True)
class Dataset:
    """Documents, queries and judgements that belong together; `make` brings them there.

    Attributes:
        name: What reports call it.
        documents: Texts by id, none of them empty.
        queries: Texts by id, each with a relevant document.
        judgements: Relevance by query id and document id, for exactly the queries.
        notes: What was left out, for the report.
    """

    name: str
    documents: Mapping[str, str]
    queries: Mapping[str, str]
    judgements: Judgements
    notes: tuple[str, ...] = ()

    @classmethod
    def make(
        cls, name: str, documents: Mapping[str, str], queries: Mapping[str, str], judgements: Judgements
    ) -> Dataset:
        """Keep what can be evaluated, and note the rest.

        Documents without text are left out, and queries without text or without a relevant document. Relevant documents
        that are not there stay in the judgements, as not found.

        Raises:
            ValueError: Nothing is left, because the parts do not belong together.
        """
        kept = {id_: text for id_, text in documents.items() if text.strip()}
        relevant = {query for query, judged in judgements.items() if any(value > 0 for value in judged.values())}
        asked = {id_: text for id_, text in queries.items() if id_ in relevant and text.strip()}
        if not kept:
            msg = f"{name}: no document has a text"
            raise ValueError(msg)
        if not asked:
            msg = (
                f"{name}: none of the {len(queries)} queries{_such_as(queries)} has a relevant document in the "
                f"judgements{_such_as(judgements)}: take the queries and the judgements of one data set and split"
            )
            raise ValueError(msg)
        wanted = {id_ for query in asked for id_, value in judgements[query].items() if value > 0}
        missing = wanted - documents.keys()
        if missing == wanted:
            msg = (
                f"{name}: none of the {len(wanted)} relevant documents{_such_as(sorted(wanted))} is among the "
                f"{len(documents)} documents{_such_as(documents)}: take the documents and the judgements of one "
                "data set"
            )
            raise ValueError(msg)
        notes = [
            f"{count} {what}"
            for count, what in (
                (len(documents) - len(kept), "documents without text were left out"),
                (len(missing), "relevant documents are not among the documents, and count as not found"),
                (len(relevant - queries.keys()), "judged queries are not among the queries"),
            )
            if count
        ]
        return cls(name, kept, asked, {query: dict(judgements[query]) for query in asked}, tuple(notes))

    def limited(self, queries: int | None) -> Dataset:
        """Return the same documents with the first queries only; None keeps all."""
        if queries is None or queries >= len(self.queries):
            return self
        first = dict(islice(self.queries.items(), queries))
        note = f"the first {queries} of {len(self.queries)} queries"
        judged = {query: self.judgements[query] for query in first}
        return replace(self, queries=first, judgements=judged, notes=(*self.notes, note))


def _such_as(ids: Iterable[str]) -> str:
    some = list(islice(ids, 2))
    return f" ({', '.join(map(repr, some))}, ...)" if some else ""
