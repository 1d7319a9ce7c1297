"""`tongqu sync`: what the targets are called, and what two tables may not do to one of them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import duckdb
import psycopg
import pymysql
import pytest

from tongqu.connectors.mysql.settings import from_url
from tongqu.testing.command_line import Done, make, query, tongqu


def problem(done: Done) -> tuple[str, str]:
    [first, *_] = done.document["problems"]
    return first["code"], first["message"]


@pytest.fixture
def orders(pg_url: str) -> str:
    """A PostgreSQL database with two tables whose names differ in letter case only."""
    with psycopg.connect(pg_url, autocommit=True) as connection:
        connection.execute('CREATE TABLE "Orders" (id int PRIMARY KEY); CREATE TABLE orders (id int PRIMARY KEY)')
        connection.execute('INSERT INTO "Orders" VALUES (1); INSERT INTO orders VALUES (2), (3)')
    return pg_url


@pytest.mark.parametrize("target", ["sqlite:b.db", "duckdb:b.duckdb", "file:one.csv"])
def test_tables_that_the_target_does_not_tell_apart_are_refused(orders: str, tmp_path: Path, target: str) -> None:
    done = tongqu(tmp_path, "sync", orders, target, "--json")
    code, message = problem(done)
    assert (code, message) == ("config.invalid_plan", "'Orders' and 'orders' would both be written to 'orders'")
    named = tongqu(tmp_path, "sync", orders, "file:both/", "--json")
    assert (named.code, sorted(path.name for path in (tmp_path / "both").glob("*.parquet"))) == (
        0, ["Orders.parquet", "orders.parquet"],
    )  # fmt: skip


def test_two_tables_fill_one_target_only_where_neither_replaces_the_other(tmp_path: Path) -> None:
    make(tmp_path / "a.db", "north", "id INTEGER PRIMARY KEY", [(1,), (2,)])
    make(tmp_path / "a.db", "south", "id INTEGER PRIMARY KEY", [(3,)])
    both = ("sync", "sqlite:a.db", "sqlite:b.db", "--table", "north=all", "--table", "south=all", "--json")
    assert problem(tongqu(tmp_path, *both))[0] == "config.invalid_plan"
    assert problem(tongqu(tmp_path, *both, "--write", "upsert", "--deletes", "hard"))[0] == "config.invalid_plan"
    assert tongqu(tmp_path, *both, "--write", "append").code == 0
    assert query(tmp_path / "b.db", 'SELECT id FROM "all" ORDER BY id') == [(1,), (2,), (3,)]


def test_a_table_is_named_once(tmp_path: Path) -> None:
    make(tmp_path / "a.db", "t", "id INTEGER PRIMARY KEY", [(1,)])
    twice = tongqu(tmp_path, "sync", "sqlite:a.db", "sqlite:b.db", "--table", "t=x", "--table", "t=y", "--json")
    assert problem(twice) == ("config.invalid_plan", "'t' is named twice, for two targets")
    empty = tongqu(tmp_path, "sync", "sqlite:a.db", "sqlite:b.db", "--table", "t=", "--json")
    assert problem(empty) == ("config.invalid_plan", "'t=' names no target")


@pytest.mark.parametrize(("write", "deletes"), [("append", "hard"), ("append", "soft"), ("replace", "soft")])
def test_deletes_that_a_write_mode_cannot_keep_are_refused(tmp_path: Path, write: str, deletes: str) -> None:
    make(tmp_path / "a.db", "t", "id INTEGER PRIMARY KEY", [(1,)])
    done = tongqu(tmp_path, "sync", "sqlite:a.db", "sqlite:b.db", "--write", write, "--deletes", deletes, "--json")
    assert problem(done) == ("config.invalid_plan", f"write mode {write!r} cannot handle deletes as {deletes!r}")


@pytest.mark.parametrize("target", ["sqlite:b.db", "duckdb:b.duckdb"])
def test_columns_that_differ_in_letter_case_only_are_refused(tmp_path: Path, target: str) -> None:
    with sqlite3.connect(tmp_path / "b.db") as lite, duckdb.connect(tmp_path / "b.duckdb") as duck:
        lite.execute("CREATE TABLE t (ID integer PRIMARY KEY)")
        duck.execute("CREATE TABLE t (ID integer PRIMARY KEY)")
    make(tmp_path / "a.db", "t", "id INTEGER PRIMARY KEY", [(1,)])
    code, message = problem(tongqu(tmp_path, "sync", "sqlite:a.db", target, "--json"))
    assert code == "data.schema"
    assert "'ID' and 'id' differ in letter case only" in message


def test_a_name_of_63_bytes_has_a_key_in_postgresql(pg_url: str, tmp_path: Path) -> None:
    long, longer = "表" * 21, "t" * 70
    make(tmp_path / "a.db", long, "id INTEGER PRIMARY KEY", [(1,)])
    make(tmp_path / "a.db", longer, "id INTEGER PRIMARY KEY", [(2,)])
    for _ in range(2):
        done = tongqu(tmp_path, "sync", "sqlite:a.db", pg_url, "--json")
        assert done.code == 0, done.out
    with psycopg.connect(pg_url) as connection:
        found = connection.execute(f'SELECT (SELECT id FROM "{long}"), (SELECT id FROM "{longer[:63]}")').fetchall()
    assert found == [(1, 2)]


def test_many_tables_reach_mariadb_side_by_side(pg_url: str, mysql_url: str, tmp_path: Path) -> None:
    with psycopg.connect(pg_url, autocommit=True) as connection:
        for number in range(8):
            connection.execute(f"CREATE TABLE t{number} (id int PRIMARY KEY); INSERT INTO t{number} VALUES ({number})")
    done = tongqu(tmp_path, "sync", pg_url, mysql_url, "--json")
    assert done.code == 0, done.out
    settings = from_url(mysql_url)
    password = settings.password.get_secret_value() if settings.password else ""
    with pymysql.connect(
        host=settings.host, port=settings.port, user=settings.user, password=password, database=settings.database
    ) as target, target.cursor() as cursor:  # fmt: skip
        cursor.execute(" UNION ALL ".join(f"SELECT id FROM t{number}" for number in range(8)))
        assert sorted(cursor.fetchall()) == [(number,) for number in range(8)]
