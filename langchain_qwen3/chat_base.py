"""What `ChatQwen3` is made of and how it asks: fields, limits, copies and request bodies. Nothing here is sent."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from langchain_core.language_models import LanguageModelInput, ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import BaseMessage, convert_to_openai_messages
from langchain_core.utils import get_pydantic_field_names
from langchain_openai.chat_models.base import BaseChatOpenAI
from pydantic import ConfigDict, Field, SecretStr, model_validator
from typing_extensions import Self

from langchain_qwen3.chat_output import PROVIDER, reasoning_in
from qwen3_core.adaptive import ThinkingRule, needs_thinking
from qwen3_core.chat_body import THINKING_FIELDS, Thinking, check_thinking, wanted_body
from qwen3_core.chat_messages import flatten_content, takes_json_schema
from qwen3_core.chat_server import (
    DASHSCOPE_BEIJING,
    Region,
    decide_thinking,
    prepare_client,
    refuse_unknown,
    server_key,
    server_url,
    settle_payload,
)
from qwen3_core.families import model_family
from qwen3_core.models import model_limits, sees_images
from qwen3_core.thinking import DASHSCOPE, Dialect, Server, dialect_of
from qwen3_core.token_count import count_message_tokens, count_tokens

logger = logging.getLogger(__name__)


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
        url = server_url(
            arguments.pop("base_url", None) or arguments.pop("openai_api_base", None),
            region=arguments.get("region"),
            workspace=arguments.get("workspace"),
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
        return count_message_tokens(wire, tools=tools, tokenizer=self.tokenizer, model=self.model_name)

    def _use_responses_api(self, payload: dict[str, Any]) -> bool:  # noqa: ARG002 - the base's signature
        return False

    def _decided(self, messages: LanguageModelInput, call: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call with ``enable_thinking="auto"`` decided."""
        if call.get("enable_thinking", self.enable_thinking) != "auto":
            return dict(call)
        wire = convert_to_openai_messages(self._convert_input(messages).to_messages())
        on = decide_thinking(call.get("model") or self.model_name, wire, self.thinking_rule, logger)
        return {**call, "enable_thinking": on}

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        messages = self._convert_input(input_).to_messages()
        dialect, call = self._dialect, self._decided(messages, kwargs)
        model = call.get("model") or self.model_name
        own = {name: getattr(self, name) for name in THINKING_FIELDS}
        wanted = wanted_body(dialect, model, self.extra_body or {}, own, call)
        rest = {name: value for name, value in call.items() if name not in (*THINKING_FIELDS, "extra_body")}
        payload = super()._get_request_payload(messages, stop=stop, **rest)
        payload.pop("reasoning_effort", None)  # the base's own place for it
        payload["messages"] = [flatten_content(message) for message in payload["messages"]]
        reasoning = [reasoning_in(message) for message in messages]
        return settle_payload(dialect, payload, wanted, reasoning, sampling=self.recommended_sampling, logger=logger)
