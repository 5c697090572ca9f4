"""`Qwen3Local`: Qwen3 chat in this process for LlamaIndex, with what `Qwen3` has but no server."""

import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from typing import Any, Literal, TypeVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    LLMMetadata,
)
from llama_index.core.program import FunctionCallingProgram
from llama_index.core.prompts import PromptTemplate
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator
from typing_extensions import Self

from llamaindex_qwen3.llm_messages import wire_message
from llamaindex_qwen3.llm_methods import ChatMethods
from llamaindex_qwen3.llm_output import ReplyReader, reasoning_in
from llamaindex_qwen3.reasoning import reasoning_sink
from qwen3_core.adaptive import ThinkingRule, needs_thinking
from qwen3_core.base import DType
from qwen3_core.local_chat import DEFAULT_CHAT_MODEL, LocalChat
from qwen3_core.local_chat.options import ChatOptions
from qwen3_core.local_chat.reply import Piece
from qwen3_core.models import model_limits

Model = TypeVar("Model", bound=BaseModel)

_HERE = "this process"  # where `ReplyReader` says that a reply comes from
_ANSWER_TOKENS = 4096  # what query engines keep free for an answer of unknown length
_ENGINE_FIELDS = ("model", "device", "dtype", "revision", "cache_folder")
_CALL_FIELDS = (
    "max_tokens", "temperature", "top_p", "top_k", "min_p", "presence_penalty", "seed", "stop", "enable_thinking",
    "thinking_budget", "reasoning_effort", "preserve_thinking", "thinking_rule",
)  # fmt: skip


