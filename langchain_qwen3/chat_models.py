"""`ChatQwen3`: Qwen3 chat models on DashScope, llama.cpp and their relatives, with thinking kept apart.

The OpenAI client of langchain-openai does the transport. This class adds what that package leaves to provider
packages: where each server wants the thinking switch (`qwen3_core.thinking`), which requests have to be streamed,
and reasoning as a content block of its own instead of lost or mixed into the answer.
"""

import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Literal

import openai
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils import get_pydantic_field_names
from langchain_openai.chat_models.base import BaseChatOpenAI
from pydantic import ConfigDict, Field, SecretStr, model_validator
from typing_extensions import Self

from langchain_qwen3.chat_output import (
    PROVIDER,
    REASONING_KEY,
    StreamReader,
    aggregate,
    logprobs_of,
    message_fields,
    take_reasoning_out,
)
from qwen3_core.chat_server import (
    DASHSCOPE_BEIJING,
    THINKING_FIELDS,
    explained,
    prepare_client,
    refuse_unknown,
    server_key,
    server_url,
    settle_payload,
    wanted_body,
)
from qwen3_core.thinking import (
    DASHSCOPE,
    Dialect,
    Server,
    dialect_of,
    flatten_content,
    must_stream,
    reasoning_of,
    thinks_only,
    write_thinking,
)

logger = logging.getLogger(__name__)


