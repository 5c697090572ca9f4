"""The tool calls of a response, while it streams and when it is finished."""

import json
from typing import Any

from llama_index.core.base.llms.types import ChatResponse, ToolCallBlock
from llama_index.core.llms.llm import ToolSelection

from llamaindex_qwen3.partial_json import read_partial_json


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
        arguments = read_partial_json(block.tool_kwargs)
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
