"""Reads MariaDB and MySQL: key ranges inside a consistent snapshot, as Arrow batches or as PostgreSQL COPY text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from tongqu.connectors.mysql import catalog, wire
from tongqu.connectors.mysql.db import MysqlDb, quoted
from tongqu.connectors.mysql.decode import decode
from tongqu.connectors.mysql.horizon import horizon
from tongqu.connectors.mysql.ranges import Ordering, orders
from tongqu.connectors.mysql.settings import MysqlSettings
from tongqu.connectors.mysql.stream import Cells, Stream
from tongqu.connectors.mysql.types import INTEGERS, Native, arrow_wire_type, wire_type
from tongqu.core.compare import Comparable, Comparison
from tongqu.core.connector import Source
from tongqu.core.data import BadRow, Batch, Bytes, Dataset, Mode, Position, Read, Split
from tongqu.core.errors import ConnectorError, NotFoundError, ReadError, SchemaError, altered
from tongqu.core.select import Column, Select
from tongqu.kit.sql.key_ranges import Bound, bounds, walked

if TYPE_CHECKING:
    from pathlib import Path

    from tongqu.core.feeling import Feeling
    from tongqu.core.log import Log

_SPLIT_ROWS = 200_000
_FETCH = 8_192


T = TypeVar("T")


class MysqlSource(Source):
    """Each call of `read` or `copy_out` sees one instant (START TRANSACTION WITH CONSISTENT SNAPSHOT); several splits
    each have an instant of their own, so a read that must be consistent as a whole uses one split."""

    formats = ("pgcopy-text",)
    dialect = "mysql"

    def __init__(self, settings: MysqlSettings):
        self._settings = settings
        self._catalog: MysqlDb | None = None
        self._tables: dict[str, catalog.TableInfo] = {}
        self._lock = threading.RLock()
        self._folder: Path | None = None

    def check(self) -> Iterator[str]:
        """See Source.check."""
        yield from self._settings.stages()
        db = self._db()
        yield "tls" if db.encrypted else "tls: not used"
        yield "login"
        found = catalog.tables(db, None)
        yield "privilege"
        yield f"sample: {len(found)} tables"

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets."""
        with self._lock:
            found = catalog.tables(self._db(), patterns)
            self._tables.update({table.name: table for table in found})
            return [catalog.dataset(table) for table in found]

    def can_resume(self, dataset: Dataset) -> bool:
        """See Source.can_resume: ENUM, SET, BIT and float keys cannot be cut."""
        return self._key(dataset) is not None

    def splits(self, dataset: Dataset, wanted: int) -> list[Split]:
        """See Source.splits: integer keys are cut evenly by value, others by counting along the key."""
        ordering = self._key(dataset)
        if ordering is None:
            return [Split("0", dataset.name)]
        with self._lock:
            db = self._db()
            greatest = bounds(db.rows(ordering.last()))
            if greatest is None:
                return [Split("0", dataset.name)]
            parts = wanted if (dataset.rows or 0) >= _SPLIT_ROWS else 1
            cuts = self._cuts(db, ordering, parts)
        ends: list[Bound | None] = [None, *cuts, greatest]
        return [
            Split(str(number), dataset.name, {"lower": lower, "upper": upper})
            for number, (lower, upper) in enumerate(pairwise(ends))
        ]

    @staticmethod
    def _cuts(db: MysqlDb, ordering: Ordering, parts: int) -> list[Bound]:
        if parts < 2:
            return []
        if ordering.types[0].name in INTEGERS and len(ordering.columns) == 1:
            name = quoted(ordering.columns[0])
            low, high = (int(v) for v in db.rows(f"SELECT MIN({name}), MAX({name}) FROM {ordering.table}")[0])
            values = sorted({low + (high - low) * n // parts for n in range(1, parts)} - {high})
            return [[str(value)] for value in values]
        rows = int(db.rows(f"SELECT COUNT(*) FROM {ordering.table}")[0][0])
        found = [bounds(db.rows(ordering.probe(None, None, max(1, rows * n // parts)))) for n in range(1, parts)]
        last = bounds(db.rows(ordering.last()))
        cuts: list[Bound] = []
        for cut in found:
            if cut is not None and cut != last and cut not in cuts:
                cuts.append(cut)
        return cuts

    def horizon(self, dataset: Dataset, cursor: str, after: Position | None, *, ties: bool = True) -> Position | None:
        """See Source.horizon."""
        with self._lock:
            return horizon(self._db(), dataset, self._ordering(dataset, (cursor,)), after, ties=ties)

    def wire_types(self, dataset: Dataset, select: Select) -> list[str]:
        """See Source.wire_types."""
        own = {column.name: column for column in self._table(dataset.name).columns}
        return [
            arrow_wire_type(column.field.type)
            if column.sql is not None and column.field is not None
            else wire_type(own[column.name].native, json=own[column.name].json)
            for column in select.columns
        ]

    def read(self, read: Read) -> Iterator[Batch]:
        """See Source.read."""
        columns = read.columns or read.dataset.columns
        schema = pa.schema([read.dataset.schema.field(name) for name in columns])
        stream = self._stream(read)
        try:
            self._readable(read.dataset)
            select = ", ".join(self._plain(read.dataset, name) for name in columns)
            for condition, position in self._ranges(stream, read, one=read.until is not None):
                query = f"SELECT {select} FROM {self._table(read.dataset.name).place} WHERE {condition}"
                yield from self._range(stream, read, query, schema, position)
                if read.stop.is_set():
                    return
        finally:
            stream.close()

    def _range(self, stream: Stream, read: Read, query: str, schema: pa.Schema, position: Position) -> Iterator[Batch]:
        """The batches of one range; only the last carries the position."""
        held: tuple[pa.RecordBatch, list[BadRow]] | None = None
        gathered: list[Cells] = []
        for block in self._watched(read.dataset.name, stream.blocks(query, min(_FETCH, read.batch_rows))):
            gathered.extend(block)
            if len(gathered) >= read.batch_rows:
                if held is not None:
                    yield Batch(read.dataset.name, held[0], None, bad=tuple(held[1]))
                held, gathered = decode(gathered, schema), []
        if gathered or held is None:
            if held is not None:
                yield Batch(read.dataset.name, held[0], None, bad=tuple(held[1]))
            held = decode(gathered, schema)
        yield Batch(read.dataset.name, held[0], position, bad=tuple(held[1]))

    def copy_out(self, read: Read, select: Select, format: str) -> Iterator[Bytes]:
        """See Source.copy_out."""
        if format not in self.formats:
            raise NotImplementedError(f"mysql gives no {format}")
        stream = self._stream(read)
        try:
            self._readable(read.dataset)
            table = self._table(read.dataset.name).place
            line = wire.line([self._cell(read.dataset, column) for column in select.columns])
            types = tuple(self.wire_types(read.dataset, select))
            for condition, position in self._ranges(stream, read, one=read.until is not None):
                counted: dict[str, int] = {}
                blocks = _lines(stream, f"SELECT {line} FROM {table}", condition, select.where, counted)
                yield Bytes(
                    format=format,
                    columns=tuple(column.name for column in select.columns),
                    chunks=self._watched(read.dataset.name, blocks),
                    rows=lambda counted=counted: counted["rows"],  # type: ignore[misc]  # bound per range
                    read=lambda counted=counted: counted["read"],  # type: ignore[misc]  # bound per range
                    position=position,
                    last="end" in position or read.until is not None,
                    types=types,
                )
        finally:
            stream.close()

    def comparing(self, dataset: Dataset, comparison: Comparison, condition: str = "") -> Comparable | None:
        """See Source.comparing."""
        from tongqu.connectors.mysql.compare import MysqlComparable

        self._readable(dataset)
        table = self._table(dataset.name)
        return MysqlComparable(self._settings, dataset, comparison, table=table, condition=condition)

    def lodge(self, folder: Path) -> None:
        """See Source.lodge: what following the log must remember."""
        self._folder = folder

    def log(self, name: str, datasets: Sequence[Dataset]) -> Log:
        """See Source.log: the row binlog."""
        from tongqu.connectors.mysql.log.following import MysqlLog

        return MysqlLog(self, self._settings, name, datasets, self._folder)

    def feel(self, between: Callable[[], object] | None = None) -> Feeling:
        """See Felt.feel."""
        from tongqu.connectors.mysql.feeling import feel

        with self._lock:
            return feel(self._db(), between)

    def close(self) -> None:
        """See Source.close."""
        if self._catalog is not None:
            self._catalog.close()
            self._catalog = None

    # ---- inside

    def _db(self) -> MysqlDb:
        if self._catalog is None or not self._catalog.connection.open:
            self._catalog = MysqlDb(self._settings, reading=True)
            self._catalog.run("SET autocommit = 1")  # each look at the catalog sees the present
        return self._catalog

    def _stream(self, read: Read) -> Stream:
        with self._lock:
            encrypted = self._db().encrypted
        return Stream(self._settings, read.stop, encrypted=encrypted)

    def _table(self, name: str) -> catalog.TableInfo:
        with self._lock:
            if name not in self._tables:
                found = catalog.find(self._db(), name)
                if found is None:
                    near = [table.name for table in catalog.tables(self._db(), None)][:8]
                    raise NotFoundError(
                        f"there is no table {name!r}", path=self._settings.display(),
                        hint=f"there are: {', '.join(near) or 'none'}",
                    )  # fmt: skip
                self._tables[name] = found
            return self._tables[name]

    def _watched(self, name: str, blocks: Iterator[T]) -> Iterator[T]:
        """The blocks of a range, and at their end or failure a look whether the table is still the one discovered."""
        try:
            yield from blocks
        except ConnectorError:
            self._unaltered(name)
            raise
        self._unaltered(name)

    def _unaltered(self, name: str) -> None:
        """Raise SchemaError if the table's columns are not those that were discovered; more of them do not matter.

        The first statement of the reading transaction keeps the table from being altered until it ends.
        """
        with self._lock:
            known, now = self._table(name), catalog.find(self._db(), name)
        before = {(place, column.name, column.type) for place, column in enumerate(known.columns)}
        after = {(place, column.name, column.type) for place, column in enumerate(now.columns)} if now else set()
        if before - after:
            gone = ", ".join(sorted(column for _, column, _ in before - after))
            raise altered(name, f"{gone} dropped, renamed, moved or of another type" if now else "it was dropped")

    @staticmethod
    def _readable(dataset: Dataset) -> None:
        if dataset.unsupported:
            raise SchemaError(
                f"columns that cannot be read: {', '.join(dataset.unsupported)}", path=dataset.name,
                hint="leave the table out, or read a view without these columns",
            )  # fmt: skip

    def _native(self, dataset: Dataset, name: str) -> catalog.ColumnInfo:
        for column in self._table(dataset.name).columns:
            if column.name == name:
                return column
        raise NotFoundError(f"{dataset.name!r} has no column {name!r}", path=self._settings.display())

    def _plain(self, dataset: Dataset, name: str) -> str:
        """A column whose text the driver hands over exactly."""
        kind = self._native(dataset, name).native.name
        if kind == "float":
            return f"CAST({quoted(name)} AS DOUBLE)"
        return f"{quoted(name)}+0" if kind == "bit" else quoted(name)

    def _cell(self, dataset: Dataset, column: Column) -> tuple[str, bool]:
        """A column's COPY text and whether it can be null. Of the casts a sink can ask for, those that only change
        the text are known: booleans as numbers and instants without their zone, which is UTC."""
        if column.sql is None:
            info = self._native(dataset, column.name)
            if column.cast in ("integer", "smallint") and info.native.name == "bit":
                return f"CAST({quoted(column.name)}+0 AS BINARY)", info.nullable
            if column.cast == "timestamp without time zone" and info.native.name == "timestamp":
                return f"CAST({quoted(column.name)} AS BINARY)", info.nullable
            return wire.cell(column.name, info.native, info.charset), info.nullable
        if column.field is not None and pa.types.is_binary(column.field.type):
            return f"CONCAT(X'5C5C78', CAST(HEX({column.sql}) AS BINARY))", True
        if column.field is not None and pa.types.is_boolean(column.field.type):
            return wire.truth(column.sql), True
        if column.field is not None and pa.types.is_floating(column.field.type):
            return f"CAST(CAST({column.sql} AS DOUBLE) AS BINARY)", True
        if column.field is not None and pa.types.is_timestamp(column.field.type) and column.field.type.tz:
            return f"CONCAT(CAST({column.sql} AS BINARY), X'2B3030')", True
        return wire.text(f"CONVERT({column.sql} USING utf8mb4)"), True

    def _ordering(self, dataset: Dataset, columns: tuple[str, ...]) -> Ordering:
        table = self._table(dataset.name)
        types: dict[str, Native] = {column.name: column.native for column in table.columns}
        return Ordering(table.place, columns, tuple(types[name] for name in columns))

    def _key(self, dataset: Dataset) -> Ordering | None:
        if not dataset.key:
            return None
        ordering = self._ordering(dataset, dataset.key)
        return ordering if all(orders(kind) for kind in ordering.types) else None

    def _ranges(self, stream: Stream, read: Read, *, one: bool) -> Iterator[tuple[str, Position]]:
        """The conditions of the read's ranges, each with the position after it."""
        incremental = read.mode is Mode.INCREMENTAL and bool(read.cursor)
        kind = "cursor" if incremental else "key"
        ordering = self._ordering(read.dataset, (read.cursor or "",)) if incremental else self._key(read.dataset)
        if not (read.after and read.after.get("end")):
            yield from walked(read, kind, ordering, stream.rows, one=one)


def _lines(stream: Stream, select: str, condition: str, where: str | None, counted: dict[str, int]) -> Iterator[bytes]:
    """The lines of one range in blocks; afterwards `counted` has the rows sent and the rows looked at."""
    rows = 0
    table = select.rpartition(" FROM ")[2]
    for block in stream.blocks(f"{select} WHERE ({condition})" + (f" AND ({where})" if where else ""), _FETCH):
        rows += len(block)
        try:
            yield b"".join([row[0] for row in block])  # type: ignore[misc]  # None is what the except is for
        except TypeError:
            raise ReadError(
                "a row is longer than the server's max_allowed_packet", hint="raise it, or use --lane columnar"
            ) from None
    counted["rows"] = counted["read"] = rows
    if where:
        counted["read"] = int(stream.rows(f"SELECT COUNT(*) FROM {table} WHERE {condition}")[0][0] or 0)
