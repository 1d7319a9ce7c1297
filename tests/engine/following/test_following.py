"""Changes that a log tells arrive in the target: each once, whatever happens between."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core import registry
from tongqu.core.data import Mode, Read
from tongqu.core.dirty import Dirty
from tongqu.core.errors import ConnectError, InvalidPlanError
from tongqu.core.events import Committed, Followed, Retrying
from tongqu.core.events import Event as Happened
from tongqu.engine.compile import Wanted
from tongqu.engine.report import Report
from tongqu.testing.following import around, crash, follow, opened, wanted
from tongqu.testing.log_file import LogFile

DEADLINE = 60.0


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    """Two tables with a log: `orders` holds 1 to 3, `parts` nothing."""
    made = LogFile(tmp_path / "source.db")
    made.create("orders", "id INTEGER PRIMARY KEY, v TEXT, big TEXT")
    made.create("parts", "a INTEGER, b TEXT, n INTEGER, PRIMARY KEY (a, b)")
    made.write(*(("c", "orders", {"id": id, "v": f"v{id}", "big": "x" * id}) for id in (1, 2, 3)))
    return made


@pytest.fixture
def target(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path}/target.db"


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:"))) as db:
        return db.execute(query).fetchall()


def balanced(report: Report) -> dict[str, dict[str, int]]:
    """The streams' numbers by name, after a look at whether they add up."""
    document = report.to_json()
    assert "problems" not in document, document["problems"]
    for one in document["streams"]:
        out = one["written"] + one["filtered"] + one["deduplicated"] + one["quarantined"]
        assert one["read"] + one["generated"] == out, one
    return {one["name"]: one for one in document["streams"]}


def test_the_first_load_and_then_the_changes(log: LogFile, target: str) -> None:
    first = follow(log.path, target)
    assert (first.status, first.exit_code, balanced(first)["orders"]["inserted"]) == ("succeeded", 0, 3)
    log.write(("u", "orders", {"id": 1, "v": "new", "big": None}, ["big"]), ("d", "orders", {"id": 2}))
    log.write(("c", "orders", {"id": 4, "v": "v4", "big": ""}), ("c", "parts", {"a": 1, "b": "x", "n": 5}))
    second = balanced(follow(log.path, target))
    assert {name: second["orders"][name] for name in ("read", "inserted", "updated", "deleted")} == {
        "read": 3, "inserted": 1, "updated": 1, "deleted": 1,
    }  # fmt: skip
    assert rows(target, "SELECT id, v, big FROM orders ORDER BY id") == [
        (1, "new", "x"),
        (3, "v3", "xxx"),
        (4, "v4", ""),
    ]
    assert rows(target, "SELECT * FROM parts") == [(1, "x", 5)]
    latency = second["orders"]["latency_ms"]
    assert set(latency) == {"p50", "p95", "p99", "max"}  # type: ignore[call-overload]  # a mapping
    assert second["orders"]["lag_seconds"] == 0.0


def test_changes_of_one_key_come_to_one(log: LogFile, target: str) -> None:
    follow(log.path, target)
    log.write(
        ("u", "orders", {"id": 1, "v": "a", "big": "kept"}),
        ("u", "orders", {"id": 1, "v": "b", "big": None}, ["big"]),
        ("c", "orders", {"id": 9, "v": "gone", "big": ""}),
        ("d", "orders", {"id": 9}),
    )
    numbers = balanced(follow(log.path, target))["orders"]
    assert (numbers["read"], numbers["merged"], numbers["updated"], numbers["unchanged"]) == (4, 2, 1, 1)
    assert rows(target, "SELECT v, big FROM orders WHERE id = 1") == [("b", "kept")]
    assert rows(target, "SELECT count(*) FROM orders") == [(3,)]


def test_an_emptied_table_is_emptied(log: LogFile, target: str) -> None:
    follow(log.path, target)
    log.write(("c", "orders", {"id": 5, "v": "before", "big": ""}))
    log.write(("t", "orders", {}), ("c", "orders", {"id": 6, "v": "after", "big": ""}))
    numbers = balanced(follow(log.path, target))["orders"]
    assert (numbers["inserted"], numbers["deleted"], numbers["generated"]) == (2, 4, 4)
    assert rows(target, "SELECT id FROM orders") == [(6,)]


