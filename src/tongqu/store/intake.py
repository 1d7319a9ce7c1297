"""Rows that were accepted and are not written yet: appended durably in groups, taken out in order, once."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

from tongqu.store.home import Home
from tongqu.store.writing import durable, writing

MOST_AT_ONCE = 2000
KEEP_KEYS_SECONDS = 86_400.0
SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE sent (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        target TEXT NOT NULL,
        header BLOB NOT NULL,
        body BLOB NOT NULL,
        batch TEXT NOT NULL DEFAULT '',
        state TEXT NOT NULL DEFAULT 'waiting',
        problem TEXT NOT NULL DEFAULT ''
    );
    CREATE INDEX sent_waiting ON sent (state, position);
    CREATE TABLE keys (
        scope TEXT NOT NULL,
        key TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        position INTEGER NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (scope, key)
    ) WITHOUT ROWID;
    CREATE INDEX keys_by_time ON keys (at);
    """,
    "ALTER TABLE sent ADD COLUMN trace TEXT NOT NULL DEFAULT '';",
    "CREATE INDEX sent_batched ON sent (batch, position) WHERE batch <> '';",
)


@dataclass(frozen=True)
class Parcel:
    """What was sent in one request. `header` says how it is to be written, `body` holds the rows; opaque here. With
    `key` it is kept once per `scope`; the same key with another `fingerprint` is refused."""

    target: str
    header: bytes
    body: bytes
    at: float
    scope: str = ""
    key: str = ""
    fingerprint: str = ""
    trace: str = ""
    """The W3C traceparent of the request."""


@dataclass(frozen=True)
class Receipt:
    """Where it was kept. `again`: it was there already; `clash`: its key was used for something else."""

    position: int
    again: bool = False
    clash: bool = False


@dataclass(frozen=True)
class Kept:
    """A parcel that waits, with the batch it belongs to (empty: none yet)."""

    position: int
    target: str
    header: bytes
    body: bytes
    at: float
    batch: str = ""
    state: str = "waiting"
    problem: str = ""
    trace: str = ""


class Intake(Protocol):
    """A durable queue: what `append` told of is given out by `waiting` until it is `done`, in the order of positions,
    whatever happens to the process. A stream platform can stand behind it."""

    def append(self, parcel: Parcel) -> Future[Receipt]:
        """Keep a parcel; the future is done when it is on disk."""
        ...

    def waiting(self, limit: int, but: Collection[str] = ()) -> list[Kept]:
        """The oldest parcels that are not done, of all targets but these; those of a batch first, and together."""
        ...

    def depth(self) -> int:
        """How many wait."""
        ...

    def batched(self, positions: Sequence[int], batch: str, before: str) -> bool:
        """These, which were in the batch `before` (empty: none), are written together under that name, now and after a
        crash. False where one of them is not waiting in it any more: somebody else writes it; then nothing changed."""
        ...

    def done(self, positions: Sequence[int]) -> None:
        """They are written."""
        ...

    def dead(self, position: int, problem: str) -> None:
        """It cannot be written."""
        ...

    def close(self) -> None:
        """Keep what was appended, and close."""
        ...


