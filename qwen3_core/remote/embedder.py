"""`RemoteEmbedder`: Qwen3-Embedding on a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from qwen3_core.base import Embedder, require_query, require_texts
from qwen3_core.local import MIN_DIMENSIONS
from qwen3_core.prompts import DEFAULT_INSTRUCTION, format_query
from qwen3_core.remote.batching import Batch, Job
from qwen3_core.remote.check import CANARY, DOCUMENTS, QUERIES, Finding, judge_embeddings
from qwen3_core.remote.connection import Connection, Options
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
from qwen3_core.remote.plan import Kept, Plan
from qwen3_core.remote.routes import Template, unit
from qwen3_core.remote.texts import plain
from qwen3_core.thinking import Server
from qwen3_core.token_count import find_tokenizer, tokenizer_function

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from typing_extensions import Unpack

    from qwen3_core.remote.connection import ServerOptions

_T = TypeVar("_T")
_Ask = Callable[[Sequence[str], "str | None"], Job[list[_T]]]


class HybridVector(NamedTuple):
    """Both vectors of a text: the dense one of length 1, and the weights of its words."""

    dense: list[float]
    sparse: SparseVector


class RemoteEmbedder(Embedder):
    """Qwen3-Embedding on a server: vLLM, SGLang, llama.cpp, TEI, Ollama, LM Studio, Xinference or DashScope.

    ```python
    RemoteEmbedder("Qwen/Qwen3-Embedding-0.6B", base_url="http://127.0.0.1:8000/v1", server="vllm")
    ```

    The first call asks for known texts, and raises if the server cannot tell them apart. Texts are sent in batches of
    the size that the server takes, several at a time, and come back in order; the same text twice is asked once. If
    some cannot be computed the others are not lost: they are in the error, and are not computed again if the same
    texts are asked for again. Control tokens in texts are broken up with a zero-width space, since a server parses
    them. Objects are safe to share between threads and event loops; connections close with the object, or with the
    loop.

    Args:
        model: The model's name on the server; None takes the only one that it lists.
        base_url: Its URL; None is DashScope's.
        server: Its word; "auto" knows DashScope's hosts and the default ports of Ollama, LM Studio, Xinference and
            SGLang, and takes any other for what OpenAI's route has in common.
        template: Who writes the query format: "client", which all servers can be sent, or "server" on TEI (its
            ``prompt_name``) and on DashScope's own route (``instruct``), where it is the default.
        instruction: What queries are for, in one English sentence; documents never carry it.
        dimensions: Length of the vectors, 32 or more; None is the server's default. Where a server ignores it, vectors
            are cut and normalised here.
        **options: See `ServerOptions`.

    Raises:
        ValueError: An argument is out of range, the server embeds no texts, or there is no key for DashScope.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        base_url: str | None = None,
        server: Server = "auto",
        template: Template | None = None,
        instruction: str = DEFAULT_INSTRUCTION,
        dimensions: int | None = None,
        **options: Unpack[ServerOptions],
    ) -> None:
        super().__init__(instruction)
        if dimensions is not None and dimensions < MIN_DIMENSIONS:
            message = f"dimensions={dimensions} is out of range: at least {MIN_DIMENSIONS}"
            raise ValueError(message)
        self._options = Options(**options)
        self._connection = Connection(base_url, server, model, self._options)
        self._route = embedding_route(self._connection.server, self._connection.url)
        self._template = _template(self._route, template)
        self._asks_dimensions = dimensions is not None
        self._kept: Kept[Any] = Kept()
        self.model, self.base_url, self.server = model, base_url, server
        self.template, self.dimensions = template, dimensions
        self._route.require(model or self._route.default_model or "", dimensions)
        self._require_instruction(instruction)

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor, from which an equal embedder can be made."""
        own = ("model", "base_url", "server", "template", "instruction", "dimensions")
        return {**{name: getattr(self, name) for name in own}, **vars(self._options)}

    def find_tokenizer(self) -> Tokenizer | None:
        """Return the model's tokenizer if it is on this machine, without control tokens; see `Options.tokenizer`."""
        return find_tokenizer(self._options.tokenizer, model=self.model or "")

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of a text as text.

        Raises:
            ValueError: The model's tokenizer is not on this machine.
        """
        return tokenizer_function(self._options.tokenizer, model=self.model or "")(text)

    def find_model(self) -> str:
        """Return the model's name, asked of the server if none was given; empty where the server wants none.

        Raises:
            ServerError: The server cannot be asked, or lists several.
        """
        route, connection = self._route, self._connection
        return connection.run_one(connection.name_of_model(route.models_url(connection.url), route.default_model))

    def check(self) -> list[str]:
        """Ask for known texts and return what is wrong, as sentences; an empty list if nothing is.

        Raises:
            ServerError: The server cannot be reached, or refuses.
        """
        return [finding.text for finding in self._connection.run_one(self._examine())]

    async def acheck(self) -> list[str]:
        """See `check`."""
        return [finding.text for finding in await self._connection.arun_one(self._examine())]

    def embed_batch(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed texts as given; see `Embedder.embed_batch`.

        Raises:
            ValueError: A text is longer than `max_length` allows, or is blank and the server takes none; nothing was
                sent.
            PartialError: Some texts could not be computed.
            ServerError: The server cannot be reached, refuses, or answers nonsense.
        """
        return self._run(texts, None, self._dense)

    def embed_query(self, text: str, *, instruction: str | None = None) -> list[float]:
        """Embed a search query; see `Embedder.embed_query` and `embed_batch`."""
        return self._run(*self._query(text, instruction), self._dense)[0]

    async def aembed_query(self, text: str, *, instruction: str | None = None) -> list[float]:
        """Embed a query in this event loop; see `embed_query`."""
        return (await self._arun(*self._query(text, instruction), self._dense))[0]

    async def aembed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed documents in this event loop; see `embed_documents`."""
        return await self._arun(require_texts(texts), None, self._dense)

    def embed_hybrid_query(self, text: str, *, instruction: str | None = None) -> HybridVector:
        """Embed a query as a dense and a sparse vector; see `embed_hybrid_documents`."""
        return self._run(*self._query(text, instruction), self._hybrid)[0]

    def embed_hybrid_documents(self, texts: Sequence[str]) -> list[HybridVector]:
        """Embed documents as dense and sparse vectors, which DashScope's own route gives (``dense&sparse``).

        Raises:
            ValueError: The server is another; or see `embed_batch`.
            ServerError: See `embed_batch`.
        """
        return self._run(require_texts(texts), None, self._hybrid)

    async def aembed_hybrid_query(self, text: str, *, instruction: str | None = None) -> HybridVector:
        """Embed a query in this event loop; see `embed_hybrid_query`."""
        return (await self._arun(*self._query(text, instruction), self._hybrid))[0]

    async def aembed_hybrid_documents(self, texts: Sequence[str]) -> list[HybridVector]:
        """Embed documents in this event loop; see `embed_hybrid_documents`."""
        return await self._arun(require_texts(texts), None, self._hybrid)

    def _run(self, texts: Sequence[str], instruction: str | None, ask: _Ask[_T]) -> list[_T]:
        if not texts:
            return []
        self._connection.run_one(self._ready())
        plan = self._plan(texts, instruction, ask)
        return self._kept.settle(plan, self._connection.run(plan.jobs), what="text")

    async def _arun(self, texts: Sequence[str], instruction: str | None, ask: _Ask[_T]) -> list[_T]:
        if not texts:
            return []
        await self._connection.arun_one(self._ready())
        plan = self._plan(texts, instruction, ask)
        return self._kept.settle(plan, await self._connection.arun(plan.jobs), what="text")

    # --- nothing below sends anything

    def _query(self, text: str, instruction: str | None) -> tuple[list[str], str | None]:
        """Return a query as it is sent, and the instruction where the server writes the format."""
        task = self.instruction if instruction is None else instruction
        if self._template == "client":
            return [format_query(require_query(text), task)], None
        self._require_instruction(task)
        return [require_query(text)], task

    def _plan(self, texts: Sequence[str], instruction: str | None, ask: _Ask[_T]) -> Plan[_T]:
        key = (ask.__name__, instruction)
        known: dict[str, _T] = self._kept.known(key, texts)
        limits = self._route.limits(self._connection.known_model)
        max_length = self._options.max_length
        ready = {
            text: self._connection.sendable(text, limits, max_length, name=f"text {place}")
            for place, text in enumerate(texts)
            if text not in known
        }
        wanted, sent = list(ready), list(ready.values())

        def ask_for(batch: Batch) -> Job[list[_T]]:
            return ask([sent[place] for place in batch], instruction)

        return Plan(key, texts, known, wanted, self._connection.batches(sent, limits), ask_for)

    def _dense(self, texts: Sequence[str], instruction: str | None) -> Job[list[list[float]]]:
        """Ask for vectors; a server that refuses `dimensions` is asked for whole ones, from then on."""
        try:
            return (yield self._call(self._route, texts, instruction, self._units))  # type: ignore[no-any-return]
        except ServerError as error:
            if not (self._asks_dimensions and NO_MATRYOSHKA.search(error.said)):
                raise
            self._asks_dimensions = False
            self._connection.say_once(
                "dimensions",
                f"{self._connection.shown} refuses dimensions={self.dimensions} ({error.said}): its whole vectors are "
                "cut and normalised here",
            )
        return (yield self._call(self._route, texts, instruction, self._units))  # type: ignore[no-any-return]

    def _hybrid(self, texts: Sequence[str], instruction: str | None) -> Job[list[HybridVector]]:
        if not isinstance(self._route, DashScopeNativeEmbedding):
            message = "sparse vectors come from DashScope's own route: base_url='https://dashscope.aliyuncs.com/api/v1'"
            raise ValueError(message)
        route = DashScopeHybridEmbedding()

        def read(answer: Any, count: int) -> list[HybridVector]:
            pairs = zip(self._units(answer, count), route.parse_sparse(answer, count), strict=True)
            return [HybridVector(dense, sparse) for dense, sparse in pairs]

        return (yield self._call(route, texts, instruction, read))  # type: ignore[no-any-return]

    def _call(
        self,
        route: EmbeddingRoute,
        texts: Sequence[str],
        instruction: str | None,
        read: Callable[[Any, int], list[_T]],
    ) -> Call:
        wanted = EmbeddingInput(
            model=self._connection.known_model,
            texts=texts,
            dimensions=self.dimensions if self._asks_dimensions else None,
            instruction=None if instruction is None else plain(instruction),
            cut_at=self._options.max_length if self._options.truncation == "end" else None,
            max_length=self._options.max_length,
        )
        return Call(*route.request(self._connection.url, wanted), lambda answer: read(answer, len(texts)))

    def _units(self, answer: Any, count: int) -> list[list[float]]:
        vectors = self._route.parse(answer, count)
        if self._asks_dimensions and vectors and len(vectors[0]) != self.dimensions:
            self._connection.say_once(
                "dimensions",
                f"{self._connection.shown} ignores dimensions={self.dimensions} and gives {len(vectors[0])} numbers, "
                "which are cut and normalised here",
            )
        return [unit(vector, self.dimensions) for vector in vectors]

    def _ready(self) -> Job[bool]:
        """Learn the model's name and, the first time, whether the server can be trusted.

        Raises:
            ServerError: It cannot, or cannot be asked.
        """
        connection = self._connection
        yield from connection.name_of_model(self._route.models_url(connection.url), self._route.default_model)
        if not connection.checked:
            connection.heed((yield from self._examine()))
        return True

    def _examine(self) -> Job[list[Finding]]:
        connection = self._connection
        yield from connection.name_of_model(self._route.models_url(connection.url), self._route.default_model)
        documents = [*DOCUMENTS, CANARY]
        try:
            found: list[list[float]] = yield self._call(self._route, documents, None, self._route.parse)
            queries: list[list[float]] = []
            for query in QUERIES:
                (text,), instruction = self._query(query, DEFAULT_INSTRUCTION)
                queries += yield self._call(self._route, [text], instruction, self._route.parse)
        except AnswerError as error:
            return [Finding("answer", f"its answer to known texts cannot be used: {error}", is_fatal=True)]
        except ServerError as error:
            if not (self._asks_dimensions and NO_MATRYOSHKA.search(error.said)):
                raise
            self._asks_dimensions = False
            findings = yield from self._examine()
            return [
                Finding("dimensions", f"it refuses dimensions={self.dimensions}: its vectors are cut here"),
                *findings,
            ]
        asked = self.dimensions if self._asks_dimensions else None
        return judge_embeddings(queries, found[: len(DOCUMENTS)], server=connection.server, dimensions=asked)

    def _require_instruction(self, instruction: str) -> None:
        if self._template == "server" and not self._route.any_instruction and instruction != DEFAULT_INSTRUCTION:
            message = (
                f"server={self._connection.server!r} and template 'server' writes the model's own instruction and "
                'takes no other: pass template="client"'
            )
            raise ValueError(message)

    def __deepcopy__(self, memo: dict[int, Any]) -> RemoteEmbedder:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (_made, (self._options.without_clients(self.settings),))


def _made(settings: dict[str, Any]) -> RemoteEmbedder:
    return RemoteEmbedder(**settings)


def _template(route: EmbeddingRoute, template: Template | None) -> Template:
    if template is None:
        return route.templates[0]
    if template not in route.templates:
        message = f"template={template!r}: with server={route.server!r} it is {' or '.join(route.templates)}"
        raise ValueError(message)
    return template
