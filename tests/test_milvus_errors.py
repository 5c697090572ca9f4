"""What goes wrong between us and Milvus, for real: each error is one of ours, says what to do, and has its cause."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from milvus_servers import TOKEN, lite_server

from qwen3_core.milvus import Collection, Connection, EmbeddingIdentity, MilvusAddress
from qwen3_core.milvus.errors import (
    MilvusAuthError,
    MilvusDatabaseError,
    MilvusLockedError,
    MilvusStoreError,
    MilvusUnavailableError,
)

ROOT = Path(__file__).parent.parent


def opened(connection: Connection, name: str = "errors", **options: Any) -> Collection:
    return Collection(connection, name, EmbeddingIdentity("test"), measure=lambda: 2, **options)


def write(collection: Collection, ids: list[str], size: int = 10) -> None:
    rows = collection.rows([f"{id_} {'x' * size}" for id_ in ids], None, ids)
    collection.write(rows, range(len(ids)), [[1.0, 0.0]] * len(ids))
    collection.flush()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """pymilvus and Milvus Lite log what they raise."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


# -- databases ------------------------------------------------------------------------------------------------


def test_a_wrong_database_is_named_beside_those_that_exist(milvus_2_3: str) -> None:
    with pytest.raises(MilvusDatabaseError, match=r"no database 'nope'; it has default.*Correct db_name="):
        Connection(MilvusAddress(milvus_2_3, TOKEN, "nope"))
    connection = Connection(MilvusAddress(milvus_2_3, TOKEN, "default"))
    connection.client.create_database("another")
    other = Connection(MilvusAddress(milvus_2_3, TOKEN, "another"))
    collection = opened(other)
    write(collection, ["1"])
    assert other.client.has_collection("errors")
    assert not connection.client.has_collection("errors")
    collection.drop()
    other.close()
    connection.client.drop_database("another")
    connection.close()


def test_a_wrong_database_of_lite_is_named(tmp_path: Path) -> None:
    with pytest.raises(MilvusDatabaseError, match="no database 'nope'; it has default"):
        Connection(MilvusAddress(str(tmp_path / "milvus.db"), db_name="nope"))
    connection = Connection(MilvusAddress(str(tmp_path / "milvus.db"), db_name="default"))
    connection.client.create_database("short_lived")
    inside = Connection(MilvusAddress(str(tmp_path / "milvus.db"), db_name="short_lived"))
    connection.client.drop_database("short_lived")
    with pytest.raises(MilvusDatabaseError, match="correct db_name=") as caught:
        opened(inside)
    assert caught.value.__cause__ is not None
    inside.close()
    connection.close()


# -- tokens and servers ---------------------------------------------------------------------------------------


def test_a_wrong_token_is_told_apart_from_a_dead_server(milvus_2_3: str) -> None:
    for token in ("root:wrong", ""):
        with pytest.raises(MilvusAuthError, match="refuses the token") as caught:
            Connection(MilvusAddress(milvus_2_3, token))
        assert caught.value.__cause__ is not None
        assert "wrong" not in str(caught.value)
    with pytest.raises(MilvusUnavailableError, match="No server answers") as down:
        Connection(MilvusAddress("http://127.0.0.1:9", TOKEN, timeout=2))
    assert down.value.__cause__ is not None


# -- Lite files -----------------------------------------------------------------------------------------------


def test_a_locked_file_names_the_process_and_the_way_to_share_it(tmp_path: Path) -> None:
    folder = tmp_path / "shared.db"
    with lite_server(folder) as (uri, process):
        with pytest.raises(MilvusLockedError) as caught:
            Connection(MilvusAddress(str(folder)))
        said = str(caught.value)
        assert f"milvus-lite server --data-dir {folder} --host 127.0.0.1" in said
        if Path("/proc/locks").is_file():
            assert f"(process {process.pid}, " in said
        assert caught.value.__cause__ is not None
        connection = Connection(MilvusAddress(uri))  # as the message says
        write(opened(connection), ["1"])
        connection.close()
    connection = Connection(MilvusAddress(str(folder)))
    assert opened(connection).existing_ids(["1"]) == {"1"}
    connection.close()


def test_a_file_of_lite_2_is_refused_and_kept(tmp_path: Path) -> None:
    import sqlite3

    old = tmp_path / "old.db"
    with sqlite3.connect(old) as file:
        file.execute("CREATE TABLE collection_meta (id INTEGER)")
    file.close()
    before = old.read_bytes()
    with pytest.raises(MilvusStoreError, match=r"cannot read what Milvus Lite 2 wrote.*index again"):
        Connection(MilvusAddress(str(old)))
    assert old.read_bytes() == before


