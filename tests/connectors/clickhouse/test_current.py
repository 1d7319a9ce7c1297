"""The SQL of a current ClickHouse, run by the engine itself inside this process where chDB is installed.

Only the protocol is played: statements, types, tables and their exchange are ClickHouse 26's own.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import date
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import ipc

from tongqu.core.data import Split, WriteMode
from tongqu.testing.conformance import Place, conformance
from tongqu.testing.conformance.place import items, pairs

_NUMBERS = count(1)
_session: Any = None


def session() -> Any:
    """The engine, of which there is one in a process."""
    global _session  # noqa: PLW0603  # as said
    if _session is None:
        _session = import_module("chdb.session").Session(tempfile.mkdtemp())
    return _session


class EngineError(Exception):
    """What the engine raised, with ClickHouse's number."""

    def __init__(self, text: str):
        super().__init__(text)
        words = text.partition("Code: ")[2].partition(".")[0]
        self.code = int(words) if words.isdigit() else 0
        self.message = text.partition("DB::Exception: ")[2] or text


class Client:
    """The part of clickhouse-driver's client that the connector needs."""

    def __init__(self, **given: Any):
        self.database = given["database"]

    def _query(self, sql: str) -> pa.Table:
        try:
            session().query(f"USE `{self.database}`")
            found = session().query(sql, "ArrowStream").bytes()
        except RuntimeError as error:
            raise EngineError(str(error)) from None
        return ipc.open_stream(found).read_all() if found else pa.table({})

    def execute(self, sql: str, columns: Sequence[Any] | None = None, settings: Any = None, **more: Any) -> Any:
        if columns is not None:
            return self._insert(sql.removesuffix(" VALUES"), columns, settings or {})
        asks = sql.lstrip().upper().startswith(("SELECT", "SHOW"))
        if not asks:
            try:
                session().query(f"USE `{self.database}`")
                session().query(sql)
            except RuntimeError as error:
                raise EngineError(str(error)) from None
            return []
        found = self._query(f"{sql} SETTINGS output_format_arrow_string_as_string = 0")
        return [
            tuple(row.values()) for row in found.rename_columns([str(n) for n in range(found.num_columns)]).to_pylist()
        ]

    def execute_iter(self, sql: str, chunk_size: int, **more: Any) -> Iterator[list[tuple[Any, ...]]]:
        rows = self.execute(sql)
        yield from (rows[at : at + chunk_size] for at in range(0, len(rows), chunk_size))

    def _insert(self, sql: str, columns: Sequence[Any], settings: dict[str, Any]) -> None:
        texts = [[str(v) if type(v).__name__ == "UUID" else v for v in values] for values in columns]
        table = pa.table([_array(values) for values in texts], names=[f"c{n}" for n in range(len(texts))])
        with tempfile.NamedTemporaryFile(suffix=".arrow") as file:
            with ipc.new_file(file.name, table.schema) as writer:
                writer.write_table(table)
            token = settings.get("insert_deduplication_token", "")
            known = f"insert_deduplication_token = '{token}', use_structure_from_insertion_table_in_table_functions = 0"
            self.execute(f"{sql} SETTINGS {known} SELECT * FROM file('{file.name}', 'Arrow')")

    def disconnect(self) -> None:
        """Nothing is connected."""


def _array(values: Sequence[Any]) -> pa.Array[Any]:
    try:
        return pa.array(values, pa.string() if all(value is None for value in values) else None)
    except OverflowError:
        return pa.array(values, pa.uint64())


class Driver:
    """The modules clickhouse_driver and clickhouse_driver.errors."""

    Client = Client
    Error = EngineError


def fresh(request: pytest.FixtureRequest) -> str:
    """A database of its own; the driver is the one above."""
    monkeypatch = request.getfixturevalue("monkeypatch")
    monkeypatch.setitem(sys.modules, "clickhouse_driver", Driver)
    monkeypatch.setitem(sys.modules, "clickhouse_driver.errors", Driver)
    name = f"plant_{next(_NUMBERS)}"
    session().query(f"CREATE DATABASE `{name}` ENGINE = Atomic")
    return f"clickhouse://default@127.0.0.1:9000/{name}"


if find_spec("chdb"):
    TestCurrent = conformance(
        "clickhouse",
        fresh,
        waivers={
            "test_wrong_credentials_are_refused": "never: the engine in this process asks for none",
            "test_a_type_comes_back[date]": "never: Date32 ends in 2299",
            "test_a_type_comes_back[timestamp]": "never: DateTime64 ends in 2299 and is an instant",
            "test_a_type_comes_back[seconds]": "never: every moment is an instant",
            "test_a_type_comes_back[nanoseconds]": "never: every moment is an instant",
            "test_check_passes": "never: nobody listens on its port",
            "test_nothing_is_left_behind_by_close": "never: nobody listens on its port",
            "test_a_type_comes_back[binary]": "never: String holds texts and bytes alike, and is read as text",
            "test_a_type_comes_back[time]": "never: there is no time of day, it is kept as text",
            "test_aborted_rows_are_gone": "never: rows are there as soon as they are inserted",
        },
    )

    class TestBlocks:
        """What the server does with a block that comes again."""

        @pytest.fixture
        def place(self, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
            from tongqu.connectors.clickhouse import connector

            return Place(connector, fresh(request), tmp_path / "home")

        def _cut(self, place: Place, rows: pa.Table) -> None:
            """Insert a block and end before its checkpoint is written."""
            write = place.ask(rows, WriteMode.APPEND)
            with place.sink() as sink:
                sink.start(write.sync, write.run, False)
                opened = sink.open(write)
                split = Split("0", "items")
                if not opened.checkpoints:
                    sink.begin(write, [split])
                sink.session(write, split).write(rows)

        def test_the_same_block_is_left_out(self, place: Place) -> None:
            self._cut(place, items(range(3)))
            assert place.put([items(range(3))], place.ask(items([]), WriteMode.APPEND)).inserted == 3
            assert place.rows() == pairs(range(3))

        def test_a_block_that_has_changed_is_inserted(self, place: Place) -> None:
            self._cut(place, items(range(3)))
            place.put([items(range(4))], place.ask(items([]), WriteMode.APPEND))
            assert len(place.rows()) == 7

        def test_halves_of_a_refused_block_may_hold_the_same_rows(self, place: Place) -> None:
            kept, refused = date(2026, 1, 1), date(2500, 1, 1)
            rows = pa.table({"d": pa.array([kept, refused, kept, refused], pa.date32())})
            counts = place.put([rows], place.ask(rows, WriteMode.APPEND, key=()))
            assert (counts.inserted, counts.quarantined) == (2, 2)
            assert place.rows(columns=("d",)) == [(kept,), (kept,)]

        def test_what_is_written_again_after_an_abort_is_left_out(self, place: Place) -> None:
            write = place.ask(items(range(3)), WriteMode.APPEND)
            with place.sink() as sink:
                sink.start(write.sync, write.run, False)
                sink.open(write)
                split = Split("0", "items")
                sink.begin(write, [split])
                session = sink.session(write, split)
                session.write(items(range(3)))
                session.abort()
                session.write(items(range(3)))
                session.close()
            assert place.rows() == pairs(range(3))
