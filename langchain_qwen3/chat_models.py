"""`ChatQwen3`: Qwen3 chat models on DashScope, vLLM, SGLang, llama.cpp and their relatives, with thinking kept apart.

The OpenAI client of langchain-openai does the transport. This class adds what that package leaves to provider
packages: where each server wants the thinking switch (`qwen3_core.thinking`), which requests have to be streamed,
and reasoning as a content block of its own instead of lost or mixed into the answer.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable

from langchain_qwen3.chat_base import Qwen3ChatBase, logger
from langchain_qwen3.chat_output import (
    PROVIDER,
    REASONING_KEY,
    StreamReader,
    add_thinking_tokens,
    aggregate,
    answer_from_reasoning,
    answered,
    choices_of,
    logprobs_of,
    take_reasoning_out,
)
from langchain_qwen3.chat_structured import AnswerParser, Method, format_arguments, method_for, with_raw
from qwen3_core.chat.body import must_stream, settle_body
from qwen3_core.chat.errors import explained, whole_stream
from qwen3_core.chat.messages import fit_request, is_constrained, takes_json_schema
from qwen3_core.families import model_family
from qwen3_core.thinking import reasoning_of


class ChatQwen3(Qwen3ChatBase):
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
        server: Which dialect the server speaks: "dashscope", "vllm", "sglang", "llama.cpp", "transformers", "ollama",
            "xinference", "lmstudio" or "openai". ``"auto"`` infers it from the URL: DashScope's hosts, the ports that
            Ollama, LM Studio, Xinference and SGLang have by default, and for every other URL what vLLM, SGLang and
            llama.cpp share. `qwen3-rag doctor --chat URL` asks the server what it is.
        region: DashScope's region instead of a URL, such as "ap-southeast-1". Keys are per region.
        workspace: The id of a workspace, which has a host of its own in every region.
        enable_thinking: True, False, None for the server's own default, or ``"auto"`` to decide for each question
            by ``thinking_rule``. Also per call.
        thinking_budget: The most tokens to think for, at least 1; not sent while thinking is off. Also per call.
            Every server that takes one has another field for it, so outside DashScope name the server.
        reasoning_effort: How hard to think: "low", "medium" or "xhigh" (Qwen3.8; "minimal" means low, "high" and
            "max" mean xhigh). "none" is ``enable_thinking=False``. Also per call.
        preserve_thinking: Whether the model sees what it thought in earlier turns (Qwen3.6 and later). Within a tool
            loop it always does, where the server takes it. Also per call.
        thinking_rule: Takes a question and its context and says whether thinking pays, for
            ``enable_thinking="auto"``. Default `qwen3_core.adaptive.needs_thinking`.
        recommended_sampling: Whether the temperature, top_p and so on that the model's card recommends for thinking,
            or for not thinking, are sent where nothing else is set. Default True.
        tokenizer: A folder or a cached hub name whose ``tokenizer.json`` counts tokens exactly; nothing is downloaded.
        timeout: Seconds that the server may stay silent, default 600 as in the openai SDK. Connecting gives up
            after 10 s.
        max_retries: How often a failed request is sent again, default 2 (the SDK's).
        stream_usage: Whether a stream ends with token counts, default True.

    A temperature of 0 is raised to the recommended one while the model thinks, with a warning: Qwen3 repeats itself
    endlessly when it thinks greedily.

    What a server refuses is settled per call, and the instance never changes. On DashScope:

    * A model of the Qwen3 generation may think only while streaming, so `invoke` streams inside and aggregates.
      With ``enable_thinking=None`` the open-source models (``qwen3-8b``...) think in `stream` and do not in
      `invoke`, which sends False; say True to have both alike.
    * Forced tools (``tool_choice`` "any", "required" or a name) and, before Qwen3.7, ``response_format`` are refused
      while thinking, so thinking is off for that call, `with_structured_output` included. A model that cannot stop
      thinking gets the tool unforced. "required" with one tool is sent as that tool's name.

    llama.cpp and LM Studio know no tool's name in ``tool_choice``, so a named tool becomes "required" with that tool
    alone. Ollama and ``transformers serve`` ignore ``tool_choice``: there a forced tool is only the one on offer.

    `langchain_core.load.dumps` leaves the key out; `load(..., allowed_objects=[ChatQwen3],
    valid_namespaces=["langchain_qwen3"], secrets_from_env=True)` brings the model back.

    Raises:
        ValueError: No key for DashScope, an unknown argument, a server that is not known, or a wish that the server or
            the model has no way to meet, such as a budget for a model that does not think.
    """

    def with_structured_output(
        self,
        schema: Any = None,
        *,
        method: Method | None = None,
        include_raw: bool = False,
        strict: bool | None = None,
        tools: list[Any] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a Runnable that answers with instances of ``schema``, or with dicts where it is no pydantic class.

        Streams yield objects that grow: dicts with what has come, instances as soon as what has come is enough for one.

        Args:
            schema: A pydantic class, a TypedDict, a JSON schema or an OpenAI tool; None is possible with "json_mode".
            method: Default "json_schema" where the server holds the model to it: everywhere but on
                ``transformers serve`` and, on DashScope, on models before Qwen3.7. There the default is
                "function_calling", and so is what "json_schema" falls back to. DashScope's "json_mode" wants the word
                "json" somewhere in the messages.
            include_raw: Whether to answer with "raw" (the message), "parsed" and "parsing_error" instead.
            strict: What ``strict`` says in the request. Default: True for a pydantic class with "json_schema".
            tools: Tools that the model may call as well, with "json_schema"; the object is None then.
            kwargs: Bound to the model, ``enable_thinking`` for example.

        Raises:
            ValueError: There is no schema, ``strict`` in a mode that knows none, or ``tools`` where there is no
                "json_schema".
        """
        native = takes_json_schema(self._dialect, self.model_name)
        chosen = method_for(schema, method, native=native)
        if chosen != (method or chosen):
            logger.info("%s has no JSON schema mode for this: a tool is called instead", self.model_name)
        if chosen == "function_calling":
            if tools:
                message = f"Tools beside a schema need JSON schema mode, which {self.model_name} does not have here."
                raise ValueError(message)
            answered = super().with_structured_output(schema, method=chosen, strict=strict, **kwargs)
        else:
            asked = format_arguments(chosen, schema, strict=strict, tools=tools)
            answered = self.bind(**asked, **kwargs) | AnswerParser(wanted=schema)
        return with_raw(answered) if include_raw else answered

    def _streams_inside(self, call: dict[str, Any]) -> bool:
        dialect = self._dialect
        if not dialect.refuses_unstreamed_thinking:
            return False
        asked = {**self._default_params, **call}
        model = asked["model"]
        forced = is_constrained(dialect, fit_request(dialect, model, asked))
        body = settle_body(dialect, model, self._wanted_body(call), stream=True, constrained=forced)
        if not must_stream(dialect, model, body):
            return False
        if asked.get("n", 1) != 1:
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
        call = self._decided(messages, kwargs)
        if self._streams_inside(call):
            return aggregate(list(self._stream(messages, stop, run_manager, **call)))
        with explained(self.openai_api_base), answered(self.openai_api_base):
            result = super()._generate(messages, stop, run_manager, **call)
        if self._is_formatted(call):
            answer_from_reasoning(result)
        return result

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._decided(messages, kwargs)
        if self._streams_inside(call):
            return aggregate([chunk async for chunk in self._astream(messages, stop, run_manager, **call)])
        with explained(self.openai_api_base), answered(self.openai_api_base):
            result = await super()._agenerate(messages, stop, run_manager, **call)
        if self._is_formatted(call):
            answer_from_reasoning(result)
        return result

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        *,
        stream_usage: bool | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        call = self._decided(messages, kwargs)
        reader = self._reader(call)
        # The base gets no run manager: handlers are told about chunks after the reader has sorted them.
        raw_chunks = super()._stream(messages, stop, stream_usage=stream_usage, **call)
        with explained(self.openai_api_base), whole_stream(self.openai_api_base, reader):
            for raw in raw_chunks:
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
        call = self._decided(messages, kwargs)
        reader = self._reader(call)
        raw_chunks = super()._astream(messages, stop, stream_usage=stream_usage, **call)
        with explained(self.openai_api_base), whole_stream(self.openai_api_base, reader):
            async for raw in raw_chunks:
                for chunk in reader.read(raw):
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk, **logprobs_of(chunk))
                    yield chunk
        for chunk in reader.finish():
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    def _reader(self, call: Mapping[str, Any]) -> StreamReader:
        return StreamReader(
            prefilled=self._prefills(call), formatted=self._is_formatted(call), blocks=self.output_version == "v1"
        )

    def _is_formatted(self, call: Mapping[str, Any]) -> bool:
        return {**self.model_kwargs, **call}.get("response_format") is not None

    def _prefills(self, call: Mapping[str, Any]) -> bool:
        """Tell whether text that is left unsplit begins inside the reasoning.

        Of models that can stop thinking only where thinking is asked for: a server may have it off by default.
        """
        family = model_family(call.get("model") or self.model_name)
        if family is None or not family.prefilled or self._dialect.splits_tags:
            return False
        return family.thinks == "always" or call.get("enable_thinking", self.enable_thinking) is True

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: dict[str, Any] | None
    ) -> ChatGenerationChunk | None:
        choices = chunk.get("choices")
        delta = choices[0].setdefault("delta", {}) or {} if choices else {}
        for call in delta.get("tool_calls") or ():  # the base drops calls without an index, and wants a function
            call.update(index=call.get("index"), function=call.get("function") or {})
        converted = super()._convert_chunk_to_generation_chunk(chunk, default_chunk_class, base_generation_info)
        if converted is None or not isinstance(message := converted.message, AIMessageChunk):
            return converted
        if usage := chunk.get("usage"):
            add_thinking_tokens(message, usage)
        if choices:
            # Left at "openai", langchain-core's translator for OpenAI would hide the reasoning block.
            message.response_metadata["model_provider"] = PROVIDER
            if reasoning := reasoning_of(delta):
                message.additional_kwargs[REASONING_KEY] = reasoning
        return converted

    def _create_chat_result(self, response: Any, generation_info: dict[str, Any] | None = None) -> ChatResult:
        choices = choices_of(response, self.openai_api_base)  # JSON as it came: see `chat_streams`
        result = super()._create_chat_result(response, generation_info)
        family = model_family((result.llm_output or {}).get("model_name") or "") or model_family(self.model_name)
        for generation, choice in zip(result.generations, choices, strict=True):
            take_reasoning_out(generation, choice["message"], family)
            add_thinking_tokens(generation.message, response.get("usage") or {})
        return ChatResult(
            generations=[
                ChatGeneration(message=each.message, generation_info=each.generation_info)  # text is set anew
                for each in result.generations
            ],
            llm_output={**(result.llm_output or {}), "model_provider": PROVIDER},
        )
