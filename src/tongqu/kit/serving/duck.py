"""Answers a query with DuckDB: over a database file of its own, or over files it was told of."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from sqlglot import exp

from tongqu.core.data import Meta
from tongqu.core.errors import (
    AnswerError,
    BusyError,
    CastError,
    DuplicateError,
    ExpressionError,
    InvalidPlanError,
    NotFoundError,
    ReadError,
    RefusedRowsError,
    TongquError,
)
from tongqu.core.server import Cost, Format, Limits, Page, Query
from tongqu.kit.drivers import driver
from tongqu.kit.serving.encode import page, pieces, within
from tongqu.kit.serving.statements import Statement, Statements
from tongqu.kit.serving.threads import Running
from tongqu.meaning.masks import KEYED, Mask, masked

BATCH = 8192
Kind = Callable[[str], "tuple[str | None, str | None]"]
"""For DuckDB's name of a type: the cast that makes Arrow hold its values (None: it does), and their logical type."""


def plain_kind(native: str) -> tuple[str | None, str | None]:
    """The kind of a type where nothing is known but its name."""
    if native in ("INTERVAL", "BIT", "TIME WITH TIME ZONE", "TIME_NS", "UHUGEINT", "BIGNUM", "VARIANT", "GEOMETRY"):
        return "VARCHAR", "decimal" if native in ("UHUGEINT", "BIGNUM") else "text"
    return None, {"JSON": "json", "UUID": "uuid"}.get(native)


