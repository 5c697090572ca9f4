"""The clients on servers and lines that fail: nothing lost, doubled or misplaced, nothing asked twice without need."""

import asyncio
import gc
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from remote_asking import DOCS, EMBED, QUERY, RERANK, Ask, are_of, both, directly, in_a_loop, prompt
from scripted_chat.wire import Request
from scripted_retrieval import (
    Cut,
    Delay,
    Drop,
    DuplicateIndex,
    NotFinite,
    Page,
    ScriptedRetrieval,
    Shuffled,
    Status,
    Vllm,
    WrongCount,
    model,
)

from qwen3_core.remote import PartialError, PassingError, RemoteEmbedder, RemoteReranker, ServerError
from qwen3_core.remote import http as remote_http

TEXTS = [f"text number {number} of many" for number in range(3000)]
STORM: tuple[Any, ...] = (
    Drop(), Delay(0.002), Status(429, 0.001), Status(429), Status(500), Status(502), Status(503, 0), Cut(),
    Cut(clean=True), WrongCount(-1), WrongCount(1), Shuffled(), DuplicateIndex(), NotFinite(), NotFinite(null=True),
    Page(502), Page(200),
)  # fmt: skip


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_http, "_FIRST_WAIT", 0.0005)
    monkeypatch.setattr(remote_http, "random", SimpleNamespace(uniform=lambda low, high: low))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [thread.name for thread in threading.enumerate() if thread not in before]
    assert [name for name in left if "process_request_thread" not in name] == [], "other than of http.server"


def storm(seed: int, share: float = 0.25, kinds: Sequence[Any] = STORM) -> list[Any]:
    chance = random.Random(seed)
    return [chance.choice(kinds) if chance.random() < share else None for _ in range(20_000)]


def embedder(server: ScriptedRetrieval, **options: Any) -> RemoteEmbedder:
    usual = {"check": False, "batch_size": 16, "max_concurrency": 8, "max_retries": 12}
    return EMBED["vllm"].embedder(server, **{**usual, **options})


@both
@pytest.mark.parametrize("seed", [1, 2])
def test_a_storm_loses_doubles_and_misplaces_no_vector(seed: int, ask: Ask) -> None:
    server = Vllm(size=64, faults=storm(seed))
    vectors = ask(embedder(server), "embed_documents", [*TEXTS, TEXTS[5]])
    assert are_of(vectors, [*TEXTS, TEXTS[5]], 64, of=64)
    assert 200 < len(server.requests) < 400, "188 requests, and those that failed again"


@both
@pytest.mark.parametrize("name", ["native", "sglang", "xinference"])
def test_a_storm_is_survived_in_other_dialects(name: str, ask: Ask) -> None:
    of = EMBED[name].embedder(
        EMBED[name].start(size=64, ignores_dimensions=True, faults=storm(3)), check=False, max_retries=12
    )
    assert are_of(ask(of, "embed_documents", TEXTS[:400]), TEXTS[:400], 64, of=64)


@both
@pytest.mark.parametrize("name", ["vllm", "tei", "llama.cpp"])
def test_a_storm_loses_doubles_and_misplaces_no_score(name: str, ask: Ask) -> None:
    server = RERANK[name].start(faults=storm(4))
    reranker = RERANK[name].reranker(server, check=False, batch_size=16, max_concurrency=8, max_retries=12)
    assert ask(reranker, "score", QUERY, TEXTS[:1000]) == pytest.approx(
        [model.judge(prompt(QUERY, text)) for text in TEXTS[:1000]]
    )


