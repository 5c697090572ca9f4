"""What every client of a chat server needs, whatever framework it is for: where to go, the key, the whole request.

The openai SDK is imported inside the functions that touch it; importing this module needs nothing installed.
"""

import difflib
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, get_args

from qwen3_core.adaptive import ThinkingRule, decide
from qwen3_core.chat.body import read_switch, settle_body, thinks
from qwen3_core.chat.errors import shown_url
from qwen3_core.chat.messages import fit_request, is_constrained, pass_reasoning_back
from qwen3_core.chat.sampling import add_sampling, never_greedy
from qwen3_core.chat.wishes import Thinking, check_thinking
from qwen3_core.families import model_family
from qwen3_core.thinking import DASHSCOPE, Dialect

DASHSCOPE_BEIJING = "https://dashscope.aliyuncs.com/compatible-mode/v1"
"""Where a chat model goes without a URL; keys are per region, Singapore is ``dashscope-intl``."""

Region = Literal["cn-beijing", "ap-southeast-1", "us-east-1", "eu-central-1", "ap-northeast-1", "cn-hongkong"]
"""Where DashScope runs (model-studio/qwen-api-via-openai-chat-completions)."""

_SHARED_ENDPOINTS = {
    "cn-beijing": DASHSCOPE_BEIJING,
    "ap-southeast-1": "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    "us-east-1": "https://dashscope-us.aliyuncs.com/compatible-mode/v1",
}

_NO_KEY = "not-needed"  # the SDK wants a key even for servers that ask for none
_CONNECT_SECONDS = 10.0  # a host that does not answer should not hold a caller for the whole request timeout


def server_url(url: str | None, *, region: str | None = None, workspace: str | None = None) -> str:
    """Return the URL to use: the one given, else the region's, else ``DASHSCOPE_API_BASE``, else Beijing's.

    Args:
        url: A server's URL.
        region: One of DashScope's `Region`. Keys are per region.
        workspace: The id of a workspace, which has a host of its own in every region.

    Raises:
        ValueError: Both a URL and a region are given, the region is unknown, or it has no endpoint without a workspace.
    """
    if region is None and workspace is None:
        return url or os.environ.get("DASHSCOPE_API_BASE") or DASHSCOPE_BEIJING
    if url:
        message = "A URL says where the server is, and so do region and workspace: give one of the two."
        raise ValueError(message)
    region = region or "cn-beijing"
    if region not in get_args(Region):
        message = f"DashScope has no region {region!r}; it has {', '.join(get_args(Region))}."
        raise ValueError(message)
    if workspace:
        return f"https://{workspace}.{region}.maas.aliyuncs.com/compatible-mode/v1"
    if region not in _SHARED_ENDPOINTS:
        message = f"DashScope's region {region} has an endpoint for each workspace only: pass workspace=... as well."
        raise ValueError(message)
    return _SHARED_ENDPOINTS[region]


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
        f"There is no key for DashScope ({shown_url(url)}): set the environment variable DASHSCOPE_API_KEY or pass "
        f"api_key=... (keys are per region), or point {url_argument} at a server of your own. OPENAI_API_KEY is never "
        "used."
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


def decide_thinking(
    dialect: Dialect, model: str, messages: Sequence[Mapping[str, Any]], rule: ThinkingRule, logger: logging.Logger
) -> bool | None:
    """Decide ``enable_thinking="auto"`` for one call; None for a model that has no choice on this server.

    Args:
        dialect: The server's dialect; some have no way to turn thinking on that is off by default.
        model: The model of this call.
        messages: The conversation on the wire.
        rule: Takes the question and its context.
        logger: Where the decision is said, at debug level.
    """
    family = model_family(model)
    if family and family.thinks != "switch":
        return None
    try:
        check_thinking(dialect, model, Thinking(enable_thinking=True))
    except ValueError:
        return None
    on = decide(messages, rule)
    logger.debug("thinking is %s for this call, by the rule for enable_thinking='auto'", "on" if on else "off")
    return on


def settle_payload(
    dialect: Dialect,
    payload: Mapping[str, Any],
    wanted: Mapping[str, Any],
    reasoning: Sequence[str],
    *,
    sampling: bool,
    logger: logging.Logger,
) -> dict[str, Any]:
    """Return the arguments for ``chat.completions.create``, with what the server would refuse settled.

    Args:
        dialect: The server's dialect.
        payload: This call's own arguments.
        wanted: What `wanted_body` returned.
        reasoning: The reasoning of each message, ``""`` where there is none.
        sampling: Whether the sampling that the model's card recommends is laid under the caller's.
        logger: The adapter's, so that its users' logging settings hold.
    """
    model, stream = payload["model"], bool(payload.get("stream"))
    fitted = fit_request(dialect, model, payload)
    if fitted.get("tool_choice") != payload.get("tool_choice"):
        logger.debug("tool_choice is %r for this call, as %s reads it", fitted.get("tool_choice"), dialect.server)
    body = settle_body(dialect, model, wanted, stream=stream, constrained=is_constrained(dialect, fitted))
    if read_switch(dialect, wanted) is not read_switch(dialect, body):
        logger.debug("thinking is off for this call: %s refuses the request otherwise", dialect.server)
    thinking = thinks(dialect, model, body)
    fitted = never_greedy(model, fitted, body, thinking=thinking, logger=logger)
    if sampling:
        fitted, body = add_sampling(dialect, model, fitted, body, thinking=thinking)
    fitted["messages"] = pass_reasoning_back(dialect, model, fitted["messages"], reasoning, body)
    fitted.pop("extra_body", None)
    return {**fitted, "extra_body": body} if body else fitted
