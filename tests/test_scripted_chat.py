"""The scripted chat servers on the wire: where each reads and writes thinking, tools and limits."""

import json
import re
from typing import Any

import pytest
from scripted_chat import (
    SERVERS,
    DashScope,
    LlamaCpp,
    LmStudio,
    Ollama,
    OpenAIGeneric,
    Reply,
    ScriptedChat,
    Sglang,
    TransformersServe,
    Vllm,
    Xinference,
)
from scripted_chat.asking import (
    CALL,
    HI,
    LOOP,
    MODEL,
    NAMED,
    OFF_NESTED,
    OTHER_TOOL,
    TOOL,
    WITH_SCHEMA,
    ask,
    deltas_of,
    error_text,
    events_of,
    joined,
    loop_with,
    message_of,
    reasoning_in,
)


def named(value: Any) -> Any:
    """Name a test by its server, and by what the server was started with."""
    if not isinstance(value, ScriptedChat):
        return None
    plain = type(value)()
    options = {key: each for key, each in vars(value).items() if key[0] != "_" and each != getattr(plain, key)}
    return " ".join([value.server, *(f"{key}={each}" for key, each in options.items())])


every_server = pytest.mark.parametrize("word", SERVERS)


# --- the switch ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "off", "ignored"),
    [
        ("dashscope", {"enable_thinking": False}, OFF_NESTED),
        ("vllm", OFF_NESTED, {"enable_thinking": False}),
        ("sglang", OFF_NESTED, {"enable_thinking": False}),
        ("llama.cpp", OFF_NESTED, {"enable_thinking": False}),
        ("transformers", OFF_NESTED, {"reasoning_effort": "none"}),
        ("ollama", {"reasoning_effort": "none"}, OFF_NESTED),
        ("ollama", {"reasoning": {"effort": "none"}}, {"think": False}),
        ("xinference", {"enable_thinking": False}, {"reasoning_effort": "none"}),
        ("xinference", OFF_NESTED, {"thinking": False}),
        ("lmstudio", {"reasoning_effort": "none"}, OFF_NESTED),
        ("lmstudio", {"reasoning_effort": "none"}, {"reasoning_effort": "off"}),
        ("vllm", {"reasoning_effort": "none"}, {"thinking_budget": 0}),
        ("sglang", {"reasoning_effort": "none"}, {"thinking": False}),
        ("llama.cpp", {"reasoning_effort": "none"}, {"reasoning": {"effort": "none"}}),
    ],
)
def test_a_switch_works_in_its_own_place_only(word: Any, off: Any, ignored: Any) -> None:
    server = SERVERS[word](reasoning="thoughts")
    assert reasoning_in(message_of(ask(server, **off))) == ""
    assert server.seen.enable_thinking is False
    assert server.dropped == ()
    assert reasoning_in(message_of(ask(server, **ignored))).strip() == "thoughts"
    assert server.seen.enable_thinking is not False


@pytest.mark.parametrize("word", ["vllm", "sglang"])
def test_any_effort_switches_thinking_on_unless_the_template_is_told(word: Any) -> None:
    server = SERVERS[word]()
    ask(server, reasoning_effort="low")
    assert (server.seen.enable_thinking, server.seen.effort) == (True, "low")
    ask(server, reasoning_effort="low", **OFF_NESTED)
    assert server.seen.enable_thinking is False


def test_llama_cpp_lets_effort_none_win_over_the_templates_argument() -> None:
    server = LlamaCpp()
    ask(server, reasoning_effort="none", chat_template_kwargs={"enable_thinking": True})
    assert server.seen.enable_thinking is False


@every_server
def test_a_thinking_model_thinks_whatever_it_is_told(word: Any) -> None:
    server = SERVERS[word](reasoning="thoughts")
    model = "Qwen3-30B-A3B-Thinking-2507"
    off = {} if word == "dashscope" else {"transformers": OFF_NESTED}.get(word, {"reasoning_effort": "none"})
    response = ask(server, model=model, stream=True, **off)
    shown = "" if word == "openai" else "thoughts"
    assert joined(response, "reasoning", "reasoning_content").strip() == shown


@every_server
def test_an_instruct_model_never_thinks(word: Any) -> None:
    server = SERVERS[word]()
    message = message_of(ask(server, model="Qwen3-4B-Instruct-2507"))
    assert (message["content"], reasoning_in(message)) == (server.content, "")


def test_a_string_is_no_switch() -> None:
    for word in ("vllm", "sglang", "transformers", "xinference"):
        server = SERVERS[word](reasoning="thoughts")
        body = message_of(ask(server, chat_template_kwargs={"enable_thinking": "false"}))
        assert reasoning_in(body).strip() == "thoughts"


