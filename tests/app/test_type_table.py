"""The table of types is made of the connectors' own conversions, and is complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from tongqu.app.type_table import VERDICTS, page, systems, type_table
from tongqu.core.errors import UnknownNameError
from tongqu.testing.command_line import tongqu


def test_every_system_keeps_its_own_types() -> None:
    for name in systems():
        verdicts = {row["type"]: row["verdict"] for row in type_table(name, name)["types"]}
        assert set(verdicts.values()) == {"exact"}, verdicts


def test_every_pair_is_there() -> None:
    rows = type_table()["types"]
    assert {(row["from"], row["to"]) for row in rows} == {(a, b) for a in systems() for b in systems()}
    assert {row["verdict"] for row in rows} <= set(VERDICTS)
    assert not [row for row in rows if row["verdict"] == "unread"]


@pytest.mark.parametrize(
    ("source", "native", "sink", "becomes", "verdict"),
    [
        ("postgres", "integer", "mysql", "int", "exact"),
        ("postgres", "timestamp with time zone", "mysql", "datetime(6)", "utc"),
        ("mysql", "bigint unsigned", "postgres", "numeric(20,0)", "wider"),
        ("mysql", "varchar(32)", "duckdb", "VARCHAR", "wider"),
        ("postgres", "uuid", "duckdb", "UUID", "exact"),
        ("postgres", "numeric", "mysql", "decimal(65,30)", "checked"),
        ("duckdb", "INTEGER[]", "mysql", "json", "text"),
        ("mysql", "tinyint(1)", "sqlite", "TINYINT", "wider"),
    ],
)
def test_what_a_type_becomes(source: str, native: str, sink: str, becomes: str, verdict: str) -> None:
    (row,) = [row for row in type_table(source, sink)["types"] if row["type"] == native]
    assert (row["becomes"], row["verdict"]) == (becomes, verdict)


def test_the_page_has_a_table_for_every_pair() -> None:
    assert page().count("\n## ") == len(systems()) ** 2


def test_a_name_that_is_no_system_is_refused() -> None:
    with pytest.raises(UnknownNameError):
        type_table("nothing")


def test_the_command_line_gives_the_table(tmp_path: Path) -> None:
    told = tongqu(tmp_path, "connectors", "--types", "postgres", "sqlite", "--json")
    assert {row["to"] for row in told.document["types"]} == {"sqlite"}
