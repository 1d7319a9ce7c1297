"""The outbox of webhooks: what is to be delivered, in which order, how often it was tried, and what was given up."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from tongqu.store.home import Home
from tongqu.store.writing import durable, writing

KEEP_DONE_SECONDS = 7 * 86_400.0
KEEP_SECONDS = 90 * 86_400.0
"""How long what could not be delivered is kept: dead messages, and those of a webhook that is switched off or gone."""
SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE messages (
        id TEXT PRIMARY KEY,
        hook TEXT NOT NULL,
        position INTEGER NOT NULL,
        op TEXT NOT NULL,
        key TEXT NOT NULL,
        at REAL NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        due REAL NOT NULL,
        status INTEGER NOT NULL,
        problem TEXT NOT NULL,
        ended REAL
    ) WITHOUT ROWID;
    CREATE INDEX waiting ON messages (hook, state, key, position);
    CREATE INDEX ended ON messages (state, ended);
    CREATE TABLE hooks (
        hook TEXT PRIMARY KEY,
        position INTEGER NOT NULL,
        held_until REAL NOT NULL,
        disabled TEXT NOT NULL,
        overlap_until REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE told (hook TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (hook, key)) WITHOUT ROWID;
    """,
    "ALTER TABLE messages ADD COLUMN trace TEXT NOT NULL DEFAULT '';",
)
_COLUMNS = "id, hook, position, op, key, at, state, attempts, due, status, problem, ended, trace"


@dataclass(frozen=True)
class Waiting:
    """One message. `state` is `waiting`, `done`, `dead` (given up) or `skipped` (the client may not see it);
    `trace` is the traceparent of what changed the row."""

    id: str
    hook: str
    position: int
    op: str
    key: Mapping[str, str]
    at: float
    state: str = "waiting"
    attempts: int = 0
    due: float = 0.0
    status: int = 0
    problem: str = ""
    ended: float | None = None
    trace: str = ""

    def to_json(self) -> dict[str, Any]:
        """For `webhook show`; keys are data, and not shown."""
        names = ("id", "op", "at", "state", "attempts", "due", "status", "problem", "ended")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Hook:
    """Where a webhook stands: how far of the feed is in its outbox, until when it must not be called, why it is
    switched off (empty: it is on), and until when the secret before the present one signs too."""

    name: str
    position: int
    held_until: float = 0.0
    disabled: str = ""
    overlap_until: float = 0.0


