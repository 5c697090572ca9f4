"""`ChatQwen3` in LangChain's agents: loops of tools with reasoning passed back, structured answers, middleware."""

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    ClearToolUsesEdit,
    ContextEditingMiddleware,
    ModelRequest,
    SummarizationMiddleware,
    wrap_model_call,
)
from langchain.agents.structured_output import ProviderStrategy, StructuredOutputValidationError, ToolStrategy
from langchain.chat_models import init_chat_model
from langchain_chat import (
    ANN,
    Person,
    PersonDict,
    called,
    chat_on,
    get_time,
    get_weather,
    parted,
    reasoning_in,
    whole,
)
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.runnables import ConfigurableField
from langgraph.checkpoint.memory import InMemorySaver
from scripted_chat import SERVERS, DashScope, Reply, ScriptedChat, Sglang, Vllm

# The v3 event stream calls itself beta.
pytestmark = pytest.mark.filterwarnings("ignore:The (function|method) .* is in beta")

QUESTION = "How is the weather in Oslo and in Rome, and what time is it there?"
ASK = {"messages": [HumanMessage(QUESTION)]}
TOOLS = [get_weather, get_time]
OSLO, ROME = {"city": "Oslo"}, {"city": "Rome"}
THOUGHTS = ["First the weather in both.", "Now the time.", "I have it all."]
ANSWER = "Sunny in both, and noon."


def loop(messages: list[dict[str, Any]], tools: Any, body: dict[str, Any]) -> Reply:
    """Ask for the weather twice at once, then for the time, then answer: with a tool if there is one for that."""
    results = sum(message["role"] == "tool" for message in messages)
    if results == 0:
        return Reply("", THOUGHTS[0], [{"name": "get_weather", "args": OSLO}, {"name": "get_weather", "args": ROME}])
    if results == 2:
        return Reply("", THOUGHTS[1], [{"name": "get_time", "args": OSLO}])
    names = {tool["function"]["name"] for tool in tools}
    if "Person" in names:
        return Reply("", THOUGHTS[2], [{"name": "Person", "args": ANN}])
    return Reply('{"name": "Ann", "age": 30}' if "response_format" in body else ANSWER, THOUGHTS[2])


@pytest.fixture(params=["dashscope", "vllm", "sglang"])
def server(request: Any) -> ScriptedChat:
    return SERVERS[request.param](brain=loop, seed=7)


def thoughts_of(messages: list[Any]) -> list[str]:
    return [reasoning_in(message).strip() for message in messages if isinstance(message, AIMessage)]


def agent_on(server: ScriptedChat, *, model: dict[str, Any] | None = None, tools: Any = TOOLS, **arguments: Any) -> Any:
    chat = chat_on(server, model_kwargs={"parallel_tool_calls": True}, **(model or {}))
    return create_agent(chat, tools, system_prompt="Be brief.", **arguments)


agent_of: Any = create_agent  # its overloads want messages of their own types


# --- loops -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on", [True, False])
async def test_a_loop_of_tools_keeps_its_reasoning_to_the_end(server: ScriptedChat, on: Any) -> None:
    agent = agent_on(server, model={"enable_thinking": on})
    for state in (agent.invoke(ASK), await agent.ainvoke(ASK)):
        kinds = [type(message) for message in state["messages"]]
        assert kinds == [HumanMessage, AIMessage, ToolMessage, ToolMessage, AIMessage, ToolMessage, AIMessage]
        assert called(state["messages"][1]) == [("get_weather", OSLO), ("get_weather", ROME)]
        assert [message.content for message in state["messages"][2:4]] == ["sunny in Oslo", "sunny in Rome"]
        assert state["messages"][-1].text == ANSWER
        assert thoughts_of(state["messages"]) == (THOUGHTS if on else [""] * 3)
        assert [kept.strip() for kept in server.seen.kept] == (THOUGHTS[:2] if on else [])
    assert len(server.plans) == len(server.requests) == 6


