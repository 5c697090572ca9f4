"""How each chat server wants thinking asked for, and how reasoning comes back: one `Dialect` per server, as data.

Every OpenAI-compatible server that serves Qwen3 agrees on the chat format and disagrees about thinking. What differs
is written down here and nowhere else; `qwen3_core.chat.body` writes request bodies by it. Nothing here opens a
connection or knows a framework.
"""

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

Path = tuple[str, ...]
"""Where a field stands in a request body: ``("chat_template_kwargs", "enable_thinking")``."""

REASONING_FIELDS = ("reasoning_content", "reasoning")
"""Where reasoning comes back beside the answer, in a message and in the deltas of a stream.

DashScope, SGLang, llama.cpp, Xinference, LM Studio and ``transformers serve`` write the first; vLLM renamed it to the
second (vllm-project/vllm#33402), which Ollama's OpenAI route uses as well. Both are read from every server, since
gateways and older versions mix them.
"""

_SWITCH_KWARG = ("chat_template_kwargs", "enable_thinking")
_PRESERVE_KWARG = ("chat_template_kwargs", "preserve_thinking")
_EFFORT_KWARG = ("chat_template_kwargs", "reasoning_effort")
_TOP_LEVEL_EFFORT = ("reasoning_effort",)

_OPENAI_SAMPLING = frozenset({"temperature", "top_p", "presence_penalty"})
_OPEN_SAMPLING = _OPENAI_SAMPLING | {"top_k", "min_p"}


@dataclass(frozen=True)
class Dialect:
    """How one server wants thinking to be asked for, and what it refuses.

    Attributes:
        server: The server's word, ``"auto"`` for the family that shares ``chat_template_kwargs``.
        switch: Path of the thinking switch in the request body.
        off: What the switch says to turn thinking off.
        on: What it says to turn thinking on; None where nothing does but the default.
        default: Whether a model that can think does so unless told otherwise; None for the model's own default.
        effort: Path of ``reasoning_effort``, which may be the switch's own.
        budget: Path of the limit on thinking tokens; None where a request cannot carry one.
        budget_message: Path of the text that ends the reasoning when the budget is spent; None where the server cuts it
            off in mid-sentence or has its own.
        preserve: Path of ``preserve_thinking``; None where a request cannot carry one.
        budget_excludes_effort: Whether a budget and an effort in one request are refused.
        reasoning_in: The fields in which a message of the history takes its reasoning along; empty where the server
            drops it.
        splits_tags: Whether the server itself always parts reasoning from the answer.
        refuses_unstreamed_thinking: Whether a model that thinks has to be streamed.
        refuses_forced_tools: Whether ``tool_choice`` may only be "auto" or "none" while the model thinks.
        refuses_structured_output: Whether ``response_format`` is refused while the model thinks.
        tool_choices: What ``tool_choice`` may say besides "auto" and "none".
        json_schema: Whether ``response_format`` takes a JSON schema, whatever the model.
        json_object: Whether it takes ``{"type": "json_object"}``.
        sampling: The sampling settings that a request may carry.
    """

    server: Server
    switch: Path = _SWITCH_KWARG
    off: Literal[False, "none"] = False
    on: Literal[True] | None = True
    default: bool | None = None
    effort: Path = _EFFORT_KWARG
    budget: Path | None = None
    budget_message: Path | None = None
    preserve: Path | None = _PRESERVE_KWARG
    budget_excludes_effort: bool = False
    reasoning_in: tuple[str, ...] = ("reasoning_content",)
    splits_tags: bool = False
    refuses_unstreamed_thinking: bool = False
    refuses_forced_tools: bool = False
    refuses_structured_output: bool = False
    tool_choices: frozenset[Literal["required", "named"]] = frozenset({"required", "named"})
    json_schema: bool = True
    json_object: bool = True
    sampling: frozenset[str] = _OPEN_SAMPLING


