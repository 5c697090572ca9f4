"""`qwen3-rag export` and `qwen3-rag import`: a collection as Parquet files, between Milvus Lite and a server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from qwen3_cli import options
from qwen3_cli.console import print_result, reported
from qwen3_cli.options import StoreOptions
from qwen3_cli.render import literal
from qwen3_core.milvus import Connection, MilvusAddress
from qwen3_core.milvus.transfer import export_collection, import_collection, read_export


def export(
    folder: Annotated[Path, typer.Argument(help="Where the Parquet files go; made if it does not exist.")],
    *,
    uri: options.Uri = "./milvus.db",
    token: options.Token = None,
    db_name: options.DbName = "",
    collection: options.Collection = "docs",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an export that is in the folder.")] = False,
    as_json: options.Json = False,
) -> None:
    """Write a collection to Parquet files. An export that was interrupted goes on from where it stopped."""
    with reported(goes_on=True) as console:
        StoreOptions(uri=uri, collection=collection).require_path()
        with _connected(uri, token, db_name) as connection, _progress(console, "exporting") as progress:
            done = export_collection(connection, collection, folder, overwrite=overwrite, progress=progress)
        shown = f"{done.rows:,} rows of {collection!r} in {folder}: {done.shards} files, {done.seconds:.1f} s"
        print_result({**asdict(done), "uri": uri, "folder": str(folder)}, literal(shown), as_json=as_json)


def import_(
    folder: Annotated[Path, typer.Argument(help="A folder that `qwen3-rag export` wrote.")],
    *,
    uri: options.Uri = "./milvus.db",
    token: options.Token = None,
    db_name: options.DbName = "",
    collection: Annotated[
        str | None, typer.Option(help="The collection to write; the exported one's name if not given.")
    ] = None,
    hybrid: Annotated[
        bool | None, typer.Option("--hybrid/--no-hybrid", help="With or without a full-text index; else as exported.")
    ] = None,
    analyzer: Annotated[
        str | None, typer.Option(help="What cuts the text for the full-text index; as exported if not given.")
    ] = None,
    server_folder: Annotated[
        Path | None, typer.Option(help="A folder that the server sees under the same path, for its own bulk import.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write exported rows into a collection, without embedding again. What is there already is not done again."""
    with reported(goes_on=True) as console:
        read_export(folder).check()  # before a Lite file is made for nothing
        with _connected(uri, token, db_name) as connection, _progress(console, "importing") as progress:
            done = import_collection(
                connection,
                folder,
                collection,
                hybrid=hybrid,
                analyzer=analyzer,
                server_folder=server_folder,
                progress=progress,
            )
        shown = f"{done.rows:,} rows in {done.collection!r} of {uri}: {done.written:,} new, {done.seconds:.1f} s"
        print_result({**asdict(done), "uri": uri, "folder": str(folder)}, literal(shown), as_json=as_json)


@contextmanager
def _connected(uri: str, token: str | None, db_name: str) -> Iterator[Connection]:
    with closing(Connection(MilvusAddress(uri, token or "", db_name))) as connection:
        yield connection


@contextmanager
def _progress(console: Console, doing: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with the rate and the time left; yield what moves it."""
    pace = TextColumn("{task.fields[pace]}")
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), pace, TimeRemainingColumn())
    begin = time.monotonic()
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(doing, total=None, pace="")

        def move(done: int, total: int) -> None:
            rate = done / max(time.monotonic() - begin, 1e-3)
            bar.update(task, completed=done, total=total, pace=f"{rate:,.0f} rows/s")

        yield move