@pytest.mark.parametrize("on", [True, False])
async def test_a_loop_can_be_streamed(server: ScriptedChat, on: Any) -> None:
    agent = agent_on(server, model={"enable_thinking": on})
    later = [part async for part in agent.astream(ASK, stream_mode="messages")]
    for parts in (list(agent.stream(ASK, stream_mode="messages")), later):
        turns: dict[str, list[AIMessageChunk]] = {}
        for message, _ in parts:
            if isinstance(message, AIMessageChunk):
                turns.setdefault(str(message.id), []).append(message)
        messages = [whole(chunks) for chunks in turns.values()]
        assert [parted(message) for message in messages] == [
            (THOUGHTS[turn] if on else "", ANSWER if turn == 2 else "") for turn in range(3)
        ]
        assert [len(message.tool_calls) for message in messages] == [2, 1, 0]
        assert [kept.strip() for kept in server.seen.kept] == (THOUGHTS[:2] if on else [])


async def test_a_loop_can_be_followed_by_its_events(server: ScriptedChat) -> None:
    agent = agent_on(server, model={"enable_thinking": True})
    events = [event async for event in agent.astream_events(ASK, version="v2")]
    chunks = [event["data"]["chunk"] for event in events if event["event"] == "on_chat_model_stream"]
    assert "".join(map(reasoning_in, chunks)).replace("\n", "") == "".join(THOUGHTS)
    assert "".join(chunk.text for chunk in chunks) == ANSWER


def test_a_loop_that_was_interrupted_goes_on_with_its_reasoning(server: ScriptedChat) -> None:
    agent = agent_on(server, model={"enable_thinking": True}, checkpointer=InMemorySaver(), interrupt_before=["tools"])
    config = {"configurable": {"thread_id": "1"}}
    agent.invoke(ASK, config)
    agent.invoke(None, config)  # the first results
    assert [kept.strip() for kept in server.seen.kept] == THOUGHTS[:1]
    state = agent.invoke(None, config)
    assert [kept.strip() for kept in server.seen.kept] == THOUGHTS[:2]
    assert thoughts_of(state["messages"]) == THOUGHTS
    server.brain = lambda messages, tools, body: Reply("You are welcome.", "Polite.")
    assert agent.invoke({"messages": [HumanMessage("Thanks!")]}, config)["messages"][-1].text == "You are welcome."
    assert server.seen.kept == ()


def test_an_agent_without_tools_answers() -> None:
    for server in (DashScope(), Vllm(), Sglang()):
        assert agent_on(server, tools=[]).invoke(ASK)["messages"][-1].text == server.content
        assert "tools" not in server.last


# --- structured answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "model", "native"),
    [
        ("dashscope", "qwen3-8b", False),
        ("dashscope", "qwen3.8-max", True),
        ("vllm", "Qwen/Qwen3-8B", True),
        ("sglang", "Qwen/Qwen3-8B", True),
        ("transformers", "Qwen/Qwen3-8B", False),
    ],
)
@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("tools", [TOOLS, []])
async def test_a_schema_alone_takes_the_way_that_the_profile_names(
    word: str, model: str, native: Any, on: Any, tools: Any
) -> None:
    server = SERVERS[word](brain=loop if tools else _at_once)
    agent = agent_on(server, model={"model": model, "enable_thinking": on}, tools=tools, response_format=Person)
    for state in (agent.invoke(ASK), await agent.ainvoke(ASK)):
        assert state["structured_response"] == Person(**ANN)
        assert "response_format" in server.last if native else server.last["tools"][-1]["function"]["name"] == "Person"
        assert len(server.plans) == len(server.requests)


