"""Fixed width files are read and written by a layout, counted in bytes or characters."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core.data import Read, Split, WriteMode
from tongqu.core.errors import InvalidSettingsError, SchemaError

LAYOUT = "?layout=name:1-10,code:11-14,weight:15-20&encoding=gb18030"
TEXT = "螺栓M8    0012  3.50\r\n\r\n轴承      7    12.25 \r\n短\r\n"


def test_columns_by_bytes(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(TEXT.encode("gb18030"))
    assert desk.rows(tmp_path / "x.txt", LAYOUT) == [
        {"name": "螺栓M8", "code": "0012", "weight": Decimal("3.50")},
        {"name": "轴承", "code": "7", "weight": Decimal("12.25")},
        {"name": "短", "code": None, "weight": None},
    ]
    assert list(desk.source(tmp_path / "x.txt", LAYOUT).check()) == [
        "path",
        "x.txt (fixed, gb18030, 3 columns by bytes)",
    ]


def test_columns_by_characters(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.dat").write_text("编码名称数量\n001螺栓  5\n002轴承盖 12\n")
    found = desk.rows(tmp_path / "x.dat", "?layout=code:1-3,name:4-7,n:8-9&counted=characters&header=true")
    assert found == [{"code": "001", "name": "螺栓", "n": 5}, {"code": "002", "name": "轴承盖", "n": 12}]


def test_rows_that_do_not_fit_are_set_aside(desk: Any, tmp_path: Path) -> None:
    lines = "好        1        1\n错误错误错x1       1\n坏        x        1\n长        1        1 more\n"
    (tmp_path / "x.txt").write_bytes(lines.encode("gb18030"))
    options = "?layout=name:1-9,n:10-18:int64,m:19-20&encoding=gb18030"
    assert [row["n"] for row in desk.rows(tmp_path / "x.txt", options)] == [1]
    assert [(bad.code, bad.field, bad.message.partition(":")[0]) for bad in desk.bad(tmp_path / "x.txt", options)] == [
        ("data.cast", "name", "line 2"), ("data.cast", "n", "line 3"), ("data.schema", "", "line 4"),
    ]  # fmt: skip


def test_a_read_resumes_after_any_batch(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes("".join(f"螺{n:04d}\n" for n in range(30)).encode("gb18030"))
    opened = desk.source(tmp_path / "x.txt", "?layout=a:1-2,n:3-6:int64&encoding=gb18030&skip_rows=1")
    (dataset,) = opened.datasets()
    (split,) = opened.splits(dataset, 1)
    batches = [b for b in opened.read(Read(dataset, split, batch_rows=8)) if b.rows.num_rows]
    assert [row["n"] for b in batches for row in b.rows.to_pylist()] == list(range(1, 30))
    rest = opened.read(Read(dataset, split, after=batches[1].position, batch_rows=8))
    assert [row["n"] for b in rest for row in b.rows.to_pylist()] == list(range(17, 30))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("?layout=a:1-5,b:5-9", "overlap"),
        ("?layout=a:1-2,a:3-4", "two columns"),
        ("?layout=a", "cannot read"),
        ("?format=fixed", "needs a layout"),
        ("?layout=a:1-2&encoding=utf-16", "counted in characters"),
    ],
)
def test_layouts_that_cannot_be(desk: Any, tmp_path: Path, options: str, message: str) -> None:
    (tmp_path / "x.txt").write_text("ab\n")
    with pytest.raises(InvalidSettingsError, match=message):
        desk.rows(tmp_path / "x.txt", options)


TABLE = pa.table({"name": ["螺栓", "轴承盖", None], "n": [1, 22, None], "w": [1.5, None, 2.0]})


@pytest.mark.parametrize("counted", ["bytes&encoding=gb18030", "characters"])
def test_written_files_come_back(desk: Any, tmp_path: Path, counted: str) -> None:
    options = f"?layout=name:1-8,n:10-14:int64,w:15-20:double:left&counted={counted}"
    desk.put(tmp_path / "x.dat", TABLE, options)
    assert desk.rows(tmp_path / "x.dat", options) == [
        *TABLE.slice(0, 2).to_pylist(),
        {"name": None, "n": None, "w": 2.0},
    ]
    desk.put(tmp_path / "x.dat", TABLE, options, mode=WriteMode.APPEND, run="again")
    assert len(desk.rows(tmp_path / "x.dat", options)) == 6


def test_places_are_kept_in_bytes(desk: Any, tmp_path: Path) -> None:
    desk.put(tmp_path / "x.dat", TABLE, "?layout=name:1-8,n:10-14,w:15-20&encoding=gb18030")
    assert (tmp_path / "x.dat").read_bytes().decode("gb18030").split("\n")[:2] == [
        "螺栓         1   1.5",
        "轴承盖      22      ",
    ]


def test_values_too_wide_are_refused_and_unplaced_columns_too(desk: Any, tmp_path: Path) -> None:
    table = pa.table({"a": ["螺栓", "螺栓螺栓", "x\ny"]})
    opened, write = desk.sink(tmp_path / "x.dat", "?layout=a:1-6&encoding=gb18030"), desk.writing(table)
    opened.start(write.sync, write.run, False)
    opened.open(write)
    opened.begin(write, [Split("0", "orders")])
    session = opened.session(write, Split("0", "orders"))
    written = session.write(table)
    session.close()
    opened.close()
    assert [bad.message for bad in written.refused] == [
        "a: '螺栓螺栓' is wider than 6 bytes", "a: a value holds a line end",
    ]  # fmt: skip
    with pytest.raises(SchemaError, match="differ in b"):
        desk.put(tmp_path / "y.dat", TABLE.select(["n"]).rename_columns(["b"]), "?layout=c:1-2")
