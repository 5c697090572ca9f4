"""The code of the README runs, in order, as a reader would type it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from qwen3_cli.demo_server import smollm2_server

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def test_python_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    assert len(BLOCKS) == 6  # one for each way to use it, for servers, for deep search, and for files
    with smollm2_server(threads=1, answer_tokens=24) as url:
        for block in BLOCKS:
            # The one thing that a reader has and a test has not: a server at that address.
            exec(compile(block.replace("http://127.0.0.1:8000/v1", url), "README.md", "exec"), names)
    assert len(capsys.readouterr().out.split()) > 5
    assert len(names["vector"]) >= 32  # type: ignore[arg-type]


def test_commands_exist() -> None:
    makefile = (Path(__file__).parent.parent / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake ([a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    from qwen3_cli import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert set(re.findall(r"`qwen3-rag ([a-z]+)", README)) <= known


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", README):
        assert (Path(__file__).parent.parent / target).exists(), target


@pytest.mark.skipif(sys.platform == "win32", reason="Milvus Lite has no Windows build")
def test_the_table_of_servers_names_what_the_class_knows() -> None:
    from langchain_qwen3 import ChatQwen3

    for row in re.findall(r'server="([a-z.]+)"', README):
        assert ChatQwen3(model="m", base_url="http://127.0.0.1:1/v1", server=row).server == row
