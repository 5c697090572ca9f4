"""`RemoteEmbedder`: Qwen3-Embedding on a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from qwen3_core.base import Embedder, require_texts
from qwen3_core.local import MIN_DIMENSIONS
from qwen3_core.prompts import DEFAULT_INSTRUCTION
from qwen3_core.remote.batching import Job
from qwen3_core.remote.check import Finding
from qwen3_core.remote.client import RemoteClient
from qwen3_core.remote.connection import Connection, Options
from qwen3_core.remote.embedding_requests import Ask, EmbeddingRequests, HybridVector
from qwen3_core.remote.plan import Kept, Plan
from qwen3_core.remote.routes import Template
from qwen3_core.thinking import Server
from qwen3_core.token_count import find_tokenizer, tokenizer_function

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from typing_extensions import Unpack

    from qwen3_core.remote.connection import ServerOptions

_T = TypeVar("_T")


class RemoteEmbedder(RemoteClient, Embedder):
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
        self._requests = EmbeddingRequests(self._connection, template, dimensions)
        self._kept: Kept[Any] = Kept()
        self.model, self.base_url, self.server = model, base_url, server
        self.template, self.dimensions = template, dimensions
        self._requests.require_instruction(instruction)

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

    def embed_batch(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed texts as given; see `Embedder.embed_batch`.

        Raises:
            ValueError: A text is longer than `max_length` allows, or is blank and the server takes none; nothing was
                sent.
            PartialError: Some texts could not be computed.
            ServerError: The server cannot be reached, refuses, or answers nonsense.
        """
        return self._run(texts, None, self._requests.dense)

    def embed_query(self, text: str, *, instruction: str | None = None) -> list[float]:
        """Embed a search query; see `Embedder.embed_query` and `embed_batch`."""
        return self._run(*self._query(text, instruction), self._requests.dense)[0]

    async def aembed_query(self, text: str, *, instruction: str | None = None) -> list[float]:
        """Embed a query in this event loop; see `embed_query`."""
        return (await self._arun(*self._query(text, instruction), self._requests.dense))[0]

    async def aembed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed documents in this event loop; see `embed_documents`."""
        return await self._arun(require_texts(texts), None, self._requests.dense)

    def embed_hybrid_query(self, text: str, *, instruction: str | None = None) -> HybridVector:
        """Embed a query as a dense and a sparse vector; see `embed_hybrid_documents`."""
        self._requests.require_hybrid()
        return self._run(*self._query(text, instruction), self._requests.hybrid)[0]

    def embed_hybrid_documents(self, texts: Sequence[str]) -> list[HybridVector]:
        """Embed documents as dense and sparse vectors, which DashScope's own route gives (``dense&sparse``).

        Raises:
            ValueError: The server is another; or see `embed_batch`.
            ServerError: See `embed_batch`.
        """
        self._requests.require_hybrid()
        return self._run(require_texts(texts), None, self._requests.hybrid)

    async def aembed_hybrid_query(self, text: str, *, instruction: str | None = None) -> HybridVector:
        """Embed a query in this event loop; see `embed_hybrid_query`."""
        self._requests.require_hybrid()
        return (await self._arun(*self._query(text, instruction), self._requests.hybrid))[0]

    async def aembed_hybrid_documents(self, texts: Sequence[str]) -> list[HybridVector]:
        """Embed documents in this event loop; see `embed_hybrid_documents`."""
        self._requests.require_hybrid()
        return await self._arun(require_texts(texts), None, self._requests.hybrid)

    def _run(self, texts: Sequence[str], instruction: str | None, ask: Ask[_T]) -> list[_T]:
        if not texts:
            return []
        self._connection.run_one(self._ready())
        plan = self._plan(texts, instruction, ask)
        return self._kept.settle(plan, self._connection.run(plan.jobs), what="text")

    async def _arun(self, texts: Sequence[str], instruction: str | None, ask: Ask[_T]) -> list[_T]:
        if not texts:
            return []
        await self._connection.arun_one(self._ready())
        plan = self._plan(texts, instruction, ask)
        return self._kept.settle(plan, await self._connection.arun(plan.jobs), what="text")

    def _query(self, text: str, instruction: str | None) -> tuple[list[str], str | None]:
        return self._requests.query(text, self.instruction if instruction is None else instruction)

    def _plan(self, texts: Sequence[str], instruction: str | None, ask: Ask[_T]) -> Plan[_T]:
        known: dict[str, _T] = self._kept.known((ask.__name__, instruction), texts)
        return self._requests.plan(texts, instruction, ask, known)

    def _model_name(self) -> Job[str]:
        return self._requests.model_name()

    def _examine(self) -> Job[list[Finding]]:
        return self._requests.examine()