def _at_once(messages: Any, tools: Any, body: dict[str, Any]) -> Reply:
    return loop([{"role": "tool"}] * 3, tools, body)


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("schema", [Person, PersonDict])
def test_the_servers_own_way(on: Any, schema: Any) -> None:
    for server in (DashScope(brain=loop), Vllm(brain=loop), Sglang(brain=loop)):
        model = {"enable_thinking": on, **({"model": "qwen3.8-max"} if server.server == "dashscope" else {})}
        agent = agent_on(server, model=model, response_format=ProviderStrategy(schema))
        state = agent.invoke(ASK)
        assert state["structured_response"] == (Person(**ANN) if schema is Person else ANN)
        assert thoughts_of(state["messages"]) == (THOUGHTS if on else [""] * 3)
        assert set(server.last["response_format"]["json_schema"]["schema"]["properties"]) == {"name", "age"}
        assert [kept.strip() for kept in server.seen.kept] == (THOUGHTS[:2] if on else [])


@pytest.mark.parametrize("on", [True, False])
async def test_the_way_of_a_tool_that_every_turn_forces(server: ScriptedChat, on: Any) -> None:
    agent = agent_on(server, model={"enable_thinking": on}, response_format=ToolStrategy(Person))
    for state in (agent.invoke(ASK), await agent.ainvoke(ASK), list(agent.stream(ASK, stream_mode="values"))[-1]):
        assert state["structured_response"] == Person(**ANN)
        # DashScope refuses a forced tool to a model that thinks.
        thinks = on and server.server != "dashscope"
        assert thoughts_of(state["messages"])[:3] == (THOUGHTS if thinks else [""] * 3)
        assert [kept.strip() for kept in server.seen.kept] == (THOUGHTS[:2] if thinks else [])
    assert {request["tool_choice"] for request in server.requests} == {"required"}
    assert len(server.plans) == len(server.requests)


def test_a_model_that_cannot_stop_thinking_gets_there_unforced() -> None:
    server = DashScope(brain=loop)
    agent = agent_on(server, model={"model": "qwen3-30b-a3b-thinking-2507"}, response_format=Person)
    state = agent.invoke(ASK)
    assert state["structured_response"] == Person(**ANN)
    assert thoughts_of(state["messages"])[:3] == THOUGHTS
    assert server.last["tool_choice"] == "auto"


def test_an_answer_with_tags_in_it_is_read_as_json() -> None:
    server = Vllm(brain=loop, reasoning_parser=False)
    agent = agent_on(server, model={"enable_thinking": True}, response_format=ProviderStrategy(Person))
    assert agent.invoke(ASK)["structured_response"] == Person(**ANN)


def test_an_answer_that_was_cut_is_an_error() -> None:
    server = Vllm(brain=_at_once)
    agent = agent_on(server, model={"enable_thinking": False, "max_tokens": 2}, tools=[], response_format=Person)
    with pytest.raises(StructuredOutputValidationError):
        agent.invoke(ASK)


# --- middleware --------------------------------------------------------------------------------------------


async def test_each_turn_can_have_its_own_wishes(server: ScriptedChat) -> None:
    @wrap_model_call
    async def athink_first(request: ModelRequest, handler: Any) -> Any:
        return await handler(request.override(model_settings=_first(request)))

    @wrap_model_call
    def think_first(request: ModelRequest, handler: Any) -> Any:
        return handler(request.override(model_settings=_first(request)))

    def _first(request: ModelRequest) -> dict[str, Any]:
        return {"enable_thinking": len(request.messages) == 1, "temperature": 0.4}

    for state in (
        agent_on(server, middleware=[think_first]).invoke(ASK),
        await agent_on(server, middleware=[athink_first]).ainvoke(ASK),
    ):
        assert thoughts_of(state["messages"]) == [THOUGHTS[0], "", ""]
        assert server.seen.sampling["temperature"] == 0.4
        # What was thought in the loop is shown to the model, though it thinks no more.
        assert [kept.strip() for kept in server.seen.kept] == THOUGHTS[:1]


