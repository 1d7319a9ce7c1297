"""Oracle's redo as it is followed: no server can be had, so a played one answers as the documentation says."""

from __future__ import annotations

import re
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

from tongqu.connectors.oracle import connector
from tongqu.connectors.oracle.settings import from_url
from tongqu.core.connector import Source
from tongqu.core.data import Batch, Dataset, Position, Read
from tongqu.core.errors import BusyError, ConnectError, InvalidPlanError, LostPositionError, SchemaError
from tongqu.core.log import AT, OP, Follow, Log
from tongqu.testing.command_line import inside
from tongqu.testing.conformance.following import LogChecks
from tongqu.testing.dbapi import PlayedError
from tongqu.testing.mined_server import MinedDriver, MinedServer

COLUMNS = [("id", "NUMBER(18,0)"), ("v", "VARCHAR2(20 CHAR)")]
URL = "oracle://etl:geheim@127.0.0.1:1521/PLANT"


@dataclass
class Plant:
    """A played server, which is followed."""

    server: MinedServer
    settle: float = 0.0

    @property
    def url(self) -> str:
        return f"{URL}?settle_seconds={self.settle}"

    @contextmanager
    def source(self) -> Iterator[Source]:
        assert connector.source is not None
        made = connector.source(from_url(self.url))
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

    def change(self, rows: pa.Table, *, run: str) -> None:
        assert run
        self.server.commit(*(("items", "insert", None, row) for row in rows.to_pylist()))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> MinedServer:
    return played(monkeypatch)


def played(monkeypatch: pytest.MonkeyPatch, threads: int = 1) -> MinedServer:
    made = MinedServer(threads)
    monkeypatch.setitem(sys.modules, "oracledb", MinedDriver(made))
    return made


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


def place_of(batches: list[Batch]) -> Position:
    return [batch.position for batch in batches if batch.position is not None][-1]


class TestOracleLog(LogChecks):
    """The redo keeps the promises of a log, from a server that is played."""

    lost = staticmethod(lambda position: {**position, "database": "1/1"})
    changes = True

    @pytest.fixture
    def place(self, server: MinedServer) -> Plant:
        return Plant(server)

    def _run(self, place: Any, statement: str) -> None:
        server: MinedServer = place.server
        if statement.startswith("UPDATE"):
            server.commit(("items", "update", 1, {"id": 99}))
        elif statement.startswith("TRUNCATE"):
            server.truncate("items")
        elif statement.startswith("ALTER"):
            with place.log() as log:
                list(log.read(Follow(log.begin(), until=log.head())))
            server.alter("items", "w", "NUMBER(9,0)")
        else:
            server.commit(("items", "insert", None, {"id": 98, "v": "new", "w": 7}))

    def test_a_new_column_is_told_before_its_rows(self, place: Any) -> None:
        """What was changed before the ALTER is read before it, since LogMiner tells it by the columns of today."""
        with self._followed(place) as (log, after):
            self._add(place, 0)
            found = [b for b in log.read(Follow(after, until=log.head())) if b.kind != "heartbeat"]
            assert found[-1].position is not None
            place.server.alter("items", "w", "NUMBER(9,0)")
            self._run(place, "INSERT")
            found += [b for b in log.read(Follow(place_of(found), until=log.head())) if b.kind != "heartbeat"]
            assert [batch.kind for batch in found] == ["rows", "schema", "rows"]
            assert found[1].rows.schema.names == ["id", "v", "w"]
            assert [(row["id"], row["w"]) for row in self._rows(found[1:])] == [(98, 7)]


# ---- transactions


@pytest.fixture
def plant(server: MinedServer) -> Plant:
    """Two tables."""
    server.create("items", COLUMNS, [{"id": 1, "v": "one"}])
    server.create("lines", COLUMNS)
    return Plant(server)


