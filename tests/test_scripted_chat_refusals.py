"""What the scripted chat servers refuse, with the real texts, and what they drop."""

import json
from typing import Any

import pytest
from scripted_chat import (
    SERVERS,
    DashScope,
    LlamaCpp,
    LmStudio,
    Ollama,
    OpenAIGeneric,
    ScriptedChat,
    Sglang,
    Status,
    TransformersServe,
    Vllm,
    Xinference,
)
from scripted_chat import dashscope as dashscope_texts
from scripted_chat import sglang as sglang_texts
from scripted_chat import vllm as vllm_texts
from scripted_chat.asking import (
    HI,
    IMAGE,
    JSON_MODE,
    MODEL,
    NAMED,
    OFF_NESTED,
    OTHER_TOOL,
    TOOL,
    WITH_SCHEMA,
    ask,
    error_text,
    events_of,
)

# --- what is refused -------------------------------------------------------------------------------------------


def refusal(server: ScriptedChat, body: dict[str, Any], status: int, text: str) -> Any:
    return pytest.param(server, body, status, text, id=f"{server.server}: {text[:60]}")


@pytest.mark.parametrize(
    ("server", "body", "status", "text"),
    [
        refusal(DashScope(), {"model": "qwen3-8b"}, 400, dashscope_texts.NOT_STREAMED_OPEN),
        refusal(DashScope(), {"model": "qwen3-8b", "enable_thinking": True}, 400, dashscope_texts.NOT_STREAMED_OPEN),
        refusal(DashScope(), {"model": "qwen-plus", "enable_thinking": True}, 400, dashscope_texts.NOT_STREAMED),
        refusal(DashScope(), {"model": "qwen3-max", "enable_thinking": True}, 400, dashscope_texts.NOT_STREAMED),
        refusal(DashScope(), {"model": "qwen3-30b-a3b-thinking-2507"}, 400, dashscope_texts.NOT_STREAMED),
        refusal(DashScope(), {"model": "qwq-plus"}, 400, dashscope_texts.STREAM_ONLY),
        refusal(
            DashScope(),
            {"model": "qwen3-next-80b-a3b-thinking", "enable_thinking": False},
            400,
            dashscope_texts.ONLY_TRUE,
        ),
        refusal(DashScope(), {"thinking_budget": 0}, 400, dashscope_texts.BAD_BUDGET.format(most=38912)),
        refusal(DashScope(), {"thinking_budget": 38913}, 400, dashscope_texts.BAD_BUDGET.format(most=38912)),
        refusal(
            DashScope(),
            {"model": "qwen3.8-max", "thinking_budget": 262145},
            400,
            dashscope_texts.BAD_BUDGET.format(most=262144),
        ),
        refusal(
            DashScope(),
            {"model": "qwen3.8-max", "thinking_budget": 9, "reasoning_effort": "low"},
            400,
            dashscope_texts.EFFORT_AND_BUDGET,
        ),
        refusal(
            DashScope(), {"model": "qwen3.8-max", "reasoning_effort": "huge"}, 400, dashscope_texts.UNVERIFIED_EFFORT
        ),
        refusal(DashScope(), {"tools": [TOOL], "tool_choice": "required"}, 400, dashscope_texts.FORCED_TOOL),
        refusal(DashScope(), {"tools": [TOOL], "tool_choice": NAMED}, 400, dashscope_texts.FORCED_TOOL),
        refusal(DashScope(), {"response_format": JSON_MODE}, 400, dashscope_texts.JSON_WHILE_THINKING),
        refusal(DashScope(), {"response_format": WITH_SCHEMA}, 400, dashscope_texts.JSON_WHILE_THINKING),
        refusal(
            DashScope(),
            {
                "response_format": JSON_MODE,
                "enable_thinking": False,
                "messages": [{"role": "user", "content": "Name one."}],
            },
            400,
            dashscope_texts.NO_JSON_WORD,
        ),
        refusal(
            DashScope(),
            {"model": "qwen3-8b", "response_format": WITH_SCHEMA, "enable_thinking": False},
            400,
            dashscope_texts.UNVERIFIED_SCHEMA,
        ),
        refusal(DashScope(), {"enable_search": True}, 400, dashscope_texts.NO_SEARCH),
        refusal(DashScope(), {"max_tokens": 0}, 400, dashscope_texts.BAD_LIMIT.format(most=32768)),
        refusal(DashScope(), {"n": 2, "stream": True}, 400, dashscope_texts.UNVERIFIED_N),
        refusal(
            DashScope(),
            {"messages": [*HI, {"role": "tool", "tool_call_id": "x", "content": "y"}]},
            400,
            dashscope_texts.TOOL_WITHOUT_CALL,
        ),
        refusal(Vllm(auto_tools=False), {"tools": [TOOL]}, 400, vllm_texts.NO_AUTO_TOOLS),
        refusal(Vllm(reasoning_parser=False), {"thinking_token_budget": 9}, 400, vllm_texts.NO_BUDGET),
        refusal(Vllm(), {"tools": []}, 400, vllm_texts.EMPTY_TOOLS),
        refusal(Vllm(), {"tool_choice": "auto"}, 400, vllm_texts.CHOICE_WITHOUT_TOOLS),
        refusal(Vllm(), {"tools": [TOOL], "tool_choice": "any"}, 400, vllm_texts.BAD_CHOICE.format(choice="any")),
        refusal(Vllm(), {"tools": [OTHER_TOOL], "tool_choice": NAMED}, 400, vllm_texts.UNKNOWN_TOOL),
        refusal(Vllm(), {"stream_options": {"include_usage": True}}, 400, vllm_texts.STREAM_OPTIONS),
        refusal(Vllm(), {"reasoning_effort": "huge"}, 400, "Input should be 'none', 'minimal', 'low'"),
        refusal(Vllm(), {"model": "Qwen/Qwen3-8B", "messages": IMAGE}, 400, "Qwen/Qwen3-8B is not a multimodal model"),
        refusal(Vllm(api_key="k"), {}, 401, "Unauthorized"),
        refusal(Vllm(models=("a",)), {}, 404, "The model `qwen3.6-plus` does not exist."),
        refusal(Sglang(), {"tool_choice": "required"}, 400, sglang_texts.NO_TOOLS_ANY),
        refusal(Sglang(), {"tool_choice": NAMED}, 400, sglang_texts.NO_TOOLS_NAMED),
        refusal(
            Sglang(),
            {"tools": [OTHER_TOOL], "tool_choice": NAMED},
            400,
            sglang_texts.UNKNOWN_TOOL.format(name="get_weather"),
        ),
        refusal(Sglang(), {"custom_logit_processor": "x"}, 400, sglang_texts.NO_PROCESSOR),
        refusal(Sglang(), {"reasoning_effort": "huge"}, 400, "invalid reasoning effort: 'huge'"),
        refusal(LlamaCpp(loading=1), {}, 503, "Loading model"),
        refusal(LlamaCpp(api_key="k"), {}, 401, "Invalid API Key"),
        refusal(TransformersServe(), {"enable_thinking": False}, 422, "Unexpected fields in the request: {'enable"),
        refusal(TransformersServe(), {"top_k": 20}, 422, "Unexpected fields in the request: {'top_k'}"),
        refusal(TransformersServe(pinned="a/b"), {}, 400, "Server is pinned to 'a/b'; requested 'qwen3.6-plus'."),
        refusal(Ollama(), {"reasoning_effort": "minimal"}, 400, "invalid reasoning value: 'minimal' (must be"),
        refusal(Ollama(newer=True), {"reasoning_effort": "huge"}, 400, "invalid reasoning value: 'huge' (must be"),
        refusal(
            Ollama(),
            {"model": "qwen2.5:7b", "reasoning_effort": "low"},
            400,
            '"qwen2.5:7b" does not support thinking',
        ),
        refusal(
            Ollama(),
            {"messages": [{"role": "user", "content": [{"type": "reasoning", "reasoning": "r"}]}]},
            400,
            "invalid message format",
        ),
        refusal(Ollama(), {"messages": [{"role": "assistant", "content": None}]}, 400, "invalid message content type"),
        refusal(Ollama(models=("a",)), {}, 404, 'model "qwen3.6-plus" not found, try pulling it first'),
        refusal(Xinference(), {"model": "qwen3.8", "reasoning_effort": "high"}, 400, "Unsupported reasoning_effort"),
        refusal(LmStudio(), {"tools": [TOOL], "tool_choice": NAMED}, 400, "Invalid tool_choice type: 'object'."),
        refusal(LmStudio(), {"response_format": JSON_MODE}, 400, "'response_format.type' must be 'json_schema' or"),
        refusal(OpenAIGeneric(), {"top_k": 20}, 400, "Unrecognized request argument supplied: top_k"),
        refusal(OpenAIGeneric(), OFF_NESTED, 400, "Unrecognized request argument supplied: chat_template_kwargs"),
    ],
)
def test_refusals_have_the_real_text_and_status(server: ScriptedChat, body: Any, status: Any, text: Any) -> None:
    response = ask(server, **body)
    assert response.status_code == status
    assert error_text(response).startswith(text)
    assert not server.plans


