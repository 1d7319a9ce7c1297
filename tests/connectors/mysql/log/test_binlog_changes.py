"""What changes of rows become: operations, keys, transactions, images that are not whole."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from tongqu.connectors.mysql.settings import from_url
from tongqu.connectors.mysql.source import MysqlSource
from tongqu.core.data import Batch
from tongqu.core.errors import LostPositionError, ReadError
from tongqu.core.log import Follow, Unsent

Sql = Callable[..., list[tuple[Any, ...]]]
Following = Callable[..., Any]


def test_changes_come_in_the_order_of_the_log(sql: Sql, following: Following) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY, v varchar(9))", "INSERT INTO t VALUES (1, 'before')")
    log = following("t")
    sql("INSERT INTO t VALUES (2, '中')", "UPDATE t SET v = NULL WHERE id = 1", "DELETE FROM t WHERE id = 2")
    assert log.changes() == [
        {"id": 2, "v": "中", "_op": "c"},
        {"id": 1, "v": None, "_op": "u"},
        {"id": 2, "v": "中", "_op": "d"},
    ]
    assert log.changes() == []


def test_a_change_of_the_key_is_a_delete_and_a_create(sql: Sql, following: Following) -> None:
    sql("CREATE TABLE t (a int, b varchar(5), v int, PRIMARY KEY (a, b))", "INSERT INTO t VALUES (1,'x',1), (2,'y',2)")
    log = following("t")
    sql("UPDATE t SET b = 'z', v = 9 WHERE a = 2", "UPDATE t SET v = 8 WHERE a = 1")
    assert [(row["a"], row["b"], row["v"], row["_op"]) for row in log.changes()] == [
        (2, "y", 2, "d"),
        (2, "z", 9, "c"),
        (1, "x", 8, "u"),
    ]


def test_a_position_is_only_at_the_end_of_a_transaction_of_all_its_tables(sql: Sql, following: Following) -> None:
    sql("CREATE TABLE a (id int PRIMARY KEY)", "CREATE TABLE b (id int PRIMARY KEY)")
    log = following("a", "b")
    sql("BEGIN", "INSERT INTO a SELECT seq FROM seq_1_to_500", "INSERT INTO b VALUES (1)",
        "INSERT INTO a SELECT seq FROM seq_501_to_1000", "COMMIT")  # fmt: skip
    found: list[Batch] = log.batches(batch_rows=200)
    rows = [(batch.dataset, batch.rows.num_rows, batch.position is not None) for batch in found]
    assert [end for _, _, end in rows] == [False] * (len(rows) - 1) + [True]
    assert len(rows) >= 3
    assert sum(count for name, count, _ in rows if name == "a") == 1000
    assert all(batch.ends_transaction == (batch.position is not None) for batch in found)


def test_what_was_rolled_back_does_not_come(sql: Sql, following: Following) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY)")
    log = following("t")
    sql("BEGIN", "INSERT INTO t VALUES (1)", "ROLLBACK")
    sql("BEGIN", "INSERT INTO t VALUES (2)", "SAVEPOINT s", "INSERT INTO t VALUES (3)", "ROLLBACK TO s", "COMMIT")
    assert [row["id"] for row in log.changes()] == [2]


def test_every_row_tells_when_it_was_committed_and_who_else_made_it(sql: Sql, following: Following) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY)")
    log = following("t")
    before = sql("SELECT UTC_TIMESTAMP()")[0][0]
    sql("INSERT INTO t VALUES (1)", "SET SESSION server_id = 77", "INSERT INTO t VALUES (2)")
    after = sql("SELECT UTC_TIMESTAMP()")[0][0]
    rows = [row for batch in log.batches() for row in batch.rows.to_pylist()]
    assert [row["_origin"] for row in rows] == [None, "77"]
    assert all(before <= row["_at"].replace(tzinfo=None) <= after + datetime.timedelta(seconds=1) for row in rows)


@pytest.mark.parametrize("image", ["MINIMAL", "NOBLOB"])
def test_columns_that_the_log_did_not_send_are_named(sql: Sql, following: Following, image: str) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY, v int, w int, b text)", "INSERT INTO t VALUES (1, 1, 1, 'b')")
    log = following("t")
    sql(f"SET SESSION binlog_row_image = '{image}'")
    sql("UPDATE t SET v = 2", "INSERT INTO t VALUES (2, 3, 4, 'c')", "UPDATE t SET b = 'd' WHERE id = 2",
        "DELETE FROM t WHERE id = 1")  # fmt: skip
    told = log.changes()
    assert [(row["id"], row["_op"]) for row in told] == [(1, "u"), (2, "c"), (2, "u"), (1, "d")]
    assert told[1] == {"id": 2, "v": 3, "w": 4, "b": "c", "_op": "c"}
    if image == "MINIMAL":
        assert told[0] == {"id": 1, "v": 2, "w": None, "b": None, "_op": "u", "_unchanged": ["w", "b"]}
        assert told[2] == {"id": 2, "v": None, "w": None, "b": "d", "_op": "u", "_unchanged": ["v", "w"]}
    else:
        assert told[0] == {"id": 1, "v": 2, "w": 1, "b": None, "_op": "u", "_unchanged": ["b"]}
        assert told[2] == {"id": 2, "v": 3, "w": 4, "b": "d", "_op": "u"}


def test_a_new_key_without_its_other_columns_is_refused(sql: Sql, following: Following) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 1)")
    log = following("t")
    sql("SET SESSION binlog_row_image = 'MINIMAL'", "UPDATE t SET id = 2")
    with pytest.raises(ReadError, match="not all columns of a change of a key") as caught:
        log.batches()
    assert "binlog_row_image = 'FULL'" in caught.value.hint


def test_an_emptied_table_is_told_between_the_rows_before_and_after(sql: Sql, following: Following) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE other (id int)")
    log = following("t")
    sql("INSERT INTO t VALUES (1)", "TRUNCATE TABLE other", "TRUNCATE t", "INSERT INTO t VALUES (2)")
    told = [(batch.kind, batch.rows["id"].to_pylist()) for batch in log.batches()]
    assert told == [("rows", [1]), ("truncate", []), ("rows", [2])]


@pytest.mark.parametrize(
    "statement",
    ["DROP TABLE t", "RENAME TABLE t TO gone", "ALTER TABLE t RENAME TO gone", "CREATE OR REPLACE TABLE t (id int)"],
)
def test_a_table_that_goes_away_stops_the_log_behind_its_last_row(
    sql: Sql, following: Following, statement: str
) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY)")
    log = following("t")
    sql("INSERT INTO t VALUES (1)", statement)
    seen: list[Batch] = []
    with pytest.raises(LostPositionError, match="the table t was") as caught:
        for batch in log.log.read(Follow(after=log.position, until=log.log.head())):
            seen.append(batch)
    assert [(batch.rows["id"].to_pylist(), batch.position is not None) for batch in seen] == [([1], True)]
    assert "--restart" in caught.value.hint


def test_rows_that_go_with_a_partition_stop_the_log(sql: Sql, following: Following) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION a VALUES LESS THAN (10), "
        "PARTITION b VALUES LESS THAN MAXVALUE)")  # fmt: skip
    log = following("t")
    sql("INSERT INTO t VALUES (1), (11)", "ALTER TABLE t DROP PARTITION a")
    with pytest.raises(LostPositionError, match="lost a partition"):
        log.batches()


def test_a_change_that_was_logged_as_a_statement_is_never_overlooked(sql: Sql, following: Following) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE other (id int PRIMARY KEY)")
    log = following("t")
    sql("SET SESSION binlog_format = 'STATEMENT'", "CREATE DATABASE IF NOT EXISTS percona",
        "CREATE OR REPLACE TABLE percona.sums (n int)", "REPLACE INTO percona.sums SELECT count(*) FROM t",
        "DROP DATABASE percona")  # fmt: skip
    assert log.changes() == []
    sql("INSERT INTO t VALUES (1)")
    with pytest.raises(ReadError, match="as a statement, not as rows") as caught:
        log.batches()
    assert "binlog_format = 'ROW'" in caught.value.hint


def test_prepared_transactions_of_two_phases_stop_the_log(sql: Sql, following: Following) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY)")
    log = following("t")
    sql("XA START 'x'", "INSERT INTO t VALUES (1)", "XA END 'x'", "XA PREPARE 'x'", "XA COMMIT 'x'")
    with pytest.raises(ReadError, match="prepared XA transaction"):
        log.batches()


def test_a_compressed_log_is_read_too(sql: Sql, following: Following) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    log = following("t")
    sql("SET GLOBAL log_bin_compress = 1")
    try:
        sql("INSERT INTO t VALUES (1, REPEAT('long', 500))", "UPDATE t SET id = 2", "DELETE FROM t",
            f"TRUNCATE t /* {'x' * 400} */")  # fmt: skip
    finally:
        sql("SET GLOBAL log_bin_compress = 0")
    found = log.batches()
    assert [row["_op"] for batch in found for row in batch.rows.to_pylist()] == ["c", "d", "c", "d"]
    assert found[-1].kind == "truncate"


def test_what_images_leave_out_is_known_before_it_is_missed(sql: Sql, mysql_url: str) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY, v varchar(20), body longtext, doc json)")
    source = MysqlSource(from_url(mysql_url))
    log = source.log("test", source.datasets(["t"]))
    try:
        found = {}
        for image in ("MINIMAL", "NOBLOB", "FULL"):
            sql(f"SET GLOBAL binlog_row_image = '{image}'")
            found[image] = log.unsent("t")
    finally:
        sql("SET GLOBAL binlog_row_image = 'FULL'")
        log.close()
        source.close()
    fix = "SET GLOBAL binlog_row_image = 'FULL', and let the writers log in anew"
    assert found == {
        "MINIMAL": Unsent(("v", "body", "doc"), fix), "NOBLOB": Unsent(("body", "doc"), fix), "FULL": None,
    }  # fmt: skip
