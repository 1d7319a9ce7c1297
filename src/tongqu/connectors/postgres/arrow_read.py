"""Reads a key range of a table as Arrow batches (ADBC), exact in every type; values it cannot hold are bad rows."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.connectors.postgres.db import SESSION, quoted, translate
from tongqu.connectors.postgres.settings import PostgresSettings
from tongqu.connectors.postgres.types import PgType
from tongqu.core.data import BadRow, Dataset, Meta
from tongqu.core.errors import TongquError
from tongqu.kit.drivers import driver

End = TypeVar("End")

BAD = "_tongqu_bad"
WHICH, ROW = "_tongqu_which", "_tongqu_row"
_BATCH_BYTES = 4 << 20
_INTEGER_DIGITS = 18
"""Decimals of so many digits travel as the 64-bit integer of their digits; ADBC makes text of numeric."""


class ArrowReader:
    """One connection that reads ranges inside one snapshot."""

    def __init__(self, settings: PostgresSettings, snapshot: str | None):
        self._settings = settings
        adbc = driver("adbc_driver_postgresql.dbapi", "postgres")
        self._error = driver("adbc_driver_manager", "postgres").Error
        try:
            self._connection = adbc.connect(_url(settings))
            with self._connection.cursor() as cursor:
                for key, value in SESSION.items():
                    cursor.execute(f"SET {key} = '{value}'")
                if settings.schema_name:
                    cursor.execute(f"SET search_path TO {quoted(settings.schema_name)}")
                self._connection.commit()
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                if snapshot:
                    cursor.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
        except self._error as error:
            raise self._translate(error) from None

    def batches(self, query: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The query's rows in the wanted schema, with a trailing boolean column `_tongqu_bad` if it selects one."""
        try:
            with self._connection.cursor() as cursor:
                cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(_BATCH_BYTES)})
                cursor.execute(query)
                for batch in cursor.fetch_record_batch():
                    if batch.num_rows:
                        yield shaped(batch, schema)
        except (self._error, OSError) as error:  # Arrow's streams say only OSError of a connection that broke
            raise self._translate(error) from None

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """A small query's rows, for bounds."""
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(query)
                return list(cursor.fetchall())
        except self._error as error:
            raise self._translate(error) from None

    def end(self, search: Generator[str, Sequence[Sequence[object]], End]) -> End:
        """What a search that yields queries and is sent their rows finds."""
        try:
            query = next(search)
            while True:
                query = search.send(self.rows(query))
        except StopIteration as found:
            result: End = found.value
            return result

    def close(self) -> None:
        """Release the connection."""
        try:
            self._connection.close()
        except self._error:
            return

    def _translate(self, error: Any) -> TongquError:
        state = getattr(error, "sqlstate", None) or ""
        return translate(self._settings, state.strip("\0"), str(error))


def _url(settings: PostgresSettings) -> str:
    words = {key: str(value) for key, value in settings.libpq().items()}
    words["application_name"] = "tongqu source"
    return "postgresql:///?" + urlencode(words, quote_via=quote)


def select_list(dataset: Dataset, columns: tuple[str, ...]) -> str:
    """The columns as ADBC reads them exactly: types without an Arrow form are cast to text by the server, values that
    no Arrow value equals become null and set `_tongqu_bad`."""
    parts, bad = [], []
    for name in columns:
        sql = _exact(dataset, name)
        misfit = _misfit(dataset, name)
        if misfit:
            bad.append(misfit)
            sql = f"CASE WHEN {misfit} THEN NULL ELSE {sql} END"
        parts.append(f"{sql} AS {quoted(name)}")
    if bad:
        parts.append(f"COALESCE({' OR '.join(bad)}, FALSE) AS {quoted(BAD)}")
    return ", ".join(parts)


def _exact(dataset: Dataset, name: str) -> str:
    """The column in a form that ADBC reads without loss."""
    kind, sql = PgType(_native(dataset, name)), quoted(name)
    arrow = dataset.schema.field(name).type
    brackets = "[]" if kind.array else ""
    if kind.name == "money":
        return f"{sql}::numeric{brackets}::text{brackets}"
    if _logical(dataset, name) or (kind.array and pa.types.is_decimal(arrow.value_type)):
        return f"{sql}::text{brackets}"
    if not kind.array and isinstance(arrow, pa.Decimal128Type) and arrow.precision <= _INTEGER_DIGITS:
        return f"({sql} * {10**arrow.scale})::bigint"
    if kind.name == "oid":
        return f"{sql}::bigint{brackets}"
    if kind.name == "character" and kind.mods and not kind.array:
        return f"rpad({sql}::text, {kind.mods[0]})"
    return f"{sql}::text{brackets}" if kind.name in ("name", "character") else sql


