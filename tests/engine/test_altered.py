"""A source that is altered after it was discovered stops the stream before a wrong row is committed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tongqu.core import registry
from tongqu.core.events import silent
from tongqu.core.schema_changes import SchemaChanges
from tongqu.engine.compile import Wanted, plan_sync
from tongqu.engine.job import Job, Surroundings
from tongqu.engine.run import run

AROUND = Surroundings(now=lambda: datetime.now(UTC), new_id=lambda: "run", stop=Event(), wait=lambda _: False)


def ends(tmp_path: Path) -> tuple[Any, Any]:
    """A source and a sink of their own connectors."""
    source, sink = registry.connector("sqlite"), registry.connector("duckdb")
    assert source.source is not None
    assert sink.sink is not None
    return source.source(source.from_url(f"sqlite:{tmp_path}/s.db")), sink.sink(
        sink.from_url(f"duckdb:{tmp_path}/t.db")
    )


def sync(tmp_path: Path, mode: SchemaChanges, alter: str = "") -> Any:
    """One sync of the table `b`; the source is altered between planning and reading."""
    source, sink = ends(tmp_path)
    with closing(source), closing(sink), closing(sqlite3.connect(tmp_path / "s.db")) as db:
        streams = plan_sync(source, sink, source_id="s", sink_id="t", wanted=Wanted(schema_changes=mode))
        if alter:
            db.execute(alter)
            db.commit()
        return run(Job(streams, run=f"run {alter}"), silent, AROUND)


@pytest.mark.parametrize("mode", SchemaChanges, ids=lambda mode: mode.value)
@pytest.mark.parametrize(
    "alter",
    ["ALTER TABLE b RENAME COLUMN v TO w", "ALTER TABLE b DROP COLUMN v", "ALTER TABLE b ADD COLUMN w TEXT"],
    ids=["renamed", "dropped", "added"],
)
def test_altered_after_planning(tmp_path: Path, mode: SchemaChanges, alter: str) -> None:
    with closing(sqlite3.connect(tmp_path / "s.db")) as db:
        db.execute("CREATE TABLE b (id INTEGER PRIMARY KEY, v INTEGER)")
        db.execute("INSERT INTO b VALUES (1, 1), (2, 2)")
        db.commit()
    assert sync(tmp_path, mode).status == "succeeded"
    report = sync(tmp_path, mode, alter)
    assert report.status == "failed"
    assert report.problems[0]["code"] == "data.schema"
    assert "altered while it was being read" in report.problems[0]["message"]
    again = sync(tmp_path, mode)
    assert again.status in (["failed"] if mode is SchemaChanges.FREEZE else ["succeeded", "attention"])
    if mode is SchemaChanges.EVOLVE:
        assert again.status == "succeeded"
        assert [change.to_json()["outcome"] for change in again.streams[0].schema]
