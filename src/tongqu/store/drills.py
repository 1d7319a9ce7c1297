"""Remembers what security drills found, so that the next one can show the trend."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tongqu.store.home import Home
from tongqu.store.migrations import DRILLS
from tongqu.store.writing import durable

KEEP = 400
"""Drills of one gateway that are kept."""


class Drills:
    """The drills of one home, in one SQLite file. Raises sqlite3.Error or OSError where it cannot be used."""

    def __init__(self, path: Path):
        self._database = durable(path, DRILLS)

    @classmethod
    def open(cls, home: Home) -> Drills:
        """The drills of a home, which is made if it is not there."""
        home.ensure()
        return cls(home.drills)

    def add(self, target: str, at: str, document: Mapping[str, Any]) -> None:
        """Keep a drill's document."""
        self._database.execute(
            "INSERT INTO drills (target, at, document) VALUES (?, ?, ?)",
            (target, at, json.dumps(document, ensure_ascii=False)),
        )
        self._database.execute(
            "DELETE FROM drills WHERE target = ? AND id NOT IN (SELECT id FROM drills WHERE target = ? "
            "ORDER BY id DESC LIMIT ?)",
            (target, target, KEEP),
        )

    def last(self, target: str, many: int) -> list[dict[str, Any]]:
        """The newest documents of a target, oldest first."""
        found = self._database.execute(
            "SELECT document FROM drills WHERE target = ? ORDER BY id DESC LIMIT ?", (target, many)
        ).fetchall()
        return [json.loads(text) for (text,) in reversed(found)]

    def close(self) -> None:
        """Close the file; may be called twice."""
        with suppress(sqlite3.ProgrammingError):
            self._database.close()