# -- full disks -----------------------------------------------------------------------------------------------

_FILL = """
import logging, sys
logging.disable(logging.CRITICAL)
from pathlib import Path
from test_milvus_errors import Connection, MilvusAddress, opened, write
from qwen3_core.milvus.errors import MilvusDiskFullError

connection = Connection(MilvusAddress(sys.argv[1], timeout=20))
collection = opened(connection)
write(collection, ["before"])
LIMIT
written = []
try:
    for number in range(400):
        ids = [f"{number}-{place}" for place in range(5)]
        write(collection, ids, 20_000)
        written += ids
except MilvusDiskFullError as error:
    assert "no room left" in str(error) and error.__cause__ is not None, error
    print("full")
ROOM
write(collection, ["after"])
connection.close()
connection = Connection(MilvusAddress(sys.argv[1], timeout=20))
wanted = {"before", "after", *written}
print(opened(connection).existing_ids(sorted(wanted)) == wanted)
"""


_CREATE = """
import logging, os, sys
logging.disable(logging.CRITICAL)
from test_milvus_errors import Connection, MilvusAddress, opened, write
from qwen3_core.milvus.errors import MilvusDiskFullError

folder = os.path.dirname(sys.argv[1])
try:
    with open(folder + "/ballast", "wb", buffering=0) as ballast:
        while ballast.write(bytes(4096)):
            pass
except OSError:
    print("filled")
connection = Connection(MilvusAddress(sys.argv[1]))
try:
    write(opened(connection), ["1"])
except MilvusDiskFullError as error:
    print("full", error.__cause__ is not None)
os.unlink(folder + "/ballast")
write(opened(connection), ["2"])
print(opened(connection).existing_ids(["1", "2"]))
connection.close()
"""


def _run(program: str, path: Path, prefix: list[str] | None = None) -> list[str]:
    done = subprocess.run(
        [*(prefix or []), sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_file_that_may_not_grow_loses_nothing_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    limit = "import resource; limits = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))"
    room = "resource.setrlimit(resource.RLIMIT_FSIZE, limits)"
    assert _run(_FILL.replace("LIMIT", limit).replace("ROOM", room), tmp_path / "milvus.db") == ["full", "True"]


@pytest.fixture
def small_disk(tmp_path: Path) -> list[str]:
    """What to put before a command for which `tmp_path` is to be a disk of 2 MB."""
    shell = f'mount -t tmpfs -o size=2m tmpfs {tmp_path} && exec "$@"'
    prefix = ["unshare", "--map-root-user", "--mount", "sh", "-c", shell, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("this system does not let a test mount a small disk of its own")
    return prefix


def test_a_full_disk_loses_nothing_and_goes_on_when_there_is_room(tmp_path: Path, small_disk: list[str]) -> None:
    fill = f"ballast = Path({str(tmp_path / 'ballast')!r}); ballast.write_bytes(bytes(1_500_000))"
    program = _FILL.replace("LIMIT", fill).replace("ROOM", "ballast.unlink()")
    assert _run(program, tmp_path / "milvus.db", small_disk) == ["full", "True"]


def test_a_collection_that_could_not_be_made_is_made_when_there_is_room(tmp_path: Path, small_disk: list[str]) -> None:
    assert _run(_CREATE, tmp_path / "milvus.db", small_disk) == ["filled", "full", "True", "{'2'}"]


@pytest.mark.parametrize("database", ["", "another"])
def test_a_collection_whose_maker_was_killed_is_made_anew(tmp_path: Path, database: str) -> None:
    """Milvus Lite leaves an empty folder, and refuses to make the collection ever again."""
    path = str(tmp_path / "milvus.db")
    connection = Connection(MilvusAddress(path))
    connection.client.create_database("another")
    connection.close()
    connection = Connection(MilvusAddress(path, db_name=database))
    write(opened(connection, "first"), ["1"])
    [collections] = {schema.parents[1] for schema in Path(path).rglob("schema.json")}
    (collections / "errors").mkdir()
    write(opened(connection), ["1"])
    assert opened(connection).existing_ids(["1"]) == {"1"}
    assert opened(connection, "first").existing_ids(["1"]) == {"1"}
    connection.close()
