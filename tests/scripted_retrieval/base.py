"""An embedding and rerank server that answers by a script and enforces the rules of the real one.

Each dialect is a subclass: it says in `ScriptedRetrieval.routes` what can be posted where and which fields are read
there, refuses with `Refusal`, and writes answers out of rows, so that a fault can tamper with them first.
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import httpx
from scripted_chat.wire import Answer, Request, clients, serving

from scripted_retrieval import faults as faults_
from scripted_retrieval.answers import Refusal, Route, Seen
from scripted_retrieval.faults import Fault, Row
from scripted_retrieval.started import Started


@dataclass
class ScriptedRetrieval(Started):
    """A server; its options are those of `Started`."""

    server: ClassVar[str] = ""
    url: ClassVar[str] = "http://127.0.0.1:9/v1"
    software: ClassVar[str] = "uvicorn"
    json_type: ClassVar[str] = "application/json"
    default_model: ClassVar[str] = "Qwen/Qwen3-Embedding-0.6B"
    open_paths: ClassVar[tuple[str, ...]] = ()

    # --- what tests use

    def clients(self) -> dict[str, Any]:
        """Return ``http_client`` and ``http_async_client`` of the package httpx, with this server at the other end."""
        return clients(self.answer, httpx)

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve on a loopback port; yields the base URL, with the real server's path."""
        with serving(self.answer) as root:
            yield root + self.url.removeprefix("/".join(self.url.split("/", 3)[:3]))

    @property
    def last(self) -> Any:
        """The last request's body."""
        return self.requests[-1].body

    @property
    def name(self) -> str:
        """The first model that it serves."""
        return (self.models or (self.default_model,))[0]

    # --- what a dialect says

    def routes(self) -> dict[str, Route]:
        """Return what can be posted, by path."""
        raise NotImplementedError

    def pages(self) -> dict[str, Any]:
        """Return what GET answers, by path; None for an empty page, bytes for text."""
        return {}

    def error(self, refusal: Refusal, path: str) -> Any:
        """Return the body of an error; None for an empty one, bytes for text."""
        raise NotImplementedError

    def wrong_key(self, path: str) -> Refusal:
        """Return the error for a missing or a wrong key."""
        return Refusal("Unauthorized", 401)

    def no_route(self, method: str, path: str) -> Refusal:
        """Return the error for a path that is not there."""
        return Refusal("Not Found", 404)

    def unknown_model(self, wanted: object) -> Refusal:
        """Return the error for a model that is not served."""
        return Refusal(f"The model `{wanted}` does not exist.", 404, kind="NotFoundError")

    def not_finite(self, rows: list[Row]) -> list[Row]:
        """Write numbers that are none as the real server does, by default null; or refuse."""
        return [replace(row, value=_nulled(row.value)) for row in rows]

    def check(self, body: dict[str, Any], path: str) -> None:
        """Refuse what no route takes; by default a model that is not served."""
        if self.models and body.get("model") not in (None, *self.models):
            raise self.unknown_model(body.get("model"))

    # --- the request's way through

    def answer(self, request: Request) -> Answer:
        """Answer one request; what is recorded stays in step where several come at once."""
        with self._one_at_a_time:
            return self._answer(request)

    def _answer(self, request: Request) -> Answer:
        path = request.path.partition("?")[0]
        fault = None
        try:
            if request.method == "GET":
                return self._page(request, path)
            body = json.loads(request.body)
            self.requests.append(Seen(path, body, request.headers))
            fault = faults_.fault_at(self.faults, len(self.requests) - 1)
            early = self._early(fault, path)
            return early if early is not None else self._posted(request, path, body, fault)
        except Refusal as refusal:
            answer = self.json(refusal.status, self.error(refusal, path))
            return replace(answer, delay=fault.seconds) if isinstance(fault, faults_.Delay) else answer

    def _page(self, request: Request, path: str) -> Answer:
        self._require_key(request, path)
        pages = self.pages()
        if path not in pages:
            raise self.no_route(request.method, path)
        return self.json(200, pages[path])

    def _early(self, fault: Fault | None, path: str) -> Answer | None:
        if isinstance(fault, faults_.Drop):
            return Answer(0, {}, (), dropped=True)
        if isinstance(fault, faults_.Page):
            return Answer(fault.status, {"content-type": "text/html"}, (faults_.PAGE,))
        if isinstance(fault, faults_.Status):
            answer = self.json(fault.status, self.error(self.trouble(fault.status), path))
            wait = {} if fault.retry_after is None else {"retry-after": f"{fault.retry_after:g}"}
            return replace(answer, headers={**answer.headers, **wait})
        return None

    def _posted(self, request: Request, path: str, body: Any, fault: Fault | None) -> Answer:
        self._require_key(request, path)
        found = self.routes().get(path)
        if found is None:
            raise self.no_route(request.method, path)
        self.check(body, path)
        self.ignored.append(tuple(sorted(set(body) - found.reads)))
        answered = found.answer(body)
        rows = answered.rows
        if any(not _finite(row.value) for row in rows):
            rows = self.not_finite(rows)
        answer = self.json(200, answered.write(faults_.tampered(rows, fault)))
        answer = replace(answer, headers={**answer.headers, **answered.headers})
        if isinstance(fault, faults_.Delay):
            return replace(answer, delay=fault.seconds)
        if isinstance(fault, faults_.Cut):
            whole = answer.pieces[0]
            return replace(answer, pieces=(whole[: int(len(whole) * fault.share)],), broken=not fault.clean)
        return answer

    def _require_key(self, request: Request, path: str) -> None:
        if self.key and path not in self.open_paths and request.headers.get("authorization") != f"Bearer {self.key}":
            raise self.wrong_key(path)

    def trouble(self, status: int) -> Refusal:
        """Return the error that the server sends with a status of its own, such as 429 or 503."""
        texts = {429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}
        return Refusal(texts.get(status, "Bad Gateway"), status)

    def json(self, status: int, body: Any) -> Answer:
        """Return a JSON body; nothing for None, and bytes as text."""
        plain = isinstance(body, bytes)
        headers = {"content-type": "text/plain; charset=utf-8" if plain else self.json_type}
        if self.software:
            headers["server"] = self.software
        if body is None:
            return Answer(status, headers, ())
        return Answer(status, headers, (body if plain else json.dumps(body, ensure_ascii=False).encode(),))


def _finite(value: Any) -> bool:
    # A vector that is not finite here is so in every element.
    number = value[0] if isinstance(value, list) and value else value
    return not isinstance(number, float) or math.isfinite(number)


def _nulled(value: Any) -> Any:
    if isinstance(value, list):
        return [_nulled(element) for element in value]
    return value if _finite(value) else None
