"""The cache: one making for all, nothing old after a change, nothing of others."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.gateway.rest.plant import ACCESS, Plant, plant

from tongqu.core.policy import Actor
from tongqu.gateway.cache.keeping import Cache, MemoryStore
from tongqu.gateway.cache.memory import Memory
from tongqu.gateway.cache.touches import Touches, tag
from tongqu.gateway.exchange import Notes
from tongqu.gateway.live.ledger import FeedLedger
from tongqu.gateway.reading import Answer, Shelved
from tongqu.gateway.writing import Writer
from tongqu.store.feed import TOUCHED, Feed

CACHED = {"cache": {"seconds": 10, "stale_seconds": 20}}
ALL = dict.fromkeys(ACCESS, CACHED)
READER = Actor("client:mes", roles=frozenset(("quality",)), attributes={"plant": "A"})
LINES = "lines?select=id,title&order=id"


class World:
    """A cache over a feed of its own, with a clock that a test moves."""

    def __init__(self, folder: Path, most: int = 1 << 20) -> None:
        self.time = 100.0
        self.place = folder / "feed.db"
        self.feed = Feed(self.place, clock=lambda: self.time)
        self.touches = Touches(Feed(self.place, clock=lambda: self.time), lambda: self.time)
        self.store = MemoryStore(most, self.touches, lambda: self.time)
        self.cache = Cache(self.touches, self.store)
        self.made = 0

    async def answer(self, kept: Shelved, make: Callable[[], Awaitable[Answer]], notes: Notes) -> Answer:
        async def counted() -> Answer:
            self.made += 1
            return await make()

        return await self.cache.answer(kept, counted, notes)

    async def close(self) -> None:
        await self.cache.close()
        self.feed.close()


def lived(folder: Path, work: Callable[[Plant, World], Awaitable[None]], entries: Any = ALL) -> None:
    async def whole() -> None:
        world = World(folder)
        try:
            async with plant(folder, entries, shelf=world) as there:
                there.handler._writer = Writer(there.reader, FeedLedger(world.feed))
                await work(there, world)
        finally:
            await world.close()

    asyncio.run(whole())


def test_an_answer_is_kept_for_its_time_and_a_while_longer_while_a_new_one_is_made(tmp_path: Path) -> None:
    async def work(plant: Plant, world: World) -> None:
        async def call() -> tuple[str, str]:
            reply = await plant.call("GET", LINES, actor=READER)
            assert reply.json[0] == {"id": 1, "title": "press"}
            return reply["cache-status"], reply["age"]

        assert await call() == ("tongqu; fwd=miss", "")
        world.time += 7
        assert await call() == ("tongqu; hit", "7")
        world.time += 7
        assert await call() == ("tongqu; hit; detail=stale", "14")
        await asyncio.gather(*world.cache._tasks)
        assert (await call(), world.made) == (("tongqu; hit", "0"), 2)
        world.time += 31
        assert await call() == ("tongqu; fwd=miss", "")

    lived(tmp_path, work)


def test_an_unchanged_answer_is_304_without_asking_the_source(tmp_path: Path) -> None:
    async def work(plant: Plant, world: World) -> None:
        etag = (await plant.call("GET", LINES, actor=READER))["etag"]
        reply = await plant.call("GET", LINES, actor=READER, if_none_match=etag)
        assert (reply.status, reply["cache-control"], world.made) == (304, "private, no-cache", 1)

    lived(tmp_path, work)


def test_a_write_ends_what_was_kept_of_its_table_and_nothing_else(tmp_path: Path) -> None:
    async def work(plant: Plant, world: World) -> None:
        async def cache(target: str) -> str:
            return (await plant.call("GET", target, actor=READER)).request.notes.cache

        beside = "lines?select=id,items(id)&order=id"
        targets = ("defects?select=word", LINES, beside, "lines?select=id,items!inner()&items.id=gt.0")
        assert [await cache(target) for target in targets] == ["miss"] * 4
        assert (await plant.call("PATCH", "items/1", '{"weight": 9}', actor=READER)).status == 204
        assert [await cache(target) for target in targets] == ["hit", "hit", "miss", "miss"]
        world.feed.append("c/DEFECTS", [TOUCHED], "run")
        assert [await cache(target) for target in targets] == ["miss", "hit", "hit", "hit"]

    lived(tmp_path, work)


def test_nothing_is_kept_where_personal_data_are_shown_or_no_life_is_said(tmp_path: Path) -> None:
    async def work(plant: Plant, world: World) -> None:
        hr = Actor("client:hr", roles=frozenset(("quality", "hr")), attributes={"plant": "A"})
        for actor, said in ((hr, "private, no-store"), (READER, "private, no-cache")):
            for _ in range(2):
                reply = await plant.call("GET", "items?select=id,inspector", actor=actor)
                assert reply["cache-control"] == said
        assert world.made == 3
        reply = await plant.call("GET", "defects?select=word", actor=READER)
        assert reply["cache-status"] == ""

    lived(tmp_path, work, {"items": CACHED, "lines": CACHED})


def test_all_who_ask_at_once_are_answered_by_one_question(tmp_path: Path) -> None:
    async def work(plant: Plant, world: World) -> None:
        replies = await asyncio.gather(*(plant.call("GET", LINES, actor=READER) for _ in range(50)))
        assert (len({reply.reply.body for reply in replies}), world.made) == (1, 1)

    lived(tmp_path, work)


def kept(key: bytes = b"1", table: str = "c/t", seconds: float = 10.0) -> Shelved:
    """Something that may be kept."""
    api: Any = SimpleNamespace(entry=SimpleNamespace(cache=SimpleNamespace(seconds=seconds, stale_seconds=0.0)))
    decision: Any = None
    return Shelved(key, (api,), frozenset((table,)), True, decision)


def answered(text: str) -> Answer:
    decision: Any = None
    return Answer(text.encode(), 1, (), ("id",), None, "", decision)


def test_what_was_read_before_a_commit_is_neither_kept_nor_shared_after_it(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path)
        going, row = asyncio.Event(), "old"

        async def slow() -> Answer:
            seen = row
            await going.wait()
            return answered(seen)

        async def quick() -> Answer:
            return answered(row)

        first = asyncio.create_task(world.cache.answer(kept(), slow, Notes()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        begun = world.feed.begin("c/t")
        row = "new"
        assert (await world.cache.answer(kept(), quick, notes := Notes())).body == b"new"
        assert notes.cache == "bypass"  # a write is being made: nobody knows
        world.feed.append("c/t", [TOUCHED], "call", begun=begun)
        assert (await world.cache.answer(kept(), quick, Notes())).body == b"new"
        going.set()
        assert (await first).body == b"old"  # asked before
        assert (await world.cache.answer(kept(), slow, notes := Notes())).body == b"new"
        assert notes.cache == "hit"
        await world.close()

    asyncio.run(work())


def test_a_caller_that_leaves_does_not_end_the_making_for_others(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path)
        going = asyncio.Event()

        async def slow() -> Answer:
            await going.wait()
            return answered("1")

        first, second = (
            asyncio.create_task(world.cache.answer(kept(), slow, Notes())) for _ in range(2)
        )  # fmt: skip
        await asyncio.sleep(0)
        first.cancel()
        going.set()
        assert (await second).body == b"1"
        assert first.cancelled() or await asyncio.gather(first, return_exceptions=True)
        await world.close()

    asyncio.run(work())


def test_without_the_feed_nothing_kept_is_given(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path)

        async def make() -> Answer:
            return answered("1")

        await world.cache.answer(kept(), make, Notes())
        world.touches._feed.close()
        await world.cache.answer(kept(), make, notes := Notes())
        assert (notes.cache, len(world.store.memory)) == ("bypass", 0)
        await world.close()

    asyncio.run(work())


def test_what_was_dropped_from_the_feed_unseen_counts_as_a_change_of_everything(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.touches.look()
    before = world.touches.now
    for _ in range(3):
        world.feed.append("c/other", [TOUCHED], "run")
    world.feed._database.execute("DELETE FROM events WHERE position < 3")
    assert world.touches.look() and world.touches.moved(["c/t"], before)
    asyncio.run(world.close())


def test_a_write_whose_process_died_counts_as_a_change(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.touches.look()
    world.feed.begin("c/t")
    assert world.touches.look() and world.touches.doubtful(["c/t"])
    before, world.time = world.touches.now, world.time + 61
    assert world.touches.look()
    assert (world.touches.doubtful(["c/t"]), world.touches.moved(["c/t"], before)) == (False, True)
    asyncio.run(world.close())


def test_memory_is_bounded_by_bytes_and_forgets_the_longest_unused() -> None:
    memory: Memory[str] = Memory(10_000)
    for number in range(10):
        memory.put(bytes([number]), "x", 0.0, 400, ["c/t"])
    assert memory.get(b"\x00") and memory.bytes == 10_000
    memory.put(b"new", "x", 0.0, 400, ["c/u"])
    assert (memory.get(b"\x00") is not None, memory.get(b"\x01")) == (True, None)
    assert not memory.put(b"huge", "x", 0.0, 5_000, [])
    assert (memory.purge("c/t"), len(memory), memory.bytes) == (9, 1, 1_000)


def test_tables_are_known_by_the_last_part_of_their_name() -> None:
    assert tag("c/Public.Orders") == tag("c/orders") == "c/orders"


def test_a_day_of_zipf_asks_the_source_at_most_two_times_in_five(tmp_path: Path) -> None:
    """20,000 questions in a day, of 1,000 kinds; a write each 100, of one of 20 tables. No answer is ever old."""
    chance = random.Random(5)  # noqa: S311  # not for secrets
    weights = list(accumulate(1 / rank for rank in range(1, 1001)))
    rows = [0] * 20

    async def work() -> None:
        world = World(tmp_path, most=400_000)
        asked = made = 0
        for number in range(20_000):
            world.time += 86_400 / 20_000
            if number % 100 == 0:
                table = chance.randrange(20)
                begun = world.feed.begin(f"c/t{table}")
                rows[table] += 1
                world.feed.append(f"c/t{table}", [TOUCHED], "call", begun=begun)
            kind = bisect_left(weights, chance.random() * weights[-1])
            table = kind % 20

            async def make(table: int = table) -> Answer:
                nonlocal made
                made += 1
                return answered(str(rows[table]))

            asked += 1
            wanted = kept(kind.to_bytes(2, "big"), f"c/t{table}", 3600.0)
            assert (await world.cache.answer(wanted, make, Notes())).body == str(rows[table]).encode()
        assert made / asked <= 0.4, made / asked
        await world.close()

    asyncio.run(work())


def test_no_answer_ever_crosses_permissions(tmp_path: Path) -> None:
    """Random callers ask random questions twice in random order: each gets what it gets without any cache."""
    chance = random.Random(7)  # noqa: S311  # not for secrets
    roles = (("quality",), ("quality", "hr"), ("hr",), ())
    actors = [
        Actor(f"client:{number}", roles=frozenset(chance.choice(roles)), attributes=plants, purpose=purpose)
        for number, (plants, purpose) in enumerate(
            [({"plant": "A"}, ""), ({"plant": "B"}, ""), ({}, ""), ({"plant": "A"}, "audit")] * 5
        )
    ]
    targets = [
        "items?order=id", "items?select=id,inspector&order=id", "items?select=id,line(title)&order=id",
        "items?select=id,line(title)&line.title=eq.press&order=id", "items?select=id,line!inner(id)&order=id",
        "items?select=count()", "items?inspector=like.*", "lines?select=*,items(id,inspector)&order=id",
        "lines?select=id,items!inner()&items.weight=gt.1", "lines?select=id,items!inner()&items.weight=gt.2",
        "items?select=id,line(title)&line.title=eq.%E6%B6%82%E8%A3%85&order=id", "items/1", "items/4",
        "defects?order=no",
    ]  # fmt: skip
    calls = [(actor, target) for actor in actors for target in targets] * 2
    chance.shuffle(calls)

    async def work(plant: Plant, world: World) -> None:
        plain = plant.handler._reader._shelf
        for actor, target in calls:
            found = await plant.call("GET", target, actor=actor)
            plant.handler._reader._shelf = None
            wanted = await plant.call("GET", target, actor=actor)
            plant.handler._reader._shelf = plain
            assert (found.status, found.reply.body) == (wanted.status, wanted.reply.body), (actor, target)
        assert 0 < world.made < len(calls)

    lived(tmp_path, work)
