"""`Workers`: a few computations at a time for any number of loops, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import pickle
import threading

import pytest

from qwen3_core import LocalEmbedder
from qwen3_core.workers import Workers

pytestmark = pytest.mark.usefixtures("no_thread_stays")


@pytest.fixture
def one() -> Workers:
    return Workers(1)


async def test_first_come_first_served_off_the_loop_in_one_thread(one: Workers) -> None:
    places: list[int] = []
    threads: set[int] = set()
    gate = threading.Event()

    def work(place: int) -> int:
        gate.wait()
        places.append(place)
        threads.add(threading.get_ident())
        return place * 2

    tasks = [asyncio.ensure_future(one.run(work, place)) for place in range(20)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*tasks) == [place * 2 for place in range(20)]
    assert places == list(range(20))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_never_two_at_once_from_several_event_loops(one: Workers) -> None:
    busy = threading.Lock()
    overlaps: list[bool] = []

    def work() -> None:
        overlaps.append(not busy.acquire(blocking=False))
        busy.release()

    async def many() -> None:
        await asyncio.gather(*(one.run(work) for _ in range(50)))

    threads = [threading.Thread(target=lambda: asyncio.run(many())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert overlaps == [False] * 200
    asyncio.run(many())
    assert len(overlaps) == 250


@pytest.mark.parametrize("limit", [2, 5])
async def test_as_many_at_once_as_the_limit_says(limit: int) -> None:
    workers, together = Workers(limit), threading.Barrier(limit)
    threads: set[int] = set()

    def work(place: int) -> int:
        together.wait(60)  # passes only when `limit` of them are here
        threads.add(threading.get_ident())
        return place

    assert await asyncio.gather(*(workers.run(work, place) for place in range(4 * limit))) == list(range(4 * limit))
    assert limit <= len(threads) <= 4 * limit


async def test_errors_reach_their_caller_only(one: Workers) -> None:
    def work(divisor: int) -> float:
        return 6 / divisor

    found = await asyncio.gather(*(one.run(work, divisor) for divisor in (1, 0, 2)), return_exceptions=True)
    assert [found[0], found[2]] == [6, 3]
    assert isinstance(found[1], ZeroDivisionError)


async def test_a_call_cancelled_while_it_waits_never_runs(one: Workers) -> None:
    started, gate = threading.Event(), threading.Event()
    ran: list[str] = []

    def hold() -> None:
        started.set()
        gate.wait()

    first = asyncio.ensure_future(one.run(hold))
    second, third = (asyncio.ensure_future(one.run(ran.append, name)) for name in ("second", "third"))
    while not started.is_set():
        await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.set()
    await asyncio.gather(first, third)
    assert ran == ["third"]


async def test_a_call_cancelled_while_it_runs_ends_before_the_next(one: Workers) -> None:
    started, gate = threading.Event(), threading.Event()
    done: list[str] = []

    def hold() -> None:
        started.set()
        gate.wait()
        done.append("first")

    first = asyncio.ensure_future(one.run(hold))
    while not started.is_set():
        await asyncio.sleep(0)
    first.cancel()
    second = asyncio.ensure_future(one.run(done.append, "second"))
    with pytest.raises(asyncio.CancelledError):
        await first
    assert done == []
    gate.set()
    await second
    assert done == ["first", "second"]


def test_a_loop_that_ends_early_blocks_nobody(one: Workers) -> None:
    started, gate = threading.Event(), threading.Event()

    def hold() -> None:
        started.set()
        gate.wait()

    async def leave() -> None:
        tasks = [asyncio.ensure_future(one.run(hold)), asyncio.ensure_future(one.run(hold))]
        while not started.is_set():
            await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)

    asyncio.run(leave())
    gate.set()
    assert asyncio.run(one.run(len, "abc")) == 3


async def test_the_callers_context_travels(one: Workers) -> None:
    variable = contextvars.ContextVar("variable", default="none")
    variable.set("mine")
    assert await one.run(variable.get) == "mine"
    await one.run(variable.set, "changed")
    assert variable.get() == "mine"


async def test_no_thread_can_be_started(one: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("can't start")))
        with pytest.raises(RuntimeError, match="can't start"):
            await one.run(len, "abc")
    assert await one.run(len, "abc") == 3


async def test_copies_and_pickles_have_a_queue_of_their_own() -> None:
    engine = LocalEmbedder("mini", dtype="float32")
    wanted = await engine.aembed_query("q")
    for twin in (copy.deepcopy(engine), pickle.loads(pickle.dumps(engine))):
        assert await twin.aembed_query("q") == pytest.approx(wanted, abs=1e-5)
