"""Turns Arrow batches into the rows of PostgreSQL's COPY BINARY, a column at a time.

The stream is `HEADER`, the rows of any number of batches, `TRAILER`; it needs `client_encoding = UTF8`. Formats:
PostgreSQL's documentation of COPY, section "Binary Format", and `array_recv` in the server's `arrayfuncs.c`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tongqu.connectors.postgres import encode_values as values
from tongqu.connectors.postgres.encode_numeric import numeric_cells
from tongqu.connectors.postgres.encode_rows import (
    NULLS,
    BadValueError,
    Cells,
    StreamTooLongError,
    binary_array,
    join_rows,
    numpy_view,
    validity,
)
from tongqu.core.errors import CastError, SchemaError

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""Signature, flags and length of the header extension; sent once, before the first row."""

TRAILER = b"\xff\xff"
"""Sent once, after the last row."""

_SLICE_ROWS = 8192  # the pieces of one slice stay in the processor's cache: three times faster than 64 k rows
_SLICE_BYTES = 4 << 20

Encode: TypeAlias = "Callable[[pa.Array[Any]], Cells]"


class _PgType(NamedTuple):
    name: str
    modifiers: tuple[int, ...]
    is_array: bool


_TYPE = re.compile(
    r"(?P<name>[^(\[]+?)(?:\((?P<modifiers>-?\d+(?:,-?\d+)?)\))?(?P<zone> with(?:out)? time zone)?(?P<array>\[\])?"
)
_INTEGERS: dict[str, npt.DTypeLike] = {
    "smallint": np.int16,
    "integer": np.int32,
    "bigint": np.int64,
    "oid": np.uint32,
}
_TEXTS = {"text", "character varying", "character", "bpchar", "name", '"char"', "json"}
_OIDS = {
    "boolean": 16,
    "bytea": 17,
    '"char"': 18,
    "name": 19,
    "bigint": 20,
    "smallint": 21,
    "integer": 23,
    "text": 25,
    "oid": 26,
    "json": 114,
    "real": 700,
    "double precision": 701,
    "character": 1042,
    "bpchar": 1042,
    "character varying": 1043,
    "date": 1082,
    "time without time zone": 1083,
    "timestamp without time zone": 1114,
    "timestamp with time zone": 1184,
    "numeric": 1700,
    "uuid": 2950,
    "jsonb": 3802,
}


def supports(arrow_type: pa.DataType, pg_type: str) -> bool:
    """Whether `Encoder` takes such a column: every value it encodes arrives exactly, and every other is refused.

    `pg_type` is written as the server's `format_type()` prints it. False where the server would have to convert
    (naive timestamps into `timestamp with time zone`, floats into `numeric`, text into numbers, float64 into `real`)
    and for types with no encoder (`interval`, enumerations, domains, arrays of arrays).
    """
    return _encoder(arrow_type, pg_type) is not None