# Alibaba Cloud, model-studio/qwen-api-via-openai-chat-completions and model-studio/error-code.
DASHSCOPE = Dialect(
    server="dashscope",
    # At the top level; nested in chat_template_kwargs it is ignored (modelscope/evalscope#998).
    switch=("enable_thinking",),
    effort=_TOP_LEVEL_EFFORT,
    budget=("thinking_budget",),
    preserve=("preserve_thinking",),
    budget_excludes_effort=True,
    splits_tags=True,
    refuses_unstreamed_thinking=True,
    refuses_forced_tools=True,
    refuses_structured_output=True,
    json_schema=False,  # only some models have it
    sampling=_OPENAI_SAMPLING | {"top_k"},
)

# vllm/entrypoints/openai/chat_completion/protocol.py and docs/features/reasoning_outputs.md. An effort at the top level
# would also turn thinking on (`build_chat_params`), so it goes where the template reads it.
VLLM = Dialect(
    server="vllm",
    # 400 unless the server was started with a reasoning parser or --reasoning-config.
    budget=("thinking_token_budget",),
    # Renamed in #33402. Versions before read the other name, some in between only the new one.
    reasoning_in=("reasoning", "reasoning_content"),
)

# sglang/srt/entrypoints/openai/protocol.py; docs/advanced_features/thinking_budget.mdx: the budget is ignored unless
# the server was started with --enable-strict-thinking.
SGLANG = Dialect(
    server="sglang",
    budget=("custom_params", "thinking_budget"),
)

LLAMA_CPP = Dialect(
    server="llama.cpp",
    # Read by llama-server per request (ggml-org/llama.cpp#28182); a build that is too old ignores it, and there
    # `--reasoning-budget` at the server's start is the way.
    budget=("thinking_budget_tokens",),
    budget_message=("reasoning_budget_message",),
    # `common_chat_tool_choice_parse_oaicompat` takes a string; an object silently becomes "auto".
    tool_choices=frozenset({"required"}),
)

# transformers/cli/serving/chat_completion.py: unknown fields are answered with 422; tool_choice and response_format
# are ignored; messages of the history are built anew without their reasoning. What OpenAI has no field for could go
# into `generation_config`, a JSON string, but that replaces the checkpoint's own, and with it the limit of 1,024 new
# tokens (20 are left) and, in continuous batching, the end tokens. The checkpoint has Qwen's top_k already.
TRANSFORMERS = Dialect(
    server="transformers",
    preserve=None,
    reasoning_in=(),
    tool_choices=frozenset(),
    json_schema=False,
    json_object=False,
    sampling=frozenset({"temperature", "top_p"}),
)

# ollama/ollama, openai/openai.go: `reasoning_effort` is the only field for thinking on the OpenAI route, tool_choice
# is dropped, and so is what is not in its request type. A word for the effort turns thinking on as well, but older
# versions refuse it for models that know only on and off; routes.go turns it on where nothing is said.
OLLAMA = Dialect(
    server="ollama",
    switch=_TOP_LEVEL_EFFORT,
    off="none",
    on=None,
    default=True,
    effort=_TOP_LEVEL_EFFORT,
    preserve=None,
    reasoning_in=("reasoning",),
    splits_tags=True,
    tool_choices=frozenset(),
    sampling=_OPENAI_SAMPLING,
)

# Xinference >= 1.17 puts the top-level switch into the template's arguments itself; the effort of Qwen3.8 since
# xorbitsai/inference#5383.
XINFERENCE = Dialect(
    server="xinference",
    switch=("enable_thinking",),
    effort=_TOP_LEVEL_EFFORT,
    sampling=_OPENAI_SAMPLING | {"top_k"},
)

