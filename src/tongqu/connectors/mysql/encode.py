"""Turns Arrow columns into the text that LOAD DATA or a multi-row INSERT reads, a column at a time.

What the server would change without a word is refused here: fractions into integers or shorter DATETIMEs, numbers that
a float cannot hold, ENUM values given by number, two-digit YEARs, NaN. The rest is left to the strict session.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.connectors.mysql.types import INTEGERS, Native
from tongqu.core.errors import CastError
from tongqu.core.kernels import pc

_SLICE_ROWS = 16_384
_SLICE_BYTES = 32 << 20
_SPECIAL = "[\\\\\\t\\n\\r\\x00']"
_TSV = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"), ("\0", "\\0"))
_SQL = (("\\", "\\\\"), ("'", "''"), ("\0", "\\0"))
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


@dataclass(frozen=True)
class Target:
    """A column that values go into."""

    name: str
    type: str

    @property
    def native(self) -> Native:
        """The parsed type."""
        return Native.parse(self.type)

    @property
    def members(self) -> frozenset[str]:
        """The values of an ENUM or SET."""
        inside = self.type[self.type.find("(") + 1 : self.type.rfind(")")]
        return frozenset(found.replace("''", "'") for found in re.findall(r"'((?:[^']|'')*)'", inside))


@dataclass(frozen=True)
class _Text:
    values: Any
    form: str
    """`plain`: safe as it is; `text`: to be escaped; `hex`: bytes in hexadecimal."""


def lines(rows: pa.Table, targets: Sequence[Target]) -> Iterator[memoryview]:
    """The rows as LOAD DATA's default text: tab, newline, backslash escapes, `\\N`. Bytes are hexadecimal.

    Raises CastError with field and row for a value the target cannot hold exactly.
    """
    for part, start in _slices(rows):
        cells = []
        for target in targets:
            text = _column(part.column(target.name), target, start)
            values = _escaped(text.values, _TSV) if text.form == "text" else text.values
            cells.append(pc.fill_null(values, "\\N"))
        yield _joined(cells, "\t", "", "\n")


def tuples(rows: pa.Table, targets: Sequence[Target]) -> Iterator[tuple[int, str]]:
    """The rows as `(…),(…)` for INSERT … VALUES, in parts with their number of rows; the way in without LOAD DATA."""
    for part, start in _slices(rows):
        cells = []
        for target in targets:
            text = _column(part.column(target.name), target, start)
            values = text.values
            if text.form == "hex":
                values = pc.binary_join_element_wise("X'", values, "'", "")
            elif text.form == "text":
                values = pc.binary_join_element_wise("'", _escaped(values, _SQL), "'", "")
            elif target.native.name not in INTEGERS and target.native.name != "bit":
                values = pc.binary_join_element_wise("'", values, "'", "")
            cells.append(pc.fill_null(values, "NULL"))
        yield part.num_rows, bytes(_joined(cells, ",", "(", "),")[:-1]).decode()


def _slices(rows: pa.Table) -> Iterator[tuple[pa.Table, int]]:
    step = max(1, min(_SLICE_ROWS, _SLICE_BYTES * max(rows.num_rows, 1) // max(rows.nbytes, 1)))
    for start in range(0, rows.num_rows, step):
        yield rows.slice(start, step).combine_chunks(), start


def _joined(cells: list[Any], between: str, before: str, after: str) -> memoryview:
    row = pc.binary_join_element_wise(*cells, between) if len(cells) > 1 else cells[0]
    whole = pc.binary_join_element_wise(before, row, after, "")
    array = whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    buffers: Any = array.buffers()
    _, offsets, data = buffers
    ends = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    return memoryview(data)[int(ends[0]) : int(ends[-1])]


def _escaped(values: Any, pairs: Sequence[tuple[str, str]]) -> Any:
    if not pc.any(pc.match_substring_regex(values, _SPECIAL)).as_py():
        return values
    for raw, escaped in pairs:
        values = pc.replace_substring(values, raw, escaped)
    return values


def _column(column: Any, target: Target, start: int) -> _Text:
    array: Any = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    try:
        return _text(array, target, start)
    except (pa.ArrowInvalid, OverflowError) as error:
        row = _first_failing(array, target)
        raise CastError(f"{target.name}: {error}", field=target.name, row=start + row) from None


def _first_failing(array: Any, target: Target) -> int:
    low, count = 0, len(array)
    while count > 1:
        half = count // 2
        try:
            _text(array.slice(low, half), target, 0)
        except (pa.ArrowInvalid, OverflowError):
            count = half
        else:
            low, count = low + half, count - half
    return low


def _text(array: Any, target: Target, start: int) -> _Text:
    kind, native = array.type, target.native
    if pa.types.is_null(kind):
        return _Text(pa.nulls(len(array), pa.string()), "plain")
    if pa.types.is_boolean(kind):
        return _Text(pc.if_else(array, "1", "0"), "plain")
    if pa.types.is_integer(kind):
        return _Text(_integers(array, target, start), "plain")
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _Text(_numbers(array, target, start), "plain")
    if pa.types.is_timestamp(kind) or pa.types.is_time(kind) or pa.types.is_date(kind):
        return _Text(_moments(array, target, start), "plain")
    if pa.types.is_duration(kind):
        return _Text(array.cast(pa.duration("us")).cast(pa.int64()).cast(pa.string()), "plain")
    if pa.types.is_nested(kind):
        return _Text(_json(array), "text")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _texts(array.cast(pa.string()), target, start, native)
    return _Text(_hex(array.cast(pa.binary())), "hex")


def _refuse(good: Any, array: Any, target: Target, start: int, why: str) -> None:
    """Raise CastError for the first value that is not good; nulls are."""
    bad = pc.invert(pc.fill_null(good, fill_value=True))
    if pc.any(bad).as_py():
        row = pc.index(bad, True).as_py()
        value = array.slice(row, 1)
        shown = value.cast(pa.string()) if pa.types.is_temporal(array.type) else value  # Python has no nanoseconds
        raise CastError(f"{target.name}: {shown[0].as_py()!r} {why}", field=target.name, row=start + row)


def _integers(array: Any, target: Target, start: int) -> Any:
    name = target.native.name
    if name in ("float", "double"):
        limit = 2**24 if name == "float" else 2**53
        if limit < 2 ** (array.type.bit_width - 1):
            lowest = 0 if pa.types.is_unsigned_integer(array.type) else -limit
            good = pc.and_(pc.less_equal(array, limit), pc.greater_equal(array, lowest))
            _refuse(good, array, target, start, f"has more digits than {target.type}")
    if name == "year":
        _refuse(pc.or_(pc.equal(array, 0), pc.greater_equal(array, 1901)), array, target, start, "is not a YEAR")
    return array.cast(pa.string())


def _numbers(array: Any, target: Target, start: int) -> Any:
    name = target.native.name
    if pa.types.is_floating(array.type):
        array = array.cast(pa.float32()) if pa.types.is_float16(array.type) else array
        _refuse(pc.is_finite(array), array, target, start, "cannot be stored: MySQL has no NaN and no infinity")
        if name == "double":
            array = array.cast(pa.float64())
        if name == "float" and pa.types.is_float64(array.type):
            short = array.cast(pa.float32(), safe=False).cast(pa.float64())
            _refuse(pc.equal(short, array), array, target, start, "does not fit into a FLOAT exactly")
        if name in INTEGERS:
            _refuse(pc.equal(pc.floor(array), array), array, target, start, f"has a fraction, {target.type} has none")
            return array.cast(pa.int64()).cast(pa.string())
        return array.cast(pa.string())
    if name in INTEGERS:
        return array.cast(pa.decimal256(76, 0)).cast(pa.string())
    if name in ("double", "float"):
        back = array.cast(pa.float64()).cast(array.type, safe=False)
        _refuse(pc.equal(back, array), array, target, start, f"does not fit into a {target.type} exactly")
    return array.cast(pa.string())


def _moments(array: Any, target: Target, start: int) -> Any:
    kind, native = array.type, target.native
    if pa.types.is_timestamp(kind) and kind.tz:
        array = array.cast(pa.timestamp(kind.unit, "UTC")).cast(pa.timestamp(kind.unit))
    unit = getattr(array.type, "unit", "s")
    if native.name in ("datetime", "timestamp", "time", "date") and not pa.types.is_date(kind):
        digits = native.digits if native.name != "date" else 0
        if native.name == "date":
            _refuse(pc.equal(pc.floor_temporal(array, unit="day"), array), array, target, start, "has a time of day")
        elif digits < _DIGITS[unit]:
            whole = array.cast(pa.int32() if array.type.bit_width == 32 else pa.int64()).cast(pa.int64())
            factor = 10 ** (_DIGITS[unit] - digits)
            good = pc.equal(pc.multiply(pc.divide(whole, factor), factor), whole)
            _refuse(good, array, target, start, f"is finer than {target.type}")
    if unit == "ns":
        array = array.cast(pa.timestamp("us") if pa.types.is_timestamp(array.type) else pa.time64("us"))
    if pa.types.is_date64(kind):
        array = array.cast(pa.date32())
    return array.cast(pa.string())


def _texts(array: Any, target: Target, start: int, native: Native) -> _Text:
    name = native.name
    if name in ("enum", "set"):
        members = target.members
        known = {
            value
            for value in pc.unique(array).to_pylist()
            if value is not None
            and (value in members if name == "enum" else all(p in members for p in value.split(",") if value))
        }
        good = pc.is_in(array, value_set=pa.array(sorted(known), pa.string()))
        _refuse(pc.or_(good, pc.is_null(array)), array, target, start, f"is not one of {target.type}")
    elif name in INTEGERS or name in ("year", "bit"):
        good = pc.match_substring_regex(array, r"^-?[0-9]+$")
        _refuse(good, array, target, start, "is not a whole number")
    elif name in ("date", "datetime", "timestamp"):
        _moments(array.cast(pa.timestamp("us")), target, start)
    return _Text(array, "text")


def _hex(array: Any) -> Any:
    """Hexadecimal text of binary values: one pass over all bytes, offsets doubled."""
    _, offsets, data = array.buffers()
    empty = len(array) == 0 or offsets is None
    ends = np.zeros(1, np.int64) if empty else np.frombuffer(offsets, np.int32)[array.offset :][: len(array) + 1]
    text = memoryview(data)[int(ends[0]) : int(ends[-1])].hex().encode() if data is not None else b""
    doubled = pa.py_buffer(((ends.astype(np.int64) - int(ends[0])) * 2).astype(np.int32).tobytes())
    validity = pa.concat_arrays([array.is_valid()]).buffers()[1] if array.null_count else None
    return pa.StringArray.from_buffers(len(array), doubled, pa.py_buffer(text), validity, array.null_count)


def _json(array: Any) -> Any:
    """Lists, structs and maps as JSON text, by DuckDB."""
    import duckdb

    with duckdb.connect() as connection:
        values = pa.table({"v": array})
        connection.register("values_in", values)
        found = connection.sql("SELECT CASE WHEN v IS NULL THEN NULL ELSE to_json(v)::VARCHAR END FROM values_in")
        return found.to_arrow_table().column(0).combine_chunks().cast(pa.string())
