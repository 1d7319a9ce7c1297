"""Avro messages under a schema registry, read and written by fastavro; the one format made of Python values."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.core.errors import CastError, NotFoundError
from tongqu.kit.drivers import driver
from tongqu.kit.messages.parsed import UNKNOWN_SCHEMA, Failure, Parsed
from tongqu.kit.messages.registry import RegisteredSchema, SchemaRegistry, body, framed, schema_id

Reads = Callable[[bytes], dict[str, Any]]


class RegisteredValues:
    """Reads values whose schemas are in a registry. `make` turns a schema into what reads a value after its id."""

    def __init__(self, registry: SchemaRegistry, make: Callable[[RegisteredSchema], Reads], wire: pa.Schema):
        self._registry, self._make, self._wire = registry, make, wire
        self._readers: dict[int, Reads] = {}

    def parse(self, values: Sequence[bytes]) -> Parsed:
        """The values as rows of the wire's columns."""
        failures: dict[int, Failure] = {}
        rows, places = [], []
        for number, value in enumerate(values):
            document = self._document(value)
            if isinstance(document, Failure):
                failures[number] = document
            else:
                rows.append(document)
                places.append(number)
        table = self._table(rows, places, failures)
        kept = [place for place in places if place not in failures]
        return Parsed(table, np.array(kept, np.int64), failures)

    def documents(self, values: Sequence[bytes | None]) -> list[dict[str, Any]]:
        """A sample's values; what cannot be read is left out."""
        read = [self._document(value) for value in values if value is not None]
        return [one for one in read if isinstance(one, dict)]

    def _document(self, value: bytes) -> dict[str, Any] | Failure:
        number = schema_id(value)
        if number is None:
            return Failure("not in the wire format of a schema registry: it does not begin with a zero byte and an id")
        if number not in self._readers:
            try:
                self._readers[number] = self._make(self._registry.schema(number))
            except NotFoundError:
                return Failure(f"the schema registry has no schema {number}", UNKNOWN_SCHEMA)
            except ValueError as error:
                return Failure(f"the schema {number} cannot be read: {error}", UNKNOWN_SCHEMA)
        try:
            document = self._readers[number](body(value))
        except Exception as error:  # noqa: BLE001  # whatever a damaged value makes the decoder raise
            return Failure(f"the value does not fit its schema {number}: {type(error).__name__} {error}".rstrip())
        return document if isinstance(document, dict) else Failure(f"schema {number} is no record")

    def _table(self, rows: list[dict[str, Any]], places: list[int], failures: dict[int, Failure]) -> pa.Table:
        """The rows that fit the wire's types, found by halving."""
        good, pending = [], [range(len(rows))]
        while pending:
            part = pending.pop()
            try:
                good.append(pa.Table.from_pylist([rows[n] for n in part], schema=self._wire))
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                if len(part) > 1:
                    half = len(part) // 2
                    pending += [part[half:], part[:half]]
                else:
                    failures[places[part[0]]] = Failure(str(error), CastError.code)
        return pa.concat_tables(good) if good else self._wire.empty_table()


def avro_reader(schema: RegisteredSchema) -> Reads:
    """Reads values of an Avro schema; raises ValueError for a schema of another kind or a damaged one."""
    fastavro = driver("fastavro", "avro")
    if schema.kind != "AVRO":
        raise ValueError(f"it is of kind {schema.kind}")
    known: dict[str, Any] = {}
    try:
        for text in reversed(list(schema.references.values())):
            fastavro.parse_schema(json.loads(text), named_schemas=known)
        parsed = fastavro.parse_schema(json.loads(schema.text), named_schemas=known)
    except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType) as error:
        raise ValueError(str(error)) from error

    def read(value: bytes) -> dict[str, Any]:
        stream = io.BytesIO(value)
        document: dict[str, Any] = fastavro.schemaless_reader(stream, parsed)
        if stream.read(1):
            raise ValueError("bytes follow the value")
        return document

    return read


def avro_schema(schema: pa.Schema, name: str) -> dict[str, Any]:
    """An Avro record for an Arrow schema; every field may be null. Types that Avro lacks travel as text."""
    fields = [{"name": field.name, "type": ["null", _avro(field.type)], "default": None} for field in schema]
    return {"type": "record", "name": _word(name), "namespace": "tongqu", "fields": fields}


def writer(registry: SchemaRegistry, subject: str, schema: pa.Schema, name: str) -> Callable[[pa.Table], list[bytes]]:
    """Writes rows of a schema as values under its id."""
    fastavro = driver("fastavro", "avro")
    told = avro_schema(schema, name)
    number = registry.register(subject, "AVRO", json.dumps(told))
    parsed = fastavro.parse_schema(told)
    fits = pa.schema([pa.field(f.name, f.type if _native(f.type) else pa.string()) for f in schema])

    def write(rows: pa.Table) -> list[bytes]:
        made = []
        for row in _shown(rows, fits).to_pylist():
            stream = io.BytesIO()
            fastavro.schemaless_writer(stream, parsed, row)
            made.append(framed(number, stream.getvalue()))
        return made

    return write


def _shown(rows: pa.Table, fits: pa.Schema) -> pa.Table:
    from tongqu.kit.originals import shown_texts

    columns = [
        column if column.type == field.type else shown_texts(column)
        for column, field in zip(rows.columns, fits, strict=True)
    ]
    return pa.table(columns, schema=fits)


def _native(kind: Any) -> bool:
    return not isinstance(_avro(kind), str) or _avro(kind) != "string" or pa.types.is_string(kind)


def _avro(kind: Any) -> str | Mapping[str, Any]:
    t = pa.types
    if t.is_decimal128(kind):
        return {"type": "bytes", "logicalType": "decimal", "precision": kind.precision, "scale": kind.scale}
    if t.is_timestamp(kind) and kind.unit in ("ms", "us"):
        unit = "millis" if kind.unit == "ms" else "micros"
        return {"type": "long", "logicalType": f"{'' if kind.tz else 'local-'}timestamp-{unit}"}
    for fits, name in _NAMES:
        if fits(kind):
            return name
    return {"type": "int", "logicalType": "date"} if t.is_date32(kind) else "string"


_NAMES: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (pa.types.is_boolean, "boolean"),
    (lambda kind: pa.types.is_integer(kind) and kind.bit_width < 32, "int"),
    (pa.types.is_int32, "int"),
    (lambda kind: pa.types.is_integer(kind) and not pa.types.is_uint64(kind), "long"),
    (pa.types.is_float32, "float"),
    (pa.types.is_float64, "double"),
    (pa.types.is_binary, "bytes"),
)


def _word(name: str) -> str:
    made = "".join(letter if letter.isascii() and (letter.isalnum() or letter == "_") else "_" for letter in name)
    return made if made and not made[0].isdigit() else f"_{made}"
