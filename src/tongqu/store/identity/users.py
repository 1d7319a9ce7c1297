"""People: their password's hash, their second factor, their sessions, and how often somebody guessed wrong."""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tongqu.core.errors import InvalidPlanError, UnknownNameError
from tongqu.store.identity.database import Database, changed
from tongqu.store.identity.seal import Seal

DUTIES = ("system", "security", "audit")
"""The duties of administrators (三员); where they are kept apart nobody has two."""
ADMIN_ROLES = frozenset(f"{duty}_admin" for duty in DUTIES)
"""Roles that the duties give; they may be granted to programs too."""
_NAME = re.compile(r"[\w][\w.@-]{0,63}")
_SEALED = ("algorithm", "key", "nonce", "ciphertext", "tag")


@dataclass(frozen=True)
class User:
    """A person. `id` never changes and is never given again; `password` is an argon2id hash."""

    name: str
    id: str = ""
    roles: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    duty: str = ""
    """Duties of an administrator with commas between (`system,security`); nothing: no administrator."""
    password: str = field(default="", repr=False)
    changed: float = 0
    must_change: bool = False
    disabled: bool = False
    created: float = 0
    expires: float | None = None
    epoch: int = 0
    used: float | None = None
    totp_confirmed: bool = False

    @property
    def duties(self) -> tuple[str, ...]:
        """The duties of an administrator."""
        return tuple(filter(None, self.duty.split(",")))

    @property
    def all_roles(self) -> frozenset[str]:
        """The roles, with those that the duties give."""
        return frozenset((*self.roles, *(f"{duty}_admin" for duty in self.duties)))

    @property
    def administrator(self) -> bool:
        """Whether the person has a duty, however it was given: then one factor is not enough."""
        return bool(self.all_roles & ADMIN_ROLES)

    def alive(self, at: float) -> bool:
        """Whether the account may be used at that time."""
        return not self.disabled and (self.expires is None or at < self.expires)


