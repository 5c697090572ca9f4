"""`Qwen3` for LlamaIndex: its published contract, construction, copies, sizes, messages, and a real llama.cpp."""

import asyncio
import copy
import json
import logging
import pickle
import socket
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from llama_index.core.base.llms.types import (
    AudioBlock,
    ChatMessage,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.memory import Memory
from llama_index.core.node_parser import SentenceSplitter, TokenTextSplitter
from llama_index.core.prompts import PromptTemplate
from llamaindex_chat import ASKED, OTHER, WEATHER, llm_of, parted, replying, scripted
from scripted_chat import DashScope, httpx
from sqlalchemy.ext.asyncio import create_async_engine
from tokenizers import Tokenizer

from llamaindex_qwen3.llms import Qwen3
from llamaindex_qwen3.testing.chat_server import ScriptedChatServer
from llamaindex_qwen3.testing.llm import Person, ThinkingLLMContract
from qwen3_cli.demo_server import smollm2_server

SECRET = "sk-very-secret-4711"


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DASHSCOPE_API_KEY", "DASHSCOPE_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    # Traps: none of these may ever be used.
    for name in ("ADMIN_KEY", "API_KEY", "API_BASE", "BASE_URL", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", f"http://trap-{name.lower()}.invalid")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer trap\nX-Trap: trap")


@pytest.fixture
def server() -> DashScope:
    return DashScope()


class TestContract(ThinkingLLMContract):
    """What is published for everybody."""

    def make(self, url: str, **kwargs: Any) -> Qwen3:
        return Qwen3(api_base=url, max_retries=0, **kwargs)


# --- construction ------------------------------------------------------------------------------------------


def test_the_default_is_dashscope_in_beijing(server: Any) -> None:
    llm = llm_of(server)
    assert llm.api_base == Qwen3(api_key="k").api_base == DashScope.url
    assert llm.complete("hi").text == server.content
    headers = server.headers[-1]
    assert headers["authorization"] == f"Bearer {server.key}"
    assert not [name for name in headers if name.startswith("openai-")]
    assert "trap" not in json.dumps(headers)


@pytest.mark.parametrize("arguments", [{}, {"api_base": OTHER, "server": "dashscope"}, {"api_key": ""}])
def test_dashscope_without_a_key_is_an_error_that_says_what_to_set(arguments: Any) -> None:
    with pytest.raises(ValueError, match=r"DASHSCOPE_API_KEY.*point api_base.*OPENAI_API_KEY is never used"):
        Qwen3(**arguments)


def test_dashscopes_key_goes_to_dashscope_only(monkeypatch: Any) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", SECRET)
    assert Qwen3().api_key.get_secret_value() == SECRET
    assert Qwen3(api_base=OTHER).api_key.get_secret_value() == "not-needed"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"enable_thinkin": True}, "Qwen3 has no argument 'enable_thinkin'. Did you mean 'enable_thinking'"),
        ({"server": "mlx"}, "server"),
        ({"server": "tei"}, "no chat server"),
        ({"thinking_budget": 0}, "greater than or equal to 1"),
        ({"enable_thinking": "yes please"}, "enable_thinking"),
        ({"max_tokens": 0}, "greater than or equal to 1"),
        ({"additional_kwargs": {"enable_thinking": True}}, "arguments of their own"),
        ({"additional_kwargs": {"top_k": 3}}, "additional_kwargs has no argument 'top_k'.*go into extra_body"),
    ],
)
def test_refused_arguments(arguments: Any, text: Any) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        Qwen3(api_key=SECRET, **arguments)
    assert SECRET not in str(caught.value)