# --- where reasoning is ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "field"),
    [
        (DashScope(), "reasoning_content"),
        (Vllm(), "reasoning"),
        (Vllm(version="0.15", family=None), None),  # the old parser wants the opening tag, which Qwen3.6 does not write
        (Vllm(version="0.9", reasoning_parser=False), None),
        (Sglang(), "reasoning_content"),
        (Sglang(reasoning_parser=False), None),
        (LlamaCpp(), "reasoning_content"),
        (TransformersServe(), "reasoning_content"),
        (Ollama(), "reasoning"),
        (Xinference(), "reasoning_content"),
        (Xinference(reasoning_parser=False), None),
        (LmStudio(), "reasoning_content"),
        (LmStudio(separates=False), None),
    ],
    ids=named,
)
def test_reasoning_comes_back_in_the_servers_own_field(server: ScriptedChat, field: Any) -> None:
    fields = {"reasoning", "reasoning_content"}
    message, stream = message_of(ask(server)), ask(server, stream=True)
    if field is None:  # prefilled: there is only a closing tag
        assert message["content"] == joined(stream, "content") == f"{server.reasoning}\n</think>\n\n{server.content}"
    else:
        assert message[field].strip() == joined(stream, field).strip() == server.reasoning
        assert message["content"].strip() == joined(stream, "content").strip() == server.content
        assert not [delta for delta in deltas_of(stream) if delta.get(field) and delta.get("content")]
    assert not joined(stream, *(fields - {field}))


def test_a_hybrid_model_writes_both_tags_where_nothing_splits_them() -> None:
    server = Vllm(reasoning_parser=False, reasoning="thoughts", content="answer")
    response = ask(server, model="Qwen/Qwen3-8B")
    assert message_of(response)["content"] == "<think>\nthoughts\n</think>\n\nanswer"


def test_versions_of_vllm_differ_in_the_field() -> None:
    for version, field in (("current", "reasoning"), ("0.15", "reasoning"), ("0.9", "reasoning_content")):
        server = Vllm(version=version)  # type: ignore[arg-type]
        message = message_of(ask(server, model="Qwen/Qwen3-8B"))
        assert message[field].strip() == server.reasoning
        assert {"reasoning", "reasoning_content"} & set(message) == {field}


@pytest.mark.parametrize("separate", [True, False])
def test_sglang_separates_reasoning_unless_asked_not_to(separate: Any) -> None:
    message = message_of(ask(Sglang(), separate_reasoning=separate))
    assert bool(message["reasoning_content"]) is separate
    assert ("</think>" in message["content"]) is not separate


def test_llama_cpp_leaves_reasoning_in_the_text_with_format_none() -> None:
    assert "</think>" in message_of(ask(LlamaCpp(), reasoning_format="none"))["content"]


def test_newlines_after_thinking_stay_where_the_real_servers_leave_them() -> None:
    kept = {word for word in SERVERS if joined(ask(SERVERS[word](), stream=True), "content").startswith("\n\n")}
    assert kept == {"vllm", "sglang"}
    kept = {word for word in SERVERS if message_of(ask(SERVERS[word]()))["content"].startswith("\n\n")}
    assert kept == {"vllm"}


# --- reasoning on its way back ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "reads"),
    [
        (DashScope(), {"reasoning_content"}),
        (Vllm(), {"reasoning", "reasoning_content"}),
        (Vllm(version="0.15"), {"reasoning"}),
        (Vllm(version="0.9"), set()),
        (Sglang(), {"reasoning_content"}),
        (LlamaCpp(), {"reasoning_content"}),
        (TransformersServe(), set()),
        (Ollama(), {"reasoning"}),
        (Xinference(), {"reasoning_content"}),
        (LmStudio(), {"reasoning_content"}),
    ],
    ids=named,
)
def test_history_reaches_the_template_through_the_servers_own_field(server: ScriptedChat, reads: Any) -> None:
    for field in ("reasoning", "reasoning_content"):
        ask(server, messages=loop_with(**{field: "I need a tool."}), tools=[TOOL])
        arrived = ("I need a tool.",) if field in reads else (None,)
        assert server.seen.reasoning == arrived, field
        assert server.seen.kept == (arrived if field in reads else ())


def test_a_strict_openai_endpoint_refuses_reasoning_in_the_history() -> None:
    response = ask(OpenAIGeneric(), messages=loop_with(reasoning_content="r"))
    assert (response.status_code, error_text(response)) == (400, "Unknown parameter: 'messages[1].reasoning_content'.")


