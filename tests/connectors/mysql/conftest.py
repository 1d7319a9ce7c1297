"""A way to run statements in the test's database, and one stream's way through a sink as the engine goes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.mysql import connector
from tongqu.connectors.mysql.db import MysqlDb
from tongqu.connectors.mysql.settings import from_url
from tongqu.connectors.mysql.sink import MysqlSink
from tongqu.connectors.mysql.source import MysqlSource
from tongqu.core.data import BadRow, Checkpoint, Counts, Dataset, Read, Split, Write, WriteMode, Written

Sql = Callable[..., list[tuple[Any, ...]]]


@dataclass
class Moved:
    """What one run did."""

    written: Written
    counts: Counts
    refused: list[BadRow] = field(default_factory=list)


@pytest.fixture
def sql(mysql_url: str) -> Iterator[Sql]:
    """Runs statements in the test's database, each committed; returns the rows of the last."""
    db = MysqlDb(from_url(mysql_url))
    db.run("SET autocommit = 1")

    def run(*statements: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        for statement in statements:
            found = db.rows(statement)
        return found

    yield run
    db.close()


@pytest.fixture
def source(mysql_url: str) -> Iterator[MysqlSource]:
    """The source of the test's database."""
    found = connector.source(from_url(mysql_url)) if connector.source else None
    assert isinstance(found, MysqlSource)
    yield found
    found.close()


@pytest.fixture
def sink(mysql_url: str) -> Iterator[MysqlSink]:
    """The sink into the test's database."""
    found = connector.sink(from_url(mysql_url)) if connector.sink else None
    assert isinstance(found, MysqlSink)
    yield found
    found.close()


@pytest.fixture
def inserting(mysql_url: str) -> Iterator[MysqlSink]:
    """A sink that may not use LOAD DATA."""
    found = MysqlSink(from_url(mysql_url + "?load_data=false"))
    yield found
    found.close()


def _writing(table: pa.Table, name: str = "target", mode: WriteMode = WriteMode.REPLACE, **more: Any) -> Write:
    """A stream of the table's schema; `key=("id",)` and other fields of Write as given."""
    key = more.get("key", ())
    dataset = Dataset(name, table.schema, key=key, title=more.pop("title", ""))
    started = more.pop("started_at", "2026-01-01T00:00:00+00:00")
    return Write(
        "s", dataset, mode, sync=more.pop("sync", "sync"), run=more.pop("run", "r1"), started_at=started, **more
    )


def _move(
    sink: MysqlSink, table: pa.Table, name: str = "target", mode: WriteMode = WriteMode.REPLACE, **more: Any
) -> Moved:
    """One run of one stream with a chunk per `chunk` rows."""
    chunk = more.pop("chunk", 0) or max(table.num_rows, 1)
    write = _writing(table, name, mode, **more)
    run = sink.start(write.sync, write.run, restart=False).run
    write = replace(write, run=run)
    opened = sink.open(write)
    split = Split("0", name)
    if not opened.checkpoints:
        sink.begin(write, [split])
    session = sink.session(write, split)
    counts, refused = Counts(), []
    for start in range(0, table.num_rows, chunk):
        part = session.write(table.slice(start, chunk))
        refused += part.refused
        _add(counts, part)
        session.commit(Checkpoint(split, {"at": start}, counts, quarantine=part.refused))
    session.commit(Checkpoint(split, {"end": True}, counts, done=True))
    session.close()
    written = sink.finish(write, counts, None)
    sink.end(write.sync, write.run, [write])
    return Moved(written, counts, refused)


def _add(counts: Counts, part: Written) -> None:
    """Add a chunk's numbers."""
    for name in ("inserted", "updated", "deleted", "unchanged", "merged"):
        setattr(counts, name, getattr(counts, name) + getattr(part, name))
    counts.quarantined += len(part.refused)


def _reading(source: MysqlSource, name: str, **more: Any) -> Read:
    """A read of a whole dataset."""
    dataset = source.datasets([name])[0]
    return Read(dataset, more.pop("split", Split("0", name)), **more)


@pytest.fixture
def move() -> Callable[..., Moved]:
    """`move(sink, table, name, mode, key=…, chunk=…)`: one whole run of one stream."""
    return _move


@pytest.fixture
def writing() -> Callable[..., Write]:
    """`writing(table, name, mode, key=…)`: the Write of a stream."""
    return _writing


@pytest.fixture
def reading() -> Callable[..., Read]:
    """`reading(source, name, …)`: the Read of a dataset."""
    return _reading
