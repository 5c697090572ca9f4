"""`ChatQwen3`'s wishes about thinking on every server: by instance, call, bind and rule, and DashScope's own rules."""

import logging
from typing import Any

import openai
import pytest
from langchain_chat import (
    OTHER,
    block_types,
    chat_on,
    parted,
    reasoning_in,
    ways,
    whole,
)
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from scripted_chat import SERVERS, DashScope, LlamaCpp, ScriptedChat, Sglang, Vllm
from scripted_chat.dashscope import NO_JSON_WORD

from langchain_qwen3.chat_models import ChatQwen3

# The v3 event stream calls itself beta.
pytestmark = pytest.mark.filterwarnings("ignore:The (function|method) .* is in beta")

QUESTION = "Which is larger, 9.11 or 9.9?"
SILENT = {"openai"}  # a strict OpenAI server never shows what it thought
NEWEST = {"dashscope": "qwen3.8-max", "ollama": "qwen3.8:27b"}


@pytest.fixture(params=sorted(SERVERS))
def server(request: Any) -> ScriptedChat:
    return SERVERS[request.param](seed=3)


# --- the switch --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on", [True, False])
async def test_every_way_to_ask_parts_reasoning_and_answer_on_every_server(server: ScriptedChat, on: Any) -> None:
    expected = (server.reasoning if on and server.server not in SILENT else "", server.content)
    for way, message in (await ways(chat_on(server, enable_thinking=on), QUESTION)).items():
        assert (way, *parted(message)) == (way, *expected)
        assert block_types(message) == (["reasoning", "text"] if expected[0] else ["text"])
        assert message.usage_metadata is not None
    assert server.seen.enable_thinking is not (not on)


@pytest.mark.parametrize("own", [True, False, None])
async def test_the_switch_of_a_call_beats_the_instances(server: ScriptedChat, own: Any) -> None:
    model = chat_on(server, enable_thinking=own)
    for on in (True, False):
        messages = [*(await ways(model, QUESTION, enable_thinking=on)).values()]
        messages.append(model.bind(enable_thinking=on).invoke(QUESTION))
        for message in messages:
            assert bool(reasoning_in(message)) is (on and server.server not in SILENT)
    assert model.enable_thinking is own


def test_none_in_a_call_is_the_servers_own_default() -> None:
    server = Vllm()
    model = chat_on(server, enable_thinking=False)
    assert reasoning_in(model.invoke(QUESTION, enable_thinking=None))
    assert "chat_template_kwargs" not in server.last


@pytest.mark.parametrize("wrong", [{"thinking_budget": 0}, {"thinking_budget": "many"}])
def test_wrong_values_in_a_call_are_refused_before_sending(wrong: Any) -> None:
    server = DashScope()
    with pytest.raises(ValueError, match="positive whole number"):
        chat_on(server).invoke("hi", **wrong)
    with pytest.raises(TypeError, match="True, False or None"):
        chat_on(server).invoke("hi", enable_thinking="false")
    assert server.requests == []


# --- budget, effort, earlier reasoning ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "server", [DashScope(), Vllm(), Sglang(strict_thinking=True), LlamaCpp()], ids=lambda server: server.server
)
async def test_a_budget_limits_the_thinking(server: ScriptedChat) -> None:
    model = chat_on(server, enable_thinking=True, thinking_budget=4)
    for message in (await ways(model, QUESTION)).values():
        assert server.seen.budget == 4
        assert reasoning_in(message).strip() == "First I compare the"
    model.invoke(QUESTION, thinking_budget=2)
    assert server.seen.budget == 2
    model.bind(thinking_budget=None).invoke(QUESTION)
    assert server.seen.budget is None
    model.invoke(QUESTION, enable_thinking=False)
    assert not [name for name in ("thinking_budget", "thinking_token_budget", "custom_params") if name in server.last]


@pytest.mark.parametrize("word", ["ollama", "lmstudio", "transformers", "xinference", "openai", "auto"])
def test_a_budget_that_a_request_cannot_carry_is_refused_with_the_servers_that_can(word: Any) -> None:
    with pytest.raises(ValueError, match=r"'dashscope', 'llama\.cpp', 'sglang', 'vllm'"):
        ChatQwen3(model="m", base_url=OTHER, server=word, thinking_budget=9)
    with pytest.raises(ValueError, match=r"'dashscope', 'llama\.cpp', 'sglang', 'vllm'"):
        ChatQwen3(model="m", base_url=OTHER, server=word).invoke("hi", thinking_budget=9)