def test_deletes_can_be_marked_or_left(log: LogFile, tmp_path: Path) -> None:
    soft, kept = f"sqlite:{tmp_path}/soft.db", f"sqlite:{tmp_path}/kept.db"
    follow(log.path, soft, wanted(deletes="soft", tables=["orders"]))
    log.write(("d", "orders", {"id": 2}))
    assert balanced(follow(log.path, soft, wanted(deletes="soft", tables=["orders"])))["orders"]["deleted"] == 1
    assert rows(soft, "SELECT id FROM orders WHERE _deleted_at IS NOT NULL") == [(2,)]
    follow(log.path, kept, wanted(deletes="ignore", tables=["orders=o"]))
    log.write(("d", "orders", {"id": 1}))
    assert balanced(follow(log.path, kept, wanted(deletes="ignore", tables=["orders=o"])))["orders"]["filtered"] == 1
    assert rows(kept, "SELECT id FROM o ORDER BY id") == [(1,), (3,)]


def test_a_history_has_every_version(log: LogFile, target: str) -> None:
    asked = wanted(write="history", tables=["orders"])
    follow(log.path, target, asked)
    log.write(
        ("u", "orders", {"id": 1, "v": "second", "big": None}, ["big"]),
        ("u", "orders", {"id": 1, "v": "third", "big": "y"}),
        ("d", "orders", {"id": 3}),
    )
    balanced(follow(log.path, target, asked))
    found = rows(target, "SELECT v, big, _current FROM orders WHERE id = 1 ORDER BY _valid_from")
    assert found == [("v1", "x", 0), ("second", "x", 0), ("third", "y", 1)]
    assert rows(target, "SELECT count(*) FROM orders WHERE id = 3 AND _current") == [(0,)]


def test_every_change_can_be_kept_as_a_row(log: LogFile, target: str) -> None:
    asked = wanted(write="append", deletes="ignore", tables=["orders"])
    follow(log.path, target, asked)
    log.write(("u", "orders", {"id": 1, "v": "new", "big": "b"}), ("d", "orders", {"id": 2}))
    balanced(follow(log.path, target, asked))
    found = rows(target, "SELECT _op, id, _at IS NULL FROM orders ORDER BY _at, id")
    assert found == [("r", 1, 1), ("r", 2, 1), ("r", 3, 1), ("u", 1, 0), ("d", 2, 0)]


def test_a_kept_change_tells_which_columns_the_log_left_out(log: LogFile, target: str) -> None:
    asked = wanted(write="append", deletes="ignore", tables=["orders"])
    follow(log.path, target, asked)
    log.write(("u", "orders", {"id": 1, "v": "new", "big": None}, ["big"]))
    log.write(("u", "orders", {"id": 2, "v": "new", "big": None}))
    balanced(follow(log.path, target, asked))
    found = rows(target, "SELECT id, big, _unchanged, _origin FROM orders WHERE _op = 'u' ORDER BY id")
    assert found == [(1, None, '["big"]', None), (2, None, None, None)]


def test_a_kept_change_that_lacks_what_a_step_reads_is_set_aside(log: LogFile, target: str) -> None:
    asked = wanted(write="append", deletes="ignore", tables=["orders"])
    steps: list[dict[str, Any]] = [{"derive": {"size": "length(big)"}}]
    follow(log.path, target, asked, steps=steps)
    log.write(("u", "orders", {"id": 1, "v": "new", "big": None}, ["big"]))
    numbers = balanced(follow(log.path, target, asked, steps=steps))["orders"]
    assert (numbers["read"], numbers["quarantined"]) == (1, 1)
    assert rows(target, "SELECT count(*) FROM orders WHERE _op = 'u'") == [(0,)]


