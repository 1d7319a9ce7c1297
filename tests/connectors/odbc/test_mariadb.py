"""MariaDB by its ODBC driver: a system whose DDL ends transactions, so rows are exchanged and not tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pymysql
import pytest

from tongqu.connectors.odbc import connector
from tongqu.core.data import WriteMode
from tongqu.core.errors import ConnectError
from tongqu.kit.tables.source import TableSource
from tongqu.testing.conformance.place import Place, items, pairs


@pytest.fixture
def place(odbc_mysql_url: str) -> Place:
    return Place(connector, odbc_mysql_url)


@pytest.fixture
def cursor(mysql_url: str) -> Iterator[Any]:
    parts = urlsplit(mysql_url)
    session = pymysql.connect(
        host=parts.hostname, port=parts.port or 0, user=parts.username, password=unquote(parts.password or ""),
        database=parts.path[1:], autocommit=True,
    )  # fmt: skip
    with session, session.cursor() as found:
        yield found


def test_a_replaced_table_keeps_its_identity_and_comes_back(place: Place, cursor: Any) -> None:
    place.fill(items(range(3)))
    cursor.execute("alter table items add column noted timestamp not null default current_timestamp")
    cursor.execute("create view seen as select id from items")
    assert place.fill(items(range(5), "new{}")).inserted == 5
    cursor.execute("select count(*) from seen")
    assert cursor.fetchone() == (5,)
    with place.sink() as sink:
        assert sink.undo("items") == 3
    assert place.rows() == pairs(range(3))
    with place.sink() as sink:
        assert sink.undo("items") == 5, "undoing twice is no change"


def test_an_index_over_parts_of_columns_is_no_key(place: Place, cursor: Any) -> None:
    cursor.execute("create table items (a int not null, b varchar(40) not null, unique key u (a, b(2)))")
    cursor.execute("insert into items values (1, 'aa'), (1, 'bb')")
    with place.source() as source:
        (found,) = source.datasets(["items"])
    assert (found.key, found.indexes) == ((), ())


def test_names_may_hold_question_marks(place: Place) -> None:
    rows = pa.table({"id": pa.array([1, 2], pa.int64()), "ok?": ["yes?", ""]})
    assert place.change(rows, run="run 1", name="do you?").inserted == 2
    assert place.rows("do you?", ("id", "ok?")) == [(1, "yes?"), (2, "")]


def test_a_plan_creates_nothing(place: Place, cursor: Any) -> None:
    with place.sink() as sink:
        said = sink.preview(place.ask(items([]), WriteMode.UPSERT))
    assert any(one.startswith("CREATE TABLE") and "`items`" in one for one in said)
    cursor.execute("show tables")
    assert cursor.fetchall() == ()


def test_a_source_connects_again_after_its_connection_was_lost(place: Place, cursor: Any) -> None:
    place.fill(items(range(3)))
    with place.source() as source:
        assert isinstance(source, TableSource)
        source.datasets(None)
        cursor.execute("select id from information_schema.processlist where id <> connection_id() and user = 'root'")
        for (number,) in cursor.fetchall():
            cursor.execute(f"kill connection {number}")
        with pytest.raises(ConnectError):
            source.datasets(None)
        assert [dataset.name for dataset in source.datasets(None)] == ["items"]