def test_the_template_drops_reasoning_before_the_last_question_unless_it_is_preserved() -> None:
    later = [*loop_with(reasoning_content="old"), {"role": "assistant", "content": "Sunny."}, *HI]
    server = Vllm()
    for model, wish, kept in (
        ("Qwen/Qwen3-8B", None, ()),
        ("Qwen/Qwen3.6-27B", None, ()),
        ("Qwen/Qwen3.6-27B", True, ("old",)),
        ("Qwen/Qwen3.8-27B", None, ("old",)),
        ("Qwen/Qwen3.8-27B", False, ()),
    ):
        kwargs = {} if wish is None else {"chat_template_kwargs": {"preserve_thinking": wish}}
        ask(server, model=model, messages=later, **kwargs)
        assert (server.seen.preserve_thinking, server.seen.kept) == (wish, kept)
    hosted = DashScope()
    ask(hosted, model="qwen3.6-plus", messages=later, preserve_thinking=True)
    assert hosted.seen.kept == ("old",)


def test_the_template_finds_reasoning_in_tags_too() -> None:
    server = Vllm()
    tagged = [LOOP[0], {**LOOP[1], "content": "<think>\nin tags\n</think>\n\nI look."}, LOOP[2]]
    ask(server, messages=tagged)
    assert server.seen.kept == ("in tags",)


def test_ollama_loses_reasoning_beside_a_list_of_parts() -> None:
    server = Ollama()
    parts = {"role": "assistant", "content": [{"type": "text", "text": "a"}], "reasoning": "r"}
    ask(server, messages=[*HI, parts, *HI])
    assert server.seen.reasoning == (None,)


def test_sglang_makes_a_question_of_a_final_answer() -> None:
    server = Sglang()
    ask(server, messages=[*HI, {"role": "assistant", "content": "9.9"}])
    assert server.seen.messages[-1] == {"role": "user", "content": "9.9"}


# --- tools, schemas, limits ------------------------------------------------------------------------------------


