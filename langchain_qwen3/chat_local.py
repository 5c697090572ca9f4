"""`ChatQwen3Local`: Qwen3 chat in this process, with what `ChatQwen3` has but no server."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput, ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_openai_messages
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field, PrivateAttr, model_validator
from typing_extensions import Self

from langchain_qwen3.chat_output import PROVIDER, REASONING_KEY, aggregate, reasoning_in
from qwen3_core.adaptive import ThinkingRule, needs_thinking
from qwen3_core.base import DType
from qwen3_core.families import model_family
from qwen3_core.local_chat import DEFAULT_CHAT_MODEL, LocalChat
from qwen3_core.local_chat.options import ChatOptions
from qwen3_core.local_chat.reply import Piece
from qwen3_core.models import model_limits

logger = logging.getLogger(__name__)


class ChatQwen3Local(BaseChatModel):
    """A Qwen3 chat model with local weights.

    ```python
    chat = ChatQwen3Local(model="Qwen/Qwen3-0.6B", thinking_budget=512)
    message = chat.invoke("Which is larger, 9.11 or 9.9?")
    message.text  # the answer alone
    [block["reasoning"] for block in message.content_blocks if block["type"] == "reasoning"]
    chat.invoke("Hello", enable_thinking=False, seed=7)  # this call only; chat.bind(...) does the same
    ```

    Every field from ``max_tokens`` on can be given for one call, and the instance never changes. To stop the model
    stop reading the stream, or cancel the task.

    Args:
        model: A hub name or a local folder.
        device: A torch device; None takes CUDA, then MPS, then the CPU.
        dtype: "auto" is bfloat16 where the hardware has it and float32 elsewhere, never float16.
        revision: Branch, tag or commit on the hub.
        cache_folder: Where downloads are kept; None is the hub library's own cache.
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
        streaming: Whether `invoke` streams inside, so that handlers see the pieces.

    A forced tool, `with_structured_output` included, switches thinking off for that call: the reply begins inside the
    call. ``strict`` only becomes a part of a tool's definition, nothing holds the model to it; arguments that are no
    JSON object are in ``invalid_tool_calls``.

    Raises:
        ValueError: An unknown argument or one that is out of range.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = DEFAULT_CHAT_MODEL
    device: str | None = None
    dtype: DType = "auto"
    revision: str | None = None
    cache_folder: str | None = None
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
    streaming: bool = False

    _engine: LocalChat | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _settle(self) -> Self:
        """Refuse what no call could use, and make the engine; nothing is loaded yet."""
        self._options(None, {})
        self._engine = self._local
        return self

    @classmethod
    def from_chat(cls, chat: LocalChat, **fields: Any) -> Self:
        """Return a model that uses a ready engine, so that both frameworks can share one set of weights.

        A pickled copy is made from the engine's settings and loads weights of its own.

        Args:
            chat: The engine.
            **fields: The other fields, such as ``max_tokens``.
        """
        made = cls(**chat.settings, **fields)
        made._engine = chat
        return made

    @property
    def _local(self) -> LocalChat:
        """The engine for the fields as they are now: a copy may have been given others."""
        wanted = {name: getattr(self, name) for name in _ENGINE_FIELDS}
        if self._engine is None or self._engine.settings != wanted:
            self._engine = LocalChat(**wanted)
        return self._engine

    @property
    def _llm_type(self) -> str:
        return "qwen3-chat-local"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return self.model_dump(include={*_ENGINE_FIELDS, *_CALL_FIELDS})

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Tell langchain-core that `dumps` and `load` work."""
        return True

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = PROVIDER
        return params

    def _resolve_model_profile(self) -> ModelProfile:
        family, limits = model_family(self.model), model_limits(self.model)
        return ModelProfile(
            max_input_tokens=limits.context_window,
            text_inputs=True,
            image_inputs=False,
            text_outputs=True,
            reasoning_output=family is None or family.thinks != "never",
            tool_calling=True,
            tool_choice=True,
            structured_output=False,  # by a tool only
        )

    def get_token_ids(self, text: str) -> list[int]:
        """Return the ids of a text as they reach the model; only the tokenizer is loaded."""
        return self._local.token_ids(text)

    def get_num_tokens_from_messages(self, messages: Sequence[BaseMessage], tools: Any = None, **_: Any) -> int:
        """Count what the model reads for a conversation, the chat template and tools included."""
        offered = [convert_to_openai_tool(tool) for tool in tools or ()]
        return self._local.count_tokens(_wire(messages), self._options(None, {"tools": offered}))

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | Any],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        strict: bool | None = None,
        parallel_tool_calls: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return a model that may call tools.

        Args:
            tools: Functions, pydantic classes, LangChain's tools or definitions.
            tool_choice: "auto", "none", "any" or "required", a tool's name, or that as Chat Completions writes it.
            strict: Written into the definitions.
            parallel_tool_calls: False ends the reply after the first call.
            **kwargs: Other arguments of a call.
        """
        offered = [convert_to_openai_tool(tool, strict=strict) for tool in tools]
        choices = {"tool_choice": tool_choice, "parallel_tool_calls": parallel_tool_calls}
        given = {name: choice for name, choice in choices.items() if choice is not None}
        return self.bind(tools=offered, **given, **kwargs)

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, method: str | None = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a Runnable that answers with instances of ``schema``, by a forced tool.

        Args:
            schema: A pydantic class, a TypedDict, a JSON schema or an OpenAI tool.
            include_raw: Whether to return the message as well, and an error instead of raising it.
            method: Only "function_calling" is there; another is replaced by it, and that is logged.
            **kwargs: ``strict``, which nothing holds the model to.
        """
        if method not in (None, "function_calling"):
            logger.info("method=%r is not there for local weights: a tool is called instead", method)
        return super().with_structured_output(schema, include_raw=include_raw, **kwargs)

    def _options(self, stop: list[str] | None, call: dict[str, Any]) -> ChatOptions:
        known = {*_CALL_FIELDS, "tools", "tool_choice", "parallel_tool_calls"}
        if unknown := sorted(set(call) - known):
            message = f"ChatQwen3Local has no argument {unknown[0]!r} for a call; it has {', '.join(sorted(known))}"
            raise ValueError(message)
        own = {name: getattr(self, name) for name in _CALL_FIELDS}
        return ChatOptions(**{**own, **call, **({} if stop is None else {"stop": stop})})

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return aggregate(list(self._stream(messages, stop, run_manager, **kwargs)))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return aggregate([chunk async for chunk in self._astream(messages, stop, run_manager, **kwargs)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        writer = _ChunkWriter(self.model, blocks=self.output_version == "v1")
        for piece in self._local.stream(_wire(messages), self._options(stop, kwargs)):
            chunk = writer.write(piece)
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        writer = _ChunkWriter(self.model, blocks=self.output_version == "v1")
        async for piece in self._local.astream(_wire(messages), self._options(stop, kwargs)):
            chunk = writer.write(piece)
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


_ENGINE_FIELDS = ("model", "device", "dtype", "revision", "cache_folder")
_CALL_FIELDS = (
    "max_tokens", "temperature", "top_p", "top_k", "min_p", "presence_penalty", "seed", "stop", "enable_thinking",
    "thinking_budget", "reasoning_effort", "preserve_thinking", "thinking_rule",
)  # fmt: skip


class _ChunkWriter:
    """Writes the pieces of one reply as chunks, each with one kind of content.

    Args:
        model: The model's name.
        blocks: Whether the chunks become content blocks (``output_version="v1"``). langchain-core numbers reasoning and
            text then as they come, and merges blocks of one number, so calls are numbered far behind them.
    """

    def __init__(self, model: str, *, blocks: bool) -> None:
        self._model = model
        self._calls = 1000 * blocks

    def write(self, piece: Piece) -> ChatGenerationChunk:
        fields: dict[str, Any] = {"content": piece.answer, "response_metadata": {"model_provider": PROVIDER}}
        if piece.reasoning:
            fields["additional_kwargs"] = {REASONING_KEY: piece.reasoning}
        elif call := piece.tool_call:
            chunk = tool_call_chunk(name=call.name, args=call.arguments, id=call.id, index=self._calls)
            fields["tool_call_chunks"] = [chunk]
            self._calls += 1
        elif end := piece.finish:
            fields["response_metadata"] |= {"finish_reason": end.reason, "model_name": self._model}
            fields["chunk_position"] = "last"
            fields["usage_metadata"] = UsageMetadata(
                input_tokens=end.prompt_tokens,
                output_tokens=end.completion_tokens,
                total_tokens=end.prompt_tokens + end.completion_tokens,
                output_token_details={"reasoning": end.reasoning_tokens},
            )
        return ChatGenerationChunk(message=AIMessageChunk(**fields))


def _wire(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Return messages as chat templates take them, with the reasoning of each in a field of its own."""
    return [
        {**part, "reasoning_content": reasoning_in(message)}
        for message in messages
        for part in convert_to_openai_messages([message])
    ]
