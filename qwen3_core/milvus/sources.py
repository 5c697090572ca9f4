"""Which documents a collection holds: the ``source`` of its rows, as `index_documents` and the commands write it."""

from __future__ import annotations

from collections import Counter

from qwen3_core.milvus.client import BY_ID
from qwen3_core.milvus.collection import Collection
from qwen3_core.milvus.expressions import Field
from qwen3_core.milvus.filters import PRIMARY_FIELD

_ROWS_PER_PAGE = 10_000  # 2 MB of ids and sources; a server returns 16,384 rows at most


def count_sources(collection: Collection) -> dict[str, int]:
    """Return each source in alphabetical order, with how many rows it has.

    All rows are looked at, a page at a time. Those without a source, or with one that is no string, are left out.

    Raises:
        ValueError: No tenant is named where there are some.
        MilvusStoreError: Milvus failed.
    """
    found: Counter[str] = Counter()
    condition = Field(PRIMARY_FIELD) >= ""
    while True:
        rows = collection.query(condition, [PRIMARY_FIELD, "source"], limit=_ROWS_PER_PAGE, **BY_ID)
        # A Lite that was killed may hold a row twice.
        sources = {row[PRIMARY_FIELD]: row.get("source") for row in rows}.values()
        found.update(source for source in sources if isinstance(source, str))
        if len(rows) < _ROWS_PER_PAGE:
            return dict(sorted(found.items()))
        condition = Field(PRIMARY_FIELD) > rows[-1][PRIMARY_FIELD]
