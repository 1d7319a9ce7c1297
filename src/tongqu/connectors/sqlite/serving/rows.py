"""What stands for a table in a query, and stored rows as the columns that a query announced."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, ClassVar

import pyarrow as pa
from sqlglot import exp
from sqlglot.dialects.sqlite import SQLite

from tongqu.connectors.sqlite import catalog
from tongqu.connectors.sqlite.decode import Decoder
from tongqu.connectors.sqlite.serving.functions import EXACT, LOWER, MOMENT, NUMBER, SUM
from tongqu.connectors.sqlite.types import INSTANT, LOCAL, TIME, Kind, affinity, field_of
from tongqu.core.errors import CastError, ExpressionError
from tongqu.core.server import Query
from tongqu.kit.serving.statements import columns_as
from tongqu.kit.serving.texts import logical
from tongqu.kit.sqlite import SqliteDb, quoted, text_literal

_SAMPLE = 1000


class Backticks(SQLite):
    """SQLite's SQL with names in backticks: a name in double quotes that is no column would be taken for a text."""

    class Tokenizer(SQLite.Tokenizer):
        """Names are quoted by the first of these."""

        IDENTIFIERS: ClassVar = ["`", '"', ("[", "]")]


_SEEN = {"integer": "BIGINT", "real": "DOUBLE", "text": "TEXT", "blob": "BLOB"}


def as_compared(table: catalog.Relation) -> dict[str, exp.Expr]:
    """Each column as it is compared: text by code point, digits as numbers, instants in one form."""
    collated = re.search(r"\bCOLLATE\b", table.definition, re.IGNORECASE) is not None
    return {column.name: _compared(column, table.kinds[column.name], collated) for column in table.columns}


def stands(table: catalog.Relation) -> exp.Expr:
    """The table, or a subquery where a column is not compared as it stands there."""
    plain = exp.Table(this=exp.to_identifier(table.name, quoted=True))
    columns = as_compared(table)
    changed = any(not isinstance(made, exp.Column) for made in columns.values())
    return columns_as(plain, columns) if changed else plain


def moments(kind: pa.DataType) -> str:
    """How `functions.moment` calls a type; empty where it is none of its."""
    if kind == TIME:
        return "time"
    return {LOCAL: "local", INSTANT: "instant"}.get(kind, "")


def _compared(column: catalog.ColumnInfo, kind: Kind, collated: bool) -> exp.Expr:
    named = exp.column(column.name, quoted=True)
    if word := moments(kind.type):
        return exp.Anonymous(this=MOMENT, expressions=[named, exp.Literal.string(word)])
    text = affinity(column.declared) == "TEXT"
    digits = pa.types.is_decimal(kind.type) or pa.types.is_uint64(kind.type) or kind.logical == "decimal"
    if text and digits:
        return exp.Collate(this=named, expression=exp.Var(this=NUMBER))
    return exp.Collate(this=named, expression=exp.Var(this="BINARY")) if collated else named


_MOMENT_TYPES = {
    exp.DType.TIMESTAMP: "local", exp.DType.DATETIME: "local", exp.DType.TIMESTAMPTZ: "instant",
    exp.DType.TIME: "time",
}  # fmt: skip


def in_sqlite(tree: exp.Expr) -> exp.Expr:
    """The tree with what SQLite has not by itself: sums that are exact, ILIKE for all letters, and casts to types that
    it only knows as numbers (its own CAST makes 2026 of '2026-01-01' as a date, and a double of a decimal)."""
    for cast in list(tree.find_all(exp.Cast)):
        cast.replace(_cast(cast))
    for node in list(tree.find_all(exp.Sum)):
        node.replace(exp.Anonymous(this=SUM, expressions=[node.this]))
    for like in list(tree.find_all(exp.ILike)):
        both = [exp.Anonymous(this=LOWER, expressions=[part]) for part in (like.this, like.expression)]
        like.replace(exp.Like(this=both[0], expression=both[1]))
    return tree


def _cast(cast: exp.Cast) -> exp.Expr:
    kind, inner = cast.to.this, cast.this
    if word := _MOMENT_TYPES.get(kind):
        return exp.Anonymous(this=MOMENT, expressions=[inner, exp.Literal.string(word)])
    if kind == exp.DType.DATE:
        return exp.Anonymous(this="substr", expressions=[inner, exp.Literal.number(1), exp.Literal.number(10)])
    if kind == exp.DType.DECIMAL:
        return exp.Literal.number(inner.name) if isinstance(inner, exp.Literal) else inner
    return cast


