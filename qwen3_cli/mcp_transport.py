"""How an MCP server is reached: over standard input and output, or over HTTP behind a bearer token.

Over stdio a client owns the process, and nobody else can reach it. Over HTTP anybody on the machine can, and web pages
through a browser: each request needs the token, the Host that was meant (against DNS rebinding) and no foreign Origin.
Written for mcp 2.3; its own token checks (`mcp/server/auth`) announce an OAuth server, which there is none of here.
https://modelcontextprotocol.io/specification/2025-11-25/basic/transports, "Security Warning".
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import anyio
import uvicorn
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

PATH = "/mcp"

MAX_BODY = 64 * 1024
"""Bytes of a request: the longest query in characters of 4 bytes that JSON escapes, with room for filters."""

_STOP_WITHIN = 5  # seconds for answers on their way when the server is told to stop


@contextmanager
def own_stdout() -> Iterator[TextIO]:
    """Yield the real standard output, and send what anything else writes there to standard error meanwhile.

    Over stdio one foreign line breaks the protocol, and models, drivers and their C libraries print.
    """
    sys.stdout.flush()
    wire = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(wire, "w", encoding="utf-8", newline="\n", closefd=False) as stdout:
            yield stdout
    finally:
        os.dup2(wire, 1)
        os.close(wire)


def serve_stdio(server: Server[Any], stdout: TextIO) -> None:
    """Serve one client until it closes standard input.

    Args:
        server: The server.
        stdout: Where the protocol goes; see `own_stdout`.
    """

    async def serve() -> None:
        async with stdio_server(stdout=anyio.wrap_file(stdout)) as (reading, writing):
            await server.run(reading, writing, server.create_initialization_options())

    anyio.run(serve)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Raises:
        OSError: The address is not this machine's, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        msg = f"cannot listen on {host}, port {port} ({error.strerror or error}): pass another --port or --host"
        raise OSError(msg) from error


def serve_http(server: Server[Any], listening: socket.socket, *, token: str | None, hosts: Sequence[str]) -> None:
    """Serve many clients until the process is told to stop.

    Args:
        server: The server.
        listening: The socket.
        token: What clients have to send as a bearer token; None asks for none.
        hosts: The names under which clients may ask, without a port; see `host_names`.
    """
    app = http_app(server, token=token, hosts=hosts, port=listening.getsockname()[1])
    config = uvicorn.Config(
        app,
        log_config=None,  # uvicorn's own writes requests to standard output
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_STOP_WITHIN,
        limit_concurrency=100,
    )
    uvicorn.Server(config).run(sockets=[listening])


def http_app(server: Server[Any], *, token: str | None, hosts: Sequence[str], port: int) -> ASGIApp:
    """Return the web application; see `serve_http`.

    Each request stands alone and is answered as JSON: the server starts no conversation of its own, and keeps no
    sessions that a client could fill it with.
    """
    named = [_in_url(host) for host in hosts]
    security = TransportSecuritySettings(
        allowed_hosts=[name for host in named for name in (host, f"{host}:{port}")],
        allowed_origins=[f"http://{host}:{port}" for host in named],
    )
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        json_response=True,
        stateless_http=True,
        max_request_body_size=MAX_BODY,
        transport_security=security,
    )
    return Gate(app, token)


class Gate:
    """Lets through requests that carry the token, and of these the kind that there is; the others learn nothing.

    Args:
        app: What is behind it.
        token: The token; None lets everybody in.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app, self._wanted = app, None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif not self._allows(scope):
            await Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})(scope, receive, send)
        elif scope.get("method") != "POST":
            # A GET would wait for what this server never sends, and hold a connection ("Listening for Messages from the
            # Server": 405 where there is no such stream); a DELETE would end a session, and there are none.
            await Response(status_code=405, headers={"Allow": "POST"})(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        if self._wanted is None:
            return True
        values = Headers(scope=scope).getlist("authorization")
        scheme, _, rest = (values[0] if len(values) == 1 else "").partition(" ")
        # In the time that does not depend on where they differ. The scheme's case is free (RFC 9110, 11.1).
        return hmac.compare_digest(f"{scheme.capitalize()} {rest.strip()}".encode(), self._wanted)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_names(host: str, more: Sequence[str] = ()) -> list[str]:
    """Return the names under which clients may ask for a server that listens on `host`.

    Args:
        host: An address or a name.
        more: Names that the operator gave.

    Raises:
        ValueError: It listens on all addresses, and no name was given.
    """
    if is_loopback(host):
        return ["127.0.0.1", "localhost", "::1", *more]
    if host in {"0.0.0.0", "::", ""}:  # noqa: S104 - refused unless names are given
        if not more:
            msg = f"--host {host!r} is all addresses: say by --allowed-host under which name clients ask"
            raise ValueError(msg)
        return list(more)
    return [host, *more]


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
