"""Ollama.

Sources: ``server/routes.go`` of ollama/ollama as a stored copy of 2026 has it (``EmbedHandler``: order, cutting,
slices made unit vectors again, texts); docs.ollama.com/api/embed (fields, defaults); #14186 (``truncate``), pull
request 12242 (``dimensions`` on the OpenAI route).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from scripted_retrieval import model
from scripted_retrieval.answers import Answered, Refusal, Route, page, route
from scripted_retrieval.base import ScriptedRetrieval
from scripted_retrieval.faults import Row
from scripted_retrieval.openai_shapes import cards, vector_list

BAD_INPUT = "invalid input type"
TOO_LONG = "the input length exceeds the context length"
NOT_FINITE = "embedding contains NaN or Inf values"
UNKNOWN = "model '{model}' not found"
# What it says to these is not known; the tests may rely on the status alone.
UNVERIFIED_BUSY = "server busy, please try again.  maximum pending requests exceeded"
UNVERIFIED_ROUTE = b"404 page not found"


@dataclass
class Ollama(ScriptedRetrieval):
    """Embeds; cuts what is too long unless told otherwise. It has no rerank route, and no key of its own.

    Attributes:
        max_tokens: ``num_ctx``, far below what the model can; that 4096 is the default is not verified.
    """

    max_tokens: int = 4096

    server: ClassVar[str] = "ollama"
    url: ClassVar[str] = "http://ollama.test:11434"
    software: ClassVar[str] = ""
    default_model: ClassVar[str] = "qwen3-embedding:0.6b"

    def routes(self) -> dict[str, Route]:
        """Post to these."""
        return {
            "/api/embed": route(self._embed, "model input truncate dimensions keep_alive options"),
            "/v1/embeddings": route(self._openai, "model input dimensions user"),
            "/api/show": route(self._show, "model verbose"),
        }

    def pages(self) -> dict[str, Any]:
        """Serve its models under both shapes, and its version."""
        names = self.models or (self.default_model,)
        details = {"family": "qwen3", "parameter_size": "595.78M", "quantization_level": "Q8_0"}
        tags = [{"name": name, "model": name, "details": details} for name in names]
        version = {"version": "0.40.12"}
        return {"/api/tags": {"models": tags}, "/api/version": version, "/v1/models": cards(names, "library")}

    def error(self, refusal: Refusal, path: str) -> Any:
        """Return its error, which is a string on its own routes."""
        if refusal.kind == "no route":
            return UNVERIFIED_ROUTE
        if not path.startswith("/v1/"):
            return {"error": refusal.message}
        kinds = {400: "invalid_request_error", 404: "not_found_error"}
        kind = kinds.get(refusal.status, "api_error")
        return {"error": {"message": refusal.message, "type": kind, "param": None, "code": None}}

    def no_route(self, method: str, path: str) -> Refusal:
        """Return gin's 404."""
        return Refusal("", 404, kind="no route")

    def unknown_model(self, wanted: object) -> Refusal:
        """Return its 404."""
        return Refusal(UNKNOWN.format(model=wanted), 404)

    def trouble(self, status: int) -> Refusal:
        """Return its 503, or another status."""
        return Refusal(UNVERIFIED_BUSY, 503) if status == 503 else super().trouble(status)

    def not_finite(self, rows: list[Row]) -> list[Row]:
        """Refuse, as since the half-precision trouble with the 8B model."""
        raise Refusal(NOT_FINITE)

    def _rows(self, body: dict[str, Any]) -> tuple[list[Row], list[str]]:
        given = body.get("input")
        texts = [] if given in (None, "") else [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
            raise Refusal(BAD_INPUT)
        limit = min(self.max_tokens, (body.get("options") or {}).get("num_ctx") or self.max_tokens)
        room = limit - self.appends_end_token
        read = [model.head(text, room) for text in texts]
        if body.get("truncate") is False and read != texts:
            raise Refusal(TOO_LONG)
        wanted = body.get("dimensions") or 0
        dimensions = wanted if 0 < wanted < self.size else None
        return self.vectors(texts, read, dimensions), read

    def _embed(self, body: dict[str, Any]) -> Answered:
        rows, read = self._rows(body)
        counts = {"total_duration": 1, "load_duration": 1, "prompt_eval_count": sum(map(model.count_tokens, read))}

        def write(rows: list[Row]) -> dict[str, Any]:
            return {"model": body.get("model"), "embeddings": [row.value for row in rows], **(counts if read else {})}

        return Answered(rows, write)

    def _openai(self, body: dict[str, Any]) -> Answered:
        rows, read = self._rows(body)
        return Answered(rows, vector_list(str(body.get("model")), read))

    def _show(self, body: dict[str, Any]) -> Answered:
        info = {"general.architecture": "qwen3", "qwen3.context_length": 32768, "qwen3.embedding_length": self.size}
        return page({"model_info": info, "capabilities": ["embedding"]})
