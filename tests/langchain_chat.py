"""What the tests of `ChatQwen3` share: models whose server is a script, tools, and what is read off messages."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field
from scripted_chat import ScriptedChat, httpx
from typing_extensions import TypedDict  # of typing pydantic takes it from Python 3.12 on

from langchain_qwen3.chat_models import ChatQwen3

OTHER = "http://127.0.0.1:9/v1"
"""A URL that says nothing about its server."""

SECRET = "sk-very-secret-4711"

MODELS = {"dashscope": "qwen3-8b", "ollama": "qwen3:8b", "lmstudio": "qwen3-8b", "openai": "qwen3-8b"}
"""How the servers name Qwen3-8B; the others say it as the hub does."""

CALL = {"name": "get_weather", "args": {"city": "Oslo"}}
"""What a scripted model calls where it has `get_weather`."""

ANN = {"name": "Ann", "age": 30}


@tool
def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


@tool
def get_time(city: str) -> str:
    """Tell the time in a city."""
    return f"noon in {city}"


class Person(BaseModel):
    """A person."""

    name: str = Field(description="The name")
    age: int


class PersonDict(TypedDict):
    """A person."""

    name: str
    age: int


PERSON_SCHEMA = {
    "title": "PersonSchema",
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


def chat_on(server: ScriptedChat, /, **arguments: Any) -> ChatQwen3:
    """Return a model for a scripted server, without a socket between them."""
    made = {"model": MODELS.get(server.server, "Qwen/Qwen3-8B"), "server": server.server, "base_url": server.url}
    return ChatQwen3(**{**made, "api_key": server.key, "max_retries": 0, **server.clients(), **arguments})


def sending(deltas: Sequence[dict[str, Any]], finish: str | None = "stop", **arguments: Any) -> ChatQwen3:
    """Return a model whose server streams these deltas and then, if there is one, why the model stopped."""
    return asking(lambda body: events_of(deltas, finish), **arguments)


def answering(message: dict[str, Any], finish: str = "stop", **arguments: Any) -> ChatQwen3:
    """Return a model whose server answers with this message, whole or as a delta for each character."""

    def handle(body: dict[str, Any]) -> Any:
        if body.get("stream"):
            pieces = [{key: piece} for key, value in message.items() for piece in (value or "")]
            return events_of([{"role": "assistant", "content": ""}, *pieces], finish)
        choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}
        head = {"id": "x", "object": "chat.completion", "created": 1, "model": body["model"]}
        return httpx.Response(200, json={**head, "choices": [choice]})

    return asking(handle, **arguments)


def events_of(deltas: Sequence[dict[str, Any]], finish: str | None = "stop") -> Any:
    """Return a stream of these deltas."""
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choices = [{"index": 0, "delta": delta} for delta in deltas]
    choices += [{"index": 0, "delta": {}, "finish_reason": finish}] if finish else []
    events = [json.dumps({**head, "choices": [choice]}) for choice in choices]
    text = "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"])
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=text)


def asking(handle: Callable[[dict[str, Any]], Any], **arguments: Any) -> ChatQwen3:
    """Return a model whose requests' bodies a function answers."""
    transport = httpx.MockTransport(lambda request: handle(json.loads(request.content)))
    clients = {
        "http_client": httpx.Client(transport=transport),
        "http_async_client": httpx.AsyncClient(transport=transport),
    }
    return ChatQwen3(**{"base_url": OTHER, "max_retries": 0, **clients, **arguments})


def whole(chunks: Iterable[Any]) -> Any:
    """Return the sum of the chunks of a stream."""
    first, *rest = chunks
    for chunk in rest:
        first += chunk
    return first


async def ways(model: Any, question: Any, **call: Any) -> dict[str, AIMessage]:
    """Return what a model answers in each way that there is to ask."""
    streamed = [chunk async for chunk in model.astream(question, **call)]
    events = await model.astream_events(question, version="v3", **call)
    return {
        "invoke": model.invoke(question, **call),
        "ainvoke": await model.ainvoke(question, **call),
        "stream": whole(model.stream(question, **call)),
        "astream": whole(streamed),
        "stream_events": model.stream_events(question, version="v3", **call).output,
        "astream_events": await events.output,
    }


def reasoning_in(message: Any) -> str:
    """Return the reasoning of a message's content blocks."""
    return "".join(block["reasoning"] for block in message.content_blocks if block["type"] == "reasoning")


def parted(message: Any) -> tuple[str, str]:
    """Return the reasoning, without white space around it, and the answer of a message."""
    return reasoning_in(message).strip(), message.text


def block_types(message: Any) -> list[str]:
    """Return the types of a message's content blocks."""
    return [block["type"] for block in message.content_blocks]


def called(message: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the tool calls of a message."""
    return [(call["name"], call["args"]) for call in message.tool_calls]


def each_of_one_kind(chunks: Iterable[Any]) -> bool:
    """Tell whether no chunk has more than one of reasoning, text and pieces of tool calls."""
    return all(bool(c.text) + bool(reasoning_in(c)) + bool(c.tool_call_chunks) < 2 for c in chunks)
