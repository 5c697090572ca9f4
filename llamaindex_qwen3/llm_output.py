"""What comes back from a chat server, as LlamaIndex's responses, with the reasoning sorted out of the answer."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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

from qwen3_core.chat.call_pieces import CallPieces
from qwen3_core.chat.errors import shown_url
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
        formatted: Whether the request asks for an output format. A server that parts reasoning and answer by the
            closing tag takes JSON for reasoning where the format was enforced from the first token on, so that there
            never was a tag (vllm-project/vllm#47027, #50948).
    """

    def __init__(
        self, *, family: ModelFamily | None, asked: bool, sink: Callable[[str], None], formatted: bool = False
    ) -> None:
        self._family, self._sink, self._formatted = family, sink, formatted
        prefilled = family is not None and family.prefilled and (asked or family.thinks == "always")
        self._reader = ThinkReader(prefilled=prefilled)
        self._reasoning = self._answer = ""
        self._calls: list[dict[str, Any]] = []
        self._pieces = CallPieces()
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
            raise ValueError(_no_answer(url, text))
        self._note(completion)
        fields = _fields(completion.choices[0].message)
        text = fields.get("content") or ""
        prefilled = prefilled_text(self._family, text)
        reasoning, answer = split_thinking(text, reasoning=reasoning_of(fields), prefilled=prefilled)
        self._calls = [_call(call) for call in fields.get("tool_calls") or []]
        if not answer and self._is_the_answer(reasoning):
            reasoning, answer = "", reasoning
        self._add(reasoning, answer)
        return self.whole()

    def read(self, chunk: Any) -> ChatResponse | None:
        """Return the response so far if a chunk of a stream makes more of it certain."""
        self._note(chunk)
        fields = _fields(chunk.choices[0].delta) if chunk.choices else {}
        reasoning, answer = self._reader.read(fields.get("content") or "", reasoning_of(fields))
        calls = fields.get("tool_calls") or []
        for call in calls:
            self._add_piece(call)
        news = reasoning or answer or calls or chunk.usage or (chunk.choices and chunk.choices[0].finish_reason)
        return self._add(reasoning, answer) if news else None

    def finish(self, url: str) -> ChatResponse | None:
        """Return the response once more if something was held back at the stream's end.

        Raises:
            ValueError: Nothing came at all.
        """
        if not self._begun:
            message = f"The chat server at {shown_url(url)} closed the stream without an answer."
            raise ValueError(message)
        reasoning, answer = self._reader.finish()
        if not (self._answer or answer) and self._is_the_answer(self._reasoning + reasoning):
            self._reasoning, reasoning, answer = "", "", self._reasoning + reasoning
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
        """The answer that came so far; behind it the tool calls, as far as the model had written them."""
        return self._answer + "".join(f"{call['name']}({call['arguments']}" for call in self._calls)

    def whole(self) -> ChatResponse:
        """Return all that was read, as of a request that was not streamed."""
        return self._response("", "").model_copy(update={"delta": None})

    def _is_the_answer(self, reasoning: str) -> bool:
        """Tell whether what came as reasoning is the JSON that was asked for."""
        if not self._formatted or self._calls:
            return False
        try:
            return isinstance(json.loads(reasoning), dict)
        except ValueError:
            return False

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

    def _add_piece(self, delta: Any) -> None:
        """Put a piece of a call to the call that it belongs to."""
        fields = _call(delta)
        piece = self._pieces.add(index=getattr(delta, "index", None), **fields)
        if piece.number == len(self._calls):
            self._calls.append({"id": "", "name": "", "arguments": ""})
        call = self._calls[piece.number]
        call["id"] += piece.id or ""
        call["name"] += piece.name or ""
        call["arguments"] += fields["arguments"]

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


def _call(given: Any) -> dict[str, str]:
    """Return a call, or a piece of one, in words of one kind."""
    function = given.function
    return {
        "id": given.id or "",
        "name": (function and function.name) or "",
        "arguments": (function and function.arguments) or "",
    }


def _without_id(call: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": call["name"], "arguments": call["arguments"]}


def _fields(message: Any) -> dict[str, Any]:
    """Return a message's fields, those that the SDK does not know included."""
    return {**message.__dict__, **(message.model_extra or {})}


@contextmanager
def answered(url: str) -> Iterator[None]:
    """Raise for an answer that is no JSON, such as an empty one, with what came.

    Args:
        url: The server's URL.
    """
    try:
        yield
    except json.JSONDecodeError as error:
        raise ValueError(_no_answer(url, error.doc)) from error


def _no_answer(url: str, came: str) -> str:
    return f"The chat server at {shown_url(url)} sent no answer (api_base ends in /v1) but: {came[:500]!r}"


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
