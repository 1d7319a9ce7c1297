"""Rows as JSON and back without losing a digit: how quarantine keeps what was refused, and how it goes in again.

Numbers are JSON numbers, decimals, dates, times, instants and special floats are text (dates out of the years 1 to 9999
are their number of days or units since 1970), binary is hex, nested values are JSON. With the schema (`shape_of`) every
value comes back exactly as it was.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.core.bad_rows import BadRows
from tongqu.core.data import BadRow

_SLICE = 16_384
_CONTROL = r"[\x00-\x1f]"
_ESCAPED = r'[\x00-\x1f"\\]'
_NO_YEAR = r'^"(-|\+|\d{5}|0000)'
"""Dates that ISO 8601 has no four digits for: years before 1 and after 9999."""
_UNITS = re.compile(r"-?\d+")
_DAYS_BEFORE, _DAYS_AFTER = 719_162, 2_932_897
"""Days from 0001-01-01 to 1970-01-01, and from there to 10000-01-01."""
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_PER_DAY: dict[pa.DataType, int] = {pa.date32(): 1, pa.date64(): 86_400_000}


def originals(rows: pa.Table) -> list[str]:
    """Each row as one JSON object, its keys in the order of the columns."""
    texts: Any = original_texts(rows)
    return list(texts.to_pylist())


def original_texts(rows: pa.Table) -> pa.Array[Any]:
    """As `originals`, as an Arrow array of text."""
    found: list[Any] = []
    for batch in rows.to_batches(max_chunksize=_SLICE):
        parts: list[Any] = []
        for number, name in enumerate(batch.schema.names):
            parts += [
                constant(f"{', ' if number else '{'}{json.dumps(name, ensure_ascii=False)}: "),
                _fragment(batch.column(number)),
            ]
        joined: Any = (
            pc.binary_join_element_wise(*parts, constant("}"), constant(""))
            if parts
            else pa.array(["{}"] * batch.num_rows)
        )
        found.append(joined)
    return _concatenated(found)


@lru_cache(maxsize=4096)
def constant(text: str) -> Any:
    """The text for Arrow's kernels, which would try to import a missing module for every Python value they are given
    (`dateutil`, pyarrow 25)."""
    return pa.scalar(text, pa.string())


def shape_of(schema: pa.Schema) -> str:
    """The schema as text, exact, for `restored`."""
    return _encoded(schema, (str(schema.metadata), *((f.name, str(f.metadata)) for f in schema)))


@lru_cache(maxsize=64)
def _encoded(schema: pa.Schema, _metadata: object) -> str:
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def schema_of(shape: str) -> pa.Schema:
    """The schema that `shape_of` wrote."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(shape)))


def shaped(rows: Sequence[BadRow], schema: pa.Schema) -> Sequence[BadRow]:
    """The rows with this shape where they have none yet."""
    if isinstance(rows, BadRows):
        return rows.shaped(shape_of(schema))
    if all(row.shape for row in rows):
        return rows
    shape = shape_of(schema)
    return [row if row.shape else replace(row, shape=shape) for row in rows]


@dataclass
class Restored:
    """Rows that came back. `places` are the indexes of the texts that became `rows`; `failures` say for each other one
    which field is wrong ("" for the whole row) and why."""

    rows: pa.Table
    places: list[int] = field(default_factory=list)
    failures: dict[int, tuple[str, str]] = field(default_factory=dict)


def restored(texts: Sequence[str], schema: pa.Schema) -> Restored:
    """The rows that `originals` wrote; a missing field is null. Texts that do not fit the schema are failures."""
    failures: dict[int, tuple[str, str]] = {}
    values: list[dict[str, Any]] = []
    for number, text in enumerate(texts):
        row, problem = _parsed(text, schema)
        values.append(row)
        if problem:
            failures[number] = problem
    columns: list[Any] = []
    for wanted in schema:
        column = [None if number in failures else row.get(wanted.name) for number, row in enumerate(values)]
        columns.append(_column(column, wanted, failures))
    places = [number for number in range(len(texts)) if number not in failures]
    rows = pa.Table.from_arrays(columns, schema=schema)
    return Restored(rows if not failures else rows.take(pa.array(places, pa.int64())), places, failures)


def _parsed(text: str, schema: pa.Schema) -> tuple[dict[str, Any], tuple[str, str] | None]:
    try:
        row = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except ValueError as error:
        return {}, ("", f"the kept row is not valid JSON: {error}")
    if not isinstance(row, dict):
        return {}, ("", "the kept row is not an object")
    unknown = [name for name in row if name not in schema.names]
    if unknown:
        return {}, (unknown[0], f"the row could not be read as fields; it has {', '.join(unknown)}")
    return row, None


