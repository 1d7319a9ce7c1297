"""Incremental reads from PostgreSQL: no late commit, tie or microsecond is lost, and nothing is appended twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from tongqu.testing.command_line import Done, tongqu
from tongqu.testing.services import Postgres


class Pair:
    """Two databases and a folder; `sync` moves table t incrementally and gives (read, inserted, updated)."""

    def __init__(self, postgres: Postgres, folder: Path):
        self.source, self.target, self._folder = postgres.database(), postgres.database(), folder

    def done(self, *words: str) -> Done:
        return tongqu(
            self._folder, "sync", "${env:S}", "${env:D}", "--table", "t", "--mode", "incremental", *words, "--json",
            S=self.source, D=self.target,
        )  # fmt: skip

    def sync(self, *words: str) -> tuple[int, int, int]:
        done = self.done(*words)
        assert done.code == 0, done.out + done.err
        (stream,) = done.document["streams"]
        return stream["read"], stream["inserted"], stream["updated"]

    def run(self, *statements: str) -> None:
        with psycopg.connect(self.source, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.target) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def pair(postgres: Postgres, tmp_path: Path) -> Pair:
    return Pair(postgres, tmp_path)


def test_a_row_committed_late_below_the_cursor_is_found(pair: Pair) -> None:
    pair.run("create table t (id int primary key, at timestamptz not null default now())")
    pair.run("insert into t values (1)")
    with psycopg.connect(pair.source) as late:
        late.execute("insert into t values (2)")  # now() is the start of this open transaction
        pair.run("insert into t values (3)")
        pair.sync("--cursor", "at")
        assert pair.rows("select id from t order by 1") == [(1,)]
        late.commit()
    pair.sync("--cursor", "at")
    assert pair.rows("select id from t order by 1") == [(1,), (2,), (3,)]


def test_a_number_taken_early_and_committed_late_is_found(pair: Pair) -> None:
    pair.run("create table t (id bigint generated always as identity primary key, v text)")
    pair.run("insert into t (v) values ('first')")
    with psycopg.connect(pair.source) as late:
        late.execute("insert into t (v) values ('late')")
        pair.run("insert into t (v) values ('last')")
        quick = pair.source + "?wait_seconds=0.1"
        done = tongqu(
            pair._folder, "sync", "${env:S}", "${env:D}", "--table", "t", "--mode", "incremental", "--cursor", "id",
            S=quick, D=pair.target,
        )  # fmt: skip
        assert done.code == 0, done.err
        late.commit()
    pair.sync("--cursor", "id")
    assert pair.rows("select v from t order by id") == [("first",), ("late",), ("last",)]


def test_a_later_row_with_an_equal_cursor_is_found(pair: Pair) -> None:
    pair.run("create table t (id int primary key, day date not null)")
    pair.run("insert into t values (5, '2024-01-01'), (6, '2024-01-02')")
    assert pair.sync("--cursor", "day")[1] == 2
    pair.run("insert into t values (1, '2024-01-02')")
    assert pair.sync("--cursor", "day") == (2, 1, 0)
    assert pair.rows("select id from t order by 1") == [(1,), (5,), (6,)]


def test_a_thousand_equal_cursors_at_a_chunk_border_all_arrive(pair: Pair) -> None:
    pair.run("create table t (id int primary key, at timestamp not null)")
    pair.run(
        "insert into t select g, timestamp '2024-01-01' + (g / 1000) * interval '1 s' from generate_series(0, 4999) g"
    )
    assert pair.sync("--cursor", "at", "--chunk-rows", "100") == (5000, 5000, 0)
    assert pair.rows("select count(*) from t") == [(5000,)]


def test_appended_rows_come_once(pair: Pair) -> None:
    pair.run("create table t (n bigint not null, v text)")
    pair.run("insert into t select g, 'v' || g from generate_series(1, 100) g")
    assert pair.sync("--cursor", "n") == (100, 100, 0)
    assert pair.sync("--cursor", "n") == (0, 0, 0)
    pair.run("insert into t values (101, 'more')")
    assert pair.sync("--cursor", "n") == (1, 1, 0)
    assert pair.rows("select count(*), count(distinct n) from t") == [(101, 101)]


def test_microseconds_of_the_cursor_are_kept(pair: Pair) -> None:
    pair.run("create table t (id int primary key, at timestamptz not null)")
    pair.run("insert into t values (1, '2024-01-01 00:00:00.123456+08'), (2, '2024-01-01 00:00:00.123457+08')")
    pair.sync("--cursor", "at")
    assert pair.sync("--cursor", "at")[0] == 1  # only the tie is read again
    pair.run("insert into t values (3, '2024-01-01 00:00:00.123458+08')")
    assert pair.sync("--cursor", "at")[1] == 1


def test_changed_rows_are_updated(pair: Pair) -> None:
    pair.run("create table t (id int primary key, v text, at timestamptz not null)")
    pair.run(
        "insert into t select g, 'old', timestamptz '2024-01-01' + g * interval '1 s' from generate_series(1, 10) g"
    )
    pair.sync("--cursor", "at")
    pair.run("update t set v = 'new', at = '2024-02-01' where id = 3")
    assert pair.sync("--cursor", "at") == (2, 0, 1)
    assert pair.rows("select v from t where id = 3") == [("new",)]


def test_rows_without_a_cursor_are_refused_not_skipped(pair: Pair) -> None:
    pair.run("create table t (id int primary key, at timestamptz)", "insert into t values (1, now()), (2, null)")
    done = pair.done("--cursor", "at")
    assert done.code == 1
    (problem,) = done.document["problems"]
    assert (problem["code"], "1 rows" in problem["message"]) == ("data.schema", True)


def test_history_keeps_every_version(pair: Pair) -> None:
    pair.run("create table t (id int primary key, v text, at timestamptz not null)")
    pair.run("insert into t values (1, 'a', '2024-01-01')")
    pair.sync("--cursor", "at", "--write", "history")
    pair.run("update t set v = 'b', at = '2024-01-02'")
    assert pair.sync("--cursor", "at", "--write", "history") == (1, 0, 1)
    assert pair.rows("select v, _current, _valid_to is null from t order by _valid_from") == [
        ("a", False, False),
        ("b", True, True),
    ]