class ChatQwen3(BaseChatOpenAI):
    """A Qwen3 chat model behind an OpenAI-compatible server.

    ```python
    chat = ChatQwen3(model="qwen3-8b", enable_thinking=True, thinking_budget=1024)  # DashScope
    chat = ChatQwen3(model="qwen3-8b", base_url="http://127.0.0.1:8080/v1", server="llama.cpp")
    message = chat.invoke("Which is larger, 9.11 or 9.9?")
    message.text  # the answer alone
    [block["reasoning"] for block in message.content_blocks if block["type"] == "reasoning"]
    chat.invoke("Hello", enable_thinking=False)  # this call only; chat.bind(...) does the same
    ```

    Everything that `langchain_openai.BaseChatOpenAI` accepts is accepted (``temperature``, ``max_tokens``,
    ``extra_body``, ``http_client``...), except ``organization`` and the Responses API. No ``OPENAI_*`` variable is
    used: not the key, not the URL, not the organisation.

    Args:
        model: The server's name for the model, default ``"qwen3-8b"``.
        base_url: The server's URL, up to and including ``/v1``. Default: the environment variable
            ``DASHSCOPE_API_BASE``, else DashScope's Beijing endpoint.
        api_key: The key. For DashScope (by URL or ``server="dashscope"``) the default is the environment variable
            ``DASHSCOPE_API_KEY``, which goes nowhere else; for other servers a placeholder.
        server: Which thinking dialect the server speaks. ``"auto"`` means DashScope for its URLs; for every other
            URL it means ``chat_template_kwargs``, which llama.cpp, vLLM and SGLang share.
        enable_thinking: True, False, or None for the server's own default. Also per call.
        thinking_budget: The most tokens to think for, at least 1; not sent while thinking is off. Also per call.
            ``server="auto"`` has no field for it outside DashScope, so name the server.
        timeout: Seconds that the server may stay silent, default 600 as in the openai SDK. Connecting gives up
            after 10 s.
        max_retries: How often a failed request is sent again, default 2 (the SDK's).
        stream_usage: Whether a stream ends with token counts, default True.

    What DashScope refuses is settled per call, and the instance never changes:

    * A model of the Qwen3 generation may think only while streaming, so `invoke` streams inside and aggregates.
      With ``enable_thinking=None`` the open-source models (``qwen3-8b``...) think in `stream` and do not in
      `invoke`, which sends False; say True to have both alike.
    * Forced tools (``tool_choice`` "any", "required" or a name) and ``response_format`` are refused while thinking,
      so thinking is off for that call, `with_structured_output` included. "required" with one tool is sent as that
      tool's name, which every model there accepts.

    llama.cpp ignores a tool's name in ``tool_choice``, so a named tool becomes "required" with that tool alone.

    `langchain_core.load.dumps` leaves the key out; `load(..., allowed_objects=[ChatQwen3],
    valid_namespaces=["langchain_qwen3"], secrets_from_env=True)` brings the model back.

    Raises:
        ValueError: No key for DashScope, an unknown argument, or a server whose dialect is not built in.
    """

    # The message of a refused argument must not print the others: the key is among them.
    model_config = ConfigDict(populate_by_name=True, hide_input_in_errors=True)

    model_name: str = Field(default="qwen3-8b", alias="model")
    server: Server = "auto"
    enable_thinking: bool | None = None
    thinking_budget: int | None = Field(default=None, ge=1)
    # The base turns usage on for OpenAI's own URL only, and reads a proxy from OPENAI_PROXY.
    stream_usage: bool | None = True
    openai_proxy: str | None = None
    # The base would pass None on, which the SDK takes as "wait forever".
    request_timeout: float | tuple[float, float] | Any | None = Field(default=600.0, alias="timeout")

    @model_validator(mode="before")
    @classmethod
    def _settle_arguments(cls, values: Any) -> Any:
        """Refuse what is unknown and fill in URL and key, before the base looks for OpenAI's."""
        if not isinstance(values, Mapping):
            return values
        arguments = dict(values)  # the base writes into it
        # The base would move what it does not know into model_kwargs, and every request would fail.
        refuse_unknown("ChatQwen3", arguments, get_pydantic_field_names(cls) - {"organization", "openai_organization"})
        if arguments.get("use_responses_api"):
            message = "use_responses_api=True: Qwen3 servers are spoken to over Chat Completions."
            raise ValueError(message)
        url = server_url(arguments.pop("base_url", None) or arguments.pop("openai_api_base", None))
        key = arguments.pop("api_key", None) or arguments.pop("openai_api_key", None)
        dialect = dialect_of(arguments.get("server", "auto"), url)
        key = key or SecretStr(server_key(dialect, url))
        write_thinking(dialect, {}, budget=arguments.get("thinking_budget"))  # can this server take one at all?
        return {**arguments, "openai_api_base": url, "openai_api_key": key}

    @model_validator(mode="after")
    def _settle_clients(self) -> Self:
        """Take OpenAI's account headers off the clients and let them notice a dead host quickly."""
        self.openai_organization = None
        for client in (self.root_client, self.root_async_client):
            if client is not None:
                prepare_client(client, self.request_timeout, self.default_headers)
        return self

    @property
    def _dialect(self) -> Dialect:
        return dialect_of(self.server, self.openai_api_base or DASHSCOPE_BEIJING)

    @property
    def _llm_type(self) -> str:
        return "qwen3-chat"

    @property
    def lc_secrets(self) -> dict[str, str]:
        """Name the secret that a serialised instance holds in place of its key.

        Outside DashScope it has another name, so that loading with ``secrets_from_env`` cannot send DashScope's
        key to some other server.
        """
        return {"openai_api_key": "DASHSCOPE_API_KEY" if self._dialect is DASHSCOPE else "QWEN3_API_KEY"}

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Tell langchain-core that `dumps` and `load` work, without the key."""
        return True

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = PROVIDER
        return params

    def get_num_tokens_from_messages(self, messages: Sequence[BaseMessage], tools: Any = None, **_: Any) -> int:
        """Estimate the tokens of messages, without a download: a quarter of their UTF-8 bytes.

        Against the Qwen3 tokenizer that is within a third for English, Chinese and Python. Tools, where given, count.
        """
        text = "".join(str(message.content) for message in messages)
        characters_per_token = 4 * len(text) / len(text.encode()) if text else 4.0
        more: dict[str, Any] = {"tools": list(tools)} if tools else {}
        return count_tokens_approximately(messages, chars_per_token=characters_per_token, **more)

    def with_structured_output(
        self,
        schema: Any = None,
        *,
        method: Literal["function_calling", "json_mode", "json_schema"] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a Runnable that answers with instances of ``schema``.

        Args:
            schema: A pydantic class, a TypedDict, a JSON schema or an OpenAI tool.
            method: Default "function_calling" on DashScope, where all models have it, and "json_schema" elsewhere,
                where the servers enforce it with a grammar. DashScope's "json_mode" wants the word "json" somewhere
                in the messages.
            kwargs: ``include_raw``, ``strict``, ``tools`` and what else `BaseChatOpenAI` takes.
        """
        default: Literal["function_calling", "json_schema"] = (
            "function_calling" if self._dialect is DASHSCOPE else "json_schema"
        )
        return super().with_structured_output(schema, method=method or default, **kwargs)

    def _use_responses_api(self, payload: dict[str, Any]) -> bool:  # noqa: ARG002 - the base's signature
        return False

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        dialect = self._dialect
        fields = {name: getattr(self, name) for name in THINKING_FIELDS}
        wanted = wanted_body(dialect, self.extra_body or {}, fields, kwargs)
        rest = {key: value for key, value in kwargs.items() if key not in (*THINKING_FIELDS, "extra_body")}
        payload = super()._get_request_payload(input_, stop=stop, **rest)
        payload["messages"] = [flatten_content(message) for message in payload["messages"]]
        return settle_payload(dialect, payload, wanted, logger)

    def _streams_inside(self, messages: list[BaseMessage], stop: list[str] | None, call: dict[str, Any]) -> bool:
        dialect = self._dialect
        if not dialect.refuses_unstreamed_thinking:
            return False
        payload = self._get_request_payload(messages, stop=stop, **{**call, "stream": True})
        if not must_stream(dialect, payload["model"], payload.get("extra_body", {})):
            return False
        if payload.get("n", 1) != 1:
            message = (
                "n must be 1 while thinking: DashScope lets the model think only in a stream, which has one answer."
            )
            raise ValueError(message)
        return True

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if self._streams_inside(messages, stop, kwargs):
            return aggregate(list(self._stream(messages, stop, run_manager, **kwargs)))
        with explained(self.openai_api_base):
            return super()._generate(messages, stop, run_manager, **kwargs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if self._streams_inside(messages, stop, kwargs):
            return aggregate([chunk async for chunk in self._astream(messages, stop, run_manager, **kwargs)])
        with explained(self.openai_api_base):
            return await super()._agenerate(messages, stop, run_manager, **kwargs)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        *,
        stream_usage: bool | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        reader = StreamReader(prefilled=self._prefills(kwargs))
        with explained(self.openai_api_base):
            # The base gets no run manager: handlers are told about chunks after the reader has sorted them.
            for raw in super()._stream(messages, stop, stream_usage=stream_usage, **kwargs):
                for chunk in reader.read(raw):
                    if run_manager:
                        run_manager.on_llm_new_token(chunk.text, chunk=chunk, **logprobs_of(chunk))
                    yield chunk
        for chunk in reader.finish():
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        *,
        stream_usage: bool | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        reader = StreamReader(prefilled=self._prefills(kwargs))
        with explained(self.openai_api_base):
            async for raw in super()._astream(messages, stop, stream_usage=stream_usage, **kwargs):
                for chunk in reader.read(raw):
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk, **logprobs_of(chunk))
                    yield chunk
        for chunk in reader.finish():
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    def _prefills(self, call: Mapping[str, Any]) -> bool:
        """Tell whether text that is left unsplit begins inside the reasoning (DashScope splits it itself)."""
        return self._dialect is not DASHSCOPE and thinks_only(call.get("model") or self.model_name)

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: dict[str, Any] | None
    ) -> ChatGenerationChunk | None:
        converted = super()._convert_chunk_to_generation_chunk(chunk, default_chunk_class, base_generation_info)
        # With response_format the SDK yields events that hold the chunk.
        choices = chunk.get("choices") or (chunk.get("chunk") or {}).get("choices")
        if converted is None or not choices or not isinstance(converted.message, AIMessageChunk):
            return converted
        # Left at "openai", langchain-core's translator for OpenAI would hide the reasoning block.
        converted.message.response_metadata["model_provider"] = PROVIDER
        if reasoning := reasoning_of(choices[0].get("delta") or {}):
            converted.message.additional_kwargs[REASONING_KEY] = reasoning
        return converted

    def _get_generation_chunk_from_completion(self, completion: openai.BaseModel) -> ChatGenerationChunk:
        chunk = super()._get_generation_chunk_from_completion(completion)
        chunk.message.additional_kwargs.pop(REASONING_KEY, None)  # its deltas went out already
        return chunk

    def _create_chat_result(
        self, response: dict[str, Any] | openai.BaseModel, generation_info: dict[str, Any] | None = None
    ) -> ChatResult:
        result = super()._create_chat_result(response, generation_info)
        choices = response["choices"] if isinstance(response, dict) else getattr(response, "choices", [])
        model = (result.llm_output or {}).get("model_name") or self.model_name
        prefilled = self._prefills({"model": model}) or self._prefills({})
        for generation, choice in zip(result.generations, choices, strict=True):
            take_reasoning_out(generation, message_fields(choice), prefilled=prefilled)
        return ChatResult(
            generations=[
                ChatGeneration(message=each.message, generation_info=each.generation_info)  # text is set anew
                for each in result.generations
            ],
            llm_output={**(result.llm_output or {}), "model_provider": PROVIDER},
        )
