"""`RemoteReranker`: Qwen3-Reranker on a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qwen3_core.base import Reranker, require_query, require_texts
from qwen3_core.prompts import DEFAULT_INSTRUCTION, RERANK_PREFIX, RERANK_SUFFIX, format_rerank_head
from qwen3_core.remote.batching import Batch, Job
from qwen3_core.remote.check import (
    DOCUMENTS,
    OTHER_INSTRUCTION,
    QUERIES,
    Finding,
    judge_direction,
    judge_instruction,
    judge_scores,
)
from qwen3_core.remote.client import RemoteClient
from qwen3_core.remote.connection import Connection, Options
from qwen3_core.remote.errors import AnswerError
from qwen3_core.remote.http import Call
from qwen3_core.remote.plan import Kept, Plan
from qwen3_core.remote.reranking import RerankInput, rerank_route
from qwen3_core.remote.routes import Template
from qwen3_core.remote.texts import plain
from qwen3_core.thinking import Server

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from qwen3_core.remote.connection import ServerOptions


class RemoteReranker(RemoteClient, Reranker):
    """Qwen3-Reranker on a server: vLLM, SGLang, llama.cpp, Xinference, TEI (converted checkpoints) or DashScope.

    ```python
    RemoteReranker("Qwen/Qwen3-Reranker-0.6B", base_url="http://127.0.0.1:8001/v1", server="vllm")
    ```

    The first call asks for known pairs, and raises if the server scores them wrongly, as it does without its chat
    template or with the template applied twice. Documents are sent in batches of the size that the server takes,
    several at a time; a score does not depend on how they are split. If some cannot be scored the others are in the
    error, and are not computed again if the same is asked for again. Control tokens in texts are broken up with a
    zero-width space.

    Args:
        model: The model's name on the server; None takes the only one that it lists.
        base_url: Its URL; None is DashScope's.
        server: Its word; see `RemoteEmbedder`.
        template: Who writes the rerank prompt: "server", the default, or "client" for a vLLM that was started without
            the chat template and for TEI. Written by both, scores are worthless.
        instruction: What makes a document relevant, in one English sentence. llama.cpp has it in its file, and a server
            that is not named may have it anywhere: both take the default only.
        **options: See `ServerOptions`.

    Raises:
        ValueError: An argument is out of range, the server does not rerank or cannot be served so, it takes no
            instruction, or there is no key for DashScope.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        base_url: str | None = None,
        server: Server = "auto",
        template: Template | None = None,
        instruction: str = DEFAULT_INSTRUCTION,
        **options: Unpack[ServerOptions],
    ) -> None:
        super().__init__(instruction)
        self._options = Options(**options)
        self._connection = Connection(base_url, server, model, self._options)
        self._route = rerank_route(self._connection.server, self._connection.url, template)
        self._kept: Kept[float] = Kept()
        self.model, self.base_url, self.server, self.template = model, base_url, server, template
        self._require_instruction(instruction)

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor, from which an equal reranker can be made."""
        own = ("model", "base_url", "server", "template", "instruction")
        return {**{name: getattr(self, name) for name in own}, **vars(self._options)}

    def score_batch(self, query: str, documents: Sequence[str], instruction: str) -> list[float]:
        """Score documents; see `Reranker.score`.

        Raises:
            ValueError: Instruction and query leave no room for a document within `max_length`, a document is longer
                than ``truncation="error"`` allows, one is blank and the server takes none, or the server takes no
                instruction; nothing was sent.
            PartialError: Some documents could not be scored.
            ServerError: The server cannot be reached, refuses, or answers nonsense.
        """
        self._require_instruction(instruction)
        self._connection.run_one(self._ready())
        plan = self._plan(query, documents, instruction)
        return self._kept.settle(plan, self._connection.run(plan.jobs), what="document")

    async def ascore(self, query: str, documents: Sequence[str], *, instruction: str | None = None) -> list[float]:
        """Score in this event loop; see `score` and `score_batch`."""
        require_query(query)
        texts, task = require_texts(documents), self.instruction if instruction is None else instruction
        if not texts:
            return []
        self._require_instruction(task)
        await self._connection.arun_one(self._ready())
        plan = self._plan(query, texts, task)
        return self._kept.settle(plan, await self._connection.arun(plan.jobs), what="document")

    # --- nothing below sends anything

    def _plan(self, query: str, documents: Sequence[str], instruction: str) -> Plan[float]:
        key = (query, instruction)
        known = self._kept.known(key, documents)
        connection, limits = self._connection, self._route.limits(self._connection.known_model)
        ruler, asked, task = connection.ruler, plain(query), plain(instruction)
        beside = ruler.counts_safely(asked)
        around = beside + ruler.counts_safely(RERANK_PREFIX + format_rerank_head("", task) + RERANK_SUFFIX)
        room = self._options.max_length - around
        if room < 1 or beside > (limits.row_tokens or beside):
            message = (
                f"instruction, query and template take about {around:,} tokens of max_length="
                f"{self._options.max_length:,}, and the server takes {limits.row_tokens or 'any number of'} for a "
                "query: shorten the query, or raise max_length if the server takes more. Nothing was sent"
            )
            raise ValueError(message)
        ready = {
            text: connection.sendable(text, limits, room, name=f"document {place}")
            for place, text in enumerate(documents)
            if text not in known
        }
        wanted, sent = list(ready), list(ready.values())

        def ask(texts: Sequence[str]) -> Job[list[float]]:
            return (yield self._call(asked, texts, task))  # type: ignore[no-any-return]

        def ask_for(batch: Batch) -> Job[list[float]]:
            return ask([sent[place] for place in batch])

        parts = connection.batches(sent, limits, beside=beside)
        return Plan(key, documents, known, wanted, parts, ask_for, lambda: ask(DOCUMENTS[:1]))

    def _call(self, query: str, documents: Sequence[str], instruction: str) -> Call:
        """Return the request for texts that are plain."""
        wanted = RerankInput(self._connection.known_model, query, documents, instruction)
        url, body = self._route.request(self._connection.url, wanted)
        return Call(url, body, lambda answer: self._route.parse(answer, len(documents)))

    def _model_name(self) -> Job[str]:
        return self._connection.name_of_model(self._route.models_url(self._connection.url), self._route.default_model)

    def _examine(self) -> Job[list[Finding]]:
        yield from self._model_name()
        server = self._connection.server
        try:
            first: list[float] = yield self._call(QUERIES[0], DOCUMENTS, DEFAULT_INSTRUCTION)
            second: list[float] = yield self._call(QUERIES[1], DOCUMENTS, DEFAULT_INSTRUCTION)
            turned: list[float] = yield self._call(DOCUMENTS[0], QUERIES, DEFAULT_INSTRUCTION)
            findings = judge_scores([first, second], server=server, template=self._route.template)
            findings += judge_direction([first[0], second[0]], turned)
            if self._takes_instruction:
                others: list[float] = yield self._call(QUERIES[0], DOCUMENTS, OTHER_INSTRUCTION)
                findings += judge_instruction(first, others, server=server)
        except AnswerError as error:
            return [Finding("answer", f"its answer to known pairs cannot be used: {error}", is_fatal=True)]
        return findings

    @property
    def _takes_instruction(self) -> bool:
        return self._route.template == "client" or self._route.instruction_field is not None

    def _require_instruction(self, instruction: str) -> None:
        if not self._takes_instruction and instruction != DEFAULT_INSTRUCTION:
            server = self._connection.server
            fix = "its instruction is part of the model's file" if server == "llama.cpp" else "name it, server=..."
            message = f"server={server!r} takes no instruction with a request: {fix}"
            raise ValueError(message)
