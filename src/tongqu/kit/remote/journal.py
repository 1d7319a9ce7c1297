"""The database in the project's home in which a remote sink keeps checkpoints, quarantine and the ledger of calls."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tongqu.core.errors import InvalidPlanError, PrivilegeError
from tongqu.kit import lasting
from tongqu.kit.ledger import Ledger
from tongqu.kit.remote.calls import Calls
from tongqu.kit.remote.waiting import Waiting
from tongqu.kit.sqlite import SqliteDb, connect

_BUSY_SECONDS = 30.0


def now() -> str:
    """The instant in RFC 3339."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class _File:
    path: str
    busy_seconds: float = _BUSY_SECONDS

    def display(self) -> str:
        return f"the ledger of calls {self.path}"


class Books:
    """What is in the database, inside one transaction."""

    def __init__(self, db: SqliteDb):
        self.ledger = Ledger(db)
        self.calls = Calls(db)
        self.waiting = Waiting(db)


class Journal:
    """One connection to the database, whose transactions take turns; another process waits for ours to end.

    Commits reach the disk before they return (`synchronous = full`): what is noted before a call goes out survives a
    power cut.
    """

    def __init__(self, folder: Path):
        self.path = folder / "calls.db"
        self._db: SqliteDb | None = None
        self._lock = threading.RLock()

    def exists(self) -> bool:
        """Whether anything was ever written; looking creates nothing."""
        return self.path.is_file()

    @contextmanager
    def transaction(self) -> Iterator[Books]:
        """One transaction, committed at the end of the block and rolled back if it raises; makes the database."""
        with self._lock:
            db = self._connection()
            db.begin()
            try:
                yield Books(db)
                db.commit()
            except BaseException:
                db.rollback()
                raise

    def _connection(self) -> SqliteDb:
        if self._db is None:
            try:
                lasting.make_folder(self.path.parent, 0o700)
                self.path.touch(mode=0o600)
            except OSError as error:
                raise PrivilegeError(
                    f"the folder for the ledger of calls cannot be made: {error}", hint="check the rights on the home"
                ) from error
            db = connect(_File(str(self.path)), "rwc")
            try:
                db.rows("PRAGMA journal_mode = wal")
                Ledger(db).create()
                Calls(db).create()
                Waiting(db).create()
            except BaseException:
                db.close()
                raise
            self._db = db
        return self._db

    def close(self) -> None:
        """Close the connection; may be called twice."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None


def no_folder(name: str) -> InvalidPlanError:
    """The error for a sink that was given no folder: without a ledger nothing may be sent."""
    return InvalidPlanError(
        f"{name} has no folder for its ledger of calls, so it sends nothing",
        hint="run it through a project's home (TONGQU_HOME), or call lodge(folder) first",
    )
