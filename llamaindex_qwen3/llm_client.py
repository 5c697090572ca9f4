"""The openai SDK's clients as `Qwen3` uses them: made on first use, and good in any event loop."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import openai

from qwen3_core.chat.errors import shown_url
from qwen3_core.chat.server import prepare_client


@dataclass(frozen=True)
class Connection:
    """What a client is made from; two that are equal can share their clients."""

    url: str
    key: str
    timeout: float | None
    max_retries: int
    headers: Mapping[str, str] | None
    http_client: Any
    async_http_client: Any

    def __repr__(self) -> str:
        return f"Connection(url={shown_url(self.url)!r})"  # without the key and the headers


class Clients:
    """The two clients of one connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @functools.cached_property
    def blocking(self) -> openai.OpenAI:
        """The client of the synchronous methods."""
        client = openai.OpenAI(http_client=self.connection.http_client, **self._arguments())
        prepare_client(client, self.connection.timeout, self.connection.headers)
        return client

    @functools.cached_property
    def asynchronous(self) -> openai.AsyncOpenAI:
        """The client of the asynchronous methods, for every event loop."""
        connection = self.connection
        client = openai.AsyncOpenAI(http_client=connection.async_http_client or _loop_free(), **self._arguments())
        prepare_client(client, connection.timeout, connection.headers)
        return client

    def _arguments(self) -> dict[str, Any]:
        connection = self.connection
        return {
            "base_url": connection.url,
            "api_key": connection.key,
            "timeout": connection.timeout,
            "max_retries": connection.max_retries,
            "default_headers": connection.headers,
        }


def _loop_free() -> Any:
    """Return an HTTP client that keeps no connection open.

    An idle connection belongs to the loop that opened it: after `asyncio.run` the next one fails with "Event loop is
    closed". A new connection costs a handshake, which is nothing beside an answer.
    """
    limits = openai.DEFAULT_CONNECTION_LIMITS
    # The class of the limits is httpx's for version 2 of the SDK, and httpx2's from version 3.
    none_kept = type(limits)(max_connections=limits.max_connections, max_keepalive_connections=0)
    return openai.DefaultAsyncHttpxClient(limits=none_kept)
