"""Sizes of the models: figures of the sources, and what is said of a name that nobody knows."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_core.models import DEFAULT_LIMITS, ModelLimits, model_limits


@pytest.mark.parametrize(
    ("model", "window", "output"),
    [
        ("qwen3-8b", 40_960, 32_768),
        ("Qwen/Qwen3-0.6B", 40_960, 32_768),
        ("Qwen/Qwen3-30B-A3B-FP8", 40_960, 32_768),
        ("qwen3:8b", 40_960, 32_768),  # Ollama's way
        ("Qwen/Qwen3-8B-GGUF:Q8_0", 40_960, 32_768),
        ("Qwen/Qwen3-4B-Instruct-2507", 262_144, 16_384),
        ("Qwen/Qwen3-235B-A22B-Thinking-2507-FP8", 262_144, 32_768),
        ("Qwen/Qwen3-Next-80B-A3B-Thinking", 262_144, 32_768),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", 262_144, None),
        ("Qwen/Qwen3.5-397B-A17B", 262_144, 65_536),
        ("Qwen/Qwen3.6-27B-FP8", 262_144, 65_536),
        ("Qwen/Qwen3.8-2.4T-A95B", 262_144, None),
        ("Qwen/QwQ-32B", 131_072, None),
        ("qwen-plus", 1_000_000, 32_768),
        ("qwen-max", 32_768, 8_192),
        ("qwen3-max-2025-09-23", 262_144, 65_536),
        ("qwen3.5-plus", 1_000_000, 65_536),
        ("qwen3.8-max", 1_000_000, 131_072),
    ],
)
def test_known_models(model: str, window: int, output: int | None) -> None:
    assert model_limits(model) == ModelLimits(window, output)


def test_dashscope_serves_open_weights_with_windows_of_its_own() -> None:
    assert model_limits("qwen3-8b", dashscope=True) == ModelLimits(131_072, 32_768)
    assert model_limits("qwen3-next-80b-a3b-thinking", dashscope=True).context_window == 131_072
    assert model_limits("qwen3-30b-a3b-instruct-2507", dashscope=True).context_window == 262_144
    assert model_limits("qwen3.6-27b", dashscope=True) == model_limits("qwen3.6-27b")


@pytest.mark.parametrize(
    "model",
    ["", "my-own-model", "smollm2", "gpt-5", "qwen3-embedding-8b", "Qwen/Qwen3-Reranker-4B", "qwen-plus-2025-01-25"],
)
def test_unknown_names_get_the_default(model: str) -> None:
    assert model_limits(model) == model_limits(model, dashscope=True) == DEFAULT_LIMITS


@given(st.text(), st.booleans())
def test_no_name_is_an_error(model: str, dashscope: Any) -> None:
    limits = model_limits(model, dashscope=dashscope)
    assert limits.context_window >= DEFAULT_LIMITS.context_window
    assert (limits.max_output or 1) < limits.context_window
