"""How a collection remembers which embedding made it, and how a text gets its id.

Vectors of two models lie in different spaces: a search across them answers, wrongly and without an error. So
a collection keeps the identity of its embedding as JSON in a collection property. The schema's description
would be the obvious place, but Milvus Lite 3.2.2 forgets it at once; properties survive a reopening and
`milvus-lite server`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from qwen3_core.milvus.errors import EmbeddingMismatchError

IDENTITY_PROPERTY = "qwen3_rag.embedding"
"""The collection property that holds the identity as JSON."""

_OUR_ATTRIBUTES = ("model", "dimensions", "revision", "max_length")


@dataclass(frozen=True)
class EmbeddingIdentity:
    """What decides the vectors of a document.

    The query instruction is absent on purpose: it changes queries, never stored vectors.

    Attributes:
        kind: "qwen3" for this project's embeddings in any framework, otherwise the class's name.
        model: the model's name, or None where the embedding does not tell.
        dimensions: what was asked for; None is the model's full size.
        revision: the model's revision.
        max_length: tokens after which a document is cut.
    """

    kind: str
    model: str | None = None
    dimensions: int | None = None
    revision: str | None = None
    max_length: int | None = None

    @classmethod
    def of(cls, embedding: object) -> EmbeddingIdentity:
        """Read the identity from an embedding's attributes; no model is loaded and nothing is embedded.

        Args:
            embedding: one of this project's (recognised by its attributes `model`, `dimensions`, `revision`
                and `max_length`), or any other, of which the class name, `model` or `model_name`, and
                `dimensions` are read.

        Returns:
            The identity.
        """
        if all(hasattr(embedding, name) for name in _OUR_ATTRIBUTES):
            values: dict[str, Any] = {name: getattr(embedding, name) for name in _OUR_ATTRIBUTES}
            return cls("qwen3", **values)
        model = getattr(embedding, "model", None) or getattr(embedding, "model_name", None)
        dimensions = getattr(embedding, "dimensions", None)
        return cls(
            type(embedding).__name__,
            model if isinstance(model, str) else None,
            dimensions if isinstance(dimensions, int) else None,
        )

    def to_json(self) -> str:
        """Return the form that `from_json` reads."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> EmbeddingIdentity:
        """Read what `to_json` wrote, also by a later version with more keys.

        Raises:
            ValueError: `text` is no identity.
        """
        fields = json.loads(text)
        if not isinstance(fields, dict) or not isinstance(fields.get("kind"), str):
            msg = f"not an embedding identity: {text[:80]!r}"
            raise ValueError(msg)
        return cls(fields["kind"], *(fields.get(name) for name in _OUR_ATTRIBUTES))

    def describe(self, vector_size: int | None = None) -> str:
        """Return one line for people."""
        size = vector_size or self.dimensions
        parts = [
            f"{self.model or self.kind}",
            f"{size} dimensions" if size else "full dimensions",
            *([f"revision {self.revision}"] if self.revision else []),
            *([f"max_length {self.max_length}"] if self.max_length else []),
        ]
        return ", ".join(parts) + (f" ({self.kind})" if self.model else "")


def check_identity(stored: EmbeddingIdentity, stored_size: int, given: EmbeddingIdentity, *, collection: str) -> bool:
    """Refuse an embedding that did not make the collection.

    Args:
        stored: the collection's identity.
        stored_size: the length of its vectors.
        given: the identity of the embedding at hand.
        collection: the collection's name, for the message.

    Returns:
        Whether the names settle it. If not (one side asked for a number of dimensions and the other for
        "all", or the embedding names no model), the caller has to compare the length of one vector.

    Raises:
        EmbeddingMismatchError: they differ.
    """
    names = ("kind", "model", "revision", "max_length")
    same = all(getattr(stored, name) == getattr(given, name) for name in names)
    if not same or given.dimensions not in {None, stored_size}:
        raise mismatch(collection, stored.describe(stored_size), given.describe())
    if given.dimensions is not None:
        return True
    return stored.dimensions is None and given.model is not None


def mismatch(collection: str, stored: str, given: str) -> EmbeddingMismatchError:
    """Build the error that names both embeddings and says what to do."""
    return EmbeddingMismatchError(
        f"Collection {collection!r} was made by {stored}; the embedding given is {given}. Their vectors "
        "cannot be compared. Use the embedding that made it, another collection_name=, or drop_old=True to "
        "delete the collection and index again. Nothing was written."
    )


def content_id(text: str, metadata: Mapping[str, Any] | None = None) -> str:
    """Return the id of a text: the same content has the same id, in every process and on every machine.

    All metadata counts, not only the source: two tenants may store the same sentence, and neither may lose
    it.

    Args:
        text: the text.
        metadata: JSON values; the order of keys does not matter.

    Returns:
        64 hexadecimal digits (SHA-256).
    """
    canonical = json.dumps([text, dict(metadata or {})], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
