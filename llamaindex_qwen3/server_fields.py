"""The fields of embeddings and rerankers that say which server runs them, and how it is asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from llama_index.core.bridge.pydantic import BaseModel, Field, SecretStr

from qwen3_core.choice import Arguments
from qwen3_core.remote.routes import Template
from qwen3_core.remote.texts import Truncation
from qwen3_core.thinking import Server

_CORE_NAMES = {"model_name": "model", "api_base": "base_url", "async_http_client": "http_async_client"}


class ServerFields(BaseModel):
    """Without ``api_base`` and ``server`` the weights run in this process, and the other fields here are refused."""

    api_base: str | None = Field(default=None, frozen=True)
    """URL of a server, such as ``http://127.0.0.1:8000/v1``; None is local weights."""

    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False, frozen=True)
    """The server's key; DashScope's is taken from ``DASHSCOPE_API_KEY`` if none is given."""

    server: Server = Field(default="auto", frozen=True)
    """What the server is: "vllm", "sglang", "llama.cpp", "tei", "ollama", "lmstudio", "xinference", "openai" or
    "dashscope", which needs no URL. "auto" knows DashScope's hosts and some default ports."""

    template: Template | None = Field(default=None, frozen=True)
    """Who writes Qwen3's prompt, "client" or "server"; None is what `docs/servers.md` says of the server."""

    truncation: Truncation = Field(default="error", frozen=True)
    """What happens to a text of more than `max_length` tokens on its way to a server: "error", or its "end" is cut."""

    tokenizer: str | None = Field(default=None, frozen=True)
    """Folder, file or cached hub name of the model's tokenizer, to count and cut exactly; else lengths are guessed."""

    batch_size: int | None = Field(default=None, ge=1, frozen=True)
    """Texts in a request at most, of those that the framework hands over together (`embed_batch_size`); None is 16 to
    64, or what DashScope takes."""

    max_concurrency: int = Field(default=4, ge=1, frozen=True)
    """Requests at the same time, of one call."""

    timeout: float = Field(default=60.0, gt=0, frozen=True)
    """Seconds that the server may stay silent."""

    max_retries: int = Field(default=5, ge=0, frozen=True)
    """How often a request is sent again after 429, 5xx, a timeout or a broken answer."""

    deadline: float = Field(default=300.0, gt=0, frozen=True)
    """Seconds for a request with all its retries."""

    check: bool = Field(default=True, frozen=True)
    """Whether the first call asks for known texts and refuses a server that answers nonsense."""

    default_headers: Mapping[str, str] | None = Field(default=None, exclude=True, repr=False, frozen=True)
    """Headers for every request, as gateways want."""

    http_client: Any = Field(default=None, exclude=True, repr=False, frozen=True)
    """An ``httpx.Client`` to use, for proxies and certificates."""

    async_http_client: Any = Field(default=None, exclude=True, repr=False, frozen=True)
    """An ``httpx.AsyncClient`` for the async methods."""

    def _arguments(self, engine_fields: Collection[str]) -> Arguments:
        """Return the fields for the core, under its names and the key bare."""
        fields = type(self).model_fields
        values = {name: getattr(self, name) for name in (*engine_fields, *ServerFields.model_fields)}
        changed = {_CORE_NAMES.get(name, name) for name, value in values.items() if value != fields[name].default}
        values |= {"api_key": self.api_key.get_secret_value()} if self.api_key else {}
        return Arguments({_CORE_NAMES.get(name, name): value for name, value in values.items()}, changed)


def own_names(settings: Mapping[str, Any], fields: Collection[str], *, model: str = "model") -> dict[str, Any]:
    """Return the settings of the core's class as arguments of a component.

    Args:
        settings: Those of an embedder or a reranker.
        fields: The component's fields; it has not all of them.
        model: What it calls its model.
    """
    names = {core: own for own, core in _CORE_NAMES.items()} | {"model": model}
    named = {names.get(name, name): value for name, value in settings.items()}
    return {name: value for name, value in named.items() if name in fields}
