"""Windows of event time while a log is followed: late rows, the watermark, and the batch's result in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.engine.state.test_state import asked, fine, same, written

from tongqu.testing.log_file import LogFile

TIMED = {"derive": {"ts": "make_timestamp(at * 1000000)"}}


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    """Events of machines; `at` in seconds."""
    made = LogFile(tmp_path / "source.db")
    made.create("events", "id INTEGER PRIMARY KEY, machine INTEGER, at INTEGER, v INTEGER")
    return made


def happened(log: LogFile, *events: tuple[int, int, int]) -> None:
    """One transaction for each event: id, machine, at; v is the id."""
    for id, machine, at in events:
        log.write(("c", "events", {"id": id, "machine": machine, "at": at, "v": id}))


def steps(window: dict[str, Any], **measures: str) -> list[dict[str, Any]]:
    measures = measures or {"n": "count(*)", "total": "sum(v)"}
    return [TIMED, {"aggregate": {"by": ["machine"], "window": {"on": "ts", **window}, **measures}}]


KINDS = {
    "tumbling": {"size": "1m", "lateness": "1h"},
    "hopping": {"size": "1m", "hop": "20s", "lateness": "1h"},
    "sessions": {"gap": "30s", "lateness": "1h"},
}


@pytest.mark.parametrize("messages", [False, True], ids=["changes", "messages"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_comes_to_what_a_batch_gives(log: LogFile, kind: str, messages: bool) -> None:
    one = asked(log, steps(KINDS[kind]), "events", messages=("events",) if messages else ())
    happened(log, (1, 1, 5), (2, 1, 59), (3, 2, 60))
    fine(one.follow())
    assert same(one)
    happened(log, (4, 1, 70), (5, 1, 30), (6, 2, 100), (7, 2, 200), (8, 1, 64))
    fine(one.follow())
    assert same(one)
    assert len(written(one)) > 3


def test_changed_events_change_their_windows(log: LogFile) -> None:
    one = asked(log, steps(KINDS["tumbling"], most="max(v)"), "events")
    happened(log, (1, 1, 5), (2, 1, 59), (3, 2, 60))
    fine(one.follow())
    log.write(("u", "events", {"id": 2, "machine": 1, "at": 61, "v": 9}), ("d", "events", {"id": 3}))
    fine(one.follow())
    assert same(one)


def test_late_rows_go_to_quarantine_in_whatever_chunks_they_come(log: LogFile) -> None:
    one = asked(log, steps({"size": "1m", "lateness": "10s"}), "events", messages=("events",))
    happened(log, (1, 1, 10), (2, 1, 65), (3, 1, 59), (4, 1, 70), (5, 1, 58), (6, 1, 100))
    report = one.follow()
    assert (report.status, report.to_json()["streams"][0]["quarantined"]) == ("attention", 1)
    assert [(row["n"], int(row["total"])) for row in written(one)] == [(2, 4), (3, 12)]


def test_late_rows_change_windows_that_are_kept(log: LogFile) -> None:
    window = {"size": "1m", "late": "update", "keep": "1m"}
    one = asked(log, steps(window), "events", messages=("events",))
    happened(log, (1, 1, 10), (2, 1, 65), (3, 1, 59), (4, 1, 119), (5, 1, 20), (6, 1, 125), (7, 1, 30))
    report = one.follow()
    assert report.to_json()["streams"][0]["quarantined"] == 1
    assert sorted(int(row["total"]) for row in written(one)) == [6, 6, 9]


def test_each_window_once_when_it_is_over(log: LogFile) -> None:
    one = asked(log, steps({"size": "1m", "lateness": "10s", "emit": "final"}), "events", messages=("events",))
    happened(log, (1, 1, 10), (2, 1, 65))
    fine(one.follow())
    assert written(one) == []
    happened(log, (3, 1, 59), (4, 1, 75))
    fine(one.follow())
    assert [(row["n"], int(row["total"])) for row in written(one)] == [(2, 4)]
    assert one.crash("after_state").returncode == 0
    happened(log, (5, 1, 200))
    assert one.crash("after_state").returncode == -9
    fine(one.follow())
    assert [int(row["total"]) for row in written(one)] == [4, 6]
