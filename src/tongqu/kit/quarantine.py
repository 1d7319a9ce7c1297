"""The quarantine inside a SQL sink: rows that were refused, with cause, original, mended version and state."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tongqu.core.bad_rows import BadRows
from tongqu.core.data import BadRow, Write
from tongqu.core.dirty import OPEN, STILL_BAD, Dirty, Fix, Settled
from tongqu.core.errors import BusyError, ConnectorError, FencedError
from tongqu.kit.db import Db

QUARANTINE = "_tongqu_quarantine"
SHOWN = (
    "id", "run", "stream", "step", "code", "field", "value", "original", "message", "state", "at",
    "sync", "shape", "fixed", "history", "cause",
)  # fmt: skip
_ADDED = ("shape", "fixed", "history", "cause")
"""Columns that ledgers of the first version lack."""
_AT_ONCE = 200
_STORED = 4_096


class Quarantine:
    """Reads and writes the table over one connection; never commits.

    `shape` is the schema of `original` on the first row of a chunk's step; its other rows name that row. `cause` is the
    first cause of a row that was refused again.
    """

    def __init__(self, db: Db, schema: str = ""):
        self._db = db
        self._table = schema + db.quote(QUARANTINE)

    def statement(self) -> str:
        """The statement that makes the table if it is missing."""
        types = self._db.ledger_types
        key, text = types["id"], types["text"]
        return (
            f"CREATE TABLE IF NOT EXISTS {self._table} (id {key} NOT NULL PRIMARY KEY, sync {key} NOT NULL, "
            f"run {key} NOT NULL, stream {key} NOT NULL, step {key} NOT NULL, code {key} NOT NULL, field {text}, "
            f"value {text}, original {text}, message {text}, state {key} NOT NULL, "
            f"{self._db.word('at')} {key} NOT NULL, {', '.join(f'{name} {text}' for name in _ADDED)})"
        )

    def widen(self) -> None:
        """Add the columns that a ledger of the first version lacks, in transactions of their own."""
        try:
            self._db.begin()
            self._db.rows(f"SELECT {', '.join(_ADDED)} FROM {self._table} WHERE id = ''")
            self._db.commit()
        except ConnectorError:
            self._db.rollback()
            for name in _ADDED:
                self._db.begin()
                self._db.run(f"ALTER TABLE {self._table} ADD COLUMN {name} {self._db.ledger_types['text']}")
                self._db.commit()

    def add(self, *, sync: str, run: str, stream: str, first: str, rows: Sequence[BadRow], at: str) -> None:
        """Store bad rows; `first` prefixes their ids, must be unique to the chunk and sort as chunks come."""
        from tongqu.kit.quarantined import stored

        same = {"sync": sync, "run": run, "stream": stream, "at": at}
        for texts in stored(rows if isinstance(rows, BadRows) else BadRows(rows), first, same, _STORED):
            self._db.insert_texts(self._table, texts)

    def forget(self, sync: str, stream: str, run: str) -> None:
        """Drop the bad rows that a run stored for a stream which it begins anew."""
        self._db.run(f"DELETE FROM {self._table} WHERE sync = ? AND stream = ? AND run = ?", (sync, stream, run))

    def rows(self, which: Dirty) -> list[dict[str, Any]]:
        """The rows that are meant, by the names in SHOWN; `shape` is the schema itself."""
        where, values = self._where(which)
        at = self._db.word("at")
        found: list[dict[str, Any]] = []
        for condition, params in self._parts(which.ids, where, values):
            order = f"{at}, id" if which.arrival else f"{at} DESC, id"
            listed = ", ".join(map(self._db.word, SHOWN))
            sql = f"SELECT {listed} FROM {self._table}{condition} ORDER BY {order} LIMIT {int(which.limit)}"
            found += [dict(zip(SHOWN, row, strict=True)) for row in self._db.rows(sql, params)]
        if len(which.ids) > _AT_ONCE:
            found.sort(key=lambda row: (str(row["at"]), str(row["id"])), reverse=not which.arrival)
        self._resolve(found)
        return found[: which.limit]

    def _where(self, which: Dirty) -> tuple[list[str], list[Any]]:
        equal = {"sync": which.sync, "run": which.run, "stream": which.stream, "code": which.code, "field": which.field}
        conditions = [f"{name} = ?" for name, value in equal.items() if value]
        values: list[Any] = [value for value in equal.values() if value]
        if which.states:
            conditions.append(f"state IN ({_holes(which.states)})")
            values += which.states
        return conditions, values

    def _parts(self, ids: Sequence[str], where: list[str], values: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        for some in _slices(ids) if ids else [()]:
            conditions = [*where, f"id IN ({_holes(some)})"] if some else where
            yield (f" WHERE {' AND '.join(conditions)}" if conditions else ""), [*values, *some]

    def _resolve(self, rows: Sequence[dict[str, Any]]) -> None:
        """Put schemas in place of the names of the rows that hold them."""
        known = {str(row["id"]): str(row["shape"]) for row in rows if row["shape"] and row["shape"][0] != "="}
        named = {row["shape"][1:] for row in rows if row["shape"] and row["shape"][0] == "="}
        for some in _slices(sorted(named - set(known))):
            sql = f"SELECT id, shape FROM {self._table} WHERE id IN ({_holes(some)})"
            known |= {str(id): str(shape) for id, shape in self._db.rows(sql, some)}
        for row in rows:
            shape = row["shape"] or ""
            row["shape"] = known.get(shape[1:], "") if shape.startswith("=") else shape

    def fix(self, fixes: Sequence[Fix]) -> int:
        """Store mended versions beside the originals; returns how many rows were still open and have theirs now."""
        done = 0
        for fix in fixes:
            sets, values = ["state = ?", "history = ?"], [fix.state, _storable(fix.history)]
            if fix.fixed is not None:
                sets.append("fixed = ?")
                values.append(_storable(fix.fixed))
            done += self._db.run(
                f"UPDATE {self._table} SET {', '.join(sets)} WHERE id = ? AND state IN ({_holes(OPEN)})",
                (*values, fix.id, *OPEN),
            )
        return done

    def settle(self, settled: Sequence[Settled]) -> None:
        """Note what became of rows, in the transaction of their data; raises FencedError if somebody else has settled
        one of them meanwhile."""
        for some in _slices([one.id for one in settled]):
            locked = f"SELECT id FROM {self._table} WHERE id IN ({_holes(some)}) AND state IN ({_holes(OPEN)})"
            if len(self._db.rows(f"{locked} {self._db.for_update}", (*some, *OPEN))) != len(some):
                raise FencedError(
                    "another process has replayed or discarded rows of this quarantine; nothing was written twice",
                    hint="look at them with `tongqu quarantine list` and replay what is left",
                )
        states = {one.state for one in settled if one.state != STILL_BAD}
        for state in sorted(states):
            for some in _slices([one.id for one in settled if one.state == state]):
                self._db.run(f"UPDATE {self._table} SET state = ? WHERE id IN ({_holes(some)})", (state, *some))
        for one in settled:
            if one.state == STILL_BAD:
                self._again(one)

    def _again(self, one: Settled) -> None:
        found = self._db.rows(f"SELECT code, field, value, message, cause FROM {self._table} WHERE id = ?", (one.id,))
        code, field, value, message, cause = found[0]
        first = cause or json.dumps(
            {"code": code, "field": field, "value": value, "message": message}, ensure_ascii=False
        )
        self._db.run(
            f"UPDATE {self._table} SET state = ?, code = ?, field = ?, value = ?, message = ?, cause = ? WHERE id = ?",
            (one.state, one.code, _storable(one.field), _storable(one.value), _storable(one.message), first, one.id),
        )


def matching(rows: Iterable[Mapping[str, Any]], which: Dirty) -> list[dict[str, Any]]:
    """The rows that are meant, for sinks that keep them in files: filtered, ordered and cut as a database does."""
    equal = {"sync": which.sync, "run": which.run, "stream": which.stream, "code": which.code, "field": which.field}
    found = [
        {name: row.get(name) for name in SHOWN}
        for row in rows
        if all(row.get(name) == value for name, value in equal.items() if value)
        and (not which.ids or row["id"] in which.ids)
        and (not which.states or row["state"] in which.states)
    ]
    found.sort(key=lambda row: str(row["id"]))
    found.sort(key=lambda row: str(row["at"]), reverse=not which.arrival)
    return found[: which.limit]


TOLD = ("target", "key", "cursor", "incremental", "recipe", "follows", "deletes")
"""What `written_how` notes besides the mode, as `Sink.replaying` tells it."""


def written_how(write: Write) -> dict[str, Any]:
    """How a stream is written, as its row of the ledger keeps it for rows that go in again."""
    return {
        "write": write.mode.value,
        "target": write.dataset.name,
        "key": list(write.key),
        "cursor": write.cursor,
        "incremental": write.incremental,
        "recipe": write.recipe,
        "follows": write.follows,
        "deletes": write.deletes.value,
    }


def refuse_replay(write: Write, run: str | None) -> None:
    """Raise BusyError if `run`, the unfinished run that writes the target of a replay or repair, is not None."""
    if run is not None:
        raise BusyError(
            f"the run {run} writes {write.dataset.name!r} and has not ended",
            path=write.stream,
            hint="let it end, or run the same command again to complete it; then repeat this one. "
            "A stream that follows a log does not end: stop it first",
            params={"table": write.dataset.name, "run": run},
        )


def _holes(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _slices(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]


def _storable(text: str | None) -> str | None:
    """NUL written as JSON would: several systems have no NUL in texts."""
    return None if text is None else text.replace("\0", "\\u0000")
