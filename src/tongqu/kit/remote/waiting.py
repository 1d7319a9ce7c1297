"""The rows that wait in the journal until all of their stream have come, as Arrow streams."""

from __future__ import annotations

from tongqu.kit.sqlite import SqliteDb

WAITING = "_tongqu_waiting"


class Waiting:
    """Reads and writes the table over one connection; never commits."""

    def __init__(self, db: SqliteDb):
        self._db = db

    def create(self) -> None:
        """Create the table if it is missing."""
        self._db.run(
            f"CREATE TABLE IF NOT EXISTS {WAITING} (number INTEGER PRIMARY KEY AUTOINCREMENT, sync TEXT NOT NULL, "
            "stream TEXT NOT NULL, split TEXT NOT NULL, rows BLOB NOT NULL)"
        )

    def put(self, sync: str, stream: str, split: str, rows: bytes) -> None:
        """Keep some rows."""
        self._db.run(
            f"INSERT INTO {WAITING} (sync, stream, split, rows) VALUES (?, ?, ?, ?)", (sync, stream, split, rows)
        )

    def blocks(self, sync: str, stream: str) -> list[bytes]:
        """What waits, in the order of the splits and within each as it came."""
        found = self._db.rows(
            f"SELECT rows FROM {WAITING} WHERE sync = ? AND stream = ? ORDER BY length(split), split, number",
            (sync, stream),
        )
        return [bytes(rows) for (rows,) in found]

    def drop(self, sync: str, stream: str) -> None:
        """Forget what waits."""
        self._db.run(f"DELETE FROM {WAITING} WHERE sync = ? AND stream = ?", (sync, stream))
