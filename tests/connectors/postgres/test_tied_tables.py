"""Replacing tables that other things hang on: views, foreign keys and sequences stay whole, and so do the counts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tongqu.testing.services import Postgres


def sync(home: Path, *words: str, code: int = 0) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tongqu", "sync", *words, "--json"],
        env={**os.environ, "TONGQU_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture
def ends(postgres: Postgres) -> tuple[str, str]:
    return postgres.database(), postgres.database()


def test_a_whole_database_with_foreign_keys_is_replaced_twice(ends: tuple[str, str], tmp_path: Path) -> None:
    source, target = ends
    run(
        source,
        "create table plant (id int primary key, name text)",
        "create table line (id int primary key, plant int references plant(id), name text)",
        "create table item (id int primary key, line int references line(id))",
        "insert into plant select g, 'p' || g from generate_series(1, 20) g",
        "insert into line select g, g, 'l' || g from generate_series(1, 20) g",
        "insert into item select g, 1 + g % 20 from generate_series(1, 200) g",
    )
    first = sync(tmp_path, source, target)
    assert {s["name"]: s["inserted"] for s in first["streams"]} == {"plant": 20, "line": 20, "item": 200}
    run(
        source,
        "insert into plant values (99, 'new')",
        "insert into line values (99, 99, 'new')",
        "insert into item values (999, 99)",
        "delete from item where line = 5",
        "delete from line where id = 5",
        "delete from plant where id = 5",
        "update plant set name = 'renamed' where id = 7",
    )
    second = sync(tmp_path, source, target)
    counts = {s["name"]: (s["inserted"], s["updated"], s["deleted"], s["unchanged"]) for s in second["streams"]}
    assert counts == {"plant": (1, 1, 1, 18), "line": (1, 0, 1, 19), "item": (1, 0, 10, 190)}
    for table in ("plant", "line", "item"):
        query = f"select * from {table} order by id"
        assert rows(target, query) == rows(source, query)
    assert rows(target, "select count(*) from pg_constraint where contype = 'f'") == [(2,)]


def test_a_view_over_the_target_sees_the_new_rows(ends: tuple[str, str], tmp_path: Path) -> None:
    source, target = ends
    run(source, "create table t (id int primary key, v text)", "insert into t values (1, 'old'), (2, 'gone')")
    sync(tmp_path, source, target)
    run(target, "create view seen as select * from t")
    run(source, "update t set v = 'new' where id = 1", "delete from t where id = 2", "insert into t values (3, 'more')")
    sync(tmp_path, source, target)
    assert rows(target, "select * from seen order by id") == [(1, "new"), (3, "more")]
    assert rows(target, 'select v from "_tongqu_previous_t_' + _previous() + '" order by v') == [("gone",), ("old",)]


def _previous() -> str:
    import hashlib

    return hashlib.sha256(b"t").hexdigest()[:8]


def test_rights_indexes_and_comments_survive_a_swap(ends: tuple[str, str], tmp_path: Path) -> None:
    source, target = ends
    run(source, "create table t (id int primary key, v text)", "insert into t values (1, 'a')")
    run(
        target,
        "create table t (id int primary key, v text default 'x', extra int)",
        "create index t_by_v on t (v) where id > 0",
        "grant select on t to public",
        "comment on column t.v is '说明'",
    )
    sync(tmp_path, source, target)
    assert rows(target, "select * from t") == [(1, "a", None)]
    indexes = rows(target, "select indexname from pg_indexes where tablename = 't' order by 1")
    assert indexes == [("t_by_v",), ("t_pkey",)]
    assert rows(target, "select has_table_privilege('public', 't', 'select')") == [(True,)]
    assert rows(target, "select col_description('t'::regclass, 2)") == [("说明",)]


def test_integer_keys_are_cut_as_numbers_not_as_text(ends: tuple[str, str], tmp_path: Path) -> None:
    source, target = ends
    run(
        source,
        "create table t (a int, b text, v int, primary key (a, b))",
        "insert into t select g, chr(97 + g % 5), g from generate_series(1, 12345) g",
        "analyze t",
    )
    done = sync(tmp_path, source, target, "--chunk-rows", "1000")
    assert done["streams"][0]["read"] == 12345
    assert rows(target, "select count(*), sum(v) from t") == rows(source, "select count(*), sum(v) from t")


def test_children_written_directly_wait_for_their_parents(ends: tuple[str, str], tmp_path: Path) -> None:
    source, target = ends
    tables = (
        "create table child_parent (id int primary key)",
        "create table a_child (id int primary key, p int references child_parent(id))",
    )
    run(
        source,
        *tables,
        "insert into child_parent select generate_series(1, 5000)",
        "insert into a_child select g, g from generate_series(1, 5000) g",
    )
    run(target, *tables)
    done = sync(tmp_path, source, target, "--write", "upsert")
    assert {s["name"]: (s["written"], s["quarantined"]) for s in done["streams"]} == {
        "child_parent": (5000, 0),
        "a_child": (5000, 0),
    }


@pytest.mark.parametrize("write", ["replace", "upsert"])
def test_targets_with_identity_and_generated_columns_are_filled(
    ends: tuple[str, str], tmp_path: Path, write: str
) -> None:
    source, target = ends
    run(
        source,
        "create table t (id int primary key, n int, twice int generated always as (n * 2) stored)",
        "insert into t (id, n) select g, g from generate_series(1, 50) g",
    )
    run(
        target,
        "create table t (id int generated always as identity primary key, n int, "
        "twice int generated always as (n * 2) stored)",
    )
    for _ in range(2):
        done = sync(tmp_path, source, target, "--write", write)
        assert (done["streams"][0]["written"], done["streams"][0]["quarantined"]) == (50, 0)
    assert rows(target, "select * from t order by id") == rows(source, "select * from t order by id")


def test_a_table_may_be_named_with_the_default_schema(ends: tuple[str, str], tmp_path: Path) -> None:
    source, target = ends
    run(source, "create table t (id int primary key)", "insert into t values (1)")
    sync(tmp_path, source, target, "--table", "public.t=copied")
    assert rows(target, "select * from copied") == [(1,)]


def test_an_unknown_crash_point_is_refused(ends: tuple[str, str], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TONGQU_CRASH_AT", "nowhere")
    refused = sync(tmp_path, *ends, code=2)
    assert refused["problems"][0]["path"] == "TONGQU_CRASH_AT"


def test_a_deferrable_constraint_sets_one_row_aside(ends: tuple[str, str], tmp_path: Path) -> None:
    source, target = ends
    run(source, "create table t (id int primary key, v int)", "insert into t values (1, 1), (2, 1), (3, 3)")
    run(target, "create table t (id int primary key, v int unique deferrable initially deferred)")
    done = sync(tmp_path, source, target, "--write", "append", code=3)
    assert (done["streams"][0]["written"], done["streams"][0]["quarantined"]) == (2, 1)


def test_a_constraint_that_only_the_whole_generation_breaks_leaves_the_target_alone(
    ends: tuple[str, str], tmp_path: Path
) -> None:
    source, target = ends
    run(source, "create table t (id int primary key, v int)", "insert into t values (1, 1), (2, 1)")
    run(target, "create table t (id int primary key, v int unique)", "insert into t values (9, 9)")
    failed = sync(tmp_path, source, target, code=1)
    assert "not unique" in failed["problems"][0]["message"] or "refuses" in failed["problems"][0]["message"]
    assert rows(target, "select * from t") == [(9, 9)]
