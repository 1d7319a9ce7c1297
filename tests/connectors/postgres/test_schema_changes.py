"""PostgreSQL to PostgreSQL: a column that grows at the source grows in the target; rows still travel as bytes."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from itertools import count
from threading import Event
from typing import Any

import pytest

from tongqu.core import registry
from tongqu.core.data import Mode, WriteMode
from tongqu.core.events import silent
from tongqu.core.schema_changes import SchemaChanges
from tongqu.engine.compile import Wanted, plan_sync
from tongqu.engine.job import Job, Surroundings
from tongqu.engine.run import run

AROUND = Surroundings(now=lambda: datetime.now(UTC), new_id=lambda: "run", stop=Event(), wait=lambda _: False)
_RUNS = count(1)


def sync(
    url: str, *before: str, write: WriteMode = WriteMode.UPSERT, mode: SchemaChanges = SchemaChanges.EVOLVE
) -> Any:
    """Run statements, then one sync of the table `a` into `b` of the same database; the stream's report and `b`."""
    connector = registry.connector("postgres")
    assert connector.source is not None
    assert connector.sink is not None
    settings: Any = connector.from_url(url)
    sink: Any = connector.sink(settings)
    with closing(connector.source(settings)) as source, closing(sink), closing(sink.connect()) as db:
        for statement in before:
            db.run(statement)
        wanted = Wanted(tables=("a=b",), mode=Mode.FULL, write=write, schema_changes=mode)
        streams = plan_sync(source, sink, source_id="a", sink_id="b", wanted=wanted)
        report = run(Job(streams, run=f"run {next(_RUNS)}"), silent, AROUND).streams[0]
        return report, sorted(db.rows("SELECT * FROM b"), key=str)


@pytest.mark.parametrize("write", [WriteMode.UPSERT, WriteMode.REPLACE], ids=lambda word: word.value)
def test_longer_texts_and_bigger_numbers_stay_in_the_pass_lane(pg_url: str, write: WriteMode) -> None:
    made = "CREATE TABLE a (id int PRIMARY KEY, t varchar(4), n int, d numeric(5,2), m timestamp)"
    report, rows = sync(pg_url, made, "INSERT INTO a VALUES (1, 'abcd', 1, 1.50, NULL)", write=write)
    assert (report.status, report.lane) == ("succeeded", "pass")
    report, rows = sync(
        pg_url,
        "ALTER TABLE a ALTER t TYPE varchar(12), ALTER n TYPE bigint, ALTER d TYPE numeric(12,4)",
        "UPDATE a SET t = 'abcdefgh', n = 1099511627776, d = 12345678.1234",
        write=write,
    )
    assert (report.status, report.lane) == ("succeeded", "pass")
    assert [str(change.outcome) for change in report.schema] == ["widened"] * 3
    assert [str(value) for value in rows[0]] == ["1", "abcdefgh", "1099511627776", "12345678.1234", "None"]


def test_a_view_that_holds_the_column_is_named(pg_url: str) -> None:
    sync(pg_url, "CREATE TABLE a (id int PRIMARY KEY, n int)", "INSERT INTO a VALUES (1, 1)")
    report, rows = sync(pg_url, "CREATE VIEW w AS SELECT n + 1 AS m FROM b", "ALTER TABLE a ALTER n TYPE bigint")
    assert report.status == "failed"
    assert report.problem["code"] == "data.schema"
    assert "ALTER COLUMN" in report.problem["hint"]
    assert rows == [(1, 1)]


@pytest.mark.parametrize(
    ("mode", "rows"),
    [(SchemaChanges.DISCARD_COLUMN, [(1, "abcd"), (2, None)]), (SchemaChanges.DISCARD_ROW, [(1, "abcd")])],
    ids=str,
)
def test_a_target_that_stays_judges_each_value(pg_url: str, mode: SchemaChanges, rows: list[tuple[Any, ...]]) -> None:
    sync(pg_url, "CREATE TABLE a (id int PRIMARY KEY, t varchar(4))", "INSERT INTO a VALUES (1, 'abcd')")
    altered = ("ALTER TABLE a ALTER t TYPE text", "INSERT INTO a VALUES (2, 'abcdefgh')")
    report, found = sync(pg_url, *altered, mode=mode)
    assert report.lane == "columnar"
    assert found == rows
    assert (report.counts.discarded, report.counts.quarantined) == ((1, 0) if len(rows) == 2 else (0, 1))
