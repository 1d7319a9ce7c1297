"""Oracle as its driver is told to speak to it: no server can be had, so answers are played and words are read."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from sqlglot import parse_one

from tongqu.connectors.oracle import connector
from tongqu.connectors.oracle.db import meaning
from tongqu.connectors.oracle.settings import from_url
from tongqu.core.data import Mode, Read, Split, WriteMode
from tongqu.core.errors import (
    AuthError,
    BusyError,
    ConnectError,
    NotFoundError,
    RefusedRowsError,
    TongquError,
    WriteError,
)
from tongqu.testing.conformance.place import Place, items
from tongqu.testing.dbapi import Played, PlayedDriver, PlayedError

COLUMNS = [
    ("id", "NUMBER(19,0)", 0, None, None, 0, None),
    ("v", "VARCHAR2(20 CHAR)", 1, None, None, 0, None),
]
URL = "oracle://plant:geheim@127.0.0.1:1521/XEPDB1"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Played:
    played = Played("oracle", COLUMNS)
    monkeypatch.setitem(sys.modules, "oracledb", PlayedDriver(played))
    return played


@pytest.fixture
def place(server: Played) -> Iterator[Place]:
    assert server.dialect
    yield Place(connector, URL)


def good(statements: list[str]) -> list[str]:
    """The statements, each of which sqlglot reads as Oracle's; blocks and session settings it need not know."""
    plain = [
        one for one in statements if not one.startswith(("(", "BEGIN", "ALTER SESSION", "SET ", "SAVE", "ROLLBACK"))
    ]
    for one in plain:
        parse_one(re.sub(r":(\d+)", r":p\1", one), read="oracle")
    return plain


def test_a_new_table_is_filled_under_another_name_and_renamed(place: Place, server: Played) -> None:
    assert place.fill(items([1, 2])).inserted == 2
    assert "items" in server.tables
    ((insert, rows),) = server.bound
    assert insert.endswith('("id", "v") VALUES (TO_NUMBER(:1), :2)')
    assert rows == [("1", "v1"), ("2", "v2")]
    made = next(one for one in good(server.said) if one.startswith("CREATE TABLE"))
    assert made.endswith('("id" NUMBER(19) NOT NULL, "v" CLOB, PRIMARY KEY ("id"))')


def test_an_existing_table_changes_all_its_rows_in_one_transaction(place: Place, server: Played) -> None:
    server.tables.add("items")
    server.answers.append((r"COUNT\(\*\)", [(2,)]))
    assert place.fill(items([1, 2])).inserted == 2
    said = server.said
    emptied = said.index('DELETE FROM "own"."items"')
    assert said[emptied + 1].startswith(
        'INSERT INTO "own"."items" ("id", "v") SELECT "id", "v" FROM "own"."_tongqu_stage_'
    )
    assert said[emptied + 2] == "(commit)"
    kept = [one for one in said[:emptied] if one.startswith('INSERT INTO "own"."_tongqu_previous_items')]
    assert len(kept) == 1, "the generation before is kept, in the same transaction"
    assert "(commit)" not in said[said.index(kept[0]) : emptied]


def test_upsert_merges_from_a_temporary_table_that_was_made_before(place: Place, server: Played) -> None:
    server.tables.add("items")
    server.answers.append((r"COUNT\(\*\), SUM", [(2, 1, 1)]))
    counts = place.change(items([1, 2]), run="run 1")
    assert (counts.inserted, counts.updated) == (1, 1)
    made = next(one for one in server.said if "CREATE GLOBAL TEMPORARY TABLE" in one)
    assert 'ON COMMIT DELETE ROWS AS SELECT "id", "v" FROM "own"."items" WHERE 1 = 0\'' in made
    assert "SQLCODE NOT IN (-955)" in made
    merge = next(one for one in good(server.said) if one.startswith("MERGE"))
    assert 'ON (t."id" = s."id") WHEN MATCHED THEN UPDATE SET "v" = s."v" WHERE CASE WHEN t."v" = s."v"' in merge
    assert merge.endswith('WHEN NOT MATCHED THEN INSERT ("id", "v") VALUES (s."id", s."v")')
    assert server.said.index(made) < next(
        n for n, one in enumerate(server.said) if 'DELETE FROM "own"."_tongqu_chunk' in one
    )


