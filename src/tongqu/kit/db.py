"""One database connection as the kit sees it: statements with `?` parameters, and errors in our own words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tongqu.kit.faults import crash_point

if TYPE_CHECKING:
    import pyarrow as pa

Row = tuple[Any, ...]
_AT_ONCE = 200


class Db(ABC):
    """A connection with one open transaction at most. Every method raises errors of `tongqu.core.errors` only.

    SQL is written with `?` for parameters and contains no other question mark; implementations translate.
    """

    ledger_types: ClassVar[dict[str, str]] = {"id": "varchar(255)", "text": "text", "long": "bigint"}
    """SQL types for the ledger's short keys, long texts and integers."""
    for_update: ClassVar[str] = ""
    """Clause that locks a selected row until commit, empty where a writer owns the whole file."""

    @abstractmethod
    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """Run a query and return all its rows; for catalogues and ledgers, never for data."""

    @abstractmethod
    def run(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Run a statement and return the number of rows affected (-1 if the system does not say)."""

    def say(self, statements: Sequence[str]) -> None:
        """Run statements that are in the system's own words already; empty ones are nothing to say."""
        for statement in statements:
            if statement:
                self.run(statement)

    @abstractmethod
    def begin(self) -> None:
        """Open a transaction unless one is open."""

    def relax(self) -> None:
        """Let this transaction's commit not wait for the disk, where the system can: a crash of the server may undo
        it, but never without undoing what was committed after it."""

    @abstractmethod
    def commit(self) -> None:
        """Commit; ConnectError if the connection broke and the outcome is unknown."""

    def run_and_commit(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Run an UPDATE and commit unless it changed no row; returns how many it changed, 0 with nothing committed."""
        changed = self.run(sql, params)
        if changed != 0:
            crash_point("in_commit")
            self.commit()
        return changed

    @abstractmethod
    def rollback(self) -> None:
        """Roll back; never raises for a broken connection."""

    @abstractmethod
    def close(self) -> None:
        """Close without committing; never raises."""

    def insert_texts(self, table: str, texts: pa.Table) -> None:
        """Insert rows whose columns are all text, dictionary-encoded or not; `table` is quoted, the columns' names are
        not."""
        names = ", ".join(self.quote(name) for name in texts.column_names)
        rows = list(zip(*(column.to_pylist() for column in texts.columns), strict=True))
        holes = f"({', '.join('?' * texts.num_columns)})"
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            values = [value for row in some for value in row]
            self.run(f"INSERT INTO {table} ({names}) VALUES {', '.join([holes] * len(some))}", values)

    def quote(self, name: str) -> str:
        """An identifier, quoted; a dot in it is part of the name."""
        return '"' + name.replace('"', '""') + '"'

    def word(self, name: str) -> str:
        """A column that the kit's own tables were created with unquoted, quoted as the system stores it."""
        return self.quote(name)

    def savepoint(self, name: str) -> None:
        """Mark a point inside the transaction."""
        self.run(f"SAVEPOINT {name}")

    def rollback_to(self, name: str) -> None:
        """Undo back to the mark, which stays."""
        self.run(f"ROLLBACK TO SAVEPOINT {name}")

    def release(self, name: str) -> None:
        """Forget the mark, keep the changes."""
        self.run(f"RELEASE SAVEPOINT {name}")
