"""Every documented example means the same to DuckDB as written and as rewritten from the checked tree."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tongqu.meaning.expressions import render, typed
from tongqu.meaning.functions import AGGREGATES, SCALARS, SYNTAX
from tongqu.meaning.sandbox import open_sandbox

NOTHING = pa.schema([pa.field("x", pa.int64())])
SCALAR = [*(e for e in SYNTAX if "interval '2' hour" not in e and e != "null"), *(s.example for s in SCALARS)]


@pytest.mark.parametrize("example", SCALAR)
def test_example_is_allowed_and_keeps_its_meaning(example: str) -> None:
    made = typed(example, NOTHING)
    database = open_sandbox()
    query = "SELECT ({})::VARCHAR"
    assert (
        database.sql(query.format(render(made.tree, {}))).fetchall() == database.sql(query.format(example)).fetchall()
    )
    database.close()


PRECEDENCE = [
    "-2 ^ 2", "2 ^ 3 ^ 2", "2 ** -1", "1 - 2 - 3", "not 1 = 2", "-7 % 4", "1 + 2 || 'x'", "'1' || 2 * 3", "2 + 3 % 4",
    "1 is null = true", "'a' || 'b' = 'ab'", "'ab' like 'a' || '%'", "5 // 2 * 2", "10 / 2 * 3",
    "not true and false", "-5 // 2", "3 in (1) = false", "1 = 2 is null", "- - 2",
    "true or true and false", "not 1 between 2 and 3", "1 - -2", "not null is null", "1.5::decimal(3)", "log10(1000)",
    "concat('a', null)", "left('abc', -1)", "substring('abc', 2)", "2.5::int", "2.5::double::int", "1 / 0 > 1",
]  # fmt: skip


@pytest.mark.parametrize("example", PRECEDENCE)
def test_rewriting_keeps_the_order_of_operations(example: str) -> None:
    test_example_is_allowed_and_keeps_its_meaning(example)


@pytest.mark.parametrize("example", [s.example for s in AGGREGATES])
def test_aggregate_is_allowed_only_where_rows_are_grouped(example: str) -> None:
    assert typed(example, NOTHING, aggregate=True).columns == ()
