"""Structured output of `Qwen3`: by a JSON schema where the server holds the model to one, by a tool elsewhere."""

from collections.abc import AsyncGenerator, Generator
from typing import Any, TypeVar

from llama_index.core.prompts import PromptTemplate
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel
from typing_extensions import Self

from llamaindex_qwen3.llm_base import Qwen3Base
from qwen3_core.chat_messages import takes_json_schema

Model = TypeVar("Model", bound=BaseModel)


class StructuredQwen3(Qwen3Base):
    """The methods behind `structured_predict`, `as_structured_llm` and query engines with an ``output_cls``.

    LlamaIndex forces a tool. All of DashScope's models have that; other servers do only if they were started with a
    tool parser and a template that knows tools, while ``response_format`` works on nearly all of them. The schema
    also goes into the prompt then, for the servers that ignore the field.
    """

    def structured_predict(
        self, output_cls: type[Model], prompt: PromptTemplate, llm_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> Model:
        """Answer with an instance of ``output_cls``; ``kwargs`` fill the prompt."""
        llm, call = self._by_schema(output_cls, llm_kwargs)
        result: Model = super(StructuredQwen3, llm).structured_predict(output_cls, prompt, call, **kwargs)
        return result

    async def astructured_predict(
        self, output_cls: type[Model], prompt: PromptTemplate, llm_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> Model:
        """Answer with an instance of ``output_cls``; ``kwargs`` fill the prompt."""
        llm, call = self._by_schema(output_cls, llm_kwargs)
        result: Model = await super(StructuredQwen3, llm).astructured_predict(output_cls, prompt, call, **kwargs)
        return result

    def _structured_stream_call(
        self, output_cls: type[Model], prompt: PromptTemplate, llm_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> Generator[Any, None, None]:
        llm, call = self._by_schema(output_cls, llm_kwargs)
        return super(StructuredQwen3, llm)._structured_stream_call(output_cls, prompt, call, **kwargs)

    async def _structured_astream_call(
        self, output_cls: type[Model], prompt: PromptTemplate, llm_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> AsyncGenerator[Any, None]:
        llm, call = self._by_schema(output_cls, llm_kwargs)
        return await super(StructuredQwen3, llm)._structured_astream_call(output_cls, prompt, call, **kwargs)

    def _by_schema(self, output_cls: type[BaseModel], call: dict[str, Any] | None) -> tuple[Self, dict[str, Any]]:
        """Return the LLM to ask and the arguments to ask with; a copy, since the mode is a field of the instance."""
        call = dict(call or {})
        native = takes_json_schema(self._dialect, call.get("model") or self.model)
        if not native or self.pydantic_program_mode is not PydanticProgramMode.DEFAULT:
            return self, call
        schema = {"name": output_cls.__name__, "schema": output_cls.model_json_schema()}
        self._connected  # noqa: B018 - made before the copy, so that both use the same connections
        llm = self.model_copy(update={"pydantic_program_mode": PydanticProgramMode.LLM})
        return llm, {"response_format": {"type": "json_schema", "json_schema": schema}, **call}