class Outbox:
    """The outbox of one home, in one SQLite file for all processes. It holds keys of rows and never their values.

    Messages of one key are due one after the other, in the order of the feed. Raises sqlite3.Error, OSError and
    CheckpointError.
    """

    def __init__(self, path: Path):
        self._lock = RLock()
        self._database = durable(path, SCHEMA, "secure_delete = ON")
        self._database.row_factory = sqlite3.Row

    @classmethod
    def open(cls, home: Home) -> Outbox:
        """The outbox of a home, which is made if it is not there."""
        home.ensure()
        return cls(home.outbox)

    def hook(self, name: str) -> Hook | None:
        """Where a webhook stands; None if it never began."""
        row = self._row("SELECT * FROM hooks WHERE hook = ?", name)
        return None if row is None else Hook(*tuple(row))

    def begin(self, name: str, position: int) -> None:
        """A webhook follows the feed from there on, unless it does already."""
        with self._writing() as done:
            done.execute("INSERT OR IGNORE INTO hooks VALUES (?, ?, 0, '', 0)", (name, position))

    def add(self, name: str, position: int, messages: Sequence[Waiting]) -> None:
        """Keep messages, and that the feed was followed so far, in one transaction; what is there already stays."""
        with self._writing() as done:
            done.executemany(
                f"INSERT OR IGNORE INTO messages ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (one.id, one.hook, one.position, one.op, _text(one.key), one.at, one.state, one.attempts, one.due,
                     one.status, one.problem, one.ended, one.trace)
                    for one in messages
                ],
            )  # fmt: skip
            done.execute("UPDATE hooks SET position = max(position, ?) WHERE hook = ?", (position, name))

    def due(self, name: str, now: float, limit: int) -> list[Waiting]:
        """What may be delivered now: of each key only the first that waits, and nothing of a webhook that is held."""
        return self._many(
            f"SELECT {_COLUMNS} FROM messages AS m WHERE hook = ? AND state = 'waiting' AND due <= ?"
            " AND NOT EXISTS (SELECT 1 FROM messages AS o WHERE o.hook = m.hook AND o.state = 'waiting'"
            " AND o.key = m.key AND o.position < m.position)"
            " AND NOT EXISTS (SELECT 1 FROM hooks AS h WHERE h.hook = m.hook"
            " AND (h.held_until > ? OR h.disabled <> ''))"
            " ORDER BY position LIMIT ?",
            (name, now, now, limit),
        )

    def next_due(self, name: str) -> float | None:
        """When the next attempt of a webhook is due."""
        row = self._row("SELECT min(due) FROM messages WHERE hook = ? AND state = 'waiting'", name)
        return None if row is None else row[0]

    def later(self, one: Waiting, due: float, status: int, problem: str) -> None:
        """It was tried and will be again."""
        with self._writing() as done:
            done.execute(
                "UPDATE messages SET attempts = attempts + 1, due = ?, status = ?, problem = ? WHERE id = ?",
                (due, status, problem, one.id),
            )

    def end(self, one: Waiting, state: str, now: float, *, status: int = 0, problem: str = "", told: bool | None = None
            ) -> None:  # fmt: skip
        """It is over. `told` True: the receiver knows the row from now on; False: it was told that it is gone."""
        with self._writing() as done:
            done.execute(
                "UPDATE messages SET state = ?, attempts = attempts + ?, status = ?, problem = ?, ended = ?"
                " WHERE id = ?",
                (state, int(state != "skipped"), status, problem, now, one.id),
            )
            if told is True:
                done.execute("INSERT OR IGNORE INTO told VALUES (?, ?)", (one.hook, _text(one.key)))
            elif told is False:
                done.execute("DELETE FROM told WHERE hook = ? AND key = ?", (one.hook, _text(one.key)))
            done.execute("DELETE FROM messages WHERE state IN ('done', 'skipped') AND ended < ?",
                         (now - KEEP_DONE_SECONDS,))  # fmt: skip

    def knows(self, name: str, key: Mapping[str, str]) -> bool:
        """Whether the receiver was told of the row."""
        return self._row("SELECT 1 FROM told WHERE hook = ? AND key = ?", name, _text(key)) is not None

    def hold(self, name: str, until: float) -> None:
        """Do not call the webhook before that time."""
        with self._writing() as done:
            done.execute("UPDATE hooks SET held_until = max(held_until, ?) WHERE hook = ?", (until, name))

    def disable(self, name: str, reason: str) -> None:
        """Switch a webhook off; an empty reason switches it on."""
        with self._writing() as done:
            done.execute("UPDATE hooks SET disabled = ?, held_until = 0 WHERE hook = ?", (reason, name))

    def overlap(self, name: str, until: float) -> None:
        """The secret before the present one signs too, until then."""
        with self._writing() as done:
            done.execute("UPDATE hooks SET overlap_until = ? WHERE hook = ?", (until, name))

    def replay(self, name: str, now: float, *, id: str = "", since: float = 0.0, state: str = "dead") -> int:
        """Let messages that are over be delivered again under their ids; how many."""
        with self._writing() as done:
            changed = done.execute(
                "UPDATE messages SET state = 'waiting', attempts = 0, due = ?, status = 0, problem = '', ended = NULL"
                " WHERE hook = ? AND at >= ? AND (id = ? OR (? = '' AND state = ?)) AND state <> 'waiting'",
                (now, name, since, id, id, state),
            )
            return changed.rowcount

    def prune(self, now: float) -> int:
        """Forget what could not be delivered for KEEP_SECONDS; how many messages."""
        with self._writing() as done:
            gone = done.execute(
                "DELETE FROM messages WHERE (state = 'dead' AND ended < ?1) OR (state = 'waiting' AND at < ?1)",
                (now - KEEP_SECONDS,),
            )
            return gone.rowcount

    def counts(self, name: str) -> dict[str, int]:
        """How many messages there are, by state."""
        with self._lock:
            rows = self._database.execute(
                "SELECT state, count(*) FROM messages WHERE hook = ? GROUP BY state", (name,)
            ).fetchall()
        return {str(state): int(count) for state, count in rows}

    def messages(self, name: str, limit: int, state: str = "") -> list[Waiting]:
        """The newest messages of a webhook first."""
        return self._many(
            f"SELECT {_COLUMNS} FROM messages WHERE hook = ? AND (state = ? OR ? = '') ORDER BY position DESC LIMIT ?",
            (name, state, state, limit),
        )

    def close(self) -> None:
        """Close the file; may be called twice."""
        with self._lock:
            self._database.close()

    def _row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        with self._lock:
            found: sqlite3.Row | None = self._database.execute(sql, values).fetchone()
            return found

    def _many(self, sql: str, values: tuple[Any, ...]) -> list[Waiting]:
        with self._lock:
            rows = self._database.execute(sql, values).fetchall()
        return [Waiting(**{**dict(row), "key": json.loads(row["key"])}) for row in rows]

    def _writing(self) -> AbstractContextManager[sqlite3.Connection]:
        return writing(self._database, self._lock)


def _text(key: Mapping[str, str]) -> str:
    return json.dumps(dict(sorted(key.items())), ensure_ascii=False, separators=(",", ":"))