def _column(values: list[Any], wanted: pa.Field[Any], failures: dict[int, tuple[str, str]]) -> Any:
    try:
        return _built(values, wanted.type)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        made = []
        for number, value in enumerate(values):
            try:
                made.append(_built([value], wanted.type))
            except (pa.ArrowException, ValueError, TypeError, OverflowError):
                shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                failures.setdefault(number, (wanted.name, f"{wanted.name} {shown[:80]!r} is not a {wanted.type}"))
                made.append(_built([None], wanted.type))
        return pa.concat_arrays(made) if made else pa.array([], wanted.type)


def _built(values: list[Any], kind: pa.DataType) -> Any:
    if pa.types.is_map(kind):
        return _mapped(values, kind)
    between = _twin(kind)
    leaves = [_leaf(value, kind) for value in values]
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        units = [int(v) if v is not None and _UNITS.fullmatch(v) else None for v in leaves]
        if any(v is not None for v in units):
            texts = [v if n is None else None for v, n in zip(leaves, units, strict=True)]
            whole = pa.array(units, pa.int32() if pa.types.is_date32(kind) else pa.int64()).cast(kind)
            return pc.coalesce(pa.array(texts, between).cast(kind), whole)
    made: Any = pa.array(leaves, between)
    return made if between == kind else _cast(made, kind)


def _mapped(values: list[Any], kind: Any) -> Any:
    pairs = [pair for value in values for pair in value or ()]
    offsets, total = [], 0
    for value in values:
        offsets.append(None if value is None else total)
        total += len(value or ())
    keys = _built([key for key, _ in pairs], kind.key_type)
    items = _built([item for _, item in pairs], kind.item_type)
    starts: Any = pa.array([*offsets, total], pa.int32())
    return pa.MapArray.from_arrays(starts, keys, items)


def _cast(column: Any, kind: pa.DataType) -> Any:
    if pa.types.is_duration(kind):
        return column.cast(pa.int64()).cast(kind)
    if pa.types.is_dictionary(kind):
        return column.cast(kind.value_type).cast(kind)
    if pa.types.is_float16(kind):
        return column.cast(pa.float32()).cast(kind)
    try:
        return column.cast(kind)
    except pa.ArrowInvalid:
        if not pa.types.is_decimal(kind):
            raise
        return pa.array([None if v is None else Decimal(v) for v in column.to_pylist()], kind)


def _twin(kind: Any) -> Any:
    """The type with text in place of every single value, binary excepted."""
    t = pa.types
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        inner = pa.field(kind.value_field.name, _twin(kind.value_type))
        if t.is_fixed_size_list(kind):
            return pa.list_(inner, kind.list_size)
        return pa.large_list(inner) if t.is_large_list(kind) else pa.list_(inner)
    if t.is_struct(kind):
        return pa.struct([pa.field(kind.field(i).name, _twin(kind.field(i).type)) for i in range(kind.num_fields)])
    return kind if _binary(kind) or t.is_large_string(kind) or t.is_time(kind) else pa.string()


