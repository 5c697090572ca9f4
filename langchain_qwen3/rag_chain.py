"""The RAG chain: retrieve, show the model numbered sources, answer with citations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import Runnable, RunnableConfig, RunnableGenerator
from langchain_core.runnables.utils import AddableDict
from typing_extensions import NotRequired, TypedDict

from langchain_qwen3.chat_models import ChatQwen3
from qwen3_core.answers import ANSWER_INSTRUCTION, cited_numbers, number_sources
from qwen3_core.base import require_query
from qwen3_core.prompts import escape_control_tokens

ANSWER_PROMPT = ChatPromptTemplate.from_messages(
    [
        (
            "system",
            ANSWER_INSTRUCTION + "\n\n{context}",
        ),
        MessagesPlaceholder("chat_history"),
        ("human", "{input}"),
    ]
)
"""Takes ``context`` (the numbered sources as text), ``chat_history`` (messages) and ``input``."""

CONDENSE_PROMPT = ChatPromptTemplate.from_messages(
    [
        (
            "system",
            "Rewrite the last question so that it can be understood without the conversation. Answer with the "
            "question alone.",
        ),
        MessagesPlaceholder("chat_history"),
        ("human", "{input}"),
    ]
)
"""Takes ``chat_history`` (messages) and ``input``."""


class RagInput(TypedDict):
    """What the chain takes: the question, and the earlier messages if there are any."""

    input: str
    chat_history: NotRequired[Sequence[BaseMessage]]


class Citation(TypedDict):
    """A source that the answer names: its number in the answer, its id and its ``source`` metadata."""

    number: int
    id: str | None
    source: str | None


class RagOutput(TypedDict):
    """What the chain gives: the question, the documents, the answer, the reasoning and the sources named."""

    input: str
    context: list[Document]
    answer: str
    reasoning: str
    citations: list[Citation]


def create_rag_chain(
    retriever: Runnable[str, list[Document]],
    chat: BaseChatModel,
    *,
    prompt: ChatPromptTemplate = ANSWER_PROMPT,
    condense_prompt: ChatPromptTemplate = CONDENSE_PROMPT,
) -> Runnable[RagInput, RagOutput]:
    """Build a chain that answers a question from retrieved documents.

    ```python
    chain = create_rag_chain(retriever, ChatQwen3(model="qwen3-8b"))
    chain.invoke({"input": "How is data stored?"})["answer"]
    ```

    It streams ``context`` first, then pieces of ``reasoning`` and ``answer``, then ``citations``; the pieces add
    up to what ``invoke`` returns. Where there is a ``chat_history``, the chat model first rewrites the question
    to stand alone (a `ChatQwen3` without thinking), and retrieval uses that.

    Args:
        retriever: Anything that turns a question into documents, such as `Qwen3Retriever`.
        chat: Any LangChain chat model. Reasoning is shown apart if the model gives it as content blocks.
        prompt: Takes ``context``, ``chat_history`` and ``input``.
        condense_prompt: Takes ``chat_history`` and ``input``.

    Returns:
        A runnable from ``{"input", "chat_history"?}`` to
        ``{"input", "context", "answer", "reasoning", "citations"}``. Text of documents cannot act as a control
        token of the chat template. Citations are the numbers in the answer that are numbers of sources.

    Raises:
        ValueError: When run, if the question is blank.
    """
    condense = condense_prompt | _without_thinking(chat)
    answer = prompt | chat

    def run(inputs: Iterator[RagInput], config: RunnableConfig) -> Iterator[AddableDict]:
        for request in inputs:
            values = _prompt_values(request)
            question = request["input"]
            if values["chat_history"]:
                question = condense.invoke(values, config).text.strip() or question
            documents = retriever.invoke(question, config)
            yield _start(request, documents)
            pieces = _Pieces()
            for chunk in answer.stream({**values, "context": format_sources(documents)}, config):
                yield from pieces.take(chunk)
            yield pieces.finish(documents)

    async def arun(inputs: AsyncIterator[RagInput], config: RunnableConfig) -> AsyncIterator[AddableDict]:
        async for request in inputs:
            values = _prompt_values(request)
            question = request["input"]
            if values["chat_history"]:
                question = (await condense.ainvoke(values, config)).text.strip() or question
            documents = await retriever.ainvoke(question, config)
            yield _start(request, documents)
            pieces = _Pieces()
            async for chunk in answer.astream({**values, "context": format_sources(documents)}, config):
                for piece in pieces.take(chunk):
                    yield piece
            yield pieces.finish(documents)

    # The annotation of RunnableGenerator omits that it passes the config to a function that takes it.
    steps: tuple[Any, Any] = (run, arun)
    chain: Runnable[Any, Any] = RunnableGenerator(*steps, name="qwen3_rag_chain")
    return chain.with_types(input_type=RagInput, output_type=RagOutput)


def format_sources(documents: Sequence[Document]) -> str:
    """Number documents from 1 as the prompt shows them, with control tokens of chat templates broken."""
    return "\n\n".join(number_sources(document.page_content for document in documents))


def find_citations(answer: str, documents: Sequence[Document]) -> list[Citation]:
    """Return the sources that an answer names, each once, in the order of first mention.

    Numbers that no source has are left out, as is what stands in Markdown code.
    """
    return [
        {"number": number, "id": documents[number - 1].id, "source": documents[number - 1].metadata.get("source")}
        for number in cited_numbers(answer, len(documents))
    ]


class _Pieces:
    """The answer and its reasoning while they arrive."""

    def __init__(self) -> None:
        self._answer = ""

    def take(self, chunk: BaseMessage) -> Iterator[AddableDict]:
        for block in chunk.content_blocks:
            if block["type"] == "reasoning" and block.get("reasoning"):
                yield AddableDict(reasoning=block["reasoning"])
            elif block["type"] == "text" and block["text"]:
                self._answer += block["text"]
                yield AddableDict(answer=block["text"])

    def finish(self, documents: Sequence[Document]) -> AddableDict:
        # Empty strings so that both keys are there, whatever the model did.
        return AddableDict(answer="", reasoning="", citations=find_citations(self._answer, documents))


def _start(request: RagInput, documents: list[Document]) -> AddableDict:
    return AddableDict(input=request["input"], context=documents)


def _prompt_values(request: RagInput) -> dict[str, Any]:
    if not isinstance(request, Mapping) or "input" not in request:
        msg = 'the chain takes {"input": question}, and "chat_history" if there is one'
        raise TypeError(msg)
    return {
        "input": escape_control_tokens(require_query(request["input"])),
        "chat_history": list(request.get("chat_history") or ()),
    }


def _without_thinking(chat: BaseChatModel) -> Runnable[Any, Any]:
    return chat.bind(enable_thinking=False) if isinstance(chat, ChatQwen3) else chat
