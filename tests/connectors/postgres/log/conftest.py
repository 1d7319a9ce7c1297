"""A fresh database of PostgreSQL 15 or 18, and its log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tongqu.connectors.postgres.log import PostgresLog
from tongqu.connectors.postgres.settings import from_url
from tongqu.connectors.postgres.source import PostgresSource
from tongqu.core.data import Batch, Position
from tongqu.core.log import CONTROL, Follow, Log
from tongqu.testing.services import Postgres, start_postgres

Sql = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(params=["pg_url", "pg18_url"])
def url(request: pytest.FixtureRequest) -> str:
    """A fresh database in each version."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def sql(url: str) -> Iterator[Sql]:
    """Runs statements, each in a transaction of its own."""
    with psycopg.connect(url, autocommit=True) as connection:

        def run(text: str) -> list[tuple[Any, ...]]:
            done = connection.execute(text)
            return done.fetchall() if done.description else []

        yield run


@pytest.fixture
def follow(url: str) -> Iterator[Callable[..., PostgresLog]]:
    """The log of some tables."""
    source = PostgresSource(from_url(url))
    logs: list[PostgresLog] = []

    def make(*tables: str) -> PostgresLog:
        log = source.log("test", source.datasets(tables))
        assert isinstance(log, PostgresLog)
        logs.append(log)
        return log

    yield make
    for log in logs:
        log.close()
    source.close()


@pytest.fixture(scope="session")
def postgres_of_our_own() -> Iterator[Postgres]:
    """A server that these tests may kill."""
    server = start_postgres()
    yield server
    server.stop()


def batches(log: Log, after: Position) -> list[Batch]:
    """Everything from a position to the present end of the log."""
    return list(log.read(Follow(after, log.head())))


def told(found: list[Batch]) -> list[Any]:
    """Changes as (op, values) and the words for all else, heartbeats left out."""
    rows: list[Any] = []
    for batch in found:
        if batch.kind == "rows":
            for row in batch.rows.to_pylist():
                kept = row.get("_unchanged") or []
                values = {name: value for name, value in row.items() if name not in CONTROL and name not in kept}
                rows.append((row["_op"], *values.values()))
        elif batch.kind != "heartbeat":
            rows.append(batch.kind)
    return rows
