"""What must be remembered of tokens: codes and refresh tokens that are good once, revocations, nonces already seen."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from tongqu.store.identity.database import Database
from tongqu.store.identity.seal import Seal


class Tokens:
    """The memory of `/oauth`. Codes and refresh tokens are kept as keyed digests."""

    def __init__(self, database: Database, seal: Seal):
        self._database = database
        self._seal = seal

    def add_code(self, document: Mapping[str, Any], seconds: float) -> str:
        """A new authorization code for what `document` says."""
        code, now = secrets.token_urlsafe(32), self._database.seconds()
        with self._database.writing(rights=False) as done:
            done.execute("DELETE FROM codes WHERE expires < ?", (now - 3600,))
            done.execute(
                "INSERT INTO codes (digest, document, expires) VALUES (?, ?, ?)",
                (self._seal.digest(code), json.dumps(document), now + seconds),
            )
        return code

    def spend_code(self, code: str) -> dict[str, Any] | None:
        """What a code stands for, once; `family` in it is the one that its tokens belong to.

        A code that is shown again takes back every token that came of it (RFC 6749 §4.1.2).
        """
        digest, now = self._seal.digest(code), self._database.seconds()
        family = secrets.token_hex(8)
        with self._database.writing() as done:
            row = done.execute("SELECT * FROM codes WHERE digest = ?", (digest,)).fetchone()
            if row is None:
                return None
            if row["family"]:
                done.execute("UPDATE families SET revoked = ? WHERE id = ?", (now, row["family"]))
                return None
            done.execute("UPDATE codes SET family = ? WHERE digest = ?", (family, digest))
            if row["expires"] < now:
                return None
        return {**json.loads(row["document"]), "family": family}

    def begin_family(self, family: str, client: str, user: str, seconds: float) -> None:
        """A line of tokens that ends as a whole."""
        now = self._database.seconds()
        with self._database.writing(rights=False) as done:
            done.execute("DELETE FROM families WHERE expires < ?", (now,))
            done.execute("INSERT INTO families VALUES (?, ?, ?, ?, NULL)", (family, client, user, now + seconds))

    def family_alive(self, family: str) -> bool:
        """Whether the line of tokens has neither ended nor been taken back."""
        row = self._database.row("SELECT revoked, expires FROM families WHERE id = ?", family)
        return row is not None and row["revoked"] is None and row["expires"] > self._database.seconds()

    def end_family(self, family: str) -> None:
        """Take back a line of tokens, the access tokens too."""
        with self._database.writing() as done:
            done.execute("UPDATE families SET revoked = ? WHERE id = ?", (self._database.seconds(), family))

    def add_refresh(self, family: str, document: Mapping[str, Any], seconds: float) -> str:
        """A refresh token; it never outlives its family."""
        token = f"tqr_{secrets.token_urlsafe(32)}"
        expires = self._database.seconds() + seconds
        with self._database.writing(rights=False) as done:
            done.execute(
                "INSERT INTO refresh VALUES (?, ?, ?, ?, NULL)",
                (self._seal.digest(token), family, json.dumps(document), expires),
            )
        return token

    def look_at_refresh(self, token: str) -> dict[str, Any] | None:
        """What a live refresh token stands for, without using it; `expires` and `family` are in it."""
        row = self._database.row("SELECT * FROM refresh WHERE digest = ?", self._seal.digest(token))
        if row is None or row["used"] is not None or row["expires"] < self._database.seconds():
            return None
        if not self.family_alive(row["family"]):
            return None
        return {**json.loads(row["document"]), "family": row["family"], "expires": row["expires"]}

    def family_of(self, token: str) -> tuple[str, str] | None:
        """Family and client of a refresh token, whatever its state."""
        row = self._database.row(
            "SELECT f.id, f.client FROM refresh r JOIN families f ON f.id = r.family WHERE r.digest = ?",
            self._seal.digest(token),
        )
        return (str(row["id"]), str(row["client"])) if row else None

    def spend_refresh(self, token: str, client: str) -> dict[str, Any] | None:
        """What a refresh token of the client stands for, once. One that was used before takes its family back: one of
        its two holders stole it (RFC 9700 §4.14). Another client's token is left as it is."""
        digest, now = self._seal.digest(token), self._database.seconds()
        with self._database.writing() as done:
            row = done.execute(
                "SELECT r.*, f.revoked, f.expires AS ends, f.client FROM refresh r JOIN families f ON f.id = r.family"
                " WHERE r.digest = ?",
                (digest,),
            ).fetchone()
            if row is None or row["client"] != client:
                return None
            if row["used"] is not None:
                done.execute("UPDATE families SET revoked = coalesce(revoked, ?) WHERE id = ?", (now, row["family"]))
                return None
            if row["revoked"] is not None or min(row["expires"], row["ends"]) < now:
                return None
            done.execute("UPDATE refresh SET used = ? WHERE digest = ?", (now, digest))
        return {**json.loads(row["document"]), "family": row["family"], "ends": row["ends"]}

    def revoke(self, jti: str, expires: float) -> None:
        """Make one access token void."""
        now = self._database.seconds()
        with self._database.writing() as done:
            done.execute("DELETE FROM revoked WHERE expires < ?", (now - 3600,))
            done.execute("INSERT OR IGNORE INTO revoked VALUES (?, ?)", (jti, expires))

    def revoked(self, jti: str) -> bool:
        """Whether an access token was made void."""
        return self._database.row("SELECT 1 FROM revoked WHERE jti = ?", jti) is not None

    def first_sight(self, kind: str, what: str, expires: float) -> bool:
        """Whether nobody showed this nonce before, in any process of this home; it is remembered until `expires`."""
        now = self._database.seconds()
        with self._database.noting() as done:
            done.execute("DELETE FROM seen WHERE expires < ?", (now,))
            found = done.execute(
                "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (kind, self._seal.digest(what), expires)
            )
            return found.rowcount > 0
