"""Questions of one shape go together, in batches as large as they are quick, and each hears its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tongqu.connectors.postgres.serving.batches import LANES, MOST, UNDER_WAY, Shape, can_join, joined_sql


class Database:
    """Answers when it is let; remembers the sizes of round trips."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.running = self.most = 0
        self.gate = asyncio.Event()

    async def together(self, many: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
        self.sizes.append(len(many))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
        if any(values == ["bad"] for values in many):
            raise ValueError("one of them is bad")
        return [[f"row of {values[0]}"] for values in many]

    async def alone(self, values: Sequence[Any]) -> Sequence[Any]:
        (rows,) = await self.together([values])
        return rows

    def shape(self) -> Shape:
        return Shape(self.alone, self.together)


def test_those_that_come_together_go_together() -> None:
    async def work() -> None:
        database = Database()
        database.gate.set()
        found = await asyncio.gather(*(database.shape().ask([n]) for n in range(1)))
        shape = database.shape()
        found = await asyncio.gather(*(shape.ask([n]) for n in range(MOST + 3)))
        assert found == [[f"row of {n}"] for n in range(MOST + 3)]
        assert database.sizes == [1, MOST, 3]

    asyncio.run(work())


def test_others_gather_while_some_are_under_way() -> None:
    async def work() -> None:
        database = Database()
        shape = database.shape()
        asking = [asyncio.create_task(shape.ask([n])) for n in range(4 * MOST)]
        while database.running < UNDER_WAY:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert database.sizes == [MOST] * UNDER_WAY
        database.gate.set()
        await asyncio.gather(*asking)
        assert (database.most, database.sizes) == (UNDER_WAY, [MOST] * 4)

    asyncio.run(work())


def test_slow_questions_go_alone_and_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        monkeypatch.setattr("tongqu.connectors.postgres.serving.batches.BUDGET_SECONDS", 0.0)
        database = Database()
        shape = database.shape()
        database.gate.set()
        await shape.ask(["first"])
        database.gate.clear()
        asking = [asyncio.create_task(shape.ask([n])) for n in range(20)]
        while database.running < LANES:
            await asyncio.sleep(0)
        database.gate.set()
        assert await asyncio.gather(*asking) == [[f"row of {n}"] for n in range(20)]
        assert (set(database.sizes), database.most) == ({1}, LANES)

    asyncio.run(work())


def test_what_fails_fails_for_itself() -> None:
    async def work() -> None:
        database = Database()
        database.gate.set()
        shape = database.shape()
        found = await asyncio.gather(shape.ask([1]), shape.ask(["bad"]), shape.ask([2]), return_exceptions=True)
        assert found[0] == ["row of 1"] and found[2] == ["row of 2"] and isinstance(found[1], ValueError)
        with pytest.raises(ValueError, match="bad"):
            await shape.ask(["bad"])
        assert database.sizes == [3, 1, 1, 1, 1]

    asyncio.run(work())


def test_a_round_trip_that_nobody_waits_for_ends() -> None:
    async def work() -> None:
        database = Database()
        shape = database.shape()
        asking = [asyncio.create_task(shape.ask([n])) for n in range(3)]
        while not database.running:
            await asyncio.sleep(0)
        for task in asking:
            task.cancel()
        assert [type(one) for one in await asyncio.gather(*asking, return_exceptions=True)] == [
            asyncio.CancelledError
        ] * 3
        while database.running:
            await asyncio.sleep(0)
        database.gate.set()
        assert await shape.ask([7]) == ["row of 7"]

    asyncio.run(work())


@pytest.mark.parametrize(
    ("sql", "joins"),
    [
        ("SELECT a FROM t WHERE id > $1", True),
        ("SELECT '$2 is ''no'' parameter' FROM \"t$1\" WHERE id > $1", True),
        ("SELECT '-- no comment' FROM t WHERE id > $1", True),
        (r"SELECT E'it\'s' FROM t WHERE id > $1", False),
        ("SELECT U&'d' FROM t WHERE id > $1", False),
        ("SELECT $tag$ x $tag$ FROM t WHERE id > $1", False),
        ("SELECT a /* $1 */ FROM t WHERE id > $1", False),
    ],
)
def test_only_what_is_understood_is_joined(sql: str, joins: bool) -> None:
    assert can_join(sql, ["int8"]) is joins


def test_types_that_are_no_plain_names_are_not_joined() -> None:
    assert not can_join("SELECT $1", ["int8[]"]) and not can_join("SELECT $1", ["_int8"])


def test_literals_and_names_are_left_alone() -> None:
    made = joined_sql("SELECT '$1', \"c$1\" FROM t WHERE a = $1 AND b = $2", ["int8", "text"])
    assert "SELECT '$1', \"c$1\" FROM t WHERE a = _p.p1 AND b = _p.p2" in made
    assert "unnest($1::int8[], $2::text[])" in made