class Duck:
    """Queries of one server. `cursor` is each time a connection of its own, used by nobody else meanwhile."""

    def __init__(self, statements: Statements, shown: str, kind: Kind = plain_kind):
        self._statements, self._shown, self._kind = statements, shown, kind

    def page(self, cursor: Any, query: Query, format: Format, limits: Limits, running: Running) -> Page:
        """See Server.query."""
        with self.told(), running.interruptible(cursor.interrupt):
            reader = self._reader(cursor, self._statements.of(query.tree), query.params)
            batches, rows, size = [], 0, 0
            for batch in reader:
                rows, size = rows + batch.num_rows, size + batch.nbytes
                within(limits, rows=rows, size=size // 2)  # Arrow may need more bytes than the answer
                batches.append(batch)
        return page(pa.Table.from_batches(batches, reader.schema), query, format, limits)

    def pieces(self, cursor: Any, query: Query, format: Format, limits: Limits, running: Running) -> Iterator[bytes]:
        """See Server.stream."""
        with self.told(), running.interruptible(cursor.interrupt):
            reader = self._reader(cursor, self._statements.of(query.tree), query.params)
            tables = (pa.Table.from_batches([batch], reader.schema) for batch in reader)
            yield from pieces(tables, query, format, limits, reader.schema)

    def schema(self, cursor: Any, tree: exp.Query, params: Mapping[str, Any]) -> pa.Schema:
        """What an approved statement gives. Raises ExpressionError."""
        duckdb = driver("duckdb", "duckdb")
        statement = self._statements.written(tree)
        try:
            found = cursor.sql(f"SELECT * FROM ({statement.sql}) LIMIT 0", params=statement.values(params) or None)
            return self._batches(found).schema
        except duckdb.Error as error:
            raise ExpressionError(
                "the statement does not fit the tables", hint=str(error).split("\n")[0][:200]
            ) from error

    def cost(self, cursor: Any, query: Query) -> Cost:
        """See Server.explain: rows are the sum over all reads of tables, the figure that over all operators."""
        with self.told():
            statement = self._statements.of(query.tree)
            values = statement.values(query.params)
            found = cursor.sql(f"EXPLAIN (FORMAT json) {statement.sql}", params=values or None).fetchall()
        nodes = json.loads(found[0][1])
        rows, total = _summed(nodes)
        return Cost(max(rows, 1.0), total, "\n".join(_lines(nodes)))

    def _reader(self, cursor: Any, statement: Statement, params: Mapping[str, Any]) -> pa.RecordBatchReader:
        values = statement.values(params)
        return self._batches(cursor.sql(statement.sql, params=values or None))

    def _batches(self, found: Any) -> pa.RecordBatchReader:
        kinds = [self._kind(str(native)) for native in found.types]
        if any(cast for cast, _ in kinds):
            columns = [
                f"#{number}" if cast is None else f"CAST(#{number} AS {cast})"
                for number, (cast, _) in enumerate(kinds, 1)
            ]
            names = [f'"{name}"' for name in (column.replace('"', '""') for column in found.columns)]
            found = found.project(", ".join(f"{c} AS {n}" for c, n in zip(columns, names, strict=True)))
        reader = found.to_arrow_reader(BATCH)
        meant = [
            field.with_metadata({str(Meta.LOGICAL): logical}) if logical else field
            for field, (_, logical) in zip(reader.schema, kinds, strict=True)
        ]
        schema = pa.schema(meant)
        renamed = (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in reader)
        return pa.RecordBatchReader.from_batches(schema, renamed)

    @contextmanager
    def told(self) -> Iterator[None]:
        """A context in which DuckDB's errors become ours, without values and SQL."""
        duckdb = driver("duckdb", "duckdb")
        try:
            yield
        except duckdb.Error as error:
            raise self._error(duckdb, error) from error

    def _error(self, duckdb: Any, error: Exception) -> TongquError:
        said, where = str(error), self._shown
        if isinstance(error, duckdb.ConstraintException):
            if "uplicate key" in said or "unique" in said.lower():
                return DuplicateError(f"{where}: a row of this key is there already")
            column = re.search(r"constraint failed: \S*?\.(\w+)", said)
            return RefusedRowsError(f"{where}: a row breaks a constraint", field=column[1] if column else "")
        if isinstance(error, duckdb.ConversionException | duckdb.OutOfRangeException):
            return CastError(f"{where}: a value cannot be represented in the type that was asked for")
        if isinstance(error, duckdb.TransactionException):
            return BusyError(f"{where}: the rows are being changed by somebody else", hint="try again")
        if isinstance(error, duckdb.OutOfMemoryException):
            return AnswerError(f"{where}: the query needs more memory than the connection allows", hint="ask for less")
        if isinstance(error, duckdb.CatalogException) and "does not exist" in said:
            return NotFoundError(f"{where}: a table of the query is not there", hint="was it renamed or dropped?")
        if isinstance(error, duckdb.BinderException | duckdb.CatalogException | duckdb.ParserException):
            return ReadError(f"{where}: the query does not fit the table", hint="was a column renamed or dropped?")
        return ReadError(f"{where}: the query failed ({type(error).__name__})")


def hidden(mask: Mask, field: pa.Field[Any]) -> exp.Expr | None:
    """See Server.mask: what `meaning.masks.masked` writes is DuckDB's own; None where it does not fit."""
    if mask.with_ in KEYED:
        return None
    try:
        return masked(mask, field.name, pa.schema([field]))
    except (InvalidPlanError, ExpressionError):
        return None


def _summed(nodes: list[dict[str, Any]]) -> tuple[float, float]:
    rows = total = 0.0
    for node in nodes:
        told = node.get("extra_info") or {}
        expected = float(str(told.get("Estimated Cardinality", 0)).replace(",", "") or 0)
        below, sum_below = _summed(node.get("children") or [])
        own = expected if not node.get("children") else 0.0
        rows, total = rows + below + own, total + sum_below + expected
    return rows, total


def _lines(nodes: list[dict[str, Any]], depth: int = 0) -> Iterator[str]:
    for node in nodes:
        told = node.get("extra_info") or {}
        about = [f"{key}: {told[key]}" for key in ("Table", "Filters", "Estimated Cardinality") if key in told]
        yield "  " * depth + " ".join([str(node.get("name", "")).strip(), *about])
        yield from _lines(node.get("children") or [], depth + 1)