def test_a_key_shows_nowhere(server: Any, caplog: Any) -> None:
    llm = llm_of(server, api_key=SECRET, default_headers={"X-Token": SECRET})
    with caplog.at_level(logging.DEBUG), pytest.raises(openai.AuthenticationError) as caught:
        llm.chat(ASKED)
    shown = [repr(llm), str(llm), llm.to_json(), str(llm.to_payload()), str(caught.value), caplog.text]
    shown += [repr(llm._clients and llm._clients.connection), repr(pickle.loads(pickle.dumps(llm)))]
    assert not [text for text in shown if SECRET in text]


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda llm: pickle.loads(pickle.dumps(llm))])
def test_copies_work_and_leave_the_original_alone(how: Any, used: Any, caplog: Any) -> None:
    llm = Qwen3(api_base=OTHER, api_key=SECRET, enable_thinking=True, extra_body={"x": {"y": 1}})
    if used:
        assert llm._connected.blocking
        assert llm._connected.asynchronous
    twin = how(llm)
    assert twin.to_dict() == llm.to_dict()
    assert twin.api_key.get_secret_value() == SECRET
    assert str(twin._connected.blocking.base_url) == f"{OTHER}/"
    assert "unpickleable" not in caplog.text
    assert llm.callback_manager is not None


def test_a_pickled_instance_keeps_its_clients() -> None:
    with ScriptedChatServer() as server:
        llm = scripted(server)
        pickle.dumps(llm)
        assert llm.complete("hi").text == server.content
        assert copy.deepcopy(llm).complete("hi").text == server.content
        assert len(server.requests) == 2


def test_a_copy_with_another_url_goes_there() -> None:
    llm = Qwen3(api_base=OTHER)
    assert llm._connected.blocking
    twin = llm.model_copy(update={"api_base": "http://127.0.0.1:8/v1"})
    assert str(twin._connected.blocking.base_url) == "http://127.0.0.1:8/v1/"


def test_from_dict_takes_the_key_from_where_it_belongs(monkeypatch: Any, server: Any) -> None:
    llm = llm_of(server, thinking_budget=7, temperature=0.6)
    with pytest.raises(ValueError, match="DASHSCOPE_API_KEY"):
        Qwen3.from_dict(llm.to_dict())
    monkeypatch.setenv("DASHSCOPE_API_KEY", SECRET)
    twin = Qwen3.from_dict(llm.to_dict())
    assert (twin.api_key.get_secret_value(), twin.thinking_budget, twin.temperature) == (SECRET, 7, 0.6)
    assert Qwen3.from_json(llm.to_json()).to_dict() == twin.to_dict() == llm.to_dict()


def test_a_host_that_does_not_answer_is_noticed_soon() -> None:
    clients = Qwen3(api_base=OTHER)._connected
    assert clients.blocking.timeout == clients.asynchronous.timeout == openai.Timeout(600, connect=10)
    assert Qwen3(api_base=OTHER, timeout=3)._connected.blocking.timeout == openai.Timeout(3)


def test_the_callers_arguments_stay_as_they_are(server: Any) -> None:
    arguments = {"extra_body": {"x": {"y": 1}}, "additional_kwargs": {"seed": 1, "extra_body": {"top_k": 2}}}
    before = copy.deepcopy(arguments)
    llm = llm_of(server, **arguments)
    llm.chat(ASKED, enable_thinking=True, extra_body={"x": {"z": 2}})
    assert arguments == before
    sent = {name: server.last[name] for name in ("seed", "top_k", "x")}
    assert sent == {"seed": 1, "top_k": 2, "x": {"y": 1, "z": 2}}


