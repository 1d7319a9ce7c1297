"""A table is read again while its log is followed: in chunks, and what the log says later wins."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

import numpy as np
import pytest
from tests.connectors.postgres.log.conftest import Sql

from tongqu.connectors.postgres.log import PostgresLog, again
from tongqu.connectors.postgres.log.again import unseen
from tongqu.core.data import Batch, Position
from tongqu.core.errors import InvalidPlanError
from tongqu.core.log import Follow

Make = Callable[..., PostgresLog]


class Target:
    """What a target that is written by key would hold."""

    def __init__(self) -> None:
        self.rows: dict[int, str] = {}
        self.again = 0
        self.position: Position = {}
        self.durable: Position = {}

    def take(self, batch: Batch) -> None:
        if batch.kind == "rows":
            for row in batch.rows.to_pylist():
                self.again += row["_op"] == "r"
                if row["_op"] == "d":
                    self.rows.pop(row["id"], None)
                else:
                    self.rows[row["id"]] = row["v"]
        self.position = batch.position or self.position


def test_rows_that_were_lost_in_the_target_are_there_again(
    sql: Sql, follow: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(again, "CHUNK_ROWS", 10)
    sql("create table t (id int primary key, v text)")
    sql("insert into t select n, 'old' from generate_series(1, 35) n")
    log, target, stop = follow("t"), Target(), Event()
    after = log.begin()
    log.resnapshot("t")
    for batch in log.read(Follow(after, stop=stop)):
        target.take(batch)
        if target.again in (10, 20):
            sql(f"update t set v = 'new' where id in (1, {target.again + 5}, 35)")
            sql(f"delete from t where id = {target.again}")
            sql(f"insert into t values ({target.again + 100}, 'added') on conflict do nothing")
        if target.again >= 35 - 2 and target.rows == dict(sql("select id, v from t")):
            stop.set()
        assert target.again <= 35
    assert target.rows == dict(sql("select id, v from t"))


def test_it_goes_on_after_a_restart_where_it_was_durable(
    sql: Sql, follow: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(again, "CHUNK_ROWS", 10)
    sql("create table t (id int primary key, v text)")
    sql("insert into t select n, 'v' from generate_series(1, 50) n")
    log, target, stop = follow("t"), Target(), Event()
    after = log.begin()
    log.resnapshot("t")
    note, marked = "select obj_description(oid, 'pg_publication') from pg_publication", False
    for batch in log.read(Follow(after, stop=stop)):
        target.take(batch)
        if target.again == 10 and batch.kind == "heartbeat" and not marked:
            sql("insert into t values (1000, 'mark')")
            marked = True
        if batch.position and 1000 in target.rows and not target.durable:
            target.durable = batch.position
            log.acknowledge(batch.position)
        if '"last": ["10"]' in str(sql(note)[0][0]):
            stop.set()
    log.close()
    other, rest, stop = follow("t"), Target(), Event()
    for batch in other.read(Follow(target.durable, stop=stop)):
        rest.take(batch)
        if batch.position:
            other.acknowledge(batch.position)
        if "again" not in str(sql(note)[0][0]):
            stop.set()
    assert {**target.rows, **rest.rows} == dict(sql("select id, v from t"))
    assert rest.again == 40


def test_a_table_that_is_not_followed(sql: Sql, follow: Make) -> None:
    sql("create table t (id int primary key, v text)")
    with pytest.raises(InvalidPlanError):
        follow("t").resnapshot("other")


def test_a_snapshot_that_does_not_see_what_the_log_brought_is_too_old() -> None:
    assert unseen("100:110:104,106", [np.array([103, 104])])
    assert unseen("100:110:104,106", [np.array([111])])
    assert not unseen("100:110:104,106", [np.array([99, 103, 105])])
    assert not unseen(f"{(1 << 32) + 5}:{(1 << 32) + 6}:", [np.array([(1 << 32) - 1, 4, 5 - 1])])
    assert unseen(f"{(1 << 32) + 5}:{(1 << 32) + 6}:", [np.array([7])])
