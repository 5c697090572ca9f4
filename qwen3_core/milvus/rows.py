"""What may be written to a Milvus collection, checked before anything is embedded or written."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from qwen3_core.milvus.filters import PRIMARY_FIELD, TEXT_FIELD
from qwen3_core.milvus.identity import content_id

VECTOR_FIELD = "vector"
"""The dense vector's field, the name that langchain-milvus uses."""

SPARSE_FIELD = "sparse"
"""The field of the BM25 vector in a hybrid collection, the name that langchain-milvus uses."""

RESERVED_FIELDS = frozenset({PRIMARY_FIELD, TEXT_FIELD, VECTOR_FIELD, SPARSE_FIELD, "$meta"})
"""Names that metadata must not have: a row is one flat mapping, and metadata would overwrite the content."""

NODE_FIELDS = frozenset({"_node_content", "_node_type", "document_id", "doc_id", "ref_doc_id"})
"""What LlamaIndex stores beside a node's metadata (`node_to_metadata_dict` of llama-index-core 0.14)."""

MAX_TEXT_BYTES = 65_535
"""The longest VARCHAR of a server, in UTF-8 bytes. Milvus Lite 3.2.2 counts characters and takes more, and
such a collection could not move to a server."""

MAX_ID_BYTES = 512
"""Ids are keys; a SHA-256 has 64. The bound keeps a query for a thousand ids under a megabyte."""

_MAX_INT = 2**63 - 1


class Rows:
    """The checked input of one write: texts, metadata, and a primary key for each.

    Args:
        texts: the contents.
        metadatas: one mapping of JSON values per text, or None.
        ids: one per text, or None; None among them makes the hash of text and metadata.

    Attributes:
        keys: the primary keys, in the order of the texts.
        made: those keys that are hashes made here.
        first: key -> number of the first text that has it; what stands twice in a call is written once.

    Raises:
        TypeError: a text is no string, or metadata holds something that is no JSON value.
        ValueError: lengths differ, `check_row` refuses a row, or an id stands for two different texts.
    """

    def __init__(
        self,
        texts: list[str],
        metadatas: Sequence[Mapping[str, Any]] | None,
        ids: Sequence[str | None] | None,
    ) -> None:
        self.texts = texts
        self.metadatas: Sequence[Mapping[str, Any]] = [{}] * len(texts) if metadatas is None else metadatas
        given: Sequence[str | None] = [None] * len(texts) if ids is None else ids
        if not len(texts) == len(self.metadatas) == len(given):
            msg = f"{len(texts)} texts, {len(self.metadatas)} metadatas and {len(given)} ids: pass one for each."
            raise ValueError(msg)
        for index, (text, metadata, id_) in enumerate(zip(texts, self.metadatas, given, strict=True)):
            check_row(text, metadata, id_, row=index)
        self.keys = [
            id_ or content_id(text, metadata) for id_, text, metadata in zip(given, texts, self.metadatas, strict=True)
        ]
        self.made = {key for key, id_ in zip(self.keys, given, strict=True) if not id_}
        self.first: dict[str, int] = {}
        for index, key in enumerate(self.keys):
            earlier = self.first.setdefault(key, index)
            same = (texts[earlier], self.metadatas[earlier]) == (texts[index], self.metadatas[index])
            if not same and key not in self.made:
                msg = f"Documents {earlier} and {index} have the id {key!r} and differ."
                raise ValueError(msg)

    def row(self, index: int, vector: Sequence[float]) -> dict[str, Any]:
        """Return what Milvus takes; metadata is copied, never changed."""
        own = {PRIMARY_FIELD: self.keys[index], TEXT_FIELD: self.texts[index], VECTOR_FIELD: list(vector)}
        return {**self.metadatas[index], **own}


def metadata_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's metadata as the one who wrote it gave it, in whichever framework."""
    hidden = RESERVED_FIELDS | NODE_FIELDS if "_node_content" in row else RESERVED_FIELDS
    return {key: value for key, value in row.items() if key not in hidden}


