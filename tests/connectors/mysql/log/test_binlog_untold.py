"""Tables that change without the log telling it are refused when they are begun, and given up when they become so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tongqu.connectors.mysql.log.events import INCIDENT, Event
from tongqu.connectors.mysql.log.unreadable import unreadable
from tongqu.connectors.mysql.settings import from_url
from tongqu.connectors.mysql.source import MysqlSource
from tongqu.core.errors import InvalidPlanError, LostPositionError, ReadError, TongquError
from tongqu.core.log import Follow

Sql = Callable[..., list[tuple[Any, ...]]]
Following = Callable[..., Any]


def _lost(log: Any) -> dict[str, str]:
    """The tables that are given up before the end of the log, and why."""
    told: dict[str, str] = {}

    def lost(name: str, error: TongquError) -> None:
        told[name] = error.message

    list(log.log.read(Follow(after=log.position, until=log.log.head(), lost=lost)))
    return told


def test_rows_that_a_foreign_key_deletes_are_not_in_the_log_so_their_table_is_refused(
    sql: Sql, following: Following, mysql_url: str
) -> None:
    sql("CREATE TABLE lot (id int PRIMARY KEY)",
        "CREATE TABLE item (id int PRIMARY KEY, lot int, FOREIGN KEY (lot) REFERENCES lot (id) ON DELETE CASCADE)",
        "CREATE TABLE kept (id int PRIMARY KEY, lot int, FOREIGN KEY (lot) REFERENCES lot (id))")  # fmt: skip
    with pytest.raises(InvalidPlanError, match=r"deletes or changes rows of item with those of lot") as caught:
        following("lot", "kept", "item")
    assert "cascades: ignore" in caught.value.hint
    source = MysqlSource(from_url(mysql_url).model_copy(update={"cascades": "ignore"}))
    log = source.log("ignoring", source.datasets(["item"]))
    try:
        assert log.begin()
        assert not [one for one in log.examine() if one.state == "error"]
    finally:
        log.close()
        source.close()


def test_a_table_with_versions_of_its_rows_is_refused(sql: Sql, following: Following) -> None:
    """MariaDB logs an old version as a row with the same key, behind the new one, and a deleted row as an update."""
    sql("CREATE TABLE price (id int PRIMARY KEY, v int) WITH SYSTEM VERSIONING")
    with pytest.raises(InvalidPlanError, match="system versioning"):
        following("price")


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("ALTER TABLE t ADD SYSTEM VERSIONING", "keeps versions"),
        ("ALTER TABLE t ADD FOREIGN KEY (v) REFERENCES other (id) ON DELETE SET NULL", "foreign key"),
        ("ALTER TABLE parts EXCHANGE PARTITION a WITH TABLE t", "got or lost rows by an ALTER TABLE"),
        ("ALTER IGNORE TABLE t ADD UNIQUE (v)", "got or lost rows by an ALTER TABLE"),
        ("RENAME TABLE t TO t_2025, other TO t", "was replaced by other"),
    ],
)
def test_a_table_that_becomes_so_is_given_up_and_the_others_go_on(
    sql: Sql, following: Following, statement: str, why: str
) -> None:
    sql("CREATE TABLE t (id int PRIMARY KEY, v int)", "CREATE TABLE other (id int PRIMARY KEY, v int)",
        "CREATE TABLE parts (id int PRIMARY KEY, v int) PARTITION BY RANGE (id) (PARTITION a VALUES LESS THAN (10))",
        "CREATE TABLE beside (id int PRIMARY KEY)", "INSERT INTO t VALUES (1, NULL), (2, NULL)")  # fmt: skip
    log = following("t", "beside")
    sql(statement, "INSERT INTO beside VALUES (1)")
    told = _lost(log)
    assert list(told) == ["t"]
    assert why in told["t"]


def test_a_change_in_a_statement_is_seen_wherever_the_statement_ran_and_whatever_made_it(
    sql: Sql, following: Following
) -> None:
    """Triggers, functions and views write tables that a statement does not name."""
    sql(
        "CREATE TABLE t (id int PRIMARY KEY)",
        "CREATE TABLE other (id int PRIMARY KEY)",
        "CREATE TRIGGER also AFTER INSERT ON other FOR EACH ROW INSERT INTO t VALUES (NEW.id)",
        "CREATE FUNCTION f() RETURNS int DETERMINISTIC MODIFIES SQL DATA BEGIN INSERT INTO t VALUES (7); RETURN 1; END",
    )
    ((database,),) = sql("SELECT DATABASE()")
    log = following("t")
    for statement in (f"INSERT INTO `{database}`.t VALUES (5)", "INSERT INTO other VALUES (1)", "SELECT f()"):
        log.position = log.log.head()
        sql("USE mysql" if "." in statement else f"USE `{database}`", "SET SESSION binlog_format = 'STATEMENT'",
            statement, "SET SESSION binlog_format = 'ROW'")  # fmt: skip
        with pytest.raises(ReadError, match="as a statement, not as rows"):
            log.batches()


def test_what_the_log_lacks_or_nobody_knows_is_never_passed_over() -> None:
    incident = unreadable(Event(0, INCIDENT, 1, 4, b""), "mysql://u@h:3306/d")
    assert isinstance(incident, LostPositionError)
    assert isinstance(unreadable(Event(0, 250, 1, 4, b""), ""), ReadError)
    assert unreadable(Event(0, 250, 1, 4, b"", flags=0x80), "") is None
    assert unreadable(Event(0, 160, 1, 4, b""), "") is None