def test_messages_are_appended(log: LogFile, target: str) -> None:
    asked = Wanted(mode=Mode.STREAM, tables=("orders",))
    numbers = balanced(follow(log.path, target, Wanted(mode=Mode.STREAM, tables=("orders",)), changes=False))["orders"]
    assert (numbers["read"], numbers["inserted"]) == (3, 3)
    log.write(("c", "orders", {"id": 4, "v": "m", "big": ""}))
    assert balanced(follow(log.path, target, asked, changes=False))["orders"]["read"] == 1
    assert rows(target, "SELECT count(*) FROM orders") == [(4,)]


def test_rows_go_through_steps_and_leave_filters(log: LogFile, target: str) -> None:
    steps: list[dict[str, Any]] = [{"filter": "v <> 'hidden'"}, {"derive": {"w": "upper(v)"}}]
    asked = wanted(tables=["orders"])
    follow(log.path, target, asked, steps=steps)
    log.write(
        ("u", "orders", {"id": 1, "v": "hidden", "big": "x"}),
        ("u", "orders", {"id": 2, "v": "b", "big": None}, ["big"]),
    )
    log.write(("c", "orders", {"id": 7, "v": "hidden", "big": ""}))
    numbers = balanced(follow(log.path, target, asked, steps=steps))["orders"]
    assert (numbers["deleted"], numbers["updated"], numbers["filtered"]) == (1, 1, 1)
    assert rows(target, "SELECT id, w, big FROM orders ORDER BY id") == [(2, "B", "xx"), (3, "V3", "xxx")]


def test_a_step_that_needs_what_was_not_sent_quarantines_and_later_changes_wait(log: LogFile, target: str) -> None:
    steps = [{"derive": {"long": "length(big)"}}]
    asked = wanted(tables=["orders"])
    follow(log.path, target, asked, steps=steps)
    log.write(("u", "orders", {"id": 1, "v": "new", "big": None}, ["big"]))
    first = follow(log.path, target, asked, steps=steps)
    assert (first.status, balanced(first)["orders"]["quarantined"]) == ("attention", 1)
    log.write(("u", "orders", {"id": 1, "v": "newer", "big": "now"}), ("u", "orders", {"id": 2, "v": "b", "big": "22"}))
    numbers = balanced(follow(log.path, target, asked, steps=steps))["orders"]
    assert (numbers["quarantined"], numbers["updated"]) == (1, 1)
    with closing(opened(target)) as sink:
        kept = [(row["code"], json.loads(str(row["original"]))["v"]) for row in sink.dirty(Dirty(arrival=True))]
    assert kept == [("change.incomplete", "new"), ("change.waiting", "newer")]
    assert rows(target, "SELECT v FROM orders WHERE id = 1") == [("v1",)]
    log.write(("d", "orders", {"id": 1}))
    assert balanced(follow(log.path, target, asked, steps=steps))["orders"]["deleted"] == 1
    with closing(opened(target)) as sink:
        assert {str(row["state"]) for row in sink.dirty(Dirty())} == {"superseded"}


def test_a_new_column_is_followed(log: LogFile, target: str) -> None:
    asked = wanted(tables=["orders"])
    follow(log.path, target, asked)
    log.write(("u", "orders", {"id": 1, "v": "old", "big": ""}))
    log.alter("orders", "ALTER TABLE orders ADD COLUMN extra TEXT")
    log.write(("c", "orders", {"id": 8, "v": "v8", "big": "", "extra": "e"}))
    report = follow(log.path, target, asked)
    balanced(report)
    assert rows(target, "SELECT id, v, extra FROM orders WHERE id IN (1, 8) ORDER BY id") == [
        (1, "old", None),
        (8, "v8", "e"),
    ]


def test_a_frozen_schema_stops_the_stream_and_nothing_is_lost(log: LogFile, target: str) -> None:
    frozen = wanted(tables=["orders"], changes="freeze")
    follow(log.path, target, frozen)
    log.write(("c", "orders", {"id": 7, "v": "v7", "big": ""}))
    log.alter("orders", "ALTER TABLE orders ADD COLUMN extra TEXT")
    log.write(("c", "orders", {"id": 8, "v": "v8", "big": "", "extra": "e"}))
    report = follow(log.path, target, frozen)
    assert (report.status, report.exit_code) == ("failed", 1)
    assert "extra" in report.problems[0]["message"]
    balanced(follow(log.path, target, wanted(tables=["orders"])))
    assert rows(target, "SELECT id FROM orders WHERE id > 3 ORDER BY id") == [(7,), (8,)]


