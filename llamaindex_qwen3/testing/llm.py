"""A contract for thinking LLMs: what a LlamaIndex LLM on an OpenAI-compatible server owes its users.

Subclass `ThinkingLLMContract`, say how your LLM is made, and let pytest run it:

```python
class TestMyLLM(ThinkingLLMContract):
    def make(self, url, **kwargs):
        return MyLLM(api_base=url, **kwargs)
```

Each check is one method and nothing is skipped. The other side is a real HTTP server on 127.0.0.1, so that the LLM
may stand on any HTTP library. Hooks of the class translate where an LLM has its own words.
"""

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentStream, FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, MessageRole, TextBlock, ThinkingBlock
from llama_index.core.callbacks.token_counting import get_tokens_from_response
from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel, Field

from llamaindex_qwen3.testing.chat_server import ScriptedChatServer

KEY = "sk-contract-4711"
"""The key that every LLM of the contract is made with."""

THOUGHT, SAID = "9.11 has more digits,\nbut 9.9 is 9.90.", "9.9 is larger."
_TOOL_CALL = {"name": "get_weather", "args": {"city": "Oslo"}}
_ASKED = [ChatMessage("Which is larger, 9.11 or 9.9?")]


class Person(BaseModel):
    """A person."""

    name: str = Field(description="The name")
    age: int = Field(description="The age in years")


def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


