"""Milvus under our retriever: what it adds to a bare client, how search grows with the corpus, what peers' defaults do.

Vectors are made beforehand (1,024 dimensions, of low rank, as those of texts are), so that no model is measured. Bare
client, store and retriever take turns query by query on the same collection, and each ratio is the median of the ratios
within a turn: noise of the machine hits all of a turn alike. Recall is against an exact search with NumPy. Writes
``milvus.md`` and ``milvus.png``.

    python benchmarks/milvus.py                             # Milvus Lite, and the server of PyPI's package `milvus`
    python benchmarks/milvus.py --server http://host:19530 --token user:password
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from langchain_core.embeddings import Embeddings
from tabulate import tabulate

from langchain_qwen3 import Qwen3Retriever, create_vector_store
from langchain_qwen3.vector_store import Qwen3VectorStore

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from milvus_servers import TOKEN, standalone_server

mpl.use("agg")

DIMENSIONS, RANK = 1024, 48
K = 20
TURNS = 200
PEER_TURNS = 20  # what is not flushed takes most of a second for each
WRITE_BATCH = 1_000
PEER_ROWS = 10_000
SETTLED = 0.9  # of the nearest; a coarse index finds 0.6 of them
CALM_WINDOWS = 10
REPORT = Path(__file__).with_suffix(".md")
CHART = Path(__file__).with_suffix(".png")
BARE, STORE, RETRIEVER = "MilvusClient.search", "our store", "our retriever"

Search = Callable[[int], list[str]]
"""Takes the number of a query, gives the texts that were found, best first."""


class Prepared(Embeddings):
    """An embedding that costs nothing: texts are the numbers of vectors made beforehand."""

    def __init__(self, rows: int, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        basis = random.standard_normal((RANK, DIMENSIONS), dtype=np.float32)
        mixed = random.standard_normal((rows + TURNS, RANK), dtype=np.float32) @ basis
        noisy = mixed + random.standard_normal(mixed.shape, dtype=np.float32)
        unit = noisy / np.linalg.norm(noisy, axis=1, keepdims=True)
        self.documents, self.queries = unit[:rows], unit[rows:]
        self.model, self.dimensions = "prepared", DIMENSIONS

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Look vectors up; a text begins with its number."""
        found: list[list[float]] = self.documents[[int(text.split()[0]) for text in texts]].tolist()
        return found

    def embed_query(self, text: str) -> list[float]:
        """Look a vector up."""
        found: list[float] = self.queries[int(text)].tolist()
        return found

    def exact(self, number: int, rows: int) -> set[int]:
        """Return the numbers of the nearest among the first rows."""
        scores = self.documents[:rows] @ self.queries[number]
        return set(np.argpartition(-scores, K)[:K].tolist())


@dataclass
class Measured:
    """What was seen on one collection."""

    where: str
    rows: int
    insert: float = 0.0  # rows per second, with the flush
    indexed: float = 0.0  # seconds after the flush
    seconds: dict[str, list[float]] = field(default_factory=dict)
    recall: float = 0.0

    def at(self, who: str, percentile: float) -> float:
        """Return milliseconds."""
        return float(np.percentile(self.seconds[who], percentile)) * 1e3

    def ratio(self, who: str) -> tuple[float, float, float]:
        """Return the median of the ratios to the bare client within a turn, and their middle half."""
        low, mid, high = np.percentile(np.array(self.seconds[who]) / np.array(self.seconds[BARE]), [25, 50, 75])
        return float(mid), float(low), float(high)


def texts(rows: range) -> list[str]:
    """Return texts of about a kilobyte."""
    return [f"{number} " + "Passages of a manual have about this many letters. " * 20 for number in rows]


def fill(store: Qwen3VectorStore, rows: range, embedding: Prepared) -> float:
    """Write rows, as many at once as a program with that many would; return rows written per second."""
    started = time.perf_counter()
    for first in range(rows.start, rows.stop, 10 * WRITE_BATCH):
        part = texts(range(first, min(first + 10 * WRITE_BATCH, rows.stop)))
        ids = [text.split()[0] for text in part]
        store.add_embeddings(part, embedding.embed_documents(part), ids=ids, batch_size=WRITE_BATCH)
    return len(rows) / (time.perf_counter() - started)