def test_wishes_of_a_turn_without_tools() -> None:
    @wrap_model_call
    def hush(request: ModelRequest, handler: Any) -> Any:
        return handler(request.override(model_settings={"enable_thinking": False}))

    server = Vllm()
    state = agent_on(server, tools=[], middleware=[hush]).invoke(ASK)
    assert parted(state["messages"][-1]) == ("", server.content)


def test_old_messages_are_summed_up_at_a_fraction_of_the_models_window() -> None:
    server = Vllm(content="They talked about much.")
    chat = chat_on(server, profile={"max_input_tokens": 200})
    summary = SummarizationMiddleware(model=chat, trigger=("fraction", 0.5), keep=("messages", 1))
    talk: list[Any] = [HumanMessage("x" * 300), AIMessage("y" * 300), HumanMessage("And now?")]
    state = agent_of(chat, [], middleware=[summary]).invoke({"messages": talk})
    assert len(server.requests) == 2
    assert "They talked about much." in state["messages"][0].text
    real = SummarizationMiddleware(model=chat_on(server), trigger=("fraction", 0.5), keep=("messages", 1))
    agent_of(chat_on(server), [], middleware=[real]).invoke({"messages": talk})
    assert len(server.requests) == 3  # 40,960 tokens have room for it


def test_the_models_own_count_decides_what_is_cleared(server: ScriptedChat) -> None:
    edit = ContextEditingMiddleware(edits=[ClearToolUsesEdit(trigger=150, keep=1)], token_count_method="model")
    agent_on(server, middleware=[edit]).invoke(ASK)
    results = [message["content"] for message in server.last["messages"] if message["role"] == "tool"]
    assert results == ["[cleared]", "[cleared]", "noon in Oslo"]


# --- choosing a model --------------------------------------------------------------------------------------


def test_init_chat_model_has_no_place_for_it_and_an_instance_does_as_well() -> None:
    # Its list of providers is closed (langchain 1.4.7, chat_models/base.py, `_get_chat_model_creator`).
    with pytest.raises(ValueError, match="Unsupported provider='qwen3'"):
        init_chat_model("qwen3-8b", model_provider="qwen3")
    thinking, plain = Vllm(brain=loop), Sglang(brain=loop)
    chat = chat_on(thinking).configurable_alternatives(
        ConfigurableField(id="chat"), default_key="vllm", sglang=chat_on(plain, enable_thinking=False)
    )
    assert reasoning_in(chat.invoke("hi"))
    assert not reasoning_in(chat.with_config(configurable={"chat": "sglang"}).invoke("hi"))
    assert (len(thinking.requests), len(plain.requests)) == (1, 1)
    state = agent_of(chat_on(thinking), TOOLS).invoke(ASK)
    assert state["messages"][-1].text == ANSWER


def test_fields_can_be_chosen_while_it_runs() -> None:
    server, other = Vllm(), Vllm(content="There.")
    with other.serve() as url:
        default = chat_on(server, http_client=None, http_async_client=None)
        clients = (default.root_client, default.root_client.timeout, str(default.root_client.base_url))
        chat = default.configurable_fields(
            enable_thinking=ConfigurableField(id="thinking"),
            model_name=ConfigurableField(id="model"),
            openai_api_base=ConfigurableField(id="url"),
            request_timeout=ConfigurableField(id="timeout"),
        )
        chosen = {"thinking": False, "model": "Qwen/Qwen3-14B", "url": url, "timeout": 3.0}
        message = chat.with_config(configurable=chosen).invoke("hi")
    assert parted(message) == ("", "There.")
    assert other.last["model"] == "Qwen/Qwen3-14B"
    assert (default.root_client, default.root_client.timeout, str(default.root_client.base_url)) == clients
    own = chat_on(server).configurable_fields(enable_thinking=ConfigurableField(id="thinking"))
    assert reasoning_in(own.invoke("hi"))
    assert not reasoning_in(own.with_config(configurable={"thinking": False}).invoke("hi"))
