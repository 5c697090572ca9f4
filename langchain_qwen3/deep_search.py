"""Deep search on LangGraph: sub-questions, rounds of two-stage retrieval, and a report whose claims cite passages."""

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
from langchain_qwen3.rag_chain import Citation, create_rag_chain, find_citations
from qwen3_core.base import require_query
from qwen3_core.deep_search import Course, DeepSearchPrompts, Limits, Step, Thinking, Usage
from qwen3_core.deep_search.course import (
    FALSE_CITATIONS,
    NO_CITATION,
    NO_JUDGEMENT,
    NO_PLAN,
    NO_USAGE,
    NOT_JUDGED,
    NOTHING_FOUND,
    THINKING,
    Name,
    add_usage,
    merge_found,
)
from qwen3_core.deep_search.reading import clean_citations, distinct, read_queries, read_reflection

INSTALL_LANGGRAPH = 'deep search needs LangGraph: pip install "qwen3-rag[langchain,deep-search]"'


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


def create_deep_search(
    retriever: Runnable[str, list[Document]],
    chat: BaseChatModel,
    *,
    max_rounds: int = 3,
    token_budget: int | None = None,
    max_queries: int = 4,
    max_passages: int = 20,
    think: Thinking | None = None,
    prompts: DeepSearchPrompts | None = None,
    checkpointer: Any = None,
) -> Runnable[DeepSearchInput, DeepSearchOutput]:
    """Build a LangGraph graph that researches a question in several rounds.

    ```python
    research = create_deep_search(retriever, ChatQwen3(model="qwen3-8b"))
    research.invoke({"input": "How do backups and upgrades depend on each other?"})["answer"]
    for update in research.stream({"input": "..."}, stream_mode="updates"):
        ...  # each step as it ends; stream_mode="messages" gives the model's tokens
    ```

    The question is split into sub-questions; each is retrieved, at the same time as the others and never twice; the
    model says which passages support an answer and what is missing; new queries are asked for that, until nothing is
    missing, nothing new comes, or a limit is reached; then the report is written from the useful passages. A reply that
    cannot be read costs its step, and a report without a valid citation is replaced by the plain two-stage answer;
    ``notes`` says so. Citations of passages that do not exist never reach the reader.

    It is a compiled graph: with a ``checkpointer`` a run that was cancelled goes on where it stopped, by
    ``invoke(None, config)``, and ``interrupt_after="*"`` in a call takes one step at a time.

    Args:
        retriever: Anything that turns a query into documents, such as `Qwen3Retriever`.
        chat: The chat model.
        max_rounds: Searches at most.
        token_budget: Tokens at most, prompts included, after which the report is written; it is checked between steps.
        max_queries: Queries of one search at most.
        max_passages: Passages that the model is shown at most, the first found first.
        think: Whether a model that can choose thinks in "plan", "reflect", "rewrite" and "report"; default on for the
            first two. A step that is left out has the model's own default.
        prompts: What the model is told.
        checkpointer: A LangGraph checkpointer.

    Returns:
        A compiled graph from ``{"input"}`` to `DeepSearchOutput`.

    Raises:
        ImportError: LangGraph is not installed.
        ValueError: A limit is out of range; when run, the question is blank.
    """
    try:
        from langgraph.graph import END, START, StateGraph
    except ImportError as error:
        raise ImportError(INSTALL_LANGGRAPH) from error
    steps = _Steps(
        retriever,
        chat,
        Course(Limits(max_rounds, token_budget, max_queries)),
        THINKING if think is None else think,
        prompts or DeepSearchPrompts(),
        max_passages,
    )
    graph = StateGraph(DeepSearchState, input_schema=DeepSearchInput, output_schema=DeepSearchOutput)
    ends: dict[str, list[str]] = {
        "plan": ["search"],
        "search": ["reflect", "report", "plain"],
        "reflect": ["rewrite", "report"],
        "rewrite": ["search", "report"],
        "report": ["plain", END],
        "plain": [END],
    }
    for name, node in steps.nodes().items():
        graph.add_node(name, node)
        graph.add_conditional_edges(name, lambda state: state["next"] or END, ends[name])
    graph.add_edge(START, "plan")
    return graph.compile(checkpointer=checkpointer, name="qwen3_deep_search")


