"""Qwen3-Embedding as LangChain `Embeddings`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.embeddings import Embeddings
from pydantic import ConfigDict, Field, PrivateAttr, model_validator
from typing_extensions import Self

from langchain_qwen3.server_fields import ServerFields
from qwen3_core.base import DType, Embedder, Quantization
from qwen3_core.choice import default_embedding_model, make_embedder
from qwen3_core.local import DEFAULT_EMBEDDING_MODEL, DEFAULT_MAX_LENGTH, MIN_DIMENSIONS, LocalEmbedder
from qwen3_core.prompts import DEFAULT_INSTRUCTION
from qwen3_core.remote import RemoteEmbedder


class Qwen3Embeddings(ServerFields, Embeddings):
    """Embed queries and documents with Qwen3-Embedding, in this process or on a server.

    ```python
    embeddings = Qwen3Embeddings(model="mini")  # or a hub name, or a folder
    embeddings = Qwen3Embeddings(base_url="http://127.0.0.1:8000/v1", server="vllm")
    embeddings.embed_query("How is data stored?")
    ```

    Vectors have unit length. Queries carry the instruction and documents don't, so the two sides of one text
    differ. The weights are loaded on first use; calls from several threads are safe. Instances do not change:
    make a changed copy with ``model_copy`` of the arguments.
    """

    # The message of a refused argument must not print the others: the key is among them.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    model: str = DEFAULT_EMBEDDING_MODEL
    """A hub name, a local folder, or "mini" (in this package, for trying and tests, not for production); with a server
    the name that it has there, "text-embedding-v4" with DashScope if none is given."""

    instruction: str = DEFAULT_INSTRUCTION
    """What the queries are for, in one English sentence."""

    dimensions: int | None = Field(default=None, ge=MIN_DIMENSIONS)
    """Length of the vectors, 32 to the model's hidden size; None is the hidden size, or the server's default."""

    max_length: int = Field(default=DEFAULT_MAX_LENGTH, ge=2)
    """Tokens of one text at most; what is longer loses its end, on a server if `truncation` says so."""

    device: str | None = None
    """A torch device; None takes CUDA, then MPS, then the CPU."""

    dtype: DType = "auto"
    """"auto" is bfloat16 where the hardware has it and float32 elsewhere and for "mini", never float16."""

    quantization: Quantization | None = None
    """"int8" rounds to 8 bits for the products of a CPU: faster, half the memory, less exact."""

    batch_tokens: int | None = Field(default=None, ge=1)
    """Tokens in one forward pass or request at most. None is 1,024 on a CPU, 16,384 elsewhere, or what a server
    takes."""

    show_progress: bool = False
    """Whether `embed_documents` shows a progress bar."""

    revision: str | None = None
    """Branch, tag or commit on the hub."""

    cache_folder: str | None = None
    """Where downloads are kept; None is the hub library's own cache."""

    _embedder: Embedder = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _name_model(cls, values: Any) -> Any:
        """Take DashScope's own model where it is the server and none is named."""
        if not isinstance(values, Mapping) or values.get("model") is not None:
            return values
        return {**values, "model": default_embedding_model(values.get("base_url"), values.get("server", "auto"))}

    def model_post_init(self, _context: Any, /) -> None:
        """Make the engine or the client; nothing is loaded and nobody is asked yet."""
        self._embedder = make_embedder(self._arguments())

    @classmethod
    def from_embedder(cls, embedder: LocalEmbedder | RemoteEmbedder) -> Self:
        """Return embeddings that use a ready engine or client, so that both frameworks can share it.

        A pickled copy is made from the engine's settings and loads weights of its own.
        """
        made = cls(**embedder.settings)
        made._embedder = embedder
        return made

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy; one without changes shares the weights."""
        made = super().model_copy(update=update, deep=deep)
        if update:
            made.model_post_init(None)
        return made

    def embed_query(self, text: str, *, instruction: str | None = None) -> list[float]:
        """Embed a search query; the Qwen3 query format is applied here.

        Args:
            text: The question as the user typed it.
            instruction: Replaces the instance's instruction for this call.

        Raises:
            ValueError: If the query is blank, or the model cannot be used (the message says why).
            OSError: If the model cannot be found or fetched, or a server fails (`qwen3_core.ServerError`).
        """
        return self._embedder.embed_query(text, instruction=instruction)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed documents as they are: one vector for each, in order.

        Raises:
            ValueError: If a text is too long for a server and `truncation` is "error".
            OSError: See `embed_query`; if a server computed some texts, the error holds their vectors
                (`qwen3_core.PartialError`).
        """
        return self._embedder.embed_documents(texts)

    async def aembed_query(self, text: str, *, instruction: str | None = None) -> list[float]:
        """Embed a search query without blocking the event loop; see `embed_query`."""
        return await self._embedder.aembed_query(text, instruction=instruction)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed documents without blocking the event loop; see `embed_documents`."""
        return await self._embedder.aembed_documents(texts)
