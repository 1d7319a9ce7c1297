"""A durable feed of what changed in which table: the one place that live streams and webhooks read from."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Literal

from tongqu.store.home import Home
from tongqu.store.writing import durable, writing

Op = Literal["insert", "update", "delete", "touched"]
KEEP_SECONDS = 7 * 86_400.0
KEEP_EVENTS = 1_000_000
ABANDONED_SECONDS = 60.0
"""After this long a write that began and was never told to have ended counts as done: nobody knows what it changed."""
_PRUNE_EVERY = 1000
SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE events (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        place TEXT NOT NULL,
        op TEXT NOT NULL,
        key TEXT NOT NULL,
        origin TEXT NOT NULL
    );
    CREATE TABLE begun (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        place TEXT NOT NULL,
        pid INTEGER NOT NULL
    );
    CREATE TABLE cursors (place TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
    """,
    "ALTER TABLE events ADD COLUMN trace TEXT NOT NULL DEFAULT '';",
)


@dataclass(frozen=True)
class Changed:
    """One row that changed, by the values of its key as texts; `touched` with an empty key: any rows of the table."""

    op: Op
    key: Mapping[str, str]


TOUCHED = Changed("touched", {})


@dataclass(frozen=True)
class Event:
    """A change at its position; `place` is `connection/table`, `origin` who learnt of it (`call`, `run`, `cursor`),
    `trace` the W3C traceparent of what changed it, where that is known."""

    position: int
    at: float
    place: str
    op: Op
    key: Mapping[str, str]
    origin: str
    trace: str = ""


