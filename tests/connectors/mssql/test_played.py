"""SQL Server as its driver is told to speak to it: no server can be had, so answers are played and words are read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from sqlglot import parse_one

from tongqu.connectors.mssql import connector
from tongqu.connectors.mssql.settings import MssqlSettings, from_url
from tongqu.core.data import Mode, Read, Split, WriteMode
from tongqu.core.errors import (
    AuthError,
    BusyError,
    ConnectError,
    NotFoundError,
    PrivilegeError,
    RefusedRowsError,
    TongquError,
)
from tongqu.testing.conformance.place import Place, items
from tongqu.testing.dbapi import Played, PlayedDriver, PlayedError

COLUMNS = [
    ("id", "bigint", 0, None, None, 0, None),
    ("v", "nvarchar(max) COLLATE Chinese_PRC_CI_AS", 1, None, None, 0, None),
]
URL = "mssql://sa:geheim@127.0.0.1/plant?tls=disable&port={port}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Played:
    played = Played("tsql", COLUMNS)
    monkeypatch.setitem(sys.modules, "mssql_python", PlayedDriver(played))
    monkeypatch.setitem(sys.modules, "mssql_python.exceptions", PlayedDriver(played))
    return played


@pytest.fixture
def place(server: Played) -> Iterator[Place]:
    assert server.dialect
    yield Place(connector, "mssql://sa:geheim@127.0.0.1:1433/plant?tls=disable")


def good(statements: list[str]) -> list[str]:
    """The statements, each of which sqlglot reads as T-SQL; procedures and session settings it need not know."""
    plain = [one for one in statements if not one.startswith(("(", "EXEC", "SET ", "SAVE", "IF ", "ROLLBACK"))]
    for one in plain:
        parse_one(one, read="tsql")
    return plain


def test_the_connection_string_says_how_much_tls_is_demanded() -> None:
    strict = from_url("mssql://u:p}w@db.example:1500/plant?certificate_host=sql.example")
    assert strict.connection_string("db.example", 1500) == (
        "Server={db.example,1500};Database={plant};UID={u};PWD={p}}w};Encrypt={yes};TrustServerCertificate={no};"
        "HostNameInCertificate={sql.example};"
    )
    through_a_hop = from_url("mssql://u:p@db.example/plant").connection_string("127.0.0.1", 40000)
    assert "HostNameInCertificate={db.example};" in through_a_hop


def test_replace_fills_a_new_table_and_renames_it(place: Place, server: Played) -> None:
    counts = place.fill(items([1, 2]))
    assert counts.inserted == 2
    assert "items" in server.tables
    ((insert, rows),) = server.bound
    assert insert.endswith("([id], [v]) VALUES (?, ?)")
    assert rows == [(1, "v1"), (2, "v2")]
    said = good(server.said)
    made = next(one for one in said if one.startswith("CREATE TABLE"))
    assert made.endswith("([id] bigint NOT NULL, [v] nvarchar(max), PRIMARY KEY ([id]))")
    assert any(one.startswith("EXEC sp_rename N'[own].[_tongqu_stage_") and "N'items'" in one for one in server.said)


def test_replace_keeps_the_generation_before(place: Place, server: Played) -> None:
    server.tables.add("items")
    place.fill(items([1]))
    into = next(one for one in good(server.said) if one.startswith("SELECT * INTO [own].[_tongqu_stage_"))
    assert into.endswith(
        "FROM (SELECT [id], [v] FROM [own].[items] WHERE 1 = 0 UNION ALL "
        "SELECT [id], [v] FROM [own].[items] WHERE 1 = 0) AS q"
    )
    assert any(name.startswith("_tongqu_previous_items") for name in server.tables)


def test_a_table_that_something_hangs_on_keeps_its_identity(place: Place, server: Played) -> None:
    server.tables.add("items")
    server.answers += [("sys.triggers", [("trigger audit",)]), (r"COUNT\(\*\), SUM", [(1, 1, 0)]),
                       (r"COUNT\(\*\)", [(0,)])]  # fmt: skip
    place.fill(items([1]))
    assert any(one.startswith("MERGE INTO [own].[items] WITH (HOLDLOCK) AS t") for one in good(server.said))
    assert not any("sp_rename" in one for one in server.said)


def test_upsert_merges_what_differs_from_a_chunk(place: Place, server: Played) -> None:
    server.tables.add("items")
    server.answers.append((r"COUNT\(\*\), SUM", [(2, 1, 1)]))
    counts = place.change(items([1, 2, 2]), run="run 1")
    assert (counts.inserted, counts.updated, counts.merged) == (1, 1, 1)
    ((insert, rows),) = server.bound
    assert insert.startswith("INSERT INTO [#_tongqu_chunk_")
    assert rows == [(1, "v1"), (2, "v2")]
    merge = next(one for one in good(server.said) if one.startswith("MERGE"))
    assert (
        "ON (t.[id] = s.[id]) WHEN MATCHED AND (CASE WHEN (CAST(CAST(t.[v] AS nvarchar(max)) AS varbinary(max))"
        in merge
    )
    assert merge.endswith(
        "THEN UPDATE SET [v] = s.[v] WHEN NOT MATCHED THEN INSERT ([id], [v]) VALUES (s.[id], s.[v]);"
    )


def test_history_ends_versions_and_begins_new_ones(place: Place, server: Played) -> None:
    server.columns = [*COLUMNS, ("_valid_from", "datetimeoffset(6)", 0, None, None, 0, None),
                      ("_valid_to", "datetimeoffset(6)", 1, None, None, 0, None),
                      ("_current", "bit", 0, None, None, 0, None)]  # fmt: skip
    server.primary = ("id", "_valid_from")
    server.tables.add("items")
    server.answers.append((r"COUNT\(\*\), SUM", [(2, 1, 1)]))
    counts = place.change(items([1, 2]), run="run 1", mode=WriteMode.HISTORY)
    assert (counts.inserted, counts.updated) == (1, 1)
    at = "CAST(N'2026-01-01 00:00:00.000000 +00:00' AS datetimeoffset(6))"
    said = good(server.said)
    assert any(
        one.startswith(f"UPDATE t SET [_valid_to] = {at}, [_current] = 0 FROM [own].[items] AS t") for one in said
    )
    assert any(one.startswith("INSERT INTO [own].[items]") and f"{at}, NULL, 1 FROM" in one for one in said)


def test_large_loads_go_by_bulk_copy_into_a_work_table(server: Played) -> None:
    place = Place(connector, "mssql://sa:geheim@127.0.0.1:1433/plant?tls=disable&bulk_rows=2")
    place.fill(items([1, 2, 3]))
    ((table, rows),) = server.loaded
    assert table.startswith("[own].[_tongqu_work_")
    assert rows.to_pylist()[0] == {"id": 1, "v": "v1"}
    assert not server.bound
    moved = next(one for one in good(server.said) if one.startswith("INSERT INTO [own].[_tongqu_stage_"))
    assert moved.endswith(f"([id], [v]) SELECT [id], [v] FROM {table}")
    assert not any(name.startswith("_tongqu_work") for name in server.tables), "the work table was left"


def test_a_refused_row_is_quarantined_and_the_others_written(place: Place, server: Played) -> None:
    broken = PlayedError("Violation of PRIMARY KEY constraint", driver_error="23000")
    server.fails = [(r"^INSERT INTO \[own\]\.\[_tongqu_stage", broken)] * 2
    counts = place.fill(items([1, 2]))
    assert (counts.inserted, counts.quarantined) == (1, 1)
    assert [row["code"] for row in place.quarantined()] == ["target.refused"]
    assert "SAVE TRANSACTION tongqu_rows" in server.said
    assert "ROLLBACK TRANSACTION tongqu_rows" in server.said


def test_a_character_that_the_column_has_not_is_quarantined(place: Place, server: Played) -> None:
    server.columns = [COLUMNS[0], ("v", "varchar(20) COLLATE Chinese_PRC_CI_AS", 1, None, None, 0, None)]
    server.tables.add("items")
    rows = pa.table({"id": pa.array([1, 2], pa.int64()), "v": ["批号", "😀"]})
    counts = place.put([rows], place.ask(rows, WriteMode.APPEND))
    assert (counts.inserted, counts.quarantined) == (1, 1)
    assert "cp936" in place.quarantined()[0]["message"]


def test_rows_are_read_as_arrow_in_the_discovered_types(place: Place, server: Played) -> None:
    server.tables.add("t")
    server.columns = [
        ("id", "bigint", 0, None, None, 0, None), ("m", "money", 1, None, None, 0, "Preis"),
        ("at", "datetimeoffset(7)", 1, None, None, 0, None), ("u", "uniqueidentifier", 1, None, None, 0, None),
        ("rv", "timestamp", 0, None, "stored", 0, None), ("g", "geography", 1, None, None, 0, None),
    ]  # fmt: skip
    with place.source() as source:
        (found,) = source.datasets(["t"])
        assert found.unsupported == ("g geography",)
    server.columns = server.columns[:-1]
    server.arrow = [pa.record_batch({
        "id": pa.array([1], pa.int64()), "m": pa.array(["1.5000"]).cast(pa.decimal128(19, 4)),
        "at": ["2026-01-01 08:00:00.123456"], "u": ["123e4567-e89b-12d3-a456-426614174000"],
        "rv": pa.array([7], pa.int64()),
    })]  # fmt: skip
    with place.source() as source:
        (found,) = source.datasets(["t"])
        (batch,) = source.read(Read(found, Split("0", "t")))
    assert batch.rows.schema.equals(found.schema)
    assert batch.rows.to_pylist()[0]["at"] == datetime(2026, 1, 1, 8, 0, 0, 123456, tzinfo=UTC)
    query = good(server.said)[-1]
    assert next(one for one in server.said if "SWITCHOFFSET" in one) and query


def test_key_ranges_and_increments_are_good_sql(place: Place, server: Played) -> None:
    server.tables.add("t")
    server.columns = [("id", "bigint", 0, None, None, 0, None), ("rv", "timestamp", 0, None, "stored", 0, None)]
    server.answers += [(r"MIN_ACTIVE_ROWVERSION", [("41",)]), (r"rv\] IS NULL", [(0,)]), ("OFFSET 2 ROWS", [])]
    with place.source() as source:
        (found,) = source.datasets(["t"])
        until = source.horizon(found, "rv", None)
        assert until == {"cursor": ["41"]}
        split = Split("0", "t", {"after": {"cursor": ["7"]}, "until": until})
        list(source.read(Read(found, split, mode=Mode.INCREMENTAL, cursor="rv", chunk_rows=3)))
    read = next(one for one in good(server.said) if one.startswith("SELECT [id], CAST([rv] AS bigint)"))
    assert read.endswith(
        "WHERE (([rv] >= CAST(CAST(7 AS bigint) AS binary(8)))) AND (([rv] <= CAST(CAST(41 AS bigint) AS binary(8))))"
    )


MEANT: list[tuple[str, str, type[TongquError]]] = [
    ("", "Login failed for user 'sa'.", AuthError),
    ("", 'Cannot open database "x" requested by the login.', NotFoundError),
    ("42S02", "Invalid object name 't'.", NotFoundError),
    ("42000", "The SELECT permission was denied on the object 't'.", PrivilegeError),
    ("23000", "Violation of PRIMARY KEY constraint", RefusedRowsError),
    ("22001", "String or binary data would be truncated", RefusedRowsError),
    ("42000", "Lock request time out period exceeded.", BusyError),
    ("40001", "was deadlocked on lock resources", ConnectError),
    ("08S01", "TCP Provider: connection reset", ConnectError),
]


@pytest.mark.parametrize(("state", "text", "kind"), MEANT, ids=[kind.__name__ + state for state, _, kind in MEANT])
def test_errors_are_ours_and_hold_no_secret(
    place: Place, server: Played, state: str, text: str, kind: type[TongquError]
) -> None:
    server.fails = [("SCHEMA_NAME", PlayedError(f"{text} geheim", driver_error=state))]
    with place.source() as source, pytest.raises(kind) as caught:
        source.datasets(None)
    assert "geheim" not in str(caught.value) + caught.value.hint + caught.value.path


def test_settings_show_no_secret() -> None:
    settings = MssqlSettings.parse({"database": "plant", "password": "geheim"})
    assert "geheim" not in settings.identity() + settings.display() + repr(settings)
