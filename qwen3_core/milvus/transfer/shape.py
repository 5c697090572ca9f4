"""What a collection is, and how its rows lie in Parquet.

The columns are those that Milvus's bulk import reads: one for each field, metadata as JSON in `$meta`
(`pymilvus.bulk_writer` lays them out like this). BM25 vectors are left out; the target makes its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qwen3_core.milvus.filters import PRIMARY_FIELD, TEXT_FIELD
from qwen3_core.milvus.identity import EmbeddingIdentity
from qwen3_core.milvus.rows import SPARSE_FIELD, VECTOR_FIELD
from qwen3_core.milvus.tenants import TENANT_FIELD

META_FIELD = "$meta"
"""Milvus's own name for the dynamic fields, which hold the metadata."""


@dataclass(frozen=True)
class CollectionShape:
    """What a collection is, beside its rows.

    Attributes:
        name: Its name.
        identity: The embedding that made its vectors.
        size: Length of the vectors.
        hybrid: Whether the text is also indexed for BM25.
        analyzer: What splits the text for BM25; None without `hybrid`.
        tenants: Whether each row belongs to a tenant.
    """

    name: str
    identity: EmbeddingIdentity
    size: int
    hybrid: bool = False
    analyzer: str | None = None
    tenants: bool = False

    @property
    def fields(self) -> list[str]:
        """The fields that rows are stored in, metadata aside."""
        return [PRIMARY_FIELD, TEXT_FIELD, VECTOR_FIELD, *([TENANT_FIELD] if self.tenants else [])]

    @property
    def schema(self) -> Any:
        """The columns of a shard, as a `pyarrow.Schema`."""
        import pyarrow as pa

        types = {VECTOR_FIELD: pa.list_(pa.float32())}
        return pa.schema([(name, types.get(name, pa.string())) for name in [*self.fields, META_FIELD]])

    def table(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        """Return rows, as Milvus gives and takes them, as a `pyarrow.Table` of this schema.

        Raises:
            ValueError: A vector has another length, or metadata a number that JSON has not.
        """
        import numpy as np
        import pyarrow as pa

        if wrong := {len(row[VECTOR_FIELD]) for row in rows} - {self.size}:
            msg = f"vectors of {sorted(wrong)} dimensions for a collection of {self.size}"
            raise ValueError(msg)
        vectors = np.array([row[VECTOR_FIELD] for row in rows], dtype=np.float32)
        offsets = np.arange(0, (len(rows) + 1) * self.size, self.size, dtype=np.int32)
        columns = {name: [row[name] for row in rows] for name in self.fields if name != VECTOR_FIELD}
        columns[META_FIELD] = [self._metadata(row) for row in rows]
        arrays = [
            pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel()))
            if name == VECTOR_FIELD
            else pa.array(columns[name], pa.string())
            for name in self.schema.names
        ]
        return pa.table(arrays, schema=self.schema)

    def _metadata(self, row: Mapping[str, Any]) -> str:
        hidden = {*self.fields, META_FIELD, SPARSE_FIELD}
        metadata = {key: value for key, value in row.items() if key not in hidden}
        # Sorted, so that the same row is the same text.
        return json.dumps(metadata, ensure_ascii=False, allow_nan=False, sort_keys=True)
