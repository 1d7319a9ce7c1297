"""What is written in a source's own SQL, and what is left to DuckDB."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from tongqu.meaning.expressions import typed
from tongqu.meaning.pushdown import push

TEXT = {"tongqu.native": "postgres:character varying(32)"}
FIELDS: list[pa.Field[Any]] = [
    pa.field("t", pa.string(), metadata=TEXT),
    pa.field("padded", pa.string(), metadata={"tongqu.native": "postgres:character(8)"}),
    pa.field("doc", pa.string(), metadata={"tongqu.logical": "json"}),
    pa.field("i", pa.int32()),
    pa.field("big", pa.int64()),
    pa.field("d", pa.decimal128(12, 3)),
    pa.field("wide", pa.decimal128(38, 10)),
    pa.field("f", pa.float64()),
    pa.field("b", pa.bool_()),
    pa.field("ts", pa.timestamp("us", tz="UTC")),
]
SCHEMA = pa.schema(FIELDS)


def pushed(text: str, dialect: str = "postgres") -> str | None:
    return push(typed(text, SCHEMA).tree, SCHEMA, dialect)[0]


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("d > 1.5 and i is not null", '(("d" > 1.5) AND (NOT ("i" IS NULL)))'),
        ("t = 'it''s'", "(\"t\" COLLATE \"C\" = 'it''s')"),
        ("i + 1", 'CAST(("i" + 1) AS integer)'),
        ("ts >= '2026-01-01'", "(\"ts\" >= TIMESTAMPTZ '2026-01-01 00:00:00+00')"),
        ("substring(t, 1, 3) || i::varchar", '(SUBSTRING("t", 1, 3) || CAST("i" AS text))'),
        ("doc is null", '("doc" IS NULL)'),
        ("i in (1, 2)", '("i" IN (1, 2))'),
    ],
)
def test_exact_constructs_are_written_for_postgres(text: str, sql: str) -> None:
    assert pushed(text) == sql


@pytest.mark.parametrize(
    "text",
    [
        "i / 2", "i // 2", "i % 2", "round(d)", "date_trunc('day', ts)", "try_cast(t as int)", "lower(t) = 'a'",
        "trim(t) = 'a'", "t < 'b'", "padded = 'a'", "doc = '{}'", "f > 1", "wide * 2", "big::int", "t::int", "sqrt(i)",
        "t like 'a' || t", "t = 'a\\b'", "regexp_matches(t, 'a')", "ts >= '2026-01-01 10:00'", "strftime(ts, '%Y')",
        "substring(t, 0, 2)", "ts::varchar", "ts + interval 1 day", "concat(t, t)", "d > 1e3",
    ],
)  # fmt: skip
def test_doubtful_constructs_stay_in_duckdb(text: str) -> None:
    assert pushed(text) is None


@pytest.mark.parametrize("text", ["t = 'a'", "t || t", "b", "i + 1", "ts > '2026-01-01'", "coalesce(i, 1)"])
def test_mysql_takes_little(text: str) -> None:
    assert pushed(text, "mysql") is None


def test_mysql_compares_numbers() -> None:
    assert pushed("i > 5 and d <= 1.5", "mysql") == "((`i` > 5) AND (`d` <= 1.5))"


def test_sqlite_only_tests_for_null() -> None:
    assert pushed("i is null or not t is null", "sqlite") == '(("i" IS NULL) OR (NOT ("t" IS NULL)))'
    assert pushed("i > 5", "sqlite") is None


def test_unknown_source_takes_nothing() -> None:
    assert pushed("i > 5", "oracle") is None
