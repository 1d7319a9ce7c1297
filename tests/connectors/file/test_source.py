"""Files are read as they are: detected, typed, resumable, bad rows set aside."""

from __future__ import annotations

import gzip
import os
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tongqu.core.data import Mode, Read
from tongqu.core.errors import (
    InvalidPlanError,
    LostPositionError,
    NotFoundError,
    ReadError,
    RefusedRowsError,
)

# ---- reading


def test_gb18030_is_detected_and_named(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "erp.csv").write_bytes("编号,名称,重量\r\n1,螺栓 M8,0.35\r\n2,轴承盖,1.20\r\n".encode("gbk"))
    opened = desk.source(tmp_path / "erp.csv")
    assert list(opened.check()) == ["path", "erp.csv (csv, gb18030, delimiter ',', header)"]
    assert desk.rows(tmp_path / "erp.csv")[0] == {"编号": 1, "名称": "螺栓 M8", "重量": Decimal("0.35")}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030"])
def test_encodings_are_detected(desk: Any, tmp_path: Path, encoding: str) -> None:
    (tmp_path / "x.csv").write_bytes("名称,数量\n工序一,5\n检验合格,6\n".encode(encoding))
    assert desk.rows(tmp_path / "x.csv") == [{"名称": "工序一", "数量": 5}, {"名称": "检验合格", "数量": 6}]


