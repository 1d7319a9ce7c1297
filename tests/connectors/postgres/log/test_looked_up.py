"""Rows of one log are looked up in a table that is followed by another: the kept log moves on, and kills do no harm."""

from __future__ import annotations

from pathlib import Path

import psycopg

from tongqu.engine import mirror
from tongqu.testing.command_line import inside, query, tongqu

PROJECT = """
project: shop
connections:
  erp: {type: postgres, url: "URL"}
  lake: {type: sqlite, path: lake.db}
pipelines:
  priced:
    sources:
      sales: {connection: erp, dataset: sales, mode: cdc}
      prices: {connection: erp, dataset: prices, mode: cdc}
    steps:
      - from: sales
        lookup: {in: prices, on: {item: code}, fields: {price: price, about: about}, missing: quarantine, wait: 5m}
    sinks: {table: {connection: lake, dataset: priced}}
"""
RUN = ("run", "priced", "--until-caught-up", "--json")
SIDE = "from pg_replication_slots where starts_with(slot_name, 'tongqu_side_') and database = current_database()"


def test_prices_of_now_are_found_over_kills_truncates_and_lost_logs(pg_url: str, tmp_path: Path) -> None:
    assert mirror.IDLE_SECONDS <= 10  # what docs/streaming.md says
    (tmp_path / "tongqu.yaml").write_text(PROJECT.replace("URL", pg_url), encoding="utf-8")
    with psycopg.connect(pg_url, autocommit=True) as erp:
        erp.execute("create table prices (code text primary key, price numeric(9,2), about text)")
        erp.execute("alter table prices alter about set storage external")
        erp.execute("create table sales (id int primary key, item text)")
        erp.execute("insert into prices select 'p' || n, n, repeat(n::text, 3000) from generate_series(1, 300) n")
        erp.execute("insert into sales values (1, 'p1')")
        assert inside(tmp_path, *RUN).code == 0
        erp.execute("update prices set price = 7 where code = 'p1'")  # the log does not send `about`
        erp.execute("insert into prices values ('new', 8, 'new')")
        erp.execute("insert into sales values (2, 'p1'), (3, 'new')")
        for point in ("before_state", "after_state", "before_commit"):
            assert tongqu(tmp_path, *RUN, TONGQU_CRASH_AT=point).code in (0, -9)
        done = inside(tmp_path, *RUN)
        assert done.code == 0, done
        told = "select id, price, length(about) from priced order by id"
        assert [(id, float(price), size) for id, price, size in query(tmp_path / "lake.db", told)] == [
            (1, 1, 3000), (2, 7, 3000), (3, 8, 3),
        ]  # fmt: skip
        (before,) = erp.execute(f"select confirmed_flush_lsn {SIDE}").fetchone() or ()
        erp.execute("begin; truncate prices; insert into prices values ('p1', 9, 'x'); commit")
        erp.execute("update prices set code = 'p2' where code = 'p1'")
        erp.execute("insert into sales values (4, 'p2')")
        assert inside(tmp_path, *RUN).code == 0
        assert query(tmp_path / "lake.db", "select price, about from priced where id = 4") == [(9, "x")]
        (moved,) = erp.execute(f"select confirmed_flush_lsn > %s::pg_lsn {SIDE}", [before]).fetchone() or ()
        assert moved
        erp.execute(f"select pg_drop_replication_slot(slot_name) {SIDE}")  # lost: all prices are read again
        erp.execute("update prices set price = 11")
        erp.execute("insert into sales values (5, 'p2')")
        assert inside(tmp_path, *RUN).code == 0
        assert query(tmp_path / "lake.db", "select price from priced where id > 3 order by id") == [(9,), (11,)]
        erp.execute("select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = "
                    "current_database()")  # fmt: skip


def test_what_the_server_keeps_for_a_removed_pipeline_is_named_and_given_up(pg_url: str, tmp_path: Path) -> None:
    (tmp_path / "tongqu.yaml").write_text(PROJECT.replace("URL", pg_url), encoding="utf-8")
    with psycopg.connect(pg_url, autocommit=True) as erp:
        erp.execute("create table prices (code text primary key, price int, about text)")
        erp.execute("create table sales (id int primary key, item text)")
        assert inside(tmp_path, *RUN).code == 0
        ours = "select count(*) from pg_replication_slots where database = current_database()"
        assert erp.execute(ours).fetchone() == (2,)
        assert "kept_log" not in inside(tmp_path, "cdc", "doctor", "erp", "--json").out
        assert inside(tmp_path, "cdc", "forget", "--json").document["forgotten"] == []

        (tmp_path / "tongqu.yaml").write_text(PROJECT.replace("URL", pg_url).partition("pipelines:")[0])
        doctor = inside(tmp_path, "cdc", "doctor", "erp", "--json").document["connections"][0]["findings"]
        named = [one for one in doctor if one["what"] == "kept_log"]
        assert sorted(one["found"].startswith("tongqu_side_") for one in named) == [False, True]
        assert {one["fix"] for one in named} == {"tongqu cdc forget erp"}
        assert len(inside(tmp_path, "cdc", "forget", "--json").document["forgotten"]) == 2
        assert erp.execute(ours).fetchone() == (0,)