@both
@pytest.mark.parametrize("kind", ["bad_texts", "nan_texts"])
@pytest.mark.parametrize("name", ["vllm", "llama.cpp", "tei", "ollama", "native", "sglang"])
def test_bad_texts_are_named_and_cost_the_others_nothing(name: str, kind: str, ask: Ask) -> None:
    texts, bad = TEXTS[:400], {3, 4, 77, 399}
    options: Any = {kind: frozenset(texts[place] for place in bad)}
    server = EMBED[name].start(size=64, ignores_dimensions=True, **options)
    of = EMBED[name].embedder(server, check=False, max_concurrency=8)
    with pytest.raises(PartialError) as caught:
        ask(of, "embed_documents", texts)
    error = caught.value
    assert set(error.missing) == bad
    assert [place for place, row in enumerate(error.results) if row is None] == sorted(bad)
    good = [place for place in range(400) if place not in bad]
    assert are_of([error.results[place] for place in good], [texts[place] for place in good], 64, of=64)
    assert "4 of 400 texts" in str(error)
    before, server.seen_texts[:] = len(server.requests), []
    with pytest.raises(PartialError) as caught:
        ask(of, "embed_documents", texts)
    assert set(caught.value.missing) == bad
    assert set(server.seen_texts) <= {texts[place] for place in bad}, "the others are not asked for again"
    assert len(server.requests) - before <= 3 * 7, "what 4 texts cost in halves, each three times"
    server.bad_texts = server.nan_texts = frozenset()
    assert are_of(ask(of, "embed_documents", texts), texts, 64, of=64)
    assert set(server.seen_texts) == {texts[place] for place in bad}


@both
def test_bad_documents_are_named_and_cost_the_others_nothing(ask: Ask) -> None:
    documents = TEXTS[:200]
    server = RERANK["vllm"].start(bad_texts=frozenset({documents[0], documents[100]}))
    reranker = RERANK["vllm"].reranker(server, check=False)
    for _ in range(2):
        with pytest.raises(PartialError) as caught:
            ask(reranker, "score", QUERY, documents)
        assert set(caught.value.missing) == {0, 100}
        assert caught.value.results[1:3] == pytest.approx([model.judge(prompt(QUERY, text)) for text in TEXTS[1:3]])
    seen = len(server.seen_texts)
    with pytest.raises(PartialError):
        ask(reranker, "score", "another query", documents)
    assert len(server.seen_texts) - seen >= 198, "what is kept belongs to the query"


@both
@pytest.mark.parametrize("bad", [set(range(50, 80)), set(range(20))], ids=["later", "first"])
def test_many_bad_texts_in_a_row_cost_the_others_nothing(bad: set[int], ask: Ask) -> None:
    of = embedder(Vllm(size=64, bad_texts=frozenset(TEXTS[place] for place in bad)), max_concurrency=1)
    for _ in range(3):
        with pytest.raises(PartialError) as caught:
            ask(of, "embed_documents", TEXTS[:400])
    assert set(caught.value.missing) == bad


@both
@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_bad_text_that_is_alone_in_its_request_costs_the_others_nothing(concurrency: int, ask: Ask) -> None:
    server = Vllm(size=64, bad_texts=frozenset({TEXTS[2]}))
    of = embedder(server, batch_size=1, max_concurrency=concurrency)
    with pytest.raises(PartialError) as caught:
        ask(of, "embed_documents", TEXTS[:40])
    assert set(caught.value.missing) == {2}


@both
@pytest.mark.parametrize("refusal", [Status(500), Status(400), Page(200)])
def test_a_server_that_refuses_everything_is_not_asked_for_every_text(refusal: Any, ask: Ask) -> None:
    server = Vllm(size=64, faults=lambda _: refusal)
    with pytest.raises(ServerError):
        ask(embedder(server, batch_size=64, max_concurrency=1), "embed_documents", TEXTS[:64])
    assert len(server.requests) < 127, "and not that, or three times that for a 500"


@both
@pytest.mark.parametrize("down", [Status(503), Drop(), Status(502), Page(502)])
def test_a_server_that_goes_down_halfway_leaves_what_it_did(down: Any, ask: Ask) -> None:
    server = Vllm(size=64, faults=lambda number: down if number >= 100 else None)
    of = embedder(server, max_retries=2)
    with pytest.raises(PartialError) as caught:
        ask(of, "embed_documents", TEXTS)
    missing = set(caught.value.missing)
    assert len(missing) == 3000 - 1600
    assert len(server.requests) <= 100 + 8 * 3, "the first that fails stops those that have not begun"
    assert all(row is None for place, row in enumerate(caught.value.results) if place in missing)
    server.faults, server.seen_texts[:] = (), []
    assert are_of(ask(of, "embed_documents", TEXTS), TEXTS, 64, of=64)
    assert sorted(server.seen_texts) == sorted(TEXTS[place] for place in missing), "only what is missing"
    server.seen_texts.clear()
    ask(of, "embed_documents", TEXTS[:20])
    assert len(server.seen_texts) == 20, "nothing is kept once all is well"


