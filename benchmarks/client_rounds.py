"""What the benchmarks of clients share: a server that answers at once from another process, and rounds in turns."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any]], tuple[str, bytes]]
"""A request's body to a content type and the bytes of an answer, made beforehand."""

SERVE = "--serve"
"""The argument with which a benchmark starts itself as the server."""


def serve(answer: Answer) -> None:
    """Answer until the process is ended; the first line printed is the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body in one packet; two would wait for the client's acknowledgement

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            kind, content = answer(body)
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    server.serve_forever()


@contextmanager
def served_by(script: str) -> Iterator[str]:
    """Run a script with `SERVE` for the length of a ``with`` block and yield its URL."""
    with subprocess.Popen([sys.executable, script, SERVE], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def measure(runs: Mapping[str, Callable[[], Any]], rounds: int, times: int = 1) -> dict[str, list[float]]:
    """Return the seconds of one run of each, for every round; all are run in turns, and a first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            started = time.perf_counter()
            for _ in range(times):
                runs[name]()
            if number:
                seconds[name].append((time.perf_counter() - started) / times)
    return seconds


def ratio(above: Sequence[float], below: Sequence[float]) -> str:
    """Return the median of the ratios within a round, with the middle half of them in brackets."""
    each = sorted(one / other for one, other in zip(above, below, strict=True))
    low, high = each[len(each) // 4], each[-1 - len(each) // 4]
    return f"{statistics.median(each):.2f} ({low:.2f} to {high:.2f})"
