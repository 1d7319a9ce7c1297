"""Parquet files that a database reads by itself: which ones, in which ranges, and where the other lane goes on."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tongqu.core.errors import InvalidPlanError, LostPositionError

ROWS = pa.table({"id": pa.array(range(10), pa.int64()), "v": [f"第{n}行" for n in range(10)]})
FORM = "parquet-path"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files: of row groups of 3, 3, 3 and 1 rows, and of one with 10."""
    (tmp_path / "in").mkdir()
    pq.write_table(ROWS, tmp_path / "in" / "part-0.parquet", row_group_size=3)
    pq.write_table(ROWS, tmp_path / "in" / "part-1.parquet")
    return tmp_path / "in"


def test_ranges_of_rows_are_handed_on(desk: Any, folder: Path) -> None:
    opened = desk.source(folder)
    (dataset,) = opened.datasets()
    assert opened.formats == (FORM,)
    chunks = desk.passed(opened, dataset, FORM, chunk_rows=4)
    paths = [str(folder / "part-0.parquet"), str(folder / "part-1.parquet")]
    assert [[bytes(block).decode() for block in c.chunks] for c in chunks] == [[paths[0]]] * 3 + [[paths[1]]] * 3
    assert [(c.options["first"], c.options["stop"]) for c in chunks] == [(0, 4), (4, 8), (8, 10)] * 2
    assert [c.rows() for c in chunks] == [4, 4, 2] * 2
    assert all(c.options["files"] == paths and c.types == ("int64", "string") for c in chunks)
    assert [c.last for c in chunks] == [False] * 5 + [True]
    assert chunks[0].position == {"part": 0, "group": 1, "row": 1, "rows": 4}
    assert chunks[5].position == {"part": 1, "group": 1, "row": 0, "rows": 10, "end": True}


def test_both_lanes_stand_at_the_same_places(desk: Any, folder: Path) -> None:
    opened = desk.source(folder)
    (dataset,) = opened.datasets()
    chunks = desk.passed(opened, dataset, FORM, chunk_rows=4)
    for before, chunk in zip([None, *chunks], chunks, strict=False):
        after = before.position if before is not None else None
        read = list(desk.batches(opened, dataset, after=after, until=chunk.position, batch_rows=2))
        rows = pa.Table.from_batches([batch.rows for batch in read], schema=dataset.schema)
        assert rows.equals(ROWS.slice(chunk.options["first"], chunk.rows()))
        assert read[-1].position == chunk.position
        again = desk.passed(opened, dataset, FORM, chunk_rows=4, after=chunk.position)
        assert sum(c.rows() for c in again) == 20 - sum(c.rows() for c in chunks[: chunks.index(chunk) + 1])


def test_long_ranges_end_where_duckdbs_row_groups_do(desk: Any, tmp_path: Path) -> None:
    table = pa.table({"n": pa.array(range(1_200_000), pa.int32())})
    pq.write_table(table, tmp_path / "long.parquet", row_group_size=len(table))
    opened = desk.source(tmp_path / "long.parquet")
    (dataset,) = opened.datasets()
    chunks = desk.passed(opened, dataset, FORM, chunk_rows=130_000)
    assert [c.rows() for c in chunks] == [491_520, 491_520, 216_960]
    assert sum(c.options["size"] for c in chunks) == pytest.approx(
        pq.ParquetFile(tmp_path / "long.parquet").metadata.row_group(0).total_byte_size, abs=3
    )


def test_an_empty_file_is_one_empty_range(desk: Any, tmp_path: Path) -> None:
    pq.write_table(ROWS.slice(0, 0), tmp_path / "none.parquet")
    opened = desk.source(tmp_path / "none.parquet")
    (dataset,) = opened.datasets()
    (chunk,) = desk.passed(opened, dataset, FORM)
    assert (chunk.rows(), chunk.last) == (0, True)


def test_a_file_that_has_changed_stops_the_read(desk: Any, folder: Path) -> None:
    opened = desk.source(folder / "part-0.parquet")
    (dataset,) = opened.datasets()
    (chunk,) = desk.passed(opened, dataset, FORM, chunk_rows=20)
    assert chunk.rows() == 10
    pq.write_table(ROWS.slice(2), folder / "part-0.parquet")
    with pytest.raises(LostPositionError):
        desk.passed(opened, dataset, FORM, chunk_rows=4)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([time(1, 2, 3)]),
        pa.array([datetime(2024, 1, 1, tzinfo=UTC)], pa.timestamp("ms", "UTC")),
        pa.array([datetime(2024, 1, 1, tzinfo=UTC)], pa.timestamp("ns", "UTC")),
        pa.array([[1, 2]]),
        pa.array([{"a": 1}]),
        pa.array([uuid.uuid4().bytes], pa.uuid()),
        pa.array([None], pa.null()),
        pa.array([1], pa.duration("us")),
        pa.array([Decimal("1")], pa.decimal256(50, 2)),
    ],
    ids=lambda column: str(column.type),
)
def test_types_that_readers_take_differently_do_not_pass(desk: Any, tmp_path: Path, column: Any) -> None:
    pq.write_table(pa.table({"x": column}), tmp_path / "x.parquet")
    opened = desk.source(tmp_path / "x.parquet")
    (dataset,) = opened.datasets()
    assert opened.formats == ()
    with pytest.raises(InvalidPlanError, match="cannot be passed"):
        desk.passed(opened, dataset, FORM)


def test_plain_types_pass(desk: Any, tmp_path: Path) -> None:
    columns = {
        "i8": pa.array([1], pa.int8()), "u32": pa.array([1], pa.uint32()), "f": pa.array([1.5], pa.float32()),
        "d": pa.array([Decimal("1.20")], pa.decimal128(38, 2)), "b": pa.array([b"\0"]), "t": pa.array([True]),
        "day": pa.array([date(2024, 2, 29)]), "at": pa.array([datetime(2024, 1, 1)], pa.timestamp("us")),  # noqa: DTZ001
        "when": pa.array([datetime(2024, 1, 1, tzinfo=UTC)], pa.timestamp("us", "Asia/Shanghai")),
        "word": pa.array(["x"]).dictionary_encode(), "long": pa.array(["x"], pa.large_string()),
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    opened = desk.source(tmp_path / "x.parquet")
    opened.datasets()
    assert opened.formats == (FORM,)


@pytest.mark.parametrize("name", ["file_row_number", "File_Row_Number"])
def test_a_column_named_as_the_row_number_does_not_pass(desk: Any, tmp_path: Path, name: str) -> None:
    pq.write_table(pa.table({name: [1]}), tmp_path / "x.parquet")
    opened = desk.source(tmp_path / "x.parquet")
    opened.datasets()
    assert opened.formats == ()


def test_a_path_that_looks_like_a_pattern_does_not_pass(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(ROWS, tmp_path / "in" / "x{1}.parquet")
    opened = desk.source(tmp_path / "in")
    opened.datasets()
    assert opened.formats == ()


def test_files_of_several_shapes_or_formats_do_not_pass(desk: Any, folder: Path) -> None:
    pq.write_table(ROWS.append_column("more", pa.array(range(10))), folder / "part-2.parquet")
    opened = desk.source(folder)
    opened.datasets()
    assert opened.formats == ()
    (folder / "part-2.parquet").unlink()
    (folder / "part-2.csv").write_text("id,v\n11,x\n")
    opened = desk.source(folder)
    opened.datasets()
    assert opened.formats == ()
