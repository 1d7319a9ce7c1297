"""What a shell may give as standard output: closed, full, of an encoding without Chinese; and Ctrl-C at any moment."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.exceptions import Exit

from tongqu.app.cli import main as entry
from tongqu.testing.command_line import environment, query

SYNC = "sync file:零件.csv sqlite:plant.db --lang zh"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "零件.csv").write_text("编号,名称\n1,轴承 ✓\n2,😀\n", encoding="utf-8")
    return tmp_path


def shell(folder: Path, arguments: str, where: str = "", **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command of the shell's, whose outputs it redirects."""
    line = f"{shlex.quote(sys.executable)} -m tongqu {arguments} {where}"
    known = environment(folder, **environ)
    return subprocess.run(["/bin/sh", "-c", line], check=False, cwd=folder, env=known, capture_output=True, timeout=60)


@pytest.mark.parametrize("encoding", ["gbk", "ascii"])
def test_characters_that_the_encoding_lacks_are_written_as_escapes(folder: Path, encoding: str) -> None:
    done = shell(folder, SYNC, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert query(folder / "plant.db", "select count(*) from 零件") == [(2,)]
    listed = shell(folder, "profile file:零件.csv --json", PYTHONIOENCODING=encoding)
    assert json.loads(listed.stdout.decode(encoding))["columns"][1]["max"] == "😀"


def test_output_that_is_closed_is_no_error(folder: Path) -> None:
    done = shell(folder, SYNC, ">&- 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert query(folder / "plant.db", "select count(*) from 零件") == [(2,)]


@pytest.mark.parametrize("option", ["", "--json"])
def test_output_that_cannot_be_written_is_said_without_a_traceback(folder: Path, option: str) -> None:
    done = shell(folder, f"{SYNC} {option}", ">/dev/full")
    assert done.returncode == 1
    assert "[output]" in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    assert query(folder / "plant.db", "select count(*) from 零件") == [(2,)]


def test_progress_that_nobody_reads_stops_nothing(folder: Path) -> None:
    assert shell(folder, f"{SYNC} --progress jsonl", "2>/dev/full").returncode == 0
    assert query(folder / "plant.db", "select count(*) from 零件") == [(2,)]


def _typer() -> None:
    raise Exit(130) from KeyboardInterrupt()  # what typer makes of it


def _anywhere() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("interrupted", [_typer, _anywhere])
def test_an_interrupt_before_anything_ran_is_a_document_too(
    interrupted: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entry, "application", interrupted)
    with pytest.raises(SystemExit) as left:
        entry.main(["sync", "--json"])
    assert left.value.code == 1
    assert json.loads(capsys.readouterr().out)["problems"][0]["code"] == "run.cancelled"
