"""What others change in a table, found by its cursor in PostgreSQL: ties, late transactions, restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from sqlite3 import OperationalError
from typing import TypeVar

import psycopg
import pytest
from tests.gateway.published import NOON

from tongqu.connectors.postgres import connector
from tongqu.core.server import Format, Limits, Page, Query
from tongqu.gateway.entry import ApiEntry
from tongqu.gateway.live.polling import PAGE, Polling
from tongqu.gateway.policy.compiling import compile_policy
from tongqu.gateway.policy.settings import Access
from tongqu.gateway.publication import Api, Publication
from tongqu.store.feed import Feed

T = TypeVar("T")
TABLE = "CREATE TABLE lots (plant text, no int, at timestamptz, PRIMARY KEY (plant, no))"


class World:
    def __init__(self, url: str, api: Api, feed: Feed):
        self.url, self.api, self.feed, self.now = url, api, feed, 100.0
        self.polling = self.made()

    def made(self) -> Polling:
        publication = Publication("1", {("v1", "lots"): self.api})
        return Polling(self.feed, lambda: publication, "one", lambda: self.now)

    async def look(self) -> list[str]:
        """The keys that one more look finds."""
        self.now += 10
        before = self.feed.last()
        await self.polling.look("db/lots", self.api)
        return [f"{one.key['plant']}{one.key['no']}" for one in self.feed.after(before, 10_000)]

    def sql(self, text: str) -> None:
        with psycopg.connect(self.url) as session:
            session.execute(text)


def run(url: str, folder: Path, work: Callable[[World], Awaitable[T]], **live: object) -> T:
    with psycopg.connect(url) as session:
        session.execute(TABLE)
    told = {"cursor": "at", "lag_seconds": 5, **live}

    async def whole() -> T:
        assert connector.server is not None
        server = connector.server(connector.from_url(url))
        await server.open()
        feed = Feed(folder / "feed.db")
        try:
            dataset = await server.describe("lots")
            entry = ApiEntry.parse({"source": {"connection": "db", "dataset": "lots"}, "live": told})
            policy = compile_policy(Access(), dataset, now=lambda: NOON, path="apis.lots.access")
            api = Api("lots", "v1", entry, dataset, server, "db", policy, "lots", tables=frozenset(("db/lots",)))
            return await work(World(url, api, feed))
        finally:
            feed.close()
            await server.close()

    return asyncio.run(whole())


def test_only_what_changes_after_the_first_look_is_told(pg_url: str, tmp_path: Path) -> None:
    async def work(world: World) -> None:
        world.sql("INSERT INTO lots VALUES ('A', 1, '2026-01-01 08:00:00Z'), ('A', 2, NULL)")
        assert await world.look() == []
        world.sql("INSERT INTO lots VALUES ('A', 3, '2026-01-01 08:00:01Z')")
        assert await world.look() == ["A3"]
        world.sql("UPDATE lots SET at = '2026-01-01 08:00:09Z' WHERE no = 1")
        assert await world.look() == ["A1"]
        assert await world.look() == []

    run(pg_url, tmp_path, work)


def test_rows_that_share_a_cursor_and_rows_that_come_late_are_found(pg_url: str, tmp_path: Path) -> None:
    async def work(world: World) -> None:
        world.sql("INSERT INTO lots VALUES ('M', 1, '2026-01-01 08:00:10.000001Z')")
        await world.look()
        world.sql("INSERT INTO lots VALUES ('A', 1, '2026-01-01 08:00:10.000001Z')")  # smaller key, same instant
        assert await world.look() == ["A1"]
        world.sql("INSERT INTO lots VALUES ('Z', 1, '2026-01-01 08:00:06Z')")  # began earlier, committed later
        assert await world.look() == ["Z1"]
        world.sql("INSERT INTO lots VALUES ('Z', 2, '2026-01-01 08:00:04Z')")  # later than the lag allows
        assert await world.look() == []

    run(pg_url, tmp_path, work)


def test_more_rows_of_one_instant_than_a_page_are_each_told_once(pg_url: str, tmp_path: Path) -> None:
    async def work(world: World) -> None:
        await world.look()
        count = PAGE * 3 + 7
        world.sql(f"INSERT INTO lots SELECT 'A', n, '2026-01-01 08:00:00Z' FROM generate_series(1, {count}) n")
        found = await world.look()
        assert (len(found), len(set(found))) == (count, count)
        assert await world.look() == []

    run(pg_url, tmp_path, work)


def test_what_changed_while_nothing_was_served_is_found(pg_url: str, tmp_path: Path) -> None:
    async def work(world: World) -> None:
        world.sql("INSERT INTO lots VALUES ('A', 1, '2026-01-01 08:00:00Z')")
        await world.look()
        world.sql("INSERT INTO lots VALUES ('A', 2, '2026-01-01 09:00:00Z')")
        world.polling = world.made()
        assert "A2" in await world.look()

    run(pg_url, tmp_path, work)


def test_a_feed_that_could_not_be_written_is_written_at_the_next_look(
    pg_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(world: World) -> None:
        world.sql("INSERT INTO lots VALUES ('A', 1, '2026-01-01 08:00:00Z')")
        await world.look()
        world.sql("INSERT INTO lots VALUES ('A', 2, '2026-01-01 09:00:00Z')")
        with monkeypatch.context() as broken:
            broken.setattr(world.feed, "append", busy)
            with pytest.raises(OperationalError):
                await world.look()
        assert await world.look() == ["A2"]

    run(pg_url, tmp_path, work)


def test_looking_again_asks_the_server_what_it_was_asked_before(
    pg_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Query] = []

    async def looks(world: World) -> None:
        world.sql("INSERT INTO lots VALUES ('A', 1, '2026-11-22')")
        query = world.api.server.query

        async def noted(what: Query, format: Format, limits: Limits) -> Page:
            asked.append(what)
            return await query(what, format, limits)

        monkeypatch.setattr(world.api.server, "query", noted)
        for number in range(4):
            world.sql(f"UPDATE lots SET at = '2026-11-22 10:0{number}'")
            await world.look()

    run(pg_url, tmp_path, looks)
    assert len({id(one.tree) for one in asked}) < len(asked) / 2  # a server keeps what it made of a tree


def busy(*_: object, **__: object) -> int:
    raise OperationalError("database is locked")
