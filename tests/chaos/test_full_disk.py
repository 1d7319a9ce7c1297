"""The target's disk really fills up: the command says so and ends; after somebody has made room it goes on."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tongqu.testing.psql import execute
from tongqu.testing.psql import rows as pg_rows
from tongqu.testing.services import MariaDB, Postgres, ServiceMissingError, SmallDisk
from tongqu.testing.services.process import account

ROWS = 100_000
PARTS = "SELECT id, name FROM parts"
DISK_MB = 160

Rows = Callable[[], list[tuple[Any, ...]]]


@dataclass
class Target:
    """A place on a small disk: the URL to write to, its rows as another program reads them, and the disk."""

    url: str
    rows: Rows
    disk: SmallDisk
    room_mb: int = 8
    """How much of the disk is free at first: less than the rows need."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file of about 25 MiB whose text does not compress."""
    path = tmp_path_factory.mktemp("source") / "source.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE parts (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
        database.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            "INSERT INTO parts SELECT i, hex(randomblob(120)) FROM n",
            (ROWS,),
        )
    database.close()
    return path


def expected(source: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(source) as database:
        return sorted(database.execute(PARTS).fetchall(), key=repr)


def disk_of(*accounts: str) -> SmallDisk:
    """A small disk for a program of ours or a server's account; in CI there must be one."""
    try:
        return SmallDisk(DISK_MB, account(*accounts) if accounts else None)
    except ServiceMissingError as error:
        if os.environ.get("CI") == "true" or os.environ.get("TONGQU_REQUIRE_SERVICES") == "1":
            pytest.fail(f"{error}; {error.hint}", pytrace=False)
        pytest.skip(f"{error}; {error.hint}")


@pytest.fixture
def on_postgres(postgres: Postgres) -> Iterator[Target]:
    """A database in a tablespace on the small disk; WAL stays on the large one."""
    with disk_of("postgres", "nobody") as disk:
        execute(postgres.url, f"CREATE TABLESPACE small LOCATION '{disk.make_folder('space')}'")
        execute(postgres.url, "CREATE DATABASE on_small_disk TABLESPACE small")
        try:
            url = postgres.url_of("on_small_disk")
            yield Target(url, lambda: pg_rows(url, PARTS), disk)
        finally:
            postgres.drop("on_small_disk")
            execute(postgres.url, "DROP TABLESPACE small")


@pytest.fixture
def on_mariadb(mariadb: MariaDB) -> Iterator[Target]:
    """A database whose folder is a link to the small disk; logs stay on the large one."""
    import pymysql

    def read(query: str) -> list[tuple[Any, ...]]:
        password = mariadb.url.partition("root:")[2].partition("@")[0]
        door: dict[str, Any] = {"host": mariadb.host, "port": mariadb.port, "user": "root", "password": password}
        with pymysql.connect(**door) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return sorted(cursor.fetchall(), key=repr)

    with disk_of("mysql") as disk:
        data = Path(read("SELECT @@datadir")[0][0])
        (data / "on_small_disk").symlink_to(disk.make_folder("space"))
        try:
            url = mariadb.url_of("on_small_disk")
            room = 24  # InnoDB ends itself when it cannot even extend a table for the first time
            yield Target(url, lambda: read("SELECT id, name FROM on_small_disk.parts"), disk, room)
        finally:
            mariadb.drop("on_small_disk")


@pytest.fixture
def on_sqlite() -> Iterator[Target]:
    """A SQLite file."""
    with disk_of() as disk:
        path = disk.mounted / "small.db"
        yield Target(f"sqlite:{path}", lambda: seen(disk, path), disk)


@pytest.fixture
def on_duckdb() -> Iterator[Target]:
    """A DuckDB file."""
    with disk_of() as disk:
        path = disk.mounted / "small.duckdb"
        yield Target(f"duckdb:{path}", lambda: seen(disk, path), disk)


@pytest.fixture
def in_csv() -> Iterator[Target]:
    """A CSV file."""
    with disk_of() as disk:
        path = disk.mounted / "parts.csv"
        yield Target(f"file:{path}", lambda: seen(disk, path), disk)


def seen(disk: SmallDisk, path: Path) -> list[tuple[Any, ...]]:
    """The rows of a file on the disk, read by a program of its own there."""
    reads = {
        ".db": f"import sqlite3; r = sqlite3.connect({str(path)!r}).execute({PARTS!r}).fetchall()",
        ".duckdb": f"import duckdb; r = duckdb.connect({str(path)!r}, read_only=True).sql({PARTS!r}).fetchall()",
        ".csv": f"import csv; r = [(int(a), b) for a, b in list(csv.reader(open({str(path)!r})))[1:]]",
    }
    command = disk.inside(sys.executable, "-c", f"{reads[path.suffix]}; import json; print(json.dumps(r))")
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return sorted((tuple(row) for row in json.loads(done.stdout)), key=repr)


def sync(source: Path, target: Target, home: Path) -> tuple[int, dict[str, Any], str]:
    """Exit code, document and what was said to a person."""
    command = [sys.executable, "-m", "tongqu", "sync", f"sqlite:{source}", target.url, "--table", "parts"]
    options = ["--chunk-rows", "5000", "--json", "--lang", "en"]
    done = subprocess.run(
        target.disk.inside(*command, *options) if target.url.startswith(("sqlite", "duckdb", "file"))
        else [*command, *options],
        check=False, capture_output=True, text=True, timeout=120, env={**os.environ, "TONGQU_HOME": str(home)},
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("place", ["on_postgres", "on_mariadb", "on_sqlite", "on_duckdb", "in_csv"])
def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(
    place: str, request: pytest.FixtureRequest, source: Path, tmp_path: Path
) -> None:
    target: Target = request.getfixturevalue(place)
    target.disk.fill(target.room_mb)

    code, stopped, said = sync(source, target, tmp_path / "home")
    assert (code, stopped["status"]) == (1, "failed"), said
    problem = stopped["problems"][0]
    assert "full" in problem["message"].lower() or "space" in problem["message"].lower(), problem
    assert "same command again" in problem["hint"], problem
    assert problem["path"], problem

    target.disk.make_room()
    code, done, said = sync(source, target, tmp_path / "home")
    assert (code, done["status"]) == (0, "succeeded"), said
    assert (done["run"], done["attempts"]) == (stopped["run"], 2)
    assert done["streams"][0]["read"] == ROWS
    assert target.rows() == expected(source)
