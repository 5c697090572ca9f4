"""The forward pass of Qwen3-Embedding and Qwen3-Reranker: `batches` groups texts, `network` computes them.

Everything here imports torch; `qwen3_core.local` imports it when a model is first used.
"""

from qwen3_core.engine.batches import batches, in_batches, in_order, windows
from qwen3_core.engine.linear import linear_kind
from qwen3_core.engine.network import Network, Prefix

__all__ = ["Network", "Prefix", "batches", "in_batches", "in_order", "linear_kind", "windows"]
