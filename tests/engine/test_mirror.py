"""A copy that follows a dataset's own log, on systems with logs of different kinds."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tongqu.connectors.mysql.db import MysqlDb
from tongqu.core import registry
from tongqu.core.errors import BusyError, CancelledError, InvalidPlanError
from tongqu.engine.mirror import Mirror
from tongqu.testing.services import Mongodb


def rows(mirror: Mirror) -> list[tuple[Any, ...]]:
    """All rows as they are now."""
    mirror.caught_up(time.monotonic())
    return sorted(tuple(row.values()) for table in mirror.whole()[1] for row in table.to_pylist())


def follows(url: str, folder: Path, *changes: Callable[[], object]) -> list[list[tuple[Any, ...]]]:
    """The rows in the beginning and after each of the changes, every time by another process's eyes."""
    found, connector = [], registry.by_url(url)
    assert connector.source is not None
    for change in (lambda: None, *changes):
        source = connector.source(connector.from_url(url))
        source.lodge(folder / "lodge")
        (dataset,) = source.datasets(["prices"])
        mirror = Mirror(source, dataset, (folder / "prices.duckdb", "tongqu_side_test"), Event())
        try:
            change()
            found.append(rows(mirror))
            with pytest.raises(BusyError):
                _elsewhere(folder / "prices.duckdb")
        finally:
            mirror.close()
            source.close()
    return found


def _elsewhere(file: Path) -> None:
    """Another process that wants the same file."""
    import subprocess
    import sys

    code = f"import duckdb; duckdb.connect({str(file)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        assert "lock" in done.stderr
        raise BusyError("it is in use")


def test_the_binary_log_is_followed(mysql_url: str, tmp_path: Path) -> None:
    connector = registry.by_url(mysql_url)
    with closing(MysqlDb(connector.from_url(mysql_url))) as db:  # type: ignore[arg-type]  # MySQL's own settings
        db.run("SET autocommit = 1")
        db.run("CREATE TABLE prices (code varchar(9) PRIMARY KEY, price int)")
        db.run("INSERT INTO prices VALUES ('a', 1), ('b', 2)")
        changes = (
            lambda: db.run("UPDATE prices SET price = 3 WHERE code = 'a'"),
            lambda: db.run("DELETE FROM prices WHERE code = 'b'"),
            lambda: db.run("TRUNCATE prices"),
        )
        found = follows(mysql_url, tmp_path, *changes)
    assert found == [[("a", 1), ("b", 2)], [("a", 3), ("b", 2)], [("a", 3)], []]


def test_a_change_stream_is_followed(mongodb: Mongodb, mongodb_url: str, tmp_path: Path) -> None:
    with mongodb.client() as client:
        prices = client.get_database(mongodb_url.rpartition("/")[2].partition("?")[0]).prices
        prices.insert_many([{"_id": "a", "price": 1}, {"_id": "b", "price": 2}])
        changes = (
            lambda: prices.update_one({"_id": "a"}, {"$set": {"price": 3}}),
            lambda: prices.delete_one({"_id": "b"}),
        )
        found = follows(mongodb_url, tmp_path, *changes)
    assert found == [[("a", 1), ("b", 2)], [("a", 3), ("b", 2)], [("a", 3)]]


def test_it_can_be_stopped_and_needs_a_key(pg_url: str, tmp_path: Path) -> None:
    import psycopg

    with psycopg.connect(pg_url, autocommit=True) as db:
        db.execute("create table prices (code text, price int)")
    connector = registry.by_url(pg_url)
    assert connector.source is not None
    with closing(connector.source(connector.from_url(pg_url))) as source:
        (dataset,) = source.datasets(["prices"])
        place, stop = (tmp_path / "prices.duckdb", "tongqu_side_test"), Event()
        with pytest.raises(InvalidPlanError, match="no key"):
            Mirror(source, dataset, place, stop)
        stop.set()
        with closing(Mirror(source, dataset.bound("prices", ("code",)), place, stop)) as mirror:
            mirror.begin()
            with pytest.raises(CancelledError):
                mirror.caught_up(time.monotonic())