def test_an_unclear_encoding_is_asked_for(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("이름,값\n한국어문자열,1\n서울특별시,2\n".encode("euc-kr"))
    with pytest.raises(ReadError, match=r"candidates: .*gb18030") as caught:
        desk.source(tmp_path / "x.csv").datasets()
    assert "encoding=" in caught.value.hint
    assert desk.rows(tmp_path / "x.csv", "?encoding=euc-kr")[0] == {"이름": "한국어문자열", "값": 1}


def test_bytes_that_are_not_valid_make_a_bad_row(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"a,b\n1,ok\n2,\xff\n3,fine\n")
    assert [r["a"] for r in desk.rows(tmp_path / "x.csv", "?encoding=utf-8")] == [1, 3]
    (found,) = desk.bad(tmp_path / "x.csv", "?encoding=utf-8")
    assert (found.field, found.value, found.code) == ("b", "\\xff", "data.cast")
    (tmp_path / "g.csv").write_bytes("a,b\n1,好\n2,".encode("gb18030") + b"\xff\n")
    assert [found.field for found in desk.bad(tmp_path / "g.csv", "?encoding=gb18030")] == ["b"]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_delimiters_are_detected(desk: Any, tmp_path: Path, delimiter: str) -> None:
    (tmp_path / "x.txt").write_text(f"a{delimiter}b\r\n1{delimiter}x y\r\n", newline="")
    assert desk.rows(tmp_path / "x.txt") == [{"a": 1, "b": "x y"}]


def test_empty_and_quoted_empty_differ(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('a,b\n,""\n"",\n')
    assert desk.rows(tmp_path / "x.csv") == [{"a": None, "b": ""}, {"a": "", "b": None}]


def test_types_are_as_narrow_as_keeps_every_value(desk: Any, tmp_path: Path) -> None:
    text = (
        "int,code,big,money,mixed,long,date,stamp,zone,bool,nan\n"
        "1,00123,18446744073709551616,1.50,1,0.12345678901234567,2024-01-01,2024-01-01 10:00:00,"
        "2024-01-01T10:00:00+08:00,true,nan\n"
        "-5,7,1,22.25,1.5,12,2024-02-29,2024-01-01,2024-01-01T10:00Z,false,1\n"
    )
    (tmp_path / "x.csv").write_text(text)
    assert desk.types(tmp_path / "x.csv") == {
        "int": "int64", "code": "string", "big": "decimal128(20, 0)", "money": "decimal128(4, 2)", "mixed": "double",
        "long": "decimal128(19, 17)", "date": "date32[day]", "stamp": "timestamp[us]", "zone": "timestamp[us, tz=UTC]",
        "bool": "bool", "nan": "double",
    }  # fmt: skip
    assert set(desk.types(tmp_path / "x.csv", "?types=text").values()) == {"string"}


def test_headings(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("编号,,编号,编号_2\nx,y,z,w\n")
    assert list(desk.types(tmp_path / "x.csv")) == ["编号", "column_2", "编号_3", "编号_2"]
    (tmp_path / "n.csv").write_text("1,x\n2,y\n")
    assert desk.rows(tmp_path / "n.csv") == [{"column_1": 1, "column_2": "x"}, {"column_1": 2, "column_2": "y"}]
    (tmp_path / "t.csv").write_text("Report of May\n\na,b\n1,2\n")
    assert desk.rows(tmp_path / "t.csv", "?skip_rows=2") == [{"a": 1, "b": 2}]


def test_dialect_settings(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("a;b\n1,5;NA\n2,25;\n")
    assert desk.rows(tmp_path / "x.txt", "?delimiter=;&decimal=,&null=NA&encoding=utf-8&header=true") == [
        {"a": 1.5, "b": None}, {"a": 2.25, "b": ""},
    ]  # fmt: skip


def test_rows_that_cannot_be_read_are_set_aside_with_their_line(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('id,note\n1,"two\nlines"\n2\n3,a,b\n\nx,word\n5,5" pipe\n6,"open\n')
    opened = desk.source(tmp_path / "x.csv", "?types=id:int64")
    (dataset,) = opened.datasets()
    found = list(desk.batches(opened, dataset))
    assert [row for b in found for row in b.rows.to_pylist()] == [
        {"id": 1, "note": "two\nlines"},
        {"id": 5, "note": '5" pipe'},
    ]
    assert [(b.code, b.message.partition(":")[0]) for part in found for b in part.bad] == [
        ("data.schema", "line 4"), ("data.schema", "line 5"), ("data.cast", "line 7"), ("data.schema", "line 9"),
    ]  # fmt: skip
    cast = next(b for part in found for b in part.bad if b.code == "data.cast")
    assert (cast.step, cast.field, cast.value, cast.original) == ("read", "id", "x", '{"id": "x", "note": "word"}')


def test_json_lines_learn_mixed_and_long_values(desk: Any, tmp_path: Path) -> None:
    lines = [
        '{"a":1,"b":"x","n":12345678901234567.25,"d":"2024-01-01"}',
        '{"a":"one","b":null,"n":1,"e":[1]}',
        "oops",
        '{"a":true}',
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    assert desk.rows(tmp_path / "x.jsonl") == [
        {"a": "1", "b": "x", "n": Decimal("12345678901234567.25"), "d": date(2024, 1, 1), "e": None},
        {"a": "one", "b": None, "n": Decimal("1.00"), "d": None, "e": [1]},
        {"a": "true", "b": None, "n": None, "d": None, "e": None},
    ]
    (found,) = desk.bad(tmp_path / "x.jsonl")
    assert found.original == '{"line": 3, "raw": "oops"}'


def test_a_json_array_is_read_like_lines(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('[\n {"a": 1,\n  "b": "x"},\n {"a": 2}\n]\n')
    assert desk.rows(tmp_path / "x.json") == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]


def test_globs_folders_and_partitions(desk: Any, tmp_path: Path) -> None:
    for year, name in ((2025, "a"), (2026, "b")):
        folder = tmp_path / "orders" / f"year={year}" / "plant=%E4%B8%8A"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"id": [year]}), folder / f"{name}.parquet")
    expected = [{"id": 2025, "year": 2025, "plant": "上"}, {"id": 2026, "year": 2026, "plant": "上"}]
    assert desk.rows(tmp_path / "orders") == expected
    assert desk.rows(tmp_path / "orders/**/*.parquet") == expected
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed/a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "mixed/b.csv").write_text("y,z\n2.5,t\n")
    (tmp_path / "mixed/_tongqu_x.csv").write_text("q\n1\n")
    assert [d.name for d in desk.source(tmp_path / "mixed").datasets()] == ["a", "b"]
    assert [d.name for d in desk.source(tmp_path / "mixed").datasets(["b"])] == ["b"]
    assert desk.rows(tmp_path / "mixed/*.csv") == [{"x": 1, "y": 2.0, "z": None}, {"x": None, "y": 2.5, "z": "t"}]
    opened = desk.source(tmp_path / "mixed/*.csv")
    (dataset,) = opened.datasets()
    assert dataset.name == "mixed"
    assert [split.id for split in opened.splits(dataset, 4)] == ["a.csv", "b.csv"]
    assert len(opened.splits(dataset, 1)) == 1


@pytest.mark.parametrize("name", ["o.csv", "o.csv.gz", "o.csv.zst", "o.jsonl", "o.parquet", "o.arrow"])
def test_a_read_cut_after_any_batch_goes_on_exactly(desk: Any, tmp_path: Path, name: str) -> None:
    table = pa.table({"id": list(range(50)), "note": [f'"{i}"\n行' if i % 7 == 0 else f"n{i}" for i in range(50)]})
    desk.put(tmp_path / name, table)
    opened = desk.source(tmp_path / name)
    (dataset,) = opened.datasets()
    whole = list(desk.batches(opened, dataset, batch_rows=7))
    assert [row for b in whole for row in b.rows.to_pylist()] == table.to_pylist()
    assert whole[-1].position is not None and whole[-1].position["end"]
    for number, cut in enumerate(whole):
        rest = list(desk.batches(desk.source(tmp_path / name), dataset, batch_rows=5, after=cut.position))
        expected = [row for b in whole[number + 1 :] for row in b.rows.to_pylist()]
        assert [row for b in rest for row in b.rows.to_pylist()] == expected
        until = list(desk.batches(opened, dataset, batch_rows=5, until=cut.position))
        assert [row for b in until for row in b.rows.to_pylist()] == table.to_pylist()[: table.num_rows - len(expected)]
        assert until[-1].position == cut.position


def test_utf16_resumes_too(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(
        "a,b\n".encode("utf-16") + "".join(f"{i},中\n" for i in range(20)).encode("utf-16-le")
    )
    opened = desk.source(tmp_path / "x.csv")
    (dataset,) = opened.datasets()
    first, *_ = desk.batches(opened, dataset, batch_rows=6)
    rest = [r["a"] for b in desk.batches(opened, dataset, after=first.position) for r in b.rows.to_pylist()]
    assert rest == list(range(6, 20))


def test_a_changed_file_stops_a_resumed_run(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n")
    opened = desk.source(tmp_path / "x.csv")
    (dataset,) = opened.datasets()
    (split,) = opened.splits(dataset, 1)
    (tmp_path / "x.csv").write_text("a\n1\n2\n")
    with pytest.raises(LostPositionError, match="has changed") as caught:
        list(opened.read(Read(dataset, split)))
    assert "--restart" in caught.value.hint


def test_a_cursor_and_other_modes_are_refused(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n")
    opened = desk.source(tmp_path / "x.csv")
    (dataset,) = opened.datasets()
    with pytest.raises(InvalidPlanError, match="no cursor column"):
        opened.horizon(dataset, "a", None)
    with pytest.raises(InvalidPlanError, match="no mode"):
        list(desk.batches(opened, dataset, mode=Mode.CDC))


def test_large_files_are_inferred_from_a_sample(desk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tongqu.connectors.file.layout.SCAN", 1000)
    monkeypatch.setattr("tongqu.connectors.file.layout._HEAD", 1000)
    lines = [f"{i},x" for i in range(1_300_000)]
    lines[-1] = "A-1,y"
    objects = "".join(f'{{"code":{i}}}\n' for i in range(700_000)) + '{"code":"A-1"}\n'
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(("code,note\n" + "\n".join(lines) + "\n").encode(), 1))
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(objects.encode(), 1))
    for name in ("x.csv.gz", "x.jsonl.gz"):
        assert desk.types(tmp_path / name)["code"] == "int64"
        (found,) = desk.bad(tmp_path / name)
        assert (found.field, found.code) == ("code", "data.cast")
        assert desk.types(tmp_path / name, "?infer=all")["code"] == "string"
        assert desk.bad(tmp_path / name, "?infer=all") == []
    (tmp_path / "plain.csv").write_text("code,note\n" + "\n".join(lines) + "\n")
    assert desk.types(tmp_path / "plain.csv")["code"] == "string"  # places spread over the file are looked at


# ---- raw bytes


def test_csv_passes_as_it_stands(desk: Any, tmp_path: Path) -> None:
    body = 'a1,"x,\n""y"""\n' * 10 + ',\n"",last'
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(f"id,note\n{body}".encode()))
    opened = desk.source(tmp_path / "x.csv.gz")
    (dataset,) = opened.datasets()
    assert opened.formats == ("csv",)
    chunks = desk.passed(opened, dataset, chunk_rows=5)
    assert b"".join(bytes(part) for c in chunks for part in c.chunks).decode() == body
    assert [c.rows() for c in chunks] == [5, 5, 2]
    assert [c.last for c in chunks] == [False, False, True]
    assert chunks[0].options == {"delimiter": ",", "quote": '"', "escape": '"', "null": ""}
    again = desk.passed(opened, dataset, chunk_rows=5, after=chunks[0].position)
    assert [c.rows() for c in again] == [5, 2]
    columnar = list(desk.batches(opened, dataset, until=chunks[0].position))
    assert sum(b.rows.num_rows for b in columnar) == 5
    assert columnar[-1].position == chunks[0].position


@pytest.mark.parametrize("line", ['5" pipe,x', 'a"b",x', "\\.", '1,"open'])
def test_what_readers_understand_differently_is_refused(desk: Any, tmp_path: Path, line: str) -> None:
    (tmp_path / "x.csv").write_text(f"id,note\n1,b\n{line}\n")
    opened = desk.source(tmp_path / "x.csv")
    (dataset,) = opened.datasets()
    (chunk,) = desk.passed(opened, dataset)
    with pytest.raises(RefusedRowsError):
        list(chunk.chunks)


def test_digits_a_database_would_round_away_do_not_pass(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("price,at\n1.50,2024-01-01T10:00:00\n2.125,2024-01-01T10:00:00\n")
    opened = desk.source(tmp_path / "x.csv", "?types=price:decimal(9,2)")
    (dataset,) = opened.datasets()
    (chunk,) = desk.passed(opened, dataset)
    with pytest.raises(RefusedRowsError):
        list(chunk.chunks)
    assert [found.value for found in desk.bad(tmp_path / "x.csv", "?types=price:decimal(9,2)")] == ["2.125"]


def test_other_encodings_do_not_pass(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("名称\n检验合格\n".encode("gb18030"))
    opened = desk.source(tmp_path / "x.csv")
    (dataset,) = opened.datasets()
    assert opened.formats == ()
    with pytest.raises(InvalidPlanError):
        desk.passed(opened, dataset)


def test_missing_files_and_damaged_ones_are_explained(desk: Any, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        desk.source(tmp_path / "none.csv").datasets()
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(os.urandom(4000).hex().encode())[:-20])
    with pytest.raises(ReadError, match="damaged or cut off"):
        desk.source(tmp_path / "x.csv.gz", "?encoding=utf-8").datasets()
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ReadError, match="no Parquet"):
        desk.source(tmp_path / "x.parquet").datasets()
    (tmp_path / "e.csv").write_bytes(b"")
    with pytest.raises(ReadError, match="empty"):
        desk.source(tmp_path / "e.csv").datasets()
