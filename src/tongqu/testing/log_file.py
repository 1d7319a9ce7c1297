"""A database with a change log, for tests of what follows one: a SQLite file whose writers note each change beside it.

    log = LogFile(path)
    log.create("orders", "id INTEGER PRIMARY KEY, v TEXT")
    log.write(("c", "orders", {"id": 1, "v": "a"}), ("d", "orders", {"id": 2}))     # one transaction
    source = LogSource(path)            # `source.log(name, datasets)` follows it, in this process or in another one

Positions are the numbers of noted changes; like a server, the file remembers by name from where it keeps the log.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from tongqu.core import registry
from tongqu.core.connector import Source
from tongqu.core.data import Batch, Dataset, Position, Read, Split
from tongqu.core.errors import LostPositionError
from tongqu.core.log import AT, OP, UNCHANGED, Follow, Lag, Log

_LOG, _SLOT = "_tongqu_test_log", "_tongqu_test_slot"
Change = tuple[str, str, Mapping[str, Any]] | tuple[str, str, Mapping[str, Any], Sequence[str]]
"""`(op, table, row)` or, for an update that did not send some columns, `(op, table, row, names)`; op `t` empties."""
_AT_ONCE = 500


class LogFile:
    """Writes tables and their log."""

    def __init__(self, path: Path):
        self.path = path
        with self._open() as db:
            db.execute(f"CREATE TABLE IF NOT EXISTS {_LOG} (n INTEGER PRIMARY KEY, tx INTEGER, dataset TEXT, op TEXT,"
                       " at INTEGER, row TEXT, unchanged TEXT)")  # fmt: skip
            db.execute(f"CREATE TABLE IF NOT EXISTS {_SLOT} (name TEXT PRIMARY KEY, n INTEGER)")

    def _open(self) -> sqlite3.Connection:
        return _opened(self.path)

    def create(self, table: str, columns: str) -> None:
        """Make a table."""
        with closing(self._open()) as db, db:
            db.execute(f"CREATE TABLE {table} ({columns})")

    def write(self, *changes: Change) -> None:
        """Make changes in one transaction."""
        with closing(self._open()) as db, db:
            db.execute("BEGIN IMMEDIATE")
            (tx,) = db.execute(f"SELECT coalesce(max(tx), 0) + 1 FROM {_LOG}").fetchone()
            for change in changes:
                self._change(db, change)
                op, table, row, *left = change
                told = (tx, table, op, time.time_ns() // 1000, json.dumps(dict(row)), json.dumps([*left, []][0]))
                db.execute(f"INSERT INTO {_LOG} (tx, dataset, op, at, row, unchanged) VALUES (?, ?, ?, ?, ?, ?)", told)

    @staticmethod
    def _change(db: sqlite3.Connection, change: Change) -> None:
        op, table, row = change[:3]
        if op == "t":
            db.execute(f"DELETE FROM {table}")
        elif op == "d":
            where = " AND ".join(f"{name} = ?" for name in row)
            db.execute(f"DELETE FROM {table} WHERE {where}", list(row.values()))
        elif op == "c":
            holes = ", ".join("?" * len(row))
            db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({holes})", list(row.values()))
        elif op == "u":
            key = [r[1] for r in db.execute(f"PRAGMA table_info({table})") if r[5]]
            sets = [name for name in row if name not in key]
            where = " AND ".join(f"{name} = ?" for name in key)
            values = [row[name] for name in (*sets, *key)]
            db.execute(f"UPDATE {table} SET {', '.join(f'{n} = ?' for n in sets)} WHERE {where}", values)

    def alter(self, table: str, statement: str) -> None:
        """Change a table's columns, and note it."""
        with closing(self._open()) as db, db:
            db.execute("BEGIN IMMEDIATE")
            (tx,) = db.execute(f"SELECT coalesce(max(tx), 0) + 1 FROM {_LOG}").fetchone()
            db.execute(statement)
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            told = (tx, table, "schema", time.time_ns() // 1000, json.dumps(columns), "[]")
            db.execute(f"INSERT INTO {_LOG} (tx, dataset, op, at, row, unchanged) VALUES (?, ?, ?, ?, ?, ?)", told)

    def forget(self) -> None:
        """Throw the log away, as a server does whose disk is full."""
        with closing(self._open()) as db, db:
            db.execute(f"DELETE FROM {_SLOT}")

    def kept(self, name: str) -> int | None:
        """How far the log under this name was acknowledged."""
        with closing(self._open()) as db:
            found = db.execute(f"SELECT n FROM {_SLOT} WHERE name = ?", (name,)).fetchone()
            return found[0] if found else None

    def rows(self, table: str, order: str = "1") -> list[tuple[Any, ...]]:
        """What a table holds now."""
        with closing(self._open()) as db:
            return db.execute(f"SELECT * FROM {table} ORDER BY {order}").fetchall()


def _opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA synchronous = off")
    return db


class LogSource(Source):
    """Reads such a file. `faults` are errors that the next reads of the log raise, each after so many batches."""

    def __init__(self, path: Path, *, changes: bool = True, faults: Sequence[tuple[int, Exception]] = ()):
        self._path = path
        found = registry.connector("sqlite")
        assert found.source is not None
        self._inner = found.source(found.from_url(f"sqlite:{path}"))
        self._changes = changes
        self.faults = list(faults)

    def check(self) -> Iterator[str]:
        """See Source.check."""
        return self._inner.check()

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets."""
        return self._inner.datasets(patterns)

    def can_resume(self, dataset: Dataset) -> bool:
        """See Source.can_resume."""
        return self._inner.can_resume(dataset)

    def splits(self, dataset: Dataset, wanted: int) -> list[Split]:
        """See Source.splits."""
        return self._inner.splits(dataset, wanted)

    def read(self, read: Read) -> Iterator[Batch]:
        """See Source.read."""
        return self._inner.read(read)

    def log(self, name: str, datasets: Sequence[Dataset]) -> Log:
        """See Source.log."""
        return _FileLog(self, self._path, name, datasets, changes=self._changes)

    def close(self) -> None:
        """See Source.close."""
        self._inner.close()


class _FileLog(Log):
    def __init__(self, source: LogSource, path: Path, name: str, datasets: Sequence[Dataset], *, changes: bool):
        self._source, self._path, self._name = source, path, name
        self._schemas = {one.name: one.schema for one in datasets}
        self._known = {one.name: one.schema for one in datasets}
        self.changes = changes

    def begin(self) -> Position:
        """See Log.begin."""
        with closing(_opened(self._path)) as db:
            db.execute("BEGIN IMMEDIATE")
            found = db.execute(f"SELECT n FROM {_SLOT} WHERE name = ?", (self._name,)).fetchone()
            if found is None:
                found = (self._end(db) if self.changes else 0,)
                db.execute(f"INSERT INTO {_SLOT} VALUES (?, ?)", (self._name, found[0]))
            db.execute("COMMIT")
            return {"n": found[0]}

    @staticmethod
    def _end(db: sqlite3.Connection) -> int:
        return int(db.execute(f"SELECT coalesce(max(n), 0) FROM {_LOG}").fetchone()[0])

    def head(self) -> Position:
        """See Log.head."""
        with closing(_opened(self._path)) as db:
            return {"n": self._end(db)}

    def reached(self, position: Position, until: Position) -> bool:
        """See Log.reached."""
        return bool(position["n"] >= until["n"])

    def acknowledge(self, position: Position) -> None:
        """See Log.acknowledge."""
        with closing(_opened(self._path)) as db:
            db.execute(f"UPDATE {_SLOT} SET n = max(n, ?) WHERE name = ?", (position["n"], self._name))

    def lag(self, position: Position) -> Lag:
        """See Log.lag."""
        with closing(_opened(self._path)) as db:
            return Lag(rows=self._end(db) - int(position["n"]))

    def forget(self) -> None:
        """See Log.forget."""
        with closing(_opened(self._path)) as db:
            db.execute(f"DELETE FROM {_SLOT} WHERE name = ?", (self._name,))

    def read(self, follow: Follow) -> Iterator[Batch]:
        """See Log.read."""
        after = int(follow.after["n"])
        with closing(_opened(self._path)) as db:
            kept = db.execute(f"SELECT n FROM {_SLOT} WHERE name = ?", (self._name,)).fetchone()
            if kept is None or after < kept[0]:
                raise LostPositionError("the log was thrown away", hint="read all rows again: --restart")
            given = 0
            while not follow.stop.is_set():
                if follow.until is not None and after >= follow.until["n"]:
                    return
                query = f"SELECT n, tx, dataset, op, at, row, unchanged FROM {_LOG} WHERE n > ? ORDER BY n LIMIT ?"
                found = db.execute(query, (after, min(_AT_ONCE, follow.batch_rows))).fetchall()
                for batch, last in self._batches(db, found):
                    given += 1
                    if self._source.faults and given > self._source.faults[0][0]:
                        raise self._source.faults.pop(0)[1]
                    after = last
                    yield batch
                if not found:
                    yield self._beat(after)
                    follow.stop.wait(0.02)

    def _beat(self, after: int) -> Batch:
        name = next(iter(self._known))
        empty = pa.RecordBatch.from_pylist([], schema=self._known[name])
        return Batch(name, empty, {"n": after}, kind="heartbeat")

    def _batches(self, db: sqlite3.Connection, found: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Batch, int]]:
        runs = [list(run) for _, run in groupby(found, key=lambda row: (row[1], row[2], row[3] in ("t", "schema")))]
        for run in runs:
            number, tx, name, op = run[-1][:4]
            more = db.execute(f"SELECT 1 FROM {_LOG} WHERE n = ? AND tx = ?", (number + 1, tx)).fetchone()
            position = None if more else {"n": number}
            if name not in self._known:
                name_known = next(iter(self._known))
                empty = pa.RecordBatch.from_pylist([], schema=self._known[name_known])
                yield Batch(name_known, empty, position, kind="heartbeat"), number
            elif op == "t":
                empty = pa.RecordBatch.from_pylist([], schema=self._known[name])
                yield Batch(name, empty, position, kind="truncate"), number
            elif op == "schema":
                self._known[name] = self._altered(name, json.loads(run[-1][5]))
                empty = pa.RecordBatch.from_pylist([], schema=self._known[name])
                yield Batch(name, empty, position, kind="schema"), number
            else:
                yield Batch(name, self._rows(name, run), position, ends_transaction=not more), number

    def _altered(self, name: str, columns: list[str]) -> pa.Schema:
        (now,) = self._source.datasets([name])
        fields = {field.name: field for field in [*self._known[name], *now.schema]}
        return pa.schema([fields[column] for column in columns])

    def _rows(self, name: str, run: Sequence[tuple[Any, ...]]) -> pa.RecordBatch:
        schema = self._known[name]
        values = [json.loads(row[5]) for row in run]
        arrays: list[Any] = [pa.array([one.get(field.name) for one in values], field.type) for field in schema]
        fields = [field.with_nullable(True) for field in schema]
        if self.changes:
            arrays += [
                pa.array([row[3] for row in run], pa.string()),
                pa.array([row[4] for row in run], pa.timestamp("us", "UTC")),
                pa.array([json.loads(row[6]) for row in run], pa.list_(pa.string())),
            ]
            fields += [
                pa.field(OP, pa.string()),
                pa.field(AT, pa.timestamp("us", "UTC")),
                pa.field(UNCHANGED, pa.list_(pa.string())),
            ]
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
