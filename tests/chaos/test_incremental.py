"""Incremental reads: killed in the middle, with equal cursors, late commits and changes between the runs."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tongqu.testing.drills import Cell, Command, covering, name_of
from tongqu.testing.psql import execute, rows

LANES = pytest.mark.parametrize("lane", ["pass", "columnar"])
EVENTS = "SELECT id, at, body FROM events"
TABLE = """
CREATE TABLE events (id bigint PRIMARY KEY, at timestamptz NOT NULL, body text);
INSERT INTO events SELECT i, timestamptz '2024-01-01' + (i / 40) * interval '1 microsecond', 'v' || i
  FROM generate_series(1, 1000) i;
"""


@pytest.fixture
def source_url(pg_url: str) -> str:
    execute(pg_url, TABLE)
    return pg_url


def add(url: str, first: int, last: int) -> None:
    """Rows that share one cursor value."""
    execute(
        url, f"INSERT INTO events SELECT i, timestamptz '2024-01-02', 'tie' FROM generate_series({first}, {last}) i"
    )


def command(tmp_path: Path, source: str, sink: str, *, write: str, cursor: str, lane: str) -> Command:
    options = ["--mode", "incremental", "--table", "events", "--write", write, "--cursor", cursor, "--lane", lane]
    return Command(tmp_path, ["sync", source, sink, *options, "--chunk-rows", "30"])


FACTORS = {
    "point": ["after_begin", "in_commit:4", "after_swap"],
    "lane": ["pass", "columnar"],
    "kind": ["upsert at", "append id", "history at"],
}


@pytest.mark.parametrize("cell", covering(FACTORS, lambda cell: True), ids=name_of)
def test_increments_lose_nothing_when_killed(cell: Cell, source_url: str, sink_url: str, tmp_path: Path) -> None:
    point, lane, (write, cursor) = cell["point"], cell["lane"], cell["kind"].split()
    sync = command(tmp_path, source_url, sink_url, write=write, cursor=cursor, lane=lane)
    assert sync.run(crash_at=point).killed
    add(source_url, 1001, 1100)
    resumed = sync.run()
    assert (resumed.code, resumed.document["attempts"]) == (0, 2), resumed
    assert resumed.stream("events")["inserted"] >= 1000

    add(source_url, 1101, 1150)
    if cursor == "at":
        execute(source_url, "UPDATE events SET body = 'changed', at = '2024-01-03' WHERE id % 100 = 0")
    assert sync.run(crash_at="in_commit:1").killed
    last = sync.run()

    assert last.code == 0, last
    current = " WHERE _current" if write == "history" else ""
    assert rows(sink_url, f"SELECT id, at, body FROM events{current}") == rows(source_url, EVENTS)


@LANES
@pytest.mark.parametrize("cursor", ["at", "id"])
def test_a_transaction_that_commits_late_is_found_by_the_next_run(
    lane: str, cursor: str, source_url: str, sink_url: str, tmp_path: Path
) -> None:
    execute(source_url, "ALTER TABLE events ALTER at SET DEFAULT now()")
    sync = command(tmp_path, f"{source_url}?wait_seconds=1", sink_url, write="upsert", cursor=cursor, lane=lane)
    with psycopg.connect(source_url) as slow:
        slow.execute("INSERT INTO events (id, body) VALUES (1001, 'slow')")
        execute(source_url, "INSERT INTO events (id, body) VALUES (1002, 'quick')")
        during = sync.run()
        assert during.code == 0, during
        slow.commit()
    after = sync.run()

    assert after.code == 0, after
    assert rows(sink_url, EVENTS) == rows(source_url, EVENTS)


def test_append_by_a_time_leaves_the_current_second_for_later(source_url: str, sink_url: str, tmp_path: Path) -> None:
    execute(source_url, "INSERT INTO events VALUES (2000, clock_timestamp() + interval '5 s', 'just now')")
    sync = command(tmp_path, source_url, sink_url, write="append", cursor="at", lane="pass")
    assert sync.run().code == 0
    execute(source_url, "INSERT INTO events SELECT 2001, at, 'the same microsecond' FROM events WHERE id = 2000")
    execute(source_url, "SELECT pg_sleep(extract(epoch FROM max(at) - clock_timestamp()) + 1.2) FROM events")
    assert sync.run().code == 0
    assert sync.run().code == 0
    assert rows(sink_url, EVENTS) == rows(source_url, EVENTS)