@pytest.mark.parametrize("word", ["dashscope", "vllm", "sglang", "llama.cpp", "xinference"])
@pytest.mark.parametrize(
    ("effort", "level"), [("low", "low"), ("medium", "medium"), ("max", "xhigh"), ("minimal", "low")]
)
def test_an_effort_reaches_the_template_as_a_level_that_it_knows(word: str, effort: str, level: str) -> None:
    server = SERVERS[word]()
    model = chat_on(server, model=NEWEST.get(word, "Qwen/Qwen3.8-27B"), reasoning_effort=effort)
    assert reasoning_in(model.invoke(QUESTION))
    assert server.seen.effort == level
    model.invoke(QUESTION, reasoning_effort="xhigh")
    assert server.seen.effort == "xhigh"
    assert not reasoning_in(model.invoke(QUESTION, reasoning_effort="none"))
    assert server.seen.enable_thinking is False


def test_what_a_call_says_displaces_its_rival_of_the_instance() -> None:
    server = DashScope()
    model = chat_on(server, model="qwen3.8-max", thinking_budget=900)
    model.invoke(QUESTION, reasoning_effort="low")  # together they are a 400
    assert (server.last["reasoning_effort"], "thinking_budget" in server.last) == ("low", False)
    model.invoke(QUESTION)
    assert (server.last["thinking_budget"], "reasoning_effort" in server.last) == (900, False)
    with pytest.raises(ValueError, match="not both"):
        model.invoke(QUESTION, reasoning_effort="low", thinking_budget=7)


EARLIER = [
    HumanMessage("Hi"),
    AIMessage("Hello!", additional_kwargs={"reasoning_content": "They greet."}),
    HumanMessage(QUESTION),
]


@pytest.mark.parametrize("word", ["dashscope", "vllm", "sglang", "llama.cpp"])
@pytest.mark.parametrize(
    ("model", "wish", "kept"),
    [
        ("qwen3.6", {}, ()),
        ("qwen3.6", {"preserve_thinking": True}, ("They greet.",)),
        ("qwen3.8", {}, ("They greet.",)),
        ("qwen3.8", {"preserve_thinking": False}, ()),
    ],
)
def test_earlier_reasoning_is_shown_where_it_is_preserved(word: str, model: str, wish: Any, kept: Any) -> None:
    server = SERVERS[word]()
    name = f"{model}-plus" if word == "dashscope" and model == "qwen3.6" else NEWEST.get(word, f"Qwen/{model}-27B")
    chat_on(server, model=name, **wish).invoke(EARLIER)
    assert server.seen.kept == kept
    chat_on(server, model=name).invoke(EARLIER, **wish)
    assert server.seen.kept == kept


# --- DashScope's own rules ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "arguments", "streams", "thinks"),
    [
        ("qwen3-8b", {}, False, False),
        ("qwen3-8b", {"enable_thinking": True}, True, True),
        ("qwen3-8b", {"thinking_budget": 9}, True, True),
        ("qwen3-8b", {"extra_body": {"enable_thinking": True}}, True, True),
        ("qwen-plus", {}, False, False),
        ("qwen-plus", {"enable_thinking": True}, True, True),
        ("qwen3.5-plus", {}, False, True),
        ("qwen3.5-plus", {"enable_thinking": True}, False, True),
        ("qwen3.5-plus", {"extra_body": {"enable_search": True}}, True, True),
        ("qwen3.8-max", {"reasoning_effort": "low"}, False, True),
        ("qwen3-next-80b-a3b-thinking", {}, True, True),
        ("qwen3-30b-a3b-instruct-2507", {}, False, False),
    ],
)
async def test_invoke_streams_inside_only_where_it_must(model: Any, arguments: Any, streams: Any, thinks: Any) -> None:
    server = DashScope()
    chat = chat_on(server, model=model, **arguments)
    for message in (chat.invoke(QUESTION), await chat.ainvoke(QUESTION)):
        assert bool(server.last.get("stream")) is streams
        assert bool(reasoning_in(message)) is thinks
        assert type(message) is AIMessage
        assert message.usage_metadata is not None
        assert message.usage_metadata["output_token_details"]["reasoning"] == (8 if thinks else 0)
        assert message.response_metadata["finish_reason"] == "stop"
        assert message.response_metadata["model_name"] == model
        assert message.response_metadata["model_provider"] == "qwen"


def test_the_model_of_the_call_decides() -> None:
    server = DashScope()
    assert not reasoning_in(chat_on(server, model="qwen3.5-plus").invoke("hi", model="qwen3-8b"))
    assert server.last["enable_thinking"] is False
    assert reasoning_in(chat_on(server).invoke("hi", model="qwen3-30b-a3b-thinking-2507"))


def test_the_tutorials_extra_body_works_and_is_kept() -> None:
    server = DashScope()
    model = chat_on(server, extra_body={"enable_thinking": True, "top_k": 20})
    assert reasoning_in(model.invoke("hi"))
    model.invoke("hi", enable_thinking=False, extra_body={"enable_search": True})
    assert {k: server.last[k] for k in ("enable_thinking", "top_k", "enable_search")} == {
        "enable_thinking": False,
        "top_k": 20,
        "enable_search": True,
    }


