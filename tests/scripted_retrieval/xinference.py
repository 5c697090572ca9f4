"""Xinference.

Sources, in xorbitsai/inference: ``xinference/model/rerank/vllm/core.py`` at 069e1f8 (the card's template, order, what
it does with fields that it does not know, the answer), #1909 and #3134 (documents come back only if asked for), #4679
and infiniflow/ragflow#514 (bodies of errors), #3783 and #3887 (long texts are cut), #3965 (dimensions are chosen at
launch; that a request's are not looked at is not verified). ``instruction`` since 1.17: shared fact sheet §5.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from scripted_retrieval import model
from scripted_retrieval.answers import Answered, Refusal, Route, is_texts, ranked, route
from scripted_retrieval.base import ScriptedRetrieval
from scripted_retrieval.faults import Row
from scripted_retrieval.openai_shapes import cards, texts_in, usage, vector_list

WHERE = "[address=0.0.0.0:53707, pid=1964] "
UNKNOWN = WHERE + "Model not found, uid: {model}"
UNEXPECTED = WHERE + "Unexpected keyword arguments: {fields}"
# What it says to these is not known; the tests may rely on the status alone.
UNVERIFIED_INPUT = WHERE + "input should be a string or a list of strings"
UNVERIFIED_QUERY = WHERE + "query should be a string"
UNVERIFIED_DOCUMENTS = WHERE + "documents should be a list of strings"

RERANK = "model query documents top_n max_chunks_per_doc return_documents return_len"


@dataclass
class Xinference(ScriptedRetrieval):
    """Embeds, cutting what is too long; reranks with the card's template, and fails for fields that it does not know.

    ``ignores_instruction=True`` is a version before 1.17, for which ``instruction`` is such a field.
    """

    server: ClassVar[str] = "xinference"
    url: ClassVar[str] = "http://xinference.test:9997/v1"
    default_model: ClassVar[str] = "Qwen3-Embedding-0.6B"

    def routes(self) -> dict[str, Route]:
        """Post to these."""
        return {
            "/v1/embeddings": route(self._embed, "model input user encoding_format"),
            "/v1/rerank": route(self._rerank, RERANK + " instruction"),
        }

    def pages(self) -> dict[str, Any]:
        """Serve its models, which say how they run."""
        names = self.models or (self.default_model,)
        more = {"model_type": "embedding", "dimensions": self.size, "max_tokens": self.max_tokens}
        return {"/v1/models": cards(names, "xinference", **more), "/v1/cluster/auth": {"auth": False}}

    def error(self, refusal: Refusal, path: str) -> Any:
        """Return FastAPI's error."""
        return {"detail": refusal.message}

    def unknown_model(self, wanted: object) -> Refusal:
        """Return its 400."""
        return Refusal(UNKNOWN.format(model=wanted), 400)

    def _embed(self, body: dict[str, Any]) -> Answered:
        texts = texts_in(body.get("input"))
        if not texts:
            raise Refusal(UNVERIFIED_INPUT, 400)
        read = [model.head(text, self.max_tokens - 1) for text in texts]
        packed = body.get("encoding_format") == "base64"
        return Answered(self.vectors(texts, read), vector_list(str(body.get("model")), read, packed=packed))

    def _rerank(self, body: dict[str, Any]) -> Answered:
        known = {*RERANK.split(), *(() if self.ignores_instruction else ("instruction",))}
        extra = {name: value for name, value in body.items() if name not in known}
        if extra:
            raise Refusal(UNEXPECTED.format(fields=extra), 500)
        query, documents = body.get("query"), body.get("documents")
        if not isinstance(query, str):
            raise Refusal(UNVERIFIED_QUERY, 400)
        if not isinstance(documents, list) or not is_texts(documents):
            raise Refusal(UNVERIFIED_DOCUMENTS, 400)
        read = [self.pair(query, document, body.get("instruction")) for document in documents]
        echo = body.get("return_documents")
        tokens = usage(read)["total_tokens"]
        counts = {"input_tokens": tokens, "output_tokens": tokens} if body.get("return_len") else None

        def write(rows: list[Row]) -> dict[str, Any]:
            results = [
                {
                    "index": row.index,
                    "relevance_score": row.value,
                    "document": {"text": row.text} if echo else None,
                }
                for row in rows
            ]
            meta = {"api_version": None, "billed_units": None, "tokens": counts, "warnings": None}
            return {"id": f"rerank-{len(self.requests)}", "results": results, "meta": meta}

        return Answered(ranked(self.scores(query, documents, read), body.get("top_n")), write)