@pytest.mark.parametrize(
    ("server", "body"),
    [
        (DashScope(), {"model": "qwen3-8b", "stream": True}),
        (DashScope(), {"model": "qwen3-8b", "enable_thinking": False}),
        (DashScope(), {"model": "qwen-plus", "tools": [TOOL], "tool_choice": NAMED}),
        (DashScope(), {"tools": [TOOL], "tool_choice": "auto"}),
        (DashScope(), {"top_k": 20, "repetition_penalty": 1.05, "thinking_budget": 38912}),
        (DashScope(), {"enable_search": True, "stream": True}),
        (DashScope(), {"model": "qwen-plus", "response_format": WITH_SCHEMA}),
        (DashScope(), {"model": "qwen3.8-max", "thinking_budget": 0}),
        (DashScope(), {"model": "qwen3.8-max", "reasoning_effort": "none", "thinking_budget": 5}),
        (Vllm(), {"tools": [TOOL], "tool_choice": NAMED, "response_format": None}),
        (Vllm(), {"response_format": WITH_SCHEMA, "top_k": 20, "min_p": 0.0, "stream": True}),
        (Vllm(), {"messages": IMAGE}),
        (Sglang(), {"tools": [TOOL], "tool_choice": "required", "custom_params": {"thinking_budget": 9}}),
        (TransformersServe(), {"tool_choice": "required", "response_format": JSON_MODE, "n": 3}),
        (Ollama(), {"tool_choice": NAMED, "top_k": 20, "messages": IMAGE}),
        (LmStudio(), {"tools": [TOOL], "tool_choice": "required", "top_k": 20}),
        (OpenAIGeneric(), {"reasoning_effort": "low"}),
    ],
    ids=lambda value: value.server if isinstance(value, ScriptedChat) else ",".join(value),
)
def test_what_the_real_server_takes_is_taken(server: ScriptedChat, body: Any) -> None:
    assert ask(server, **body).status_code == 200


