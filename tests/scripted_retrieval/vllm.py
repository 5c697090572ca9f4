"""vLLM's pooling server.

Sources, in vllm-project/vllm: ``vllm/entrypoints/pooling/base/protocol.py`` at 65772ef, ``embed/protocol.py`` at
ff8d577, ``scoring/protocol.py`` at 5315868, ``scoring/serving.py`` at a1140c1 (order, ``top_n``, echoed documents),
``scoring/io_processor.py`` at 01e4fce (limits of query and document). The error bodies of "current" were measured on
vLLM 0.26.0 (a log in ttokunaga-ja/kio): wrong fields, an empty list, an unknown model, a pair that is too long. Those
of "0.9": vllm#19798, vllm#15465. Matryoshka: QwenLM/Qwen3-Embedding#140, ogx#5109. NaN: vllm#19661. ``instruction``:
#42412, #42391. The template: #19260; the client's own pairs: docs.vllm.ai's ascend tutorial of Qwen3-Reranker.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from scripted_retrieval import model
from scripted_retrieval.answers import Answered, Refusal, Route, is_texts, page, ranked, route
from scripted_retrieval.base import ScriptedRetrieval
from scripted_retrieval.faults import Row
from scripted_retrieval.openai_shapes import cards, texts_in, usage, vector_list

NO_MATRYOSHKA = (
    'Model "{model}" does not support matryoshka representation, changing output dimensions will lead to poor results.'
)
TOO_LONG = (
    "This model's maximum context length is {most} tokens. However, you requested 0 output tokens and your prompt "
    "contains at least {given} input tokens, for a total of at least {given} tokens. Please reduce the length of the "
    "input prompt or the number of requested output tokens. (parameter=input_tokens, value={given})"
)
TOO_LONG_OLD = (
    "This model's maximum context length is {most} tokens. However, you requested {given} tokens in the input for "
    "embedding generation. Please reduce the length of the input."
)
BAD_TRUNCATION = (
    "truncate_prompt_tokens={given} cannot be greater than max_model_len - max_output_tokens = {most}. "
    "Please request a smaller truncation size."
)
NO_DOCUMENTS = "At least one text_pair element must be given"
NO_QUERY = "At least one text element must be given"
LENGTHS = "Input lengths must be either 1:1, 1:N or N:N"
TOO_LARGE_LIMIT = "{name} ({given}) must be less than max_model_len ({most})."
MISSING = "1 validation error:\n  {{'type': 'missing', 'loc': ('body', '{name}'), 'msg': 'Field required'}}"
NOT_TEXT = (
    "1 validation error:\n  {{'type': 'string_type', 'loc': ('body', '{name}', 'str'), "
    "'msg': 'Input should be a valid string'}}"
)
CRASHED = "Internal Server Error"
# What it says to these is not known; the tests may rely on the status alone.
UNVERIFIED_EMPTY = "Please provide a non-empty input"
UNVERIFIED_DIMENSIONS = "dimensions must be between 1 and {most}"
UNVERIFIED_PRIORITY = "The served model does not use priority scheduling"
UNVERIFIED_NORMALIZE = "`normalize` is no longer supported, please use `use_activation` instead"

COMMON = "model user truncate_prompt_tokens request_id priority "
SCORING = COMMON + "truncation_side use_activation softmax activation mm_processor_kwargs cache_salt "
# since #42412
NEWER = " instruction chat_template_kwargs max_tokens_per_query max_tokens_per_doc"


@dataclass
class Vllm(ScriptedRetrieval):
    """Embeds, and reranks with the template that it was started with; what it does not know it ignores.

    Attributes:
        version: "0.9" has flat errors, and reads neither ``instruction`` nor limits for queries and documents.
        matryoshka: Whether it was started with ``--hf-overrides '{"is_matryoshka": true}'``.
    """

    version: Literal["current", "0.9"] = "current"
    matryoshka: bool = False

    server: ClassVar[str] = "vllm"
    url: ClassVar[str] = "http://vllm.test:8000/v1"

    def routes(self) -> dict[str, Route]:
        """Post to these; only paths under ``/v1`` are kept by the key."""
        rerank = SCORING + "query documents top_n"
        score = SCORING + "text_1 text_2 queries documents items data_1 data_2"
        if self.version == "current":
            rerank, score = (reads + NEWER for reads in (rerank, score))
        embed = COMMON + "input encoding_format dimensions add_special_tokens normalize embed_dtype endianness"
        tokenize = "model prompt add_special_tokens return_token_strs"
        return {
            "/v1/embeddings": route(self._embed, embed),
            **dict.fromkeys(("/v1/rerank", "/rerank", "/v2/rerank"), route(self._rerank, rerank)),
            **dict.fromkeys(("/v1/score", "/score"), route(self._score, score)),
            "/tokenize": route(self._tokenize, tokenize),
        }

    def pages(self) -> dict[str, Any]:
        """Serve its model cards, with the longest text."""
        names = self.models or (self.default_model,)
        listed = cards(names, "vllm", root=names[0], parent=None, max_model_len=self.max_tokens)
        return {"/v1/models": listed, "/version": {"version": "0.26.0"}, "/health": None}

    def error(self, refusal: Refusal, path: str) -> Any:
        """Return its error: flat in old versions, nested today; a wrong key and a wrong path get neither."""
        if refusal.status == 401:
            return {"error": "Unauthorized"}
        if refusal.kind == "crash":
            return refusal.message.encode()
        if refusal.kind == "no route":
            return {"detail": refusal.message}
        kinds = {400: "BadRequestError", 404: "NotFoundError", 429: "RateLimitError"}
        kind = refusal.kind or kinds.get(refusal.status, "InternalServerError")
        param = refusal.rest.get("param")
        error = {"message": refusal.message, "type": kind, "param": param, "code": refusal.status}
        return {"object": "error", **error} if self.version == "0.9" else {"error": error}

    def no_route(self, method: str, path: str) -> Refusal:
        """Return FastAPI's error."""
        return Refusal("Not Found", 404, kind="no route")

    def _require_key(self, request: Any, path: str) -> None:
        if path.startswith("/v1"):  # UNVERIFIED that /rerank and /score are open
            super()._require_key(request, path)

    def check(self, body: dict[str, Any], path: str) -> None:
        """Refuse a priority, and what it refuses everywhere."""
        super().check(body, path)
        if body.get("priority"):
            raise Refusal(UNVERIFIED_PRIORITY)

    def not_finite(self, rows: list[Row]) -> list[Row]:
        """Fail where it writes JSON, outside of its handling of errors."""
        raise Refusal(CRASHED, 500, kind="crash")

    def _embed(self, body: dict[str, Any]) -> Answered:
        texts = texts_in(body.get("input"))
        if texts is None:
            raise self._invalid(body, "input")
        if not texts or (not self.appends_end_token and not all(map(model.count_tokens, texts))):
            raise Refusal(UNVERIFIED_EMPTY)
        if body.get("normalize") is not None and self.version == "current":
            raise Refusal(UNVERIFIED_NORMALIZE)
        dimensions = body.get("dimensions")
        if dimensions is not None and not self.matryoshka:
            raise Refusal(NO_MATRYOSHKA.format(model=self.name))
        if dimensions is not None and not 1 <= dimensions <= self.size:
            raise Refusal(UNVERIFIED_DIMENSIONS.format(most=self.size))
        ends = int(self.appends_end_token)
        read = [self._fitted(text, body, ends) for text in texts]
        rows = self.vectors(texts, read, dimensions, normalised=body.get("use_activation") is not False)
        packed = body.get("encoding_format") == "base64"
        return Answered(rows, vector_list(self.name, read, packed=packed, id=f"embd-{len(self.requests)}", created=1))

    def _fitted(self, text: str, body: dict[str, Any], extra: int = 0) -> str:
        limit, given = body.get("truncate_prompt_tokens"), model.count_tokens(text) + extra
        if limit is not None and limit > self.max_tokens:
            raise Refusal(BAD_TRUNCATION.format(given=limit, most=self.max_tokens))
        if limit is not None:
            keep = (self.max_tokens if limit == -1 else limit) - extra
            return model.tail(text, keep) if body.get("truncation_side") == "left" else model.head(text, keep)
        if given > self.max_tokens and self.version == "0.9":
            raise Refusal(TOO_LONG_OLD.format(most=self.max_tokens, given=given))
        if given > self.max_tokens:  # it stops counting there
            text = TOO_LONG.format(most=self.max_tokens, given=self.max_tokens + 1)
            raise Refusal(text, param="input_tokens")
        return text

    def _pairs(self, body: dict[str, Any], queries: Any, documents: Any) -> tuple[list[Row], list[str]]:
        queries, documents = ([each] if isinstance(each, str) else each for each in (queries, documents))
        if len(queries) > 1 and len(queries) != len(documents):
            raise Refusal(LENGTHS)
        if not queries or not documents:
            raise Refusal(NO_DOCUMENTS if queries else NO_QUERY)
        short = [self._cut(each, body, "max_tokens_per_query") for each in queries]
        short = short * len(documents) if len(short) == 1 else short
        cut = [self._cut(each, body, "max_tokens_per_doc") for each in documents]
        instruct = body.get("instruction") if self.version == "current" else None
        read = [self._fitted(self.pair(*pair, instruct), body) for pair in zip(short, cut, strict=True)]
        rows = self.scores(queries[0], documents, read)
        if body.get("use_activation", body.get("activation", body.get("softmax"))) is False:
            rows = [Row(row.index, model.log_odds(row.value), row.text) for row in rows]
        return rows, read

    def _cut(self, text: str, body: dict[str, Any], name: str) -> str:
        limit = body.get(name, 0) if self.version == "current" else 0
        if limit >= self.max_tokens:
            raise Refusal(TOO_LARGE_LIMIT.format(name=name, given=limit, most=self.max_tokens))
        return model.head(text, limit) if limit else text

    def _rerank(self, body: dict[str, Any]) -> Answered:
        if not isinstance(body.get("query"), str):
            raise self._invalid(body, "query")
        if not (isinstance(body.get("documents"), str) or is_texts(body.get("documents"))):
            raise self._invalid(body, "documents")
        rows, read = self._pairs(body, body["query"], body["documents"])

        def write(rows: list[Row]) -> dict[str, Any]:
            results = [
                {"index": row.index, "document": {"text": row.text, "multi_modal": None}, "relevance_score": row.value}
                for row in rows
            ]
            head = {"id": f"score-{len(self.requests)}", "model": self.name}
            return {**head, "usage": usage(read), "results": results}

        return Answered(ranked(rows, body.get("top_n") or None), write)

    def _score(self, body: dict[str, Any]) -> Answered:
        names = (("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2"))
        named = next((pair for pair in names if set(pair) <= set(body)), None)
        if named is None:
            raise self._invalid(body, "text_1")
        rows, read = self._pairs(body, body[named[0]], body[named[1]])

        def write(rows: list[Row]) -> dict[str, Any]:
            data = [{"index": row.index, "object": "score", "score": row.value} for row in rows]
            head = {"id": f"score-{len(self.requests)}", "object": "list", "created": 1, "model": self.name}
            return {**head, "data": data, "usage": usage(read)}

        return Answered(rows, write)

    def _tokenize(self, body: dict[str, Any]) -> Answered:
        ids = model.token_ids(body["prompt"])
        ids += [model.KNOWN_IDS[model.END]] * (self.appends_end_token and body.get("add_special_tokens", True))
        strings = None if not body.get("return_token_strs") else [f"<{number}>" for number in ids]
        return page({"count": len(ids), "max_model_len": self.max_tokens, "tokens": ids, "token_strs": strings})

    def _invalid(self, body: dict[str, Any], name: str) -> Refusal:
        text = (NOT_TEXT if name in body else MISSING).format(name=name)
        return Refusal(text, kind="Bad Request", param=f"body.{name}")
