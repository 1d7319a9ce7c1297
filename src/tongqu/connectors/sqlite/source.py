"""Reads a SQLite file: each table in one snapshot, in ranges of its rowid or key."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tongqu.connectors.sqlite import catalog
from tongqu.connectors.sqlite.db import open_source
from tongqu.connectors.sqlite.decode import Decoder, bad_row, tolerant
from tongqu.connectors.sqlite.settings import SqliteSettings
from tongqu.core.connector import Source
from tongqu.core.data import BadRow, Batch, Dataset, Mode, Position, Read, Split
from tongqu.core.errors import LostPositionError, SchemaError
from tongqu.kit.sqlite import SqliteDb, quoted

_BLOCK = 4096
_END: Position = {"end": True}


def to_json(value: Any) -> Any:
    """A stored key value for a position: SQLite compares by class, so numbers stay numbers; blobs become hex."""
    return {"hex": value.hex()} if isinstance(value, bytes) else value


def from_json(value: Any) -> Any:
    """The opposite of `to_json`."""
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value


@dataclass(frozen=True)
class _Order:
    """What a read is ordered and cut along; `names` tells what a position calls the parts."""

    columns: tuple[str, ...]
    """SQL expressions."""
    style: str
    """`rowid`, `key`, `cursor` (cursor then key), or `none`."""
    schema: int | None = None
    """PRAGMA schema_version, where the rowid is only stable until the next VACUUM."""

    def position(self, values: Sequence[Any]) -> Position:
        """The position after a row with these order values."""
        plain = [to_json(value) for value in values]
        guard = {} if self.schema is None else {"schema": self.schema}
        if self.style == "rowid":
            return {"rowid": plain[0]} | guard
        return {"key": plain} if self.style == "key" else {"cursor": plain[0], "key": plain[1:]} | guard

    def values(self, position: Position) -> list[Any]:
        """The order values of a position: all of them, or the first where it only knows the cursor."""
        if self.schema is not None and position.get("schema", self.schema) != self.schema:
            raise LostPositionError(
                "the file was altered or vacuumed since this read was interrupted, and the table has no "
                "INTEGER PRIMARY KEY: its row numbers may have changed",
                hint="read it anew with --restart, or give the table an INTEGER PRIMARY KEY",
            )
        if "rowid" in position:
            return [position["rowid"]]
        cursor = [from_json(position["cursor"])] if "cursor" in position else []
        return cursor + [from_json(value) for value in position.get("key", ())]

    def condition(self, operator: str, values: Sequence[Any]) -> str:
        """`(a, b) > (?, ?)`, over as many of the columns as there are values."""
        names = self.columns[: len(values)]
        if len(names) == 1:
            return f"{names[0]} {operator} ?"
        return f"({', '.join(names)}) {operator} ({', '.join('?' * len(names))})"


class SqliteSource(Source):
    """Reads one SQLite file; never creates, changes or locks it for writing."""

    def __init__(self, settings: SqliteSettings):
        self._settings = settings
        self._db: SqliteDb | None = None

    def _open(self) -> SqliteDb:
        if self._db is None:
            self._db = open_source(self._settings)
        return self._db

    def check(self) -> Iterator[str]:
        """See Source.check."""
        db = self._open()
        yield "file"
        db.rows("PRAGMA schema_version")
        yield "format"
        for name in catalog.names(db)[:1]:
            db.rows(f"SELECT * FROM {quoted(name)} LIMIT 1")
        yield "sample"

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets."""
        return catalog.datasets(self._open(), patterns)

    def can_resume(self, dataset: Dataset) -> bool:
        """Whether the table has a rowid or a key to be cut along; views have not."""
        return _full_order(self._open(), catalog.need(self._open(), dataset.name)).style != "none"

    def splits(self, dataset: Dataset, wanted: int) -> list[Split]:
        """One part: a second reader gains nothing in one process. Its end is today's last row."""
        del wanted
        db = self._open()
        table = catalog.need(db, dataset.name)
        order = _full_order(db, table)
        if order.style == "none":
            return [Split("0", dataset.name)]
        names = ", ".join(f"{column} DESC" for column in order.columns)
        last = db.rows(f"SELECT {', '.join(order.columns)} FROM {quoted(table.name)} ORDER BY {names} LIMIT 1")
        upper = [to_json(value) for value in last[0]] if last else None
        return [Split("0", dataset.name, {"lower": None, "upper": upper})]

    def horizon(self, dataset: Dataset, cursor: str, after: Position | None, *, ties: bool = True) -> Position | None:
        """See Source.horizon: `{"cursor": value}`.

        SQLite has one writer at a time, so no row below the greatest committed cursor is still open. Without `ties`
        the current second is left for the next run. Raises SchemaError if a cursor is null or of another class than
        declared.
        """
        db = self._open()
        table = catalog.need(db, dataset.name)
        column = quoted(cursor)
        classes = _classes(table, cursor)
        found = f"SELECT max({column}) FROM {quoted(table.name)}"
        bad, top = db.rows(
            f"SELECT count(*) FILTER (WHERE typeof({column}) NOT IN ({classes})), max({column}) "
            f"FROM {quoted(table.name)}"
        )[0]
        if bad:
            raise SchemaError(
                f"{bad} rows of {dataset.name} have no usable value in the cursor column {cursor!r}",
                field=cursor,
                hint=f"fill them (UPDATE {table.name} SET {cursor} = … WHERE typeof({cursor}) NOT IN ({classes})), "
                "or read the table in mode full",
            )
        if not ties and isinstance(top, str):
            second = f"substr(replace({column}, 'T', ' '), 1, 19)"
            now = "datetime('now'), datetime('now', 'localtime')"
            first = db.rows(f"SELECT min({column}) FROM {quoted(table.name)} WHERE {second} IN ({now})")[0][0]
            if first is not None:
                top = db.rows(f"{found} WHERE {column} < ?", (first,))[0][0]
        if after is None:
            return None if top is None else {"cursor": to_json(top)}
        previous = from_json(after["cursor"])
        ahead = db.rows(
            f"SELECT 1 FROM {quoted(table.name)} WHERE {column} > ? AND {column} <= ? LIMIT 1", (previous, top)
        )
        if not ahead and not ties:
            return None
        return {"cursor": to_json(top if ahead else previous)}

    def read(self, read: Read) -> Iterator[Batch]:
        """See Source.read. The whole read sees one snapshot, taken when the first batch is asked for."""
        db = open_source(self._settings)
        try:
            db.begin()
            table = catalog.need(db, read.dataset.name)
            if read.mode is Mode.INCREMENTAL and read.cursor:
                order = _cursor_order(db, table, read.cursor)
            else:
                order = _full_order(db, table)
            yield from _Reading(db, table, order, read).batches()
        finally:
            db.rollback()
            db.close()

    def close(self) -> None:
        """See Source.close."""
        if self._db is not None:
            self._db.close()
            self._db = None


