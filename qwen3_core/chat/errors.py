"""Errors of chat servers raised again with what to do about them.

The openai SDK is imported inside the functions that touch it; importing this module needs nothing installed.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from qwen3_core.chat.error_hints import hint_for

_SHOWN = 500  # characters of what came, in messages: enough to recognise it
_NOT_CONNECTED = ("ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol")  # of httpx, and of httpx2


@contextmanager
def explained(url: str | None, *, url_argument: str = "base_url") -> Iterator[None]:
    """Raise a failed request again as the same class, with what to do.

    Class, status, response, body and code stay as the SDK has them; only what the error says is longer.

    Args:
        url: The server's URL.
        url_argument: What the caller's class calls its URL.
    """
    import openai

    try:
        yield
    except openai.APIConnectionError as error:
        if error.body is not None:  # `broken_stream` has explained it
            raise
        raise _again(error, _unreachable(error, url, url_argument)) from error
    except openai.APIError as error:
        said = _said(error)
        hint = hint_for(said, getattr(error, "status_code", None), url_argument=url_argument)
        if not hint and said == error.message:
            raise
        raise _again(error, f"{said} -- {hint}" if hint else said) from error


def broken_stream(url: str | None, *, reasoning: str, content: str, cause: BaseException | None = None) -> Exception:
    """Return the error for a stream that ended before the model had.

    Args:
        url: The server's URL.
        reasoning: The reasoning that arrived.
        content: The answer as far as it arrived.
        cause: What the connection said, if anything.

    Returns:
        An `openai.APIConnectionError` whose ``body`` holds all that arrived; an `openai.APITimeoutError` if the
        server fell silent.
    """
    import openai

    why = f" ({_root(cause)})" if cause else ""
    text = (
        f"The stream of the chat server at {shown_url(url)} broke off before the model had finished{why}. Until then "
        f"came {len(reasoning)} characters of reasoning and {len(content)} of the answer"
        f"{_tail(content or reasoning)}. All of it is in this error's body. Ask again."
    )
    silent = isinstance(cause, openai.APITimeoutError) or _has_base(cause, "TimeoutException")
    request = cause.request if isinstance(cause, openai.APIError) else getattr(cause, "_request", None)
    kind = openai.APITimeoutError if silent else openai.APIConnectionError
    error = _again(kind(request=request), text)  # type: ignore[arg-type]
    error.body = {"reasoning_content": reasoning, "content": content}  # type: ignore[attr-defined]
    error.__cause__ = cause
    return error


@contextmanager
def whole_stream(url: str | None, reader: Any) -> Iterator[None]:
    """Turn what a connection raises while a stream is read into `broken_stream`.

    Args:
        url: The server's URL.
        reader: Has the ``reasoning`` and ``answer`` that came so far and knows whether the stream is ``finished``.

    Raises:
        openai.APIConnectionError: The connection broke, or the stream ended without a reason to finish. Where
            nothing had come yet the SDK's own goes on, for `explained`.
    """
    try:
        yield
    except Exception as error:
        if not _broke(error, begun=bool(reader.reasoning or reader.answer)):
            raise
        raise broken_stream(url, reasoning=reader.reasoning, content=reader.answer, cause=error) from error
    if not reader.finished:
        raise broken_stream(url, reasoning=reader.reasoning, content=reader.answer)


def shown_url(url: str | None) -> str:
    """Return a URL as messages may show it: without user, password and query, where keys may be."""
    try:
        parts = urlsplit(url or "")
    except ValueError:
        return "a URL that is none"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _broke(error: BaseException, *, begun: bool) -> bool:
    """Tell whether an error says that a stream broke.

    Version 2 of the SDK lets what its HTTP library raises while a stream is read pass. Later ones wrap it, as all do
    with what comes before the stream, so an error of the SDK's own is about a stream only if one has begun.
    """
    import openai

    if isinstance(error, openai.APIConnectionError):
        return begun and error.body is None
    # An error that `transformers serve` sends inside a stream is no JSON if there are quotes in it.
    unread = isinstance(error, json.JSONDecodeError) and error.doc.startswith('{"error"')
    return unread or _has_base(error, "TransportError")


def _has_base(error: BaseException | None, name: str) -> bool:
    """Tell httpx's errors, or httpx2's with version 3 of the SDK, by a base that both name alike."""
    return any(base.__name__ == name for base in type(error).__mro__)


def _unreachable(error: Any, url: str | None, url_argument: str) -> str:
    import openai

    # langchain-openai puts an error of its own around the SDK's.
    if any(type(cause).__name__ in _NOT_CONNECTED for cause in _causes(error)):
        what = "cannot be reached"
        hint = (
            "Start it, for example with `llama-server -m model.gguf --jinja` or `vllm serve Qwen/Qwen3-8B`, or correct "
            f"{url_argument}: it ends in /v1, and without one DashScope is used."
        )
    elif isinstance(error, openai.APITimeoutError):
        what = "did not answer in time"
        hint = "It may be busy or loading its model; a stream answers sooner, and timeout= sets how long to wait."
    else:
        what = "closed the connection before it had answered"
        hint = "Ask again, as max_retries does; its log may say why."
    return f"The chat server at {shown_url(url)} {what} ({_root(error)}). {hint}"


def _said(error: Any) -> str:
    """Return what the server said.

    The SDK shows a body's ``message`` alone. LM Studio and streams of ``transformers serve`` send a mere text,
    FastAPI (``transformers serve``, Xinference) a ``detail``, proxies a page.
    """
    body = error.body
    words = (body.get("message") or body.get("detail") or body) if isinstance(body, Mapping) else body
    text = words if isinstance(words, str) else json.dumps(words, ensure_ascii=False, default=str) if words else ""
    return str(error.message) if text in error.message else f"{error.message} - {text[:_SHOWN]}"


def _again(error: Any, text: str) -> Exception:
    """Return a copy of an error that says ``text``. Not made by its class, which may want other arguments."""
    again: Any = BaseException.__new__(type(error))
    again.__dict__.update(error.__dict__)
    again.message, again.args = text, (text,)
    return again  # type: ignore[no-any-return]


def _tail(text: str) -> str:
    return f", ending {text[-_SHOWN:]!r}" if text else ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    while error.__cause__ is not None:
        error = error.__cause__
        yield error


def _root(error: BaseException) -> str:
    """Return what the first cause says, which is what came from the socket, if anything did."""
    *_, first = error, *_causes(error)
    if isinstance(first, json.JSONDecodeError):
        return first.doc[:_SHOWN]
    return str(first) or type(first).__name__
