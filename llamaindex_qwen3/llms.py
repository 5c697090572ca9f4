"""`Qwen3`: a chat model for LlamaIndex with thinking kept apart, on DashScope, llama.cpp, vLLM and their relatives.

It stands on the openai SDK rather than on LlamaIndex's OpenAILike, which pins ``openai<3`` and lets the
constructor's extra_body override the call's, loses reasoning in ``complete`` and leaves ``<think>`` in the answer.
"""

from collections import deque
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
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
from llama_index.core.llms.llm import ToolSelection

from llamaindex_qwen3.llm_messages import wire_tool_choice, with_user_message
from llamaindex_qwen3.llm_output import ReplyReader, completion_of, keep_one_call, tool_selections
from llamaindex_qwen3.llm_structured import StructuredQwen3
from qwen3_core.chat_errors import explained, whole_stream

if TYPE_CHECKING:
    from llama_index.core.tools.types import BaseTool


class Qwen3(StructuredQwen3):
    """A Qwen3 chat model behind an OpenAI-compatible server.

    ```python
    llm = Qwen3(model="qwen3-8b", enable_thinking=True, thinking_budget=1024)  # DashScope
    llm = Qwen3(model="qwen3-8b", api_base="http://127.0.0.1:8080/v1", server="llama.cpp")
    response = llm.chat([ChatMessage("Which is larger, 9.11 or 9.9?")])
    response.message.content  # the answer alone
    [block.content for block in response.message.blocks if isinstance(block, ThinkingBlock)]
    llm.chat(messages, enable_thinking=False)  # this call only
    ```

    Where reasoning is: a ``ThinkingBlock`` before the ``TextBlock`` of a message; in streams
    ``additional_kwargs["thinking_delta"]`` of each response, while ``delta`` is the answer only; with `complete`
    ``additional_kwargs["reasoning"]``, and ``["reasoning_delta"]`` in its streams. Through layers that hand on
    strings only, `llamaindex_qwen3.reasoning.collect_reasoning` brings it along.

    Token counts and ``finish_reason`` are in ``additional_kwargs``, the server's last word in ``raw``. Every method
    takes the thinking arguments, ``extra_body`` and all other arguments of Chat Completions for
    one call, and the instance never changes. No ``OPENAI_*`` variable is used.

    Args:
        model: The server's name for the model.
        api_base: The server's URL, up to and including ``/v1``. Default: the environment variable
            ``DASHSCOPE_API_BASE``, else DashScope's Beijing endpoint.
        api_key: The key. For DashScope (by URL or ``server="dashscope"``) the default is the environment variable
            ``DASHSCOPE_API_KEY``, which goes nowhere else; for other servers a placeholder. `to_dict` leaves it
            out; a pickle holds it, since it is what another process works with.
        server: Which dialect the server speaks: "dashscope", "vllm", "sglang", "llama.cpp", "transformers", "ollama",
            "xinference", "lmstudio" or "openai". ``"auto"`` infers it from the URL: DashScope's hosts, the ports that
            Ollama, LM Studio, Xinference and SGLang have by default, and for every other URL what vLLM, SGLang and
            llama.cpp share. `qwen3-rag doctor --chat URL` asks the server what it is.
        region: DashScope's region instead of a URL, such as "ap-southeast-1". Keys are per region.
        workspace: The id of a workspace, which has a host of its own in every region.
        enable_thinking: True, False, None for the server's own default, or ``"auto"`` to decide for each question
            by ``thinking_rule``.
        thinking_budget: The most tokens to think for, at least 1; not sent while thinking is off. Every server that
            takes one has another field for it, so outside DashScope name the server.
        reasoning_effort: How hard to think: "low", "medium" or "xhigh" (Qwen3.8; "minimal" means low, "high" and
            "max" mean xhigh). "none" is ``enable_thinking=False``.
        preserve_thinking: Whether the model sees what it thought in earlier turns (Qwen3.6 and later). Within a tool
            loop it always does, where the server takes it.
        thinking_rule: Takes a question and its context and says whether thinking pays, for
            ``enable_thinking="auto"``. Default `qwen3_core.adaptive.needs_thinking`.
        recommended_sampling: Whether the temperature, top_p and so on that the model's card recommends for thinking,
            or for not thinking, are sent where nothing else is set. Default True.
        tokenizer: A folder or a cached hub name with the model's ``tokenizer.json``, for `tokenizer_fn`; nothing is
            downloaded.
        temperature: None for what the model's card recommends. 0 is raised to that while the model thinks, with a
            warning: Qwen3 repeats itself endlessly when it thinks greedily.
        max_tokens: The longest answer; on servers of your own the reasoning counts.
        context_window: Prompt and answer together, as the server was started; default what is known of the model
            (`qwen3_core.models`), 32,768 for an unknown one.
        num_output: What query engines keep free for the answer; default ``max_tokens``, else 4,096; at most half of
            the window. The thinking budget does not count: it may be larger than a window has room for.
        timeout: Seconds that the server may stay silent. Connecting gives up after 10 s.
        max_retries: How often a failed request is sent again.
        extra_body: Fields of the server, sent with every request; those of a call are laid on them.
        additional_kwargs: Other arguments of Chat Completions (``top_p``, ``seed``, ``stop``...) for every request.
        default_headers: HTTP headers for every request; `to_dict` leaves them out.
        http_client: An ``httpx.Client`` to use (of ``httpx2`` with openai 3), for proxies and tests.
        async_http_client: The same for the asynchronous methods. The default one works in any event loop.

    What a server refuses is settled per call. DashScope refuses to think without streaming, with a forced tool and,
    before Qwen3.7, with ``response_format``. So `chat` streams inside, and calls of the other kinds, structured output
    among them, are sent with thinking off. Where the server holds the model to a JSON schema, structured output goes
    by ``response_format``, and the model may think.

    Raises:
        ValueError: No key for DashScope, an unknown argument, a server that is not known, or a wish that the server or
            the model has no way to meet, such as a budget for a model that does not think.
    """

    def _explained(self) -> AbstractContextManager[None]:
        return explained(self.api_base, url_argument="api_base")

    def _chat(self, messages: Sequence[ChatMessage], call: Mapping[str, Any]) -> ChatResponse:
        request = self._chat_request(messages, call)
        reader = self._reader(request)
        if request.get("stream"):
            deque(self._send_stream(request, reader), maxlen=0)
            return reader.whole()
        with self._explained():
            reply = self._connected.blocking.chat.completions.create(**request)
        return reader.read_whole(reply, self.api_base)

    async def _achat(self, messages: Sequence[ChatMessage], call: Mapping[str, Any]) -> ChatResponse:
        request = self._chat_request(messages, call)
        reader = self._reader(request)
        if request.get("stream"):
            async for _ in self._asend_stream(request, reader):
                pass
            return reader.whole()
        with self._explained():
            reply = await self._connected.asynchronous.chat.completions.create(**request)
        return reader.read_whole(reply, self.api_base)

    def _stream(self, messages: Sequence[ChatMessage], call: Mapping[str, Any]) -> ChatResponseGen:
        """Prepare a stream, so that wrong arguments are refused now; it is sent when its first piece is asked for."""
        request = self._request(messages, call, stream=True)
        return self._send_stream(request, self._reader(request))

    def _astream(self, messages: Sequence[ChatMessage], call: Mapping[str, Any]) -> ChatResponseAsyncGen:
        request = self._request(messages, call, stream=True)
        return self._asend_stream(request, self._reader(request))

    def _send_stream(self, request: dict[str, Any], reader: ReplyReader) -> Generator[ChatResponse, None, None]:
        create = self._connected.blocking.chat.completions.create
        with self._explained(), create(**request) as chunks, whole_stream(self.api_base, reader):
            for chunk in chunks:
                if response := reader.read(chunk):
                    yield response
        if response := reader.finish(self.api_base):
            yield response

    async def _asend_stream(self, request: dict[str, Any], reader: ReplyReader) -> AsyncGenerator[ChatResponse, None]:
        with self._explained():
            async with await self._connected.asynchronous.chat.completions.create(**request) as chunks:
                with whole_stream(self.api_base, reader):
                    async for chunk in chunks:
                        if response := reader.read(chunk):
                            yield response
        if response := reader.finish(self.api_base):
            yield response

    # --- LlamaIndex's methods ---------------------------------------------------------------------------------

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