def test_dashscopes_key_is_checked() -> None:
    server = DashScope()
    response = server.clients()["http_client"].post(server.url + "/chat/completions", json={"model": MODEL})
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")


def test_dashscope_can_refuse_inside_a_stream() -> None:
    server = DashScope(errors_in_stream=True)
    response = ask(server, stream=True, tools=[TOOL], tool_choice="required")
    assert response.status_code == 200
    (event,) = events_of(response)
    assert event["error"]["message"] == dashscope_texts.FORCED_TOOL
    assert ask(server, tools=[TOOL], tool_choice="required").status_code == 400


@pytest.mark.parametrize(
    ("word", "shape"),
    [
        ("dashscope", {"error": ["code", "message", "param", "type"], "id": str, "request_id": str}),
        ("vllm", {"error": ["code", "message", "param", "type"]}),
        ("sglang", {"object": str, "message": str, "type": str, "param": None, "code": int}),
        ("llama.cpp", {"error": ["code", "message", "type"]}),
        ("transformers", {"detail": str}),
        ("ollama", {"error": ["code", "message", "param", "type"]}),
        ("xinference", {"detail": str}),
        ("lmstudio", {"error": str}),
        ("openai", {"error": ["code", "message", "param", "type"]}),
    ],
)
def test_errors_have_the_servers_own_shape(word: Any, shape: Any) -> None:
    body = ask(SERVERS[word](faults=[Status(500)])).json()
    found = {
        key: sorted(value) if isinstance(value, dict) else None if value is None else type(value)
        for key, value in body.items()
    }
    assert found == shape


# --- what is dropped -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "field", "value"),
    [
        ("dashscope", "chat_template_kwargs", {"enable_thinking": False}),
        ("vllm", "enable_thinking", False),
        ("vllm", "thinking_budget", 9),
        ("sglang", "thinking_token_budget", 9),
        ("llama.cpp", "thinking_budget", 9),
        ("transformers", "tool_choice", "required"),
        ("ollama", "tool_choice", "required"),
        ("ollama", "top_k", 20),
        ("ollama", "chat_template_kwargs", {}),
        ("ollama", "max_completion_tokens", 5),
        ("lmstudio", "enable_thinking", False),
    ],
)
def test_dropped_fields_are_recorded(word: Any, field: Any, value: Any) -> None:
    server = SERVERS[word]()
    ask(server, **{field: value})
    assert server.dropped == (field,)
    assert server.last[field] == value


def test_sampling_that_is_obeyed_is_recorded() -> None:
    sampling = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.0}
    for word, obeyed in (
        ("vllm", set(sampling)),
        ("sglang", set(sampling)),
        ("llama.cpp", set(sampling)),
        ("dashscope", {"temperature", "top_p", "top_k"}),
        ("ollama", {"temperature", "top_p"}),
        ("lmstudio", {"temperature", "top_p", "top_k"}),
    ):
        server = SERVERS[word]()
        ask(server, **sampling)
        assert set(server.seen.sampling) == obeyed, word
    local = TransformersServe()
    ask(local, temperature=0.6, generation_config=json.dumps({"top_k": 20}))
    assert local.seen.sampling == {"temperature": 0.6, "top_k": 20}