def settle(search: Search, embedding: Prepared, rows: int) -> float:
    """Wait until indexes are in use and nothing is built any more; return the seconds until they were in use.

    A server answers from a coarse index meanwhile, and says that the index is finished before it uses it. Building
    takes the machine's cores from searches: it is over when windows of two seconds are all about as quick as the best.
    """
    started, best, calm, indexed = time.monotonic(), float("inf"), 0, 0.0
    while calm < CALM_WINDOWS and time.monotonic() - started < 600:
        took, found, count = [], 0, 0
        window = time.monotonic() + 2
        while time.monotonic() < window:
            begun = time.perf_counter()
            texts_found = search(count % TURNS)
            took.append(time.perf_counter() - begun)
            found += len(embedding.exact(count % TURNS, rows) & numbers(texts_found))
            count += 1
        median, in_use = float(np.median(took)), found >= SETTLED * count * K
        if not in_use:  # the coarse index may be quicker than the real one
            indexed, best, calm = time.monotonic() - started, float("inf"), 0
            continue
        calm = calm + 1 if median < 1.5 * best else 0
        best = min(best, median)
    return indexed


def numbers(found: Sequence[str]) -> set[int]:
    """Return the numbers that texts begin with."""
    return {int(text.split()[0]) for text in found}


def searches(store: Qwen3VectorStore, embedding: Prepared) -> dict[str, Search]:
    """Return the bare client, our store and our retriever on one collection."""
    client, name = store.client._client, store.collection_name  # without our deadlines
    params = dict(store.client.dense_search(K))
    retriever = Qwen3Retriever(vector_store=store, fetch_k=K, k=K)

    def bare(number: int) -> list[str]:
        hits = client.search(
            name,
            data=[embedding.embed_query(str(number))],
            anns_field="vector",
            search_params=params,
            limit=K,
            output_fields=["pk", "text", "$meta"],
        )
        return [hit["entity"]["text"] for hit in hits[0]]

    return {
        BARE: bare,
        STORE: lambda number: [each.page_content for each in store.similarity_search(str(number), k=K)],
        RETRIEVER: lambda number: [each.page_content for each in retriever.invoke(str(number))],
    }


