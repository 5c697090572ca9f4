"""The examples, run as their own first lines say."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from milvus_servers import free_port, lite_server
from typer.testing import CliRunner

from qwen3_cli import app
from qwen3_core.ingest import load_chunks
from qwen3_core.milvus import Connection, MilvusAddress

EXAMPLES = Path(__file__).parent.parent / "examples"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "HF_HUB_OFFLINE": "1"}

# -- embed_with_ray.py ----------------------------------------------------------------------------------------


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number:02d}.md").write_text(f"# Page {number}\n\nWhat is on page {number}.\n\n## More\n\nMore.")
    (folder / "bad.txt").write_bytes(b"\xff\xfe\x00bad")
    return folder


def test_embedding_with_ray_gives_an_export_to_import(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'qwen3-rag[ray]'")
    pytest.importorskip("langchain_milvus", reason="LangChain is not installed")
    command = [sys.executable, str(EXAMPLES / "embed_with_ray.py"), str(corpus), str(tmp_path / "export")]
    environment = {**ENVIRONMENT, "RAY_ADDRESS": "local", "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(
        [*command, "--model", "mini", "--workers", "2"], env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.endswith("24 chunks\n")
    assert "bad.txt" in done.stdout + done.stderr
    uri = tmp_path / "milvus.db"
    imported = CliRunner().invoke(app, ["import", str(tmp_path / "export"), "--uri", str(uri), "--json"])
    assert imported.exit_code == 0, imported.output
    assert json.loads(imported.stdout)["rows"] == 24
    with closing(Connection(MilvusAddress(str(uri)))) as connection:
        connection.client.load_collection("docs")
        rows = connection.client.query("docs", filter='pk != ""', output_fields=["text", "$meta"], limit=100)
    found = {row.pop("pk"): (row.pop("text"), row) for row in map(dict, rows)}
    chunks = load_chunks(sorted(corpus.glob("*.md")))
    assert found == {chunk.id: (chunk.text, chunk.metadata) for chunk in chunks}
    # The collection is that of the embedding: the commands find in it what they would have indexed themselves.
    search = ["search", "What is on page 7?", "--uri", str(uri), "--embedding", "mini", "--reranker", "none", "--json"]
    hits = json.loads(CliRunner().invoke(app, search).stdout)
    assert hits[0]["metadata"]["source"].endswith("07.md")


# -- web_service.py -------------------------------------------------------------------------------------------


class Service:
    """The service, run by uvicorn in a process of its own."""

    def __init__(self, client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
        self.client, self._process, self._log = client, process, log

    def stop(self) -> str:
        """Stop it as an operator does; return what it logged."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)
        return self._log.read_text()


@contextmanager
def service(folder: Path, uri: str | Path, **settings: str) -> Iterator[Service]:
    pytest.importorskip("langchain_core", reason="LangChain is not installed")
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "web_service:app", "--app-dir", str(EXAMPLES), "--port", str(port)]
    environment = {**ENVIRONMENT, "EMBEDDING": "mini", "RERANKER": "mini", "STORE_URI": str(uri), **settings}
    log = folder / "service.log"
    with log.open("wb") as output, subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process:
        try:
            _wait_for(port, process, log)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                yield Service(client, process, log)
        finally:
            process.kill()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def of(tenant: str) -> dict[str, Any]:
    return {"headers": {"X-Tenant": tenant}}


def test_a_web_service_for_many_requests_and_tenants(tmp_path: Path) -> None:
    uri = tmp_path / "milvus.db"
    with service(tmp_path, uri) as running:
        client = running.client
        assert client.get("/health").json() == "ok"

        def use(number: int) -> list[dict[str, Any]]:
            """Store, search and look for others' documents, as one of eight tenants."""
            tenant, text = f"tenant {number % 8}", f"Request {number} stores this."
            document = {"text": text, "metadata": {"number": number}}
            ids = client.post("/documents", json=[document], **of(tenant)).raise_for_status().json()
            wanted = {"question": text, "filter": {"number": [number, -1]}}
            found = client.post("/search", json=wanted, **of(tenant)).raise_for_status().json()
            assert [each["id"] for each in found] == ids
            assert client.post("/search", json=wanted, **of(f"tenant {(number + 1) % 8}")).json() == []
            everything = client.post("/search", json={"question": "stores"}, **of(tenant)).raise_for_status().json()
            return list(everything)

        with ThreadPoolExecutor(32) as pool:
            for number, found in enumerate(pool.map(use, range(40))):
                assert found
                assert {each["metadata"]["number"] % 8 for each in found} == {number % 8}

        same = {"text": "Request 5 stores this.", "metadata": {"number": 5}}
        [id_] = client.post("/documents", json=[same], **of("tenant 5")).json()
        assert client.delete(f"/documents/{id_}", **of("tenant 6")).status_code == 204
        wanted = {"question": "Request 5", "filter": {"number": 5}}
        assert len(client.post("/search", json=wanted, **of("tenant 5")).json()) == 1
        assert client.delete(f"/documents/{id_}", **of("tenant 5")).status_code == 204
        assert client.post("/search", json=wanted, **of("tenant 5")).json() == []

        assert client.post("/search", json=wanted).status_code == 422
        blank = client.post("/search", json={"question": " "}, **of("a"))
        assert (blank.status_code, "empty" in blank.json()["detail"]) == (422, True)
        reserved = client.post("/documents", json=[{"text": "a", "metadata": {"vector": 1}}], **of("a"))
        assert (reserved.status_code, "'vector'" in reserved.json()["detail"]) == (422, True)
        nested = client.post("/search", json={"question": "a", "filter": {"a": {"b": 1}}}, **of("a"))
        assert nested.status_code == 422

        log = running.stop()
        assert "Application shutdown complete" in log
        assert "Traceback" not in log
    with closing(Connection(MilvusAddress(str(uri)))) as connection:  # the file is free, and everything is in it
        connection.client.load_collection("service")
        assert len(connection.client.query("service", filter='pk != ""', limit=100)) == 39


def test_a_web_service_tells_what_fails(tmp_path: Path) -> None:
    question = {"json": {"question": "Where?"}, **of("a")}
    with lite_server(tmp_path / "data") as (uri, server), service(tmp_path, uri, STORE_TIMEOUT="1") as running:
        client = running.client
        assert client.post("/search", **question).json() == []
        assert client.post("/documents", json=[{"text": "Here."}], **of("a")).status_code == 201
        server.send_signal(signal.SIGSTOP)
        hung = client.post("/search", **question)
        assert (hung.status_code, hung.json()) == (504, {"detail": "Gateway Timeout"})
        server.send_signal(signal.SIGCONT)
        assert _eventually(lambda: client.post("/search", **question), 200).json()[0]["text"] == "Here."
        server.kill()
        server.wait(20)
        assert _eventually(lambda: client.get("/health"), 503).json() == {"detail": "Service Unavailable"}
        assert client.post("/search", **question).status_code == 503
        log = running.stop()
        assert "Application shutdown complete" in log
        assert "No server answers" in log


def _eventually(ask: Any, status: int) -> httpx.Response:
    deadline = time.monotonic() + 30
    while True:
        answer: httpx.Response = ask()
        if answer.status_code == status:
            return answer
        assert time.monotonic() < deadline, (answer.status_code, answer.text)
        time.sleep(0.5)
