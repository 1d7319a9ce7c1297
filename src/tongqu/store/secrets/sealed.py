"""The sealed secrets of one home: set, read, listed and removed by name."""

from __future__ import annotations

import secrets as random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from threading import RLock
from typing import Any

from tongqu.core.errors import CheckpointError, SecretError
from tongqu.store.home import Home
from tongqu.store.migrations import SECRETS
from tongqu.store.runs import instant, now
from tongqu.store.secrets.envelope import AES, Key, Sealed, opened, sealed
from tongqu.store.secrets.keys import Keyring, Keys
from tongqu.store.secrets.names import named
from tongqu.store.writing import durable, writing

LARGEST = 65536
"""Bytes of a value."""

_RECORD = "algorithm, key, nonce, ciphertext, tag"
_WRAPPED = "algorithm, wrapped_by, nonce, ciphertext, tag"
_TRIES = 4


@dataclass(frozen=True)
class Held:
    """What may be told about a secret."""

    name: str
    version: int
    """How often it was set."""
    created: str
    changed: str
    algorithm: str
    key: str
    """The data key it is under."""

    def to_json(self) -> dict[str, Any]:
        """As documents show it."""
        return asdict(self)


def look_up(home: Home, keys: Keys, name: str) -> str | None:
    """The value of a sealed secret; None if there is none of that name, or no store. Raises SecretError."""
    try:
        store = Secrets.existing(home, keys)
        if store is None:
            return None
        try:
            return store.get(name)
        finally:
            store.close()
    except (sqlite3.Error, OSError, CheckpointError) as error:
        raise SecretError(f"the store of secrets {home.secret_store} cannot be read: {error}") from error


