"""What the chat models cost beside the server: time per streamed chunk and per call, as ratios in one run.

A server in a process of its own answers at once with bytes made beforehand, so what is measured is the client: the bare
openai SDK, LangChain's ChatOpenAI on top of it, and this project's ChatQwen3 and Qwen3. All of them are
run in turns, round after round, and each ratio is the median of the ratios within a round: noise of the machine hits
all of a round alike. Writes ``chat_overhead.md``.

    python benchmarks/chat_overhead.py
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import openai
from langchain_openai import ChatOpenAI
from llama_index.core.base.llms.types import ChatMessage
from tabulate import tabulate

from langchain_qwen3 import ChatQwen3
from llamaindex_qwen3 import Qwen3

CHUNKS = 1_000  # half reasoning, half answer
MODEL = "Qwen/Qwen3-8B"
QUESTION = "Which is larger, 9.11 or 9.9?"
REPORT = Path(__file__).with_suffix(".md")
BARE = "openai SDK"


def _chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    return b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n"


_USAGE = {"prompt_tokens": 12, "completion_tokens": CHUNKS, "total_tokens": CHUNKS + 12}
_STREAM = b"".join(
    [
        _chunk({"role": "assistant", "content": ""}),
        *(_chunk({"reasoning": " so"}) for _ in range(CHUNKS // 2)),
        *(_chunk({"content": " and"}) for _ in range(CHUNKS // 2)),
        _chunk({}, "stop"),
        b"data: "
        + json.dumps(
            {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": [], "usage": _USAGE}
        ).encode()
        + b"\n\n",
        b"data: [DONE]\n\n",
    ]
)
_WHOLE = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "9.9 is larger.", "reasoning": "9.9 is 9.90."},
            }
        ],
        "usage": _USAGE,
    }
).encode()


class _Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet; two would wait for the client's acknowledgement

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        stream = body.get("stream")
        answer = _STREAM if stream else _WHOLE
        self.send_response(200)
        self.send_header("content-type", "text/event-stream" if stream else "application/json")
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


def clients(url: str) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Return for each client what streams an answer to its end, and what asks for a whole one."""
    bare = openai.OpenAI(base_url=url, api_key="x")
    messages: Any = [{"role": "user", "content": QUESTION}]
    usage: Any = {"include_usage": True}
    chat_openai = ChatOpenAI(model=MODEL, base_url=url, api_key="x", stream_usage=True)  # type: ignore[arg-type]
    chat_qwen3 = ChatQwen3(model=MODEL, base_url=url, server="vllm")
    qwen3 = Qwen3(model=MODEL, api_base=url, server="vllm")
    asked = [ChatMessage(QUESTION)]

    def drain(chunks: Any) -> None:
        count = sum(1 for _ in chunks)
        assert count >= CHUNKS, count

    return {
        BARE: (
            lambda: drain(
                bare.chat.completions.create(model=MODEL, messages=messages, stream=True, stream_options=usage)
            ),
            lambda: bare.chat.completions.create(model=MODEL, messages=messages),
        ),
        "ChatOpenAI": (lambda: drain(chat_openai.stream(QUESTION)), lambda: chat_openai.invoke(QUESTION)),
        "ChatQwen3": (lambda: drain(chat_qwen3.stream(QUESTION)), lambda: chat_qwen3.invoke(QUESTION)),
        "Qwen3 (LlamaIndex)": (lambda: drain(qwen3.stream_chat(asked)), lambda: qwen3.chat(asked)),
    }


def measure(runs: dict[str, Callable[[], Any]], rounds: int, times: int) -> dict[str, list[float]]:
    """Return the seconds of one run of each, for every round."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            started = time.perf_counter()
            for _ in range(times):
                runs[name]()
            if number:  # the first round warms up
                seconds[name].append((time.perf_counter() - started) / times)
    return seconds


def rows(seconds: dict[str, list[float]], parts: int) -> list[list[str]]:
    """Return a table's rows: microseconds of one part, and the ratios to the SDK and to ChatOpenAI."""

    def ratio(name: str, other: str) -> str:
        each = sorted(mine / theirs for mine, theirs in zip(seconds[name], seconds[other], strict=True))
        low, high = each[len(each) // 4], each[-1 - len(each) // 4]
        return f"{statistics.median(each):.2f} ({low:.2f} to {high:.2f})"

    return [
        [name, f"{statistics.median(all_) / parts * 1e6:,.0f}", ratio(name, BARE), ratio(name, "ChatOpenAI")]
        for name, all_ in seconds.items()
    ]


def report(streamed: dict[str, list[float]], called: dict[str, list[float]], rounds: int) -> str:
    """Return the report as markdown."""
    packages = ("openai", "langchain-openai", "langchain-core", "llama-index-core")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    head = ["client", "µs", f"to the {BARE}", "to ChatOpenAI"]
    return f"""# What the chat models cost beside the server

Written by `benchmarks/chat_overhead.py`: {rounds} rounds on {platform.processor() or platform.machine()}, Python
{platform.python_version()}, {versions}. The server answers at once, from another process. Ratios are medians of the
ratios within a round, with the middle half of them in brackets; the absolute times are this machine's.

## Each chunk of a stream

{CHUNKS:,} chunks, half of them reasoning. ChatOpenAI loses the reasoning; the others keep it apart from the answer.

{tabulate(rows(streamed, CHUNKS), headers=head, tablefmt="github")}

## Each call that is not streamed

{tabulate(rows(called, 1), headers=head, tablefmt="github")}
"""


def main() -> None:
    """Run all of it and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            url = server.stdout.readline().strip()
            all_ = clients(url)
            streamed = measure({name: stream for name, (stream, _) in all_.items()}, options.rounds, 1)
            called = measure({name: call for name, (_, call) in all_.items()}, options.rounds, 20)
        finally:
            server.terminate()
    text = report(streamed, called, options.rounds)
    REPORT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
