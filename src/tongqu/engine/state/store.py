"""The file in which steps keep rows: every row with the versions from and until which it holds, so that it rewinds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.core.errors import InvalidPlanError, LostPositionError
from tongqu.engine.private_database import commit, private_database
from tongqu.engine.segment import conform
from tongqu.meaning.sandbox import quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SINCE, UNTIL, NUMBER = "_tongqu_since", "_tongqu_until", "_tongqu_n"
NOW = f"{quoted(UNTIL)} IS NULL"
"""The condition of rows that hold at the newest version."""
_META = "tongqu_state"
_GATHER = 32


class Store:
    """Tables of versioned rows in one DuckDB file; used by one thread at a time.

    A change of version `v` gives the rows that it takes out `until = v` and adds others with `since = v`, all in one
    transaction with the version itself. So a version that the sink does not know yet is undone by two statements for
    each table (`rewind`), and what no rewind can need any more is deleted (`forget`). Nothing is forgotten beyond what
    the sink has told to be durable.
    """

    def __init__(self, path: Path, *, limit_rows: int, memory_mb: int = 512, threads: int = 1):
        self.path, self._limit = path, limit_rows
        self._settings = (memory_mb, threads)
        self._database: DuckDBPyConnection | None = None
        self._tables: dict[str, pa.Schema | str] = {}
        self._kept = 0
        self.version = 0
        """The newest version that is durable in the file."""
        self.numbers = 0
        self._skipped = False
        self.epoch = ""
        """Which first load the rows go back to; empty before one has ended."""

    @property
    def database(self) -> DuckDBPyConnection:
        """The connection; opens the file. Raises BusyError while another process has it."""
        if self._database is None:
            self._database = self._opened()
            self._read()
        return self._database

    def _opened(self) -> DuckDBPyConnection:
        memory, threads = self._settings
        made = private_database(
            self.path, memory_mib=memory, threads=threads,
            busy=lambda why: f"the state of this pipeline is in use: {why}",
            hint="another process runs it; stop that one first",
        )  # fmt: skip
        made.execute(f"CREATE TABLE IF NOT EXISTS {_META} (version BIGINT, epoch VARCHAR, numbers BIGINT)")
        return made

    def _read(self) -> None:
        found = self.database.execute(f"SELECT version, epoch, numbers FROM {_META}").fetchall()
        self.version, self.epoch, self.numbers = found[0] if found else (0, "", 0)

    def reset(self, epoch: str) -> None:
        """Forget all rows: what comes now is version 0 of a new epoch."""
        database = self.database
        database.begin()
        for (name,) in database.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' AND table_schema = 'main'"
        ).fetchall():
            if name != _META:
                database.execute(f"DROP TABLE {quoted(name)}")
        for name, schema in self._tables.items():
            self._create(name, schema)
        database.execute(f"DELETE FROM {_META}")
        database.execute(f"INSERT INTO {_META} VALUES (0, ?, 0)", [epoch])
        commit(database, self.path)
        self._read()
        self._kept = 0

    def table(self, name: str, schema: pa.Schema) -> None:
        """Have a table of these columns; before the first `reset` or `rewind`."""
        self._tables[name] = schema

    def query(self, name: str, query: str) -> None:
        """As `table`, of the columns that a query has."""
        self._tables[name] = query

    def _create(self, name: str, columns: pa.Schema | str) -> None:
        versions = f"0::BIGINT AS {NUMBER}, 0::BIGINT AS {SINCE}, NULL::BIGINT AS {UNTIL}"
        made = f"CREATE TABLE IF NOT EXISTS {quoted(name)} AS SELECT *, {versions} FROM "
        if isinstance(columns, str):
            self.database.execute(f"{made} ({columns}) LIMIT 0")
            return
        with self.registered("_made", columns.empty_table()):
            self.database.execute(f"{made} _made LIMIT 0")

    def rewind(self, version: int, epoch: str) -> None:
        """Undo every version after this one. Raises LostPositionError if the file does not hold it."""
        database = self.database
        if self.epoch != epoch or self.version < version:
            raise LostPositionError(
                f"the state in {self.path.name} is not that of the target (version {version} is not in it)",
                hint="read all rows again: run the same command with --restart",
            )
        database.begin()
        for name, schema in self._tables.items():
            self._create(name, schema)
            database.execute(f"DELETE FROM {quoted(name)} WHERE {SINCE} > {version}")
            database.execute(f"UPDATE {quoted(name)} SET {UNTIL} = NULL WHERE {UNTIL} > {version}")
        database.execute(f"UPDATE {_META} SET version = {version}")
        commit(database, self.path)
        self.version = version
        self._count()

    @contextlib.contextmanager
    def change(self) -> Iterator[int]:
        """One transaction that makes the next version; all or nothing. Raises InvalidPlanError beyond the limit."""
        database, version = self.database, self.version + 1
        self._skipped = False
        database.begin()
        try:
            yield version
            if self._skipped:
                database.rollback()
                return
            if version % _GATHER == 0 or self._kept > self._limit:
                self._count()
                self._bounded()
            database.execute(f"UPDATE {_META} SET version = {version}, numbers = {self.numbers}")
            commit(database, self.path)
        except BaseException:
            database.rollback()
            self._read()
            raise
        self.version = version

    def skip(self) -> None:
        """The open change changes nothing: it makes no version."""
        self._skipped = True

    @contextlib.contextmanager
    def filling(self) -> Iterator[None]:
        """One transaction in which version 0 is made."""
        self.database.begin()
        try:
            yield
            self.database.execute(f"UPDATE {_META} SET numbers = {self.numbers}")
            commit(self.database, self.path)
        except BaseException:
            self.database.rollback()
            raise

    def loaded(self, epoch: str) -> None:
        """Version 0 is whole; `epoch` is what `rewind` will be asked for."""
        self.database.execute(f"UPDATE {_META} SET epoch = ?", [epoch])
        self.epoch = epoch

    def _count(self) -> None:
        self._kept = sum(int(self.value(f"SELECT count(*) FROM {quoted(name)} WHERE {NOW}")) for name in self._tables)

    def value(self, query: str) -> Any:
        """The only value that a query gives."""
        ((found,),) = self.database.execute(query).fetchall()
        return found

    def _bounded(self) -> None:
        if self._kept > self._limit:
            raise InvalidPlanError(
                f"the steps keep {self._kept} rows, and {self._limit} are allowed",
                hint="let rows expire (`within`, `expire`, a `window`), or raise limit.state_rows of the pipeline",
            )

    def forget(self, version: int) -> None:
        """Delete rows that hold only before this version, which is durable in the sink."""
        database = self.database
        database.begin()
        for name in self._tables:
            database.execute(f"DELETE FROM {quoted(name)} WHERE {UNTIL} <= {version}")
        commit(database, self.path)

    @property
    def kept(self) -> int:
        """At least the rows that hold now."""
        return self._kept

    def numbered(self, rows: int) -> int:
        """The first of so many numbers that no other row has; rewinding may leave gaps."""
        first = self.numbers
        self.numbers += rows
        return first

    @contextlib.contextmanager
    def registered(self, name: str, rows: pa.Table) -> Iterator[str]:
        """Rows under a name, for queries inside the block."""
        self.database.register(name, rows)
        try:
            yield name
        finally:
            self.database.unregister(name)

    def add(self, table: str, rows: pa.Table, version: int) -> None:
        """Rows that hold from this version on, in the order in which they come."""
        if not rows.num_rows:
            return
        first = self.numbered(rows.num_rows)
        self._kept += rows.num_rows
        with self.registered("_added", rows):
            self.database.execute(
                f"INSERT INTO {quoted(table)} SELECT *, {first} + row_number() OVER () - 1, {version}, NULL FROM _added"
            )

    def take_out(self, table: str, columns: Sequence[str], keys: str, version: int) -> None:
        """Rows whose columns are in a relation of such columns do not hold from this version on; nulls equal."""
        self.database.execute(
            f"UPDATE {quoted(table)} SET {UNTIL} = {version} WHERE {NOW} AND {among(table, columns, keys)}"
        )

    def rows(self, query: str, schema: pa.Schema) -> pa.Table:
        """The rows of a query, as this schema."""
        return conform(self.database.sql(query).to_arrow_table(), schema)

    def close(self) -> None:
        """Release the file; may be called twice."""
        if self._database is not None:
            self._database.close()
            self._database = None


def among(table: str, columns: Sequence[str], keys: str) -> str:
    """The condition that a row's columns are in a relation of such columns; nulls equal each other."""
    match = " AND ".join(f"{keys}.{quoted(c)} IS NOT DISTINCT FROM {quoted(table)}.{quoted(c)}" for c in columns)
    return f"EXISTS (SELECT 1 FROM {keys} WHERE {match or 'true'})"


def settled(rows: Any) -> pa.Table:
    """The rows in one piece, so that their columns can be handed to DuckDB as they are."""
    found: pa.Table = rows.combine_chunks()
    return found
