"""Traps of Milvus and of its ready-made integrations: what a user of ours would meet, and does not.

`docs/milvus_traps.md` lists all of them, with those whose tests are elsewhere.
"""

from __future__ import annotations

import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from milvus_servers import TOKEN, free_port, lite_server

from qwen3_core.milvus import Collection, Connection, EmbeddingIdentity, Field, MilvusAddress, raw
from qwen3_core.milvus.errors import MilvusStoreError, MilvusTimeoutError, MilvusUnavailableError

Open = Callable[..., Collection]


@pytest.fixture
def open_collection(tmp_path: Path) -> Iterator[Open]:
    """Open collections in one Lite file, or elsewhere; all connections are closed at the end."""
    connections: list[Connection] = []

    def opener(
        name: str = "traps", *, uri: str = "", token: str = "", timeout: float = 60, size: int = 2, **options: Any
    ) -> Collection:
        address = MilvusAddress(uri or str(tmp_path / "milvus.db"), token, timeout=timeout)
        connections.append(Connection(address))
        return Collection(connections[-1], name, EmbeddingIdentity("test"), measure=lambda: size, **options)

    yield opener
    for connection in connections:
        connection.close()


def write(collection: Collection, rows: dict[str, str], **metadata: Any) -> None:
    checked = collection.rows(list(rows.values()), [metadata] * len(rows), list(rows))
    collection.write(checked, range(len(rows)), [[1.0, 0.1 * n] for n in range(len(rows))])
    collection.flush()


def wait_until_unchanged(folder: Path) -> None:
    """Wait until no file in a folder has changed for a second."""
    before: object = None
    while (now := {file: (file.stat().st_size, file.stat().st_mtime_ns) for file in folder.rglob("*")}) != before:
        before = now
        time.sleep(1)


def found(collection: Collection, condition: Any = None) -> set[str]:
    return {row["pk"] for row in collection.query(condition, ["pk"], limit=1000, consistency_level="Strong")}


# -- Milvus Lite ----------------------------------------------------------------------------------------------


def test_lite_refuses_half_precision_vectors_and_ours_are_stored_as_float32(open_collection: Open) -> None:
    np = pytest.importorskip("numpy")
    collection = open_collection()
    for kind in ("float16", "float32", "float64", "int8"):
        vectors: Any = np.array([[1, 0]], dtype=kind)
        collection.write(collection.rows([kind], None, [kind]), [0], vectors)
    assert found(collection) == {"float16", "float32", "float64", "int8"}
    hits = collection.search(np.array([1, 0], dtype="float16"), 4)
    assert [hit["distance"] for hit in hits] == pytest.approx([1.0] * 4)


@pytest.mark.parametrize(
    "expression", ["len(text) > 3", "n % 2 == 0", 'PHRASE_MATCH(text, "a b")', "RANDOM_SAMPLE(0.5)"]
)
def test_lite_lacks_parts_of_the_expression_language_and_says_so(open_collection: Open, expression: str) -> None:
    collection = open_collection()
    write(collection, {"1": "text"}, n=2)
    with pytest.raises(MilvusStoreError, match="failed in query") as caught:
        found(collection, raw(expression))
    assert caught.value.__cause__ is not None


def test_lite_counts_word_rarity_by_segment_and_both_copies_of_a_text_are_found(open_collection: Open) -> None:
    collection = open_collection(hybrid=True)
    write(collection, {str(n): f"filler number {n}" for n in range(20)} | {"early": "a zebra"})
    write(collection, {"late": "a zebra"})
    assert {hit["entity"]["pk"] for hit in collection.text_search("zebra", 2)} == {"early", "late"}
    fused = [hit["entity"]["pk"] for hit in collection.hybrid_search("zebra", [1.0, 2.0], 5)]
    assert {"early", "late"} <= set(fused)


def test_lite_takes_index_types_that_fail_later_and_ours_is_one_that_works(open_collection: Open) -> None:
    collection = open_collection(hybrid=True)
    write(collection, {"1": "text"})
    dense = collection._client.describe_index(collection.name, "vector")
    sparse = collection._client.describe_index(collection.name, "sparse")
    assert (dense["index_type"], dense["metric_type"]) == ("HNSW", "COSINE")
    assert (sparse["index_type"], sparse["metric_type"]) == ("SPARSE_INVERTED_INDEX", "BM25")


