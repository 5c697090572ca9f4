"""How full text is cut into words: which analyzers exist, and where."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from qwen3_core.milvus.errors import MilvusStoreError

ANALYZER_PROPERTY = "qwen3_rag.analyzer"
"""The collection property that holds the analyzer's name."""

DEFAULT_ANALYZER = "standard"

ANALYZERS: Mapping[str, Mapping[str, Any]] = {
    "standard": {"type": "standard"},
    # Without the filter a server would keep capitals apart; Lite's jieba folds them by itself and knows no filters.
    "jieba": {"tokenizer": "jieba", "filter": ["lowercase"]},
    "english": {"type": "english"},
    "chinese": {"type": "chinese"},
    "icu": {"tokenizer": "icu", "filter": ["lowercase"]},
}
"""Names, and Milvus's parameters for them (https://milvus.io/docs/analyzer-overview.md)."""

LITE_ANALYZERS = ("standard", "jieba")
"""What Milvus Lite 3.2.2 has; it refuses the others, and ignores filters such as the stemmer without a word."""


def check_analyzer(name: str) -> None:
    """Refuse a name that is no analyzer's.

    Raises:
        ValueError: There is no such analyzer.
    """
    if name not in ANALYZERS:
        msg = f"analyzer={name!r}: pass one of {', '.join(ANALYZERS)}."
        raise ValueError(msg)


def require_analyzer(name: str, *, is_lite: bool, in_process: bool, where: str) -> None:
    """Refuse an analyzer that a Milvus does not have, before a collection is made.

    Args:
        name: One of `ANALYZERS`.
        is_lite: Whether Milvus Lite answers.
        in_process: Whether it runs in this process.
        where: The address, for messages.

    Raises:
        MilvusStoreError: Milvus Lite lacks it, or the package that it needs is not installed.
    """
    if is_lite and name not in LITE_ANALYZERS:
        msg = (
            f"analyzer={name!r} needs a Milvus server; {where} is Milvus Lite, which has "
            f"{' and '.join(LITE_ANALYZERS)}. Chinese text works with analyzer='jieba'."
        )
        raise MilvusStoreError(msg)
    if in_process and name == "jieba" and importlib.util.find_spec("jieba") is None:
        msg = "analyzer='jieba' needs the package jieba on Milvus Lite: pip install 'qwen3-rag[chinese]'."
        raise MilvusStoreError(msg)
