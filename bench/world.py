"""The servers, data and files that scenarios share; made when first asked for and gone at the end."""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import tongqu
from bench.measure import Method, Row, Stand
from tongqu.testing.services import MariaDB, Postgres, start_mariadb, start_postgres

POSTGRES: dict[str, str | int | float | bool] = {
    "fsync": True,
    "full_page_writes": True,
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "wal_level": "logical",
    "track_commit_timestamp": True,
    "autovacuum": False,
}
MARIADB: dict[str, str | int | float | bool] = {
    "innodb_buffer_pool_size": "1G",
    "innodb_log_file_size": "1G",
    "innodb_flush_log_at_trx_commit": 1,
}
_BENCH = Path(__file__).parent


class World:
    """One PostgreSQL with the databases `src` and `dst`, one MariaDB with `shop`, and a folder.

    Commands find passwords in their environment only: PGPASSWORD and MYSQL_PWD.
    """

    def __init__(self, rows: int, rounds: int):
        self.rows = rows
        self.rounds = rounds
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="tongqu-bench-")))
        self.environment: dict[str, str] = {"TONGQU_HOME": str(self.folder / "home")}
        self.tongqu = f"{sys.executable} -m tongqu"
        compileall.compile_dir(str(Path(tongqu.__file__).parent), quiet=2)  # as an installed package is
        self.postgres = self._start()

    def __enter__(self) -> Self:
        self.orders("src", "orders", self.rows)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, at)

    # ---- servers

    def _start(self) -> Postgres:
        server = self._stack.enter_context(start_postgres(POSTGRES))
        self.environment |= {
            "PGHOST": server.host, "PGPORT": str(server.port), "PGUSER": "postgres",
            "PGPASSWORD": urlsplit(server.url).password or "", "PGOPTIONS": "-c client_min_messages=warning",
        }  # fmt: skip
        for name in ("src", "dst"):
            server.database(name)
        return server

    @cached_property
    def mariadb(self) -> MariaDB:
        """The MariaDB server, with the empty database `shop`."""
        server = self._stack.enter_context(start_mariadb(MARIADB))
        server.database("shop")
        self.environment["MYSQL_PWD"] = urlsplit(server.url).password or ""
        return server

    @property
    def mysql(self) -> str:
        """The command line of MariaDB's client."""
        return f"mariadb -h{self.mariadb.host} -P{self.mariadb.port} -uroot --local-infile=1 shop"

    def url(self, database: str) -> str:
        """Tongqu's URL of a PostgreSQL database."""
        return f"postgresql://postgres:${{env:PGPASSWORD}}@{self.postgres.host}:{self.postgres.port}/{database}"

    @property
    def shop(self) -> str:
        """Tongqu's URL of the MariaDB database."""
        return f"mysql://root:${{env:MYSQL_PWD}}@{self.mariadb.host}:{self.mariadb.port}/shop"

    # ---- commands

    def sync(self, source: str, sink: str, *options: str) -> str:
        """The command line that moves data from one URL to another."""
        return " ".join([self.tongqu, "sync", f"'{source}'", f"'{sink}'", *options, "--json"])

    def shell(self, command: str) -> str:
        """Run a command that is not timed; returns what it printed. Raises CalledProcessError."""
        done = subprocess.run(
            ["bash", "-c", "set -o pipefail; " + command],
            check=True, capture_output=True, text=True, env={**os.environ, **self.environment},
        )  # fmt: skip
        return done.stdout.strip()

    def sql(self, database: str, *statements: str) -> str:
        """Statements in PostgreSQL, each in a transaction of its own."""
        server = self.postgres
        done = subprocess.run(
            [server.binaries / "psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-d", database,
             *(word for statement in statements for word in ("-c", statement))],
            check=True, capture_output=True, text=True, env={**os.environ, **self.environment},
        )  # fmt: skip
        return done.stdout.strip()

    def counts(self, database: str, table: str) -> str:
        """Number of rows and checksum of a table's keys and amounts."""
        return self.sql(database, f"SELECT count(*), sum(id), sum(amount) FROM {table}")

    def settle(self, *databases: str) -> None:
        """Bring tables and WAL to rest, so that no method pays for the one before it."""
        for database in databases:
            self.sql(database, "VACUUM ANALYZE")
        self.sql("postgres", "CHECKPOINT")

    def compare(self, *methods: Method, rounds: int = 0) -> list[Row]:
        """Time the methods in turn, `rounds` times if given; the first is the limit."""
        stand = Stand(self.environment, self._servers(), self.folder / "commands.log")
        return stand.compare(methods, rounds or self.rounds)

    def _servers(self) -> list[int]:
        """Process ids of the servers that run, as they tell them themselves."""
        found = [Path(self.sql("postgres", "SHOW data_directory")) / "postmaster.pid"]
        if "mariadb" in self.__dict__:
            found.append(Path(self.shell(f"{self.mysql} -Ne 'SELECT @@pid_file'")))
        return [int(path.read_text().split()[0]) for path in found]

    # ---- data

    def orders(self, database: str, table: str, rows: int) -> None:
        """Make the table that benchmarks move."""
        script = _BENCH / "orders.sql"
        self.shell(f"psql -qX -d {database} -v rows={rows} -v tbl={table} -f {script}")

    def empty_like(self, database: str, table: str) -> None:
        """Make an empty table of that shape, with its key."""
        self.orders(database, table, 0)

    @cached_property
    def csv(self) -> Path:
        """The orders as a gzipped CSV with a header."""
        path = self.folder / "orders.csv.gz"
        self.shell(f"psql -qX -d src -c 'COPY orders TO STDOUT (FORMAT csv, HEADER)' | gzip -6 > {path}")
        return path

    @cached_property
    def parquet(self) -> Path:
        """The orders as Parquet, written by DuckDB from the CSV."""
        import duckdb

        path = self.folder / "orders.parquet"
        kinds = {
            "id": "BIGINT", "order_no": "VARCHAR", "customer": "VARCHAR", "amount": "DECIMAL(12,2)",
            "discount": "DECIMAL(12,2)", "created_at": "TIMESTAMPTZ", "ship_date": "DATE", "is_paid": "BOOLEAN",
            "status": "VARCHAR", "remark": "VARCHAR", "attrs": "VARCHAR", "qty": "INTEGER",
        }  # fmt: skip
        with duckdb.connect() as database:
            database.sql("SET timezone = 'UTC'")
            columns = ", ".join(f"'{name}': '{kind}'" for name, kind in kinds.items())
            rows = f"FROM read_csv('{self.csv}', header = true, columns = {{{columns}}})"
            database.sql(f"COPY ({rows}) TO '{path}' (FORMAT parquet)")
        return path
