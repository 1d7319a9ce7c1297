"""Clients: programs that call, what they may be, and the keys they prove it with (shown once, two live at a time)."""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from tongqu.core.errors import InvalidPlanError, UnknownNameError
from tongqu.store.identity.database import Database
from tongqu.store.identity.seal import Seal

Kind = Literal["secret", "api_key", "signature", "certificate"]
PREFIXES: Mapping[str, str] = {"secret": "tqs", "api_key": "tqk", "signature": "tqa"}
"""How a key of each kind begins, so that a leaked one is recognised."""
LIVE = 2
"""Keys of one kind that a client may have at the same time."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SEALED = "algorithm, key, nonce, ciphertext, tag"
GRANTS = ("client_credentials", "authorization_code", "refresh_token", "token-exchange")
"""What a client may be allowed to ask `/oauth/token` for."""


@dataclass(frozen=True)
class Client:
    """A program that calls. `epoch`: tokens that carry another one are void; `used`: when it last called, if ever."""

    id: str
    roles: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    scopes: tuple[str, ...] = ()
    """What its tokens may be limited to (empty: they are not limited)."""
    purposes: tuple[str, ...] = ()
    """What it may need data for; the first is the one it has when it says nothing."""
    grants: tuple[str, ...] = ("client_credentials",)
    redirects: tuple[str, ...] = ()
    jwks: tuple[Mapping[str, Any], ...] = ()
    """Public keys that its own assertions are signed with (private_key_jwt)."""
    sandbox: bool = False
    public: bool = False
    """Runs where no secret is safe (a browser, a phone): it has none and must use PKCE."""
    disabled: bool = False
    created: float = 0
    expires: float | None = None
    epoch: int = 0
    used: float | None = None

    def alive(self, at: float) -> bool:
        """Whether it may call at that time."""
        return not self.disabled and (self.expires is None or at < self.expires)


@dataclass(frozen=True)
class Credential:
    """What may be told about a key; `id` is the part that may be shown."""

    id: str
    client: str
    kind: str
    created: float
    expires: float | None
    revoked: float | None
    used: float | None

    def alive(self, at: float) -> bool:
        """Whether it opens anything at that time."""
        return self.revoked is None and (self.expires is None or at < self.expires)


@dataclass(frozen=True)
class Issued:
    """A key that was just made; the only moment its secret can be read."""

    id: str
    secret: str = field(repr=False)
    expires: float | None = None


class Clients:
    """The clients of one home. Every change is seen by all processes within a second."""

    def __init__(self, database: Database, seal: Seal):
        self._database = database
        self._seal = seal

    def add(self, client: Client) -> Client:
        """Keep a new client; raises InvalidPlanError if there is one of this name, or a name cannot be one."""
        if not _NAME.fullmatch(client.id):
            raise InvalidPlanError(
                f"{client.id!r} is not a name of a client", hint="letters, digits, `.`, `_` and `-`, at most 64"
            )
        if unknown := [grant for grant in client.grants if grant not in GRANTS]:
            raise InvalidPlanError(f"there is no grant {unknown[0]!r}", hint=f"valid: {', '.join(GRANTS)}")
        now = self._database.seconds()
        made = replace(client, created=now, epoch=int(now * 1000))  # never that of a client of this name before it
        told = _stored(made)
        try:
            with self._database.writing() as done:
                marks = ", ".join("?" for _ in told)
                done.execute(f"INSERT INTO clients ({', '.join(told)}) VALUES ({marks})", tuple(told.values()))
        except sqlite3.IntegrityError:
            raise InvalidPlanError(f"there is a client {client.id!r} already", hint="tongqu client list") from None
        return made

    def get(self, id: str) -> Client | None:
        """The client of that name."""
        row = self._database.row("SELECT * FROM clients WHERE id = ?", id)
        return _client(row) if row else None

    def known(self, id: str) -> Client:
        """The client of that name; raises UnknownNameError."""
        if found := self.get(id):
            return found
        raise UnknownNameError(f"there is no client {id!r}", hint="tongqu client list", params={"name": id})

    def list(self) -> Sequence[Client]:
        """All clients by name."""
        return [_client(row) for row in self._database.rows("SELECT * FROM clients ORDER BY id")]

    def change(self, id: str, **values: Any) -> Client:
        """Change fields of a client; its tokens follow, since roles are looked up when it calls."""
        changed = replace(self.known(id), **values)
        told = {name: value for name, value in _stored(changed).items() if name in values}
        with self._database.writing() as done:
            sets = ", ".join(f"{name} = ?" for name in told)
            done.execute(f"UPDATE clients SET {sets} WHERE id = ?", (*told.values(), id))
        return changed

    def revoke(self, id: str) -> None:
        """Make every token void that was issued to the client until now."""
        self.known(id)
        now = self._database.seconds()
        with self._database.writing() as done:
            done.execute("UPDATE clients SET epoch = epoch + 1 WHERE id = ?", (id,))
            done.execute("UPDATE families SET revoked = ? WHERE client = ? AND revoked IS NULL", (now, id))

    def remove(self, id: str) -> None:
        """Forget a client and its keys; raises UnknownNameError."""
        self.known(id)
        with self._database.writing() as done:
            done.execute("DELETE FROM clients WHERE id = ?", (id,))

    def issue(self, client: str, kind: Kind, *, expires: float | None = None, overlap: float = 0) -> Issued:
        """A new key. Older ones of the kind end `overlap` seconds from now, so that two live side by side meanwhile."""
        self.known(client)
        now = self._database.seconds()
        id = f"{PREFIXES[kind]}_{secrets.token_hex(5)}"
        random = secrets.token_urlsafe(32)
        secret = random if kind == "signature" else f"{id}_{random}"
        sealed = self._seal.sealed(secret.encode(), "credentials", id).columns if kind == "signature" else _OPEN
        with self._database.writing() as done:
            done.execute(
                "UPDATE credentials SET expires = min(coalesce(expires, ?), ?) WHERE client = ? AND kind = ?"
                " AND revoked IS NULL",
                (now + overlap, now + overlap, client, kind),
            )
            done.execute(
                "UPDATE credentials SET revoked = ? WHERE client = ? AND kind = ? AND revoked IS NULL AND id NOT IN"
                " (SELECT id FROM credentials WHERE client = ? AND kind = ? ORDER BY created DESC, id LIMIT ?)",
                (now, client, kind, client, kind, LIVE - 1),
            )
            done.execute(
                f"INSERT INTO credentials (id, client, kind, digest, created, expires, {_SEALED})"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (id, client, kind, self._seal.digest(secret), now, expires, *sealed),
            )
        return Issued(id, secret, expires)

    def register_certificate(self, client: str, thumbprint: str, expires: float | None) -> str:
        """Let a certificate stand for the client; `thumbprint` is its SHA-256 (base64url, as in `x5t#S256`)."""
        self.known(client)
        id = f"crt_{thumbprint[:12]}"
        values = (id, client, "certificate", thumbprint.encode(), self._database.seconds(), expires)
        with self._database.writing() as done:
            done.execute("DELETE FROM credentials WHERE kind = 'certificate' AND digest = ?", (thumbprint.encode(),))
            done.execute(
                "INSERT INTO credentials (id, client, kind, digest, created, expires) VALUES (?, ?, ?, ?, ?, ?)", values
            )
        return id

    def end(self, id: str) -> Credential:
        """Revoke one key at once; raises UnknownNameError."""
        with self._database.writing() as done:
            done.execute("UPDATE credentials SET revoked = ? WHERE id = ?", (self._database.seconds(), id))
        row = self._database.row("SELECT * FROM credentials WHERE id = ?", id)
        if row is None:
            raise UnknownNameError(f"there is no key {id!r}", hint="tongqu client list", params={"name": id})
        return _credential(row)

    def proved(self, kind: Kind, secret: str) -> tuple[Client, Credential] | None:
        """Whose live key of that kind this is: one indexed look-up of its keyed digest."""
        digest = secret.encode() if kind == "certificate" else self._seal.digest(secret)
        row = self._database.row("SELECT * FROM credentials WHERE kind = ? AND digest = ?", kind, digest)
        return self._alive(row)

    def signer(self, id: str) -> tuple[Client, Credential, bytes] | None:
        """The client and secret of a live signature key."""
        row = self._database.row("SELECT * FROM credentials WHERE kind = 'signature' AND id = ?", id)
        found = self._alive(row)
        if found is None or row is None:
            return None
        sealed = [row[name] for name in ("algorithm", "key", "nonce", "ciphertext", "tag")]
        return (*found, self._seal.opened(sealed, "credentials", id))

    def _alive(self, row: sqlite3.Row | None) -> tuple[Client, Credential] | None:
        if row is None:
            return None
        credential, client, now = _credential(row), self.get(row["client"]), self._database.seconds()
        return (client, credential) if client and client.alive(now) and credential.alive(now) else None

    def credentials(self, client: str = "") -> Sequence[Credential]:
        """All keys, or those of one client, oldest first."""
        rows = self._database.rows(
            "SELECT * FROM credentials WHERE client = ? OR ? = '' ORDER BY created, id", client, client
        )
        return [_credential(row) for row in rows]

    def was_used(self, client: str, credential: str = "") -> None:
        """Note that the client called now; where the disk is full or busy the note is lost, not the call."""
        now = self._database.seconds()
        with suppress(sqlite3.OperationalError), self._database.noting() as done:
            done.execute("UPDATE clients SET used = ? WHERE id = ?", (now, client))
            if credential:
                done.execute("UPDATE credentials SET used = ? WHERE id = ?", (now, credential))


_OPEN: tuple[object, ...] = ("", "", b"", b"", b"")


def _stored(client: Client) -> dict[str, Any]:
    told = asdict(client)
    for name in ("roles", "scopes", "purposes", "grants", "redirects", "jwks", "attributes"):
        told[name] = json.dumps(told[name], ensure_ascii=False)
    return told


def _client(row: sqlite3.Row) -> Client:
    told: dict[str, Any] = dict(row)
    for name in ("roles", "scopes", "purposes", "grants", "redirects", "jwks"):
        told[name] = tuple(json.loads(told[name]))
    told["attributes"] = json.loads(told["attributes"])
    for name in ("sandbox", "public", "disabled"):
        told[name] = bool(told[name])
    return Client(**told)


def _credential(row: sqlite3.Row) -> Credential:
    names = ("id", "client", "kind", "created", "expires", "revoked", "used")
    return Credential(**{name: row[name] for name in names})
