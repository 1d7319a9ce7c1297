"""Steps that keep state: after every change the target is what a batch run of the same steps would give."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.errors import ConnectError
from tongqu.engine.report import Report
from tongqu.testing.following import around
from tongqu.testing.log_file import Change, LogFile
from tongqu.testing.stateful import Stateful

Steps = list[dict[str, Any]]

SUMS: Steps = [{"aggregate": {"by": ["line"], "n": "count(*)", "total": "sum(v)", "mean": "avg(v)"}}]
EXTREMES: Steps = [{"aggregate": {"by": ["line"], "low": "min(v)", "high": "max(v)", "kinds": "count(distinct v)"}}]
NEWEST: Steps = [{"deduplicate": {"by": ["line"], "keep": "last", "order": "id"}}]
RANKED: Steps = [
    {"window": {"by": ["line"], "order": ["v", "id"], "columns": {"place": "row_number()", "before": "lag(v)"}}}
]
JOINED: Steps = [{"id": "both", "join": {"left": "orders", "right": "lines", "on": {"line": "code"}, "how": "left"}}]
TWICE: Steps = [
    {"filter": "v is not null"},
    {"derive": {"w": "v * 2"}},
    {"aggregate": {"by": ["line"], "total": "sum(w)"}},
    {"id": "sized", "derive": {"size": "case when total > 20 then 'big' else 'small' end"}},
    {"id": "sizes", "aggregate": {"by": ["size"], "n": "count(*)", "most": "max(total)"}},
]


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    """Orders of lines, and lines."""
    made = LogFile(tmp_path / "source.db")
    made.create("orders", "id INTEGER PRIMARY KEY, line INTEGER, v INTEGER")
    made.create("lines", "code INTEGER PRIMARY KEY, name TEXT")
    made.write(*(("c", "orders", {"id": id, "line": id % 3, "v": id}) for id in range(1, 10)))
    made.write(*(("c", "lines", {"code": code, "name": f"line {code}"}) for code in (0, 1)))
    return made


def asked(log: LogFile, steps: Steps, *tables: str, messages: tuple[str, ...] = (), write: str = "upsert") -> Stateful:
    folder = log.path.parent
    target = f"sqlite:{folder}/target.db"
    return Stateful(str(log.path), target, f"{folder}/state", tables or ("orders",), steps, messages, write)


def written(one: Stateful) -> list[dict[str, Any]]:
    """What the target holds."""
    with closing(sqlite3.connect(one.target.removeprefix("sqlite:"))) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute("SELECT * FROM result")]


def same(one: Stateful) -> bool:
    """Whether the target is what a batch gives."""

    def texts(rows: list[dict[str, Any]]) -> list[str]:
        return sorted(str({k: str(v).removesuffix(".000000") for k, v in row.items()}) for row in rows)

    assert texts(written(one)) == texts(one.batch())
    return True


def fine(report: Report) -> dict[str, Any]:
    document = report.to_json()
    assert report.status == "succeeded", document
    (stream,) = document["streams"]
    out = stream["written"] + stream["filtered"] + stream["deduplicated"] + stream["quarantined"]
    assert stream["read"] + stream["generated"] == out, stream
    found: dict[str, Any] = stream
    return found


@pytest.mark.parametrize(
    "steps", [SUMS, EXTREMES, NEWEST, RANKED, TWICE], ids=["sums", "extremes", "newest", "ranked", "twice"]
)
def test_changes_come_to_what_a_batch_gives(log: LogFile, steps: list[dict[str, Any]]) -> None:
    one = asked(log, steps)
    fine(one.follow())
    assert same(one)
    log.write(
        ("u", "orders", {"id": 1, "line": 2, "v": 100}),
        ("d", "orders", {"id": 3}),
        ("d", "orders", {"id": 6}),
        ("c", "orders", {"id": 20, "line": 7, "v": None}),
    )
    fine(one.follow())
    assert same(one)
    log.write(("d", "orders", {"id": 9}), ("u", "orders", {"id": 20, "line": 0, "v": 4}))
    fine(one.follow())
    assert same(one)


def test_both_sides_of_a_join_change(log: LogFile) -> None:
    one = asked(log, JOINED, "orders", "lines")
    fine(one.follow())
    assert same(one)
    log.write(("c", "lines", {"code": 2, "name": "late"}), ("u", "lines", {"code": 0, "name": "renamed"}))
    log.write(("d", "lines", {"code": 1}), ("u", "orders", {"id": 4, "line": 2, "v": 5}))
    fine(one.follow())
    assert same(one)


def test_a_table_that_is_emptied_and_columns_that_were_not_sent(log: LogFile) -> None:
    one = asked(log, EXTREMES)
    fine(one.follow())
    log.write(("u", "orders", {"id": 1, "line": 2, "v": None}, ["v"]))
    fine(one.follow())
    assert next(row for row in written(one) if row["line"] == 2)["low"] == 1
    log.write(("t", "orders", {}), ("c", "orders", {"id": 6, "line": 1, "v": 60}))
    fine(one.follow())
    assert written(one) == [{"line": 1, "low": 60, "high": 60, "kinds": 1}]


POINTS = ("after_begin", "before_finish", "before_state", "after_state", "before_commit", "in_commit", "after_commit",
          "after_acknowledge")  # fmt: skip


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_the_state_is_that_of_the_target(log: LogFile, point: str) -> None:
    one = asked(log, TWICE, "orders")
    if point not in ("after_begin", "before_finish"):
        fine(one.follow())
    log.write(("u", "orders", {"id": 1, "line": 2, "v": 100}), ("d", "orders", {"id": 3}))
    log.write(("c", "orders", {"id": 30, "line": 1, "v": 7}))
    assert one.crash(point).returncode == -9, point
    log.write(("u", "orders", {"id": 30, "line": 0, "v": 8}))
    fine(one.follow())
    assert same(one)


def test_a_lost_connection_goes_on_from_what_is_durable(log: LogFile) -> None:
    one = asked(log, EXTREMES)
    fine(one.follow())
    for number in range(10, 20):
        log.write(("c", "orders", {"id": number, "line": 0, "v": number}))
    report = one.follow(
        faults=[(2, ConnectError("gone")), (0, ConnectError("and again"))],
        surroundings=around(wait=lambda seconds: False),
    )
    fine(report)
    assert same(one)


def test_lost_or_other_state_stops_the_stream(log: LogFile) -> None:
    one = asked(log, SUMS)
    fine(one.follow())
    other = asked(log, [{"filter": "v > 1"}, *SUMS])
    assert "steps were changed" in other.follow().problems[0]["message"]
    log.write(("d", "orders", {"id": 1}))
    fine(one.follow())
    for file in Path(one.folder).iterdir():
        file.unlink()
    (problem,) = one.follow().problems
    assert (problem["code"], "--restart" in problem["hint"]) == ("connector.lost_position", True)
    fine(one.follow(restart=True))
    assert same(one)


def test_state_is_bounded(log: LogFile) -> None:
    one = replace(asked(log, NEWEST), limit_rows=20)
    fine(one.follow())
    log.write(*(("u", "orders", {"id": 1, "line": 1, "v": number}) for number in range(30)))
    fine(one.follow())
    log.write(*(("c", "orders", {"id": number, "line": number, "v": 1}) for number in range(100, 120)))
    (problem,) = one.follow().problems
    assert "29 rows" in problem["message"] and "limit.state_rows" in problem["hint"]
    log.write(*(("d", "orders", {"id": number}) for number in range(100, 120)))
    fine(replace(one, limit_rows=100).follow())
    assert same(one)


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_changes_in_any_cuts_with_lost_connections(data: st.DataObject) -> None:
    """Runs end anywhere in the log, connections are lost anywhere; after each run the target is the batch's result."""
    with tempfile.TemporaryDirectory() as folder:
        log = LogFile(Path(folder) / "source.db")
        log.create("orders", "id INTEGER PRIMARY KEY, line INTEGER, v INTEGER")
        log.create("lines", "code INTEGER PRIMARY KEY, name TEXT")
        steps = data.draw(st.sampled_from([SUMS, EXTREMES, NEWEST, RANKED, TWICE, JOINED]))
        one = asked(log, steps, *(("orders", "lines") if steps is JOINED else ("orders",)))
        held: dict[str, set[int]] = {"orders": set(), "lines": set()}
        for _ in range(data.draw(st.integers(1, 3))):
            for _ in range(data.draw(st.integers(0, 4))):
                log.write(*(_change(data, held) for _ in range(data.draw(st.integers(1, 4)))))
            places = data.draw(st.lists(st.integers(0, 3), max_size=2))
            fine(
                one.follow(
                    faults=[(place, ConnectError("gone")) for place in places],
                    surroundings=around(wait=lambda seconds: False),
                )
            )
            assert same(one)


def _change(data: st.DataObject, held: dict[str, set[int]]) -> Change:
    table = data.draw(st.sampled_from(["orders", "orders", "lines"]))
    key, small = data.draw(st.integers(1, 8)), st.integers(0, 3)
    if table == "lines":
        row: dict[str, Any] = {"code": key % 4, "name": data.draw(st.sampled_from(["a", "b"]))}
    else:
        row = {"id": key, "line": data.draw(small), "v": data.draw(st.none() | st.integers(-5, 5))}
    name = next(iter(row))
    there = row[name] in held[table]
    if there and data.draw(st.booleans()):
        held[table].discard(row[name])
        return ("d", table, {name: row[name]})
    held[table].add(row[name])
    return ("u" if there else "c", table, row)
