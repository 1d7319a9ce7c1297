"""Reads a key range of a table as Arrow batches (ADBC), exact in every type; values it cannot hold are bad rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.connectors.postgres.db import SESSION, quoted, translate
from tongqu.connectors.postgres.settings import PostgresSettings
from tongqu.connectors.postgres.types import PgType
from tongqu.core.data import BadRow, Dataset, Meta
from tongqu.core.errors import TongquError
from tongqu.kit.drivers import driver

BAD = "_tongqu_bad"
WHICH, ROW = "_tongqu_which", "_tongqu_row"
_BATCH_BYTES = 8 << 20


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
        except self._error as error:
            raise self._translate(error) from None

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """A small query's rows, for bounds."""
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(query)
                return list(cursor.fetchall())
        except self._error as error:
            raise self._translate(error) from None

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
    no Arrow value equals (infinite dates, NaN in numeric) become null and set `_tongqu_bad`."""
    parts, bad = [], []
    for name in columns:
        kind = PgType(_native(dataset, name))
        sql = quoted(name)
        arrow = dataset.schema.field(name).type
        logical = (dataset.schema.field(name).metadata or {}).get(Meta.LOGICAL.encode())
        if logical is not None or (pa.types.is_list(arrow) and pa.types.is_decimal(arrow.value_type)):
            number = "::numeric" if kind.name == "money" else ""
            brackets = "[]" if kind.array else ""
            sql = f"{sql}{number}{brackets if number else ''}::text{brackets}"
        elif kind.name in ("date", "timestamp without time zone", "timestamp with time zone") and not kind.array:
            bad.append(f"NOT isfinite({sql})")
            sql = f"CASE WHEN isfinite({sql}) THEN {sql} END"
        elif kind.name == "numeric" and not kind.array:
            bad.append(f"{sql} = 'NaN'::numeric")
            sql = f"NULLIF({sql}, 'NaN'::numeric)"
        elif kind.name == "oid" and not kind.array:
            sql = f"{sql}::bigint"
        elif kind.name in ("name", "character"):
            sql = (
                f"{sql}::text[]"
                if kind.array
                else f"rpad({sql}::text, {_width(kind)})"
                if kind.mods
                else f"{sql}::text"
            )
        parts.append(f"{sql} AS {quoted(name)}")
    if bad:
        parts.append(f"COALESCE({' OR '.join(bad)}, FALSE) AS {quoted(BAD)}")
    return ", ".join(parts)


def _width(kind: PgType) -> int:
    return kind.mods[0] if kind.mods else 1


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
    tests = {}
    for name in columns:
        kind = PgType(_native(dataset, name))
        if kind.array or (dataset.schema.field(name).metadata or {}).get(Meta.LOGICAL.encode()) is not None:
            continue
        if kind.name in ("date", "timestamp without time zone", "timestamp with time zone"):
            tests[name] = f"NOT isfinite({quoted(name)})"
        elif kind.name == "numeric":
            tests[name] = f"{quoted(name)} = 'NaN'::numeric"
    cases = " ".join(f"WHEN {test} THEN '{name.replace(chr(39), chr(39) * 2)}'" for name, test in tests.items())
    query = (
        f"SELECT {WHICH}, to_jsonb({ROW}) ->> {WHICH}, (to_jsonb({ROW}) - '{WHICH}')::text "
        f"FROM (SELECT *, CASE {cases} END AS {WHICH} "
        f"FROM {table} WHERE ({condition}) AND ({' OR '.join(tests.values())})) AS {ROW}"
    )
    return [
        BadRow("source", "read.no_such_value", field, value, original, f"{field} is {value}, which has no finite value")
        for field, value, original in reader.rows(query)
    ]
