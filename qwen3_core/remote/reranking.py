"""How each server is asked for scores: a pure pair of request and parse for each route.

Sources, where no other is named: for vLLM ``vllm/entrypoints/pooling/scoring/protocol.py`` and vllm#42391, #42412; for
SGLang ``python/sglang/srt/entrypoints/openai/serving_rerank.py`` and sglang#16403; for llama.cpp
``tools/server/server-context.cpp`` and llama.cpp#14029; for TEI ``router/src/http/types.rs``; for DashScope Model
Studio's page text-rerank-api.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from qwen3_core.prompts import RERANK_PREFIX, RERANK_SUFFIX, format_rerank_document, format_rerank_head
from qwen3_core.remote.embedding import Request
from qwen3_core.remote.errors import AnswerError
from qwen3_core.remote.routes import (
    Limits,
    Route,
    Template,
    dashscope_root,
    in_places,
    root_of,
    rows_of,
    score_of,
    v1_of,
)


@dataclass(frozen=True)
class RerankInput:
    """What a request asks for; query, documents and instruction are plain text, the route writes a prompt if need be.

    Attributes:
        model: The model's name on the server.
        query: The question.
        documents: The candidates.
        instruction: What makes a document relevant.
    """

    model: str
    query: str
    documents: Sequence[str]
    instruction: str


class RerankRoute(Route):
    """``/v1/rerank`` as most servers have it, with the prompt written by the server; subclasses say what others do."""

    template: ClassVar[Template] = "server"
    instruction_field: ClassVar[str | None] = None
    """Where an instruction goes; None is a server that has a fixed one, or is not known well enough."""

    def request(self, base_url: str, wanted: RerankInput) -> Request:
        """Return where to send what."""
        return f"{v1_of(base_url)}/rerank", self._flat(wanted)

    def parse(self, answer: Any, count: int) -> list[float]:
        """Return the scores in the order of the documents.

        Both shapes are read, whatever the server is said to be: ``results`` with a ``relevance_score``, and SGLang's
        and TEI's mere list with a ``score``.

        Raises:
            AnswerError: They cannot be used.
        """
        rows = answer if isinstance(answer, list) else rows_of(answer, "results")
        return in_places(rows, count, _score_in, index="index")

    def _flat(self, wanted: RerankInput) -> dict[str, Any]:
        body = {"model": wanted.model, "query": wanted.query, "documents": list(wanted.documents)}
        return {**body, self.instruction_field: wanted.instruction} if self.instruction_field else body


class VllmRerank(RerankRoute):
    """vLLM that was started with Qwen3-Reranker's chat template; before May 2026 it ignored the instruction."""

    server = "vllm"
    instruction_field = "instruction"


class VllmScore(RerankRoute):
    """vLLM that was started without the template: the prompt in two halves, which it joins.

    `/score` and not `/rerank`, which sends every document back.
    """

    server = "vllm"
    template = "client"

    def request(self, base_url: str, wanted: RerankInput) -> Request:
        """Return where to send what."""
        head, documents = _prompt_halves(wanted)
        return f"{v1_of(base_url)}/score", {"model": wanted.model, "text_1": head, "text_2": documents}

    def parse(self, answer: Any, count: int) -> list[float]:
        """Return the scores in the order of the documents."""
        return in_places(rows_of(answer, "data"), count, _score_in, index="index")


class SglangRerank(RerankRoute):
    """SGLang that was started with Qwen3-Reranker's chat template; it refuses blank documents."""

    server = "sglang"
    instruction_field = "instruct"
    own_limits = Limits(refuses="blank")

    def request(self, base_url: str, wanted: RerankInput) -> Request:
        """Return where to send what."""
        return f"{v1_of(base_url)}/rerank", {**self._flat(wanted), "return_documents": False}


class LlamaCppRerank(RerankRoute):
    """llama.cpp with a converted reranker; the instruction is part of the file (llama.cpp#20009)."""

    server = "llama.cpp"


class XinferenceRerank(RerankRoute):
    """Xinference, which writes the prompt of the model's card."""

    server = "xinference"
    instruction_field = "instruction"

    def request(self, base_url: str, wanted: RerankInput) -> Request:
        """Return where to send what."""
        return f"{v1_of(base_url)}/rerank", {**self._flat(wanted), "return_documents": False}