def test_history_updates_by_merge(place: Place, server: Played) -> None:
    zoned = "TIMESTAMP(6) WITH TIME ZONE"
    server.columns = [*COLUMNS, ("_valid_from", zoned, 0, None, None, 0, None),
                      ("_valid_to", zoned, 1, None, None, 0, None),
                      ("_current", "NUMBER(1,0)", 0, None, None, 0, None)]  # fmt: skip
    server.primary = ("id", "_valid_from")
    server.tables.add("items")
    server.answers.append((r"COUNT\(\*\), SUM", [(1, 0, 1)]))
    assert place.change(items([1]), run="run 1", mode=WriteMode.HISTORY).updated == 1
    at = "TIMESTAMP '2026-01-01 00:00:00.000000 +00:00'"
    ending = next(one for one in good(server.said) if '"_valid_to" = ' in one)
    assert ending.startswith('MERGE INTO "own"."items" t USING')
    assert f'WHEN MATCHED THEN UPDATE SET "_valid_to" = {at}, "_current" = 0 WHERE t."_current" = 1 AND' in ending


def test_empty_texts_of_the_ledger_are_marked(place: Place, server: Played) -> None:
    place.fill(items([1]))
    asked = next(one for one in server.said if "split = '\x1f'" in one or "split <> '\x1f'" in one)
    assert "''" not in asked


def test_an_empty_text_is_null_or_refused(server: Played) -> None:
    rows = pa.table({"id": pa.array([1, 2], pa.int64()), "v": ["", "x"]})
    taken = Place(connector, URL)
    assert taken.put([rows], taken.ask(rows, WriteMode.REPLACE)).inserted == 2
    strict = Place(connector, f"{URL}?empty_text=refuse")
    counts = strict.put([rows], strict.ask(rows, WriteMode.REPLACE, name="strict"))
    assert (counts.inserted, counts.quarantined) == (1, 1)
    assert [row["code"] for row in strict.quarantined()] == ["cast.invalid"]


def test_an_empty_key_is_refused(place: Place, server: Played) -> None:
    server.columns = [("id", "VARCHAR2(20 CHAR)", 0, None, None, 0, None), COLUMNS[1]]
    server.tables.add("items")
    server.answers.append((r"COUNT\(\*\), SUM", [(1, 1, 0)]))
    counts = place.change(pa.table({"id": ["", "a"], "v": ["", "x"]}), run="run 1")
    assert (counts.inserted, counts.quarantined) == (1, 1)


def test_a_character_that_the_database_has_not_is_quarantined(place: Place, server: Played) -> None:
    server.answers.append(("NLS_CHARACTERSET", [("ZHS16GBK",)]))
    rows = pa.table({"id": pa.array([1, 2], pa.int64()), "v": ["批号", "😀"]})
    counts = place.put([rows], place.ask(rows, WriteMode.REPLACE))
    assert (counts.inserted, counts.quarantined) == (1, 1)


def test_long_texts_are_bound_last_as_what_they_are(place: Place, server: Played) -> None:
    server.columns = [("v", "CLOB", 1, None, None, 0, None), ("id", "NUMBER(19,0)", 0, None, None, 0, None)]
    rows = pa.table({"v": ["x" * 5000], "id": pa.array([1], pa.int64())})
    place.put([rows], place.ask(rows, WriteMode.REPLACE))
    ((insert, bound),) = server.bound
    assert insert.endswith('("id", "v") VALUES (TO_NUMBER(:1), :2)')
    assert bound == [("1", "x" * 5000)]


def test_large_loads_go_by_direct_path_into_a_work_table(server: Played) -> None:
    place = Place(connector, f"{URL}?bulk_rows=2")
    place.fill(items([1, 2, 3]))
    ((table, rows),) = server.loaded
    assert table.startswith('"own"."_tongqu_work_')
    assert rows.num_rows == 3
    assert any(one.endswith(f'SELECT "id", "v" FROM {table}') for one in good(server.said))


