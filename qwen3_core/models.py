"""How much text a Qwen model takes and writes: context windows and longest answers, as data.

Sources, each read for this table: the model cards as quoted by models.dev (anomalyco/models.dev, ``models/alibaba/``
and ``providers/alibaba/models/``), the Qwen3 README (``-c 40960 -n 32768``; "256K-token long-context" of 2507;
``max_new_tokens`` of its examples), Xinference's list of built-in models (inference.readthedocs.io), the profiles of
langchain-huggingface and langchain-openrouter, and for commercial names qwen-code's ``tokenLimits.ts`` and litellm's
``model_prices_and_context_window``. A model that none of them has is not in the table.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelLimits:
    """The limits of one model, in tokens.

    Attributes:
        context_window: Prompt, reasoning and answer together.
        max_output: The longest answer that its maker serves or recommends; None where no source says.
    """

    context_window: int
    max_output: int | None = None


DEFAULT_LIMITS = ModelLimits(32_768)
"""For every name that is not in the table: what the smallest Qwen3 models were trained on, so never too much."""

SIZE = r"\d+(\.\d+)?b(-a\d+b)?"
"""A pattern for the size in the name of open weights, such as ``30b-a3b``."""

_BUILDS = (
    r"fp\d+|bf16|f16|f32|nvfp4|mxfp\d|int\d|w\d+a\d+|\d+(\.\d+)?(bit|bpw)|i?q\d|i1|ud|awq|gptq|gguf|mlx|exl\d|bnb|unsloth"
    r"|quantized|128k|latest|free|cloud"
)
ANY_BUILD = rf"([-.]({_BUILDS}).*)?"
"""A pattern for what names of quantised copies, of files and of tags have behind the model's own name."""

_TEXT_ONLY = r"qwen3\.6-max|qwen3\.7-max|qwen3\.8-2\.4t"  # of the generations that see

# First match wins.
_OPEN_WEIGHTS = (
    (rf"qwen3-{SIZE}-(instruct-)?2507{ANY_BUILD}", ModelLimits(262_144, 16_384)),
    (rf"qwen3-{SIZE}-thinking-2507{ANY_BUILD}", ModelLimits(262_144, 32_768)),
    # 32,768 natively; config.json, which the servers read, has 8,192 more for the prompt. YaRN has to be asked for.
    (rf"qwen3-{SIZE}{ANY_BUILD}", ModelLimits(40_960, 32_768)),
    (rf"qwen3-next-80b-a3b-(instruct|thinking){ANY_BUILD}", ModelLimits(262_144, 32_768)),
    (rf"qwen3-coder-\d+b-a\d+b-instruct{ANY_BUILD}", ModelLimits(262_144)),
    (rf"qwen3\.[56]-{SIZE}{ANY_BUILD}", ModelLimits(262_144, 65_536)),
    (rf"qwen3\.8-2\.4t-a95b{ANY_BUILD}", ModelLimits(262_144, 131_072)),
    (rf"qwen3\.8-27b{ANY_BUILD}", ModelLimits(262_144, 131_072)),
    (rf"qwen3-vl-{SIZE}-(instruct|thinking){ANY_BUILD}", ModelLimits(262_144, 32_768)),
    (rf"qwq-32b{ANY_BUILD}", ModelLimits(131_072)),
)

_ON_DASHSCOPE = (
    (r"qwen3-8b", ModelLimits(131_072, 32_768)),
    (r"qwen3-14b", ModelLimits(131_072, 8_192)),
    (r"qwen3-(32b|30b-a3b|235b-a22b)", ModelLimits(131_072, 16_384)),
    (r"qwen3-235b-a22b-thinking-2507|qwen3-next-80b-a3b-thinking", ModelLimits(131_072, 32_768)),
    (r"qwen3-30b-a3b-instruct-2507", ModelLimits(262_144, 32_768)),
    (r"qwen-plus-2025-01-25", ModelLimits(131_072, 8_192)),
    (r"qwen-plus-2025-(04-28|07-14)", ModelLimits(131_072, 16_384)),
    (r"qwen-(plus|flash)(-latest|-2025-(07-28|09-11))?", ModelLimits(1_000_000, 32_768)),
    (r"qwen-turbo(-latest)?", ModelLimits(131_072, 8_192)),
    (r"qwen-max(-latest)?", ModelLimits(32_768, 8_192)),
    (r"qwen3-max(-preview|-\d{4}-\d\d-\d\d)?", ModelLimits(262_144, 65_536)),
    (r"qwen3-coder-(plus|flash)", ModelLimits(1_000_000, 65_536)),
    (r"qwen3\.[56]-(plus|flash)(-.*)?", ModelLimits(1_000_000, 65_536)),
    (r"qwen3\.6-max-preview", ModelLimits(262_144, 65_536)),
    (r"qwen3\.7-flash(-.*)?", ModelLimits(1_000_000, 65_536)),
    (r"qwen3\.7-(max|plus)(-.*)?", ModelLimits(1_000_000, 131_072)),
    (r"qwen3\.8-(max|flash)(-.*)?", ModelLimits(1_000_000, 131_072)),
    (r"qwen3-vl-plus", ModelLimits(262_144, 32_768)),
)


def short_name(model: str) -> str:
    """Return a model's name without its owner, folder and file type, in small letters, with ``-`` for ``:`` and ``@``.

    Ollama writes ``qwen3:8b``, LM Studio ``qwen3-8b@q8_0``; GGUF files may have their owner in front
    (``Qwen_Qwen3-8B-Q8_0.gguf``), and snapshots in the hub's cache lie in ``models--Qwen--Qwen3-8B``.
    """
    path = model.replace("\\", "/").rstrip("/")
    cached = re.search(r"(?:^|/)models--(?:[^/]*--)?([^/]+)/snapshots/", path)
    name = cached.group(1) if cached else path.rpartition("/")[-1]
    return re.sub("[:@]", "-", name.lower()).removesuffix(".gguf").removeprefix("qwen_")


def model_limits(model: str, *, dashscope: bool = False) -> ModelLimits:
    """Return what is known of a model, `DEFAULT_LIMITS` if that is nothing.

    A server of your own may have been started with less (``--max-model-len``, ``-c``): say so to the component.

    Args:
        model: The name that the server knows it by: ``qwen3-8b``, ``Qwen/Qwen3-8B-FP8``, ``qwen3:8b``, ``qwen-plus``.
        dashscope: Whether DashScope serves it, where some open-weights models have another window.
    """
    name = short_name(model)
    tables = (_ON_DASHSCOPE, _OPEN_WEIGHTS) if dashscope else (_OPEN_WEIGHTS, _ON_DASHSCOPE)
    rows = (limits for table in tables for pattern, limits in table if re.fullmatch(pattern, name))
    return next(rows, DEFAULT_LIMITS)


def sees_images(model: str) -> bool:
    """Tell whether a model takes images: Qwen3-VL, Omni, QVQ, and Qwen3.5 and later but for the text-only ones.

    Args:
        model: The name that the server knows it by.
    """
    name = short_name(model)
    return re.match(r"qwen3-(vl|omni)-|qvq-|qwen3\.[5-8]", name) is not None and re.match(_TEXT_ONLY, name) is None
