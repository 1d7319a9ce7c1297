"""The keys that tokens are signed with: sealed, published before they sign, and kept until their last token ends."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tongqu.store.identity.database import Database
from tongqu.store.identity.seal import Seal

_SEALED = ("algorithm", "key", "nonce", "ciphertext", "tag")


@dataclass(frozen=True)
class SigningKey:
    """One key pair. It signs from `signs` until a newer one does, and is published until `ends`."""

    kid: str
    alg: str
    public: Mapping[str, Any]
    created: float
    signs: float
    ends: float | None
    private: str = field(repr=False, default="")
    """The private key as PEM."""


class SigningKeys:
    """The key pairs of one home; safe for several processes."""

    def __init__(self, database: Database, seal: Seal):
        self._database = database
        self._seal = seal

    def published(self) -> Sequence[SigningKey]:
        """The keys that tokens may be verified with now, the newest first."""
        now = self._database.seconds()
        rows = self._database.rows("SELECT * FROM signing WHERE ends IS NULL OR ends > ? ORDER BY signs DESC, kid", now)
        return [
            SigningKey(
                **{name: row[name] for name in ("kid", "alg", "created", "signs", "ends")},
                public=json.loads(row["public"]),
                private=self._seal.opened([row[name] for name in _SEALED], "signing", row["kid"]).decode(),
            )
            for row in rows
        ]

    def add(self, key: SigningKey, *, newest: str, overlap: float) -> bool:
        """Keep a key if the newest one is still `newest` (its kid; empty: there is none), and let all older ones end
        `overlap` seconds after this one begins to sign. False if another process was quicker."""
        columns = self._seal.sealed(key.private.encode(), "signing", key.kid).columns
        with self._database.writing() as done:
            row = done.execute("SELECT kid FROM signing ORDER BY signs DESC, created DESC LIMIT 1").fetchone()
            if (row["kid"] if row else "") != newest:
                return False
            done.execute("DELETE FROM signing WHERE ends < ?", (self._database.seconds() - 86_400,))
            done.execute(
                "UPDATE signing SET ends = min(coalesce(ends, ?), ?)", (key.signs + overlap, key.signs + overlap)
            )
            done.execute(
                "INSERT INTO signing VALUES (?, ?, ?, ?, ?, NULL, ?, ?, ?, ?, ?)",
                (key.kid, key.alg, json.dumps(dict(key.public)), key.created, key.signs, *columns),
            )
        return True

    def end(self, kid: str) -> None:
        """Stop trusting a key at once: every token it signed is void."""
        with self._database.writing() as done:
            done.execute("UPDATE signing SET ends = ? WHERE kid = ?", (self._database.seconds(), kid))
