"""Indexing files into a real Milvus: what is embedded, what is left alone, what goes, and what stops nothing."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import sqlite3
import sys
import threading
import time
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from milvus_servers import TOKEN

from qwen3_core.ingest import IngestError, files, inventory, manifest, sink
from qwen3_core.ingest.indexing import beside_loop, index_paths
from qwen3_core.ingest.manifest import Manifest, manifest_key, manifest_path
from qwen3_core.ingest.pipeline import index_files
from qwen3_core.ingest.sink import IndexingStoppedError
from qwen3_core.ingest.splitting import Splitting
from qwen3_core.ingest.summary import FailedFile, IndexProgress, IndexSummary
from qwen3_core.ingest.writer import Writer
from qwen3_core.milvus import Collection, Connection, EmbeddingIdentity, MilvusAddress
from qwen3_core.milvus.errors import EmbeddingMismatchError

SIZE = 8


def embed(texts: list[str]) -> list[list[float]]:
    return [[byte / 255 for byte in hashlib.sha256(text.encode()).digest()[:SIZE]] for text in texts]


class Embedding:
    """Vectors from hashes; it remembers what it was asked, and may fail or grow tired."""

    def __init__(self, *, fail_after: int | None = None, error: type[BaseException] = RuntimeError) -> None:
        self.texts: list[str] = []
        self.fail_after, self.error = fail_after, error

    def __call__(self, texts: list[str]) -> list[list[float]]:
        if self.fail_after is not None and len(self.texts) >= self.fail_after:
            msg = "no more"
            raise self.error(msg)
        self.texts += texts
        return embed(texts)


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    connection = Connection(MilvusAddress(str(tmp_path_factory.mktemp("lite") / "milvus.db")))
    yield connection
    connection.close()


def open_collection(connection: Connection, **options: Any) -> Collection:
    identity = EmbeddingIdentity("hash", "hash")
    return Collection(connection, f"t_{uuid.uuid4().hex}", identity, measure=lambda: SIZE, **options)


@pytest.fixture
def collection(lite: Connection) -> Iterator[Collection]:
    made = open_collection(lite)
    yield made
    made.drop()


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    write(folder / "a.md", 1, 2, 3)
    write(folder / "b.md", 4)
    return folder


def write(path: Path, *sections: int) -> None:
    path.write_text("\n\n".join(f"# Section {n}\n\nSentence {n}." for n in sections))


def texts(collection: Collection, source: Path | None = None) -> list[str]:
    rows = collection.query(
        {"source": source.as_posix()} if source else None, ["text"], limit=16_000, consistency_level="Strong"
    )
    return sorted(str(row["text"]) for row in rows)


def sections(*numbers: int) -> list[str]:
    return [f"Section {n}\n\nSentence {n}." for n in numbers]


def counts(summary: IndexSummary) -> tuple[int, int, int, int, int]:
    return (summary.added, summary.replaced, summary.skipped, summary.removed, len(summary.failed))


def reasons(summary: IndexSummary) -> dict[str, str]:
    return {Path(each.source).name: each.reason for each in summary.failed}


def writers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "writer" in thread.name]


def scenario(collection: Collection, docs: Path) -> None:
    """Add, skip, change, remove."""
    embedding = Embedding()
    assert counts(index_files(collection, embedding, docs)) == (2, 0, 0, 0, 0)
    assert texts(collection) == sections(1, 2, 3, 4)
    assert counts(index_files(collection, embedding, docs)) == (0, 0, 2, 0, 0)
    write(docs / "a.md", 1, 5)
    changed = index_files(collection, embedding, docs)
    assert counts(changed) == (0, 1, 1, 0, 0)
    # "Section 1" is the title of both versions, hence what it says is as it was.
    assert (changed.chunks, changed.chunks_added, changed.chunks_removed) == (3, 1, 2)
    assert texts(collection) == sections(1, 4, 5)
    (docs / "b.md").unlink()
    assert counts(index_files(collection, embedding, docs)) == (0, 0, 1, 0, 0)
    assert texts(collection) == sections(1, 4, 5)
    assert counts(index_files(collection, embedding, docs, prune=True)) == (0, 0, 1, 1, 0)
    assert texts(collection) == sections(1, 5)
    assert embedding.texts == sections(1, 2, 3, 4, 5), "each passage once"


def test_added_skipped_replaced_removed(collection: Collection, docs: Path) -> None:
    scenario(collection, docs)


def test_over_http(lite_server_uri: str, docs: Path) -> None:
    connection = Connection(MilvusAddress(lite_server_uri))
    scenario(open_collection(connection), docs)
    connection.close()


def test_on_a_standalone_server(milvus_2_3: str, docs: Path) -> None:
    connection = Connection(MilvusAddress(milvus_2_3, TOKEN))
    scenario(open_collection(connection), docs)
    connection.close()


def test_a_collection_larger_than_a_page_and_than_a_flush(
    collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "_ROWS_PER_PAGE", 7)
    monkeypatch.setattr(sink, "_ROWS_PER_FLUSH", 5)
    for number in range(10):
        write(tmp_path / f"{number}.md", *range(number * 10, number * 10 + 4))
    assert index_files(collection, Embedding(), tmp_path, batch_size=3).chunks_added == 40
    assert counts(index_files(collection, Embedding(fail_after=0), tmp_path)) == (0, 0, 10, 0, 0)
    for number in range(10):
        write(tmp_path / f"{number}.md", number)
    assert index_files(collection, Embedding(), tmp_path, batch_size=3).chunks_removed == 39  # 0 stays
    assert texts(collection) == sorted(sections(*range(10)))


def test_the_manifest_saves_reading(collection: Collection, docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "_SETTLED", 0)
    time.sleep(0.02)  # longer than a tick of the file system's clock
    seen: list[IndexProgress] = []
    for expected in ((2, 0, 0, 0, 0), (0, 0, 2, 0, 0)):
        notes = Manifest(docs.parent / "notes", "x")
        seen.clear()
        summary = index_files(collection, Embedding(), docs, manifest=notes, progress=seen.append)
        notes.close()
        assert counts(summary) == expected
        assert summary.chunks == 4
    assert seen == [], "nothing was read"


def test_a_file_that_may_have_changed_within_a_tick_of_the_clock_is_read_again(
    collection: Collection, docs: Path
) -> None:
    for _ in range(2):
        notes, seen = Manifest(docs.parent / "notes", "x"), list[IndexProgress]()
        index_files(collection, Embedding(), docs, manifest=notes, progress=seen.append)
        notes.close()
        assert seen[-1].files == 2


def test_a_touched_file_is_read_and_not_embedded(collection: Collection, docs: Path) -> None:
    notes = Manifest(docs.parent / "notes", "x")
    index_files(collection, Embedding(), docs, manifest=notes)
    os.utime(docs / "a.md", (1, 1))
    assert counts(index_files(collection, Embedding(fail_after=0), docs, manifest=notes)) == (0, 0, 2, 0, 0)
    notes.close()


def test_the_manifest_is_not_believed_against_the_collection(
    collection: Collection, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "_SETTLED", 0)
    time.sleep(0.02)
    notes = Manifest(docs.parent / "notes", "x")
    index_files(collection, Embedding(), docs, manifest=notes)
    collection.delete({"heading": "Section 2"})
    assert index_files(collection, Embedding(), docs, manifest=notes).chunks_added == 1
    collection.drop()
    assert counts(index_files(collection, Embedding(), docs, manifest=notes)) == (2, 0, 0, 0, 0)
    assert texts(collection) == sections(1, 2, 3, 4)
    notes.close()


def other_database(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE precious (data)")
    database.commit()
    database.close()


@pytest.mark.parametrize(
    "spoil",
    [lambda path: path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000), other_database, Path.mkdir],
    ids=["damaged", "another program's", "a folder"],
)
def test_a_manifest_that_cannot_be_used_costs_reading_and_is_left_alone(
    collection: Collection, docs: Path, spoil: Callable[[Path], object]
) -> None:
    path = docs.parent / "notes"
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    notes = Manifest(path, "x")
    summary = index_files(collection, Embedding(), docs, manifest=notes)
    notes.close()
    assert counts(summary) == (2, 0, 0, 0, 0)
    assert "unchanged files are read again" in summary.note
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_changed_size_of_chunks_cuts_every_file_anew(collection: Collection, docs: Path) -> None:
    index_files(collection, Embedding(), docs)
    summary = index_files(collection, Embedding(), docs, splitting=Splitting(6))
    assert (summary.replaced, summary.chunks_removed) == (2, 4)
    assert all(len(text.partition("\n\n")[2]) <= 6 for text in texts(collection))
    assert len(texts(collection)) == summary.chunks > 4


def test_old_passages_stay_until_the_new_ones_are_in(collection: Collection, docs: Path) -> None:
    index_files(collection, Embedding(), docs)
    write(docs / "a.md", *range(10, 20))
    with pytest.raises(RuntimeError, match="no more"):
        index_files(collection, Embedding(fail_after=4), docs, batch_size=2)
    assert set(sections(1, 2, 3, 4)) <= set(texts(collection))
    assert writers() == []
    assert index_files(collection, Embedding(), docs, batch_size=2).chunks_added == 6
    assert texts(collection) == sorted(sections(4, *range(10, 20)))


def test_ctrl_c_keeps_what_was_embedded_and_leaves_no_thread(collection: Collection, docs: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        index_files(collection, Embedding(fail_after=2, error=KeyboardInterrupt), docs, batch_size=1)
    assert texts(collection) == sections(1, 2)
    assert writers() == []


def test_what_the_writer_raises_ends_the_run(collection: Collection, docs: Path) -> None:
    def uneven(given: list[str]) -> list[list[float]]:
        return [[1.0] * (SIZE + ("3" in text)) for text in given]

    with pytest.raises(EmbeddingMismatchError):
        index_files(collection, uneven, docs, batch_size=1)
    assert writers() == []


@pytest.mark.skipif(sys.platform == "win32", reason="pipes, links and names of bytes as POSIX has them")
def test_no_bad_file_stops_the_others(collection: Collection, docs: Path) -> None:
    (docs / "binary.md").write_bytes(b"\0\1")
    (docs / "latin.txt").write_bytes("Größe".encode("latin-1"))
    (docs / "empty.py").touch()
    (docs / "broken.pdf").write_bytes(b"%PDF-1.7 and no more")
    (docs / "loop.md").symlink_to(docs / "loop.md")
    (docs / "dangling.md").symlink_to(docs / "nowhere")
    (docs / "round").symlink_to(docs)
    (docs / "link.md").symlink_to(docs / "b.md")
    os.mkfifo(docs / "pipe.md")
    (docs / "long.txt").write_text("word " * 1000)
    (docs / "\udcff.md").write_text("a name of bytes")
    summary = index_files(collection, Embedding(), docs, max_file_bytes=1000)
    assert counts(summary) == (3, 0, 1, 0, 8)
    found = reasons(summary)
    assert found.pop("broken.pdf").startswith("is no PDF that can be read")
    assert found.pop("long.txt").endswith("split it, or raise max_file_bytes (--max-file-mib)")
    assert found == {
        "binary.md": "is binary, or text in UTF-16: convert it to UTF-8 text, or give its encoding",
        "dangling.md": "cannot be read (No such file or directory)",
        "latin.txt": "is not utf-8 (byte 2): convert it, or give its encoding, such as latin-1",
        "loop.md": "cannot be read (Too many levels of symbolic links)",
        "pipe.md": "is no regular file: leave it out",
        "\\udcff.md": "has a name that is not UTF-8: rename it",
    }
    assert texts(collection) == sorted(sections(1, 2, 3, 4, 4)), "a link is a file of its own"


def test_a_file_without_permission(collection: Collection, docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = open

    def refuse(path: Any, *arguments: Any) -> Any:
        if Path(path).name == "a.md":
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments)

    # chmod does not stop the superuser, who runs containers.
    monkeypatch.setattr(files, "open", refuse, raising=False)
    summary = index_files(collection, Embedding(), docs)
    assert summary.failed == (FailedFile((docs / "a.md").as_posix(), "cannot be read (Permission denied)"),)
    assert texts(collection) == sections(4)


def test_what_was_indexed_of_a_file_that_cannot_be_read_now_stays(collection: Collection, docs: Path) -> None:
    index_files(collection, Embedding(), docs)
    (docs / "a.md").write_bytes(b"\0")
    summary = index_files(collection, Embedding(), docs, prune=True)
    assert counts(summary) == (0, 0, 1, 0, 1)
    assert texts(collection) == sections(1, 2, 3, 4)


def test_an_emptied_file_loses_its_passages(collection: Collection, docs: Path) -> None:
    index_files(collection, Embedding(), docs)
    (docs / "a.md").write_text(" \n")
    assert counts(index_files(collection, Embedding(), docs)) == (0, 1, 1, 0, 0)
    assert texts(collection) == sections(4)


def test_a_file_that_changes_while_it_is_read(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = docs / "b.md", os.fstat
    changes = 1

    def growing(handle: int) -> os.stat_result:
        nonlocal changes
        status = real(handle)
        if changes:
            changes -= 1
            with path.open("a") as file:
                file.write("x")
        return status

    monkeypatch.setattr(os, "fstat", growing)
    data, state = files.read_whole(path)
    assert (len(data), data[-1:]) == (state.size, b"x"), "read again, as it is now"
    changes = 99
    with pytest.raises(IngestError, match="changes while it is read: index it again when it is complete"):
        files.read_whole(path)


def test_the_same_text_in_two_files_is_there_twice_and_once_for_each(collection: Collection, docs: Path) -> None:
    write(docs / "c.md", 4, 4)
    index_files(collection, Embedding(), docs)
    assert texts(collection, docs / "b.md") == texts(collection, docs / "c.md") == sections(4)


def test_paths_that_overlap_count_once(collection: Collection, docs: Path) -> None:
    summary = index_files(collection, Embedding(), [docs / "a.md", docs, str(docs / "b.md")])
    assert counts(summary) == (2, 0, 0, 0, 0)
    assert counts(index_files(collection, Embedding(), str(docs / "a.md"))) == (0, 0, 1, 0, 0)


@pytest.mark.parametrize("count", [3, 100, 101])
def test_files_that_are_named_one_by_one(collection: Collection, tmp_path: Path, count: int) -> None:
    paths = [tmp_path / f'{number} "quoted".md' for number in range(count)]
    for number, path in enumerate(paths):
        write(path, number)
    assert index_files(collection, embed, paths).added == count
    assert index_files(collection, Embedding(fail_after=0), paths).skipped == count


def test_prune_leaves_what_is_elsewhere_and_what_others_wrote(collection: Collection, docs: Path) -> None:
    sub = docs / "sub"
    sub.mkdir()
    write(sub / "c.md", 7)
    index_files(collection, Embedding(), docs)
    own = {"source": (sub / "c.md").as_posix()}
    rows = collection.rows(["by hand"], [own], ["mine"])
    collection.write(rows, [0], [[1.0] * SIZE])
    (docs / "a.md").unlink()
    (sub / "c.md").unlink()
    assert index_files(collection, Embedding(), [sub, docs / "b.md"], prune=True).removed == 1
    assert texts(collection) == sorted([*sections(1, 2, 3, 4), "by hand"])
    write(sub / "c.md", 8)
    index_files(collection, Embedding(), sub / "c.md")
    assert texts(collection, sub / "c.md") == ["Section 8\n\nSentence 8.", "by hand"]


def test_prune_drops_a_folder_that_is_gone_and_refuses_one_that_never_was(collection: Collection, docs: Path) -> None:
    index_files(collection, Embedding(), docs)
    with pytest.raises(IngestError, match="nothing of it is in the collection"):
        index_files(collection, Embedding(), docs.with_name("dosc"), prune=True)
    moved = docs.rename(docs.with_name("moved"))
    with pytest.raises(IngestError, match="docs: no such file or folder"):
        index_files(collection, Embedding(), docs)
    assert counts(index_files(collection, Embedding(), [docs, moved], prune=True)) == (2, 0, 0, 2, 0)
    assert texts(collection) == sections(1, 2, 3, 4)


def test_relative_paths_are_pruned_below_the_current_folder_only(
    collection: Collection, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(docs)
    write(docs.parent / "c.md", 9)
    index_files(collection, Embedding(), [".", "../c.md"])
    assert texts(collection, Path("a.md")) == sections(1, 2, 3)
    (docs.parent / "c.md").unlink()
    (docs / "a.md").unlink()
    assert index_files(collection, Embedding(), ".", prune=True).removed == 1
    assert texts(collection) == sections(4, 9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"paths": []}, "nothing to index"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"encoding": "klingon"}, "unknown encoding 'klingon'"),
    ],
)
def test_arguments_are_checked_first(collection: Collection, docs: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        index_files(collection, Embedding(fail_after=0), **{"paths": docs, **options})


def test_a_folder_without_known_files_is_said_to_be_one(collection: Collection, tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / ".hidden.md").write_text("hidden")
    summary = index_files(collection, Embedding(), tmp_path)
    assert summary.note == "there is no file of a known kind"
    assert collection.info is None, "nothing was made"


def test_progress_goes_up_to_the_whole(collection: Collection, docs: Path) -> None:
    (docs / "bad.md").write_bytes(b"\0" * 100)
    seen: list[IndexProgress] = []
    index_files(collection, Embedding(), docs, batch_size=2, progress=seen.append)
    whole = sum(path.stat().st_size for path in docs.iterdir())
    assert seen == sorted(seen, key=lambda each: (each.files, each.bytes))
    assert seen[-1] == IndexProgress(files=3, files_total=3, bytes=whole, bytes_total=whole, chunks=4)


def test_two_runs_at_once(collection: Collection, tmp_path: Path) -> None:
    for number in range(30):
        write(tmp_path / f"{number}.md", *range(number * 10, number * 10 + 3))
    errors: list[BaseException] = []

    def work() -> None:
        notes = Manifest(tmp_path / "notes", "x")
        try:
            index_files(collection, Embedding(), tmp_path, batch_size=4, prune=True, manifest=notes)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)
        notes.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert texts(collection) == sorted(sections(*(n * 10 + m for n in range(30) for m in range(3))))


def test_tenants_have_files_of_the_same_name(lite: Connection, docs: Path) -> None:
    shared = open_collection(lite, tenants=True)
    with pytest.raises(ValueError, match="has tenants"):
        index_paths(shared, Embedding(), None, docs, manifest=False)
    a, b = shared.for_tenant("a"), shared.for_tenant("b")
    notes = docs.parent / "notes"
    assert counts(index_paths(a, Embedding(), None, docs, manifest=notes)) == (2, 0, 0, 0, 0)
    assert counts(index_paths(b, Embedding(), None, docs, manifest=notes)) == (2, 0, 0, 0, 0)
    (docs / "a.md").unlink()
    assert counts(index_paths(b, Embedding(), None, docs, manifest=notes, prune=True)) == (0, 0, 1, 1, 0)
    assert (texts(a), texts(b)) == (sections(1, 2, 3, 4), sections(4))
    shared.drop()


def test_manifests_lie_beside_a_lite_file_and_in_a_folder_of_their_own(
    collection: Collection, lite: Connection, lite_server_uri: str
) -> None:
    assert manifest_path(collection) == Path(f"{lite.address.uri}.manifest")
    connection = Connection(MilvusAddress(lite_server_uri))
    remote = open_collection(connection)
    port = lite_server_uri.rpartition(":")[2]
    assert manifest_path(remote) == Path(".qwen3-rag", f"127.0.0.1-{port}-{remote.name}.sqlite3")
    assert manifest_key(remote) != manifest_key(collection)
    connection.close()


async def test_a_cancelled_task_ends_with_its_thread(collection: Collection, docs: Path) -> None:
    begun = threading.Event()

    def slow(given: list[str]) -> list[list[float]]:
        begun.set()
        time.sleep(0.2)
        return Embedding()(given)

    def run(stopped: Callable[[], bool]) -> IndexSummary:
        return index_files(collection, slow, docs, batch_size=1, stopped=stopped)

    task = asyncio.create_task(beside_loop(run))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert writers() == []
    assert len(texts(collection)) < 4
    assert (await beside_loop(run)).chunks == 4


def test_memory_does_not_grow_with_the_corpus(
    lite_server_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "_ROWS_PER_PAGE", 50)
    monkeypatch.setattr(sink, "_ROWS_PER_FLUSH", 50)
    peaks: list[float] = []
    with closing(Connection(MilvusAddress(lite_server_uri))) as connection:
        for count in (50, 50, 400):  # the first warms caches up
            docs = tmp_path / f"{len(peaks)}"
            docs.mkdir()
            for number in range(count):
                write(docs / f"{number}.md", *range(number * 5, number * 5 + 5))
            target, notes = open_collection(connection), Manifest(tmp_path / "notes", docs.name)
            tracemalloc.start()
            for _ in range(2):
                assert index_files(target, embed, docs, manifest=notes, batch_size=25).chunks == count * 5
            peaks.append(tracemalloc.get_traced_memory()[1] / 2**20)
            tracemalloc.stop()
            notes.close()
            target.drop()
    assert peaks[2] < peaks[1] + 0.5, "MiB, of 2,000 chunks and of 250"


def test_stopping(collection: Collection, docs: Path) -> None:
    with pytest.raises(IndexingStoppedError):
        index_files(collection, Embedding(), docs, stopped=lambda: True)


def test_writing_overlaps_and_what_waits_is_bounded() -> None:
    started, go, done = threading.Event(), threading.Event(), list[int]()

    def held() -> None:
        started.set()
        go.wait(10)

    with Writer() as writer:
        writer.submit(held)
        assert started.wait(10), "written while the next is made"
        for number in range(2):
            writer.submit(functools.partial(done.append, number))
        late = threading.Thread(target=writer.submit, args=[lambda: done.append(2)])
        late.start()
        late.join(0.1)
        assert late.is_alive(), "there is room for two"
        go.set()
        late.join(10)
    assert done == [0, 1, 2]
