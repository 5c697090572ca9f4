"""The workflow of a deep search: what each step asks, what it makes of the reply, and what a saved context holds."""

# ruff: noqa: ARG002 - the signatures of steps say which events they take

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol, TypeVar

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ThinkingBlock
from llama_index.core.llms.llm import LLM
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from llama_index.core.storage.docstore.utils import doc_to_json, json_to_doc
from llama_index.core.workflow import (
    Context,
    Event,
    HumanResponseEvent,
    InputRequiredEvent,
    StartEvent,
    StopEvent,
    Workflow,
    step,
)

from llamaindex_qwen3.llm_base import Qwen3Base
from llamaindex_qwen3.llm_local import Qwen3Local
from qwen3_core.base import require_query
from qwen3_core.deep_search import Course, DeepSearchPrompts, Step, Thinking
from qwen3_core.deep_search.course import (
    FALSE_CITATIONS,
    NO_CITATION,
    NO_JUDGEMENT,
    NO_PASSAGE,
    NO_PLAN,
    NO_USAGE,
    NOT_JUDGED,
    NOTHING_FOUND,
    Name,
    merge_found,
)
from qwen3_core.deep_search.prompts import Messages
from qwen3_core.deep_search.reading import clean_citations, distinct, read_queries, read_reflection


class Retriever(Protocol):
    """What finds nodes: a LlamaIndex retriever, or a query engine of `create_query_engine`, which reranks as well."""

    def aretrieve(self, query: Any) -> Awaitable[Sequence[NodeWithScore]]:
        """Return the nodes of a query, best first."""


class StepEvent(Event):
    """A step that was taken, for ``handler.stream_events()``.

    Attributes:
        step: Its name, round, seconds, tokens, queries and note, see `qwen3_core.deep_search.Step`.
    """

    step: dict[str, Any]


class DeepSearchResult(StopEvent):
    """What a deep search gives.

    Attributes:
        input: The question.
        answer: The report.
        nodes: The passages that it was written from, in the order of their numbers.
        citations: The numbers that it names, from 1.
        steps: What was done.
        usage: Tokens of all steps.
        reason: Why the search ended.
        notes: What the model did badly, and what was done instead.
    """

    input: str
    answer: str
    nodes: list[NodeWithScore]
    citations: list[int]
    steps: list[dict[str, Any]]
    usage: dict[str, int]
    reason: str
    notes: list[str]


class _Search(Event):
    queries: list[str]
    round: int


class _Reflect(Event):
    pass


class _Rewrite(Event):
    missing: str


class _Report(Event):
    pass


class _Plain(Event):
    pass


class PausedEvent(InputRequiredEvent):
    """A run that takes one step at a time has taken one, and waits for a `ContinueEvent`."""


class ContinueEvent(HumanResponseEvent):
    """Takes the next step of a run that waits."""


_Next = TypeVar("_Next", bound=Event)
_Following = _Search | _Reflect | _Rewrite | _Report | _Plain
_FOLLOWING: dict[str, type[_Following]] = {
    kind.__name__: kind for kind in (_Search, _Reflect, _Rewrite, _Report, _Plain)
}


