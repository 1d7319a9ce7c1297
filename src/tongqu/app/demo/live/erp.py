"""The demo's ERP: a table of work orders in SQLite or PostgreSQL, whose rows carry the moment of their last change."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tongqu.core.errors import ConnectError, InvalidSettingsError, NotFoundError
from tongqu.kit.drivers import driver

ORDERS = (
    ("W1001", "轴承座", 40),
    ("W1002", "法兰盘", 25),
    ("W1003", "齿轮", 60),
    ("W1004", "连接板", 15),
    ("W1005", "端盖", 30),
)
STATES = ("planned", "released", "running", "done")
FIELDS = ("product", "quantity", "state")
"""What a person may change."""
SCHEMA = "tongqu_demo"
"""Where the table is in PostgreSQL."""
ENVIRON = "TONGQU_DEMO_ERP"
"""The variable that the project file takes the URL from: no password stands in a file."""
_SQLITE = """
CREATE TABLE work_order (order_no TEXT PRIMARY KEY NOT NULL, product TEXT NOT NULL, quantity INTEGER NOT NULL,
  state TEXT NOT NULL, changed_at INTEGER NOT NULL DEFAULT 0);
CREATE INDEX work_order_changed ON work_order (changed_at);
CREATE TRIGGER stamp_new AFTER INSERT ON work_order BEGIN UPDATE work_order SET changed_at = {now}
  WHERE order_no = NEW.order_no; END;
CREATE TRIGGER stamp AFTER UPDATE OF product, quantity, state ON work_order BEGIN UPDATE work_order
  SET changed_at = {now} WHERE order_no = NEW.order_no; END;
"""
_SQLITE_NOW = (
    "(SELECT max(CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000, "
    "(SELECT coalesce(max(changed_at), 0) + 1 FROM work_order)))"
)
_POSTGRES = f"""
DROP SCHEMA IF EXISTS {SCHEMA} CASCADE;
CREATE SCHEMA {SCHEMA};
CREATE TABLE {SCHEMA}.work_order (order_no text PRIMARY KEY, product text NOT NULL, quantity bigint NOT NULL,
  state text NOT NULL, changed_at bigint NOT NULL DEFAULT 0);
CREATE FUNCTION {SCHEMA}.stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  NEW.changed_at := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint; RETURN NEW; END $$;
CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON {SCHEMA}.work_order
  FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.stamp();
"""


@dataclass(frozen=True)
class Row:
    """A work order; `changed_at` is microseconds since 1970, by the clock of the database."""

    order_no: str
    product: str
    quantity: int
    state: str
    changed_at: int


class Erp(ABC):
    """The ERP's table. Its triggers stamp a row whatever changes it, so any SQL tool may."""

    project: str
    """Name of the project file beside this module."""

    @abstractmethod
    def build(self) -> None:
        """Make the table anew with its first rows; raises ConnectError."""

    @abstractmethod
    def change(self, order_no: str, values: Mapping[str, Any]) -> Row:
        """Change an order and commit; raises NotFoundError if there is none, ConnectError."""

    @abstractmethod
    def rows(self) -> list[Row]:
        """All orders by their number; raises ConnectError."""

    def forget(self) -> None:
        """Leave nothing behind at a server that is not ours."""


