"""The table that keeps the answers of calls with an Idempotency-Key, in the same transaction as what the calls did.

A row is there exactly if its call was committed: no state in between is ever seen, and a call that failed left none, so
that trying again is right. Who works on a key holds a lock of the database on it (`lock_name`), not a row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from tongqu.core.errors import BusyError, SupersededError
from tongqu.core.server import Idempotency

TABLE = "_tongqu_idempotency"
VERSION = 1
PURGE_SECONDS = 60.0
"""Keys whose time is over are deleted at most so often."""


@dataclass(frozen=True)
class Stored:
    """A row of the table; times in seconds since 1970."""

    fingerprint: str
    answer: bytes
    expires_at: int


class Keys:
    """The statements over the table, with `?` for values. `place` is its quoted name with its schema; `types` are the
    system's for `id` (64 characters, compared exactly), `long` (64 bits) and `blob` (bytes without limit)."""

    def __init__(self, place: str, types: Mapping[str, str]):
        self.create = (
            f"CREATE TABLE IF NOT EXISTS {place} (id {types['id']} NOT NULL PRIMARY KEY, "
            f"fingerprint {types['id']} NOT NULL, answer {types['blob']} NOT NULL, made_at {types['long']} NOT NULL, "
            f"expires_at {types['long']} NOT NULL, version {types['long']} NOT NULL)"
        )
        self.find = f"SELECT fingerprint, answer, expires_at FROM {place} WHERE id = ?"
        """Values: `identity`. Gives what `Stored` consists of."""
        self.forget = f"DELETE FROM {place} WHERE id = ?"
        """Values: `identity`. Before `keep`, where `replay` found that the time of the old answer is over."""
        self.keep = (
            f"INSERT INTO {place} (id, fingerprint, answer, made_at, expires_at, version) VALUES (?, ?, ?, ?, ?, ?)"
        )
        """Values: `row`."""
        self.purge = f"DELETE FROM {place} WHERE expires_at <= ?"
        """Values: now. In a transaction of its own."""


def identity(idempotency: Idempotency) -> str:
    """The id of a key in its scope: a digest, so that neither is told to who reads the table."""
    told = f"{len(idempotency.scope)}:{idempotency.scope}{idempotency.key}"
    return hashlib.sha256(told.encode()).hexdigest()


def print_of(idempotency: Idempotency) -> str:
    """The request's fingerprint as it is stored."""
    return hashlib.sha256(idempotency.fingerprint.encode()).hexdigest()


def lock_number(idempotency: Idempotency) -> int:
    """The number of an advisory lock on a key, signed, of 64 bits."""
    return int.from_bytes(bytes.fromhex(identity(idempotency))[:8], signed=True)


def lock_name(idempotency: Idempotency) -> str:
    """The name of an advisory lock on a key, at most 64 characters."""
    return f"tongqu:{identity(idempotency)[:48]}"


def row(idempotency: Idempotency, answer: bytes, now: float) -> tuple[str, str, bytes, int, int, int]:
    """The values of `Keys.keep`."""
    made = int(now)
    return identity(idempotency), print_of(idempotency), answer, made, made + idempotency.keep_seconds, VERSION


def replay(idempotency: Idempotency, stored: Stored | None, now: float) -> bytes | None:
    """The answer to give again; None if the work is to be done. Raises SupersededError if the key was used for another
    request."""
    if stored is None or stored.expires_at <= int(now):
        return None
    if stored.fingerprint != print_of(idempotency):
        raise SupersededError(
            "the Idempotency-Key was used for another request", hint="use a new key for each different request"
        )
    return stored.answer


def busy() -> BusyError:
    """The error where another call with the key has not ended."""
    return BusyError(
        "a call with this Idempotency-Key is being worked on", hint="wait for its answer, then call again with the key"
    )
