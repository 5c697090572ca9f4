"""The options that the commands share, and what they say about the components, in either framework."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

import typer

from qwen3_cli.model_options import EmbeddingOptions, RerankerOptions
from qwen3_core.thinking import Server

DEFAULT_CHAT = "qwen-plus"
"""DashScope's general model; it does not think unless told to."""

Uri = Annotated[str, typer.Option("--uri", help="A Milvus Lite path that ends with .db, or the URL of a server.")]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar="MILVUS_TOKEN", show_envvar=True, help="user:password or API key of the server."),
]
Collection = Annotated[str, typer.Option("--collection", help="The collection to use.")]
Tenant = Annotated[
    str | None,
    typer.Option("--tenant", help="Whose documents, in a collection with tenants; a new one gets tenants by it."),
]
DbName = Annotated[str, typer.Option("--db-name", help="A database of the server, if it is not the default one.")]
Hybrid = Annotated[
    bool, typer.Option("--hybrid", help="By vector and by full text; a collection needs it from the start.")
]
Analyzer = Annotated[
    str | None,
    typer.Option(
        "--analyzer", help='What cuts text into words for --hybrid, such as "standard", or "jieba" for Chinese.'
    ),
]
ChunkTokens = Annotated[
    int | None, typer.Option(min=1, help="Tokens of a chunk at most, by the embedding's tokenizer; 256 by default.")
]
ChunkSize = Annotated[int | None, typer.Option(min=1, help="Characters of a chunk at most, instead of tokens.")]
Manifest = Annotated[
    Path | None,
    typer.Option(
        help="Where it is noted which files need not be read again; beside a Lite file, for a server in ./.qwen3-rag."
    ),
]
Chat = Annotated[
    str | None,
    typer.Option(
        "--chat", help="A DashScope model (needs DASHSCOPE_API_KEY), or the URL of a server, as http://host:8000/v1."
    ),
]
ChatModel = Annotated[
    str | None,
    typer.Option("--chat-model", help="The model's name on the server of --chat URL; else the first that it lists."),
]
ChatKey = Annotated[
    str | None,
    typer.Option("--chat-key", envvar="QWEN3_API_KEY", show_envvar=True, help="The key of the server of --chat URL."),
]
ChatServer = Annotated[
    Server, typer.Option("--server", help="What the URL of --chat is; a thinking budget needs it outside DashScope.")
]
FetchK = Annotated[int, typer.Option("--fetch-k", min=1, help="Candidates fetched from the vector store.")]
TopN = Annotated[int, typer.Option("--top-n", min=1, help="Documents kept after reranking.")]
Think = Annotated[
    bool | None, typer.Option("--think/--no-think", help="Whether the chat model thinks; its own default if not given.")
]
ThinkingBudget = Annotated[int | None, typer.Option("--thinking-budget", min=1, help="Tokens of thinking at most.")]
MaxTokens = Annotated[
    int | None,
    typer.Option("--max-tokens", min=1, help="Tokens of the answer at most; the server's own limit if not given."),
]
MaxRounds = Annotated[int, typer.Option("--max-rounds", min=1, help="Searches of a research at most.")]
TokenBudget = Annotated[
    int | None, typer.Option("--token-budget", min=1, help="Tokens of a research at most, then its report is written.")
]
Framework = Annotated[Literal["langchain", "llamaindex"], typer.Option(help="Whose components do the work.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")]


_Chat = TypeVar("_Chat", covariant=True)


