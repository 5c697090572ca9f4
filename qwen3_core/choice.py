"""Local weights or a server: which of the two the arguments of an adapter's component say.

The components of both frameworks are one class for either. What only the other side has is refused, since it would have
no effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from qwen3_core.chat.server import server_url
from qwen3_core.local import DEFAULT_EMBEDDING_MODEL, DEFAULT_RERANKER_MODEL, LocalEmbedder, LocalReranker
from qwen3_core.remote import RemoteEmbedder, RemoteReranker
from qwen3_core.remote.connection import server_word
from qwen3_core.remote.embedding import DashScopeEmbedding
from qwen3_core.remote.reranking import DashScopeRerank
from qwen3_core.thinking import Server

_EITHER = {"model", "instruction", "dimensions", "max_length", "batch_tokens"}
_LOCAL_ONLY = {"device", "dtype", "quantization", "show_progress", "revision", "cache_folder"}


class Arguments(NamedTuple):
    """The arguments of a component, under the names of the core.

    Attributes:
        values: All of them.
        changed: The names of those that are not the component's defaults.
    """

    values: Mapping[str, Any]
    changed: Set[str]


def is_remote(base_url: str | None, server: Server = "auto") -> bool:
    """Tell whether a server is meant: one with a URL, or DashScope, which needs none."""
    return base_url is not None or server != "auto"


def default_embedding_model(base_url: str | None, server: Server = "auto") -> str:
    """Return the embedding model that is used where none is named: the hub's name, or DashScope's own."""
    return DashScopeEmbedding.default_model if _is_dashscope(base_url, server) else DEFAULT_EMBEDDING_MODEL


def default_reranker_model(base_url: str | None, server: Server = "auto") -> str:
    """Return the reranker that is used where none is named: the hub's name, or DashScope's own."""
    return DashScopeRerank.default_model if _is_dashscope(base_url, server) else DEFAULT_RERANKER_MODEL


def make_embedder(arguments: Arguments, *, url_argument: str = "base_url") -> LocalEmbedder | RemoteEmbedder:
    """Return a `RemoteEmbedder` if the arguments name a server, else a `LocalEmbedder`.

    Args:
        arguments: Those of the component.
        url_argument: What the component calls its URL, for messages.

    Raises:
        ValueError: One that was given has no meaning for what is made, or is out of range.
    """
    remote, own = _for_either(arguments, url_argument)
    return RemoteEmbedder(**own) if remote else LocalEmbedder(**own)


def make_reranker(arguments: Arguments, *, url_argument: str = "base_url") -> LocalReranker | RemoteReranker:
    """Return a `RemoteReranker` if the arguments name a server, else a `LocalReranker`; see `make_embedder`."""
    remote, own = _for_either(arguments, url_argument)
    return RemoteReranker(**own) if remote else LocalReranker(**own)


def _for_either(arguments: Arguments, url_argument: str) -> tuple[bool, dict[str, Any]]:
    """Tell whether a server is meant, and return what it or local weights take; refuse what was given besides."""
    values = arguments.values
    remote = is_remote(values["base_url"], values["server"])
    own = {name for name in values if (name not in _LOCAL_ONLY if remote else name in _EITHER | _LOCAL_ONLY)}
    if not (foreign := sorted(arguments.changed - own)):
        return remote, {name: values[name] for name in own}
    named = ", ".join(foreign)
    if remote:
        message = f"{named}: for local weights only, and the server of {url_argument} has its own"
    else:
        message = f"{named}: for servers only; pass {url_argument} as well, such as http://127.0.0.1:8000/v1"
    raise ValueError(message)


def _is_dashscope(base_url: str | None, server: Server) -> bool:
    return is_remote(base_url, server) and server_word(server, server_url(base_url)) == "dashscope"
