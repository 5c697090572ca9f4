"""Where an embedding model or a reranker runs: in this process, or on the server of a URL."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import typer

from qwen3_core import RemoteEmbedder, RemoteReranker
from qwen3_core.local import DEFAULT_EMBEDDING_MODEL, DEFAULT_RERANKER_MODEL
from qwen3_core.thinking import Server

NO_RERANKER = "none"

Embedding = Annotated[
    str,
    typer.Option(
        "--embedding", help='Embedding model: a hub name, a folder, "mini" (for trying only), or the URL of a server.'
    ),
]
EmbeddingModel = Annotated[
    str | None,
    typer.Option(
        "--embedding-model", help="The model's name on the server of --embedding URL; else the only one it lists."
    ),
]
EmbeddingKey = Annotated[
    str | None,
    typer.Option("--embedding-key", envvar="QWEN3_EMBEDDING_KEY", show_envvar=True, help="The key of that server."),
]
EmbeddingServer = Annotated[
    Server, typer.Option("--embedding-server", help="What that server is, such as vllm, tei or llama.cpp.")
]
Reranker = Annotated[
    str,
    typer.Option(
        "--reranker", help='Reranker: a hub name, a folder, "mini" (for trying only), the URL of a server, or "none".'
    ),
]
RerankerModel = Annotated[
    str | None,
    typer.Option(
        "--reranker-model", help="The model's name on the server of --reranker URL; else the only one it lists."
    ),
]
RerankerKey = Annotated[
    str | None,
    typer.Option("--reranker-key", envvar="QWEN3_RERANKER_KEY", show_envvar=True, help="The key of that server."),
]
RerankerServer = Annotated[
    Server, typer.Option("--reranker-server", help="What that server is, such as vllm or llama.cpp.")
]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What the options of one model say.

    Attributes:
        name: A hub name, a folder, "mini", or the URL of a server.
        model: What the model of a URL is called there; None takes the only one that it lists.
        key: The server's key.
        server: What the server is.

    Raises:
        ValueError: There is no URL that the others could be about.
    """

    name: str
    model: str | None = None
    key: str | None = field(default=None, repr=False)
    server: Server = "auto"
    option: ClassVar[str]

    def __post_init__(self) -> None:
        """Refuse what would have no effect; a key may come from the environment and be meant for others."""
        if not self.is_url and (self.model or self.server != "auto"):
            message = f"{self.option}-model and {self.option}-server are about the URL of {self.option} URL"
            raise ValueError(message)

    @property
    def is_url(self) -> bool:
        """Whether a server is meant."""
        return "://" in self.name

    def _arguments(self, url: str, model: str, found: str) -> dict[str, Any]:
        named = {model: found} if found else {}
        return {url: self.name, "api_key": self.key, "server": self.server, **named}


@dataclass(frozen=True, kw_only=True)
class EmbeddingOptions(ModelOptions):
    """Which embedding model."""

    name: Embedding = DEFAULT_EMBEDDING_MODEL
    model: EmbeddingModel = None
    key: EmbeddingKey = field(default=None, repr=False)
    server: EmbeddingServer = "auto"
    option: ClassVar[str] = "--embedding"

    def arguments(self, *, url: str = "base_url", model: str = "model") -> dict[str, Any]:
        """Return the arguments of a framework's embedding; a server is asked for its model if none is named.

        Args:
            url: What the framework calls a URL.
            model: What it calls a model.

        Raises:
            OSError: The server cannot be asked, or lists several models.
        """
        if not self.is_url:
            return {model: self.name}
        found = RemoteEmbedder(self.model, base_url=self.name, server=self.server, api_key=self.key).find_model()
        return self._arguments(url, model, found)


@dataclass(frozen=True, kw_only=True)
class RerankerOptions(ModelOptions):
    """Which reranker."""

    name: Reranker = DEFAULT_RERANKER_MODEL
    model: RerankerModel = None
    key: RerankerKey = field(default=None, repr=False)
    server: RerankerServer = "auto"
    option: ClassVar[str] = "--reranker"

    @property
    def reranks(self) -> bool:
        """Whether there is a second stage."""
        return self.name != NO_RERANKER

    def arguments(self, *, url: str = "base_url") -> dict[str, Any]:
        """Return the arguments of a framework's reranker; see `EmbeddingOptions.arguments`."""
        if not self.is_url:
            return {"model": self.name}
        found = RemoteReranker(self.model, base_url=self.name, server=self.server, api_key=self.key).find_model()
        return self._arguments(url, "model", found)
