"""What `RemoteEmbedder` asks of a server, as jobs that somebody else sends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from qwen3_core.base import require_query
from qwen3_core.prompts import DEFAULT_INSTRUCTION, format_query
from qwen3_core.remote.batching import Batch, Job
from qwen3_core.remote.check import CANARY, DOCUMENTS, QUERIES, Finding, judge_embeddings, judge_end_token
from qwen3_core.remote.connection import Connection
from qwen3_core.remote.embedding import (
    DashScopeHybridEmbedding,
    DashScopeNativeEmbedding,
    EmbeddingInput,
    EmbeddingRoute,
    SparseVector,
    embedding_route,
)
from qwen3_core.remote.errors import NO_MATRYOSHKA, AnswerError, ServerError
from qwen3_core.remote.http import Call
from qwen3_core.remote.plan import Plan
from qwen3_core.remote.routes import Template, unit
from qwen3_core.remote.texts import plain

_T = TypeVar("_T")

Ask = Callable[[Sequence[str], "str | None"], Job[list[_T]]]
"""Asks for a batch of texts, with an instruction if they are queries whose format the server writes."""


class HybridVector(NamedTuple):
    """Both vectors of a text: the dense one of length 1, and the weights of its words."""

    dense: list[float]
    sparse: SparseVector


class EmbeddingRequests:
    """The requests of one embedder.

    Args:
        connection: The server.
        template: Who writes the query format; None is the route's default.
        dimensions: Length of the vectors; None is the server's default.

    Raises:
        ValueError: The server embeds no texts, not with that template, or gives no vectors of that length.
    """

    def __init__(self, connection: Connection, template: Template | None, dimensions: int | None) -> None:
        self.route = embedding_route(connection.server, connection.url)
        self.template = _template(self.route, template)
        self.route.require(connection.known_model or self.route.default_model or "", dimensions)
        self._connection, self._dimensions = connection, dimensions
        # Turned off by the first answer that says that the server refuses them.
        self._asks_dimensions = dimensions is not None
        self._size: int | None = None

    def query(self, text: str, instruction: str) -> tuple[list[str], str | None]:
        """Return a query as it is sent, and the instruction where the server writes the format.

        Raises:
            ValueError: The query is blank, or the server takes no instruction but its own.
        """
        if self.template == "client":
            return [format_query(require_query(text), instruction)], None
        self.require_instruction(instruction)
        return [require_query(text)], instruction

    def require_instruction(self, instruction: str) -> None:
        """Refuse an instruction that the server would not heed.

        Raises:
            ValueError: It writes the query format with one of its own.
        """
        if self.template == "server" and not self.route.any_instruction and instruction != DEFAULT_INSTRUCTION:
            message = (
                f'server={self.route.server!r} with template="server" writes the model\'s own instruction and takes no '
                'other: pass template="client"'
            )
            raise ValueError(message)

    def plan(self, texts: Sequence[str], instruction: str | None, ask: Ask[_T], known: dict[str, _T]) -> Plan[_T]:
        """Prepare texts and put them into batches.

        Args:
            texts: The texts.
            instruction: See `Ask`.
            ask: What is asked for: `dense` or `hybrid`.
            known: Results that need not be asked for.

        Raises:
            ValueError: A text cannot be sent.
        """
        connection = self._connection
        limits = self.route.limits(connection.known_model)
        ready = {
            text: connection.sendable(text, limits, connection.options.max_length, name=f"text {place}")
            for place, text in enumerate(texts)
            if text not in known
        }
        wanted, sent = list(ready), list(ready.values())

        def ask_for(batch: Batch) -> Job[list[_T]]:
            return ask([sent[place] for place in batch], instruction)

        key, parts = (ask.__name__, instruction), connection.batches(sent, limits)
        return Plan(key, texts, known, wanted, parts, ask_for, lambda: ask(DOCUMENTS[:1], instruction))

    def dense(self, texts: Sequence[str], instruction: str | None) -> Job[list[list[float]]]:
        """Ask for vectors; a server that refuses `dimensions` is asked for whole ones, from then on."""
        asked = self._asks_dimensions  # several requests may be under way when the first is refused
        try:
            return (yield self._call(self.route, texts, instruction, self._units))  # type: ignore[no-any-return]
        except ServerError as error:
            if not (asked and self._refuses_dimensions(error)):
                raise
        return (yield self._call(self.route, texts, instruction, self._units))  # type: ignore[no-any-return]

    def hybrid(self, texts: Sequence[str], instruction: str | None) -> Job[list[HybridVector]]:
        """Ask for dense and sparse vectors."""
        route = DashScopeHybridEmbedding()

        def read(answer: Any, count: int) -> list[HybridVector]:
            pairs = zip(self._units(answer, count), route.parse_sparse(answer, count), strict=True)
            return [HybridVector(dense, sparse) for dense, sparse in pairs]

        return (yield self._call(route, texts, instruction, read))  # type: ignore[no-any-return]

    def require_hybrid(self) -> None:
        """Refuse to ask a server for sparse vectors that gives none.

        Raises:
            ValueError: It is not DashScope's own route.
        """
        if not isinstance(self.route, DashScopeNativeEmbedding):
            message = "sparse vectors come from DashScope's own route: base_url='https://dashscope.aliyuncs.com/api/v1'"
            raise ValueError(message)

    def model_name(self) -> Job[str]:
        """Learn the model's name where none was given."""
        return self._connection.name_of_model(self.route.models_url(self._connection.url), self.route.default_model)

    def examine(self) -> Job[list[Finding]]:
        """Ask for known texts and return what is wrong."""
        yield from self.model_name()
        try:
            documents: list[list[float]] = yield self._call(self.route, DOCUMENTS, None, self.route.parse)
            queries: list[list[float]] = []
            for query in QUERIES:
                queries += yield self._call(self.route, *self.query(query, DEFAULT_INSTRUCTION), self.route.parse)
        except AnswerError as error:
            return [Finding("answer", f"its answer to known texts cannot be used: {error}", is_fatal=True)]
        except ServerError as error:
            if not (self._asks_dimensions and self._refuses_dimensions(error)):
                raise
            return (yield from self.examine())
        findings = [*(yield from self._examine_end_token()), *(yield from self._examine_canary())]
        asked = self._dimensions if self._asks_dimensions else None
        return findings + judge_embeddings(queries, documents, server=self.route.server, dimensions=asked)

    def _examine_canary(self) -> Job[list[Finding]]:
        """Ask for a text that float16 cannot bear; vLLM and Ollama answer it with an error, others with NaN."""
        try:
            yield self._call(self.route, [CANARY], None, self.route.parse)
        except ServerError as error:
            if not error.is_about_a_row:
                raise
            text = f"it cannot embed {CANARY!r} ({error}): serve the model in bfloat16 or float32, never in float16"
            return [Finding("answer", text, is_fatal=True)]
        return []

    def _examine_end_token(self) -> Job[list[Finding]]:
        """Compare the tokens of a text with and without those that the server adds, where it can be asked."""
        url, model, tokens = self._connection.url, self._connection.known_model, []
        for add_end in (True, False):
            request = self.route.tokenize_request(url, model, DOCUMENTS[0], add_end=add_end)
            if request is None:
                return []
            try:
                tokens.append(list((yield Call(*request, self.route.parse_tokens, once=True))))
            except ServerError:  # a route that gateways and older versions do not have
                return []
        return judge_end_token(*tokens)

    def _call(
        self,
        route: EmbeddingRoute,
        texts: Sequence[str],
        instruction: str | None,
        read: Callable[[Any, int], list[_T]],
    ) -> Call:
        options = self._connection.options
        wanted = EmbeddingInput(
            model=self._connection.known_model,
            texts=texts,
            dimensions=self._dimensions if self._asks_dimensions else None,
            instruction=None if instruction is None else plain(instruction),
            cut_at=options.max_length if options.truncation == "end" else None,
            max_length=options.max_length,
        )
        return Call(*route.request(self._connection.url, wanted), lambda answer: read(answer, len(texts)))

    def _units(self, answer: Any, count: int) -> list[list[float]]:
        vectors = self.route.parse(answer, count)
        sizes = {len(vector) for vector in vectors} | ({self._size} if self._size else set())
        if len(sizes) > 1:
            message = (
                f"{self._connection.shown} gives vectors of different lengths ({', '.join(map(str, sorted(sizes)))}): "
                "several models behind one URL cannot be used"
            )
            raise ServerError(message)
        self._size = next(iter(sizes), None)
        if self._asks_dimensions and vectors and len(vectors[0]) != self._dimensions:
            self._say_about_dimensions(f"ignores it and gives {len(vectors[0])} numbers")
        return [unit(vector, self._dimensions) for vector in vectors]

    def _refuses_dimensions(self, error: ServerError) -> bool:
        """Tell whether an error says so, and do not ask for them again."""
        if not NO_MATRYOSHKA.search(error.said):
            return False
        self._asks_dimensions, self._size = False, None
        self._say_about_dimensions(f"refuses it ({error.said})")
        return True

    def _say_about_dimensions(self, what: str) -> None:
        where = f"{self._connection.shown} was asked for dimensions={self._dimensions} and"
        self._connection.say_once("dimensions", f"{where} {what}: vectors are cut and normalised here")


def _template(route: EmbeddingRoute, template: Template | None) -> Template:
    if template is None:
        return route.templates[0]
    if template not in route.templates:
        message = f"template={template!r}: with server={route.server!r} it is {' or '.join(route.templates)}"
        raise ValueError(message)
    return template