def test_lite_raises_bare_grpc_errors_for_what_it_lacks_and_ours_are_ours(open_collection: Open) -> None:
    collection = open_collection()
    write(collection, {"1": "text"})
    with pytest.raises(MilvusStoreError, match="failed in list_users") as caught:
        collection._client.list_users()
    assert caught.value.__cause__ is not None


def test_lite_drops_rows_behind_a_broken_log_and_ours_are_not_in_the_log(open_collection: Open, tmp_path: Path) -> None:
    """After a write everything is flushed into Parquet files; the log (WAL) may break and loses nothing."""
    collection = open_collection()
    for part in range(3):
        write(collection, {f"{part}-{n}": "text" for n in range(50)})
    collection._connection.close()
    for log in (tmp_path / "milvus.db").rglob("wal/*"):
        content = bytearray(log.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 64] = b"\xff" * len(content[middle : middle + 64])
        log.write_bytes(content)
    logging.disable(logging.CRITICAL)
    try:
        assert len(found(open_collection())) == 150
    finally:
        logging.disable(logging.NOTSET)


def test_lite_merges_an_upsert_with_the_old_row_and_ours_replaces(open_collection: Open) -> None:
    collection = open_collection()
    write(collection, {"1": "old"}, old_key=1)
    write(collection, {"1": "new"}, new_key=2)
    [row] = collection.query("", limit=10)
    assert (row["text"], row.get("old_key"), row["new_key"]) == ("new", None, 2)


def test_a_server_keeps_both_rows_of_one_id_and_ours_replaces(open_collection: Open, milvus_2_3: str) -> None:
    collection = open_collection(uri=milvus_2_3, token=TOKEN, drop_old=True)
    write(collection, {"1": "old"}, old_key=1)
    write(collection, {"1": "new"}, new_key=2)
    rows = collection.query("", limit=10, consistency_level="Strong")
    assert [(row["text"], row.get("old_key"), row["new_key"]) for row in rows] == [("new", None, 2)]
    collection.drop()


def test_a_server_finds_deleted_rows_for_a_moment_and_ours_does_not(open_collection: Open, milvus_2_3: str) -> None:
    collection = open_collection(uri=milvus_2_3, token=TOKEN, drop_old=True)
    for number in range(5):
        write(collection, {str(number): "text"})
        assert len(collection.search([1.0, 0.0], 5)) == 1
        collection.delete_ids([str(number)])
        assert collection.search([1.0, 0.0], 5) == []
    collection.drop()


def test_a_server_refuses_ef_below_k_and_ours_is_never_below(open_collection: Open, milvus_2_3: str) -> None:
    collection = open_collection(uri=milvus_2_3, token=TOKEN, drop_old=True)
    write(collection, {str(n): "text" for n in range(300)})
    collection._client.flush(collection.name)  # sealed segments are where a server looks at ef
    assert collection._client.dense_search(300)["params"]["ef"] >= 300
    deadline = time.monotonic() + 30
    while len(collection.search([1.0, 0.0], 300)) < 300:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    collection.drop()


def test_a_server_searches_many_new_rows_by_a_coarse_index_and_ours_are_sealed(
    open_collection: Open, milvus_2_3: str
) -> None:
    np = pytest.importorskip("numpy")
    rows, size, k = 8_000, 128, 20
    random = np.random.default_rng(0)
    vectors = random.standard_normal((rows, 24)) @ random.standard_normal((24, size))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    collection = open_collection(uri=milvus_2_3, token=TOKEN, size=size, drop_old=True)
    checked = collection.rows(["text"] * rows, None, [str(number) for number in range(rows)])
    for start in range(0, rows, 1_000):
        places = range(start, start + 1_000)
        collection.write(checked, places, vectors[places].tolist())

    def recall() -> float:
        hits = 0
        for vector in vectors[:20]:
            nearest = {str(number) for number in np.argsort(vectors @ vector)[-k:]}
            hits += len(nearest & {hit["entity"]["pk"] for hit in collection.search(vector.tolist(), k)})
        return hits / (20 * k)

    assert recall() < 0.9, "this server needs no sealing"
    collection.flush(rows)
    deadline = time.monotonic() + 120
    while recall() < 0.97:
        assert time.monotonic() < deadline
        time.sleep(1)
    collection.drop()


