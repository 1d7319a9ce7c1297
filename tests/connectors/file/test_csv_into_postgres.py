"""Texts of a CSV to which only the target's type gives a meaning: equal values and refused rows in both lanes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from tongqu.testing.command_line import tongqu
from tongqu.testing.services import Postgres

TABLE = "CREATE TABLE x (id bigint PRIMARY KEY, paid boolean, code integer, small smallint, big bigint)"
GOOD = "1,t,007,+5,00\n2,no,010,-06,+9\n3,,,,\n4,TRUE,00, 7 ,-0\n"
BAD = '5,maybe,001,1,1\n6,f,1.5,1,1\n7,"",02,1,1\n8,f,03,70000,1\n'


@pytest.mark.parametrize("lane", ["pass", "columnar"])
@pytest.mark.parametrize(("rows", "refused"), [(GOOD, []), (GOOD + BAD, [5, 6, 7, 8])], ids=["good", "bad"])
def test_texts_become_the_targets_values(
    postgres: Postgres, tmp_path: Path, lane: str, rows: str, refused: list[int]
) -> None:
    target = postgres.database()
    with psycopg.connect(target) as connection:
        connection.execute(TABLE)
    (tmp_path / "x.csv").write_text(f"id,paid,code,small,big\n{rows}")
    done = tongqu(tmp_path, "sync", "file:x.csv", target, "--lane", lane, "--json")
    assert done.document["lane"] == lane, done.err
    found: list[tuple[Any, ...]]
    with psycopg.connect(target) as connection:
        found = connection.execute("SELECT * FROM x ORDER BY id").fetchall()
        kept = connection.execute("SELECT (original::json ->> 'id')::int FROM _tongqu_quarantine").fetchall()
    assert found == [(1, True, 7, 5, 0), (2, False, 10, -6, 9), (3, None, None, None, None), (4, True, 0, 7, 0)]
    assert sorted(id for (id,) in kept) == refused
