"""Names of column types as people write them in settings, and texts turned into values of a type."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from tongqu.core.data import Meta
from tongqu.core.errors import InvalidSettingsError
from tongqu.core.kernels import pc
from tongqu.kit.formats.inference import Array

NAMES: dict[str, pa.DataType] = {
    **dict.fromkeys(("string", "text", "varchar"), pa.string()),
    **dict.fromkeys(("bool", "boolean"), pa.bool_()),
    **dict.fromkeys(("int16", "smallint"), pa.int16()),
    **dict.fromkeys(("int32", "integer", "int"), pa.int32()),
    **dict.fromkeys(("int64", "bigint"), pa.int64()),
    **dict.fromkeys(("float", "real", "float32"), pa.float32()),
    **dict.fromkeys(("double", "float64"), pa.float64()),
    "date": pa.date32(),
    "time": pa.time64("us"),
    **dict.fromkeys(("timestamp", "datetime"), pa.timestamp("us")),
    "timestamptz": pa.timestamp("us", "UTC"),
    **dict.fromkeys(("binary", "bytes"), pa.binary()),
}
_LOGICAL = ("json", "uuid")
_DECIMAL = re.compile(r"(?:decimal|numeric)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")
_LIKELY = {
    "int": r"^-?\d{1,20}$",
    "decimal": r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$",
    "timestamp": r"^\d{4}-\d\d-\d\d",
    "date": r"^\d{4}-\d\d-\d\d$",
    "time": r"^\d\d:\d\d",
}
_BATCH = 16


def named(column: str, name: str) -> pa.Field[Any]:
    """The field of a type name (`int64`, `decimal(12,3)`, `timestamptz`, `uuid` …); raises InvalidSettingsError."""
    text = name.strip().lower()
    if text in NAMES:
        return pa.field(column, NAMES[text])
    if text in _LOGICAL:
        return pa.field(column, pa.string(), metadata={Meta.LOGICAL: text})
    match = _DECIMAL.fullmatch(text)
    if match and 1 <= int(match[1]) <= 38 and int(match[2] or 0) <= int(match[1]):
        return pa.field(column, pa.decimal128(int(match[1]), int(match[2] or 0)))
    raise InvalidSettingsError(
        f"unknown type {name!r} of column {column!r}",
        path=f"types.{column}",
        hint=f"valid types: {', '.join([*NAMES, *_LOGICAL])}, decimal(p,s) with p <= 38",
    )


def convert(texts: Array, wanted: pa.DataType, decimal: str = ".") -> tuple[Array, Array | None]:
    """Texts as values of a type, and which cells could not be (a mask, or None if all could); those are null.

    Surrounding white space of anything but text is ignored. Binary is base64.
    """
    if pa.types.is_string(wanted):
        return texts, None
    trimmed = pc.utf8_trim_whitespace(texts)
    if decimal != "." and (pa.types.is_decimal(wanted) or pa.types.is_floating(wanted)):
        trimmed = pc.replace_substring(trimmed, decimal, ".")
    try:
        return _cast(trimmed, wanted), None
    except (pa.ArrowInvalid, ValueError):
        refused = pc.is_in(trimmed, value_set=_refused(trimmed, wanted))
        kept = pc.if_else(refused, pa.scalar(None, pa.string()), trimmed)
        return _cast(kept, wanted), refused


def _cast(texts: Array, wanted: pa.DataType) -> Array:
    if pa.types.is_time(wanted):
        stamps = pc.cast(pc.binary_join_element_wise("1970-01-01", texts, " "), pa.timestamp("us"))
        return pc.cast(stamps, wanted)
    if pa.types.is_binary(wanted) or pa.types.is_large_binary(wanted):
        return _from_base64(texts).cast(wanted)
    if pa.types.is_boolean(wanted) and not pc.all(pc.is_in(texts.drop_null(), pa.array(_TRUTH))).as_py():
        raise ValueError("not a truth value")
    return pc.cast(texts, wanted)


_TRUTH = ["true", "false", "True", "False", "TRUE", "FALSE"]


def _from_base64(texts: Array) -> Array:
    import duckdb

    with duckdb.connect() as connection:
        table = pa.table({"t": texts})
        try:
            found = connection.from_arrow(table).project("from_base64(t) AS b").to_arrow_table()
        except duckdb.Error as error:
            raise ValueError("not base64") from error
    return found.column("b")


def _refused(texts: Array, wanted: pa.DataType) -> pa.Array[Any]:
    """The distinct texts that do not become values of the type: by pattern first, the rest by halving."""
    values = pc.unique(texts.drop_null())
    pattern = next((p for name, p in _LIKELY.items() if getattr(pa.types, f"is_{_KIND.get(name, name)}")(wanted)), None)
    refused: list[Any] = []
    if pattern:
        likely = pc.match_substring_regex(values, pattern)
        refused += values.filter(pc.invert(likely)).to_pylist()
        values = values.filter(likely)
    pending = [values]
    while pending:
        part = pending.pop()
        try:
            _cast(part, wanted)
        except (pa.ArrowInvalid, ValueError):
            if len(part) == 1:
                refused.append(part[0].as_py())
            else:
                size = max(len(part) // _BATCH, 1)
                pending += [part.slice(at, size) for at in range(0, len(part), size)]
    return pa.array(refused, pa.string())


_KIND = {"int": "integer"}
