"""A served DuckDB file: exact answers, and a file that others get when they want to write it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from threading import Thread
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from sqlglot import exp

from tongqu.connectors.duckdb.db import open_sink
from tongqu.connectors.duckdb.serving import DuckdbServer
from tongqu.connectors.duckdb.settings import DuckdbSettings
from tongqu.core.errors import BusyError, NotFoundError, TimedOutError
from tongqu.core.server import Change, Limits, Query
from tongqu.meaning.masks import Mask
from tongqu.testing.conformance.asked import LIMITS, column, hole, query

WRITER = """
import sys
from tongqu.connectors.duckdb.db import open_sink
from tongqu.connectors.duckdb.settings import DuckdbSettings
db = open_sink(DuckdbSettings(path=sys.argv[1]))
db.run("INSERT INTO items VALUES (99, 'from elsewhere')")
db.close()
"""
READER = """
import sys, time, duckdb
until = time.monotonic() + 20
while time.monotonic() < until:
    try:
        duckdb.connect(sys.argv[1], read_only=True)
        sys.exit(0)
    except duckdb.IOException:
        pass
sys.exit(1)
"""
OTHER = """
import sys, duckdb
for _ in range(5000):
    try:
        held = duckdb.connect(sys.argv[1])
        break
    except duckdb.IOException:
        pass
