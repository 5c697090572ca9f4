"""The published contracts can fail: each fault that was found in other packages is caught by its check."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import openai
import pytest
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, LLMMetadata
from llama_index.core.instrumentation.events.embedding import EmbeddingStartEvent
from llama_index.core.instrumentation.events.rerank import ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from llama_index_instrumentation import get_dispatcher
from pydantic import ConfigDict, Field

from llamaindex_qwen3.embeddings import Qwen3Embedding
from llamaindex_qwen3.llm_output import ReplyReader, reasoning_in
from llamaindex_qwen3.llms import Qwen3
from llamaindex_qwen3.rerank import Qwen3Rerank
from llamaindex_qwen3.testing.chat_server import ScriptedChatServer
from llamaindex_qwen3.testing.embedding import EmbeddingContract
from llamaindex_qwen3.testing.llm import SAID, THOUGHT, ThinkingLLMContract
from llamaindex_qwen3.testing.rerank import RerankContract
from qwen3_core.think_tags import ThinkState


class RawCache(Qwen3Embedding):
    """The framework's own cache."""

    def _caching(self, side: Any) -> Any:
        return self


class NoCache(Qwen3Embedding):
    """A cache that is accepted and not used."""

    def _caching(self, side: Any) -> Any:
        return self.model_copy(update={"embeddings_cache": None})


class DroppedPrompt(Qwen3Embedding):
    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


class ThreadPerBatch(Qwen3Embedding):
    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)


class Blocking(Qwen3Embedding):
    async def _aget_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embedding(text)


class LoopBound(Qwen3Embedding):
    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        async with LOOP_LOCK:
            return await super()._aget_text_embeddings(texts)


LOOP_LOCK = asyncio.Lock()


class HiddenDimensions(Qwen3Embedding):
    dimensions: int | None = Field(default=None, exclude=True)


class EventsAgain(Qwen3Embedding):
    def _get_query_embedding(self, query: str) -> list[float]:
        get_dispatcher(__name__).event(EmbeddingStartEvent(model_dict={}))
        return super()._get_query_embedding(query)


class LenientEmbedding(Qwen3Embedding):
    model_config = ConfigDict(extra="ignore")


class Mutating(Qwen3Rerank):
    """Scores and a visible retrieval score are written into the caller's nodes."""

    def _keep(self, nodes: Any, scores: Any) -> list[NodeWithScore]:
        for item, score in zip(nodes, scores, strict=True):
            item.node.metadata["retrieval_score"] = item.score
            item.score = score
        return sorted(nodes, key=lambda item: -item.score)[: self.top_n]


class NoEndWithoutNodes(Qwen3Rerank):
    def _postprocess_nodes(self, nodes: Any, query_bundle: QueryBundle | None = None) -> list[NodeWithScore]:
        if not nodes:
            get_dispatcher(__name__).event(ReRankStartEvent(query=None, nodes=[], top_n=1, model_name="m"))
            return []
        return super()._postprocess_nodes(nodes, query_bundle)


class NoQueryNoWord(Qwen3Rerank):
    def _postprocess_nodes(self, nodes: Any, query_bundle: QueryBundle | None = None) -> list[NodeWithScore]:
        return super()._postprocess_nodes(nodes, query_bundle) if query_bundle else nodes


class ThreadPerCall(Qwen3Rerank):
    async def _apostprocess_nodes(self, nodes: Any, query_bundle: QueryBundle | None = None) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._postprocess_nodes, nodes, query_bundle)


class BlockingRerank(Qwen3Rerank):
    async def _apostprocess_nodes(self, nodes: Any, query_bundle: QueryBundle | None = None) -> list[NodeWithScore]:
        return self._postprocess_nodes(nodes, query_bundle)


class FixedMode(Qwen3Rerank):
    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        self.__dict__["metadata_mode"] = MetadataMode.EMBED


class Short(Qwen3Rerank):
    max_length: int = 512


class LenientRerank(Qwen3Rerank):
    model_config = ConfigDict(extra="ignore")


class Sticky(Qwen3):
    """What the constructor says beats what a call says, and a call's wish stays."""

    def _chat(self, messages: Any, call: Any) -> ChatResponse:
        self.enable_thinking = call.get("enable_thinking", self.enable_thinking)
        return super()._chat(messages, call)


class Unparted(Qwen3):
    """Tags stay in streamed answers."""

    def _reader(self, request: Any) -> ReplyReader:
        reader = super()._reader(request)
        reader._reader._state = ThinkState("answer")
        return reader


class AnswerOnly(Qwen3):
    """Reasoning that the server parted from the answer is lost."""

    def _reader(self, request: Any) -> ReplyReader:
        reader = super()._reader(request)
        reader._add = lambda reasoning, answer: ReplyReader._add(reader, "", answer)  # type: ignore[method-assign]
        return reader


class SmallWindow(Qwen3):
    @property
    def metadata(self) -> LLMMetadata:
        return super().metadata.model_copy(update={"context_window": 3900})


class OpenKey(Qwen3):
    def __repr__(self) -> str:
        return f"OpenKey({self.api_key.get_secret_value()})"

    __str__ = __repr__


class Hushed(Qwen3):
    """A failed request is an empty answer."""

    def _chat(self, messages: Any, call: Any) -> ChatResponse:
        try:
            return super()._chat(messages, call)
        except openai.OpenAIError:
            return ChatResponse(message=ChatMessage(""))


