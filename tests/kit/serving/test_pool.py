"""Connections are handed over in the order of asking, and none is lost whoever goes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tongqu.core.errors import BusyError, ConnectError
from tongqu.kit.serving.pool import Pool


class One:
    """A connection."""

    def __init__(self, number: int):
        self.number = number
        self.alive = True


class Place:
    """Opens connections, at most so many at a time are alive."""

    def __init__(self) -> None:
        self.opened = 0
        self.away = False

    async def connect(self) -> One:
        await asyncio.sleep(0)
        if self.away:
            raise ConnectError("away")
        self.opened += 1
        return One(self.opened)

    def pool(self, size: int) -> Pool[One]:
        return Pool(self.connect, lambda one: one.alive, lambda one: setattr(one, "alive", False), size)


def run(work: Callable[[Place], Awaitable[None]]) -> None:
    async def whole() -> None:
        await work(Place())

    asyncio.run(whole())


async def _queued(pool: Pool[One], count: int, order: list[int]) -> list[asyncio.Task[None]]:
    """So many tasks that wait in this order, each giving its connection back at once."""

    async def one(number: int) -> None:
        taken = await pool.take(30)
        order.append(number)
        pool.give(taken)

    tasks = []
    for number in range(count):
        tasks.append(asyncio.create_task(one(number)))
        await asyncio.sleep(0)
    return tasks


def test_who_waits_longest_is_next_even_if_others_come_in_between() -> None:
    async def work(place: Place) -> None:
        pool = place.pool(1)
        held, order = await pool.take(30), list[int]()
        tasks = await _queued(pool, 3, order)
        pool.give(held)
        late = asyncio.create_task(pool.take(30))  # comes after it was given back, and is not served before them
        pool.give(await late)
        await asyncio.gather(*tasks)
        assert (order, place.opened) == ([0, 1, 2], 1)

    run(work)


def test_who_goes_away_passes_the_connection_on() -> None:
    async def work(place: Place) -> None:
        pool = place.pool(1)
        held, order = await pool.take(30), list[int]()
        tasks = await _queued(pool, 3, order)
        pool.give(held)
        tasks[0].cancel()  # it was handed the connection and never ran
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == [1, 2] and pool.numbers == (0, 1)

    run(work)


def test_a_broken_one_makes_room_for_the_next_in_the_queue() -> None:
    async def work(place: Place) -> None:
        pool = place.pool(1)
        held, order = await pool.take(30), list[int]()
        tasks = await _queued(pool, 2, order)
        pool.give(held, broken=True)
        await asyncio.gather(*tasks)
        assert (order, place.opened, pool.numbers) == ([0, 1], 2, (0, 1))

    run(work)


def test_each_in_the_queue_hears_that_none_can_be_opened() -> None:
    async def work(place: Place) -> None:
        pool = place.pool(1)
        held = await pool.take(30)
        waiting = [asyncio.create_task(pool.take(30)) for _ in range(3)]
        await asyncio.sleep(0)
        place.away = True
        pool.give(held, broken=True)
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in found] == [ConnectError] * 3
        place.away = False
        pool.give(await pool.take(30))

    run(work)


def test_nobody_waits_longer_than_said_or_for_a_closed_one() -> None:
    async def work(place: Place) -> None:
        pool = place.pool(1)
        held = await pool.take(30)
        with pytest.raises(BusyError):
            await pool.take(0.01)
        waiting = asyncio.create_task(pool.take(30))
        await asyncio.sleep(0)
        pool.close()
        with pytest.raises(ConnectError):
            await waiting
        pool.give(held)
        assert not held.alive

    run(work)
