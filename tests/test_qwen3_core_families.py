"""Which generation a model's name belongs to, in every form that names have, and what that generation does."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_core.families import Sampling, model_family, prefilled_text, recommended_sampling


def name_of(model: str) -> str:
    family = model_family(model)
    return family.name if family else ""


@pytest.mark.parametrize(
    "model",
    [
        "qwen3-8b",
        "qwen3",
        "Qwen/Qwen3-0.6B",
        "Qwen/Qwen3-8B-FP8",
        "Qwen/Qwen3-30B-A3B",
        "Qwen/Qwen3-235B-A22B-GPTQ-Int4",
        "Qwen/Qwen3-14B-AWQ",
        "qwen3:8b",  # Ollama
        "qwen3:latest",
        "qwen3:30b-a3b-q4_K_M",
        "hf.co/unsloth/Qwen3-8B-GGUF:UD-Q4_K_XL",
        "Qwen/Qwen3-8B-GGUF:Q8_0",
        "qwen/qwen3-8b",  # LM Studio
        "qwen3-8b@q8_0",
        "mlx-community/Qwen3-8B-4bit-DWQ",
        "unsloth/Qwen3-8B-unsloth-bnb-4bit",
        "RedHatAI/Qwen3-8B-quantized.w4a16",
        "nvidia/Qwen3-8B-NVFP4",
        "turboderp/Qwen3-8B-4.65bpw-exl2",
        "qwen/qwen3-8b:free",  # OpenRouter
        "accounts/fireworks/models/qwen3-30b-a3b",
        "Qwen3-8B-Q8_0.gguf",
        "Qwen3-8B-F16.gguf",
        "Qwen3-8B.gguf",
        "Qwen3-8B.i1-Q4_K_M.gguf",
        "Qwen3-8B-IQ4_XS.gguf",
        "Qwen_Qwen3-8B-Q4_K_M.gguf",
        "Qwen3-235B-A22B-Q4_K_M-00001-of-00003.gguf",
        "Qwen3-8B-128K-Q4_K_M.gguf",
        "./models/Qwen3-8B/",
        "/data/Qwen3-8B-Q8_0.gguf",
        r"C:\models\Qwen3-8B",
        r"C:\models\Qwen3-8B-Q8_0.gguf",
        "/root/.cache/huggingface/hub/models--Qwen--Qwen3-8B/snapshots/9c925d64d72725edaf899c6cb9c377fd0709d9c5",
    ],
)
def test_every_form_of_a_name_is_known(model: str) -> None:
    assert name_of(model) == "Qwen3"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Qwen/Qwen3-4B-Instruct-2507", "Qwen3 Instruct"),
        ("qwen3:30b-a3b-instruct-2507-q4_K_M", "Qwen3 Instruct"),
        ("qwen3:4b-instruct", "Qwen3 Instruct"),
        ("qwen/qwen3-235b-a22b-2507", "Qwen3 Instruct"),  # OpenRouter's name for it
        ("Qwen3-30B-A3B-Instruct-2507-UD-Q4_K_XL.gguf", "Qwen3 Instruct"),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct-FP8", "Qwen3 Instruct"),
        ("Qwen/Qwen3-4B-Thinking-2507-FP8", "Qwen3 Thinking"),
        ("qwen3:4b-thinking-2507-q8_0", "Qwen3 Thinking"),
        ("qwen3-next-80b-a3b-thinking", "Qwen3 Thinking"),
        ("Qwen/Qwen3-VL-8B-Instruct", "Qwen3-VL Instruct"),
        ("Qwen/Qwen3-VL-235B-A22B-Thinking-FP8", "Qwen3-VL Thinking"),
        ("Qwen/Qwen3-Omni-30B-A3B-Instruct", "Qwen3-Omni Instruct"),
        ("Qwen/Qwen3-Omni-30B-A3B-Thinking", "Qwen3-Omni Thinking"),
        ("qwen3-coder", "Qwen3 Coder"),
        ("qwen3-coder:480b-cloud", "Qwen3 Coder"),
        ("qwen3-coder-plus-2025-07-22", "Qwen3 Coder"),
        ("Qwen/Qwen3-Coder-Next", "Qwen3 Coder"),
        ("Qwen/QwQ-32B-AWQ", "QwQ"),
        ("qwq:32b", "QwQ"),
        ("qwq-plus-latest", "QwQ"),
        ("qvq-max", "QwQ"),
        ("qwen-plus", "Qwen commercial"),
        ("qwen-plus-latest", "Qwen commercial"),
        ("qwen-plus-2025-07-28", "Qwen commercial"),
        ("qwen-flash-2025-07-28", "Qwen commercial"),
        ("qwen-turbo-2025-04-28", "Qwen commercial"),
        ("qwen3-max", "Qwen commercial"),
        ("qwen3-max-2026-01-23", "Qwen commercial"),
        ("qwen3-vl-plus-2025-09-23", "Qwen commercial"),
        ("qwen3-omni-flash-2025-12-01", "Qwen commercial"),
        ("qwen-max-latest", "Qwen-Max"),
        ("Qwen/Qwen3.5-397B-A17B-FP8", "Qwen3.5"),
        ("Qwen/Qwen3.5-0.8B", "Qwen3.5"),
        ("qwen3.5", "Qwen3.5"),
        ("qwen3.5:9b-q4_K_M", "Qwen3.5"),
        ("qwen3.5-plus-2026-02-15", "Qwen3.5"),
        ("Qwen3.5-9B.Q4_K_M.gguf", "Qwen3.5"),
        ("qwen3.6-max-preview", "Qwen3.6"),
        ("Qwen/Qwen3.6-35B-A3B", "Qwen3.6"),
        ("qwen3.7-max-2026-05-20", "Qwen3.7"),
        ("qwen3.8-max-0902", "Qwen3.8"),
        ("Qwen/Qwen3.8-Flash-Next", "Qwen3.8"),
        ("Qwen/Qwen3.8-2.4T-A95B-FP8", "Qwen3.8"),
        ("qwen3.8:27b-q8_0", "Qwen3.8"),
        # Nothing is known of these: base models, other tasks, somebody's own.
        ("", ""),
        ("Qwen/Qwen3-8B-Base", ""),
        ("Qwen/Qwen3-Embedding-8B", ""),
        ("Qwen/Qwen3-Reranker-0.6B", ""),
        ("Qwen/Qwen2.5-7B-Instruct", ""),
        ("qwen3-next:80b", ""),
        ("qwen3-vl:8b", ""),
        ("my-qwen3-8b-sft", ""),
        ("qwen30", ""),
        ("qwen3.55", ""),
        ("gpt-5", ""),
    ],
)
def test_the_generations_are_told_apart(model: str, name: str) -> None:
    assert name_of(model) == name


@pytest.mark.parametrize(
    ("model", "thinks", "default"),
    [
        ("qwen3-8b", "switch", True),
        ("Qwen/Qwen3-4B-Instruct-2507", "never", False),
        ("Qwen/Qwen3-4B-Thinking-2507", "always", True),
        ("qwen-plus", "switch", False),
        ("qwen3-max", "switch", False),
        ("qwen-max", "never", False),
        ("qwen3-coder-plus", "never", False),
        ("qwq-32b", "always", True),
        ("Qwen/Qwen3.5-0.8B", "switch", False),
        ("Qwen/Qwen3.5-2B-FP8", "switch", False),
        ("Qwen/Qwen3.5-4B", "switch", True),
        ("Qwen/Qwen3.5-27B", "switch", True),
        ("qwen3.7-max", "switch", True),
        ("qwen3.7-max-preview", "always", True),
        ("qwen3.7-max-2026-05-17", "always", True),
        ("qwen3.7-max-2026-05-20", "switch", True),
        ("qwen3.8-max", "switch", True),
        ("qwen3.8-max-preview", "always", True),
        ("qwen3.8-2.4t-a95b", "always", True),
        ("Qwen/Qwen3.8-27B", "switch", True),
    ],
)
def test_who_can_stop_thinking_and_who_begins_it_unasked(model: str, thinks: str, default: Any) -> None:
    family = model_family(model)
    assert family
    assert (family.thinks, family.thinks_by_default) == (thinks, default)


@pytest.mark.parametrize(
    ("model", "preserves", "efforts"),
    [
        ("qwen3-8b", None, 0),
        ("Qwen/Qwen3.5-27B", None, 0),
        ("qwen3.6-plus", False, 0),
        ("qwen3.7-max", False, 0),
        ("qwen3.8-max", True, 3),
        ("Qwen/Qwen3.8-27B", True, 3),
    ],
)
def test_what_came_with_later_generations(model: str, preserves: Any, efforts: int) -> None:
    family = model_family(model)
    assert family
    assert family.preserves is preserves
    assert len(set(family.efforts.values())) == efforts
    assert all(family.efforts[level] == level for level in family.efforts.values())


@pytest.mark.parametrize(
    ("model", "text", "expected"),
    [
        ("Qwen/Qwen3-4B-Thinking-2507", "anything", True),
        ("qwq-32b", "anything", True),
        ("Qwen/Qwen3.5-27B", "why\n</think>\n\nso", True),
        ("Qwen/Qwen3.5-27B", "so", False),  # it may not have thought
        ("qwen3-8b", "why\n</think>\n\nso", False),
        ("my-own-model", "why</think>so", False),
    ],
)
def test_a_text_that_begins_inside_the_reasoning(model: str, text: str, expected: Any) -> None:
    assert prefilled_text(model_family(model), text) is expected


def test_sampling_is_that_of_the_card_or_none() -> None:
    assert recommended_sampling("qwen3:8b", thinking=True) == Sampling(0.6, 0.95, 20, 0.0)
    assert recommended_sampling("qwen3:8b", thinking=False) == Sampling(0.7, 0.8, 20, 0.0)
    assert recommended_sampling("qwen-plus", thinking=True) is None
    assert recommended_sampling("Qwen/Qwen3-4B-Instruct-2507", thinking=True) is None
    assert recommended_sampling("my-own-model", thinking=True) is None


@given(st.text())
def test_no_name_is_an_error(model: str) -> None:
    model_family(model)
    model_family("qwen3-" + model)
    recommended_sampling(model, thinking=True)