class DeepSearch(Workflow):
    """The workflow of `create_deep_search`; see there."""

    def __init__(
        self,
        retriever: Retriever,
        llm: LLM,
        course: Course,
        think: Thinking,
        prompts: DeepSearchPrompts,
        *,
        stepwise: bool,
        timeout: float | None,
    ) -> None:
        super().__init__(timeout=timeout)
        self._retriever, self._llm, self._course = retriever, llm, course
        self._think, self._prompts, self._stepwise = dict(think), prompts, stepwise
        self._most = course.limits.max_passages

    @step
    async def plan(self, ctx: Context, ev: StartEvent) -> _Search | PausedEvent:
        """Split the question into sub-questions."""
        question = require_query(ev.get("input", ""))
        await ctx.store.set("input", question)
        most = self._course.limits.max_queries
        reply = await self._asked("plan", self._prompts.ask_plan(question, most))
        queries = read_queries(reply.text, most)
        note = "" if queries else NO_PLAN
        await reply.tell(ctx, note=note, queries=queries or [question])
        return await self._then(ctx, _Search(queries=queries or [question], round=1))

    @step
    async def search(self, ctx: Context, ev: _Search) -> _Reflect | _Report | _Plain | PausedEvent:
        """Retrieve all queries at the same time."""
        taken = _Taken("search", None)
        found = await asyncio.gather(*(self._retriever.aretrieve(QueryBundle(query)) for query in ev.queries))
        # A run that was cancelled in this step takes it again: what it found the first time must count as new again.
        saved = [each for each in await ctx.store.get("nodes", default=[]) if each["round"] < ev.round]
        useful = [number for number, each in enumerate(saved, 1) if each["useful"]]
        rows = [[_kept(node, ev.round) for node in nodes] for nodes in found]
        merged, new, useful = merge_found(saved, useful, rows, lambda each: str(each["id"]))
        asked = distinct([*(await ctx.store.get("asked", default=[])), *ev.queries])
        for name, value in {"nodes": _marked(merged, useful), "round": ev.round, "asked": asked}.items():
            await ctx.store.set(name, value)
        await taken.tell(ctx, note="" if merged else NO_PASSAGE, queries=ev.queries)
        if not merged:
            await ctx.store.set("reason", NOTHING_FOUND)
            return await self._then(ctx, _Plain())
        spent = await _spent(ctx)
        following, reason = self._course.after_search(round_=ev.round, new=new, spent=spent)
        await ctx.store.set("reason", reason)
        return await self._then(ctx, _Reflect() if following == "reflect" else _Report())

    @step
    async def reflect(self, ctx: Context, ev: _Reflect) -> _Rewrite | _Report | PausedEvent:
        """Judge what the passages are worth and what is missing."""
        saved = await ctx.store.get("nodes")
        nodes = _restored(saved[: self._most])
        messages = self._prompts.ask_reflect(await ctx.store.get("input"), _texts(nodes))
        reply = await self._asked("reflect", messages)
        judged = read_reflection(reply.text, len(nodes))
        note = "" if judged else NO_JUDGEMENT
        await reply.tell(ctx, note=note)
        if judged is None:
            await ctx.store.set("reason", NOT_JUDGED)
            return await self._then(ctx, _Report())
        await ctx.store.set("nodes", _marked(saved, judged.useful))
        round_, spent = await ctx.store.get("round"), await _spent(ctx)
        following, reason = self._course.after_reflect(round_=round_, missing=judged.missing, spent=spent)
        await ctx.store.set("reason", reason)
        return await self._then(ctx, _Rewrite(missing=judged.missing) if following == "rewrite" else _Report())

    @step
    async def rewrite(self, ctx: Context, ev: _Rewrite) -> _Search | _Report | PausedEvent:
        """Write queries for what is missing."""
        asked, most = await ctx.store.get("asked"), self._course.limits.max_queries
        messages = self._prompts.ask_rewrite(await ctx.store.get("input"), ev.missing, asked, most)
        reply = await self._asked("rewrite", messages)
        queries = distinct(read_queries(reply.text, most) or [], besides=asked)
        await reply.tell(ctx, queries=queries)
        following, reason = self._course.after_rewrite(queries=len(queries))
        await ctx.store.set("reason", reason)
        if following != "search":
            return await self._then(ctx, _Report())
        return await self._then(ctx, _Search(queries=queries, round=await ctx.store.get("round") + 1))

    @step
    async def report(self, ctx: Context, ev: _Report) -> DeepSearchResult | _Plain | PausedEvent:
        """Write the answer from the useful passages."""
        saved = await ctx.store.get("nodes")
        used = _restored(([each for each in saved if each["useful"]] or saved)[: self._most])
        messages = self._prompts.ask_report(await ctx.store.get("input"), _texts(used))
        reply = await self._asked("report", messages)
        answer, cited, removed = clean_citations(reply.text, len(used))
        note = NO_CITATION if not cited else FALSE_CITATIONS if removed else ""
        await reply.tell(ctx, note=note)
        return await _result(ctx, answer, used, cited) if cited else await self._then(ctx, _Plain())

    @step
    async def plain(self, ctx: Context, ev: _Plain) -> DeepSearchResult:
        """Answer as the plain two-stage engine does."""
        question = await ctx.store.get("input")
        nodes = [*await self._retriever.aretrieve(QueryBundle(question))]
        reply = await self._asked("report", self._prompts.ask_plain(question, _texts(nodes)))
        answer, cited, removed = clean_citations(reply.text, len(nodes))
        await reply.tell(ctx, note=FALSE_CITATIONS if removed else "")
        return await _result(ctx, answer, nodes, cited)

    @step
    async def go_on(self, ctx: Context, ev: ContinueEvent) -> _Search | _Reflect | _Rewrite | _Report | _Plain:
        """Take the step that a run waits with."""
        kind, fields = await ctx.store.get("following")
        return _FOLLOWING[kind](**fields)

    async def _then(self, ctx: Context, following: _Next) -> _Next | PausedEvent:
        """Return what follows a step, or keep it until somebody says to go on."""
        if not self._stepwise:
            return following
        await ctx.store.set("following", [type(following).__name__, following.model_dump()])
        return PausedEvent()

    async def _asked(self, name: Name, messages: Messages) -> _Taken:
        thinking: Any = self._think.get(name) if isinstance(self._llm, Qwen3Base | Qwen3Local) else None
        taken = _Taken(name, thinking)
        said = [ChatMessage(role=role, content=text) for role, text in messages]
        how: dict[str, Any] = {} if thinking is None else {"enable_thinking": thinking}
        taken.take(await self._llm.achat(said, **how))
        return taken


