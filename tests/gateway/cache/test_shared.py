"""Two replicas that keep answers in one Redis. Needs redis-server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.gateway.cache.test_keeping import answered, kept

from tongqu.gateway.cache.keeping import Cache
from tongqu.gateway.cache.shared import SharedStore
from tongqu.gateway.cache.touches import Touches
from tongqu.gateway.exchange import Notes
from tongqu.gateway.reading import Answer
from tongqu.store.feed import TOUCHED, Feed
from tongqu.testing.services import Redis, start_redis


class Replica:
    """A gateway with a home of its own."""

    def __init__(self, folder: Path, name: str, url: str) -> None:
        self.time = 100.0
        self.feed = Feed(folder / f"{name}.db")
        self.touches = Touches(Feed(folder / f"{name}.db"), lambda: self.time)
        self.store = SharedStore(url, "plant", lambda: self.time, lambda: self.time)
        self.cache = Cache(self.touches, self.store)

    async def ask(self, make: Callable[[], Awaitable[Answer]], **what: Any) -> tuple[str, str]:
        answer = await self.cache.answer(kept(**what), make, notes := Notes())
        return answer.body.decode(), notes.cache

    async def close(self) -> None:
        await self.cache.close()
        self.feed.close()


def row(text: str) -> Callable[[], Awaitable[Answer]]:
    async def make() -> Answer:
        return answered(text)

    return make


def two(folder: Path, url: str, work: Callable[[Replica, Replica], Awaitable[None]]) -> None:
    async def whole() -> None:
        one, other = Replica(folder, "one", url), Replica(folder, "other", url)
        try:
            await work(one, other)
        finally:
            await one.close()
            await other.close()

    asyncio.run(whole())


def test_what_one_replica_made_another_gives(redis: Redis, tmp_path: Path) -> None:
    async def work(one: Replica, other: Replica) -> None:
        assert await one.ask(row("old")) == ("old", "miss")
        assert await other.ask(row("never")) == ("old", "hit")
        one.time = other.time = 111
        assert await other.ask(row("new")) == ("new", "miss")

    two(tmp_path, redis.database(), work)


def test_answers_in_values_are_kept_to_the_last_digit(redis: Redis, tmp_path: Path) -> None:
    rows = [
        [1, "é 试", Decimal("1.50"), 2**70, 0.1, None, True],
        [{"d": [Decimal("1.10"), {"l": None}]}, [], {}, "", 1e300, -0.0, 5],
    ]
    given = replace(answered(""), body=b"", values=rows, rows=2)

    async def make() -> Answer:
        return given

    async def work(one: Replica, other: Replica) -> None:
        await one.cache.answer(kept(), make, Notes())
        found = await other.cache.answer(kept(), make, notes := Notes())
        assert notes.cache == "hit"
        assert repr([list(row) for row in found.values]) == repr(rows)
        other.feed.append("c/t", [TOUCHED], "call")
        other.touches.look()
        await one.cache.answer(kept(), make, notes := Notes())
        await other.cache.answer(kept(), make, notes)

    two(tmp_path, redis.database(), work)


def test_a_change_that_one_replica_learns_of_ends_the_answers_of_all(redis: Redis, tmp_path: Path) -> None:
    async def work(one: Replica, other: Replica) -> None:
        await other.ask(row("old"))
        await other.ask(row("beside"), key=b"2", table="c/u")
        one.touches.look()
        one.feed.append("c/t", [TOUCHED], "call")
        one.cache.follow(one.store)  # nobody asks there
        async with asyncio.timeout(5):
            while await one.store._redis.get("tongqu:cache:plant:now:c/*") is None:
                await asyncio.sleep(0.02)
        assert await other.ask(row("new")) == ("new", "miss")
        assert await other.ask(row("never"), key=b"2", table="c/u") == ("beside", "hit")

    two(tmp_path, redis.database(), work)


def test_an_answer_that_was_read_before_the_change_is_taken_by_nobody(redis: Redis, tmp_path: Path) -> None:
    async def work(one: Replica, other: Replica) -> None:
        going = asyncio.Event()

        async def slow() -> Answer:
            await going.wait()
            return answered("old")

        first = asyncio.create_task(one.ask(slow))
        async with asyncio.timeout(5):
            while await one.store._redis.get("tongqu:cache:plant:now:c/t") is None:
                await asyncio.sleep(0.01)
        other.touches.look()
        other.feed.append("c/t", [TOUCHED], "call")
        other.touches.look()
        await other.store.tell()
        going.set()
        assert await first == ("old", "miss")
        assert await one.ask(row("new")) == ("new", "miss")

    two(tmp_path, redis.database(), work)


def test_what_redis_lost_is_never_taken_for_unchanged(redis: Redis, tmp_path: Path) -> None:
    async def work(one: Replica, other: Replica) -> None:
        await one.ask(row("old"))
        await one.store._redis.delete("tongqu:cache:plant:now:c/t")
        assert await other.ask(row("new")) == ("new", "miss")

    two(tmp_path, redis.database(), work)


def test_without_redis_every_question_is_asked(tmp_path: Path) -> None:
    server = start_redis()
    url = server.database()

    async def work(one: Replica, other: Replica) -> None:
        await one.ask(row("old"))
        server.stop()
        assert await one.ask(row("new")) == ("new", "bypass")
        assert await other.ask(row("new")) == ("new", "bypass")

    two(tmp_path, url, work)
