"""`collect_reasoning`: what models thought behind layers that hand on strings."""

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from llama_index.core import get_response_synthesizer
from llama_index.core.async_utils import asyncio_run
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import NodeWithScore, TextNode
from llamaindex_chat import scripted

from llamaindex_qwen3.llms import Qwen3
from llamaindex_qwen3.reasoning import collect_reasoning
from llamaindex_qwen3.testing.chat_server import ScriptedChatServer

PROMPT = PromptTemplate("{q}")
NODES = [NodeWithScore(node=TextNode(text="Milvus stores vectors."), score=1.0)]


@pytest.fixture
def server() -> ScriptedChatServer:
    return ScriptedChatServer(reasoning="Let me think.", content="So.")


@pytest.fixture
def llm(server: ScriptedChatServer) -> Qwen3:
    return scripted(server)


def test_every_way_to_ask_is_collected(llm: Any) -> None:
    messages = [ChatMessage("hi")]
    ways: list[Any] = [
        lambda: llm.chat(messages),
        lambda: list(llm.stream_chat(messages)),
        lambda: llm.complete("hi"),
        lambda: list(llm.stream_complete("hi")),
        lambda: llm.predict(PROMPT, q="hi"),
        lambda: list(llm.stream(PROMPT, q="hi")),
    ]
    for way in ways:
        with collect_reasoning() as reasoning:
            assert not reasoning
            way()
        assert reasoning.text == "".join(reasoning) == "Let me think."


def test_nothing_is_collected_outside(llm: Any) -> None:
    llm.complete("before")
    with collect_reasoning() as reasoning:
        pass
    llm.complete("after")
    assert (list(reasoning), reasoning.text, reasoning.texts) == ([], "", [])


def test_calls_are_told_apart_and_in_order(llm: Any, server: Any) -> None:
    with collect_reasoning() as reasoning:
        for server.reasoning in ("one", "", "three"):
            llm.complete("hi")
    assert reasoning.texts == ["one", "three"]
    assert reasoning.text == "one\n\nthree"
    assert (reasoning[0], reasoning[:2], len(reasoning)) == ("one", ["one", "three"], 2)


def test_streams_that_run_side_by_side_are_not_mixed(llm: Any) -> None:
    with collect_reasoning() as reasoning:
        first, second = llm.stream_complete("a"), llm.stream_complete("b")
        for _ in zip(first, second, strict=True):
            pass
    assert reasoning.texts == ["Let me think."] * 2
    assert list(reasoning)[:2] == ["Let", "Let"]


def test_a_stream_belongs_to_the_block_it_was_asked_for_in(llm: Any) -> None:
    with collect_reasoning() as reasoning:
        stream = llm.stream(PROMPT, q="hi")
    assert not reasoning
    with collect_reasoning() as other:
        assert "".join(stream) == "So."
    assert reasoning.text == "Let me think."
    assert not other


def test_pieces_are_told_as_they_arrive_and_before_the_answer(llm: Any) -> None:
    shown: list[str] = []
    with collect_reasoning(shown.append) as reasoning:
        for response in llm.stream_complete("hi"):
            assert "".join(shown) == reasoning.text == response.additional_kwargs["reasoning"]
            assert not response.delta or reasoning.text == "Let me think."
    assert shown == ["Let", " me", " th", "ink", "."]


def test_blocks_nest(llm: Any) -> None:
    with collect_reasoning() as outer:
        with collect_reasoning() as inner:
            llm.complete("hi")
        llm.complete("hi")
    assert (len(inner), len(outer)) == (1, 2)


def test_a_block_that_fails_ends_too(llm: Any) -> None:
    with pytest.raises(KeyError), collect_reasoning() as reasoning:
        raise KeyError
    llm.complete("hi")
    assert not reasoning


async def test_tasks_and_threads_carry_it_along(llm: Any) -> None:
    with collect_reasoning() as reasoning:
        await asyncio.gather(*(asyncio.to_thread(llm.complete, "hi") for _ in range(4)))
        with ThreadPoolExecutor() as pool:
            pool.submit(contextvars.copy_context().run, llm.complete, "hi").result()
    assert reasoning.texts == ["Let me think."] * 5


async def _twice(llm: Qwen3) -> None:
    await asyncio.gather(*(asyncio.create_task(llm.acomplete("hi")) for _ in range(2)))
    async for _ in await llm.astream(PROMPT, q="hi"):
        pass


async def test_async_calls_are_collected_also_through_the_loops_of_llamaindex() -> None:
    with ScriptedChatServer(reasoning="Let me think.", content="So.") as server:
        llm = Qwen3(api_base=server.url)
        with collect_reasoning() as reasoning:
            await _twice(llm)
            asyncio_run(_twice(llm))  # a loop is running here, so this is another one in another thread
    assert reasoning.texts == ["Let me think."] * 6


@pytest.mark.parametrize("mode", [ResponseMode.COMPACT, ResponseMode.REFINE, ResponseMode.TREE_SUMMARIZE])
async def test_synthesizers_lose_it_and_the_block_brings_it_back(mode: Any) -> None:
    with ScriptedChatServer(reasoning="Let me think.", content="So.") as server:
        llm = Qwen3(api_base=server.url)
        synthesizer = get_response_synthesizer(llm=llm, response_mode=mode)
        with collect_reasoning() as reasoning:
            assert str(synthesizer.synthesize("hi", NODES)) == "So."
            assert str(await synthesizer.asynthesize("hi", NODES)) == "So."
        assert reasoning.texts == ["Let me think."] * 2


@pytest.mark.parametrize("mode", [ResponseMode.COMPACT, ResponseMode.REFINE, ResponseMode.TREE_SUMMARIZE])
async def test_streams_of_synthesizers_ask_when_they_are_read(mode: Any) -> None:
    with ScriptedChatServer(reasoning="Let me think.", content="So.") as server:
        streaming = get_response_synthesizer(llm=Qwen3(api_base=server.url), response_mode=mode, streaming=True)
        with collect_reasoning() as reasoning:
            response: Any = streaming.synthesize("hi", NODES)
        assert "".join(reasoning.reading(response.response_gen)) == "So."
        assert reasoning.text == "Let me think."
        with collect_reasoning() as reasoning:
            response = await streaming.asynthesize("hi", NODES)
        assert "".join([piece async for piece in reasoning.areading(response.response_gen)]) == "So."
        assert reasoning.text == "Let me think."


def test_reading_twice_in_one_block_collects_once(llm: Any) -> None:
    with collect_reasoning() as reasoning:
        late = (llm.predict(PROMPT, q=question) for question in ["hi"])
        assert list(reasoning.reading(late)) == ["So."]
    assert reasoning.texts == ["Let me think."]
