"""What a real llama.cpp server does with what its dialect says, asked with plain HTTP.

The dialects rest on these facts. A test that fails after an update of a server says what its dialect has to say now.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from chat_checkpoint import CHAT_MODEL, CONTEXT_TOKENS
from chat_conversations import (
    CATCH_UP,
    GET_WEATHER,
    HELLO,
    LARGER,
    PARIS,
    PLACE,
    PLACE_TOOL,
    STOP_PHRASE,
    WEATHER,
    Scribe,
)
from real_asking import OFF, ON, loop, post, said
from real_servers import llama_cpp_server
from scripted_chat import httpx
from scripted_chat.asking import events_of

PLACE_SCHEMA = {"type": "json_schema", "json_schema": {"name": "Place", "schema": PLACE_TOOL["function"]["parameters"]}}


def test_prompts_and_tokens_are_those_of_the_checkpoint(llama_cpp_chat_url: str, chat_folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer, root = AutoTokenizer.from_pretrained(chat_folder), llama_cpp_chat_url.removesuffix("/v1")
    for example in Scribe(tokenizer, Random(5), noise=0.5).examples(thinking=True):
        whole = example.prompt + example.rest
        tokens = httpx.post(f"{root}/tokenize", json={"content": whole, "parse_special": True}).json()["tokens"]
        assert tokens == tokenizer(whole).input_ids
    bodies: list[dict[str, Any]] = [{}, OFF, {"tools": [GET_WEATHER, PLACE_TOOL]}]
    for body in bodies:
        wanted = {"tools": body.get("tools"), **body.get("chat_template_kwargs", {})}
        ours = tokenizer.apply_chat_template(loop(), tokenize=False, add_generation_prompt=True, **wanted)
        theirs = httpx.post(f"{root}/apply-template", json={"messages": loop(), **body}).json()["prompt"]
        assert theirs == ours


@pytest.mark.parametrize(
    ("body", "thinks"),
    [
        ({"enable_thinking": False}, True),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "low"}, True),
        ({"reasoning_effort": "none", **ON}, True),
        ({"reasoning_effort": "low", **OFF}, False),
    ],
    ids=str,
)
def test_what_else_switches_thinking(llama_cpp_chat_url: str, body: Any, thinks: bool) -> None:  # noqa: FBT001
    assert bool(said(llama_cpp_chat_url, LARGER.question, **body)[0]) is thinks


def test_a_string_for_the_switch_is_refused(llama_cpp_chat_url: str) -> None:
    response = post(llama_cpp_chat_url, "Hi", chat_template_kwargs={"enable_thinking": "false"})
    assert response.status_code == 400
    assert response.json()["error"]["message"] == 'invalid type for "enable_thinking" (expected boolean, got string)'


@pytest.mark.parametrize("field", ["thinking_budget_tokens", "reasoning_budget_tokens"])
def test_a_budget_cuts_the_thought_and_the_answer_comes(llama_cpp_chat_url: str, field: str) -> None:
    lengths = []
    for budget in (8, 16, 32, 500):
        thought, answer = said(llama_cpp_chat_url, CATCH_UP.question, **{field: budget})
        assert CATCH_UP.thought.startswith(thought)
        assert answer == CATCH_UP.answer
        lengths.append(len(thought))
    assert lengths == sorted(set(lengths))
    assert lengths[-1] == len(CATCH_UP.thought)


def test_a_budget_of_zero_leaves_no_thought(llama_cpp_chat_url: str) -> None:
    assert said(llama_cpp_chat_url, CATCH_UP.question, thinking_budget_tokens=0)[0] == ""


@pytest.mark.parametrize("field", ["thinking_budget", "reasoning_budget", "thinking_token_budget"])
def test_fields_of_others_limit_nothing(llama_cpp_chat_url: str, field: str) -> None:
    assert said(llama_cpp_chat_url, CATCH_UP.question, **{field: 8})[0] == CATCH_UP.thought


def test_the_stop_phrase_of_a_budget_can_be_sent_along(llama_cpp_chat_url: str) -> None:
    body = {"thinking_budget_tokens": 8, "reasoning_budget_message": f"{STOP_PHRASE}\n"}
    thought, answer = said(llama_cpp_chat_url, CATCH_UP.question, **body)
    begun, phrase, rest = thought.partition(STOP_PHRASE)
    assert (CATCH_UP.thought.startswith(begun), phrase, rest) == (True, STOP_PHRASE, "")
    assert answer == CATCH_UP.answer
    raw = said(llama_cpp_chat_url, CATCH_UP.question, **body, reasoning_format="none")[1]
    assert f"{STOP_PHRASE}\n</think>\n\n{CATCH_UP.answer}" in raw


@pytest.mark.parametrize("switch", [ON, OFF], ids=["on", "off"])
@pytest.mark.parametrize("wanted", [PLACE_SCHEMA, {"type": "json_object"}], ids=lambda each: each["type"])
def test_a_format_holds_for_the_answer_and_not_for_the_thought(
    llama_cpp_chat_url: str, wanted: Any, switch: Any
) -> None:
    thought, answer = said(llama_cpp_chat_url, PLACE.question, response_format=wanted, **switch)
    assert (thought, json.loads(answer)) == (PLACE.thought if switch is ON else "", json.loads(PARIS))


@pytest.mark.parametrize("switch", [ON, OFF], ids=["on", "off"])
def test_a_required_tool_is_called_thinking_or_not(llama_cpp_chat_url: str, switch: Any) -> None:
    body = {"tools": [GET_WEATHER], "tool_choice": "required", **switch}
    message = post(llama_cpp_chat_url, WEATHER.question, **body).json()["choices"][0]["message"]
    assert [json.loads(call["function"]["arguments"]) for call in message["tool_calls"]] == [{"city": "Paris"}]
    assert bool(message.get("reasoning_content")) is (switch is ON)


def test_without_leave_the_call_comes_as_text(llama_cpp_chat_url: str) -> None:
    body = {"tools": [GET_WEATHER], "tool_choice": "none", **OFF}
    assert said(llama_cpp_chat_url, WEATHER.question, **body)[1].startswith("<tool_call>")


@pytest.mark.parametrize(
    ("fields", "arrives"),
    [
        ({"reasoning_content": "I THOUGHT"}, True),
        ({"content": "<think>\nI THOUGHT\n</think>\n\n"}, True),
        ({"reasoning": "I THOUGHT"}, False),
    ],
    ids=str,
)
def test_which_reasoning_comes_back_to_the_model(llama_cpp_chat_url: str, fields: Any, arrives: Any) -> None:
    root = llama_cpp_chat_url.removesuffix("/v1")
    prompt = httpx.post(f"{root}/apply-template", json={"messages": loop(**fields)}).json()["prompt"]
    assert ("<think>\nI THOUGHT\n</think>" in prompt) is arrives


def test_a_stream_ends_with_usage_if_asked_and_always_with_done(llama_cpp_chat_url: str) -> None:
    *_, last, done = events_of(post(llama_cpp_chat_url, HELLO.question, stream=True))
    assert (done, "usage" in last) == ("[DONE]", False)
    body = {"stream": True, "stream_options": {"include_usage": True}}
    *_, last, done = events_of(post(llama_cpp_chat_url, HELLO.question, **body))
    assert (done, last["choices"], last["usage"]["prompt_tokens"]) == ("[DONE]", [], 16)


def test_too_long_a_prompt_is_refused_with_its_length(llama_cpp_chat_url: str) -> None:
    response = post(llama_cpp_chat_url, "word " * (CONTEXT_TOKENS + 10))
    assert response.status_code == 400
    assert "exceeds the available context size (4096 tokens)" in response.json()["error"]["message"]
    assert response.json()["error"]["type"] == "exceed_context_size_error"


def test_it_can_be_told_from_others(llama_cpp_chat_url: str) -> None:
    root = llama_cpp_chat_url.removesuffix("/v1")
    models = httpx.get(f"{llama_cpp_chat_url}/models")
    assert models.headers["server"] == "llama.cpp"
    assert [(each["id"], each["owned_by"]) for each in models.json()["data"]] == [(CHAT_MODEL, "llamacpp")]
    props = httpx.get(f"{root}/props").json()
    assert {"build_info", "chat_template", "chat_template_caps", "total_slots"} <= set(props)
    assert props["default_generation_settings"]["n_ctx"] == CONTEXT_TOKENS


def test_a_server_is_gone_behind_its_block_and_says_why_it_did_not_start(chat_gguf: Path, tmp_path: Path) -> None:
    with llama_cpp_server(chat_gguf, name="a", context_tokens=512, log=tmp_path / "a.log") as url:
        assert said(url, HELLO.question, **OFF)[1] == HELLO.direct
    with pytest.raises(httpx.ConnectError):
        post(url, "Hi")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    with (
        pytest.raises(RuntimeError, match=r"(?s)did not start \(exit code .*broken\.gguf"),
        llama_cpp_server(broken, name="a", context_tokens=512, log=tmp_path / "b.log"),
    ):
        pass
