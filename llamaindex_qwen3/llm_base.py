"""What `Qwen3` is made of and how it asks: fields, sizes, copies and request bodies. Nothing here is sent."""

import functools
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from llama_index.core.base.llms.types import ChatMessage, LLMMetadata
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr, model_validator
from typing_extensions import Self

from llamaindex_qwen3.llm_client import Clients, Connection
from llamaindex_qwen3.llm_messages import wire_message
from llamaindex_qwen3.llm_methods import ChatMethods
from llamaindex_qwen3.llm_output import ReplyReader, reasoning_in
from llamaindex_qwen3.reasoning import reasoning_sink
from qwen3_core.adaptive import ThinkingRule, needs_thinking
from qwen3_core.chat.body import must_stream, read_switch, settle_body, wanted_body
from qwen3_core.chat.messages import fit_request, is_constrained
from qwen3_core.chat.paths import merge_bodies
from qwen3_core.chat.server import Region, decide_thinking, refuse_unknown, server_key, server_url, settle_payload
from qwen3_core.chat.wishes import THINKING_FIELDS, Thinking, check_thinking
from qwen3_core.families import model_family
from qwen3_core.models import model_limits
from qwen3_core.thinking import DASHSCOPE, Dialect, Server, dialect_of
from qwen3_core.token_count import tokenizer_function

logger = logging.getLogger(__name__)

_ANSWER_TOKENS = 4096  # what query engines keep free for an answer of unknown length
_CLIENTS: dict[str, None] = {"http_client": None, "async_http_client": None}


