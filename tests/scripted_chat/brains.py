"""A model that does as it is asked, as far as a few rules go: for suites that assert what a real model would answer."""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from scripted_chat.model import Message, Reply, fill, questions, text_of
from scripted_chat.rules import schema_of

KNOWN = {
    "setup": "Why did the cat sit on the computer?",
    "punchline": "To keep an eye on the mouse.",
    "location": "San Francisco, CA",
    "answer_style": "Pirate",
}
"""What it says for a property of this name, where the question does not say."""

PNG = b"\x89PNG\r\n\x1a\n"


def competent(messages: list[Message], tools: list[dict[str, Any]], body: dict[str, Any]) -> Reply:
    """Call the tool that the question is about, obey a schema, look at images, and greet otherwise.

    Args:
        messages: The conversation.
        tools: The tools that it may call.
        body: The request, for the output format.

    Raises:
        ValueError: An image did not arrive whole.
    """
    asked = text_of(messages[max(questions(messages), default=0)].get("content"))
    reasoning = f"The user says: {asked}\nI consider what to do about it."
    if messages[-1].get("role") == "tool":
        seen = " ".join(images_in(messages))
        return Reply(f"The tool says: {text_of(messages[-1].get('content'))}{seen}", reasoning)
    if (schema := schema_of(body)) is not None:
        return Reply(json.dumps(arguments(schema or _as_asked(asked), asked), ensure_ascii=False), reasoning)
    if tool := _wanted(tools, asked, body.get("tool_choice")):
        args = arguments(tool.get("parameters") or {}, asked)
        return Reply("", reasoning, [{"name": tool["name"], "args": args}])
    if seen := " ".join(images_in(messages)):
        return Reply(seen, reasoning)
    return Reply(f"Hello! Let me say something about it: {asked}", reasoning)


def arguments(schema: Mapping[str, Any], asked: str) -> dict[str, Any]:
    """Fill a schema with the numbers and quotations of a question, in their order, and with what is `KNOWN`."""
    numbers = iter(re.findall(r"-?\d+", asked))
    quoted = iter(re.findall(r"['\"]([^'\"]+)['\"]", asked))

    def value(name: str, each: Mapping[str, Any]) -> Any:
        kinds = {kind.get("type") for kind in each.get("anyOf", [each])}
        if "null" in kinds and f"no {name}" in asked:
            return None
        if kinds & {"integer", "number"}:
            return int(next(numbers, "0"))
        if "string" in kinds and "enum" not in each:
            return next(quoted, None) or KNOWN.get(name, asked)
        return fill(each, schema)

    return {name: value(name, each) for name, each in schema.get("properties", {}).items()}


def images_in(messages: list[Message]) -> Iterator[str]:
    """Describe each image that came; a PNG has to be whole."""
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if part.get("type") != "image_url":
                continue
            url = part["image_url"]["url"]
            if not url.startswith("data:"):
                yield f"A picture at {url}."
                continue
            data = base64.b64decode(url.partition(";base64,")[2], validate=True)
            if not data.startswith(PNG):
                error = "this is no PNG"
                raise ValueError(error)
            yield f"A picture of {len(data)} bytes."


def _wanted(tools: list[dict[str, Any]], asked: str, choice: Any) -> dict[str, Any] | None:
    functions: list[dict[str, Any]] = [tool["function"] for tool in tools]
    if isinstance(choice, dict):
        return next(each for each in functions if each["name"] == choice["function"]["name"])
    named = [each for each in functions if re.search(rf"\b{each['name']}\b", asked)]
    words = set(re.findall(r"[a-z]{5,}", asked.lower()))
    fitting = [each for each in functions if words & set(re.findall(r"[a-z]{5,}", json.dumps(each).lower()))]
    return next(iter(named or fitting or (functions if choice == "required" else ())), None)


def _as_asked(asked: str) -> dict[str, Any]:
    """Make a schema of a request for JSON "with 'a' and 'b' keys"."""
    keys = re.findall(r"'(\w+)'", asked)
    return {"properties": {key: {"type": "string"} for key in keys}}
