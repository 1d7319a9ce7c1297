"""A server's changes are all or nothing, within the caller's rows, and happen once for one Idempotency-Key."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from sqlglot import exp

from tongqu.core.data import Dataset
from tongqu.core.errors import (
    AccessError,
    DuplicateError,
    InvalidPlanError,
    NotFoundError,
    RefusedRowsError,
    SupersededError,
    TongquError,
)
from tongqu.core.server import Change, Idempotency, Outcome, Query, Server, Verb
from tongqu.testing.conformance.asked import LIMITS, SERVED, column, hole, opened, parsed, query, serve, view
from tongqu.testing.conformance.marks import needed
from tongqu.testing.conformance.place import Place

KEY = Idempotency("client:a POST /api/v1/items", "k1", "print 1")
Row = tuple[int, str | None, str | None]


def table() -> pa.Table:
    """Three rows: `id`, `name`, `plant`."""
    fields: list[pa.Field[Any]] = [
        pa.field("id", pa.int64(), nullable=False), pa.field("name", pa.string()), pa.field("plant", pa.string()),
    ]  # fmt: skip
    return pa.table([pa.array([1, 2, 3], pa.int64()), ["a", "b", "c"], ["X", "X", "Y"]], schema=pa.schema(fields))


def mine() -> exp.Expr:
    """The caller's row rule."""
    return exp.EQ(this=column("plant"), expression=hole("mine"))


def change(
    dataset: Dataset, verb: Verb, rows: Sequence[Sequence[Any]], names: Sequence[str] = ("id", "name", "plant")
) -> Change:
    """A change that gives back what it touched."""
    tree = exp.select(*(column(name) for name in dataset.schema.names)).from_(view(dataset.schema.names))
    tree = tree.order_by(exp.Ordered(this=column("id"), desc=False, nulls_first=False))
    back = Query(tree, {}, tuple(dataset.schema))
    fields = tuple(dataset.schema.field(name) for name in names)
    conflict = ("id",) if verb in ("upsert", "ignore") else ()
    return Change(verb, dataset.name, fields, rows, conflict=conflict, returning=back)


async def now(server: Server) -> list[Row]:
    """The rows as they are."""
    dataset = await server.describe("items")
    page = await server.query(query(dataset, ["id", "name", "plant"]), "rows", LIMITS)
    return [(row[0], row[1], row[2]) for row in page.values]


BEFORE: list[Row] = [(1, "a", "X"), (2, "b", "X"), (3, "c", "Y")]


def returned(outcome: Outcome, place: int = 0) -> list[Row]:
    """The rows that a change gave back."""
    page = outcome.pages[place]
    assert page is not None
    return [(row["id"], row["name"], row["plant"]) for row in parsed(page.body)]


