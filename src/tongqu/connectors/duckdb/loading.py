"""How arriving Arrow columns become a table's values, and which rows the table would refuse.

DuckDB has no savepoints and a failed statement ends the transaction, so every row is judged by queries first; the
INSERT that follows cannot fail.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.connectors.duckdb.catalog import Relation
from tongqu.connectors.duckdb.db import DuckDb, place, quoted
from tongqu.connectors.duckdb.types import native_type
from tongqu.core.data import BadRow
from tongqu.core.errors import CastError, RefusedRowsError, SchemaError, WriteError
from tongqu.kit.sql.session import bad_row

ROWS = "_tongqu_rows"
_NUMBER = "_tongqu_number"
_CANONICAL = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
             "UHUGEINT")  # fmt: skip
_DECIMAL = re.compile(r"DECIMAL\(\d+,\s*(\d+)\)")


@dataclass(frozen=True)
class Test:
    """A condition under which a row is refused."""

    sql: str
    code: str
    message: str
    column: str = ""


@dataclass
class Loading:
    """The SELECT list that loads rows into a table's columns, and the tests they must not meet."""

    names: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    tests: list[Test] = field(default_factory=list)

    @property
    def plain(self) -> list[str]:
        """The columns whose values are stored as they arrive."""
        pairs = zip(self.names, self.values, strict=True)
        return [name for name, value in pairs if value == quoted(name)]

    @property
    def insert(self) -> str:
        """`("a", "b") SELECT …` from the registered rows."""
        names = ", ".join(quoted(name) for name in self.names)
        return f"({names}) SELECT {', '.join(self.values)} FROM {ROWS}"


def scannable(rows: pa.Table) -> pa.Table:
    """The rows with columns that DuckDB cannot scan replaced by ones it can, exactly."""
    for number, column in enumerate(rows.schema):
        wanted = _scanned(column.type)
        if wanted is not None:
            rows = rows.set_column(number, column.with_type(wanted), rows.column(number).cast(wanted))
    return rows


def _scanned(type_: pa.DataType) -> pa.DataType | None:
    t = pa.types
    if t.is_decimal(type_) and (type_.precision > 38 or not 0 <= type_.scale <= type_.precision):
        return pa.string()
    if t.is_decimal(type_) and type_.bit_width < 128:
        return pa.decimal128(type_.precision, type_.scale)
    if t.is_float16(type_):
        return pa.float32()
    return pa.date32() if t.is_date64(type_) else None


def plan(schema: pa.Schema, table: Relation, unique: Sequence[tuple[str, ...]]) -> Loading:
    """How rows of this schema are loaded into the table. `unique` are the column sets in which a row may repeat
    neither another arriving row nor a stored one. Raises SchemaError if a column can never fit."""
    loading = Loading()
    for column in table.columns:
        if column.generated or column.name not in schema.names:
            continue
        arriving = schema.field(column.name)
        value, tests = _converted(arriving, column.type)
        loading.names.append(column.name)
        loading.values.append(value)
        loading.tests += tests
        if column.required and arriving.nullable:
            message = f"{column.name} is null and the target's column is NOT NULL"
            loading.tests.append(Test(f"{quoted(column.name)} IS NULL", RefusedRowsError.code, message, column.name))
    for check in table.checks:
        if all(name in loading.names for name in _mentioned(check, table)):
            loading.tests.append(Test(f"NOT ({check})", RefusedRowsError.code, f"the target's CHECK {check} fails"))
    for names in unique:
        loading.tests += _repeats(names, table)
    return loading


def _mentioned(check: str, table: Relation) -> list[str]:
    words = {word.lower() for word in re.findall(r"\w+", check)}
    return [column.name for column in table.columns if column.name.lower() in words]


def _repeats(names: tuple[str, ...], table: Relation) -> list[Test]:
    keys = ", ".join(quoted(name) for name in names)
    known = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in names)
    same = " AND ".join(f"t.{quoted(name)} = {ROWS}.{quoted(name)}" for name in names)
    message = f"another row has the same {', '.join(names)}"
    column = names[0] if len(names) == 1 else ""
    return [
        Test(f"{known} AND row_number() OVER (PARTITION BY {keys} ORDER BY {_NUMBER}) > 1", RefusedRowsError.code,
             message, column),
        Test(f"EXISTS (SELECT 1 FROM {place(table.name)} AS t WHERE {same})", RefusedRowsError.code, message, column),
    ]  # fmt: skip


