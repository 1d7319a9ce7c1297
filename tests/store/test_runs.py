"""The run store remembers runs, plans, counts and log lines."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from tongqu.core.errors import CheckpointError, NotFoundError
from tongqu.store.home import Home
from tongqu.store.runs import Runs, Started

DOCUMENT = {
    "run": "r1",
    "status": "attention",
    "attempts": 1,
    "lane": "columnar",
    "streams": [{"name": "a", "read": 10, "written": 8, "quarantined": 2}],
}


def test_a_run_is_listed_with_its_counts_plan_and_log(tmp_path: Path) -> None:
    runs = Runs.open(Home(tmp_path / "home"))
    runs.begin(Started("r1", "sync", "tongqu sync a b", ("sqlite:x.db",)))
    runs.plan("r1", "a", {"lane": "columnar", "reason": "a step needs DuckDB"})
    runs.log("r1", "info", {"event": "Committed", "read": 10})
    runs.finish("r1", DOCUMENT)

    [listed] = runs.list()
    assert {key: listed[key] for key in ("run", "status", "read", "written", "quarantined", "lane", "sinks")} == {
        "run": "r1",
        "status": "attention",
        "read": 10,
        "written": 8,
        "quarantined": 2,
        "lane": "columnar",
        "sinks": ["sqlite:x.db"],
    }
    assert runs.show("r1")["plan"] == [{"stream": "a", "lane": "columnar", "reason": "a step needs DuckDB"}]
    assert runs.show("r")["streams"] == DOCUMENT["streams"]
    [line] = runs.logs("r1")["lines"]
    assert (line["level"], line["event"], line["read"]) == ("info", "Committed", 10)
    runs.close()
    runs.close()


def test_a_resumed_run_keeps_its_start_and_log(tmp_path: Path) -> None:
    runs = Runs.open(Home(tmp_path))
    runs.begin(Started("r1", "sync", "tongqu sync a b"))
    runs.log("r1", "info", {"event": "first"})
    runs.finish("r1", {"status": "stopped", "attempts": 1})
    started = runs.show("r1")["started"]
    runs.begin(Started("r1", "sync", "tongqu sync a b"))
    assert runs.show("r1")["status"] == "running"
    assert runs.show("r1")["attempts"] == 2
    assert runs.show("r1")["started"] == started
    assert len(runs.logs("r1")["lines"]) == 1
    runs.close()


def test_a_run_whose_process_is_gone_is_interrupted(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from tongqu.store.home import Home;"
        "from tongqu.store.runs import Runs, Started;"
        "Runs.open(Home(Path(sys.argv[1]))).begin(Started('dead', 'sync', 'tongqu sync a b')); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    runs = Runs.open(Home(tmp_path))
    runs.begin(Started("alive", "sync", "tongqu sync a b"))
    assert {run["run"]: run["status"] for run in runs.list()} == {"alive": "running", "dead": "interrupted"}
    assert [run["run"] for run in runs.list(status="interrupted")] == ["dead"]
    runs.close()


def test_only_the_owner_can_read_the_store(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    Runs.open(home).close()
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.runs.stat().st_mode) == 0o600
    assert (home.path / ".gitignore").read_text(encoding="utf-8") == "*\n"


def test_runs_older_than_180_days_are_dropped_when_the_store_is_opened(tmp_path: Path) -> None:
    then = datetime(2026, 1, 1, tzinfo=UTC)
    old = Runs(tmp_path / "runs.db", clock=lambda: then)
    old.begin(Started("old", "sync", "tongqu sync a b"))
    old.log("old", "info", {"event": "x"})
    old.finish("old", {"status": "succeeded"})
    old.close()
    for days, left in ((179, ["old"]), (181, [])):
        later = then + timedelta(days=days)
        runs = Runs(tmp_path / "runs.db", clock=partial(_same, later))
        assert [run["run"] for run in runs.list()] == left
        runs.close()
    with sqlite3.connect(tmp_path / "runs.db") as database:
        assert database.execute("SELECT count(*) FROM logs").fetchone() == (0,)
    database.close()


def _same(at: datetime) -> datetime:
    return at


def test_an_unknown_or_ambiguous_run_is_named(tmp_path: Path) -> None:
    runs = Runs.open(Home(tmp_path))
    for id in ("r1", "r2"):
        runs.begin(Started(id, "sync", "tongqu sync a b"))
    with pytest.raises(NotFoundError, match="there is no run 'x'"):
        runs.show("x")
    with pytest.raises(NotFoundError, match="several runs begin with 'r'"):
        runs.logs("r")
    runs.close()


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(CheckpointError, match="version 99"):
        Runs(path)


def test_the_home_is_the_project_folder_unless_the_environment_says_otherwise(tmp_path: Path) -> None:
    assert Home.locate(tmp_path, {}).path == tmp_path / ".tongqu"
    assert Home.locate(tmp_path, {"TONGQU_HOME": "/var/lib/tongqu"}).path == Path("/var/lib/tongqu")


def test_two_processes_write_at_the_same_time(tmp_path: Path) -> None:
    first, second = Runs.open(Home(tmp_path)), Runs.open(Home(tmp_path))
    first.begin(Started("a", "sync", "tongqu"))
    second.begin(Started("b", "sync", "tongqu"))
    for number in range(50):
        first.log("a", "info", {"event": str(number)})
        second.log("b", "info", {"event": str(number)})
    first.close()
    second.flush()
    assert len(second.logs("a")["lines"]) == len(second.logs("b")["lines"]) == 50
    second.close()


def test_an_attempt_that_was_taken_over_changes_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    runs = Runs.open(home)
    runs.begin(Started("r1", "run", "tongqu run a", ()))
    with sqlite3.connect(home.runs) as other:  # as another process notes it that goes on with the run
        other.execute("UPDATE runs SET pid = 1, attempts = 2")
    other.close()
    runs.progress("r1", [{"name": "a", "read": 3, "written": 3, "quarantined": 0}])
    runs.finish("r1", DOCUMENT)
    [listed] = runs.list()
    assert (listed["read"], listed["attempts"]) == (0, 2)
    runs.close()
