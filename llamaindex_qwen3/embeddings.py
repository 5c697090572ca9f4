"""Qwen3-Embedding as a LlamaIndex embedding."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr, model_validator
from llama_index.core.storage.kvstore.types import BaseKVStore
from llama_index_instrumentation.dispatcher import DISPATCHER_SPAN_DECORATED_ATTR
from typing_extensions import Self

from llamaindex_qwen3.server_fields import ServerFields, own_names
from qwen3_core.base import DType, Quantization
from qwen3_core.choice import default_embedding_model, make_embedder
from qwen3_core.local import DEFAULT_EMBEDDING_MODEL, DEFAULT_MAX_LENGTH, MIN_DIMENSIONS, LocalEmbedder
from qwen3_core.prompts import DEFAULT_INSTRUCTION
from qwen3_core.remote import RemoteEmbedder

Side = Literal["query", "document"]

_Method = TypeVar("_Method", bound=Callable[..., Any])

_ENGINE_FIELDS = {"model_name", "instruction", "dimensions", "max_length", "device", "dtype", "quantization",
                  "batch_tokens", "revision", "cache_folder"}  # fmt: skip


def _spanned_by_base(method: _Method) -> _Method:
    """Say that the base's method opens the trace span: the framework would open a second one around ours."""
    setattr(method, DISPATCHER_SPAN_DECORATED_ATTR, True)
    return method