class HistoryAsText(Qwen3):
    """Old reasoning is sent as text."""

    def _chat(self, messages: Any, call: Any) -> ChatResponse:
        texts = [f"{reasoning_in(message)}{message.content}" for message in messages]
        told = [ChatMessage(text, role=each.role) for text, each in zip(texts, messages, strict=True)]
        return super()._chat(told, call)


def llm_contract(made: type[Qwen3]) -> ThinkingLLMContract:
    class Contract(ThinkingLLMContract):
        def make(self, url: str, **kwargs: Any) -> Qwen3:
            return made(api_base=url, max_retries=0, **kwargs)

    return Contract()


def embedding_contract(made: type[BaseEmbedding]) -> EmbeddingContract:
    class Contract(EmbeddingContract):
        embedding_class = made
        params: ClassVar[dict[str, Any]] = {"model_name": "mini"}
        smaller: ClassVar[dict[str, Any]] = {"dimensions": 64}
        other_instruction: ClassVar[dict[str, Any]] = {"instruction": "Find the code that does this"}

    return Contract()


def rerank_contract(made: type[BaseNodePostprocessor]) -> RerankContract:
    class Contract(RerankContract):
        rerank_class = made
        params: ClassVar[dict[str, Any]] = {"model": "mini"}
        other_instruction: ClassVar[dict[str, Any]] = {"instruction": "Find the text about animals"}

    return Contract()


def fails(check: Callable[[], None]) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception, RuntimeError)):
        check()


@pytest.mark.parametrize(
    ("made", "check"),
    [
        (RawCache, "cache_keeps_queries_and_documents_apart"),
        (RawCache, "cache_keeps_dimensions_apart"),
        (RawCache, "cache_keeps_instructions_apart"),
        (NoCache, "cache_answers_the_second_time"),
        (DroppedPrompt, "queries_and_documents_differ"),
        (DroppedPrompt, "instruction_changes_queries_only"),
        (ThreadPerBatch, "async_batches_do_not_crowd_the_model"),
        (Blocking, "async_leaves_the_event_loop_free"),
        (LoopBound, "async_in_other_event_loops"),
        (HiddenDimensions, "pipeline_cache_sees_dimensions"),
        (EventsAgain, "events_once_per_request"),
        (LenientEmbedding, "unknown_arguments_are_refused"),
    ],
)
def test_the_embedding_contract_catches(made: type[Qwen3Embedding], check: str) -> None:
    getattr(embedding_contract(Qwen3Embedding), f"test_{check}")()
    fails(getattr(embedding_contract(made), f"test_{check}"))


@pytest.mark.parametrize(
    ("made", "check"),
    [
        (Mutating, "nodes_given_are_not_changed"),
        (Mutating, "scores_do_not_reach_prompts"),
        (Mutating, "score_threshold"),
        (NoEndWithoutNodes, "events_balance_without_nodes"),
        (NoQueryNoWord, "missing_query_is_refused"),
        (ThreadPerCall, "async_calls_do_not_crowd_the_model"),
        (BlockingRerank, "async_leaves_the_event_loop_free"),
        (FixedMode, "metadata_mode"),
        (Short, "long_documents_are_read"),
        (LenientRerank, "unknown_arguments_are_refused"),
    ],
)
def test_the_rerank_contract_catches(made: type[Qwen3Rerank], check: str) -> None:
    getattr(rerank_contract(Qwen3Rerank), f"test_{check}")()
    fails(getattr(rerank_contract(made), f"test_{check}"))


@pytest.mark.parametrize(
    ("made", "check", "more"),
    [
        (Sticky, "a_call_does_not_change_the_instance", {}),
        (Unparted, "think_tags_split_into_characters", {}),
        (Unparted, "predict_is_free_of_reasoning", {}),
        (AnswerOnly, "chat_has_a_thinking_block", {}),
        (AnswerOnly, "streams_have_thinking_deltas", {"asynchronous": True}),
        (AnswerOnly, "complete_keeps_the_reasoning", {"asynchronous": False}),
        (SmallWindow, "the_context_window_of_a_known_model", {}),
        (OpenKey, "the_key_is_in_no_repr", {}),
        (Hushed, "an_error_raises_with_the_servers_message", {"method": "chat", "status": 400}),
        (HistoryAsText, "reasoning_of_the_history_is_not_sent_as_text", {}),
    ],
)
def test_the_llm_contract_catches(made: type[Qwen3], check: str, more: dict[str, Any]) -> None:
    for kind, run in ((Qwen3, lambda call: call()), (made, fails)):
        with ScriptedChatServer(reasoning=THOUGHT, content=SAID) as server:
            method = getattr(llm_contract(kind), f"test_{check}")
            run(functools.partial(method, server, **more))


@pytest.mark.parametrize("check", ["shorter_vectors", "instruction_changes_queries_only"])
def test_what_cannot_be_asked_for_fails_and_is_not_skipped(check: str) -> None:
    class Bare(EmbeddingContract):
        embedding_class = Qwen3Embedding
        params: ClassVar[dict[str, Any]] = {"model_name": "mini"}

    with pytest.raises(AssertionError, match="there is no way"):
        getattr(Bare(), f"test_{check}")()