class Encoder:
    """Encodes batches of one schema for the columns of one table.

    `types` are the target columns' types in the order of `schema`, as the server's `format_type()` prints them.
    Raises `SchemaError` when a column is not one that `supports` accepts.
    """

    def __init__(self, schema: pa.Schema, types: Sequence[str]) -> None:
        if len(types) != len(schema):
            raise SchemaError(f"{len(schema)} columns in the batch, {len(types)} in the target table")
        self._columns: list[tuple[str, Encode]] = []
        for field, pg_type in zip(schema, types, strict=True):
            encode = _encoder(field.type, pg_type)
            if encode is None:
                message = f"column {field.name}: {field.type} has no exact binary form as {pg_type}"
                raise SchemaError(message, hint="copy it as text, or cast it in a step", field=field.name)
            self._columns.append((field.name, encode))
        self._schema = schema
        self._lead = len(types).to_bytes(2, "big")

    def encode(self, batch: pa.RecordBatch) -> bytes | memoryview:
        """The rows of `batch` (at any offset), without header and trailer; empty for no rows.

        Raises `CastError` with `field` and `row` for a value the target column cannot hold exactly; other rows may
        be bad too. Length limits of text and the validity of JSON are left to the server.
        """
        chunks = list(self.chunks(batch))
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def chunks(self, batch: pa.RecordBatch) -> Iterator[memoryview]:
        """As `encode`, in pieces of whole rows (a few MB at most unless single rows are larger)."""
        if batch.schema.types != self._schema.types:
            raise SchemaError("the batch's column types are not those the encoder was made for")
        rows = batch.num_rows
        step = max(1, min(_SLICE_ROWS, rows * _SLICE_BYTES // max(batch.nbytes, 1)))
        for start in range(0, rows, step):
            yield from self._slice(batch, start, min(start + step, rows))

    def _slice(self, batch: pa.RecordBatch, start: int, stop: int) -> Iterator[memoryview]:
        part = batch.slice(start, stop - start)
        columns: list[Cells] = []
        try:
            for (name, encode), array in zip(self._columns, part.columns, strict=True):
                try:
                    columns.append(encode(array))
                except BadValueError as bad:
                    row = start + bad.row
                    message = f"column {name}, row {row}: {bad.message}"
                    raise CastError(message, hint=bad.hint, field=name, row=row) from None
            stream = join_rows(stop - start, columns, self._lead)[0].data
        except StreamTooLongError:
            if stop - start == 1:
                message = f"row {start} is larger than the 1 GB a PostgreSQL row can have"
                raise CastError(message, row=start) from None
            middle = (start + stop) // 2
            yield from self._slice(batch, start, middle)
            yield from self._slice(batch, middle, stop)
        else:
            yield stream


def _parse(pg_type: str) -> _PgType | None:
    found = _TYPE.fullmatch(pg_type)
    if found is None:
        return None
    modifiers = tuple(int(part) for part in (found["modifiers"] or "").split(",") if part)
    return _PgType(found["name"] + (found["zone"] or ""), modifiers, found["array"] is not None)


def _encoder(kind: pa.DataType, pg_type: str) -> Encode | None:
    if pa.types.is_null(kind):
        return lambda array: NULLS
    parsed = _parse(pg_type)
    if parsed is None:
        return None
    encode = _array_encoder(kind, parsed) if parsed.is_array else _scalar_encoder(kind, parsed)
    return None if encode is None else partial(_present, encode)


def _present(encode: Encode, array: pa.Array[Any]) -> Cells:
    """Value buffers of arrays without any value may be missing: these never reach an encoder."""
    return NULLS if array.null_count == len(array) else encode(array)


def _scalar_encoder(kind: pa.DataType, pg: _PgType) -> Encode | None:
    if isinstance(kind, pa.DictionaryType):
        return _through(_scalar_encoder(kind.value_type, pg), _decoded)
    if isinstance(kind, pa.UuidType | pa.JsonType):
        fits = isinstance(kind, pa.UuidType) == (pg.name == "uuid")
        return _through(_scalar_encoder(kind.storage_type, pg), _storage) if fits else None
    if pg.name == "numeric":
        return _numeric_encoder(kind, pg.modifiers)
    if pg.name in {"real", "double precision"}:
        return _float_encoder(kind, pg.name)
    fits, encode = _plain_encoder(kind, pg)
    return encode if fits else None


def _plain_encoder(kind: pa.DataType, pg: _PgType) -> tuple[bool, Encode | None]:
    """Whether the Arrow type fits the PostgreSQL type, and the encoder of the latter."""
    zoned = isinstance(kind, pa.TimestampType) and kind.tz is not None
    integer = partial(values.integer_cells, target=_INTEGERS.get(pg.name, np.int64), pg_name=pg.name)
    timestamp = partial(values.timestamp_cells, modifiers=pg.modifiers)
    text = partial(values.text_cells, pg_name=pg.name)
    table: dict[str, tuple[bool, Encode]] = {
        **dict.fromkeys(_INTEGERS, (pa.types.is_integer(kind), integer)),
        **dict.fromkeys(_TEXTS, (_is_text(kind), text)),
        "boolean": (pa.types.is_boolean(kind), values.boolean_cells),
        "bytea": (_is_bytes(kind), values.bytes_cells),
        "date": (pa.types.is_date(kind), values.date_cells),
        "time without time zone": (pa.types.is_time(kind), partial(values.time_cells, modifiers=pg.modifiers)),
        "timestamp with time zone": (zoned, timestamp),
        "timestamp without time zone": (pa.types.is_timestamp(kind) and not zoned, timestamp),
        "uuid": (_is_text(kind) or kind == pa.binary(16), values.uuid_cells),
        "jsonb": (_is_text(kind), values.jsonb_cells),
    }
    return table.get(pg.name, (False, None))


def _through(encode: Encode | None, prepare: Callable[[Any], pa.Array[Any]]) -> Encode | None:
    """Encode what `prepare` makes of the array: the type is an envelope around the one encoded."""
    return None if encode is None else lambda array: _present(encode, prepare(array))


def _decoded(array: pa.DictionaryArray[Any, Any]) -> pa.Array[Any]:
    return array.dictionary_decode()


def _storage(array: pa.ExtensionArray[Any]) -> pa.Array[Any]:
    return cast("pa.Array[Any]", array.storage)


def _numeric_encoder(kind: pa.DataType, modifiers: tuple[int, ...]) -> Encode | None:
    if pa.types.is_integer(kind):
        return partial(numeric_cells, scale=0, modifiers=modifiers)
    if isinstance(kind, pa.Decimal128Type | pa.Decimal256Type):
        return partial(numeric_cells, scale=kind.scale, modifiers=modifiers)
    if isinstance(kind, pa.Decimal32Type | pa.Decimal64Type):
        wide, scale = pa.decimal128(kind.precision, kind.scale), kind.scale
        return lambda array: numeric_cells(array.cast(wide), scale, modifiers)
    return None


def _float_encoder(kind: pa.DataType, pg_name: str) -> Encode | None:
    narrow = pg_name == "real"
    exact = pa.types.is_floating(kind) and kind.bit_width <= (32 if narrow else 64)
    exact = exact or (pa.types.is_integer(kind) and kind.bit_width <= (16 if narrow else 32))
    return partial(values.float_cells, target=np.float32 if narrow else np.float64) if exact else None


def _array_encoder(kind: pa.DataType, pg: _PgType) -> Encode | None:
    if not isinstance(kind, pa.ListType | pa.LargeListType) or pg.name not in _OIDS:
        return None
    if pa.types.is_null(kind.value_type):
        return partial(_array_cells, encode=lambda array: NULLS, oid=_OIDS[pg.name])
    encode = _scalar_encoder(kind.value_type, pg)
    return None if encode is None else partial(_array_cells, encode=partial(_present, encode), oid=_OIDS[pg.name])


def _array_cells(array: pa.Array[Any], encode: Encode, oid: int) -> Cells:
    """One dimension from 1: int32 dimensions, flag "has nulls", element type, length, lower bound, elements."""
    assert isinstance(array, pa.ListArray | pa.LargeListArray)  # noqa: S101 (the encoder was chosen by this type)
    valid = validity(array)
    offset_type = np.int32 if isinstance(array, pa.ListArray) else np.int64
    counts = np.diff(numpy_view(array.buffers()[1], offset_type)[array.offset : array.offset + len(array) + 1])
    counts = np.where(True if valid is None else valid, counts, 0).astype(np.int64)
    ends = np.concatenate([[0], np.cumsum(counts)])
    elements = array.flatten()
    try:
        cells = encode(elements)
    except BadValueError as bad:
        row = int(np.searchsorted(ends, bad.row, side="right")) - 1
        message = f"element {bad.row - int(ends[row]) + 1}: {bad.message}"
        raise BadValueError(row, message, bad.hint) from None
    stream, starts = join_rows(len(elements), [cells], b"")
    offsets = starts[ends]
    has_nulls = int(elements.null_count > 0)
    head = b"".join(number.to_bytes(4, "big") for number in (1, has_nulls, oid))
    body = binary_array(offsets, stream)
    return Cells((head, counts.astype(np.int32), (1).to_bytes(4, "big"), body), 20 + np.diff(offsets), valid)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    plain = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    return plain or pa.types.is_fixed_size_binary(kind)