class TeiRerank(RerankRoute):
    """TEI with a checkpoint that was converted to a classifier, whose prompt the client writes.

    TEI refuses Qwen3-Reranker as it is published (text-embeddings-inference#835).
    """

    server = "tei"
    template = "client"
    own_limits = Limits(rows=32)  # max_client_batch_size, unless it was started with another
    lists_models = False

    def request(self, base_url: str, wanted: RerankInput) -> Request:
        """Return where to send what. Nothing is cut there: that would cost the prompt its end."""
        head, documents = _prompt_halves(wanted)
        body = {"query": head, "texts": documents, "raw_scores": False, "return_text": False, "truncate": False}
        return f"{root_of(base_url)}/rerank", body


class DashScopeRerank(RerankRoute):
    """DashScope's flat route, which is on a path of its own and not under its chat models'."""

    server = "dashscope"
    instruction_field = "instruct"
    default_model = "qwen3-rerank"
    lists_models = False

    def limits(self, model: str) -> Limits:
        """Return what one request may hold.

        120,000 tokens since about February 2026 and 30,000 before; one page of a model still says 30,000, and what is
        split costs a request more and no score.
        """
        rows, row_tokens = (100, 8_000) if "-vl-" in model else (500, 4_000)
        return Limits(rows=rows, tokens=30_000, fixed=True, row_tokens=row_tokens, cuts=True, refuses="blank")

    def request(self, base_url: str, wanted: RerankInput) -> Request:
        """Return where to send what."""
        return f"{dashscope_root(base_url)}/compatible-api/v1/reranks", self._flat(wanted)


class DashScopeNativeRerank(DashScopeRerank):
    """DashScope's own route, for a base URL that ends in ``/api/v1``."""

    def request(self, base_url: str, wanted: RerankInput) -> Request:
        """Return where to send what."""
        body = {
            "model": wanted.model,
            "input": {"query": wanted.query, "documents": list(wanted.documents)},
            "parameters": {"return_documents": False, "instruct": wanted.instruction},
        }
        return f"{dashscope_root(base_url)}/api/v1/services/rerank/text-rerank/text-rerank", body

    def parse(self, answer: Any, count: int) -> list[float]:
        """Return the scores in the order of the documents."""
        return in_places(rows_of(answer, "output", "results"), count, _score_in, index="index")


_ROUTES: dict[tuple[str, Template], RerankRoute] = {
    (route.server, route.template): route
    for route in (
        RerankRoute(), VllmRerank(), VllmScore(), SglangRerank(), LlamaCppRerank(), XinferenceRerank(), TeiRerank(),
        DashScopeRerank(),
    )
}  # fmt: skip


def rerank_route(server: str, base_url: str, template: Template | None) -> RerankRoute:
    """Return the route of a server.

    Args:
        server: One of `qwen3_core.thinking.Server`.
        base_url: Its URL; DashScope's own route is the one whose URL has ``/api/v1``.
        template: Who writes the prompt; None is the server wherever it can.

    Raises:
        ValueError: The server has no reranker, is unknown, or cannot be served with that template.
    """
    if server == "dashscope" and "/api/v1" in base_url and template != "client":
        return DashScopeNativeRerank()
    if server == "tei" and template is None:
        message = (
            "TEI does not serve Qwen3-Reranker (text-embeddings-inference#835): serve it with vLLM, SGLang or "
            'llama.cpp. For a checkpoint that was converted to a sequence classifier pass template="client"'
        )
        raise ValueError(message)
    route = _ROUTES.get((server, template or "server"))
    if route is not None:
        return route
    serving = sorted({name for name, _ in _ROUTES})
    if server in serving:
        other = next(who for name, who in _ROUTES if name == server)
        message = f"server={server!r} takes rerank prompts from the {other} only: template={other!r}"
    else:
        message = f"server={server!r} has no route to rerank as far as is known here; those that do are {serving}"
    raise ValueError(message)


def _prompt_halves(wanted: RerankInput) -> tuple[str, list[str]]:
    """Return the prompt up to the document, and each document with the prompt's end, cut where tokens are."""
    head = RERANK_PREFIX + format_rerank_head(wanted.query, wanted.instruction)
    return head, [format_rerank_document(document) + RERANK_SUFFIX for document in wanted.documents]


def _score_in(row: Mapping[str, Any]) -> float:
    if "relevance_score" not in row and "score" not in row:
        message = f"the answer has a row without a score: {str(row)[:100]}"
        raise AnswerError(message)
    return score_of(row.get("relevance_score", row.get("score")))
