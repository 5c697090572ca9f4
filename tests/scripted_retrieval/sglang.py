"""SGLang's server.

Sources, in sgl-project/sglang: ``python/sglang/srt/entrypoints/openai/serving_embedding.py`` at 012bcb5 and
``serving_rerank.py`` at 15bb7d4 (blank texts, order, the bare list); ``protocol.py`` as a stored walk through it has it
(``V1RerankReqInput``: ``instruct``, ``top_n``, ``return_documents`` true by default); pull requests 11142
(``dimensions``) and 16403 (Qwen3-Reranker's scores); #8096 (too long).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from scripted_retrieval import model
from scripted_retrieval.answers import Answered, Refusal, Route, is_texts, ranked, route
from scripted_retrieval.base import ScriptedRetrieval
from scripted_retrieval.faults import Row
from scripted_retrieval.openai_shapes import cards, texts_in, vector_list

EMPTY = "Input cannot be empty"
BLANK = "Input cannot be empty or whitespace only"
BLANK_ROW = "Input at index {place} cannot be empty or whitespace only"
NO_QUERY = "Query cannot be empty"
BLANK_QUERY = "Query cannot be empty or whitespace only"
NO_DOCUMENTS = "Documents cannot be empty"
EMPTY_DOCUMENT = "Each document must be a non-empty string"
BLANK_DOCUMENT = "Each document cannot be empty or whitespace only"
TOO_LONG = "The input ({given} tokens) is longer than the model's context length ({most} tokens)."
BAD_TOP_N = "Value error, parameter top_n should be larger than 0."
# What it says to these is not known; the tests may rely on the status alone.
UNVERIFIED_DIMENSIONS = (
    "Model '{model}' does not support matryoshka representation, changing output dimensions will lead to poor results."
)
UNVERIFIED_RANGE = "dimensions must be between 1 and {most}"
UNVERIFIED_TYPE = "Input should be a valid string or list of strings"


@dataclass
class Sglang(ScriptedRetrieval):
    """Embeds in floats whatever was asked, and reranks to a bare list.

    Attributes:
        matryoshka: Whether it was started with ``--json-model-override-args '{"is_matryoshka": true}'``.
    """

    matryoshka: bool = False

    server: ClassVar[str] = "sglang"
    url: ClassVar[str] = "http://sglang.test:30000/v1"

    def routes(self) -> dict[str, Route]:
        """Post to these."""
        return {
            "/v1/embeddings": route(self._embed, "model input dimensions user rid priority"),
            "/v1/rerank": route(self._rerank, "query documents instruct top_n return_documents"),
        }

    def pages(self) -> dict[str, Any]:
        """Serve its model cards and what it was started with."""
        names = self.models or (self.default_model,)
        listed = cards(names, "sglang", root=names[0], max_model_len=self.max_tokens)
        info = {"model_path": names[0], "is_generation": False}
        return {"/v1/models": listed, "/get_model_info": info, "/health": None}

    def check(self, body: dict[str, Any], path: str) -> None:
        """Answer for any model."""

    def error(self, refusal: Refusal, path: str) -> Any:
        """Return its flat error (``ErrorResponse``)."""
        if refusal.status == 401:
            return {"error": "Unauthorized"}
        if refusal.status == 404:
            return {"detail": refusal.message}
        kind = refusal.kind or ("BadRequestError" if refusal.status < 500 else "InternalServerError")
        return {"object": "error", "message": refusal.message, "type": kind, "param": None, "code": refusal.status}

    def _embed(self, body: dict[str, Any]) -> Answered:
        given = body.get("input")
        if not given:
            raise Refusal(EMPTY)
        if isinstance(given, str) and not given.strip():
            raise Refusal(BLANK)
        texts = texts_in(given)
        if texts is None:
            raise Refusal(UNVERIFIED_TYPE)
        for place, text in enumerate(texts):
            if not text.strip():
                raise Refusal(BLANK_ROW.format(place=place))
        dimensions = body.get("dimensions")
        if dimensions is not None and not self.matryoshka:
            raise Refusal(UNVERIFIED_DIMENSIONS.format(model=self.name))
        if dimensions is not None and not 1 <= dimensions <= self.size:
            raise Refusal(UNVERIFIED_RANGE.format(most=self.size))
        self._measure(texts)
        return Answered(self.vectors(texts, None, dimensions), vector_list(self.name, texts))

    def _measure(self, texts: list[str]) -> None:
        for given in map(model.count_tokens, texts):
            if given > self.max_tokens:
                raise Refusal(TOO_LONG.format(given=given, most=self.max_tokens))

    def _rerank(self, body: dict[str, Any]) -> Answered:
        query, documents = body.get("query"), body.get("documents")
        if not isinstance(query or "", str) or not is_texts(documents or []):
            raise Refusal(UNVERIFIED_TYPE)
        refusals = [
            (not query, NO_QUERY),
            (not (query or "").strip(), BLANK_QUERY),
            (not documents, NO_DOCUMENTS),
            (not all(documents or ()), EMPTY_DOCUMENT),
            (not all(document.strip() for document in documents or ()), BLANK_DOCUMENT),
            (body.get("top_n") is not None and body["top_n"] < 1, BAD_TOP_N),
        ]
        for wrong, text in refusals:
            if wrong:
                raise Refusal(text)
        assert query
        assert documents
        read = [self.pair(query, document, body.get("instruct")) for document in documents]
        self._measure(read)
        echo = body.get("return_documents", True)

        def write(rows: list[Row]) -> list[dict[str, Any]]:
            return [
                {"score": row.value, "document": row.text if echo else None, "index": row.index, "meta_info": None}
                for row in rows
            ]

        return Answered(ranked(self.scores(query, documents, read), body.get("top_n")), write)
