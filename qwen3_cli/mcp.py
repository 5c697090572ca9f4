"""`qwen3-rag mcp`: an indexed collection for Qwen-Agent, Qwen Code and other hosts of the Model Context Protocol."""

from __future__ import annotations

import logging
import re
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape

from qwen3_cli.console import framework_of, reported
from qwen3_cli.groups import grouped
from qwen3_cli.options import AnswerOptions, ResearchOptions, Stages, StoreOptions

DEFAULT_PORT = 8808

_Opening = tuple[StoreOptions, Stages, AnswerOptions, ResearchOptions]
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,512}")  # RFC 6750, 2.1, and long enough not to be guessed

Transport = Annotated[
    Literal["stdio", "http"], typer.Option(help="stdio for a host that starts this command, http for several hosts.")
]
Host = Annotated[
    str, typer.Option("--host", help="Where http listens; elsewhere than on this machine with a token of yours.")
]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="The port of http; 0 takes a free one.")]
HttpToken = Annotated[
    str | None,
    typer.Option(
        "--http-token",
        envvar="QWEN3_MCP_TOKEN",
        show_envvar=True,
        help="What clients of http send as a bearer token; else made up.",
    ),
]
NoToken = Annotated[bool, typer.Option("--no-http-token", help="Let in every program of this machine.")]
AllowedHost = Annotated[
    list[str] | None,
    typer.Option(
        "--allowed-host", help="A name under which clients may ask for http, besides --host; can be repeated."
    ),
]


@dataclass(frozen=True, kw_only=True)
class HttpOptions:
    """Who may reach the server over HTTP.

    Raises:
        ValueError: The token is too weak, or others could reach a server that asks for none.
    """

    host: Host = "127.0.0.1"
    port: Port = DEFAULT_PORT
    token: HttpToken = field(default=None, repr=False)
    open: NoToken = False
    names: AllowedHost = None

    def check(self) -> None:
        """Refuse what would let in anybody."""
        from qwen3_cli.mcp_transport import host_names, is_loopback

        if self.token is not None and not _TOKEN.fullmatch(self.token):
            msg = (
                "QWEN3_MCP_TOKEN is not fit: take 16 to 512 letters, digits and ._~+/=-, such as `openssl rand -hex 32`"
            )
            raise ValueError(msg)
        if not is_loopback(self.host) and (self.open or self.token is None):
            msg = f"--host {self.host} can be reached from elsewhere: set a token of yours in QWEN3_MCP_TOKEN"
            raise ValueError(msg)
        host_names(self.host, self.names or [])


@grouped
def mcp(
    *,
    transport: Transport = "stdio",
    http: HttpOptions,
    store: StoreOptions,
    stages: Stages,
    chat: AnswerOptions,
    research: ResearchOptions,
) -> None:
    """Serve the documents to MCP hosts, such as Qwen-Agent and Qwen Code: tools that search and answer, and resources.

    Clients choose a query, a number and values to filter by; collection, tenant, models and the limits
    of a research are chosen here. Without --chat and without DASHSCOPE_API_KEY there is the search tool alone.
    """
    with reported() as console, _stoppable():
        _require_mcp()
        opening = store, stages, chat, research
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s: %(message)s")
        if transport == "http":
            _serve_http(opening, http, console)
        else:
            _serve_stdio(opening, console)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Take a signal to end for Ctrl-C, and both for no error, so that the collection is closed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def _serve_stdio(opening: _Opening, console: Console) -> None:
    from qwen3_cli.mcp_server import build_server
    from qwen3_cli.mcp_transport import own_stdout, serve_stdio

    with own_stdout() as stdout, _library(opening, console) as opened:
        serve_stdio(build_server(opened), stdout)


def _serve_http(opening: _Opening, http: HttpOptions, console: Console) -> None:
    from qwen3_cli.mcp_server import build_server
    from qwen3_cli.mcp_transport import PATH, host_names, listen, serve_http

    http.check()
    with listen(http.host, http.port) as listening, _library(opening, console) as opened:
        token = None if http.open else http.token or secrets.token_urlsafe(32)
        shown = f"[{http.host}]" if ":" in http.host else http.host
        _say(console, f"MCP server at http://{shown}:{listening.getsockname()[1]}{PATH}")
        if token is not None and http.token is None:
            _say(console, f"Clients send: Authorization: Bearer {token}")
        serve_http(build_server(opened), listening, token=token, hosts=host_names(http.host, http.names or []))


def _library(opening: _Opening, console: Console) -> Any:
    framework_of("langchain")  # says what to install
    with_library = framework_of("langchain_library")
    chat = opening[2]
    opened = with_library.open_library(*opening)
    if not with_library.has_chat(chat):
        _say(
            console, "There is no chat model, so clients can search and not ask: pass --chat, or set DASHSCOPE_API_KEY."
        )
    return opened


def _say(console: Console, line: str) -> None:
    console.print(escape(line), soft_wrap=True, highlight=False)


def _require_mcp() -> None:
    try:
        import mcp.server  # noqa: F401
    except ModuleNotFoundError as error:
        msg = 'this needs the MCP SDK: pip install "qwen3-rag[mcp,local]"'
        raise ImportError(msg) from error