def _converted(arriving: pa.Field[Any], wanted: str) -> tuple[str, list[Test]]:
    """The expression for one column, and the tests that it loses nothing."""
    name, type_ = quoted(arriving.name), arriving.type
    given = native_type(_scanned(type_) or type_)
    given = _CANONICAL.get(given, given)
    t = pa.types
    message = f"{arriving.name}: a value does not fit the target's type {wanted} exactly"
    if wanted == given:
        return name, []
    times = {"TIMESTAMP WITH TIME ZONE"}
    if t.is_timestamp(type_) and wanted.startswith("TIMESTAMP") and (given in times) != (wanted in times):
        raise SchemaError(
            f"column {arriving.name!r} arrives as {type_} and the target's column is {wanted}",
            field=arriving.name,
            hint="convert it in a step (cast:), or change the target's column",
        )
    value = f"TRY_CAST({name} AS {wanted})"
    lost = [f"{name} IS NOT NULL AND {value} IS NULL"]
    if not _is_text(type_):
        lost.append(f"TRY_CAST({value} AS {given}) IS DISTINCT FROM {name}")
    elif wanted in _INTEGERS:
        lost.append(f"NOT regexp_full_match({name}, '[+-]?[0-9]+')")
    elif found := _DECIMAL.fullmatch(wanted):
        lost.append(f"NOT regexp_full_match({name}, '[+-]?[0-9]*([.][0-9]{{0,{found[1]}}}0*)?')")
    elif wanted.startswith(("TIMESTAMP", "TIME")):
        lost.append(f"regexp_matches({name}, '[.][0-9]{{6}}[0-9]*[1-9]')")
    return value, [Test(condition, CastError.code, message, arriving.name) for condition in lost]


def _is_text(type_: pa.DataType) -> bool:
    t = pa.types
    return t.is_string(type_) or t.is_large_string(type_) or t.is_string_view(type_) or t.is_dictionary(type_)


def sift(db: DuckDb, loading: Loading, rows: pa.Table) -> tuple[pa.Table, list[BadRow]]:
    """Take out the rows that meet a test; one query if there is any test."""
    bad: list[BadRow] = []
    rows = _whole_microseconds(rows, bad)
    if not loading.tests or rows.num_rows == 0:
        return rows, bad
    cases = " ".join(f"WHEN {test.sql} THEN {number}" for number, test in enumerate(loading.tests))
    numbered = scannable(rows).append_column(_NUMBER, pa.array(range(rows.num_rows), pa.int64()))
    query = (
        f"SELECT {_NUMBER}, _test FROM (SELECT {_NUMBER}, CASE {cases} END AS _test FROM {ROWS}) "
        f"WHERE _test IS NOT NULL ORDER BY {_NUMBER}"
    )
    db.connection.register(ROWS, numbered)
    try:
        found = db.rows(query)
    finally:
        db.connection.unregister(ROWS)
    if not found:
        return rows, bad
    for number, which in found:
        test = loading.tests[which]
        code = "cast.invalid" if test.code == CastError.code else "target.refused"
        bad.append(bad_row(rows.slice(number, 1), code, test.message, field=test.column))
    keep = pc.invert(pc.is_in(pa.array(range(rows.num_rows)), value_set=pa.array([number for number, _ in found])))
    return rows.filter(keep), bad


def _whole_microseconds(rows: pa.Table, bad: list[BadRow]) -> pa.Table:
    """DuckDB's zoned times and times of day end at microseconds and it would cut the rest off silently."""
    for column in rows.schema:
        type_ = column.type
        fine = (pa.types.is_timestamp(type_) and type_.tz and type_.unit == "ns") or type_ == pa.time64("ns")
        if not fine:
            continue
        units: Any = rows.column(column.name).cast(pa.int64())
        thousand = pa.scalar(1000, pa.int64())
        whole: Any = pc.fill_null(pc.equal(pc.multiply(pc.divide(units, thousand), thousand), units), True)
        if pc.all(whole).as_py():
            continue
        refused = rows.filter(pc.invert(whole))
        message = f"{column.name}: a time is finer than DuckDB's microseconds"
        for number in range(refused.num_rows):
            bad.append(bad_row(refused.slice(number, 1), "cast.invalid", message, field=column.name))
        rows = rows.filter(whole)
    return rows


def load(db: DuckDb, into: str, loading: Loading, rows: pa.Table) -> int:
    """Insert sifted rows straight from Arrow."""
    db.connection.register(ROWS, scannable(rows))
    try:
        db.run(f"INSERT INTO {into} {loading.insert}")
    except RefusedRowsError as error:
        hint = "the target has a constraint that cannot be tested row by row beforehand"
        raise WriteError(error.message, hint=hint) from error
    finally:
        db.connection.unregister(ROWS)
    return rows.num_rows