def _full_order(db: SqliteDb, table: catalog.Relation) -> _Order:
    if table.rowid:
        version = None if table.alias else int(db.rows("PRAGMA schema_version")[0][0])
        return _Order((table.rowid,), "rowid", version)
    if table.primary:
        return _Order(tuple(quoted(name) for name in table.primary), "key")
    return _Order((), "none")


def _cursor_order(db: SqliteDb, table: catalog.Relation, cursor: str) -> _Order:
    """Cursor, then key; the rowid where no key is surely not null."""
    if cursor not in table.kinds:
        near = ", ".join(table.kinds)
        raise SchemaError(f"{table.name} has no column {cursor!r}", field=cursor, hint=f"its columns are: {near}")
    if table.key and set(table.key) <= table.required:
        return _Order((quoted(cursor), *(quoted(name) for name in table.key)), "cursor")
    if table.rowid:
        return _Order((quoted(cursor), table.rowid), "cursor", int(db.rows("PRAGMA schema_version")[0][0]))
    return _Order((quoted(cursor),), "cursor")


def _classes(table: catalog.Relation, cursor: str) -> str:
    if cursor not in table.kinds:
        raise SchemaError(
            f"{table.name} has no column {cursor!r}", field=cursor, hint=f"its columns are: {', '.join(table.kinds)}"
        )
    type_ = table.kinds[cursor].type
    if pa.types.is_integer(type_):
        return "'integer'"
    return "'integer', 'real'" if pa.types.is_floating(type_) or pa.types.is_decimal(type_) else "'text'"