class ThinkingLLMContract:
    """What an LLM that thinks has to do; subclass it with a name that begins with ``Test``."""

    known_model = "qwen3-8b"
    """A model whose context window the LLM ought to know, and the model of all other checks."""

    server_class: type[ScriptedChatServer] = ScriptedChatServer
    """The server; a subclass can speak another format than OpenAI's (`ScriptedChatServer.answer`)."""

    known_window = 32_768
    """The least that the window of `known_model` can be."""

    # --- hooks ------------------------------------------------------------------------------------------------

    def make(self, url: str, **kwargs: Any) -> Any:
        """Return the LLM for a server.

        Args:
            url: The server's URL, up to and including ``/v1``.
            kwargs: ``model``, ``api_key`` and, in some checks, ``enable_thinking``, to be translated where the LLM
                has other words for them.
        """
        raise NotImplementedError

    def thinking(self, *, enable: bool) -> dict[str, Any]:
        """Return the arguments that switch thinking for one call."""
        return {"enable_thinking": enable}

    def switch_in(self, body: dict[str, Any]) -> Any:
        """Return what a request says about thinking; None if it says nothing."""
        nested = body.get("chat_template_kwargs") or {}
        return body.get("enable_thinking", nested.get("enable_thinking"))

    def reasoning_of_completion(self, response: Any) -> Any:
        """Return the reasoning of a completion, which has no place of its own for it."""
        return response.additional_kwargs.get("reasoning")

    # --- helpers ----------------------------------------------------------------------------------------------

    @pytest.fixture
    def server(self) -> Iterator[ScriptedChatServer]:
        """Run the server that a check talks to."""
        with self.server_class(reasoning=THOUGHT, content=SAID) as server:
            yield server

    def _llm(self, server: ScriptedChatServer, **kwargs: Any) -> Any:
        return self.make(server.url, **{"model": self.known_model, "api_key": KEY, **kwargs})

    @staticmethod
    async def _collect(stream: Any) -> list[Any]:
        return [response async for response in await stream]

    def _chat_stream(self, llm: Any, *, asynchronous: bool = False, **kwargs: Any) -> list[Any]:
        if asynchronous:
            return asyncio.run(self._collect(llm.astream_chat(_ASKED, **kwargs)))
        return list(llm.stream_chat(_ASKED, **kwargs))

    @staticmethod
    def _parted(message: ChatMessage) -> tuple[str, str]:
        """Return the reasoning and the answer of a message."""
        thoughts = [block.content or "" for block in message.blocks if isinstance(block, ThinkingBlock)]
        return "".join(thoughts), message.content or ""

    # --- reasoning in chat ------------------------------------------------------------------------------------

    def test_chat_has_a_thinking_block(self, server: ScriptedChatServer) -> None:
        """Agents and memories look for reasoning in ``message.blocks``, before the answer."""
        message = self._llm(server).chat(_ASKED).message
        assert self._parted(message) == (THOUGHT, SAID)
        assert [type(block) for block in message.blocks] == [ThinkingBlock, TextBlock]

    def test_achat_has_a_thinking_block(self, server: ScriptedChatServer) -> None:
        """The asynchronous way is what servers use; it must not lose what the other keeps."""
        assert self._parted(asyncio.run(self._llm(server).achat(_ASKED)).message) == (THOUGHT, SAID)

    def test_stream_chat_ends_with_a_thinking_block(self, server: ScriptedChatServer) -> None:
        """The last response of a stream is what callbacks and memories keep."""
        assert self._parted(self._chat_stream(self._llm(server))[-1].message) == (THOUGHT, SAID)

    def test_astream_chat_ends_with_a_thinking_block(self, server: ScriptedChatServer) -> None:
        """The same in an asynchronous stream."""
        last = self._chat_stream(self._llm(server), asynchronous=True)[-1]
        assert self._parted(last.message) == (THOUGHT, SAID)

    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_streams_have_thinking_deltas(self, server: ScriptedChatServer, asynchronous: bool) -> None:  # noqa: FBT001
        """``additional_kwargs["thinking_delta"]`` is where `FunctionAgent` reads reasoning while it streams."""
        responses = self._chat_stream(self._llm(server), asynchronous=asynchronous)
        pieces = [response.additional_kwargs.get("thinking_delta") or "" for response in responses]
        assert "".join(pieces) == THOUGHT
        assert len([piece for piece in pieces if piece]) > 1

    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_stream_deltas_are_the_answer_alone(self, server: ScriptedChatServer, asynchronous: bool) -> None:  # noqa: FBT001
        """`LLM.stream` and the query engines join the deltas and show them to the user."""
        responses = self._chat_stream(self._llm(server), asynchronous=asynchronous)
        assert "".join(response.delta or "" for response in responses) == SAID

    @pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
    def test_reads_both_names_of_the_reasoning_field(self, server: ScriptedChatServer, field: str) -> None:
        """VLLM and Ollama say ``reasoning``, the others ``reasoning_content`` (run-llama/llama_index#21075)."""
        server.reasoning_field = field
        llm = self._llm(server)
        assert self._parted(llm.chat(_ASKED).message) == (THOUGHT, SAID)
        assert self._parted(self._chat_stream(llm)[-1].message) == (THOUGHT, SAID)

    # --- think tags -------------------------------------------------------------------------------------------

    def test_think_tags_are_no_answer(self, server: ScriptedChatServer) -> None:
        """A server without a reasoning parser leaves ``<think>`` in the content."""
        server.reasoning, server.content = "", f"<think>\n{THOUGHT}\n</think>\n\n{SAID}"
        thought, said = self._parted(self._llm(server).chat(_ASKED).message)
        assert (thought.strip(), said) == (THOUGHT, SAID)

    def test_think_tags_split_at_every_boundary(self, server: ScriptedChatServer) -> None:
        """A stream cuts anywhere, also inside a tag."""
        text = "<think>\nWhy?\n</think>\n\nSo."
        llm = self._llm(server)
        server.reasoning, server.content = "", text
        for cut in range(len(text) + 1):
            server.pieces = [text[:cut], text[cut:]]
            responses = self._chat_stream(llm)
            assert "".join(response.delta or "" for response in responses) == "So.", server.pieces
            thought, said = self._parted(responses[-1].message)
            assert (thought.strip(), said) == ("Why?", "So."), server.pieces

    def test_think_tags_split_into_characters(self, server: ScriptedChatServer) -> None:
        """Nor may a stream of single characters let a part of a tag through."""
        server.reasoning, server.content = "", "<think>\nWhy?\n</think>\n\nSo."
        server.pieces = list(server.content)
        assert "".join(response.delta or "" for response in self._chat_stream(self._llm(server))) == "So."

    def test_an_unclosed_think_tag_is_reasoning(self, server: ScriptedChatServer) -> None:
        """An answer that ``max_tokens`` cut while the model thought has no answer in it."""
        server.reasoning, server.content = "", f"<think>\n{THOUGHT}"
        llm = self._llm(server)
        assert self._parted(llm.chat(_ASKED).message) == (THOUGHT, "")
        assert self._parted(self._chat_stream(llm)[-1].message) == (THOUGHT, "")

    def test_think_tags_inside_an_answer_stay(self, server: ScriptedChatServer) -> None:
        """An answer may be about tags: only a tag at the very start opens reasoning."""
        server.reasoning, server.content = "", "Qwen3 writes <think> and </think>."
        llm = self._llm(server)
        assert self._parted(llm.chat(_ASKED).message) == ("", server.content)
        assert self._parted(self._chat_stream(llm)[-1].message) == ("", server.content)

    def test_line_breaks_after_thinking_are_no_answer(self, server: ScriptedChatServer) -> None:
        """Templates put an empty line between reasoning and answer, which servers leave with the answer."""
        server.content = f"\n\n{SAID}"
        llm = self._llm(server)
        assert llm.chat(_ASKED).message.content == SAID
        assert "".join(response.delta or "" for response in self._chat_stream(llm)) == SAID

    # --- completions ------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_complete_keeps_the_reasoning(self, server: ScriptedChatServer, asynchronous: bool) -> None:  # noqa: FBT001
        """A completion is a string; the reasoning has to come beside it, and not inside."""
        llm = self._llm(server)
        response = asyncio.run(llm.acomplete("9.11 or 9.9?")) if asynchronous else llm.complete("9.11 or 9.9?")
        assert response.text == SAID
        assert self.reasoning_of_completion(response) == THOUGHT

    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_stream_complete_keeps_the_reasoning(self, server: ScriptedChatServer, asynchronous: bool) -> None:  # noqa: FBT001
        """The same in a stream of completions."""
        llm = self._llm(server)
        if asynchronous:
            responses = asyncio.run(self._collect(llm.astream_complete("9.11 or 9.9?")))
        else:
            responses = list(llm.stream_complete("9.11 or 9.9?"))
        assert "".join(response.delta or "" for response in responses) == SAID
        assert responses[-1].text == SAID
        assert self.reasoning_of_completion(responses[-1]) == THOUGHT

    def test_predict_is_free_of_reasoning(self, server: ScriptedChatServer) -> None:
        """`predict` is what synthesizers call; a tag in it is a tag in the answer of the query engine."""
        server.reasoning, server.content = "", f"<think>\n{THOUGHT}\n</think>\n\n{SAID}"
        llm = self._llm(server)
        assert llm.predict(PromptTemplate("{q}"), q="9.11 or 9.9?") == SAID
        assert "".join(llm.stream(PromptTemplate("{q}"), q="9.11 or 9.9?")) == SAID

    # --- the switch -------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("enable", [False, True])
    def test_the_instances_switch_is_sent(self, server: ScriptedChatServer, enable: bool) -> None:  # noqa: FBT001
        """Thinking is asked for in the request; a constructor that swallows the wish changes nothing."""
        list(self._llm(server, enable_thinking=enable).stream_chat(_ASKED))
        assert self.switch_in(server.last) is enable

    @pytest.mark.parametrize("enable", [False, True])
    def test_the_calls_switch_beats_the_instances(self, server: ScriptedChatServer, enable: bool) -> None:  # noqa: FBT001
        """One LLM answers the easy questions without thinking and the hard ones with it."""
        llm = self._llm(server, enable_thinking=not enable)
        for call in (
            lambda: list(llm.stream_chat(_ASKED, **self.thinking(enable=enable))),
            lambda: llm.chat(_ASKED, **self.thinking(enable=enable)),
            lambda: llm.complete("9.11 or 9.9?", **self.thinking(enable=enable)),
            lambda: asyncio.run(llm.achat(_ASKED, **self.thinking(enable=enable))),
        ):
            call()
            assert self.switch_in(server.last) is enable

    def test_a_call_does_not_change_the_instance(self, server: ScriptedChatServer) -> None:
        """Query engines share one LLM, so a wish must end with its call."""
        llm = self._llm(server, enable_thinking=True)
        before = llm.to_dict()
        llm.chat(_ASKED, **self.thinking(enable=False))
        assert llm.to_dict() == before
        list(llm.stream_chat(_ASKED))
        assert self.switch_in(server.last) is True

    # --- errors -----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("status", [400, 404])
    @pytest.mark.parametrize("method", ["chat", "stream_chat", "achat", "complete"])
    def test_an_error_raises_with_the_servers_message(
        self, server: ScriptedChatServer, method: str, status: int
    ) -> None:
        """An error that becomes an empty answer is an answer that nobody can explain."""
        server.error, server.status = "enable_thinking must be set to false", status
        llm = self._llm(server)

        def call() -> Any:
            result = getattr(llm, method)("hi" if method == "complete" else _ASKED)
            return list(result) if method == "stream_chat" else result

        with pytest.raises(Exception, match="enable_thinking must be set to false"):
            asyncio.run(call()) if inspect.iscoroutinefunction(getattr(llm, method)) else call()

    # --- tools ------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("way", ["chat", "achat", "stream", "astream"])
    def test_tool_calls(self, server: ScriptedChatServer, way: str) -> None:
        """A call is read in all four ways, with arguments that a stream cut into pieces, beside the reasoning."""
        server.tool_calls = [_TOOL_CALL]
        llm, tools = self._llm(server), [FunctionTool.from_defaults(get_weather)]
        if way == "chat":
            response = llm.chat_with_tools(tools, user_msg="Oslo?")
        elif way == "achat":
            response = asyncio.run(llm.achat_with_tools(tools, user_msg="Oslo?"))
        elif way == "stream":
            *_, response = llm.stream_chat_with_tools(tools, user_msg="Oslo?")
        else:
            *_, response = asyncio.run(self._collect(llm.astream_chat_with_tools(tools, user_msg="Oslo?")))
        calls = llm.get_tool_calls_from_response(response)
        assert [(call.tool_name, call.tool_kwargs) for call in calls] == [("get_weather", {"city": "Oslo"})]
        assert calls[0].tool_id
        assert self._parted(response.message)[0] == THOUGHT

    def test_a_required_tool_is_forced(self, server: ScriptedChatServer) -> None:
        """``tool_required=True`` has to reach the server as a ``tool_choice`` that forces."""
        server.tool_calls = [_TOOL_CALL]
        tools = [FunctionTool.from_defaults(get_weather)]
        self._llm(server).chat_with_tools(tools, user_msg="Oslo?", tool_required=True)
        assert server.last.get("tool_choice") not in (None, "auto", "none")

    def test_no_tool_call_is_an_error_only_where_wanted(self, server: ScriptedChatServer) -> None:
        """Agents ask without an error, structured output with one."""
        llm = self._llm(server)
        response = llm.chat_with_tools([FunctionTool.from_defaults(get_weather)], user_msg="Hi")
        assert llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
        with pytest.raises(ValueError, match=r".+"):
            llm.get_tool_calls_from_response(response, error_on_no_tool_call=True)

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")  # LlamaIndex's own workflows use old pydantic names
    def test_an_agent_streams_its_thinking(self, server: ScriptedChatServer) -> None:
        """`FunctionAgent` calls the tool, answers, and shows what the model thinks in both steps."""
        server.tool_calls = [_TOOL_CALL]

        async def run() -> tuple[str, str]:
            # A timeout, since a workflow whose LLM fails in a task may wait for ever.
            agent = FunctionAgent(llm=self._llm(server), tools=[FunctionTool.from_defaults(get_weather)], timeout=30)
            handler = agent.run("What is the weather in Oslo?")
            events = [event async for event in handler.stream_events() if isinstance(event, AgentStream)]
            return "".join(event.thinking_delta or "" for event in events), str(await handler)

        assert asyncio.run(run()) == (THOUGHT * 2, SAID)
        assert any("sunny in Oslo" in str(message["content"]) for message in server.last["messages"])

    # --- structured output ------------------------------------------------------------------------------------

    @pytest.mark.parametrize("tags", [False, True])
    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_structured_output_survives_braces_in_thinking(
        self,
        server: ScriptedChatServer,
        asynchronous: bool,  # noqa: FBT001
        tags: bool,  # noqa: FBT001
    ) -> None:
        """A model that thinks about JSON writes braces; only the ones of its answer count."""
        thought = 'I could say {} or {"name": "Bob", "age": 1}.'
        server.reasoning = "" if tags else thought
        server.content = (f"<think>{thought}</think>\n\n" if tags else "") + '{"name": "Ann", "age": 30}'
        server.tool_calls = [{"name": "Person", "args": {"name": "Ann", "age": 30}}]
        llm, prompt = self._llm(server, enable_thinking=True), PromptTemplate("{text}")
        if asynchronous:
            person = asyncio.run(llm.astructured_predict(Person, prompt, text="Ann is 30."))
        else:
            person = llm.structured_predict(Person, prompt, text="Ann is 30.")
        assert person == Person(name="Ann", age=30)

    def test_structured_output_without_tools_survives_thinking(self, server: ScriptedChatServer) -> None:
        """`PydanticProgramMode.LLM` reads JSON out of the answer, from the first brace to the last."""
        server.reasoning = ""
        server.content = '<think>I could say {} or {"name": "Bob"}.</think>\n\n{"name": "Ann", "age": 30}'
        llm = self._llm(server, enable_thinking=True)
        llm.pydantic_program_mode = PydanticProgramMode.LLM
        assert llm.structured_predict(Person, PromptTemplate("{text}"), text="Ann?") == Person(name="Ann", age=30)

    def test_a_structured_llm_survives_thinking(self, server: ScriptedChatServer) -> None:
        """`as_structured_llm` is what query engines with an ``output_cls`` use."""
        server.content = '{"name": "Ann", "age": 30}'
        server.tool_calls = [{"name": "Person", "args": {"name": "Ann", "age": 30}}]
        structured = self._llm(server, enable_thinking=True).as_structured_llm(Person)
        assert structured.complete("Ann is 30.").raw == Person(name="Ann", age=30)

    # --- history ----------------------------------------------------------------------------------------------

    def test_reasoning_of_the_history_is_not_sent_as_text(self, server: ScriptedChatServer) -> None:
        """As text a model takes its old reasoning for its old answer, and the prompt grows with every turn."""
        earlier = ChatMessage(
            role=MessageRole.ASSISTANT, blocks=[ThinkingBlock(content="secret plan"), TextBlock(text="Hello!")]
        )
        self._llm(server).chat([ChatMessage("Hi"), earlier, *_ASKED])
        assert "secret plan" not in str([message.get("content") for message in server.last["messages"]])
        assert "Hello!" in str(server.last["messages"][1]["content"])

    # --- sizes ------------------------------------------------------------------------------------------------

    def test_the_context_window_of_a_known_model(self, server: ScriptedChatServer) -> None:
        """With LlamaIndex's default of 3,900 a query engine feeds the model a tenth of what it could read."""
        metadata = self._llm(server).metadata
        assert metadata.context_window >= self.known_window
        assert metadata.is_chat_model
        assert metadata.is_function_calling_model

    def test_an_unknown_model_is_no_error(self, server: ScriptedChatServer) -> None:
        """Servers name models as they please (run-llama/llama_index#18691)."""
        llm = self._llm(server, model="my-own-model")
        assert llm.metadata.context_window > 0
        assert llm.chat(_ASKED).message.content == SAID

    def test_a_query_engine_has_room_for_its_prompt(self, server: ScriptedChatServer) -> None:
        """What is reserved for the answer leaves most of the window to the retrieved text."""
        metadata = self._llm(server, enable_thinking=True).metadata
        helper = PromptHelper.from_llm_metadata(metadata)
        prompt = PromptTemplate("Context: {context_str}\nQuestion: {query_str}")
        chunks = helper.repack(prompt, ["word " * 2000] * 5)
        assert len(chunks) == 1

    # --- secrets and copies -----------------------------------------------------------------------------------

    def test_the_key_is_in_no_repr(self, server: ScriptedChatServer) -> None:
        """Logs and tracebacks print objects."""
        llm = self._llm(server)
        assert KEY not in repr(llm)
        assert KEY not in str(llm)

    def test_the_key_is_in_no_serialised_form(self, server: ScriptedChatServer) -> None:
        """What is stored, traced or sent to a callback must hold no credentials."""
        llm = self._llm(server)
        llm.chat(_ASKED)
        assert not [form for form in (llm.to_dict(), llm.to_json(), llm.to_payload()) if KEY in str(form)]

    def test_from_dict_brings_it_back(self, server: ScriptedChatServer) -> None:
        """Pipelines store components as dictionaries; the key is given anew."""
        llm = self._llm(server, enable_thinking=True)
        twin = type(llm).from_dict(llm.to_dict(), api_key=KEY)
        assert self._parted(self._chat_stream(twin)[-1].message) == (THOUGHT, SAID)
        assert self.switch_in(server.last) is True
        assert twin.to_dict() == llm.to_dict()

    # --- event loops and counts -------------------------------------------------------------------------------

    def test_two_event_loops(self, server: ScriptedChatServer) -> None:
        """Notebooks and `asyncio_run` open one loop after another; connections of the first must not haunt them."""
        server.keep_alive = True
        llm = self._llm(server)
        for _ in range(3):
            assert asyncio.run(llm.achat(_ASKED)).message.content == SAID
            assert self._chat_stream(llm, asynchronous=True)[-1].message.content == SAID

    @pytest.mark.parametrize("stream", [False, True])
    def test_token_counts(self, server: ScriptedChatServer, stream: bool) -> None:  # noqa: FBT001
        """`TokenCountingHandler` and bills want them, of streams too."""
        llm = self._llm(server)
        response = self._chat_stream(llm)[-1] if stream else llm.chat(_ASKED)
        assert get_tokens_from_response(response) == (7, 5)
