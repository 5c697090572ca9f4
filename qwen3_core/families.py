"""How the generations of Qwen3 think, known from a model's name: whether they do, can stop, and how to sample them.

Sources: the Qwen3 model cards and documentation (``docs/source/getting_started/quickstart.md``: "DO NOT use greedy
decoding"), the cards of Instruct-2507, Thinking-2507, Next, VL, 3.5, 3.6 and 3.8; for DashScope its reference
(*qwen-api-via-openai-chat-completions*) and its pages *deep-thinking* and *qwen-structured-output*, as vercel/ai
(``packages/alibaba/src``) and QwenLM/qwen-code (``provider/dashscope.ts``) quote them. Where you know better, say
``enable_thinking`` yourself.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from qwen3_core.models import ANY_BUILD, SIZE, short_name


@dataclass(frozen=True)
class Sampling:
    """Sampling settings that a model card recommends.

    Attributes:
        temperature: Above 0; greedy decoding makes Qwen3 repeat itself.
        top_p: 0 to 1.
        top_k: A number of tokens.
        min_p: 0 to 1.
        presence_penalty: 0 to 2; None where the card leaves it to the user.
    """

    temperature: float
    top_p: float
    top_k: int = 20
    min_p: float = 0.0
    presence_penalty: float | None = None


@dataclass(frozen=True)
class ModelFamily:
    """What models of one generation have in common.

    Attributes:
        name: The family's own name, for messages.
        thinks: ``"switch"`` if thinking can be turned on and off, else ``"always"`` or ``"never"``.
        thinks_by_default: Whether a request that says nothing gets a model that thinks, unless the server decides.
        prefilled: Whether the chat template writes the opening ``<think>``, so that the model's text has only the
            closing tag.
        efforts: The words for ``reasoning_effort`` and the level that each means; empty where there is none.
        preserves: Whether reasoning of earlier turns is kept by default; None where it cannot be.
        thinks_unstreamed: Whether DashScope lets the family think in a request that is not streamed.
        json_schema: Whether DashScope holds the family to a JSON schema.
        formats_while_thinking: Whether DashScope takes an output format while the family thinks.
        thinking: Sampling while the model thinks; None where no card recommends any.
        plain: Sampling otherwise.
    """

    name: str
    thinks: Literal["switch", "always", "never"]
    thinks_by_default: bool = True
    prefilled: bool = False
    efforts: Mapping[str, str] = field(default_factory=dict)
    preserves: bool | None = None
    thinks_unstreamed: bool = False
    json_schema: bool = False
    formats_while_thinking: bool = False
    thinking: Sampling | None = None
    plain: Sampling | None = None


_QWEN3_THINKING = Sampling(temperature=0.6, top_p=0.95)
_QWEN3_PLAIN = Sampling(temperature=0.7, top_p=0.8)
_LATER_THINKING = Sampling(temperature=1.0, top_p=0.95)
_LOOPING_THINKING = Sampling(temperature=1.0, top_p=0.95, presence_penalty=1.5)  # the cards of 3.5 and of 3.6-35B
_LATER_PLAIN = Sampling(temperature=0.7, top_p=0.8, presence_penalty=1.5)

# The chat template of Qwen3.8 knows three levels and raises for any other word; DashScope takes these for them.
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "xhigh", "xhigh": "xhigh", "max": "xhigh"}

_HYBRID = ModelFamily("Qwen3", "switch", thinking=_QWEN3_THINKING, plain=_QWEN3_PLAIN)
_INSTRUCT = ModelFamily("Qwen3 Instruct", "never", thinks_by_default=False, plain=_QWEN3_PLAIN)
_THINKING = ModelFamily("Qwen3 Thinking", "always", prefilled=True, thinking=_QWEN3_THINKING)
_VL_INSTRUCT = replace(_INSTRUCT, name="Qwen3-VL Instruct", plain=_LATER_PLAIN)
_VL_THINKING = replace(_THINKING, name="Qwen3-VL Thinking", thinking=_LATER_THINKING)
_OMNI_INSTRUCT = replace(_INSTRUCT, name="Qwen3-Omni Instruct", plain=None)
_OMNI_THINKING = replace(_THINKING, name="Qwen3-Omni Thinking", thinking=None)
_CODER = ModelFamily("Qwen3 Coder", "never", thinks_by_default=False)
_QWQ = ModelFamily("QwQ", "always", prefilled=True)
# DashScope's own names: off unless asked for, and its servers choose the sampling.
_COMMERCIAL = ModelFamily("Qwen commercial", "switch", thinks_by_default=False)
_QWEN3_5 = ModelFamily(
    "Qwen3.5",
    "switch",
    prefilled=True,
    thinks_unstreamed=True,
    thinking=_LOOPING_THINKING,
    plain=_LATER_PLAIN,
)
_SMALL_QWEN3_5 = replace(  # "operates in non-thinking mode by default"
    _QWEN3_5,
    thinks_by_default=False,
    plain=Sampling(temperature=1.0, top_p=1.0, presence_penalty=2.0),
)
_QWEN3_6 = ModelFamily(
    "Qwen3.6",
    "switch",
    prefilled=True,
    preserves=False,
    thinks_unstreamed=True,
    thinking=_LATER_THINKING,
    plain=_LATER_PLAIN,
)
_QWEN3_6_35B = replace(_QWEN3_6, thinking=_LOOPING_THINKING)
_QWEN3_7 = ModelFamily(
    "Qwen3.7",
    "switch",
    prefilled=True,
    preserves=False,
    thinks_unstreamed=True,
    json_schema=True,
    formats_while_thinking=True,
)
_QWEN3_8 = ModelFamily(
    "Qwen3.8",
    "switch",
    prefilled=True,
    efforts=_EFFORTS,
    preserves=True,
    thinks_unstreamed=True,
    formats_while_thinking=True,
    thinking=_LATER_THINKING,
    plain=_LATER_PLAIN,
)

_2507 = "(instruct(-2507)?|2507)"  # LM Studio and OpenRouter leave "instruct" out

# First match wins.
_FAMILIES = (
    (rf"qwen3-(next-)?{SIZE}-{_2507}{ANY_BUILD}", _INSTRUCT),
    (rf"qwen3-(next-)?{SIZE}-thinking(-2507)?{ANY_BUILD}", _THINKING),
    (rf"qwen3-vl-{SIZE}-instruct{ANY_BUILD}", _VL_INSTRUCT),
    (rf"qwen3-vl-{SIZE}-thinking{ANY_BUILD}", _VL_THINKING),
    (rf"qwen3-omni-{SIZE}-instruct{ANY_BUILD}", _OMNI_INSTRUCT),
    (rf"qwen3-omni-{SIZE}-thinking{ANY_BUILD}", _OMNI_THINKING),
    (r"qwen3-coder(-.*)?", _CODER),
    (rf"qwen3(-{SIZE})?{ANY_BUILD}", _HYBRID),
    (r"qwq.*|qvq.*", _QWQ),
    (r"qwen-(plus|flash|turbo)(-.*)?|qwen3-max(-.*)?|qwen3-vl-(plus|flash)(-.*)?|qwen3-omni-flash(-.*)?", _COMMERCIAL),
    (r"qwen-max(-.*)?", ModelFamily("Qwen-Max", "never", thinks_by_default=False)),
    (r"qwen3\.5-(0\.8|2)b.*", _SMALL_QWEN3_5),
    (r"qwen3\.5([-.].*)?", _QWEN3_5),
    (r"qwen3\.6-35b.*", _QWEN3_6_35B),
    (r"qwen3\.6([-.].*)?", _QWEN3_6),
    (r"qwen3\.7-max-(preview|2026-05-17)", replace(_QWEN3_7, thinks="always")),
    (r"qwen3\.7([-.].*)?", _QWEN3_7),
    # The template of the first raises "Disabling thinking is not supported."
    (r"qwen3\.8-2\.4t.*", replace(_QWEN3_8, thinks="always")),
    (r"qwen3\.8-max-preview", replace(_QWEN3_8, thinks="always", json_schema=True)),
    (r"qwen3\.8-(max|flash)(?!-next)(-.*)?", replace(_QWEN3_8, json_schema=True)),
    (r"qwen3\.8([-.].*)?", _QWEN3_8),
)


@functools.lru_cache(maxsize=256)  # asked ten times for each request
def model_family(model: str) -> ModelFamily | None:
    """Return what is known of a model's thinking, None for a name that says nothing.

    Args:
        model: The name that a server knows it by, a hub id, a folder or a file: ``qwen3-8b``, ``Qwen/Qwen3-8B-FP8``,
            ``qwen3:8b``, ``qwen-plus-2025-07-28``, ``Qwen3-8B-Q8_0.gguf``. A model that somebody has trained on under
            a name of its own may do something else, so nothing is known of it.
    """
    name = short_name(model)
    return next((family for pattern, family in _FAMILIES if re.fullmatch(pattern, name)), None)


def recommended_sampling(model: str, *, thinking: bool) -> Sampling | None:
    """Return how the model's card wants it sampled, None where no card says."""
    family = model_family(model)
    if family is None:
        return None
    return family.thinking if thinking else family.plain


def prefilled_text(family: ModelFamily | None, text: str) -> bool:
    """Tell whether a whole text that a server left unsplit begins inside the reasoning.

    Args:
        family: The model's family.
        text: What the model wrote. Of a model that can stop thinking, only a closing tag shows that it has thought.
    """
    if family is None or not family.prefilled:
        return False
    return family.thinks == "always" or "</think>" in text
