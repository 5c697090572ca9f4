"""The columns of the engine benchmark: each engine in a process of its own, so that none disturbs another."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from engine_tasks import QUERY, Task

OURS = {"ours, bf16": {"dtype": "bfloat16"}, "ours, fp32": {"dtype": "float32"}, "ours, int8": {"quantization": "int8"}}


class Engine(Protocol):
    """What a column can do."""

    def embed(self, texts: Sequence[str]) -> Any:
        """Return a vector for each text."""

    def rerank(self, query: str, documents: Sequence[str]) -> Any:
        """Return a score for each document."""


class Ours:
    """This package.

    Args:
        root: The folder of the checkpoint.
        options: Of `LocalEmbedder` and `LocalReranker`.
    """

    def __init__(self, root: Path, **options: Any) -> None:
        from qwen3_core import LocalEmbedder, LocalReranker

        self.embedder = LocalEmbedder(str(root / "embedding"), **options)
        self.reranker = LocalReranker(str(root / "reranker"), **options)

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed."""
        return self.embedder.embed_batch(texts)

    def rerank(self, query: str, documents: Sequence[str]) -> list[float]:
        """Score."""
        return self.reranker.score(query, documents)

    def index(self, texts: Sequence[str], folder: str) -> float:
        """Write a collection with our LangChain store; return the part of the time that forward passes took."""
        from langchain_qwen3 import Qwen3Embeddings, create_vector_store

        network, _, _ = self.embedder._loaded.get()
        inside = 0.0

        def timed(*arguments: Any) -> Any:
            nonlocal inside
            started = time.perf_counter()
            found = compute(*arguments)
            inside += time.perf_counter() - started
            return found

        compute, network.last_hidden_states = network.last_hidden_states, timed
        started = time.perf_counter()
        try:
            embedding = Qwen3Embeddings.from_embedder(self.embedder)
            with create_vector_store(embedding, uri=f"{folder}/bench.db") as store:
                store.add_texts(list(texts))
            return inside / (time.perf_counter() - started)
        finally:
            network.last_hidden_states = compute

    def callers(self, texts: Sequence[str], threads: int) -> float:
        """Embed queries one by one from several threads; return the seconds."""
        started = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda text: self.embedder.embed_batch([text]), texts))
        return time.perf_counter() - started


@dataclass
class Column:
    """An engine in a process of its own, which waits for what it is asked.

    Attributes:
        name: Of the engine.
        seconds: What each task took, by its name, one figure for each turn.
        failed: What went wrong, by the task's name.
        facts: Seconds of import and until the first result, and the peak memory until then in bytes.
    """

    name: str
    make: Callable[[Path], Engine]
    seconds: dict[str, list[float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    facts: dict[str, float | str] = field(default_factory=dict)

    @contextlib.contextmanager
    def running(self, root: Path, kind: str, sample: Sequence[str]) -> Iterator[None]:
        """Start the process, get a first result, and end the process behind the block.

        Args:
            root: The folder of the checkpoint.
            kind: "embed" or "rerank", for the first result.
            sample: Texts on which an engine that has batch sizes finds its best.
        """
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.make, root), daemon=True)
        process.start()
        theirs.close()
        try:
            self.facts |= {f"{kind}: {name}": value for name, value in self.ask("begin", kind, list(sample)).items()}
            yield
        except EngineError as error:
            self.failed[kind] = str(error)
            yield
        finally:
            with contextlib.suppress(OSError):
                self._pipe.send(None)
            process.join(60)
            process.kill()

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call a method there and wait for what it returns.

        Raises:
            EngineError: It failed there.
        """
        try:
            self._pipe.send((method, arguments))
            fine, found = self._pipe.recv()
        except (EOFError, OSError) as error:
            msg = "the process died"
            raise EngineError(msg) from error
        if not fine:
            raise EngineError(found)
        return found

    def run(self, task: Task) -> float:
        """Return the seconds that a task takes there; it fails once and is not asked for again."""
        if self.failed.keys() & {task.kind, task.name}:
            return float("nan")
        try:
            took, share = self.ask("time", task.kind, list(task.texts))
        except EngineError as error:
            self.failed[task.name] = str(error)
            return float("nan")
        if share is not None:
            self.facts["share of forward passes"] = share
        seconds: float = took
        return seconds


class EngineError(RuntimeError):
    """An engine could not do what it was asked for."""


def _serve(pipe: Connection, make: Callable[[Path], Engine], root: Path) -> None:
    """Do what the other end asks for until it says nothing more."""
    if not os.environ.get("QWEN3_BENCH_VERBOSE"):
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - progress bars of others, to the end
    started = time.perf_counter()
    engine: Any = None
    while (asked := pipe.recv()) is not None:
        method, arguments = asked
        try:
            if method == "begin":
                engine = make(root)
                pipe.send((True, _begin(engine, started, *arguments)))
            elif method == "time":
                pipe.send((True, _time(engine, *arguments)))
            else:
                pipe.send((True, getattr(engine, method)(*arguments)))
        except Exception as error:  # noqa: BLE001 - the other end decides
            traceback.print_exc()
            pipe.send((False, f"{type(error).__name__}: {error}".splitlines()[0][:200]))


def _begin(engine: Any, started: float, kind: str, sample: list[str]) -> dict[str, float | str]:
    _run(engine, kind, sample[:1])
    facts: dict[str, float | str] = {
        "first result": time.perf_counter() - started,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0,
    }
    if hasattr(engine, "tune"):
        facts["batch"] = engine.tune(kind, sample)
    started = time.perf_counter()
    _run(engine, kind, sample)
    facts["seconds of the sample"] = time.perf_counter() - started
    return facts


def _run(engine: Any, kind: str, texts: list[str]) -> Any:
    return engine.rerank(QUERY, texts) if kind == "rerank" else engine.embed(texts)


def _time(engine: Any, kind: str, texts: list[str]) -> tuple[float, float | None]:
    """Return the seconds, and of an indexing run of ours the part that forward passes took."""
    if kind == "index":
        with tempfile.TemporaryDirectory() as folder:
            write = engine.index if hasattr(engine, "index") else partial(_index_as_it_comes, engine)
            started = time.perf_counter()
            share = write(texts, folder)
            return time.perf_counter() - started, share
    started = time.perf_counter()
    found = _run(engine, kind, texts)
    took = time.perf_counter() - started
    if not np.isfinite(np.asarray(found, dtype=np.float32)).all():
        msg = "results are not finite"
        raise FloatingPointError(msg)
    return took, None


def _index_as_it_comes(engine: Engine, texts: list[str], folder: str) -> None:
    """Write a collection with langchain-milvus's own store."""
    from langchain_core.embeddings import Embeddings
    from langchain_milvus import Milvus

    class Embedding(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [list(map(float, vector)) for vector in engine.embed(texts)]

        def embed_query(self, text: str) -> list[float]:
            return self.embed_documents([text])[0]

    Milvus(Embedding(), connection_args={"uri": f"{folder}/bench.db"}).add_texts(texts)


def ours(**options: Any) -> Callable[[Path], Engine]:
    """Return what makes our engine; it can be sent to another process."""
    return partial(Ours, **options)