def check_row(
    text: str,
    metadata: Mapping[str, Any],
    id_: str | None,
    *,
    row: int,
    reserved: Collection[str] = RESERVED_FIELDS,
) -> None:
    """Refuse a row that Milvus would reject, cut or return changed.

    Args:
        text: the content.
        metadata: the metadata.
        id_: the primary key, or None where one will be made.
        row: the row's number in the call, from 0, for the message.
        reserved: names that metadata must not have.

    Raises:
        TypeError: the text is no string, or metadata holds something that is no JSON value.
        ValueError: the text or the id is too long, a metadata key is reserved, or a number cannot be stored.
    """
    where = f"Document {row}"
    if not isinstance(text, str):
        msg = f"{where}: the text is a {type(text).__name__}, not a string."
        raise TypeError(msg)
    _check_size(text, MAX_TEXT_BYTES, f"{where}: the text", "Split it into smaller chunks.")
    if id_ is not None:
        if not isinstance(id_, str) or not id_:
            msg = f"{where}: the id is {id_!r}, not a string with at least one character."
            raise TypeError(msg)
        _check_size(id_, MAX_ID_BYTES, f"{where}: the id", "Use a hash of it.")
    taken = sorted(set(metadata) & set(reserved))
    if taken:
        msg = f"{where}: the metadata key {taken[0]!r} is a field of the collection. Rename the key."
        raise ValueError(msg)
    _check_json(metadata, f"{where}: metadata")


def check_vectors(vectors: Sequence[Sequence[float]], count: int) -> int:
    """Refuse what an embedding must not give back (Milvus Lite 3.2.2 stores NaN without a word).

    Args:
        vectors: one vector per text.
        count: how many texts were embedded.

    Returns:
        The length of the vectors.

    Raises:
        ValueError: a vector is missing or empty, two differ in length, or a component is not finite.
    """
    if len(vectors) != count:
        msg = f"The embedding gave {len(vectors)} vectors for {count} texts."
        raise ValueError(msg)
    sizes = {len(vector) for vector in vectors}
    if len(sizes) != 1 or 0 in sizes:
        msg = f"The embedding gave vectors of {sorted(sizes)} dimensions; one length above 0 is needed."
        raise ValueError(msg)
    if not all(math.isfinite(sum(vector)) for vector in vectors):
        msg = "The embedding gave a vector with a component that is not finite (NaN or infinity)."
        raise ValueError(msg)
    return sizes.pop()


def _check_unicode(text: str, what: str) -> int:
    """Return the length in UTF-8 bytes."""
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        msg = f"{what} is not valid Unicode (a lone surrogate at character {error.start})."
        raise ValueError(msg) from error


def _check_size(text: str, limit: int, what: str, advice: str) -> None:
    size = _check_unicode(text, what)
    if size > limit:
        msg = f"{what} has {size:,} bytes in UTF-8, and Milvus takes at most {limit:,}. {advice}"
        raise ValueError(msg)


def _check_json(value: Any, where: str) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        _check_unicode(value, where)  # Lite would store it, and fail in every filter on that key from then on
    elif isinstance(value, (int, float)):
        _check_number(value, where)
    elif isinstance(value, Mapping):
        for key, member in value.items():
            if not isinstance(key, str):
                msg = f"{where}: the key {key!r} is a {type(key).__name__}, not a string."
                raise TypeError(msg)
            _check_unicode(key, f"{where}: a key")
            _check_json(member, f"{where}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, member in enumerate(value):
            _check_json(member, f"{where}[{index}]")
    else:
        msg = f"{where}: a {type(value).__name__} is no JSON value. Convert it, for example with str()."
        raise TypeError(msg)


def _check_number(value: float, where: str) -> None:
    if isinstance(value, int) and abs(value) > _MAX_INT:
        msg = f"{where}: {value} leaves the range of 64-bit integers."
        raise ValueError(msg)
    if not math.isfinite(value):
        msg = f"{where}: {value} is no JSON number."
        raise ValueError(msg)
