"""What users of LlamaIndex lost hours to with Qwen3, one test each, on the wire.

The issues are of run-llama/llama_index unless another repository is named.
"""

from typing import Any

import openai
import pytest
from llama_index.core import get_response_synthesizer
from llama_index.core.agent.workflow import AgentStream, FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, TextBlock, ThinkingBlock
from llama_index.core.schema import NodeWithScore, TextNode
from llamaindex_chat import ASKED, CALL, QUESTION, WAYS, WEATHER, ask, called, llm_of, parted
from scripted_chat import SERVERS, DashScope, LlamaCpp, Ollama, Sglang, Vllm

from llamaindex_qwen3.llms import Qwen3
from llamaindex_qwen3.reasoning import collect_reasoning

OFF = {"chat_template_kwargs": {"enable_thinking": False}}
NODES = [NodeWithScore(node=TextNode(text="9.9 is 9.90."), score=1.0)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [Vllm, Sglang])
@pytest.mark.parametrize("own", [{"extra_body": OFF}, {"additional_kwargs": {"extra_body": OFF}}])
async def test_pain_01_thinking_that_is_switched_off_in_the_body_stays_off(kind: Any, way: str, own: Any) -> None:
    """#18635: ``chat_template_kwargs`` "does not take effect", and what a constructor says cannot be taken back."""
    server = kind()
    llm = llm_of(server, **own)
    assert parted((await ask(llm, way))[-1]) == ("", server.content)
    assert server.seen.enable_thinking is False
    assert parted((await ask(llm, way, enable_thinking=True))[-1])[0].strip() == server.reasoning
    assert parted((await ask(llm, way, extra_body={"top_k": 3}))[-1])[0] == ""
    assert server.seen.sampling["top_k"] == 3


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # LlamaIndex's workflows use old names of pydantic
@pytest.mark.parametrize("kind", [DashScope, Sglang, LlamaCpp])
async def test_pain_02_agents_keep_reasoning_content(kind: Any) -> None:
    """#19124: an agent on a server that says ``reasoning_content`` loses it, and the model never sees it again."""
    server = kind(tool_calls=[CALL])
    agent = FunctionAgent(llm=llm_of(server, enable_thinking=True), tools=[WEATHER], timeout=30)
    output: Any = await agent.run("What is the weather in Oslo?")
    assert any(isinstance(block, ThinkingBlock) and block.content for block in output.response.blocks)
    assert server.seen.kept == (server.reasoning,)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", ["0.9", "0.15", "current"])
@pytest.mark.parametrize("model", ["Qwen/Qwen3-8B", "Qwen/Qwen3.5-9B"])
async def test_pain_03_the_field_that_vllm_renamed_is_read_under_both_names(model: str, version: Any, way: str) -> None:
    """#21075: Qwen3.5 on a new vLLM answers in ``reasoning``, and the thinking is gone."""
    server = Vllm(version=version)
    thought, said = parted((await ask(llm_of(server, model=model, enable_thinking=True), way))[-1])
    assert (thought.strip(), said) == (server.reasoning, server.content)


@pytest.mark.parametrize("way", WAYS)
async def test_pain_04_thinking_can_be_switched_off_on_ollama(way: str) -> None:
    """#18590: there is no way to switch it off, or one for the whole model only."""
    server = Ollama()
    llm = llm_of(server, model="qwen3:8b")
    assert parted((await ask(llm, way))[-1])[0] == server.reasoning
    assert parted((await ask(llm, way, enable_thinking=False))[-1]) == ("", server.content)
    assert server.plans[-1].thinks is False
    assert parted((await ask(llm_of(server, enable_thinking=False), way))[-1]) == ("", server.content)
    assert parted((await ask(llm, way))[-1])[0] == server.reasoning


