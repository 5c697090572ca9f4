"""What a real `transformers serve` does with what its dialect says, asked with plain HTTP.

The dialects rest on these facts. A test that fails after an update of a server says what its dialect has to say now.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from chat_checkpoint import CHAT_MODEL
from chat_conversations import GET_WEATHER, HELLO, LARGER, TWO_CITIES, WEATHER
from real_asking import OFF, loop, post, prompt_tokens, said, user
from scripted_chat import httpx
from scripted_chat.asking import events_of, joined


@pytest.mark.parametrize("field", ["enable_thinking", "top_k", "min_p", "thinking_budget", "thinking_budget_tokens"])
def test_fields_beyond_openais_are_refused(transformers_serve_url: str, field: str) -> None:
    response = post(transformers_serve_url, "Hi", **{field: 1})
    assert response.status_code == 422
    assert response.json() == {"detail": f"Unexpected fields in the request: {{'{field}'}}"}


@pytest.mark.parametrize(
    "body",
    [
        {"reasoning_effort": "none"},
        {"chat_template_kwargs": {"enable_thinking": "false"}},
        {"response_format": {"type": "json_object"}},
        {"presence_penalty": 1.5, "n": 2, "stream_options": {"include_usage": True}, "user": "x"},
        {"tools": [GET_WEATHER], "tool_choice": "required"},
    ],
    ids=str,
)
def test_what_it_ignores(transformers_serve_url: str, body: Any) -> None:
    assert said(transformers_serve_url, LARGER.question, **body) == (LARGER.thought, LARGER.answer)


def test_tools_are_called_even_without_leave(transformers_serve_url: str) -> None:
    response = post(transformers_serve_url, WEATHER.question, tools=[GET_WEATHER], tool_choice="none")
    assert response.json()["choices"][0]["finish_reason"] == "tool_calls"


def test_generation_config_is_json_text_and_needs_a_length(transformers_serve_url: str) -> None:
    some = {"generation_config": json.dumps({"top_k": 1, "do_sample": True}), "temperature": 2.0}
    assert said(transformers_serve_url, LARGER.question, **some, max_tokens=200) == (LARGER.thought, LARGER.answer)
    cut = post(transformers_serve_url, LARGER.question, **some).json()
    assert (cut["usage"]["completion_tokens"], cut["choices"][0]["finish_reason"]) == (20, "stop")
    assert post(transformers_serve_url, "Hi", generation_config={"top_k": 1}).status_code == 500


def test_a_stop_string_stays_in_the_text(transformers_serve_url: str) -> None:
    assert said(transformers_serve_url, LARGER.question, stop=["one is"], **OFF)[1] == "The larger one is"


def test_messages_lose_their_reasoning_and_beside_calls_their_text(transformers_serve_url: str) -> None:
    bare = prompt_tokens(transformers_serve_url, loop())
    assert prompt_tokens(transformers_serve_url, loop(reasoning_content="I thought.")) == bare
    assert prompt_tokens(transformers_serve_url, loop(content="Some text.")) == bare
    history = [*user("Hello"), {"role": "assistant", "content": "A long answer."}, *user("And then?")]
    without = [history[0], {**history[1], "tool_calls": []}, history[2]]
    assert prompt_tokens(transformers_serve_url, without) < prompt_tokens(transformers_serve_url, history)
    null = [history[0], {**history[1], "tool_calls": None}, history[2]]
    assert post(transformers_serve_url, null).status_code == 500


def test_a_stream_leaves_the_line_breaks_of_the_tags(transformers_serve_url: str) -> None:
    response = post(transformers_serve_url, LARGER.question, stream=True)
    assert joined(response, "reasoning_content") == f"\n{LARGER.thought}\n"
    assert joined(response, "content") == f"\n\n{LARGER.answer}"
    off = post(transformers_serve_url, LARGER.question, stream=True, **OFF)
    assert (joined(off, "reasoning_content"), joined(off, "content")) == ("\n\n", f"\n\n{LARGER.direct}")


def test_a_stream_ends_with_usage_beside_the_finish_and_no_done(transformers_serve_url: str) -> None:
    last = events_of(post(transformers_serve_url, HELLO.question, stream=True))[-1]
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["usage"]["prompt_tokens"] == 16


def test_a_streamed_call_comes_whole(transformers_serve_url: str) -> None:
    events = events_of(post(transformers_serve_url, TWO_CITIES.question, tools=[GET_WEATHER], stream=True))
    deltas = [call for event in events for call in event["choices"][0]["delta"].get("tool_calls", ())]
    assert [json.loads(call["function"]["arguments"]) for call in deltas] == [call[1] for call in TWO_CITIES.calls]


def test_an_error_within_a_stream_is_a_text(transformers_serve_url: str) -> None:
    response = post(transformers_serve_url, "Hi", stream=True, temperature=-1.0)
    assert response.status_code == 200
    assert "strictly positive float" in events_of(response)[-1]["error"]


def test_it_serves_one_model_and_says_so(transformers_serve_url: str) -> None:
    response = post(transformers_serve_url, "Hi", model="other")
    assert response.status_code == 400
    assert response.json() == {"detail": f"Server is pinned to '{CHAT_MODEL}'; requested 'other'."}


def test_it_can_be_told_from_others(transformers_serve_url: str) -> None:
    root = transformers_serve_url.removesuffix("/v1")
    health = httpx.get(f"{root}/health")
    assert (health.headers["server"], health.json()) == ("uvicorn", {"status": "ok"})
    assert {"/v1/systemone", "/load_model", "/reset"} <= set(httpx.get(f"{root}/openapi.json").json()["paths"])
    assert httpx.get(f"{root}/props").status_code == 404
    assert httpx.get(f"{transformers_serve_url}/models").json()["data"] == []  # the hub's cache, not what it serves
