"""What the clients of embedding and rerank servers share: how they are reached, and what is kept between calls."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, get_args
from urllib.parse import urlsplit

from qwen3_core.chat.errors import shown_url
from qwen3_core.chat.server import server_key, server_url
from qwen3_core.remote.batching import Job, Rows, arun, batches, run
from qwen3_core.remote.check import Finding
from qwen3_core.remote.errors import AnswerError, ServerError
from qwen3_core.remote.http import Call, Http, Patience
from qwen3_core.remote.routes import Limits, rows_of
from qwen3_core.remote.texts import Ruler, Truncation, plain
from qwen3_core.thinking import DASHSCOPE, Server, dialect_of

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("qwen3_core.remote")

_T = TypeVar("_T")

_SHARED_ROWS = 16


class ServerOptions(TypedDict, total=False):
    """The arguments of `RemoteEmbedder` and `RemoteReranker` that say how a server is asked; see `Options`."""

    api_key: str | None
    default_headers: Mapping[str, str] | None
    max_length: int
    truncation: Truncation
    tokenizer: str | None
    batch_size: int | None
    batch_tokens: int | None
    max_concurrency: int
    timeout: float
    max_retries: int
    deadline: float
    check: bool
    http_client: httpx.Client | None
    http_async_client: httpx.AsyncClient | None


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a server is asked.

    Attributes:
        api_key: The server's key; DashScope's is taken from ``DASHSCOPE_API_KEY`` if none is given.
        default_headers: Headers for every request, as gateways want.
        max_length: Tokens of one text at most, of a document with its prompt when reranking; the server may take fewer.
        truncation: What happens to a longer text: "error" names it before anything is sent, "end" cuts it.
        tokenizer: A folder, file or cached hub name of the model's tokenizer, to count and cut exactly; by default that
            of the model if it is in the hub's cache. Without one, lengths are estimated.
        batch_size: Texts in a request at most; None is what DashScope takes, and 16 to 64 elsewhere, so that
            `max_concurrency` requests share the texts of a call.
        batch_tokens: Tokens in a request at most; None is 65,536, or what DashScope takes.
        max_concurrency: Requests at the same time, of one call.
        timeout: Seconds that the server may stay silent.
        max_retries: How often a request is sent again after 429, 5xx, a timeout or a broken answer.
        deadline: Seconds for a request with all its retries.
        check: Whether the first call asks for known texts and refuses a server that answers nonsense.
        http_client: A client to use instead of one made here, for proxies and certificates.
        http_async_client: The same for async calls.

    Raises:
        ValueError: A number is out of range, or ``truncation`` is none of the two.
    """

    api_key: str | None = field(default=None, repr=False)
    default_headers: Mapping[str, str] | None = field(default=None, repr=False)
    max_length: int = 8192
    truncation: Truncation = "error"
    tokenizer: str | None = None
    batch_size: int | None = None
    batch_tokens: int | None = None
    max_concurrency: int = 4
    timeout: float = 60.0
    max_retries: int = 5
    deadline: float = 300.0
    check: bool = True
    http_client: httpx.Client | None = field(default=None, repr=False)
    http_async_client: httpx.AsyncClient | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check the ranges."""
        least = {"max_length": 2, "batch_size": 1, "batch_tokens": 1, "max_concurrency": 1, "max_retries": 0}
        for name, value in least.items():
            given = getattr(self, name)
            if given is not None and given < value:
                message = f"{name}={given} is out of range: at least {value}"
                raise ValueError(message)
        if self.api_key and not (self.api_key.isascii() and self.api_key.isprintable()):
            message = "api_key has a line break or another character that no HTTP header can have"
            raise ValueError(message)
        for name in ("timeout", "deadline"):
            if not getattr(self, name) > 0:
                message = f"{name}={getattr(self, name)} is out of range: more than 0 seconds"
                raise ValueError(message)
        if self.truncation not in get_args(Truncation):
            message = f'truncation={self.truncation!r} is unknown: "error" or "end"'
            raise ValueError(message)

    def without_clients(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of a component as they can be pickled.

        Raises:
            TypeError: A client of the caller's is among them.
        """
        if self.http_client is not None or self.http_async_client is not None:
            message = "a component with an http_client of yours cannot be pickled: make it where it is used"
            raise TypeError(message)
        return dict(settings)


