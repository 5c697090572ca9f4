"""Where an embedding model or a reranker runs: in this process, or on the server of a URL."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from qwen3_core import RemoteEmbedder, RemoteReranker
from qwen3_core.thinking import Server


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What the options of one model say.

    Attributes:
        name: A hub name, a folder, "mini", or the URL of a server.
        model: What the model of a URL is called there; None takes the only one that it lists.
        key: The server's key.
        server: What the server is.
        option: The option that holds the name, for messages.

    Raises:
        ValueError: There is no URL that the others could be about.
    """

    name: str
    model: str | None = None
    key: str | None = field(default=None, repr=False)
    server: Server = "auto"
    option: str = "--embedding"

    def __post_init__(self) -> None:
        """Refuse what would have no effect; a key may come from the environment and be meant for others."""
        if not self.is_url and (self.model or self.server != "auto"):
            message = f"{self.option}-model and {self.option}-server are about the URL of {self.option} URL"
            raise ValueError(message)

    @property
    def is_url(self) -> bool:
        """Whether a server is meant."""
        return "://" in self.name

    def embedding(self, *, url: str = "base_url", model: str = "model") -> dict[str, Any]:
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

    def reranker(self, *, url: str = "base_url") -> dict[str, Any]:
        """Return the arguments of a framework's reranker; see `embedding`."""
        if not self.is_url:
            return {"model": self.name}
        found = RemoteReranker(self.model, base_url=self.name, server=self.server, api_key=self.key).find_model()
        return self._arguments(url, "model", found)

    def _arguments(self, url: str, model: str, found: str) -> dict[str, Any]:
        named = {model: found} if found else {}
        return {url: self.name, "api_key": self.key, "server": self.server, **named}
