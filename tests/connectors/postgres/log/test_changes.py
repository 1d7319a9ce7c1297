"""What the log tells of each kind of change."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

import psycopg
import pytest
from tests.connectors.postgres.log.conftest import Sql, batches, told

from tongqu.connectors.postgres.log import PostgresLog
from tongqu.core.data import Batch, Read
from tongqu.core.errors import InvalidPlanError
from tongqu.core.log import Follow

Make = Callable[..., PostgresLog]
LARGE = "string_agg(md5(n::text), '') from generate_series(1, 400) n"


def test_changes_come_in_order(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key, v text)")
    log = follow("t")
    after = log.begin()
    sql("insert into t values (1, 'a'), (2, null)")
    sql("update t set v = 'b' where id = 2")
    sql("delete from t where id = 1")
    assert told(batches(log, after)) == [("c", 1, "a"), ("c", 2, None), ("u", 2, "b"), ("d", 1, None)]


def test_what_is_behind_a_position_comes_again_and_nothing_else(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key)")
    log = follow("t")
    after = log.begin()
    sql("insert into t values (1)")
    first = batches(log, after)
    sql("insert into t values (2)")
    cut = next(batch.position for batch in first if batch.position)
    assert told(batches(log, cut)) == [("c", 2)]
    assert told(batches(log, after)) == [("c", 1), ("c", 2)]


def test_the_snapshot_and_the_log_behind_it_are_all_rows_exactly_once(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key)")
    sql("insert into t values (1), (2)")
    log = follow("t")
    after = log.begin()
    sql("insert into t values (3)")
    source = log.snapshot()
    assert source is not None
    try:
        dataset = source.datasets(["t"])[0]
        split = source.splits(dataset, 1)[0]
        found = [row["id"] for batch in source.read(Read(dataset, split)) for row in batch.rows.to_pylist()]
    finally:
        source.close()
    assert (found, told(batches(log, after))) == ([1, 2], [("c", 3)])
    assert log.snapshot() is None


def test_a_changed_key_is_a_delete_and_a_create(sql: Sql, follow: Make) -> None:
    sql("create table t (a int, b text, v int, primary key (a, b))")
    log = follow("t")
    after = log.begin()
    sql("insert into t values (1, 'x', 10)")
    sql("update t set b = 'y', v = 11")
    sql("update t set v = 12")
    assert told(batches(log, after)) == [
        ("c", 1, "x", 10),
        ("d", 1, "x", None),
        ("c", 1, "y", 11),
        ("u", 1, "y", 12),
    ]


def test_large_values_that_did_not_change_are_named_not_null(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key, v int, large text, small text)")
    sql("alter table t alter large set storage external")
    sql(f"insert into t select 1, 0, {LARGE}")
    log = follow("t")
    after = log.begin()
    sql("update t set v = 1")
    sql("update t set large = 'short'")
    rows = [row for batch in batches(log, after) for row in batch.rows.to_pylist()]
    assert [(row["v"], row["large"], row.get("_unchanged") or []) for row in rows] == [
        (1, None, ["large"]),
        (1, "short", []),
    ]


def test_full_identity_has_all_values_and_old_rows(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key, v int, large text)")
    sql("alter table t alter large set storage external")
    sql("alter table t replica identity full")
    sql(f"insert into t select 1, 0, {LARGE}")
    (large,) = sql("select large from t")[0]
    log = follow("t")
    after = log.begin()
    sql("update t set v = 1")
    sql("update t set id = 2")
    sql("delete from t")
    assert told(batches(log, after)) == [("u", 1, 1, large), ("d", 1, 1, large), ("c", 2, 1, large), ("d", 2, 1, large)]


def test_identity_by_an_index(sql: Sql, follow: Make) -> None:
    sql("create table t (code text not null, v int)")
    sql("create unique index by_code on t (code)")
    sql("alter table t replica identity using index by_code")
    log = follow("t")
    after = log.begin()
    sql("insert into t values ('a', 1)")
    sql("update t set v = 2")
    sql("delete from t")
    assert told(batches(log, after)) == [("c", "a", 1), ("u", "a", 2), ("d", "a", None)]


@pytest.mark.parametrize("change", ["", "alter table t add primary key (id); alter table t replica identity nothing"])
def test_a_table_whose_changes_cannot_be_told_is_refused_before_its_updates_would_fail(
    sql: Sql, follow: Make, change: str
) -> None:
    sql("create table t (id int, v int)")
    sql(change or "select 1")
    with pytest.raises(InvalidPlanError) as refused:
        follow("t").begin()
    assert refused.value.hint == 'ALTER TABLE "public"."t" REPLICA IDENTITY FULL'
    sql("insert into t values (1, 1)")
    sql("update t set v = 2")


def test_truncate_stands_in_its_place(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key)")
    sql("create table other (id int primary key)")
    log = follow("t", "other")
    after = log.begin()
    sql("insert into t values (1)")
    sql("truncate t, other")
    sql("insert into t values (2)")
    assert told(batches(log, after)) == [("c", 1), "truncate", "truncate", ("c", 2)]


def test_partitions_are_rows_of_their_root(sql: Sql, follow: Make) -> None:
    sql("create table t (id int, day date, primary key (id, day)) partition by range (day)")
    sql("create table t1 partition of t for values from ('2026-01-01') to ('2026-02-01')")
    log = follow("t")
    after = log.begin()
    sql("insert into t (id, day) values (1, '2026-01-05')")
    sql("create table t2 partition of t for values from ('2026-02-01') to ('2026-03-01')")
    sql("insert into t values (2, '2026-02-05')")
    sql("update t set day = '2026-02-06' where id = 1")
    found = batches(log, after)
    assert {batch.dataset for batch in found} == {"t"}
    assert [(change[0], change[1], str(change[2])) for change in told(found)] == [
        ("c", 1, "2026-01-05"),
        ("c", 2, "2026-02-05"),
        ("d", 1, "2026-01-05"),
        ("c", 1, "2026-02-06"),
    ]


def test_columns_come_and_go_while_the_log_is_read(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key, a int)")
    log = follow("t")
    after = log.begin()
    sql("insert into t values (1, 1)")
    sql("alter table t add column b varchar(5)")
    sql("insert into t values (2, 2, 'b')")
    sql("alter table t drop column a")
    sql("alter table t alter id type bigint")
    sql("insert into t values (3, 'c')")
    found = batches(log, after)
    assert told(found) == [("c", 1, 1), "schema", ("c", 2, 2, "b"), "schema", ("c", 3, "c")]
    schemas = [batch.rows.schema for batch in found if batch.kind == "schema"]
    assert [[f"{field.name} {field.type}" for field in schema] for schema in schemas] == [
        ["id int32", "a int32", "b string"],
        ["id int64", "b string"],
    ]


def test_a_large_transaction_comes_in_blocks_and_is_cut_only_behind_its_end(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key, v text)")
    log = follow("t")
    after = log.begin()
    sql("insert into t select n, repeat('x', 100) from generate_series(1, 50000) n")
    found = [batch for batch in log.read(Follow(after, log.head(), batch_rows=10_000)) if batch.kind == "rows"]
    assert sum(batch.rows.num_rows for batch in found) == 50_000
    assert len(found) >= 5
    assert [bool(batch.position) for batch in found] == [False] * (len(found) - 1) + [True]
    assert len({row for batch in found for row in batch.rows.column("_at")}) == 1


def test_transactions_of_several_tables_come_whole(sql: Sql, follow: Make) -> None:
    sql("create table a (id int primary key)")
    sql("create table b (id int primary key)")
    log = follow("a", "b")
    after = log.begin()
    for number in range(5):
        sql(f"with x as (insert into a values ({number})) insert into b values ({number})")
    rows: dict[str, int] = {"a": 0, "b": 0}
    for batch in batches(log, after):
        rows[batch.dataset] += batch.rows.num_rows
        if batch.position:
            assert rows["a"] == rows["b"]
    assert rows == {"a": 5, "b": 5}


def test_whose_change_it_was_is_told_where_the_server_knows(url: str, sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key)")
    log = follow("t")
    after = log.begin()
    mark = f"tongqu_of_{url.rpartition('/')[2]}"
    sql(f"select pg_replication_origin_create('{mark}')")
    with psycopg.connect(url, autocommit=True) as marked:
        marked.execute("select pg_replication_origin_session_setup(%s)", [mark])
        marked.execute("insert into t values (1)")
    sql("insert into t values (2)")
    rows = [row for batch in batches(log, after) for row in batch.rows.to_pylist()]
    sql(f"select pg_replication_origin_drop('{mark}')")
    assert [(row["id"], row.get("_origin")) for row in rows] == [(1, mark), (2, None)]


def test_an_idle_log_beats_and_its_beats_move_on(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key)")
    sql("create table elsewhere (id int)")
    log = follow("t")
    after = log.begin()
    sql("insert into elsewhere select generate_series(1, 1000)")
    end, stop = log.head(), Event()
    for batch in log.read(Follow(after, stop=stop)):
        assert (batch.kind, batch.rows.num_rows) == ("heartbeat", 0)
        assert batch.position is not None
        if log.reached(batch.position, end):
            stop.set()


def test_only_what_is_acknowledged_is_confirmed(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key)")
    log = follow("t")
    after = log.begin()
    slot = f"select confirmed_flush_lsn = '%s' from pg_replication_slots where slot_name = '{log.slot}'"
    sql("insert into t values (1)")
    last = [batch.position for batch in batches(log, after) if batch.position][-1]
    assert sql(slot % after["lsn"]) == [(True,)]
    log.acknowledge(last)
    log.close()
    assert sql(slot % last["lsn"]) == [(True,)]


def test_acknowledged_while_it_is_read(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key)")
    log = follow("t")
    after = log.begin()
    sql("insert into t values (1)")
    stop, last = Event(), log.head()
    seen: list[Batch] = []

    def read() -> None:
        for batch in log.read(Follow(after, stop=stop)):
            seen.append(batch)
            if batch.position:
                log.acknowledge(batch.position)

    reader = Thread(target=read)
    reader.start()
    query = f"select confirmed_flush_lsn >= '{last['lsn']}' from pg_replication_slots where slot_name = '{log.slot}'"
    try:
        moved = any(sql(query)[0][0] or Event().wait(0.1) for _ in range(600))
    finally:
        stop.set()
        reader.join(30)
    assert moved
    assert told(seen)[0] == ("c", 1)