class Qwen3Base(ChatMethods):
    """Everything of `Qwen3` but its methods; see there."""

    # The message of a refused argument must not print the others: the key is among them.
    model_config = ConfigDict(hide_input_in_errors=True)

    model: str = "qwen3-8b"
    api_base: str = ""
    api_key: SecretStr = Field(default=SecretStr(""), exclude=True, repr=False)
    server: Server = "auto"
    # Ways to say ``api_base``, which holds what they come to; they stay None.
    region: Region | None = Field(default=None, exclude=True, repr=False)
    workspace: str | None = Field(default=None, exclude=True, repr=False)
    enable_thinking: bool | Literal["auto"] | None = None
    thinking_budget: int | None = Field(default=None, ge=1)
    reasoning_effort: str | None = None
    preserve_thinking: bool | None = None
    thinking_rule: ThinkingRule = Field(default=needs_thinking, exclude=True, repr=False)
    recommended_sampling: bool = True
    tokenizer: str | None = None
    temperature: float | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    context_window: int | None = Field(default=None, ge=1)
    num_output: int | None = Field(default=None, ge=1)
    timeout: float | None = 600.0
    max_retries: int = Field(default=2, ge=0)
    extra_body: dict[str, Any] = Field(default_factory=dict)
    additional_kwargs: dict[str, Any] = Field(default_factory=dict)
    default_headers: dict[str, str] | None = Field(default=None, exclude=True, repr=False)
    http_client: Any = Field(default=None, exclude=True, repr=False)
    async_http_client: Any = Field(default=None, exclude=True, repr=False)

    _clients: Clients | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _settle_arguments(cls, values: Any) -> Any:
        """Refuse what is unknown and fill in URL and key."""
        if not isinstance(values, Mapping):
            return values
        arguments = {name: value for name, value in values.items() if name != "class_name"}
        refuse_unknown(cls.__name__, arguments, cls.model_fields)
        more = arguments.get("additional_kwargs") or {}
        if misplaced := set(THINKING_FIELDS) & set(more):
            message = f"additional_kwargs holds {sorted(misplaced)}; they are arguments of their own."
            raise ValueError(message)
        refuse_unknown("additional_kwargs", more, _call_arguments())
        url = server_url(
            arguments.get("api_base"), region=arguments.pop("region", None), workspace=arguments.pop("workspace", None)
        )
        dialect = dialect_of(arguments.get("server", "auto"), url)
        key = arguments.get("api_key")
        if not (key.get_secret_value() if isinstance(key, SecretStr) else key):
            key = SecretStr(server_key(dialect, url, url_argument="api_base"))
        return {**arguments, "api_base": url, "api_key": key}

    @model_validator(mode="after")
    def _check_wishes(self) -> Self:
        """Refuse wishes that this server or model has no way to meet."""
        check_thinking(self._dialect, self.model, Thinking.of(_decided(self._wishes, to=None)))
        return self

    @classmethod
    def class_name(cls) -> str:
        """Return the name that serialised instances carry."""
        return "qwen3_llm"

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex plans with: sizes, and that this is a chat model with tools."""
        limits = model_limits(self.model, dashscope=self._dialect is DASHSCOPE)
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
        """The model's own tokenizer, for ``Memory.from_defaults(tokenizer_fn=...)``, splitters and token counters.

        Raises:
            ValueError: Neither ``tokenizer`` nor the model names one that is on this machine.
        """
        return tokenizer_function(self.tokenizer, model=self.model)

    @property
    def _dialect(self) -> Dialect:
        return dialect_of(self.server, self.api_base)

    @property
    def _wishes(self) -> dict[str, Any]:
        """What the instance wants of thinking."""
        return {name: getattr(self, name) for name in THINKING_FIELDS}

    @property
    def _connected(self) -> Clients:
        """The clients for the fields as they are now: a copy may have been given others."""
        connection = Connection(
            url=self.api_base,
            key=self.api_key.get_secret_value(),
            timeout=self.timeout,
            max_retries=self.max_retries,
            headers=self.default_headers,
            http_client=self.http_client,
            async_http_client=self.async_http_client,
        )
        if self._clients is None or self._clients.connection != connection:
            self._clients = Clients(connection)
        return self._clients

    # --- copies -----------------------------------------------------------------------------------------------

    def _without_clients(self) -> Self:
        twin = self.model_copy(update=_CLIENTS)
        twin._clients = None
        return twin

    def __getstate__(self) -> dict[str, Any]:
        # Of a twin: the base deletes what cannot be pickled from the instance's own dictionary.
        state = super(Qwen3Base, self._without_clients()).__getstate__()
        if "thinking_rule" not in state["__dict__"]:
            message = (
                "This thinking_rule cannot be pickled, and another must not stand in for it: use a module's function."
            )
            raise TypeError(message)
        return state

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        twin = super(Qwen3Base, self._without_clients()).__deepcopy__(memo)
        return twin.model_copy(update={name: getattr(self, name) for name in _CLIENTS})

    # --- requests ---------------------------------------------------------------------------------------------

    def _chat_request(self, messages: Sequence[ChatMessage], call: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request of `chat`, which is a stream where the server answers in no other way."""
        payload, wanted = self._asked(messages, call)
        return self._settled(messages, payload, wanted, stream=self._has_to_stream(payload, wanted))

    def _stream_request(self, messages: Sequence[ChatMessage], call: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request of a stream."""
        payload, wanted = self._asked(messages, call)
        return self._settled(messages, payload, wanted, stream=True)

    def _asked(self, messages: Sequence[ChatMessage], call: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what is asked for, as arguments of Chat Completions and as fields of the server; settled is nothing.

        This is where ``enable_thinking="auto"`` is decided, once for each call.
        """
        refuse_unknown("A call", call, _call_arguments())
        fields = {"model": self.model, "temperature": self.temperature, "max_tokens": self.max_tokens}
        given = {**fields, **self.additional_kwargs, **call}
        ours = (*THINKING_FIELDS, "extra_body")
        payload = {name: value for name, value in given.items() if value is not None and name not in ours}
        if payload.get("n", 1) != 1:
            message = "n must be 1: a response of LlamaIndex holds one message."
            raise ValueError(message)
        payload["messages"] = [wire_message(message) for message in messages]
        wishes = self._wishes
        thinking = self._decide(payload, {**wishes, **call})
        body = merge_bodies(self.extra_body, self.additional_kwargs.get("extra_body") or {})
        own, call = (_decided(each, to=thinking) for each in (wishes, call))
        return payload, wanted_body(self._dialect, payload["model"], body, own, call)

    def _decide(self, payload: Mapping[str, Any], wishes: Mapping[str, Any]) -> bool | None:
        """Return what ``enable_thinking="auto"`` means for this call; the rule is asked only if that is the wish."""
        if wishes["enable_thinking"] != "auto":
            return None
        if wishes["reasoning_effort"] == "none":
            return False
        return decide_thinking(self._dialect, payload["model"], payload["messages"], self.thinking_rule, logger)

    def _has_to_stream(self, payload: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
        """Tell whether the server answers what is asked for in streams only."""
        dialect, model = self._dialect, payload["model"]
        constrained = is_constrained(dialect, fit_request(dialect, model, payload))
        body = settle_body(dialect, model, wanted, stream=True, constrained=constrained)
        return must_stream(dialect, model, body)

    def _settled(
        self, messages: Sequence[ChatMessage], payload: Mapping[str, Any], wanted: Mapping[str, Any], *, stream: bool
    ) -> dict[str, Any]:
        """Return the arguments for ``chat.completions.create``."""
        sent = {name: value for name, value in payload.items() if name not in ("stream", "stream_options")}
        if stream:
            options = payload.get("stream_options", {"include_usage": True})
            sent |= {"stream": True, "stream_options": options}
        reasoning = [reasoning_in(message) for message in messages]
        return settle_payload(self._dialect, sent, wanted, reasoning, sampling=self.recommended_sampling, logger=logger)

    def _reader(self, request: Mapping[str, Any]) -> ReplyReader:
        dialect, family = self._dialect, model_family(request["model"])
        asked = read_switch(dialect, request.get("extra_body", {})) is True
        return ReplyReader(
            family=None if dialect.splits_tags else family,
            asked=asked,
            sink=reasoning_sink(),
            formatted="response_format" in request,
        )


def _decided(wishes: Mapping[str, Any], *, to: bool | None) -> dict[str, Any]:
    """Return wishes with a decision in the place of "auto"."""
    return {**wishes, "enable_thinking": to} if wishes.get("enable_thinking") == "auto" else dict(wishes)


@functools.cache
def _call_arguments() -> frozenset[str]:
    """Return the names of what a call takes: the arguments of Chat Completions, and those about thinking."""
    from openai.resources.chat.completions import Completions

    return frozenset(inspect.signature(Completions.create).parameters) - {"self"} | set(THINKING_FIELDS)
