"""Keeps the changes of transactions that have not ended, in memory and beyond a limit on disk."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tongqu.connectors.oracle.log.statements import DELETE, INSERT, UPDATE

MOST = 64 * 1024 * 1024
"""Bytes that are kept in memory, about."""
_ROW = 200
_UNDOES = {DELETE: INSERT, INSERT: DELETE, UPDATE: UPDATE}
NO_SEQUENCE = "ffffffff"
"""The end of an XID of which LogMiner knows only undo segment and slot: it was begun before the window."""
BAD = -1


class Row(NamedTuple):
    """A change of the table of that number: its code (BAD: it cannot be told, and `sql` says why), row and SQL."""

    table: int
    code: int
    row: str
    sql: str


@dataclass
class _Open:
    number: int
    scn: int
    rows: list[Row] = field(default_factory=list)
    size: int = 0
    spilled: bool = False
    torn: dict[int, str] = field(default_factory=dict)
    bad: int = 0


class Held:
    """The open transactions by their XIDs (16 hex digits). A partial rollback (ROLLBACK = 1) undoes the last change of
    the same row of the same table that is still there, as undo is applied from the last change backwards."""

    def __init__(self, folder: Path | None, most: int = MOST):
        self._folder, self._most = folder, most
        self._open: dict[str, _Open] = {}
        self._size, self._made, self._written = 0, 0, 0
        self._disk: sqlite3.Connection | None = None

    def __contains__(self, xid: str) -> bool:
        return xid in self._open

    def known(self, xid: str) -> str:
        """The XID of an open transaction that is meant by one whose sequence the redo does not tell: there is one
        transaction in a slot of an undo segment at a time. Otherwise as it is."""
        if xid[8:] != NO_SEQUENCE:
            return xid
        return next((one for one in reversed(self._open) if one[:8] == xid[:8]), xid)

    def add(self, xid: str, scn: int, row: Row) -> None:
        """A change, the first one of its transaction at `scn`."""
        if xid not in self._open:
            self._made += 1
            self._open[xid] = _Open(self._made, scn)
        one = self._open[xid]
        one.rows.append(row)
        one.bad += row.code == BAD
        one.size += len(row.sql) + _ROW
        self._size += len(row.sql) + _ROW
        if self._size > self._most:
            self._spill(max(self._open.values(), key=lambda each: each.size))

    def undo(self, xid: str, scn: int, row: Row) -> None:
        """A change that takes an earlier one back. One that is not there makes the transaction impossible to tell."""
        one = self._open.get(xid)
        at = None if one is None else self._last(one, row)
        if one is None or at is None:
            self.add(xid, scn, Row(row.table, BAD, row.row, "what a rollback to a savepoint takes back is not known"))
            return
        found, place, on_disk = at
        if found.code not in (BAD, _UNDOES.get(row.code)):
            one.torn[row.table] = "a rollback to a savepoint takes back another change than the last one of its row"
        one.bad -= found.code == BAD
        if on_disk:
            self._file().execute("DELETE FROM held WHERE tx = ? AND n = ?", (one.number, place))
        else:
            del one.rows[place]
            one.size -= len(found.sql) + _ROW
            self._size -= len(found.sql) + _ROW

    def _last(self, one: _Open, row: Row) -> tuple[Row, int, bool] | None:
        for at in range(len(one.rows) - 1, -1, -1):
            if (one.rows[at].table, one.rows[at].row) == (row.table, row.row):
                return one.rows[at], at, False
        if one.spilled:
            asked = "SELECT tab, code, place, sql, n FROM held WHERE tx = ? AND tab = ? AND place = ? ORDER BY n DESC"
            found = self._file().execute(f"{asked} LIMIT 1", (one.number, row.table, row.row)).fetchone()
            if found:
                return Row(*found[:4]), found[4], True
        return None

    def oldest(self) -> int | None:
        """Where the oldest transaction that is held begins."""
        return min((one.scn for one in self._open.values()), default=None)

    def troubles(self, xid: str) -> dict[int, str]:
        """The tables whose changes in a transaction cannot be told, and why."""
        one = self._open[xid]
        found = {} if not one.bad else {row.table: row.sql for row in self.rows(xid) if row.code == BAD}
        return {**found, **one.torn}

    def rows(self, xid: str) -> Iterator[Row]:
        """The changes of a transaction in order."""
        one = self._open[xid]
        if one.spilled:
            asked = "SELECT tab, code, place, sql FROM held WHERE tx = ? ORDER BY n"
            for found in self._file().execute(asked, (one.number,)):
                yield Row(*found)
        yield from one.rows

    def drop(self, xid: str) -> None:
        """A transaction has ended."""
        one = self._open.pop(xid, None)
        if one is not None:
            self._size -= one.size
            if one.spilled:
                self._file().execute("DELETE FROM held WHERE tx = ?", (one.number,))

    def _spill(self, one: _Open) -> None:
        self._file().executemany(
            "INSERT INTO held VALUES (?, ?, ?, ?, ?, ?)",
            [(one.number, n, *row) for n, row in enumerate(one.rows, self._written)],
        )
        self._written += len(one.rows)
        self._size -= one.size
        one.rows, one.size, one.spilled = [], 0, True

    def _file(self) -> sqlite3.Connection:
        """A file without a name, which ends with this process: all of it can be read again from the redo."""
        if self._disk is None:
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(".spill", "oracle-", self._folder)
            os.close(handle)
            made = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
            for said in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "cache_size = -16384"):
                made.execute(f"PRAGMA {said}").fetchall()
            columns = "tx INTEGER, n INTEGER, tab INTEGER, code INTEGER, place TEXT, sql TEXT, PRIMARY KEY (tx, n)"
            made.execute(f"CREATE TABLE held ({columns}) WITHOUT ROWID")
            with suppress(OSError):  # some systems do not let go of the name of an open file
                Path(name).unlink()
            self._disk = made
        return self._disk

    def close(self) -> None:
        """Forget everything."""
        self._open, self._size = {}, 0
        if self._disk is not None:
            self._disk.close()
            self._disk = None
