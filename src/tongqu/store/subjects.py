"""Persons as keyed digests, and which of them were erased, so that nothing brings them back."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from tongqu.kit import lasting
from tongqu.store.home import Home
from tongqu.store.migrations import TOMBSTONES
from tongqu.store.writing import durable, writing

_SIZE = 12


class Digests:
    """Digests of persons under the home's own key: nobody without the key can try persons out, and equal persons have
    equal digests for as long as the home lives, however their names are spelled (`folded`)."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def open(cls, home: Home) -> Digests:
        """With the home's key, which is made with its first use (mode 0600)."""
        home.ensure()
        return cls(lasting.put_first(home.subject_key, secrets.token_bytes(32)))

    def of(self, identity: str, value: Any) -> str:
        """The digest of who has this value of an identity (`employee`): 24 hex digits."""
        told = f"{identity}\0{folded(text_of(value))}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, told, "sha256")[:_SIZE].hex()


def text_of(value: Any) -> str:
    """A value as digests see it: 7, `7` and 7.00 are the same."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, Decimal):
        plain = format(value, "f")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def folded(text: str) -> str:
    """What spellings of one person have in common: databases pad texts with spaces (CHAR), and let `E7` be `e7` where a
    collation says so. Nobody may stay because a table spells them otherwise."""
    return text.rstrip(" ").lower()


@dataclass(frozen=True)
class Tombstone:
    """A person who was erased. `at` is RFC 3339."""

    identity: str
    digest: str
    at: str
    who: str
    reason: str


@dataclass(frozen=True)
class Hold:
    """What must stay while a matter is open: a person's rows (`identity`, `digest`), or those of a `dataset`."""

    identity: str
    digest: str
    dataset: str
    at: str
    who: str
    reason: str


class Tombstones:
    """The erased persons and the legal holds of one home, in one SQLite file. Raises sqlite3.Error or OSError where
    it cannot be used."""

    def __init__(self, path: Path):
        self._database = durable(path, TOMBSTONES)

    @classmethod
    def open(cls, home: Home) -> Tombstones:
        """Those of a home, which is made if it is not there."""
        home.ensure()
        return cls(home.tombstones)

    def put(self, found: Sequence[Tombstone]) -> None:
        """Remember persons, all or none; who is remembered already stays as it was."""
        rows = [(one.identity, one.digest, one.at, one.who, one.reason) for one in found]
        with writing(self._database) as done:
            done.executemany("INSERT INTO tombstones VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows)

    def all(self) -> list[Tombstone]:
        """Everybody, oldest first."""
        rows = self._database.execute("SELECT identity, digest, at, who, reason FROM tombstones ORDER BY at, digest")
        return [Tombstone(*row) for row in rows]

    def hold(self, one: Hold) -> None:
        """Let it stay; a hold that exists is kept with its reason."""
        row = (one.identity, one.digest, one.dataset, one.at, one.who, one.reason)
        self._database.execute("INSERT INTO holds VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row)

    def release(self, identity: str, digest: str, dataset: str) -> bool:
        """End a hold; False if there is none."""
        where = "identity = ? AND digest = ? AND dataset = ?"
        return self._database.execute(f"DELETE FROM holds WHERE {where}", (identity, digest, dataset)).rowcount > 0

    def holds(self) -> list[Hold]:
        """All holds, oldest first."""
        rows = self._database.execute(
            "SELECT identity, digest, dataset, at, who, reason FROM holds ORDER BY at, digest"
        )
        return [Hold(*row) for row in rows]

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._database.close()


def held(home: Home) -> list[Hold]:
    """All holds of a home; looking creates nothing."""
    if not home.tombstones.exists():
        return []
    store = Tombstones(home.tombstones)
    try:
        return store.holds()
    finally:
        store.close()


def erased(home: Home) -> Mapping[str, frozenset[str]]:
    """The digests of all erased persons by identity; looking creates nothing."""
    if not home.tombstones.exists():
        return {}
    store = Tombstones(home.tombstones)
    try:
        found: dict[str, set[str]] = {}
        for one in store.all():
            found.setdefault(one.identity, set()).add(one.digest)
    finally:
        store.close()
    return {identity: frozenset(digests) for identity, digests in found.items()}