class Connection:
    """A server: its URL, its word, its clients, and the name of the model once it is known.

    Args:
        base_url: Its URL; None is DashScope's.
        server: Its word.
        model: The model's name; None takes the only one that the server lists, or its default.
        options: How it is asked.

    Raises:
        ValueError: The word is unknown, a URL is missing, or there is no key for DashScope.
    """

    def __init__(self, base_url: str | None, server: Server, model: str | None, options: Options) -> None:
        self.url = _url(base_url, server)
        self.server = server_word(server, self.url)
        self.options, self._known_model = options, model
        key = options.api_key or (server_key(DASHSCOPE, self.url) if self.server == "dashscope" else None)
        self.http = Http(
            key=key,
            headers=options.default_headers,
            patience=Patience(options.timeout, options.max_retries, options.deadline),
            connections=options.max_concurrency,
            http_client=options.http_client,
            http_async_client=options.http_async_client,
        )
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self.checked = not options.check

    @property
    def shown(self) -> str:
        """The URL as messages may show it."""
        return shown_url(self.url)

    @property
    def known_model(self) -> str:
        """The model's name, empty before it is known and where requests name none."""
        return self._known_model or ""

    @property
    def ruler(self) -> Ruler:
        """What counts tokens."""
        return Ruler(self.options.tokenizer, self.known_model)

    def sendable(self, text: str, limits: Limits, max_length: int, *, name: str) -> str:
        """Return a text as it may be sent.

        Args:
            text: The text.
            limits: What the server takes.
            max_length: Tokens of the text that the model has room for.
            name: What the text is called in an error.

        Raises:
            ValueError: It is too long for ``truncation="error"``, or the server takes no blank texts.
        """
        if limits.refuses and not (text if limits.refuses == "empty" else text.strip()):
            message = f"{name} is blank, and {self.server} refuses such texts: leave it out. Nothing was sent"
            raise ValueError(message)
        limit = min(max_length, limits.row_tokens or max_length)
        return self.ruler.fit(plain(text), limit, self.options.truncation, name=name, is_final=limits.cuts)

    def batches(self, texts: Sequence[str], limits: Limits, *, beside: int = 0) -> list[list[int]]:
        """Return the places of texts in batches that the server and the options allow.

        Args:
            texts: The texts.
            limits: What the server takes.
            beside: Tokens that each text costs besides, such as the query of a document.
        """
        rows, tokens = self.options.batch_size or limits.rows, self.options.batch_tokens or limits.tokens
        if limits.fixed:
            rows, tokens = min(rows, limits.rows), min(tokens, limits.tokens)
        elif self.options.batch_size is None:
            # Requests that go out at the same time share a call's texts, unless that makes them small.
            rows = min(rows, max(_SHARED_ROWS, math.ceil(len(texts) / self.options.max_concurrency)))
        costs = self.ruler.costs(texts, rows, max(tokens - rows * beside, 0))
        return batches([cost + beside for cost in costs], rows, tokens)

    def run(self, jobs: Sequence[Job[Rows[_T]]]) -> list[Rows[_T]]:
        """Run jobs in threads; see `batching.run`."""
        return run(jobs, self.http.send, at_once=self.options.max_concurrency)

    async def arun(self, jobs: Sequence[Job[Rows[_T]]]) -> list[Rows[_T]]:
        """Run jobs in this event loop; see `batching.run`."""
        return await arun(jobs, self.http.asend, at_once=self.options.max_concurrency)

    def run_one(self, job: Job[_T]) -> _T:
        """Run a job alone."""
        return run([job], self.http.send, at_once=1)[0]

    async def arun_one(self, job: Job[_T]) -> _T:
        """Run a job alone in this event loop."""
        return (await arun([job], self.http.asend, at_once=1))[0]

    def name_of_model(self, models_url: str | None, default: str | None) -> Job[str]:
        """Return the model's name, from the server where none was given.

        Args:
            models_url: Where the server lists its models; None where requests name none, or there is a default.
            default: The name to use then.

        Raises:
            ServerError: The server lists none, or several.
        """
        if self._known_model is not None:
            return self._known_model
        asked = models_url is not None and default is None
        found: str = (yield Call(models_url or "", None, _only_model)) if asked else default or ""
        self._known_model = found
        return found

    def heed(self, findings: Sequence[Finding]) -> None:
        """Take note of what a check found, which is then not made again.

        Raises:
            ServerError: Nothing that the server computes can be trusted.
        """
        where = f"{self.shown} ({self.server})"
        if fatal := [finding.text for finding in findings if finding.is_fatal]:
            message = f"{where}: {'; '.join(fatal)}. check=False skips this check"
            raise ServerError(message)
        for finding in findings:
            self.say_once(finding.about, f"{where}: {finding.text}")
        self.checked = True

    def say_once(self, about: str, message: str) -> None:
        """Log a warning, the first time that there is one about this."""
        with self._lock:
            new = about not in self._told
            self._told.add(about)
        if new:
            logger.warning("%s", message)


def server_word(server: Server, url: str) -> Server:
    """Return the word of a server that is named, or else inferred from its URL, by the rules of `dialect_of`.

    Raises:
        ValueError: The word is unknown.
    """
    if server not in get_args(Server):
        message = f"server={server!r} is unknown; known are {', '.join(get_args(Server))}"
        raise ValueError(message)
    return dialect_of("auto", url).server if server == "auto" else server


def _url(base_url: str | None, server: Server) -> str:
    if base_url is None and server not in ("auto", "dashscope"):
        message = f"server={server!r} needs a URL, such as http://127.0.0.1:8000/v1"
        raise ValueError(message)
    url = server_url(base_url)
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and parts.port != 0
    except ValueError:  # a port or an address that is none
        usable = False
    if not usable:
        message = f"a server's URL is like http://127.0.0.1:8000/v1, without a query; this one is {shown_url(url)!r}"
        raise ValueError(message)
    return url


def _only_model(answer: Any) -> str:
    names = [str(row.get("id")) for row in rows_of(answer, "data") if isinstance(row, Mapping)]
    if len(names) == 1:
        return names[0]
    listed = ", ".join(names[:10]) or "none"
    error = AnswerError(f"name the model to use, model=...: the server lists {listed}")
    error.attempts = 1
    raise error
