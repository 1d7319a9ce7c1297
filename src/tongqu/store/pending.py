"""Changes that wait for the signature of a second person, and those that have it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from tongqu.core.errors import InvalidPlanError, UnknownNameError
from tongqu.store.home import Home
from tongqu.store.writing import durable, writing

KEEP_SECONDS = 7 * 86_400.0
"""How long a change waits, and how long after its approval it may be made."""
SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE pending (
        id TEXT PRIMARY KEY,
        api TEXT NOT NULL,
        digest TEXT NOT NULL,
        verb TEXT NOT NULL,
        change TEXT NOT NULL,
        who TEXT NOT NULL,
        reason TEXT NOT NULL,
        at REAL NOT NULL,
        until REAL NOT NULL,
        approver TEXT NOT NULL DEFAULT '',
        approved REAL
    ) WITHOUT ROWID;
    """,
)
_NAMES = ("id", "api", "digest", "verb", "change", "who", "reason", "at", "until", "approver", "approved")


@dataclass(frozen=True)
class Waiting:
    """One change: `digest` ties it to the very rows and conditions, `change` shows them to who approves, `who` signed
    first. `approver` is empty while it waits."""

    id: str
    api: str
    digest: str
    verb: str
    change: str
    who: str
    reason: str
    at: float
    until: float
    approver: str = ""
    approved: float | None = None

    def to_json(self) -> dict[str, Any]:
        """For who approves."""
        return {name: getattr(self, name) for name in _NAMES if name != "digest"}


class Pending:
    """The changes of one home, in a file of mode 0600, since it holds the rows. Safe for several threads and processes.
    Raises sqlite3.Error, OSError."""

    def __init__(self, path: Path):
        self._lock = RLock()
        self._database = durable(path, SCHEMA, "secure_delete = ON")

    @classmethod
    def open(cls, home: Home) -> Pending:
        """Those of a home, which is made if it is not there."""
        home.ensure()
        return cls(home.pending)

    def put(self, one: Waiting) -> str:
        """Keep a change; its id, which is that of the same change of the same person that waits already."""
        with writing(self._database, self._lock) as done:
            done.execute("DELETE FROM pending WHERE until <= ?", (one.at,))
            same = "api = ? AND digest = ? AND who = ? AND approved IS NULL"
            found = done.execute(f"SELECT id FROM pending WHERE {same}", (one.api, one.digest, one.who)).fetchone()
            if found is not None:
                return str(found[0])
            marks = ", ".join("?" for _ in _NAMES)
            done.execute(f"INSERT INTO pending VALUES ({marks})", tuple(getattr(one, name) for name in _NAMES))
            return one.id

    def all(self, at: float) -> list[Waiting]:
        """Those that are not over, oldest first."""
        with self._lock:
            rows = self._database.execute("SELECT * FROM pending WHERE until > ? ORDER BY at, id", (at,)).fetchall()
        return [Waiting(*row) for row in rows]

    def get(self, id: str, at: float) -> Waiting:
        """The change of an id; raises UnknownNameError."""
        found = next((one for one in self.all(at) if one.id == id), None)
        if found is None:
            raise UnknownNameError(f"no change {id!r} waits", hint="tongqu api pending", params={"name": id})
        return found

    def approve(self, id: str, approver: str, at: float) -> Waiting:
        """Sign as the second person; raises InvalidPlanError for who signed first, and where somebody did already."""
        if self.get(id, at).who == approver:
            raise InvalidPlanError("who approves is another person than who signed", hint="ask another person")
        with writing(self._database, self._lock) as done:
            told = (approver, at, at + KEEP_SECONDS, id)
            changed = done.execute(
                "UPDATE pending SET approver = ?, approved = ?, until = ? WHERE id = ? AND approved IS NULL", told
            ).rowcount
        if changed < 1:
            raise InvalidPlanError(f"the change {id} was approved already", hint="tongqu api pending")
        return self.get(id, at)

    def spend(self, id: str, api: str, digest: str, who: str, at: float) -> str:
        """Take the approval of this very change away, so that it serves once: who gave it, empty if there is none."""
        with writing(self._database, self._lock) as done:
            same = "id = ? AND api = ? AND digest = ? AND who = ? AND approved IS NOT NULL AND until > ?"
            found = done.execute(f"SELECT approver FROM pending WHERE {same}", (id, api, digest, who, at)).fetchone()
            done.execute(f"DELETE FROM pending WHERE {same}", (id, api, digest, who, at))
        return str(found[0]) if found is not None else ""

    def close(self) -> None:
        """Close the file; may be called twice."""
        with self._lock:
            self._database.close()