@both
@pytest.mark.parametrize(
    ("faults", "options", "asked"),
    [
        ([Status(429)] * 99, {"max_retries": 4}, 5), ([Status(503)] * 99, {"max_retries": 0}, 1),
        ([Drop()] * 99, {"max_retries": 2}, 3), ([Page(502)] * 99, {"max_retries": 3}, 4),
        ([Status(500)] * 99, {"max_retries": 9}, 3), ([Page(200)] * 99, {"max_retries": 9}, 2),
        ([WrongCount()] * 99, {"max_retries": 9}, 2), ([Status(401)], {}, 1), ([Status(403)], {}, 1),
        ([Status(404)], {}, 1), ([Status(400)], {}, 1), ([Status(422)], {}, 1), ([Status(501)], {}, 1),
        ([Status(429, 3.0)], {"deadline": 1.0}, 1), ([Status(503)] * 99, {"deadline": 1e-4}, 1),
    ],
)  # fmt: skip
def test_a_request_is_sent_again_as_often_as_it_may_help(faults: Any, options: Any, asked: int, ask: Ask) -> None:
    server = Vllm(faults=faults)
    begin = time.monotonic()
    with pytest.raises(ServerError) as caught:
        ask(embedder(server, **options), "embed_documents", ["a"])
    assert len(server.requests) == asked
    assert time.monotonic() - begin < 2
    assert isinstance(caught.value, PassingError) == (len(faults) > 1 or faults[0].status == 429)
    ask(embedder(Vllm(faults=faults[:1]), max_retries=1), "check") if len(faults) > 1 else None