class SqliteErp(Erp):
    """The ERP in a file."""

    project = "sqlite.yaml"

    def __init__(self, path: Path):
        self.path = path

    def build(self) -> None:
        """See Erp."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for old in self.path.parent.glob(f"{self.path.name}*"):
            old.unlink()
        with closing(sqlite3.connect(self.path)) as database, database:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(_SQLITE.format(now=_SQLITE_NOW))
            database.executemany(
                "INSERT INTO work_order (order_no, product, quantity, state) VALUES (?, ?, ?, 'planned')", ORDERS
            )

    def change(self, order_no: str, values: Mapping[str, Any]) -> Row:
        """See Erp."""
        sets = ", ".join(f"{_field(name)} = ?" for name in values)
        with closing(self._opened()) as database:
            with database:
                done = database.execute(
                    f"UPDATE work_order SET {sets} WHERE order_no = ?",
                    (*values.values(), order_no),
                )
            if not done.rowcount:
                raise _unknown(order_no)
            return Row(*database.execute("SELECT * FROM work_order WHERE order_no = ?", (order_no,)).fetchone())

    def rows(self) -> list[Row]:
        """See Erp."""
        with closing(self._opened()) as database:
            return [Row(*row) for row in database.execute("SELECT * FROM work_order ORDER BY order_no")]

    def _opened(self) -> sqlite3.Connection:
        try:
            return sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=rw", uri=True, timeout=10)
        except sqlite3.OperationalError as error:
            raise ConnectError(
                f"there is no live demo in {self.path.parent.parent}",
                path="--dir",
                hint="begin one in another terminal with `tongqu demo --live`",
            ) from error


class PostgresErp(Erp):
    """The ERP in a schema of its own of a PostgreSQL database."""

    project = "postgres.yaml"

    def __init__(self, url: str):
        self._url = url

    def build(self) -> None:
        """See Erp."""
        with self._opened() as connection:
            connection.execute(_POSTGRES)
            insert = f"INSERT INTO {SCHEMA}.work_order VALUES (%s, %s, %s, 'planned')"
            with connection.cursor() as cursor:
                cursor.executemany(insert, ORDERS)

    def change(self, order_no: str, values: Mapping[str, Any]) -> Row:
        """See Erp."""
        sets = ", ".join(f"{_field(name)} = %s" for name in values)
        with self._opened() as connection:
            found = connection.execute(
                f"UPDATE {SCHEMA}.work_order SET {sets} WHERE order_no = %s RETURNING *",
                (*values.values(), order_no),
            ).fetchone()
        if found is None:
            raise _unknown(order_no)
        return Row(*found)

    def rows(self) -> list[Row]:
        """See Erp."""
        with self._opened() as connection:
            found = connection.execute(f"SELECT * FROM {SCHEMA}.work_order ORDER BY order_no")
            return [Row(*row) for row in found.fetchall()]

    def forget(self) -> None:
        """Drop the slot and the publication that followed the table (one name for both), and the schema."""
        with self._opened() as connection:
            names = connection.execute(
                "SELECT DISTINCT pubname FROM pg_publication_tables WHERE schemaname = %s", (SCHEMA,)
            ).fetchall()
            for (name,) in names:
                connection.execute(
                    "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
                    "WHERE slot_name = %s AND database = current_database() AND NOT active",
                    (name,),
                )
                quoted = name.replace('"', '""')
                connection.execute(f'DROP PUBLICATION IF EXISTS "{quoted}"')
            connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")

    def _opened(self) -> Any:
        psycopg = driver("psycopg", "postgres")
        try:
            return psycopg.connect(self._url, autocommit=True, connect_timeout=10)
        except psycopg.OperationalError as error:
            raise ConnectError("the ERP's database cannot be reached", path="--erp", hint="check URL and login") from (
                error
            )


def erp_of(folder: Path, url: str) -> Erp:
    """The ERP of a demo's folder, or of a URL (`postgresql://`); raises InvalidSettingsError."""
    if not url:
        return SqliteErp(folder / "data" / "erp.db")
    if not url.startswith(("postgresql://", "postgres://")):
        raise InvalidSettingsError(
            "the demo's ERP is a PostgreSQL database or a file of its own",
            path="--erp",
            hint="give a postgresql:// URL, or leave --erp out",
        )
    return PostgresErp(url)


def _field(name: str) -> str:
    if name not in FIELDS:
        raise InvalidSettingsError(
            f"a work order has no field {name!r} that may be changed", path="FIELD=VALUE", hint=", ".join(FIELDS)
        )
    return name


def _unknown(order_no: str) -> NotFoundError:
    return NotFoundError(
        f"there is no work order {order_no!r}", path="ORDER", hint=", ".join(number for number, *_ in ORDERS)
    )