class Qwen3Embedding(ServerFields, BaseEmbedding):
    """Embed queries and documents with Qwen3-Embedding, in this process or on a server.

    ```python
    embedding = Qwen3Embedding(model_name="mini")  # or a hub name, or a folder
    embedding = Qwen3Embedding(api_base="http://127.0.0.1:8000/v1", server="vllm")
    embedding.get_query_embedding("How is data stored?")
    ```

    Vectors have unit length. Queries carry the instruction and documents don't, so the two sides of one text
    differ, and an `embeddings_cache` keeps them apart. The weights are loaded on first use; calls from several
    threads are safe, and async calls wait for each other without holding a thread each. What decides the
    vectors does not change on an instance: `with_instruction` makes a changed copy.
    """

    # The message of a refused argument must not print the others: the key is among them.
    model_config = ConfigDict(extra="forbid", validate_assignment=True, hide_input_in_errors=True)

    model_name: str = Field(default=DEFAULT_EMBEDDING_MODEL, frozen=True)
    """A hub name, a local folder, or "mini" (in this package, for trying and tests, not for production); with a server
    the name that it has there, "text-embedding-v4" with DashScope if none is given."""

    instruction: str = Field(default=DEFAULT_INSTRUCTION, frozen=True)
    """What the queries are for, in one English sentence."""

    dimensions: int | None = Field(default=None, ge=MIN_DIMENSIONS, frozen=True)
    """Length of the vectors, 32 to the model's hidden size; None is the hidden size, or the server's default."""

    max_length: int = Field(default=DEFAULT_MAX_LENGTH, ge=2, frozen=True)
    """Tokens of one text at most; what is longer loses its end, on a server if `truncation` says so."""

    device: str | None = Field(default=None, frozen=True)
    """A torch device; None takes CUDA, then MPS, then the CPU."""

    dtype: DType = Field(default="auto", frozen=True)
    """"auto" is bfloat16 where the hardware has it and float32 elsewhere and for "mini", never float16."""

    quantization: Quantization | None = Field(default=None, frozen=True)
    """"int8" rounds to 8 bits for the products of a CPU: faster, half the memory, less exact."""

    batch_tokens: int | None = Field(default=None, ge=1, frozen=True)
    """Tokens in one forward pass or request at most; `embed_batch_size` is the framework's, in texts. None is 1,024 on
    a CPU, 16,384 elsewhere, or what a server takes."""

    revision: str | None = Field(default=None, frozen=True)
    """Branch, tag or commit on the hub."""

    cache_folder: str | None = Field(default=None, frozen=True)
    """Where downloads are kept; None is the hub library's own cache."""

    _embedder: LocalEmbedder | RemoteEmbedder = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _name_model(cls, values: Any) -> Any:
        """Take DashScope's own model where it is the server and none is named."""
        if not isinstance(values, Mapping) or values.get("model_name") is not None:
            return values
        return {**values, "model_name": default_embedding_model(values.get("api_base"), values.get("server", "auto"))}

    def model_post_init(self, _context: Any, /) -> None:
        """Make the engine or the client; nothing is loaded and nobody is asked yet."""
        self._embedder = make_embedder(self._arguments(_ENGINE_FIELDS), url_argument="api_base")

    @classmethod
    def class_name(cls) -> str:
        """Return the name that serialised forms carry."""
        return "Qwen3Embedding"

    @classmethod
    def from_embedder(cls, embedder: LocalEmbedder | RemoteEmbedder, **kwargs: Any) -> Self:
        """Return an embedding that uses a ready engine or client, so that both frameworks can share it.

        A pickled copy is made from the engine's settings and loads weights of its own.

        Args:
            embedder: The engine.
            **kwargs: The framework's own fields, such as `embed_batch_size` or `embeddings_cache`.
        """
        made = cls(**own_names(embedder.settings, cls.model_fields, model="model_name"), **kwargs)
        made._embedder = embedder
        return made

    @property
    def model(self) -> str:
        """The model's name, as the LangChain twin calls it; a collection knows its embedding by it."""
        return self.model_name

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy; it shares the weights unless what is changed is for the engine."""
        made = super().model_copy(update=update, deep=deep)
        if set(update or ()) & ({*_ENGINE_FIELDS, *ServerFields.model_fields} - {"instruction"}):
            made.model_post_init(None)
        return made

    def with_instruction(self, instruction: str) -> Self:
        """Return a copy for queries of another kind; it shares the weights and the cache.

        This is the instruction for one call, ``embedding.with_instruction("...").get_query_embedding(query)``:
        the framework's own methods have no place for it.
        """
        return self.model_copy(update={"instruction": instruction})

    @property
    def has_tokenizer(self) -> bool:
        """Whether `tokenize` can be used: always with local weights, else where the tokenizer is on this machine."""
        return isinstance(self._embedder, LocalEmbedder) or self._embedder.find_tokenizer() is not None

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of a text, for splitters and memories that count the model's own tokens.

        ``SentenceSplitter(tokenizer=embedding.tokenize)`` cuts where this model would count, not OpenAI's.

        Raises:
            ValueError: The weights are on a server and `tokenizer` names none that is on this machine.
        """
        return self._embedder.tokenize(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._embedder.embed_query(query, instruction=self.instruction)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await self._embedder.aembed_query(query, instruction=self.instruction)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._embedder.embed_documents([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._embedder.aembed_documents([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._embedder.embed_documents(texts)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await self._embedder.aembed_documents(texts)

    # The base's cache knows a vector by its raw text alone, so that a query would be answered with the vector
    # of the equal document, or of another model. The base does the work here too, but sees other keys.

    @_spanned_by_base
    def get_query_embedding(self, query: str) -> list[float]:
        """Embed a search query; the Qwen3 query format is applied here.

        Raises:
            ValueError: If the query is blank, or the model cannot be used (the message says why).
            OSError: If the model cannot be found or fetched, or a server fails (`qwen3_core.ServerError`).
        """
        return super(Qwen3Embedding, self._caching("query")).get_query_embedding(query)

    @_spanned_by_base
    async def aget_query_embedding(self, query: str) -> list[float]:
        """Embed a search query without blocking the event loop; see `get_query_embedding`."""
        return await super(Qwen3Embedding, self._caching("query")).aget_query_embedding(query)

    @_spanned_by_base
    def get_text_embedding(self, text: str) -> list[float]:
        """Embed a document as it is."""
        return super(Qwen3Embedding, self._caching("document")).get_text_embedding(text)

    @_spanned_by_base
    async def aget_text_embedding(self, text: str) -> list[float]:
        """Embed a document without blocking the event loop."""
        return await super(Qwen3Embedding, self._caching("document")).aget_text_embedding(text)

    def _get_text_embeddings_cached(self, texts: list[str]) -> list[list[float]]:
        return super(Qwen3Embedding, self._caching("document"))._get_text_embeddings_cached(texts)

    async def _aget_text_embeddings_cached(self, texts: list[str]) -> list[list[float]]:
        return await super(Qwen3Embedding, self._caching("document"))._aget_text_embeddings_cached(texts)

    def _caching(self, side: Side) -> Self:
        """Return this embedding with a view of its cache in which texts are keyed by all that decides a vector."""
        if self.embeddings_cache is None:
            return self
        space = ["qwen3", side, self.model_name, self.revision, self.dimensions, self.max_length, self.dtype,
                 self.quantization, self.instruction if side == "query" else None]  # fmt: skip
        return self.model_copy(update={"embeddings_cache": _CacheView(self.embeddings_cache, json.dumps(space))})


class _CacheView:
    """The part of a key-value store that the base embedding uses, under keys of our own."""

    def __init__(self, store: BaseKVStore, space: str) -> None:
        self._store, self._space = store, space

    def _key(self, text: str) -> str:
        """Return a key of one length: some stores limit it, and texts are long."""
        # JSON, because it ends in a quote (no text can imitate another space) and takes lone surrogates.
        return hashlib.sha256(f"{self._space}{json.dumps(text)}".encode()).hexdigest()

    def get(self, key: str, collection: str) -> dict[str, Any] | None:
        return self._store.get(self._key(key), collection=collection)

    async def aget(self, key: str, collection: str) -> dict[str, Any] | None:
        return await self._store.aget(self._key(key), collection=collection)

    def put(self, key: str, val: dict[str, Any], collection: str) -> None:
        self._store.put(self._key(key), val, collection=collection)

    async def aput(self, key: str, val: dict[str, Any], collection: str) -> None:
        await self._store.aput(self._key(key), val, collection=collection)
