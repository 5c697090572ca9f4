"""`enable_thinking="auto"` of `Qwen3`, and what becomes of its wishes in copies and dictionaries."""

import logging
import pickle
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llamaindex_chat import ASKED, EARLIER, OTHER, QUESTION, WAYS, WEATHER, ask, llm_of, parted
from scripted_chat import SERVERS, DashScope, ScriptedChat, Vllm

from llamaindex_qwen3.llms import Qwen3
from qwen3_core.adaptive import needs_thinking
from qwen3_core.chat.server import DASHSCOPE_BEIJING

SILENT = {"openai"}  # a strict OpenAI server never shows what it thought


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DASHSCOPE_API_KEY", "DASHSCOPE_API_BASE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=sorted(SERVERS))
def server(request: Any) -> ScriptedChat:
    return SERVERS[request.param](seed=3)


class Rule:
    """A rule that remembers what it was asked."""

    def __init__(self, *, answer: bool = True) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    def __call__(self, question: str, context: str) -> bool:
        self.asked.append((question, context))
        return self.answer


@pytest.mark.parametrize("answer", [True, False])
async def test_the_rule_decides_once_for_each_call(server: ScriptedChat, answer: Any) -> None:
    rule = Rule(answer=answer)
    llm = llm_of(server, enable_thinking="auto", thinking_rule=rule)
    for number, way in enumerate(WAYS, 1):
        thought, said = parted((await ask(llm, way))[-1])
        assert (bool(thought), said) == (answer and server.server not in SILENT, server.content)
        assert [question for question, _ in rule.asked] == [QUESTION] * number
    assert llm.enable_thinking == "auto"


def test_a_rule_is_asked_only_where_it_decides() -> None:
    rule = Rule()
    for own, call in (
        ({"enable_thinking": True}, {}),
        ({"enable_thinking": None}, {}),
        ({"enable_thinking": "auto"}, {"enable_thinking": False}),
        ({"enable_thinking": "auto", "reasoning_effort": "none"}, {}),
        ({"enable_thinking": "auto"}, {"reasoning_effort": "none"}),
    ):
        server = Vllm()
        thought, _ = parted(llm_of(server, thinking_rule=rule, **own).chat(ASKED, **call))
        assert bool(thought) is (not call and own in ({"enable_thinking": True}, {"enable_thinking": None}))
    assert rule.asked == []


async def test_calls_overrule_auto_and_calls_can_be_auto() -> None:
    server, rule = DashScope(), Rule()
    llm = llm_of(server, enable_thinking="auto", thinking_rule=rule)
    assert not parted((await ask(llm, "chat", enable_thinking=False))[-1])[0]
    assert not parted((await ask(llm, "achat", reasoning_effort="none"))[-1])[0]
    assert not parted((await ask(llm, "chat", extra_body={"enable_thinking": False}))[-1])[0]
    fixed = llm_of(server, enable_thinking=False, thinking_rule=rule)
    asked = len(rule.asked)
    assert parted((await ask(fixed, "stream_chat", enable_thinking="auto"))[-1])[0]
    assert len(rule.asked) == asked + 1
    assert not parted((await ask(fixed, "stream_chat"))[-1])[0]


def test_the_rule_sees_the_last_question_and_its_context() -> None:
    rule = Rule()
    llm = llm_of(Vllm(), enable_thinking="auto", thinking_rule=rule)
    llm.chat([ChatMessage(role=MessageRole.SYSTEM, content="Milvus stores vectors."), *EARLIER])
    ((question, context),) = rule.asked
    assert question == QUESTION
    assert "Milvus stores vectors." in context


@pytest.mark.parametrize(("model", "thinks"), [("qwen3-4b-thinking-2507", True), ("qwen3-4b-instruct-2507", False)])
def test_models_without_a_choice_ask_no_rule(model: str, thinks: Any) -> None:
    server, rule = Vllm(), Rule(answer=not thinks)
    llm = llm_of(server, model=model, enable_thinking="auto", thinking_rule=rule)
    assert bool(parted(llm.chat(ASKED))[0]) is thinks
    assert rule.asked == []
    assert "chat_template_kwargs" not in server.last


def test_a_rule_that_fails_fails_the_call() -> None:
    def broken(question: str, context: str) -> bool:
        raise KeyError(question)

    server = Vllm()
    llm = llm_of(server, enable_thinking="auto", thinking_rule=broken)
    for call in (llm.chat, llm.stream_chat):
        with pytest.raises(KeyError, match=r"9\.11"):
            call(ASKED)
    assert server.requests == []


