"""Real Milvus servers as processes on loopback: `milvus-lite server`, and the standalone server 2.3.5 of PyPI."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

TOKEN = "root:Milvus"
"""What the standalone server takes."""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, "the server ended"
        assert time.monotonic() < deadline, f"the server did not start within {seconds} s"
        time.sleep(0.05)


@contextmanager
def lite_server(folder: Path, port: int | None = None) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`milvus-lite server`, the light stand-in for a remote Milvus."""
    port = port or free_port()
    command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", str(folder)]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, process, seconds=60)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(20)


@dataclass(frozen=True)
class Standalone:
    """A running standalone server; its token is `TOKEN`."""

    uri: str
    launcher: int
    """The process that leads the group of the server's."""

    def signal(self, number: int) -> None:
        os.killpg(self.launcher, number)


@contextmanager
def standalone_server(folder: Path, port: int | None = None) -> Iterator[Standalone]:
    """The standalone server in PyPI's package `milvus` 2.3.5, with authentication; skips where it cannot run."""
    pytest.importorskip("milvus", reason="the package milvus has its server for Linux on x86-64 only")
    port = port or free_port()
    if _etcd_answers():
        pytest.skip("port 2379 is taken, and the etcd inside the real server has no other")
    command = [sys.executable, "-c", "from milvus import main; main()", "--proxy-port", str(port)]
    command += ["--authorization-enabled", "true", "--extra-config", "proxy.ip=127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--data", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # the launcher starts the server as a child of its own
    )
    try:
        _wait_for(port, process, seconds=120)
        uri = f"http://127.0.0.1:{port}"
        _wait_until_ready(uri)
        yield Standalone(uri, process.pid)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)
        deadline = time.monotonic() + 20
        while _etcd_answers() and time.monotonic() < deadline:  # the server outlives its launcher by a moment
            time.sleep(0.1)


def _etcd_answers() -> bool:
    with socket.socket() as etcd:
        return etcd.connect_ex(("127.0.0.1", 2379)) == 0


def _wait_until_ready(uri: str) -> None:
    """The port is open before the server is ready."""
    from qwen3_core.milvus import Connection, MilvusAddress
    from qwen3_core.milvus.errors import MilvusStoreError

    deadline = time.monotonic() + 60
    while True:
        try:
            connection = Connection(MilvusAddress(uri, TOKEN, timeout=5))
            connection.client.list_collections()
            connection.close()
            return
        except MilvusStoreError:
            assert time.monotonic() < deadline, "the server did not get ready"
            time.sleep(0.5)