@dataclass(frozen=True, kw_only=True)
class StoreOptions:
    """Which collection, and which embedding it is made with."""

    uri: Uri = "./milvus.db"
    token: Token = field(default=None, repr=False)
    collection: Collection = "docs"
    db_name: DbName = ""
    tenant: Tenant = None
    hybrid: Hybrid = False
    analyzer: Analyzer = None
    embedding: EmbeddingOptions = field(default_factory=EmbeddingOptions)

    @property
    def opening(self) -> dict[str, Any]:
        """The arguments that both frameworks' `create_vector_store` have, without the embedding."""
        return {
            "uri": self.uri,
            "token": self.token,
            "db_name": self.db_name,
            "collection_name": self.collection,
            "tenant": self.tenant,
            "hybrid": self.hybrid,
            "analyzer": self.analyzer,
        }

    def require_path(self) -> None:
        """Refuse a Lite path that does not exist, since opening it would create it.

        Raises:
            ValueError: If it does not exist.
        """
        if "://" not in self.uri and not Path(self.uri).exists():
            msg = f"{self.uri} does not exist; {self._hint}"
            raise ValueError(msg)

    def missing(self) -> ValueError:
        """Return the error that says that the collection does not exist."""
        return ValueError(f"there is no collection {self.collection!r} in {self.uri}; {self._hint}")

    @property
    def _hint(self) -> str:
        return f"index something first: qwen3-rag index PATH --uri {self.uri} --collection {self.collection}"


@dataclass(frozen=True, kw_only=True)
class Stages:
    """How many candidates are fetched, what orders them, and how many are kept.

    Raises:
        ValueError: If more are kept than fetched.
    """

    reranker: RerankerOptions = field(default_factory=RerankerOptions)
    fetch_k: FetchK = 10
    top_n: TopN = 3

    def __post_init__(self) -> None:
        """Compare both numbers."""
        if self.fetch_k < self.top_n:
            msg = (
                f"--fetch-k {self.fetch_k} is less than --top-n {self.top_n}: fetch at least as many candidates "
                "as are kept"
            )
            raise ValueError(msg)


class MakeChat(Protocol[_Chat]):
    """What builds a framework's chat model; without a URL it is DashScope's."""

    def __call__(self, model: str, *, url: str | None, key: str | None) -> _Chat:
        """Build it."""


@dataclass(frozen=True, kw_only=True)
class ChatOptions:
    """Which chat model."""

    chat: Chat = None
    model: ChatModel = None
    key: ChatKey = field(default=None, repr=False)
    server: ChatServer = "auto"

    @property
    def answering(self) -> dict[str, Any]:
        """The arguments that both frameworks' chat models have for how to answer."""
        return {}

    def make(self, make: MakeChat[_Chat]) -> _Chat:
        """Build the chat model that `--chat` names: a DashScope model, or whatever a URL serves.

        Raises:
            ValueError: If a DashScope key is missing.
            ConnectionError: If the server of a URL does not answer.
        """
        if self.chat is None or "://" not in self.chat:
            return make(self.chat or DEFAULT_CHAT, url=None, key=None)
        # What the class refuses needs no server to say so: make one before asking the server for a name.
        named = make(self.model or "unknown", url=self.chat, key=self.key)
        return named if self.model else make(_first_model(self.chat, self.key), url=self.chat, key=self.key)


@dataclass(frozen=True, kw_only=True)
class AnswerOptions(ChatOptions):
    """Which chat model, and how it answers."""

    think: Think = None
    thinking_budget: ThinkingBudget = None
    max_tokens: MaxTokens = None

    @property
    def answering(self) -> dict[str, Any]:
        """The arguments that both frameworks' chat models have for how to answer."""
        return {
            "enable_thinking": self.think,
            "thinking_budget": self.thinking_budget,
            "max_tokens": self.max_tokens,
        }


@dataclass(frozen=True, kw_only=True)
class ResearchOptions:
    """How far a deep search goes."""

    max_rounds: MaxRounds = 3
    token_budget: TokenBudget = None

    def searching(self, *, think: bool | None) -> dict[str, Any]:
        """Return the arguments that both frameworks' deep searches have.

        Args:
            think: Whether it thinks in all steps or in none; None is where it pays.
        """
        steps = ("plan", "reflect", "rewrite", "report")
        thinking = None if think is None else dict.fromkeys(steps, think)
        return {"max_rounds": self.max_rounds, "token_budget": self.token_budget, "think": thinking}


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