def test_transactions_come_whole_and_in_the_order_of_their_commits(plant: Plant) -> None:
    server = plant.server
    with plant.log("items", "lines") as log:
        after = log.begin()
        early, late = server.begin(), server.begin()
        early.insert("items", {"id": 2, "v": "two"})
        late.insert("lines", {"id": 20, "v": "a"})
        early.update("items", 2, v="it's")
        late.delete("items", 1)
        late.commit()
        early.commit()
        found = upto_now(log, after)
    assert [(batch.dataset, *row) for batch in found for row in rows_of([batch])] == [
        ("lines", "c", 20, "a"), ("items", "d", 1, "one"), ("items", "c", 2, "two"), ("items", "u", 2, "it's"),
    ]  # fmt: skip
    assert str(found[0].rows.column(AT)[0]).endswith("+00:00")
    assert str(found[0].rows.column(AT)[0]).startswith("2026-03-01 08:00"), "the server's clock is 8 hours ahead"


def test_what_is_rolled_back_whole_or_to_a_savepoint_is_not_told(plant: Plant) -> None:
    server = plant.server
    with plant.log() as log:
        after = log.begin()
        one, gone = server.begin(), server.begin()
        one.insert("items", {"id": 2, "v": "two"})
        savepoint = one.savepoint()
        one.update("items", 2, v="zwei")
        one.update("items", 2, v="deux")
        one.delete("items", 1)
        gone.insert("items", {"id": 7, "v": "never"})
        between = upto_now(log, after)  # the window ends inside of both
        one.rollback_to(savepoint)
        one.update("items", 1, v="uno")
        gone.rollback()
        one.commit()
        assert rows_of(between) == []
        assert rows_of(upto_now(log, after)) == [("c", 2, "two"), ("u", 1, "uno")]
        assert rows_of(upto_now(log, place_of(between))) == [("c", 2, "two"), ("u", 1, "uno")]


def test_mining_goes_on_at_the_oldest_open_transaction_and_no_commit_is_told_twice(plant: Plant) -> None:
    server = plant.server
    with plant.log() as log:
        after = log.begin()
        long = server.begin()
        long.insert("items", {"id": 5, "v": "long"})
        begun = server.redo[-1].scn
        for key in range(10, 14):
            server.commit(("items", "insert", None, {"id": key, "v": "short"}))
        first = upto_now(log, after)
        place = place_of(first)
        assert place["scn"] == begun
        assert place["upto"] > begun
        long.commit()
        rest = upto_now(log, place)
        assert rows_of(rest) == [("c", 5, "long")]
        assert rows_of(upto_now(log, place_of(rest))) == []


def test_it_ends_exactly_at_another_place(plant: Plant) -> None:
    server = plant.server
    with plant.log() as log:
        after = log.begin()
        for key in range(10, 13):
            server.commit(("items", "insert", None, {"id": key, "v": "x"}))
        places = [place_of(upto_now(log, after))]
        for key in range(13, 16):
            server.commit(("items", "insert", None, {"id": key, "v": "x"}))
            places.append(place_of(upto_now(log, places[-1])))
        for number, place in enumerate(places):
            found = list(log.read(Follow(after, until=place)))
            assert [row[1] for row in rows_of(found)] == list(range(10, 13 + number))
            assert log.reached(place_of(found), place)
            assert [log.reached(place_of(found), each) for each in places[number + 1 :]] == [False] * (3 - number)


def test_a_transaction_that_was_open_when_the_log_began_is_told_and_its_rows_are_not_in_the_load(plant: Plant) -> None:
    server = plant.server
    one, done = server.begin(), server.begin()
    one.insert("items", {"id": 2, "v": "two"})
    done.insert("items", {"id": 3, "v": "three"})
    done.commit()
    with plant.source() as source:
        log = source.log("sync", [plant.dataset(source)])
        after = log.begin()
        snapshot = log.snapshot()
        assert snapshot is not None
        assert log.snapshot() is None
        server.commit(("items", "update", 1, {"v": "later"}))
        one.commit()
        dataset = plant.dataset(snapshot)
        (split,) = snapshot.splits(dataset, 1)
        loaded = [row for batch in snapshot.read(Read(dataset, split)) for row in batch.rows.to_pylist()]
        assert sorted((row["id"], row["v"]) for row in loaded) == [(1, "one"), (3, "three")]
        assert rows_of(upto_now(log, after)) == [("u", 1, "later"), ("c", 2, "two")]
        snapshot.close()
        log.close()


