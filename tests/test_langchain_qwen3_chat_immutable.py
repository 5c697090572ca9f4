"""No call of ours changes an instance: not its fields, not what is in them, not what the caller passed."""

import contextlib
import copy
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_chat import CALL, PERSON_SCHEMA, Person, PersonDict, chat_on, get_time, get_weather
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from scripted_chat import SERVERS

from langchain_qwen3.chat_models import ChatQwen3

# The v3 event stream calls itself beta.
pytestmark = pytest.mark.filterwarnings("ignore:The (function|method) .* is in beta")

NAMES = [
    "qwen3-8b",
    "qwen3-30b-a3b-thinking-2507",
    "qwen3-30b-a3b-instruct-2507",
    "qwen-plus",
    "qwen3.6-plus",
    "qwen3.8-max",
]

WISHES = st.fixed_dictionaries(
    {},
    optional={
        "enable_thinking": st.sampled_from([None, True, False, "auto"]),
        "thinking_budget": st.sampled_from([None, 7, 4_000]),
        "reasoning_effort": st.sampled_from([None, "none", "low", "xhigh"]),
        "preserve_thinking": st.sampled_from([None, True, False]),
        "temperature": st.sampled_from([0, 0.3]),
        "stop": st.sampled_from([["§"]]),
        "extra_body": st.sampled_from([{"chat_template_kwargs": {"x": {"y": 1}}}, {"enable_search": False}]),
    },
)
TOOLS = st.fixed_dictionaries(
    {},
    optional={
        "tool_choice": st.sampled_from(["any", "auto", "none", "get_time", True, False, None]),
        "strict": st.booleans(),
        "parallel_tool_calls": st.booleans(),
    },
)
HISTORY = [
    HumanMessage("Oslo?"),
    AIMessage("", tool_calls=[{**CALL, "id": "1"}], additional_kwargs={"reasoning_content": "hm"}),
    ToolMessage("sunny", tool_call_id="1"),
    AIMessage([{"type": "reasoning", "reasoning": "so"}, {"type": "text", "text": "Sunny."}]),
    HumanMessage([{"type": "text", "text": "And now? Say it in json.", "cache_control": {"type": "ephemeral"}}]),
]
REFUSALS = (ValueError, TypeError, openai.APIError, OutputParserException)
"""What is refused has to leave the instance alone as well."""


def shot(model: ChatQwen3) -> tuple[dict[str, Any], Any]:
    """Return all fields with what is in them; clients and functions by identity."""
    fields = {name: getattr(model, name) for name in type(model).model_fields}
    return {name: _copied(value) for name, value in fields.items()}, set(model.model_fields_set)


def _copied(value: Any) -> Any:
    return copy.deepcopy(value) if isinstance(value, dict | list | tuple | str | int | float | None) else id(value)


@settings(max_examples=120)
@given(
    server=st.sampled_from(sorted(SERVERS)),
    name=st.sampled_from(NAMES),
    own=WISHES,
    call=WISHES,
    bound=TOOLS,
    schema=st.sampled_from([Person, PersonDict, PERSON_SCHEMA]),
    method=st.sampled_from([None, "function_calling", "json_schema", "json_mode"]),
)
def test_no_call_changes_the_instance_or_what_it_was_given(
    server: str, name: str, own: Any, call: Any, bound: Any, schema: Any, method: Any
) -> None:
    script = SERVERS[server](tool_calls=[CALL])
    given_own = copy.deepcopy(own)
    try:
        model = chat_on(script, model=name, **own)
    except ValueError:
        return
    before, history, wishes, tools = shot(model), copy.deepcopy(HISTORY), copy.deepcopy(call), copy.deepcopy(bound)
    structured = {"method": method, "include_raw": bool(bound.get("strict"))}
    actions: list[Any] = [
        lambda: model.invoke(HISTORY, **call),
        lambda: list(model.stream(HISTORY, **call)),
        lambda: model.bind(**call).invoke(HISTORY),
        lambda: model.bind_tools([get_weather, get_time], **bound).invoke(HISTORY, **call),
        lambda: list(model.bind_tools([get_weather, get_time], **bound, **call).stream(HISTORY)),
        lambda: model.with_structured_output(schema, **structured).invoke(HISTORY),
        lambda: list(model.with_structured_output(schema, **structured).stream(HISTORY)),
        lambda: model.get_num_tokens_from_messages(HISTORY),
    ]
    for action in actions:
        with contextlib.suppress(*REFUSALS):
            action()
        assert shot(model) == before
    assert (history, wishes, tools, given_own) == (HISTORY, call, bound, own)


async def test_asynchronous_calls_do_not_either() -> None:
    model = chat_on(SERVERS["dashscope"](tool_calls=[CALL]), thinking_budget=9, extra_body={"x": {"y": 1}})
    before = shot(model)
    bound = model.bind_tools([get_weather], tool_choice="any")
    await bound.ainvoke("Oslo?", enable_thinking=True, extra_body={"x": {"z": 2}})
    _ = [chunk async for chunk in model.astream("Oslo?", thinking_budget=7)]
    await model.with_structured_output(Person, include_raw=True).ainvoke("Ann is 30.")
    stream = await model.astream_events("hi", version="v3", enable_thinking=False)
    await stream.output
    assert shot(model) == before


@pytest.mark.parametrize("call", [{"enable_thinking": True}, {"thinking_budget": 7}, {"extra_body": {"top_k": 3}}])
def test_what_one_call_asked_for_is_gone_in_the_next(call: Any) -> None:
    server = SERVERS["dashscope"]()
    model = chat_on(server)
    model.invoke("hi")
    plain = server.last
    model.invoke("hi", **call)
    assert server.last != plain
    model.invoke("hi")
    assert server.last == plain
