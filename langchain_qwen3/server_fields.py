"""The fields of embeddings and rerankers that say which server runs them, and how it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, SecretStr

from qwen3_core.choice import Arguments
from qwen3_core.remote.routes import Template
from qwen3_core.remote.texts import Truncation
from qwen3_core.thinking import Server


class ServerFields(BaseModel):
    """Without ``base_url`` and ``server`` the weights run in this process, and the other fields here are refused."""

    base_url: str | None = None
    """URL of a server, such as ``http://127.0.0.1:8000/v1``; None is local weights."""

    api_key: SecretStr | None = None
    """The server's key; DashScope's is taken from ``DASHSCOPE_API_KEY`` if none is given."""

    server: Server = "auto"
    """What the server is: "vllm", "sglang", "llama.cpp", "tei", "ollama", "lmstudio", "xinference", "openai" or
    "dashscope", which needs no URL. "auto" knows DashScope's hosts and some default ports."""

    template: Template | None = None
    """Who writes Qwen3's prompt, "client" or "server"; None is what `docs/servers.md` says of the server."""

    truncation: Truncation = "error"
    """What happens to a text of more than `max_length` tokens on its way to a server: "error", or its "end" is cut."""

    tokenizer: str | None = None
    """Folder, file or cached hub name of the model's tokenizer, to count and cut exactly; else lengths are guessed."""

    batch_size: int | None = Field(default=None, ge=1)
    """Texts in a request at most; None is 16 to 64, or what DashScope takes."""

    max_concurrency: int = Field(default=4, ge=1)
    """Requests at the same time, of one call."""

    timeout: float = Field(default=60.0, gt=0)
    """Seconds that the server may stay silent."""

    max_retries: int = Field(default=5, ge=0)
    """How often a request is sent again after 429, 5xx, a timeout or a broken answer."""

    deadline: float = Field(default=300.0, gt=0)
    """Seconds for a request with all its retries."""

    check: bool = True
    """Whether the first call asks for known texts and refuses a server that answers nonsense."""

    default_headers: Mapping[str, str] | None = Field(default=None, repr=False)
    """Headers for every request, as gateways want."""

    http_client: Any = Field(default=None, exclude=True, repr=False)
    """An ``httpx.Client`` to use, for proxies and certificates."""

    http_async_client: Any = Field(default=None, exclude=True, repr=False)
    """An ``httpx.AsyncClient`` for the async methods."""

    def _arguments(self, *, without: frozenset[str] = frozenset()) -> Arguments:
        """Return the fields for the core, the key bare."""
        fields = type(self).model_fields
        values = {name: getattr(self, name) for name in fields if name not in without}
        changed = {name for name, value in values.items() if value != fields[name].default}
        return Arguments(values | ({"api_key": self.api_key.get_secret_value()} if self.api_key else {}), changed)
