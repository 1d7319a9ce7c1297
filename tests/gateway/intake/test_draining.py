"""The drainer alone: what two processes, a source that is away and a parcel that cannot be read do to the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from tests.gateway.rest.plant import plant

from tongqu.gateway.exchange import Notes
from tongqu.gateway.intake import draining
from tongqu.gateway.intake.draining import Drainer
from tongqu.gateway.problems import Problem
from tongqu.gateway.settings import SizesEntry
from tongqu.gateway.writing import Edit, Writer, Written
from tongqu.store.feed import Feed
from tongqu.store.intake import Parcel, SqliteIntake


class Paper:
    """A writer that remembers, once for each key; `before` is called before every write."""

    def __init__(self) -> None:
        self.keys: dict[str, list[Any]] = {}
        self.before: Callable[[str], Awaitable[None]] | None = None

    async def write(self, api: Any, actor: Any, edit: Edit, key: Any, notes: Notes) -> Written:
        if self.before is not None:
            await self.before(api.name)
        self.keys.setdefault(key.key, [row["id"] for row in edit.rows])
        return Written(len(edit.rows), len(edit.rows))

    @property
    def rows(self) -> list[Any]:
        return [id for ids in self.keys.values() for id in ids]


class Place:
    """A queue, and drainers over it as if each was another process."""

    def __init__(self, folder: Path, publication: Any) -> None:
        self.now = 1000.0
        self.folder, self.publication = folder, publication
        self.intake = SqliteIntake(folder / "intake.db")
        self.feed = Feed(folder / "feed.db", clock=lambda: self.now)
        self.paper = Paper()

    def send(self, number: int, target: str = "v1/items", sender: str = "a", body: bytes = b"") -> None:
        actor = {"id": sender, "roles": [], "scopes": []}
        header = orjson.dumps({"verb": "insert", "media": "application/json", "actor": actor})
        told = body or orjson.dumps({"id": number, "item_id": number, "no": 1})
        self.intake.append(Parcel(target, header, told, self.now)).result()

    def drainer(self, holder: str, sizes: SizesEntry | None = None) -> Drainer:
        return Drainer(self.intake, self.feed, cast(Writer, self.paper), lambda: self.publication, holder=holder,
                       clock=lambda: self.now, sizes=sizes or SizesEntry())  # fmt: skip


def run(folder: Path, work: Callable[[Place], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with plant(folder) as there:
            place = Place(folder, there.publication)
            try:
                await work(place)
            finally:
                place.intake.close()
                place.feed.close()

    asyncio.run(whole())


def test_a_process_that_was_slow_does_not_write_what_another_one_wrote(tmp_path: Path) -> None:
    async def work(place: Place) -> None:
        place.send(1, sender="a")
        place.send(2, sender="b")

        async def slow(name: str) -> None:
            place.paper.before = None
            place.now += 10  # so long that the lease is over
            assert await place.drainer("second").look() == 2

        place.paper.before = slow
        await place.drainer("first").look()
        assert sorted(place.paper.rows) == [1, 2]

    run(tmp_path, work)


def test_senders_that_leave_before_the_disk_has_answered_take_nobody_with_them(tmp_path: Path) -> None:
    intake = SqliteIntake(tmp_path / "intake.db")
    parcel = Parcel("v1/items", b"{}", b"[]", 1000.0)

    async def send() -> int:
        with intake._turn:  # the disk is busy
            left = [asyncio.ensure_future(asyncio.wrap_future(intake.append(parcel))) for _ in range(3)]
            await asyncio.sleep(0)
            for one in left:
                one.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        return (await asyncio.wait_for(asyncio.wrap_future(intake.append(parcel)), 30)).position

    assert 1 <= asyncio.run(send()) <= 4  # what was begun already is kept
    assert 1 <= intake.depth() <= 4
    intake.close()


def test_only_one_batch_can_take_a_parcel(tmp_path: Path) -> None:
    async def work(place: Place) -> None:
        place.send(1)
        place.send(2)
        one, two = (kept.position for kept in place.intake.waiting(10))
        assert place.intake.batched([one], "x", "")
        assert not place.intake.batched([one, two], "y", "")
        assert [kept.batch for kept in place.intake.waiting(10)] == ["x", ""]

    run(tmp_path, work)


def test_a_source_that_is_away_keeps_no_other_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "PARCELS", 3)

    async def work(place: Place) -> None:
        for number in range(1, 8):
            place.send(number)
        place.send(8, "v1/defects")

        async def away(name: str) -> None:
            if name == "items":
                raise Problem("source.unavailable")

        place.paper.before = away
        drainer = place.drainer("one")
        await drainer.look()
        assert place.paper.rows == [8]
        place.paper.before = None
        while place.intake.depth():
            await drainer.look()
        assert place.paper.rows == [8, 1, 2, 3, 4, 5, 6, 7]

    run(tmp_path, work)


def test_what_came_later_does_not_overtake_what_could_not_be_written(tmp_path: Path) -> None:
    async def work(place: Place) -> None:
        for number, target, sender in (
            (1, "v1/items", "a"), (2, "v1/items", "b"), (3, "v1/defects", "a"), (4, "v1/items", "a")
        ):  # fmt: skip
            place.send(number, target, sender)
        calls: list[str] = []

        async def second_fails(name: str) -> None:
            calls.append(name)
            if len(calls) == 2:
                raise Problem("source.unavailable")

        place.paper.before = second_fails
        drainer = place.drainer("one")
        assert await drainer.look() == 2
        assert place.paper.rows == [1, 3]
        await drainer.look()
        assert place.paper.rows == [1, 3, 2, 4]

    run(tmp_path, work)


def test_a_parcel_that_cannot_be_read_any_more_is_laid_aside(tmp_path: Path) -> None:
    async def work(place: Place) -> None:
        place.send(1)
        place.send(2, body=b'{"id": ' + b"[" * 40 + b"]" * 40 + b"}")
        place.send(3)
        assert await place.drainer("one", SizesEntry(depth=8)).look() == 3  # it was 32 when it was taken in
        assert place.paper.rows == [1, 3]
        assert [dead.problem for dead in place.intake.dead_ones(5)] == ["body.too_large"]

    run(tmp_path, work)
