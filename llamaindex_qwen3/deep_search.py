"""Deep search as a LlamaIndex workflow: sub-questions, rounds of two-stage retrieval, and a report with citations."""

from __future__ import annotations

from llama_index.core.llms.llm import LLM

from llamaindex_qwen3.deep_search_workflow import (
    ContinueEvent,
    DeepSearch,
    DeepSearchResult,
    PausedEvent,
    Retriever,
    StepEvent,
)
from qwen3_core.deep_search import Course, DeepSearchPrompts, Limits, Thinking
from qwen3_core.deep_search.course import THINKING

__all__ = ["ContinueEvent", "DeepSearch", "DeepSearchResult", "PausedEvent", "StepEvent", "create_deep_search"]


def create_deep_search(
    retriever: Retriever,
    llm: LLM,
    *,
    max_rounds: int = 3,
    token_budget: int | None = None,
    max_queries: int = 4,
    max_passages: int = 20,
    think: Thinking | None = None,
    prompts: DeepSearchPrompts | None = None,
    stepwise: bool = False,
    timeout: float | None = None,
) -> DeepSearch:
    """Build a workflow that researches a question in several rounds.

    ```python
    research = create_deep_search(engine, Qwen3(model="qwen3-8b"))
    result = await research.run(input="How do backups and upgrades depend on each other?")
    handler = research.run(input="...")
    async for event in handler.stream_events():
        ...  # a `StepEvent` for each step as it ends
    ```

    The question is split into sub-questions; each is retrieved, at the same time as the others and never twice; the
    model says which passages support an answer and what is missing; new queries are asked for that, until nothing is
    missing, nothing new comes, or a limit is reached; then the report is written from the useful passages. A reply that
    cannot be read costs its step, and a report without a valid citation is replaced by the plain two-stage answer;
    ``notes`` says so. Citations of passages that do not exist never reach the reader.

    A run is cancelled by ``await handler.cancel_run()`` and goes on from ``Context.from_dict(research, saved)`` where
    ``saved = handler.ctx.to_dict()``. With ``stepwise`` it waits after each step: a `PausedEvent` says so in the
    stream, and ``handler.ctx.send_event(ContinueEvent())`` takes the next; what is saved there has no step half taken.

    Args:
        retriever: A LlamaIndex retriever, or an engine of `create_query_engine`, which reranks as well.
        llm: The model.
        max_rounds: Searches at most.
        token_budget: Tokens at most, prompts included, after which the report is written; it is checked between steps,
            and holds only for a model that counts its tokens.
        max_queries: Queries of one search at most.
        max_passages: Passages that the model is shown at most, the first found first.
        think: Whether a `Qwen3` thinks in "plan", "reflect", "rewrite" and "report"; default on for the first two. A
            step that is left out has the model's own default.
        prompts: What the model is told.
        stepwise: Whether it takes one step at a time.
        timeout: Seconds for a run; None waits.

    Raises:
        ValueError: A limit is out of range; when run, the question is blank.
    """
    return DeepSearch(
        retriever,
        llm,
        Course(Limits(max_rounds, token_budget, max_queries, max_passages)),
        THINKING if think is None else think,
        prompts or DeepSearchPrompts(),
        stepwise=stepwise,
        timeout=timeout,
    )
