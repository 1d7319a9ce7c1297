"""Parquet files are loaded by DuckDB itself: exactly as the columnar lane would, sealed off, resumable."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from threading import Thread
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tongqu.connectors.duckdb.db import open_sink
from tongqu.connectors.duckdb.settings import DuckdbSettings
from tongqu.core import registry
from tongqu.core.connector import Sink, Source
from tongqu.core.data import Checkpoint, Counts, Dataset, Read, Write, WriteMode
from tongqu.core.errors import RefusedRowsError, WriteError
from tongqu.core.select import Column, Select
from tongqu.testing.command_line import tongqu

FORM = "parquet-path"
FIELDS: list[pa.Field[Any]] = [pa.field("id", pa.int64()), pa.field("v", pa.string())]
ROWS = pa.table({"id": range(1, 11), "v": [None, *(f"第{n}行 😀" for n in range(2, 11))]}, schema=pa.schema(FIELDS))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target.duckdb"


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    pq.write_table(ROWS, tmp_path / "t.parquet", row_group_size=4)
    with closing(opened_source(tmp_path / "t.parquet")) as opened:
        yield opened


@pytest.fixture
def sink(target: Path) -> Iterator[Sink]:
    with closing(opened_sink(target)) as opened:
        yield opened


def opened_source(path: Path) -> Source:
    connector = registry.by_url(f"file:{path}")
    assert connector.source is not None
    return connector.source(connector.from_url(f"file:{path}"))


def opened_sink(path: Path) -> Sink:
    connector = registry.by_url(f"duckdb:{path}")
    assert connector.sink is not None
    return connector.sink(connector.from_url(f"duckdb:{path}"))


def writing(dataset: Dataset, mode: WriteMode = WriteMode.REPLACE, key: tuple[str, ...] = ()) -> Write:
    return Write("t", dataset.bound("t", key), mode, "sync", mode.value, key, started_at="2024-05-01T00:00:00+00:00")


def begun(sink: Sink, source: Source, mode: WriteMode = WriteMode.REPLACE, key: tuple[str, ...] = ()) -> Write:
    """An opened stream from the source's only dataset."""
    (dataset,) = source.datasets()
    write = writing(dataset, mode, key)
    sink.start("sync", mode.value, False)
    sink.open(write)
    return write


def accepted(sink: Sink, source: Source, write: Write) -> list[bool]:
    """Which columns can pass."""
    types = source.wire_types(write.dataset, select(write))
    return [wanted == given for wanted, given in zip(sink.accepts(write, FORM, types), types, strict=True)]


def select(write: Write) -> Select:
    return Select(tuple(Column(name) for name in write.dataset.columns))


def passed(sink: Sink, source: Source, write: Write, chunk_rows: int = 4) -> int:
    """Carry all rows over in chunks, finish, and give their number."""
    (dataset,) = source.datasets()
    (split,) = source.splits(dataset, 1)
    sink.begin(write, [split])
    counts = Counts()
    with closing(sink.session(write, split)) as session:
        for piece in source.copy_out(Read(dataset, split, chunk_rows=chunk_rows), select(write), FORM):
            written = session.copy_in(piece)
            assert written.inserted == piece.rows()
            counts.inserted += written.inserted
            counts.bytes += written.bytes
            session.commit(Checkpoint(split, piece.position, counts, piece.last))
    sink.finish(write, counts, None)
    sink.end("sync", write.run, [write])
    assert counts.bytes > 0
    return counts.inserted


def found(target: Path, sql: str = "SELECT * FROM t") -> list[tuple[Any, ...]]:
    with duckdb.connect(str(target), read_only=True) as database:
        return database.sql(sql).fetchall()


def test_rows_arrive_in_order_in_a_new_table(source: Source, sink: Sink, target: Path) -> None:
    write = begun(sink, source)
    assert accepted(sink, source, write) == [True, True]
    assert passed(sink, source, write) == 10
    sink.close()
    assert found(target) == [(row["id"], row["v"]) for row in ROWS.to_pylist()]


def test_a_target_of_the_same_types_takes_them_and_one_of_others_does_not(
    source: Source, sink: Sink, target: Path
) -> None:
    with duckdb.connect(str(target)) as database:
        database.execute("CREATE TABLE t (id BIGINT PRIMARY KEY, v VARCHAR DEFAULT 'none')")
    write = begun(sink, source, key=("id",))
    assert accepted(sink, source, write) == [True, True]
    assert passed(sink, source, write) == 10
    sink.close()
    assert found(target, "SELECT count(*), max(id) FROM t") == [(10, 10)]
    with duckdb.connect(str(target)) as database:
        database.execute("CREATE OR REPLACE TABLE t (id HUGEINT, v VARCHAR)")
        database.execute("DELETE FROM _tongqu_checkpoint")
    with closing(opened_sink(target)) as other:
        assert accepted(other, source, begun(other, source)) == [False, True]


