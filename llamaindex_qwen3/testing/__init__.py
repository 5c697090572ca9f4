"""A contract kit for LlamaIndex components: what users may expect, as pytest suites for anybody's classes.

Subclass a suite with a name that begins with ``Test``, say how your component is made, and let pytest run it. pytest is
needed here and nowhere else in the package.
"""

import pytest

for _module in ("embedding", "llm", "probes", "rerank", "vector_store"):
    pytest.register_assert_rewrite(f"{__name__}.{_module}")

from llamaindex_qwen3.testing.chat_server import ScriptedChatServer
from llamaindex_qwen3.testing.embedding import EmbeddingContract
from llamaindex_qwen3.testing.llm import ThinkingLLMContract
from llamaindex_qwen3.testing.rerank import RerankContract
from llamaindex_qwen3.testing.vector_store import MilvusStoreContract

__all__ = [
    "EmbeddingContract",
    "MilvusStoreContract",
    "RerankContract",
    "ScriptedChatServer",
    "ThinkingLLMContract",
]
