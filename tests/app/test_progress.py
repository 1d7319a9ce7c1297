"""What a person sees while data moves: a live table on a terminal, remarks elsewhere, a table at the end."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tongqu.app import messages
from tongqu.app.progress import Quiet, summary
from tongqu.app.services.execution import Recorder, Run
from tongqu.core.data import Counts, Mode
from tongqu.core.events import Committed, Followed, LaneChanged, Retrying, StreamPlanned, Warned
from tongqu.store.home import Home
from tongqu.store.runs import Runs, Started
from tongqu.store.scrub import Scrubber
from tongqu.testing.command_line import environment, make, tongqu


def test_a_terminal_gets_a_live_table(tmp_path: Path) -> None:
    make(tmp_path / "a.db", "orders", "id INTEGER PRIMARY KEY", ((n,) for n in range(1000)))
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "tongqu", "sync", "sqlite:a.db", "sqlite:b.db"],
        cwd=tmp_path,
        env=environment(tmp_path, TERM="xterm", COLUMNS="120"),
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    ) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                part = os.read(ours, 65_536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            seen += part
        out, _ = process.communicate(timeout=30)
    os.close(ours)
    assert process.returncode == 0
    for word in (b"stream", b"left", b"orders", b"columnar"):
        assert word in seen
    assert "1,000" in out


def test_what_a_person_must_know_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    messages.use("en")
    with Quiet(lambda text: text.replace("secret", "***")) as tell:
        tell(Retrying("r", "orders", "0", "connection lost: secret", 2, 0.4))
        tell(LaneChanged("r", "orders", "0", "a row is too long"))
        tell(Warned("r", "orders", "x", "look here"))
    assert capsys.readouterr().err.splitlines() == [
        "orders: connection lost: ***; attempt 2 in 0.4 s",
        "orders: a chunk left the pass lane: a row is too long",
        "orders: look here",
    ]


def test_the_summary_has_a_row_a_stream() -> None:
    messages.use("en")
    stream = {"name": "t", "lane": "pass", "read": 1200, "written": 1000, "filtered": 200, "quarantined": 0,
              "seconds": 0.5, "status": "succeeded"}  # fmt: skip
    heading, row = summary({"status": "succeeded", "streams": [stream]})
    assert dict(zip(heading, row, strict=True)) == {
        "stream": "t",
        "lane": "pass",
        "read": "1,200",
        "written": "1,000",
        "filtered": "200",
        "quarantined": "0",
        "seconds": "0.50",
        "rate": "2,000/s",
        "status": "succeeded",
    }


def test_runs_that_follow_a_log_are_shown_while_they_run_and_after_they_were_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Runs.open(Home(tmp_path / "home"))
    record = Recorder(Run("sync", "sync a b", ()), lambda: store, Scrubber())
    record(StreamPlanned("r1", "orders", "columnar", Mode.CDC, "upsert"))
    record(Followed("r1", "orders", 0.1, {}))
    record(Committed("r1", "orders", "log", Counts(read=7, inserted=7)))
    store.begin(Started("r2", "twoway", "twoway run s"))
    store.progress("r2", [{"name": "two_way", "read": 2, "written": 1, "quarantined": 0}])
    shown = [tongqu(tmp_path, "runs", "show", run) for run in ("r1", "r2")]
    record.finish("r1", {"streams": []})
    assert [done.code for done in shown] == [0, 0], shown[0].err + shown[1].err
    assert "columnar" in shown[0].out
    assert "two_way" in shown[1].out