@pytest.mark.parametrize("mode", [WriteMode.UPSERT, WriteMode.HISTORY])
def test_rows_that_are_merged_do_not_pass(source: Source, sink: Sink, mode: WriteMode) -> None:
    write = begun(sink, source, mode, ("id",))
    assert (accepted(sink, source, write) == [False, False]) == (mode is WriteMode.UPSERT)


def test_rows_are_appended_unless_the_table_has_unique_values(source: Source, sink: Sink, target: Path) -> None:
    with duckdb.connect(str(target)) as database:
        database.execute("CREATE TABLE t (id BIGINT, v VARCHAR)")
        database.execute("INSERT INTO t VALUES (0, 'old')")
    write = begun(sink, source, WriteMode.APPEND)
    assert accepted(sink, source, write) == [True, True]
    assert passed(sink, source, write) == 10
    sink.close()
    assert found(target, "SELECT count(*), min(v) FROM t") == [(11, "old")]
    with duckdb.connect(str(target)) as database:
        database.execute("CREATE UNIQUE INDEX one ON t (id)")
        database.execute("DELETE FROM _tongqu_checkpoint")
    with closing(opened_sink(target)) as other:
        assert accepted(other, source, begun(other, source, WriteMode.APPEND)) == [False, False]


def test_every_type_is_the_same_as_in_the_columnar_lane(tmp_path: Path) -> None:
    now = datetime(2024, 2, 29, 23, 59, 59, 123456, UTC)
    table = pa.table(
        {
            "i8": pa.array([-128, None], pa.int8()), "u64": pa.array([2**64 - 1, 0], pa.uint64()),
            "i64": pa.array([-(2**63), 2**63 - 1]), "f": pa.array([float("nan"), -0.0], pa.float32()),
            "d": pa.array([float("inf"), 5e-324]), "n": pa.array([Decimal("9" * 28 + ".0000000001"), None]),
            "b": pa.array([b"\0\xff", b""]), "s": pa.array(["", "中文 \0 😀"]), "t": pa.array([True, None]),
            "day": pa.array([date(1, 1, 1), date(9999, 12, 31)]), "at": pa.array([now, None], pa.timestamp("us")),
            "when": pa.array([now, None], pa.timestamp("us", "Asia/Shanghai")),
            "word": pa.array(["a", None]).dictionary_encode(),
        }
    )  # fmt: skip
    pq.write_table(table, tmp_path / "t.parquet")
    seen = []
    for lane in ("pass", "columnar"):
        done = tongqu(tmp_path, "sync", "file:t.parquet", f"duckdb:{lane}.duckdb", "--lane", lane, "--json")
        assert done.document["lane"] == lane, done.err
        seen.append(
            found(tmp_path / f"{lane}.duckdb", "SELECT column_name, column_type FROM (DESCRIBE t)")
            + found(tmp_path / f"{lane}.duckdb", "SELECT COLUMNS(*)::VARCHAR FROM t")
        )
    assert seen[0] == seen[1]


def test_a_refused_row_is_found_in_the_columnar_lane_and_the_rest_passes(tmp_path: Path, target: Path) -> None:
    pq.write_table(ROWS, tmp_path / "t.parquet")
    with duckdb.connect(str(target)) as database:
        database.execute("CREATE TABLE t (id BIGINT CHECK (id <> 7), v VARCHAR NOT NULL)")
    sync = ("sync", "file:t.parquet", f"duckdb:{target}", "--chunk-rows", "3", "--json")
    done = tongqu(tmp_path, *sync)
    (stream,) = done.document["streams"]
    assert (stream["lane"], stream["read"], stream["written"], stream["quarantined"]) == ("pass", 10, 8, 2)
    assert [id for (id,) in found(target, "SELECT id FROM t")] == [2, 3, 4, 5, 6, 8, 9, 10]
    refused = found(target, "SELECT original FROM _tongqu_quarantine")
    assert sorted(json.loads(original)["id"] for (original,) in refused) == [1, 7]


