"""DashScope (Alibaba Cloud Model Studio): the OpenAI-compatible embeddings, and rerank.

Sources: help.aliyun.com *text-embedding-api* (rows, tokens and dimensions of each model), *text-rerank-api* of Mar 15
2026 (rerank's limits and shapes), the error-code page; memobase#142 and HelloAgents#27 (the body for too many rows),
qwen-code#98 and FastGPT#1912 (for a text that is too long), Hyper-Extract#43 (empty texts), ApeRAG#1071 (rerank's
native error). The whole host answers under every base URL; only `url` differs between the two classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from scripted_retrieval import dashscope_native as native
from scripted_retrieval.answers import Answered, Refusal, Route, is_texts, ranked, route
from scripted_retrieval.base import ScriptedRetrieval
from scripted_retrieval.dashscope_rules import (
    ALGO,
    BAD_DIMENSION,
    BAD_LENGTH,
    DEFAULT_DIMENSION,
    EMBEDDING_MODELS,
    MISSING,
    RERANK_INSTRUCT,
    TOO_MANY,
    UNVERIFIED_BUDGET,
    UNVERIFIED_DOCUMENTS,
    UNVERIFIED_FORMAT,
    UNVERIFIED_INSPECTION,
    EmbeddingModel,
)
from scripted_retrieval.faults import Row
from scripted_retrieval.model import count_tokens, head
from scripted_retrieval.openai_shapes import usage, vector_list

COMPATIBLE = "/compatible-mode/v1/embeddings"
RERANKS = "/compatible-api/v1/reranks"


@dataclass
class DashScope(ScriptedRetrieval):
    """Embeds few texts at a time, and reranks many.

    Attributes:
        max_rows: The most texts to embed in one request, None for what the model takes: 10 or 20.
        max_tokens: The most tokens in one text to embed, 0 for what the model takes.
        max_documents: The most documents to rerank in one request.
        max_pair_tokens: Where a query and a document are cut by the reranker.
        max_batch_tokens: The most tokens to rerank in one request: the query's for each document, and the documents'.
    """

    key: str = "sk-fake-dashscope"
    max_tokens: int = 0
    max_documents: int = 500
    max_pair_tokens: int = 4000
    max_batch_tokens: int | None = 120_000

    server: ClassVar[str] = "dashscope"
    url: ClassVar[str] = "https://dashscope.aliyuncs.com/compatible-mode/v1"
    software: ClassVar[str] = ""
    default_model: ClassVar[str] = "text-embedding-v4"

    def routes(self) -> dict[str, Route]:
        """Post to these."""
        return {
            COMPATIBLE: route(self._embed, "model input dimensions encoding_format user"),
            RERANKS: route(self._rerank, "model query documents top_n instruct"),
            native.EMBEDDING: route(lambda body: native.embed(self, body), "model input parameters"),
            native.RERANK: route(lambda body: native.rerank(self, body), "model input parameters"),
        }

    def error(self, refusal: Refusal, path: str) -> Any:
        """Return its error: nested on the compatible routes (not verified for rerank), flat on the native ones."""
        number = f"5bf78562-{len(self.requests)}"
        code = refusal.kind or "InvalidParameter"
        if path.startswith("/api/"):
            return {"code": code, "message": refusal.message, "request_id": number}
        kind = {401: "invalid_request_error", 404: "invalid_request_error"}.get(refusal.status, code)
        error = {"message": refusal.message, "type": kind, "param": None, "code": code}
        return {"error": error, "id": number, "request_id": number}

    def wrong_key(self, path: str) -> Refusal:
        """Return its 401."""
        if path.startswith("/api/"):
            return Refusal("Invalid API-key provided.", 401, kind="InvalidApiKey")
        return Refusal("Incorrect API key provided. ", 401, kind="invalid_api_key")

    def no_route(self, method: str, path: str) -> Refusal:
        """Return its 404, which is not verified."""
        return Refusal("url error, please check url!", 404, kind="InvalidURL")

    def unknown_model(self, wanted: object) -> Refusal:
        """Return its 404."""
        text = f"The model `{wanted}` does not exist or you do not have access to it."
        return Refusal(text, 404, kind="model_not_found")

    def trouble(self, status: int) -> Refusal:
        """Return its 429, or its 5xx."""
        if status == 429:
            native_route = bool(self.requests) and self.requests[-1].path.startswith("/api/")
            kind = "Throttling.RateQuota" if native_route else "limit_requests"
            return Refusal("You exceeded your current requests list.", 429, kind=kind)
        return Refusal("An internal error has occured, please try again later.", status, kind="InternalError")

    def bad_input(self) -> Refusal:
        """Return what its inspection of texts says."""
        return Refusal(UNVERIFIED_INSPECTION, kind="DataInspectionFailed")

    def check(self, body: dict[str, Any], path: str) -> None:
        """Want a model."""
        if not body.get("model"):
            raise Refusal(MISSING)
        super().check(body, path)

    # --- rules that the native routes share

    def embedding_model(self, body: Mapping[str, Any]) -> EmbeddingModel:
        """Return the limits of the model of a request."""
        return EMBEDDING_MODELS.get(str(body["model"]), EMBEDDING_MODELS["text-embedding-v4"])

    def checked(self, body: Mapping[str, Any], given: object, dimension: object) -> list[str]:
        """Return the texts to embed, as far as the model takes them.

        Raises:
            Refusal: They are not texts, too many, empty or too long, or the model has no such dimension.
        """
        limits = self.embedding_model(body)
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not texts or not is_texts(texts):
            raise Refusal(MISSING)
        most = self.max_rows or limits.rows
        if len(texts) > most:
            raise Refusal(TOO_MANY.format(most=most, field="input.contents"))
        longest = self.max_tokens or limits.tokens
        for text in texts:
            if not text.strip() or count_tokens(text) > longest:
                raise Refusal(BAD_LENGTH.format(most=longest))
        if dimension is not None and dimension not in limits.dimensions:
            raise Refusal(BAD_DIMENSION.format(known=", ".join(map(str, limits.dimensions))))
        return texts

    def pairs(self, given: Mapping[str, Any], instruct: str | None) -> tuple[list[Row], list[str]]:
        """Return scores in the order of the documents, and what was read for each.

        Raises:
            Refusal: Something is missing, or there are too many documents or tokens.
        """
        query, documents = given.get("query"), given.get("documents")
        if not isinstance(query, str) or not query or not isinstance(documents, list) or not documents:
            raise Refusal(MISSING)
        if not is_texts(documents) or not all(documents):
            raise Refusal(UNVERIFIED_DOCUMENTS)
        if len(documents) > self.max_documents:
            raise Refusal(TOO_MANY.format(most=self.max_documents, field="input.documents"))
        short, *cut = (head(text, self.max_pair_tokens) for text in (query, *documents))
        spent = count_tokens(short) * len(documents) + sum(map(count_tokens, cut))
        if self.max_batch_tokens is not None and spent > self.max_batch_tokens:
            raise Refusal(UNVERIFIED_BUDGET.format(given=spent, most=self.max_batch_tokens))
        read = [self.pair(short, document, instruct or RERANK_INSTRUCT) for document in cut]
        return self.scores(query, documents, read), read

    # --- the compatible routes

    def _embed(self, body: dict[str, Any]) -> Answered:
        if body.get("encoding_format", "float") != "float":
            raise Refusal(ALGO + UNVERIFIED_FORMAT)
        texts = self.checked(body, body.get("input"), body.get("dimensions"))
        rows = self.vectors(texts, None, body.get("dimensions") or DEFAULT_DIMENSION)
        return Answered(rows, vector_list(body["model"], texts, id=f"5bf78562-{len(self.requests)}"))

    def _rerank(self, body: dict[str, Any]) -> Answered:
        rows, read = self.pairs(body, body.get("instruct"))

        def write(rows: list[Row]) -> dict[str, Any]:
            results = [{"index": row.index, "relevance_score": row.value} for row in rows]
            head = {"object": "list", "results": results, "model": body["model"], "id": f"{len(self.requests)}"}
            return {**head, "usage": {"total_tokens": usage(read)["total_tokens"]}}

        return Answered(ranked(rows, body.get("top_n")), write)


@dataclass
class DashScopeNative(DashScope):
    """The same host, asked in its own way."""

    server: ClassVar[str] = "dashscope-native"
    url: ClassVar[str] = "https://dashscope.aliyuncs.com/api/v1"