@pytest.mark.parametrize("name", sorted(set(SERVERS) - {"openai"}))
async def test_pain_05_streams_think_alike_on_every_server(name: str) -> None:
    """#20063: one provider streams thinking as text, another as deltas, a third at the end."""
    server = SERVERS[name]()
    for way in ("stream_chat", "astream_chat"):
        responses = await ask(llm_of(server, enable_thinking=True), way)
        steps = [(response.additional_kwargs.get("thinking_delta", ""), response.delta) for response in responses]
        thoughts = [place for place, (thought, _) in enumerate(steps) if thought]
        words = [place for place, (_, word) in enumerate(steps) if word]
        assert max(thoughts) < min(words)
        for response, (place, (thought, word)) in zip(responses, enumerate(steps), strict=True):
            blocks: list[Any] = response.message.blocks
            assert not (thought and word)
            assert [type(block) for block in blocks] == [ThinkingBlock, TextBlock][: len(blocks)] or place == 0
            so_far = (
                "".join(each for each, _ in steps[: place + 1]),
                "".join(each or "" for _, each in steps[: place + 1]),
            )
            assert parted(response) == so_far


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["dashscope", "vllm", "sglang", "llama.cpp", "ollama"])
async def test_pain_06_agents_stream_thinking_deltas(name: str) -> None:
    """#20349, #19857: ``AgentStream.thinking_delta`` is always None."""
    server = SERVERS[name](tool_calls=[CALL])
    handler = FunctionAgent(llm=llm_of(server, enable_thinking=True), tools=[WEATHER], timeout=30).run("Oslo?")
    events = [event async for event in handler.stream_events() if isinstance(event, AgentStream)]
    assert str(await handler) == "".join(event.delta for event in events) == server.content
    thoughts = [event.thinking_delta for event in events if event.thinking_delta]
    assert "".join(thoughts).replace("\n", "") == (server.reasoning * 2).replace("\n", "")
    assert len(thoughts) > 8


@pytest.mark.parametrize("name", ["dashscope", "vllm", "sglang", "llama.cpp", "ollama"])
async def test_pain_07_what_the_model_thought_can_be_shown(name: str) -> None:
    """#17766, #18488: there is no way to show it, least of all behind a query engine, which hands on strings."""
    server = SERVERS[name]()
    llm = llm_of(server, enable_thinking=True)
    for way in WAYS:
        assert parted((await ask(llm, way))[-1])[0].strip() == server.reasoning
    shown: list[str] = []
    synthesizer = get_response_synthesizer(llm=llm)
    with collect_reasoning(shown.append) as reasoning:
        answers = [synthesizer.synthesize(QUESTION, NODES), await synthesizer.asynthesize(QUESTION, NODES)]
    assert [str(answer) for answer in answers] == [server.content] * 2
    assert [text.strip() for text in reasoning.texts] == [server.reasoning] * 2
    assert "".join(shown).strip().startswith(server.reasoning)


@pytest.mark.parametrize("model", ["qwen3-8b", "qwen-plus", "qwen3-4b-thinking-2507", "qwq-plus"])
async def test_pain_08_dashscope_thinks_in_calls_that_are_not_streamed(model: str) -> None:
    """infiniflow/ragflow#8972, langchain4j/langchain4j#3974: a 400 for every such call, with tools or without."""
    server = DashScope()
    llm = llm_of(server, model=model, **({} if model in ("qwen3-4b-thinking-2507", "qwq-plus") else ON))
    bare = llm._connected.blocking.chat.completions
    with pytest.raises(openai.BadRequestError, match="stream"):  # the server refuses what a bare client sends
        bare.create(model=model, messages=[{"role": "user", "content": QUESTION}], extra_body=ON)
    for way in ("chat", "achat", "complete", "acomplete"):
        (response,) = await ask(llm, way)
        assert parted(response) == (server.reasoning, server.content)
        assert response.additional_kwargs["completion_tokens"] > 0
    server.tool_calls = [CALL]
    for response in (
        llm.chat_with_tools([WEATHER], user_msg="Oslo?"),
        await llm.achat_with_tools([WEATHER], user_msg="Oslo?"),
    ):
        assert called(llm, response) == [("get_weather", {"city": "Oslo"})]
        assert parted(response)[0] == server.reasoning
    assert str(llm.predict_and_call([WEATHER], user_msg="Oslo?")) == "sunny in Oslo"


ON = {"enable_thinking": True}


def test_pain_08_the_open_models_do_not_think_unasked_where_they_would_be_refused() -> None:
    """The same 400 comes for models that think by default, with no switch in sight."""
    server = DashScope()
    assert parted(llm_of(server).chat(ASKED)) == ("", server.content)
    assert server.last["enable_thinking"] is False
    assert parted(list(llm_of(server).stream_chat(ASKED))[-1])[0] == server.reasoning


def test_a_conversation_of_many_turns_keeps_its_answers_and_not_its_thoughts() -> None:
    """What the history takes along is the answer alone; see `test_pain_02_agents_keep_reasoning_content` for loops."""
    server = Vllm()
    llm: Qwen3 = llm_of(server, enable_thinking=True)
    history: list[Any] = []
    for turn in range(3):
        history.append(ChatMessage(f"Question {turn}?"))
        history.append(llm.chat(history).message)
    assert [message["content"] for message in server.last["messages"][1::2]] == [server.content] * 2
    assert server.seen.kept == ()
