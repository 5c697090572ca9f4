"""Sizes of the models: figures of the sources, and what is said of a name that nobody knows."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_core.models import DEFAULT_LIMITS, ModelLimits, model_limits, sees_images, short_name


@pytest.mark.parametrize(
    ("model", "window", "output"),
    [
        ("qwen3-8b", 40_960, 32_768),
        ("Qwen/Qwen3-0.6B", 40_960, 32_768),
        ("Qwen/Qwen3-30B-A3B-FP8", 40_960, 32_768),
        ("qwen3:8b", 40_960, 32_768),  # Ollama's way
        ("Qwen/Qwen3-8B-GGUF:Q8_0", 40_960, 32_768),
        (r"C:\models\Qwen3-8B-Q8_0.gguf", 40_960, 32_768),
        ("Qwen/Qwen3-4B-Instruct-2507", 262_144, 16_384),
        ("qwen/qwen3-235b-a22b-2507", 262_144, 16_384),
        ("Qwen/Qwen3-235B-A22B-Thinking-2507-FP8", 262_144, 32_768),
        ("Qwen/Qwen3-Next-80B-A3B-Thinking", 262_144, 32_768),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", 262_144, None),
        ("Qwen/Qwen3.5-397B-A17B", 262_144, 65_536),
        ("Qwen/Qwen3.5-0.8B", 262_144, 65_536),
        ("Qwen/Qwen3.6-27B-FP8", 262_144, 65_536),
        ("Qwen/Qwen3.8-27B", 262_144, 131_072),
        ("Qwen/Qwen3.8-2.4T-A95B", 262_144, 131_072),
        ("Qwen/QwQ-32B", 131_072, None),
        ("qwen-plus", 1_000_000, 32_768),
        ("qwen-plus-2025-01-25", 131_072, 8_192),
        ("qwen-plus-2025-07-14", 131_072, 16_384),
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
    ["", "my-own-model", "smollm2", "gpt-5", "qwen3-embedding-8b", "Qwen/Qwen3-Reranker-4B", "Qwen/Qwen3-8B-Base"],
)
def test_unknown_names_get_the_default(model: str) -> None:
    assert model_limits(model) == model_limits(model, dashscope=True) == DEFAULT_LIMITS


@given(st.text(), st.booleans())
def test_no_name_is_an_error(model: str, dashscope: Any) -> None:
    limits = model_limits(model, dashscope=dashscope)
    assert limits.context_window >= DEFAULT_LIMITS.context_window
    assert (limits.max_output or 1) < limits.context_window


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("Qwen/Qwen3-VL-8B-Instruct", True),
        ("qwen3-vl-plus", True),
        ("Qwen/Qwen3-Omni-30B-A3B-Instruct", True),
        ("qvq-max", True),
        ("qwen3.5:9b", True),
        ("qwen3.6-27b", True),
        ("qwen3.8-max", True),
        ("qwen3-8b", False),
        ("qwen-plus", False),
        ("qwen3.6-max-preview", False),
        ("qwen3.7-max", False),
        ("Qwen/Qwen3.8-2.4T-A95B", False),
        ("my-own-model", False),
    ],
)
def test_who_sees_images(model: str, expected: Any) -> None:
    assert sees_images(model) is expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("Qwen/Qwen3-8B", "qwen3-8b"),
        ("qwen3:8b", "qwen3-8b"),
        ("qwen3-8b@q8_0", "qwen3-8b-q8_0"),
        ("./models/Qwen3-8B/", "qwen3-8b"),
        (r"D:\hub\Qwen3-8B\ ".strip(), "qwen3-8b"),
        ("Qwen_Qwen3-8B-Q8_0.gguf", "qwen3-8b-q8_0"),
        ("/hub/models--Qwen--Qwen3-8B/snapshots/9c925d64/", "qwen3-8b"),
        ("/hub/models--gpt2/snapshots/9c925d64", "gpt2"),
        ("", ""),
    ],
)
def test_a_name_without_all_that_is_around_it(model: str, expected: str) -> None:
    assert short_name(model) == expected