@every_server
def test_a_tool_call_comes_whole_and_in_pieces(word: Any) -> None:
    server = SERVERS[word](tool_calls=[CALL])
    (call,) = message_of(ask(server, tools=[TOOL]))["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("get_weather", CALL["args"])
    pieces = [
        piece for delta in deltas_of(ask(server, tools=[TOOL], stream=True)) for piece in delta.get("tool_calls") or ()
    ]
    assert {piece["index"] for piece in pieces} == {0}
    assert pieces[0]["id"]
    assert pieces[0]["function"]["name"] == "get_weather"
    assert not [piece for piece in pieces[1:] if piece.get("id") or piece["function"].get("name")]
    assert json.loads("".join(piece["function"]["arguments"] or "" for piece in pieces)) == CALL["args"]
    if word in ("transformers", "ollama"):
        assert len(pieces) == 1
    if word == "dashscope":
        assert {piece["id"] for piece in pieces[1:]} == {""}


@every_server
def test_after_a_tools_result_comes_the_answer(word: Any) -> None:
    server = SERVERS[word](tool_calls=[CALL])
    message = message_of(ask(server, tools=[TOOL], messages=LOOP))
    assert not message.get("tool_calls")
    assert message["content"].strip() == server.content


@pytest.mark.parametrize(
    ("word", "enforced"),
    [(word, word not in ("transformers", "ollama")) for word in SERVERS],
)
def test_a_forced_call_is_made_where_the_server_enforces_it(word: Any, enforced: Any) -> None:
    server = SERVERS[word](content="I would rather talk.")
    body: dict[str, Any] = {"enable_thinking": False} if word == "dashscope" else {}
    message = message_of(ask(server, tools=[OTHER_TOOL, TOOL], tool_choice="required", **body))
    assert bool(message.get("tool_calls")) is enforced
    if word in ("lmstudio",):
        return
    message = message_of(ask(server, tools=[OTHER_TOOL, TOOL], tool_choice=NAMED, **body))
    names = [call["function"]["name"] for call in message.get("tool_calls") or ()]
    # llama.cpp reads an object as "auto".
    assert names == (["get_weather"] if enforced and word != "llama.cpp" else [])


def test_vllm_says_stop_for_a_named_tool_and_tool_calls_for_any() -> None:
    for choice, reason in ((NAMED, "stop"), ("required", "tool_calls"), ("auto", "tool_calls")):
        server = Vllm(tool_calls=[CALL])
        whole, stream = (ask(server, tools=[TOOL], tool_choice=choice, stream=stream) for stream in (False, True))
        assert whole.json()["choices"][0]["finish_reason"] == reason
        assert [e["choices"][0]["finish_reason"] for e in events_of(stream) if e != "[DONE]"][-1] == reason


def test_sglang_without_a_tool_parser_leaves_calls_in_the_text() -> None:
    server = Sglang(tool_parser=False, tool_calls=[CALL])
    message = message_of(ask(server, tools=[TOOL]))
    assert message["tool_calls"] is None
    assert json.loads(re.findall(r"<tool_call>\n(.*)\n</tool_call>", message["content"])[0])["name"] == "get_weather"
    forced = message_of(ask(server, tools=[TOOL], tool_choice=NAMED))
    assert json.loads(forced["content"]) == [{"name": "get_weather", "parameters": CALL["args"]}]


@pytest.mark.parametrize(
    ("word", "enforced"), [(word, word not in ("transformers",)) for word in SERVERS if word != "dashscope"]
)
def test_a_schema_is_kept_where_the_server_enforces_it(word: Any, enforced: Any) -> None:
    server = SERVERS[word](content="no JSON at all")
    content = message_of(ask(server, response_format=WITH_SCHEMA))["content"].strip()
    assert (content == '{"n": 0}') is enforced


def test_dashscope_makes_one_call_unless_several_are_asked_for() -> None:
    server = DashScope(tool_calls=[CALL, {"name": "get_time", "args": {}}])
    for parallel, count in ((None, 1), (False, 1), (True, 2)):
        body = {} if parallel is None else {"parallel_tool_calls": parallel}
        assert len(message_of(ask(server, tools=[TOOL, OTHER_TOOL], **body))["tool_calls"]) == count


@pytest.mark.parametrize(
    ("server", "body", "thought"),
    [
        (DashScope(), {"thinking_budget": 2}, 2),
        (Vllm(), {"thinking_token_budget": 2}, 2),
        (Vllm(version="0.15"), {"thinking_token_budget": 2, "model": "Qwen/Qwen3-8B"}, 8),
        (Vllm(), {"chat_template_kwargs": {"thinking_token_budget": 2}}, 8),
        (LlamaCpp(), {"thinking_budget_tokens": 2}, 2),
        (LlamaCpp(), {"reasoning_budget_tokens": 2, "thinking_budget_tokens": 4}, 2),
        (Sglang(), {"custom_params": {"thinking_budget": 2}}, 8),
        (Sglang(strict_thinking=True), {"custom_params": {"thinking_budget": 2}}, 2),
        (
            Sglang(logit_processor=True),
            {"model": "Qwen/Qwen3-8B", "custom_params": {"thinking_budget": 2}, "custom_logit_processor": "p"},
            2,
        ),
        (
            Sglang(logit_processor=True),
            {"model": "Qwen/Qwen3.6-27B", "custom_params": {"thinking_budget": 2}, "custom_logit_processor": "p"},
            8,
        ),
        (Ollama(), {"thinking_budget": 2}, 8),
        (LmStudio(), {"thinking_budget": 2}, 8),
    ],
    ids=named,
)
def test_a_budget_cuts_the_thinking_where_it_is_enforced(server: ScriptedChat, body: Any, thought: Any) -> None:
    assert len(reasoning_in(message_of(ask(server, **body))).split()) == thought


def test_a_limit_counts_thinking_except_dashscopes() -> None:
    server = Vllm(reasoning="one two three", content="four five six")
    for limit, reasoning, content in ((2, "one two", None), (5, "one two three", "four five")):
        response = ask(server, max_tokens=limit)
        message = message_of(response)
        assert (message["reasoning"].strip(), message["content"] and message["content"].strip()) == (reasoning, content)
        assert response.json()["choices"][0]["finish_reason"] == "length"
    hosted = DashScope(reasoning="one two three", content="four five six")
    assert message_of(ask(hosted, max_tokens=2))["content"] == "four five"
    assert message_of(ask(hosted, max_completion_tokens=2))["content"] == ""


def test_a_generation_config_replaces_the_checkpoints_own_limit() -> None:
    server = TransformersServe(reasoning="", content="word " * 2000)
    for body, words in (({}, 1024), ({"generation_config": '{"top_k": 20}'}, 20), ({"max_tokens": 3}, 3)):
        assert len(message_of(ask(server, **body))["content"].split()) == words


def test_thinking_that_is_cut_has_no_closing_tag() -> None:
    server = LmStudio(separates=False, reasoning="one two three")
    assert message_of(ask(server, model="qwen3-8b", max_tokens=2))["content"] == "<think>\none two"


def test_a_brain_sees_what_the_server_lets_it_see() -> None:
    seen: list[Any] = []

    def brain(messages: Any, tools: Any, body: Any) -> Reply:
        seen.append((messages[-1]["content"], [tool["function"]["name"] for tool in tools], body["model"]))
        return Reply(content="from a brain")

    server = Ollama(brain=brain)
    assert message_of(ask(server, tools=[TOOL], tool_choice="none"))["content"] == "from a brain"
    assert message_of(ask(Vllm(brain=brain), tools=[TOOL], tool_choice="none"))["content"].strip() == "from a brain"
    assert seen == [(HI[0]["content"], ["get_weather"], MODEL), (HI[0]["content"], [], MODEL)]
