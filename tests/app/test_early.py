"""SIGTERM in the first moments of a process: commands that go on for long stop in order, others end as ever."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tongqu.testing.command_line import Done, make, start, tongqu

PROJECT = """
project: plant
connections: {erp: {type: sqlite, path: erp.db}, lake: {type: sqlite, path: lake.db}}
pipelines: {lots: {source: {connection: erp, dataset: lots}, sink: {connection: lake}}}
"""
_SECONDS = 60.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make(tmp_path / "erp.db", "lots", "id INTEGER PRIMARY KEY", [(1,), (2,)])
    (tmp_path / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    return tmp_path


def caught(process: subprocess.Popen[str]) -> bool:
    """Whether the process handles SIGTERM by now, or is over."""
    told = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    [mask] = [line.split()[1] for line in told.splitlines() if line.startswith("SigCgt:")] or ["0"]
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1) or process.poll() is not None


def ended_at_once(folder: Path, *command: str) -> Done:
    """The command, asked to stop as soon as it hears of signals at all: while Python still loads it."""
    with start(folder, *command) as process:
        until = time.monotonic() + _SECONDS
        while not caught(process):
            assert time.monotonic() < until
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=_SECONDS)
    return Done(process.returncode, out, err)


def test_what_serves_and_works_stops_in_order_from_its_first_moment_on(folder: Path) -> None:
    assert tongqu(folder, "apply").code == 0
    for command in (("serve", "--port", "0"), ("serve", "--port", "0", "--workers", "2"), ("worker", "--json")):
        done = ended_at_once(folder, *command)
        assert (command, done.code) == (command, 0), done.err
        assert "Traceback" not in done.err
    assert not (folder / "home/serve.json").exists()


def test_a_run_is_stopped_with_its_document_and_goes_on_the_next_time(folder: Path) -> None:
    done = ended_at_once(folder, "run", "lots", "--json")
    assert (done.code, done.document["status"]) == (1, "stopped"), done.err
    again = tongqu(folder, "run", "lots", "--json").document
    assert (again["status"], again["streams"][0]["written"]) == ("succeeded", 2)


def test_a_command_that_soon_ends_anyway_ends_by_the_signal(folder: Path) -> None:
    assert ended_at_once(folder, "connectors").code in (-signal.SIGTERM, 0)
