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
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import openai
from client_rounds import SERVE, measure, ratio, serve, served_by
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


def answer(body: dict[str, Any]) -> tuple[str, bytes]:
    """Return a stream if one is asked for, else a whole answer."""
    return ("text/event-stream", _STREAM) if body.get("stream") else ("application/json", _WHOLE)


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


def rows(seconds: dict[str, list[float]], parts: int) -> list[list[str]]:
    """Return a table's rows: microseconds of one part, and the ratios to the SDK and to ChatOpenAI."""
    return [
        [
            name,
            f"{statistics.median(all_) / parts * 1e6:,.0f}",
            ratio(all_, seconds[BARE]),
            ratio(all_, seconds["ChatOpenAI"]),
        ]
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
    parser.add_argument(SERVE, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(answer)
        return
    with served_by(__file__) as url:
        all_ = clients(url)
        streamed = measure({name: stream for name, (stream, _) in all_.items()}, options.rounds, 1)
        called = measure({name: call for name, (_, call) in all_.items()}, options.rounds, 20)
    text = report(streamed, called, options.rounds)
    REPORT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
