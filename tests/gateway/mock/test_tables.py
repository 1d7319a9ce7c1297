"""Made-up tables hold values of every type, within rules, with unique keys, and are taken by DuckDB as they are."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from tests.gateway.published import Database, api

from tongqu.gateway.mock.likeness import Likeness, likeness
from tongqu.gateway.mock.tables import ROWS, Making, build
from tongqu.gateway.publication import Api
from tongqu.meaning.rules import Rule

FIELDS: list[pa.Field[Any]] = [
    pa.field("id", pa.int16(), nullable=False), pa.field("part", pa.string(), nullable=False),
    pa.field("price", pa.decimal128(6, 2)), pa.field("share", pa.float64()), pa.field("ok", pa.bool_()),
    pa.field("day", pa.date32()), pa.field("at", pa.timestamp("us")), pa.field("seen", pa.timestamp("us", "UTC")),
    pa.field("clock", pa.time64("us")), pa.field("raw", pa.binary()), pa.field("tags", pa.list_(pa.string())),
    pa.field("meta", pa.string(), metadata={"tongqu.logical": "json"}), pa.field("big", pa.uint64()),
    pa.field("code", pa.string(), metadata={"tongqu.logical": "uuid"}),
    pa.field("loose", pa.string(), metadata={"tongqu.logical": "decimal"}),
    pa.field("odd", pa.struct([pa.field("a", pa.int8())]), nullable=False),
    pa.field("phone", pa.string(), metadata={"tongqu.class": "personal", "tongqu.mask": "phone"}),
]  # fmt: skip
WIDE = pa.schema(FIELDS)


def published(rules: dict[str, Any], key: tuple[str, ...]) -> Api:
    """An API over a table of all those types; the table itself is never asked."""
    database = Database("duckdb", "narrow", pa.table({"a": [1]}))
    try:
        made = api(database, WIDE.empty_table(), {"roles": ["a"]}, key=key, name="wide")
        return replace(made, rules={name: Rule.model_validate(rule) for name, rule in rules.items()})
    finally:
        database.close()


def test_every_type_has_values_that_duckdb_takes(tmp_path: Path) -> None:
    making = Making([published({}, ("id", "part"))], "s", lambda _: None)
    build(tmp_path / "made.duckdb", making)
    with duckdb.connect(str(tmp_path / "made.duckdb")) as made:
        count = "count(*), count(DISTINCT (id, part)), count(meta->>'example'), count(code), count(odd)"
        rows, keys, meta, codes, odd = made.execute(f'SELECT {count} FROM "v1__wide"').fetchone() or ()
        assert (keys, odd) == (rows, 0)
        assert 150 < rows <= ROWS
        assert meta > 150
        assert codes > 150
        phones = made.execute("SELECT DISTINCT phone[:3] FROM v1__wide WHERE phone IS NOT NULL").fetchall()
        assert phones == [("100",)]


@pytest.mark.parametrize(
    ("name", "rule", "holds"),
    [
        ("price", {"min": 5, "max": 7}, lambda v: Decimal(5) <= v <= Decimal(7)),
        ("part", {"pattern": "P-[0-9]{3}"}, lambda v: len(v) == 5 and v.startswith("P-")),
        ("part", {"enum": ["A", "B"]}, lambda v: v in ("A", "B")),
        ("day", {"min": "2026-03-01", "max": "2026-03-31"}, lambda v: v.year == 2026 and v.month == 3),
        ("part", {"type": "date"}, lambda v: date.fromisoformat(v) is not None),
        ("big", {"required": True, "unique": True}, lambda v: v > 0),
    ],
)  # fmt: skip
def test_rules_hold(name: str, rule: dict[str, Any], holds: Any) -> None:
    making = Making([found := published({name: rule}, ())], "s", lambda _: None)
    values = [value for value in making.table(found).column(name).to_pylist() if value is not None]
    assert values
    assert all(holds(value) for value in values)
    assert not rule.get("unique") or len(set(values)) == ROWS


def test_a_real_value_that_few_rows_share_is_never_used() -> None:
    told = {
        "rows": 20,
        "nulls": 4,
        "distinct": 2,
        "top": [{"value": "many", "count": 12}, {"value": "rare", "count": 4}],
    }
    found = likeness(pa.field("word", pa.string()), None, told)
    assert (found.gaps, found.common) == (0.2, (("many", 12),))
    assert likeness(WIDE.field("phone"), None, told) == Likeness(gaps=0.2, distinct=2, person="phone")
