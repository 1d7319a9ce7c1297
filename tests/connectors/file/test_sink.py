"""Files are written once, whatever happens on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core.data import BadRow, Checkpoint, Counts, Dataset, Split, Write, WriteMode
from tongqu.core.errors import (
    BusyError,
    FencedError,
    InvalidPlanError,
    SchemaError,
)

# ---- writing

TABLE = pa.table({"id": [1, 2, 3, 4], "plant": ["上海", "苏州", "上海", None]})


@pytest.mark.parametrize("name", ["o.csv", "o.csv.gz", "o.jsonl.zst", "o.parquet", "o.arrow"])
def test_replace_keeps_the_old_content_and_append_adds(desk: Any, tmp_path: Path, name: str) -> None:
    desk.put(tmp_path / name, TABLE)
    desk.put(tmp_path / name, TABLE.slice(0, 2), run="r2")
    assert desk.rows(tmp_path / name) == TABLE.slice(0, 2).to_pylist()
    assert (tmp_path / f".{name}.previous").exists()
    desk.put(tmp_path / name, TABLE.slice(2), run="r3", mode=WriteMode.APPEND)
    assert desk.rows(tmp_path / name) == TABLE.to_pylist()


def test_append_mends_a_missing_line_end_and_refuses_other_columns(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_text("id,plant\n0,北京")
    desk.put(tmp_path / "o.csv", TABLE, mode=WriteMode.APPEND)
    assert [r["id"] for r in desk.rows(tmp_path / "o.csv")] == [0, 1, 2, 3, 4]
    wider = TABLE.select(["id"]).append_column("more", pa.array([0] * TABLE.num_rows))
    with pytest.raises(SchemaError, match="keeps its header"):
        desk.put(tmp_path / "o.csv", wider, mode=WriteMode.APPEND, run="r2")


def test_a_folder_gets_one_file_a_stream(desk: Any, tmp_path: Path) -> None:
    desk.put(f"{tmp_path}/out/", TABLE, name="orders")
    desk.put(f"{tmp_path}/out/", TABLE, "?format=csv", name="lines")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [".tongqu", "lines.csv", "orders.parquet"]
    assert [d.name for d in desk.source(f"{tmp_path}/out/").datasets()] == ["lines", "orders"]


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl", "arrow"])
def test_partitions_are_folders(desk: Any, tmp_path: Path, form: str) -> None:
    options = f"?format={form}&partition=plant"
    desk.put(f"{tmp_path}/out/", TABLE, options)
    desk.put(f"{tmp_path}/out/", TABLE, options, run="r2", mode=WriteMode.APPEND)
    assert sorted(desk.rows(tmp_path / "out/orders"), key=str) == sorted(TABLE.to_pylist() * 2, key=str)
    desk.put(f"{tmp_path}/out/", TABLE, options, run="r3")
    assert sorted(desk.rows(tmp_path / "out/orders"), key=str) == sorted(TABLE.to_pylist(), key=str)
    assert (tmp_path / "out/.orders.previous").is_dir()


def test_characters_an_encoding_lacks_are_refused_rows(desk: Any, tmp_path: Path) -> None:
    write = desk.writing(TABLE)
    desk.put(tmp_path / "o.csv", TABLE, "?encoding=gb2312")
    assert "上海" in (tmp_path / "o.csv").read_bytes().decode("gb18030")
    opened = desk.sink(tmp_path / "p.csv", "?encoding=cp1252")
    opened.start(write.sync, write.run, False)
    opened.open(write)
    opened.begin(write, [Split("0", "o")])
    session = opened.session(write, Split("0", "o"))
    written = session.write(TABLE)
    session.close()
    assert (written.inserted, [r.code for r in written.refused]) == (1, ["data.refused"] * 3)
    opened.close()


def test_nothing_is_visible_before_finish_and_a_cut_run_goes_on(desk: Any, tmp_path: Path) -> None:
    path = tmp_path / "o.csv"
    path.write_text("id,plant\n0,old\n")
    write, split = desk.writing(TABLE), Split("0", "orders", {"k": 1})
    first = desk.sink(path)
    first.start("s", "r1", False)
    assert first.open(write).checkpoints == {}
    first.begin(write, [split])
    dirty = BadRow("check", "data.quality", "id", "x", "{}", "too large")
    desk.chunk(first, write, TABLE.slice(0, 2), split, 1, dirty)
    session = first.session(write, split)
    session.write(TABLE.slice(2))
    session.close()  # never committed
    first.close()
    assert path.read_text() == "id,plant\n0,old\n"
    second = desk.sink(path)
    assert second.start("s", "r2", False).run == "r1"
    opened = second.open(write)
    assert opened.fence == 2
    stored = opened.checkpoints["0"]
    assert (stored.position, stored.split.spec, stored.counts.inserted, stored.done) == ({"at": 1}, {"k": 1}, 2, False)
    desk.chunk(second, write, TABLE.slice(2), split, 2)
    assert second.finish(write, Counts(), {"at": 2}).inserted == 4
    assert second.finish(write, Counts(), {"at": 2}).inserted == 4
    assert second.open(write).finished
    second.end("s", "r1", [write])
    assert [(r["field"], r["message"], r["run"]) for r in second.quarantined()] == [("id", "too large", "r1")]
    assert second.start("s", "r3", False).run == "r3"
    second.close()
    assert desk.rows(path) == TABLE.to_pylist()


def test_restart_discards(desk: Any, tmp_path: Path) -> None:
    write, split = desk.writing(TABLE), Split("0", "orders")
    first = desk.sink(tmp_path / "o.csv")
    first.start("s", "r1", False)
    first.open(write)
    first.begin(write, [split])
    desk.chunk(first, write, TABLE, split, 1, BadRow("s", "c", "f", "v", "{}", "m"))
    first.close()
    second = desk.sink(tmp_path / "o.csv")
    assert second.start("s", "r2", True).run == "r2"
    opened = second.open(desk.writing(TABLE, run="r2"))
    assert (opened.checkpoints, second.quarantined()) == ({}, [])
    second.close()


def test_a_second_process_is_told_at_once(desk: Any, tmp_path: Path) -> None:
    first, second = desk.sink(tmp_path / "o.csv"), desk.sink(tmp_path / "o.csv")
    first.start("s", "r1", False)
    first.open(desk.writing(TABLE))
    with pytest.raises(BusyError, match="pid"):
        second.start("s", "r1", False)
    with pytest.raises(BusyError):
        other = Write("orders", Dataset("orders", TABLE.schema), WriteMode.REPLACE, "another sync", "r9")
        second.start("another sync", "r9", False)
        second.open(other)
    first.close()
    second.close()


def test_a_commit_after_a_takeover_is_refused(desk: Any, tmp_path: Path) -> None:
    write, split = desk.writing(TABLE), Split("0", "orders")
    first = desk.sink(tmp_path / "o.csv")
    first.start("s", "r1", False)
    first.open(write)
    first.begin(write, [split])
    session = first.session(write, split)
    session.write(TABLE)
    ledger = next(p for p in (tmp_path / ".tongqu/files").glob("*/orders*.json"))
    ledger.write_text(ledger.read_text().replace('"fence":1', '"fence":2'))
    with pytest.raises(FencedError):
        session.commit(Checkpoint(split, None, Counts()))
    session.close()
    first.close()


_KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import pyarrow as pa
from conftest import Desk, WriteMode
with pa.ipc.open_file(sys.argv[5]) as file:
    Desk.put(sys.argv[1], file.read_all(), sys.argv[3], mode=WriteMode(sys.argv[4]), run="r2")
"""


