"""A server hides what the rules hide: by SQL that gives the very same masked values, or after the rows left it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
from sqlglot import exp

from tongqu.core.server import Server
from tongqu.meaning.masks import Mask, masked_value
from tongqu.testing.conformance.asked import LIMITS, SERVED, column, hole, parsed, query, serve, shown
from tongqu.testing.conformance.marks import needed
from tongqu.testing.conformance.place import Place
from tongqu.testing.conformance.serving import NAMES, rows

PEOPLE = [
    "张三", "张", "欧阳娜娜", "欧阳", "司马相如", "歐陽修", "张三丰", "张小三丰", "John Smith", " Ann  Lee", "O'Neil",
    "张San", "a", "", "王\u3000五", "𠮷田一", "13812345678", "1381234", "110101199003071234", "6222020200112233445",
    "z@example.com", "zhang@example.com", "@x", "no at", "a@b@c", "😀😀😀😀😀😀", "x\ny z",
]  # fmt: skip
MASKS: tuple[dict[str, Any], ...] = (
    {"with": "null"}, {"with": "constant", "value": "***"}, {"with": "name"}, {"with": "phone"}, {"with": "id_card"},
    {"with": "bank_card"}, {"with": "email"}, {"with": "keep", "first": 1}, {"with": "keep", "first": 2, "last": 3},
    {"with": "keep", "last": 1},
)  # fmt: skip


class MaskChecks:
    """Masks and row rules of a server."""

    @needed(*SERVED)
    def test_a_row_rule_and_masks_hide_whatever_is_asked(self, place: Place) -> None:
        place.fill(rows())

        async def asked(server: Server) -> None:
            dataset = await server.describe("items")
            rule = exp.EQ(this=column("plant"), expression=hole("mine"))
            mask = Mask.parse({"with": "keep", "first": 0, "last": 1})
            hidden = server.mask(mask, dataset.schema.field("name"))
            masks = {"name": hidden} if hidden is not None else {}
            after = {} if masks else {"name": lambda value: masked_value(mask, value)}
            order = [exp.Ordered(this=column("name"), desc=True, nulls_first=False)]
            asking = query(
                dataset, ["id", "name"], rule=rule, params={"mine": "X"}, masks=masks, after=after, order=order
            )
            page = await server.query(asking, "json", LIMITS)
            mine = {n: name for n, name in enumerate(NAMES) if n % 4 == 0}
            assert {row["id"]: row["name"] for row in parsed(page.body)} == {
                n: masked_value(mask, name) for n, name in mine.items()
            }
            if masks:
                where = exp.EQ(this=column("name"), expression=hole("p"))
                plain = query(dataset, ["id"], where=where, params={"p": "'; drop table items; --"}, masks=masks)
                assert (await server.query(plain, "json", LIMITS)).rows == 0

        serve(place, asked)

    @needed(*SERVED)
    def test_masks_in_sql_are_the_masks(self, place: Place) -> None:
        fields: list[pa.Field[Any]] = [pa.field("id", pa.int64(), nullable=False), pa.field("v", pa.string())]
        values = [*PEOPLE, None]
        place.fill(pa.table([pa.array(range(len(values)), pa.int64()), values], schema=pa.schema(fields)))

        async def asked(server: Server) -> None:
            dataset = await server.describe("items")
            for given in MASKS:
                mask = Mask.parse(given)
                made = server.mask(mask, dataset.schema.field("v"))
                if made is None:
                    continue
                page = await server.query(query(dataset, ["v"], masks={"v": made}), "json", LIMITS)
                for got, value in zip(parsed(page.body), values, strict=True):
                    assert got["v"] == masked_value(mask, value), (given, value)

        serve(place, asked)

    @needed(*SERVED)
    def test_masks_of_numbers_and_dates_are_the_masks(self, place: Place) -> None:
        table = rows()
        place.fill(table)

        async def asked(server: Server) -> None:
            dataset = await server.describe("items")
            for name, given in (
                ("weight", {"with": "round", "to": "0.5"}), ("weight", {"with": "bucket", "to": "10"}),
                ("big", {"with": "bucket", "to": "100"}), ("id", {"with": "round", "to": "5"}),
                ("ratio", {"with": "bucket", "to": "0.25"}), ("made", {"with": "month"}), ("made", {"with": "year"}),
                ("at", {"with": "month"}), ("weight", {"with": "null"}), ("id", {"with": "constant", "value": 7}),
            ):  # fmt: skip
                mask = Mask.parse(given)
                made = server.mask(mask, dataset.schema.field(name))
                if made is None:
                    continue
                page = await server.query(query(dataset, [name], masks={name: made}), "json", LIMITS)
                found = sorted(repr(shown_value(row[name])) for row in parsed(page.body))
                wanted = [shown(masked_value(mask, v), dataset.schema.field(name)) for v in table[name].to_pylist()]
                assert found == sorted(repr(shown_value(value)) for value in wanted), given

        serve(place, asked)

    @needed(*SERVED)
    def test_values_are_replaced_after_they_left_the_database(self, place: Place) -> None:
        place.fill(rows())

        async def asked(server: Server) -> None:
            dataset = await server.describe("items")
            asking = query(dataset, ["id", "name"], after={"name": lambda value: value and f"<{value}>"}, keys=["id"])
            page = await server.query(asking, "json", LIMITS)
            assert [row["name"] for row in parsed(page.body)] == [name and f"<{name}>" for name in NAMES]
            pieces = b"".join([piece async for piece in server.stream(asking, "json", LIMITS)])
            assert parsed(pieces) == parsed(page.body)

        serve(place, asked)


def shown_value(value: Any) -> Any:
    """Numbers in one form, to be compared as text."""
    if isinstance(value, Decimal | int | float) and not isinstance(value, bool):
        return Decimal(str(value)).normalize() + 0
    return value
