"""One pooled HTTP client for each server: retries, deadlines, and a client of its own for each event loop.

httpx and tenacity are imported by the first request, so that importing the package stays cheap.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import math
import random
import threading
import time
import weakref
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from qwen3_core.chat.errors import shown_url
from qwen3_core.remote.errors import AnswerError, PassingError, ServerError, refusal

if TYPE_CHECKING:
    import ssl

    import httpx
    from tenacity import RetryCallState

_FIRST_WAIT = 0.5  # seconds, doubled from try to try
_LONGEST_WAIT = 30.0
_CONNECT_SECONDS = 10.0  # a host that does not answer should not hold a caller for the whole timeout
_LEAST_SECONDS = 0.1
_SHOWN = 200  # bytes of an answer that is no JSON
_SECRET_LENGTH = 8  # "x" and "EMPTY" are said to servers that want no key
_CONNECT_ATTEMPTS = 3  # a server that is not there will not be there in a minute either


@dataclass(frozen=True)
class Call:
    """One request, and what reads its answer.

    Attributes:
        url: Where it goes.
        body: What it says; None asks with GET.
        parse: Turns the answer's JSON into what is wanted, or raises `AnswerError`, after which it is asked again.
        once: Whether one try is enough, since nothing depends on the answer.
    """

    url: str
    body: Mapping[str, Any] | None
    parse: Callable[[Any], Any]
    once: bool = False

    @property
    def method(self) -> Literal["GET", "POST"]:
        """The HTTP method."""
        return "GET" if self.body is None else "POST"


@dataclass(frozen=True)
class Patience:
    """How long to wait, and how often to ask.

    Attributes:
        timeout: Seconds that a server may stay silent.
        max_retries: How often a request is sent again.
        deadline: Seconds for a request with all its retries.
    """

    timeout: float = 60.0
    max_retries: int = 5
    deadline: float = 300.0


class Http:
    """Sends calls. Safe to share between threads and event loops; a copy shares the connections.

    Args:
        key: Sent as a bearer token; it never shows in an error.
        headers: More headers.
        patience: How long to wait.
        connections: How many are kept open.
        http_client: A client to use for sync calls instead of one made here; it is the caller's to close.
        http_async_client: The same for async calls, in whichever event loop they are made.
    """

    def __init__(
        self,
        *,
        key: str | None,
        headers: Mapping[str, str] | None,
        patience: Patience,
        connections: int,
        http_client: httpx.Client | None = None,
        http_async_client: httpx.AsyncClient | None = None,
    ) -> None:
        self._patience, self._connections = patience, connections
        self._secret = key if key and len(key) >= _SECRET_LENGTH else ""
        self._headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **(headers or {})}
        self._lock = threading.Lock()
        self._client, self._async_client = http_client, http_async_client
        self._ssl: ssl.SSLContext | None = None
        self._of_loop: dict[asyncio.AbstractEventLoop, tuple[httpx.AsyncClient, AsyncGenerator[None]]] = {}

    def send(self, call: Call) -> Any:
        """Send a call, again if that may help, and return what its `Call.parse` makes of the answer.

        Raises:
            ServerError: The server cannot be reached, refused, or its answer cannot be used.
        """
        from tenacity import Retrying

        end = time.monotonic() + self._patience.deadline
        return Retrying(**self._retrying(), sleep=time.sleep)(self._send_once, call, end)

    async def asend(self, call: Call) -> Any:
        """Send a call without blocking the event loop; see `send`."""
        from tenacity import AsyncRetrying

        end = time.monotonic() + self._patience.deadline
        return await AsyncRetrying(**self._retrying(), sleep=asyncio.sleep)(self._asend_once, call, end)

    def _send_once(self, call: Call, end: float) -> Any:
        import httpx

        try:
            response = self._blocking().request(call.method, call.url, **self._arguments(call, end))
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _unanswered(error, call) from error
        return self._read(call, response)

    async def _asend_once(self, call: Call, end: float) -> Any:
        import httpx

        try:
            client = await self._asynchronous()
            response = await client.request(call.method, call.url, **self._arguments(call, end))
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _unanswered(error, call) from error
        return self._read(call, response)

    def _arguments(self, call: Call, end: float) -> dict[str, Any]:
        import httpx

        seconds = max(min(self._patience.timeout, end - time.monotonic()), _LEAST_SECONDS)
        timeout = httpx.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS))
        body = {} if call.body is None else {"json": call.body}
        return {"headers": self._headers, "timeout": timeout, **body}

    def _read(self, call: Call, response: httpx.Response) -> Any:
        """Read an answer; where it is an error that repeats the key, read it again without."""
        secret = self._secret.encode()
        try:
            return _parsed(call, response, response.content)
        except ServerError:
            if not secret or secret not in response.content:
                raise
        _parsed(call, response, response.content.replace(secret, b"***"))
        message = f"{shown_url(call.url)} repeats the key in an answer that cannot be used"
        raise ServerError(message, status=response.status_code)

    def _blocking(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                import httpx

                self._client = httpx.Client(limits=self._limits(), verify=self._certificates())
                weakref.finalize(self, self._client.close)
            return self._client

    async def _asynchronous(self) -> httpx.AsyncClient:
        """Return the running loop's own client: a connection belongs to the loop that opened it."""
        if self._async_client is not None:
            return self._async_client
        loop = asyncio.get_running_loop()
        with self._lock:
            if loop in self._of_loop:
                return self._of_loop[loop][0]
            for ended in [other for other in self._of_loop if other.is_closed()]:
                del self._of_loop[ended]
            import httpx

            client = httpx.AsyncClient(limits=self._limits(), verify=self._certificates())
            keeper = _until_the_loop_ends(client)
            self._of_loop[loop] = client, keeper
        await anext(keeper)
        return client

    def _certificates(self) -> ssl.SSLContext:
        """Return what a client checks certificates with; making it takes longer than a request, so all share one."""
        if self._ssl is None:
            import httpx

            self._ssl = httpx.create_ssl_context()
        return self._ssl

    def _limits(self) -> httpx.Limits:
        import httpx

        return httpx.Limits(max_connections=None, max_keepalive_connections=self._connections)

    def _retrying(self) -> dict[str, Any]:
        from tenacity import retry_if_exception_type

        return {
            "retry": retry_if_exception_type(PassingError),
            "wait": _wait,
            "stop": _Stop(self._patience),
            "reraise": True,
        }

    def __deepcopy__(self, memo: dict[int, Any]) -> Http:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        message = "connections cannot be pickled: what holds them is made again from its settings"
        raise TypeError(message)


