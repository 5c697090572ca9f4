"""The steps of a deep search on LangGraph: what each asks, what it makes of the reply, and what a checkpoint holds."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from typing_extensions import TypedDict

from langchain_qwen3.chat_local import ChatQwen3Local
from langchain_qwen3.chat_models import ChatQwen3
from langchain_qwen3.rag_chain import Citation, find_citations
from qwen3_core.base import require_query
from qwen3_core.deep_search import Course, DeepSearchPrompts, Step, Thinking, Usage
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
    add_usage,
    merge_found,
)
from qwen3_core.deep_search.reading import clean_citations, distinct, read_queries, read_reflection


class DeepSearchInput(TypedDict):
    """What a deep search takes."""

    input: str


class DeepSearchOutput(DeepSearchInput):
    """What a deep search gives.

    ``context`` has the passages that the answer was written from, in the order of their numbers; ``reason`` says why
    the search ended, and ``notes`` what the model did badly and what was done instead.
    """

    context: list[Document]
    answer: str
    citations: list[Citation]
    steps: Annotated[list[Step], operator.add]
    usage: Usage
    reason: str
    notes: list[str]


class DeepSearchState(DeepSearchOutput, total=False):
    """What a checkpoint holds besides: the queries to ask next, those that were asked, and what is still missing."""

    queries: list[str]
    asked: list[str]
    useful: list[int]
    missing: str
    round: int
    next: str


_Update = dict[str, Any]
_Ask = Callable[[DeepSearchState], list[tuple[str, str]]]
_Read = Callable[[DeepSearchState, str], _Update]


class Steps:
    """The nodes of the graph: what each asks, and what it makes of the reply."""

    def __init__(
        self,
        retriever: Runnable[str, list[Document]],
        chat: BaseChatModel,
        course: Course,
        think: Thinking,
        prompts: DeepSearchPrompts,
    ) -> None:
        self._retriever, self._chat, self._course = retriever, chat, course
        self._think, self._prompts = dict(think), prompts
        self._most = course.limits.max_passages

    def nodes(self) -> dict[str, Runnable[Any, Any]]:
        """Return the nodes by their names."""
        return {
            "plan": self._model_step("plan", self._ask_plan, self._read_plan),
            "search": self._search_step(),
            "reflect": self._model_step("reflect", self._ask_reflect, self._read_reflect),
            "rewrite": self._model_step("rewrite", self._ask_rewrite, self._read_rewrite),
            "report": self._model_step("report", self._ask_report, self._read_report),
            "plain": self._plain_step(),
        }

    # --- how a step runs

    def _model(self, name: Name) -> tuple[Runnable[Any, AIMessage], bool | None]:
        """Return the model as a step asks it, and whether it was told to think."""
        thinking: Any = self._think.get(name) if isinstance(self._chat, ChatQwen3 | ChatQwen3Local) else None
        return (self._chat if thinking is None else self._chat.bind(enable_thinking=thinking)), thinking

    def _model_step(self, name: Name, ask: _Ask, read: _Read) -> Runnable[Any, Any]:
        model, thinking = self._model(name)

        def finish(state: DeepSearchState, reply: AIMessage, started: float) -> _Update:
            return _with_step(state, read(state, reply.text), name, started, usage_of(reply), thinking)

        def run(state: DeepSearchState, config: RunnableConfig) -> _Update:
            started = time.perf_counter()
            return finish(state, model.invoke(ask(state), config), started)

        async def arun(state: DeepSearchState, config: RunnableConfig) -> _Update:
            started = time.perf_counter()
            return finish(state, await model.ainvoke(ask(state), config), started)

        return RunnableLambda(run, arun, name=name)

    def _search_step(self) -> Runnable[Any, Any]:
        def run(state: DeepSearchState, config: RunnableConfig) -> _Update:
            started = time.perf_counter()
            return self._found(state, self._retriever.batch(state["queries"], config), started)

        async def arun(state: DeepSearchState, config: RunnableConfig) -> _Update:
            started = time.perf_counter()
            return self._found(state, await self._retriever.abatch(state["queries"], config), started)

        return RunnableLambda(run, arun, name="search")

    def _plain_step(self) -> Runnable[Any, Any]:
        model, thinking = self._model("report")

        def ask(state: DeepSearchState, documents: Sequence[Document]) -> list[tuple[str, str]]:
            return self._prompts.ask_plain(state["input"], _texts(documents))

        def finish(state: DeepSearchState, documents: list[Document], reply: AIMessage, started: float) -> _Update:
            answer, _, removed = clean_citations(reply.text, len(documents))
            update = _answered(documents, answer, removed=removed)
            return _with_step(state, update, "report", started, usage_of(reply), thinking)

        def run(state: DeepSearchState, config: RunnableConfig) -> _Update:
            started = time.perf_counter()
            documents = self._retriever.invoke(state["input"], config)
            return finish(state, documents, model.invoke(ask(state, documents), config), started)

        async def arun(state: DeepSearchState, config: RunnableConfig) -> _Update:
            started = time.perf_counter()
            documents = await self._retriever.ainvoke(state["input"], config)
            return finish(state, documents, await model.ainvoke(ask(state, documents), config), started)

        return RunnableLambda(run, arun, name="plain")

    # --- what is asked, and what is made of the replies

    def _ask_plan(self, state: DeepSearchState) -> list[tuple[str, str]]:
        return self._prompts.ask_plan(require_query(state["input"]), self._course.limits.max_queries)

    def _read_plan(self, state: DeepSearchState, reply: str) -> _Update:
        queries = read_queries(reply, self._course.limits.max_queries)
        note = "" if queries else NO_PLAN
        return {"queries": queries or [state["input"]], "next": "search", "note": note}

    def _found(self, state: DeepSearchState, found: Sequence[Sequence[Document]], started: float) -> _Update:
        context, new, useful = merge_found(state.get("context", []), state.get("useful", []), found, _key)
        round_, spent = state.get("round", 0) + 1, state.get("usage", NO_USAGE)
        following, reason = self._course.after_search(round_=round_, new=new, spent=spent["input"] + spent["output"])
        update: _Update = {
            "asked": [*state.get("asked", []), *state["queries"]],
            "context": context,
            "useful": useful,
            "round": round_,
            "next": following if context else "plain",
            "reason": reason if context else NOTHING_FOUND,
            "note": "" if context else NO_PASSAGE,
        }
        return _with_step({**state, "round": round_}, update, "search", started, NO_USAGE)

    def _ask_reflect(self, state: DeepSearchState) -> list[tuple[str, str]]:
        return self._prompts.ask_reflect(state["input"], _texts(state["context"][: self._most]))

    def _read_reflect(self, state: DeepSearchState, reply: str) -> _Update:
        judged = read_reflection(reply, min(len(state["context"]), self._most))
        if judged is None:
            return {"missing": "", "next": "report", "reason": NOT_JUDGED, "note": NO_JUDGEMENT}
        spent = state["usage"]["input"] + state["usage"]["output"]
        following, reason = self._course.after_reflect(round_=state["round"], missing=judged.missing, spent=spent)
        return {"useful": [*judged.useful], "missing": judged.missing, "next": following, "reason": reason}

    def _ask_rewrite(self, state: DeepSearchState) -> list[tuple[str, str]]:
        most = self._course.limits.max_queries
        return self._prompts.ask_rewrite(state["input"], state["missing"], state["asked"], most)

    def _read_rewrite(self, state: DeepSearchState, reply: str) -> _Update:
        queries = distinct(read_queries(reply, self._course.limits.max_queries) or [], besides=state["asked"])
        following, reason = self._course.after_rewrite(queries=len(queries))
        return {"queries": queries, "next": following, "reason": reason}

    def _ask_report(self, state: DeepSearchState) -> list[tuple[str, str]]:
        return self._prompts.ask_report(state["input"], _texts(self._used(state)))

    def _read_report(self, state: DeepSearchState, reply: str) -> _Update:
        used = self._used(state)
        answer, cited, removed = clean_citations(reply, len(used))
        if not cited:
            return {"next": "plain", "note": NO_CITATION}
        return _answered(used, answer, removed=removed)

    def _used(self, state: DeepSearchState) -> list[Document]:
        context = state["context"]
        useful = [context[number - 1] for number in state.get("useful", [])]
        return (useful or context)[: self._most]


def _answered(documents: list[Document], answer: str, *, removed: bool) -> _Update:
    return {
        "context": documents,
        "answer": answer,
        "citations": find_citations(answer, documents),
        "next": "",
        "note": FALSE_CITATIONS if removed else "",
    }


def _with_step(
    state: Mapping[str, Any], update: _Update, name: Name, started: float, usage: Usage, thinking: Any = None
) -> _Update:
    """Return an update of the state with the record of its step."""
    note = update.pop("note", "")
    step: Step = {
        "name": name,
        "round": state.get("round", 0),
        "seconds": time.perf_counter() - started,
        "thinking": thinking,
        "usage": usage,
        "queries": list(update.get("queries", state.get("queries", []) if name == "search" else [])),
        "passages": len(update.get("context", state.get("context", []))),
        "note": note,
    }
    notes = [*state.get("notes", []), *([note] if note else [])]
    return {**update, "steps": [step], "usage": add_usage(state.get("usage", NO_USAGE), usage), "notes": notes}


def usage_of(reply: AIMessage) -> Usage:
    """Return the tokens of a reply, none where the server does not count them."""
    counted = reply.usage_metadata
    if counted is None:
        return NO_USAGE
    reasoning = (counted.get("output_token_details") or {}).get("reasoning", 0)
    return {"input": counted["input_tokens"], "output": counted["output_tokens"], "reasoning": reasoning}


def _key(document: Document) -> str:
    return document.id or document.page_content


def _texts(documents: Sequence[Document]) -> list[str]:
    return [document.page_content for document in documents]
