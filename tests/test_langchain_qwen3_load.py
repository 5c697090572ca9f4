"""Many readers and a writer on one store: threads, event loops, nothing lost.

For ten seconds in the ordinary suite; ``make test-load`` sets QWEN3_LOAD_SECONDS to two minutes.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from milvus_servers import TOKEN

from langchain_qwen3.vector_store import Qwen3VectorStore, create_vector_store

SECONDS = float(os.environ.get("QWEN3_LOAD_SECONDS", "10"))
THREADS, TASKS, LOOPS = 16, 8, 2
"""16 threads, and 8 tasks in each of two event loops: 32 readers."""

BATCH, SEED = 20, 200
"""Rows of one write, of which every third write is deleted again; rows that are there from the start."""

pytestmark = pytest.mark.timeout(300 + SECONDS)


@pytest.mark.parametrize("server", ["lite_server_uri", "milvus_2_3"])
def test_32_readers_and_a_writer_lose_nothing(server: str, request: pytest.FixtureRequest) -> None:
    options: dict[str, Any] = {"uri": request.getfixturevalue(server), "collection_name": "load"}
    if server == "milvus_2_3":
        options["token"] = TOKEN
    embedding = DeterministicFakeEmbedding(size=32)
    with create_vector_store(embedding, drop_old=True, **options) as store:
        store.add_texts(_texts("seed", SEED), ids=_texts("seed", SEED))
        until = time.monotonic() + SECONDS
        done = threading.Event()
        try:
            with ThreadPoolExecutor(THREADS + LOOPS) as pool:
                readers = [pool.submit(_read, store, number, done.is_set) for number in range(THREADS)]
                readers += [pool.submit(asyncio.run, _tasks(store, number, done.is_set)) for number in range(LOOPS)]
                try:
                    expected = _write(store, until)
                finally:
                    done.set()
                reads = [reader.result() for reader in readers]
        finally:
            done.set()
        assert min(reads) > 0
    with create_vector_store(embedding, **options) as again:
        expected |= set(_texts("seed", SEED))
        found = again.search_by_metadata(limit=len(expected) + BATCH)
        assert sorted(document.page_content for document in found) == sorted(expected)
        again.drop()


def _texts(kind: str, count: int) -> list[str]:
    return [f"{kind} {number}" for number in range(count)]


def _write(store: Qwen3VectorStore, until: float) -> set[str]:
    """Add rows, and take every third batch away again; return what has to be there at the end."""
    kept: set[str] = set()
    number = 0
    while time.monotonic() < until or number < 3:
        texts = _texts(f"batch {number}", BATCH)
        store.add_texts(texts, ids=texts)
        if number % 3 == 2:
            store.delete(texts)
        else:
            kept.update(texts)
        number += 1
    return kept


def _read(store: Qwen3VectorStore, number: int, done: Callable[[], bool]) -> int:
    """Ask for rows that are there from the start: each has to be the nearest to itself, always."""
    count = 0
    while not done():
        text = f"seed {(number + 7 * count) % SEED}"
        assert [document.page_content for document in store.similarity_search(text, k=1)] == [text]
        count += 1
    return count


async def _tasks(store: Qwen3VectorStore, number: int, done: Callable[[], bool]) -> int:
    async def read(first: int) -> int:
        count = 0
        while not done():
            text = f"seed {(first + 11 * count) % SEED}"
            found = await store.asimilarity_search(text, k=1)
            assert [document.page_content for document in found] == [text]
            count += 1
        return count

    return min(await asyncio.gather(*(read(number * TASKS + task) for task in range(TASKS))))