class TransactChecks:
    """Changes of a server."""

    @needed(*SERVED)
    def test_rows_are_added_changed_and_deleted(self, place: Place) -> None:
        place.fill(table())

        async def done(server: Server) -> None:
            dataset = await server.describe("items")
            if not server.transactions:
                with pytest.raises(InvalidPlanError):
                    await server.transact([change(dataset, "insert", [(4, "d", "X")])], LIMITS)
                return
            added = await server.transact([change(dataset, "insert", [(5, "中", None), (4, "d", "X")])], LIMITS)
            assert (added.touched, added.inserted, added.replayed) == ((2,), (2,), None)
            assert returned(added) == [(4, "d", "X"), (5, "中", None)]
            where = exp.GTE(this=column("id"), expression=hole("p"))
            one = replace(change(dataset, "update", [("new",)], ["name"]), where=where, params={"p": 4})
            changed = await server.transact([one], LIMITS)
            assert (changed.touched, changed.inserted) == ((2,), (0,))
            assert returned(changed) == [(4, "new", "X"), (5, "new", None)]
            gone = await server.transact([replace(change(dataset, "delete", ()), where=where, params={"p": 5})], LIMITS)
            assert (gone.touched, returned(gone)) == ((1,), [(5, "new", None)])
            assert await now(server) == [*BEFORE, (4, "new", "X")]

        serve(place, done)

    @needed(*SERVED)
    def test_upserts_merge_and_ignore(self, place: Place) -> None:
        place.fill(table())

        async def done(server: Server) -> None:
            if not server.transactions:
                return
            dataset = await server.describe("items")
            rows = [(3, "C", "Y"), (4, "d", "Y")]
            merged = await server.transact([change(dataset, "upsert", rows)], LIMITS)
            assert (merged.touched, merged.inserted, returned(merged)) == ((2,), (1,), rows)
            ignored = await server.transact([change(dataset, "ignore", [(4, "no", "X"), (5, "e", "X")])], LIMITS)
            assert (ignored.touched, ignored.inserted, returned(ignored)) == ((1,), (1,), [(5, "e", "X")])
            assert await now(server) == [*BEFORE[:2], *rows, (5, "e", "X")]
            part = await server.transact([change(dataset, "upsert", [(4, "D")], ["id", "name"])], LIMITS)
            assert returned(part) == [(4, "D", "Y")]

        serve(place, done)

    @needed(*SERVED)
    def test_the_rule_holds_before_and_after(self, place: Place) -> None:
        place.fill(table())

        async def done(server: Server) -> None:
            if not server.transactions:
                return
            dataset = await server.describe("items")
            rule: dict[str, Any] = {"params": {"mine": "X", "p": 0}}
            over = exp.and_(mine(), exp.GT(this=column("id"), expression=hole("p")))

            async def refused(one: Change) -> None:
                with pytest.raises(AccessError):
                    await server.transact([change(dataset, "insert", [(9, "i", "X")]), one], LIMITS)
                assert await now(server) == BEFORE

            await refused(replace(change(dataset, "insert", [(4, "d", "X"), (5, "e", "Y")]), check=mine(), **rule))
            await refused(replace(change(dataset, "insert", [(4, "d", None)]), check=mine(), **rule))
            await refused(replace(change(dataset, "update", [("Y",)], ["plant"]), where=over, check=mine(), **rule))
            await refused(replace(change(dataset, "upsert", [(1, "a", "Y")]), where=mine(), check=mine(), **rule))
            upsert = replace(
                change(dataset, "upsert", [(3, "stolen", "X"), (2, "B", "X")]), where=mine(), check=mine(), **rule
            )
            merged = await server.transact([upsert], LIMITS)
            assert (merged.touched, merged.inserted, returned(merged)) == ((1,), (0,), [(2, "B", "X")])
            one = replace(change(dataset, "update", [("n",)], ["name"]), where=over, check=mine(), **rule)
            assert returned(await server.transact([one], LIMITS)) == [(1, "n", "X"), (2, "n", "X")]
            gone = replace(change(dataset, "delete", ()), where=over, **rule)
            assert (await server.transact([gone], LIMITS)).touched == (2,)
            assert await now(server) == BEFORE[2:]

        serve(place, done)

    @needed(*SERVED)
    def test_as_many_rows_as_expected_or_none(self, place: Place) -> None:
        place.fill(table())

        async def done(server: Server) -> None:
            if not server.transactions:
                return
            dataset = await server.describe("items")
            where = exp.LTE(this=column("id"), expression=hole("p"))
            for verb, rows, names in (("update", [("n",)], ["name"]), ("delete", (), ["id"])):
                one = replace(change(dataset, verb, rows, names), where=where, params={"p": 2})  # type: ignore[arg-type]  # two of the verbs
                with pytest.raises(NotFoundError):
                    await server.transact([replace(one, expected=1)], LIMITS)
                with pytest.raises(NotFoundError):
                    await server.transact([replace(one, params={"p": 0}, expected=1)], LIMITS)
                with pytest.raises(RefusedRowsError):
                    await server.transact([replace(one, limit=1)], LIMITS)
                assert await now(server) == BEFORE
                assert (await server.transact([replace(one, params={"p": 0})], LIMITS)).touched == (0,)
            assert (await server.transact([replace(one, expected=2, limit=2)], LIMITS)).touched == (2,)

        serve(place, done)

    @needed(*SERVED)
    def test_refused_rows_change_nothing_and_tell_no_values(self, place: Place) -> None:
        place.fill(table())

        async def done(server: Server) -> None:
            if not server.transactions:
                return
            dataset = await server.describe("items")
            with pytest.raises(DuplicateError) as twice:
                await server.transact([change(dataset, "insert", [(4, "d", "X"), (1, "sécret", "X")])], LIMITS)
            with pytest.raises(TongquError) as missing:
                await server.transact([change(dataset, "insert", [(None, "sécret", "X")])], LIMITS)
            for told in (twice, missing):
                text = " ".join(str(part) for part in told.value.problem().values())
                assert "sécret" not in text and "INSERT" not in text.upper().split(), text
            assert await now(server) == BEFORE

        serve(place, done)

    @needed(*SERVED)
    def test_one_key_happens_once(self, place: Place) -> None:
        place.fill(table())

        async def done(server: Server) -> None:
            if not server.transactions:
                return
            dataset = await server.describe("items")
            adding = [change(dataset, "insert", [(4, "d", "X")])]

            def answer(outcome: Outcome) -> bytes:
                return b"201 \x00\xff" + str(outcome.touched).encode()

            first = await server.transact(adding, LIMITS, KEY, answer)
            assert (first.touched, first.replayed) == ((1,), None)
            again = await server.transact(adding, LIMITS, KEY, answer)
            assert (again.touched, again.replayed) == ((), b"201 \x00\xff(1,)")
            with pytest.raises(SupersededError):
                await server.transact(adding, LIMITS, replace(KEY, fingerprint="print 2"), answer)
            with pytest.raises(DuplicateError):
                await server.transact(adding, LIMITS, replace(KEY, key="k2"), answer)
            other = replace(KEY, key="k2")
            assert (await server.transact([change(dataset, "insert", [(5, "e", "X")])], LIMITS, other, answer)).touched
            scope = replace(KEY, scope="client:b POST /api/v1/items")
            assert (await server.transact([change(dataset, "delete", ())], LIMITS, scope, answer)).replayed is None
            assert await now(server) == []

        serve(place, done)

    @needed(*SERVED)
    def test_one_key_at_the_same_time_happens_once(self, place: Place) -> None:
        place.fill(table())

        async def done(server: Server) -> None:
            if not server.transactions:
                return
            dataset = await server.describe("items")
            adding = [change(dataset, "insert", [(4, "d", "X")])]
            tries = [server.transact(adding, LIMITS, KEY, lambda _: b"done") for _ in range(8)]
            found = await asyncio.gather(*tries, return_exceptions=True)
            made = [one for one in found if isinstance(one, Outcome) and one.touched == (1,)]
            assert len(made) == 1, found
            for one in found:
                if isinstance(one, BaseException):
                    assert isinstance(one, TongquError) and one.code == "connector.busy", one
                elif one is not made[0]:
                    assert one.replayed == b"done"
            assert await now(server) == [*BEFORE, (4, "d", "X")]

        serve(place, done)

    @needed(*SERVED)
    def test_a_key_is_forgotten_when_its_time_is_over(self, place: Place) -> None:
        place.fill(table())
        short = replace(KEY, keep_seconds=0)

        async def done() -> None:
            async with opened(place) as server:
                if not server.transactions:
                    return
                dataset = await server.describe("items")
                await server.transact([change(dataset, "insert", [(4, "d", "X")])], LIMITS, short, lambda _: b"1")
            async with opened(place) as server:
                second = await server.transact(
                    [change(dataset, "insert", [(5, "e", "X")])], LIMITS, short, lambda _: b"2"
                )
                assert (second.replayed, second.touched) == (None, (1,))

        asyncio.run(done())