def measure(runs: dict[str, Search], embedding: Prepared, into: Measured, turns: int = TURNS) -> None:
    """Let all take turns."""
    found = 0
    into.seconds = {name: [] for name in runs}
    names = list(runs)
    for turn in range(-turns // 10, turns):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            started = time.perf_counter()
            texts_found = runs[name](turn % turns)
            took = time.perf_counter() - started
            if turn >= 0:
                into.seconds[name].append(took)
                if name == names[-1]:
                    exact = embedding.exact(turn, into.rows)
                    found += len(exact & numbers(texts_found))
    into.recall = found / (turns * K)


def growth(where: str, sizes: Sequence[int], embedding: Prepared, **options: Any) -> Iterator[Measured]:
    """Measure one collection as it grows."""
    with create_vector_store(embedding, collection_name="bench_growth", drop_old=True, timeout=600, **options) as store:
        before = 0
        for rows in sizes:
            measured = Measured(where, rows, fill(store, range(before, rows), embedding))
            runs = searches(store, embedding)
            measured.indexed = settle(runs[STORE], embedding, rows)
            measure(runs, embedding, measured)
            say(f"{where}, {rows} rows: {measured.insert:.0f} rows/s, {measured.at(RETRIEVER, 50):.1f} ms")
            before = rows
            yield measured
        store.drop()


def peers(folder: Path, embedding: Prepared) -> Iterator[Measured]:
    """Measure what the frameworks' own stores do with their defaults on Milvus Lite."""
    part = texts(range(PEER_ROWS))
    for name, make in {"langchain-milvus": langchain_milvus, "llama-index-vector-stores-milvus": llama_index}.items():
        module = {"langchain-milvus": "langchain_milvus"}.get(name, "llama_index.vector_stores.milvus")
        if not _installed(module):
            say(f"{name} is not installed")
            continue
        measured = Measured(f"{name} {version(name)}", PEER_ROWS)
        started = time.perf_counter()
        search = make(folder / f"{name}.db", embedding, part)
        measured.insert = PEER_ROWS / (time.perf_counter() - started)
        measure({name: search}, embedding, measured, PEER_TURNS)
        measured.seconds = {RETRIEVER: measured.seconds[name]}
        yield measured


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def langchain_milvus(path: Path, embedding: Prepared, part: list[str]) -> Search:
    """Fill langchain-milvus's store as it comes, and return its search."""
    from langchain_milvus import Milvus

    store = Milvus(embedding, connection_args={"uri": str(path)})
    store.add_texts(part)
    return lambda number: [each.page_content for each in store.similarity_search(str(number), k=K)]


def llama_index(path: Path, embedding: Prepared, part: list[str]) -> Search:
    """Fill LlamaIndex's store as it comes, and return its search."""
    from llama_index.core.schema import TextNode
    from llama_index.core.vector_stores.types import VectorStoreQuery
    from llama_index.vector_stores.milvus import MilvusVectorStore

    store = MilvusVectorStore(uri=str(path), dim=DIMENSIONS, use_async_client=False)
    pairs = zip(part, embedding.embed_documents(part), strict=True)
    nodes = [TextNode(text=text, embedding=vector) for text, vector in pairs]
    for first in range(0, len(nodes), WRITE_BATCH):
        store.add(list(nodes[first : first + WRITE_BATCH]))

    def search(number: int) -> list[str]:
        query = VectorStoreQuery(query_embedding=embedding.embed_query(str(number)), similarity_top_k=K)
        return [node.get_content() for node in store.query(query).nodes or ()]

    return search


def growth_table(found: Sequence[Measured]) -> str:
    """Return rows of what was seen on each size."""
    head = [
        "",
        "rows",
        "written, rows/s",
        "indexed after, s",
        "p50 ms",
        "p99 ms",
        "recall@20",
        "store / bare",
        "retriever / bare",
    ]
    lines = [
        [
            each.where,
            f"{each.rows:,}",
            f"{each.insert:,.0f}",
            f"{each.indexed:,.0f}",
            f"{each.at(RETRIEVER, 50):,.1f}",
            f"{each.at(RETRIEVER, 99):,.1f}",
            f"{each.recall:.3f}",
            *("{:.2f} ({:.2f} to {:.2f})".format(*each.ratio(who)) for who in (STORE, RETRIEVER)),
        ]
        for each in found
    ]
    return tabulate(lines, headers=head, tablefmt="github", disable_numparse=True)


def peer_table(ours: Measured | None, found: Sequence[Measured]) -> str:
    """Return rows of defaults beside ours."""
    head = ["", "rows", "written, rows/s", "p50 ms", "to ours", "recall@20"]
    lines = [
        [
            each.where,
            f"{each.rows:,}",
            f"{each.insert:,.0f}",
            f"{each.at(RETRIEVER, 50):,.1f}",
            f"{each.at(RETRIEVER, 50) / ours.at(RETRIEVER, 50):.1f}" if ours else "",
            f"{each.recall:.3f}",
        ]
        for each in [*([ours] if ours else []), *found]
    ]
    return tabulate(lines, headers=head, tablefmt="github", disable_numparse=True)


def draw(found: Sequence[Measured]) -> None:
    """Draw milliseconds over rows."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    for where in dict.fromkeys(each.where for each in found):
        mine = [each for each in found if each.where == where]
        rows = [each.rows for each in mine]
        (line,) = axes.plot(rows, [each.at(RETRIEVER, 50) for each in mine], marker="o", label=f"{where}, p50")
        axes.plot(rows, [each.at(RETRIEVER, 99) for each in mine], linestyle=":", color=line.get_color(), label="p99")
    axes.set(xscale="log", yscale="log", xlabel="passages", ylabel="ms for the 20 best")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(CHART, dpi=110)


def report(found: Sequence[Measured], others: Sequence[Measured]) -> str:
    """Return the report as markdown."""
    packages = ("pymilvus", "milvus-lite", "langchain-core")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    ours = next((each for each in found if each.rows == PEER_ROWS and each.where == "Milvus Lite"), None)
    return f"""# Milvus: what the retriever adds, and how search grows

Written by `benchmarks/milvus.py` on {platform.processor() or platform.machine()}, Python {platform.python_version()},
{versions}.

{DIMENSIONS:,} dimensions, passages of about a kilobyte, the {K} best of each of {TURNS} queries.
Vectors are made beforehand; no model is measured. Bare client, store and retriever take turns; ratios are medians of
the ratios to the bare client within a turn, with the middle half of them in brackets. "Written" includes the flush,
and "indexed after" says how long searches found less than {SETTLED:.0%} of the nearest from then on.

{growth_table(found)}

![milliseconds over passages](milvus.png)

## Defaults of the frameworks' own stores on Milvus Lite

As they come: one `add`, no flush, their own index, metric and search parameters.

{peer_table(ours, others)}
"""


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Run all of it and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--server", help="a running Milvus; the 2.3.5 of PyPI is started if none is named")
    parser.add_argument("--token", default="")
    options = parser.parse_args()
    sizes = sorted(options.sizes)
    embedding = Prepared(max(*sizes, PEER_ROWS))
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as running:
        folder = Path(name)
        found = list(growth("Milvus Lite", sizes, embedding, uri=str(folder / "bench.db")))
        others = list(peers(folder, embedding))
        uri, token = options.server, options.token
        if not uri:
            uri, token = running.enter_context(standalone_server(folder / "server")).uri, TOKEN
        found += growth("Milvus server", sizes, embedding, uri=uri, token=token)
    draw(found)
    REPORT.write_text(report(found, others), encoding="utf-8")
    print(REPORT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
