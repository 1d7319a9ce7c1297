"""Reads a DuckDB file: each table in one snapshot, in ranges of its key, straight into Arrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.connectors.duckdb import catalog
from tongqu.connectors.duckdb.db import DuckDb, literal, open_source, place, quoted
from tongqu.connectors.duckdb.settings import DuckdbSettings
from tongqu.connectors.duckdb.types import selected
from tongqu.core.compare import Comparable, Comparison
from tongqu.core.connector import Source
from tongqu.core.data import BadRow, Batch, Dataset, Mode, Position, Read, Split
from tongqu.core.errors import CastError, SchemaError
from tongqu.core.scan import Scan
from tongqu.kit.sql.session import bad_row

Bound = list[str]


@dataclass(frozen=True)
class _Order:
    """The columns a read is cut along and their types; `cursor` tells that the first one is a cursor."""

    table: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    cursor: bool = False

    def after(self, bound: Bound, operator: str = ">") -> str:
        """The condition for rows beyond a bound, over as many columns as it has; the first column alone comes first,
        so that whole row groups are skipped by their statistics."""
        names = [quoted(name) for name in self.columns[: len(bound)]]
        values = [f"CAST({literal(v)} AS {t})" for v, t in zip(bound, self.types[: len(bound)], strict=True)]
        strict, closed = operator[0], f"{operator[0]}="
        if len(names) == 1:
            return f"{names[0]} {operator} {values[0]}"
        cases = []
        for number, (name, value) in enumerate(zip(names, values, strict=True)):
            last = number == len(names) - 1
            equal = [f"{n} = {v}" for n, v in zip(names[:number], values[:number], strict=True)]
            cases.append(" AND ".join([*equal, f"{name} {operator if last else strict} {value}"]))
        return f"{names[0]} {closed} {values[0]} AND ({' OR '.join(cases)})"

    def bound(self, position: Position) -> Bound:
        """The bound of a position."""
        cursor = [str(position["cursor"])] if "cursor" in position else []
        return cursor + [str(value) for value in position.get("key", ())]

    def position(self, bound: Bound) -> Position:
        """The position at a bound."""
        return {"cursor": bound[0], "key": bound[1:]} if self.cursor else {"key": bound}

    def cuts(self, where: str, rows: int) -> str:
        """The query for every `rows`-th bound and the last one, in order."""
        names = ", ".join(quoted(name) for name in self.columns)
        texts = ", ".join(f"CAST({quoted(name)} AS VARCHAR)" for name in self.columns)
        return (
            f"SELECT {texts} FROM (SELECT {names}, row_number() OVER (ORDER BY {names}) AS _n, "
            f"count(*) OVER () AS _all FROM {self.table} WHERE {where}) WHERE _n % {rows} = 0 OR _n = _all ORDER BY _n"
        )


class DuckdbSource(Source):
    """Reads one DuckDB file. It holds the file only while it reads, so that others can write it in between."""

    def __init__(self, settings: DuckdbSettings):
        self._settings = settings

    def check(self) -> Iterator[str]:
        """See Source.check."""
        db = open_source(self._settings)
        try:
            yield "file"
            found = catalog.names(db)
            yield "format"
            for name in found[:1]:
                db.rows(f"SELECT * FROM {place(name)} LIMIT 1")
            yield "sample"
        finally:
            db.close()

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets."""
        db = open_source(self._settings)
        try:
            return catalog.datasets(db, patterns)
        finally:
            db.close()

    def splits(self, dataset: Dataset, wanted: int) -> list[Split]:
        """One part, since DuckDB itself uses all processors; its end is today's greatest key."""
        del wanted
        if not dataset.key:
            return [Split("0", dataset.name)]
        db = open_source(self._settings)
        try:
            order = _order(catalog.need(db, dataset.name), dataset.key)
            names = ", ".join(f"{quoted(name)} DESC" for name in order.columns)
            texts = ", ".join(f"CAST({quoted(name)} AS VARCHAR)" for name in order.columns)
            last = db.rows(f"SELECT {texts} FROM {order.table} ORDER BY {names} LIMIT 1")
        finally:
            db.close()
        return [Split("0", dataset.name, {"lower": None, "upper": list(last[0]) if last else None})]

    def horizon(self, dataset: Dataset, cursor: str, after: Position | None, *, ties: bool = True) -> Position | None:
        """See Source.horizon: `{"cursor": text}`.

        Only this process can have transactions on the file. Without `ties` times within a second of now are left for
        the next run. Raises SchemaError if a cursor is null.
        """
        db = open_source(self._settings)
        try:
            order = _order(catalog.need(db, dataset.name), (), cursor)
            column, table, kind = quoted(cursor), order.table, order.types[0]
            nulls, top = db.rows(
                f"SELECT count(*) FILTER (WHERE {column} IS NULL), CAST(max({column}) AS VARCHAR) FROM {table}"
            )[0]
            if nulls:
                raise SchemaError(
                    f"{nulls} rows of {dataset.name!r} have no {cursor!r} and would never be read",
                    path=dataset.name,
                    field=cursor,
                    hint="fill the column, choose another cursor, or use --mode full",
                )
            if not ties and kind.startswith("TIMESTAMP"):
                first = db.rows(f"SELECT CAST(min({column}) AS VARCHAR) FROM {table} WHERE {_fresh(column, kind)}")[0][
                    0
                ]
                if first is not None:
                    top = db.rows(
                        f"SELECT CAST(max({column}) AS VARCHAR) FROM {table} WHERE {order.after([first], '<')}"
                    )[0][0]
            if after is None:
                return None if top is None else {"cursor": top}
            previous = order.bound({"cursor": after["cursor"]})
            until = f"{column} <= CAST({literal(top)} AS {kind})" if top is not None else "false"
            ahead = db.rows(f"SELECT 1 FROM {table} WHERE {order.after(previous)} AND {until} LIMIT 1")
            if not ahead and not ties:
                return None
            return {"cursor": top if ahead else previous[0]}
        finally:
            db.close()

    def read(self, read: Read) -> Iterator[Batch]:
        """See Source.read. The whole read sees one snapshot, taken when the first batch is asked for."""
        db = open_source(self._settings)
        try:
            db.begin()
            yield from _batches(db, catalog.need(db, read.dataset.name), read)
        finally:
            db.rollback()
            db.close()

    def comparing(self, dataset: Dataset, comparison: Comparison, condition: str = "") -> Comparable | None:
        """See Source.comparing."""
        from tongqu.connectors.duckdb.compare import comparable

        return comparable(self._settings, dataset, comparison, condition)

    @contextmanager
    def scan(self, dataset: Dataset) -> Iterator[Scan]:
        """See Source.scan."""
        db = open_source(self._settings)
        try:
            with db.translated():
                yield Scan(db.connection, place(catalog.need(db, dataset.name).name))
        finally:
            db.close()