class SqliteIntake:
    """The `Intake` of one home in one SQLite file. One thread commits everything that came while the disk was busy in
    one transaction (group commit), each of which waits for the disk."""

    def __init__(self, path: Path):
        self._reading = durable(path, SCHEMA, "secure_delete = ON", seconds=10.0)
        self._writing = durable(path, SCHEMA, "secure_delete = ON", seconds=10.0)
        self._lock = threading.RLock()
        self._turn = threading.RLock()
        """Held while something is written: waiting here is quicker than SQLite's polling."""
        self._queue: SimpleQueue[tuple[Parcel, Future[Receipt]] | None] = SimpleQueue()
        self._appended = 0
        self._thread = threading.Thread(target=self._commit, name="tongqu-intake", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, home: Home) -> SqliteIntake:
        """The queue of a home, which is made if it is not there."""
        home.ensure()
        return cls(home.intake)

    def append(self, parcel: Parcel) -> Future[Receipt]:
        """See Intake."""
        future: Future[Receipt] = Future()
        self._queue.put((parcel, future))
        return future

    def waiting(self, limit: int, but: Collection[str] = ()) -> list[Kept]:
        """See Intake."""
        others = f"state = 'waiting' AND target NOT IN ({', '.join('?' * len(but))})"
        kept = self._kept(f"WHERE batch <> '' AND {others} ORDER BY batch, position LIMIT ?", *but, limit)
        rest = limit - len(kept)
        return kept + self._kept(f"WHERE batch = '' AND {others} ORDER BY position LIMIT ?", *but, rest)

    def dead_ones(self, limit: int) -> list[Kept]:
        """The newest that could not be written first."""
        return self._kept("WHERE state = 'dead' ORDER BY position DESC LIMIT ?", limit)

    def replay(self) -> int:
        """Let those that could not be written wait again; how many."""
        with self._turn, self._lock:
            return self._reading.execute(
                "UPDATE sent SET state = 'waiting', problem = '', batch = '' WHERE state = 'dead'"
            ).rowcount

    def drop(self, position: int) -> int:
        """Forget one that could not be written; how many were forgotten."""
        with self._turn, self._lock:
            done = self._reading.execute("DELETE FROM sent WHERE state = 'dead' AND position = ?", (position,))
            return done.rowcount

    def depth(self) -> int:
        """See Intake."""
        with self._lock:
            return int(self._reading.execute("SELECT count(*) FROM sent WHERE state = 'waiting'").fetchone()[0])

    def batched(self, positions: Sequence[int], batch: str, before: str) -> bool:
        """See Intake."""
        return self._change(
            "UPDATE sent SET batch = ? WHERE position = ? AND batch = ? AND state = 'waiting'",
            [(batch, position, before) for position in positions], whole=True,
        )  # fmt: skip

    def done(self, positions: Sequence[int]) -> None:
        """See Intake."""
        self._change("DELETE FROM sent WHERE position = ?", [(position,) for position in positions])

    def dead(self, position: int, problem: str) -> None:
        """See Intake."""
        self._change("UPDATE sent SET state = 'dead', problem = ? WHERE position = ?", [(problem, position)])

    def close(self) -> None:
        """See Intake; may be called twice."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
            self._writing.close()
            with self._lock:
                self._reading.close()

    def _kept(self, rest: str, *values: object) -> list[Kept]:
        with self._lock:
            rows = self._reading.execute(
                f"SELECT position, target, header, body, at, batch, state, problem, trace FROM sent {rest}", values
            ).fetchall()
        return [Kept(*row) for row in rows]

    def _change(self, sql: str, values: Sequence[tuple[object, ...]], *, whole: bool = False) -> bool:
        """Change rows; with `whole` all of them or none, and whether they were."""
        with self._turn, self._lock:
            self._reading.execute("BEGIN IMMEDIATE")
            try:
                every = self._reading.executemany(sql, values).rowcount == len(values)
                self._reading.execute("COMMIT" if every or not whole else "ROLLBACK")
            except BaseException:
                self._reading.execute("ROLLBACK")
                raise
        return every

    def _commit(self) -> None:
        """The thread that commits."""
        while True:
            first = self._queue.get()
            if first is None:
                return
            group, last = [first], False
            while len(group) < MOST_AT_ONCE:
                try:
                    more = self._queue.get_nowait()
                except Empty:
                    break
                if more is None:
                    last = True
                    break
                group.append(more)
            group = [one for one in group if one[1].set_running_or_notify_cancel()]  # the others' senders have gone
            try:
                with self._turn:
                    receipts = self._written([parcel for parcel, _ in group])
            except sqlite3.Error as error:
                for _, future in group:
                    future.set_exception(error)
            else:
                for (_, future), receipt in zip(group, receipts, strict=True):
                    future.set_result(receipt)
            if last:
                return

    def _written(self, parcels: Sequence[Parcel]) -> list[Receipt]:
        with writing(self._writing) as done:
            receipts = [self._one(done, parcel) for parcel in parcels]
            self._appended += len(parcels)
            if parcels and self._appended >= 10_000:
                self._appended = 0
                done.execute("DELETE FROM keys WHERE at < ?", (parcels[-1].at - KEEP_KEYS_SECONDS,))
        return receipts

    @staticmethod
    def _one(done: sqlite3.Connection, parcel: Parcel) -> Receipt:
        if parcel.key:
            row = done.execute(
                "SELECT fingerprint, position FROM keys WHERE scope = ? AND key = ?", (parcel.scope, parcel.key)
            ).fetchone()
            if row is not None:
                return Receipt(int(row[1]), again=True, clash=row[0] != parcel.fingerprint)
        values = (parcel.at, parcel.target, parcel.header, parcel.body, parcel.trace)
        position = int(
            done.execute("INSERT INTO sent (at, target, header, body, trace) VALUES (?, ?, ?, ?, ?)", values).lastrowid
            or 0
        )
        if parcel.key:
            told = (parcel.scope, parcel.key, parcel.fingerprint, position, parcel.at)
            done.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?)", told)
        return Receipt(position)
