"""Keeps every applied version of a project, environment by environment, so that a change is never lost or unsigned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tongqu.core.errors import AccessError, InvalidPlanError, NotFoundError, StaleVersionError
from tongqu.store.home import Home
from tongqu.store.migrations import VERSIONS
from tongqu.store.runs import instant, now
from tongqu.store.writing import durable, writing

Tree = Mapping[str, Any]
"""A project's sections as plain values, without secrets."""

_COLUMNS = (
    "env, version, parent, state, kind, hash, shared, overlay, actor, account, at, reason, changes, origin, "
    "approver, approved_at"
)


@dataclass(frozen=True)
class Version:
    """One version of an environment. `state` is `applied`, `proposed` (waits for a second person) or `rejected`.

    `shared` are the sections that all environments share, `overlay` what this environment lays over them. `actor` is
    who says to have made it, `account` the operating system's name for them.
    """

    env: str
    version: int
    parent: int
    state: str
    kind: str
    """`apply`, `undo`, `promote` or `draft`."""
    hash: str
    shared: Tree
    overlay: Tree
    actor: str
    account: str
    at: str
    reason: str = ""
    changes: Sequence[Mapping[str, Any]] = ()
    """What it changed against its parent, as `plan` told it."""
    origin: str = ""
    """Where it came from: `test:12` for a promotion, `7` for an undo back to 7."""
    approver: str = ""
    approved_at: str = ""

    def summary(self) -> dict[str, Any]:
        """The version without its contents, for lists."""
        kept = ("version", "parent", "state", "kind", "hash", "actor", "account", "at", "reason", "origin", "approver")
        return {"env": self.env, **{name: getattr(self, name) for name in kept}, "approved_at": self.approved_at,
                "changes": list(self.changes)}  # fmt: skip


@dataclass(frozen=True)
class Proposal:
    """A version to be made on top of `parent` (0: the first)."""

    env: str
    parent: int
    shared: Tree
    overlay: Tree
    kind: str = "apply"
    reason: str = ""
    changes: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    origin: str = ""
    waits: bool = False
    """Whether a second person must approve it before it counts."""


@dataclass(frozen=True)
class Person:
    """Who acts."""

    actor: str
    account: str


def digest(shared: Tree, overlay: Tree) -> str:
    """A text that changes when the contents do (SHA-256 over canonical JSON)."""
    told = json.dumps([shared, overlay], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


class Versions:
    """The versions of one home, in one SQLite file; safe for several processes, since every change is one transaction.

    Versions are never edited or dropped, only added; the head of an environment moves by compare-and-set.
    """

    def __init__(self, path: Path, *, clock: Callable[[], datetime] = now):
        self._clock = clock
        self._database = durable(path, VERSIONS, "foreign_keys = ON")

    @classmethod
    def open(cls, home: Home) -> Versions:
        """The versions of a home, which is made if it is not there."""
        home.ensure()
        return cls(home.versions)

    def head(self, env: str) -> Version | None:
        """The version that counts in an environment, or None before the first."""
        found = self._database.execute("SELECT version FROM heads WHERE env = ?", (env,)).fetchone()
        return self.get(env, int(found[0])) if found else None

    def get(self, env: str, version: int) -> Version:
        """One version; raises NotFoundError."""
        row = self._database.execute(
            f"SELECT {_COLUMNS} FROM versions WHERE env = ? AND version = ?", (env, version)
        ).fetchone()
        if row is None:
            newest = self._database.execute("SELECT max(version) FROM versions WHERE env = ?", (env,)).fetchone()[0]
            there = f"the newest is {newest}" if newest else "none was applied yet"
            raise NotFoundError(
                f"there is no version {version} of {shown(env)}: {there}", hint="tongqu versions list shows them",
                params={"version": version},
            )  # fmt: skip
        return _version(row)

    def list(self, env: str, limit: int = 50) -> list[Version]:
        """The newest versions first."""
        rows = self._database.execute(
            f"SELECT {_COLUMNS} FROM versions WHERE env = ? ORDER BY version DESC LIMIT ?", (env, limit)
        )
        return [_version(row) for row in rows]

    def add(self, made: Proposal, by: Person) -> Version:
        """Make the next version; it becomes the head unless it waits for a second person.

        Raises StaleVersionError if the head is not `made.parent`, and changes nothing then.
        """
        with self._transaction():
            self._is_head(made.env, made.parent)
            newest = self._database.execute("SELECT max(version) FROM versions WHERE env = ?", (made.env,)).fetchone()
            number = int(newest[0] or 0) + 1
            self._database.execute(
                f"INSERT INTO versions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', '')",
                (made.env, number, made.parent, "proposed" if made.waits else "applied", made.kind,
                 digest(made.shared, made.overlay), _dump(made.shared), _dump(made.overlay), by.actor, by.account,
                 instant(self._clock()), made.reason, _dump(list(made.changes)), made.origin),
            )  # fmt: skip
            if not made.waits:
                self._move(made.env, number)
        return self.get(made.env, number)

    def approve(self, env: str, version: int, by: Person) -> Version:
        """Let a proposed version count; only somebody else than its maker may.

        Raises InvalidPlanError if it does not wait, AccessError for its own maker, StaleVersionError if the head moved
        since it was proposed.
        """
        with self._transaction():
            found = self._waiting(env, version)
            if by.actor == found.actor:
                raise AccessError(
                    f"version {version} of {shown(env)} was made by {found.actor}, and somebody else must approve it",
                    hint="let a second person run `tongqu versions approve`",
                    params={"version": version},
                )
            self._is_head(env, found.parent)
            self._database.execute(
                "UPDATE versions SET state = 'applied', approver = ?, approved_at = ? WHERE env = ? AND version = ?",
                (by.actor, instant(self._clock()), env, version),
            )
            self._move(env, version)
        return self.get(env, version)

    def reject(self, env: str, version: int, by: Person) -> Version:
        """Refuse a proposed version, which its maker may do too; raises InvalidPlanError if it does not wait."""
        with self._transaction():
            self._waiting(env, version)
            self._database.execute(
                "UPDATE versions SET state = 'rejected', approver = ?, approved_at = ? WHERE env = ? AND version = ?",
                (by.actor, instant(self._clock()), env, version),
            )
        return self.get(env, version)

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._database.close()

    def _waiting(self, env: str, version: int) -> Version:
        found = self.get(env, version)
        if found.state != "proposed":
            raise InvalidPlanError(
                f"version {version} of {shown(env)} is {found.state} and waits for nobody",
                hint="tongqu versions list shows which wait",
            )
        return found

    def _is_head(self, env: str, parent: int) -> None:
        found = self._database.execute("SELECT version FROM heads WHERE env = ?", (env,)).fetchone()
        head = int(found[0]) if found else 0
        if head != parent:
            raise StaleVersionError(
                f"this change was made to version {parent} of {shown(env)}, and {head} is the one that counts now",
                hint="look at `tongqu plan` again; `tongqu pull` brings the newer version into the files",
                params={"parent": parent, "head": head},
            )

    def _move(self, env: str, version: int) -> None:
        self._database.execute(
            "INSERT INTO heads VALUES (?, ?) ON CONFLICT (env) DO UPDATE SET version = excluded.version", (env, version)
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with writing(self._database):
            yield


def shown(env: str) -> str:
    """An environment's name for people."""
    return env or "default"


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _version(row: Sequence[Any]) -> Version:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    loaded = {name: json.loads(values[name]) for name in ("shared", "overlay", "changes")}
    return Version(**{**values, **loaded})
