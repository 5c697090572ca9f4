"""Messages and tools of LlamaIndex as a chat server takes them: pure functions, nothing is sent."""

import json
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from qwen3_core.chat.messages import flatten_content

# Chat templates know the four roles of the OpenAI format; the others are LlamaIndex's words for the same.
_ROLES = {
    MessageRole.DEVELOPER: "system",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.FUNCTION: "tool",
}


def wire_message(message: ChatMessage) -> dict[str, Any]:
    """Return a message for the request body.

    What a model thought is not part of its content, where it would be taken for the answer; which servers see it
    again, and when, is decided for the conversation as a whole.

    Raises:
        ValueError: The message holds something other than text, images, reasoning and tool calls.
    """
    role = _ROLES.get(message.role, message.role.value)
    parts = [part for block in message.blocks if (part := _wire_part(block)) is not None]
    wire: dict[str, Any] = {"role": role, "content": parts}
    if role == "tool":
        wire["tool_call_id"] = message.additional_kwargs.get("tool_call_id", "")
    elif calls := _wire_calls(message):
        wire["tool_calls"] = calls
    return flatten_content(wire)


def _wire_part(block: object) -> dict[str, Any] | None:
    if isinstance(block, TextBlock):
        return {"type": "text", "text": block.text}
    if isinstance(block, ImageBlock):
        return {"type": "image_url", "image_url": {"url": _image_url(block)}}
    if isinstance(block, ThinkingBlock | ToolCallBlock | CachePoint):
        return None
    message = f"A Qwen3 chat model takes text and images, not a {type(block).__name__}."
    raise ValueError(message)


def _image_url(block: ImageBlock) -> str:
    if block.url:
        return str(block.url)
    data = block.resolve_image(as_base64=True).read().decode()
    return f"data:{block.image_mimetype or 'image/png'};base64,{data}"


def _wire_calls(message: ChatMessage) -> list[dict[str, Any]]:
    """Return the calls of an assistant's message; messages of other LLMs may have them in additional_kwargs only."""
    calls = [_wire_call(block) for block in message.blocks if isinstance(block, ToolCallBlock)]
    others = message.additional_kwargs.get("tool_calls") or []
    return calls or [call if isinstance(call, dict) else call.model_dump() for call in others]


def _wire_call(block: ToolCallBlock) -> dict[str, Any]:
    given = block.tool_kwargs
    arguments = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    return {
        "id": block.tool_call_id or "",
        "type": "function",
        "function": {"name": block.tool_name, "arguments": arguments or "{}"},
    }


def wire_tool_choice(choice: str | dict[str, Any] | None, *, required: bool) -> str | dict[str, Any] | None:
    """Return ``tool_choice`` for the request: a tool's name becomes the object that means it."""
    if choice is None:
        return "required" if required else None
    if isinstance(choice, dict) or choice in ("auto", "none", "required"):
        return choice
    return "required" if choice == "any" else {"type": "function", "function": {"name": choice}}


def with_user_message(
    history: Sequence[ChatMessage] | None, user_message: str | ChatMessage | None
) -> list[ChatMessage]:
    """Return a history with the new message at its end."""
    if isinstance(user_message, str):
        user_message = ChatMessage(role=MessageRole.USER, content=user_message)
    return [*(history or []), *([user_message] if user_message else [])]
