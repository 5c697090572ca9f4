"""The scripted chat servers held against the real ones that are installed."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from scripted_chat import (
    LlamaCpp,
    TransformersServe,
    httpx,
)
from scripted_chat import llama_cpp as llama_texts
from scripted_chat import transformers_serve as transformers_texts
from scripted_chat.asking import (
    HI,
    IMAGE,
    MODEL,
    NAMED,
    TOOL,
    ask,
    error_text,
    events_of,
    loop_with,
)

from qwen3_cli.demo_server import smollm2_server

LLAMA_BODIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "unknown field": {"foo": 1},
    "top-level switch": {"enable_thinking": True},
    "string for the switch": {"chat_template_kwargs": {"enable_thinking": "false"}},
    "named tool": {"tools": [TOOL], "tool_choice": NAMED},
    "odd tool choice": {"tools": [TOOL], "tool_choice": "any"},
    "choice without tools": {"tool_choice": "required"},
    "no tools": {"tools": []},
    "odd format": {"response_format": {"type": "xml"}},
    "two answers": {"n": 2},
    "logprobs of streamed tools": {"tools": [TOOL], "logprobs": True, "stream": True},
    "top_logprobs alone": {"top_logprobs": 3},
    "budget": {"thinking_budget_tokens": 5},
    "string for a budget": {"thinking_budget_tokens": "x"},
    "negative budget": {"thinking_budget_tokens": -5},
    "odd effort": {"reasoning_effort": "huge"},
    "odd reasoning format": {"reasoning_format": "foo"},
    "image": {"messages": IMAGE},
    "null content": {"messages": [{"role": "user", "content": None}]},
    "no content": {"messages": [{"role": "user"}]},
    "two final answers": {"messages": [*HI, *[{"role": "assistant", "content": "a"}] * 2]},
    "odd part": {"messages": [{"role": "user", "content": [{"type": "reasoning"}]}]},
}


# A model that can think, by its template: only then is there something to limit.
THINKING = (
    "{%- for m in messages %}<|im_start|>{{ m.role }}\n"
    "{%- if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{%- endfor %}<|im_start|>assistant\n"
    "{%- if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{%- endif %}"
)


@pytest.fixture(scope="module")
def llama() -> Iterator[str]:
    with smollm2_server(chat_template=THINKING, answer_tokens=1) as url:
        yield url


@pytest.mark.parametrize("what", LLAMA_BODIES)
def test_llama_cpp_takes_and_refuses_as_the_real_one(llama: str, what: str) -> None:
    body = {"model": MODEL, "messages": HI, "max_tokens": 1, **LLAMA_BODIES[what]}
    real, scripted = httpx.post(llama + "/chat/completions", json=body, timeout=60), ask(LlamaCpp(), **body)
    assert scripted.status_code == real.status_code
    if real.status_code != 200:
        assert scripted.json() == real.json()


def test_llama_cpp_streams_the_same_fields_as_the_real_one(llama: str) -> None:
    more = {"max_tokens": 2, "temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
    hi = [{"role": "user", "content": "hi"}]
    body = {"model": "Qwen3-4B-Instruct-2507", "messages": hi, **more}  # neither thinks
    real, scripted = httpx.post(llama + "/chat/completions", json=body, timeout=60), ask(LlamaCpp(), **body)

    def shape(response: Any) -> list[Any]:
        chunks = [event for event in events_of(response) if event != "[DONE]"]
        deltas = [sorted(choice["delta"]) for chunk in chunks for choice in chunk["choices"]]
        return [deltas[0], deltas[1], deltas[-1], chunks[-1]["choices"], chunks[0]["choices"][0]["delta"]]

    assert shape(scripted) == shape(real)
    assert scripted.headers["content-type"].partition(";")[0] == real.headers["content-type"].partition(";")[0]
    assert scripted.text.endswith("data: [DONE]\n\n") is real.text.endswith("data: [DONE]\n\n") is True


def test_llama_cpp_gives_the_template_the_same_history_as_the_real_one(llama: str) -> None:
    history = [*HI, {"role": "assistant", "content": "A"}, *HI]
    for field, arrives in (("reasoning_content", True), ("reasoning", False)):
        messages = [history[0], {**history[1], field: "thoughts"}, history[2]]
        real = httpx.post(llama.removesuffix("/v1") + "/apply-template", json={"messages": messages})
        server = LlamaCpp()
        ask(server, messages=messages)
        assert ("thoughts" in real.json()["prompt"]) is arrives is ("thoughts" in server.seen.reasoning)


FIELDS = [
    *("enable_thinking", "thinking_budget", "preserve_thinking", "top_k", "min_p", "repetition_penalty", "extra_body"),
    *("chat_template_kwargs", "seed", "generation_config", "reasoning_effort", "tool_choice", "response_format", "n"),
    *("parallel_tool_calls", "separate_reasoning", "verbosity", "stream_options", "max_completion_tokens"),
]


class TestTransformersServe:
    """The installed server's own checks, without a model."""

    @pytest.fixture
    def handler(self) -> Any:
        pytest.importorskip("fastapi", reason="transformers serve needs fastapi")
        from transformers.cli.serving.chat_completion import ChatCompletionHandler

        return ChatCompletionHandler(None, None)  # type: ignore[arg-type]

    @pytest.mark.parametrize("field", FIELDS)
    def test_fields_are_refused_alike(self, handler: Any, field: str) -> None:
        from fastapi import HTTPException

        body = {"model": MODEL, "messages": HI, field: {"chat_template_kwargs": {}, "n": 1}.get(field)}
        response = ask(TransformersServe(), **body)
        real: tuple[int, Any] = (200, None)
        try:
            handler._validate_request(body)
        except HTTPException as error:
            real = error.status_code, error.detail
        assert (response.status_code, response.json().get("detail")) == real

    def test_ignored_fields_are_the_same(self, handler: Any) -> None:
        assert handler._unused_fields == transformers_texts.IGNORED

    def test_messages_reach_the_template_alike(self, handler: Any) -> None:
        from transformers.cli.serving.utils import Modality

        parts = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
        messages = [*loop_with(reasoning_content="r"), {"role": "assistant", "content": "A", "reasoning": "r"}, parts]
        real = handler.get_processor_inputs_from_messages(messages, Modality.LLM)
        for message in real:  # it parses the arguments; that is the template's affair
            for call in message.get("tool_calls", ()):
                call["function"]["arguments"] = json.dumps(call["function"]["arguments"])
        assert TransformersServe().template_messages(messages) == real


def test_every_text_of_llama_cpp_is_met_above() -> None:
    texts = {value for name, value in vars(llama_texts).items() if name.isupper() and isinstance(value, str)}
    asked = [ask(LlamaCpp(), **body) for body in LLAMA_BODIES.values()]
    met = " ".join(error_text(response) for response in asked if response.status_code != 200)
    assert not [text for text in texts if text.partition("{")[0] not in met]