def test_rows_without_a_key_are_not_passed(tmp_path: Path, target: Path) -> None:
    pq.write_table(ROWS, tmp_path / "t.parquet")
    with duckdb.connect(str(target)) as database:
        database.execute("CREATE TABLE t (id BIGINT, v VARCHAR)")
    done = tongqu(tmp_path, "sync", "file:t.parquet", f"duckdb:{target}", "--key", "v", "--json")
    (stream,) = done.document["streams"]
    assert (stream["written"], stream["quarantined"]) == (9, 1)


def test_a_damaged_file_is_named_by_its_reader(tmp_path: Path, target: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"v": [os.urandom(9).hex() for _ in range(9000)]}), path, compression="zstd")
    whole = bytearray(path.read_bytes())
    whole[4:40] = b"\xff" * 36
    path.write_bytes(whole)
    done = tongqu(tmp_path, "sync", "file:t.parquet", f"duckdb:{target}", "--json")
    (problem,) = done.document["problems"]
    assert (done.code, problem["code"], problem["path"]) == (1, "connector.read", f"file:{path}")


@pytest.mark.crash
@pytest.mark.parametrize("point", ["after_read:2", "mid_write:2", "in_commit:2", "after_commit:2", "after_swap"])
def test_a_killed_run_goes_on_without_loss_or_repetition(tmp_path: Path, target: Path, point: str) -> None:
    pq.write_table(ROWS, tmp_path / "t.parquet", row_group_size=4)
    sync = ("sync", "file:t.parquet", f"duckdb:{target}", "--chunk-rows", "3", "--json")
    died = tongqu(tmp_path, *sync, TONGQU_CRASH_AT=point)
    assert died.code == -signal.SIGKILL, died.err
    done = tongqu(tmp_path, *sync)
    (stream,) = done.document["streams"]
    assert (done.document["attempts"], stream["read"], stream["inserted"]) == (2, 10, 10)
    assert found(target) == [(row["id"], row["v"]) for row in ROWS.to_pylist()]


def test_only_the_named_files_can_be_read(tmp_path: Path, target: Path) -> None:
    for name in ("one", "two"):
        pq.write_table(ROWS, tmp_path / f"{name}.parquet")
    settings = DuckdbSettings(path=str(target))
    with closing(open_sink(settings, [str(tmp_path / "one.parquet")])) as db:
        assert db.rows(f"SELECT count(*) FROM read_parquet('{tmp_path}/one.parquet')") == [(10,)]
        for query in (f"FROM read_parquet('{tmp_path}/two.parquet')", "FROM read_text('/etc/hostname')"):
            with pytest.raises(WriteError, match="disabled by configuration"):
                db.rows(query)
        for setting in ("enable_external_access = true", "allowed_paths = ['/etc/hostname']", "memory_limit = '9GB'"):
            with pytest.raises(WriteError, match="locked"):
                db.run(f"SET GLOBAL {setting}")


def test_a_file_that_is_being_read_is_not_opened_anew(source: Source, sink: Sink, target: Path) -> None:
    write = begun(sink, source)
    (dataset,) = source.datasets()
    (split,) = source.splits(dataset, 1)
    (piece,) = source.copy_out(Read(dataset, split), select(write), FORM)
    sink.begin(write, [split])
    reader = open_sink(DuckdbSettings(path=str(target)))
    with closing(sink.session(write, split)) as session:
        with pytest.raises(RefusedRowsError, match="being read"):
            session.copy_in(piece)
        session.abort()
        reader.close()
        (piece,) = source.copy_out(Read(dataset, split), select(write), FORM)
        assert session.copy_in(piece).inserted == 10


def test_settings_for_many_rows_hold_for_nobody_else(target: Path) -> None:
    """Who merges a chunk relies on the order of insertion: its database is left alone, and a new writer waits."""
    settings = DuckdbSettings(path=str(target))
    order = "SELECT current_setting('preserve_insertion_order')"
    with closing(open_sink(settings, ["/t.parquet"])) as first:
        with closing(open_sink(settings)) as second, first.inserting(1_000_000):
            assert second.rows(order) == [(True,)]
        opened: list[tuple[bool, ...]] = []

        def late() -> None:
            with closing(open_sink(settings)) as other:
                opened.extend(other.rows(order))

        thread = Thread(target=late)
        with first.inserting(1_000_000):
            assert first.rows(order) == [(False,)]
            thread.start()
            thread.join(0.2)
            assert thread.is_alive()
        thread.join(10)
        assert opened == [(True,)]