def test_transactions_too_large_for_memory_wait_on_disk(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tongqu.connectors.oracle.log.reading.MOST", 2_000)
    server = plant.server
    with plant.log() as log:
        after = log.begin()
        one = server.begin()
        for key in range(10, 60):
            one.insert("items", {"id": key, "v": "x"})
        savepoint = one.savepoint()
        for key in range(10, 30):
            one.update("items", key, v="y")
        one.rollback_to(savepoint)
        one.delete("items", 10)
        one.commit()
        found = upto_now(log, after, batch_rows=8)
    assert rows_of(found) == [*(("c", key, "x") for key in range(10, 60)), ("d", 10, "x")]
    assert max(batch.rows.num_rows for batch in found) == 8
    assert [batch.position is not None for batch in found if batch.rows.num_rows] == [False] * 6 + [True]


def test_sql_in_several_rows_is_one_statement(plant: Plant) -> None:
    plant.server.piece = 7
    with plant.log() as log:
        after = log.begin()
        plant.server.commit(("items", "update", 1, {"v": 'it\'s ; "long"\n'}))
        assert rows_of(upto_now(log, after)) == [("u", 1, 'it\'s ; "long"\n')]


def test_it_is_left_when_it_is_to_stop(plant: Plant) -> None:
    stop = Event()
    with plant.log() as log:
        after = log.begin()
        plant.server.commit(*(("items", "insert", None, {"id": key, "v": "x"}) for key in range(10, 20)))
        found = []
        for batch in log.read(Follow(after, batch_rows=2, stop=stop)):
            found.append(batch)
            stop.set()
    assert [(batch.rows.num_rows, batch.position) for batch in found] == [(2, None)]


# ---- several threads


def test_a_thread_that_has_not_written_its_redo_yet_holds_the_others_back(monkeypatch: pytest.MonkeyPatch) -> None:
    server = played(monkeypatch, threads=2)
    server.create("items", COLUMNS, [{"id": 1, "v": "one"}])
    plant = Plant(server, settle=3_600.0)
    stop = Event()
    with plant.log() as log:
        after = log.begin()
        server.waiting = {2}
        server.commit(("items", "update", 1, {"v": "first"}), thread=2)
        server.commit(("items", "update", 1, {"v": "second"}), thread=1)
        beats = 0
        found: list[Batch] = []
        for batch in log.read(Follow(after, stop=stop)):
            found.append(batch)
            beats += batch.kind == "heartbeat"
            if beats == 2 and server.waiting:  # nothing is told while thread 2 may have something older
                assert rows_of(found) == []
                server.flush(2)
                server.commit(("items", "insert", None, {"id": 2, "v": "x"}), thread=1)
                server.commit(("items", "insert", None, {"id": 3, "v": "x"}), thread=2)
            if len(rows_of(found)) >= 3:
                stop.set()
    assert rows_of(found)[:3] == [("u", 1, "first"), ("u", 1, "second"), ("c", 2, "x")]


def test_commits_are_remembered_for_each_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    server = played(monkeypatch, threads=2)
    server.create("items", COLUMNS)
    plant = Plant(server)
    with plant.log() as log:
        after = log.begin()
        held = server.begin(2)
        held.insert("items", {"id": 99, "v": "held"})
        for key in range(6):
            server.commit(("items", "insert", None, {"id": key, "v": "x"}), thread=1 + key % 2)
        found = upto_now(log, after)
        place = place_of(found)
        assert set(place["threads"]) == {"1", "2"}
        held.commit()
        assert rows_of(upto_now(log, place)) == [("c", 99, "held")]
        server.closed = {2}
        server.commit(("items", "insert", None, {"id": 7, "v": "alone"}), thread=1)
        assert rows_of(upto_now(log, place)) == [("c", 99, "held"), ("c", 7, "alone")]


# ---- logs


def test_logs_are_switched_archived_and_read_where_they_are(plant: Plant) -> None:
    server = plant.server
    with plant.log() as log:
        after = log.begin()
        for key in range(10, 20):
            server.commit(("items", "insert", None, {"id": key, "v": "x"}))
            server.switch()
        server.commit(("items", "delete", 10, {}))
        found = upto_now(log, after)
    assert [row[1] for row in rows_of(found)] == [*range(10, 20), 10]
    added = [one for one in server.said if "ADD_LOGFILE" in one]
    assert any("/arch/1_1.arc" in one and "NEW" in one for one in added)
    assert "/redo/" in added[-1], "the current log is read online"


def test_redo_that_was_deleted_is_lost_and_not_skipped(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tongqu.connectors.oracle.log.reading._PATIENCE", 0.001)
    server = plant.server
    with plant.log() as log:
        after = log.begin()
        server.commit(("items", "insert", None, {"id": 2, "v": "two"}))
        place = place_of(upto_now(log, after))
        server.switch()
        server.purge()
        assert rows_of(upto_now(log, {**place, "scn": server.current(1).first})) == []
        with pytest.raises(LostPositionError, match="log 1 of thread 1 was deleted") as told:
            upto_now(log, after)
        assert "--restart" in told.value.hint
        server.purge(entries=True)
        with pytest.raises(LostPositionError, match="begins later: from SCN"):
            upto_now(log, after)


def test_a_log_that_goes_while_it_is_read_is_a_lost_connection_first(plant: Plant) -> None:
    with plant.log() as log:
        after = log.begin()
        plant.server.commit(("items", "insert", None, {"id": 2, "v": "two"}))
        for text in ("ORA-01291: missing log file", "ORA-00308: cannot open archived log '/arch/1_1.arc'"):
            plant.server.fails = [("LOGMNR_CONTENTS", PlayedError(text, code=1291))]
            with pytest.raises(ConnectError, match="redo cannot be read"):
                upto_now(log, after)
        assert rows_of(upto_now(log, after)) == [("c", 2, "two")]


def test_another_database_incarnation_and_a_restored_one_are_told(plant: Plant) -> None:
    with plant.log() as log:
        after = log.begin()
        with pytest.raises(LostPositionError, match="restored"):
            upto_now(log, {**after, "upto": 1 << 50})
        plant.server.incarnation = 2
        with pytest.raises(LostPositionError, match="incarnation"):
            upto_now(log, after)


# ---- DDL


def test_what_was_written_before_an_alter_and_not_read_pauses_the_stream(plant: Plant) -> None:
    with plant.log() as log:
        after = log.begin()
        plant.server.commit(("lines", "insert", None, {"id": 1, "v": "x"}))
        plant.server.commit(("items", "insert", None, {"id": 2, "v": "geheim"}))
        plant.server.alter("items", "w", "NUMBER(9,0)")
        with pytest.raises(SchemaError, match=r"'items': LogMiner cannot tell .*Dictionary Version Mismatch") as told:
            upto_now(log, after)
        assert "--reload items" in told.value.hint
    with plant.log("lines") as log:
        assert rows_of(upto_now(log, after)) == [("c", 1, "x")]


def test_a_table_that_is_lost_is_told_alone_and_joins_again(plant: Plant) -> None:
    server = plant.server
    lost: list[tuple[str, str, int]] = []
    with plant.log("items", "lines") as log:
        after = log.begin()
        server.commit(
            ("items", "insert", None, {"id": 2, "v": "two"}), ("lines", "insert", None, {"id": 2, "v": "two"})
        )
        server.define("lines", "ALTER TABLE own.lines DROP PARTITION p")
        server.commit(
            ("items", "insert", None, {"id": 3, "v": "x"}), ("lines", "insert", None, {"id": 3, "v": "unseen"})
        )
        rows: list[tuple[Any, ...]] = []

        def told(name: str, error: Exception) -> None:
            lost.append((name, type(error).__name__, len(rows)))

        found = []
        for batch in log.read(Follow(after, until=log.head(), lost=told)):
            found.append(batch)
            rows += [(batch.dataset, *row) for row in rows_of([batch])]
        assert sorted(rows) == [("items", "c", 2, "two"), ("items", "c", 3, "x"), ("lines", "c", 2, "two")]
        assert lost == [("lines", "SchemaError", 2)]
        old = place_of(found)
        server.create("lines", COLUMNS)  # made anew
        again = log.rejoin("lines")
        assert log.reached(again, old)
        assert not log.reached(old, again)
        server.commit(("lines", "insert", None, {"id": 4, "v": "four"}))
        assert rows_of(upto_now(log, again)) == [("c", 4, "four")]
        lost.clear()
        list(log.read(Follow(after, until=log.head(), lost=told)))
        assert lost == [("lines", "LostPositionError", 3)], "from before it is lost again"
        lost.clear()
        assert rows_of(list(log.read(Follow(old, until=log.head(), lost=told)))) == [("c", 4, "four")]
        assert lost == []
        with pytest.raises(InvalidPlanError):
            server.held["lines"].logged = False
            log.rejoin("lines")


def test_a_table_that_was_dropped_or_made_anew_is_told(plant: Plant) -> None:
    server = plant.server
    with plant.log() as log:
        after = log.begin()
        server.commit(("items", "insert", None, {"id": 2, "v": "two"}))
        server.define("items", "DROP TABLE own.items PURGE")
        found = []
        with pytest.raises(SchemaError, match="altered in a way that its log does not tell: DROP TABLE"):
            for batch in log.read(Follow(after, until=log.head())):
                found.append(batch)  # what comes before the error
        assert rows_of(found) == [("c", 2, "two")]
        assert found[-1].position is not None, "what came before has its place"
        server.create("items", COLUMNS)
        with pytest.raises(LostPositionError, match="made anew"):
            upto_now(log, after)


def test_other_ddl_is_passed_over(plant: Plant) -> None:
    with plant.log() as log:
        after = log.begin()
        for sql in ("comment on table items is 'drop table'", "CREATE INDEX i ON items (v)", "ALTER TABLE items MOVE"):
            plant.server.define("items", sql)
        plant.server.commit(("items", "delete", 1, {}))
        assert [(b.kind, b.rows.num_rows) for b in upto_now(log, after) if b.kind != "heartbeat"] == [("rows", 1)]


# ---- what is refused, and the doctor


def test_what_cannot_be_followed_is_refused_before_anything_is_read(plant: Plant) -> None:
    server = plant.server

    def refused(match: str) -> str:
        with plant.log() as log, pytest.raises(InvalidPlanError, match=match) as told:
            log.begin()
        return told.value.hint

    server.held["items"].logged = False
    assert refused("not all columns") == 'ALTER TABLE "own"."items" ADD SUPPLEMENTAL LOG DATA (ALL) COLUMNS'
    server.held["items"].logged = True
    server.held["items"].columns.append(("note", "CLOB"))
    assert "Debezium" in refused("whole values of note CLOB")
    server.held["items"].columns[-1] = ("at", "TIMESTAMP(6) WITH LOCAL TIME ZONE")
    server.zone = "+08:00"
    refused("DBTIMEZONE is not UTC")
    server.held["items"].columns.pop()
    server.held["items"].kind = ("IOT", "N", "YES")
    refused("index-organized")
    server.minimal = "NO"
    assert refused("supplemental logging is off") == "ALTER DATABASE ADD SUPPLEMENTAL LOG DATA"
    server.mode = "NOARCHIVELOG"
    assert "ALTER DATABASE ARCHIVELOG" in refused("does not archive")


def test_a_transaction_older_than_all_redo_is_waited_for(plant: Plant) -> None:
    plant.server.begin().start = 0
    with plant.log() as log, pytest.raises(BusyError, match="began before"):
        log.begin()


def test_a_pluggable_database_is_mined_from_the_root(plant: Plant) -> None:
    plant.server.cdb, plant.server.user = "ORCL", "C##ETL"
    with plant.log() as log:
        after = log.begin()
        plant.server.commit(("items", "delete", 1, {}))
        assert rows_of(upto_now(log, after)) == [("d", 1, "one")]
    asked = next(one for one in plant.server.said if "FROM V$LOGMNR_CONTENTS" in one)
    assert "SRC_CON_NAME = 'PLANT' AND (" in asked
    assert "ALTER SESSION SET CONTAINER = CDB$ROOT" in plant.server.said


def findings(plant: Plant) -> dict[str, tuple[str, str]]:
    with plant.log() as log:
        return {one.what: (one.state, one.fix) for one in log.examine()}


def test_the_doctor_has_the_statement_for_everything_that_is_missing(plant: Plant, tmp_path: Path) -> None:
    server = plant.server
    asked = ("cdc", "doctor", plant.url, "--table", "items", "--json")
    server.switch()
    well = inside(tmp_path, *asked)
    assert well.code == 0, well.out + well.err
    server.rights, server.cdb, server.forced, server.minimal = set(), "ORCL", "NO", "NO"
    server.held["items"].kind, server.held["items"].logged = (None, "N", "NO"), False
    server.kept, server.oldest = 3_600, 9_000
    server.begin()
    ill = inside(tmp_path, *asked)
    assert ill.code == 3, ill.out + ill.err
    assert "geheim" not in ill.out
    found = findings(plant)
    assert found["right LOGMINING"] == ("error", 'GRANT LOGMINING TO "ETL" CONTAINER=ALL')
    assert found["right SET CONTAINER"][0] == "error"
    assert found["right FLASHBACK ANY TABLE"] == ("warning", 'GRANT FLASHBACK ANY TABLE TO "ETL" CONTAINER=ALL')
    assert found["container"][1].startswith("CREATE USER C##TONGQU")
    assert found["supplemental_log"] == ("error", "ALTER DATABASE ADD SUPPLEMENTAL LOG DATA")
    assert found["table items"][1].endswith("ADD SUPPLEMENTAL LOG DATA (ALL) COLUMNS")
    assert found["logging items"] == ("error", 'ALTER TABLE "own"."items" LOGGING')
    assert found["force_logging"] == ("warning", "ALTER DATABASE FORCE LOGGING")
    assert found["retention"][0] == "warning"
    assert found["open_transaction"][0] == "warning"


def test_how_far_it_is_behind(plant: Plant) -> None:
    plant.server.switch()
    plant.server.ages = (40, 100)
    with plant.log() as log:
        lag = log.lag(log.begin())
    assert lag.seconds is not None
    assert lag.seconds > 0
    assert lag.until_loss is not None
    assert 0 < lag.until_loss < 5 * 86_400


def test_every_question_is_sql_of_oracle(plant: Plant) -> None:
    with plant.log() as log:
        after = log.begin()
        log.examine()
        log.lag(after)
        upto_now(log, after)
    for one in plant.server.said:
        if one.startswith("SELECT"):
            parse_one(re.sub(r":(\d+)", r":p\1", one), read="oracle")


# ---- from end to end


def test_a_table_is_loaded_and_then_followed_without_a_gap(server: MinedServer, tmp_path: Path) -> None:
    plant = Plant(server)
    plant.fill(pa.table({"id": [1, 2, 3], "v": ["one", "two", "three"]}))
    command = ("sync", plant.url, "duckdb:lake.duckdb", "--mode", "cdc", "--table", "items", "--until-caught-up",
               "--json")  # fmt: skip

    def synced(*more: str) -> list[tuple[Any, ...]]:
        done = inside(tmp_path, *command, *more)
        assert done.code == 0, done.out + done.err
        with duckdb.connect(str(tmp_path / "lake.duckdb")) as lake:
            return lake.sql("SELECT id, v FROM items ORDER BY id").fetchall()

    one = server.begin()
    one.insert("items", {"id": 4, "v": "four"})
    assert synced() == [(1, "one"), (2, "two"), (3, "three")]
    one.commit()
    server.commit(("items", "update", 1, {"v": "uno"}), ("items", "delete", 2, {}), ("items", "update", 3, {"id": 33}))
    assert synced() == [(1, "uno"), (4, "four"), (33, "three")]
    server.commit(("items", "insert", None, {"id": 5, "v": "five"}))
    server.alter("items", "w", "NUMBER(9,0)")  # before five was read
    torn = inside(tmp_path, *command)
    assert torn.code != 0
    assert "Dictionary Version Mismatch" in torn.out
    assert "five" not in torn.out
    assert (5, "five") in synced("--reload", "items")
    server.commit(("items", "insert", None, {"id": 6, "v": "six"}))
    server.switch()
    server.purge()
    lost = inside(tmp_path, *command)
    assert lost.code != 0
    assert "connector.lost_position" in lost.out
    assert (6, "six") in synced("--restart")
