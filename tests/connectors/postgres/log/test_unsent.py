"""Columns that changes would not tell are known, and refused where a step needs them, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import psycopg

from tongqu.connectors.postgres.settings import from_url
from tongqu.connectors.postgres.source import PostgresSource
from tongqu.core.log import Unsent
from tongqu.testing.command_line import inside

PROJECT = """
project: plant
connections:
  erp: {type: postgres, url: "URL"}
  lake: {type: duckdb, path: lake.duckdb}
pipelines:
  sizes:
    source: {connection: erp, dataset: notes, mode: cdc}
    steps: [{derive: {size: "length(body)"}}]
    sink: {connection: lake, dataset: sizes}
  names:
    source: {connection: erp, dataset: notes, mode: cdc}
    steps: [{filter: "code <> 'x'"}]
    sink: {connection: lake, dataset: names}
"""


def test_a_step_that_needs_what_updates_leave_out_is_refused_with_the_statement_that_mends_it(
    pg_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(pg_url, autocommit=True) as erp:
        erp.execute("create table notes (id int primary key, code varchar(20), body text, more jsonb)")
        erp.execute("alter table notes alter body set storage external")
        erp.execute("create table parts (id int, day int, body text, primary key (id, day)) partition by list (day)")
        erp.execute('create table "Part 1" partition of parts for values in (1)')
        source = PostgresSource(from_url(pg_url))
        log = source.log("test", source.datasets(["notes", "parts"]))
        assert (log.unsent("notes"), log.unsent("parts")) == (None, None)  # nothing is so large
        erp.execute("insert into notes values (1, 'a', repeat('x', 9000), '{}')")
        erp.execute("alter table parts alter body set storage external")
        erp.execute('alter table "Part 1" alter body set storage external')
        erp.execute("insert into parts values (1, 1, repeat('x', 9000))")
        fix = "ALTER TABLE notes REPLICA IDENTITY FULL"
        assert log.unsent("notes") == Unsent(("body", "more"), fix)
        assert log.unsent("parts") == Unsent(("body",), 'ALTER TABLE "Part 1" REPLICA IDENTITY FULL')
        log.close()
        source.close()

        (tmp_path / "tongqu.yaml").write_text(PROJECT.replace("URL", pg_url), encoding="utf-8")
        planned = inside(tmp_path, "plan", "--json").document
        assert [one["pipeline"] for one in planned["targets"]] == ["names"]
        (note,) = (one for one in planned["notes"] if one["hint"] == fix)
        assert note["path"] == "sizes" and "'body'" in note["message"]
        done = inside(tmp_path, "run", "sizes", "--until-caught-up", "--json")
        assert (done.code, done.document["problems"][0]["hint"]) == (1, fix), done
        assert erp.execute("select count(*) from pg_replication_slots where database = current_database()").fetchone() \
            == (0,)  # fmt: skip
        erp.execute(fix)
        assert inside(tmp_path, "run", "sizes", "--until-caught-up", "--json").code == 0
        erp.execute("update notes set code = 'b'")
        done = inside(tmp_path, "run", "sizes", "--until-caught-up", "--json")
        assert (done.code, done.document["streams"][0]["updated"]) == (0, 1), done
        erp.execute("select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = "
                    "current_database()")  # fmt: skip
