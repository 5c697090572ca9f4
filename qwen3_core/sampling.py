"""Sampling for a request: what the model's card recommends, where the caller has set nothing."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from qwen3_core.families import Sampling, recommended_sampling
from qwen3_core.thinking import Dialect

_OPENAI_FIELDS = ("temperature", "top_p", "presence_penalty")  # the others go into the body as fields of the server


def add_sampling(
    dialect: Dialect, model: str, payload: Mapping[str, Any], body: Mapping[str, Any], *, thinking: bool | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a request's arguments and its server fields with the recommended sampling laid under them.

    Args:
        dialect: The server's dialect; settings that it does not take are left out.
        model: The model's name. Nothing is added for a model whose card is not known.
        payload: OpenAI's arguments, as the caller set them.
        body: Fields of the server, as the caller set them.
        thinking: Whether the model will think; None adds nothing.
    """
    recommended = None if thinking is None else recommended_sampling(model, thinking=thinking)
    if recommended is None:
        return dict(payload), dict(body)
    given = {**payload, **body}
    settings = {name: value for name, value in _settings(recommended).items() if name in dialect.sampling}
    missing = {name: value for name, value in settings.items() if given.get(name) is None}
    ours = {name: value for name, value in missing.items() if name in _OPENAI_FIELDS}
    more: dict[str, Any] = {name: value for name, value in missing.items() if name not in _OPENAI_FIELDS}
    if dialect.sampling_in_generation_config and more:
        more = {} if "generation_config" in given else {"generation_config": json.dumps(more)}
    return {**payload, **ours}, {**body, **more}


def never_greedy(
    model: str, payload: Mapping[str, Any], *, thinking: bool | None, logger: logging.Logger
) -> dict[str, Any]:
    """Return a request's arguments without greedy decoding if the model thinks.

    Qwen's documentation (quickstart): "DO NOT use greedy decoding, as it can lead to performance degradation and
    endless repetitions". A temperature in ``extra_body`` is sent as it is.

    Args:
        model: The model's name.
        payload: OpenAI's arguments.
        thinking: Whether the model will think.
        logger: Where to say that the temperature was raised.
    """
    recommended = recommended_sampling(model, thinking=True)
    if not thinking or recommended is None or payload.get("temperature") != 0:
        return dict(payload)
    logger.warning(
        "temperature=0 is greedy, and %s repeats itself endlessly when it thinks greedily; %s is sent. For answers "
        "that can be repeated set a seed; extra_body={'temperature': 0} insists.",
        model,
        recommended.temperature,
    )
    return {**payload, "temperature": recommended.temperature}


def _settings(recommended: Sampling) -> dict[str, float]:
    return {name: value for name, value in asdict(recommended).items() if value is not None}
