"""A query engine as a tool of an agent, whose answers say what their source numbers stand for."""

from __future__ import annotations

from typing import Any

from llama_index.core.base.response.schema import AsyncStreamingResponse, StreamingResponse
from llama_index.core.tools import QueryEngineTool, ToolOutput

from qwen3_core.answers import tell_answer

TOOL_NAME = "ask_documents"
TOOL_DESCRIPTION = (
    "Ask the indexed documents. Takes a whole question in plain words; returns an answer that names its sources by "
    "number, like [1], and the list of the sources."
)


class Qwen3QueryEngineTool(QueryEngineTool):
    """A `QueryEngineTool` of `create_query_engine`'s engines.

    The model is shown the answer and a numbered list of its sources. ``raw_output`` is the engine's response, with the
    nodes, their scores, and ``metadata["reasoning"]`` and ``["citations"]``; of an engine that streams it is the whole.
    """

    def call(self, *args: Any, **kwargs: Any) -> ToolOutput:
        """Ask the engine."""
        question = self._get_query_str(*args, **kwargs)
        response: Any = self.query_engine.query(question)
        if isinstance(response, StreamingResponse):
            response = response.get_response()
        return self._output(question, response)

    async def acall(self, *args: Any, **kwargs: Any) -> ToolOutput:
        """Ask the engine without blocking the event loop."""
        question = self._get_query_str(*args, **kwargs)
        response: Any = await self.query_engine.aquery(question)
        if isinstance(response, AsyncStreamingResponse):
            response = await response.get_response()
        return self._output(question, response)

    def _output(self, question: str, response: Any) -> ToolOutput:
        # A node may tell the model less than it knows: what its `excluded_llm_metadata_keys` name stays unsaid.
        shown = [_shown_metadata(each.node) for each in response.source_nodes]
        return ToolOutput(
            content=tell_answer(str(response), shown),
            tool_name=self.metadata.get_name(),
            raw_input={"input": question},
            raw_output=response,
        )


def _shown_metadata(node: Any) -> dict[str, Any]:
    hidden = node.excluded_llm_metadata_keys
    named = {**node.metadata, "source": node.metadata.get("source", node.metadata.get("file_name", "?"))}
    return {key: value for key, value in named.items() if key not in hidden}
