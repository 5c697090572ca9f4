"""What `ChatQwen3` is made of and how it asks: fields, limits, copies and request bodies. Nothing here is sent."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from langchain_core.language_models import LanguageModelInput, ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import BaseMessage, convert_to_openai_messages
from langchain_core.utils import get_pydantic_field_names
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_openai.chat_models.base import BaseChatOpenAI
from pydantic import ConfigDict, Field, SecretStr, model_validator
from typing_extensions import Self

from langchain_qwen3.chat_output import PROVIDER, reasoning_in
from langchain_qwen3.chat_streams import AsyncCompletions, Completions
from langchain_qwen3.chat_structured import response_format
from qwen3_core.adaptive import ThinkingRule, needs_thinking
from qwen3_core.chat.body import wanted_body
from qwen3_core.chat.messages import flatten_content, takes_json_schema
from qwen3_core.chat.server import (
    DASHSCOPE_BEIJING,
    Region,
    decide_thinking,
    prepare_client,
    refuse_unknown,
    server_key,
    server_url,
    settle_payload,
)
from qwen3_core.chat.wishes import THINKING_FIELDS, Thinking, check_thinking
from qwen3_core.families import model_family
from qwen3_core.models import model_limits, sees_images
from qwen3_core.thinking import DASHSCOPE, Dialect, Server, dialect_of
from qwen3_core.token_count import count_message_tokens, count_tokens

logger = logging.getLogger(__name__)

# OpenAI's account, and what belongs to its Responses API.
_NOT_OURS = {"organization", "openai_organization", "reasoning", "include", "truncation", "context_management"}
_NOT_OURS |= {"use_previous_response_id"}

# The SDK's clients, made of the other fields. Those of another instance would be changed with it.
_MADE = {"client", "async_client", "root_client", "root_async_client"}


class Qwen3ChatBase(BaseChatOpenAI):
    """Everything of `ChatQwen3` but its methods; see there."""

    # The message of a refused argument must not print the others: the key is among them.
    model_config = ConfigDict(populate_by_name=True, hide_input_in_errors=True)

    model_name: str = Field(default="qwen3-8b", alias="model")
    server: Server = "auto"
    region: Region | None = None
    workspace: str | None = None
    enable_thinking: bool | Literal["auto"] | None = None
    thinking_budget: int | None = Field(default=None, ge=1)
    preserve_thinking: bool | None = None
    thinking_rule: ThinkingRule = Field(default=needs_thinking, exclude=True, repr=False)
    recommended_sampling: bool = True
    tokenizer: str | None = None
    # The base turns usage on for OpenAI's own URL only, and reads a proxy from OPENAI_PROXY.
    stream_usage: bool | None = True
    openai_proxy: str | None = None
    # The base would pass None on, which the SDK takes as "wait forever".
    request_timeout: float | tuple[float, float] | Any | None = Field(default=600.0, alias="timeout")
    # The base would give up on async streams after 120 s of silence, whatever the timeout.
    stream_chunk_timeout: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _settle_arguments(cls, values: Any) -> Any:
        """Refuse what is unknown and fill in URL and key, before the base looks for OpenAI's."""
        if not isinstance(values, Mapping):
            return values
        # A copy, since the base writes into it; `configurable_fields` passes every field, those unset as well.
        arguments = {
            name: value for name, value in values.items() if name not in _MADE and (name not in _NOT_OURS or value)
        }
        # The base would move what it does not know into model_kwargs, and every request would fail.
        refuse_unknown("ChatQwen3", arguments, get_pydantic_field_names(cls) - _NOT_OURS)
        if arguments.get("use_responses_api"):
            message = "use_responses_api=True: Qwen3 servers are spoken to over Chat Completions."
            raise ValueError(message)
        where = {name: arguments.get(name) for name in ("region", "workspace")}
        given = arguments.pop("base_url", None) or arguments.pop("openai_api_base", None)
        # `load` and `configurable_fields` pass what the region became as well.
        url = server_url(
            None if given and any(where.values()) and given == server_url(None, **where) else given, **where
        )
        key = arguments.pop("api_key", None) or arguments.pop("openai_api_key", None)
        dialect = dialect_of(arguments.get("server", "auto"), url)
        key = key or SecretStr(server_key(dialect, url))
        return {**arguments, "openai_api_base": url, "openai_api_key": key}

    @model_validator(mode="after")
    def _settle_clients(self) -> Self:
        """Refuse wishes that cannot be met, take OpenAI's account off the clients, let them notice a dead host."""
        wanted = {name: value for name, value in self.__dict__.items() if value != "auto"}
        check_thinking(self._dialect, self.model_name, Thinking.of(wanted))
        self.openai_organization = None
        if self.root_client is not None:
            prepare_client(self.root_client, self.request_timeout, self.default_headers)
            self.client = Completions(self.root_client.chat.completions)
        # An idle connection belongs to the event loop that opened it, and the base shares its client between loops:
        # after `asyncio.run` the next one would fail with "Event loop is closed". A user's own client is theirs.
        ours = self.http_async_client is None or self.openai_proxy
        headers = {**({"Connection": "close"} if ours else {}), **(self.default_headers or {})}
        prepare_client(self.root_async_client, self.request_timeout, headers)
        self.async_client = AsyncCompletions(self.root_async_client.chat.completions)
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

    def _resolve_model_profile(self) -> ModelProfile:
        """Say what the model can do; agents choose their strategy by it, and middleware its limits."""
        dialect, family = self._dialect, model_family(self.model_name)
        limits = model_limits(self.model_name, dashscope=dialect is DASHSCOPE)
        images = sees_images(self.model_name)
        profile = ModelProfile(
            max_input_tokens=limits.context_window,
            text_inputs=True,
            image_inputs=images,
            image_url_inputs=images,
            audio_inputs=False,
            text_outputs=True,
            reasoning_output=family is None or family.thinks != "never",
            tool_calling=True,
            tool_choice=bool(dialect.tool_choices),
            structured_output=takes_json_schema(dialect, self.model_name),
        )
        if limits.max_output:
            profile["max_output_tokens"] = limits.max_output
        if family and family.efforts:
            profile["reasoning_effort_levels"] = list(dict.fromkeys(family.efforts.values()))
        return profile

    def get_num_tokens(self, text: str) -> int:
        """Count the tokens of a text; see `get_num_tokens_from_messages`."""
        return count_tokens(text, tokenizer=self.tokenizer, model=self.model_name)

    def get_num_tokens_from_messages(self, messages: Sequence[BaseMessage], tools: Any = None, **_: Any) -> int:
        """Count the tokens of messages, without a download.

        With the model's own tokenizer where it is at hand (``tokenizer``, or the model in the local cache of the
        hub), else as an estimate of a quarter of the UTF-8 bytes, which is within a third for English, Chinese and
        Python. Tools, where given, count.
        """
        wire = convert_to_openai_messages(messages)
        described = [convert_to_openai_tool(tool) for tool in tools or ()]
        return count_message_tokens(wire, tools=described, tokenizer=self.tokenizer, model=self.model_name)

    def _use_responses_api(self, payload: dict[str, Any]) -> bool:  # noqa: ARG002 - the base's signature
        return False

    def _decided(self, messages: LanguageModelInput, call: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call with ``enable_thinking="auto"`` decided."""
        if call.get("enable_thinking", self.enable_thinking) != "auto":
            return dict(call)
        wire = convert_to_openai_messages(self._convert_input(messages).to_messages())
        on = decide_thinking(self._dialect, call.get("model") or self.model_name, wire, self.thinking_rule, logger)
        return {**call, "enable_thinking": on}

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        messages = self._convert_input(input_).to_messages()
        call = self._decided(messages, kwargs)
        wanted = self._wanted_body(call)
        rest = {name: value for name, value in call.items() if name not in (*THINKING_FIELDS, "extra_body")}
        payload = super()._get_request_payload(messages, stop=stop, **rest)
        payload.pop("reasoning_effort", None)  # the base's own place for it
        payload["messages"] = [flatten_content(message) for message in payload["messages"]]
        output = payload.pop("response_format", None)
        if output is not None:
            payload["response_format"] = response_format(output)
        reasoning = [reasoning_in(message) for message in messages]
        settled = settle_payload(
            self._dialect, payload, wanted, reasoning, sampling=self.recommended_sampling, logger=logger
        )
        if output is None:
            return settled
        # Where the SDK sees it, it parses the answer itself, and fails on tags, fences and cut answers.
        body = {**settled.get("extra_body", {}), "response_format": settled.pop("response_format")}
        return {**settled, "extra_body": body}

    def _wanted_body(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of the server that the instance and a call ask for."""
        own = {name: getattr(self, name) for name in THINKING_FIELDS}
        return wanted_body(self._dialect, call.get("model") or self.model_name, self.extra_body or {}, own, call)