class Secrets:
    """Secrets in one SQLite file (mode 0600), each sealed under a data key, which is sealed under the key of `keys`.

    Safe for several threads and processes. Reading goes on while keys are changed: a reader that meets a key it does
    not have looks at the keys again. Raises SecretError, sqlite3.Error and OSError.
    """

    def __init__(self, home: Home, keys: Keys, *, clock: Callable[[], datetime] = now):
        self._clock = clock
        self._ring: Keyring | None = None
        self._lock = RLock()
        self.home = home
        self.keys = keys
        self.database = durable(home.secret_store, SECRETS, "foreign_keys = ON", "secure_delete = ON", seconds=10.0)

    @classmethod
    def made(cls, home: Home, keys: Keys, algorithm: str = AES, *, clock: Callable[[], datetime] = now) -> Secrets:
        """The store of a home, with a key file and a data key if they are not there yet.

        Keys from outside bring their own algorithm. Raises SecretError if there are secrets and their key is gone.
        """
        home.ensure()
        with keys.alone():
            store = cls(home, keys, clock=clock)
            try:
                if not keys.there():
                    if store.data_keys():
                        raise SecretError(
                            f"there are secrets, and the key file {home.secret_key} is gone",
                            hint=f"put its copy back; without it they are lost, and {home.secret_store} can be removed",
                        )
                    keys.write([Key.fresh(algorithm)])
                ring = keys.load()
                if not store.data_keys():
                    with store.writing():
                        store.add_key(ring.current)
            except BaseException:
                store.close()
                raise
        return store

    @classmethod
    def existing(cls, home: Home, keys: Keys) -> Secrets | None:
        """The store of a home, or None if it was never made, or not to its end; looking creates nothing."""
        if not home.secret_store.exists():
            return None
        store = cls(home, keys)
        if store.data_keys():
            return store
        store.close()
        return None

    def get(self, name: str) -> str | None:
        """The value of a secret, or None if there is none of that name."""
        for left in reversed(range(_TRIES)):
            with self._lock:
                row = self.database.execute(
                    "SELECT s.algorithm, s.key, s.nonce, s.ciphertext, s.tag, k.purpose, k.algorithm, k.wrapped_by,"
                    " k.nonce, k.ciphertext, k.tag FROM secrets s JOIN keys k ON k.id = s.key WHERE s.name = ?",
                    (name,),
                ).fetchone()
                if row is None:
                    return None
                wrapping = self._key(str(row[7]), fresh=left < _TRIES - 1)
            if wrapping is not None or not left:
                record = Sealed.of(row[:5])
                data_key = self._unwrapped(wrapping, record.key, str(row[5]), Sealed.of(row[6:]))
                return opened(data_key, record, _place(name)).decode()
        raise AssertionError("the last try returns or raises")

    def set(self, name: str, value: str) -> Held:
        """Seal a value under the current data key; it replaces the one before. Raises SecretError."""
        named(name)
        raw = value.encode()
        if not raw or len(raw) > LARGEST:
            raise SecretError(f"a secret has 1 to {LARGEST} bytes (got {len(raw)})", path=name)
        with self.writing():
            record = sealed(self.data_key(), raw, _place(name))
            at = instant(self._clock())
            self.database.execute(
                f"INSERT INTO secrets (name, version, created, changed, {_RECORD}) VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET version = version + 1, changed = excluded.changed,"
                " algorithm = excluded.algorithm, key = excluded.key, nonce = excluded.nonce,"
                " ciphertext = excluded.ciphertext, tag = excluded.tag",
                (name, at, at, *record.columns),
            )
            [held] = [one for one in self.list() if one.name == name]
        return held

    def remove(self, name: str) -> bool:
        """Forget a secret; whether there was one. Its bytes are overwritten in the file."""
        with self.writing():
            gone = self.database.execute("DELETE FROM secrets WHERE name = ?", (name,)).rowcount > 0
        self.flushed()
        return gone

    def list(self) -> Sequence[Held]:
        """What is held, by name; no values."""
        with self._lock:
            rows = self.database.execute(
                "SELECT name, version, created, changed, algorithm, key FROM secrets ORDER BY name"
            ).fetchall()
        return [Held(*row) for row in rows]

    # ---- data keys

    def data_keys(self) -> Sequence[tuple[str, bool, str, int]]:
        """Each data key: its id, whether it is the current one, the key it is under, and how many secrets it seals."""
        with self._lock:
            rows = self.database.execute(
                "SELECT k.id, k.current, k.wrapped_by, (SELECT count(*) FROM secrets s WHERE s.key = k.id)"
                " FROM keys k ORDER BY k.created, k.id"
            ).fetchall()
        return [(str(id), bool(current), str(wrapped_by), int(count)) for id, current, wrapped_by, count in rows]

    def data_key(self, id: str = "") -> Key:
        """The current data key, or the one of that id; raises SecretError."""
        with self._lock:
            where, values = ("id = ?", (id,)) if id else ("current = 1", ())
            row = self.database.execute(f"SELECT id, purpose, {_WRAPPED} FROM keys WHERE {where}", values).fetchone()
            if row is None:
                raise SecretError("the store of secrets has no data key", hint="tongqu secret init")
            record = Sealed.of(row[2:])
            wrapping = self._key(record.key) or self._key(record.key, fresh=True)
            return self._unwrapped(wrapping, str(row[0]), str(row[1]), record)

    def add_key(self, wrapping: Key) -> str:
        """A fresh data key for the algorithm of the key that seals it; new values go under it. Inside `writing`."""
        key = Key.fresh(wrapping.algorithm, f"d-{random.token_hex(6)}")
        record = sealed(wrapping, key.raw, _key_place(key.id, key.algorithm))
        self.database.execute("UPDATE keys SET current = 0 WHERE current = 1")
        self.database.execute(
            f"INSERT INTO keys (id, purpose, current, created, {_WRAPPED}) VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?)",
            (key.id, key.algorithm, instant(self._clock()), *record.columns),
        )
        return key.id

    def rewrap(self, id: str, wrapping: Key) -> None:
        """Seal a data key under another key. Inside `writing`."""
        key = self.data_key(id)
        record = sealed(wrapping, key.raw, _key_place(key.id, key.algorithm))
        self.database.execute(
            "UPDATE keys SET algorithm = ?, wrapped_by = ?, nonce = ?, ciphertext = ?, tag = ? WHERE id = ?",
            (*record.columns, id),
        )

    def reseal(self, most: int) -> int:
        """Put up to so many secrets that are under an older data key under the current one; how many it were."""
        with self.writing():
            current = self.data_key()
            rows = self.database.execute(
                f"SELECT name, {_RECORD} FROM secrets WHERE key <> ? ORDER BY name LIMIT ?", (current.id, most)
            ).fetchall()
            older: dict[str, Key] = {}
            for name, *columns in rows:
                record = Sealed.of(columns)
                older[record.key] = older.get(record.key) or self.data_key(record.key)
                value = opened(older[record.key], record, _place(name))
                self.database.execute(
                    "UPDATE secrets SET algorithm = ?, key = ?, nonce = ?, ciphertext = ?, tag = ? WHERE name = ?",
                    (*sealed(current, value, _place(name)).columns, name),
                )
        return len(rows)

    def retire(self) -> Sequence[str]:
        """Forget the older data keys that seal nothing any more; their ids."""
        with self.writing():
            gone = [id for id, current, _, count in self.data_keys() if not current and not count]
            self.database.executemany("DELETE FROM keys WHERE id = ?", [(id,) for id in gone])
        self.flushed()
        return gone

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction that alone writes."""
        with writing(self.database, self._lock):
            yield

    def flushed(self) -> None:
        """Move what is in the log file into the database, so that nothing that was deleted is left in it."""
        with self._lock:
            self.database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self.database.close()

    def _key(self, id: str, *, fresh: bool = False) -> Key | None:
        if self._ring is None or fresh:
            self._ring = self.keys.load()
        return self._ring.get(id)

    def _unwrapped(self, wrapping: Key | None, id: str, purpose: str, record: Sealed) -> Key:
        if wrapping is None:
            ring = self.keys.load()
            raise SecretError(
                f"the secrets are sealed under the key {record.key}, which is not in {ring.origin}",
                hint=f"give that key; there are: {', '.join(key.id for key in ring.keys)}",
            )
        return Key(id, purpose, opened(wrapping, record, _key_place(id, purpose)))


def _place(name: str) -> tuple[str, ...]:
    return ("secrets", name, "value")


def _key_place(id: str, algorithm: str) -> tuple[str, ...]:
    return ("keys", id, "key", algorithm)
