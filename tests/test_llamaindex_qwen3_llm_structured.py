"""Structured output of `Qwen3`: the way that each server and model allow, whole and growing, and thinking beside it."""

import copy
import json
from typing import Any

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.types import PydanticProgramMode
from llamaindex_chat import (
    ANN,
    ASKED,
    PROMPT,
    ask,
    llm_of,
    parted,
    scripted,
    structured_server,
)
from pydantic import BaseModel, Field
from scripted_chat import SERVERS, DashScope, LmStudio, TransformersServe

from llamaindex_qwen3.llms import Qwen3
from llamaindex_qwen3.reasoning import collect_reasoning
from llamaindex_qwen3.testing.chat_server import ScriptedChatServer
from llamaindex_qwen3.testing.llm import Person

SCHEMA, TOOL, TEXT = "by its schema", "by a tool", "by the prompt alone"
ROUTES = [
    ("vllm", "Qwen/Qwen3-8B", SCHEMA),
    ("sglang", "Qwen/Qwen3-8B", SCHEMA),
    ("llama.cpp", "qwen3-8b", SCHEMA),
    ("ollama", "qwen3:8b", SCHEMA),
    ("xinference", "Qwen3-8B", SCHEMA),
    ("lmstudio", "qwen3-8b", SCHEMA),
    ("openai", "qwen3-8b", SCHEMA),
    ("dashscope", "qwen3.8-max", SCHEMA),
    ("dashscope", "qwen3.7-plus", SCHEMA),
    ("dashscope", "qwen3-8b", TOOL),
    ("dashscope", "qwen3.5-plus", TOOL),
    ("dashscope", "qwen3-4b-thinking-2507", TEXT),
    ("transformers", "Qwen/Qwen3-8B", TEXT),
]


async def structured(llm: Qwen3, way: str) -> list[Any]:
    """Return the objects that one way to ask for them gives."""
    if way == "structured_predict":
        return [llm.structured_predict(Person, PROMPT, text="Ann")]
    if way == "astructured_predict":
        return [await llm.astructured_predict(Person, PROMPT, text="Ann")]
    if way == "stream_structured_predict":
        return list(llm.stream_structured_predict(Person, PROMPT, text="Ann"))
    if way == "astream_structured_predict":
        return [each async for each in await llm.astream_structured_predict(Person, PROMPT, text="Ann")]
    return [response.raw for response in await ask(llm.as_structured_llm(Person), way)]  # type: ignore[arg-type]


STRUCTURED = (
    "structured_predict",
    "astructured_predict",
    "stream_structured_predict",
    "astream_structured_predict",
    "chat",
    "achat",
    "complete",
    "acomplete",
    "stream_chat",
    "astream_chat",
)


@pytest.mark.filterwarnings("ignore:The `json` method")  # LlamaIndex's `StructuredLLM` uses it
@pytest.mark.parametrize("enable", [True, False, None])
@pytest.mark.parametrize(("name", "model", "route"), ROUTES)
async def test_structured_output_survives_thinking_on_every_server(
    name: str, model: str, route: str, enable: Any
) -> None:
    server = structured_server(name)
    wish = None if "thinking-2507" in model else enable
    llm = llm_of(server, model=model, enable_thinking=wish)
    for way in STRUCTURED:
        with collect_reasoning() as reasoning:
            *partial, last = await structured(llm, way)
        assert last == ANN
        assert bool(partial) is ("stream" in way)
        sent = server.last
        by = SCHEMA if "response_format" in sent else TOOL if "tools" in sent else TEXT
        assert by == route
        assert route != SCHEMA or sent["response_format"]["json_schema"]["strict"] is True
        assert route != TOOL or sent["tool_choice"] == {"type": "function", "function": {"name": "Person"}}
        # Thinking goes on where the server allows it beside the way that was taken.
        assert server.plans[-1].thinks is bool(reasoning) or name == "openai"
        if wish is True:
            assert server.plans[-1].thinks is (route != TOOL and name != "openai")
    assert (llm.enable_thinking, llm.pydantic_program_mode) == (wish, PydanticProgramMode.DEFAULT)


