"""What a server of embeddings or scores is, and whether it computes what it should: asked, not guessed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from qwen3_core.chat.doctor import Identity, identify
from qwen3_core.remote.embedder import RemoteEmbedder
from qwen3_core.remote.errors import PassingError, ServerError
from qwen3_core.remote.http import Call, Http, Patience
from qwen3_core.remote.reranker import RemoteReranker
from qwen3_core.remote.routes import v1_of
from qwen3_core.thinking import Server, is_dashscope_url

Task = Literal["embedding", "reranker"]

_PATIENCE = Patience(timeout=10.0, max_retries=0)


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        task: What the server was asked for.
        url: Its URL.
        identity: What it is.
        asked_as: The word of the server that it was asked as.
        model: Its model; empty where it wants no name.
        findings: What is wrong and what to do, one sentence each; empty if nothing is.
    """

    task: Task
    url: str
    identity: Identity
    asked_as: Server
    model: str
    findings: tuple[str, ...]


def examine(
    task: Task, url: str, *, server: Server = "auto", model: str | None = None, api_key: str | None = None
) -> Examination:
    """Ask a server what it is, and for the known texts of its task.

    Args:
        task: What it serves.
        url: Its URL.
        server: Its word if it is known; "auto" finds out.
        model: The model to ask for; default the only one that it lists.
        api_key: Its key.

    Raises:
        ServerError: It cannot be reached or refuses.
        ValueError: The server that it is has no route for the task; the message says what to do.
    """
    identity = identify(url.rstrip("/") if is_dashscope_url(url) else v1_of(url), _getter(api_key))
    word: Any = identity.server if server == "auto" else server
    make = RemoteEmbedder if task == "embedding" else RemoteReranker
    client = make(model, base_url=url, server=word, api_key=api_key, max_retries=1)
    return Examination(task, url, identity, word, client.find_model(), tuple(client.check()))


def _getter(api_key: str | None) -> Any:
    http = Http(key=api_key, headers=None, patience=_PATIENCE, connections=1)

    def get(url: str) -> Any:
        try:
            return http.send(Call(url, None, lambda answer: answer))
        except PassingError as error:
            if error.status is None and error.__cause__ is not None and not isinstance(error.__cause__, ValueError):
                raise  # it cannot be reached
            return None
        except ServerError:  # a page that it does not have
            return None

    return get
