"""Structured output by ``response_format``: what is asked for, and how the answer becomes an object."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import openai
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import (
    BaseCumulativeTransformOutputParser,
    BaseLLMOutputParser,
    JsonOutputParser,
    PydanticOutputParser,
)
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import AddableDict, Runnable, RunnableGenerator, RunnableSequence
from langchain_core.utils.function_calling import convert_to_openai_function, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel

Method = Literal["function_calling", "json_mode", "json_schema"]
"""The ways to structured output, in LangChain's words."""


def method_for(schema: Any, method: str | None, *, native: bool) -> Method:
    """Return the way to take.

    Args:
        schema: What is wanted.
        method: One of `Method`, None for the best.
        native: Whether the server holds the model to a JSON schema.

    Raises:
        ValueError: There is no such method.
    """
    if method == "json_mode":
        return "json_mode"
    if method not in (None, "json_schema", "function_calling"):
        message = f"There is no method={method!r}; there are 'json_schema', 'function_calling' and 'json_mode'."
        raise ValueError(message)
    of_pydantic_1 = isinstance(schema, type) and is_basemodel_subclass(schema) and not _is_pydantic(schema)
    return "json_schema" if native and method != "function_calling" and not of_pydantic_1 else "function_calling"


def format_arguments(
    method: Method, schema: Any, *, strict: bool | None = None, tools: Sequence[Any] | None = None
) -> dict[str, Any]:
    """Return what is bound to a model for "json_mode" or "json_schema".

    Args:
        method: The way.
        schema: What is wanted; "json_mode" can do without.
        strict: See `response_format`.
        tools: Tools that the model may call instead.

    Raises:
        ValueError: "json_schema" without a schema, or "json_mode" with ``strict``.
    """
    if method == "json_mode" and strict is not None:
        message = 'method="json_mode" has no strict: the server holds the answer to no schema.'
        raise ValueError(message)
    if method == "json_schema" and schema is None:
        message = 'method="json_schema" needs a schema.'
        raise ValueError(message)
    wanted = {"type": "json_object"} if method == "json_mode" else response_format(schema, strict=strict)
    traced = {"kwargs": {"method": method, "strict": strict}, "schema": schema}
    offered = {"tools": [convert_to_openai_tool(tool, strict=strict) for tool in tools]} if tools else {}
    return {"response_format": wanted, "ls_structured_output_format": traced, **offered}


def response_format(schema: Any, *, strict: bool | None = None) -> dict[str, Any]:
    """Return a schema as ``response_format`` takes it.

    Args:
        schema: A pydantic class, a TypedDict, a JSON schema, an OpenAI tool, or a response_format already.
        strict: What ``strict`` says in it. Default: what the schema says, True for a pydantic class, else False.

    Raises:
        ValueError: The schema says the contrary of ``strict``.
    """
    if isinstance(schema, Mapping) and schema.get("type") == "function":
        schema = schema["function"]
    if isinstance(schema, Mapping) and schema.get("type") in ("json_schema", "json_object", "text"):
        return _agreed(dict(schema), strict=strict)
    if isinstance(schema, Mapping) and {"name", "schema"} <= set(schema):
        return _agreed({"type": "json_schema", "json_schema": dict(schema)}, strict=strict)
    stated = schema.get("strict") if isinstance(schema, Mapping) else _is_pydantic(schema)
    strict = bool(stated if strict is None else strict)
    described = dict(convert_to_openai_function(schema, strict=strict))
    inside = described.pop("parameters")
    if _is_pydantic(schema):  # with what langchain-core would lose: definitions that refer to themselves
        inside = (
            openai.pydantic_function_tool(schema)["function"]["parameters"] if strict else schema.model_json_schema()
        )
    return {"type": "json_schema", "json_schema": {**described, "schema": inside, "strict": strict}}


def _is_pydantic(schema: object) -> bool:
    """Tell whether a schema is a class of pydantic 2."""
    return isinstance(schema, type) and issubclass(schema, BaseModel)


def with_raw(chain: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """Return a chain that answers with "raw", "parsed" and "parsing_error", and does not raise for the last.

    A stream yields the chunks of "raw" as they come, reasoning first, and the other two at its end.

    Args:
        chain: A model and behind it a parser.
    """
    sequence = cast("RunnableSequence[Any, Any]", chain)
    parser = cast("BaseLLMOutputParser[Any]", sequence.last)

    def parse(whole: Any) -> AddableDict:
        try:
            return AddableDict(parsed=parser.parse_result([ChatGeneration(message=whole)]), parsing_error=None)
        except Exception as error:  # noqa: BLE001 - whatever the validators of a class raise
            return AddableDict(parsed=None, parsing_error=error)

    def read(answers: Iterator[Any]) -> Iterator[AddableDict]:
        whole = None
        for answer in answers:
            whole = answer if whole is None else whole + answer
            yield AddableDict(raw=answer)
        yield parse(whole)

    async def aread(answers: AsyncIterator[Any]) -> AsyncIterator[AddableDict]:
        whole = None
        async for answer in answers:
            whole = answer if whole is None else whole + answer
            yield AddableDict(raw=answer)
        yield parse(whole)

    return sequence.first | RunnableGenerator(read, aread)


class AnswerParser(BaseCumulativeTransformOutputParser[Any]):
    """Reads an answer as JSON.

    A stream yields dicts with what has come so far, and instances of a class as soon as what has come is enough.

    Args:
        wanted: What the answer was asked to fit; a pydantic class makes instances, everything else dicts.

    Raises:
        OutputParserException: The answer is no JSON, was cut, or is not what the class wants.
    """

    wanted: Any = None

    @property
    def OutputType(self) -> Any:  # noqa: N802 - the base's name
        """What comes out."""
        return self.wanted if self._makes_instances else dict[str, Any]

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """Return the object; None while there is none, and where the model called a tool instead."""
        message = result[0].message if isinstance(result[0], ChatGeneration) else None
        reason = message.response_metadata.get("finish_reason") if message else None
        if reason == "length":
            # Completing the JSON by guessing would pass half an answer for a whole one.
            text = "The answer was cut before it was whole (finish_reason 'length'): raise max_tokens, or think less."
            raise OutputParserException(text, llm_output=result[0].text)
        partial = partial and reason is None
        if not partial and _only_calls(message):
            return None
        # The types of `PydanticOutputParser` want a class that is known.
        parser: Any = PydanticOutputParser(pydantic_object=self.wanted) if self._makes_instances else JsonOutputParser()
        return parser.parse_result(result, partial=partial)

    def parse(self, text: str) -> Any:
        """Return the object that a text is."""
        return self.parse_result([Generation(text=text)])

    @property
    def _makes_instances(self) -> bool:
        return isinstance(self.wanted, type) and is_basemodel_subclass(self.wanted)


def _only_calls(message: BaseMessage | None) -> bool:
    return isinstance(message, AIMessage) and bool(message.tool_calls) and not message.text


def _agreed(wanted: dict[str, Any], *, strict: bool | None) -> dict[str, Any]:
    described = wanted.get("json_schema")
    if strict is None or not described:
        return wanted
    if described.get("strict", strict) is not strict:
        message = f"The schema says strict={described['strict']}, and strict={strict} was passed: say one."
        raise ValueError(message)
    return {**wanted, "json_schema": {**described, "strict": strict}}
