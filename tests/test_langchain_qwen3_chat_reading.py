"""How `ChatQwen3` reads what a server sends: reasoning, answers and counts, and streams that go wrong."""

import json
from typing import Any

import openai
import pytest
from langchain_chat import (
    CALL,
    OTHER,
    answering,
    asking,
    block_types,
    chat_on,
    each_of_one_kind,
    get_weather,
    parted,
    reasoning_in,
    sending,
    ways,
    whole,
)
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from scripted_chat import (
    SERVERS,
    Cut,
    DashScope,
    Delay,
    Empty,
    LmStudio,
    Ollama,
    ScriptedChat,
    Sglang,
    Status,
    Vllm,
    httpx,
)

from langchain_qwen3.chat_models import ChatQwen3

# The v3 event stream calls itself beta.
pytestmark = pytest.mark.filterwarnings("ignore:The (function|method) .* is in beta")

QUESTION = "Which is larger, 9.11 or 9.9?"
SILENT = {"openai"}  # a strict OpenAI server never shows what it thought


@pytest.fixture(params=sorted(SERVERS))
def server(request: Any) -> ScriptedChat:
    return SERVERS[request.param](seed=3)


# --- reading what comes back -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("word", ["dashscope", "vllm", "sglang", "ollama"])
def test_a_stream_keeps_reasoning_and_answer_apart(word: str, seed: int) -> None:
    server = SERVERS[word](seed=seed, content="<b>9.9</b> is </think> larger.", reasoning="{'a': {1: <think>}}")
    chunks = list(chat_on(server).stream(QUESTION, enable_thinking=True))
    assert each_of_one_kind(chunks)
    message = whole(chunks)
    assert parted(message) == (server.reasoning, server.content)
    assert message.response_metadata["model_provider"] == "qwen"


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("content", ["\n\nso", "<think> is a tag"])
def test_either_field_holds_reasoning(field: Any, content: Any) -> None:
    model = answering({field: "why", "content": content})
    for message in (model.invoke("hi"), whole(model.stream("hi"))):
        assert parted(message) == ("why", content.lstrip("\n"))


def test_reasoning_without_an_answer() -> None:
    model = answering({"reasoning": "cut short", "content": None}, finish="length")
    for message in (model.invoke("hi"), whole(model.stream("hi"))):
        assert parted(message) == ("cut short", "")
        assert message.response_metadata["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("model", "content", "expected"),
    [
        ("m", "<think>\nwhy\n</think>\n\nso", ("why", "so")),
        ("m", "<think>\n\n</think>\n\nso", ("", "so")),
        ("m", "<think>why", ("why", "")),
        ("m", "<think>a <think> b </think> c</think>so", ("a <think> b </think> c", "so")),
        ("m", '<think>{"a": {"b": 1}}</think>{"c": 2}', ('{"a": {"b": 1}}', '{"c": 2}')),
        ("m", "use <think> and </think>", ("", "use <think> and </think>")),
        ("Qwen3-4B-Thinking-2507", "why\n</think>\n\nso", ("why", "so")),
    ],
)
def test_tags_that_a_server_left_in_the_text(model: Any, content: Any, expected: Any) -> None:
    chat = answering({"content": content}, model=model)
    chunks = list(chat.stream("hi"))
    assert each_of_one_kind(chunks)
    for message in (chat.invoke("hi"), whole(chunks)):
        assert parted(message) == expected


@pytest.mark.parametrize(
    "server",
    [Vllm(reasoning_parser=False), Sglang(reasoning_parser=False), LmStudio(separates=False), Vllm(version="0.9")],
    ids=lambda server: server.server,
)
@pytest.mark.parametrize("model", ["Qwen/Qwen3-8B", "Qwen/Qwen3.6-27B", "Qwen/Qwen3-30B-A3B-Thinking-2507"])
async def test_servers_that_do_not_split_are_read_all_the_same(server: Any, model: str) -> None:
    for message in (await ways(chat_on(server, model=model), QUESTION, enable_thinking=True)).values():
        assert parted(message) == (server.reasoning, server.content)


def test_what_comes_in_one_delta_goes_out_in_chunks_of_one_kind() -> None:
    call = {"index": 0, "id": "1", "function": {"name": "get_weather", "arguments": '{"city": '}}
    rest = {"index": 0, "function": {"arguments": '"Oslo"}'}}
    model = sending(
        [
            {"role": "assistant", "reasoning": "why", "content": "so"},
            {"content": " it", "tool_calls": [call]},
            {"content": " is", "tool_calls": [rest]},
        ]
    )
    assert each_of_one_kind(model.stream("hi"))
    stream = model.stream_events("hi", version="v3")
    message = stream.output
    assert parted(message) == ("why", "so it is")
    assert [each["args"] for each in message.tool_calls] == [{"city": "Oslo"}]
    assert sorted(block_types(message)) == ["reasoning", "text", "tool_call"]


