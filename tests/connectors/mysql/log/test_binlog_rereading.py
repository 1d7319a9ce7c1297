"""A table is read again while its log is followed: its rows come as `r`, each in its place among the changes."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tongqu.connectors.mysql.db import MysqlDb
from tongqu.connectors.mysql.log import rereading
from tongqu.connectors.mysql.settings import from_url
from tongqu.connectors.mysql.source import MysqlSource
from tongqu.core.data import Batch, Position
from tongqu.core.errors import InvalidPlanError
from tongqu.core.log import Follow

Sql = Callable[..., list[tuple[Any, ...]]]
Following = Callable[..., Any]


def _applied(target: dict[int, int], batches: Iterable[Batch]) -> None:
    """What a sink that writes by key makes of the changes."""
    for batch in batches:
        for row in batch.rows.to_pylist():
            if row["_op"] == "d":
                target.pop(row["id"], None)
            else:
                target[row["id"]] = row["v"]


def _until_read(log: Any, after: Position, target: dict[int, int]) -> tuple[Position, int]:
    """Follow until nothing is left to be read again; the position, and how many rows were read again."""
    stop = threading.Event()
    again = 0
    seen = False
    position = after
    for batch in log.read(Follow(after=after, stop=stop)):
        _applied(target, [batch])
        again += sum(op == "r" for op in batch.rows["_op"].to_pylist())
        position = batch.position or position
        seen = seen or again > 0
        if seen and batch.position is not None and "again" not in batch.position:
            stop.set()
    return position, again


def test_rows_read_again_are_those_of_their_place_while_others_write(
    sql: Sql, following: Following, mysql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rereading, "_ROWS", 50)
    sql("CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t SELECT seq, 0 FROM seq_1_to_400")
    log = following("t")
    done = threading.Event()
    writer = threading.Thread(target=_write, args=(mysql_url, done))
    log.log.resnapshot("t")
    target: dict[int, int] = {}  # nothing of what was there before the log is known
    writer.start()
    position, again = _until_read(log.log, log.position, target)
    done.set()
    writer.join(60)
    assert not writer.is_alive()
    _applied(target, log.log.read(Follow(after=position, until=log.log.head())))
    assert target == dict(sql("SELECT id, v FROM t"))
    assert again > 300


def _write(url: str, done: threading.Event) -> None:
    """Changes, deletes and makes rows all the time."""
    db = MysqlDb(from_url(url))
    db.run("SET autocommit = 1")
    dice = random.Random(7)  # noqa: S311
    number = 0
    while not done.is_set() and number < 20_000:
        number += 1
        row = dice.randint(1, 450)
        db.run(f"REPLACE INTO t VALUES ({row}, {number})" if dice.random() < 0.7 else f"DELETE FROM t WHERE id = {row}")
    db.close()


def test_a_table_is_read_on_where_the_last_durable_position_was(
    sql: Sql, following: Following, mysql_url: str, lodge: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rereading, "_ROWS", 3)
    sql("CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t SELECT seq, seq FROM seq_1_to_10")
    log = following("t")
    log.log.resnapshot("t")
    stop = threading.Event()
    first = log.log.read(Follow(after=log.position, stop=stop))
    piece = next(batch for batch in first if batch.rows.num_rows)
    assert piece.position is not None
    assert piece.position["again"]["t"]["last"] == ["3"]
    first.close()
    source = MysqlSource(from_url(mysql_url))  # another process
    source.lodge(lodge)
    again = source.log("test", source.datasets(["t"]))
    target: dict[int, int] = {}
    position, rows = _until_read(again, piece.position, target)
    assert (sorted(target), rows) == (list(range(4, 11)), 7)
    again.acknowledge(position)
    third = source.log("test", source.datasets(["t"]))
    assert [b.rows.num_rows for b in third.read(Follow(after=position, until=third.head()))] == [0]
    source.close()


def test_only_followed_tables_with_a_key_can_be_read_again(sql: Sql, following: Following) -> None:
    sql("CREATE TABLE t (v int)")
    log = following("t").log
    with pytest.raises(InvalidPlanError, match="'other' is not followed"):
        log.resnapshot("other")
    with pytest.raises(InvalidPlanError, match="no key"):
        log.resnapshot("t")