@pytest.mark.crash
@pytest.mark.parametrize("mode", ["replace", "append"])
@pytest.mark.parametrize("options", ["", "?format=parquet&partition=plant"])
@pytest.mark.parametrize("point", ["mid_write:2", "in_commit", "in_commit:2", "in_finish", "after_swap"])
def test_killed_anywhere_the_run_completes_once(desk: Any, tmp_path: Path, mode: str, options: str, point: str) -> None:
    place = f"{tmp_path}/out/" if options else f"{tmp_path}/orders.csv"
    read = tmp_path / "out/orders" if options else tmp_path / "orders.csv"
    before = TABLE.slice(0, 1)
    desk.put(place, before, options, run="r1")
    with pa.ipc.new_file(str(tmp_path / "rows"), TABLE.schema) as file:
        file.write_table(TABLE)
    command = [sys.executable, "-c", _KILLED, place, str(Path(__file__).parent), options, mode, str(tmp_path / "rows")]
    died = subprocess.run(command, env={**os.environ, "TONGQU_CRASH_AT": point}, check=False, capture_output=True)
    assert died.returncode == -9, died.stderr.decode()
    write, split = desk.writing(TABLE, WriteMode(mode), run="r2"), Split("0", "orders")
    again = desk.sink(place, options)
    assert again.start("s", "r9", False).run == "r2"
    opened = again.open(write)
    done = (opened.checkpoints["0"].position or {"at": 0})["at"]
    if done < 1:
        desk.chunk(again, write, TABLE.slice(0, 2), split, 1)
    if done < 2:
        desk.chunk(again, write, TABLE.slice(2), split, 2)
    assert again.finish(write, Counts(), None).inserted == 4
    again.close()
    expected = TABLE.to_pylist() + (before.to_pylist() if mode == "append" else [])
    assert sorted(desk.rows(read), key=str) == sorted(expected, key=str)


def test_modes_that_files_lack_are_named(desk: Any, tmp_path: Path) -> None:
    opened = desk.sink(tmp_path / "o.csv")
    with pytest.raises(InvalidPlanError) as caught:
        opened.open(desk.writing(TABLE, WriteMode.UPSERT))
    assert caught.value.hint == "valid write modes: append, replace"
    assert list(opened.check()) == ["folder", "write"]
    assert list(tmp_path.iterdir()) == []
