"""The methods that LlamaIndex wants of an LLM with tools, all in terms of the four that an LLM of ours is made of."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
)
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection

from llamaindex_qwen3.llm_calls import keep_one_call, tool_selections
from llamaindex_qwen3.llm_messages import wire_tool_choice, with_user_message
from llamaindex_qwen3.llm_output import completion_of

if TYPE_CHECKING:
    from llama_index.core.tools.types import BaseTool


class ChatMethods(FunctionCallingLLM):
    """Everything that can be asked of a chat model; subclasses answer a conversation in four ways."""

    @abstractmethod
    def _chat(self, messages: Sequence[ChatMessage], call: Mapping[str, Any]) -> ChatResponse:
        """Answer a conversation with the arguments of a call."""

    @abstractmethod
    async def _achat(self, messages: Sequence[ChatMessage], call: Mapping[str, Any]) -> ChatResponse:
        """Answer a conversation."""

    @abstractmethod
    def _stream(self, messages: Sequence[ChatMessage], call: Mapping[str, Any]) -> ChatResponseGen:
        """Prepare a stream, so that wrong arguments are refused now; it begins when its first piece is asked for."""

    @abstractmethod
    def _astream(self, messages: Sequence[ChatMessage], call: Mapping[str, Any]) -> ChatResponseAsyncGen:
        """Prepare a stream."""

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation."""
        return self._chat(messages, kwargs)

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Answer a conversation piece by piece."""
        return self._stream(messages, kwargs)

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation."""
        return await self._achat(messages, kwargs)

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Answer a conversation piece by piece."""
        return self._astream(messages, kwargs)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: ARG002, FBT001, FBT002
        """Answer a prompt, sent as the message of a user."""
        return completion_of(self._chat([ChatMessage(prompt)], kwargs))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:  # noqa: ARG002, FBT001, FBT002
        """Answer a prompt piece by piece."""
        responses = self._stream([ChatMessage(prompt)], kwargs)
        return (completion_of(response) for response in responses)

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: ARG002, FBT001, FBT002
        """Answer a prompt, sent as the message of a user."""
        return completion_of(await self._achat([ChatMessage(prompt)], kwargs))

    @llm_completion_callback()
    async def astream_complete(
        self,
        prompt: str,
        formatted: bool = False,  # noqa: ARG002, FBT001, FBT002
        **kwargs: Any,
    ) -> CompletionResponseAsyncGen:
        """Answer a prompt piece by piece."""
        responses = self._astream([ChatMessage(prompt)], kwargs)
        return (completion_of(response) async for response in responses)

    # --- tools ------------------------------------------------------------------------------------------------

    def _prepare_chat_with_tools(
        self,
        tools: Sequence["BaseTool"],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,  # noqa: ARG002, FBT001, FBT002 - the base's signature
        allow_parallel_tool_calls: bool = False,  # noqa: FBT001, FBT002
        tool_required: bool = False,  # noqa: FBT001, FBT002
        tool_choice: str | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        prepared = {"messages": with_user_message(chat_history, user_msg), **kwargs}
        if not tools:
            return prepared
        return {
            **prepared,
            "tools": [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools],
            "tool_choice": wire_tool_choice(tool_choice, required=tool_required),
            "parallel_tool_calls": allow_parallel_tool_calls,
        }

    def _validate_chat_with_tools_response(
        self,
        response: ChatResponse,
        tools: Sequence["BaseTool"],  # noqa: ARG002 - the base's signature
        allow_parallel_tool_calls: bool = False,  # noqa: FBT001, FBT002
        **_: Any,
    ) -> ChatResponse:
        return response if allow_parallel_tool_calls else keep_one_call(response)

    def get_tool_calls_from_response(
        self,
        response: ChatResponse,
        error_on_no_tool_call: bool = True,  # noqa: FBT001, FBT002
        **_: Any,
    ) -> list[ToolSelection]:
        """Return the tool calls of a response.

        Raises:
            ValueError: There is none and ``error_on_no_tool_call`` is set, or the arguments of one are broken.
        """
        selections = tool_selections(response)
        if not selections and error_on_no_tool_call:
            message = f"The model called no tool; it said: {response.message.content!r}"
            raise ValueError(message)
        return selections
