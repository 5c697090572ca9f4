"""What comes back from a chat server: chunks and messages with the reasoning sorted out of the answer."""

from collections.abc import Mapping
from typing import Any

from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import default_tool_parser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from qwen3_core.think_tags import ThinkReader, split_thinking
from qwen3_core.thinking import reasoning_of

PROVIDER = "qwen"
REASONING_KEY = "reasoning_content"
"""The additional_kwarg that langchain-core turns into a reasoning content block."""


class StreamReader:
    """Sorts the chunks of one stream into reasoning and answer."""

    def __init__(self, *, prefilled: bool) -> None:
        self._reader = ThinkReader(prefilled=prefilled)

    def read(self, chunk: ChatGenerationChunk) -> list[ChatGenerationChunk]:
        """Return what a chunk makes certain: reasoning, answer, or both as chunks of their own."""
        message = chunk.message
        if not isinstance(message, AIMessageChunk) or not isinstance(message.content, str):
            return [chunk]
        reasoning = message.additional_kwargs.get(REASONING_KEY, "")
        thought, answer = self._reader.read(message.content, reasoning)
        if (thought, answer) == (reasoning, message.content) and not (thought and answer):
            return [chunk]
        others = {key: value for key, value in message.additional_kwargs.items() if key != REASONING_KEY}
        rest = message.model_copy(update={"content": answer, "additional_kwargs": others})
        # Two chunks rather than one with both: the event stream tells blocks apart by their place in a chunk.
        chunks = _pieces(thought, "")
        return [*chunks, ChatGenerationChunk(message=rest, generation_info=chunk.generation_info)]

    def finish(self) -> list[ChatGenerationChunk]:
        """Return what was held back."""
        return _pieces(*self._reader.finish())


def _pieces(reasoning: str, answer: str) -> list[ChatGenerationChunk]:
    messages = []
    if reasoning:
        messages.append(AIMessageChunk(content="", additional_kwargs={REASONING_KEY: reasoning}))
    if answer:
        messages.append(AIMessageChunk(content=answer))
    return [ChatGenerationChunk(message=message) for message in messages]


def aggregate(chunks: list[ChatGenerationChunk]) -> ChatResult:
    """Make the result of `invoke` out of a stream."""
    result = generate_from_stream(iter(chunks))
    message, parts = result.generations[0].message, [chunk.message for chunk in chunks]
    whole = parts[0] + parts[1:] if len(parts) > 1 else parts[0]
    if isinstance(message, AIMessage) and isinstance(whole, AIMessageChunk) and whole.tool_call_chunks:
        # Chunks complete broken JSON by guessing, so a call that max_tokens cut would run with half its arguments.
        message.tool_calls, message.invalid_tool_calls = default_tool_parser(
            [
                {"id": each["id"], "function": {"name": each["name"], "arguments": each["args"] or "{}"}}
                for each in whole.tool_call_chunks
            ]
        )
    return result


def take_reasoning_out(generation: ChatGeneration, fields: Mapping[str, Any], *, prefilled: bool) -> None:
    """Move the reasoning of a new message from its fields, or from tags in its text, to where langchain looks.

    Args:
        generation: What langchain-openai made of the response; its message is changed.
        fields: The fields of the message on the wire.
        prefilled: Whether the chat template wrote the opening tag.
    """
    message = generation.message
    if not isinstance(message, AIMessage):
        return
    message.response_metadata["model_provider"] = PROVIDER
    reasoning = reasoning_of(fields)
    if isinstance(message.content, str):
        reasoning, message.content = split_thinking(message.content, reasoning=reasoning, prefilled=prefilled)
    if reasoning:
        message.additional_kwargs[REASONING_KEY] = reasoning


def message_fields(choice: Any) -> Mapping[str, Any]:
    """Return a message's fields, those that the SDK does not know included."""
    message = choice["message"] if isinstance(choice, dict) else choice.message
    return message if isinstance(message, dict) else {**message.__dict__, **(message.model_extra or {})}


def logprobs_of(chunk: ChatGenerationChunk) -> dict[str, Any]:
    """Return the log probabilities of a chunk as callbacks take them."""
    return {"logprobs": (chunk.generation_info or {}).get("logprobs")}