@pytest.mark.parametrize("usage", [{}, {"reasoning_tokens": 3}, {"completion_tokens_details": {"reasoning_tokens": 3}}])
def test_counts_that_come_with_every_chunk_are_not_added_up(usage: Any) -> None:
    counts = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12, **usage}
    server = Sglang()
    original = server.chunk
    server.chunk = lambda head, choices, usage=None: original(head, choices, counts)  # type: ignore[method-assign]
    for message in (whole(chat_on(server).stream("hi")), chat_on(server).stream_events("hi", version="v3").output):
        assert message.usage_metadata is not None
        assert (message.usage_metadata["input_tokens"], message.usage_metadata["output_tokens"]) == (7, 5)
        assert message.usage_metadata.get("output_token_details", {}).get("reasoning") == (3 if usage else None)


@pytest.mark.parametrize(("wanted", "expected"), [(None, True), (True, True), (False, False)])
def test_token_counts_in_a_stream_are_on_and_can_be_turned_off(wanted: Any, expected: Any) -> None:
    arguments = {} if wanted is None else {"stream_usage": wanted}
    server = DashScope()
    assert any(chunk.usage_metadata for chunk in chat_on(server, **arguments).stream("hi")) is expected
    assert ("stream_options" in server.last) is expected
    call = whole(chat_on(server).stream("hi", **arguments))
    assert bool(call.usage_metadata) is expected


async def test_handlers_see_the_chunks_that_the_caller_sees() -> None:
    seen: list[Any] = []

    class Handler(BaseCallbackHandler):
        def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
            seen.append((token, reasoning_in(chunk.message)))

    class Async(AsyncCallbackHandler):
        async def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
            seen.append((token, reasoning_in(chunk.message)))

    server = DashScope()
    model = chat_on(server, enable_thinking=True)
    model.invoke("hi", config={"callbacks": [Handler()]})
    once = list(seen)
    assert ("".join(t for _, t in once), "".join(t for t, _ in once)) == (server.reasoning, server.content)
    seen.clear()
    await model.ainvoke("hi", config={"callbacks": [Async()]})
    assert ("".join(t for _, t in seen), "".join(t for t, _ in seen)) == (server.reasoning, server.content)


@pytest.mark.parametrize("calls", [(), (CALL, {"name": "get_weather", "args": {"city": "Rome"}})])
async def test_content_as_blocks(server: ScriptedChat, calls: Any) -> None:
    server.tool_calls, server.content = calls, server.content if not calls else ""
    model = chat_on(server, output_version="v1").bind_tools([get_weather], parallel_tool_calls=True)
    thought = ["reasoning"] if server.server not in SILENT else []
    for way, message in (await ways(model, "Oslo?", enable_thinking=True)).items():
        types = [block["type"] for block in message.content if isinstance(block, dict)]
        assert (way, types) == (way, thought + (["tool_call"] * len(calls) or ["text"]))
        assert [call["args"] for call in message.tool_calls] == [call["args"] for call in calls]


# --- what goes wrong ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("word", ["dashscope", "vllm", "ollama"])
async def test_a_stream_that_breaks_off_says_what_came(word: str, clean: bool) -> None:  # noqa: FBT001
    server = SERVERS[word](faults=[Cut(14, clean=clean)] * 4, content="x" * 90)
    model = chat_on(server)
    with pytest.raises(openai.APIConnectionError, match="broke off before the model had finished") as caught:
        list(model.stream("hi", enable_thinking=True))
    body: Any = caught.value.body
    assert body["reasoning_content"].strip().startswith("First I compare")
    with pytest.raises(openai.APIConnectionError, match="broke off"):
        _ = [chunk async for chunk in model.astream("hi", enable_thinking=True)]
    if word == "dashscope":  # where `invoke` streams inside
        with pytest.raises(openai.APIConnectionError, match="broke off"):
            model.invoke("hi", enable_thinking=True)


