"""Moving collections between Milvus Lite, `milvus-lite server` and a standalone server, as Parquet files."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from milvus_servers import TOKEN
from typer.testing import CliRunner, Result

from qwen3_cli import app
from qwen3_core.milvus import Collection, Connection, EmbeddingIdentity, MilvusAddress
from qwen3_core.milvus.errors import EmbeddingMismatchError, MilvusStoreError
from qwen3_core.milvus.rows import RESERVED_FIELDS, Rows
from qwen3_core.milvus.transfer import (
    CollectionShape,
    ExportError,
    begin_export,
    export_collection,
    import_collection,
    read_export,
)

IDENTITY = EmbeddingIdentity("qwen3", "hash", max_length=512)
SIZE = 8
METADATA: dict[str, Any] = {
    "none": None,
    "yes": True,
    "int": 2**53,
    "whole": 1.0,
    "float": 0.1,
    "text": 'q"\\\n中文😀',
    "list": [1, None, "x", [2.5]],
    "nested": {"a": {"b": [True, {}]}},
    "a b": "",
    'k"\\': 1,
    "id": 3,
    "distance": 4,
}
METADATA["a text"] = METADATA.pop("text")  # "text" is a field

_numbers = itertools.count()

Connect = Callable[..., Connection]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Open connections; all are closed at the end."""
    opened: list[Connection] = []

    def connect(uri: str | Path, token: str = "", **options: Any) -> Connection:
        opened.append(Connection(MilvusAddress(str(uri), token, **options)))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def source(connect: Connect, tmp_path: Path) -> Connection:
    return connect(tmp_path / "source.db")


def new_name() -> str:
    return f"moved_{os.getpid()}_{next(_numbers)}"


def vector(number: int) -> list[float]:
    # Not of unit length: nothing on the way may normalise.
    rng = random.Random(number)
    return [rng.gauss(0, 1) for _ in range(SIZE)]


def fill(
    connection: Connection,
    count: int,
    *,
    name: str = "docs",
    start: int = 0,
    hybrid: bool = False,
    tenant: str | None = None,
) -> None:
    collection = Collection(connection, name, IDENTITY, measure=lambda: SIZE, hybrid=hybrid, tenants=tenant is not None)
    if tenant is not None:
        collection = collection.for_tenant(tenant)
    numbers = range(start, start + count)
    rows = Rows(
        [f"text {n} \n" for n in numbers], [{**METADATA, "n": n} for n in numbers], [f'{n}-"\\' for n in numbers]
    )
    collection.write(rows, range(count), [vector(n) for n in numbers])
    collection.flush()


def contents(connection: Connection, name: str = "docs") -> dict[str, tuple[str, str, list[float]]]:
    """Return what is in a collection: id -> text, metadata with its types, vector."""
    rows = connection.client.query(
        name,
        filter='pk != ""',
        output_fields=["*", "$meta"],
        limit=16_384,
        consistency_level="Strong",
    )
    found = {}
    for row in map(dict, rows):
        pk, text, numbers = row.pop("pk"), row.pop("text"), [float(x) for x in row.pop("vector")]
        assert pk not in found, "an id is there twice"
        row.pop("sparse", None)
        found[pk] = text, json.dumps(row, sort_keys=True), numbers
    return found


def copy_of(source: Connection, target: Connection, tmp_path: Path, **options: Any) -> dict[str, Any]:
    export_collection(source, "docs", tmp_path / "export", shard_bytes=20_000)
    name = new_name()
    import_collection(target, tmp_path / "export", name, **options)
    return contents(target, name)


# -- everything comes through ---------------------------------------------------------------------------------


def test_lite_to_lite(source: Connection, connect: Connect, tmp_path: Path) -> None:
    fill(source, 300)
    target = connect(tmp_path / "target.db")
    assert copy_of(source, target, tmp_path) == contents(source)
    assert len(contents(source)) == 300
    export = read_export(tmp_path / "export")
    assert export.complete
    assert len(export.shards) > 1, "shards have a size"


