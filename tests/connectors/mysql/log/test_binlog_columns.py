"""Columns that change while the log is followed, and how the log's rows are told apart from those before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tongqu.connectors.mysql.log.following import MysqlLog
from tongqu.connectors.mysql.settings import from_url
from tongqu.connectors.mysql.source import MysqlSource
from tongqu.core.errors import LostPositionError, TongquError
from tongqu.core.log import Follow

Sql = Callable[..., list[tuple[Any, ...]]]
Following = Callable[..., Any]


@pytest.fixture
def unnamed(sql: Sql) -> Iterator[None]:
    """A log whose table maps name no columns, which is MariaDB's default."""
    sql("SET GLOBAL binlog_row_metadata = 'NO_LOG'")
    yield
    sql("SET GLOBAL binlog_row_metadata = 'FULL'")


def _told(log: Any) -> list[tuple[str, dict[str, str] | list[dict[str, Any]]]]:
    """Per batch its kind and rows; of a new schema its columns and types."""
    found: list[tuple[str, Any]] = []
    for batch in log.batches():
        if batch.kind == "schema":
            found.append(("schema", {f.name: str(f.type) for f in batch.rows.schema if not f.name.startswith("_")}))
        else:
            rows = [{n: v for n, v in row.items() if not n.startswith("_")} for row in batch.rows.to_pylist()]
            found.append((batch.kind, rows))
    return found


def test_other_columns_are_told_before_the_first_row_that_has_them(sql: Sql, following: Following) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY, v smallint)")
    log = following("t")
    sql("INSERT INTO t VALUES (1, 1)", "ALTER TABLE t ADD COLUMN w decimal(5,2) FIRST, MODIFY v bigint unsigned",
        "INSERT INTO t VALUES (1.25, 2, 18000000000000000000)", "ALTER TABLE t DROP COLUMN v, RENAME COLUMN w TO x",
        "INSERT INTO t VALUES (2.5, 3)")  # fmt: skip
    assert _told(log) == [
        ("rows", [{"id": 1, "v": 1}]),
        ("schema", {"w": "decimal128(5, 2)", "id": "int32", "v": "uint64"}),
        ("rows", [{"w": Decimal("1.25"), "id": 2, "v": 18000000000000000000}]),
        ("schema", {"x": "decimal128(5, 2)", "id": "int32"}),
        ("rows", [{"x": Decimal("2.50"), "id": 3}]),
    ]


def test_a_change_that_is_not_of_the_columns_says_nothing(sql: Sql, following: Following) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY, v varchar(5))")
    log = following("t")
    sql("ALTER TABLE t ADD INDEX (v), COMMENT 'other'", "INSERT INTO t VALUES (1, 'a')", "ANALYZE TABLE t")
    assert _told(log) == [("rows", [{"id": 1, "v": "a"}])]


def test_enum_values_of_their_time(sql: Sql, following: Following) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY, v enum('a','b'))")
    log = following("t")
    sql("INSERT INTO t VALUES (1, 'b')", "ALTER TABLE t MODIFY v enum('b','c','a')", "INSERT INTO t VALUES (2, 'b')")
    assert [rows for kind, rows in _told(log) if kind == "rows"] == [[{"id": 1, "v": "b"}], [{"id": 2, "v": "b"}]]


def test_columns_in_old_charsets_beside_a_geometry(sql: Sql, following: Following) -> None:
    """The server counts a geometry as text where it tells charsets, and writes the values of an ENUM in its charset."""
    sql("CREATE TABLE t (id int PRIMARY KEY, v int)")
    log = following("t")
    sql("ALTER TABLE t ADD a text CHARACTER SET gbk, ADD g point, ADD b varchar(9) CHARACTER SET latin1,"
        "ADD e enum('一','二') CHARACTER SET gbk, ADD s set('甲','乙') CHARACTER SET gb2312",
        "INSERT INTO t VALUES (1, 1, '汉', point(1, 2), 'é', '二', '甲,乙')")  # fmt: skip
    row = next(batch for batch in log.batches() if batch.kind == "rows").rows.to_pylist()[0]
    assert (row["a"], row["b"], row["e"], row["s"]) == ("汉", "é", "二", "甲,乙")


