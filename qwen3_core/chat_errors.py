"""Errors of chat servers raised again with what to do about them.

The openai SDK is imported inside the functions that touch it; importing this module needs nothing installed.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SHOWN = 200  # characters of a broken stream: enough to recognise it

# What servers say and what mends it. The texts are those of Alibaba Cloud's error-code page and of the sources beside
# the dialects in `qwen3_core.thinking`; the server's own words stay in front.
_HINTS = (
    (
        r"enable_thinking must be set to false for non-streaming|only support stream call|only support stream mode"
        r"|enable thinking can not be support when",
        'This server lets a model think in streams only: server="dashscope" streams inside; or do not let it think.',
    ),
    (
        r"Json mode response is not supported when enable_thinking",
        'Pass enable_thinking=False, or server="dashscope", which does so for calls with an output format.',
    ),
    (r"must contain the word 'json'", 'Say "JSON" in the prompt, or use method="function_calling".'),
    (
        r"tool_choice parameter does not support being set to required or object",
        'Pass enable_thinking=False, or server="dashscope", which does so for calls that force a tool.',
    ),
    (r"restricted to True", "This model always thinks; take one that can stop, or leave enable_thinking out."),
    (r"thinking_budget parameter must be a positive integer", "Lower thinking_budget to the limit named there."),
    (r"cannot be set simultaneously", "Leave out thinking_budget or reasoning_effort."),
    (
        r"requires --enable-auto-tool-choice",
        "Start vLLM with --enable-auto-tool-choice --tool-call-parser hermes (qwen3_coder for Qwen3.5 and later).",
    ),
    (r"reasoning_config is not configured", "Start vLLM with --reasoning-parser qwen3 to give requests a budget."),
    (r"Unexpected fields in the request", 'Name the server, server="transformers", and keep its fields in extra_body.'),
    (r"Invalid tool_choice type|response_format\.type' must be", 'Name the server: server="lmstudio".'),
    (r"does not support thinking", "This model does not think: leave enable_thinking out."),
    (r"Unexpected reasoning effort", "reasoning_effort takes low, medium and xhigh for this model."),
    (r"Unrecognized request argument|Unknown parameter", 'For a strict OpenAI server pass server="openai".'),
    (r"Disabling thinking is not supported", "This model always thinks; leave enable_thinking out."),
)
_STATUS_HINTS = {
    401: "Check api_key; DashScope's keys are per region.",
    404: "Check the model's name (the server lists its models under /models) and that {url_argument} ends in /v1.",
    429: "max_retries waits longer before it gives up; fewer requests at a time help.",
    503: "If the server is still loading its model, try again, or raise max_retries.",
}


@contextmanager
def explained(url: str | None, *, url_argument: str = "base_url") -> Iterator[None]:
    """Raise a failed request again as the same class, with what to do.

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
        raise _unreachable(error, url, url_argument) from error
    except openai.APIError as error:
        hint = hint_for(error.message, getattr(error, "status_code", None), url_argument=url_argument)
        if not hint:
            raise
        raise _again(error, f"{error.message} -- {hint}") from error


def hint_for(message: str, status: int | None = None, *, url_argument: str = "base_url") -> str:
    """Return what to do about a server's error, ``""`` where nothing is known.

    Args:
        message: What the server said.
        status: Its HTTP status.
        url_argument: What the caller's class calls its URL.
    """
    known = next((hint for pattern, hint in _HINTS if re.search(pattern, message)), "")
    return known or _STATUS_HINTS.get(status or 0, "").format(url_argument=url_argument)


def broken_stream(url: str | None, *, reasoning: str, content: str, cause: BaseException | None = None) -> Exception:
    """Return the error for a stream that ended before the model had.

    Args:
        url: The server's URL.
        reasoning: The reasoning that arrived.
        content: The answer as far as it arrived.
        cause: What the connection said, if anything.

    Returns:
        An `openai.APIConnectionError` whose ``body`` holds all that arrived.
    """
    import openai

    why = f" ({cause})" if cause else ""
    text = (
        f"The stream of the chat server at {url} broke off before the model had finished{why}. Until then came "
        f"{len(reasoning)} characters of reasoning and {len(content)} of the answer{_tail(content or reasoning)}. "
        "All of it is in this error's body. Ask again."
    )
    error = openai.APIConnectionError(message=text, request=getattr(cause, "_request", None))  # type: ignore[arg-type]
    error.body = {"reasoning_content": reasoning, "content": content}
    error.__cause__ = cause
    return error


@contextmanager
def whole_stream(url: str | None, reader: Any) -> Iterator[None]:
    """Turn what a connection raises while a stream is read into `broken_stream`.

    Args:
        url: The server's URL.
        reader: Has the ``reasoning`` and ``answer`` that came so far and knows whether the stream is ``finished``.

    Raises:
        openai.APIConnectionError: The connection broke, or the stream ended without a reason to finish.
    """
    try:
        yield
    except Exception as error:
        if not _is_transport_error(error):
            raise
        raise broken_stream(url, reasoning=reader.reasoning, content=reader.answer, cause=error) from error
    if not reader.finished:
        raise broken_stream(url, reasoning=reader.reasoning, content=reader.answer)


def _is_transport_error(error: BaseException) -> bool:
    """Tell httpx's errors, or httpx2's with version 3 of the SDK, by the base that both name alike."""
    return any(base.__name__ == "TransportError" for base in type(error).__mro__)


def _unreachable(error: Any, url: str | None, url_argument: str) -> Exception:
    import openai

    what = "did not answer in time" if isinstance(error, openai.APITimeoutError) else "cannot be reached"
    text = (
        f"The chat server at {url} {what} ({_root(error)}). Start it, for example with "
        "`llama-server -m model.gguf --jinja` or `vllm serve Qwen/Qwen3-8B`, or correct "
        f"{url_argument}: it ends in /v1, and without one DashScope is used."
    )
    again: Exception = type(error)(request=error.request)
    again.message, again.args = text, (text,)  # type: ignore[attr-defined]
    return again


def _again(error: Any, text: str) -> Exception:
    """Return an error of the same class, with its response, that says ``text``."""
    more = {"response": error.response} if hasattr(error, "response") else {"request": error.request}
    again: Exception = type(error)(text, body=error.body, **more)
    return again


def _tail(text: str) -> str:
    return f", ending {text[-_SHOWN:]!r}" if text else ""


def _root(error: BaseException) -> BaseException:
    """Return the first cause, which says what the socket said."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
