"""Hugging Face's text-embeddings-inference.

Sources, in huggingface/text-embeddings-inference: ``router/src/http/server.rs`` at bc0fa32 and 009f067 (routes, limits,
statuses, order), ``router/src/http/types.rs`` at 265deb2 (fields; unknown ones are ignored), ``core/src/lib.rs`` at
04d7a07 and ``core/src/tokenization.rs`` at 080c9f0 (texts); #227 and #394 (bodies of errors).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from scripted_retrieval import model
from scripted_retrieval.answers import Answered, Refusal, Route, is_texts, page, ranked, route
from scripted_retrieval.base import ScriptedRetrieval
from scripted_retrieval.faults import Row
from scripted_retrieval.openai_shapes import texts_in, usage, vector_list
from scripted_retrieval.templates import INSTRUCT

TOO_MANY = "batch size {given} > maximum allowed batch size {most}"
TOO_LONG = "Input validation error: `inputs` must have less than {most} tokens. Given: {given}"
NO_TEXTS = "`texts` cannot be empty"
NO_INPUTS = "`inputs` cannot be empty"
EMPTY_INPUT = "Input validation error: `inputs` cannot be empty"
OVERLOADED = "Model is overloaded"
NAN_SCORE = "score is NaN"
# The words after the first colon are the router's; how the backend's error begins is not verified.
NO_RERANKER = "Backend error: Inference error: model is not a re-ranker model"
UNVERIFIED_NO_EMBEDDER = "Backend error: Inference error: model is not an embedding model"
UNVERIFIED_PROMPT = "Input validation error: prompt name `{name}` not found"
UNVERIFIED_BAD_INPUT = "tokenizer error"
UNVERIFIED_JSON = b"Failed to deserialize the JSON body into the target type"

# ``StatusCode::from(&ErrorType)``
STATUSES = {503: "Unhealthy", 424: "Backend", 429: "Overloaded", 422: "Tokenizer", 413: "Validation", 400: "Empty"}


@dataclass
class Tei(ScriptedRetrieval):
    """Embeds up to 32 texts; reranks only with a model that was converted to a classifier.

    It has no ``dimensions``, and puts no template around pairs.

    Attributes:
        max_rows: ``--max-client-batch-size``.
        max_batch_tokens: ``--max-batch-tokens``, which no single request is refused for.
        auto_truncate: Whether it was started with ``--auto-truncate``.
        converted: Whether it serves Qwen3-Reranker as a classifier; Qwen3-Embedding is not served then.
        prompts: The prompts of the model, by name.
    """

    max_rows: int | None = 32
    max_batch_tokens: int | None = 16384
    served_template: bool = False
    auto_truncate: bool = False
    converted: bool = False
    prompts: Mapping[str, str] = field(default_factory=lambda: {"query": f"Instruct: {INSTRUCT}\nQuery:"})

    server: ClassVar[str] = "tei"
    url: ClassVar[str] = "http://tei.test:8080"
    software: ClassVar[str] = ""
    open_paths: ClassVar[tuple[str, ...]] = ("/health", "/", "/ping", "/metrics")

    def routes(self) -> dict[str, Route]:
        """Post to these."""
        embed = "inputs truncate truncation_direction prompt_name normalize"
        rerank = "query texts truncate truncation_direction raw_scores return_text"
        return {
            "/embed": route(self._embed, embed),
            **dict.fromkeys(("/v1/embeddings", "/embeddings"), route(self._openai, "input model user encoding_format")),
            "/rerank": route(self._rerank, rerank),
            "/": route(self._rerank, rerank) if self.converted else route(self._embed, embed),
            "/tokenize": route(self._tokenize, "inputs add_special_tokens prompt_name"),
        }

    def pages(self) -> dict[str, Any]:
        """Serve what it was started with; it has no list of models."""
        labels = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
        info = {
            "model_id": self.name,
            "model_sha": None,
            "model_dtype": "float16",
            "model_type": {"reranker": labels} if self.converted else {"embedding": {"pooling": "last_token"}},
            "max_concurrent_requests": 512,
            "max_input_length": self.max_tokens,
            "max_batch_tokens": self.max_batch_tokens,
            "max_batch_requests": None,
            "max_client_batch_size": self.max_rows,
            "auto_truncate": self.auto_truncate,
            "tokenization_workers": 8,
            "version": "1.9.3",
            "sha": None,
            "docker_label": None,
        }
        return {"/info": info, "/health": None}

    def check(self, body: dict[str, Any], path: str) -> None:
        """Answer for any model: there is one."""

    def error(self, refusal: Refusal, path: str) -> Any:
        """Return its error: nothing for a wrong key and path, text for what is no request, else one of two shapes."""
        if refusal.status in (401, 404):
            return None
        if refusal.kind == "json":
            return UNVERIFIED_JSON
        kind = refusal.kind or STATUSES.get(refusal.status, "Backend")
        if path in ("/v1/embeddings", "/embeddings"):
            return {"message": refusal.message, "code": refusal.status, "type": kind}
        return {"error": refusal.message, "error_type": kind}

    def trouble(self, status: int) -> Refusal:
        """Return its 429, or another status."""
        return Refusal(OVERLOADED, 429) if status == 429 else super().trouble(status)

    def bad_input(self) -> Refusal:
        """Return a tokenizer's error."""
        return Refusal(UNVERIFIED_BAD_INPUT, 422)

    def _inputs(self, given: Any) -> list[str]:
        texts = texts_in(given)
        if texts is None:
            raise _no_request()
        if not texts:
            raise Refusal(NO_INPUTS, 400)
        self._count(texts)
        if not all(texts):
            raise Refusal(EMPTY_INPUT, 413)
        return texts

    def _count(self, texts: list[str]) -> None:
        if self.max_rows is not None and len(texts) > self.max_rows:
            raise Refusal(TOO_MANY.format(given=len(texts), most=self.max_rows), 413)

    def _fitted(self, text: str, body: dict[str, Any], *, extra: int = 1) -> str:
        direction = body.get("truncation_direction", "Right")
        if direction not in ("Left", "Right"):
            raise _no_request()
        given = model.count_tokens(text) + extra
        if given <= self.max_tokens:
            return text
        wish = body.get("truncate")
        if not (self.auto_truncate if wish is None else wish):
            raise Refusal(TOO_LONG.format(given=given, most=self.max_tokens), 413)
        return (model.tail if direction == "Left" else model.head)(text, self.max_tokens - extra)

    def _prompted(self, text: str, name: str | None) -> str:
        if name is not None and name not in self.prompts:
            raise Refusal(UNVERIFIED_PROMPT.format(name=name), 413)
        return text if name is None else self.prompts[name] + text

    def _embedder(self) -> None:
        if self.converted:
            raise Refusal(UNVERIFIED_NO_EMBEDDER, 424)

    def _embed(self, body: dict[str, Any]) -> Answered:
        self._embedder()
        texts = self._inputs(body.get("inputs"))
        extra = int(self.appends_end_token)
        read = [self._fitted(self._prompted(text, body.get("prompt_name")), body, extra=extra) for text in texts]
        rows = self.vectors(texts, read, normalised=body.get("normalize", True))
        return Answered(rows, lambda rows: [row.value for row in rows], _counted(read))

    def _openai(self, body: dict[str, Any]) -> Answered:
        self._embedder()
        texts = self._inputs(body.get("input"))
        read = [self._fitted(text, {}, extra=int(self.appends_end_token)) for text in texts]
        packed = body.get("encoding_format") == "base64"
        return Answered(self.vectors(texts, read), vector_list(self.name, read, packed=packed), _counted(read))

    def _rerank(self, body: dict[str, Any]) -> Answered:
        query, texts = body.get("query"), body.get("texts")
        if not isinstance(query, str) or not isinstance(texts, list) or not is_texts(texts):
            raise _no_request()
        if not texts:
            raise Refusal(NO_TEXTS, 400)
        if not self.converted:
            raise Refusal(NO_RERANKER, 424)
        self._count(texts)
        if not query and not all(texts):
            raise Refusal(EMPTY_INPUT, 413)
        read = [self._fitted(self.pair(query, text), body, extra=0) for text in texts]
        rows = self.scores(query, texts, read)
        if body.get("raw_scores"):
            rows = [Row(row.index, model.log_odds(row.value), row.text) for row in rows]
        echo = bool(body.get("return_text"))

        def write(rows: list[Row]) -> list[dict[str, Any]]:
            return [{"index": row.index, **({"text": row.text} if echo else {}), "score": row.value} for row in rows]

        return Answered(ranked(rows), write, _counted(read))

    def not_finite(self, rows: list[Row]) -> list[Row]:
        """Write null into vectors, and fail for scores."""
        if self.converted:
            raise Refusal(NAN_SCORE, 424)
        return super().not_finite(rows)

    def _tokenize(self, body: dict[str, Any]) -> Answered:
        texts = self._inputs(body.get("inputs"))
        closes = self.appends_end_token and body.get("add_special_tokens", True)
        return page([self._tokens(self._prompted(text, body.get("prompt_name")), closes=closes) for text in texts])

    def _tokens(self, text: str, *, closes: bool) -> list[dict[str, Any]]:
        tokens, start = [], 0
        for piece, number in zip(model.tokens_of(text), model.token_ids(text), strict=True):
            start = text.index(piece, start)
            end = start + len(piece)
            tokens.append({"id": number, "text": piece, "special": False, "start": start, "stop": end})
            start = end
        last = {"id": model.KNOWN_IDS[model.END], "text": model.END, "special": True, "start": None, "stop": None}
        return [*tokens, last] if closes else tokens


def _no_request() -> Refusal:
    """Return what axum says to JSON of another form."""
    return Refusal("", 422, kind="json")


def _counted(read: list[str]) -> dict[str, str]:
    """Return the only place where the own routes say how many tokens there were."""
    return {"x-compute-tokens": str(usage(read)["total_tokens"])}
