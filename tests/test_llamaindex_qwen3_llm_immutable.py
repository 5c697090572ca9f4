"""No call of `Qwen3` changes the model, the conversation, or what it was given."""

import asyncio
import contextlib
import copy
from typing import Any

import openai
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core.base.llms.types import ChatMessage, ThinkingBlock
from llamaindex_chat import (
    CALL,
    MODELS,
    PROMPT,
    WAYS,
    WEATHER,
    ask,
    ask_with_tools,
    llm_of,
    snapshot,
    structured_server,
)
from scripted_chat import SERVERS, Vllm

from llamaindex_qwen3.llms import Qwen3
from llamaindex_qwen3.testing.llm import Person, get_weather

OPTIONS = {
    "enable_thinking": st.sampled_from([True, False, None, "auto"]),
    "thinking_budget": st.sampled_from([None, 1, 64]),
    "reasoning_effort": st.sampled_from([None, "none", "low", "high"]),
    "preserve_thinking": st.sampled_from([None, True, False]),
    "temperature": st.sampled_from([None, 0.0, 0.5]),
    "max_tokens": st.sampled_from([None, 3, 500]),
    "extra_body": st.sampled_from([{}, {"top_k": 5}, {"chat_template_kwargs": {"enable_thinking": False, "x": [1]}}]),
}
OWN = {**OPTIONS, "recommended_sampling": st.booleans(), "additional_kwargs": st.sampled_from([{}, {"seed": 4}])}
MODEL_NAMES = ("", "qwen3-4b-thinking-2507", "qwen3-4b-instruct-2507", "qwen3.5-9b", "qwen3.8-max", "my-own-model")
TOOL_WAYS = tuple(f"{way} with tools" for way in WAYS[:4])


async def _anything(llm: Qwen3, way: str, call: dict[str, Any], *, forced: bool) -> None:
    if way in TOOL_WAYS:
        await ask_with_tools(llm, way.removesuffix(" with tools"), tool_required=forced, **call)
    elif way in ("structured_predict", "astructured_predict"):
        result = getattr(llm, way)(Person, PROMPT, llm_kwargs=call, text="Ann")
        await result if way[0] == "a" else None
    elif way == "stream_structured_predict":
        list(llm.stream_structured_predict(Person, PROMPT, llm_kwargs=call, text="Ann"))
    else:
        await ask(llm, way, **call)


@settings(max_examples=150)
@given(
    st.sampled_from(sorted(SERVERS)),
    st.sampled_from(MODEL_NAMES),
    st.fixed_dictionaries({}, optional=OWN),
    st.fixed_dictionaries({}, optional=OPTIONS),
    st.sampled_from([*WAYS, *TOOL_WAYS, "structured_predict", "astructured_predict", "stream_structured_predict"]),
    st.booleans(),
)
def test_no_call_changes_the_model_or_what_it_was_given(
    name: str, model: str, own: dict[str, Any], call: dict[str, Any], way: str, forced: Any
) -> None:
    server = structured_server(name)
    try:
        llm = llm_of(server, **{**copy.deepcopy(own), "model": model or MODELS.get(name, "Qwen/Qwen3-8B")})
    except ValueError:  # a wish that this server or model has no way to meet
        return
    before, fields, given_call = snapshot(llm), llm.to_dict(), copy.deepcopy(call)
    # What we refuse, what the server refuses, and what max_tokens cut.
    with contextlib.suppress(ValueError, TypeError, openai.APIStatusError):
        asyncio.run(_anything(llm, way, call, forced=forced))
    assert snapshot(llm) == before
    assert llm.to_dict() == fields
    assert call == given_call


def test_the_conversation_stays_as_it_was() -> None:
    llm = llm_of(Vllm(tool_calls=[CALL]), enable_thinking=True)
    first = llm.chat_with_tools([WEATHER], user_msg="Oslo?").message
    history = [ChatMessage("Oslo?"), first]
    before = copy.deepcopy(history)
    tool = ChatMessage(role="tool", content=get_weather("Oslo"), additional_kwargs={"tool_call_id": "call_0"})
    llm.chat_with_tools([WEATHER], chat_history=[*history, tool])
    assert history == before
    assert any(isinstance(block, ThinkingBlock) for block in first.blocks)