_ENDLESS = ("date", "timestamp without time zone", "timestamp with time zone")


def _misfit(dataset: Dataset, name: str) -> str:
    """A condition that is true for values Arrow cannot hold (infinite times, NaN in numeric(p,s), arrays with several
    dimensions or another first index); empty if the type has none."""
    kind, sql = PgType(_native(dataset, name)), quoted(name)
    endless = kind.name in _ENDLESS
    nan = kind.name == "numeric" and not _logical(dataset, name)
    if not kind.array:
        return f"NOT isfinite({sql})" if endless else f"{sql} = 'NaN'::numeric" if nan else ""
    tests = [f"array_ndims({sql}) > 1", f"array_lower({sql}, 1) <> 1"]
    if endless:
        tests.append(f"EXISTS (SELECT FROM unnest({sql}) AS item WHERE NOT isfinite(item))")
    if nan:
        tests.append(f"'NaN'::numeric = ANY ({sql})")
    return f"COALESCE({' OR '.join(tests)}, FALSE)"


def _logical(dataset: Dataset, name: str) -> bool:
    return (dataset.schema.field(name).metadata or {}).get(Meta.LOGICAL.encode()) is not None


def _native(dataset: Dataset, name: str) -> str:
    native = (dataset.schema.field(name).metadata or {}).get(Meta.NATIVE.encode(), b"postgres:text").decode()
    return native.partition(":")[2]


def shaped(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch in the wanted types; only casts that lose nothing."""
    arrays, fields = [], []
    for field in schema:
        array = batch.column(field.name)
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        if array.type != field.type:
            array = _cast(array, field.type)
        arrays.append(array)
        fields.append(field)
    if BAD in batch.schema.names:
        arrays.append(batch.column(BAD))
        fields.append(pa.field(BAD, pa.bool_()))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _cast(array: Any, kind: pa.DataType) -> Any:
    if pa.types.is_list(array.type) and pa.types.is_list(kind):
        values = array.values
        if isinstance(values, pa.ExtensionArray):
            values = values.storage
        values = pc.cast(values, kind.value_type)
        return pa.ListArray.from_arrays(array.offsets, values, type=kind, mask=array.is_null())
    if pa.types.is_integer(array.type) and pa.types.is_decimal(kind):
        digits = pc.cast(array, pa.decimal128(_INTEGER_DIGITS + 1, 0))
        return pa.Array.from_buffers(kind, len(digits), digits.buffers(), offset=digits.offset)
    return pc.cast(array, kind)


def take_bad(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
    """The batch without its bad rows and without the marker; and how many were bad."""
    if BAD not in batch.schema.names:
        return batch, 0
    flags = batch.column(BAD)
    count = int(pc.sum(flags).as_py() or 0)
    clean = batch.drop_columns([BAD])
    return (clean.filter(pc.invert(flags)) if count else clean), count


def bad_rows(
    reader: ArrowReader, dataset: Dataset, columns: tuple[str, ...], condition: str, table: str
) -> list[BadRow]:
    """The rows of a range whose values Arrow cannot hold, as the server writes them in JSON."""
    tests = {name: misfit for name in columns if (misfit := _misfit(dataset, name))}
    cases = " ".join(f"WHEN {test} THEN '{name.replace(chr(39), chr(39) * 2)}'" for name, test in tests.items())
    query = (
        f"SELECT {WHICH}, to_jsonb({ROW}) ->> {WHICH}, (to_jsonb({ROW}) - '{WHICH}')::text "
        f"FROM (SELECT *, CASE {cases} END AS {WHICH} "
        f"FROM {table} WHERE ({condition}) AND ({' OR '.join(tests.values())})) AS {ROW}"
    )
    return [
        BadRow(
            "source",
            "read.no_such_value",
            field,
            value,
            original,
            f"{field} holds {value}, for which the target has no value",
        )
        for field, value, original in reader.rows(query)
    ]