print("held", flush=True)
sys.stdin.readline()
"""
"""A program that knows nothing of turns, and tries until it has the file."""


def made(folder: Path, *statements: str) -> DuckdbSettings:
    path = folder / "lake.duckdb"
    with duckdb.connect(str(path)) as database:
        database.execute("SET TimeZone = 'UTC'")
        for statement in statements or ("CREATE TABLE items AS SELECT 1 AS id, 'a' AS name",):
            database.execute(statement)
    return DuckdbSettings(path=str(path))


async def other_program(settings: DuckdbSettings) -> subprocess.Popen[bytes]:
    """It, when it has the file; a line on its standard input ends it."""
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER, settings.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert await asyncio.to_thread(other.stdout.readline) == b"held\n"
    return other


def served(settings: DuckdbSettings, sql: str, fields: list[pa.Field[Any]]) -> Any:
    """The JSON of a statement."""

    async def work() -> Any:
        server = DuckdbServer(settings)
        await server.open()
        try:
            tree: exp.Query = exp.maybe_parse(sql, dialect="duckdb")
            page = await server.query(Query(tree, {}, tuple(fields)), "json", LIMITS)
            return json.loads(page.body, parse_float=Decimal)
        finally:
            await server.close()

    return asyncio.run(work())


def test_types_that_json_of_the_database_would_round_are_exact(tmp_path: Path) -> None:
    settings = made(
        tmp_path,
        "CREATE TABLE items AS SELECT 170141183460469231731687303715884105727::HUGEINT AS h, "
        "0.12345678901234567890123456789::DECIMAL(38,29) AS d, {'a': 1.10::DECIMAL(5,2)} AS s, "
        "[1.10::DECIMAL(5,2)] AS l, "
        "'{\"a\": 1.10}'::JSON AS j, INTERVAL 1 DAY AS i, "
        "'nan'::DOUBLE AS n, 0.1::FLOAT AS f, '12:00:00+02'::TIMETZ AS z",
    )
    names = ["h", "d", "s", "l", "j", "i", "n", "f", "z"]
    (row,) = served(settings, "SELECT * FROM items", [pa.field(name, pa.string()) for name in names])
    assert row == {
        "h": 170141183460469231731687303715884105727, "d": Decimal("0.12345678901234567890123456789"),
        "s": {"a": Decimal("1.10")}, "l": [Decimal("1.10")], "j": {"a": Decimal("1.10")}, "i": "1 day", "n": "NaN",
        "f": Decimal("0.1"), "z": "12:00:00+02",
    }  # fmt: skip


def test_a_column_with_a_collation_is_compared_by_code_point(tmp_path: Path) -> None:
    settings = made(
        tmp_path,
        "CREATE TABLE items (id INT, name VARCHAR COLLATE NOCASE)",
        "INSERT INTO items VALUES (1, 'b'), (2, 'B')",
    )

    async def work() -> list[Any]:
        server = DuckdbServer(settings)
        await server.open()
        dataset = await server.describe("items")
        where = exp.EQ(this=column("name"), expression=hole("p"))
        page = await server.query(query(dataset, ["id"], where=where, params={"p": "B"}), "rows", LIMITS)
        await server.close()
        return list(page.values)

    assert asyncio.run(work()) == [[2]]


def test_a_writer_in_another_process_gets_the_file_while_questions_keep_coming(tmp_path: Path) -> None:
    settings = made(tmp_path)

    async def work() -> None:
        server = DuckdbServer(settings, idle=60, patience=20)
        await server.open()
        dataset = await server.describe("items")
        asking = query(dataset, ["id"])
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, settings.path, stderr=subprocess.PIPE
        )
        ended = asyncio.create_task(writer.communicate())
        while not ended.done():
            assert (await server.query(asking, "json", Limits(seconds=30))).rows in (1, 2)
        assert (writer.returncode, (await ended)[1]) == (0, b"")
        assert (await server.query(asking, "json", LIMITS)).rows == 2
        await server.close()

    asyncio.run(work())


def test_a_writer_of_the_same_process_gets_it_too(tmp_path: Path) -> None:
    settings = made(tmp_path)

    def write() -> None:
        db = open_sink(settings)
        db.run("INSERT INTO items VALUES (2, 'b')")
        db.close()

    async def work() -> None:
        server = DuckdbServer(settings, idle=60, patience=20)
        await server.open()
        asking = query(await server.describe("items"), ["id"])
        writer = Thread(target=write)
        writer.start()
        while writer.is_alive():
            assert (await server.query(asking, "json", Limits(seconds=30))).rows in (1, 2)
        writer.join()
        assert (await server.query(asking, "json", LIMITS)).rows == 2
        await server.close()

    asyncio.run(work())


def test_a_file_that_rests_is_closed_for_programs_that_know_nothing_of_turns(tmp_path: Path) -> None:
    settings = made(tmp_path)

    async def work() -> None:
        server = DuckdbServer(settings, idle=0.0)
        await server.open()
        assert (await server.query(query(await server.describe("items"), ["id"]), "json", LIMITS)).rows == 1
        other = await other_program(settings)
        other.communicate(b"\n")
        await server.close()

    asyncio.run(work())


def test_a_file_that_somebody_else_writes_is_busy(tmp_path: Path) -> None:
    settings = made(tmp_path)

    async def work() -> None:
        server = DuckdbServer(settings, idle=0.0, patience=0.1)
        await server.open()
        dataset = await server.describe("items")
        other = await other_program(settings)
        with pytest.raises(BusyError, match=str(other.pid)):
            await server.query(query(dataset, ["id"]), "json", LIMITS)
        other.communicate(b"\n")
        assert (await server.query(query(dataset, ["id"]), "json", LIMITS)).rows == 1
        await server.close()

    asyncio.run(work())


def test_changes_are_made_while_others_read(tmp_path: Path) -> None:
    settings = made(tmp_path, "CREATE TABLE items (id INT PRIMARY KEY, name VARCHAR)")

    async def work() -> None:
        server = DuckdbServer(settings)
        await server.open()
        dataset = await server.describe("items")
        asking = query(dataset, ["id"])
        await server.query(asking, "json", LIMITS)

        async def add(number: int) -> None:
            await server.transact([Change("insert", "items", tuple(dataset.schema), [(number, "x")])], LIMITS)

        await asyncio.gather(*(add(n) for n in range(10)), *(server.query(asking, "json", LIMITS) for _ in range(10)))
        assert (await server.query(asking, "json", LIMITS)).rows == 10
        await server.close()

    asyncio.run(work())


def test_after_a_change_other_processes_can_read_while_questions_keep_coming(tmp_path: Path) -> None:
    settings = made(tmp_path)

    async def work() -> None:
        server = DuckdbServer(settings, idle=60, patience=20)
        await server.open()
        dataset = await server.describe("items")
        await server.transact([Change("insert", "items", tuple(dataset.schema), [(2, "b")])], LIMITS)
        reader = await asyncio.create_subprocess_exec(sys.executable, "-c", READER, settings.path)
        ended = asyncio.create_task(reader.wait())
        while not ended.done():
            assert (await server.query(query(dataset, ["id"]), "json", Limits(seconds=30))).rows == 2
        assert await ended == 0
        await server.close()

    asyncio.run(work())


def test_a_missing_file_is_never_made(tmp_path: Path) -> None:
    async def work() -> None:
        server = DuckdbServer(DuckdbSettings(path=str(tmp_path / "no.duckdb")))
        with pytest.raises(NotFoundError):
            await server.open()
        await server.close()

    asyncio.run(work())
    assert list(tmp_path.iterdir()) == []


def test_an_export_ends_with_its_time_and_frees_the_file(tmp_path: Path) -> None:
    settings = made(tmp_path, "CREATE TABLE items AS SELECT range AS id FROM range(100000)")

    async def work() -> None:
        server = DuckdbServer(settings)
        await server.open()
        dataset = await server.describe("items")
        pieces = server.stream(query(dataset, ["id"]), "csv", Limits(seconds=0.0, rows=10**6))
        with pytest.raises(TimedOutError):
            async for _ in pieces:
                pass
        whole = server.stream(query(dataset, ["id"]), "csv", Limits(rows=10**6))
        assert sum([piece.count(b"\n") async for piece in whole]) == 100_001
        await server.close()

    asyncio.run(work())


def test_a_mask_that_does_not_fit_is_not_sql() -> None:
    server = DuckdbServer(DuckdbSettings(path="x.duckdb"))
    text, number = pa.field("name", pa.string()), pa.field("n", pa.int64())
    assert server.mask(Mask.parse({"with": "year"}), text) is None
    assert server.mask(Mask.parse({"with": "round", "to": 5}), number) is not None
