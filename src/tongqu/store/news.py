"""What is told to callers about the APIs they use, who subscribed to it, and how far each of them was told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from tongqu.core.errors import UnknownNameError
from tongqu.store.home import Home
from tongqu.store.writing import durable, writing

SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE news (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        env TEXT NOT NULL,
        at TEXT NOT NULL,
        version TEXT NOT NULL,
        api TEXT NOT NULL,
        kind TEXT NOT NULL,
        document TEXT NOT NULL
    );
    CREATE TABLE looked (env TEXT PRIMARY KEY, config INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE subscribers (
        id TEXT PRIMARY KEY,
        env TEXT NOT NULL,
        api TEXT NOT NULL,
        who TEXT NOT NULL,
        channel TEXT NOT NULL CHECK (channel IN ('webhook', 'mail')),
        address TEXT NOT NULL,
        at TEXT NOT NULL,
        position INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        due REAL NOT NULL DEFAULT 0,
        problem TEXT NOT NULL DEFAULT '',
        missed INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    """,
)
_ITEM = "position, id, at, version, api, kind, document"
_SUBSCRIBER = "id, env, api, who, channel, address, at, position, attempts, due, problem, missed"


@dataclass(frozen=True)
class Item:
    """One thing that is told. `kind`: `version.published`, `.changed`, `.broken`, `.deprecated`, `.sunset`,
    `.removed`, `.ends`; `document` holds what changed, for those who may know it."""

    position: int
    id: str
    at: str
    version: str
    api: str
    kind: str
    document: Mapping[str, Any]


@dataclass(frozen=True)
class Subscriber:
    """Who is told of one API (`*`: of all that they may read), and how. `position` is that of the last item that they
    were told or given up on; `missed` how many were given up."""

    id: str
    env: str
    api: str
    who: str
    channel: str
    address: str
    at: str
    position: int
    attempts: int = 0
    due: float = 0.0
    problem: str = ""
    missed: int = 0

    def to_json(self) -> dict[str, Any]:
        """The subscription as documents show it."""
        names = ("id", "api", "who", "channel", "address", "at", "attempts", "problem", "missed")
        return {name: getattr(self, name) for name in names}


class News:
    """The news of one home. Safe for several threads and processes. Raises sqlite3.Error, OSError."""

    def __init__(self, path: Path):
        self._lock = RLock()
        self._database = durable(path, SCHEMA)

    @classmethod
    def open(cls, home: Home) -> News:
        """Those of a home, which is made if it is not there."""
        home.ensure()
        return cls(home.news)

    def looked(self, env: str) -> int:
        """The applied version up to which everything was told (0: none)."""
        row = self._one("SELECT config FROM looked WHERE env = ?", env)
        return int(row[0]) if row else 0

    def add(self, env: str, items: Sequence[Item], config: int | None = None) -> None:
        """Keep what is told, and that it is all up to the applied version `config`, in one transaction; what has the id
        of something that is there stays as it was."""
        with writing(self._database, self._lock) as done:
            for one in items:
                done.execute(
                    "INSERT OR IGNORE INTO news (id, env, at, version, api, kind, document)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (one.id, env, one.at, one.version, one.api, one.kind, json.dumps(one.document, ensure_ascii=False)),
                )
            if config is not None:
                done.execute(
                    "INSERT INTO looked VALUES (?, ?) ON CONFLICT (env) DO UPDATE SET config = excluded.config",
                    (env, config),
                )

    def newest(self, env: str, limit: int) -> list[Item]:
        """The newest first."""
        return self._items(f"SELECT {_ITEM} FROM news WHERE env = ? ORDER BY position DESC LIMIT ?", env, limit)

    def after(self, env: str, position: int, limit: int) -> list[Item]:
        """What came after a position, oldest first."""
        told = f"SELECT {_ITEM} FROM news WHERE env = ? AND position > ? ORDER BY position LIMIT ?"
        return self._items(told, env, position, limit)

    def subscribe(self, one: Subscriber) -> Subscriber:
        """Tell somebody from now on; whoever has the same subscription already keeps it."""
        with writing(self._database, self._lock) as done:
            same = "env = ? AND api = ? AND who = ? AND channel = ? AND address = ?"
            told = (one.env, one.api, one.who, one.channel, one.address)
            row = done.execute(f"SELECT {_SUBSCRIBER} FROM subscribers WHERE {same}", told).fetchone()
            if row is not None:
                return Subscriber(*row)
            (last,) = done.execute("SELECT coalesce(max(position), 0) FROM news").fetchone()
            done.execute(
                "INSERT INTO subscribers (id, env, api, who, channel, address, at, position)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (one.id, *told, one.at, last),
            )
        return one

    def subscribers(self, env: str, who: str = "") -> list[Subscriber]:
        """Everybody who subscribed, or one caller's subscriptions."""
        with self._lock:
            rows = self._database.execute(
                f"SELECT {_SUBSCRIBER} FROM subscribers WHERE env = ? AND (who = ? OR ? = '') ORDER BY at, id",
                (env, who, who),
            ).fetchall()
        return [Subscriber(*row) for row in rows]

    def unsubscribe(self, env: str, id: str, who: str = "") -> None:
        """End a subscription, which is `who`'s if that is said; raises UnknownNameError."""
        with writing(self._database, self._lock) as done:
            gone = done.execute(
                "DELETE FROM subscribers WHERE env = ? AND id = ? AND (who = ? OR ? = '')", (env, id, who, who)
            ).rowcount
        if gone < 1:
            raise UnknownNameError(f"there is no subscription {id!r}", hint="tongqu api subscribers",
                                   params={"name": id})  # fmt: skip

    def told(self, id: str, position: int, *, missed: bool = False, problem: str = "") -> None:
        """The subscriber was told up to there; or one was given up (`missed`)."""
        self._update("attempts = 0, due = 0, problem = ?, position = ?, missed = missed + ?", problem, position,
                     int(missed), id)  # fmt: skip

    def later(self, id: str, due: float, problem: str) -> None:
        """An attempt failed; the next is due then (Unix seconds)."""
        self._update("attempts = attempts + 1, due = ?, problem = ?", due, problem, id)

    def close(self) -> None:
        """Close the file; may be called twice."""
        with self._lock:
            self._database.close()

    def _update(self, sets: str, *values: Any) -> None:
        with writing(self._database, self._lock) as done:
            done.execute(f"UPDATE subscribers SET {sets} WHERE id = ?", values)

    def _one(self, sql: str, *values: Any) -> Any:
        with self._lock:
            return self._database.execute(sql, values).fetchone()

    def _items(self, sql: str, *values: Any) -> list[Item]:
        with self._lock:
            rows = self._database.execute(sql, values).fetchall()
        return [
            Item(position, id, at, version, api, kind, json.loads(told))
            for position, id, at, version, api, kind, told in rows
        ]