def test_a_hybrid_collection_is_one_afterwards(source: Connection, connect: Connect, tmp_path: Path) -> None:
    fill(source, 20, hybrid=True)
    export_collection(source, "docs", tmp_path / "export")
    target = connect(tmp_path / "target.db")
    import_collection(target, tmp_path / "export")
    moved = Collection(target, "docs", IDENTITY, measure=lambda: SIZE, hybrid=True)
    assert moved.text_search("7", 1)[0]["entity"]["n"] == 7
    assert moved.search(vector(9), 1)[0]["entity"]["n"] == 9
    import_collection(target, tmp_path / "export", "dense", hybrid=False)
    assert contents(target, "dense") == contents(source)
    with pytest.raises(MilvusStoreError, match="no BM25 index"):
        import_collection(target, tmp_path / "export", "dense")


def test_lite_to_a_lite_server_and_back(
    source: Connection, connect: Connect, lite_server_uri: str, tmp_path: Path
) -> None:
    fill(source, 120, hybrid=True)
    server, name = connect(lite_server_uri), new_name()
    export_collection(source, "docs", tmp_path / "up")
    import_collection(server, tmp_path / "up", name)
    export_collection(server, name, tmp_path / "down")
    back = connect(tmp_path / "back.db")
    import_collection(back, tmp_path / "down", "docs")
    assert contents(server, name) == contents(back) == contents(source)


def test_lite_to_a_standalone_server_and_back(
    source: Connection, connect: Connect, milvus_2_3: str, tmp_path: Path
) -> None:
    fill(source, 120, hybrid=True)
    server, name = connect(milvus_2_3, TOKEN), new_name()
    export_collection(source, "docs", tmp_path / "up", shard_bytes=1)
    with pytest.raises(MilvusStoreError, match=r"needs Milvus 2\.5"):
        import_collection(server, tmp_path / "up", name)
    assert import_collection(server, tmp_path / "up", name, hybrid=False).written == 120
    assert import_collection(server, tmp_path / "up", name, hybrid=False).written == 0
    export_collection(server, name, tmp_path / "down")
    back = connect(tmp_path / "back.db")
    import_collection(back, tmp_path / "down", "docs", hybrid=True)
    assert contents(server, name) == contents(back) == contents(source)


def test_tenants_come_through_with_their_ids(source: Connection, connect: Connect, tmp_path: Path) -> None:
    for tenant in ("a", "b"):
        fill(source, 20, tenant=tenant)
    target = connect(tmp_path / "target.db")
    export_collection(source, "docs", tmp_path / "export")
    import_collection(target, tmp_path / "export")
    assert contents(target) == contents(source)
    moved = Collection(target, "docs", IDENTITY, measure=lambda: SIZE, tenants=True)
    for tenant in ("a", "b"):
        rows = moved.for_tenant(tenant).rows_by_id(['3-"\\'])
        assert [row["n"] for row in rows] == [3]
    assert len(contents(target)) == 40
    fill(target, 1, name="of_nobody")
    with pytest.raises(ValueError, match="no tenants"):
        import_collection(target, tmp_path / "export", "of_nobody")
    export_collection(target, "of_nobody", tmp_path / "nobody")
    with pytest.raises(ExportError, match="has tenants"):
        import_collection(target, tmp_path / "nobody", "docs")


def test_a_standalone_server_imports_the_files_itself(
    source: Connection, connect: Connect, milvus_2_3: str, tmp_path: Path
) -> None:
    for tenant in ("a", "b"):
        fill(source, 60, tenant=tenant)
    server, name, folder = connect(milvus_2_3, TOKEN), new_name(), tmp_path / "seen-by-server"
    export_collection(source, "docs", tmp_path / "export", shard_bytes=1)
    with pytest.raises(ValueError, match="is no folder"):
        import_collection(server, tmp_path / "export", name, server_folder=folder)
    folder.mkdir()
    # What is there already must not be there twice, and a bulk import replaces nothing: that shard goes another way.
    Collection(server, name, IDENTITY, measure=lambda: SIZE, tenants=True).create(SIZE)
    fill(server, 3, name=name, tenant="b")
    done = import_collection(server, tmp_path / "export", name, server_folder=folder)
    assert (done.written, done.shards, done.bulk) == (117, 2, True)
    assert contents(server, name) == contents(source)
    server.client.delete(name, filter="n == 7")
    assert import_collection(server, tmp_path / "export", name, server_folder=folder).written == 2
    assert contents(server, name) == contents(source)
    assert list(folder.iterdir()) == []