def test_it_runs_until_it_is_stopped(log: LogFile, target: str) -> None:
    follow(log.path, target, wanted(tables=["orders"]))
    stop, seen, events = Event(), Event(), []

    def hear(event: Happened) -> None:
        events.append(event)
        if isinstance(event, Committed) and event.counts.read >= 1:
            seen.set()

    found: list[Report] = []
    thread = Thread(
        target=lambda: found.append(
            follow(
                log.path, target, wanted(tables=["orders"]), until_caught_up=False, surroundings=around(stop), emit=hear
            )
        )
    )
    thread.start()
    log.write(("c", "orders", {"id": 4, "v": "live", "big": ""}))
    assert seen.wait(DEADLINE)
    stop.set()
    thread.join(DEADLINE)
    assert (found[0].status, found[0].exit_code) == ("stopped", 0)
    assert rows(target, "SELECT v FROM orders WHERE id = 4") == [("live",)]
    assert any(isinstance(event, Followed) for event in events)
    kept = log.kept(next(iter(_names(log))))
    assert kept == 4  # acknowledged what is durable


def _names(log: LogFile) -> list[str]:
    with closing(sqlite3.connect(log.path)) as db:
        return [str(row[0]) for row in db.execute("SELECT name FROM _tongqu_test_slot")]


def test_lost_connections_are_made_anew(log: LogFile, target: str) -> None:
    follow(log.path, target)
    for id in range(10, 30):
        log.write(("c", "orders", {"id": id, "v": "x", "big": ""}))
    waits: list[float] = []
    retried: list[Happened] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return False

    faults = [(2, ConnectError("gone")), (1, ConnectError("gone again")), (0, ConnectError("and again"))]
    report = follow(
        log.path, target, faults=faults, surroundings=around(wait=wait),
        emit=lambda event: retried.append(event) if isinstance(event, Retrying) else None,
    )  # fmt: skip
    assert balanced(report)["orders"]["inserted"] == 20
    assert len(waits) == len(retried) == 3
    assert all(seconds > 0 for seconds in waits)


def test_a_lost_position_ends_the_stream_with_the_repair(log: LogFile, target: str) -> None:
    follow(log.path, target)
    log.write(("d", "orders", {"id": 1}), ("c", "orders", {"id": 5, "v": "", "big": ""}))
    log.forget()
    failed = follow(log.path, target)
    assert (failed.exit_code, failed.problems[0]["code"]) == (1, "connector.lost_position")
    assert "--restart" in failed.problems[0]["hint"]
    again = balanced(follow(log.path, target, restart=True))["orders"]
    assert (again["inserted"], again["deleted"], again["unchanged"]) == (1, 1, 2)


def test_a_table_without_key_is_refused_from_its_arguments(log: LogFile, target: str) -> None:
    log.create("notes", "line TEXT")
    with pytest.raises(InvalidPlanError, match="no key") as raised:
        follow(log.path, target)
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    "point", ["after_open", "after_begin", "after_finish", "after_read", "before_commit:2", "in_commit:2",
              "after_commit:2", "after_acknowledge"],
)  # fmt: skip
def test_a_killed_process_loses_and_doubles_nothing(log: LogFile, target: str, point: str) -> None:
    first = crash(log.path, target, point if point.startswith("after_") and point[6:] in _EARLY else "")
    log.write(("u", "orders", {"id": 1, "v": "new", "big": ""}), ("c", "parts", {"a": 1, "b": "b", "n": 1}))
    log.write(("d", "orders", {"id": 2}))
    log.write(("c", "orders", {"id": 4, "v": "v4", "big": ""}))
    killed = first if first.returncode else crash(log.path, target, point)
    assert killed.returncode == -9, killed.stderr
    balanced(follow(log.path, target))
    assert rows(target, "SELECT id, v FROM orders ORDER BY id") == log_rows(log, "id, v", "orders")
    assert rows(target, "SELECT * FROM parts") == log_rows(log, "*", "parts")


