"""What the client of embedding servers costs beside the server: texts per second, as ratios in one run.

A server in a process of its own answers at once with vectors made beforehand, so what is measured is the client: the
bare openai SDK, langchain-openai's OpenAIEmbeddings on top of it, and this project's. All of them are run in turns,
round after round, and each ratio is the median of the ratios within a round: noise of the machine hits all of a round
alike. Writes ``remote.md``.

    python benchmarks/remote.py
"""

from __future__ import annotations

import argparse
import base64
import functools
import json
import platform
import random
import statistics
import subprocess
import sys
import time
from array import array
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import openai
from langchain_openai import OpenAIEmbeddings
from tabulate import tabulate

from langchain_qwen3 import Qwen3Embeddings
from llamaindex_qwen3 import Qwen3Embedding
from qwen3_core import RemoteEmbedder

MODEL = "Qwen/Qwen3-Embedding-0.6B"
SIZE = 1024  # numbers of a vector, as that model has
TEXTS = [f"{number}: " + "Milvus keeps inserted data as logs in object storage. " * 6 for number in range(1_000)]
ROWS = 64
QUERIES = 50
REPORT = Path(__file__).with_suffix(".md")
SDK, LANGCHAIN = "openai SDK", "OpenAIEmbeddings"


@functools.cache
def _answer(rows: int, encoding: str) -> bytes:
    generator = random.Random(1)
    numbers = [generator.uniform(-1, 1) for _ in range(SIZE)]
    length = sum(number * number for number in numbers) ** 0.5
    vector = array("f", (number / length for number in numbers))
    value = base64.b64encode(vector.tobytes()).decode() if encoding == "base64" else vector.tolist()
    data = [{"object": "embedding", "index": row, "embedding": value} for row in range(rows)]
    usage = {"prompt_tokens": rows, "total_tokens": rows}
    return json.dumps({"object": "list", "data": data, "model": MODEL, "usage": usage}).encode()


class _Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet; two would wait for the client's acknowledgement

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        rows = 1 if isinstance(body["input"], str) else len(body["input"])
        answer = _answer(rows, body.get("encoding_format", "float"))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


def serve() -> None:
    """Answer until the input ends; the first line printed is the URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    server.serve_forever()


def same_requests(url: str) -> dict[str, Callable[[], Any]]:
    """Return for each client what embeds the texts in requests of `ROWS`, one after the other."""
    bare = openai.OpenAI(base_url=url, api_key="x")
    ours = {"base_url": url, "server": "vllm", "batch_size": ROWS, "max_concurrency": 1, "check": False}

    def by_sdk() -> list[list[float]]:
        vectors: list[list[float]] = []
        for start in range(0, len(TEXTS), ROWS):
            answer = bare.embeddings.create(model=MODEL, input=TEXTS[start : start + ROWS])
            vectors += [row.embedding for row in answer.data]
        return vectors

    return {
        SDK: by_sdk,
        LANGCHAIN: functools.partial(_openai(url, chunk_size=ROWS).embed_documents, TEXTS),
        "RemoteEmbedder": functools.partial(RemoteEmbedder(MODEL, **ours).embed_documents, TEXTS),
        "Qwen3Embeddings": functools.partial(Qwen3Embeddings(**ours).embed_documents, TEXTS),
    }


def by_default(url: str) -> dict[str, Callable[[], Any]]:
    """Return for each client what embeds the texts as it does if nothing is said about requests."""
    bare = openai.OpenAI(base_url=url, api_key="x")
    ours = {"server": "vllm", "check": False}
    llama = Qwen3Embedding(api_base=url, embed_batch_size=len(TEXTS), **ours)
    return {
        SDK: lambda: [row.embedding for row in bare.embeddings.create(model=MODEL, input=TEXTS).data],
        LANGCHAIN: functools.partial(_openai(url).embed_documents, TEXTS),
        "Qwen3Embeddings": functools.partial(Qwen3Embeddings(base_url=url, **ours).embed_documents, TEXTS),
        "Qwen3Embedding (LlamaIndex)": functools.partial(llama.get_text_embedding_batch, TEXTS),
    }


def queries(url: str) -> dict[str, Callable[[], Any]]:
    """Return for each client what embeds queries, one after the other."""
    bare = openai.OpenAI(base_url=url, api_key="x")
    ours = Qwen3Embeddings(base_url=url, server="vllm", check=False)
    theirs = _openai(url)
    return {
        SDK: lambda: [bare.embeddings.create(model=MODEL, input=text).data[0].embedding for text in TEXTS[:QUERIES]],
        LANGCHAIN: lambda: [theirs.embed_query(text) for text in TEXTS[:QUERIES]],
        "Qwen3Embeddings": lambda: [ours.embed_query(text) for text in TEXTS[:QUERIES]],
    }


def _openai(url: str, **more: Any) -> OpenAIEmbeddings:
    # Without the last argument it sends token ids of OpenAI's tokenizer, which mean other words to Qwen3.
    return OpenAIEmbeddings(model=MODEL, base_url=url, api_key="x", check_embedding_ctx_length=False, **more)


def measure(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of one run of each, for every round."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            started = time.perf_counter()
            vectors = runs[name]()
            taken = time.perf_counter() - started
            assert {len(vector) for vector in vectors} == {SIZE}
            if number:  # the first round warms up
                seconds[name].append(taken)
    return seconds


def section(title: str, text: str, seconds: dict[str, list[float]], count: int) -> str:
    """Return a part of the report: texts per second, and how many times those of the others."""

    def ratio(name: str, other: str) -> str:
        each = sorted(theirs / mine for mine, theirs in zip(seconds[name], seconds[other], strict=True))
        low, high = each[len(each) // 4], each[-1 - len(each) // 4]
        return f"{statistics.median(each):.2f} ({low:.2f} to {high:.2f})"

    rows = [
        [name, f"{count / statistics.median(all_):,.0f}", ratio(name, SDK), ratio(name, LANGCHAIN)]
        for name, all_ in seconds.items()
    ]
    head = ["client", "texts a second", f"times the {SDK}", f"times {LANGCHAIN}"]
    return f"## {title}\n\n{text}\n\n{tabulate(rows, headers=head, tablefmt='github')}\n"


def report(url: str, rounds: int) -> str:
    """Measure everything and return the report as markdown."""
    packages = ("openai", "langchain-openai", "langchain-core", "llama-index-core", "httpx")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    parts = [
        f"""# What the client of embedding servers costs beside the server

Written by `benchmarks/remote.py`: {rounds} rounds on {platform.processor() or platform.machine()}, Python
{platform.python_version()}, {versions}.
The server answers at once, from another process on the same machine, with vectors of {SIZE:,} numbers; a real one takes
longer than any client. Ratios are medians of the ratios within a round, with the middle half of them in brackets: above
1 is faster. The absolute figures are this machine's.
""",
        section(
            "The same requests",
            f"{len(TEXTS):,} texts of about 330 characters, {ROWS} in each request, one after the other.",
            measure(same_requests(url), rounds),
            len(TEXTS),
        ),
        section(
            "Each client by its defaults",
            f"{len(TEXTS):,} texts: in one request for the two others, 64 in each and four at a time for this\n"
            "project's, which gains nothing with a server that needs no time.",
            measure(by_default(url), rounds),
            len(TEXTS),
        ),
        section("Queries", f"{QUERIES} queries, one after the other.", measure(queries(url), rounds), QUERIES),
    ]
    return "\n".join(parts)


def main() -> None:
    """Run all of it and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            text = report(server.stdout.readline().strip(), options.rounds)
        finally:
            server.terminate()
    REPORT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