def test_a_forced_tool_wins_over_the_rule_on_dashscope(caplog: Any) -> None:
    server, rule = DashScope(), Rule()
    llm = llm_of(server, enable_thinking="auto", thinking_rule=rule)
    with caplog.at_level(logging.DEBUG, logger="llamaindex_qwen3"):
        response = llm.chat_with_tools([WEATHER], user_msg=QUESTION, tool_required=True)
    assert llm.get_tool_calls_from_response(response)
    assert (len(rule.asked), server.last["enable_thinking"]) == (1, False)
    said = [record.getMessage() for record in caplog.records]
    assert any("by the rule" in message for message in said)
    assert any("thinking is off for this call" in message for message in said)


def test_the_default_rule_thinks_about_arithmetic_and_not_about_small_talk() -> None:
    server = Vllm()
    llm = llm_of(server, enable_thinking="auto")
    assert llm.thinking_rule is needs_thinking
    assert parted(llm.chat([ChatMessage("A leaves 2 hours earlier at 5 km/h, B at 15 km/h. When does B catch up?")]))[0]
    assert not parted(llm.chat([ChatMessage("Hello!")]))[0]


# --- the new fields in copies and dictionaries -------------------------------------------------------------

FIELDS: dict[str, Any] = {
    "model": "qwen3.8-max",
    "enable_thinking": "auto",
    "reasoning_effort": "low",
    "preserve_thinking": False,
    "recommended_sampling": False,
    "tokenizer": "Qwen/Qwen3-8B",
}


@pytest.mark.parametrize(
    "twin_of",
    [
        lambda llm: Qwen3.from_dict(llm.to_dict(), api_key="k"),
        lambda llm: Qwen3.from_json(llm.to_json(), api_key="k"),
        lambda llm: pickle.loads(pickle.dumps(llm)),
        lambda llm: llm.model_copy(),
        lambda llm: llm.model_copy(deep=True),
    ],
)
def test_wishes_survive_copies_and_dictionaries(twin_of: Any) -> None:
    llm = Qwen3(api_key="k", **FIELDS)
    twin = twin_of(llm)
    assert {name: getattr(twin, name) for name in FIELDS} == FIELDS
    assert twin.to_dict() == llm.to_dict()
    assert twin.thinking_rule is needs_thinking


@pytest.mark.parametrize(
    ("arguments", "url"),
    [
        ({"region": "ap-southeast-1"}, "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
        ({"region": "cn-beijing"}, DASHSCOPE_BEIJING),
        (
            {"region": "eu-central-1", "workspace": "ws-1"},
            "https://ws-1.eu-central-1.maas.aliyuncs.com/compatible-mode/v1",
        ),
    ],
)
def test_a_region_becomes_a_url_that_dictionaries_keep(arguments: Any, url: str) -> None:
    llm = Qwen3(api_key="k", **arguments)
    for twin in (llm, Qwen3.from_dict(llm.to_dict(), api_key="k"), pickle.loads(pickle.dumps(llm))):
        assert (twin.api_base, twin.region, twin.workspace) == (url, None, None)
    assert not {"region", "workspace"} & set(llm.to_dict())


def test_a_region_that_cannot_be_is_refused() -> None:
    for arguments, text in (
        ({"region": "ap-southeast-1", "api_base": OTHER}, "give one of the two"),
        ({"region": "eu-central-1"}, "workspace"),
        ({"region": "moon"}, "has no region 'moon'"),
    ):
        with pytest.raises(ValueError, match=text):
            Qwen3(api_key="k", **arguments)


def module_rule(question: str, context: str) -> bool:
    return "why" in question.lower()


def test_a_rule_of_ones_own_travels_in_copies_but_not_in_dictionaries() -> None:
    llm = Qwen3(api_key="k", enable_thinking="auto", thinking_rule=module_rule)
    for twin in (llm.model_copy(), llm.model_copy(deep=True), pickle.loads(pickle.dumps(llm))):
        assert twin.thinking_rule is module_rule
    assert "thinking_rule" not in llm.to_dict()
    assert Qwen3.from_dict(llm.to_dict(), api_key="k").thinking_rule is needs_thinking
    assert Qwen3.from_dict(llm.to_dict(), api_key="k", thinking_rule=module_rule).thinking_rule is module_rule


def test_a_rule_that_cannot_be_pickled_is_an_error_rather_than_lost() -> None:
    llm = Qwen3(api_key="k", thinking_rule=lambda question, context: True)
    with pytest.raises(TypeError, match="thinking_rule cannot be pickled"):
        pickle.dumps(llm)
    assert llm.thinking_rule("", "")
    assert llm.model_copy(deep=True).thinking_rule is llm.thinking_rule
