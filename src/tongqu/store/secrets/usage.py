"""Which reference was resolved when, by which command and run; never its value."""

from __future__ import annotations

import os
import secrets as random
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

from tongqu.core.errors import CheckpointError
from tongqu.store.home import Home
from tongqu.store.migrations import SECRET_USAGE
from tongqu.store.runs import instant, now
from tongqu.store.writing import opened

KEEP, KEEP_DAYS = 20_000, 180
"""How many uses are kept, and how long."""


class Usage:
    """The log of one process. The home is not made for it: what was resolved before waits until a run makes the home.

    A log that cannot be written never stops a run; `warn` is told once.
    """

    def __init__(
        self,
        home: Home,
        *,
        command: str = "",
        warn: Callable[[str], None] = lambda error: None,
        clock: Callable[[], datetime] = now,
    ):
        self._home = home
        self._command = command
        self._warn = warn
        self._clock = clock
        self._session = random.token_hex(8)
        self._run = ""
        self._waiting: list[tuple[str, str, str]] = []
        self._noted = False
        self._broken = False
        self._lock = Lock()

    def note(self, found: Sequence[tuple[str, str]]) -> None:
        """References (kind and name) were resolved."""
        with self._lock:
            at = instant(self._clock())
            self._noted = True
            self._waiting += [(at, kind, name) for kind, name in found]
            self._write()

    def began(self, run: str) -> None:
        """What this process resolved and resolves from now on is for this run."""
        with self._lock:
            self._run = run
            self._write(begun=True)

    def _write(self, *, begun: bool = False) -> None:
        if self._broken or not self._noted or not self._home.path.is_dir():
            return
        try:
            database = _connected(self._home)
            try:
                database.execute("BEGIN IMMEDIATE")
                if begun:
                    database.execute(
                        "UPDATE uses SET run = ? WHERE session = ? AND run = ''", (self._run, self._session)
                    )
                database.executemany(
                    "INSERT INTO uses (at, kind, name, command, run, session, pid) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [(*use, self._command, self._run, self._session, os.getpid()) for use in self._waiting],
                )
                old = instant(self._clock() - timedelta(days=KEEP_DAYS))
                database.execute("DELETE FROM uses WHERE id <= (SELECT max(id) FROM uses) - ? OR at < ?", (KEEP, old))
                database.execute("COMMIT")
            finally:
                database.close()
        except (sqlite3.Error, OSError, CheckpointError) as error:
            self._broken = True
            self._warn(str(error))
        self._waiting = []


def uses(home: Home, name: str = "", limit: int = 50) -> list[dict[str, Any]]:
    """The newest uses first: `at kind name command run pid`; of one name, or of all. Looking creates nothing."""
    if not home.secret_usage.exists():
        return []
    database = _connected(home)
    try:
        rows = database.execute(
            "SELECT at, kind, name, command, run, pid FROM uses WHERE ? IN ('', name) ORDER BY id DESC LIMIT ?",
            (name, limit),
        ).fetchall()
    finally:
        database.close()
    return [dict(zip(("at", "kind", "name", "command", "run", "pid"), row, strict=True)) for row in rows]


def last_uses(home: Home) -> dict[str, str]:
    """When each `${secret:NAME}` was last resolved, by name."""
    if not home.secret_usage.exists():
        return {}
    database = _connected(home)
    try:
        return dict(database.execute("SELECT name, max(at) FROM uses WHERE kind = 'secret' GROUP BY name").fetchall())
    finally:
        database.close()


def _connected(home: Home) -> sqlite3.Connection:
    return opened(home.secret_usage, SECRET_USAGE)
