"""Keeps answers of reading calls in the project's home, and asks the system whether they have changed (RFC 9111)."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Lock
from typing import Final

import pyarrow as pa

from tongqu.kit.http.call import Call, Repeat, Reply
from tongqu.kit.http.clock import Clock
from tongqu.kit.http.identity import whose
from tongqu.kit.http.request import READING, Request
from tongqu.kit.http.settings import MIB, HttpSettings

_CODEC: Final = "zstd"
_MOST = 256 * MIB
_SECONDS = re.compile(r"[0-9]{1,12}")
_SHARE = 4
"""An answer larger than this part of the capacity is not kept."""
_TABLE = """
CREATE TABLE IF NOT EXISTS kept (
  key BLOB PRIMARY KEY, place TEXT NOT NULL, url TEXT NOT NULL, headers TEXT NOT NULL, size INTEGER NOT NULL,
  content BLOB NOT NULL, stored REAL NOT NULL, used REAL NOT NULL
) WITHOUT ROWID
"""


@dataclass(frozen=True)
class Kept:
    """A kept answer, and whether it may be used without asking."""

    key: bytes
    url: str
    headers: Mapping[str, str]
    content: bytes
    fresh: bool

    @property
    def conditions(self) -> dict[str, str]:
        """The headers that ask whether it has changed; none if the system gave nothing to ask with."""
        if etag := self.headers.get("etag"):
            return {"If-None-Match": etag}
        if changed := self.headers.get("last-modified"):
            return {"If-Modified-Since": changed}
        return {}

    def reply(self, seconds: float) -> Reply:
        """It as the answer of a call that was not made."""
        return Reply(200, self.headers, self.content, self.url, seconds, attempts=0, cached=True)


class Cache:
    """Kept answers of one connection, apart by credentials; a file in `folder`, or memory without one. Thread-safe.

    Nothing is kept unless the call or the connection asks for it.
    """

    def __init__(self, settings: HttpSettings, folder: Path | None, clock: Clock):
        self._seconds = settings.cache.seconds if settings.cache else None
        self._capacity = settings.cache.bytes if settings.cache else _MOST
        self._path = folder / "answers.sqlite" if folder else None
        self._who = whose(settings)
        self._clock = clock
        self._lock = Lock()
        self._database: sqlite3.Connection | None = None

    def find(self, call: Call, request: Request) -> Kept | None:
        """The kept answer of a call: fresh, or one to ask about; None if there is none."""
        seconds = self._rule(call)
        if seconds is None:
            return None
        key = self._key(request)
        with self._lock:
            row = self._opened().execute(
                "SELECT url, headers, size, content, stored FROM kept WHERE key = ?", (key,)
            ).fetchone()  # fmt: skip
            if row is None:
                return None
            self._opened().execute("UPDATE kept SET used = ? WHERE key = ?", (self._clock.now(), key))
        url, text, size, content, stored = row
        headers: dict[str, str] = json.loads(text)
        age = self._clock.now() - stored
        fresh = 0 <= age < (seconds or _lifetime(headers, stored))
        kept = Kept(key, url, headers, _unpacked(content, size), fresh)
        return kept if fresh or kept.conditions else None

    def keep(self, call: Call, request: Request, reply: Reply) -> None:
        """Keep an answer if the call's rule and the system allow it; an answer of a changing call drops those that
        are kept of its address."""
        if request.method not in READING and call.repeat is not Repeat.SAFE:
            self._drop(request.place)
            return
        seconds = self._rule(call)
        if seconds is None or reply.status != 200 or len(reply.content) > self._capacity // _SHARE:
            return
        if not seconds and not _may_keep(reply.headers):
            return
        packed = pa.compress(reply.content, _CODEC, asbytes=True)
        now = self._clock.now()
        row = (
            self._key(request),
            request.place,
            reply.url,
            json.dumps(dict(reply.headers)),
            len(reply.content),
            packed,
        )
        with self._lock:
            database = self._opened()
            database.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*row, now, now))
            self._shrink(database)

    def confirmed(self, kept: Kept, reply: Reply) -> Reply:
        """The kept answer, which the system has just said is unchanged (304)."""
        headers = {**kept.headers, **{k: v for k, v in reply.headers.items() if not k.startswith("content-")}}
        with self._lock:
            self._opened().execute(
                "UPDATE kept SET headers = ?, stored = ? WHERE key = ?",
                (json.dumps(headers), self._clock.now(), kept.key),
            )
        return replace(reply, status=200, headers=headers, content=kept.content, cached=True)

    def close(self) -> None:
        """Close the file; may be called twice."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _rule(self, call: Call) -> float | None:
        """How old an answer may be; None if nothing is kept of this call."""
        if call.anonymous or (call.method.upper() not in READING and call.keep_seconds is None):
            return None
        if call.method.upper() not in READING and call.repeat is not Repeat.SAFE:
            return None
        return self._seconds if call.keep_seconds is None else call.keep_seconds

    def _key(self, request: Request) -> bytes:
        headers = sorted((k.lower(), v) for k, v in request.headers.items() if k.lower() != "user-agent")
        made = hashlib.sha256(self._who)
        made.update(json.dumps([request.method, request.url, headers]).encode())
        made.update(request.body)
        return made.digest()

    def _drop(self, place: str) -> None:
        with self._lock:
            if self._database is not None or (self._path is not None and self._path.exists()):
                self._opened().execute("DELETE FROM kept WHERE place = ?", (place,))

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            try:
                self._database = _connected(self._path)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:  # damaged; what it kept can be asked for again
                if self._path is None:
                    raise
                for part in ("", "-wal", "-shm"):
                    self._path.with_name(self._path.name + part).unlink(missing_ok=True)
                self._database = _connected(self._path)
        return self._database

    def _shrink(self, database: sqlite3.Connection) -> None:
        with closing(database.execute("SELECT coalesce(sum(length(content)), 0) FROM kept")) as found:
            over = int(found.fetchone()[0]) - self._capacity
        if over <= 0:
            return
        going: list[tuple[bytes]] = []
        for key, size in database.execute("SELECT key, length(content) FROM kept ORDER BY used"):
            going.append((key,))
            over -= size
            if over <= 0:
                break
        database.executemany("DELETE FROM kept WHERE key = ?", going)


def _connected(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    database = sqlite3.connect(path or ":memory:", timeout=30, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(_TABLE)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _directives(headers: Mapping[str, str]) -> dict[str, str]:
    found = re.findall(r"([\w-]+)\s*(?:=\s*\"?([^\",\s]*)\"?)?", headers.get("cache-control", "").lower())
    return dict(found)


def _may_keep(headers: Mapping[str, str]) -> bool:
    """Whether the system lets a private cache keep the answer, and it would be of use."""
    said = _directives(headers)
    if "no-store" in said or headers.get("vary", "").strip() == "*":
        return False
    return bool({"etag", "last-modified", "expires"} & set(headers)) or "max-age" in said


def _lifetime(headers: Mapping[str, str], stored: float) -> float:
    """Seconds for which the system vouches for the answer (RFC 9111 §4.2.1)."""
    said = _directives(headers)
    if "no-cache" in said:
        return 0.0
    if _SECONDS.fullmatch(said.get("max-age", "")):
        age = headers.get("age", "")
        return float(said["max-age"]) - (float(age) if _SECONDS.fullmatch(age) else 0.0)
    try:
        return parsedate_to_datetime(headers["expires"]).timestamp() - stored
    except (KeyError, ValueError, OverflowError):
        return 0.0


def _unpacked(content: bytes, size: int) -> bytes:
    return pa.decompress(content, size, _CODEC, asbytes=True)
