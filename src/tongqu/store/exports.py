"""How many rows of which API each caller has taken lately, and who let whom take more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from tongqu.core.errors import InvalidPlanError
from tongqu.store.home import Home
from tongqu.store.writing import opened, writing

SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE taken (
        who TEXT NOT NULL,
        api TEXT NOT NULL,
        bucket INTEGER NOT NULL,
        seconds INTEGER NOT NULL,
        rows INTEGER NOT NULL,
        PRIMARY KEY (who, api, seconds, bucket)
    ) WITHOUT ROWID;
    CREATE TABLE asked (who TEXT NOT NULL, api TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (who, api)) WITHOUT ROWID;
    CREATE TABLE allowed (
        id INTEGER PRIMARY KEY,
        who TEXT NOT NULL,
        api TEXT NOT NULL,
        rows INTEGER NOT NULL,
        at REAL NOT NULL,
        until REAL NOT NULL,
        person TEXT NOT NULL,
        reason TEXT NOT NULL
    );
    """,
)
_PARTS = 24
"""A period is counted in so many parts, so that it slides."""


@dataclass(frozen=True)
class Budget:
    """`rows` that one caller may take of an API in `seconds` by itself."""

    rows: int
    seconds: int


class Exports:
    """The counts of one home, shared by its processes. Safe for several threads. Raises sqlite3.Error, OSError."""

    def __init__(self, path: Path):
        self._lock = RLock()
        self._database = opened(path, SCHEMA)

    @classmethod
    def open(cls, home: Home) -> Exports:
        """Those of a home, which is made if it is not there."""
        home.ensure()
        return cls(home.exports)

    def take(self, who: str, api: str, rows: int, budget: Budget, at: float) -> int | None:
        """Count `rows` if anything of the budget is left: how many are counted now in the period, None if nothing was
        left. Then it is noted that this caller asked. With the last of a budget one whole answer is let through."""
        with writing(self._database, self._lock) as done:
            taken = self._taken(who, api, budget, at)
            if taken >= budget.rows + self._more(who, api, at):
                done.execute("INSERT OR REPLACE INTO asked VALUES (?, ?, ?)", (who, api, at))
                return None
            part = budget.seconds / _PARTS
            done.execute("DELETE FROM taken WHERE seconds = ? AND bucket < ?",
                         (budget.seconds, int(at // part) - _PARTS))  # fmt: skip
            done.execute(
                "INSERT INTO taken VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET rows = rows + excluded.rows",
                (who, api, int(at // part), budget.seconds, rows),
            )
            return taken + rows

    def give_back(self, who: str, api: str, rows: int, budget: Budget, at: float) -> None:
        """So many of those that were counted at that time were not given."""
        bucket = int(at // (budget.seconds / _PARTS))
        where = "who = ? AND api = ? AND seconds = ? AND bucket = ?"
        with writing(self._database, self._lock) as done:
            done.execute(f"UPDATE taken SET rows = max(0, rows - ?) WHERE {where}",
                         (rows, who, api, budget.seconds, bucket))  # fmt: skip

    def allow(self, who: str, api: str, budget: Budget, at: float, *, person: str, reason: str) -> None:
        """Let a caller take the same again, within one period from now. Raises InvalidPlanError where nobody asked, or
        the caller itself would allow it."""
        if person.removeprefix("user:") == who.removeprefix("user:"):
            raise InvalidPlanError("who wants more rows does not allow them", hint="ask another person")
        with writing(self._database, self._lock) as done:
            if done.execute("DELETE FROM asked WHERE who = ? AND api = ?", (who, api)).rowcount < 1:
                raise InvalidPlanError(f"{who} did not ask for more rows of {api}", hint="tongqu api exports")
            done.execute(
                "INSERT INTO allowed (who, api, rows, at, until, person, reason) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (who, api, budget.rows, at, at + budget.seconds, person, reason),
            )

    def asked(self) -> list[dict[str, Any]]:
        """Who waits for more rows, the newest first."""
        with self._lock:
            rows = self._database.execute("SELECT who, api, at FROM asked ORDER BY at DESC, who, api").fetchall()
        return [{"client": who, "api": api, "at": at} for who, api, at in rows]

    def allowed(self, at: float) -> list[dict[str, Any]]:
        """What was allowed and still counts, the newest first."""
        names = ("client", "api", "rows", "at", "until", "by", "reason")
        with self._lock:
            rows: Sequence[Any] = self._database.execute(
                "SELECT who, api, rows, at, until, person, reason FROM allowed WHERE until > ? ORDER BY id DESC", (at,)
            ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def close(self) -> None:
        """Close the file; may be called twice."""
        with self._lock:
            self._database.close()

    def _taken(self, who: str, api: str, budget: Budget, at: float) -> int:
        since = int(at // (budget.seconds / _PARTS)) - _PARTS
        where = "who = ? AND api = ? AND seconds = ? AND bucket > ?"
        found = self._database.execute(f"SELECT sum(rows) FROM taken WHERE {where}", (who, api, budget.seconds, since))
        return int(found.fetchone()[0] or 0)

    def _more(self, who: str, api: str, at: float) -> int:
        found = self._database.execute(
            "SELECT sum(rows) FROM allowed WHERE who = ? AND api = ? AND until > ?", (who, api, at)
        )
        return int(found.fetchone()[0] or 0)
