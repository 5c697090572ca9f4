"""What comes back from a chat server: chunks and messages with the reasoning sorted out of the answer."""

from collections.abc import Mapping
from typing import Any

from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import OutputTokenDetails
from langchain_core.messages.tool import default_tool_parser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from qwen3_core.families import ModelFamily, prefilled_text
from qwen3_core.think_tags import ThinkReader, split_thinking
from qwen3_core.thinking import reasoning_of

PROVIDER = "qwen"
REASONING_KEY = "reasoning_content"
"""The additional_kwarg that langchain-core turns into a reasoning content block."""


class StreamReader:
    """Sorts the chunks of one stream into reasoning and answer, and remembers what came.

    Args:
        prefilled: Whether the chat template wrote the opening tag.

    Attributes:
        finished: Whether the server has said why the model stopped.
    """

    def __init__(self, *, prefilled: bool) -> None:
        self._reader = ThinkReader(prefilled=prefilled)
        self._reasoning: list[str] = []
        self._answer: list[str] = []
        self.finished = False

    @property
    def reasoning(self) -> str:
        """The reasoning that came so far."""
        return "".join(self._reasoning)

    @property
    def answer(self) -> str:
        """The answer that came so far."""
        return "".join(self._answer)

    def read(self, chunk: ChatGenerationChunk) -> list[ChatGenerationChunk]:
        """Return what a chunk makes certain, with reasoning, answer and tool calls as chunks of their own."""
        message = chunk.message
        if chunk.generation_info and chunk.generation_info.get("finish_reason"):
            self.finished = True
        if not isinstance(message, AIMessageChunk) or not isinstance(message.content, str):
            return [chunk]
        reasoning = message.additional_kwargs.get(REASONING_KEY, "")
        thought, answer = self._reader.read(message.content, reasoning)
        self._keep(thought, answer)
        alone = bool(thought) + bool(answer) + bool(message.tool_call_chunks) < 2
        if alone and (thought, answer) == (reasoning, message.content):
            return [chunk]
        others = {key: value for key, value in message.additional_kwargs.items() if key != REASONING_KEY}
        # The event stream tells blocks apart by their place in a chunk, and takes the pieces of a tool call for the
        # whole of it where there is text beside them.
        if message.tool_call_chunks:
            first, said = _pieces(thought, answer), ""
        else:
            first, said = _pieces(thought, ""), answer
        rest = message.model_copy(update={"content": said, "additional_kwargs": others})
        return [*first, ChatGenerationChunk(message=rest, generation_info=chunk.generation_info)]

    def finish(self) -> list[ChatGenerationChunk]:
        """Return what was held back."""
        thought, answer = self._reader.finish()
        self._keep(thought, answer)
        return _pieces(thought, answer)

    def _keep(self, thought: str, answer: str) -> None:
        if thought:
            self._reasoning.append(thought)
        if answer:
            self._answer.append(answer)


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


def take_reasoning_out(generation: ChatGeneration, fields: Mapping[str, Any], family: ModelFamily | None) -> None:
    """Move the reasoning of a new message from its fields, or from tags in its text, to where langchain looks.

    Args:
        generation: What langchain-openai made of the response; its message is changed.
        fields: The fields of the message on the wire.
        family: The model's family, which says whether the chat template wrote the opening tag.
    """
    message = generation.message
    if not isinstance(message, AIMessage):
        return
    message.response_metadata["model_provider"] = PROVIDER
    reasoning = reasoning_of(fields)
    if isinstance(message.content, str):
        prefilled = prefilled_text(family, message.content)
        reasoning, message.content = split_thinking(message.content, reasoning=reasoning, prefilled=prefilled)
    if reasoning:
        message.additional_kwargs[REASONING_KEY] = reasoning


def reasoning_in(message: BaseMessage) -> str:
    """Return the reasoning of a message of the history, whichever way it holds it, ``""`` if it has none."""
    if not isinstance(message, AIMessage):
        return ""
    kept = message.additional_kwargs.get(REASONING_KEY)
    if isinstance(kept, str) and kept:
        return kept
    blocks = message.content if isinstance(message.content, list) else []
    return "".join(
        str(block.get("reasoning", ""))
        for block in blocks
        if isinstance(block, dict) and block.get("type") == "reasoning"
    )


def add_thinking_tokens(message: BaseMessage, usage: Mapping[str, Any]) -> None:
    """Add the number of thinking tokens to a new message where the server counts them outside OpenAI's place.

    SGLang has ``usage.reasoning_tokens``.

    Args:
        message: What langchain-openai made of the response; it is changed.
        usage: The server's counts.
    """
    tokens = usage.get("reasoning_tokens")
    if not isinstance(message, AIMessage) or message.usage_metadata is None or not isinstance(tokens, int):
        return
    details: OutputTokenDetails = {**message.usage_metadata.get("output_token_details", {}), "reasoning": tokens}
    message.usage_metadata = {**message.usage_metadata, "output_token_details": details}


def fields_of(part: Any) -> Mapping[str, Any]:
    """Return the fields of a part of a response, those that the SDK does not know included."""
    if part is None or isinstance(part, Mapping):
        return part or {}
    return {**part.__dict__, **(part.model_extra or {})}


def logprobs_of(chunk: ChatGenerationChunk) -> dict[str, Any]:
    """Return the log probabilities of a chunk as callbacks take them."""
    return {"logprobs": (chunk.generation_info or {}).get("logprobs")}
