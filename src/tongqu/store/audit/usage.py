"""Who used which field of which API, when last and how often: what a change of an API would break."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from threading import Lock

from tongqu.store.home import Home
from tongqu.store.migrations import API_USAGE
from tongqu.store.writing import opened, writing

KEEP_DAYS = 400
Use = tuple[str, str, str, str]
"""API, version, client, field; the field is empty for the call itself."""


@dataclass(frozen=True)
class Used:
    """When last (RFC 3339) and in how many calls."""

    last: str
    count: int


class Usage:
    """One home's sums by day, in one SQLite file; safe for several threads and processes. Raises sqlite3.Error."""

    def __init__(self, path: Path):
        self._lock = Lock()
        self._database = opened(path, API_USAGE)

    @classmethod
    def open(cls, home: Home) -> Usage:
        """The sums of a home, which is made if it is not there."""
        home.ensure()
        return cls(home.api_usage)

    def add(self, uses: Mapping[Use, Used]) -> None:
        """Add what was used since; days older than KEEP_DAYS go."""
        rows = [(*use, used.last[:10], used.count, used.last) for use, used in uses.items()]
        if not rows:
            return
        oldest = (date.fromisoformat(max(row[4] for row in rows)) - timedelta(days=KEEP_DAYS)).isoformat()
        with writing(self._database, self._lock) as done:
            done.executemany(
                "INSERT INTO uses VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " count = count + excluded.count, last = max(last, excluded.last)",
                rows,
            )
            done.execute("DELETE FROM uses WHERE day < ?", (oldest,))

    def usage(self, api: str, version: str, since: str = "") -> dict[tuple[str, str], Used]:
        """Of one version of an API: by client and field when last and in how many calls, since a day."""
        with self._lock:
            rows = self._database.execute(
                "SELECT client, field, max(last), sum(count) FROM uses WHERE api = ? AND version = ? AND day >= ?"
                " GROUP BY client, field ORDER BY client, field",
                (api, version, since),
            ).fetchall()
        return {(client, field): Used(last, count) for client, field, last, count in rows}

    def last_calls(self) -> dict[tuple[str, str, str], Used]:
        """By API, version and client when it was last called and how often: the inventory of consumers."""
        with self._lock:
            rows = self._database.execute(
                "SELECT api, version, client, max(last), sum(count) FROM uses WHERE field = ''"
                " GROUP BY api, version, client ORDER BY api, version, client"
            ).fetchall()
        return {(api, version, client): Used(last, count) for api, version, client, last, count in rows}

    def close(self) -> None:
        """Close the file; may be called twice."""
        with self._lock:
            self._database.close()


def usage(home: Home, api: str, version: str) -> dict[tuple[str, str], Used]:
    """`Usage.usage` of a home; looking creates nothing."""
    if not home.api_usage.exists():
        return {}
    store = Usage(home.api_usage)
    try:
        return store.usage(api, version)
    finally:
        store.close()