def test_a_bulk_import_that_was_killed_goes_on(
    source: Connection, connect: Connect, milvus_2_3: str, tmp_path: Path
) -> None:
    fill(source, 200)
    export_collection(source, "docs", tmp_path / "export", shard_bytes=1)
    (tmp_path / "seen").mkdir()
    server = connect(milvus_2_3, TOKEN)
    server.client.drop_collection("docs")  # of other tests
    # After one step the server has one of two files, and has not finished with it.
    kill_in_the_middle("import", milvus_2_3, tmp_path / "export", 1, TOKEN, str(tmp_path / "seen"))
    assert import_collection(server, tmp_path / "export", server_folder=tmp_path / "seen").written <= 100
    assert contents(server) == contents(source)
    server.client.drop_collection("docs")


_numeric = st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
_scalars = st.none() | st.booleans() | st.text() | _numeric
_json = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
_metadatas = st.dictionaries(st.text().filter(lambda key: key not in RESERVED_FIELDS), _json, max_size=5)


@pytest.fixture(scope="module")
def property_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    with closing(Connection(MilvusAddress(str(tmp_path_factory.mktemp("property") / "milvus.db")))) as connection:
        yield connection


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.dictionaries(st.text(min_size=1, max_size=9), st.tuples(st.text(), _metadatas), min_size=1, max_size=4))
def test_any_metadata_comes_through_with_its_types(
    property_file: Connection, tmp_path_factory: pytest.TempPathFactory, rows: dict[str, tuple[str, dict[str, Any]]]
) -> None:
    texts, metadatas = [text for text, _ in rows.values()], [metadata for _, metadata in rows.values()]
    name, moved, folder = new_name(), new_name(), tmp_path_factory.mktemp("export")
    collection = Collection(property_file, name, IDENTITY, measure=lambda: SIZE)
    collection.write(Rows(texts, metadatas, list(rows)), range(len(rows)), [vector(n) for n in range(len(rows))])
    export_collection(property_file, name, folder)
    import_collection(property_file, folder, moved)
    found = contents(property_file, moved)
    expected = {id_: (text, json.dumps(metadata, sort_keys=True)) for id_, (text, metadata) in rows.items()}
    assert {id_: row[:2] for id_, row in found.items()} == expected
    for each in (name, moved):
        property_file.client.drop_collection(each)


def test_rows_of_llamaindex_keep_their_nodes(tmp_path: Path) -> None:
    pytest.importorskip("llama_index.core", reason="LlamaIndex is not installed")
    from llama_index.core import MockEmbedding
    from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

    from llamaindex_qwen3 import create_vector_store

    node = TextNode(
        id_="n", text="a node", metadata={"page": 3}, embedding=vector(1), excluded_embed_metadata_keys=["page"]
    )
    node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id="document")
    model = MockEmbedding(embed_dim=SIZE)
    with create_vector_store(model, uri=tmp_path / "a.db") as store:
        store.add([node])
        before = store.get_nodes(["n"])
    assert run("export", tmp_path / "export", "--uri", tmp_path / "a.db").exit_code == 0
    assert run("import", tmp_path / "export", "--uri", tmp_path / "b.db").exit_code == 0
    with create_vector_store(model, uri=tmp_path / "b.db") as store:
        assert store.get_nodes(["n"]) == before
        assert before[0].ref_doc_id == "document"


def test_an_empty_collection(source: Connection, connect: Connect, tmp_path: Path) -> None:
    fill(source, 1)
    source.client.delete("docs", filter='pk != ""')
    assert export_collection(source, "docs", tmp_path / "export").rows == 0
    target = connect(tmp_path / "target.db")
    assert import_collection(target, tmp_path / "export").rows == 0
    assert Collection(target, "docs", IDENTITY, measure=lambda: SIZE).size == SIZE


# -- again ----------------------------------------------------------------------------------------------------


def test_importing_again_writes_what_is_missing_or_differs(
    source: Connection, connect: Connect, tmp_path: Path
) -> None:
    fill(source, 30)
    export_collection(source, "docs", tmp_path / "export")
    target = connect(tmp_path / "target.db")
    assert import_collection(target, tmp_path / "export").written == 30
    assert import_collection(target, tmp_path / "export").written == 0
    before = contents(target)
    first, second, *_ = before
    target.client.delete("docs", filter=f"pk in [{json.dumps(first)}]")
    row = {"pk": second, "text": "changed", "vector": vector(1), "whole": 1}
    target.client.insert("docs", [row])
    fill(target, 5, start=100)  # rows of the target's own stay
    assert import_collection(target, tmp_path / "export").written == 2
    after = contents(target)
    assert {id_: after[id_] for id_ in before} == before
    assert len(after) == 35