def test_numbers_and_moments_come_in_their_types(place: Place, server: Played) -> None:
    server.tables.add("T")
    server.primary = ("ID",)
    server.columns = [
        ("ID", "NUMBER(9,0)", 0, None, None, 0, None), ("N", "NUMBER", 1, None, None, 0, None),
        ("D", "NUMBER(38,10)", 1, None, None, 0, None), ("DAY", "DATE", 1, None, None, 0, None),
        ("AT", "TIMESTAMP(6) WITH TIME ZONE", 1, None, None, 0, "Zeit"),
        ("NANO", "TIMESTAMP(9)", 1, None, None, 0, None),
    ]  # fmt: skip
    server.arrow = [pa.record_batch({
        "ID": pa.array([Decimal(7)], pa.decimal128(9, 0)), "N": ["0.1"],
        "D": pa.array([Decimal("1.5")], pa.decimal128(38, 10)), "DAY": pa.array([datetime(2026, 1, 2, 3, 4, 5)]),  # noqa: DTZ001
        "AT": pa.array([datetime(2026, 1, 1, 8)], pa.timestamp("us")),  # noqa: DTZ001
        "NANO": ["2026-01-01 00:00:00.123456"],
    })]  # fmt: skip
    with place.source() as source:
        (found,) = source.datasets(["T"])
        (batch,) = source.read(Read(found, Split("0", "T")))
    assert batch.rows.schema.equals(found.schema)
    assert batch.rows.to_pylist()[0]["AT"] == datetime(2026, 1, 1, 8, tzinfo=UTC)
    query = next(one for one in good(server.said) if "SYS_EXTRACT_UTC" in one)
    assert "TO_CHAR(\"N\", 'TM9')" in query
    assert "TO_CHAR(\"NANO\", 'YYYY-MM-DD HH24:MI:SS.FF6')" in query


def test_increments_stay_below_the_oldest_transaction(place: Place, server: Played) -> None:
    server.tables.add("T")
    server.primary = ("ID",)
    server.columns = [("ID", "NUMBER(9,0)", 0, None, None, 0, None), ("AT", "TIMESTAMP(6)", 0, None, None, 0, None)]
    server.answers += [
        ("v.transaction", [(30,)]),
        ('"AT" IS NULL', [(0,)]),
        (r'MAX\("AT"\)', [("2026-01-01 00:00:00.000000000",)]),
    ]
    with place.source() as source:
        (found,) = source.datasets(["T"])
        until = source.horizon(found, "AT", None)
        assert until == {"cursor": ["2026-01-01 00:00:00.000000000"]}
        split = Split("0", "T", {"after": None, "until": until})
        list(source.read(Read(found, split, mode=Mode.INCREMENTAL, cursor="AT")))
    held = next(one for one in good(server.said) if "NUMTODSINTERVAL" in one)
    assert "\"AT\" <= CAST((SYSTIMESTAMP - NUMTODSINTERVAL(32, 'SECOND')) AT TIME ZONE 'UTC' AS timestamp)" in held


MEANT: list[tuple[int, str, type[TongquError]]] = [
    (1017, "ORA-01017: invalid credential", AuthError),
    (942, "ORA-00942: table or view does not exist", NotFoundError),
    (1, "ORA-00001: unique constraint violated", RefusedRowsError),
    (12899, "ORA-12899: value too large for column", RefusedRowsError),
    (20000, "ORA-20000: the weight is negative", RefusedRowsError),
    (20999, "ORA-20999: refused by a trigger", RefusedRowsError),
    (54, "ORA-00054: resource busy", BusyError),
    (1653, "ORA-01653: unable to extend table", WriteError),
    (3113, "ORA-03113: end-of-file on communication channel", ConnectError),
    (0, "DPY-6005: cannot connect to database", ConnectError),
]


@pytest.mark.parametrize(("code", "text", "kind"), MEANT, ids=[str(code) for code, _, _ in MEANT])
def test_numbers_of_errors_are_understood(code: int, text: str, kind: type[TongquError]) -> None:
    assert type(meaning(code, text, "oracle://…", reading=False)) is kind


def test_a_broken_connection_is_told_by_its_number(place: Place, server: Played) -> None:
    server.fails = [("all_objects", PlayedError("ORA-03113: end-of-file", code=3113))]
    with place.source() as source, pytest.raises(ConnectError, match="03113"):
        source.datasets(None)


def test_tls_is_asked_for_by_name(server: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = from_url(f"{URL}?tls=verify")
    with Place(connector, URL).source(settings) as source:
        source.datasets(None)
    assert server.connections[0]["protocol"] == "tcps"
    assert server.connections[0]["ssl_server_dn_match"] is True
    assert monkeypatch is not None
