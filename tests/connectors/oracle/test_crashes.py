"""A process that follows Oracle's redo is killed where it hurts, and every change is there once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb

from tongqu.testing.command_line import environment

PLAYING = Path(__file__).with_name("playing.py")
COMMAND = ("sync", "oracle://etl:x@127.0.0.1:1521/PLANT?settle_seconds=0", "duckdb:lake.duckdb", "--mode", "cdc",
           "--write", "append", "--table", "items", "--until-caught-up", "--json")  # fmt: skip


def run(folder: Path, stage: int, times: int, crash: str = "") -> int:
    more = {"TONGQU_CRASH_AT": crash} if crash else {}
    done = subprocess.run(
        [sys.executable, str(PLAYING), str(stage), str(times), *COMMAND], cwd=folder, env=environment(folder, **more),
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert crash or done.returncode == 0, done.stdout + done.stderr
    return done.returncode


def test_every_change_is_there_once_whenever_a_process_dies(tmp_path: Path) -> None:
    assert run(tmp_path, 0, 1, "after_begin") != 0
    run(tmp_path, 0, 2)
    assert run(tmp_path, 2, 3, "before_commit") != 0
    assert run(tmp_path, 2, 4, "after_commit") != 0
    assert run(tmp_path, 3, 5, "after_acknowledge") != 0
    run(tmp_path, 3, 6)
    with duckdb.connect(str(tmp_path / "lake.duckdb")) as lake:
        found = lake.sql("SELECT _op, id, v FROM items ORDER BY ALL").fetchall()
    assert found == sorted([
        *(("r", key, "old") for key in (1, 2, 3)), ("c", 4, "begun before the log"),
        *(("u", 1, f"stage {n}") for n in (1, 2, 3)), *(("c", 100 + n, "new") for n in (1, 2, 3)),
    ]), "what is still open is not there"  # fmt: skip