# --- sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "window", "output"),
    [
        ({"api_base": OTHER}, 40_960, 4096),
        ({}, 131_072, 4096),
        ({"api_base": OTHER, "model": "my-own-model"}, 32_768, 4096),
        ({"api_base": OTHER, "model": "Qwen/Qwen3-4B-Instruct-2507"}, 262_144, 4096),
        ({"api_base": OTHER, "max_tokens": 300}, 40_960, 300),
        ({"api_base": OTHER, "context_window": 1000, "max_tokens": 900}, 1000, 500),
        ({"api_base": OTHER, "server": "llama.cpp", "thinking_budget": 38_912}, 40_960, 4096),
        ({"api_base": OTHER, "num_output": 77}, 40_960, 77),
        ({"api_base": OTHER, "model": "Qwen/Qwen3.5-9B"}, 262_144, 4096),
        ({"model": "qwen-plus"}, 1_000_000, 4096),
        ({"model": "qwen3.8-max"}, 1_000_000, 4096),
        ({"server": "ollama", "api_base": OTHER, "model": "qwen3:8b"}, 40_960, 4096),
    ],
)
def test_metadata(arguments: Any, window: int, output: int) -> None:
    metadata = Qwen3(api_key="k", **arguments).metadata
    assert (metadata.context_window, metadata.num_output) == (window, output)
    # It raises where nothing is left.
    assert PromptHelper.from_llm_metadata(metadata).repack(PromptTemplate("{context_str}"), ["a few words"])


CHINESE = "向量数据库存储嵌入向量并按相似度检索。" * 3


def test_the_models_own_tokenizer_counts_exactly(qwen3_tokenizer_folder: Any) -> None:
    whole = Tokenizer.from_file(str(qwen3_tokenizer_folder / "tokenizer.json"))
    count = Qwen3(api_base=OTHER, tokenizer=str(qwen3_tokenizer_folder)).tokenizer_fn
    for text in ("Milvus stores vectors.", CHINESE, "def f(x):\n    return x ** 2", ""):
        assert count(text) == whole.encode(text, add_special_tokens=False).ids
    assert len(count("<|im_end|>")) > 1  # text is data


async def test_a_memory_keeps_what_fits_by_the_models_own_tokenizer(qwen3_tokenizer_folder: Any) -> None:
    count = Qwen3(api_base=OTHER, tokenizer=str(qwen3_tokenizer_folder)).tokenizer_fn
    turns = [ChatMessage(f"{number} {CHINESE}") for number in range(4)]
    room = sum(len(count(turn.content or "")) for turn in turns)

    async def kept(limit: int, **tokenizer: Any) -> int:
        engine = create_async_engine("sqlite+aiosqlite:///:memory:")  # ours, so that it can be closed
        options: dict[str, Any] = {"token_limit": limit, "chat_history_token_ratio": 1.0, "token_flush_size": 1}
        memory = Memory.from_defaults(async_engine=engine, **options, **tokenizer)
        await memory.aput_messages(turns)
        found = await memory.aget()
        await engine.dispose()
        return len(found)

    assert await kept(room + 8, tokenizer_fn=count) == 4
    assert await kept(room - 8, tokenizer_fn=count) < 4
    assert await kept(room + 8) < 4  # LlamaIndex's default counts more tokens in Chinese than Qwen3 needs


@pytest.mark.parametrize("made", [SentenceSplitter, TokenTextSplitter])
def test_splitters_fill_chunks_by_the_models_own_tokenizer(made: Any, qwen3_tokenizer_folder: Any) -> None:
    count = Qwen3(api_base=OTHER, tokenizer=str(qwen3_tokenizer_folder)).tokenizer_fn
    text = " ".join(f"Sentence number {number} speaks of vectors." for number in range(40))
    chunks = made(chunk_size=50, chunk_overlap=0, tokenizer=count).split_text(text)
    sizes = [len(count(chunk)) for chunk in chunks]
    assert max(sizes) <= 50
    assert min(sizes[:-1]) >= 40  # no room for another sentence
    assert " ".join(chunks).split() == text.split()


