"""How well retrieval finds what it should: data sets, runs, measures with intervals, reports, and `mteb`'s protocols.

`qwen3-rag evaluate` is made of it. Reading needs no extra, but HTML, PDF and source code `qwen3-rag[documents]`;
measuring needs `qwen3-rag[evaluation]`.
"""

from qwen3_core.evaluation.dataset import Dataset
from qwen3_core.evaluation.readers import read_dataset
from qwen3_core.evaluation.systems import Clock, Result, System, evaluate, search_all
from qwen3_core.evaluation.verdict import Verdict, verdict

__all__ = ["Clock", "Dataset", "Result", "System", "Verdict", "evaluate", "read_dataset", "search_all", "verdict"]