def _fresh(column: str, kind: str) -> str:
    """The condition for times within a second of now, as UTC or as the machine's own time."""
    now = datetime.now(UTC)
    spans = []
    for moment in {now, now.astimezone().replace(tzinfo=UTC)}:
        low, high = ((moment + timedelta(seconds=s)).isoformat(sep=" ") for s in (-1, 1))
        spans.append(f"{column} BETWEEN CAST({literal(low)} AS {kind}) AND CAST({literal(high)} AS {kind})")
    return " OR ".join(spans)


def _order(table: catalog.Relation, key: Sequence[str], cursor: str | None = None) -> _Order:
    types = {column.name: column.type for column in table.columns}
    names = (*([cursor] if cursor else []), *key)
    for name in names:
        if name not in types:
            raise SchemaError(
                f"{table.name} has no column {name!r}", field=name, hint=f"its columns are: {', '.join(types)}"
            )
    return _Order(place(table.name), names, tuple(types[name] for name in names), bool(cursor))


def _batches(db: DuckDb, table: catalog.Relation, read: Read) -> Iterator[Batch]:
    incremental = read.mode is Mode.INCREMENTAL and read.cursor
    key = tuple(name for name in read.dataset.key if any(c.name == name for c in table.columns)) or table.key
    order = _order(table, key, read.cursor if incremental else None)
    names = [column.name for column in table.columns if read.columns is None or column.name in read.columns]
    full = catalog.schema(table)
    schema = pa.schema([full.field(name) for name in names])
    columns = ", ".join(selected(name, column.kind) for column in table.columns if (name := column.name) in names)
    query = f"SELECT {columns} FROM {place(table.name)}"
    if read.after is not None and read.after.get("end"):
        return
    if not order.columns:
        for rows, bad in _rows(db, query, schema, read):
            yield Batch(read.dataset.name, rows, None, bad=bad)
        if not read.stop.is_set():
            yield Batch(read.dataset.name, pa.RecordBatch.from_pylist([], schema=schema), {"end": True})
        return
    lower, limits = _limits(order, read)
    reached: Position = {}
    cuts = [list(cut) for cut in db.rows(order.cuts(" AND ".join([*lower, *limits]) or "true", read.chunk_rows))]
    for cut in cuts:
        where = " AND ".join([*lower, order.after(cut, "<=")])
        held: tuple[pa.RecordBatch, tuple[BadRow, ...]] | None = None
        for part in _rows(db, f"{query} WHERE {where}", schema, read):
            if held is not None:
                yield Batch(read.dataset.name, held[0], None, bad=held[1])
            held = part
        if read.stop.is_set():
            return
        reached = order.position(cut)
        if held is not None:
            yield Batch(read.dataset.name, held[0], reached, bad=held[1])
        lower = [order.after(cut)]
    yield Batch(
        read.dataset.name, pa.RecordBatch.from_pylist([], schema=schema), read.until or {**reached, "end": True}
    )


