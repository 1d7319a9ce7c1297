"""Subscriptions inside one process: what is shared, what is bounded, and how a slow subscriber catches up."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.gateway.rest.plant import QUALITY, Plant, asked, plant

from tongqu.core.errors import ConnectError
from tongqu.core.policy import Actor
from tongqu.gateway.asking import Ask, Compare
from tongqu.gateway.exchange import Notes
from tongqu.gateway.live import hub, views
from tongqu.gateway.live.crowd import Crowd
from tongqu.gateway.live.hub import Hub, Subscription, Told
from tongqu.gateway.live.ledger import FeedLedger
from tongqu.gateway.problems import Problem
from tongqu.gateway.stages import Nobody
from tongqu.gateway.writing import Edit, Writer
from tongqu.store.feed import TOUCHED, Changed, Feed

T = TypeVar("T")
EVERYBODY = {"items": {"roles": ["quality"], "write_roles": ["quality"]}, "lines": {"roles": ["quality"]},
             "defects": {"roles": ["quality"], "write_roles": ["quality"]}}  # fmt: skip


class Same(Nobody):
    """Knows every caller as the request already says."""

    async def actor(self, request: Any) -> Actor:
        actor: Actor = request.actor
        return actor


class World:
    def __init__(self, there: Plant, feed: Feed, hub: Hub):
        self.there, self.feed, self.hub = there, feed, hub
        self.writer = Writer(there.reader, FeedLedger(feed))

    async def follow(self, ask: Ask | None = None, mark: str = "", actor: Actor = QUALITY) -> Subscription:
        request = asked(self.there.publication, "GET", "items", b"", actor=actor, headers={})
        return await self.hub.subscribe(request, "v1", "items", ask or Ask(), mark)

    async def write(self, edit: Edit) -> None:
        await self.writer.write(self.there.api(), QUALITY, edit, None, Notes())

    async def insert(self, *numbers: int) -> None:
        for number in numbers:
            row = {"id": number, "lot": f"L{number}", "plant": "A"}
            await self.write(Edit("insert", [row]))

    async def read(self) -> None:
        """The hub has read everything that is in the feed."""
        last = self.feed.last()
        while self.hub.at < last:
            await asyncio.sleep(0)


def run(
    folder: Path, work: Callable[[World], Awaitable[T]], crowd: Crowd | None = None, *, everything: bool = False
) -> T:
    async def whole() -> T:
        async with plant(folder, access=EVERYBODY if everything else None) as there:
            feed = Feed(folder / "feed.db")
            hub = Hub(feed, there.reader, Same(), lambda: there.publication, b"k" * 32, crowd=crowd)
            hub.start()
            try:
                return await work(World(there, feed, hub))
            finally:
                await hub.close()
                feed.close()

    return asyncio.run(whole())


def bodies(told: list[Told]) -> list[tuple[str, Any]]:
    return [(one.kind, json.loads(one.body)["key"]["id"] if one.kind == "change" else None) for one in told]


def test_subscribers_who_see_the_same_share_one_view(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        for _ in range(50):
            await world.follow()
        await world.follow(Ask(where=Compare("weight", "gt", "1")))
        assert world.hub.numbers == (51, 2)

    run(tmp_path, work)


def test_one_caller_has_a_share_of_the_views(tmp_path: Path) -> None:
    crowd = Crowd(views=5, views_of_one=3)
    other = Actor("client:other", roles=QUALITY.roles, attributes=QUALITY.attributes)

    async def work(world: World) -> None:
        mine = [await world.follow(Ask(where=Compare("weight", "gt", str(number)))) for number in range(3)]
        with pytest.raises(Problem, match="overloaded"):
            await world.follow(Ask(where=Compare("weight", "gt", "9")))
        await world.follow(Ask(where=Compare("weight", "gt", "0")))  # the same question again is the same view
        await world.follow(Ask(where=Compare("weight", "lt", "9")), actor=other)
        mine[1].leave()
        await world.follow(Ask(where=Compare("weight", "gt", "9")))  # in the place of the one that nobody follows
        assert world.hub.numbers == (5, 4)

    run(tmp_path, work, crowd)


def test_one_caller_has_a_share_of_the_rows_that_are_remembered(tmp_path: Path) -> None:
    other = Actor("client:other", roles=QUALITY.roles, attributes=QUALITY.attributes)

    async def work(world: World) -> None:
        await world.follow()
        with pytest.raises(Problem, match="overloaded"):
            await world.follow(Ask(where=Compare("weight", "gt", "0")))
        await world.follow(Ask(where=Compare("weight", "gt", "0")), actor=other)

    run(tmp_path, work, Crowd(keys_of_one=4))


def test_a_slow_subscriber_is_told_that_it_lags_and_catches_up_from_the_feed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "RING_MESSAGES", 5)

    async def work(world: World) -> None:
        slow = await world.follow()
        await world.insert(*range(100, 120))
        await world.read()
        assert len(slow.view.ring) == 5  # memory is bounded whatever it does
        told = bodies(await slow.next())
        while len(told) < 21:
            told += bodies(await slow.next())
        assert told == [("lagged", None), *(("change", number) for number in range(100, 120))]

    run(tmp_path, work, everything=True)


def test_one_whose_rows_are_restricted_is_told_to_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "RING_MESSAGES", 5)

    async def work(world: World) -> None:
        slow = await world.follow()
        await world.insert(*range(100, 120))
        await world.read()
        assert bodies(await slow.next()) == [("reset", None)]
        await world.insert(120)
        await world.read()
        assert bodies(await slow.next()) == [("change", 120)]

    run(tmp_path, work)


def test_what_a_pipeline_touched_is_told_without_keys(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        mine = await world.follow()
        world.feed.append("c/items", [TOUCHED], "run")
        world.feed.append("c/other", [TOUCHED], "run")
        assert [one.kind for one in await mine.next()] == ["touched"]

    run(tmp_path, work)


def test_hidden_rows_leave_no_trace(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        mine = await world.follow()
        world.feed.append("c/items", [Changed("update", {"id": "4"}), Changed("delete", {"id": "77"})], "call")
        await world.insert(100)
        await world.read()
        assert bodies(await mine.next()) == [("change", 100)]

    run(tmp_path, work)


def test_rows_changed_by_a_filter_are_told_one_by_one(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        mine = await world.follow()
        await world.write(Edit("update", [{"weight": 7}], Compare("line_id", "eq", "1")))
        await world.read()
        assert bodies(await mine.next()) == [("change", 1), ("change", 2)]

    run(tmp_path, work)


def test_a_write_whose_end_nobody_knows_counts_as_touched(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        mine = await world.follow()
        world.feed.begin("c/items")
        later = Feed(tmp_path / "feed.db", clock=lambda: time.time() + 100)
        assert later.settle() == 1
        later.close()
        assert [one.kind for one in await mine.next()] == ["touched"]

    run(tmp_path, work)


def test_too_many_subscribers_are_refused(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        first = await world.follow()
        await world.follow()
        with pytest.raises(Problem, match="overloaded"):
            await world.follow()
        first.leave()
        await world.follow()

    run(tmp_path, work, Crowd(subscribers=10, of_one=2))


def test_what_is_remembered_for_all_subscribers_is_bounded(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        for _ in range(3):
            await world.follow()  # four rows, remembered once
        with pytest.raises(Problem) as caught:
            await world.follow(Ask(where=Compare("id", "lt", "4")))
        assert caught.value.code == "overloaded"
        assert world.hub.numbers == (3, 1)

    run(tmp_path, work, Crowd(keys=6))


def test_a_mark_of_another_api_is_no_mark(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        with pytest.raises(Problem, match=r"cursor\.invalid"):
            await world.follow(mark=world.hub.marks.mark("v1 lines", 3))

    run(tmp_path, work)


def test_what_changes_while_a_view_is_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HEARTBEAT_SECONDS", 1.0)

    async def work(world: World) -> None:
        await world.follow(Ask(where=Compare("weight", "gt", "1")))
        all_keys = views.Seeing.all_keys

        async def slowly(seeing: views.Seeing, reader: Any) -> set[int]:
            known = await all_keys(seeing, reader)
            await world.insert(100)  # after the rows were looked at, and read by the hub before there is a view
            await world.read()
            return known

        monkeypatch.setattr(views.Seeing, "all_keys", slowly)
        late = await world.follow()
        assert bodies(await late.next()) == [("change", 100)]

    run(tmp_path, work)


def test_a_source_that_is_away_ends_the_stream_of_one_who_lags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "RING_MESSAGES", 5)

    async def work(world: World) -> None:
        slow = await world.follow()
        await world.insert(*range(100, 120))
        await world.read()

        async def away(*_: Any, **__: Any) -> Any:
            raise ConnectError("the database is away")

        monkeypatch.setattr(views.Seeing, "rows", away)
        with pytest.raises(Problem) as caught:
            await slow.next()
        assert caught.value.code == "source.unavailable"

    run(tmp_path, work, everything=True)