def test_characters_that_unicode_does_not_have_come_as_a_full_read_gives_them(
    sql: Sql, following: Following, full: Callable[[str], Any]
) -> None:
    """Characters that people made themselves lie where no codec of GBK looks; cp1252 has gaps, latin1 has none."""
    sql("CREATE TABLE t (id int PRIMARY KEY, g varchar(9) CHARACTER SET gbk, l varchar(9) CHARACTER SET latin1)")
    log = following("t")
    sql("INSERT INTO t VALUES (1, CONCAT('王', CONVERT(x'AAA1A140' USING gbk), '好'), CONVERT(x'E98190' USING latin1))")
    [(_, [row])] = [told for told in _told(log) if told[0] == "rows"]
    assert row == {"id": 1, "g": "王??好", "l": "é\x81\x90"}
    assert full("t").to_pylist() == [row]


def test_a_table_swapped_by_an_online_schema_change_goes_on(sql: Sql, following: Following) -> None:
    """As gh-ost and pt-online-schema-change do it: a shadow table is filled and takes the name in one statement."""
    sql("CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 1)")
    log = following("t")
    sql("CREATE TABLE _t_gho LIKE t", "ALTER TABLE _t_gho ADD COLUMN w int", "INSERT INTO _t_gho SELECT *, 0 FROM t",
        "UPDATE t SET v = 2", "UPDATE _t_gho SET v = 2", "RENAME TABLE t TO _t_del, _t_gho TO t",
        "INSERT INTO t VALUES (2, 2, 2)", "DROP TABLE _t_del")  # fmt: skip
    assert [told for told in _told(log) if told[0] != "heartbeat"] == [
        ("rows", [{"id": 1, "v": 2}]),
        ("schema", {"id": "int32", "v": "int32", "w": "int32"}),
        ("rows", [{"id": 2, "v": 2, "w": 2}]),
    ]


def test_rows_before_a_change_are_read_by_the_columns_of_then(
    sql: Sql, following: Following, mysql_url: str, lodge: Path
) -> None:
    """A process that begins anew discovers the columns of now, and its position is before the change."""
    sql("CREATE TABLE t (id int PRIMARY KEY, v int)")
    log = following("t")
    sql("INSERT INTO t VALUES (1, 1)", "ALTER TABLE t ADD COLUMN w int FIRST", "INSERT INTO t VALUES (7, 2, 2)")
    source = MysqlSource(from_url(mysql_url))
    source.lodge(lodge)
    again = source.log("test", source.datasets(["t"]))
    assert isinstance(again, MysqlLog)
    log.log = again
    assert [told for told in _told(log) if told[0] != "heartbeat"] == [
        ("schema", {"id": "int32", "v": "int32"}),
        ("rows", [{"id": 1, "v": 1}]),
        ("schema", {"w": "int32", "id": "int32", "v": "int32"}),
        ("rows", [{"w": 7, "id": 2, "v": 2}]),
    ]
    source.close()


@pytest.mark.usefixtures("unnamed")
def test_without_names_in_the_log_the_catalog_tells_the_new_columns(sql: Sql, following: Following) -> None:
    sql("CREATE TABLE t (id int unsigned PRIMARY KEY, v varchar(9) CHARACTER SET latin1)")
    log = following("t")
    sql("INSERT INTO t VALUES (4000000000, 'é')", "ALTER TABLE t CHANGE v x varchar(9) CHARACTER SET gbk",
        "INSERT INTO t VALUES (2, '汉')")  # fmt: skip
    assert _told(log) == [
        ("rows", [{"id": 4000000000, "v": "é"}]),
        ("schema", {"id": "uint32", "x": "string"}),
        ("rows", [{"id": 2, "x": "汉"}]),
    ]


@pytest.mark.usefixtures("unnamed")
@pytest.mark.parametrize("second", ["CHANGE x y varchar(9)", "DROP COLUMN x"])
def test_without_names_two_changes_that_were_not_seen_between_stop_the_log(
    sql: Sql, following: Following, second: str
) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY, v varchar(9))")
    log = following("t")
    sql("ALTER TABLE t CHANGE v x varchar(9)", "INSERT INTO t VALUES (1, 'a')", f"ALTER TABLE t {second}")
    with pytest.raises(TongquError, match=r"changed (twice|more than once)") as caught:
        list(log.log.read(Follow(after=log.position, until=log.log.head())))
    assert "binlog_row_metadata = 'FULL'" in caught.value.hint
    assert isinstance(caught.value, LostPositionError) == (second != "DROP COLUMN x")