class _Taken:
    """A step while it is taken, and what the model said in it."""

    def __init__(self, name: Name, thinking: bool | None) -> None:  # noqa: FBT001 - as the model is told
        self._name, self._thinking, self._started = name, thinking, time.perf_counter()
        self._usage = NO_USAGE
        self.text = ""

    def take(self, response: ChatResponse) -> None:
        """Note a reply."""
        self.text, counted = response.message.content or "", response.additional_kwargs
        thought = [block.num_tokens or 0 for block in response.message.blocks if isinstance(block, ThinkingBlock)]
        self._usage = {
            "input": counted.get("prompt_tokens") or 0,
            "output": counted.get("completion_tokens") or 0,
            "reasoning": sum(thought),
        }

    async def tell(self, ctx: Context, *, note: str = "", queries: Sequence[str] = ()) -> None:
        """Write the step down and into the stream."""
        nodes = await ctx.store.get("nodes", default=[])
        taken: Step = {
            "name": self._name,
            "round": await ctx.store.get("round", default=0),
            "seconds": time.perf_counter() - self._started,
            "thinking": self._thinking,
            "usage": self._usage,
            "queries": list(queries),
            "passages": len(nodes),
            "note": note,
        }
        await ctx.store.set("steps", [*(await ctx.store.get("steps", default=[])), dict(taken)])
        ctx.write_event_to_stream(StepEvent(step=dict(taken)))


def _kept(node: NodeWithScore, round_: int) -> dict[str, Any]:
    """Return a passage as JSON, with the round that found it: a saved context cannot hold nodes."""
    return {"id": node.node_id, "node": doc_to_json(node.node), "score": node.score, "round": round_}


def _marked(saved: Sequence[dict[str, Any]], useful: Sequence[int]) -> list[dict[str, Any]]:
    """Return passages with whether each is useful, by their numbers from 1."""
    return [{**each, "useful": number in useful} for number, each in enumerate(saved, 1)]


def _restored(saved: Sequence[dict[str, Any]]) -> list[NodeWithScore]:
    """Return what was kept as nodes."""
    return [NodeWithScore(node=json_to_doc(each["node"]), score=each["score"]) for each in saved]


async def _spent(ctx: Context) -> int:
    steps = await ctx.store.get("steps", default=[])
    return sum(taken["usage"]["input"] + taken["usage"]["output"] for taken in steps)


async def _result(ctx: Context, answer: str, nodes: list[NodeWithScore], cited: list[int]) -> DeepSearchResult:
    steps = await ctx.store.get("steps")
    return DeepSearchResult(
        input=await ctx.store.get("input"),
        answer=answer,
        nodes=nodes,
        citations=cited,
        steps=steps,
        usage={kind: sum(taken["usage"][kind] for taken in steps) for kind in NO_USAGE},
        reason=await ctx.store.get("reason", default=""),
        notes=[taken["note"] for taken in steps if taken["note"]],
    )


def _texts(nodes: Sequence[NodeWithScore]) -> list[str]:
    return [node.node.get_content(MetadataMode.LLM) for node in nodes]
