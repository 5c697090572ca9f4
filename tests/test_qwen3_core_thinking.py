"""How a server's dialect is told by its name or its URL, and where reasoning is in what it sends."""

from typing import Any

import pytest

from qwen3_core.thinking import (
    CHAT_TEMPLATE_KWARGS,
    DASHSCOPE,
    DIALECTS,
    LLAMA_CPP,
    LMSTUDIO,
    OLLAMA,
    OPENAI,
    SGLANG,
    VLLM,
    XINFERENCE,
    Dialect,
    dialect_of,
    is_dashscope_url,
    reasoning_of,
)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://dashscope.aliyuncs.com/compatible-mode/v1", True),
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", True),
        ("https://DASHSCOPE-us.aliyuncs.com/compatible-mode/v1", True),
        ("https://coding.dashscope.aliyuncs.com/v1", True),
        ("https://vpc-cn-beijing.dashscope.aliyuncs.com/compatible-mode/v1", True),
        ("https://ws-1.ap-southeast-1.maas.aliyuncs.com/compatible-mode/v1", True),
        ("https://user:secret@dashscope.aliyuncs.com:443/compatible-mode/v1", True),
        ("https://1234.cn-beijing.pai-eas.aliyuncs.com/api/predict/vllm/v1", False),
        ("https://dashscope.pai-eas.aliyuncs.com/v1", False),
        ("https://dashscope.aliyuncs.com.example.org/v1", False),
        ("https://dashscope.example.com/v1", False),
        ("https://example.org/dashscope.aliyuncs.com/v1", False),
        ("http://127.0.0.1:8000/v1", False),
        ("aliyuncs.com", False),
        ("", False),
    ],
)
def test_dashscope_is_told_by_the_host_alone(url: Any, expected: Any) -> None:
    assert is_dashscope_url(url) is expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://dashscope.aliyuncs.com/compatible-mode/v1", DASHSCOPE),
        ("https://api.openai.com/v1", OPENAI),
        ("http://127.0.0.1:11434/v1", OLLAMA),
        ("http://gpu-box:1234/v1", LMSTUDIO),
        ("http://[::1]:9997/v1", XINFERENCE),
        ("http://127.0.0.1:30000/v1", SGLANG),
        ("http://127.0.0.1:8000/v1", CHAT_TEMPLATE_KWARGS),
        ("http://127.0.0.1:8080/v1", CHAT_TEMPLATE_KWARGS),
        ("https://gateway.internal/v1", CHAT_TEMPLATE_KWARGS),
        ("http://127.0.0.1:eighty/v1", CHAT_TEMPLATE_KWARGS),  # connecting will say so
        ("http://127.0.0.1:99999/v1", CHAT_TEMPLATE_KWARGS),
    ],
)
def test_auto_tells_a_server_by_its_url(url: str, expected: Dialect) -> None:
    assert dialect_of("auto", url) is expected


def test_a_name_wins_over_the_url() -> None:
    for name, dialect in DIALECTS.items():
        assert dialect_of(name, "https://dashscope.aliyuncs.com/compatible-mode/v1") is dialect
        assert dialect.server == name
    assert dialect_of("llama.cpp", "http://127.0.0.1:11434/v1") is LLAMA_CPP
    assert dialect_of("vllm", "") is VLLM


@pytest.mark.parametrize("server", ["tei", "nonsense", ""])
def test_a_server_without_chat_is_refused_with_those_that_have_it(server: Any) -> None:
    with pytest.raises(ValueError, match=r"no chat server.*'dashscope', 'llama.cpp', .* and 'auto'"):
        dialect_of(server, "http://127.0.0.1:8000/v1")


def test_reasoning_is_read_from_either_field() -> None:
    assert reasoning_of({"reasoning_content": None, "reasoning": "b"}) == "b"
    assert reasoning_of({"reasoning_content": "a", "reasoning": "b"}) == "a"
    assert reasoning_of({"reasoning_content": "", "reasoning": "b"}) == "b"
    assert reasoning_of({"reasoning": {"effort": "low"}}) == ""
    assert reasoning_of({}) == ""
