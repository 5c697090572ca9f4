"""Sampling for a request: what the model's card recommends, where the caller has set nothing."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from qwen3_core.families import model_family, recommended_sampling
from qwen3_core.thinking import Dialect

_OPENAI_FIELDS = ("temperature", "top_p", "presence_penalty")  # the others go into the body as fields of the server


def add_sampling(
    dialect: Dialect, model: str, payload: Mapping[str, Any], body: Mapping[str, Any], *, thinking: bool | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a request's arguments and its server fields with the recommended sampling laid under them.

    Args:
        dialect: The server's dialect; settings that it does not take are left out.
        model: The model's name. Nothing is added for a model whose card is not known.
        payload: OpenAI's arguments, as the caller set them; None counts as not set.
        body: Fields of the server, as the caller set them.
        thinking: Whether the model will think; None adds nothing.
    """
    recommended = None if thinking is None else recommended_sampling(model, thinking=thinking)
    if recommended is None:
        return dict(payload), dict(body)
    missing = {
        name: value
        for name, value in asdict(recommended).items()
        if value is not None and name in dialect.sampling and payload.get(name) is None and body.get(name) is None
    }
    ours = {name: value for name, value in missing.items() if name in _OPENAI_FIELDS}
    more = {name: value for name, value in missing.items() if name not in _OPENAI_FIELDS}
    return {**payload, **ours}, {**body, **more}


def never_greedy(
    model: str, payload: Mapping[str, Any], body: Mapping[str, Any], *, thinking: bool | None, logger: logging.Logger
) -> dict[str, Any]:
    """Return a request's arguments without greedy decoding if the model thinks.

    Qwen's documentation (quickstart): "DO NOT use greedy decoding, as it can lead to performance degradation and
    endless repetitions".

    Args:
        model: The model's name; one that is not known to be Qwen's is left alone.
        payload: OpenAI's arguments.
        body: Fields of the server. A temperature among them is sent as it is, whatever the arguments say.
        thinking: Whether the model will think.
        logger: Where to say that the temperature was raised.
    """
    greedy = payload.get("temperature") == 0 and body.get("temperature") is None
    if not (thinking and greedy and model_family(model)):
        return dict(payload)
    recommended = recommended_sampling(model, thinking=True)
    temperature = recommended.temperature if recommended else None
    logger.warning(
        "temperature=0 is greedy, and %s repeats itself endlessly when it thinks greedily; %s is sent. For answers "
        "that can be repeated set a seed; extra_body={'temperature': 0} insists.",
        model,
        temperature or "no temperature",
    )
    rest = {name: value for name, value in payload.items() if name != "temperature"}
    return {**rest, "temperature": temperature} if temperature else rest