def _limits(order: _Order, read: Read) -> tuple[list[str], list[str]]:
    """Where the read begins, and the conditions that end it."""
    spec = read.split.spec
    lower: list[str] = []
    if read.after is not None:
        lower = [order.after(order.bound(read.after))]
    elif spec.get("lower"):
        lower = [order.after(spec["lower"])]
    elif spec.get("after"):
        lower = [order.after(order.bound({"cursor": spec["after"]["cursor"]}), ">=" if read.ties else ">")]
    limits = [order.after(order.bound(end), "<=") for end in (read.until, spec.get("until")) if end is not None]
    if spec.get("upper"):
        limits.append(order.after(spec["upper"], "<="))
    return lower, limits


def _rows(db: DuckDb, query: str, schema: pa.Schema, read: Read) -> Iterator[tuple[pa.RecordBatch, tuple[BadRow, ...]]]:
    """The result in batches, each with the rows that hold an infinite date or time, which Arrow has not."""
    reader: Any = db.sql(query).to_arrow_reader(read.batch_rows)
    with db.translated():
        for batch in reader:
            if read.stop.is_set():
                return
            arrays = [
                column if column.type == field.type else column.cast(field.type)
                for column, field in zip(batch.columns, schema, strict=True)
            ]
            yield _finite(pa.RecordBatch.from_arrays(arrays, schema=schema))


def _finite(rows: pa.RecordBatch) -> tuple[pa.RecordBatch, tuple[BadRow, ...]]:
    bad: list[BadRow] = []
    for field in rows.schema:
        if not (pa.types.is_timestamp(field.type) or field.type == pa.date32()):
            continue
        whole = pa.int32() if field.type == pa.date32() else pa.int64()
        numbers: Any = rows.column(field.name).cast(whole)
        greatest = 2 ** (whole.bit_width - 1) - 1
        infinite: Any = pc.is_in(numbers, value_set=pa.array([greatest, -greatest], whole))
        if not pc.any(infinite).as_py():
            continue
        for row in (rows.filter(infinite).slice(number, 1) for number in range(pc.sum(infinite).as_py() or 0)):
            message = f"{field.name} is an infinite {'date' if whole == pa.int32() else 'time'}, which only DuckDB has"
            bad.append(bad_row(pa.Table.from_batches([row]), CastError.code, message, field=field.name, step="read"))
        rows = rows.filter(pc.invert(infinite))
    return rows, tuple(bad)
