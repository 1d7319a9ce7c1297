"""A server answers the rewriter's queries: exact values, text by code point, three-valued logic, all of it bounded."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pyarrow as pa
from sqlglot import exp

from tongqu.core.errors import InvalidPlanError
from tongqu.core.server import Format, Limits, Query, Server
from tongqu.testing.conformance.asked import (
    LIMITS,
    SERVED,
    column,
    hole,
    parsed,
    query,
    same,
    serve,
    shown,
    table,
)
from tongqu.testing.conformance.marks import needed
from tongqu.testing.conformance.place import Place

NAMES = [
    "a", "A", "b", "B", "é", "Z", "z", "中", "名", "😀", "", " ", "a ", "a%b", "a_b", "a\\b", "ab", "it's \"q\"",
    "'; drop table items; --", None,
]  # fmt: skip


def _schema(fields: list[pa.Field[Any]]) -> pa.Schema:
    return pa.schema(fields)


def rows() -> pa.Table:
    """A row per name, with a value of most types."""
    count = len(NAMES)
    many = range(count)
    return pa.table(
        [
            pa.array(many, pa.int64()),
            pa.array(NAMES, pa.string()),
            pa.array([None if n % 4 == 3 else "XYZ"[n % 4] for n in many], pa.string()),
            pa.array([None if n == 5 else Decimal(n * 1001) / 1000 for n in many], pa.decimal128(12, 3)),
            pa.array([None if n == 6 else (n - 3) / 7 for n in many], pa.float64()),
            pa.array([date(2024, 2, 1 + n) for n in many], pa.date32()),
            pa.array([datetime(2024, 3, 31, 2, 30, n, n, tzinfo=UTC) for n in many], pa.timestamp("us", "UTC")),
            pa.array([bytes([n, 255 - n]) for n in many], pa.binary()),
            pa.array([2**53 + 1 + n for n in many], pa.int64()),
        ],
        schema=_schema(
            [
                pa.field("id", pa.int64(), nullable=False), pa.field("name", pa.string()),
                pa.field("plant", pa.string()), pa.field("weight", pa.decimal128(12, 3)),
                pa.field("ratio", pa.float64()), pa.field("made", pa.date32()),
                pa.field("at", pa.timestamp("us", "UTC")), pa.field("raw", pa.binary()), pa.field("big", pa.int64()),
            ]
        ),
    )  # fmt: skip


def ids(place: Place, where: exp.Expr, **params: Any) -> list[int]:
    """The ids of the rows that a condition finds."""

    async def asked(server: Server) -> list[int]:
        dataset = await server.describe("items")
        page = await server.query(query(dataset, ["id"], where=where, params=params), "rows", LIMITS)
        return [row[0] for row in page.values]

    return serve(place, asked)


class ServeChecks:
    """Queries of a server."""

    @needed(*SERVED)
    def test_rows_are_served_as_exact_json(self, place: Place) -> None:
        table = rows()
        place.fill(table)

        async def asked(server: Server) -> None:
            dataset = await server.describe("items")
            assert dataset.schema.names == table.schema.names
            whole = query(dataset, dataset.schema.names, keys=["made", "id"])
            page = await server.query(whole, "json", LIMITS)
            found = parsed(page.body)
            assert page.rows == len(found) == table.num_rows
            for got, want in zip(found, table.to_pylist(), strict=True):
                assert list(got) == table.schema.names
                for field in dataset.schema:
                    wanted = shown(want[field.name], field)
                    assert same(got[field.name], wanted), f"{field.name}: {got[field.name]!r} is not {wanted!r}"
            assert list(page.last) == [found[-1]["made"], found[-1]["id"]]
            listed = await server.query(whole, "rows", LIMITS)
            assert listed.body == b"" and listed.rows == len(listed.values) and list(listed.last) == list(page.last)
            for values, got in zip(listed.values, found, strict=True):
                assert all(same(a, b) for a, b in zip(values, got.values(), strict=True)), (values, got)

        serve(place, asked)

    @needed(*SERVED)
    def test_no_rows_are_an_empty_page(self, place: Place) -> None:
        place.fill(rows())

        async def asked(server: Server) -> None:
            dataset = await server.describe("items")
            nothing = query(
                dataset,
                ["id", "name"],
                keys=["id"],
                where=exp.LT(this=column("id"), expression=hole("p")),
                params={"p": -1},
            )
            page = await server.query(nothing, "json", LIMITS)
            assert (json.loads(page.body), page.rows, tuple(page.last)) == ([], 0, ())
            assert (await server.query(nothing, "csv", LIMITS)).body.decode().splitlines() == ["id,name"]
            assert (await server.query(nothing, "rows", LIMITS)).values in ([], ())
            arrow = (await server.query(nothing, "arrow", LIMITS)).body
            assert pa.ipc.open_stream(arrow).read_all().schema.names == ["id", "name"]

        serve(place, asked)

    @needed(*SERVED)
    def test_every_format_says_the_same(self, place: Place) -> None:
        place.fill(rows())

        async def asked(server: Server) -> None:
            dataset = await server.describe("items")
            whole = query(dataset, dataset.schema.names, keys=["id"])
            found = parsed((await server.query(whole, "json", LIMITS)).body)
            lines = list(csv.reader(io.StringIO((await server.query(whole, "csv", LIMITS)).body.decode(), newline="")))
            assert lines[0] == dataset.schema.names
            assert [line[1] for line in lines[1:]] == [row["name"] or "" for row in found]
            assert [Decimal(line[3]) if line[3] else None for line in lines[1:]] == [row["weight"] for row in found]
            arrow = pa.ipc.open_stream((await server.query(whole, "arrow", LIMITS)).body).read_all()
            assert arrow.schema.types == dataset.schema.types
            for got, row in zip(arrow.to_pylist(), found, strict=True):
                assert all(same(shown(got[f.name], f), row[f.name]) for f in dataset.schema), (got, row)
            formats: tuple[Format, ...] = ("json", "csv", "arrow")
            for format in formats:
                pieces = b"".join([piece async for piece in server.stream(whole, format, Limits(rows=10**9))])
                if format == "json":
                    assert parsed(pieces) == found
                elif format == "csv":
                    assert list(csv.reader(io.StringIO(pieces.decode(), newline=""))) == lines
                else:
                    assert pa.ipc.open_stream(pieces).read_all().equals(arrow)

        serve(place, asked)

    @needed(*SERVED)
    def test_text_is_compared_by_code_point(self, place: Place) -> None:
        place.fill(rows())
        known = [(number, name) for number, name in enumerate(NAMES) if name is not None]

        async def asked(server: Server) -> None:
            dataset = await server.describe("items")
            for down in (False, True):
                order = [exp.Ordered(this=column("name"), desc=down, nulls_first=False)]
                page = await server.query(query(dataset, ["id"], order=order), "rows", LIMITS)
                wanted = [number for number, _ in sorted(known, key=lambda one: one[1], reverse=down)]
                assert [row[0] for row in page.values] == [*wanted, len(NAMES) - 1]
            for name in ("a", "A", "a ", "é", "Z", "中", "😀"):
                for kind, holds in (
                    (exp.EQ, str.__eq__), (exp.NEQ, str.__ne__), (exp.LT, str.__lt__), (exp.GT, str.__gt__),
                    (exp.LTE, str.__le__), (exp.GTE, str.__ge__),
                ):  # fmt: skip
                    where = kind(this=column("name"), expression=hole("p"))
                    page = await server.query(query(dataset, ["id"], where=where, params={"p": name}), "rows", LIMITS)
                    wanted = [number for number, other in known if holds(other, name)]
                    assert [row[0] for row in page.values] == wanted, (kind.__name__, name)
            listed = column("name").isin(hole("p"), hole("q"))
            asking = query(dataset, ["id"], where=listed, params={"p": "A", "q": "中"})
            page = await server.query(asking, "rows", LIMITS)
            assert [row[0] for row in page.values] == [1, 7]

        serve(place, asked)

    @needed(*SERVED)
    def test_nulls_stand_where_the_order_says(self, place: Place) -> None:
        place.fill(rows())

        async def asked(server: Server) -> None:
            dataset = await server.describe("items")
            for down in (False, True):
                for first in (False, True):
                    order = [exp.Ordered(this=column("weight"), desc=down, nulls_first=first)]
                    page = await server.query(query(dataset, ["weight"], order=order), "rows", LIMITS)
                    found = [row[0] for row in page.values]
                    assert found.pop(0 if first else -1) is None
                    assert all((a >= b) if down else (a <= b) for a, b in pairwise(found))

        serve(place, asked)

    @needed(*SERVED)
    def test_logic_has_three_values(self, place: Place) -> None:
        place.fill(rows())
        plants = rows().column("plant").to_pylist()
        equal = exp.EQ(this=column("plant"), expression=hole("p"))
        assert ids(place, exp.Not(this=exp.Paren(this=equal)), p="X") == [
            n for n, plant in enumerate(plants) if plant not in (None, "X")
        ]
        assert ids(place, exp.Is(this=column("plant"), expression=exp.Null())) == [
            n for n, plant in enumerate(plants) if plant is None
        ]
        distinct = exp.NullSafeNEQ(this=column("plant"), expression=hole("p"))
        assert ids(place, distinct, p="X") == [n for n, plant in enumerate(plants) if plant != "X"]
        assert ids(place, exp.EQ(this=column("plant"), expression=hole("p")), p=None) == []

    @needed(*SERVED)
    def test_patterns_mean_what_they_say(self, place: Place) -> None:
        place.fill(rows())

        def like(kind: type[exp.Expr]) -> exp.Expr:
            bare = kind(this=column("name"), expression=hole("p"))
            return exp.Escape(this=bare, expression=exp.Literal.string("\\"))

        def named(found: list[int]) -> list[str | None]:
            return [NAMES[n] for n in found]

        assert named(ids(place, like(exp.Like), p="a%")) == ["a", "a ", "a%b", "a_b", "a\\b", "ab"]
        assert named(ids(place, like(exp.Like), p="a\\%b")) == ["a%b"]
        assert named(ids(place, like(exp.Like), p="a\\_b")) == ["a_b"]
        assert named(ids(place, like(exp.Like), p="a\\\\b")) == ["a\\b"]
        assert named(ids(place, like(exp.Like), p="_")) == ["a", "A", "b", "B", "é", "Z", "z", "中", "名", "😀", " "]
        assert named(ids(place, like(exp.ILike), p="A%")) == ["a", "A", "a ", "a%b", "a_b", "a\\b", "ab"]
        regexp = exp.RegexpLike(this=column("name"), expression=hole("p"))
        try:
            assert named(ids(place, regexp, p="^a[%_]b$")) == ["a%b", "a_b"]
            assert named(ids(place, exp.RegexpILike(this=column("name"), expression=hole("p")), p="^Z$")) == ["Z", "z"]
        except InvalidPlanError:  # a dialect that cannot says so before anything runs
            return

    @needed(*SERVED)
    def test_groups_are_exact(self, place: Place) -> None:
        place.fill(rows())
        found = rows().to_pylist()

        async def asked(server: Server) -> None:
            dataset = await server.describe("items")
            plant = column("plant")
            made = [
                plant, exp.alias_(exp.Count(this=exp.Star()), "n"), exp.alias_(exp.Count(this=column("weight")), "k"),
                exp.alias_(exp.Sum(this=column("weight")), "s"), exp.alias_(exp.Min(this=column("name")), "least"),
                exp.alias_(exp.Max(this=column("name")), "most"), exp.alias_(exp.Avg(this=column("ratio")), "mean"),
            ]  # fmt: skip
            inner = exp.select(*(column(name) for name in dataset.schema.names)).from_(table(dataset.name))
            tree = exp.select(*made).from_(inner.subquery("v")).group_by(plant)
            tree = tree.order_by(exp.Ordered(this=plant, desc=False, nulls_first=True))
            text, number = dataset.schema.field("name"), pa.field("n", pa.int64())
            fields = (
                dataset.schema.field("plant"), number, number.with_name("k"), pa.field("s", pa.decimal128(38, 3)),
                text.with_name("least"), text.with_name("most"), pa.field("mean", pa.float64()),
            )  # fmt: skip
            page = await server.query(Query(tree, {}, fields), "json", LIMITS)
            for got, plant_name in zip(parsed(page.body), [None, "X", "Y", "Z"], strict=True):
                mine = [row for row in found if row["plant"] == plant_name]
                names = [row["name"] for row in mine if row["name"] is not None]
                weights = [row["weight"] for row in mine if row["weight"] is not None]
                ratios = [row["ratio"] for row in mine if row["ratio"] is not None]
                assert (got["plant"], got["n"], got["k"]) == (plant_name, len(mine), len(weights))
                assert Decimal(got["s"]) == sum(weights)
                assert (got["least"], got["most"]) == (min(names), max(names))
                assert abs(float(got["mean"]) - sum(ratios) / len(ratios)) < 1e-9

        serve(place, asked)
