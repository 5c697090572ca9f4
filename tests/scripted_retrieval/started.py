"""How a server was started, and the models in it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from scripted_retrieval import model
from scripted_retrieval.answers import Refusal, Seen
from scripted_retrieval.faults import Faults, Row
from scripted_retrieval.templates import parts_of, rendered


@dataclass
class Started:
    """What it will do, and what it was asked.

    Attributes:
        faults: What goes wrong, for each request that is posted: in turn, then all is well; or a function of the
            request's number, from 0.
        bad_texts: Texts that the server refuses a whole request for.
        nan_texts: Texts whose vectors and scores are not numbers.
        ignores_dimensions: Whether a wished dimension is read and not followed.
        unnormalised: Whether vectors come longer than 1, and slices as they were cut.
        ignores_template: Whether scores are near random, as with vLLM started without the template (#19260).
        ignores_instruction: Whether a task for the reranker is not looked at, as by older servers.
        served_template: Whether the server puts Qwen3's template around pairs itself.
        appends_end_token: Whether the tokenizer closes texts with ``<|endoftext|>``; snapshots and GGUFs from before
            it did do not (ggml-org/llama.cpp#14314).
        key: The API key that it wants, "" for none.
        models: The names that it serves; any name while empty.
        size: The full dimension.
        max_rows: The most texts in one request, None for no limit.
        max_tokens: The most tokens in one text, or pair.
        max_batch_tokens: The most tokens in one request, None for no limit.
        requests: What was posted.
        seen_texts: Every text as the tokenizer got it, in order of arrival.
        ignored: For each request that was read, the fields that were not looked at.
    """

    faults: Faults = ()
    bad_texts: frozenset[str] = frozenset()
    nan_texts: frozenset[str] = frozenset()
    ignores_dimensions: bool = False
    unnormalised: bool = False
    ignores_template: bool = False
    ignores_instruction: bool = False
    served_template: bool = True
    appends_end_token: bool = True
    key: str = ""
    models: tuple[str, ...] = ()
    size: int = 1024
    max_rows: int | None = None
    max_tokens: int = 32768
    max_batch_tokens: int | None = None
    requests: list[Seen] = field(default_factory=list)
    seen_texts: list[str] = field(default_factory=list)
    ignored: list[tuple[str, ...]] = field(default_factory=list)
    _one_at_a_time: Any = field(default_factory=Lock, init=False, repr=False, compare=False)

    def bad_input(self) -> Refusal:
        """Return the error for one of `bad_texts`; no server's own words unless a dialect has them."""
        return Refusal("The input cannot be processed.", 400)

    def vectors(
        self,
        texts: Sequence[str],
        read: Sequence[str] | None = None,
        dimensions: int | None = None,
        *,
        normalised: bool = True,
    ) -> list[Row]:
        """Return the vectors of texts.

        Args:
            texts: The texts of the request.
            read: What of them reaches the tokenizer, by default all.
            dimensions: Where vectors are cut; where it is more than `size`, the model has that many.
            normalised: Whether they are made unit vectors.
        """
        self._refuse_bad(texts)
        normalised = normalised and not self.unnormalised
        wanted = None if self.ignores_dimensions else dimensions
        rows = []
        for place, (text, seen) in enumerate(zip(texts, read or texts, strict=True)):
            self.seen_texts.append(seen)
            vector = model.embed(seen, max(self.size, wanted or 0), ends=self.appends_end_token)[:wanted]
            vector = vector / math.sqrt(float(vector @ vector)) if normalised else 2.5 * vector
            value = model.as_list(vector)
            rows.append(Row(place, [math.nan] * len(value) if self._is_nan(text) else value, text))
        return rows

    def scores(self, query: str, documents: Sequence[str], read: Sequence[str]) -> list[Row]:
        """Return P(yes) for pairs, in their order.

        Args:
            query: The request's query.
            documents: Its documents.
            read: What reaches the tokenizer for each pair.
        """
        self._refuse_bad([query, *documents])
        rows = []
        for place, (document, seen) in enumerate(zip(documents, read, strict=True)):
            self.seen_texts.append(seen)
            score = model.noise(seen) if self.ignores_template else model.judge(seen)
            nan = self._is_nan(document) or self._is_nan(query)
            rows.append(Row(place, math.nan if nan else score, document))
        return rows

    def pair(self, query: str, document: str, instruct: str | None = None) -> str:
        """Return what reaches the tokenizer for a pair, with the template or without."""
        if not self.served_template:
            return query + document
        return rendered(query, document, None if self.ignores_instruction else instruct)

    def _refuse_bad(self, texts: Iterable[str]) -> None:
        if self.bad_texts and any(parts_of(text) & self.bad_texts for text in texts):
            raise self.bad_input()

    def _is_nan(self, text: str) -> bool:
        return bool(self.nan_texts and parts_of(text) & self.nan_texts)
