"""`tongqu sync --mode cdc` when PostgreSQL has not told all changes of one table: paused, repaired, killed between."""

from __future__ import annotations

import signal
from pathlib import Path

import psycopg
from tests.connectors.postgres.log.test_sync import run, sync

from tongqu.testing.command_line import Done, tongqu
from tongqu.testing.services import Postgres

MAKE = "create table a (id int primary key, v int); create table b (id int primary key, v int)"
CONFIRMED = "select confirmed_flush_lsn from pg_replication_slots where database = current_database()"


def rows(url: str, table: str) -> list[tuple[int, int]]:
    with psycopg.connect(url) as connection:
        return connection.execute(f"select id, v from {table} order by 1").fetchall()


def asked(url: str, text: str) -> str:
    with psycopg.connect(url) as connection:
        return str((connection.execute(text).fetchone() or [""])[0])


def states(done: Done) -> dict[str, str]:
    return {one["name"]: one["status"] for one in done.document["streams"]}


def test_killed_anywhere_the_loss_and_its_repair_hold(postgres: Postgres, tmp_path: Path) -> None:
    source, target = postgres.database(), postgres.database()
    run(source, MAKE + "; insert into a values (1, 1); insert into b values (1, 1), (2, 1)")
    assert sync(tmp_path, source, target).code == 0
    name = asked(source, "select pubname from pg_publication")
    run(source, "update b set v = 2 where id = 1")  # is in the log, and must not come over what is read anew
    run(source, f"alter publication {name} drop table b; update b set v = 3; alter publication {name} add table b")
    run(source, "insert into a values (2, 2)")
    assert sync(tmp_path, source, target, TONGQU_CRASH_AT="after_loss").code == -signal.SIGKILL

    lost = sync(tmp_path, source, target)
    assert (lost.code, states(lost)) == (1, {"a": "succeeded", "b": "failed"})
    assert rows(target, "a") == [(1, 1), (2, 2)]
    before = asked(source, CONFIRMED)
    doctor = tongqu(tmp_path, "cdc", "doctor", "${env:S}", "--json", S=source)
    assert (doctor.code, "--reload b" in doctor.out) == (3, True)

    run(source, "insert into a values (3, 3)")
    still = sync(tmp_path, source, target)
    assert (still.code, states(still)) == (1, {"a": "succeeded", "b": "failed"})
    assert rows(target, "a")[-1] == (3, 3)
    assert asked(source, f"select ({CONFIRMED}) > '{before}'") == "True"  # the log is not kept for it

    run(source, "delete from b where id = 2; insert into b values (4, 4)")
    killed = sync(tmp_path, source, target, "--reload", "b", TONGQU_CRASH_AT="after_rejoin")
    assert killed.code == -signal.SIGKILL
    run(source, "insert into b values (5, 5)")
    assert sync(tmp_path, source, target, TONGQU_CRASH_AT="before_commit").code == -signal.SIGKILL
    run(source, "update b set v = 6 where id = 5; insert into a values (6, 6)")
    mended = sync(tmp_path, source, target)
    assert (mended.code, states(mended)) == (0, {"a": "succeeded", "b": "succeeded"}), mended.out
    assert rows(target, "b") == rows(source, "b") == [(1, 3), (4, 4), (5, 6)]
    assert rows(target, "a") == rows(source, "a")
    postgres.drop(target.rpartition("/")[2])
    postgres.drop(source.rpartition("/")[2])


def test_old_rows_get_a_default_although_the_reader_dies(postgres: Postgres, tmp_path: Path) -> None:
    source, target = postgres.database(), postgres.database()
    run(source, MAKE + "; insert into a select n, n from generate_series(1, 500) n")
    assert sync(tmp_path, source, target).code == 0
    run(source, "alter table a add column kind text default 'plain'; insert into a values (1000, 1, 'own')")
    for point in ("before_commit", "after_commit"):
        assert sync(tmp_path, source, target, TONGQU_CRASH_AT=point).code == -signal.SIGKILL
    assert sync(tmp_path, source, target).code == 0
    count = "select count(*), count(*) filter (where kind = 'plain') from a"
    with psycopg.connect(target) as connection:
        assert connection.execute(count).fetchone() == (501, 500)
    postgres.drop(target.rpartition("/")[2])
    postgres.drop(source.rpartition("/")[2])


def test_a_pipeline_goes_on_where_it_was_when_one_of_its_tables_goes(postgres: Postgres, tmp_path: Path) -> None:
    source, target = postgres.database(), postgres.database()
    run(source, MAKE + "; insert into a select n, n from generate_series(1, 50) n")
    (tmp_path / "tongqu.yaml").write_text("""
project: plant
connections: {erp: {type: postgres, url: "${env:S}"}, lake: {type: postgres, url: "${env:D}"}}
pipelines:
  both: {source: {connection: erp, datasets: [a, b], mode: cdc}, sink: {connection: lake}}
""")

    def ran(*more: str) -> Done:
        return tongqu(tmp_path, "run", "both", "--until-caught-up", "--json", *more, S=source, D=target)

    assert ran().code == 0
    run(source, "drop table b; insert into a values (100, 100)")
    gone = ran()
    assert (gone.code, states(gone)) == (1, {"both.a": "succeeded", "both.b": "failed"})
    assert [one["read"] for one in gone.document["streams"] if one["name"] == "both.a"] == [1]
    run(source, "create table b (id int primary key, v int); insert into b values (7, 7), (8, 8)")
    mended = ran("--reload", "b")
    assert (mended.code, rows(target, "b")) == (0, [(7, 7), (8, 8)]), mended.out
    assert ran("--queue", "--reload", "b").code == 2
    postgres.drop(target.rpartition("/")[2])
    postgres.drop(source.rpartition("/")[2])
