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
from array import array
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import openai
from client_rounds import SERVE, measure, ratio, serve, served_by
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


def answer(body: dict[str, Any]) -> tuple[str, bytes]:
    """Return as many vectors as are asked for, in the form that is asked for."""
    rows = 1 if isinstance(body["input"], str) else len(body["input"])
    return "application/json", _answer(rows, body.get("encoding_format", "float"))


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


def checked(run: Callable[[], Any]) -> Callable[[], None]:
    """Return what runs and looks at the vectors; that costs next to nothing, and all alike."""

    def run_and_look() -> None:
        assert {len(vector) for vector in run()} == {SIZE}

    return run_and_look


def section(title: str, text: str, seconds: dict[str, list[float]], count: int) -> str:
    """Return a part of the report: texts per second, and how many times those of the others."""
    rows = [
        [name, f"{count / statistics.median(all_):,.0f}", ratio(seconds[SDK], all_), ratio(seconds[LANGCHAIN], all_)]
        for name, all_ in seconds.items()
    ]
    head = ["client", "texts a second", f"times the {SDK}", f"times {LANGCHAIN}"]
    return f"## {title}\n\n{text}\n\n{tabulate(rows, headers=head, tablefmt='github')}\n"


def report(url: str, rounds: int) -> str:
    """Measure everything and return the report as markdown."""
    packages = ("openai", "langchain-openai", "langchain-core", "llama-index-core", "httpx")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)

    def taken(clients: Callable[[str], dict[str, Callable[[], Any]]]) -> dict[str, list[float]]:
        return measure({name: checked(run) for name, run in clients(url).items()}, rounds)

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
            taken(same_requests),
            len(TEXTS),
        ),
        section(
            "Each client by its defaults",
            f"{len(TEXTS):,} texts: in one request for the two others, 64 in each and four at a time for this\n"
            "project's, which gains nothing with a server that needs no time.",
            taken(by_default),
            len(TEXTS),
        ),
        section("Queries", f"{QUERIES} queries, one after the other.", taken(queries), QUERIES),
    ]
    return "\n".join(parts)


def main() -> None:
    """Run all of it and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument(SERVE, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(answer)
        return
    with served_by(__file__) as url:
        text = report(url, options.rounds)
    REPORT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
