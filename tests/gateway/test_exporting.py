"""Many rows are taken once by oneself; the second time somebody else must agree, and odd speed is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.published import Database, actor, api, people

from tongqu.core.errors import InvalidPlanError
from tongqu.core.policy import Actor
from tongqu.core.server import Limits, Page, Query
from tongqu.gateway.asking import Ask
from tongqu.gateway.exchange import Notes
from tongqu.gateway.exporting import Exporting
from tongqu.gateway.problems import Problem
from tongqu.gateway.reading import Reader
from tongqu.store.exports import Budget, Exports

DAY = Budget(10, 86_400)


class Served(Database):
    """Answers in this process."""

    async def query(self, query: Query, format: str, limits: Limits) -> Page:
        del format, limits
        return self.page(query)


class World:
    """An API of six rows, of which ten may be taken a day; `told` is what somebody should look at."""

    def __init__(self, folder: Path) -> None:
        self.at = 1_000_000.0
        self.told: list[dict[str, Any]] = []
        self.store = Exports(folder / "exports.db")
        self.source = Served("duckdb", "items", people())
        self.exporting = Exporting(self.store, lambda: self.at, lambda kind, **told: self.told.append(told))
        self.reader = Reader(b"k" * 32, lambda: self.at, exporting=self.exporting)
        self.api = api(self.source, people(), {"roles": ["r"]}, entry={"export": {"rows": 10}})

    def read(self, who: Actor | None = None, limit: int | None = None, *, fresh: bool = False) -> int | str:
        """The rows that were given, or why none."""
        try:
            asked = self.reader.read(self.api, who or actor("r"), Ask(limit=limit), "rows", Notes(), fresh=fresh)
            return asyncio.run(asked).rows
        except Problem as problem:
            return problem.code


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()
    made.source.close()


def test_a_second_export_needs_a_second_person(world: World) -> None:
    assert [world.read(), world.read(), world.read()] == [6, 6, "export.approval"]
    assert world.read(Actor("client:other", roles=frozenset({"r"}))) == 6  # each caller has its own
    assert world.read(fresh=True) == 6  # what live streams and webhooks read is no export
    assert [one["client"] for one in world.store.asked()] == ["client:test"]
    assert [one["what"] for one in world.told] == ["export.refused"]
    world.store.allow("client:test", "/api/v1/items", DAY, world.at, person="li", reason="year's end")
    assert [world.read(), world.read(), world.read()] == [6, 6, "export.approval"]  # ten rows more, begun twice
    world.at += 86_400 * 25 / 24
    assert world.read() == 6  # the day slides, and what was allowed is over
    assert world.store.allowed(world.at) == []


def test_only_rows_that_were_given_count(world: World) -> None:
    assert [world.read(limit=1) for _ in range(11)] == [1] * 10 + ["export.approval"]


def test_nobody_allows_themselves_and_nothing_that_nobody_asked_for(world: World) -> None:
    zhang = Actor("user:zhang", "user", frozenset({"r"}))
    assert [world.read(zhang) for _ in range(3)][2] == "export.approval"
    with pytest.raises(InvalidPlanError):
        world.store.allow("user:zhang", "/api/v1/items", DAY, world.at, person="zhang", reason="mine")
    with pytest.raises(InvalidPlanError):
        world.store.allow("client:test", "/api/v1/items", DAY, world.at, person="li", reason="why not")


def test_who_is_ten_times_as_fast_as_usual_is_told_of_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tongqu.gateway.exporting._LEAST", 20)
    world.api = api(world.source, people(), {"roles": ["r"]}, entry={"export": {"rows": 10_000}})
    for _ in range(6):
        world.read(limit=1)
        world.at += 60
    assert world.told == []
    for _ in range(6):
        world.read()
    assert [(one["what"], one["who"], one["api"]) for one in world.told] == [("export.fast", "client:test", "items")]
    assert world.exporting.odd == 1


def test_processes_count_together(tmp_path: Path) -> None:
    one, other = Exports(tmp_path / "exports.db"), Exports(tmp_path / "exports.db")
    assert one.take("client:a", "/api/v1/x", 6, DAY, 5.0) == 6
    assert other.take("client:a", "/api/v1/x", 6, DAY, 5.0) == 12
    assert one.take("client:a", "/api/v1/x", 1, DAY, 5.0) is None
    other.give_back("client:a", "/api/v1/x", 3, DAY, 5.0)
    assert one.take("client:a", "/api/v1/x", 1, DAY, 5.0) == 10
    one.close()
    other.close()
