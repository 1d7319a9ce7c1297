"""Remembers profiles of datasets, so that a later one can be compared with them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import Any

from tongqu.core.errors import NotFoundError
from tongqu.store.home import Home
from tongqu.store.migrations import PROFILES
from tongqu.store.writing import durable

KEEP = 200
"""Profiles kept of one dataset; older ones are dropped."""


class Profiles:
    """The profiles of one home, in one SQLite file; safe for several threads and processes.

    What is kept should hold no values of personal columns; the caller masks them. Raises sqlite3.Error or OSError
    where the file cannot be used.
    """

    def __init__(self, path: Path):
        self._lock = RLock()
        self._database = durable(path, PROFILES)

    @classmethod
    def open(cls, home: Home) -> Profiles:
        """The profiles of a home, which is made if it is not there."""
        home.ensure()
        return cls(home.profiles)

    def add(self, id: str, at: str, place: str, document: Mapping[str, Any]) -> None:
        """Keep a profile; `place` is the identity of the connection, without credentials."""
        text = json.dumps(document, ensure_ascii=False, default=str)
        with self._lock:
            self._database.execute(
                "INSERT INTO profiles VALUES (?, ?, ?, ?, ?, ?)",
                (id, at, place, document["dataset"], document["rows"], text),
            )
            self._database.execute(
                "DELETE FROM profiles WHERE place = ? AND dataset = ? AND id NOT IN (SELECT id FROM profiles "
                "WHERE place = ? AND dataset = ? ORDER BY at DESC, rowid DESC LIMIT ?)",
                (place, document["dataset"], place, document["dataset"], KEEP),
            )

    def find(self, which: str, place: str, dataset: str) -> dict[str, Any]:
        """A kept profile's document with its `id` and `at`: the newest of the dataset (`last`), or the one whose id is
        or begins with `which`. Raises NotFoundError."""
        with self._lock:
            if which == "last":
                found = self._database.execute(
                    "SELECT id, at, document FROM profiles WHERE place = ? AND dataset = ? "
                    "ORDER BY at DESC, rowid DESC LIMIT 1",
                    (place, dataset),
                ).fetchall()
            else:
                found = self._database.execute(
                    "SELECT id, at, document FROM profiles WHERE substr(id, 1, length(?)) = ? LIMIT 2", (which, which)
                ).fetchall()
        if len(found) != 1:
            what = "several profiles begin" if found else "there is no profile that begins"
            raise NotFoundError(
                f"{what} with {which!r}" if which != "last" else f"{dataset!r} was never profiled before",
                path="--compare", hint="the id stands in each profile's document", params={"run": which},
            )  # fmt: skip
        id, at, text = found[0]
        document: dict[str, Any] = json.loads(text)
        return {"id": id, "at": at, **document}

    def close(self) -> None:
        """Close the file; may be called twice."""
        with self._lock, suppress(sqlite3.ProgrammingError):
            self._database.close()
