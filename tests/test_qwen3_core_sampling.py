"""Recommended sampling: what is laid under a request, for whom, and that nothing the caller set is touched."""

import copy
import importlib.util
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from qwen3_core.chat.sampling import add_sampling, never_greedy
from qwen3_core.thinking import (
    CHAT_TEMPLATE_KWARGS,
    DASHSCOPE,
    LLAMA_CPP,
    LMSTUDIO,
    OLLAMA,
    OPENAI,
    SGLANG,
    TRANSFORMERS,
    VLLM,
    XINFERENCE,
    Dialect,
)

HYBRID, FIVE, SIX, SIX_35B = "Qwen/Qwen3-8B", "Qwen/Qwen3.5-27B", "Qwen/Qwen3.6-27B", "Qwen/Qwen3.6-35B-A3B"
LOGGER = logging.getLogger("someone.else")
OPENAIS = {"temperature", "top_p", "presence_penalty"}


def laid(dialect: Dialect, model: str, *, thinking: Any) -> dict[str, Any]:
    ours, more = add_sampling(dialect, model, {}, {}, thinking=thinking)
    assert set(ours) <= OPENAIS
    assert set(more) <= {"top_k", "min_p"}
    return {**ours, **more}


THINKING = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.0}
PLAIN = {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0.0}
LATER = {"temperature": 1.0, "top_p": 0.95, "top_k": 20, "min_p": 0.0}
LOOPING = {**LATER, "presence_penalty": 1.5}
LATER_PLAIN = {**PLAIN, "presence_penalty": 1.5}


@pytest.mark.parametrize(
    ("model", "thinking", "expected"),
    [
        (HYBRID, True, THINKING),
        (HYBRID, False, PLAIN),
        (HYBRID, None, {}),
        ("Qwen/Qwen3-4B-Thinking-2507", True, THINKING),
        ("Qwen/Qwen3-4B-Instruct-2507", False, PLAIN),
        ("Qwen/Qwen3-VL-8B-Thinking", True, LATER),
        ("Qwen/Qwen3-VL-8B-Instruct", False, LATER_PLAIN),
        (FIVE, True, LOOPING),
        (FIVE, False, LATER_PLAIN),
        ("Qwen/Qwen3.5-2B", False, {**LATER_PLAIN, "temperature": 1.0, "top_p": 1.0, "presence_penalty": 2.0}),
        (SIX, True, LATER),
        (SIX, False, LATER_PLAIN),
        (SIX_35B, True, LOOPING),
        ("Qwen/Qwen3.8-27B", True, LATER),
        ("Qwen/Qwen3.8-27B", False, LATER_PLAIN),
        ("qwen-plus", True, {}),  # its servers choose
        ("my-own-model", True, {}),
    ],
)
def test_the_card_of_the_model_is_followed(model: str, thinking: Any, expected: Any) -> None:
    assert laid(VLLM, model, thinking=thinking) == expected


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        (DASHSCOPE, {*OPENAIS, "top_k"}),
        (VLLM, {*OPENAIS, "top_k", "min_p"}),
        (SGLANG, {*OPENAIS, "top_k", "min_p"}),
        (LLAMA_CPP, {*OPENAIS, "top_k", "min_p"}),
        (TRANSFORMERS, {"temperature", "top_p"}),
        (OLLAMA, OPENAIS),
        (XINFERENCE, {*OPENAIS, "top_k"}),
        (LMSTUDIO, {*OPENAIS, "top_k"}),
        (OPENAI, OPENAIS),
        (CHAT_TEMPLATE_KWARGS, OPENAIS),
    ],
    ids=lambda value: getattr(value, "server", ""),
)
def test_a_server_gets_the_settings_that_it_takes(dialect: Dialect, fields: set[str]) -> None:
    assert laid(dialect, FIVE, thinking=True) == {name: value for name, value in LOOPING.items() if name in fields}


def test_what_the_caller_set_stays_wherever_it_was_set() -> None:
    payload, body = {"temperature": 0.0, "top_p": None, "seed": 1}, {"top_k": 5, "presence_penalty": 0}
    before = copy.deepcopy((payload, body))
    ours, more = add_sampling(VLLM, FIVE, payload, body, thinking=True)
    assert ours == {"temperature": 0.0, "top_p": 0.95, "seed": 1}
    assert more == {"top_k": 5, "presence_penalty": 0, "min_p": 0.0}
    assert (payload, body) == before


@pytest.mark.parametrize(
    ("model", "expected"),
    [(HYBRID, {"temperature": 0.6}), (FIVE, {"temperature": 1.0}), ("qwen-plus", {}), ("qwen3.7-max", {})],
)
def test_a_model_that_thinks_is_never_greedy(model: str, expected: Any, caplog: Any) -> None:
    payload = {"model": model, "temperature": 0.0, "seed": 1}
    before = dict(payload)
    with caplog.at_level(logging.WARNING, logger="someone"):
        assert never_greedy(model, payload, {}, thinking=True, logger=LOGGER) == {"model": model, "seed": 1, **expected}
    assert payload == before
    assert "repeats itself endlessly" in caplog.text
    assert f"{expected.get('temperature', 'no temperature')} is sent" in caplog.text


@pytest.mark.parametrize(
    ("model", "thinking", "temperature"),
    [(HYBRID, False, 0), (HYBRID, None, 0), (HYBRID, True, 0.1), (HYBRID, True, None), ("my-own-model", True, 0)],
)
def test_other_temperatures_are_left_alone(model: str, thinking: Any, temperature: Any, caplog: Any) -> None:
    payload = {"temperature": temperature}
    assert never_greedy(model, payload, {}, thinking=thinking, logger=LOGGER) == payload
    assert not caplog.records


def test_whoever_insists_on_greedy_thinking_gets_it_without_a_word(caplog: Any) -> None:
    payload, insisting = {"temperature": 0}, {"temperature": 0}
    assert never_greedy(HYBRID, payload, insisting, thinking=True, logger=LOGGER) == payload
    assert not caplog.records


@pytest.mark.skipif(importlib.util.find_spec("fastapi") is None, reason="transformers serve is not installed")
def test_transformers_serve_keeps_the_checkpoints_own_settings_beside_ours() -> None:
    """A ``generation_config`` in the request would leave 20 new tokens, no end token and greedy decoding."""
    from transformers import GenerationConfig
    from transformers.cli.serving.chat_completion import ChatCompletionHandler

    handler: Any = ChatCompletionHandler.__new__(ChatCompletionHandler)
    handler.generation_state = SimpleNamespace(_compile=False)
    own = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=True, eos_token_id=[151645, 151643], temperature=0.9, top_k=20, top_p=0.9
    )
    ours, more = add_sampling(TRANSFORMERS, FIVE, {"max_tokens": 2048}, {}, thinking=True)
    assert more == {}
    used = handler._build_generation_config({**ours, **more}, own)
    assert (used.temperature, used.top_p, used.max_new_tokens) == (1.0, 0.95, 2048)
    assert (used.do_sample, used.eos_token_id, used.top_k) == (True, [151645, 151643], 20)
    assert handler._build_generation_config(laid(TRANSFORMERS, FIVE, thinking=True), own).max_new_tokens == 1024