class Columns:
    """Decodes the rows of one query: its columns as announced, its keys as the columns they are."""

    def __init__(self, query: Query, known: Callable[[str], pa.Field[Any] | None]):
        made = query.tree.selects
        self._fields: list[pa.Field[Any] | None] = list(query.columns)
        self._computed = [not isinstance(one.unalias(), exp.Column) for one in made]
        announced = {field.name: field for field in query.columns}
        for one in made[len(query.columns) :]:
            inner = one.unalias()
            name = inner.name if isinstance(inner, exp.Column) else ""
            self._fields.append(announced.get(name) or known(name))

    def table(self, rows: Sequence[Sequence[Any]]) -> pa.Table:
        """Raises CastError naming the column where a value is of another class than its declaration."""
        cells: list[Any] = list(zip(*rows, strict=True)) if rows else [() for _ in self._fields]
        computed = [*self._computed, *[True] * len(cells)]
        arrays, fields = [], []
        for number, (values, field) in enumerate(zip(cells, self._fields, strict=True)):
            array = _array(values, field, computed[number])
            arrays.append(array)
            metadata = field.metadata if field is not None else None
            fields.append(pa.field(str(number), array.type, metadata=metadata))  # keys may have names of columns
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _array(values: Sequence[Any], field: pa.Field[Any] | None, computed: bool) -> pa.Array[Any]:
    if field is None:
        made: pa.Array[Any] = pa.array(values)
        return made
    kind, t = field.type, pa.types
    if computed:
        if t.is_integer(kind) and any(isinstance(value, str) for value in values):
            kind = pa.string()  # a number that a mask shows as text
        elif t.is_floating(kind):
            values = [float(value) if isinstance(value, str) else value for value in values]
        elif t.is_decimal(kind):
            values = [_rounded(value, kind.scale) for value in values]
    found, bad = Decoder(field.name, "", Kind(_read_as(kind), logical(field) or None)).decode(values)
    if bad:
        raise CastError(
            f"a value of {field.name!r} is not what its column is declared as",
            hint="look at it with `tongqu quarantine` after a run, or mend it in the file",
            field=field.name,
        )
    return found if found.type == kind else found.cast(kind)


def _rounded(value: Any, scale: int) -> Any:
    """A computed number with the digits that were announced."""
    if value is None or isinstance(value, int):
        return value
    exact = Decimal(str(value))
    wanted = exact.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_EVEN, EXACT) if exact.is_finite() else exact
    return format(wanted, "f")


def _read_as(kind: pa.DataType) -> pa.DataType:
    t = pa.types
    if t.is_integer(kind) and not t.is_uint64(kind):
        return pa.int64()
    if t.is_floating(kind):
        return pa.float32() if t.is_float32(kind) else pa.float64()
    if t.is_timestamp(kind):
        return INSTANT if kind.tz is not None else LOCAL
    if t.is_time(kind):
        return TIME
    if t.is_boolean(kind) or t.is_decimal(kind) or t.is_date(kind) or t.is_uint64(kind):
        return pa.date32() if t.is_date(kind) else kind
    return pa.binary() if t.is_binary(kind) or t.is_large_binary(kind) else pa.string()


def approved_schema(db: SqliteDb, tree: exp.Query, params: dict[str, Any]) -> pa.Schema:
    """What an approved SELECT gives: declarations where columns are tables' own, else what the first rows hold.

    Needs a connection that may make a temporary view. Raises ExpressionError.
    """
    copy = exp.Paren(this=tree.copy())
    for hole in list(copy.find_all(exp.Placeholder)):
        value = params.get(str(hole.this))
        hole.replace(exp.Null() if value is None else exp.convert(value))
    sql = copy.this.sql(dialect=Backticks)
    connection = db.connection
    try:
        connection.execute(f"CREATE TEMP VIEW _tongqu_asked AS {sql}")
        try:
            told = connection.execute(f"PRAGMA temp.table_info({text_literal('_tongqu_asked')})").fetchall()
            return pa.schema([field_of(str(row[1]), str(row[2] or "") or _seen(db, str(row[1]))) for row in told])
        finally:
            connection.execute("DROP VIEW temp._tongqu_asked")
    except connection.Error as error:
        raise ExpressionError("the statement does not fit the tables", hint=str(error).split("\n")[0][:200]) from error


def _seen(db: SqliteDb, column: str) -> str:
    """A declaration for what the first rows hold."""
    name = quoted(column)
    found = db.connection.execute(
        f"SELECT typeof({name}), count(*) FROM (SELECT {name} FROM temp._tongqu_asked LIMIT {_SAMPLE}) GROUP BY 1"
    ).fetchall()
    kinds = {str(kind) for kind, _ in found} - {"null"}
    if kinds == {"integer", "real"}:
        return "DOUBLE"
    return _SEEN.get(kinds.pop(), "TEXT") if len(kinds) == 1 else "TEXT"
