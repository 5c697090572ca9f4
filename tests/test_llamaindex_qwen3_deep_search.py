"""`create_deep_search` of LlamaIndex: rounds, thinking by step, limits, bad replies, events, and runs that go on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.workflow import Context
from researcher import CORPUS, HOPS, QUESTION, Researcher
from scripted_chat import Vllm
from workflows.errors import WorkflowCancelledByUser

from llamaindex_qwen3 import Qwen3, create_deep_search
from llamaindex_qwen3.deep_search import ContinueEvent, DeepSearchResult, PausedEvent, StepEvent
from qwen3_core.deep_search.course import FALSE_CITATIONS, NO_PASSAGE


class Finder:
    """A retriever that knows which word leads where, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def aretrieve(self, query: QueryBundle) -> list[NodeWithScore]:
        self.asked.append(query.query_str)
        found = [(word, text) for word, text in CORPUS.items() if word in query.query_str]
        return [NodeWithScore(node=TextNode(id_=word, text=text), score=0.5) for word, text in found]


def built(**options: Any) -> tuple[Any, Finder, Researcher, Vllm]:
    brain = options.pop("brain", None) or Researcher(HOPS)
    server, finder = Vllm(models=("Qwen/Qwen3-8B",), brain=brain), Finder()
    clients = server.clients()
    llm = Qwen3(
        model="Qwen/Qwen3-8B",
        server="vllm",
        api_base=server.url,
        http_client=clients["http_client"],
        async_http_client=clients["http_async_client"],
    )
    return create_deep_search(finder, llm, **options), finder, brain, server


async def test_it_follows_what_passages_lead_to() -> None:
    research, finder, brain, _ = built()
    handler = research.run(input=QUESTION)
    told = [event.step["name"] async for event in handler.stream_events() if isinstance(event, StepEvent)]
    result: DeepSearchResult = await handler
    assert told == [taken["name"] for taken in result.steps]
    assert told == [
        "plan", "search", "reflect", "rewrite", "search", "reflect", "rewrite", "search", "reflect", "report",
    ]  # fmt: skip
    assert sorted(finder.asked[:2]) == ["Who is the owner of the plant", "how is the weather there?"]
    assert finder.asked[2:] == list(HOPS.values())
    assert [node.node_id for node in result.nodes] == ["owner", "founder", "born"], "no weather"
    assert result.answer.endswith("Ada Berg was born in Bergen [3].")
    assert (result.citations, result.reason, result.notes) == ([1, 2, 3], "nothing is missing", [])
    wanted = {"plan": True, "reflect": True, "rewrite": False, "report": False}
    assert dict(brain.asked) == wanted
    assert {taken["name"]: taken["thinking"] for taken in result.steps} == {**wanted, "search": None}
    assert result.usage["reasoning"] > 0
    assert all(not taken["usage"]["reasoning"] for taken in result.steps if not taken["thinking"])


@pytest.mark.parametrize(
    ("limits", "searches", "reason"),
    [
        ({"max_rounds": 1}, 1, "no round is left"),
        ({"max_rounds": 2}, 2, "no round is left"),
        ({"token_budget": 1}, 1, "the token budget is spent"),
    ],
)
async def test_it_stops_at_its_limits_with_a_report(limits: Any, searches: int, reason: str) -> None:
    research, _, _, _ = built(**limits)
    result = await research.run(input=QUESTION)
    assert sum(taken["name"] == "search" for taken in result.steps) == searches
    assert result.reason == reason
    assert result.citations


@pytest.mark.parametrize(
    ("bad", "note"),
    [
        ({"plan": ""}, "the plan was no list"),
        ({"reflect": "These are fine passages."}, "could not be read"),
        ({"report": ""}, "the plain two-stage answer"),
        ({"report": "Nordwind [17] owns it [99]."}, "the plain two-stage answer"),
        ({"report": "Nordwind owns it [1], they say [17]."}, "were taken out"),
    ],
)
async def test_a_model_that_answers_badly_gets_by_and_it_is_said(bad: Any, note: str) -> None:
    research, _, _, _ = built(brain=Researcher(HOPS, bad=bad))
    result = await research.run(input=QUESTION)
    assert [note in each for each in result.notes] == [True]
    assert result.answer
    assert "[17]" not in result.answer
    assert all(1 <= number <= len(result.nodes) for number in result.citations)
    assert result.citations


