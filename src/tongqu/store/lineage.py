"""Keeps the flows of executed pipelines: one row for each way columns went, however often it ran."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

_COLUMNS = (
    "id", "name", "kind", "mode", "write", "sources", "sink", "columns", "steps", "key", "copies", "links", "run",
    "project", "version", "hash", "first_at", "last_at",
)  # fmt: skip
_JSON = ("sources", "sink", "columns", "steps", "key", "copies", "links")


def note(database: sqlite3.Connection, id: str, flow: Mapping[str, Any], at: str) -> None:
    """Keep a flow; one that is known only gets its newest run, version and time."""
    values = {**flow, "id": id, "first_at": at, "last_at": at}
    told = [json.dumps(values[n], ensure_ascii=False) if n in _JSON else values[n] for n in _COLUMNS]
    marks = ", ".join("?" * len(_COLUMNS))
    database.execute(
        f"INSERT INTO flows ({', '.join(_COLUMNS)}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE"
        " SET run = excluded.run, version = excluded.version, hash = excluded.hash, last_at = excluded.last_at",
        told,
    )
    database.execute("INSERT OR REPLACE INTO flow_runs VALUES (?, ?, ?, ?)", (id, flow["run"], flow["version"], at))


def read(database: sqlite3.Connection) -> list[dict[str, Any]]:
    """All flows as they were noted, oldest first."""
    rows: Sequence[Sequence[Any]] = database.execute(
        f"SELECT {', '.join(_COLUMNS)} FROM flows ORDER BY first_at, rowid"
    ).fetchall()
    found = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
    return [{**flow, **{name: json.loads(flow[name]) for name in _JSON}} for flow in found]


def runs(database: sqlite3.Connection, id: str) -> list[dict[str, Any]]:
    """The runs of a flow, newest first."""
    rows = database.execute("SELECT run, version, at FROM flow_runs WHERE id = ? ORDER BY at DESC", (id,))
    return [{"run": run, "version": version, "at": at} for run, version, at in rows]
