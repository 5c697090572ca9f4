"""A retriever as a tool of an agent: numbered passages for the model, the documents themselves for the program."""

from __future__ import annotations

from langchain_core.callbacks import Callbacks
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, Field

from qwen3_core.answers import tell_passages

TOOL_NAME = "search_documents"
TOOL_DESCRIPTION = (
    "Search the indexed documents. Returns passages, best first, each with a number to cite it by, like [1], and its "
    "source."
)


class SearchInput(BaseModel):
    """What the model passes."""

    query: str = Field(description="What to look for: a question or a statement in plain words.")


def make_retriever_tool(retriever: BaseRetriever, name: str, description: str) -> BaseTool:
    """Build the tool; see `Qwen3Retriever.as_tool`."""

    # What these two are annotated with is read when a tool is called, to hand the callbacks over.
    def search(query: str, callbacks: Callbacks = None) -> tuple[str, list[Document]]:
        return _told(retriever.invoke(_asked(query), {"callbacks": callbacks}))

    async def asearch(query: str, callbacks: Callbacks = None) -> tuple[str, list[Document]]:
        return _told(await retriever.ainvoke(_asked(query), {"callbacks": callbacks}))

    return StructuredTool(
        name=name,
        description=description,
        func=search,
        coroutine=asearch,
        args_schema=SearchInput,
        response_format="content_and_artifact",
        handle_tool_error=True,
    )


def _asked(query: str) -> str:
    if not query.strip():
        msg = "The query is empty: say what to look for."
        raise ToolException(msg)
    return query


def _told(documents: list[Document]) -> tuple[str, list[Document]]:
    return tell_passages((document.page_content, document.metadata) for document in documents), documents
