"""The redo of a played Oracle database: its logs, its tables, and transactions that write them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from tongqu.testing.dbapi import PlayedError

Values = dict[str, Any]
INSERT, DELETE, UPDATE, DDL, COMMIT, ROLLBACK = 1, 2, 3, 5, 7, 36


class Writer(Protocol):
    """Who keeps the redo."""

    held: dict[str, Held]
    open: list[Transaction]

    def tick(self) -> int:
        """The next SCN."""

    def rowid(self) -> str:
        """A ROWID that no other row has."""

    def write(
        self, one: Transaction, code: int, held: Held | None, row: str, sql: str, *, undo: bool = False
    ) -> int:  # fmt: skip
        """A redo record of a transaction; its SCN."""


@dataclass
class LogFile:
    """A redo log of a thread: from SCN `first` to `next`, which of the current one is none."""

    thread: int
    sequence: int
    first: int
    group: int
    next: int | None = None
    archived: bool = False
    purged: bool = False

    @property
    def name(self) -> str:
        """Where it is archived."""
        return f"/arch/{self.thread}_{self.sequence}.arc"


@dataclass
class Redo:
    """A redo record."""

    thread: int
    scn: int
    record: tuple[int, int, int]
    code: int
    transaction: Transaction
    table: Held | None
    version: int
    row: str
    sql: str
    when: datetime
    undo: bool = False
    flushed: bool = True


@dataclass
class Held:
    """A table: its columns, its committed rows by key, the rows as they are with what is not committed, and ROWIDs."""

    name: str
    number: int
    columns: list[tuple[str, str]]
    committed: dict[Any, Values] = field(default_factory=dict)
    present: dict[Any, Values] = field(default_factory=dict)
    rowids: dict[Any, str] = field(default_factory=dict)
    locks: dict[Any, Transaction] = field(default_factory=dict)
    version: int = 0
    logged: bool = True
    history: list[tuple[int, dict[Any, Values]]] = field(default_factory=list)
    kind: tuple[str | None, str, str] = (None, "N", "YES")


Done = tuple[int, Held, str, Any, Any, Values | None, Values | None]
"""Code, table, ROWID, key before, key after, row before, row after."""


class Transaction:
    """A transaction of a session of one instance."""

    def __init__(self, server: Writer, thread: int, number: int):
        self._server, self.thread = server, thread
        self.xid = f"{thread:04x}{number % 32:04x}{number:08x}"
        self.start = server.tick()
        self.done: list[Done] = []
        self.ended = False

    def insert(self, table: str, row: Values) -> None:
        """INSERT of one row."""
        held = self._server.held[table]
        rowid = self._server.rowid()
        self._write((INSERT, held, rowid, None, row["id"], None, {name: row.get(name) for name, _ in held.columns}))

    def update(self, table: str, key: Any, **new: Any) -> None:
        """UPDATE of one row."""
        held = self._server.held[table]
        before = held.present[key]
        self._write((UPDATE, held, held.rowids[key], key, new.get("id", key), before, before | new))

    def delete(self, table: str, key: Any) -> None:
        """DELETE of one row."""
        held = self._server.held[table]
        self._write((DELETE, held, held.rowids[key], key, None, held.present[key], None))

    def savepoint(self) -> int:
        """What `rollback_to` takes."""
        return len(self.done)

    def rollback_to(self, savepoint: int) -> None:
        """ROLLBACK TO SAVEPOINT: what was done since is undone from its end."""
        while len(self.done) > savepoint:
            code, held, rowid, old, new, before, after = self.done.pop()
            inverse = {INSERT: DELETE, DELETE: INSERT, UPDATE: UPDATE}[code]
            one = (inverse, held, rowid, new, old, after, before)
            self._server.write(self, inverse, held, rowid, statement(one), undo=True)
            _apply(one)

    def commit(self) -> None:
        """COMMIT."""
        scn = self._server.write(self, COMMIT, None, "", "commit")
        for _, held, _, old, new, _, after in self.done:
            if old is not None:
                held.committed.pop(old, None)
            if after is not None:
                held.committed[new] = dict(after)
        for held in {id(one[1]): one[1] for one in self.done}.values():
            held.history.append((scn, {key: dict(row) for key, row in held.committed.items()}))
        self._end()

    def rollback(self) -> None:
        """ROLLBACK."""
        self.rollback_to(0)
        self._server.write(self, ROLLBACK, None, "", "rollback")
        self._end()

    def _write(self, one: Done) -> None:
        held, keys = one[1], {key for key in (one[3], one[4]) if key is not None}
        if any(held.locks.get(key, self) is not self for key in keys):
            raise PlayedError("ORA-00054: resource busy", code=54)
        held.locks.update(dict.fromkeys(keys, self))
        self._server.write(self, one[0], held, one[2], statement(one))
        _apply(one)
        self.done.append(one)

    def _end(self) -> None:
        self.ended = True
        for held in self._server.held.values():
            held.locks = {key: one for key, one in held.locks.items() if one is not self}
        self._server.open.remove(self)


def _apply(one: Done) -> None:
    _, held, rowid, old, new, _, after = one
    if old is not None:
        held.present.pop(old, None)
        held.rowids.pop(old, None)
    if after is not None:
        held.present[new], held.rowids[new] = dict(after), rowid


def literal(value: Any) -> str:
    """A value as LogMiner writes it."""
    return "NULL" if value is None or value == "" else "'" + str(value).replace("'", "''") + "'"


def statement(one: Done) -> str:
    """SQL_REDO of a change, with all columns logged and no ROWID in it."""
    code, held, _, _, _, before, after = one
    place = f'"own"."{held.name}"'
    if code == INSERT:
        assert after is not None  # what an INSERT has
        names = ",".join(f'"{name}"' for name in after)
        return f"insert into {place}({names}) values ({','.join(literal(value) for value in after.values())})"
    assert before is not None  # what others have
    where = " and ".join(
        f'"{name}" IS NULL' if literal(value) == "NULL" else f'"{name}" = {literal(value)}'
        for name, value in before.items()
    )
    if code == DELETE:
        return f"delete from {place} where {where}"
    assert after is not None  # what an UPDATE has
    key = '"id" = ' + literal(before["id"])
    sets = ", ".join(f'"{name}" = {literal(value)}' for name, value in after.items() if before[name] != value)
    return f"update {place} set {sets or key} where {where}"
