"""Embedders and rerankers as the `mteb` package wants them: `pip install "qwen3-rag[local]" mteb`.

```python
import mteb
from qwen3_core import LocalEmbedder, LocalReranker
from qwen3_core.evaluation.mteb import MtebEmbedder, MtebReranker

mteb.evaluate(MtebEmbedder.of(LocalEmbedder("Qwen/Qwen3-Embedding-0.6B")), mteb.get_tasks(tasks=["SciFact"]))
```

The protocols are `EncoderProtocol` and `CrossEncoderProtocol` of `mteb/models/models_protocols.py`, mteb 2.26.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from qwen3_core.base import Embedder, Reranker
from qwen3_core.instructions import SIMILARITY, TRANSLATION
from qwen3_core.local import LocalEmbedder, LocalReranker
from qwen3_core.prompts import format_query

if TYPE_CHECKING:
    import numpy as np
    import torch
    from typing_extensions import Self

RETRIEVAL = "Retrieval relevant passage for the given query."
"""For retrieval that names no instruction, as in `evaluation/qwen3_embedding_model.py` of QwenLM/Qwen3-Embedding."""

_SEARCHES = ("Retrieval", "Reranking")
_OF_TYPE = {"STS": SIMILARITY, "PairClassification": SIMILARITY, "BitextMining": TRANSLATION}

_Batches = Iterable[Mapping[str, Any]]
_Model = TypeVar("_Model", Embedder, Reranker)


def task_instruction(task: Any, instructions: Mapping[str, Any] | None = None, *, document: bool = False) -> str:
    """Return what texts of a task are for, found as the models' authors found it; empty where they go as they are.

    Similarity and translation have one sentence for all their tasks. Others take that of `instructions`, or the task's
    own prompt, and retrieval without either a general one. Documents that are searched take none, except in tasks
    whose entry names one for them: `{"query": ..., "passage": ...}`, as for arguments against an argument.

    Args:
        task: The task's `TaskMetadata`.
        instructions: Instructions by task name: what `evaluation/task_prompts.json` of QwenLM/Qwen3-Embedding holds.
        document: Whether the texts are what is searched.
    """
    kind = str(task.type)
    if kind in _OF_TYPE:
        return _OF_TYPE[kind]
    own = (instructions or {}).get(task.name)
    if document:
        return str(own.get("passage", "")) if isinstance(own, Mapping) else ""
    for found in (own, task.prompt):
        text = found.get("query") if isinstance(found, Mapping) else found
        if text:
            return str(text)
    return RETRIEVAL if any(word in kind for word in _SEARCHES) else ""


class _MtebModel(Generic[_Model]):
    """What `mteb` wants of any model: a name to file results under, and the tasks' instructions."""

    _model: _Model
    _kind: ClassVar[str]
    _similarity: ClassVar[str | None] = None

    def _set(self, model: _Model, name: str, revision: str | None, instructions: Mapping[str, Any] | None) -> None:
        self._model, self._name, self._revision = model, name, revision
        self._instructions = instructions

    @classmethod
    def of(
        cls,
        model: _Model,
        *,
        name: str | None = None,
        revision: str | None = None,
        instructions: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return one of a model that there is, local or on a server; results are kept under `name`."""
        made = cls.__new__(cls)
        made._set(model, name or _name(model), revision, instructions)
        return made

    @property
    def mteb_model_meta(self) -> Any:
        """What mteb files the results under."""
        return _meta(self._name, self._revision, similarity=self._similarity, kind=self._kind)


class MtebEmbedder(_MtebModel[Embedder]):
    """An embedder that `mteb.evaluate` takes.

    Texts carry the task's instruction, except documents that are searched; see `task_instruction`.

    Args:
        model_name: A hub name, a folder or "mini".
        revision: Branch, tag or commit on the hub.
        device: A torch device.
        instructions: Instructions by task name; see `task_instruction`.
        **options: More arguments of `LocalEmbedder`.
    """

    _kind, _similarity = "dense", "cosine"

    def __init__(
        self,
        model_name: str,
        revision: str | None = None,
        *,
        device: str | None = None,
        instructions: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        made = LocalEmbedder(model_name, revision=revision, device=device, **options)
        self._set(made, model_name, revision, instructions)

    def encode(
        self,
        inputs: _Batches,
        *,
        task_metadata: Any,
        hf_split: str,  # noqa: ARG002 - the protocol
        hf_subset: str,  # noqa: ARG002
        prompt_type: Any = None,
        **_: Any,
    ) -> np.ndarray[Any, Any]:
        """Embed the texts of all batches, as unit vectors in float32."""
        import numpy as np

        texts = _texts(inputs)
        document = getattr(prompt_type, "value", prompt_type) == "document"
        task = task_instruction(task_metadata, self._instructions, document=document)
        # By batch, and not as queries one by one: it is faster, and tasks have blank texts.
        vectors = self._model.embed_batch([format_query(text, task) if task else text for text in texts])
        return np.asarray(vectors, dtype=np.float32)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Return the cosine of each pair: rows of the first by rows of the second."""
        first, second = _matrix(embeddings1), _matrix(embeddings2)
        return first @ second.T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Return the cosine of the first with the first, the second with the second, and so on."""
        return (_matrix(embeddings1) * _matrix(embeddings2)).sum(-1)


class MtebReranker(_MtebModel[Reranker]):
    """A reranker that `mteb.evaluate` takes for reranking tasks.

    Args:
        model_name: A hub name, a folder or "mini".
        revision: Branch, tag or commit on the hub.
        device: A torch device.
        instructions: Instructions by task name; see `task_instruction`. Without one, the reranker's own.
        **options: More arguments of `LocalReranker`.
    """

    _kind = "cross-encoder"

    def __init__(
        self,
        model_name: str,
        revision: str | None = None,
        device: str | None = None,
        *,
        instructions: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        made = LocalReranker(model_name, revision=revision, device=device, **options)
        self._set(made, model_name, revision, instructions)

    def predict(
        self,
        inputs1: _Batches,
        inputs2: _Batches,
        *,
        task_metadata: Any,
        hf_split: str,  # noqa: ARG002 - the protocol
        hf_subset: str,  # noqa: ARG002
        prompt_type: Any = None,  # noqa: ARG002
        **_: Any,
    ) -> np.ndarray[Any, Any]:
        """Score pairs; the documents of one query, which follow each other, are scored together."""
        import numpy as np

        task = task_instruction(task_metadata, self._instructions)
        task = self._model.instruction if task in ("", RETRIEVAL) else task
        scores: list[float] = []
        pairs = zip(_texts(inputs1), _texts(inputs2), strict=True)
        for query, group in groupby(pairs, key=lambda pair: pair[0]):
            scores += self._model.score(query, [document for _, document in group], instruction=task)
        return np.asarray(scores, dtype=np.float32)


def _texts(batches: _Batches) -> list[str]:
    return [text for batch in batches for text in batch["text"]]


def _matrix(embeddings: Any) -> torch.Tensor:
    import numpy as np
    import torch

    return torch.nn.functional.normalize(torch.as_tensor(np.atleast_2d(np.asarray(embeddings, np.float32))), dim=-1)


def _name(model: Any) -> str:
    return str(getattr(model, "settings", {}).get("model") or type(model).__name__)


def _meta(name: str, revision: str | None, *, similarity: str | None, kind: str) -> Any:
    from mteb.models.model_meta import ModelMeta, ScoringFunction

    known = (
        name if name.count("/") == 1 and not name.startswith(("/", ".")) else f"local/{name.rstrip('/').split('/')[-1]}"
    )
    return ModelMeta.create_empty(
        {
            "name": known,
            "revision": revision or "qwen3-rag",
            "model_type": [kind],
            "use_instructions": True,
            "framework": ["PyTorch"],
            "similarity_fn_name": ScoringFunction(similarity) if similarity else None,
        }
    )