class Fixed(BaseRetriever):
    """A retriever that always finds the same."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=TextNode(text="Ann is 30 years old."), score=1.0)]


@pytest.mark.parametrize("mode", [ResponseMode.COMPACT, ResponseMode.REFINE, ResponseMode.TREE_SUMMARIZE])
@pytest.mark.parametrize(
    ("name", "model"), [("dashscope", "qwen3-8b"), ("vllm", "Qwen/Qwen3-8B"), ("ollama", "qwen3:8b")]
)
async def test_a_query_engine_with_an_output_class(name: str, model: str, mode: Any) -> None:
    server = structured_server(name)
    llm = llm_of(server, model=model, enable_thinking=True)
    for options in ({"llm": llm, "output_cls": Person}, {"llm": llm.as_structured_llm(Person)}):
        engine = RetrieverQueryEngine.from_args(Fixed(), response_mode=mode, **options)
        for response in (engine.query("How old is Ann?"), await engine.aquery("How old is Ann?")):
            found: Any = response
            assert (
                found.response if isinstance(found.response, Person) else Person.model_validate_json(str(found))
            ) == ANN
            assert len(found.source_nodes) == 1
    assert "Ann is 30 years old." in json.dumps(server.last["messages"])


@pytest.mark.parametrize("name", ["vllm", "dashscope", "transformers"])
async def test_streamed_objects_grow_by_letters_and_items(name: str) -> None:
    class Story(BaseModel):
        """A story."""

        title: str
        chapters: list[str]

    told = {"title": "The fox", "chapters": ["It woke.", "It ran."]}
    fenced = f"Here:\n```json\n{json.dumps(told, indent=1)}\n```" if name == "transformers" else json.dumps(told)
    server = SERVERS[name](content=fenced, tool_calls=[{"name": "Story", "args": told}])
    llm = llm_of(server)
    grown: Any = llm.stream_structured_predict(Story, PROMPT, text="the fox")
    agrown: Any = await llm.astream_structured_predict(Story, PROMPT, text="the fox")
    for objects in (list(grown), [each async for each in agrown]):
        assert objects[-1] == Story.model_validate(told)
        titles = {each.title or "" for each in objects}
        assert len(titles) > 2
        assert all("The fox".startswith(title) for title in titles)
        assert any(len(each.chapters or []) == 1 for each in objects)


def test_a_program_mode_of_the_users_stays() -> None:
    server = structured_server("vllm")
    llm = llm_of(server, pydantic_program_mode=PydanticProgramMode.FUNCTION)
    assert llm.structured_predict(Person, PROMPT, text="Ann") == ANN
    assert server.last["tool_choice"] == "required"
    *_, last = llm.stream_structured_predict(Person, PROMPT, text="Ann")
    assert (last, server.last["tool_choice"]) == (ANN, "required")
    llm = llm_of(server, pydantic_program_mode=PydanticProgramMode.LLM)
    assert llm.structured_predict(Person, PROMPT, text="Ann") == ANN
    assert not {"tools", "response_format"} & set(server.last)


def test_arguments_for_the_call_reach_it() -> None:
    for name in ("vllm", "dashscope"):
        server = structured_server(name)
        llm = llm_of(server)
        call = {"enable_thinking": False, "temperature": 0.1, "tool_choice": "auto"}
        given = copy.deepcopy(call)
        assert llm.structured_predict(Person, PROMPT, llm_kwargs=call, text="Ann") == ANN
        *_, last = llm.stream_structured_predict(Person, PROMPT, llm_kwargs=call, text="Ann")
        assert last == ANN
        assert (server.plans[-1].thinks, server.seen.sampling["temperature"]) == (False, 0.1)
        assert call == given


def test_a_prompt_is_the_same_after_it_was_used() -> None:
    for name in ("vllm", "dashscope", "transformers"):
        llm, prompt = llm_of(structured_server(name)), PromptTemplate("Who is {text}?")
        llm.structured_predict(Person, prompt, text="Ann")
        list(llm.stream_structured_predict(Person, prompt, text="Ann"))
        assert prompt.output_parser is None
        assert prompt == PromptTemplate("Who is {text}?")


@pytest.mark.parametrize("model", ["Qwen/Qwen3-4B-Thinking-2507", "Qwen/Qwen3.5-9B"])
@pytest.mark.parametrize("field", ["", "reasoning", "reasoning_content"])
def test_json_that_came_as_reasoning_is_the_answer_that_was_asked_for(model: str, field: str) -> None:
    """Where the format is enforced from the first token on, there is no closing tag to part reasoning and answer."""
    text = ANN.model_dump_json()
    server = ScriptedChatServer(reasoning=text if field else "", reasoning_field=field, content="" if field else text)
    llm = scripted(server, model=model, **({} if "Thinking" in model else {"enable_thinking": True}))
    assert llm.structured_predict(Person, PROMPT, text="Ann") == ANN
    *_, last = llm.stream_structured_predict(Person, PROMPT, text="Ann")
    assert last == ANN
    if field:  # without a format it is reasoning
        assert parted(llm.chat(ASKED)) == parted(list(llm.stream_chat(ASKED))[-1]) == (text, "")


def test_a_response_format_switches_thinking_off_where_the_server_refuses_both() -> None:
    server = DashScope(content=ANN.model_dump_json())
    llm = llm_of(server, enable_thinking=True)
    asked = [ChatMessage("Ann is 30 (json)")]
    response = llm.chat(asked, response_format={"type": "json_object"})
    assert server.last["enable_thinking"] is False
    assert Person.model_validate_json(response.message.content or "") == ANN
    assert parted(llm.chat(asked))[0]


def test_lm_studio_takes_a_schema_for_any_object() -> None:
    server = LmStudio(content='{"a": 1}')
    response = llm_of(server).chat(ASKED, response_format={"type": "json_object"})
    assert server.last["response_format"]["type"] == "json_schema"
    assert json.loads(response.message.content or "") == {"a": 1}


def test_transformers_serve_forces_nothing_so_the_prompt_asks() -> None:
    server = TransformersServe(content=f"Here you are:\n```json\n{ANN.model_dump_json()}\n```")
    assert llm_of(server, enable_thinking=True).structured_predict(Person, PROMPT, text="Ann") == ANN
    assert "JSON schema" in json.dumps(server.last["messages"])


class Deep(BaseModel):
    """Things in things."""

    people: list[Person] = Field(min_length=1)


def test_schemas_with_references_are_sent_whole() -> None:
    told = {"people": [ANN.model_dump()]}
    for name in ("vllm", "dashscope"):
        server = SERVERS[name](content=json.dumps(told), tool_calls=[{"name": "Deep", "args": told}])
        assert llm_of(server).structured_predict(Deep, PROMPT, text="they").people == [ANN]