def test_progress_and_summary(source: Connection, connect: Connect, tmp_path: Path) -> None:
    fill(source, 250)
    seen: list[tuple[int, int]] = []
    done = export_collection(source, "docs", tmp_path / "export", shard_bytes=1, progress=lambda *now: seen.append(now))
    assert (done.collection, done.rows, done.written) == ("docs", 250, 250)
    assert seen == [(100, 250), (250, 250)]
    assert done.shards == len(list((tmp_path / "export").glob("*.parquet"))) == 2
    seen.clear()
    done = import_collection(
        connect(tmp_path / "target.db"), tmp_path / "export", "other", progress=lambda *now: seen.append(now)
    )
    assert (done.collection, done.rows, done.written, done.bulk) == ("other", 250, 250, False)
    assert seen == [(100, 250), (250, 250)]


_CHILD = """
import sys, time
from qwen3_core.milvus import Connection, MilvusAddress
from qwen3_core.milvus.transfer import exporting, export_collection, importing, import_collection

exporting._FIRST_PAGE = exporting._MAX_PAGE = importing._BATCH_ROWS = 20  # many steps, so that there is a middle

def report(done, total):
    print(done, flush=True)
    time.sleep(0.05)

what, uri, folder, token, server_folder = sys.argv[1:]
connection = Connection(MilvusAddress(uri, token))
if what == "export":
    export_collection(connection, "docs", folder, shard_bytes=1, progress=report)
else:
    import_collection(connection, folder, "docs", progress=report, server_folder=server_folder or None)
"""


def kill_in_the_middle(
    what: str, uri: Path | str, folder: Path, steps: int, token: str = "", server_folder: str = ""
) -> None:
    """Run an export or an import in another process and kill it after so many steps."""
    program = [sys.executable, "-c", _CHILD, what, str(uri), str(folder), token, server_folder]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for _ in range(steps):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_a_killed_export_goes_on(connect: Connect, tmp_path: Path, steps: int) -> None:
    source = connect(tmp_path / "source.db")
    fill(source, 200)
    expected = contents(source)
    source.close()
    kill_in_the_middle("export", tmp_path / "source.db", tmp_path / "export", steps)
    assert not read_export(tmp_path / "export").complete
    kept = len(read_export(tmp_path / "export").files)
    source, target = connect(tmp_path / "source.db"), connect(tmp_path / "target.db")
    with pytest.raises(ExportError, match="Run the export again"):
        import_collection(target, tmp_path / "export")
    assert not target.client.has_collection("docs")
    done = export_collection(source, "docs", tmp_path / "export", shard_bytes=1)
    assert done.rows == 200
    assert done.written == 200 - 20 * kept <= 200 - 20 * (steps - 1)
    import_collection(target, tmp_path / "export")
    assert contents(target) == expected
    assert not list((tmp_path / "export").glob("*.part"))


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_a_killed_import_goes_on(source: Connection, connect: Connect, tmp_path: Path, steps: int) -> None:
    fill(source, 200, hybrid=True)
    export_collection(source, "docs", tmp_path / "export")
    kill_in_the_middle("import", tmp_path / "target.db", tmp_path / "export", steps)
    target = connect(tmp_path / "target.db")
    written = import_collection(target, tmp_path / "export").written
    assert written <= 200 - 20 * steps
    assert contents(target) == contents(source)
    moved = Collection(target, "docs", IDENTITY, measure=lambda: SIZE, hybrid=True)
    assert {hit["entity"]["n"] for hit in moved.text_search("17", 5)} == {17}


# -- refusals -------------------------------------------------------------------------------------------------


@pytest.fixture
def exported(source: Connection, tmp_path: Path) -> Path:
    fill(source, 250)
    export_collection(source, "docs", tmp_path / "export", shard_bytes=1)
    return tmp_path / "export"