def test_a_token_counter_uses_the_models_own_tokenizer_where_the_server_is_silent(qwen3_tokenizer_folder: Any) -> None:
    server = ScriptedChatServer(reasoning="", content=CHINESE)
    llm = scripted(server, tokenizer=str(qwen3_tokenizer_folder))
    handler = TokenCountingHandler(tokenizer=llm.tokenizer_fn)
    llm.callback_manager = CallbackManager([handler])
    list(llm.stream_chat(ASKED, stream_options={"include_usage": False}))
    assert handler.completion_llm_token_count == len(llm.tokenizer_fn(f"assistant: {CHINESE}"))
    handler.reset_counts()
    list(llm.stream_chat(ASKED))
    assert (handler.prompt_llm_token_count, handler.completion_llm_token_count) == (7, 5)  # the server's own counts


def test_a_tokenizer_that_is_not_there_is_an_error_and_no_download() -> None:
    with pytest.raises(ValueError, match="is not on this machine"):
        _ = Qwen3(api_base=OTHER, model="qwen3-8b").tokenizer_fn
    with pytest.raises(ValueError, match=r"tokenizer='/nowhere'.*nothing is downloaded"):
        _ = Qwen3(api_base=OTHER, tokenizer="/nowhere").tokenizer_fn


# --- messages ----------------------------------------------------------------------------------------------