class Feed:
    """The feed of one home, in one SQLite file (WAL) for all processes and threads. Holds keys, never other values.

    A position is larger than all before it, and none is seen before those below it: appending is one transaction at a
    time. What `append` returned from survives a loss of power. Raises sqlite3.Error, OSError and CheckpointError.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time):
        self._clock = clock
        self._lock = RLock()
        self._database = durable(path, SCHEMA)
        self._appended = 0
        self.listeners: list[Callable[[], None]] = []
        """Called after this process appended; others learn of it by looking."""

    @classmethod
    def open(cls, home: Home, *, clock: Callable[[], float] = time.time) -> Feed:
        """The feed of a home, which is made if it is not there."""
        home.ensure()
        return cls(home.feed, clock=clock)

    def append(
        self,
        place: str,
        changes: Sequence[Changed],
        origin: str,
        *,
        begun: int = 0,
        cursor: str | None = None,
        trace: str = "",
    ) -> int:
        """Add changes of one table; the position of the last. In the same transaction the write that `began` is over,
        and the place's `cursor` is moved."""
        with self._writing() as done:
            done.executemany(
                "INSERT INTO events (at, place, op, key, origin, trace) VALUES (?, ?, ?, ?, ?, ?)",
                [(self._clock(), place, one.op, _text(one.key), origin, trace) for one in changes],
            )
            if begun:
                done.execute("DELETE FROM begun WHERE id = ?", (begun,))
            if cursor is not None:
                done.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?)", (place, cursor))
            self._prune(done, len(changes))
            position = self._last(done)
        if changes:
            self._tell()
        return position

    def begin(self, place: str) -> int:
        """A write of the table begins: if nothing more is heard of it, its rows count as touched."""
        with self._writing() as done:
            cursor = done.execute(
                "INSERT INTO begun (at, place, pid) VALUES (?, ?, ?)", (self._clock(), place, os.getpid())
            )
            return int(cursor.lastrowid or 0)

    def cancel(self, begun: int) -> None:
        """The write changed nothing."""
        with self._writing() as done:
            done.execute("DELETE FROM begun WHERE id = ?", (begun,))

    def settle(self) -> int:
        """Turn writes whose process died, or that are too old, into `touched` events; how many there were."""
        with self._lock:
            rows = self._database.execute("SELECT id, at, place, pid FROM begun").fetchall()
        lost = [(id, place) for id, at, place, pid in rows if at < self._clock() - ABANDONED_SECONDS or not _lives(pid)]
        if not lost:
            return 0
        with self._writing() as done:
            for id, place in lost:
                if done.execute("DELETE FROM begun WHERE id = ?", (id,)).rowcount:
                    done.execute(
                        "INSERT INTO events (at, place, op, key, origin) VALUES (?, ?, 'touched', '{}', 'call')",
                        (self._clock(), place),
                    )
        self._tell()
        return len(lost)

    def after(self, position: int, limit: int = 1000, place: str = "") -> list[Event]:
        """The next events, of one table or of all."""
        with self._lock:
            rows = self._database.execute(
                "SELECT position, at, place, op, key, origin, trace FROM events"
                " WHERE position > ? AND (place = ? OR ? = '') ORDER BY position LIMIT ?",
                (position, place, place, limit),
            ).fetchall()
        return [Event(row[0], row[1], row[2], row[3], json.loads(row[4]), row[5], row[6]) for row in rows]

    def version(self) -> int:
        """Another number whenever another connection, of this process or of others, changed the file."""
        with self._lock:
            return int(self._database.execute("PRAGMA data_version").fetchone()[0])

    def doubtful(self) -> set[str]:
        """The tables of writes that began and of which nothing more is known yet."""
        with self._lock:
            return {row[0] for row in self._database.execute("SELECT place FROM begun")}

    def last(self) -> int:
        """The position of the newest event there ever was; 0 if none."""
        with self._lock:
            return self._last(self._database)

    def reaches(self, position: int) -> bool:
        """Whether everything behind the position is still there."""
        with self._lock:
            oldest = self._database.execute("SELECT min(position) FROM events").fetchone()[0]
            last = self._last(self._database)
        return position <= last and (position >= oldest - 1 if oldest is not None else position == last)

    def cursor(self, place: str) -> str | None:
        """How far a table was followed by its cursor."""
        with self._lock:
            row = self._database.execute("SELECT state FROM cursors WHERE place = ?", (place,)).fetchone()
        return None if row is None else str(row[0])

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Whether `holder` is the one of all processes that does `name`, for the next seconds."""
        now = self._clock()
        with self._writing() as done:
            done.execute(
                "INSERT INTO leases VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET holder = excluded.holder,"
                " until = excluded.until WHERE holder = excluded.holder OR until < ?",
                (name, holder, now + seconds, now),
            )
            row = done.execute("SELECT holder FROM leases WHERE name = ?", (name,)).fetchone()
        return bool(row and row[0] == holder)

    def leave(self, holder: str) -> None:
        """Let others do what `holder` did."""
        with self._writing() as done:
            done.execute("DELETE FROM leases WHERE holder = ?", (holder,))

    def close(self) -> None:
        """Close the file; may be called twice."""
        with self._lock:
            self._database.close()

    def _writing(self) -> AbstractContextManager[sqlite3.Connection]:
        return writing(self._database, self._lock)

    def _prune(self, done: sqlite3.Connection, added: int) -> None:
        self._appended += added
        if self._appended >= _PRUNE_EVERY:
            self._appended = 0
            edge = done.execute(
                "SELECT coalesce(max(position), 0) FROM events WHERE at < ?", (self._clock() - KEEP_SECONDS,)
            ).fetchone()[0]
            done.execute("DELETE FROM events WHERE position <= max(?, ?)", (edge, self._last(done) - KEEP_EVENTS))

    @staticmethod
    def _last(database: sqlite3.Connection) -> int:
        row = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        return int(row[0]) if row else 0

    def _tell(self) -> None:
        for listener in self.listeners:
            listener()


def touched(home: Home, places: Sequence[str], origin: str) -> None:
    """Tell a home's feed that rows of these tables changed; a home without a feed has nobody who listens."""
    if not places or not home.feed.exists():
        return
    feed = Feed(home.feed)
    try:
        for place in places:
            feed.append(place, [TOUCHED], origin)
    finally:
        feed.close()


def _text(key: Mapping[str, str]) -> str:
    return json.dumps(dict(sorted(key.items())), ensure_ascii=False, separators=(",", ":"))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
