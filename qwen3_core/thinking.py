"""Thinking on the wire: where each server reads the switch, and how reasoning comes back.

Every OpenAI-compatible server that serves Qwen3 agrees on the chat format and disagrees about thinking. What
differs is written down here as data, one `Dialect` per server, with pure functions over request bodies; nothing
here opens a connection or knows a framework.

Sources: the DashScope rules are those of Alibaba Cloud's *OpenAI compatible chat* reference and its error-code
page (model-studio/qwen-api-via-openai-chat-completions, model-studio/error-code); the shared
``chat_template_kwargs`` switch is what llama.cpp, vLLM and SGLang document for Qwen3.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

Server = Literal[
    "auto",
    "dashscope",
    "vllm",
    "sglang",
    "llama.cpp",
    "transformers",
    "ollama",
    "xinference",
    "tei",
    "lmstudio",
    "openai",
]
"""The words for a server, the same on every component of this project."""

REASONING_FIELDS = ("reasoning_content", "reasoning")
"""Where reasoning comes back beside the answer.

DashScope, SGLang, llama.cpp and ``transformers serve`` write the first; vLLM renamed it to the second
(vllm-project/vllm#33402), which Ollama's OpenAI route uses as well.
"""


@dataclass(frozen=True)
class Dialect:
    """How one server wants thinking to be asked for.

    Attributes:
        server: The server's word, ``"auto"`` for the family that shares ``chat_template_kwargs``.
        switch: Path of the thinking switch in the request body.
        budget: Path of the limit on thinking tokens; None where a request cannot carry one.
        refuses_unstreamed_thinking: Whether a model that thinks has to be streamed (`must_stream` knows which).
        refuses_forced_tools: Whether ``tool_choice`` may only be "auto" or "none" while the model thinks.
        refuses_structured_output: Whether ``response_format`` is refused while the model thinks.
        reads_named_tools: Whether an object as ``tool_choice`` is understood.
    """

    server: Server
    switch: tuple[str, ...]
    budget: tuple[str, ...] | None
    refuses_unstreamed_thinking: bool = False
    refuses_forced_tools: bool = False
    refuses_structured_output: bool = False
    reads_named_tools: bool = True


DASHSCOPE = Dialect(
    server="dashscope",
    # At the top level; nested in chat_template_kwargs it is ignored (modelscope/evalscope#998).
    switch=("enable_thinking",),
    budget=("thinking_budget",),
    refuses_unstreamed_thinking=True,
    refuses_forced_tools=True,
    refuses_structured_output=True,
)

LLAMA_CPP = Dialect(
    server="llama.cpp",
    switch=("chat_template_kwargs", "enable_thinking"),
    # Read by llama-server per request (ggml-org/llama.cpp#28182); a build that is too old ignores it, and there
    # `--reasoning-budget` at the server's start is the way.
    budget=("thinking_budget_tokens",),
    # `common_chat_tool_choice_parse_oaicompat` takes a string; an object silently becomes "auto".
    reads_named_tools=False,
)

CHAT_TEMPLATE_KWARGS = Dialect(
    server="auto",
    switch=("chat_template_kwargs", "enable_thinking"),
    budget=None,  # vLLM, SGLang and llama.cpp each use another field for it
    reads_named_tools=False,  # one of the family does not
)
"""What llama.cpp, vLLM and SGLang have in common: used for every URL that is not DashScope's."""

_DIALECTS: Mapping[str, Dialect] = {d.server: d for d in (DASHSCOPE, LLAMA_CPP)}


def is_dashscope_url(url: str) -> bool:
    """Tell whether ``url`` belongs to DashScope (Model Studio).

    That is ``dashscope*.aliyuncs.com`` and ``*.maas.aliyuncs.com``; other hosts under ``aliyuncs.com``, such as
    PAI-EAS, run the open-source servers.
    """
    host = urlsplit(url).hostname or ""
    return host.endswith(".aliyuncs.com") and (host.startswith("dashscope") or host.endswith(".maas.aliyuncs.com"))


def dialect_of(server: str, base_url: str) -> Dialect:
    """Return the dialect of a server that is named, or else inferred from its URL.

    Args:
        server: One of `Server`; ``"auto"`` means DashScope for its hosts, and for every other URL the
            ``chat_template_kwargs`` family (llama.cpp, vLLM, SGLang).
        base_url: The server's URL, used with ``"auto"`` only.

    Raises:
        ValueError: The server is named and its dialect is not known here.
    """
    if server == "auto":
        return DASHSCOPE if is_dashscope_url(base_url) else CHAT_TEMPLATE_KWARGS
    if server not in _DIALECTS:
        message = (
            f"The thinking dialect of server={server!r} is not built in; known are {sorted(_DIALECTS)}. "
            'Leave server="auto": for a URL that is not DashScope\'s it puts enable_thinking into '
            "chat_template_kwargs, which vLLM, SGLang and llama.cpp read, and finds reasoning in either field. "
            "Anything else a server wants can go through extra_body."
        )
        raise ValueError(message)
    return _DIALECTS[server]


def write_thinking(
    dialect: Dialect, body: Mapping[str, Any], *, enable: bool | None = None, budget: int | None = None
) -> dict[str, Any]:
    """Return a copy of a request body that carries the switch and the budget; None leaves either as it is.

    Raises:
        TypeError: ``enable`` is not a bool: the chat template compares with a real ``false``, so a string would
            silently turn thinking on.
        ValueError: ``budget`` is not a positive whole number, or the server takes none from a request.
    """
    written = dict(body)
    if enable is not None:
        if not isinstance(enable, bool):
            message = f"enable_thinking must be True, False or None, not {enable!r}."
            raise TypeError(message)
        written = _set(written, dialect.switch, enable)
    if budget is not None:
        if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
            message = f"thinking_budget must be a positive whole number of tokens, not {budget!r}."
            raise ValueError(message)
        if dialect.budget is None:
            message = (
                "thinking_budget has another field on every server, so the server has to be named: "
                f"server={sorted(_DIALECTS)}. For others put the server's own field into extra_body "
                "(vLLM: thinking_token_budget)."
            )
            raise ValueError(message)
        written = _set(written, dialect.budget, budget)
    return written


def read_switch(dialect: Dialect, body: Mapping[str, Any]) -> bool | None:
    """Return what a request body says about thinking; None is the server's own default."""
    value = _get(body, dialect.switch)
    return value if isinstance(value, bool) else None


def merge_bodies(body: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``body`` with ``over`` laid on it, object by object, so that siblings of a nested field survive."""
    merged = dict(body)
    for key, value in over.items():
        below = merged.get(key)
        nested = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = merge_bodies(below, value) if nested else value  # type: ignore[arg-type]
    return merged


def thinks_only(model: str) -> bool:
    """Tell whether a model cannot stop thinking: ``Qwen3-*-Thinking-2507``, ``*-thinking``, QwQ, QVQ."""
    name = _short_name(model)
    return "-thinking" in name or name.startswith(("qwq", "qvq"))


def must_stream(dialect: Dialect, model: str, body: Mapping[str, Any]) -> bool:
    """Tell whether the server refuses this request unless it is streamed.

    DashScope answers 400 "parameter.enable_thinking must be set to false for non-streaming calls" to the models
    of the Qwen3 generation; Qwen3.5 and later also think without streaming (dify-official-plugins#2626).
    """
    if not dialect.refuses_unstreamed_thinking or _is_later_generation(model):
        return False
    switch = read_switch(dialect, body)
    if thinks_only(model) or switch is True:
        return True
    wants_thinking = dialect.budget is not None and _get(body, dialect.budget) is not None
    return switch is None and wants_thinking and _is_open_hybrid(model)


def settle_body(
    dialect: Dialect, model: str, body: Mapping[str, Any], *, stream: bool, constrained: bool
) -> dict[str, Any]:
    """Return the body to send, with thinking switched off where the server would refuse the request otherwise.

    Args:
        dialect: The server's dialect.
        model: The model's name; which models think by default is known from it.
        body: What the caller asks for.
        stream: Whether the answer is streamed. The open-source Qwen3 models on DashScope think by default and
            refuse to without streaming, so with no wish expressed they get an explicit False.
        constrained: Whether a tool is forced or the output has a format that the server refuses while thinking.

    Returns:
        A new body. Models that cannot stop thinking are left alone: the server's own error says it best.
    """
    settled = dict(body)
    switch = read_switch(dialect, body)
    thinks = switch if switch is not None else (_is_open_hybrid(model) or _is_later_generation(model))
    if constrained and thinks and not thinks_only(model):
        settled, switch = _set(settled, dialect.switch, value=False), False
    needs_stream = dialect.refuses_unstreamed_thinking and _is_open_hybrid(model)
    if needs_stream and switch is None and not stream:
        settled, switch = _set(settled, dialect.switch, value=False), False
    if switch is False and dialect.budget is not None:
        settled = _without(settled, dialect.budget)  # there is nothing to limit
    return settled


def flatten_content(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message whose content is a string where that loses nothing.

    Chat templates of text models fail on a missing content and on lists; reasoning blocks are no request content.
    """
    content = message.get("content")
    if content is None:
        return {**message, "content": ""}
    if not isinstance(content, list):
        return message
    blocks = [block for block in content if not (isinstance(block, dict) and block.get("type") == "reasoning")]
    texts = [block if isinstance(block, str) else block.get("text") for block in blocks]
    only_text = all(isinstance(block, str) or block.get("type") == "text" for block in blocks)
    return {**message, "content": "".join(map(str, texts)) if only_text else blocks}


def fit_tool_choice(dialect: Dialect, payload: dict[str, Any]) -> None:
    """Say a forced tool in the way that the server understands; the payload is this call's own."""
    choice, tools = payload.get("tool_choice"), payload.get("tools") or []
    if isinstance(choice, dict) and not dialect.reads_named_tools:
        name = choice.get("function", {}).get("name")
        payload["tools"] = [tool for tool in tools if tool.get("function", {}).get("name") == name] or tools
        payload["tool_choice"] = "required"
    elif choice == "required" and dialect is DASHSCOPE and len(tools) == 1:
        payload["tool_choice"] = {"type": "function", "function": {"name": tools[0]["function"]["name"]}}


def is_constrained(dialect: Dialect, payload: Mapping[str, Any]) -> bool:
    """Tell whether a request forces a tool or an output format that the server refuses while the model thinks."""
    forced = payload.get("tool_choice") not in (None, "auto", "none")
    output = payload.get("response_format")
    structured = output is not None and not (isinstance(output, dict) and output.get("type") == "text")
    return (forced and dialect.refuses_forced_tools) or (structured and dialect.refuses_structured_output)


def reasoning_of(message: Mapping[str, Any]) -> str:
    """Return the reasoning that a message or a delta carries beside its content, ``""`` if there is none."""
    values = (message.get(field) for field in REASONING_FIELDS)
    return next((value for value in values if isinstance(value, str) and value), "")


def _short_name(model: str) -> str:
    return model.rsplit("/", 1)[-1].lower()


def _is_open_hybrid(model: str) -> bool:
    """``qwen3-8b``, ``Qwen/Qwen3-30B-A3B``: thinking is on by default and can be switched off."""
    return re.fullmatch(r"qwen3-\d+(\.\d+)?b(-a\d+b)?", _short_name(model)) is not None


def _is_later_generation(model: str) -> bool:
    """``qwen3.5-plus`` and later: thinking is on by default, with or without streaming."""
    return re.match(r"qwen3\.\d", _short_name(model)) is not None


def _get(body: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = body
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _set(body: Mapping[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return merge_bodies(body, value)  # type: ignore[arg-type]


def _without(body: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    key, *rest = path
    below = body.get(key)
    if rest and isinstance(below, Mapping):
        return {**body, key: _without(below, tuple(rest))}
    return {other: value for other, value in body.items() if other != key}
