"""The network edge: a server's answers as an httpx transport and on a loopback port, cut at random places."""

import asyncio
import importlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from threading import Thread
from typing import Any

import openai

# The SDK is built on httpx up to version 2 and on its twin httpx2 from version 3.
_modules = (base.__module__.partition(".")[0] for base in openai.DefaultHttpxClient.__mro__)
httpx: Any = importlib.import_module(next(name for name in _modules if name.startswith("httpx")))


@dataclass(frozen=True)
class Request:
    """One request, whichever way it came; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        status: The HTTP status.
        headers: The headers.
        pieces: What goes over the wire, piece by piece.
        broken: Whether the connection breaks after the last piece.
        dropped: Whether the connection is closed before a status comes.
        delay: Seconds before the first byte.
        pause: Seconds between two pieces.
    """

    status: int
    headers: Mapping[str, str]
    pieces: tuple[bytes, ...]
    broken: bool = False
    dropped: bool = False
    delay: float = 0.0
    pause: float = 0.0

    def waits(self) -> Iterator[tuple[float, bytes]]:
        """Yield the pieces, each with the seconds before it."""
        for place, piece in enumerate(self.pieces):
            yield (self.pause if place else self.delay), piece


Handler = Callable[[Request], Answer]


def shred(text: str, chance: Random) -> tuple[bytes, ...]:
    """Cut a text's bytes at random places, in the middle of lines and of characters too."""
    data, pieces = text.encode(), []
    while data:
        size = chance.randint(1, 160)
        pieces.append(data[:size])
        data = data[size:]
    return tuple(pieces)


def clients(handler: Handler, library: Any = httpx) -> dict[str, Any]:
    """Return ``http_client`` and ``http_async_client`` with a server at the other end.

    Args:
        handler: The server.
        library: The package that the clients are of; by default the SDK's.
    """
    stream_of = _stream_class(library)

    def handle(request: Any) -> Any:
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = handler(Request(request.method, request.url.path, headers, request.content))
        if answer.dropped:
            message = "Server disconnected without sending a response."
            raise library.RemoteProtocolError(message)
        return library.Response(answer.status, headers=dict(answer.headers), stream=stream_of(answer))

    transport = library.MockTransport(handle)
    return {
        "http_client": library.Client(transport=transport),
        "http_async_client": library.AsyncClient(transport=transport),
    }


@cache
def _stream_class(library: Any) -> Callable[[Answer], Any]:
    class Stream(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, answer: Answer) -> None:
            self.answer = answer

        def __iter__(self) -> Iterator[bytes]:
            for seconds, piece in self.answer.waits():
                if seconds:
                    time.sleep(seconds)
                yield piece
            self._end()

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for seconds, piece in self.answer.waits():
                if seconds:
                    await asyncio.sleep(seconds)
                yield piece
            self._end()

        def _end(self) -> None:
            if self.answer.broken:
                message = "peer closed connection without sending complete message body (incomplete chunked read)"
                raise library.RemoteProtocolError(message)

    return Stream


@contextmanager
def serving(handler: Handler) -> Iterator[str]:
    """Serve on a free port of 127.0.0.1 for the length of a ``with`` block.

    Yields:
        The server's root, ``http://127.0.0.1:PORT``.
    """

    class Handling(_Handling):
        answer = staticmethod(handler)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handling)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handling(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answer: Handler = field(init=False)  # set by the subclass

    def handle(self) -> None:
        with suppress(ConnectionError):  # a client that drops an idle connection may reset it
            super().handle()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.answer(Request(self.command, self.path, headers, body))
        time.sleep(answer.delay)
        if answer.dropped:
            self.close_connection = True
            return
        try:
            self._send(answer)
        except OSError:  # the client has gone
            self.close_connection = True

    do_GET = do_POST  # noqa: N815 - http.server's name

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for place, piece in enumerate(answer.pieces):
            if place and answer.pause:
                time.sleep(answer.pause)
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            self.wfile.flush()
        if answer.broken:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""
