"""What llama.cpp and `transformers serve` have in common, asked with plain HTTP.

The dialects rest on these facts. A test that fails after an update of a server says what its dialect has to say now.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from chat_conversations import CATCH_UP, GET_WEATHER, HELLO, LARGER, PLACE, PLACE_TOOL, TWO_CITIES, WEATHER, Exchange
from real_asking import OFF, ON, loop, post, said
from scripted_chat.asking import joined


@pytest.fixture(params=["llama_cpp_chat_url", "transformers_serve_url"])
def url(request: pytest.FixtureRequest) -> str:
    served: str = request.getfixturevalue(request.param)
    return served


@pytest.mark.parametrize("exchange", [LARGER, CATCH_UP, HELLO, PLACE], ids=lambda each: each.question[:9])
@pytest.mark.parametrize("sampling", [{}, {"temperature": 0}, {"temperature": 0.7, "top_p": 0.8}], ids=str)
def test_they_give_back_what_was_learnt_however_they_sample(url: str, exchange: Exchange, sampling: Any) -> None:
    assert said(url, exchange.question, **sampling, **ON) == (exchange.thought, exchange.answer)
    assert said(url, exchange.question, **sampling, **OFF) == ("", exchange.direct)


def test_thinking_is_on_unless_a_real_false_comes(url: str) -> None:
    bodies: list[dict[str, Any]] = [
        {},
        {"chat_template_kwargs": {}},
        {"chat_template_kwargs": {"enable_thinking": None}},
    ]
    for body in bodies:
        assert said(url, LARGER.question, **body) == (LARGER.thought, LARGER.answer)


@pytest.mark.parametrize("switch", [ON, OFF], ids=["on", "off"])
def test_tools_are_called_beside_reasoning(url: str, switch: Any) -> None:
    choice = post(url, TWO_CITIES.question, tools=[GET_WEATHER], **switch).json()["choices"][0]
    message = choice["message"]
    assert choice["finish_reason"] == "tool_calls"
    assert (message["content"], (message.get("reasoning_content") or "").strip()) == (
        "",
        TWO_CITIES.thought if switch is ON else "",
    )
    calls = [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in message["tool_calls"]]
    assert tuple(calls) == TWO_CITIES.calls


@pytest.mark.parametrize("switch", [ON, OFF], ids=["on", "off"])
def test_results_of_tools_are_answered(url: str, switch: Any) -> None:
    thought = WEATHER.verdict if switch is ON else ""
    assert said(url, loop(), tools=[GET_WEATHER], **switch) == (thought, WEATHER.answer)


@pytest.mark.parametrize("switch", [ON, OFF], ids=["on", "off"])
def test_a_stream_brings_the_same(url: str, switch: Any) -> None:
    response = post(url, CATCH_UP.question, stream=True, **switch)
    thought, answer = (CATCH_UP.thought, CATCH_UP.answer) if switch is ON else ("", CATCH_UP.direct)
    assert joined(response, "reasoning_content").strip() == thought
    assert joined(response, "content").strip("\n") == answer


def test_an_answer_cut_while_thinking_has_no_content(url: str) -> None:
    choice = post(url, LARGER.question, max_tokens=10).json()["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] == ""
    assert LARGER.thought.startswith(choice["message"]["reasoning_content"])


def test_no_usage_tells_thinking_from_answering(url: str) -> None:
    usage = post(url, LARGER.question).json()["usage"]
    assert usage["completion_tokens"] > 40
    assert "completion_tokens_details" not in usage


def test_parallel_tool_calls_changes_nothing(url: str) -> None:
    message = post(url, TWO_CITIES.question, tools=[GET_WEATHER], parallel_tool_calls=False).json()["choices"][0]
    assert len(message["message"]["tool_calls"]) == 2


@pytest.mark.parametrize("named", ["get_weather", "Place"])
def test_a_named_tool_is_not_forced(url: str, named: str) -> None:
    body = {"tools": [GET_WEATHER, PLACE_TOOL], "tool_choice": {"type": "function", "function": {"name": named}}}
    message = post(url, PLACE.question, **body).json()["choices"][0]["message"]
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["Place"]