async def _until_the_loop_ends(client: httpx.AsyncClient) -> AsyncGenerator[None]:
    """Close a client when its event loop ends: a loop closes the generators that were begun in it."""
    try:
        while True:
            yield
    finally:
        await client.aclose()


class _Stop:
    """Tells of one call when it has been sent often enough; each kind of failure has a number of its own."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._seen: Counter[int] = Counter()

    def __call__(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        most = error.attempts if isinstance(error, PassingError) else None
        if most is not None:
            self._seen[most] += 1
            if self._seen[most] >= most:
                return True
        late = (state.seconds_since_start or 0.0) + state.upcoming_sleep > self._patience.deadline
        return late or state.args[0].once or state.attempt_number > self._patience.max_retries


def _parsed(call: Call, response: httpx.Response, content: bytes) -> Any:
    where = shown_url(call.url)
    if response.is_success:
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError) as error:
            message = f"{where} answered with what is no JSON: {content[:_SHOWN].decode(errors='replace')!r}"
            raise AnswerError(message) from error
        if not (isinstance(answer, Mapping) and set(answer) == {"error"}):
            return call.parse(answer)
        # LM Studio, of a route that it does not have
    wait = _seconds(response.headers.get("retry-after"))
    raise refusal(response.status_code, content, shown_url=where, retry_after=wait)


def _unanswered(error: Exception, call: Call) -> PassingError:
    import httpx

    where, reason = shown_url(call.url), str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        message = f"{where} cannot be reached ({reason}): start the server, or correct its URL"
    elif isinstance(error, httpx.TimeoutException):
        message = f"{where} did not answer in time ({reason}): it may be busy; raise timeout, or lower batch_size"
    else:
        message = f"{where} broke off before it had answered ({reason}); its log may say why"
    passing = PassingError(message)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        passing.attempts = _CONNECT_ATTEMPTS
    return passing


def _wait(state: RetryCallState) -> float:
    """Return the seconds to wait: what the server asks for, else twice as long each time, with jitter."""
    error = state.outcome.exception() if state.outcome else None
    jitter: float = random.uniform(0.5, 1.0)  # noqa: S311 - spreads callers, guards nothing
    if isinstance(error, AnswerError):
        return 0.0
    if isinstance(error, PassingError) and error.retry_after is not None:
        return error.retry_after + jitter - 0.5
    return min(_FIRST_WAIT * 2.0 ** (state.attempt_number - 1), _LONGEST_WAIT) * jitter


def _seconds(retry_after: str | None) -> float | None:
    """Read a ``Retry-After`` header: seconds, or a date (RFC 9110, 10.2.3)."""
    if not retry_after:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        seconds = math.nan
    if math.isfinite(seconds):
        return max(0.0, seconds)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):  # the second for years that no calendar has
        return None