def _joined(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    joined: pa.RecordBatch = pa.concat_batches(parts)  # type: ignore[attr-defined]  # missing in the stubs
    return joined


class _Reading:
    """One read of one table over an open snapshot."""

    def __init__(self, db: SqliteDb, table: catalog.Relation, order: _Order, read: Read):
        self._db, self._table, self._order, self._read = db, table, order, read
        self._names = [column.name for column in table.columns if read.columns is None or column.name in read.columns]
        declared = {column.name: column.declared for column in table.columns}
        self._decoders = [Decoder(name, declared[name], table.kinds[name]) for name in self._names]
        full = catalog.schema(table)
        self._schema = pa.schema([full.field(name) for name in self._names])
        self._after = read.after
        self._done = 0
        """Rows of a table without order that were already read."""

    def batches(self) -> Iterator[Batch]:
        """The batches from `read.after` to the end, with a position after each where the table has an order."""
        if self._read.after is not None and self._read.after.get("end"):
            return
        parts: list[pa.RecordBatch] = []
        bad: list[BadRow] = []
        rows = 0
        for block in self._blocks():
            if self._read.stop.is_set():
                break
            part, refused = self._decode(block)
            parts.append(part)
            bad.extend(refused)
            rows += len(block)
            if rows >= self._read.batch_rows:
                yield self._batch(parts, bad)
                parts, bad, rows = [], [], 0
        if rows:
            yield self._batch(parts, bad)
        if not self._read.stop.is_set():
            empty = pa.RecordBatch.from_pylist([], schema=self._schema)
            reached = {} if self._order.style == "none" else self._after or {}
            yield Batch(self._read.dataset.name, empty, self._read.until or {**reached, **_END})

    def _batch(self, parts: list[pa.RecordBatch], bad: list[BadRow]) -> Batch:
        position = self._after if self._order.style != "none" else None
        return Batch(self._read.dataset.name, _joined(parts), position, bad=tuple(bad))

    def _blocks(self) -> Iterator[list[tuple[Any, ...]]]:
        """Blocks of stored rows, each led by its order values; text that is not UTF-8 is read tolerantly."""
        try:
            yield from self._fetched()
        except sqlite3.OperationalError as error:
            if "decode to UTF-8" not in str(error):
                raise
            self._db.connection.text_factory = tolerant
            yield from self._fetched()

    def _fetched(self) -> Iterator[list[tuple[Any, ...]]]:
        sql, values = self._query()
        size = min(_BLOCK, self._read.batch_rows)
        cursor = self._db.connection.cursor()
        try:
            cursor.execute(sql, values)
            while block := cursor.fetchmany(size):
                self._done += len(block)
                if self._order.columns:
                    self._after = self._order.position(block[-1][: len(self._order.columns)])
                yield block
        except sqlite3.Error as error:
            if "decode to UTF-8" in str(error):
                raise
            with self._db.translated():
                raise
        finally:
            cursor.close()

    def _query(self) -> tuple[str, list[Any]]:
        order, spec = self._order, self._read.split.spec
        columns = ", ".join([*order.columns, *(quoted(name) for name in self._names)])
        sql = f"SELECT {columns} FROM {quoted(self._table.name)}"
        if not order.columns:
            return f"{sql} LIMIT -1 OFFSET ?", [self._done]
        bounds: list[tuple[str, list[Any]]] = []
        if self._after is not None:
            bounds.append((">", order.values(self._after)))
        elif spec.get("lower"):
            bounds.append((">", [from_json(value) for value in spec["lower"]]))
        elif spec.get("after"):
            bounds.append((">=" if self._read.ties else ">", order.values({"cursor": spec["after"]["cursor"]})))
        if self._read.until is not None:
            bounds.append(("<=", order.values(self._read.until)))
        if spec.get("upper"):
            bounds.append(("<=", [from_json(value) for value in spec["upper"]]))
        if spec.get("until"):
            bounds.append(("<=", order.values(spec["until"])))
        conditions = [order.condition(operator, found) for operator, found in bounds]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        values = [value for _, found in bounds for value in found]
        return f"{sql}{where} ORDER BY {', '.join(order.columns)}", values

    def _decode(self, block: list[tuple[Any, ...]]) -> tuple[pa.RecordBatch, list[BadRow]]:
        stored = list(zip(*block, strict=True))[len(self._order.columns) :]
        arrays: list[pa.Array[Any]] = []
        wrong: dict[int, int] = {}
        for number, (decoder, values) in enumerate(zip(self._decoders, stored, strict=True)):
            array, bad = decoder.decode(values)
            arrays.append(array)
            for index in bad:
                wrong.setdefault(index, number)
        rows = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        if not wrong:
            return rows, []
        start = len(self._order.columns)
        refused = [
            bad_row(self._decoders[number], block[index][start + number], self._names, block[index][start:])
            for index, number in sorted(wrong.items())
        ]
        keep = pa.array([index not in wrong for index in range(len(block))])
        return rows.filter(keep), refused