class Users:
    """The people of one home."""

    def __init__(self, database: Database, seal: Seal):
        self._database = database
        self._seal = seal

    def add(self, user: User) -> User:
        """Keep a new person; raises InvalidPlanError if there is one of this name, or a name cannot be one."""
        if not _NAME.fullmatch(user.name):
            raise InvalidPlanError(
                f"{user.name!r} is not a name of a user", hint="letters, digits, `.`, `_`, `@` and `-`, at most 64"
            )
        now = self._database.seconds()
        made = replace(user, id=secrets.token_hex(8), created=now, changed=now, epoch=int(now * 1000))
        told = _stored(made)
        try:
            with self._database.writing() as done:
                marks = ", ".join("?" for _ in told)
                done.execute(f"INSERT INTO users ({', '.join(told)}) VALUES ({marks})", tuple(told.values()))
        except sqlite3.IntegrityError:
            raise InvalidPlanError(f"there is a user {user.name!r} already", hint="tongqu user list") from None
        return made

    def get(self, name: str) -> User | None:
        """The person of that name."""
        row = self._database.row("SELECT * FROM users WHERE name = ?", name)
        return _user(row) if row else None

    def known(self, name: str) -> User:
        """The person of that name; raises UnknownNameError."""
        if found := self.get(name):
            return found
        raise UnknownNameError(f"there is no user {name!r}", hint="tongqu user list", params={"name": name})

    def list(self) -> Sequence[User]:
        """All people by name."""
        return [_user(row) for row in self._database.rows("SELECT * FROM users ORDER BY name")]

    def change(self, name: str, **values: Any) -> User:
        """Change fields of a person."""
        made = replace(self.known(name), **values)
        told = {column: value for column, value in _stored(made).items() if column in values}
        with self._database.writing() as done:
            sets = ", ".join(f"{column} = ?" for column in told)
            done.execute(f"UPDATE users SET {sets} WHERE name = ?", (*told.values(), name))
        return made

    def remove(self, name: str) -> None:
        """Forget a person; raises UnknownNameError."""
        self.known(name)
        with self._database.writing() as done:
            done.execute("DELETE FROM users WHERE name = ?", (name,))

    def set_password(self, name: str, hashed: str, *, keep: int, must_change: bool = False) -> None:
        """A new password; the last `keep` old ones are remembered. All sessions and tokens of the person end."""
        user, now = self.known(name), self._database.seconds()
        with self._database.writing() as done:
            done.execute("INSERT INTO old_passwords VALUES (?, ?, ?)", (name, user.changed, user.password))
            done.execute(
                "DELETE FROM old_passwords WHERE user = ? AND at NOT IN"
                " (SELECT at FROM old_passwords WHERE user = ? ORDER BY at DESC LIMIT ?)",
                (name, name, keep),
            )
            done.execute(
                "UPDATE users SET password = ?, changed = ?, must_change = ?, epoch = epoch + 1 WHERE name = ?",
                (hashed, now, must_change, name),
            )
            done.execute("DELETE FROM sessions WHERE user = ?", (name,))
            done.execute("UPDATE families SET revoked = ? WHERE user = ? AND revoked IS NULL", (now, name))

    def old_passwords(self, name: str) -> Sequence[str]:
        """Hashes of passwords the person had before."""
        rows = self._database.rows("SELECT password FROM old_passwords WHERE user = ? ORDER BY at DESC", name)
        return [str(row["password"]) for row in rows]

    def set_totp(self, name: str, secret: str) -> None:
        """Give a person a TOTP secret that counts once it is confirmed."""
        columns = self._seal.sealed(secret.encode(), "totp", self.known(name).id).columns
        with self._database.writing() as done:
            done.execute(
                "UPDATE users SET totp_confirmed = 0, totp_step = 0, algorithm = ?, key = ?, nonce = ?, ciphertext = ?,"
                " tag = ? WHERE name = ?",
                (*columns, name),
            )

    def totp(self, name: str) -> str:
        """A person's TOTP secret, empty if there is none."""
        row = self._database.row("SELECT * FROM users WHERE name = ?", name)
        if row is None or not row["key"]:
            return ""
        return self._seal.opened([row[column] for column in _SEALED], "totp", row["id"]).decode()

    def spend_totp(self, name: str, step: int) -> bool:
        """Whether no code of this time step or a later one was used; then it is used now, for all processes."""
        with self._database.writing(rights=False) as done:
            return changed(done, "UPDATE users SET totp_step = ? WHERE name = ? AND totp_step < ?", (step, name, step))

    def log_out(self, name: str) -> None:
        """End every session and token of a person now."""
        self.known(name)
        now = self._database.seconds()
        with self._database.writing() as done:
            done.execute("DELETE FROM sessions WHERE user = ?", (name,))
            done.execute("UPDATE families SET revoked = ? WHERE user = ? AND revoked IS NULL", (now, name))
            done.execute("UPDATE users SET epoch = epoch + 1 WHERE name = ?", (name,))

    def blocked_until(self, kind: str, what: str) -> float:
        """Until when nothing is tried for this account or address; 0 if it is not blocked."""
        row = self._database.row(
            "SELECT until FROM failures WHERE kind = ? AND what = ?", kind, self._seal.digest(what)
        )
        return float(row["until"]) if row else 0.0

    def failed(self, kind: str, what: str, *, forget: float) -> int:
        """Count one failure; how many there were, where a pause of `forget` seconds starts anew."""
        now, key = self._database.seconds(), self._seal.digest(what)
        with self._database.writing(rights=False) as done:
            row = done.execute(
                "INSERT INTO failures VALUES (?, ?, 1, ?, 0) ON CONFLICT (kind, what) DO UPDATE SET"
                " count = CASE WHEN last < ? THEN 1 ELSE count + 1 END, last = excluded.last RETURNING count",
                (kind, key, now, now - forget),
            ).fetchone()
            done.execute("DELETE FROM failures WHERE last < ? AND until < ?", (now - 10 * forget, now))
        return int(row["count"])

    def block(self, kind: str, what: str, until: float) -> None:
        """Try nothing for this account or address before that time."""
        with self._database.writing(rights=False) as done:
            done.execute(
                "UPDATE failures SET until = ? WHERE kind = ? AND what = ?", (until, kind, self._seal.digest(what))
            )

    def forgive(self, kind: str, what: str) -> None:
        """Forget the failures of an account or address."""
        with self._database.writing(rights=False) as done:
            done.execute("DELETE FROM failures WHERE kind = ? AND what = ?", (kind, self._seal.digest(what)))

    def begin_session(self, name: str, address: str) -> str:
        """A new session; the token stands nowhere else."""
        token, now = secrets.token_urlsafe(32), self._database.seconds()
        with self._database.writing() as done:
            done.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?, ?)", (self._seal.digest(token), name, now, now, address)
            )
            done.execute("UPDATE users SET used = ? WHERE name = ?", (now, name))
        return token

    def session(self, token: str, *, idle: float, absolute: float) -> User | None:
        """The person of a live session, which then counts as used now."""
        digest, now = self._seal.digest(token), self._database.seconds()
        row = self._database.row("SELECT * FROM sessions WHERE digest = ?", digest)
        if row is None or now - row["seen"] > idle or now - row["created"] > absolute:
            return None
        if now - row["seen"] > min(30.0, idle / 4):
            with self._database.noting() as done:
                done.execute("UPDATE sessions SET seen = ? WHERE digest = ?", (now, digest))
        user = self.get(row["user"])
        return user if user and user.alive(now) else None

    def end_session(self, token: str) -> None:
        """End one session."""
        with self._database.writing() as done:
            done.execute("DELETE FROM sessions WHERE digest = ?", (self._seal.digest(token),))


def _stored(user: User) -> dict[str, Any]:
    kept = ("name", "id", "duty", "password", "changed", "must_change", "disabled", "created", "expires", "epoch",
            "used", "totp_confirmed")  # fmt: skip
    told = {name: getattr(user, name) for name in kept}
    return {**told, "roles": json.dumps(user.roles, ensure_ascii=False),
            "attributes": json.dumps(dict(user.attributes), ensure_ascii=False)}  # fmt: skip


def _user(row: sqlite3.Row) -> User:
    left = {"totp_step", *_SEALED}
    told: dict[str, Any] = {name: row[name] for name in row.keys() if name not in left}  # noqa: SIM118  a Row is no dict
    for name in ("must_change", "disabled", "totp_confirmed"):
        told[name] = bool(told[name])
    return User(**{**told, "roles": tuple(json.loads(row["roles"])), "attributes": json.loads(row["attributes"])})
