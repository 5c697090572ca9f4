"""llama.cpp and `transformers serve` as processes that serve a chat checkpoint for as long as a test needs them."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

Task = Literal["chat", "embedding", "reranking"]

START_TIMEOUT = 240.0
"""Seconds until a server must answer; it takes about 1 (llama.cpp) and 10 (transformers), more on a busy machine."""

ANSWER_TOKENS = 400
"""The longest answer of llama.cpp to a request that names no limit: a model may be made to talk on by a grammar."""


@contextmanager
def llama_cpp_server(gguf: Path, *, name: str, context_tokens: int, log: Path, task: Task = "chat") -> Iterator[str]:
    """Run llama.cpp's server and yield its base URL, ``http://127.0.0.1:PORT/v1``.

    Args:
        gguf: The model.
        name: What the model is called.
        context_tokens: Prompt and answer together.
        log: Where its output goes.
        task: What it is started for.

    Raises:
        RuntimeError: It did not come up; the message has the end of its log.
    """
    settings = {"model": str(gguf), "name": name, "context_tokens": context_tokens, "task": task}
    with _running(["llama.cpp", json.dumps(settings)], log, cwd=gguf.parent, said=r"ready: (http://\S+) \.") as url:
        yield f"{url}/v1"


@contextmanager
def transformers_server(folder: Path, *, log: Path, arguments: tuple[str, ...] = ()) -> Iterator[str]:
    """Run `transformers serve` and yield its base URL. The model is called as its folder is.

    Args:
        folder: The checkpoint.
        log: Where its output goes.
        arguments: More for the command line.

    Raises:
        RuntimeError: It did not come up; the message has the end of its log.
    """
    cache = folder.parent / "hub"
    cache.mkdir(exist_ok=True)  # without one /v1/models is an error
    command = ["transformers", "serve", folder.name, "--host", "127.0.0.1", "--port", "0", "--device", "cpu"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    # The name of a folder beside it, not its path, is what requests have to name.
    running = _running([*command, *arguments], log, cwd=folder.parent, said=r"running on (http://\S+)", more=offline)
    with running as url:
        yield f"{url}/v1"


@contextmanager
def _running(
    arguments: list[str], log: Path, *, cwd: Path, said: str, more: Mapping[str, str] | None = None
) -> Iterator[str]:
    # One thread is quickest for so small a model, and the only thing that is not slow on a busy machine.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **(more or {})}
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, __file__, *arguments],
            stdin=subprocess.PIPE,  # stays open as long as this process lives: the child watches it
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=environment,
            start_new_session=os.name == "posix",
        )
    try:
        yield _wait_for(process, log, said)
    finally:
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()


def _wait_for(process: subprocess.Popen[bytes], log: Path, said: str) -> str:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(said, log.read_text(encoding="utf-8", errors="replace")):
            return found[1]
        time.sleep(0.05)
    tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    message = f"The server did not start (exit code {process.poll()}):\n{tail}"
    raise RuntimeError(message)


def _die_with_parent() -> None:
    def watch() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _serve_llama_cpp(wanted: Mapping[str, Any]) -> None:
    xllamacpp = importlib.import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = wanted["model"]
    params.model_alias = {wanted["name"]}
    params.n_ctx, params.n_predict = wanted["context_tokens"], ANSWER_TOKENS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    if wanted["task"] != "chat":
        pooling = "LAST" if wanted["task"] == "embedding" else "RANK"
        params.embedding, params.n_parallel = True, 1
        params.pooling_type = getattr(xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{pooling}")
        params.n_batch = params.n_ubatch = wanted["context_tokens"]  # a text has to fit into one
    params.hostnames, params.port = ["127.0.0.1"], 0
    # The binding shows this default but the server acts on it only when it is set.
    params.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_DEEPSEEK
    params.ui, params.warmup = False, False
    server = xllamacpp.Server(params)
    # For the parent. Closed by a mark, because llama.cpp's threads may write into the same line.
    print(f"\nready: {server.listening_address} .", flush=True)  # noqa: T201
    threading.Event().wait()


def _serve_transformers() -> None:
    importlib.import_module("transformers.cli.transformers").main()


if __name__ == "__main__":
    del sys.path[0]  # this folder: its module names must not hide anybody's
    _die_with_parent()
    kind, *sys.argv[1:] = sys.argv[1:]
    if kind == "llama.cpp":
        _serve_llama_cpp(json.loads(sys.argv[1]))
    else:
        _serve_transformers()