def test_search_and_cache_marks_reach_dashscope() -> None:
    server = DashScope()
    marked = {"type": "text", "text": "A long context.", "cache_control": {"type": "ephemeral"}}
    model = chat_on(server, extra_body={"enable_search": True, "search_options": {"forced_search": True}})
    model.invoke([SystemMessage([marked]), HumanMessage([{"type": "text", "text": "Hi"}])])
    assert (server.last["enable_search"], server.last["search_options"]) == (True, {"forced_search": True})
    assert [message["content"] for message in server.last["messages"]] == [[marked], "Hi"]


def test_the_servers_own_errors_come_through_with_a_hint() -> None:
    server = DashScope()
    with pytest.raises(openai.BadRequestError, match="word 'json'") as caught:
        chat_on(server).bind(response_format={"type": "json_object"}).invoke("hi")
    assert NO_JSON_WORD in str(caught.value)
    with pytest.raises(openai.AuthenticationError, match=r"Incorrect API key.*per region"):
        chat_on(server, api_key="wrong").invoke("hi")


async def test_several_answers_cannot_be_streamed_inside() -> None:
    model = chat_on(DashScope(), n=2)
    with pytest.raises(ValueError, match="n must be 1"):
        model.invoke("hi", enable_thinking=True)
    with pytest.raises(ValueError, match="n must be 1"):
        await model.ainvoke("hi", enable_thinking=True)
    assert len(model.generate([[HumanMessage("hi")]], enable_thinking=False).generations[0]) == 2


# --- enable_thinking="auto" --------------------------------------------------------------------------------


class Rule:
    """Thinks about questions with "compare" in them, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def __call__(self, question: str, context: str) -> bool:
        self.asked.append((question, context))
        return "compare" in question


@pytest.mark.parametrize("question", ["What is 9.9?", "compare 9.9 and 9.11"])
async def test_auto_asks_the_rule_once_for_each_call(server: ScriptedChat, question: str) -> None:
    rule = Rule()
    model = chat_on(server, enable_thinking="auto", thinking_rule=rule)
    messages = await ways(model, question)
    assert [asked for asked, _ in rule.asked] == [question] * len(messages)
    for message in messages.values():
        assert bool(reasoning_in(message)) is ("compare" in question and server.server not in SILENT)


def test_auto_can_be_said_or_unsaid_in_a_call() -> None:
    server, rule = DashScope(), Rule()
    model = chat_on(server, enable_thinking=False, thinking_rule=rule)
    assert reasoning_in(model.invoke("compare", enable_thinking="auto"))
    assert reasoning_in(whole(model.bind(enable_thinking="auto").stream("compare")))
    assert len(rule.asked) == 2
    own = chat_on(server, enable_thinking="auto", thinking_rule=rule)
    assert not reasoning_in(own.invoke("compare", enable_thinking=False))
    assert reasoning_in(own.invoke("hi", enable_thinking=True))
    assert len(rule.asked) == 2


def test_the_rule_sees_the_question_and_what_stands_around_it() -> None:
    rule = Rule()
    talk = [
        SystemMessage("Context: 9.9 is a number."),
        HumanMessage("hi"),
        AIMessage([{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "Hello."}]),
        HumanMessage([{"type": "text", "text": "compare "}, {"type": "text", "text": "them"}]),
    ]
    chat_on(Vllm(), enable_thinking="auto", thinking_rule=rule).invoke(talk)
    ((question, context),) = rule.asked
    assert "compare" in question
    assert "9.9 is a number" in context
    assert "hm" not in question + context


@pytest.mark.parametrize("model", ["qwen3-30b-a3b-thinking-2507", "qwen3-30b-a3b-instruct-2507"])
def test_a_model_without_a_choice_is_not_asked_about(model: str) -> None:
    rule, server = Rule(), DashScope()
    chat_on(server, model=model, enable_thinking="auto", thinking_rule=rule).invoke("compare")
    assert rule.asked == []
    assert "enable_thinking" not in server.last


async def test_a_rule_that_raises_is_heard() -> None:
    def broken(question: str, context: str) -> bool:
        message = "no idea"
        raise LookupError(message)

    server = DashScope()
    model = chat_on(server, enable_thinking="auto", thinking_rule=broken)
    with pytest.raises(LookupError, match="no idea"):
        model.invoke("hi")
    with pytest.raises(LookupError, match="no idea"):
        list(model.stream("hi"))
    with pytest.raises(LookupError, match="no idea"):
        await model.ainvoke("hi")
    assert server.requests == []


def test_the_decision_is_logged(caplog: Any) -> None:
    with caplog.at_level(logging.DEBUG, logger="langchain_qwen3"):
        chat_on(DashScope(), enable_thinking="auto", thinking_rule=Rule()).invoke("compare")
    assert "thinking is on for this call" in caplog.text
