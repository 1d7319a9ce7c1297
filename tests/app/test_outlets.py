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


@pytest.mark.parametrize("arguments", ["--help", "sync --help"])
def test_help_that_cannot_be_written_is_no_defect_of_ours(folder: Path, arguments: str) -> None:
    done = shell(folder, arguments, ">/dev/full")
    assert done.returncode == 1
    assert "[output]" in done.stderr.decode()
    assert "[internal]" not in done.stderr.decode()


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


_LATE = """
import os, signal, sys
from importlib.abc import MetaPathFinder

class CtrlC(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "tongqu.app.cli.main":
            os.kill(os.getpid(), signal.SIGINT)
            with open("/proc/self/cmdline", "rb") as title:
                sys.stderr.write(repr(title.read()) + "\\n")

sys.meta_path.insert(0, CtrlC())
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where tests run in the background
sys.argv[0] = "tongqu"
from tongqu.__main__ import main
main()
"""


def test_before_anything_is_loaded_the_title_is_clear_and_ctrl_c_no_traceback(folder: Path) -> None:
    arguments = ["sync", "postgresql://app:hunter2-secret@127.0.0.1:1/db", "sqlite:b.db", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", _LATE, *arguments],
        check=False,
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["problems"][0]["code"] == "run.cancelled"
    told = done.stderr.decode()
    assert "app:**************@127.0.0.1" in told
    assert "hunter2" not in told
    assert "Traceback" not in told
