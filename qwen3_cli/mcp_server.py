"""An open collection as an MCP server: tools that search and answer, and its documents as resources.

Written for the low-level server of the official SDK (mcp 2.3, `mcp/server/lowlevel/server.py`), because pages of
resources and errors are ours to shape there. What the protocol asks for:
https://modelcontextprotocol.io/specification/2025-11-25/server/tools and `.../resources`. A tool that fails answers
with ``isError``, so that the model reads what to do; what no tool is about is an error of the protocol.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from urllib.parse import quote, unquote

import mcp_types as types
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError

from qwen3_cli import library
from qwen3_cli.library import Library, Wanted
from qwen3_cli.mcp_announced import ASK, INSTRUCTIONS, RESEARCH, SEARCH, TEMPLATE, URI
from qwen3_cli.passages import Answer, Passage
from qwen3_core.answers import place_of, tell_answer, tell_passages
from qwen3_core.prompts import escape_control_tokens

PAGE = 200
"""Documents in one page of their list."""

Call = Callable[[Library, Wanted], Awaitable[types.CallToolResult]]


@dataclass(frozen=True)
class Tool:
    """A tool: how it is announced, and what it does.

    Attributes:
        told: What the client is told of it.
        call: Does it.
        asks_chat: Whether it needs a chat model.
    """

    told: types.Tool
    call: Call
    asks_chat: bool = False


async def search(opened: Library, wanted: Wanted) -> types.CallToolResult:
    """Return the best passages."""
    found = await opened.search(wanted)
    text = tell_passages((passage.text, passage.metadata) for passage in found)
    return _result(text, {"passages": [_passage(number, each) for number, each in enumerate(found, 1)]})


async def ask(opened: Library, wanted: Wanted) -> types.CallToolResult:
    """Return an answer with its sources."""
    return _result(*_answered(await opened.ask(wanted)))


async def research(opened: Library, wanted: Wanted) -> types.CallToolResult:
    """Return a report with its sources."""
    report = await opened.research(wanted)
    notes = [f"it ended since {report.reason}", *report.notes]
    text, data = _answered(report)
    return _result("\n".join([text, "", "Notes:", *(f"- {note}" for note in notes)]), {**data, "notes": notes})


def _answered(answer: Answer) -> tuple[str, dict[str, Any]]:
    """Return an answer as a text and as data."""
    cited = [citation["number"] for citation in answer.citations]
    data = {
        "answer": escape_control_tokens(answer.answer),
        "cited": cited,
        "passages": [_passage(number, each) for number, each in enumerate(answer.context, 1)],
    }
    return tell_answer(answer.answer, (passage.metadata for passage in answer.context)), data


TOOLS: tuple[Tool, ...] = (
    Tool(SEARCH, search),
    Tool(ASK, ask, asks_chat=True),
    Tool(RESEARCH, research, asks_chat=True),
)
"""The tools that there are. A new one is a function like `ask`, its announcement, and an entry here; what it needs of
the collection is a method of `Library`."""


def build_server(opened: Library) -> Server[Any]:
    """Return the server of an open collection.

    The collection is opened before a transport starts and closed when it has ended, by whoever calls this: what is
    wrong with it is then an error of the command, and no client is let in before.
    """
    tools = {tool.told.name: tool for tool in TOOLS if opened.answers or not tool.asks_chat}

    async def list_tools(_: Any, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[tool.told for tool in tools.values()])

    async def call_tool(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        tool = tools.get(params.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"There is no such tool. There are: {', '.join(tools)}.")
        try:
            return await tool.call(opened, Wanted.read(params.arguments or {}))
        except Exception as error:  # noqa: BLE001 - no client may see what went wrong inside
            return _failed(library.explain(error, tool.told.name))

    async def list_resources(_: Any, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
        counts = await _told_failures(opened.sources(), "listing documents")
        after = unquote(params.cursor) if params and params.cursor else ""
        names = [source for source in counts if source > after]
        more = quote(names[PAGE - 1], safe="") if len(names) > PAGE else None
        shown = [_resource(source, counts[source]) for source in names[:PAGE]]
        return types.ListResourcesResult(resources=shown, next_cursor=more)

    async def list_templates(_: Any, __: types.PaginatedRequestParams | None) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=[TEMPLATE])

    async def read_resource(_: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        source = _source_of(params.uri)
        found = await _told_failures(opened.document(source), "reading a document") if source else None
        if found is None:
            raise MCPError(
                types.INVALID_PARAMS, "There is no such document. List the resources to see which there are."
            )
        text = types.TextResourceContents(uri=params.uri, mime_type="text/plain", text=found.text)
        return types.ReadResourceResult(contents=[text])

    return Server(
        "qwen3-rag",
        version=version("qwen3-rag"),
        title="Documents indexed with qwen3-rag",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
    )


async def _told_failures(awaited: Awaitable[Any], doing: str) -> Any:
    try:
        return await awaited
    except Exception as error:  # noqa: BLE001 - as above
        raise MCPError(types.INTERNAL_ERROR, library.explain(error, doing)) from None


def _result(text: str, data: Mapping[str, Any]) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], structured_content=dict(data))


def _failed(message: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=message)], is_error=True)


def _passage(number: int, passage: Passage) -> dict[str, Any]:
    metadata = passage.metadata
    source = metadata.get("source")
    named = str(source) if isinstance(source, str) else None
    return {
        "number": number,
        "text": escape_control_tokens(passage.text),
        "place": escape_control_tokens(place_of(metadata)),
        "source": escape_control_tokens(named) if named else None,
        "uri": _uri_of(named) if named else None,
        "score": metadata.get("relevance_score", metadata.get("retrieval_score")),
    }


def _resource(source: str, passages: int) -> types.Resource:
    told = f"{passages} {'passage' if passages == 1 else 'passages'}, as indexed"
    return types.Resource(name=source, uri=_uri_of(source), description=told, mime_type="text/plain")


def _uri_of(source: str) -> str:
    return URI + quote(source, safe="")


def _source_of(uri: str) -> str | None:
    """Return what a URI names; it is compared with what the collection holds, and opens no file."""
    if not uri.startswith(URI):
        return None
    source = unquote(uri[len(URI) :]) if len(uri) <= library.MAX_VALUE * 9 else ""
    return source or None
