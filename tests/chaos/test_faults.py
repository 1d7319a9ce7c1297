"""Servers die, lines are cut, replies get lost, disks fill up: the run goes on by itself or stops cleanly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from threading import Event as Flag
from threading import Thread
from typing import Any

import pytest

from tongqu.core import registry
from tongqu.core.data import Lane, WriteMode
from tongqu.core.errors import WriteError
from tongqu.core.events import Committed, Event, Retrying
from tongqu.core.settings import Endpoint
from tongqu.engine.compile import Wanted, plan_sync
from tongqu.engine.job import Job, Limits, Surroundings
from tongqu.engine.report import Report
from tongqu.engine.run import run
from tongqu.testing.drills import Cell, covering, name_of
from tongqu.testing.psql import execute, rows
from tongqu.testing.services import FaultProxy, Postgres, start_postgres

ROWS = 2000
PARTS = "SELECT k, n, name FROM parts"
LIMITS = Limits(chunk_rows=100)
BOTH_LANES = pytest.mark.parametrize("lane", [Lane.PASS, Lane.COLUMNAR])
TABLE = f"""
CREATE TABLE parts (k text, n bigint, name text, PRIMARY KEY (k, n));
INSERT INTO parts SELECT 'k'||i%3, i, '件'||i FROM generate_series(1, {ROWS}) i;
"""


def moved(
    source_url: str,
    sink_url: str,
    *,
    watch: Callable[[Event], None] = lambda event: None,
    limits: Limits = LIMITS,
    **wanted: Any,
) -> Report:
    """One sync through the engine; `watch` sees every event in the thread that moves the rows."""
    postgres = registry.connector("postgres")
    assert postgres.source is not None
    assert postgres.sink is not None
    ends = [postgres.from_url(url) for url in (source_url, sink_url)]
    assert all(isinstance(end, Endpoint) for end in ends)
    source, sink = postgres.source(ends[0]), postgres.sink(ends[1])
    wanted = {"tables": ("parts",)} | wanted
    stop = Flag()
    numbers = iter(range(1, 1000))
    around = Surroundings(lambda: datetime.now(UTC), lambda: f"run {next(numbers)}", stop, stop.wait)
    try:
        streams = plan_sync(source, sink, source_id="source", sink_id="sink", wanted=Wanted(**wanted))
        return run(Job(streams, limits=limits, run=around.new_id()), watch, around)
    finally:
        source.close()
        sink.close()


class At:
    """Does something once, when the n-th chunk was committed."""

    def __init__(self, chunk: int, act: Callable[[], object]):
        self.events: list[Event] = []
        self._left = chunk
        self._act = act

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Committed):
            self._left -= 1
            if self._left == 0:
                self._act()

    @property
    def retries(self) -> int:
        return sum(isinstance(event, Retrying) for event in self.events)


@pytest.fixture
def source_url(pg_url: str) -> str:
    execute(pg_url, TABLE)
    return pg_url


def complete(report: Report, source_url: str, sink_url: str) -> None:
    assert report.status == "succeeded", report.problems
    (stream,) = report.streams
    assert (stream.counts.read, stream.counts.written) == (ROWS, ROWS)
    assert rows(sink_url, PARTS) == rows(source_url, PARTS)


@pytest.fixture(scope="module")
def victim() -> Iterator[Postgres]:
    """A target server of our own, to be killed."""
    with start_postgres() as server:
        yield server


@BOTH_LANES
@pytest.mark.parametrize("write", [WriteMode.REPLACE, WriteMode.APPEND, WriteMode.UPSERT])
def test_the_target_server_is_killed_and_comes_back(
    lane: Lane, write: WriteMode, source_url: str, victim: Postgres
) -> None:
    victim.mend()
    sink_url = victim.database()
    restarted: list[Thread] = []

    def power_cut() -> None:
        victim.kill9()
        restarted.append(Thread(target=victim.restart))
        restarted[0].start()

    watch = At(5, power_cut)
    report = moved(source_url, sink_url, watch=watch, lane=lane, write=write)
    restarted[0].join()

    assert watch.retries >= 1
    complete(report, source_url, sink_url)


@BOTH_LANES
@pytest.mark.parametrize("end", ["source", "sink"])
@pytest.mark.parametrize("fault", ["cut", "reset"])
def test_a_cut_line_is_mended_by_itself(
    *, lane: Lane, end: str, fault: str, source_url: str, sink_url: str, proxy: FaultProxy
) -> None:
    def hurt() -> None:
        getattr(proxy, fault)()
        Thread(target=proxy.heal).start()

    ends = {"source": source_url, "sink": sink_url}
    ends[end] = proxy.url(ends[end])
    watch = At(4, hurt)

    report = moved(ends["source"], ends["sink"], watch=watch, lane=lane, write=WriteMode.APPEND)

    complete(report, source_url, sink_url)


REPLIES: dict[str, list[str]] = {
    "lane": ["pass", "columnar"],
    "write": [mode.value for mode in WriteMode],
    "chunk": ["1", "7", "19"],
}


@pytest.mark.parametrize("cell", covering(REPLIES, lambda cell: True), ids=name_of)
def test_a_lost_commit_reply_doubles_nothing(cell: Cell, source_url: str, sink_url: str, proxy: FaultProxy) -> None:
    lane, write, chunk = Lane(cell["lane"]), WriteMode(cell["write"]), int(cell["chunk"])
    watch = At(chunk, lambda: proxy.drop_replies(after=b"COMMIT"))

    report = moved(source_url, proxy.url(sink_url), watch=watch, lane=lane, write=write)

    assert proxy.lost == 1
    complete(report, source_url, sink_url)


@BOTH_LANES
def test_the_lost_reply_to_the_last_commit_is_understood(
    lane: Lane, source_url: str, sink_url: str, proxy: FaultProxy
) -> None:
    watch = At(ROWS // 100, lambda: proxy.drop_replies(after=b"COMMIT"))  # the next one is that of `finish`

    report = moved(source_url, proxy.url(sink_url), watch=watch, lane=lane)

    assert proxy.lost == 1
    complete(report, source_url, sink_url)


@BOTH_LANES
def test_a_run_that_worked_for_long_still_tries_again(
    lane: Lane, source_url: str, sink_url: str, proxy: FaultProxy
) -> None:
    limits = replace(LIMITS, retry_seconds=0.3)
    late = Flag()

    def hurt() -> None:
        late.wait(0.4)
        proxy.reset()

    report = moved(source_url, proxy.url(sink_url), watch=At(5, hurt), limits=limits, lane=lane)

    complete(report, source_url, sink_url)


@BOTH_LANES
def test_a_full_disk_stops_cleanly_and_goes_on_later(lane: Lane, source_url: str, sink_url: str) -> None:
    execute(
        sink_url,
        "CREATE TABLE parts (k text, n bigint, name text, PRIMARY KEY (k, n)); CREATE FUNCTION full_disk() RETURNS "
        "trigger LANGUAGE plpgsql AS $$ BEGIN IF new.n > 1500 THEN RAISE 'could not extend file: No space left' "
        "USING ERRCODE = '53100'; END IF; RETURN new; END $$; "
        "CREATE TRIGGER full_disk BEFORE INSERT ON parts FOR EACH ROW EXECUTE FUNCTION full_disk()",
    )
    failed = moved(source_url, sink_url, lane=lane, write=WriteMode.APPEND)

    assert failed.exit_code == 1
    assert "full" in failed.problems[0]["hint"]
    kept = rows(sink_url, PARTS)
    assert set(kept) < set(rows(source_url, PARTS))

    execute(sink_url, "DROP TRIGGER full_disk ON parts")
    again = moved(source_url, sink_url, lane=lane, write=WriteMode.APPEND)
    assert (again.run, again.attempts) == (failed.run, 2)
    complete(again, source_url, sink_url)


POISON = {
    "too long": ("name varchar(6)", "UPDATE parts SET name = 'far too long' WHERE n = 777"),
    "check": ("name text CHECK (name <> 'bad')", "UPDATE parts SET name = 'bad' WHERE n = 777"),
    "not null": ("name text NOT NULL", "UPDATE parts SET name = NULL WHERE n = 777"),
    "unique": ("name text UNIQUE", "UPDATE parts SET name = '件1' WHERE n = 777"),
    "narrow": ("name text, extra smallint", "ALTER TABLE parts ADD extra int; UPDATE parts SET extra = CASE n WHEN 777 "
               "THEN 70000 ELSE 1 END"),
    "number": ("name text, extra numeric(6,2)", "ALTER TABLE parts ADD extra numeric; UPDATE parts SET extra = CASE n "
               "WHEN 777 THEN 99999 ELSE 1.25 END"),
}  # fmt: skip


DIRT: dict[str, list[str]] = {
    "lane": ["best", "columnar"],
    "write": ["append", "upsert", "replace"],
    "poison": list(POISON),
}


@pytest.mark.parametrize("cell", covering(DIRT, lambda cell: True), ids=name_of)
def test_a_poison_row_is_quarantined_once_and_the_rest_lands(cell: Cell, source_url: str, sink_url: str) -> None:
    lane = Lane.COLUMNAR if cell["lane"] == "columnar" else None
    write, poison = WriteMode(cell["write"]), cell["poison"]
    column, spoil = POISON[poison]
    execute(source_url, spoil)
    execute(sink_url, f"CREATE TABLE parts (k text, n bigint, {column}, PRIMARY KEY (k, n))")

    report = moved(source_url, sink_url, lane=lane, write=write)

    assert report.exit_code == 3, report.to_json()
    counts = report.streams[0].counts
    assert (counts.read, counts.written, counts.quarantined) == (ROWS, ROWS - 1, 1)
    names = [row[0] for row in rows(sink_url, "SELECT n FROM parts")]
    ((stream, code, original),) = rows(sink_url, "SELECT stream, code, original FROM _tongqu_quarantine")
    assert len(names) == ROWS - 1
    assert stream == "parts"
    assert code in ("target.refused", "target.unique", "cast.invalid")
    assert '"n": 777' in original or '"n": 1,' in original


@BOTH_LANES
@pytest.mark.parametrize("write", [WriteMode.REPLACE, WriteMode.APPEND])
def test_a_lost_reply_quarantines_nothing_twice(
    lane: Lane, write: WriteMode, source_url: str, sink_url: str, proxy: FaultProxy
) -> None:
    execute(source_url, "UPDATE parts SET name = 'much too long' WHERE n % 97 = 0")
    execute(sink_url, "CREATE TABLE parts (k text, n bigint, name varchar(6), PRIMARY KEY (k, n))")

    def hurt() -> None:
        proxy.drop_replies(after=b"COMMIT", times=2)

    report = moved(source_url, proxy.url(sink_url), watch=At(6, hurt), lane=lane, write=write)

    assert proxy.lost == 2
    assert report.exit_code == 3, report.to_json()
    bad = ROWS // 97
    counts = report.streams[0].counts
    assert (counts.read, counts.written, counts.quarantined) == (ROWS, ROWS - bad, bad)
    assert rows(sink_url, PARTS) == [row for row in rows(source_url, PARTS) if row[2] != "much too long"]
    originals = rows(sink_url, "SELECT original FROM _tongqu_quarantine")
    assert len(originals) == len(set(originals)) == bad


@BOTH_LANES
@pytest.mark.parametrize("write", [WriteMode.APPEND, WriteMode.UPSERT, WriteMode.REPLACE])
def test_a_column_added_between_two_attempts_doubles_nothing(
    lane: Lane, write: WriteMode, source_url: str, sink_url: str
) -> None:
    execute(sink_url, "CREATE TABLE parts (k text, n bigint, name text)")  # without the key that would hide it

    def stop() -> None:
        raise WriteError("the test ends this attempt")

    first = moved(source_url, sink_url, watch=At(5, stop), lane=lane, write=write)
    assert first.exit_code == 1
    execute(source_url, "ALTER TABLE parts ADD extra int DEFAULT 7")

    before = rows(sink_url, PARTS)

    second = moved(source_url, sink_url, lane=lane, write=write)

    if write is WriteMode.APPEND:  # part of the rows is there without the column, and cannot be told apart
        assert second.status == "failed"
        assert "--restart" in second.problems[0]["hint"]
        assert rows(sink_url, PARTS) == before
        return
    assert second.status == "succeeded", second.problems
    assert rows(sink_url, PARTS) == rows(source_url, PARTS)
    assert rows(sink_url, "SELECT count(*) FROM parts WHERE extra = 7")[0][0] >= ROWS - 500
