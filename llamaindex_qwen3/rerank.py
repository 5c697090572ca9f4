"""Qwen3-Reranker as a LlamaIndex node postprocessor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr, model_validator
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
from llama_index_instrumentation import get_dispatcher
from typing_extensions import Self

from llamaindex_qwen3.server_fields import ServerFields, own_names
from qwen3_core.base import DType, Quantization, Reranker
from qwen3_core.choice import default_reranker_model, make_reranker
from qwen3_core.local import DEFAULT_MAX_LENGTH, DEFAULT_RERANKER_MODEL, LocalReranker
from qwen3_core.prompts import DEFAULT_INSTRUCTION
from qwen3_core.remote import RemoteReranker

RETRIEVAL_SCORE = "retrieval_score"
"""The metadata key of a kept node under which the score that it came with is found."""

_ENGINE_FIELDS = {
    "model", "instruction", "max_length", "device", "dtype", "quantization", "batch_tokens", "revision", "cache_folder"
}  # fmt: skip
_MEDIA = ("image", "image_path", "image_url", "image_resource", "audio_resource", "video_resource")

dispatcher = get_dispatcher(__name__)


class Qwen3Rerank(ServerFields, BaseNodePostprocessor):
    """Order nodes by the probability that Qwen3-Reranker calls them relevant, and keep the best.

    ```python
    reranker = Qwen3Rerank(model="mini", top_n=3)
    reranker = Qwen3Rerank(api_base="http://127.0.0.1:8001/v1", server="vllm")
    reranker.postprocess_nodes(nodes, query_str="How is data stored?")
    ```

    The nodes that come back are copies, best first, with the probability in `NodeWithScore.score`; the nodes
    given are not changed. Equal scores keep their order. The score of the retrieval stays in
    ``metadata["retrieval_score"]``, or that of the first retrieval if rerankers follow each other. The key is
    excluded from the text for embedding models and LLMs, so that no prompt shows it; only
    ``get_content(MetadataMode.ALL)``, which shows all there is, does.

    The weights are loaded on first use; calls from several threads are safe, and async calls wait for each
    other without holding a thread each.
    """

    # The message of a refused argument must not print the others: the key is among them.
    model_config = ConfigDict(extra="forbid", validate_assignment=True, hide_input_in_errors=True)

    model: str = Field(default=DEFAULT_RERANKER_MODEL, frozen=True)
    """A hub name, a local folder, or "mini" (in this package, for trying and tests, not for production); with a server
    the name that it has there, "qwen3-rerank" with DashScope if none is given."""

    instruction: str = DEFAULT_INSTRUCTION
    """What makes a node relevant, in one English sentence."""

    top_n: int | None = Field(default=3, ge=1)
    """How many nodes are kept at most; None keeps all."""

    score_threshold: float | None = Field(default=None, ge=0, le=1)
    """Nodes with a lower score are dropped; None drops none."""

    metadata_mode: MetadataMode = MetadataMode.EMBED
    """Which metadata is judged with the text. EMBED is what the retrieval has searched, so that both stages see
    the same document; LLM is what the answer will be written from, NONE the bare text."""

    max_length: int = Field(default=DEFAULT_MAX_LENGTH, ge=2, frozen=True)
    """Tokens of one prompt at most; a longer node loses its end, on a server if `truncation` says so; the query
    never."""

    device: str | None = Field(default=None, frozen=True)
    """A torch device; None takes CUDA, then MPS, then the CPU."""

    dtype: DType = Field(default="auto", frozen=True)
    """"auto" is bfloat16 where the hardware has it and float32 elsewhere and for "mini", never float16."""

    quantization: Quantization | None = Field(default=None, frozen=True)
    """"int8" rounds to 8 bits for the products of a CPU: faster, half the memory, less exact."""

    batch_tokens: int | None = Field(default=None, ge=1, frozen=True)
    """Tokens in one forward pass or request at most. None is 1,024 on a CPU, 16,384 elsewhere, or what a server
    takes."""

    revision: str | None = Field(default=None, frozen=True)
    """Branch, tag or commit on the hub."""

    cache_folder: str | None = Field(default=None, frozen=True)
    """Where downloads are kept; None is the hub library's own cache."""

    _reranker: Reranker = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _name_model(cls, values: Any) -> Any:
        """Take DashScope's own model where it is the server and none is named."""
        if not isinstance(values, Mapping) or values.get("model") is not None:
            return values
        return {**values, "model": default_reranker_model(values.get("api_base"), values.get("server", "auto"))}

    def model_post_init(self, _context: Any, /) -> None:
        """Make the engine or the client; nothing is loaded and nobody is asked yet."""
        self._reranker = make_reranker(self._arguments(_ENGINE_FIELDS), url_argument="api_base")

    @classmethod
    def class_name(cls) -> str:
        """Return the name that serialised forms carry."""
        return "Qwen3Rerank"

    @classmethod
    def from_reranker(cls, reranker: LocalReranker | RemoteReranker, **kwargs: Any) -> Self:
        """Return a postprocessor that uses a ready engine or client, so that both frameworks can share it.

        A pickled copy is made from the engine's settings and loads weights of its own.

        Args:
            reranker: The engine.
            **kwargs: The fields that are not the engine's: `top_n`, `score_threshold`, `metadata_mode`,
                `callback_manager`.
        """
        made = cls(**own_names(reranker.settings, cls.model_fields), **kwargs)
        made._reranker = reranker
        return made

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy; it shares the weights unless what is changed is for the engine."""
        made = super().model_copy(update=update, deep=deep)
        if set(update or ()) & ({*_ENGINE_FIELDS, *ServerFields.model_fields} - {"instruction"}):
            made.model_post_init(None)
        return made

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        """Return copies of the best nodes, best first.

        Raises:
            ValueError: If there is no query, it is blank or too long for `max_length`, or a node has an image,
                audio or video and no text.
            OSError: If the model cannot be found or fetched, or a server fails (`qwen3_core.ServerError`).
        """
        query, texts = _require_query(query_bundle), self._texts(nodes)
        with self._events(query, nodes) as kept:
            kept += self._keep(nodes, self._reranker.score(query, texts, instruction=self.instruction))
        return kept

    @dispatcher.span
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        """Rerank without blocking the event loop; see `_postprocess_nodes`."""
        query, texts = _require_query(query_bundle), self._texts(nodes)
        with self._events(query, nodes) as kept:
            kept += self._keep(nodes, await self._reranker.ascore(query, texts, instruction=self.instruction))
        return kept

    @contextmanager
    def _events(self, query: str, nodes: list[NodeWithScore]) -> Iterator[list[NodeWithScore]]:
        """Announce start and end, the end also after an error; the caller fills the list with what is kept."""
        kept: list[NodeWithScore] = []
        # The event wants a number where we have "all".
        top_n = len(nodes) if self.top_n is None else self.top_n
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: self.model,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: top_n,
        }
        dispatcher.event(ReRankStartEvent(query=query, nodes=nodes, top_n=top_n, model_name=self.model))
        try:
            with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
                yield kept
                event.on_end(payload={EventPayload.NODES: kept})
        finally:
            dispatcher.event(ReRankEndEvent(nodes=kept))

    def _texts(self, nodes: Sequence[NodeWithScore]) -> list[str]:
        return [_text(item.node, position, self.metadata_mode) for position, item in enumerate(nodes)]

    def _keep(self, nodes: Sequence[NodeWithScore], scores: Sequence[float]) -> list[NodeWithScore]:
        order = sorted(range(len(scores)), key=lambda index: -scores[index])[: self.top_n]
        return [
            nodes[index].model_copy(update={"node": _copy(nodes[index]), "score": scores[index]})
            for index in order
            if self.score_threshold is None or scores[index] >= self.score_threshold
        ]


def _require_query(query_bundle: QueryBundle | None) -> str:
    if query_bundle is None or not query_bundle.query_str.strip():
        msg = "the query is missing: pass query_str, or a query_bundle with a text"
        raise ValueError(msg)
    return query_bundle.query_str


def _text(node: BaseNode, position: int, mode: MetadataMode) -> str:
    """Return what is judged; an empty text is a text, but an image without one would be judged as if it were blank."""
    text = node.get_content(metadata_mode=mode)
    if not text.strip() and any(getattr(node, name, None) for name in _MEDIA):
        msg = (
            f"node {position} ({node.node_id}) has media and no text: the reranker reads text. Filter such nodes "
            "out before it, or give them a text"
        )
        raise ValueError(msg)
    return text


def _copy(item: NodeWithScore) -> BaseNode:
    """Copy a node with containers of its own, and with the score that it came with where no prompt shows it."""
    node = item.node
    changes: dict[str, Any] = {"metadata": dict(node.metadata), "relationships": dict(node.relationships)}
    if item.score is not None:
        changes["metadata"].setdefault(RETRIEVAL_SCORE, item.score)
        for name in ("excluded_llm_metadata_keys", "excluded_embed_metadata_keys"):
            changes[name] = list(dict.fromkeys([*getattr(node, name), RETRIEVAL_SCORE]))
    return node.model_copy(update=changes)