_EARLY = ("open", "begin", "finish")


def log_rows(log: LogFile, columns: str, table: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(log.path)) as db:
        return db.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()


def test_duckdb_takes_changes(log: LogFile, tmp_path: Path) -> None:
    _takes_changes(log, f"duckdb:{tmp_path}/t.duckdb")


def test_postgres_takes_changes(log: LogFile, pg_url: str) -> None:
    _takes_changes(log, pg_url)


def _takes_changes(log: LogFile, url: str) -> None:
    follow(log.path, url)
    log.write(
        ("u", "orders", {"id": 1, "v": "new", "big": None}, ["big"]),
        ("d", "orders", {"id": 2}),
        ("c", "parts", {"a": 1, "b": "x", "n": 5}),
    )
    log.write(
        ("u", "orders", {"id": 1, "v": "newer", "big": None}, ["big"]), ("c", "orders", {"id": 4, "v": "", "big": ""})
    )
    numbers = balanced(follow(log.path, url))["orders"]
    assert [numbers[name] for name in ("read", "inserted", "deleted")] == [4, 1, 1]
    assert numbers["updated"] + numbers["merged"] == 2  # as both came in one chunk or in two
    found = registry.by_url(url)
    assert found.source is not None
    with closing(found.source(found.from_url(url))) as source:
        (dataset,) = source.datasets(["orders"])
        batches = [batch.rows for batch in source.read(Read(dataset, source.splits(dataset, 1)[0]))]
    there = sorted((row["id"], row["v"], row["big"]) for batch in batches for row in batch.to_pylist())
    assert there == [(1, "newer", "x"), (3, "v3", "xxx"), (4, "", "")]
    log.write(("t", "orders", {}), ("c", "orders", {"id": 9, "v": "", "big": ""}))
    assert balanced(follow(log.path, url))["orders"]["deleted"] == 3


Change = st.tuples(
    st.sampled_from("cudtk"), st.sampled_from(["orders", "parts"]), st.integers(1, 6), st.integers(0, 99)
)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.lists(Change, min_size=1, max_size=6), min_size=1, max_size=8), st.lists(st.integers(0, 4), max_size=3)
)
def test_whatever_happens_the_target_is_the_source(
    plan: list[list[tuple[str, str, int, int]]], cuts: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log, target = LogFile(Path(folder) / "source.db"), f"sqlite:{folder}/target.db"
        log.create("orders", "id INTEGER PRIMARY KEY, v INTEGER, big TEXT")
        log.create("parts", "id INTEGER PRIMARY KEY, v INTEGER, big TEXT")
        there: dict[str, set[int]] = {"orders": set(), "parts": set()}
        faults = [(cut, ConnectError("cut")) for cut in cuts]
        for number, transaction in enumerate(plan):
            changes = [change for one in transaction for change in _made(one, there)]
            if changes:
                log.write(*changes)
            if number in (0, len(plan) // 2):
                balanced(follow(log.path, target, faults=faults, surroundings=around(wait=lambda _: False)))
        balanced(follow(log.path, target, faults=faults, surroundings=around(wait=lambda _: False)))
        for table in there:
            assert rows(target, f"SELECT * FROM {table} ORDER BY 1") == log.rows(table)


def _made(one: tuple[str, str, int, int], there: dict[str, set[int]]) -> list[Any]:
    """The change as it is possible now: what is not there is created, what is there is changed."""
    op, table, id, v = one
    known = there[table]
    if op == "t":
        known.clear()
        return [("t", table, {})]
    if op == "k" and id in known and id + 10 not in known:  # the key changes
        known.discard(id)
        known.add(id + 10)
        return [("d", table, {"id": id}), ("c", table, {"id": id + 10, "v": v, "big": "moved"})]
    if op == "d" and id in known:
        known.discard(id)
        return [("d", table, {"id": id})]
    if id in known:
        return [("u", table, {"id": id, "v": v}, ["big"]) if v % 2 else ("u", table, {"id": id, "v": v, "big": str(v)})]
    known.add(id)
    return [("c", table, {"id": id, "v": v, "big": "new"})]
