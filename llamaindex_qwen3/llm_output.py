"""What comes back from a chat server, as LlamaIndex's responses, with the reasoning sorted out of the answer."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.llms.utils import parse_partial_json

from qwen3_core.families import ModelFamily, prefilled_text
from qwen3_core.think_tags import ThinkReader, split_thinking
from qwen3_core.thinking import reasoning_of


class ReplyReader:
    """Reads one reply, whole or as a stream, and remembers what there is of it so far.

    Args:
        family: The model's family, which says whether the chat template wrote the opening tag; None on servers that
            always part reasoning and answer.
        asked: Whether the request asks for thinking. A stream of a model that can stop thinking begins inside the
            reasoning only then: a server may have thinking off by default.
        sink: Takes each piece of reasoning as well.
    """

    def __init__(self, *, family: ModelFamily | None, asked: bool, sink: Callable[[str], None]) -> None:
        self._family, self._sink = family, sink
        prefilled = family is not None and family.prefilled and (asked or family.thinks == "always")
        self._reader = ThinkReader(prefilled=prefilled)
        self._reasoning = self._answer = ""
        self._calls: list[dict[str, Any]] = []
        self._details: dict[str, Any] = {}
        self._thinking_tokens: int | None = None
        self._raw: Any = None
        self._begun = False

    def read_whole(self, completion: Any, url: str) -> ChatResponse:
        """Return the response of a request that was not streamed.

        Raises:
            ValueError: The server sent something else.
        """
        # Gateways answer 200 with an error in the body, and a URL without /v1 with a page, which the SDK lets pass.
        if not getattr(completion, "choices", None):
            text = completion if isinstance(completion, str) else completion.model_dump_json(exclude_none=True)
            message = f"The chat server at {url} sent no answer (api_base ends in /v1) but: {text[:500]}"
            raise ValueError(message)
        self._note(completion)
        fields = _fields(completion.choices[0].message)
        text = fields.get("content") or ""
        prefilled = prefilled_text(self._family, text)
        reasoning, answer = split_thinking(text, reasoning=reasoning_of(fields), prefilled=prefilled)
        self._add_calls(fields.get("tool_calls") or [], whole=True)
        return self._add(reasoning, answer)

    def read(self, chunk: Any) -> ChatResponse | None:
        """Return the response so far if a chunk of a stream makes more of it certain."""
        self._note(chunk)
        fields = _fields(chunk.choices[0].delta) if chunk.choices else {}
        reasoning, answer = self._reader.read(fields.get("content") or "", reasoning_of(fields))
        calls = fields.get("tool_calls") or []
        self._add_calls(calls)
        news = reasoning or answer or calls or chunk.usage or (chunk.choices and chunk.choices[0].finish_reason)
        return self._add(reasoning, answer) if news else None

    def finish(self, url: str) -> ChatResponse | None:
        """Return the response once more if something was held back at the stream's end.

        Raises:
            ValueError: Nothing came at all.
        """
        if not self._begun:
            message = f"The chat server at {url} closed the stream without an answer."
            raise ValueError(message)
        reasoning, answer = self._reader.finish()
        return self._add(reasoning, answer) if reasoning or answer else None

    @property
    def finished(self) -> bool:
        """Whether the server has said why the model stopped; True as well while nothing has come at all."""
        return not self._begun or "finish_reason" in self._details

    @property
    def reasoning(self) -> str:
        """The reasoning that came so far."""
        return self._reasoning

    @property
    def answer(self) -> str:
        """The answer that came so far."""
        return self._answer

    def whole(self) -> ChatResponse:
        """Return all that was read, as of a request that was not streamed."""
        return self._response("", "").model_copy(update={"delta": None})

    def _note(self, reply: Any) -> None:
        """Take what stands beside the message: token counts and why the model stopped."""
        usage, choices = reply.usage, reply.choices
        if usage is not None:
            names = ("prompt_tokens", "completion_tokens", "total_tokens")
            self._details |= {name: getattr(usage, name) or 0 for name in names}
            details = usage.completion_tokens_details
            # SGLang counts them beside the others.
            beside = (usage.model_extra or {}).get("reasoning_tokens")
            self._thinking_tokens = details.reasoning_tokens if details else beside
        if choices:
            self._begun = True
            if choices[0].finish_reason:
                self._details["finish_reason"] = choices[0].finish_reason
        self._raw = reply

    def _add_calls(self, deltas: list[Any], *, whole: bool = False) -> None:
        """Add calls, or the pieces that a stream cut them into to the calls that they belong to."""
        for delta in deltas:
            # Without a number an id begins a new call; DashScope's later pieces have an empty one.
            new = whole or bool(delta.id) or not self._calls
            index = getattr(delta, "index", None)
            place = index if index is not None else len(self._calls) - (not new)
            while place >= len(self._calls):
                self._calls.append({"id": "", "name": "", "arguments": ""})
            call, function = self._calls[place], delta.function
            call["id"] = call["id"] or delta.id or ""
            call["name"] = call["name"] or (function and function.name) or ""
            call["arguments"] += (function and function.arguments) or ""

    def _add(self, reasoning: str, answer: str) -> ChatResponse:
        self._reasoning += reasoning
        self._answer += answer
        self._sink(reasoning)
        return self._response(reasoning, answer)

    def _response(self, thinking_delta: str, delta: str) -> ChatResponse:
        details = {**self._details, **({"thinking_delta": thinking_delta} if thinking_delta else {})}
        return ChatResponse(message=self._message(), delta=delta, raw=self._raw, additional_kwargs=details)

    def _message(self) -> ChatMessage:
        calls = [{**call, "id": call["id"] or f"call_{place}"} for place, call in enumerate(self._calls)]
        blocks: list[Any] = []
        if self._reasoning:
            blocks.append(ThinkingBlock(content=self._reasoning, num_tokens=self._thinking_tokens))
        if self._answer or not calls:
            blocks.append(TextBlock(text=self._answer))
        blocks += [
            ToolCallBlock(tool_call_id=call["id"], tool_name=call["name"], tool_kwargs=call["arguments"])
            for call in calls
        ]
        # The streams of structured objects look here for calls.
        shown = [{"id": c["id"], "type": "function", "function": _without_id(c)} for c in calls]
        more = {"tool_calls": shown} if shown else {}
        return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs=more)


def _without_id(call: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": call["name"], "arguments": call["arguments"]}


def _fields(message: Any) -> dict[str, Any]:
    """Return a message's fields, those that the SDK does not know included."""
    return {**message.__dict__, **(message.model_extra or {})}


