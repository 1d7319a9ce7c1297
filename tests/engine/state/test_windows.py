"""Windows of event time while a log is followed: late rows, the watermark, and the batch's result in the end."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.state.test_state import asked, fine, same, written

from tongqu.core.dirty import Dirty
from tongqu.core.errors import ConnectError, InvalidPlanError, InvalidSettingsError
from tongqu.testing.following import around, opened
from tongqu.testing.log_file import LogFile
from tongqu.testing.stateful import Stateful

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


def refused(one: Stateful) -> list[dict[str, Any]]:
    """What is in quarantine."""
    with closing(opened(one.target)) as sink:
        return sink.dirty(Dirty())


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


HOPPING = {"size": "1m", "hop": "20s", "lateness": "10s"}


def aside(one: Stateful, window: dict[str, Any]) -> Stateful:
    """The same log followed for the rows that are late, into a target of their own."""
    told = {"on": "ts", **window, "late": "side", "emit": "late"}
    steps: list[dict[str, Any]] = [TIMED, {"aggregate": {"by": ["machine"], "window": told, "n": "count(*)"}}]
    return replace(
        one, target=one.target + ".late", folder=one.folder + ".late", steps=steps, write="append", sync="aside"
    )


def test_a_row_counts_in_the_windows_for_which_it_is_in_time(log: LogFile) -> None:
    one = asked(log, steps(HOPPING), "events", messages=("events",))
    happened(log, (1, 1, 10), (2, 1, 75), (3, 1, 50), (4, 1, 10))  # the watermark is at 65: windows from 20 on are open
    document = one.follow().to_json()["streams"][0]
    assert {row["window_start"][14:19]: int(row["total"]) for row in written(one)} == {
        "59:20": 1, "59:40": 1, "00:00": 1, "00:20": 5, "00:40": 5, "01:00": 2,
    }  # fmt: skip
    codes = {row["code"]: json.loads(str(row["original"]))["id"] for row in refused(one)}
    assert codes == {"window.partly_late": 3, "window.late": 4}
    out = document["written"] + document["filtered"] + document["deduplicated"] + document["quarantined"]
    assert document["read"] + document["generated"] == out, document


def test_a_clock_that_is_years_ahead_does_not_end_all_windows(log: LogFile) -> None:
    one = asked(log, steps({"size": "1m", "lateness": "10s", "ahead": "1h"}), "events", messages=("events",))
    happened(log, (1, 1, 10), (2, 1, 9_000_000_000), (3, 1, 20))
    one.follow()
    happened(log, (4, 1, 9_000_000_000), (5, 1, 30))
    one.follow()
    assert [(row["n"], int(row["total"])) for row in written(one)] == [(3, 1 + 3 + 5)]
    assert [row["code"] for row in refused(one)] == ["window.ahead"] * 2
    with pytest.raises(InvalidSettingsError, match="side output"):
        asked(log, steps({"size": "1m", "ahead": "1h", "late": "side"}), "events", messages=("events",)).follow()


def test_late_rows_go_to_a_side_output_once_for_each_window_that_they_missed(log: LogFile) -> None:
    one = asked(log, steps({**HOPPING, "late": "side"}), "events", messages=("events",))
    late = aside(one, HOPPING)
    happened(log, (1, 1, 10), (2, 1, 75), (3, 1, 50), (4, 1, 10))
    fine(one.follow())
    assert refused(one) == []
    assert late.crash("after_state").returncode == -9
    fine(late.follow())
    happened(log, (5, 1, 30))
    assert late.crash("before_commit").returncode == -9
    fine(late.follow())
    assert sorted((row["id"], row["window_start"][14:19], row["_op"]) for row in written(late)) == [
        (3, "00:00", "u"), (4, "00:00", "u"), (4, "59:20", "u"), (4, "59:40", "u"), (5, "00:00", "u"),
        (5, "59:40", "u"),
    ]  # fmt: skip


def test_late_rows_of_changes_cannot_be_given_apart(log: LogFile) -> None:
    one = asked(log, steps(HOPPING), "events")
    with pytest.raises(InvalidPlanError, match="of messages, not of changes"):
        aside(one, HOPPING).follow()


@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_windows_and_late_rows_together_are_what_a_batch_gives(data: st.DataObject) -> None:
    """Each event is, for each of its windows, either in it or in the side output, wherever runs end and connections are
    lost; nothing is late for both or for neither."""
    window = {
        "size": "1m", "hop": data.draw(st.sampled_from(["10s", "25s", "1m"])),
        "lateness": data.draw(st.sampled_from(["0s", "30s"])), "keep": data.draw(st.sampled_from(["0s", "20s"])),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        log = LogFile(Path(folder) / "source.db")
        log.create("events", "id INTEGER PRIMARY KEY, machine INTEGER, at INTEGER, v INTEGER")
        one = asked(log, steps({**window, "late": "side"}), "events", messages=("events",))
        late, id = aside(one, window), 0
        for part in (one, late, one):
            for at in data.draw(st.lists(st.integers(-90, 300), min_size=1, max_size=5)):
                id += 1
                happened(log, (id, id % 2, at))
            lost = [(place, ConnectError("gone")) for place in data.draw(st.lists(st.integers(0, 3), max_size=2))]
            fine(part.follow(faults=lost, surroundings=around(wait=lambda seconds: False)))
        fine(one.follow())
        fine(late.follow())
        found = Counter(
            {(str(row["window_start"])[:19], row["machine"]): row["n"] for row in written(one)}
        )  # what is in windows
        found.update((str(row["window_start"])[:19], row["machine"]) for row in written(late))
        whole = replace(one, steps=steps(window | {"keep": "0s"})).batch()
        assert found == {(str(row["window_start"])[:19], row["machine"]): row["n"] for row in whole}