# lmstudio-ai/lmstudio-bug-tracker#670 (a tool's name in tool_choice is a 400), #1990 (template arguments are ignored).
LMSTUDIO = Dialect(
    server="lmstudio",
    switch=_TOP_LEVEL_EFFORT,
    off="none",
    on=None,
    effort=_TOP_LEVEL_EFFORT,
    preserve=None,
    tool_choices=frozenset({"required"}),
    json_object=False,
    sampling=_OPENAI_SAMPLING | {"top_k"},
)

# A server that takes what OpenAI's own takes and refuses the rest.
OPENAI = Dialect(
    server="openai",
    switch=_TOP_LEVEL_EFFORT,
    off="none",
    on=None,
    effort=_TOP_LEVEL_EFFORT,
    preserve=None,
    reasoning_in=(),
    sampling=_OPENAI_SAMPLING,
)

CHAT_TEMPLATE_KWARGS = Dialect(
    server="auto",
    budget=None,  # vLLM, SGLang and llama.cpp each use another field for it
    reasoning_in=("reasoning", "reasoning_content"),
    tool_choices=frozenset({"required"}),  # llama.cpp knows no names
    sampling=_OPENAI_SAMPLING,  # `transformers serve` and gateways refuse fields that they do not know
)
"""What servers of your own have in common: used for every URL that says nothing about its server."""

DIALECTS: Mapping[str, Dialect] = {
    dialect.server: dialect
    for dialect in (DASHSCOPE, VLLM, SGLANG, LLAMA_CPP, TRANSFORMERS, OLLAMA, XINFERENCE, LMSTUDIO, OPENAI)
}
"""The servers that can be named; "tei" serves no chat."""

# Ports that only one server has as its default. 8000 (vLLM, transformers serve) and 8080 (llama.cpp) are everybody's.
_DEFAULT_PORTS = {11434: OLLAMA, 1234: LMSTUDIO, 9997: XINFERENCE, 30000: SGLANG}


def is_dashscope_url(url: str) -> bool:
    """Tell whether ``url`` belongs to DashScope (Model Studio).

    That is ``dashscope*.aliyuncs.com`` and ``*.maas.aliyuncs.com`` with their subdomains (QwenLM/qwen-code,
    ``provider/dashscope.ts``); other hosts under ``aliyuncs.com``, such as PAI-EAS, run the open-source servers.
    """
    *_, service, company, top = ["", "", "", *(urlsplit(url).hostname or "").split(".")]
    return (company, top) == ("aliyuncs", "com") and (service == "maas" or service.startswith("dashscope"))


def dialect_of(server: str, base_url: str) -> Dialect:
    """Return the dialect of a server that is named, or else inferred from its URL.

    Args:
        server: One of `Server`. ``"auto"`` means DashScope for its hosts, Ollama, LM Studio, Xinference and SGLang
            for the ports that are theirs by default (11434, 1234, 9997, 30000), OpenAI for ``api.openai.com``, and
            for every other URL what vLLM, SGLang and llama.cpp share.
        base_url: The server's URL, used with ``"auto"`` only.

    Raises:
        ValueError: The server is named and is not one that serves chat.
    """
    if server != "auto":
        if server in DIALECTS:
            return DIALECTS[server]
        message = f"server={server!r} is no chat server that is known here; known are {sorted(DIALECTS)} and 'auto'."
        raise ValueError(message)
    if is_dashscope_url(base_url):
        return DASHSCOPE
    parts = urlsplit(base_url)
    if parts.hostname == "api.openai.com":
        return OPENAI
    return _DEFAULT_PORTS.get(_port(base_url), CHAT_TEMPLATE_KWARGS)


def reasoning_of(message: Mapping[str, Any]) -> str:
    """Return the reasoning that a message or a delta carries beside its content, ``""`` if there is none."""
    values = (message.get(field) for field in REASONING_FIELDS)
    return next((value for value in values if isinstance(value, str) and value), "")


def _port(url: str) -> int:
    try:
        return urlsplit(url).port or 0
    except ValueError:  # no number: connecting will say so
        return 0