def test_a_tool_loop_is_sent_as_plain_text(server: Any) -> None:
    call = ToolCallBlock(tool_call_id="1", tool_name="get_weather", tool_kwargs={"city": "Oslo"})
    sent = {"id": "2", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    llm_of(server).chat(
        [
            ChatMessage(role=MessageRole.DEVELOPER, content="be brief"),
            ChatMessage("a"),
            ChatMessage(role=MessageRole.ASSISTANT, blocks=[ThinkingBlock(content="hm"), call]),
            ChatMessage(role=MessageRole.TOOL, content="sunny", additional_kwargs={"tool_call_id": "1"}),
            ChatMessage(role=MessageRole.ASSISTANT, additional_kwargs={"tool_calls": [sent]}),
            ChatMessage(role=MessageRole.TOOL, content="rainy", additional_kwargs={"tool_call_id": "2"}),
            ChatMessage(blocks=[TextBlock(text="and "), TextBlock(text="now?")]),
        ]
    )
    messages = server.last["messages"]
    assert [message["content"] for message in messages] == ["be brief", "a", "", "sunny", "", "rainy", "and now?"]
    assert messages[0]["role"] == "system"
    assert json.loads(messages[2]["tool_calls"][0]["function"]["arguments"]) == {"city": "Oslo"}
    assert (messages[3]["tool_call_id"], messages[4]["tool_calls"]) == ("1", [sent])


def test_images_are_sent_and_other_media_refused(server: Any) -> None:
    picture = ImageBlock(image=b"\x89PNG\r\n\x1a\n", image_mimetype="image/png")
    llm = llm_of(server)
    llm.chat([ChatMessage(blocks=[TextBlock(text="what?"), picture])])
    kinds = [part["type"] for part in server.last["messages"][0]["content"]]
    assert kinds == ["text", "image_url"]
    assert server.last["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")
    with pytest.raises(ValueError, match="text and images, not a AudioBlock"):
        llm.chat([ChatMessage(blocks=[AudioBlock(audio=b"abc")])])


# --- other servers -----------------------------------------------------------------------------------------


def test_the_shared_switch_and_named_tools() -> None:
    server = ScriptedChatServer()
    llm = scripted(server, enable_thinking=False, extra_body={"chat_template_kwargs": {"x": 1}})
    llm.chat_with_tools([WEATHER], user_msg="hi", tool_choice="get_weather")
    assert server.last["chat_template_kwargs"] == {"enable_thinking": False, "x": 1}
    assert "enable_thinking" not in server.last
    assert server.last["tool_choice"] == "required"


async def test_a_server_that_is_down() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    llm = Qwen3(api_base=closed, max_retries=0)
    for call in (lambda: llm.chat(ASKED), lambda: list(llm.stream_chat(ASKED)), lambda: llm.complete("hi")):
        with pytest.raises(openai.APIConnectionError, match=rf"{closed} cannot be reached.*api_base"):
            call()
    with pytest.raises(openai.APIConnectionError, match=closed):
        await llm.achat(ASKED)
    with pytest.raises(openai.APIConnectionError, match=closed):
        _ = [response async for response in await llm.astream_chat(ASKED)]


@pytest.mark.parametrize(
    "reply",
    [
        {"json": {"error": {"message": "quota used up"}}},
        {"text": "<html>quota used up</html>", "headers": {"content-type": "text/html"}},
    ],
)
def test_a_200_without_an_answer_is_an_error(reply: Any) -> None:
    with pytest.raises(ValueError, match=r"sent no answer.*quota used up"):
        replying(lambda _: httpx.Response(200, **reply)).chat(ASKED)


# --- a real llama.cpp --------------------------------------------------------------------------------------

# The parts of Qwen3's chat template from which llama.cpp learns that a model thinks.
TEMPLATE = """
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.role == "assistant" and message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>

{% endif %}{{ message.content }}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking is false %}<think>

</think>

{% endif %}
{%- endif %}"""

# The 135M model could not think, so its words are forced; splitting them is the server's own work.
THOUGHT, SAID = "Four legs,\nthree missing.", "One leg."
GRAMMAR = {"grammar": 'root ::= "<think>\\nFour legs,\\nthree missing.\\n</think>\\n\\nOne leg."'}


@pytest.fixture(scope="module")
def llama_cpp() -> Iterator[str]:
    with smollm2_server(chat_template=TEMPLATE, context_tokens=1024, threads=1) as url:
        yield url


# Split by the server, or left in the text.
@pytest.mark.parametrize(("server", "body"), [("llama.cpp", {}), ("auto", {"reasoning_format": "none"})])
def test_llama_cpp_thinks(llama_cpp: Any, server: Any, body: Any) -> None:
    llm = Qwen3(api_base=llama_cpp, server=server, enable_thinking=True, extra_body={**GRAMMAR, **body})
    streamed = list(llm.stream_chat(ASKED))
    assert len([response for response in streamed if response.additional_kwargs.get("thinking_delta")]) > 1

    async def stream() -> Any:
        return [response async for response in await llm.astream_chat(ASKED)][-1]

    # Three event loops, one after another.
    responses = [llm.chat(ASKED), streamed[-1], *(asyncio.run(run) for run in (llm.achat(ASKED), stream(), stream()))]
    for response in responses:
        assert (parted(response)[0].strip(), parted(response)[1]) == (THOUGHT, SAID)
        assert response.additional_kwargs["completion_tokens"] > 5
    completion = llm.complete("How many legs?")
    assert (completion.additional_kwargs["reasoning"].strip(), completion.text) == (THOUGHT, SAID)


def test_llama_cpp_reads_the_switch(llama_cpp: Any) -> None:
    llm = Qwen3(api_base=llama_cpp, server="llama.cpp", max_tokens=1)
    tokens = [llm.chat(ASKED, enable_thinking=on).additional_kwargs["prompt_tokens"] for on in (True, False)]
    assert tokens[1] > tokens[0]  # by the empty think block


@pytest.mark.parametrize("enable", [False, True])
def test_llama_cpp_structured_output(llama_cpp: Any, enable: Any) -> None:
    llm = Qwen3(api_base=llama_cpp, server="llama.cpp", enable_thinking=enable, max_tokens=200, temperature=0)
    person = llm.structured_predict(Person, PromptTemplate("{text}"), text="Ann is 30 years old.")
    assert isinstance(person, Person)


def test_llama_cpp_response_format(llama_cpp: Any) -> None:
    schema = {"name": "Person", "schema": Person.model_json_schema()}
    llm = Qwen3(api_base=llama_cpp, enable_thinking=False, max_tokens=100, temperature=0)
    response = llm.chat(
        [ChatMessage("Ann is 30 years old.")], response_format={"type": "json_schema", "json_schema": schema}
    )
    assert Person.model_validate_json(response.message.content or "")