def completion_of(response: ChatResponse) -> CompletionResponse:
    """Return a chat response as a completion, which has no blocks: reasoning goes into additional_kwargs."""
    details = dict(response.additional_kwargs)
    if piece := details.pop("thinking_delta", ""):
        details["reasoning_delta"] = piece
    reasoning = reasoning_in(response.message)
    if reasoning:
        details["reasoning"] = reasoning
    return CompletionResponse(
        text=response.message.content or "", delta=response.delta, raw=response.raw, additional_kwargs=details
    )


def reasoning_in(message: ChatMessage) -> str:
    """Return the reasoning of a message, ``""`` if it has none."""
    return "".join(block.content or "" for block in message.blocks if isinstance(block, ThinkingBlock))


def tool_selections(response: ChatResponse) -> list[ToolSelection]:
    """Return the tool calls of a response.

    While a stream runs, arguments are completed as far as they go. Of a finished response they are taken as they
    are: guessing would run a call that ``max_tokens`` cut with half its arguments.

    Raises:
        ValueError: The response is finished and the arguments of a call are not a JSON object.
    """
    finished = "finish_reason" in response.additional_kwargs
    read = _whole_arguments if finished else _partial_arguments
    return [
        ToolSelection(tool_id=block.tool_call_id or "", tool_name=block.tool_name, tool_kwargs=read(block))
        for block in response.message.blocks
        if isinstance(block, ToolCallBlock)
    ]


def _partial_arguments(block: ToolCallBlock) -> dict[str, Any]:
    if not isinstance(block.tool_kwargs, str):
        return block.tool_kwargs
    try:
        arguments = parse_partial_json(block.tool_kwargs or "{}")
    except ValueError:
        return {}
    return arguments if isinstance(arguments, dict) else {}


def _whole_arguments(block: ToolCallBlock) -> dict[str, Any]:
    if not isinstance(block.tool_kwargs, str):
        return block.tool_kwargs
    try:
        arguments = json.loads(block.tool_kwargs or "{}")
    except ValueError:
        arguments = None
    if isinstance(arguments, dict):
        return arguments
    message = (
        f"The model called {block.tool_name!r} with arguments that are no JSON object: {block.tool_kwargs!r}. "
        "If the answer was cut, raise max_tokens."
    )
    raise ValueError(message)


def keep_one_call(response: ChatResponse) -> ChatResponse:
    """Return a response without the tool calls after the first."""
    calls = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
    if len(calls) < 2:
        return response
    blocks = [block for block in response.message.blocks if block not in calls[1:]]
    more = {**response.message.additional_kwargs, "tool_calls": response.message.additional_kwargs["tool_calls"][:1]}
    message = response.message.model_copy(update={"blocks": blocks, "additional_kwargs": more})
    return response.model_copy(update={"message": message})