class Qwen3Local(ChatMethods):
    """A Qwen3 chat model with local weights.

    ```python
    llm = Qwen3Local(model="Qwen/Qwen3-0.6B", thinking_budget=512)
    response = llm.chat([ChatMessage("Which is larger, 9.11 or 9.9?")])
    response.message.content  # the answer alone
    [block.content for block in response.message.blocks if isinstance(block, ThinkingBlock)]
    llm.chat(messages, enable_thinking=False, seed=7)  # this call only
    ```

    Reasoning, token counts and ``finish_reason`` are where `llamaindex_qwen3.Qwen3` has them. Every field from
    ``max_tokens`` on can be given for one call, and the instance never changes. To stop the model stop reading the
    stream, or cancel the task.

    Args:
        model: A hub name or a local folder.
        device: A torch device; None takes CUDA, then MPS, then the CPU.
        dtype: "auto" is bfloat16 where the hardware has it and float32 elsewhere, never float16.
        revision: Branch, tag or commit on the hub.
        cache_folder: Where downloads are kept; None is the hub library's own cache.
        context_window: Prompt and answer together, for query engines to plan with; default what is known of the
            model (`qwen3_core.models`). The weights have their own, and a conversation that exceeds it is refused.
        num_output: What query engines keep free for the answer; default ``max_tokens``, else 4,096; at most half of
            the window.
        max_tokens: The longest reply, reasoning included; None is what the context window has room for.
        temperature: None, here and for the next four, is what the model's card recommends. 0 takes the most likely
            token, but never while the model thinks: it would repeat itself endlessly. For the same text every time
            set a ``seed``.
        top_p: The part of the probability to choose from, to 1.
        top_k: The number of tokens to choose from; 0 is no limit.
        min_p: The least probability, as a part of the highest.
        presence_penalty: -2 to 2.
        seed: The same seed gives the same text.
        stop: Texts that end the answer; in reasoning and tool calls they do not count.
        enable_thinking: True, False, None for the model's default, or ``"auto"`` to decide for each question by
            ``thinking_rule``.
        thinking_budget: The most tokens to think for. When they are spent, Qwen's own sentence for that ends the
            reasoning and the answer begins.
        reasoning_effort: "low", "medium" or "xhigh" (Qwen3.8).
        preserve_thinking: Whether the model sees what it thought in earlier turns (Qwen3.6 and later).
        thinking_rule: Takes a question and its context and says whether thinking pays.

    A required tool, structured output included, switches thinking off for that call: the reply begins inside the call.

    Raises:
        ValueError: An unknown argument or one that is out of range.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = DEFAULT_CHAT_MODEL
    device: str | None = None
    dtype: DType = "auto"
    revision: str | None = None
    cache_folder: str | None = None
    context_window: int | None = Field(default=None, ge=1)
    num_output: int | None = Field(default=None, ge=1)
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: list[str] | str | None = None
    enable_thinking: bool | Literal["auto"] | None = None
    thinking_budget: int | None = None
    reasoning_effort: str | None = None
    preserve_thinking: bool | None = None
    thinking_rule: ThinkingRule = Field(default=needs_thinking, exclude=True, repr=False)

    _engine: LocalChat | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _without_class_name(cls, values: Any) -> Any:
        """Take out what `to_dict` adds."""
        if not isinstance(values, Mapping):
            return values
        return {name: value for name, value in values.items() if name != "class_name"}

    @model_validator(mode="after")
    def _settle(self) -> Self:
        """Refuse what no call could use, and make the engine; nothing is loaded yet."""
        self._options({})
        self._engine = self._local
        return self

    @classmethod
    def from_chat(cls, chat: LocalChat, **fields: Any) -> Self:
        """Return an LLM that uses a ready engine, so that both frameworks can share one set of weights.

        A pickled copy is made from the engine's settings and loads weights of its own.

        Args:
            chat: The engine.
            **fields: The other fields, such as ``max_tokens``.
        """
        made = cls(**chat.settings, **fields)
        made._engine = chat
        return made

    @classmethod
    def class_name(cls) -> str:
        """Return the name that serialised instances carry."""
        return "qwen3_local_llm"

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex plans with: sizes, and that this is a chat model with tools."""
        limits = model_limits(self.model)
        window = self.context_window or limits.context_window
        answer = self.num_output or self.max_tokens or min(_ANSWER_TOKENS, limits.max_output or _ANSWER_TOKENS)
        return LLMMetadata(
            context_window=window,
            num_output=min(answer, window // 2),
            is_chat_model=True,
            is_function_calling_model=True,
            model_name=self.model,
        )

    @property
    def tokenizer_fn(self) -> Callable[[str], list[int]]:
        """The model's own tokenizer, for ``Memory.from_defaults(tokenizer_fn=...)``, splitters and token counters."""
        return self._local.token_ids

    @property
    def _local(self) -> LocalChat:
        """The engine for the fields as they are now: a copy may have been given others."""
        wanted = {name: getattr(self, name) for name in _ENGINE_FIELDS}
        if self._engine is None or self._engine.settings != wanted:
            self._engine = LocalChat(**wanted)
        return self._engine

    def _options(self, call: Mapping[str, Any]) -> ChatOptions:
        known = {*_CALL_FIELDS, "tools", "tool_choice", "parallel_tool_calls"}
        if unknown := sorted(set(call) - known):
            message = f"Qwen3Local has no argument {unknown[0]!r} for a call; it has {', '.join(sorted(known))}"
            raise ValueError(message)
        return ChatOptions(**{**{name: getattr(self, name) for name in _CALL_FIELDS}, **call})

    # --- structured output ------------------------------------------------------------------------------------
    # The base forces the tool where it asks for a whole object, and leaves it to the model in a stream.

    def _structured_stream_call(
        self, output_cls: type[Model], prompt: PromptTemplate, llm_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> Generator[Any, None, None]:
        return self._tool_program(output_cls, prompt).stream_call(llm_kwargs=dict(llm_kwargs or {}), **kwargs)

    async def _structured_astream_call(
        self, output_cls: type[Model], prompt: PromptTemplate, llm_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> AsyncGenerator[Any, None]:
        return await self._tool_program(output_cls, prompt).astream_call(llm_kwargs=dict(llm_kwargs or {}), **kwargs)

    def _tool_program(self, output_cls: type[Model], prompt: PromptTemplate) -> FunctionCallingProgram[Model]:
        return FunctionCallingProgram.from_defaults(output_cls, prompt=prompt, llm=self, tool_choice="required")

    # --- answers ----------------------------------------------------------------------------------------------

    def _chat(self, messages: Sequence[ChatMessage], call: Mapping[str, Any]) -> ChatResponse:
        reader = _reader()
        deque(self._read(messages, self._options(call), reader), maxlen=0)
        return reader.whole()

    async def _achat(self, messages: Sequence[ChatMessage], call: Mapping[str, Any]) -> ChatResponse:
        reader = _reader()
        async for _ in self._aread(messages, self._options(call), reader):
            pass
        return reader.whole()

    def _stream(self, messages: Sequence[ChatMessage], call: Mapping[str, Any]) -> ChatResponseGen:
        return self._read(messages, self._options(call), _reader())

    def _astream(self, messages: Sequence[ChatMessage], call: Mapping[str, Any]) -> ChatResponseAsyncGen:
        return self._aread(messages, self._options(call), _reader())

    def _read(
        self, messages: Sequence[ChatMessage], options: ChatOptions, reader: ReplyReader
    ) -> Generator[ChatResponse, None, None]:
        writer = _ChunkWriter(self.model)
        for piece in self._local.stream(_wire(messages), options):
            if response := reader.read(writer.write(piece)):
                yield response
        if response := reader.finish(_HERE):
            yield response

    async def _aread(
        self, messages: Sequence[ChatMessage], options: ChatOptions, reader: ReplyReader
    ) -> AsyncGenerator[ChatResponse, None]:
        writer = _ChunkWriter(self.model)
        async for piece in self._local.astream(_wire(messages), options):
            if response := reader.read(writer.write(piece)):
                yield response
        if response := reader.finish(_HERE):
            yield response


class _ChunkWriter:
    """Writes the pieces of one reply as a server's chunks, which is what `ReplyReader` reads."""

    def __init__(self, model: str) -> None:
        self._head = {"id": "", "object": "chat.completion.chunk", "created": int(time.time()), "model": model}
        self._calls = 0

    def write(self, piece: Piece) -> ChatCompletionChunk:
        delta: dict[str, Any] = {"content": piece.answer, "reasoning_content": piece.reasoning}
        if call := piece.tool_call:
            function = {"name": call.name, "arguments": call.arguments}
            delta["tool_calls"] = [{"index": self._calls, "id": call.id, "type": "function", "function": function}]
            self._calls += 1
        end = piece.finish
        choice = {"index": 0, "delta": delta, "finish_reason": end and end.reason}
        usage = end and {
            "prompt_tokens": end.prompt_tokens,
            "completion_tokens": end.completion_tokens,
            "total_tokens": end.prompt_tokens + end.completion_tokens,
            "completion_tokens_details": {"reasoning_tokens": end.reasoning_tokens},
        }
        return ChatCompletionChunk.model_validate({**self._head, "choices": [choice], "usage": usage})


def _reader() -> ReplyReader:
    return ReplyReader(family=None, asked=False, sink=reasoning_sink())  # reasoning and answer are parted already


def _wire(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Return messages as chat templates take them, with the reasoning of each in a field of its own."""
    return [{**wire_message(message), "reasoning_content": reasoning_in(message)} for message in messages]
