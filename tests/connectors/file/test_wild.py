"""Files as they come: what Arrow would stumble over, and what must not be taken for an empty table."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from tongqu.core.errors import ReadError

LONG = "x" * 5_000_000


def test_a_field_may_be_longer_than_a_block(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(f"id,v\n1,{LONG}\n2,y\n")
    (tmp_path / "x.jsonl").write_text(f'{{"id":1,"v":"{LONG}"}}\n{{"id":2,"v":"y"}}\n')
    expected = [{"id": 1, "v": LONG}, {"id": 2, "v": "y"}]
    assert desk.rows(tmp_path / "x.csv") == expected
    assert desk.rows(tmp_path / "x.jsonl") == expected


@pytest.mark.parametrize("text", ["null\n", 'null\n{"id":1}\n', '{"id":1}\n  null\n{"id":2}\n'])
def test_a_line_that_is_null_is_a_bad_row(desk: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "x.jsonl").write_text(text)
    assert [row["id"] for row in desk.rows(tmp_path / "x.jsonl")] == [n for n in (1, 2) if f":{n}}}" in text]
    [bad] = desk.bad(tmp_path / "x.jsonl")
    assert "not a JSON object" in bad.message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"id,name\r1,a\r2,b\r", "lines end with a bare carriage return"),
        (b"id,name\r1,a\n2,b\n", "lines end with a bare carriage return"),
        (gzip.compress(b"id\n1\n", mtime=0), "is no text but gz data"),
        (b"PK\x03\x04...", "is no text but zip data"),
    ],
)
def test_what_would_look_like_an_empty_table_is_refused(desk: Any, tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(ReadError, match=said):
        desk.rows(tmp_path / "x.csv")


def test_one_zero_byte_does_not_make_a_file_utf_16(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"a,b\n1,x\0y\n")
    assert desk.rows(tmp_path / "x.csv") == [{"a": 1, "b": "x\0y"}]


def test_a_line_separator_is_no_line_end(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,na\u2028me\n1,a\x85b\n", encoding="utf-8")
    assert desk.rows(tmp_path / "x.csv") == [{"id": 1, "na\u2028me": "a\x85b"}]