# -- LangChain's store ----------------------------------------------------------------------------------------


@pytest.fixture
def langchain(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open stores of the LangChain package."""
    pytest.importorskip("langchain_milvus")
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_qwen3.vector_store import create_vector_store

    stores: list[Any] = []

    def opener(**options: Any) -> Any:
        options = {"uri": str(tmp_path / "milvus.db"), **options}
        stores.append(create_vector_store(DeterministicFakeEmbedding(size=4), **options))
        return stores[-1]

    yield opener
    for store in stores:
        store.close()


@pytest.mark.parametrize("hybrid", [False, True])
def test_langchain_fails_with_its_defaults_on_lite_and_ours_works(
    langchain: Callable[..., Any], *, hybrid: bool
) -> None:
    """`should create connection first`, a refused sparse AUTOINDEX, and `drop_ratio_build` in each search."""
    store = langchain(hybrid=hybrid)
    store.add_texts(["one", "two"])
    assert [each.page_content for each in store.similarity_search("two", k=1)] == ["two"]


def test_langchain_fails_with_a_timeout_and_a_new_collection_and_ours_works(langchain: Callable[..., Any]) -> None:
    store = langchain(timeout=30)
    assert store.add_texts(["one"], timeout=20)
    assert store.similarity_search("one", timeout=10)


def test_langchain_drops_unknown_metadata_and_demands_known_and_ours_keeps_each(langchain: Callable[..., Any]) -> None:
    store = langchain()
    metadatas: list[dict[str, Any]] = [{"a": 1}, {"b": [1, {"c": None}]}, {}, {"a": "another type"}]
    ids = store.add_texts(["1", "2", "3", "4"], metadatas)
    assert [each.metadata for each in store.get_by_ids(ids)] == metadatas


def test_langchain_refuses_ids_after_an_add_without_and_ours_takes_both(langchain: Callable[..., Any]) -> None:
    store = langchain()
    made = store.add_texts(["without"])
    assert store.add_texts(["with"], ids=["given"]) == ["given"]
    assert [each.page_content for each in store.get_by_ids([*made, "given"])] == ["without", "with"]


def test_langchain_gives_documents_without_ids_and_with_vectors_and_ours_does_not(
    langchain: Callable[..., Any],
) -> None:
    store = langchain()
    store.add_texts(["text"], [{"n": 1}], ids=["1"])
    for [document] in (store.similarity_search("text"), store.search_by_metadata(filter={"n": 1})):
        assert (document.id, document.metadata) == ("1", {"n": 1})


def test_langchain_breaks_on_a_metadata_key_with_a_space_and_ours_does_not(
    langchain: Callable[..., Any], milvus_2_3: str
) -> None:
    for place in ({}, {"uri": milvus_2_3, "token": TOKEN, "collection_name": "spaces", "drop_old": True}):
        store = langchain(**place)
        store.add_texts(["spaced", "plain"], [{"a b": 1}, {"ab": 2}], ids=["1", "2"])
        for _ in range(2):
            assert {each.id for each in store.similarity_search("text", k=2)} == {"1", "2"}
        assert [each.id for each in store.similarity_search("text", filter=Field("a b") == 1)] == ["1"]
        store.drop()


def test_langchain_hides_a_failed_write_and_logs_its_text_and_ours_raises(
    langchain: Callable[..., Any], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with lite_server(tmp_path / "data") as (uri, _):
        store = langchain(uri=uri, timeout=2)
        store.add_texts(["first"])
    with pytest.raises(MilvusUnavailableError):
        store.add_texts(["my secret text"], ids=["1"])
    with pytest.raises(MilvusUnavailableError):
        store.delete(["1"])
    assert "my secret text" not in caplog.text


# -- LlamaIndex's store ---------------------------------------------------------------------------------------


@pytest.fixture
def llamaindex(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open stores of the LlamaIndex package."""
    pytest.importorskip("llama_index.core")
    from test_llamaindex_qwen3_vector_store import Letters

    from llamaindex_qwen3.vector_store import create_vector_store

    stores: list[Any] = []

    def opener(**options: Any) -> Any:
        options = {"uri": str(tmp_path / "milvus.db"), **options}
        stores.append(create_vector_store(Letters(), **options))
        return stores[-1]

    yield opener
    for store in stores:
        store.close()


@pytest.mark.parametrize("value", ['x" or pk != "', 'x") or (pk != "', "x\n", 'x"'])
def test_llamaindex_reads_a_text_match_as_a_condition_and_ours_as_data(
    llamaindex: Callable[..., Any], value: str
) -> None:
    from llama_index.core.vector_stores.types import FilterOperator

    from llamaindex_qwen3.testing.vector_store import field, node, unit, where

    store = llamaindex()
    store.add([node("own", unit(1), key=f"before {value} after"), node("other", unit(1), key="x")])
    nodes = store.get_nodes(filters=where(field("key", FilterOperator.TEXT_MATCH, value)))
    assert [each.node_id for each in nodes] == ["own"]


def test_llamaindex_empties_the_collection_with_a_document_id_and_ours_deletes_that_one(
    llamaindex: Callable[..., Any],
) -> None:
    from llamaindex_qwen3.testing.vector_store import node, unit

    store = llamaindex()
    store.add([node(str(n), unit(1), document=f"d{n}", page=n + 1) for n in range(3)])
    store.delete('zz"] or page > 0 or doc_id in ["q')
    store.delete_nodes([])
    assert store.existing_ids(["0", "1", "2"]) == {"0", "1", "2"}
    store.delete("d1")
    assert store.existing_ids(["0", "1", "2"]) == {"0", "2"}


def test_llamaindex_has_no_deadline_for_a_query_and_ours_has(llamaindex: Callable[..., Any], tmp_path: Path) -> None:
    from llama_index.core.vector_stores.types import VectorStoreQuery

    from llamaindex_qwen3.testing.vector_store import node, unit

    query = VectorStoreQuery(query_embedding=unit(1), similarity_top_k=1)
    with lite_server(tmp_path / "data") as (uri, process):
        store = llamaindex(uri=uri, timeout=1)
        store.add([node("1", unit(1))])
        process.send_signal(signal.SIGSTOP)
        uses: list[Any] = [
            lambda: store.query(query),
            lambda: store.add([node("2", unit(1))]),
            lambda: store.delete("d"),
        ]
        for use in uses:
            begin = time.monotonic()
            with pytest.raises((MilvusTimeoutError, MilvusUnavailableError)):
                use()
            assert time.monotonic() - begin < 20
        process.send_signal(signal.SIGCONT)


# -- faults ---------------------------------------------------------------------------------------------------


def test_a_silent_port_is_bounded_by_the_timeout() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begin = time.monotonic()
        with pytest.raises((MilvusUnavailableError, MilvusTimeoutError)) as caught:
            Connection(MilvusAddress(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=1))
        assert time.monotonic() - begin < 9, "pymilvus's own default is 10 s"
        assert caught.value.__cause__ is not None


def test_a_dead_server_is_told_at_once_and_not_after_75_retries() -> None:
    begin = time.monotonic()
    with pytest.raises(MilvusUnavailableError, match="No server answers"):
        Connection(MilvusAddress(f"http://127.0.0.1:{free_port()}", timeout=3))
    assert time.monotonic() - begin < 20


def test_the_same_store_works_again_after_the_server_was_killed_and_restarted(
    open_collection: Open, tmp_path: Path
) -> None:
    port = free_port()
    with lite_server(tmp_path / "data", port) as (uri, process):
        collection = open_collection(uri=uri, timeout=3)
        write(collection, {"1": "text"})
        wait_until_unchanged(tmp_path / "data")  # a half-written index would be another trap
        process.kill()
        process.wait(20)
        with pytest.raises(MilvusStoreError):
            collection.search([1.0, 0.0], 1)
    with lite_server(tmp_path / "data", port):
        deadline = time.monotonic() + 40
        while True:
            try:
                hits = collection.search([1.0, 0.0], 1)
                break
            except MilvusUnavailableError:  # gRPC waits a little before it connects again
                assert time.monotonic() < deadline
                time.sleep(0.2)
        assert [hit["entity"]["pk"] for hit in hits] == ["1"]
