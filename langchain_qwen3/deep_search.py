"""Deep search on LangGraph: sub-questions, rounds of two-stage retrieval, and a report whose claims cite passages."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable

from langchain_qwen3.deep_search_steps import DeepSearchInput, DeepSearchOutput, DeepSearchState, Steps
from qwen3_core.deep_search import Course, DeepSearchPrompts, Limits, Thinking
from qwen3_core.deep_search.course import THINKING

INSTALL_LANGGRAPH = 'deep search needs LangGraph: pip install "qwen3-rag[langchain,deep-search]"'


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
        token_budget: Tokens at most, prompts included, after which the report is written; it is checked between steps,
            and holds only for a model that counts its tokens.
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
    steps = Steps(
        retriever,
        chat,
        Course(Limits(max_rounds, token_budget, max_queries, max_passages)),
        THINKING if think is None else think,
        prompts or DeepSearchPrompts(),
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
    compiled = graph.compile(checkpointer=checkpointer, name="qwen3_deep_search")
    # Plan, report, plain and three steps a round; the limit of some versions of LangGraph is 25.
    return compiled.with_config(recursion_limit=3 * max_rounds + 4)
