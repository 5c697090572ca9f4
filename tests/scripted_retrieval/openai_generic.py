"""A strict OpenAI endpoint, such as Azure's or a gateway's: it refuses fields that OpenAI's reference does not have.

Sources: CherryHQ/cherry-studio#6160 (unknown fields), sbintuitions/JMTEB#15 (too long), public reports of
"Requested 306153 tokens, max 300000 tokens per request" with type and code ``max_tokens_per_request``,
MicrosoftDocs/azure-docs#124129 (2048 inputs), different-ai/embedbase#14 (an empty text), openai.com's API reference.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from scripted_retrieval.answers import Answered, Refusal, Route, is_texts, ranked, route
from scripted_retrieval.base import ScriptedRetrieval
from scripted_retrieval.faults import Row
from scripted_retrieval.model import count_tokens
from scripted_retrieval.openai_shapes import cards, texts_in, usage, vector_list

UNKNOWN_FIELD = "Unrecognized request argument supplied: {field}"
TOO_LONG = (
    "This model's maximum context length is {most} tokens, however you requested {given} tokens "
    "({given} in your prompt; 0 for the completion). Please reduce your prompt; or completion length."
)
TOO_MUCH = "Requested {given} tokens, max {most} tokens per request"
EMPTY = "{given} is not valid under any of the given schemas - 'input'"
NO_ROUTE = "Invalid URL ({method} {path})"
# What it says to these is not known; the tests may rely on the status alone.
UNVERIFIED_ROWS = "'input' array should have at most {most} items"
UNVERIFIED_FORMAT = "encoding_format should be 'float' or 'base64'"
UNVERIFIED_DIMENSIONS = "Invalid value for 'dimensions': must be between 1 and {most}"
UNVERIFIED_KEY = "Incorrect API key provided."
UNVERIFIED_DOCUMENTS = "query should be a string, and documents a list of strings"

EMBED = "model input dimensions encoding_format user"
RERANK = "model query documents top_n return_documents"


@dataclass
class OpenAIGeneric(ScriptedRetrieval):
    """Embeds.

    Attributes:
        max_rows: The most inputs in one request.
        max_tokens: The most tokens in one input.
        max_batch_tokens: The most tokens in one request.
        reranks: Whether it is a gateway that reranks too, in the shape of Cohere and Jina; OpenAI's own does not.
    """

    max_rows: int | None = 2048
    max_tokens: int = 8192
    max_batch_tokens: int | None = 300_000
    reranks: bool = False

    server: ClassVar[str] = "openai"
    url: ClassVar[str] = "http://openai.test:9000/v1"

    def routes(self) -> dict[str, Route]:
        """Post to these."""
        rerank = {"/v1/rerank": route(self._rerank, RERANK)} if self.reranks else {}
        return {"/v1/embeddings": route(self._embed, EMBED), **rerank}

    def pages(self) -> dict[str, Any]:
        """Serve its models."""
        return {"/v1/models": cards(self.models or (self.default_model,), "openai")}

    def check(self, body: dict[str, Any], path: str) -> None:
        """Refuse fields that it does not know."""
        known = self.routes()[path].reads
        for name in body:
            if name not in known:
                raise Refusal(UNKNOWN_FIELD.format(field=name))
        super().check(body, path)

    def error(self, refusal: Refusal, path: str) -> Any:
        """Return OpenAI's error."""
        kind = refusal.kind or ("invalid_request_error" if refusal.status < 500 else "server_error")
        code = refusal.rest.get("code")
        return {"error": {"message": refusal.message, "type": kind, "param": None, "code": code}}

    def wrong_key(self, path: str) -> Refusal:
        """Return its 401."""
        return Refusal(UNVERIFIED_KEY, 401, code="invalid_api_key")

    def no_route(self, method: str, path: str) -> Refusal:
        """Return its 404."""
        return Refusal(NO_ROUTE.format(method=method, path=path), 404)

    def unknown_model(self, wanted: object) -> Refusal:
        """Return its 404."""
        text = f"The model `{wanted}` does not exist or you do not have access to it."
        return Refusal(text, 404, code="model_not_found")

    def _embed(self, body: dict[str, Any]) -> Answered:
        texts = texts_in(body.get("input"))
        if not texts or not all(texts):
            raise Refusal(EMPTY.format(given=body.get("input")))
        if self.max_rows is not None and len(texts) > self.max_rows:
            raise Refusal(UNVERIFIED_ROWS.format(most=self.max_rows))
        if body.get("encoding_format", "float") not in ("float", "base64"):
            raise Refusal(UNVERIFIED_FORMAT)
        if body.get("dimensions") is not None and not 1 <= body["dimensions"] <= self.size:
            raise Refusal(UNVERIFIED_DIMENSIONS.format(most=self.size))
        counts = [count_tokens(text) for text in texts]
        if max(counts) > self.max_tokens:
            raise Refusal(TOO_LONG.format(most=self.max_tokens, given=max(counts)))
        if self.max_batch_tokens is not None and sum(counts) > self.max_batch_tokens:
            kind = "max_tokens_per_request"
            raise Refusal(TOO_MUCH.format(given=sum(counts), most=self.max_batch_tokens), kind=kind, code=kind)
        rows = self.vectors(texts, None, body.get("dimensions"))
        packed = body.get("encoding_format") == "base64"
        return Answered(rows, vector_list(str(body.get("model")), texts, packed=packed))

    def _rerank(self, body: dict[str, Any]) -> Answered:
        query, documents = body.get("query"), body.get("documents")
        if not isinstance(query, str) or not isinstance(documents, list) or not is_texts(documents):
            raise Refusal(UNVERIFIED_DOCUMENTS)
        read = [self.pair(query, document) for document in documents]
        echo = body.get("return_documents")

        def write(rows: list[Row]) -> dict[str, Any]:
            results = [
                {
                    "index": row.index,
                    "relevance_score": row.value,
                    **({"document": {"text": row.text}} if echo else {}),
                }
                for row in rows
            ]
            return {"model": body.get("model"), "usage": usage(read), "results": results}

        return Answered(ranked(self.scores(query, documents, read), body.get("top_n")), write)
