"""`tongqu sync --mode cdc` and `tongqu cdc doctor` on PostgreSQL: killed anywhere, nothing is lost or doubled."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psycopg
import pytest

from tongqu.testing.command_line import Done, tongqu
from tongqu.testing.services import Postgres

ROWS = "select t::text from {} as t order by id"
MAKE = """
create table a (id int primary key, v text, large text, n numeric(10,2));
create table b (id bigint primary key, at timestamptz default now());
alter table a alter large set storage external;
insert into a
  select n, 'v' || n, case n % 50 when 1 then 'short' else repeat(md5(n::text), 100) end, n / 3.0
  from generate_series(1, 500) n;
insert into b select generate_series(1, 10);
"""
CHANGE = """
update a set v = 'changed' where id % 3 = 0;
update a set id = id + 10000 where id % 50 = 1;
delete from a where id % 7 = 0;
insert into a values (20000, 'new', 'x', 1);
insert into b select generate_series(11, 400);
begin; truncate b; insert into b values (5), (6); commit;
alter table a add column extra int;
insert into a values (20001, null, null, null, 7);
"""


def sync(folder: Path, source: str, target: str, *more: str, **environ: str) -> Done:
    return tongqu(
        folder, "sync", "${env:S}", "${env:D}", "--mode", "cdc", "--until-caught-up", "--table", "a", "--table", "b",
        "--json", *more, S=source, D=target, **environ,
    )  # fmt: skip


def run(url: str, text: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in filter(None, map(str.strip, text.split(";"))):
            connection.execute(statement)


def rows(url: str) -> list[list[tuple[str]]]:
    with psycopg.connect(url) as connection:
        return [connection.execute(ROWS.format(table)).fetchall() for table in ("a", "b")]


@pytest.mark.parametrize("point", ["after_read:2", "in_commit:2", "after_commit:3"])
def test_killed_anywhere_it_goes_on(postgres: Postgres, tmp_path: Path, point: str) -> None:
    source, target = postgres.database(), postgres.database()
    run(source, MAKE)
    killed = sync(tmp_path, source, target, TONGQU_CRASH_AT=point)
    assert killed.code in (0, -signal.SIGKILL), killed.err
    run(source, CHANGE)
    sync(tmp_path, source, target, TONGQU_CRASH_AT=point)
    done = sync(tmp_path, source, target)
    assert done.code == 0, done.out + done.err
    assert rows(target) == rows(source)
    postgres.drop(target.rpartition("/")[2])
    postgres.drop(source.rpartition("/")[2])


def test_a_lost_slot_ends_the_sync_with_its_repair_and_the_repair_works(postgres: Postgres, tmp_path: Path) -> None:
    source, target = postgres.database(), postgres.database()
    run(source, MAKE)
    assert sync(tmp_path, source, target).code == 0
    run(source, "select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = "
                "current_database()")  # fmt: skip
    run(source, "delete from a where id = 1")
    lost = sync(tmp_path, source, target)
    assert lost.code == 1
    assert "connector.lost_position" in lost.out
    assert rows(target) != rows(source)
    assert sync(tmp_path, source, target, "--restart").code == 0
    assert rows(target) == rows(source)
    postgres.drop(target.rpartition("/")[2])
    postgres.drop(source.rpartition("/")[2])


def test_the_doctor_finds_what_is_wrong_and_says_how_to_mend_it(pg_url: str, tmp_path: Path) -> None:
    run(pg_url, "create table good (id int primary key); create table bad (id int)")
    well = tongqu(tmp_path, "cdc", "doctor", "${env:S}", "--table", "good", "--json", S=pg_url)
    ill = tongqu(tmp_path, "cdc", "doctor", "${env:S}", S=pg_url)
    assert (well.code, well.document["ok"]) == (0, True)
    assert ill.code == 3
    assert 'ALTER TABLE "public"."bad" REPLICA IDENTITY FULL' in ill.out


def test_the_doctor_of_a_system_without_a_log(tmp_path: Path) -> None:
    done = tongqu(tmp_path, "cdc", "doctor", f"file:{tmp_path}/", "--json", LC_ALL=os.environ.get("LC_ALL", "C"))
    assert done.code == 1
    assert done.document["problems"][0]["code"] == "config.invalid_plan"
