"""Where the time of a forward pass goes: why some goals of `engine` are not met. Writes ``engine_profile.md``.

python benchmarks/engine_profile.py               # four minutes
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import timeit
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from engine_checkpoint import CACHE, checkpoint
from engine_tasks import QUERY, Costs, Machine, Task, passages, tasks
from tabulate import tabulate  # type: ignore[import-untyped]
from torch.profiler import ProfilerActivity, profile

from qwen3_core import LocalEmbedder, LocalReranker
from qwen3_core.base import Quantization
from qwen3_core.checkpoint import load_tokenizer
from qwen3_core.tokens import TextTokenizer

REPORT = Path(__file__).with_suffix(".md")
TIMES, IMPORTS = 5, 3
FORMATS: Mapping[str, Quantization | None] = {"bf16": None, "int8": "int8"}

PARTS: Mapping[str, tuple[str, ...]] = {
    "products with weights": ("mkldnn::_linear_pointwise", "onednn::qlinear_pointwise"),
    "products of attention": ("aten::bmm",),
    "softmax and masks": ("aten::_softmax", "aten::triu_", "aten::add_"),
    "copies": ("aten::copy_", "aten::index_select", "aten::cat", "aten::index", "aten::embedding"),
}
PACKAGES = (
    *("qwen3_core", "langchain_qwen3", "llamaindex_qwen3", "langchain_core.embeddings", "llama_index.core"),
    *("torch", "transformers", "sentence_transformers", "llama_cpp", "onnxruntime", "openvino"),
)
REST = "norms, rotation, rounding"


def measured(run: Callable[[], object]) -> tuple[float, dict[str, float]]:
    """Return the shortest time of a run, and which share of it each part has.

    Shares come from runs under torch's profiler, which makes small operations look a little longer than they are.
    """
    best = min(timeit.repeat(run, number=1, repeat=TIMES))
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(TIMES):
            run()
    spent = {event.key: event.self_cpu_time_total for event in seen.key_averages()}
    total = sum(spent.values())
    shares = {part: sum(spent.get(name, 0.0) for name in names) / total for part, names in PARTS.items()}
    return best, shares | {REST: 1 - sum(shares.values())}


def rows(root: Path) -> Iterator[list[str]]:
    """Measure each task in each number format, and yield the lines of the table."""
    machine, costs = Machine(), Costs(TextTokenizer(load_tokenizer(root / "embedding")))
    known = {task.name: task for task in tasks(None)}
    chosen = [Task("12 passages", "embed", passages(12, 55, 0.8, seed=2)), known["rerank 10"], known["one query"]]
    for name, quantization in FORMATS.items():
        embedder = LocalEmbedder(str(root / "embedding"), dtype="bfloat16", quantization=quantization)
        reranker = LocalReranker(str(root / "reranker"), dtype="bfloat16", quantization=quantization)
        for task in chosen:
            texts = list(task.texts)
            rerank = task.kind == "rerank"
            run = partial(reranker.score, QUERY, texts) if rerank else partial(embedder.embed_batch, texts)
            seconds, shares = measured(run)
            floor = costs.multiply_adds(task) / machine.multiply_adds_per_second(name)
            percent = [f"{share:.0%}" for share in shares.values()]
            yield [f"{task.name}, {name}", f"{seconds:.3f}", f"{floor / seconds:.2f}", *percent]


def imports() -> Iterator[list[str]]:
    """Yield how long each package takes to import in a process of its own, the median of `IMPORTS`."""
    for name in PACKAGES:
        code = f"import time; started = time.perf_counter(); import {name}; print(time.perf_counter() - started)"
        runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True) for _ in range(IMPORTS)]
        if not any(run.returncode for run in runs):
            yield [f"`{name}`", f"{statistics.median(float(run.stdout) for run in runs):.2f}"]


def report(root: Path) -> str:
    """Return the report as markdown."""
    table = tabulate(
        list(rows(root)),
        headers=["", "seconds", "part of the peak", *PARTS, REST],
        tablefmt="github",
        disable_numparse=True,
    )
    import_table = tabulate(list(imports()), headers=["", "seconds"], tablefmt="github", disable_numparse=True)
    return f"""# Where a forward pass spends its time

Written by `benchmarks/engine_profile.py`: the shortest of {TIMES} runs, and the shares of torch's profiler (torch
{torch.__version__}, {torch.get_num_threads()} threads). The peak is that of [results.md](results.md), measured beside
each line, and so is what counts as needed.

{table}

**Why the peak is not reached.** Outside the network, with their inputs in the cache, the products with weights run at
0.97 of the peak; inside it, where inputs and outputs come from memory and go there, at 0.85 to 0.9. Attention
multiplies small matrices (two heads times 128 positions of 128 numbers), for which oneDNN reaches half of the peak,
and computes the upper half of each block only to hide it. Softmax, norms, the rotation and copies multiply nothing.
Between the processes of other engines, as in results.md, all of it is a few hundredths worse.

**Why one query takes twice as long as reading the weights.** For the 29 tokens of the whole prompt the multiply-adds
alone would take 1.6 times as long as the reading, so the instruction's keys and values are kept from call to call
(they count above as if they were not). What is left is a dozen tokens, for which the products read weights at two
thirds of the speed of a plain sum over memory.

**What was tried.** torch's flash attention: two to three times as long as the blocks at these lengths. Blocks of 64,
96 and 256 positions, and wider groups of lengths: no gain. Between 512 and 4,096 tokens a pass, 768 to 1,024 are
best. Layouts of the weights that are chosen for 32 to 1,024 tokens: no difference. For the 8 bits:
`quantize_per_channel`, `aminmax` and conversions to unsigned integers take five to a hundred times as long as what
stands in `qwen3_core/engine/linear.py`. `torch.compile` made the rounding to 8 bits one pass of 0.7 of the time, after
14 seconds of compiling, and norms with rotation twice as slow; it needs a C++ compiler where the package is used.

**What would be needed.** Kernels of our own, built for each platform: one for attention with its rotation, one for
norms with rounding. The shares above say what they could be worth: about a tenth in bf16, a fifth in int8.

## Import time

Nothing of ours imports torch; it comes with the first vector or score, and is part of the seconds until then in
results.md.

{import_table}
"""


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=CACHE)
    REPORT.write_text(report(checkpoint(parser.parse_args().cache)), encoding="utf-8")
    print(REPORT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