async def test_what_a_later_round_finds_is_shown_before_what_was_rejected() -> None:
    research, _, _, server = built(max_passages=3)
    result = await research.run(input=QUESTION)
    assert [node.node_id for node in result.nodes] == ["owner", "founder", "born"]
    assert not any("[4]" in message["content"] for body in server.requests for message in body["messages"])


async def test_the_plain_answer_is_counted_and_cleaned_as_well() -> None:
    bad = {"report": "Nordwind owns it.", "plain": "Nordwind [17] owns it [1]."}
    research, _, _, server = built(brain=Researcher(HOPS, bad=bad))
    result = await research.run(input=QUESTION)
    assert result.answer == "Nordwind owns it [1]."
    assert FALSE_CITATIONS in result.notes
    assert result.steps[-1]["usage"]["input"] > 0
    assert len(server.requests) == sum(step["name"] != "search" for step in result.steps), "each call is a step"


async def test_nothing_new_and_nothing_at_all() -> None:
    research, _, _, _ = built(brain=Researcher({"Ulm": "who is the owner of the other plant: Oslo"}))
    assert (await research.run(input=QUESTION)).reason == "the last search found nothing new"
    research, _, _, _ = built()
    result = await research.run(input="What is the price of tea?")
    assert (result.nodes, result.citations, result.reason) == ([], [], "nothing was found")
    assert result.notes == [NO_PASSAGE]


async def test_a_run_that_is_cancelled_goes_on() -> None:
    research, finder, brain, _ = built()
    handler = research.run(input=QUESTION)
    async for event in handler.stream_events():
        if isinstance(event, StepEvent) and event.step["name"] == "search":
            await handler.cancel_run()
            break
    saved = json.dumps(handler.ctx.to_dict())
    with pytest.raises(WorkflowCancelledByUser):
        await handler
    again = research.run(ctx=Context.from_dict(research, json.loads(saved)))
    result = await again
    assert result.citations == [1, 2, 3]
    assert len(set(finder.asked)) == 4
    assert len(finder.asked) <= 6, "only the step that was cancelled is taken again"
    assert [name for name, _ in brain.asked].count("plan") == 1


async def test_one_step_at_a_time() -> None:
    research, finder, brain, _ = built(stepwise=True)
    handler = research.run(input=QUESTION)
    taken = []
    async for event in handler.stream_events():
        if isinstance(event, StepEvent):
            taken.append(event.step["name"])
            asked = len(brain.asked)
        if isinstance(event, PausedEvent):
            await asyncio.sleep(0.05)
            assert len(brain.asked) == asked, "it waits"
            handler.ctx.send_event(ContinueEvent())
    result = await handler
    assert taken == [step["name"] for step in result.steps]
    assert len(taken) == 10
    assert (len(finder.asked), len(brain.asked)) == (4, 7), "no step was taken twice"
    assert result.answer.endswith("[3].")


async def test_a_run_that_waits_is_kept_and_goes_on_elsewhere() -> None:
    research, finder, brain, _ = built(stepwise=True)
    handler = research.run(input=QUESTION)
    result = None
    for _ in range(20):
        async for event in handler.stream_events():
            if isinstance(event, PausedEvent):
                break
        else:
            result = await handler
            break
        saved = json.dumps(handler.ctx.to_dict())
        await handler.cancel_run()
        with pytest.raises(WorkflowCancelledByUser):
            await handler
        handler = research.run(ctx=Context.from_dict(research, json.loads(saved)))
        handler.ctx.send_event(ContinueEvent())
    assert result is not None
    assert result.citations == [1, 2, 3]
    assert (len(finder.asked), len(brain.asked)) == (4, 7), "no step was taken twice"


async def test_bad_arguments_are_refused() -> None:
    for wrong in ({"max_rounds": 0}, {"token_budget": 0}, {"max_queries": 0}, {"max_passages": 0}):
        with pytest.raises(ValueError, match="is out of range: at least 1"):
            built(**wrong)
    with pytest.raises(ValueError, match="the query is empty"):
        await built()[0].run(input=" ")
