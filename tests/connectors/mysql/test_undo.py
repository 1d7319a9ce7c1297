"""Undoing a replace in MariaDB: by one RENAME, or in place where foreign keys and triggers hold the table."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.mysql.sink import MysqlSink
from tongqu.core.data import Split, Write
from tongqu.core.errors import BusyError, DataError, NotFoundError
from tongqu.testing.command_line import tongqu

Sql = Callable[..., list[tuple[Any, ...]]]
OLD, NEW = [(1, "old"), (2, "old")], [(2, "new"), (3, "new"), (4, "new")]
VISIBLE = "SELECT id, name FROM target ORDER BY id, name"
PINS = {
    "foreign key": ["CREATE TABLE `lines` (id bigint, FOREIGN KEY (id) REFERENCES target (id))"],
    "trigger": ["CREATE TABLE noted (id bigint)",
                "CREATE TRIGGER noting AFTER INSERT ON target FOR EACH ROW INSERT INTO noted VALUES (new.id)"],
    "generated": ["ALTER TABLE target ADD twice bigint GENERATED ALWAYS AS (id * 2) STORED",
                  "CREATE TABLE `lines` (id bigint, FOREIGN KEY (id) REFERENCES target (id))"],
}  # fmt: skip


def table(values: list[tuple[int, str]], *, key: bool = True, **more: int) -> pa.Table:
    fields: list[pa.Field[Any]] = [pa.field("id", pa.int64(), not key), pa.field("name", pa.string())]
    columns: dict[str, Any] = {"id": [id for id, _ in values], "name": [name for _, name in values]}
    for name, value in more.items():
        fields.append(pa.field(name, pa.int64()))
        columns[name] = [value] * len(values)
    return pa.table(columns, schema=pa.schema(fields))


@pytest.fixture
def replaced(sink: MysqlSink, move: Callable[..., Any]) -> Callable[..., None]:
    """Replaces the target by the old rows and then by the new ones, which may have more columns."""

    def act(*, key: bool = True, **more: int) -> None:
        keys = ("id",) if key else ()
        move(sink, table(OLD, key=key), key=keys, run="r1")
        move(sink, table(NEW, key=key, **more), key=keys, run="r2")

    return act


def test_undo_and_undo_again(sink: MysqlSink, sql: Sql, replaced: Callable[..., None]) -> None:
    sql(
        "CREATE TABLE target (id bigint PRIMARY KEY, name varchar(9) DEFAULT 'none')",
        "CREATE INDEX by_name ON target (name)",
    )
    replaced(added=7)
    names = (
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'target' "
        "AND table_schema = database() ORDER BY ordinal_position"
    )
    for rows, columns in ((OLD, ["id", "name"]), (NEW, ["id", "name", "added"]), (OLD, ["id", "name"])):
        assert sink.undo("target") == len(rows)
        assert sql(VISIBLE) == rows
        assert [name for (name,) in sql(names)] == columns
        assert {row[2] for row in sql("SHOW INDEX FROM target")} == {"PRIMARY", "by_name"}


@pytest.mark.parametrize("pin", PINS)
def test_a_pinned_table_is_refilled(sink: MysqlSink, sql: Sql, replaced: Callable[..., None], pin: str) -> None:
    sql("CREATE TABLE target (id bigint PRIMARY KEY, name varchar(9))", *PINS[pin])
    replaced(added=7)
    for rows, added in ((OLD, [(None,)]), (NEW, [(7,)]), (OLD, [(None,)])):
        assert sink.undo("target") == len(rows)
        assert sql(VISIBLE) == rows
        assert sql("SELECT DISTINCT added FROM target") == added
    assert sql("SHOW TABLES LIKE '%undo%'") == []


def test_a_pinned_table_without_key_is_refilled(sink: MysqlSink, sql: Sql, replaced: Callable[..., None]) -> None:
    sql("CREATE TABLE target (id bigint, name varchar(9))", *PINS["trigger"])
    replaced(key=False)
    for rows in (OLD, NEW):
        assert sink.undo("target") == len(rows)
        assert sql(VISIBLE) == rows


def test_rows_that_others_refer_to_stop_an_undo(sink: MysqlSink, sql: Sql, replaced: Callable[..., None]) -> None:
    sql("CREATE TABLE target (id bigint PRIMARY KEY, name varchar(9))", *PINS["foreign key"])
    replaced()
    sql("INSERT INTO `lines` VALUES (4)")
    with pytest.raises(DataError, match="cannot be put back"):
        sink.undo("target")
    assert sql(VISIBLE) == NEW
    sql("DELETE FROM `lines`")
    assert sink.undo("target") == 2
    assert sink.undo("target") == 3
    assert sql(VISIBLE) == NEW


def test_a_table_pinned_since_the_replace_and_a_dropped_one(
    sink: MysqlSink, sql: Sql, replaced: Callable[..., None]
) -> None:
    replaced()
    sql(*PINS["trigger"])
    assert sink.undo("target") == 2
    assert sql(VISIBLE) == OLD
    sql("DROP TABLE target")
    assert sink.undo("target") == 3
    assert sql(VISIBLE) == NEW
    with pytest.raises(NotFoundError, match="'target'"):
        sink.undo("target")


def test_an_unfinished_run_keeps_its_table(
    sink: MysqlSink, sql: Sql, replaced: Callable[..., None], writing: Callable[..., Write]
) -> None:
    replaced()
    write = writing(table(OLD), key=("id",), run="r3")
    sink.start(write.sync, write.run, False)
    sink.open(write)
    sink.begin(write, [Split("0", "target")])
    with pytest.raises(BusyError, match="r3"):
        sink.undo("target")
    assert sql(VISIBLE) == NEW


@pytest.mark.parametrize("pin", ["", "trigger"])
def test_a_crash_leaves_the_one_generation_or_the_other(
    mysql_url: str, sql: Sql, replaced: Callable[..., None], tmp_path: Path, pin: str
) -> None:
    sql("CREATE TABLE target (id bigint PRIMARY KEY, name varchar(9))", *PINS.get(pin, []))
    replaced()
    command = ("undo", mysql_url, "--table", "target", "--json")
    assert tongqu(tmp_path, *command, TONGQU_CRASH_AT="in_undo").code == -signal.SIGKILL
    left = sql(VISIBLE)
    assert left == (NEW if pin else OLD)  # a RENAME commits by itself
    assert tongqu(tmp_path, *command).code == 0
    assert sql(VISIBLE) == (OLD if pin else NEW)
