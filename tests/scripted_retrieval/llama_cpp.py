"""llama.cpp's server. `test_scripted_retrieval_real.py` holds these rules against the real one, which is installed.

Sources: xllamacpp 2026.10.11549, asked over HTTP with small checkpoints of Qwen3's architecture; in ggml-org/llama.cpp
``tools/server/server-context.cpp`` and ``server-common.cpp`` (stored copies 132105791 and 425076581: routes, fields,
texts, types of errors), #25210 (``dimensions`` ignored), #14029 (the score is P(yes)), #25447 (a GGUF that was not
converted), lemonade#3591 (more tokens than the physical batch; with the build above it is so for the pooling "mean",
and no longer for "last" and "rank").
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from scripted_retrieval import model
from scripted_retrieval.answers import Answered, Refusal, Route, is_texts, page, ranked, route
from scripted_retrieval.base import ScriptedRetrieval
from scripted_retrieval.faults import Row
from scripted_retrieval.openai_shapes import cards, texts_in, usage, vector_list

NO_INPUT = '"input" or "content" must be provided'
EMPTY = "Input content cannot be empty"
NO_TEXTS = '"input" must not be empty'
BAD_INPUT = (
    '"prompt" elements must be a string, a list of tokens, a JSON object containing a prompt string, or a list of '
    "mixed strings & tokens."
)
BAD_FORMAT = "The format to return the embeddings in. Can be either float or base64"
NO_EMBEDDINGS = "This server does not support embeddings. Start it with `--embeddings`"
NO_RERANKING = "This server does not support reranking. Start it with `--reranking`"
NO_QUERY = '"query" must be provided'
BAD_QUERY = '"query" must be a string'
NO_DOCUMENTS = '"documents" must be a non-empty string array'
TOO_LARGE = (
    "input ({given} tokens) is too large to process. increase the physical batch size (current batch size: {most})"
)
TOO_LONG = "request ({given} tokens) exceeds the available context size ({most} tokens), try increasing it"
WRONG_KEY = "Invalid API Key"
NO_ROUTE = "File Not Found"
# What it says to this is not known; the tests may rely on the status alone.
UNVERIFIED_BAD_INPUT = "failed to process the input"

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    500: "server_error",
    501: "not_supported_error",
    503: "unavailable_error",
}


@dataclass
class LlamaCpp(ScriptedRetrieval):
    """Embeds at full length whatever was asked; reranks with the GGUF's own template and its own task.

    ``served_template=False`` is a GGUF that was not converted as a reranker: its scores are next to nothing.

    Attributes:
        max_batch_tokens: The physical batch (``-ub``, 512 by default) of a build or a pooling that cannot take a text
            in pieces: a longer one is refused with a 500. None where it can.
        task: What it was started for: "embedding" refuses to rerank, "reranking" embeds to what its memory holds,
            "chat" refuses both. "both" is two servers behind one address.
    """

    task: Literal["both", "embedding", "reranking", "chat"] = "both"

    server: ClassVar[str] = "llama.cpp"
    url: ClassVar[str] = "http://llama.test:8080/v1"
    software: ClassVar[str] = "llama.cpp"
    json_type: ClassVar[str] = "application/json; charset=utf-8"
    open_paths: ClassVar[tuple[str, ...]] = ("/health", "/v1/health")

    def routes(self) -> dict[str, Route]:
        """Post to these; without ``/v1`` answers have another shape."""
        embed, rerank = "input content model encoding_format embd_normalize", "model query documents texts top_n"
        return {
            "/v1/embeddings": route(self._embed, embed),
            **dict.fromkeys(("/embeddings", "/embedding"), route(self._embed_natively, embed)),
            **dict.fromkeys(
                ("/rerank", "/reranking", "/v1/rerank", "/v1/reranking"), route(self._rerank, rerank + " return_text")
            ),
            "/tokenize": route(self._tokenize, "content add_special parse_special with_pieces"),
        }

    def pages(self) -> dict[str, Any]:
        """Serve its model, its properties and its health."""
        meta = {"n_ctx": self.max_tokens, "n_ctx_train": 32768, "n_embd": self.size}
        own = {"name": self.name, "model": self.name, "type": "model", "capabilities": ["completion"]}
        listed = {"models": [own], **cards([self.name], "llamacpp", aliases=[self.name], meta=meta)}
        settings = {"default_generation_settings": {"n_ctx": self.max_tokens}, "total_slots": 1}
        props = {**settings, "model_alias": self.name, "build_info": "b0-unknown", "eos_token": "<|endoftext|>"}
        health = {path: {"status": "ok"} for path in self.open_paths}
        return {"/v1/models": listed, "/models": listed, "/props": props, **health}

    def check(self, body: dict[str, Any], path: str) -> None:
        """Answer for any model: there is one."""

    def error(self, refusal: Refusal, path: str) -> Any:
        """Return its error, whose code is a number."""
        kind = refusal.kind or KINDS.get(refusal.status, "server_error")
        return {"error": {"code": refusal.status, "message": refusal.message, "type": kind, **refusal.rest}}

    def wrong_key(self, path: str) -> Refusal:
        """Return its 401."""
        return Refusal(WRONG_KEY, 401)

    def no_route(self, method: str, path: str) -> Refusal:
        """Return its 404."""
        return Refusal(NO_ROUTE, 404)

    def bad_input(self) -> Refusal:
        """Return a 500."""
        return Refusal(UNVERIFIED_BAD_INPUT, 500)

    def _texts(self, body: dict[str, Any]) -> list[str]:
        if self.task == "chat":
            raise Refusal(NO_EMBEDDINGS, 501)
        given = body.get("input", body.get("content"))
        if given is None:
            raise Refusal(NO_INPUT)
        if given == []:
            raise Refusal(NO_TEXTS)
        texts = texts_in(given)
        if texts is None:
            raise Refusal(BAD_INPUT)
        if body.get("encoding_format", "float") not in ("float", "base64"):
            raise Refusal(BAD_FORMAT)
        ends = int(self.appends_end_token)
        if not all(model.count_tokens(text) + ends for text in texts):
            raise Refusal(EMPTY)
        self._measure(texts, ends)
        return texts

    def _measure(self, texts: list[str], extra: int) -> None:
        for text in texts:
            given = model.count_tokens(text) + extra
            if self.max_batch_tokens is not None and given > self.max_batch_tokens:
                raise Refusal(TOO_LARGE.format(given=given, most=self.max_batch_tokens), 500)
            if given > self.max_tokens:
                counts = {"n_prompt_tokens": given, "n_ctx": self.max_tokens}
                raise Refusal(
                    TOO_LONG.format(given=given, most=self.max_tokens), kind="exceed_context_size_error", **counts
                )

    def _embed(self, body: dict[str, Any]) -> Answered:
        if "input" not in body and "content" in body:
            return self._embed_natively(body)
        texts = self._texts(body)
        packed = body.get("encoding_format") == "base64"
        return Answered(
            self._rows(texts, body), vector_list(body.get("model", self.name), texts, packed=packed, says_packed=True)
        )

    def _embed_natively(self, body: dict[str, Any]) -> Answered:
        rows = self._rows(self._texts(body), body)  # in floats whatever was asked
        return Answered(rows, lambda rows: [{"index": row.index, "embedding": [row.value]} for row in rows])

    def _rows(self, texts: list[str], body: dict[str, Any]) -> list[Row]:
        rows = self.vectors(texts, normalised=body.get("embd_normalize", 2) != -1)
        if self.task != "reranking":
            return rows
        return [replace(row, value=[1.0, *[0.0] * (len(row.value) - 1)]) for row in rows]

    def _rerank(self, body: dict[str, Any]) -> Answered:
        if self.task in ("embedding", "chat"):
            raise Refusal(NO_RERANKING, 501)
        if "query" not in body:
            raise Refusal(NO_QUERY)
        query, documents = body["query"], body.get("documents", body.get("texts"))
        if not isinstance(query, str):
            raise Refusal(BAD_QUERY)
        if not documents or not is_texts(documents):
            raise Refusal(NO_DOCUMENTS)
        read = [self.pair(query, document) for document in documents]
        self._measure(read, 0)
        rows = self.scores(query, documents, read)
        if not self.served_template:
            rows = [replace(row, value=1e-20 * row.value) for row in rows]
        plain, echo = "texts" in body, bool(body.get("return_text"))

        def write(rows: list[Row]) -> Any:
            if plain:  # as TEI answers
                return [
                    {"index": row.index, "score": row.value, **({"text": row.text} if echo else {})} for row in rows
                ]
            results = [{"index": row.index, "relevance_score": row.value} for row in rows]
            head = {"model": body.get("model", self.name), "object": "list"}
            return {**head, "usage": usage(read), "results": results}

        return Answered(ranked(rows, body.get("top_n")), write)

    def _tokenize(self, body: dict[str, Any]) -> Answered:
        text = str(body.get("content", ""))
        pieces, ids = model.tokens_of(text), model.token_ids(text)
        if self.appends_end_token and body.get("add_special", False):
            pieces, ids = [*pieces, model.END], [*ids, model.KNOWN_IDS[model.END]]
        if body.get("with_pieces"):
            return page({"tokens": [{"id": number, "piece": each} for number, each in zip(ids, pieces, strict=True)]})
        return page({"tokens": ids})
