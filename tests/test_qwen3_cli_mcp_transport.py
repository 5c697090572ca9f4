"""`qwen3-rag mcp`: whom the command lets in, and what it keeps off the wire."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mcp_hosts import MINI, QUESTION, README, TOKEN, environment, index, over_http
from typer.testing import CliRunner

from qwen3_cli import app
from qwen3_cli.mcp import DEFAULT_PORT
from qwen3_cli.mcp_transport import PATH


def test_a_token_is_made_up_and_shown_once(tmp_path: Path) -> None:
    with over_http(index(tmp_path), log=tmp_path / "log") as server:
        assert len(server.token) >= 43
        assert server.call("search", {"query": QUESTION}).status_code == 200
        assert server.call("search", {"query": QUESTION}, Authorization="Bearer x").status_code == 401
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert log.count(server.token) == 1


def test_no_token_where_the_operator_says_so(tmp_path: Path) -> None:
    with over_http(index(tmp_path), "--no-http-token", log=tmp_path / "log", token="x" * 16) as server:
        assert server.call("search", {"query": QUESTION}, Authorization="").status_code == 200
        assert server.call("search", {"query": QUESTION}, Authorization="", Host="evil.example").status_code == 421


@pytest.mark.parametrize(
    ("arguments", "token", "message"),
    [
        (("--host", "0.0.0.0"), None, "can be reached from elsewhere: set a token of yours in QWEN3_MCP_TOKEN"),
        (("--host", "10.1.2.3"), None, "can be reached from elsewhere"),
        (("--host", "::"), None, "can be reached from elsewhere"),
        (("--host", "0.0.0.0", "--no-http-token"), TOKEN, "can be reached from elsewhere"),
        (("--host", "0.0.0.0"), TOKEN, "say by --allowed-host under which name"),
        (("--host", "127.0.0.1"), "short", "QWEN3_MCP_TOKEN is not fit"),
        (("--host", "127.0.0.1"), "with spaces and é in it", "QWEN3_MCP_TOKEN is not fit"),
        ((), None, "does not exist; index something first"),
    ],
)
def test_what_would_let_in_anybody_is_refused(
    arguments: tuple[str, ...], token: str | None, message: str, tmp_path: Path
) -> None:
    uri = str(tmp_path / "none.db")
    command = ["mcp", "--transport", "http", "--port", "0", "--uri", uri, *MINI, *arguments]
    result = CliRunner(env={"COLUMNS": "300"}).invoke(app, command, env={"QWEN3_MCP_TOKEN": token})
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())
    assert token is None or token not in result.output
    assert not Path(uri).exists()


def test_a_tenant_has_to_be_named(tmp_path: Path) -> None:
    uri = index(tmp_path, "--tenant", "a")
    command = [sys.executable, "-m", "qwen3_cli", "mcp", "--uri", uri, *MINI]
    done = subprocess.run(command, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"say whose rows are meant" in b" ".join(done.stderr.split())
    assert done.stdout == b""


def test_what_anything_prints_is_kept_off_the_wire() -> None:
    program = (
        "import os, sys\n"
        "from qwen3_cli.mcp_transport import own_stdout\n"
        "with own_stdout() as wire:\n"
        "    print('a stray line', flush=True); os.system('echo a child'); os.write(1, b'a library\\n')\n"
        "    wire.write('protocol\\n'); wire.flush()\n"
        "print('after')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout == "protocol\nafter\n"
    assert done.stderr.split("\n")[:3] == ["a stray line", "a child", "a library"]


def test_the_addresses_in_the_readme_are_right() -> None:
    rows = re.findall(r"^\| (Qwen Code|Qwen-Agent|Claude-style) \| `(.*?)` \|", README, flags=re.MULTILINE)
    assert len(rows) == 3
    for _, told in rows:
        server = json.loads(told)
        assert (server.get("url") or server["httpUrl"]) == f"http://127.0.0.1:{DEFAULT_PORT}{PATH}"
        assert server["headers"].keys() == {"Authorization"}