def change_description(folder: Path, **changes: Any) -> None:
    file = folder / "collection.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_a_target_of_another_embedding(exported: Path, connect: Connect, tmp_path: Path) -> None:
    target = connect(tmp_path / "target.db")
    others = [(EmbeddingIdentity("qwen3", "other", max_length=512), SIZE), (IDENTITY, SIZE + 1)]
    for number, (identity, size) in enumerate(others):
        Collection(target, f"other{number}", identity, measure=lambda: SIZE).create(size)
        with pytest.raises(EmbeddingMismatchError):
            import_collection(target, exported, f"other{number}")
        assert contents(target, f"other{number}") == {}


def test_a_folder_that_is_no_export(connect: Connect, tmp_path: Path) -> None:
    target = connect(tmp_path / "target.db")
    for number, content in enumerate(["", "[]", "{}", '{"format": "another"}', '{"format": "qwen3-rag collection"}']):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "collection.json").write_text(content)
        with pytest.raises(ExportError, match="holds no export"):
            import_collection(target, folder)
    for absent in (tmp_path / "absent", tmp_path / "0" / "collection.json"):
        with pytest.raises(ExportError, match="holds no export"):
            import_collection(target, absent)
    assert target.client.list_collections() == []


def test_an_export_of_a_newer_version(exported: Path, connect: Connect, tmp_path: Path) -> None:
    change_description(exported, version=2)
    with pytest.raises(ExportError, match="newer version"):
        import_collection(connect(tmp_path / "target.db"), exported)


@pytest.mark.parametrize("damage", ["cut", "missing", "swapped", "columns"])
def test_a_damaged_shard_is_found_before_anything_is_written(
    exported: Path, connect: Connect, tmp_path: Path, damage: str
) -> None:
    first, second = sorted(exported.glob("*.parquet"))
    if damage == "cut":
        second.write_bytes(second.read_bytes()[:-100])
    elif damage == "missing":
        second.unlink()
    elif damage == "swapped":
        shutil.copy(first, second)
    else:
        import pyarrow.parquet as pq

        pq.write_table(pq.read_table(second).drop_columns(["text"]), second)
    target = connect(tmp_path / "target.db")
    with pytest.raises(ExportError, match="Copy"):
        import_collection(target, exported)
    assert target.client.list_collections() == []


def test_a_finished_export_is_replaced_only_on_request(exported: Path, source: Connection) -> None:
    before = (exported / "collection.json").read_bytes()
    with pytest.raises(ExportError, match="finished export of 250 rows"):
        export_collection(source, "docs", exported)
    assert (exported / "collection.json").read_bytes() == before
    fill(source, 10, start=1000)
    assert export_collection(source, "docs", exported, overwrite=True).rows == 260