def _leaf(value: Any, kind: pa.DataType) -> Any:
    t = pa.types
    if value is None:
        return None
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        if not isinstance(value, list):
            raise TypeError("not a list")
        return [_leaf(item, kind.value_type) for item in value]
    if t.is_struct(kind):
        if not isinstance(value, dict):
            raise TypeError("not an object")
        inner = [kind.field(i) for i in range(kind.num_fields)]
        return {f.name: _leaf(value.get(f.name), f.type) for f in inner}
    if _binary(kind):
        return bytes.fromhex(value)
    if t.is_time(kind):
        return _clock(value, kind.unit)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _clock(text: str, unit: str) -> int:
    """`12:34:56.789` in units since midnight; Arrow has no cast for it."""
    found = re.fullmatch(r"(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?", text)
    if found is None:
        raise ValueError(text)
    hours, minutes, seconds = (int(found[number]) for number in (1, 2, 3))
    fraction = int((found[4] or "").ljust(9, "0"))
    per_second = _PER_SECOND[unit]
    if hours > 23 or minutes > 59 or seconds > 59 or fraction % (10**9 // per_second):
        raise ValueError(text)
    return (hours * 3600 + minutes * 60 + seconds) * per_second + fraction * per_second // 10**9


def _binary(kind: pa.DataType) -> bool:
    t = pa.types
    return t.is_binary(kind) or t.is_large_binary(kind) or (t.is_fixed_size_binary(kind) and not t.is_decimal(kind))


# ---- to JSON


def shown(column: Any) -> list[str | None]:
    """Each value of a column as people read it: text as it is, everything else as `originals` writes it."""
    texts: list[str | None] = shown_texts(column).to_pylist()
    return texts


def shown_texts(column: Any) -> pa.Array[Any]:
    """As `shown`, as an Arrow array of text."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return _concatenated([chunk.cast(pa.string()) for chunk in chunks])
    kernels: Any = pc
    texts = _concatenated([_fragment(chunk) for chunk in chunks])
    missing = pa.nulls(len(texts), pa.string())
    shown: pa.Array[Any] = kernels.if_else(
        kernels.equal(texts, constant("null")), missing, kernels.utf8_trim(texts, '"')
    )
    return shown


def _concatenated(texts: list[Any]) -> pa.Array[Any]:
    return pa.concat_arrays(texts) if texts else pa.array([], pa.string())


def _fragment(column: Any) -> Any:
    """Each value as JSON text, without nulls."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    for fits, make in _FRAGMENTS:
        if fits(kind):
            return pc.fill_null(make(column), constant("null"))
    return pa.array([json.dumps(v, ensure_ascii=False, default=plain) for v in _listed(column)], pa.string())


def _boolean(column: Any) -> Any:
    return pc.if_else(column, constant("true"), constant("false"))


def _whole(column: Any) -> Any:
    return column.cast(pa.string())


def _floating(column: Any) -> Any:
    column = column.cast(pa.float32()) if pa.types.is_float16(column.type) else column
    text = column.cast(pa.string())
    if pc.all(pc.is_finite(column)).as_py() in (True, None):
        return text
    return pc.if_else(pc.is_finite(column), text, _quoted(text))


def _decimal(column: Any) -> Any:
    text = column.cast(pa.string())
    if pc.any(pc.match_substring(text, "E")).as_py():
        text = pa.array([None if v is None else format(v, "f") for v in column.to_pylist()], pa.string())
    return _quoted(text)


def _text(column: Any) -> Any:
    column = column.cast(pa.string()) if column.type != pa.string() else column
    if not pc.match_substring_regex(column, _ESCAPED).true_count:
        return _quoted(column)
    if pc.any(pc.match_substring_regex(column, _CONTROL)).as_py():
        return pa.array([None if v is None else json.dumps(v, ensure_ascii=False) for v in column.to_pylist()])
    return _quoted(pc.replace_substring(pc.replace_substring(column, "\\", "\\\\"), '"', '\\"'))


def _bytes(column: Any) -> Any:
    return pa.array([None if v is None else f'"{v.hex()}"' for v in column.to_pylist()], pa.string())


def _instant(column: Any) -> Any:
    kind = column.type
    units = column.cast(pa.int32() if pa.types.is_date32(kind) or pa.types.is_time32(kind) else pa.int64())
    if pa.types.is_time(kind):
        return _quoted(_without_zeros(column, units))
    if pa.types.is_date(kind):
        text, per_day = _quoted(column.cast(pa.string())), _PER_DAY[kind]
    else:
        wall = units.cast(pa.timestamp(kind.unit))  # Arrow looks the zone up for every instant of one
        shown = pc.replace_substring(_without_zeros(wall, units), " ", "T", max_replacements=1)
        text = _quoted(shown, "" if kind.tz is None else "Z")
        per_day = 86_400 * _PER_SECOND[kind.unit]
    least, most = (end.as_py() or 0 for end in pc.min_max(units).values())
    if -_DAYS_BEFORE * per_day <= least and most < _DAYS_AFTER * per_day:
        return text
    return pc.if_else(pc.match_substring_regex(text, _NO_YEAR), units.cast(pa.string()), text)


def _without_zeros(column: Any, units: Any) -> Any:
    """Times and instants as text, in which whole seconds have no fraction."""
    per_second = _PER_SECOND[column.type.unit]
    text = column.cast(pa.string())
    if per_second == 1:
        return text
    kernels: Any = pc
    per = pa.scalar(per_second, units.type)
    whole = kernels.equal(kernels.multiply(kernels.divide(units, per), per), units)
    if not whole.true_count:
        return text
    return pc.if_else(whole, pc.replace_substring_regex(text, r"\.0+$", ""), text)


def _duration(column: Any) -> Any:
    return column.cast(pa.int64()).cast(pa.string())


def _quoted(text: Any, tail: str = "") -> Any:
    return pc.binary_join_element_wise(constant('"'), text, constant(f'{tail}"'), constant(""))


_FRAGMENTS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[Any], Any]], ...] = (
    (pa.types.is_boolean, _boolean),
    (pa.types.is_integer, _whole),
    (pa.types.is_floating, _floating),
    (pa.types.is_decimal, _decimal),
    (lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind), _text),
    (_binary, _bytes),
    (lambda kind: pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_timestamp(kind), _instant),
    (pa.types.is_duration, _duration),
)


def _listed(column: Any) -> list[Any]:
    """Python values of a nested column; floats that JSON lacks as text."""
    return [_finite(value) for value in column.to_pylist()]


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return value


def plain(value: Any) -> str:
    """A single Python value that JSON lacks, as `originals` writes it."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return str(value)
