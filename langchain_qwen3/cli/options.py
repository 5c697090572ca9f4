"""The options that the commands share, and the components they stand for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from langchain_qwen3.chat_models import ChatQwen3
from langchain_qwen3.embeddings import Qwen3Embeddings
from langchain_qwen3.rerank import Qwen3Rerank
from langchain_qwen3.retrieval import Qwen3Retriever
from langchain_qwen3.vector_store import Qwen3VectorStore, create_vector_store
from qwen3_core.local import DEFAULT_EMBEDDING_MODEL
from qwen3_core.thinking import Server

NO_RERANKER = "none"
DEFAULT_CHAT = "qwen-plus"
"""DashScope's general model; it does not think unless told to."""

Uri = Annotated[str, typer.Option(help="A Milvus Lite path that ends with .db, or the URL of a server.")]
Token = Annotated[
    str | None, typer.Option(envvar="MILVUS_TOKEN", show_envvar=True, help="user:password or API key of the server.")
]
Collection = Annotated[str, typer.Option(help="The collection to use.")]
Embedding = Annotated[str, typer.Option(help='Embedding model: a hub name, a folder, or "mini" (for trying only).')]
Reranker = Annotated[str, typer.Option(help='Reranker: a hub name, a folder, "mini" (for trying only), or "none".')]
Chat = Annotated[
    str | None,
    typer.Option(help="A DashScope model (needs DASHSCOPE_API_KEY), or the URL of a server, as http://host:8000/v1."),
]
ChatModel = Annotated[
    str | None, typer.Option(help="The model's name on the server of --chat URL; else the first that it lists.")
]
ChatKey = Annotated[
    str | None, typer.Option(envvar="QWEN3_API_KEY", show_envvar=True, help="The key of the server of --chat URL.")
]
ChatServer = Annotated[
    Server, typer.Option("--server", help="What the URL of --chat is; a thinking budget needs it outside DashScope.")
]
FetchK = Annotated[int, typer.Option(min=1, help="Candidates fetched from the vector store.")]
TopN = Annotated[int, typer.Option(min=1, help="Documents kept after reranking.")]
Think = Annotated[
    bool | None, typer.Option("--think/--no-think", help="Whether the chat model thinks; its own default if not given.")
]
ThinkingBudget = Annotated[int | None, typer.Option(min=1, help="Tokens of thinking at most.")]
MaxTokens = Annotated[
    int | None, typer.Option(min=1, help="Tokens of the answer at most; the server's own limit if not given.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")]


@dataclass(frozen=True, kw_only=True)
class StoreOptions:
    """Which collection, and which embedding it is made with."""

    uri: str = "./milvus.db"
    token: str | None = field(default=None, repr=False)
    collection: str = "docs"
    embedding: str = DEFAULT_EMBEDDING_MODEL

    @contextmanager
    def open(self) -> Iterator[Qwen3VectorStore]:
        """Open the collection and close it at the end, so that another process may open the file."""
        embeddings = Qwen3Embeddings(model=self.embedding)
        store = create_vector_store(embeddings, uri=self.uri, token=self.token, collection_name=self.collection)
        with store:
            yield store

    @contextmanager
    def open_indexed(self) -> Iterator[Qwen3VectorStore]:
        """Open a collection that must exist.

        Raises:
            ValueError: If nothing has been indexed there.
        """
        hint = f"index something first: qwen3-rag index PATH --uri {self.uri} --collection {self.collection}"
        # Opening a Lite path would create it.
        if "://" not in self.uri and not Path(self.uri).exists():
            msg = f"{self.uri} does not exist; {hint}"
            raise ValueError(msg)
        with self.open() as store:
            if store.col is None:
                msg = f"there is no collection {self.collection!r} in {self.uri}; {hint}"
                raise ValueError(msg)
            yield store


def make_retriever(store: Qwen3VectorStore, reranker: str, *, fetch_k: int, top_n: int) -> Qwen3Retriever:
    """Build the two-stage retriever; with the reranker "none" it is one stage.

    Raises:
        ValueError: If `fetch_k` is less than `top_n`.
    """
    if fetch_k < top_n:
        msg = f"--fetch-k {fetch_k} is less than --top-n {top_n}: fetch at least as many candidates as are kept"
        raise ValueError(msg)
    compressor = None if reranker == NO_RERANKER else Qwen3Rerank(model=reranker, top_n=top_n)
    return Qwen3Retriever(vector_store=store, reranker=compressor, fetch_k=fetch_k, k=top_n)


@dataclass(frozen=True, kw_only=True)
class ChatOptions:
    """Which chat model, and how it answers."""

    chat: str | None = None
    model: str | None = None
    key: str | None = field(default=None, repr=False)
    server: Server = "auto"
    think: bool | None = None
    thinking_budget: int | None = None
    max_tokens: int | None = None

    def make(self) -> ChatQwen3:
        """Build the chat model that `--chat` names: a DashScope model, or whatever a URL serves.

        Raises:
            ValueError: If a DashScope key is missing.
            ConnectionError: If the server of a URL does not answer.
        """
        if self.chat is None or "://" not in self.chat:
            return self._make(self.chat or DEFAULT_CHAT)
        where = {"base_url": self.chat, "api_key": self.key, "server": self.server}
        # What the class refuses needs no server to say so: make one before asking the server for a name.
        named = self._make(self.model or "unknown", **where)
        return named if self.model else self._make(_first_model(self.chat, self.key), **where)

    def _make(self, model: str, **where: Any) -> ChatQwen3:
        return ChatQwen3(
            model=model,
            enable_thinking=self.think,
            thinking_budget=self.thinking_budget,
            max_tokens=self.max_tokens,
            **where,
        )


def _first_model(url: str, key: str | None) -> str:
    """Ask an OpenAI-compatible server which model it serves."""
    import openai

    advice = f"start the server, correct the URL (it usually ends with /v1), or pass --chat-model. URL: {url}"
    try:
        with openai.OpenAI(base_url=url, api_key=key or "not-needed", timeout=10, max_retries=1) as client:
            names = [model.id for model in client.models.list()]
    except openai.OpenAIError as error:
        msg = f"the chat server does not list its models: {advice}"
        raise ConnectionError(msg) from error
    if not names:
        msg = f"the chat server lists no model: {advice}"
        raise ConnectionError(msg)
    return names[0]
