"""What comes back from a chat server: chunks and messages with the reasoning sorted out of the answer."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import ToolCallChunk, default_tool_parser, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from qwen3_core.chat.call_pieces import CallPieces, new_call_id
from qwen3_core.chat.errors import shown_url
from qwen3_core.families import ModelFamily, prefilled_text
from qwen3_core.think_tags import ThinkReader, split_thinking
from qwen3_core.thinking import reasoning_of

PROVIDER = "qwen"
REASONING_KEY = "reasoning_content"
"""The additional_kwarg that langchain-core turns into a reasoning content block."""


class StreamReader:
    """Sorts the chunks of one stream into reasoning, answer and tool calls, and remembers what came.

    Args:
        prefilled: Whether the chat template wrote the opening tag.
        formatted: Whether the answer was asked for as JSON.
        blocks: Whether the chunks become content blocks (``output_version="v1"``). langchain-core numbers reasoning and
            text then as they come, and merges blocks of one number, so calls have to be numbered behind them.

    Attributes:
        finished: Whether the server has said why the model stopped.
    """

    def __init__(self, *, prefilled: bool, formatted: bool = False, blocks: bool = False) -> None:
        self._reader = ThinkReader(prefilled=prefilled)
        self._formatted, self._blocks = formatted, blocks
        self._calls: CallPieces | None = None
        self._first_call = 0
        self._usage: UsageMetadata | None = None
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
        if not isinstance(message, AIMessageChunk) or not isinstance(message.content, str):
            return [chunk]
        if message.usage_metadata:
            # Counts are of the whole answer so far, and langchain-core adds up those of all chunks.
            self._usage, message.usage_metadata = message.usage_metadata, None
        reasoning = message.additional_kwargs.get(REASONING_KEY, "")
        thought, answer = self._reader.read(message.content, reasoning)
        self._keep(thought, answer)
        calls = self._number(message.tool_call_chunks)
        if chunk.generation_info and chunk.generation_info.get("finish_reason"):
            self.finished = True
            held = self._held_back()  # parsers take this chunk for the last
            thought, answer = thought + held[0], answer + held[1]
        alone = bool(thought) + bool(answer) + bool(calls) < 2
        if alone and (thought, answer, calls) == (reasoning, message.content, message.tool_call_chunks):
            return [chunk]
        others = {key: value for key, value in message.additional_kwargs.items() if key != REASONING_KEY}
        # The event stream tells blocks apart by their place in a chunk, and takes the pieces of a tool call for the
        # whole of it where there is text beside them.
        first, said = (_pieces(thought, answer), "") if calls else (_pieces(thought, ""), answer)
        # Built anew, since a message reads its calls off the pieces when it is made.
        rest = AIMessageChunk(
            content=said,
            additional_kwargs=others,
            response_metadata=message.response_metadata,
            tool_call_chunks=calls,
            id=message.id,
        )
        return [*first, ChatGenerationChunk(message=rest, generation_info=chunk.generation_info)]

    def finish(self) -> list[ChatGenerationChunk]:
        """Return what was held back, and the token counts."""
        chunks = _pieces(*self._held_back())
        if self._usage:
            counts = AIMessageChunk(content="", usage_metadata=self._usage)
            chunks.append(ChatGenerationChunk(message=counts))
        return chunks

    def _held_back(self) -> tuple[str, str]:
        thought, answer = self._reader.finish()
        self._keep(thought, answer)
        if self._formatted and not self._answer and self._calls is None and _is_object(self.reasoning):
            answer = self.reasoning  # see `answer_from_reasoning`
            self._keep("", answer)
        return thought, answer

    def _number(self, pieces: list[ToolCallChunk]) -> list[ToolCallChunk]:
        if not pieces:
            return pieces
        if self._calls is None:
            self._calls = CallPieces()
            self._first_call = self._blocks * (bool(self._reasoning) + bool(self._answer))
        numbered = []
        for piece in pieces:
            new = self._calls.add(index=piece["index"], id=piece["id"], name=piece["name"], arguments=piece["args"])
            numbered.append(
                tool_call_chunk(name=new.name, args=piece["args"], id=new.id, index=self._first_call + new.number)
            )
        return numbered

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

    Tool calls without an id get one.

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
    for call in (*message.tool_calls, *message.invalid_tool_calls):
        call["id"] = call["id"] or new_call_id()


def answer_from_reasoning(result: ChatResult) -> None:
    """Take an answer that a server put among the reasoning for the answer, where one was asked for as JSON.

    vLLM before 0.9.1 did so where thinking was off (vllm-project/vllm#18879), and servers that begin Qwen3.5 inside its
    reasoning while a grammar holds it to JSON from the first token.

    Args:
        result: What came; its messages are changed.
    """
    for generation in result.generations:
        message = generation.message
        reasoning = message.additional_kwargs.get(REASONING_KEY, "")
        if not message.content and not getattr(message, "tool_calls", None) and _is_object(reasoning):
            message.content = message.additional_kwargs.pop(REASONING_KEY)
            generation.text = reasoning


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def reasoning_in(message: BaseMessage) -> str:
    """Return the reasoning of a message of the history, whichever way it holds it, ``""`` if it has none."""
    if not isinstance(message, AIMessage):
        return ""
    kept = message.additional_kwargs.get(REASONING_KEY)
    if isinstance(kept, str) and kept:
        return kept
    # Of a model of another maker too: `content_blocks` knows how it writes reasoning.
    blocks = message.content_blocks if isinstance(message.content, list) else []
    return "".join(str(block.get("reasoning", "")) for block in blocks if block["type"] == "reasoning")


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


@contextmanager
def answered(url: str | None) -> Iterator[None]:
    """Raise for an answer that is no JSON, such as an empty one, with what came."""
    try:
        yield
    except json.JSONDecodeError as error:
        raise ValueError(_no_answer(url, error.doc)) from error


def choices_of(response: Any, url: str | None) -> list[Any]:
    """Return the answers of a response.

    Raises:
        ValueError: There are none. Gateways send an error with status 200, and a URL without /v1 a page.
    """
    choices = response.get("choices") if isinstance(response, Mapping) else None
    if choices:
        return list(choices)
    raise ValueError(_no_answer(url, response if isinstance(response, str) else json.dumps(response, default=str)))


def _no_answer(url: str | None, came: str) -> str:
    return f"The chat server at {shown_url(url)} sent no answer (base_url ends in /v1) but: {came[:500]!r}"


def logprobs_of(chunk: ChatGenerationChunk) -> dict[str, Any]:
    """Return the log probabilities of a chunk as callbacks take them."""
    return {"logprobs": (chunk.generation_info or {}).get("logprobs")}