def test_a_folder_with_something_else_in_it(source: Connection, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("thesis.txt", "download.part"):
        mine = tmp_path / "mine" / name
        mine.write_text("all my work")
        for overwrite in (False, True):
            with pytest.raises(ExportError, match="is not empty"):
                export_collection(source, "docs", tmp_path / "mine", overwrite=overwrite)
        assert mine.read_text() == "all my work"
        mine.unlink()
    change_description(exported, complete=False, collection="another")
    with pytest.raises(ExportError, match="unfinished export of another collection"):
        export_collection(source, "docs", exported)


def test_a_collection_that_is_not_there_or_not_ours(source: Connection, tmp_path: Path) -> None:
    with pytest.raises(MilvusStoreError, match="There is no collection 'docs'"):
        export_collection(source, "docs", tmp_path / "export")
    source.client.create_collection("docs", dimension=SIZE)
    with pytest.raises(MilvusStoreError, match="not this package's"):
        export_collection(source, "docs", tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_a_collection_that_changes_meanwhile(source: Connection, tmp_path: Path) -> None:
    fill(source, 250)

    def meddle(done: int, _: int) -> None:
        if done == 100:
            source.client.delete("docs", filter="n >= 200")
            fill(source, 1, start=-1)  # its id comes before all others

    with pytest.raises(ExportError, match="written to meanwhile"):
        export_collection(source, "docs", tmp_path / "export", progress=meddle)
    assert not read_export(tmp_path / "export").complete
    assert export_collection(source, "docs", tmp_path / "export", overwrite=True).rows == 201


def test_bulk_import_is_for_servers(exported: Path, connect: Connect, lite_server_uri: str, tmp_path: Path) -> None:
    for target in (connect(tmp_path / "target.db"), connect(lite_server_uri)):
        with pytest.raises(ValueError, match="Milvus Lite has none"):
            import_collection(target, exported, new_name(), server_folder=tmp_path)


# -- shards from elsewhere ------------------------------------------------------------------------------------


def test_shards_that_another_program_writes(connect: Connect, tmp_path: Path) -> None:
    export = begin_export(tmp_path / "export", CollectionShape("docs", IDENTITY, SIZE))
    rows = Rows(["a", "b", "c"], [{"n": 1.0}, {}, {"n": None}], None)
    export.write("one", [rows.row(0, vector(0)), rows.row(1, vector(1))])
    export.write("two", [rows.row(2, vector(2))])
    export.write("two", [rows.row(2, vector(2))])  # a task that is tried again
    for name, size, error in (("../evil", SIZE, "letters, digits"), ("three", SIZE + 1, "9.* dimensions")):
        with pytest.raises(ValueError, match=error):
            export.write(name, [rows.row(0, [0.5] * size)])
    target = connect(tmp_path / "target.db")
    with pytest.raises(ExportError, match="unfinished"):
        import_collection(target, tmp_path / "export")
    with pytest.raises(ExportError, match=r"lacks 1 shards, such as shard-four\.parquet"):
        export.finish(["one", "two", "four"])
    export.write("four", [])
    export.write("of_an_earlier_run", [rows.row(0, vector(5))])
    assert export.has("four")
    assert not export.has("five")
    assert export.finish(["one", "two", "four"]).rows == 3
    import_collection(target, tmp_path / "export")
    assert {row[0] for row in contents(target).values()} == {"a", "b", "c"}
    change_description(tmp_path / "export", complete=False)
    fill(connect(tmp_path / "source.db"), 1)
    with pytest.raises(ExportError, match="not exported from a collection"):
        export_collection(connect(tmp_path / "source.db"), "docs", tmp_path / "export")


def test_vectors_that_are_not_finite_are_never_written(connect: Connect, tmp_path: Path) -> None:
    export = begin_export(tmp_path / "export", CollectionShape("docs", IDENTITY, SIZE))
    export.write("one", [{"pk": "a", "text": "a", "vector": [float("nan")] * SIZE}])
    export.finish()
    target = connect(tmp_path / "target.db")
    with pytest.raises(ExportError, match="finite"):
        import_collection(target, tmp_path / "export")
    assert contents(target) == {}


# -- the console script ---------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.usefixtures("exported")
def test_the_commands(source: Connection, tmp_path: Path) -> None:
    expected = contents(source)
    source.close()
    folder, uri = tmp_path / "by-command", tmp_path / "source.db"
    shown = run("export", folder, "--uri", uri)
    assert shown.exit_code == 0, shown.output
    assert "250 rows of 'docs'" in shown.stdout
    assert "250/250" in shown.stderr
    assert "rows/s" in shown.stderr
    again = run("export", folder, "--uri", uri)
    assert again.exit_code == 1
    assert "--overwrite" in again.stderr
    assert json.loads(run("export", folder, "--uri", uri, "--overwrite", "--json").stdout)["rows"] == 250
    target = tmp_path / "target.db"
    done = json.loads(run("import", folder, "--uri", target, "--collection", "other", "--hybrid", "--json").stdout)
    assert (done["collection"], done["rows"], done["written"], done["uri"]) == ("other", 250, 250, str(target))
    shown = run("import", folder, "--uri", target, "--collection", "other", "--hybrid")
    assert "0 new" in shown.stdout
    with closing(Connection(MilvusAddress(str(target)))) as moved:
        assert Collection(moved, "other", IDENTITY, measure=lambda: SIZE, hybrid=True).text_search("17", 1)
        assert contents(moved, "other") == expected


def test_the_commands_say_what_to_do(tmp_path: Path) -> None:
    absent = run("export", tmp_path / "export", "--uri", tmp_path / "absent.db")
    assert (absent.exit_code, "does not exist" in absent.stderr) == (1, True)
    assert not (tmp_path / "absent.db").exists()
    nothing = run("import", tmp_path, "--uri", tmp_path / "new.db")
    assert (nothing.exit_code, "holds no export" in nothing.stderr) == (1, True)
