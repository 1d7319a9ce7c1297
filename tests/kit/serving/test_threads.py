"""Blocking calls beside an event loop end when their time is over, and leave nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from threading import Event

import pytest

from tongqu.core.errors import BusyError, TimedOutError
from tongqu.kit.serving.threads import Running, Workers


def test_a_call_gives_its_value_or_its_error() -> None:
    async def work() -> None:
        workers = Workers(1, "t")
        assert await workers.run(lambda _: 7, 5) == 7
        with pytest.raises(ZeroDivisionError):
            await workers.run(lambda _: 1 // 0, 5)
        await workers.close()
        await workers.close()

    asyncio.run(work())


def test_a_slow_call_is_interrupted_and_its_worker_is_free_again() -> None:
    stopped = Event()

    def slow(running: Running) -> None:
        with running.interruptible(stopped.set):
            assert stopped.wait(20)
            raise RuntimeError("what a driver raises when it is interrupted")

    async def work() -> None:
        workers = Workers(1, "t")
        with pytest.raises(TimedOutError):
            await workers.run(slow, 0.05)
        assert await workers.run(lambda _: "next", 5) == "next"
        await workers.close()

    asyncio.run(work())
    assert stopped.is_set()


def test_a_call_that_finished_too_late_is_told_as_finished() -> None:
    go = Event()

    def committing(running: Running) -> str:
        assert go.wait(20)
        return "committed"

    async def work() -> None:
        workers = Workers(1, "t")
        asyncio.get_running_loop().call_later(0.1, go.set)
        assert await workers.alone(committing, 0.01) == "committed"
        await workers.close()

    asyncio.run(work())


def test_who_goes_away_stops_the_call() -> None:
    begun, stopped = Event(), Event()

    def slow(running: Running) -> None:
        with running.interruptible(stopped.set):
            begun.set()
            assert stopped.wait(20)

    async def work() -> None:
        workers = Workers(1, "t")
        task = asyncio.create_task(workers.run(slow, 60))
        assert await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await workers.close()

    asyncio.run(work())
    assert stopped.is_set()


def test_waiting_calls_are_bounded() -> None:
    go = Event()

    async def work() -> None:
        workers = Workers(1, "t", waiting=1)
        waiting = [asyncio.create_task(workers.run(lambda _: go.wait(20), 30)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await workers.run(lambda _: None, 5)
        go.set()
        assert await asyncio.gather(*waiting) == [True, True]
        await workers.close()

    asyncio.run(work())


def test_an_iterator_is_closed_however_it_ends() -> None:
    closed = Event()

    def numbers(_: Running) -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            closed.set()

    async def work() -> list[int]:
        workers = Workers(1, "t")
        found = []
        values = workers.each(numbers, 5)
        async for value in values:
            found.append(value)
            if value == 2:
                break
        await values.aclose()  # type: ignore[attr-defined]  # an async generator
        assert closed.is_set()
        await workers.close()
        return found

    assert asyncio.run(work()) == [0, 1, 2]


def test_changes_come_one_after_the_other_and_leave_workers_to_readers() -> None:
    go, inside = Event(), []

    def changing(_: Running) -> int:
        inside.append(1)
        assert go.wait(20)
        return len(inside)

    async def work() -> None:
        workers = Workers(2, "t")
        changes = [asyncio.create_task(workers.alone(changing, 30)) for _ in range(4)]
        assert await workers.run(lambda _: "read", 5) == "read"
        with pytest.raises(TimedOutError):
            await workers.alone(changing, 0.01)
        assert len(inside) == 1
        go.set()
        assert await asyncio.gather(*changes) == [1, 2, 3, 4]
        await workers.close()

    asyncio.run(work())
