"""Databases whose logs are followed into a file, in this thread or in another one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psycopg
import pymysql
import pytest

from tongqu.core import registry
from tongqu.core.connector import Source
from tongqu.core.events import Event as Happened
from tongqu.core.events import StreamEnded
from tongqu.engine.report import Report
from tongqu.testing.following import around, follow, wanted
from tongqu.testing.services import Mongodb

DEADLINE = 90.0
TABLES = ("a", "b", "c")
ASKED = wanted(tables=TABLES)
TABLE = "CREATE TABLE {} (id INT PRIMARY KEY, v VARCHAR(20))"


@dataclass
class System:
    """A database with a log, and where it is followed to."""

    url: str
    do: Callable[[str], Any]
    target: Path
    home: Path

    def put(self, table: str, id: int, v: str) -> None:
        self.do(f"INSERT INTO {table} VALUES ({id}, '{v}')")

    def make(self, table: str) -> None:
        self.do(TABLE.format(table))

    def rows(self, table: str) -> list[tuple[int, str]]:
        """What the target has."""
        with closing(sqlite3.connect(self.target)) as db:
            there = db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
            return db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() if there else []

    def until(self, seen: Callable[[], bool]) -> None:
        """Wait until something holds."""
        assert any(seen() or Event().wait(0.05) for _ in range(int(DEADLINE / 0.05)))

    def arrives(self, table: str, id: int) -> None:
        self.until(lambda: any(row[0] == id for row in self.rows(table)))

    @contextmanager
    def source(self) -> Iterator[Source]:
        found = registry.by_url(self.url)
        assert found.source is not None
        made = found.source(found.from_url(self.url))
        made.lodge(self.home)
        with closing(made):
            yield made

    def follow(self, **more: Any) -> Report:
        with self.source() as source:
            return follow(source, f"sqlite:{self.target}", ASKED, **more)


class Documents(System):
    """MongoDB's words for the same."""

    def put(self, table: str, id: int, v: str) -> None:
        self.do("")[table].insert_one({"_id": id, "v": v})

    def make(self, table: str) -> None:
        self.do("").create_collection(table)


@pytest.fixture
def postgres_system(pg18_url: str, tmp_path: Path) -> Iterator[System]:
    with psycopg.connect(pg18_url, autocommit=True) as db:
        yield System(pg18_url, db.execute, tmp_path / "target.db", tmp_path / "home")


@pytest.fixture
def mariadb_system(mysql_url: str, tmp_path: Path) -> Iterator[System]:
    from tongqu.connectors.mysql.settings import from_url

    settings = from_url(mysql_url)
    place: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "user": settings.user,
        "database": settings.database,
    }
    password = settings.password.get_secret_value() if settings.password else ""
    with closing(pymysql.connect(**place, password=password, autocommit=True)) as db:
        yield System(mysql_url, lambda text: db.cursor().execute(text), tmp_path / "target.db", tmp_path / "home")


@pytest.fixture
def mongodb_system(mongodb: Mongodb, mongodb_url: str, tmp_path: Path) -> Iterator[System]:
    from tongqu.connectors.mongodb.settings import from_url

    with mongodb.client() as client:
        database = client[from_url(mongodb_url).database]

        def do(text: str) -> Any:
            return database.drop_collection(text.rsplit(maxsplit=1)[-1]) if text else database

        yield Documents(mongodb_url, do, tmp_path / "target.db", tmp_path / "home")


@pytest.fixture(params=["postgres_system", "mariadb_system", "mongodb_system"])
def system(request: pytest.FixtureRequest) -> System:
    found: System = request.getfixturevalue(request.param)
    for table in TABLES:
        found.make(table)
        found.put(table, 1, "first")
    return found


class Live:
    """The streams in a thread, until the end of the block."""

    def __init__(self, system: System):
        self.told: list[Happened] = []
        self.lost = Event()
        self._stop, self._found = Event(), list[Report]()
        self._thread = Thread(target=self._run, args=(system,))
        self._thread.start()

    def _run(self, system: System) -> None:
        self._found.append(system.follow(until_caught_up=False, surroundings=around(self._stop), emit=self._hear))

    def _hear(self, event: Happened) -> None:
        self.told.append(event)
        if isinstance(event, StreamEnded) and event.stream == "b":
            self.lost.set()

    @property
    def report(self) -> Report:
        return self._found[0]

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(DEADLINE)
