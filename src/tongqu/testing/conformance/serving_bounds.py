"""A server's queries are bounded, and what fails says so without values and without SQL."""

from __future__ import annotations

import asyncio

import pyarrow as pa
import pytest
from sqlglot import exp

from tongqu.core.errors import AnswerError, NotFoundError, TimedOutError, TongquError
from tongqu.core.server import Limits, Query, Server
from tongqu.testing.conformance.asked import LIMITS, SERVED, column, hole, opened, parsed, query, serve, table
from tongqu.testing.conformance.marks import needed
from tongqu.testing.conformance.place import Place
from tongqu.testing.conformance.serving import NAMES, rows


class BoundChecks:
    """Bounds and failures of a server."""

    @needed(*SERVED)
    def test_too_much_is_refused(self, place: Place) -> None:
        place.fill(rows())

        async def asked(server: Server) -> None:
            dataset = await server.describe("items")
            whole = query(dataset, dataset.schema.names, limit=1000)
            with pytest.raises(AnswerError):
                await server.query(whole, "json", Limits(rows=3))
            with pytest.raises(AnswerError):
                await server.query(whole, "json", Limits(bytes=100))
            assert (await server.query(whole, "json", LIMITS)).rows == len(NAMES)

        serve(place, asked)

    @needed(*SERVED)
    def test_what_takes_too_long_is_ended(self, place: Place) -> None:
        place.fill(rows())

        async def asked(server: Server) -> None:
            dataset = await server.describe("items")
            tables = [exp.alias_(table(), f"t{number}", table=True) for number in range(7)]
            tree = exp.select(exp.alias_(exp.Sum(this=exp.column("id", table="t0", quoted=True)), "n"))
            tree = tree.from_(tables[0])
            for other in tables[1:]:
                tree = tree.join(other, join_type="cross")
            slow = Query(tree, {}, (pa.field("n", pa.int64()),))
            with pytest.raises(TimedOutError):
                await asyncio.wait_for(server.query(slow, "json", Limits(seconds=0.3)), 20)
            assert (await server.query(query(dataset, ["id"]), "json", LIMITS)).rows == len(NAMES)

        serve(place, asked)

    @needed(*SERVED)
    def test_many_ask_at_once(self, place: Place) -> None:
        place.fill(rows())

        async def asked(server: Server) -> None:
            dataset = await server.describe("items")
            where = exp.EQ(this=column("id"), expression=hole("p"))
            asking = [query(dataset, ["id"], where=where, params={"p": n % 20}) for n in range(100)]
            pages = await asyncio.gather(*(server.query(one, "json", LIMITS) for one in asking))
            assert [parsed(page.body) for page in pages] == [[{"id": n % 20}] for n in range(100)]

        serve(place, asked)

    @needed(*SERVED)
    def test_the_cost_is_told_without_running(self, place: Place) -> None:
        place.fill(rows())

        async def asked(server: Server) -> None:
            dataset = await server.describe("items")
            cost = await server.explain(query(dataset, ["id"], limit=5))
            assert cost.rows > 0 and cost.total >= 0 and cost.plan

        serve(place, asked)

    @needed(*SERVED)
    def test_an_approved_statement_is_described(self, place: Place) -> None:
        place.fill(rows())

        async def asked(server: Server) -> None:
            found = await server.columns("SELECT id, name FROM items WHERE id > :least AND name <> ':no'", {"least": 3})
            assert found.names == ["id", "name"]
            assert pa.types.is_integer(found.field("id").type) and pa.types.is_string(found.field("name").type)
            with pytest.raises(TongquError) as wrong:
                await server.columns("SELECT nothing FROM items", {})
            assert wrong.value.code == "config.expression"

        serve(place, asked)

    @needed(*SERVED)
    def test_what_is_missing_is_not_found(self, place: Place) -> None:
        place.fill(rows())

        async def asked(server: Server) -> None:
            assert (await server.describe("items")).key in (("id",), ())
            with pytest.raises(NotFoundError):
                await server.describe("missing")

        serve(place, asked)

    @needed(*SERVED)
    def test_errors_hold_neither_values_nor_sql(self, place: Place) -> None:
        place.fill(rows())

        async def asked(server: Server) -> None:
            dataset = await server.describe("items")
            wrong = exp.EQ(this=column("nothing_like_it"), expression=hole("p"))
            with pytest.raises(TongquError) as told:
                await server.query(query(dataset, ["id"], where=wrong, params={"p": "hunter2 sécret"}), "json", LIMITS)
            text = " ".join(str(part) for part in told.value.problem().values())
            assert "hunter2" not in text and "SELECT" not in text.upper().split()

        serve(place, asked)

    @needed(*SERVED)
    def test_nothing_is_left_by_a_server(self, place: Place) -> None:
        place.fill(rows())

        async def twice() -> None:
            for _ in range(2):
                async with opened(place) as server:
                    await server.describe("items")
            others = asyncio.all_tasks() - {asyncio.current_task()}
            assert not others

        asyncio.run(twice())
