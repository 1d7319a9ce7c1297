"""Incremental reads: killed in the middle, with equal cursors, late commits and changes between the runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tongqu.testing.drills import Cell, Command, covering
from tongqu.testing.services import Postgres

LANES = pytest.mark.parametrize("lane", ["pass", "columnar"])
TABLE = """
CREATE TABLE events (id bigint PRIMARY KEY, at timestamptz NOT NULL, body text);
INSERT INTO events SELECT i, timestamptz '2024-01-01' + (i / 40) * interval '1 microsecond', 'v' || i
  FROM generate_series(1, 1000) i;
"""


@pytest.fixture
def source_url(pg_url: str) -> str:
    execute(pg_url, TABLE)
    return pg_url


@pytest.fixture
def sink_url(postgres: Postgres) -> Iterator[str]:
    url = postgres.database()
    yield url
    postgres.drop(url.rpartition("/")[2])


def execute(url: str, statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements.encode())


def rows(url: str, query: str = "SELECT id, at, body FROM events") -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return sorted(connection.execute(query.encode()).fetchall())


def command(tmp_path: Path, source: str, sink: str, write: str, cursor: str, lane: str) -> Command:
    options = ["--mode", "incremental", "--table", "events", "--write", write, "--cursor", cursor, "--lane", lane]
    return Command(tmp_path, ["sync", source, sink, *options, "--chunk-rows", "30"])


FACTORS = {
    "point": ["after_begin", "in_commit:4", "after_swap"],
    "lane": ["pass", "columnar"],
    "kind": ["upsert at", "append id", "history at"],
}


@pytest.mark.parametrize("cell", covering(FACTORS, lambda cell: True), ids=lambda cell: "-".join(cell.values()))
def test_increments_lose_nothing_when_killed(cell: Cell, source_url: str, sink_url: str, tmp_path: Path) -> None:
    point, lane, (write, cursor) = cell["point"], cell["lane"], cell["kind"].split()
    sync = command(tmp_path, source_url, sink_url, write, cursor, lane)
    assert sync.run(crash_at=point).killed
    execute(source_url, "INSERT INTO events SELECT i, timestamptz '2024-01-02', 'meanwhile' FROM generate_series(1001, 1100) i")
    resumed = sync.run()
    assert (resumed.code, resumed.document["attempts"]) == (0, 2), resumed
    assert resumed.stream("events")["inserted"] >= 1000

    execute(source_url, "INSERT INTO events SELECT i, timestamptz '2024-01-02', 'late tie' FROM generate_series(1101, 1150) i")
    if cursor == "at":
        execute(source_url, "UPDATE events SET body = 'changed', at = '2024-01-03' WHERE id % 100 = 0")
    assert sync.run(crash_at="in_commit:1").killed
    last = sync.run()

    assert last.code == 0, last
    current = " WHERE _current" if write == "history" else ""
    assert rows(sink_url, f"SELECT id, at, body FROM events{current}") == rows(source_url)


@LANES
@pytest.mark.parametrize("cursor", ["at", "id"])
def test_a_transaction_that_commits_late_is_found_by_the_next_run(
    lane: str, cursor: str, source_url: str, sink_url: str, tmp_path: Path
) -> None:
    execute(source_url, "ALTER TABLE events ALTER at SET DEFAULT now()")
    sync = command(tmp_path, f"{source_url}?wait_seconds=1", sink_url, "upsert", cursor, lane)
    with psycopg.connect(source_url) as slow:
        slow.execute("INSERT INTO events (id, body) VALUES (1001, 'slow')")
        execute(source_url, "INSERT INTO events (id, body) VALUES (1002, 'quick')")
        during = sync.run()
        assert during.code == 0, during
        slow.commit()
    after = sync.run()

    assert after.code == 0, after
    assert rows(sink_url) == rows(source_url)


def test_append_by_a_time_leaves_the_current_second_for_later(source_url: str, sink_url: str, tmp_path: Path) -> None:
    execute(source_url, "INSERT INTO events VALUES (2000, clock_timestamp(), 'just now')")
    sync = command(tmp_path, source_url, sink_url, "append", "at", "pass")
    assert sync.run().code == 0
    execute(source_url, "INSERT INTO events SELECT 2001, at, 'the same microsecond' FROM events WHERE id = 2000")
    execute(source_url, "SELECT pg_sleep(1.2)")
    assert sync.run().code == 0
    assert sync.run().code == 0
    assert rows(sink_url) == rows(source_url)
