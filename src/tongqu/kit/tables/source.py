"""Reads any SQL system whose driver follows Python's DB-API, or is faster: key ranges, increments, splits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import pyarrow as pa

from tongqu.core.connector import Source
from tongqu.core.data import Batch, Dataset, Mode, Position, Read, Split
from tongqu.core.errors import ConnectorError, NotFoundError, SchemaError, altered
from tongqu.core.feeling import STEADY, Feeling, answered
from tongqu.kit.sql.key_ranges import Bound, bounds, walked
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.horizon import horizon
from tongqu.kit.tables.native import Native
from tongqu.kit.tables.ordering import Ordering
from tongqu.kit.tables.shape import Table
from tongqu.kit.tables.system import Reach

_SPLIT_ROWS = 100_000


class TableSource(Source):
    """Each call of `read` has a connection of its own, which sees one instant where the system can; several splits
    each have an instant of their own."""

    def __init__(self, reach: Reach):
        self.reach = reach
        """The way to the server."""
        self._catalog: TableDb | None = None
        self._tables: dict[str, Table] = {}
        self._lock = threading.RLock()

    def check(self) -> Iterator[str]:
        """See Source.check."""
        yield from self.reach.stages()
        with self._looking() as db:
            yield from self.reach.secured(db)
            yield "login"
            catalogue = self.reach.catalogue(db)
            found = catalogue.names(catalogue.schema)
        yield "privilege"
        yield f"sample: {len(found)} tables"

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets."""
        with self._looking() as db:
            found = self.reach.catalogue(db).tables(patterns)
            self._tables.update({table.name: table for table in found})
            return [table.dataset(db.dialect.field) for table in found]

    def can_resume(self, dataset: Dataset) -> bool:
        """See Source.can_resume: keys of floats, bytes and texts of any length cannot be cut."""
        return self._key(dataset) is not None

    def splits(self, dataset: Dataset, wanted: int) -> list[Split]:
        """See Source.splits: cut by counting along the key."""
        ordering = self._key(dataset)
        if ordering is None:
            return [Split("0", dataset.name)]
        with self._looking() as db:
            greatest = bounds(db.rows(ordering.last()))
            if greatest is None:
                return [Split("0", dataset.name)]
            cuts: list[Bound] = []
            if wanted > 1:
                rows = int(db.rows(f"SELECT COUNT(*) FROM {ordering.table}")[0][0])
                parts = wanted if rows >= _SPLIT_ROWS else 1
                for n in range(1, parts):
                    cut = bounds(db.rows(ordering.probe(None, None, max(1, rows * n // parts))))
                    if cut is not None and cut != greatest and cut not in cuts:
                        cuts.append(cut)
        ends: list[Bound | None] = [None, *cuts, greatest]
        return [
            Split(str(number), dataset.name, {"lower": lower, "upper": upper})
            for number, (lower, upper) in enumerate(pairwise(ends))
        ]

    def horizon(self, dataset: Dataset, cursor: str, after: Position | None, *, ties: bool = True) -> Position | None:
        """See Source.horizon."""
        ordering = self._ordering(dataset, (cursor,))
        with self._looking() as db:
            return horizon(db, self.reach, dataset, ordering, after, ties=ties)

    def read(self, read: Read) -> Iterator[Batch]:
        """See Source.read."""
        if read.after and read.after.get("end"):
            return
        self._readable(read.dataset)
        columns = read.columns or read.dataset.columns
        schema = pa.schema([read.dataset.schema.field(name) for name in columns])
        db = self.reach.connect(reading=True)
        try:
            place = self._place(db, read.dataset.name)
            listed = ", ".join(self._expression(db, read.dataset.name, name) for name in columns)
            for condition, position in self._ranges(db, read, one=read.until is not None):
                query = f"SELECT {listed} FROM {place} WHERE {condition}"
                yield from self._range(db, read, query, schema, position)
                if read.stop.is_set():
                    return
        finally:
            db.close()

    def _range(self, db: TableDb, read: Read, query: str, schema: pa.Schema, position: Position) -> Iterator[Batch]:
        """The batches of one range; only the last carries the position."""
        held: pa.RecordBatch | None = None
        try:
            for rows in db.batches(query, schema, read.batch_rows):
                if held is not None:
                    yield Batch(read.dataset.name, held, None)
                held = rows
                if read.stop.is_set():
                    return
        except ConnectorError as error:
            if not error.retryable:
                self._unaltered(read.dataset.name)
            raise
        self._unaltered(read.dataset.name)
        empty = pa.RecordBatch.from_pylist([], schema=schema)
        yield Batch(read.dataset.name, empty if held is None else held, position)

    def _ranges(self, db: TableDb, read: Read, *, one: bool) -> Iterator[tuple[str, Position]]:
        """The conditions of the read's ranges, each with the position after it."""
        incremental = read.mode is Mode.INCREMENTAL and bool(read.cursor)
        kind = "cursor" if incremental else "key"
        ordering = self._ordering(read.dataset, (read.cursor or "",)) if incremental else self._key(read.dataset)
        yield from walked(read, kind, ordering, db.rows, one=one)

    def feel(self, between: Callable[[], object] | None = None) -> Feeling:
        """See Felt.feel: the question is which schema we are in, and one that cannot be asked that is always well; how
        replicas do is not asked."""
        with self._looking() as db:
            words = db.dialect.words
            if words is None or not words.schema:
                return STEADY
            return Feeling(answered(lambda: db.rows(words.schema), between))

    def close(self) -> None:
        """See Source.close."""
        with self._lock:
            if self._catalog is not None:
                self._catalog.close()
                self._catalog = None

    # ---- inside

    @contextmanager
    def _looking(self) -> Iterator[TableDb]:
        """The connection for catalogues, one thread's at a time. No transaction is left open: it would hold locks."""
        with self._lock:
            db = self._db()
            try:
                yield db
            finally:
                db.rollback()

    def _db(self) -> TableDb:
        if self._catalog is not None and self._catalog.broken:
            self.close()
        if self._catalog is None:
            self._catalog = self.reach.connect(reading=True)
        return self._catalog

    def _table(self, name: str) -> Table:
        with self._lock:
            if name in self._tables:
                return self._tables[name]
            with self._looking() as db:
                catalogue = self.reach.catalogue(db)
                found = catalogue.find(name)
                if found is None:
                    near = ", ".join(table for table, _ in catalogue.names(catalogue.schema)[:8])
                    raise NotFoundError(
                        f"there is no table {name!r}", path=db.where, hint=f"there are: {near or 'none'}"
                    )
                self._tables[name] = found
            return self._tables[name]

    def _place(self, db: TableDb, name: str) -> str:
        table = self._table(name)
        return db.dialect.place(table.schema, table.table)

    def _expression(self, db: TableDb, table: str, name: str) -> str:
        column = self._table(table).column(name)
        if column is None:
            raise NotFoundError(f"{table!r} has no column {name!r}", path=db.where)
        return db.dialect.readable(db.dialect.quote(name), Native.parse(column.native))

    def _unaltered(self, name: str) -> None:
        """Raise SchemaError if the table's columns are not those that were discovered; more of them do not matter."""
        known = self._table(name)
        with self._looking() as db:
            now = self.reach.catalogue(db).find(name)
        before = {(column.name, column.native) for column in known.columns}
        after = {(column.name, column.native) for column in now.columns} if now else set()
        if before - after:
            gone = ", ".join(sorted(column for column, _ in before - after))
            raise altered(name, f"{gone} dropped, renamed or of another type" if now else "it was dropped")

    @staticmethod
    def _readable(dataset: Dataset) -> None:
        if dataset.unsupported:
            raise SchemaError(
                f"columns that cannot be read: {', '.join(dataset.unsupported)}", path=dataset.name,
                hint="leave the table out, or read a view without these columns",
            )  # fmt: skip

    def _ordering(self, dataset: Dataset, columns: tuple[str, ...]) -> Ordering:
        table = self._table(dataset.name)
        found = {column.name: Native.parse(column.native) for column in table.columns}
        missing = [name for name in columns if name not in found]
        if missing:
            hint = f"its columns are: {', '.join(found)}"
            raise SchemaError(f"{dataset.name!r} has no column {missing[0]!r}", field=missing[0], hint=hint)
        types = tuple(found[name] for name in columns)
        with self._looking() as db:
            return Ordering(db.dialect, db.dialect.place(table.schema, table.table), columns, types)

    def _key(self, dataset: Dataset) -> Ordering | None:
        if not dataset.key:
            return None
        with self._lock:
            ordering = self._ordering(dataset, dataset.key)
        return ordering if all(ordering.dialect.orders(kind) for kind in ordering.types) else None
