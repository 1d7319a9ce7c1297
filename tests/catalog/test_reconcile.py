"""Random tables with random edits: the comparison finds exactly these, and the repair makes both sides equal."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pymysql
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tongqu.app.services.diffing import DiffRequest
from tongqu.app.wire import Wire
from tongqu.catalog.agreement import Wish
from tongqu.connectors.mysql.settings import from_url as mysql_settings

texts = st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
numbers = st.none() | st.integers(-(2**63), 2**63 - 1)
doubles = st.none() | st.floats(allow_nan=False, allow_infinity=False, min_value=-1e100, max_value=1e100)
values = st.tuples(texts, numbers, doubles)
Table = Mapping[tuple[int, str], tuple[Any, ...]]
QUICK = (Phase.explicit, Phase.generate)
"""Shrinking would write files for minutes."""
keys = st.tuples(st.integers(-50, 50), st.text("aAbÄ中 ", min_size=1, max_size=2).map(lambda text: text.strip() or "_"))


@st.composite
def tables(draw: st.DrawFn) -> tuple[Table, Table]:
    """A table and a copy with some rows changed, added and taken away."""
    left = draw(st.dictionaries(keys, values, max_size=60))
    right = dict(left)
    for key in draw(st.lists(st.sampled_from(sorted(left)), max_size=6)) if left else []:
        right[key] = draw(values)
    for key in draw(st.lists(st.sampled_from(sorted(left)), max_size=4)) if left else []:
        right.pop(key, None)
    right |= draw(st.dictionaries(keys, values, max_size=4))
    return left, right


def rows(table: Table) -> list[tuple[Any, ...]]:
    return [(*key, *row) for key, row in table.items()]


def in_sqlite(path: Path, table: Table) -> str:
    path.unlink(missing_ok=True)
    database = sqlite3.connect(path)
    with database:
        database.execute("CREATE TABLE t (a INT, b TEXT, x TEXT, n BIGINT, f DOUBLE, PRIMARY KEY (a, b))")
        database.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", rows(table))
    database.close()
    return f"sqlite:{path}"


def in_duckdb(path: Path, table: Table) -> str:
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as database:
        database.execute("CREATE TABLE t (a INT, b VARCHAR, x VARCHAR, n BIGINT, f DOUBLE, PRIMARY KEY (a, b))")
        if table:
            database.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", rows(table))
    return f"duckdb:{path}"


def in_postgres(url: str, table: Table) -> str:
    with psycopg.connect(url, autocommit=True) as database:
        database.execute("DROP TABLE IF EXISTS t")
        database.execute("CREATE TABLE t (a int, b text, x text, n bigint, f float8, PRIMARY KEY (a, b))")
        database.cursor().executemany("INSERT INTO t VALUES (%s, %s, %s, %s, %s)", rows(table))
    return url


def in_mysql(url: str, table: Table) -> str:
    given = mysql_settings(url)
    password = given.password.get_secret_value() if given.password else ""
    with pymysql.connect(
        host=given.host, port=given.port, user=given.user, password=password, database=given.database,
        autocommit=True, charset="utf8mb4",
    ) as database:  # fmt: skip
        cursor = database.cursor()
        cursor.execute("DROP TABLE IF EXISTS t")
        cursor.execute("CREATE TABLE t (a int, b varchar(9) COLLATE utf8mb4_bin, x text, n bigint, f double, "
                       "PRIMARY KEY (a, b)) COLLATE utf8mb4_general_ci")  # fmt: skip
        if table:
            cursor.executemany("INSERT INTO t VALUES (%s, %s, %s, %s, %s)", rows(table))
    return url


def expected(left: Table, right: Table) -> dict[str, int]:
    both = left.keys() & right.keys()
    same = sum(left[key] == right[key] for key in both)
    missing, extra = len(left.keys() - right.keys()), len(right.keys() - left.keys())
    return {"same": same, "missing": missing, "extra": extra, "different": len(both) - same}


def check(folder: Path, left: str, right: str, wanted: dict[str, int]) -> None:
    comparing = Wire(folder, "", lambda *_, **__: None).comparing("diff")
    found = comparing.diff(DiffRequest(left, right, ("t",), certificate=folder / "certificate.json"))
    assert {name: found["tables"][0][name] for name in wanted} == wanted
    mended = comparing.diff(DiffRequest(left, right, ("t",), repair=True, certificate=folder / "certificate.json"))
    table = mended["tables"][0]
    done = {"inserted": wanted["missing"], "updated": wanted["different"], "deleted": wanted["extra"], "refused": 0}
    assert table["repaired"] == done
    assert mended["ok"], table
    bag = DiffRequest(right, left, ("t",), wish=Wish(("a", "b", "x", "n"), bag=True), certificate=folder / "bag.json")
    assert comparing.diff(bag)["ok"]


@given(tables())
@settings(max_examples=10, deadline=None, phases=QUICK)
def test_files_of_two_kinds(both: tuple[Table, Table]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        left, right = both
        check(folder, in_sqlite(folder / "l.db", left), in_duckdb(folder / "r.duckdb", right), expected(left, right))


@given(both=tables())
@settings(max_examples=5, deadline=None, phases=QUICK, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_two_servers(both: tuple[Table, Table], tmp_path: Path, pg_url: str, mysql_url: str) -> None:
    left, right = both
    check(tmp_path, in_postgres(pg_url, left), in_mysql(mysql_url, right), expected(left, right))


@pytest.mark.parametrize("changed", [0, 1, 40])
def test_few_rows_are_listed_to_find_few_differences(tmp_path: Path, changed: int) -> None:
    places = [tmp_path / "l.duckdb", tmp_path / "r.duckdb"]
    for path in places:
        with duckdb.connect(str(path)) as database:
            database.execute("CREATE TABLE t AS SELECT n AS id, 'x' || n AS x FROM range(40000) r(n)")
            database.execute("ALTER TABLE t ADD PRIMARY KEY (id)")
    with duckdb.connect(str(places[1])) as database:
        database.execute(f"UPDATE t SET x = 'other' WHERE id % 1000 = 7 AND id < {changed * 1000}")
    comparing = Wire(tmp_path, "", lambda *_, **__: None).comparing("diff")
    ends = [f"duckdb:{path}" for path in places]
    table = comparing.diff(DiffRequest(ends[0], ends[1], ("t",), certificate=tmp_path / "c.json"))["tables"][0]
    assert (table["same"], table["different"]) == (40_000 - changed, changed)
    assert table["listed"] <= changed * 2 * 700