async def test_an_asynchronous_stream_may_be_silent_for_as_long_as_any() -> None:
    server = Vllm(pause=0.05)
    with server.serve() as url:
        model = ChatQwen3(model="m", base_url=url, server="vllm", max_retries=0)
        assert whole([chunk async for chunk in model.astream("hi")]).text == server.content
        strict = ChatQwen3(model="m", base_url=url, server="vllm", stream_chunk_timeout=0.01, max_retries=0)
        with pytest.raises(TimeoutError, match="stream_chunk_timeout"):
            _ = [chunk async for chunk in strict.astream("hi")]
    assert model.stream_chunk_timeout is None  # the base's default is 120 s


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_what_passes_is_tried_again_after_the_time_that_the_server_names(status: int) -> None:
    server = Vllm(faults=[Status(status, retry_after=0.01), Status(status, retry_after=0.01)])
    assert chat_on(server, max_retries=2).invoke("hi").text == server.content
    server.faults = [*server.faults, None, Status(status, retry_after=0.01)]  # type: ignore[list-item]
    assert whole([c async for c in chat_on(server, max_retries=1).astream("hi")]).text == server.content
    assert len(server.requests) == 5


async def test_a_server_that_is_down(unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/v1"
    model = ChatQwen3(base_url=url, max_retries=0)
    errors = []
    for call in (lambda: model.invoke("hi"), lambda: list(model.stream("hi"))):
        with pytest.raises(openai.APIConnectionError) as caught:
            call()
        errors.append(caught.value)
    with pytest.raises(openai.APIConnectionError) as caught:
        await model.ainvoke("hi")
    errors.append(caught.value)
    with pytest.raises(openai.APIConnectionError) as caught:
        _ = [chunk async for chunk in model.astream("hi")]
    errors.append(caught.value)
    for error in errors:
        assert url in str(error)
        assert "base_url" in str(error)
        assert isinstance(error.__cause__, openai.APIConnectionError)


@pytest.mark.parametrize("slow", [{"pause": 0.3}, {"faults": [Delay(0.3)]}])
def test_a_server_that_falls_silent_is_given_up(slow: Any) -> None:
    server = Ollama(**slow)
    with server.serve() as url:
        model = ChatQwen3(model="qwen3:8b", base_url=url, server="ollama", timeout=0.1, max_retries=0)
        with pytest.raises(openai.APITimeoutError, match="timed out"):
            list(model.stream("hi"))


@pytest.mark.parametrize(
    "sent",
    [
        {"json": {"error": {"message": "no such model"}}},
        {"json": {"choices": [], "note": "no such model"}},
        {"json": {"choices": None, "detail": "no such model"}},
        {"json": ["no such model"]},
        {"text": "<html>no such model</html>", "headers": {"content-type": "text/html"}},
    ],
)
async def test_a_200_without_an_answer_says_what_came_instead(sent: Any) -> None:
    model = asking(lambda body: httpx.Response(200, **sent))
    with pytest.raises(ValueError, match=rf"{OTHER} sent no answer \(base_url ends in /v1\) but: .*no such model"):
        model.invoke("hi")
    with pytest.raises(ValueError, match="no such model"):
        await model.ainvoke("hi")
    with pytest.raises(openai.APIConnectionError, match="broke off"):
        list(model.stream("hi"))


async def test_an_empty_200_is_an_error() -> None:
    model = chat_on(Vllm(faults=[Empty(), Empty()]))
    with pytest.raises(ValueError, match="sent no answer"):
        model.invoke("hi")
    with pytest.raises(ValueError, match="sent no answer"):
        await model.ainvoke("hi")


async def test_headers_come_along_if_wanted() -> None:
    server = Vllm()
    model = chat_on(server, include_response_headers=True)
    streamed = [chunk async for chunk in model.astream("hi")]
    for message in (model.invoke("hi"), whole(model.stream("hi")), await model.ainvoke("hi"), whole(streamed)):
        assert message.response_metadata["headers"]["server"] == "uvicorn"
        assert parted(message) == (server.reasoning, server.content)


@pytest.mark.parametrize("odd", [{}, {"delta": None}, {"delta": {}, "logprobs": None}])
def test_chunks_with_nothing_in_them_are_nothing(odd: Any) -> None:
    def events(body: dict[str, Any]) -> Any:
        head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        choices: list[Any] = [[{"index": 0, **odd}], None, [], [{"index": 0, "delta": {"content": "Hi."}}]]
        choices.append([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        text = "".join(f"data: {json.dumps({**head, 'choices': each})}\n\n" for each in choices)
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=text)

    assert whole(asking(events).stream("hi")).text == "Hi."


def test_a_stream_that_nobody_reads_to_its_end_is_closed() -> None:
    server = Vllm(content="x" * 5_000, pause=0.001)
    with server.serve() as url:
        stream = ChatQwen3(model="m", base_url=url, server="vllm").stream("hi")
        assert next(stream) is not None
        stream.close()  # type: ignore[attr-defined]