def test_retries_wait_longer_each_time_and_as_long_as_the_server_says(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(remote_http, "_FIRST_WAIT", 0.5)
    monkeypatch.setattr(
        remote_http, "time", SimpleNamespace(sleep=waits.append, time=time.time, monotonic=time.monotonic)
    )
    server = Vllm(faults=[Status(503)] * 3 + [Status(429, 7)] + [Status(503)] * 8)
    embedder(server).embed_documents(["a"])
    assert waits[:4] == [0.25, 0.5, 1.0, 7.0]
    assert waits[4:] == [4.0, 8.0, *[15.0] * 6], "30 seconds at most"


def test_a_request_does_not_last_longer_than_the_deadline() -> None:
    allowed: list[float] = []

    def handle(request: httpx.Request) -> httpx.Response:
        allowed.append(request.extensions["timeout"]["read"])
        return httpx.Response(200, json={"data": [{"index": 0, "embedding": [1.0]}]})

    client = httpx.Client(transport=httpx.MockTransport(handle))
    embedder(Vllm(), http_client=client, timeout=60, deadline=5).embed_documents(["a"])
    assert allowed[0] <= 5


@both
def test_failures_of_one_kind_do_not_use_up_the_tries_of_another(ask: Ask) -> None:
    server = Vllm(faults=[Status(429), Status(429), Status(500), Status(500)])
    assert len(ask(embedder(server, max_retries=9), "embed_documents", ["a"])) == 1
    assert len(server.requests) == 5


@both
def test_a_server_that_is_not_there_is_said_soon(ask: Ask) -> None:
    with pytest.raises(PassingError, match=r"http://127\.0\.0\.1:9/v1/.* cannot be reached .*start the server"):
        ask(RemoteEmbedder("m", base_url="http://user:secret@127.0.0.1:9/v1", server="vllm"), "embed_documents", ["a"])


def watched(server: ScriptedRetrieval) -> tuple[dict[str, Any], list[int]]:
    """Clients that note how many requests are under way."""
    under_way, noted, lock = [0], [0], threading.Lock()

    def step(by: int) -> None:
        with lock:
            under_way[0] += by
            noted.append(under_way[0])

    def answer(request: httpx.Request) -> httpx.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        found = server.answer(Request(request.method, request.url.path, headers, request.content))
        return httpx.Response(found.status, headers=dict(found.headers), content=b"".join(found.pieces))

    def handle(request: httpx.Request) -> httpx.Response:
        step(1)
        time.sleep(0.003)
        step(-1)
        return answer(request)

    async def ahandle(request: httpx.Request) -> httpx.Response:
        step(1)
        await asyncio.sleep(0.003)
        step(-1)
        return answer(request)

    sync, loop = httpx.MockTransport(handle), httpx.MockTransport(ahandle)
    return {"http_client": httpx.Client(transport=sync), "http_async_client": httpx.AsyncClient(transport=loop)}, noted


@both
@pytest.mark.parametrize("most", [1, 3, 8])
def test_no_more_requests_at_once_than_allowed(most: int, ask: Ask) -> None:
    server = Vllm(size=64, faults=storm(5, kinds=(Status(429), Status(500), WrongCount())))
    clients, noted = watched(server)
    ask(embedder(server, max_concurrency=most, **clients), "embed_documents", TEXTS[:800])
    assert min(most, 2) <= max(noted) <= most
    reranker = RERANK["vllm"].reranker(Vllm(), max_concurrency=most, check=False, **clients)
    ask(reranker, "score", QUERY, TEXTS[:800])
    assert min(most, 2) <= max(noted) <= most


def _use_in_threads_and_loops(url: str) -> int:
    shared = RemoteEmbedder("m", base_url=url, server="vllm", max_retries=12, batch_size=16)
    reranker = RemoteReranker("m", base_url=url, server="vllm", max_retries=12)

    def work(number: int) -> bool:
        texts, ask = [f"{text} in {number}" for text in TEXTS[:60]], (directly, in_a_loop)[number % 2]
        scores = ask(reranker, "score", QUERY, DOCS)
        return are_of(ask(shared, "embed_documents", texts), texts, 64, of=64) and scores[1] == max(scores)

    async def at_once() -> None:
        found = await asyncio.gather(*(shared.aembed_documents(TEXTS[n : n + 50]) for n in range(0, 200, 50)))
        assert are_of([row for rows in found for row in rows], TEXTS[:200], 64, of=64)
        assert are_of(shared.embed_documents(TEXTS[:20]), TEXTS[:20], 64, of=64), "inside of a loop"
        assert len(await reranker.ascore(QUERY, DOCS)) == 3

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(6)))
    for _ in range(3):
        asyncio.run(at_once())
    return len(shared._connection.http._of_loop)


def test_threads_and_event_loops_share_one_object_and_leave_nothing_open() -> None:
    server = Vllm(size=64, faults=storm(6, 0.1))
    with server.serve() as url:
        assert _use_in_threads_and_loops(url) == 1, "clients of loops that have ended are let go"
        gc.collect()  # what was left open warns here, and warnings are errors


def test_a_call_that_is_cancelled_ends_its_requests_and_nothing_else() -> None:
    server = Vllm(size=64, faults=lambda number: Delay(0.05) if number < 8 else None)

    async def cancel_and_go_on() -> None:
        of = embedder(server)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(of.aembed_documents(TEXTS[:800]), 0.02)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        begun = len(server.requests)
        await asyncio.sleep(0.1)
        assert len(server.requests) == begun <= 8
        server.faults = lambda number: Delay(0.02)
        slow = asyncio.ensure_future(of.aembed_documents(TEXTS[:800]))
        await asyncio.sleep(0)
        assert are_of(await of.aembed_documents(TEXTS[:100]), TEXTS[:100], 64, of=64)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow

    asyncio.run(cancel_and_go_on())
    with server.serve() as url:
        of = RemoteEmbedder("m", base_url=url, server="vllm", check=False)
        server.faults = [None] * len(server.requests) + [Delay(0.2)] * 4
        with pytest.raises(asyncio.TimeoutError):
            asyncio.run(asyncio.wait_for(of.aembed_documents(TEXTS[:100]), 0.05))
        assert are_of(asyncio.run(of.aembed_documents(TEXTS[:100])), TEXTS[:100], 64, of=64)
