"""SQL Server's changes as they are followed: no server can be had, so a played one answers as the reference says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from sqlglot import parse_one

from tongqu.connectors.mssql import connector
from tongqu.connectors.mssql.settings import from_url
from tongqu.core.connector import Source
from tongqu.core.data import Batch, Dataset, Position
from tongqu.core.errors import ConnectError, InvalidPlanError, LostPositionError, NotFoundError, ReadError, SchemaError
from tongqu.core.log import AT, OP, Follow, Log
from tongqu.testing.changing_server import Change, ChangingDriver, ChangingServer
from tongqu.testing.command_line import inside
from tongqu.testing.conformance.following import LogChecks
from tongqu.testing.dbapi import PlayedError

COLUMNS = [("id", "bigint"), ("v", "nvarchar(20)")]


def put(table: str, key: int, text: str) -> Change:
    return table, "insert", {}, {"id": key, "v": text}


def set_to(table: str, key: int, **new: Any) -> Change:
    return table, "update", {"id": key}, new


def gone(table: str, key: int) -> Change:
    return table, "delete", {"id": key}, {}


@dataclass
class Plant:
    """A played server, which is followed one way or the other."""

    server: ChangingServer
    changes: str = "auto"

    @contextmanager
    def source(self) -> Iterator[Source]:
        settings = from_url(f"mssql://sa:geheim@127.0.0.1:1433/plant?tls=disable&changes={self.changes}")
        assert connector.source is not None
        made = connector.source(settings)
        try:
            yield made
        finally:
            made.close()

    def dataset(self, source: Source, name: str = "items") -> Dataset:
        (found,) = source.datasets([name])
        return found

    @contextmanager
    def log(self, *names: str) -> Iterator[Log]:
        with self.source() as source:
            log = source.log("sync", [self.dataset(source, name) for name in names or ("items",)])
            try:
                yield log
            finally:
                log.close()

    # ---- what the conformance kit does to a place

    def fill(self, rows: pa.Table) -> None:
        self.server.create("items", COLUMNS, rows.to_pylist())
        if self.changes == "tables":
            self.server.enable("items")
        else:
            self.server.track("items")

    def change(self, rows: pa.Table, *, run: str) -> None:
        assert run
        self.server.commit(*(put("items", row["id"], row["v"]) for row in rows.to_pylist()))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChangingServer]:
    played = ChangingServer()
    monkeypatch.setitem(sys.modules, "mssql_python", ChangingDriver(played))
    monkeypatch.setitem(sys.modules, "mssql_python.exceptions", ChangingDriver(played))
    yield played
    played.shut()


def rows_of(batches: list[Batch]) -> list[tuple[Any, ...]]:
    """What the batches tell: what happened, and the values."""
    return [
        (row[OP], *(value for name, value in row.items() if not name.startswith("_")))
        for batch in batches
        if batch.kind == "rows"
        for row in batch.rows.to_pylist()
    ]


def upto_now(log: Log, after: Position, **more: Any) -> list[Batch]:
    return list(log.read(replace(Follow(after, until=log.head()), **more)))


class _Played(LogChecks):
    """The promises of a log, without what a played server has not."""

    lost = staticmethod(lambda position: {**position, "database": "another"})
    changes = True
    test_an_emptied_table_is_told = None  # type: ignore[assignment]  # TRUNCATE: refused, or the position is lost

    def _run(self, place: Any, statement: str) -> None:
        server: ChangingServer = place.server
        if statement.startswith("UPDATE"):
            server.commit(set_to("items", 1, id=99))
        elif statement.startswith("ALTER"):
            server.alter("items", "w", "int")
            server.enable("items", "own_items_2")
        else:
            server.commit(("items", "insert", {}, {"id": 98, "v": "new", "w": 7}))


class TestChangeTables(_Played):
    """Change tables keep the promises of a log."""

    @pytest.fixture
    def place(self, server: ChangingServer) -> Plant:
        return Plant(server, "tables")


class TestChangeTracking(_Played):
    """Change tracking keeps them too."""

    @pytest.fixture
    def place(self, server: ChangingServer) -> Plant:
        return Plant(server, "tracking")

    test_a_new_column_is_told_before_its_rows = None  # type: ignore[assignment]  # what is read back has it at once


# ---- change tables


@pytest.fixture
def captured(server: ChangingServer) -> Plant:
    """Two tables with change tables."""
    server.create("items", COLUMNS, [{"id": 1, "v": "one"}])
    server.create("lines", COLUMNS)
    server.enable("items")
    server.enable("lines")
    return Plant(server)


def test_tables_are_merged_in_the_order_of_the_log_and_transactions_stay_whole(captured: Plant) -> None:
    with captured.log("items", "lines") as log:
        after = log.begin()
        captured.server.commit(
            put("items", 2, "two"), put("lines", 20, "a"), put("lines", 21, "b"), set_to("items", 2, v="zwei")
        )
        captured.server.commit(gone("items", 1))
        found = upto_now(log, after)
    assert [(batch.dataset, *row) for batch in found for row in rows_of([batch])] == [
        ("items", "c", 2, "two"), ("lines", "c", 20, "a"), ("lines", "c", 21, "b"), ("items", "u", 2, "zwei"),
        ("items", "d", 1, "one"),
    ]  # fmt: skip
    assert [batch.position is not None for batch in found] == [False, False, True]
    assert str(found[0].rows.column(AT)[0]) == "2026-03-01 08:00:03+00:00", "the server's clock is 8 hours ahead"


def test_a_window_too_large_to_be_kept_comes_table_by_table(captured: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tongqu.connectors.mssql.log.tables._MOST", 3)
    with captured.log("items", "lines") as log:
        after = log.begin()
        captured.server.commit(*(put(table, key, "x") for key in range(10, 14) for table in ("items", "lines")))
        found = upto_now(log, after, batch_rows=2)
    told = [(batch.dataset, row[1]) for batch in found for row in rows_of([batch])]
    assert told == [(table, key) for table in ("items", "lines") for key in range(10, 14)]
    assert [batch.position is not None for batch in found] == [False] * (len(found) - 1) + [True]


def test_a_window_is_left_when_it_is_to_stop(captured: Plant) -> None:
    stop = Event()
    with captured.log() as log:
        after = log.begin()
        captured.server.commit(*(put("items", key, "x") for key in range(10, 20)))
        found = []
        for batch in log.read(Follow(after, batch_rows=2, stop=stop)):
            found.append(batch)
            stop.set()
    assert [(batch.rows.num_rows, batch.position) for batch in found] == [(2, None)]


def test_windows_fit_to_what_transactions_hold(captured: Plant) -> None:
    with captured.log() as log:
        after = log.begin()
        for key in range(10, 610):
            captured.server.commit(put("items", key, "x"))
        found = upto_now(log, after, batch_rows=100)
    assert [row[1] for row in rows_of(found)] == list(range(10, 610))
    cuts = [sum(b.rows.num_rows for b in found[: at + 1]) for at, batch in enumerate(found) if batch.position]
    assert cuts == [256, 384, 448, 512, 576, 600], "half as many transactions after one that is too large"


def test_transactions_of_others_move_the_position_so_that_cleanup_does_not_lose_it(captured: Plant) -> None:
    with captured.log("items") as log:
        after = log.begin()
        captured.server.commit(put("lines", 20, "a"))
        (beat,) = upto_now(log, after)
        assert beat.kind == "heartbeat"
        captured.server.clean()
        captured.server.commit(put("items", 3, "three"))
        assert beat.position is not None
        assert rows_of(upto_now(log, beat.position)) == [("c", 3, "three")]
        with pytest.raises(LostPositionError, match="change table of 'items' begins") as told:
            upto_now(log, after)
    assert "--restart" in told.value.hint


def test_what_is_cleaned_up_while_it_is_read_is_lost_and_not_skipped(captured: Plant) -> None:
    with captured.log() as log:
        after = log.begin()
        captured.server.commit(put("items", 2, "two"))
        refused = "An insufficient number of arguments were supplied for the procedure or function cdc.fn_cdc_get_all_"
        captured.server.fails = [("fn_cdc_get_all_changes", PlayedError(refused, driver_error="42000"))]
        with pytest.raises(LostPositionError, match="cleaned up while"):
            upto_now(log, after)
        captured.server.fails = [
            ("fn_cdc_get_all", PlayedError("Snapshot isolation transaction failed in database", driver_error="42000"))
        ]
        with pytest.raises(ConnectError, match="altered meanwhile"):
            upto_now(log, after)
        assert rows_of(upto_now(log, after)) == [("c", 2, "two")]


def test_a_restored_database_and_a_table_captured_anew_are_told(captured: Plant) -> None:
    with captured.log() as log:
        after = log.begin()
        captured.server.commit(put("items", 2, "two"))
        with pytest.raises(LostPositionError, match="restored"):
            upto_now(log, {**after, "lsn": "f" * 20})
        captured.server.captured.pop(0)
        captured.server.enable("items")
        captured.server.commit(put("items", 3, "three"))
        with pytest.raises(LostPositionError):
            upto_now(log, after)


def test_a_second_capture_instance_takes_over_and_rows_changed_before_it_are_read_again(captured: Plant) -> None:
    server = captured.server
    with captured.log() as log:
        after = log.begin()
        server.commit(put("items", 2, "two"))
        server.alter("items", "w", "int")
        server.commit(set_to("items", 1, w=10), set_to("items", 1, v="uno"))  # the change table has no column w
        server.enable("items", "own_items_2")
        server.commit(("items", "insert", {}, {"id": 3, "v": "three", "w": 30}))
        found = upto_now(log, after)
        kinds = [batch.kind for batch in found if batch.kind != "heartbeat"]
        assert kinds == ["rows", "schema", "rows", "rows"]
        assert rows_of(found) == [
            ("c", 2, "two"), ("u", 1, "one"), ("u", 1, "uno"), ("r", 1, "uno", 10), ("c", 3, "three", 30),
        ]  # fmt: skip
        cut = next(batch.position for batch in found if batch.rows.num_rows and batch.rows.column(OP)[0].as_py() == "r")
        assert cut is not None
        again = [batch for batch in upto_now(log, cut) if batch.kind != "heartbeat"]
        assert [batch.kind for batch in again] == ["schema", "rows", "rows"], "they come again after a crash"
    with captured.log() as log:  # a new process knows the new column, and begins in the old change table
        told = [batch.rows.schema.names for batch in upto_now(log, after) if batch.kind == "schema"]
        assert told == [["id", "v"], ["id", "v", "w"]]


def test_what_a_change_table_does_not_tell_is_refused_before_anything_is_read(captured: Plant) -> None:
    captured.server.alter("items", "w", "int")
    with captured.log() as log, pytest.raises(SchemaError, match="does not tell w"):
        log.begin()


def test_the_first_position_is_not_behind_what_the_capture_job_has_still_to_write(captured: Plant) -> None:
    captured.server.capture = False
    captured.server.commit(put("items", 2, "two"))
    with captured.log() as log:
        after = log.begin()
        captured.server.run_capture()
        assert rows_of(upto_now(log, after)) == [("c", 2, "two")]


def test_a_capture_job_that_stands_still_is_told(server: ChangingServer) -> None:
    server.create("items", COLUMNS)
    server.capture = False
    server.enable("items")
    with Plant(server, "tables").log() as log, pytest.raises(ReadError, match="never run"):
        log.begin()
    with Plant(server, "tables").log() as log:
        server.create("other", COLUMNS)
        server.mapping = {5: server._clock}
        with pytest.raises(NotFoundError, match="not come to 'items' yet"):
            log.begin()


def test_how_far_it_is_behind(captured: Plant) -> None:
    with captured.log() as log:
        after = log.begin()
        assert log.lag(after).seconds == 0.0
        captured.server.commit(put("items", 2, "two"))
        behind = log.lag(after)
    assert behind.seconds is not None
    assert behind.seconds > 0
    assert behind.until_loss is not None
    assert behind.until_loss <= 4320 * 60


# ---- change tracking


@pytest.fixture
def tracked(server: ChangingServer) -> Plant:
    server.create("items", COLUMNS, [{"id": 1, "v": "one"}])
    server.track("items")
    return Plant(server)


def test_of_each_key_the_last_change_comes_with_the_row_as_it_is(tracked: Plant) -> None:
    with tracked.log() as log:
        after = log.begin()
        tracked.server.commit(put("items", 2, "two"), set_to("items", 1, v="x"))
        tracked.server.commit(set_to("items", 1, v="uno"))
        tracked.server.commit(put("items", 3, "three"))
        tracked.server.commit(gone("items", 2))
        found = upto_now(log, after)
    assert rows_of(found) == [("u", 1, "uno"), ("c", 3, "three"), ("d", 2, None)]
    assert found[-1].position == {**after, "version": 4}


def test_a_version_that_was_cleaned_up_is_lost(tracked: Plant) -> None:
    with tracked.log() as log:
        after = log.begin()
        tracked.server.commit(gone("items", 1))
        tracked.server.clean()
        with pytest.raises(LostPositionError, match="kept from version 1 on, we are at 0") as told:
            upto_now(log, after)
        assert "--restart" in told.value.hint
        with pytest.raises(LostPositionError, match="another database"):
            upto_now(log, {**after, "version": 9})


def test_tracking_wants_snapshots_and_says_how(tracked: Plant) -> None:
    tracked.server.snapshots = False
    with tracked.log() as log, pytest.raises(InvalidPlanError) as told:
        log.begin()
    assert told.value.hint == "ALTER DATABASE [plant] SET ALLOW_SNAPSHOT_ISOLATION ON"


# ---- which way


def test_auto_prefers_change_tables_and_a_position_keeps_its_way(tracked: Plant) -> None:
    with tracked.log() as log:
        by_version = log.begin()
    assert by_version["way"] == "tracking"
    tracked.server.enable("items")
    with tracked.log() as log:
        assert log.begin()["way"] == "tables"
    with tracked.log() as log:
        assert upto_now(log, by_version) == [], "what is stored goes on as it began"
    with Plant(tracked.server, "tables").log() as log, pytest.raises(LostPositionError, match="changes: tables is set"):
        upto_now(log, by_version)


# ---- the doctor


def findings(plant: Plant) -> dict[str, tuple[str, str]]:
    with plant.log() as log:
        found = log.examine()
    for one in found:
        for statement in one.fix.partition("; then")[0].split("; "):
            if statement.startswith(("ALTER", "EXEC", "GRANT")) and "…" not in statement:
                parse_one(statement, read="tsql")
    return {one.what: (one.state, one.fix) for one in found}


def test_the_doctor_has_the_statement_for_everything_that_change_tables_lack(server: ChangingServer) -> None:
    server.create("items", [("id", "bigint"), ("v", "nvarchar(max)")])
    plant = Plant(server)
    assert findings(plant)["cdc_enabled"] == ("error", "EXEC sys.sp_cdc_enable_db")
    server.captures, server.snapshots = True, False
    found = findings(plant)
    enabling = "@source_schema = N'own', @source_name = N'items'"
    assert found["change_table items"] == (
        "error", f"EXEC sys.sp_cdc_enable_table {enabling}, @role_name = NULL, @supports_net_changes = 0",
    )  # fmt: skip
    assert found["snapshot_isolation"] == ("warning", "ALTER DATABASE [plant] SET ALLOW_SNAPSHOT_ISOLATION ON")
    assert found["max_text_repl_size"][1] == "EXEC sp_configure 'max text repl size', -1; RECONFIGURE"
    assert found["capture_interval"][0] == "warning"
    assert "@pollinginterval = 1" in found["capture_interval"][1]
    server.enable("items")
    server.alter("items", "w", "int")
    server.agent, server.retention = "Stopped", 60
    found = findings(plant)
    assert found["agent"][0] == "error"
    assert found["retention"] == ("warning", "EXEC sys.sp_cdc_change_job @job_type = N'cleanup', @retention = 10080")
    assert found["change_table items"][0] == "ok"
    assert found["columns items"][1].startswith(
        f"EXEC sys.sp_cdc_enable_table {enabling}, @capture_instance = N'own_items_2'"
    )
    server.enable("items", "own_items_2", ["id", "v"])
    assert findings(plant)["columns items"][1].startswith(
        f"EXEC sys.sp_cdc_disable_table {enabling}, @capture_instance = N'own_items'; EXEC sys.sp_cdc_enable_table"
    )


def test_the_doctor_is_asked_by_the_command_line(server: ChangingServer, tmp_path: Path) -> None:
    server.create("items", COLUMNS)
    url = "mssql://sa:geheim@127.0.0.1:1433/plant?tls=disable"
    asked = ("cdc", "doctor", url, "--table", "items", "--json")
    ill = inside(tmp_path, *asked)
    assert ill.code == 3, ill.out + ill.err
    assert "EXEC sys.sp_cdc_enable_db" in ill.out
    assert "geheim" not in ill.out
    server.enable("items")
    well = inside(tmp_path, *asked)
    assert well.code == 0, well.out + well.err


def test_the_doctor_says_what_this_login_may_not_see(captured: Plant) -> None:
    denied = PlayedError("VIEW SERVER STATE permission was denied on object 'server'", driver_error="42000")
    captured.server.fails = [("dm_server_services", denied)]
    assert findings(captured)["agent"] == ("warning", "USE master; GRANT VIEW SERVER STATE TO [reader]")


def test_the_doctor_has_the_statement_for_everything_that_tracking_lacks(server: ChangingServer) -> None:
    server.create("items", COLUMNS)
    plant = Plant(server, "tracking")
    on = "ALTER DATABASE [plant] SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 7 DAYS, AUTO_CLEANUP = ON)"
    assert findings(plant)["change_tracking"] == ("error", on)
    server.tracks = True
    assert findings(plant)["tracked items"] == ("error", "ALTER TABLE [own].[items] ENABLE CHANGE_TRACKING")
    server.allowed = False
    grant = "GRANT VIEW CHANGE TRACKING ON [own].[items] TO [reader]"
    assert findings(plant)["tracked items"] == ("error", grant)
    server.allowed = True
    server.track("items")
    assert {state for state, _ in findings(plant).values()} == {"ok"}


# ---- from end to end


@pytest.mark.parametrize("changes", ["tables", "tracking"])
def test_a_table_is_loaded_and_then_followed_without_a_gap(
    server: ChangingServer, tmp_path: Path, changes: str
) -> None:
    plant = Plant(server, changes)
    plant.fill(pa.table({"id": [1, 2, 3], "v": ["one", "two", "three"]}))
    url = f"mssql://sa:geheim@127.0.0.1:1433/plant?tls=disable&changes={changes}"
    command = ("sync", url, "duckdb:lake.duckdb", "--mode", "cdc", "--table", "items", "--until-caught-up", "--json")

    def synced() -> list[tuple[Any, ...]]:
        done = inside(tmp_path, *command)
        assert done.code == 0, done.out + done.err
        with duckdb.connect(str(tmp_path / "lake.duckdb")) as lake:
            return lake.sql("SELECT id, v FROM items ORDER BY id").fetchall()

    server.capture = False  # what the capture job has still to write is in the first load and comes again
    server.commit(put("items", 4, "four"))
    server.capture = True
    assert synced() == [(1, "one"), (2, "two"), (3, "three"), (4, "four")]
    server.commit(set_to("items", 1, v="uno"), gone("items", 2), set_to("items", 3, id=33))
    assert synced() == [(1, "uno"), (4, "four"), (33, "three")]
    server.clean()
    server.commit(put("items", 5, "five"))
    assert (5, "five") in synced(), "what was read already may be cleaned up"
    server.commit(put("items", 6, "six"))
    server.clean()
    server.commit(put("items", 7, "seven"))
    lost = inside(tmp_path, *command)
    assert lost.code != 0
    assert "connector.lost_position" in lost.out
    again = inside(tmp_path, *command, "--restart")
    assert again.code == 0, again.out


@pytest.mark.parametrize("changes", ["tables", "tracking"])
def test_a_table_whose_changes_are_switched_off_is_lost_alone_and_joins_again(
    server: ChangingServer, changes: str
) -> None:
    plant = Plant(server, changes)
    for name in ("items", "lines"):
        server.create(name, COLUMNS)
        server.enable(name) if changes == "tables" else server.track(name)
    lost: list[tuple[str, int]] = []
    with plant.log("items", "lines") as log:
        after = log.begin()
        server.commit(put("items", 2, "two"), put("lines", 2, "two"))
        rows: list[tuple[Any, ...]] = []
        reading = log.read(Follow(after, until=None, lost=lambda name, _: lost.append((name, len(rows)))))
        for batch in reading:
            rows += [(batch.dataset, *row) for row in rows_of([batch])]
            if len(rows) == 2 and not lost:
                server.captured, server.held["lines"].since = server.captured[:1], None
                server.commit(put("items", 3, "three"), put("lines", 3, "unseen"))
            if len(rows) == 3:
                break
        reading.close()  # type: ignore[attr-defined]  # it is a generator
        assert sorted(rows) == [("items", "c", 2, "two"), ("items", "c", 3, "three"), ("lines", "c", 2, "two")]
        assert lost == [("lines", 2)]
        with pytest.raises(NotFoundError):
            log.rejoin("lines")
        server.enable("lines", "own_lines_2") if changes == "tables" else server.track("lines")
        place = log.rejoin("lines")
        server.commit(put("lines", 4, "four"))
        assert rows_of(upto_now(log, place)) == [("c", 4, "four")]
