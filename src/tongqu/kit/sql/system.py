"""What a SQL system fills in, so that the sink's state machine can write it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tongqu.core.connector import Sink
from tongqu.core.data import BadRow, Bytes, Deletes, Write, WriteMode, Written
from tongqu.core.errors import InvalidPlanError
from tongqu.kit.db import Db
from tongqu.kit.sql.landing import HISTORY, Landing, Target
from tongqu.kit.sql.retiring import retired
from tongqu.meaning.settling import Alterations

if TYPE_CHECKING:
    import pyarrow as pa


class SqlSystem(Sink):
    """The verbs of one SQL system. They run inside the transaction that the caller opened, unless their docstring says
    otherwise."""

    columns_fold: ClassVar[bool] = True
    """Column names that differ in letter case only mean one column."""
    commit_empties: ClassVar[bool] = False
    """A commit empties the temporary table for a chunk."""
    ddl_commits: ClassVar[bool] = False
    """DDL ends the open transaction (MySQL): a missing stage whose splits are all done has been published."""

    @abstractmethod
    def connect(self) -> Db:
        """A new connection, ready for transactions."""

    @abstractmethod
    def target(self, db: Db, name: str) -> Target | None:
        """The table as it is now, or None."""

    @abstractmethod
    def create_target(self, db: Db, landing: Landing) -> None:
        """Create the target from the arriving schema with key, titles and (for history) validity columns."""

    @abstractmethod
    def add_columns(self, db: Db, landing: Landing, fields: Sequence[pa.Field[Any]]) -> None:
        """Add nullable columns that the target lacks."""

    @abstractmethod
    def field(self, name: str, native: str) -> pa.Field[Any]:
        """A column of this type as the source of this system would read it."""

    @abstractmethod
    def same_type(self, db: Db, native: str, field: pa.Field[Any]) -> bool:
        """Whether a column of this type is what a new column for the field would be."""

    @abstractmethod
    def alter(self, db: Db, name: str, alterations: Alterations) -> None:
        """Rename, widen and make optional columns of a table, in this order; values stay. Raises SchemaError where
        something hangs on a column and keeps it."""

    @abstractmethod
    def create_stage(self, db: Db, landing: Landing) -> None:
        """Create the staged generation anew (dropping a leftover): shaped like the target if there is one."""

    @abstractmethod
    def drop(self, db: Db, name: str) -> None:
        """Drop a table if it exists."""

    @abstractmethod
    def create_chunk(self, db: Db, landing: Landing) -> None:
        """Create or empty this session's temporary table for a chunk, with the arriving columns in load order."""

    def sift(self, db: Db, landing: Landing, rows: pa.Table) -> tuple[pa.Table, list[BadRow]]:
        """Take out rows the target is known to refuse, before any is loaded; needed where there are no savepoints."""
        del db, landing
        return rows, []

    @abstractmethod
    def load(self, db: Db, landing: Landing, rows: pa.Table) -> int:
        """Bulk load rows into `landing.into`; returns their number. Raises RefusedRowsError or CastError for bad
        data, after which the caller rolls back to its savepoint."""

    def upsert_few(self, db: Db, landing: Landing, rows: pa.Table) -> Written | None:
        """Upsert few rows with as few questions as possible, opening a transaction if none is open; None, with nothing
        changed, where they must go the ordinary way."""
        del db, landing, rows
        return None

    def remove_few(self, db: Db, landing: Landing, rows: pa.Table) -> int | None:
        """Delete the rows of few keys, as `upsert_few`; returns how many were there."""
        del db, landing, rows
        return None

    def inserts(self, db: Db, landing: Landing) -> bool:
        """Whether `insert` can be used for this target, which refuses a second row of a key."""
        del db, landing
        return False

    def insert(self, db: Db, landing: Landing, rows: pa.Table) -> int:
        """Load rows into the target of an upsert itself; returns how many it took. Raises RefusedRowsError, where one
        of the keys is there too, or CastError."""
        raise NotImplementedError(f"{type(self).__name__} loads {rows.num_rows} rows of {landing.into} over {db}")

    def copy_bytes(self, db: Db, landing: Landing, data: Bytes) -> int:
        """Bulk load raw bytes into `landing.into`; returns the system's own count. Raises RefusedRowsError."""
        raise NotImplementedError(f"{type(self).__name__} takes no {data.format} for {landing.into} over {db}")

    @abstractmethod
    def merge(self, db: Db, landing: Landing, source: str) -> Written:
        """Merge the rows of a staged or chunk table into the target by key: upsert, or history (SCD2). Applies
        delete detection if the source is a whole generation (`landing.staged`)."""

    def remove(self, db: Db, target: str, chunk: str, key: Sequence[str]) -> int:
        """Delete the target's rows whose keys are in the chunk's table (both quoted); returns how many."""
        names = ", ".join(db.quote(name) for name in key)
        return db.run(f"DELETE FROM {target} WHERE ({names}) IN (SELECT {names} FROM {chunk})")

    def update_from(
        self, db: Db, tables: tuple[str, str], key: Sequence[str], columns: Sequence[str], also: str = ""
    ) -> None:
        """Give these columns of the first table (`t`) the values of the second one's (`s`) row of the same key; both
        are quoted, `also` is a further condition that begins with AND."""
        sets = ", ".join(f"{db.quote(name)} = s.{db.quote(name)}" for name in columns)
        same = " AND ".join(f"t.{db.quote(name)} = s.{db.quote(name)}" for name in key)
        db.run(f"UPDATE {tables[0]} AS t SET {sets} FROM {tables[1]} AS s WHERE {same}{also}")

    def keep_matched(self, db: Db, tables: tuple[str, str], key: Sequence[str], also: str) -> None:
        """Delete the rows of the first table whose keys the second one (`t`) lacks; as `update_from`."""
        names = ", ".join(db.quote(name) for name in key)
        found = f"SELECT {', '.join(f't.{db.quote(name)}' for name in key)} FROM {tables[1]} t WHERE 1 = 1{also}"
        db.run(f"DELETE FROM {tables[0]} WHERE ({names}) NOT IN ({found})")

    def current(self, db: Db, alias: str) -> str:
        """Whether a row of a history is the current version of its key."""
        return f"{alias}.{db.quote(HISTORY[2])}"

    def clear(self, db: Db, landing: Landing, target: str) -> int:
        """Take all rows out of the quoted target: they are deleted, marked or ended, as the write asks; how many."""
        write = landing.write
        if write.mode is WriteMode.HISTORY or write.deletes is Deletes.SOFT:
            return retired(db, landing, target, among="1 = 1", at=self.instant(write.started_at))
        count = int(db.rows(f"SELECT COUNT(*) FROM {target}")[0][0])
        db.run(f"DELETE FROM {target}")
        return count

    def removes(self, write: Write) -> bool:
        """See Sink.removes. Versions and marks need the system's `instant`."""
        marks = write.mode is WriteMode.HISTORY or write.deletes is Deletes.SOFT
        return not marks or type(self).instant is not SqlSystem.instant

    def retire(self, db: Db, landing: Landing, target: str, chunk: str) -> int:
        """As `remove`, where what is taken out stays to be seen: its version is ended (history), or it is marked (soft
        deletes); returns how many."""
        names = ", ".join(db.quote(name) for name in landing.write.key)
        among = f"({names}) IN (SELECT {names} FROM {chunk})"
        return retired(db, landing, target, among=among, at=self.instant(landing.write.started_at))

    def instant(self, started_at: str) -> str:
        """The instant a run began as SQL of the type of validity columns; now where it is empty. Raises
        InvalidPlanError if the system keeps none."""
        raise InvalidPlanError(f"{type(self).__name__} keeps no instants ({started_at})")

    @abstractmethod
    def publish(self, db: Db, landing: Landing) -> Written | None:
        """Build the key and indexes of the staged generation and make it the target; keep the old one for undo.

        Idempotent where DDL commits implicitly. Returns None if every staged row became a row of a new target, or
        what was done to a target that had to keep its identity. Raises DataError when the key is not unique.
        """

    def put_back(self, db: Db, name: str) -> int:
        """Exchange a target (if it is there) with its kept generation, which is; returns the number of rows then."""
        raise InvalidPlanError(f"{type(self).__name__} cannot put back the kept generation of {name!r} over {db}")

    @abstractmethod
    def append_stage(self, db: Db, landing: Landing) -> int:
        """Insert the staged rows into the target; returns their number."""

    @abstractmethod
    def has_table(self, db: Db, name: str) -> bool:
        """Whether a table of that name exists."""

    def column_types(self, db: Db, name: str) -> dict[str, str]:
        """The columns of a table with their types; empty if there is none."""
        found = self.target(db, name)
        return dict(found.columns) if found else {}

    def ledger_schema(self, db: Db) -> str:
        """Quoted prefix of the schema the ledger lives in."""
        del db
        return ""
