"""What every client of a chat server needs, whatever framework it is for: where to go, the key, errors that explain.

The openai SDK is imported inside the functions that touch it; importing this module needs nothing installed.
"""

import difflib
import logging
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from qwen3_core.thinking import (
    DASHSCOPE,
    Dialect,
    fit_tool_choice,
    is_constrained,
    merge_bodies,
    read_switch,
    settle_body,
    write_thinking,
)

DASHSCOPE_BEIJING = "https://dashscope.aliyuncs.com/compatible-mode/v1"
"""Where a chat model goes without a URL; keys are per region, Singapore is ``dashscope-intl``."""

THINKING_FIELDS = ("enable_thinking", "thinking_budget")
"""The arguments of a chat model that are written where the server's dialect wants them."""

_NO_KEY = "not-needed"  # the SDK wants a key even for servers that ask for none
_CONNECT_SECONDS = 10.0  # a host that does not answer should not hold a caller for the whole request timeout


def server_url(url: str | None) -> str:
    """Return the URL to use: the one given, else ``DASHSCOPE_API_BASE``, else DashScope's Beijing endpoint."""
    return url or os.environ.get("DASHSCOPE_API_BASE") or DASHSCOPE_BEIJING


def server_key(dialect: Dialect, url: str, *, url_argument: str = "base_url") -> str:
    """Return the key for a server that none was given for.

    Args:
        dialect: The server's dialect. Only DashScope gets the key of the environment.
        url: The server's URL, for the message.
        url_argument: What the caller's class calls its URL, for the message.

    Raises:
        ValueError: The server is DashScope and ``DASHSCOPE_API_KEY`` is not set.
    """
    if dialect is not DASHSCOPE:
        return _NO_KEY
    if key := os.environ.get("DASHSCOPE_API_KEY"):
        return key
    message = (
        f"There is no key for DashScope ({url}): set the environment variable DASHSCOPE_API_KEY or pass api_key=... "
        f"(keys are per region), or point {url_argument} at a server of your own. OPENAI_API_KEY is never used."
    )
    raise ValueError(message)


def refuse_unknown(owner: str, arguments: Collection[str], known: Collection[str]) -> None:
    """Raise for an argument that a class does not have, with the one that was probably meant.

    Raises:
        ValueError: There is such an argument. Its value is not in the message; it may be a key.
    """
    unknown = sorted(set(arguments) - set(known))
    if not unknown:
        return
    close = difflib.get_close_matches(unknown[0], known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    message = f"{owner} has no argument {', '.join(map(repr, unknown))}.{hint} Fields of a server go into extra_body."
    raise ValueError(message)


def prepare_client(client: Any, timeout: object, headers: Mapping[str, str] | None = None) -> None:
    """Take OpenAI's account off a client of the openai SDK and let it notice a dead host quickly.

    Args:
        client: The client, which is changed.
        timeout: Seconds that the server may stay silent; anything but a number is left to the client.
        headers: The caller's own headers, which stay.
    """
    import openai

    client.organization = client.project = None  # the SDK reads both from the environment,
    client._custom_headers = dict(headers or {})  # and OPENAI_CUSTOM_HEADERS, keys included
    if isinstance(timeout, int | float):
        client.timeout = openai.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS))


@contextmanager
def explained(url: str | None, *, url_argument: str = "base_url") -> Iterator[None]:
    """Raise a failed connection again as the same class, with the URL and what to do.

    Args:
        url: The server's URL.
        url_argument: What the caller's class calls its URL.
    """
    import openai

    try:
        yield
    except openai.APIConnectionError as error:
        timed_out = isinstance(error, openai.APITimeoutError)
        what = "did not answer in time" if timed_out else "cannot be reached"
        text = (
            f"The chat server at {url} {what} ({_root(error)}). Start it, for example with "
            "`llama-server -m model.gguf --jinja` or `vllm serve Qwen/Qwen3-8B`, or correct "
            f"{url_argument}: it ends in /v1, and without one DashScope is used."
        )
        again = type(error)(request=error.request)
        again.message, again.args = text, (text,)
        raise again from error


def wanted_body(
    dialect: Dialect, extra_body: Mapping[str, Any], fields: Mapping[str, Any], call: Mapping[str, Any]
) -> dict[str, Any]:
    """Lay the wishes on one another: the instance's extra_body and fields, then those of the call.

    Args:
        dialect: The server's dialect.
        extra_body: The instance's own.
        fields: The instance's `THINKING_FIELDS`.
        call: The arguments of this call. An explicit None among them means the server's own default, so then the
            instance's field does not count.
    """
    own = {field: value for field, value in fields.items() if field not in call}
    body = write_thinking(dialect, extra_body, enable=own.get("enable_thinking"), budget=own.get("thinking_budget"))
    body = merge_bodies(body, call.get("extra_body") or {})
    return write_thinking(dialect, body, enable=call.get("enable_thinking"), budget=call.get("thinking_budget"))


def settle_payload(
    dialect: Dialect, payload: dict[str, Any], wanted: Mapping[str, Any], logger: logging.Logger
) -> dict[str, Any]:
    """Return the arguments for ``chat.completions.create``, with what the server would refuse settled.

    Args:
        dialect: The server's dialect.
        payload: This call's own arguments; a forced tool in it is rewritten.
        wanted: What `wanted_body` returned.
        logger: The adapter's, so that its users' logging settings hold.
    """
    fit_tool_choice(dialect, payload)
    constrained = is_constrained(dialect, payload)
    stream = bool(payload.get("stream"))
    body = settle_body(dialect, payload["model"], wanted, stream=stream, constrained=constrained)
    if read_switch(dialect, wanted) is not read_switch(dialect, body):
        logger.debug("thinking is off for this call: %s refuses the request otherwise", dialect.server)
    payload.pop("extra_body", None)
    return {**payload, "extra_body": body} if body else payload


def _root(error: BaseException) -> BaseException:
    """Return the first cause, which says what the socket said."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