class _Steps:
    """The nodes of the graph: what each asks, and what it makes of the reply."""

    def __init__(
        self,
        retriever: Runnable[str, list[Document]],
        chat: BaseChatModel,
        course: Course,
        think: Thinking,
        prompts: DeepSearchPrompts,
        max_passages: int,
    ) -> None:
        self._retriever, self._chat, self._course = retriever, chat, course
        self._think, self._prompts, self._max_passages = dict(think), prompts, max_passages
        self._plain = create_rag_chain(retriever, chat)

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

    def _model_step(self, name: Name, ask: _Ask, read: _Read) -> Runnable[Any, Any]:
        thinking: Any = self._think.get(name) if isinstance(self._chat, ChatQwen3 | ChatQwen3Local) else None
        model: Runnable[Any, AIMessage] = self._chat if thinking is None else self._chat.bind(enable_thinking=thinking)

        def finish(state: DeepSearchState, reply: AIMessage, started: float) -> _Update:
            return _with_step(state, read(state, reply.text), name, started, _usage_of(reply), thinking)

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
        def finish(state: DeepSearchState, output: Mapping[str, Any], started: float) -> _Update:
            update = {name: output[name] for name in ("context", "answer", "citations")} | {"next": ""}
            return _with_step(state, update, "report", started, NO_USAGE)

        def run(state: DeepSearchState, config: RunnableConfig) -> _Update:
            started = time.perf_counter()
            return finish(state, self._plain.invoke({"input": state["input"]}, config), started)

        async def arun(state: DeepSearchState, config: RunnableConfig) -> _Update:
            started = time.perf_counter()
            return finish(state, await self._plain.ainvoke({"input": state["input"]}, config), started)

        return RunnableLambda(run, arun, name="plain")

    # --- what is asked, and what is made of the replies

    def _ask_plan(self, state: DeepSearchState) -> list[tuple[str, str]]:
        return self._prompts.ask_plan(require_query(state["input"]), self._course.limits.max_queries)

    def _read_plan(self, state: DeepSearchState, reply: str) -> _Update:
        queries = read_queries(reply, self._course.limits.max_queries)
        note = "" if queries else NO_PLAN
        return {"queries": queries or [state["input"]], "next": "search", "note": note}

    def _found(self, state: DeepSearchState, found: Sequence[Sequence[Document]], started: float) -> _Update:
        known = state.get("context", [])
        context = merge_found(known, found, _key)
        round_, spent = state.get("round", 0) + 1, state.get("usage", NO_USAGE)
        following, reason = self._course.after_search(
            round_=round_, new=len(context) - len(known), spent=spent["input"] + spent["output"]
        )
        update: _Update = {
            "asked": [*state.get("asked", []), *state["queries"]],
            "context": context,
            "round": round_,
            "next": following if context else "plain",
            "reason": reason if context else NOTHING_FOUND,
        }
        return _with_step({**state, "round": round_}, update, "search", started, NO_USAGE)

    def _ask_reflect(self, state: DeepSearchState) -> list[tuple[str, str]]:
        return self._prompts.ask_reflect(state["input"], _texts(state["context"][: self._max_passages]))

    def _read_reflect(self, state: DeepSearchState, reply: str) -> _Update:
        judged = read_reflection(reply, min(len(state["context"]), self._max_passages))
        if judged is None:
            return {"useful": [], "missing": "", "next": "report", "reason": NOT_JUDGED, "note": NO_JUDGEMENT}
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
        note = FALSE_CITATIONS if removed else ""
        citations = find_citations(answer, used)
        return {"context": used, "answer": answer, "citations": citations, "next": "", "note": note}

    def _used(self, state: DeepSearchState) -> list[Document]:
        context = state["context"]
        useful = [context[number - 1] for number in state.get("useful", [])]
        return (useful or context)[: self._max_passages]


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


def _usage_of(reply: AIMessage) -> Usage:
    counted = reply.usage_metadata
    if counted is None:
        return NO_USAGE
    reasoning = (counted.get("output_token_details") or {}).get("reasoning", 0)
    return {"input": counted["input_tokens"], "output": counted["output_tokens"], "reasoning": reasoning}


def _key(document: Document) -> str:
    return document.id or document.page_content


def _texts(documents: Sequence[Document]) -> list[str]:
    return [document.page_content for document in documents]
