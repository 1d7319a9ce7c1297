"""What reviewers said about drafts of APIs: their comments and their verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from tongqu.core.errors import UnknownNameError
from tongqu.store.home import Home
from tongqu.store.writing import durable, writing

SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE comments (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        env TEXT NOT NULL,
        draft TEXT NOT NULL,
        digest TEXT NOT NULL,
        at TEXT NOT NULL,
        who TEXT NOT NULL,
        place TEXT NOT NULL,
        text TEXT NOT NULL,
        resolved_at TEXT NOT NULL DEFAULT '',
        resolved_by TEXT NOT NULL DEFAULT ''
    );
    CREATE INDEX comments_of ON comments (env, draft, id);
    CREATE TABLE verdicts (
        env TEXT NOT NULL,
        draft TEXT NOT NULL,
        digest TEXT NOT NULL,
        who TEXT NOT NULL,
        at TEXT NOT NULL,
        verdict TEXT NOT NULL CHECK (verdict IN ('approved', 'rejected')),
        signed INTEGER NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (env, draft, digest, who)
    ) WITHOUT ROWID;
    """,
)
_COMMENT = "id, digest, at, who, place, text, resolved_at, resolved_by"
_VERDICT = "who, at, verdict, signed, reason"


@dataclass(frozen=True)
class Comment:
    """What somebody said about a draft, or about one `place` in it (`fields.weight`, `limit.requests`; empty: the
    whole). `digest` is that of the draft as it was then."""

    id: int
    digest: str
    at: str
    who: str
    place: str
    text: str
    resolved_at: str = ""
    resolved_by: str = ""

    def to_json(self) -> dict[str, Any]:
        """The comment as documents show it."""
        told = {name: getattr(self, name) for name in ("id", "at", "who", "text", "resolved_at", "resolved_by")}
        return {**told, "on": self.place}


@dataclass(frozen=True)
class Verdict:
    """Somebody's judgement of a draft as it is: `approved` or `rejected`; `signed`: with name and password given
    anew."""

    who: str
    at: str
    verdict: str
    signed: bool
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The verdict as documents show it."""
        return {name: getattr(self, name) for name in ("who", "at", "verdict", "signed", "reason")}


class Drafts:
    """The reviews of one home, by environment and entry of `apis`. Safe for several threads and processes. Raises
    sqlite3.Error, OSError."""

    def __init__(self, path: Path):
        self._lock = RLock()
        self._database = durable(path, SCHEMA)

    @classmethod
    def open(cls, home: Home) -> Drafts:
        """Those of a home, which is made if it is not there."""
        home.ensure()
        return cls(home.drafts)

    def say(self, env: str, draft: str, comment: Comment) -> int:
        """Keep a comment, whatever its id; the id that it got."""
        told = (env, draft, comment.digest, comment.at, comment.who, comment.place, comment.text)
        with writing(self._database, self._lock) as done:
            made = done.execute(
                "INSERT INTO comments (env, draft, digest, at, who, place, text) VALUES (?, ?, ?, ?, ?, ?, ?)", told
            )
            return int(made.lastrowid or 0)

    def settle(self, env: str, draft: str, id: int, who: str, at: str) -> None:
        """A comment is dealt with; raises UnknownNameError where there is none of that id, or it was already."""
        with writing(self._database, self._lock) as done:
            changed = done.execute(
                "UPDATE comments SET resolved_at = ?, resolved_by = ?"
                " WHERE env = ? AND draft = ? AND id = ? AND resolved_at = ''",
                (at, who, env, draft, id),
            ).rowcount
        if changed < 1:
            raise UnknownNameError(
                f"{draft} has no open comment {id}", hint="tongqu draft show", params={"name": str(id)}
            )

    def comments(self, env: str, draft: str) -> list[Comment]:
        """All comments, oldest first."""
        with self._lock:
            rows = self._database.execute(
                f"SELECT {_COMMENT} FROM comments WHERE env = ? AND draft = ? ORDER BY id", (env, draft)
            ).fetchall()
        return [Comment(*row) for row in rows]

    def judge(self, env: str, draft: str, digest: str, verdict: Verdict) -> None:
        """Keep somebody's verdict, instead of what they said before of the same."""
        told = (verdict.who, verdict.at, verdict.verdict, verdict.signed, verdict.reason)
        with writing(self._database, self._lock) as done:
            done.execute(
                f"INSERT OR REPLACE INTO verdicts (env, draft, digest, {_VERDICT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (env, draft, digest, *told),
            )

    def verdicts(self, env: str, draft: str, digest: str) -> list[Verdict]:
        """The verdicts of a draft as it is, oldest first."""
        with self._lock:
            rows = self._database.execute(
                f"SELECT {_VERDICT} FROM verdicts WHERE env = ? AND draft = ? AND digest = ? ORDER BY at, who",
                (env, draft, digest),
            ).fetchall()
        return [Verdict(who, at, verdict, bool(signed), reason) for who, at, verdict, signed, reason in rows]

    def close(self) -> None:
        """Close the file; may be called twice."""
        with self._lock:
            self._database.close()
