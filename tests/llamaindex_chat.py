"""What the tests of `Qwen3` for LlamaIndex share: models whose server is a script, and what is read off responses."""

import inspect
import json
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole, TextBlock, ThinkingBlock
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from scripted_chat import SERVERS, ScriptedChat, httpx

from llamaindex_qwen3.llms import Qwen3
from llamaindex_qwen3.testing.chat_server import ScriptedChatServer
from llamaindex_qwen3.testing.llm import Person, get_weather

OTHER = "http://127.0.0.1:9/v1"
"""A URL that says nothing about its server."""

QUESTION = "Which is larger, 9.11 or 9.9?"
ASKED = [ChatMessage(QUESTION)]
EARLIER = [
    ChatMessage("Hello"),
    ChatMessage(role=MessageRole.ASSISTANT, blocks=[ThinkingBlock(content="A greeting."), TextBlock(text="Hi!")]),
    *ASKED,
]
"""A conversation whose answer of before was thought about."""

WEATHER = FunctionTool.from_defaults(get_weather)
CALL = {"name": "get_weather", "args": {"city": "Oslo"}}
"""What a scripted model calls where it has `WEATHER`."""

MODELS = {"dashscope": "qwen3-8b", "ollama": "qwen3:8b", "lmstudio": "qwen3-8b", "openai": "qwen3-8b"}
"""How the servers name Qwen3-8B; the others say it as the hub does."""

ANN = Person(name="Ann", age=30)
PROMPT = PromptTemplate("Who is {text}? Answer in JSON.")

WAYS = ("chat", "achat", "stream_chat", "astream_chat", "complete", "acomplete", "stream_complete", "astream_complete")
"""All methods that answer."""


def llm_of(server: ScriptedChat, **arguments: Any) -> Qwen3:
    """Return a model for a scripted server, without a socket between them."""
    clients = server.clients()
    clients["async_http_client"] = clients.pop("http_async_client")
    made = {"model": MODELS.get(server.server, "Qwen/Qwen3-8B"), "server": server.server, "api_base": server.url}
    return Qwen3(**{**made, "api_key": server.key, "max_retries": 0, **clients, **arguments})


def replying(handle: Any, **arguments: Any) -> Qwen3:
    """Return a model whose requests a function answers."""
    client = httpx.Client(transport=httpx.MockTransport(handle))
    return Qwen3(**{"api_base": OTHER, "http_client": client, "max_retries": 0, **arguments})


def scripted(server: ScriptedChatServer, **arguments: Any) -> Qwen3:
    """Return a model for the contract's server, without a socket between them."""

    def handle(request: Any) -> Any:
        status, kind, text = server.answer(json.loads(request.content))
        return httpx.Response(status, headers={"content-type": kind}, content=text)

    return replying(handle, **arguments)


async def ask(llm: Qwen3, way: str, question: Any = ASKED, **call: Any) -> list[Any]:
    """Ask in one of the `WAYS` and return the responses: one, or those of a stream."""
    if "complete" in way:
        question = question if isinstance(question, str) else question[-1].content
    result = getattr(llm, way)(question, **call)
    if inspect.isawaitable(result):
        result = await result
    if hasattr(result, "__aiter__"):
        return [response async for response in result]
    return list(result) if "stream" in way else [result]


def parted(response: Any) -> tuple[str, str]:
    """Return the reasoning and the answer of a response or a completion."""
    if hasattr(response, "text"):
        return response.additional_kwargs.get("reasoning", ""), response.text
    thoughts = [block.content or "" for block in response.message.blocks if isinstance(block, ThinkingBlock)]
    return "".join(thoughts), response.message.content or ""


def called(llm: Qwen3, response: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the tool calls of a response."""
    calls = llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
    return [(call.tool_name, call.tool_kwargs) for call in calls]


def snapshot(llm: Qwen3) -> str:
    """Return all fields of a model, with what is in them and what `to_dict` leaves out."""
    return repr({name: getattr(llm, name) for name in type(llm).model_fields})


async def ask_with_tools(llm: Qwen3, way: str, **call: Any) -> Any:
    """Return the last response of `chat_with_tools` or one of its three twins."""
    made = {"tools": [WEATHER], "user_msg": "Oslo?", **call}
    method = getattr(llm, f"{way}_with_tools")
    if way == "chat":
        return method(**made)
    if way == "achat":
        return await method(**made)
    if way == "stream_chat":
        return list(method(**made))[-1]
    return [response async for response in await method(**made)][-1]


def structured_server(name: str) -> ScriptedChat:
    """Return a server whose model answers with Ann, as text or as a call, and thinks about braces before."""
    return SERVERS[name](
        reasoning='I could say {} or {"name": "Bob"}.',
        content=ANN.model_dump_json(),
        tool_calls=[{"name": "Person", "args": ANN.model_dump()}],
    )
