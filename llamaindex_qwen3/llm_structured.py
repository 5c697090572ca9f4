"""Structured output of `Qwen3`: by JSON schema, by a forced tool or by the prompt alone, as server and model allow."""

import json
import re
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable
from typing import Any, TypeVar

import openai
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.output_parsers import PydanticOutputParser
from llama_index.core.program import FunctionCallingProgram
from llama_index.core.program.utils import process_streaming_objects
from llama_index.core.prompts import PromptTemplate
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel
from typing_extensions import Self

from llamaindex_qwen3.llm_base import Qwen3Base
from llamaindex_qwen3.partial_json import read_partial_json
from qwen3_core.chat.messages import fit_request, takes_json_schema

Model = TypeVar("Model", bound=BaseModel)

_ANY_TOOL = {"type": "function", "function": {"name": "any", "parameters": {}}}


class StructuredQwen3(Qwen3Base):
    """The methods behind `structured_predict`, `as_structured_llm` and query engines with an ``output_cls``.

    LlamaIndex forces a tool, which servers without a tool parser or a template that knows tools cannot do. So the
    first of these that works is taken:

    1. ``response_format`` with the JSON schema, where the server holds the model to it. The model may think.
    2. A forced tool, for which DashScope switches thinking off.
    3. The schema in the prompt, for models that always think and servers that force nothing.

    With 1 the schema goes into the prompt as well, for servers that ignore the field.
    """

    def structured_predict(
        self, output_cls: type[Model], prompt: PromptTemplate, llm_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> Model:
        """Answer with an instance of ``output_cls``; ``kwargs`` fill the prompt."""
        llm, call = self._structuring(output_cls, llm_kwargs)
        asked = super(StructuredQwen3, llm).structured_predict
        result: Model = asked(output_cls, _own(prompt), call, **kwargs)
        return result

    async def astructured_predict(
        self, output_cls: type[Model], prompt: PromptTemplate, llm_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> Model:
        """Answer with an instance of ``output_cls``; ``kwargs`` fill the prompt."""
        llm, call = self._structuring(output_cls, llm_kwargs)
        asked = super(StructuredQwen3, llm).astructured_predict
        result: Model = await asked(output_cls, _own(prompt), call, **kwargs)
        return result

    def _structured_stream_call(
        self, output_cls: type[Model], prompt: PromptTemplate, llm_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> Generator[Any, None, None]:
        llm, call = self._structuring(output_cls, llm_kwargs)
        if llm.pydantic_program_mode is PydanticProgramMode.FUNCTION:
            return llm._tool_program(output_cls, prompt).stream_call(llm_kwargs=call, **kwargs)
        return _growing(llm.stream_chat(llm._asking_for(output_cls, prompt, kwargs), **call), output_cls)

    async def _structured_astream_call(
        self, output_cls: type[Model], prompt: PromptTemplate, llm_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> AsyncGenerator[Any, None]:
        llm, call = self._structuring(output_cls, llm_kwargs)
        if llm.pydantic_program_mode is PydanticProgramMode.FUNCTION:
            return await llm._tool_program(output_cls, prompt).astream_call(llm_kwargs=call, **kwargs)
        responses = await llm.astream_chat(llm._asking_for(output_cls, prompt, kwargs), **call)
        return _agrowing(responses, output_cls)

    def _structuring(self, output_cls: type[BaseModel], call: dict[str, Any] | None) -> tuple[Self, dict[str, Any]]:
        """Return the LLM to ask and the arguments to ask with; a copy, since the mode is a field of the instance."""
        call = dict(call or {})
        if self.pydantic_program_mode is not PydanticProgramMode.DEFAULT:
            return self, call
        model = call.get("model") or self.model
        if takes_json_schema(self._dialect, model):
            return self._in_mode(PydanticProgramMode.LLM), {"response_format": _form_of(output_cls), **call}
        forces = PydanticProgramMode.FUNCTION if self._forces_tools(model) else PydanticProgramMode.LLM
        return self._in_mode(forces), call

    def _forces_tools(self, model: str) -> bool:
        asked = {"model": model, "tools": [_ANY_TOOL], "tool_choice": "required"}
        return bool(fit_request(self._dialect, model, asked)["tool_choice"] != "auto")

    def _in_mode(self, mode: PydanticProgramMode) -> Self:
        self._connected  # noqa: B018 - made before the copy, so that both use the same connections
        return self.model_copy(update={"pydantic_program_mode": mode})

    def _asking_for(
        self, output_cls: type[BaseModel], prompt: PromptTemplate, values: dict[str, Any]
    ) -> list[ChatMessage]:
        """Return the messages of a prompt that also holds the schema, as `LLMTextCompletionProgram` makes them."""
        asking = _own(prompt)
        asking.output_parser = PydanticOutputParser(output_cls)
        return list(self._extend_messages(asking.format_messages(llm=self, **values)))

    def _tool_program(self, output_cls: type[Model], prompt: PromptTemplate) -> FunctionCallingProgram[Model]:
        """Return the program that `LLM` would make for a stream, but with the tool forced, as without streaming."""
        return FunctionCallingProgram.from_defaults(
            output_cls=output_cls, llm=self, prompt=prompt, tool_choice="required"
        )


def _form_of(output_cls: type[BaseModel]) -> dict[str, Any]:
    """Return the ``response_format`` that holds an answer to a class.

    It is strict, as Alibaba Cloud advises (model-studio/qwen-structured-output) and OpenAI needs.
    """
    schema = openai.pydantic_function_tool(output_cls)["function"]["parameters"]
    name = re.sub(r"\W", "_", output_cls.__name__)  # of generic classes it has brackets
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}


def _own(prompt: PromptTemplate) -> PromptTemplate:
    """Return a copy of a prompt: `LLMTextCompletionProgram` writes its parser into the one that it is given."""
    return prompt.model_copy()


def _growing(responses: Iterable[ChatResponse], output_cls: type[BaseModel]) -> Generator[Any, None, None]:
    """Yield the object in each response of a stream, as far as it goes.

    As `LLMTextCompletionProgram` does, which shows no list before it is whole, and nothing at all of JSON in a fence.
    """
    seen: Any = None
    for response in responses:
        seen = process_streaming_objects(_json_in(response), output_cls, cur_objects=seen and [seen])
        yield seen


async def _agrowing(responses: AsyncIterable[ChatResponse], output_cls: type[BaseModel]) -> AsyncGenerator[Any, None]:
    """Yield the object in each response of a stream; see `_growing`."""
    seen: Any = None
    async for response in responses:
        seen = process_streaming_objects(_json_in(response), output_cls, cur_objects=seen and [seen])
        yield seen


def _json_in(response: ChatResponse) -> ChatResponse:
    """Return a response that has nothing but the JSON that came so far, closed where it is open."""
    try:
        value = read_partial_json(response.message.content or "")
    except ValueError:
        value = None
    return ChatResponse(message=ChatMessage(content=json.dumps(value or {})))
