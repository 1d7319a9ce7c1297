"""Values as OData writes them: types of properties, literals in addresses and filters, dates of version 2, and back.

Formats: OData 2.0 (primitive data types, JSON format), OData 4.01 ABNF and JSON format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa

from tongqu.connectors.odata.model import Model, Property
from tongqu.core.errors import SchemaError
from tongqu.core.kernels import pc
from tongqu.kit.answers.bodies import objects
from tongqu.kit.originals import constant

_TYPES = {
    "Edm.Boolean": "bool", "Edm.Byte": "int16", "Edm.SByte": "int16", "Edm.Int16": "int16", "Edm.Int32": "int32",
    "Edm.Int64": "int64", "Edm.Single": "float", "Edm.Double": "double", "Edm.Guid": "uuid", "Edm.Binary": "binary",
    "Edm.Date": "date", "Edm.TimeOfDay": "time", "Edm.Time": "time", "Edm.DateTime": "timestamp",
    "Edm.DateTimeOffset": "timestamptz", "Edm.String": "string", "Edm.Duration": "string",
}  # fmt: skip
_WIDEST = 38
_OPEN_SCALE = 18
_TICKS = rb'\\?/Date\((-?\d{1,18})(?:[+-]\d{1,4})?\)\\?/"'
_CLOCK = rb'-?PT(?:(\d{1,2})H)?(?:(\d{1,2})M)?(?:(\d{1,2}(?:\.\d{1,12})?)S)?"'
_MARKED = {2: {"Edm.Int64": "L", "Edm.Decimal": "M", "Edm.Double": "d", "Edm.Single": "f"}}
_QUOTED = {
    2: {"Edm.Guid": "guid", "Edm.DateTime": "datetime", "Edm.DateTimeOffset": "datetimeoffset", "Edm.Time": "time",
        "Edm.Binary": "binary", "Edm.String": ""},
    4: {"Edm.Binary": "binary", "Edm.Duration": "duration", "Edm.String": ""},
}  # fmt: skip


def type_name(one: Property) -> str:
    """Our name of a property's type; collections, complex types and all others are JSON. A decimal of open scale has
    18 places, one of open precision 38 digits; one of variable scale has room for all its digits on either side."""
    if one.edm == "Edm.Decimal" and one.scale == -1:
        digits = one.precision or _WIDEST
        return f"decimal({2 * digits},{digits})" if 2 * digits <= _WIDEST else f"decimal({_WIDEST},{_OPEN_SCALE})"
    if one.edm == "Edm.Decimal":
        precision = min(one.precision or _WIDEST, _WIDEST)
        scale = one.scale if one.scale is not None else 0 if one.precision else _OPEN_SCALE
        return f"decimal({precision},{scale})" if scale <= precision else "string"
    return _TYPES.get(one.edm, "json")


# ---- literals


def literal(edm: str, value: Any, version: int) -> str:
    """A value in an address or a filter (not yet percent-encoded). Texts of times are ISO 8601."""
    text = _text(value)
    if version == 2 and edm == "Edm.DateTime":
        text = _unzoned(text)
    elif edm == "Edm.DateTimeOffset" and not re.search(r"(Z|[+-]\d\d:\d\d)$", text):
        text += "Z"
    elif version == 2 and edm == "Edm.Time":
        hours, minutes, seconds = text.split(":")
        text = f"PT{hours}H{minutes}M{seconds}S"
    prefix = _QUOTED[version].get(edm)
    if prefix is not None:
        return f"{prefix}'{text.replace(chr(39), chr(39) * 2)}'"
    return text + _MARKED.get(version, {}).get(edm, "")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        moment = value if value.tzinfo is None else value.astimezone(UTC)
        return moment.isoformat().replace("+00:00", "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    return value.hex() if isinstance(value, bytes) else str(value)


def _unzoned(text: str) -> str:
    """An instant without its zone, which is UTC; a day is its midnight."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo is None else moment.astimezone(UTC)).replace(tzinfo=None).isoformat()


# ---- bodies that come


class Readable:
    """Makes the bodies of a service plain JSON values: what only OData writes so becomes ISO 8601 and base64. Times are
    cut to microseconds (.NET and SAP write seven places and more)."""

    def __init__(self, model: Model):
        named = model.edm
        self._local = _pattern(named.get("Edm.DateTime", frozenset()), _TICKS)
        self._zoned = _pattern(named.get("Edm.DateTimeOffset", frozenset()), _TICKS)
        self._clock = _pattern(named.get("Edm.Time", frozenset()), _CLOCK)
        self._bytes = _pattern(named.get("Edm.Binary", frozenset()), rb'([A-Za-z0-9_=-]*)"')
        timed = named.get("Edm.DateTimeOffset", frozenset()) | named.get("Edm.TimeOfDay", frozenset())
        self._fine = _pattern(timed, rb'([\dT:-]*\.\d{6})\d{1,6}((?:Z|[+-]\d\d:\d\d)?")')
        self._version = model.version

    def body(self, body: bytes) -> bytes:
        """The body with its values written plainly; nothing else of it changes."""
        if self._version == 4:
            body = body.replace(b'"@nextLink"', b'"@odata.nextLink"').replace(b'"@deltaLink"', b'"@odata.deltaLink"')
            body = self._fine.sub(rb"\1\2\3", body) if self._fine else body
            return self._bytes.sub(_standard, body) if self._bytes else body
        if b"/Date(" in body:
            body = _instants(body, self._local, "")
            body = _instants(body, self._zoned, "Z")
        return _clocks(body, self._clock) if self._clock else body


def _pattern(names: frozenset[str], value: bytes) -> re.Pattern[bytes] | None:
    """Finds the texts of some properties. A key is never found inside a text, where its quotes are escaped."""
    if not names:
        return None
    keys = b"|".join(re.escape(name.encode()) for name in sorted(names))
    return re.compile(rb'("(?:' + keys + rb')"\s*:\s*")' + value)


def _instants(body: bytes, pattern: re.Pattern[bytes] | None, zone: str) -> bytes:
    """Ticks (milliseconds since 1970) as ISO 8601, all at once."""
    if pattern is None:
        return body
    parts = pattern.split(body)
    if len(parts) == 1:
        return body
    ticks = pc.cast(pc.cast(pa.array(parts[2::3], pa.binary()), pa.string()), pa.int64())
    texts = pc.strftime(pc.cast(ticks, pa.timestamp("ms")), "%Y-%m-%dT%H:%M:%S")
    joined: Any = pc.binary_join_element_wise(texts, constant(f'{zone}"'), constant(""))
    parts[2::3] = [text.encode() for text in joined.to_pylist()]
    return b"".join(parts)


def _clocks(body: bytes, pattern: re.Pattern[bytes]) -> bytes:
    """Times of day, written as durations."""

    def plain(match: re.Match[bytes]) -> bytes:
        hours, minutes, seconds = (match[at] or b"0" for at in (2, 3, 4))
        whole, point, rest = seconds.partition(b".")
        return b'%b%02d:%02d:%02d%b%b"' % (match[1], int(hours), int(minutes), int(whole), point, rest[:6])

    return pattern.sub(plain, body)


def _standard(match: re.Match[bytes]) -> bytes:
    """base64url as base64, padded."""
    text = match[2].translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
    return match[1] + text + b"=" * (-len(text) % 4) + b'"'


# ---- bodies that go


def bodies(rows: pa.Table, names: Mapping[str, str], properties: Mapping[str, Property], version: int) -> list[str]:
    """Each row as the JSON object of an entity; `names` says which columns go as which properties. Raises SchemaError
    where version 2 cannot write an instant exactly (it knows milliseconds)."""
    columns = []
    for ours, theirs in names.items():
        edm = properties[theirs].edm if theirs in properties else ""
        columns.append(_sent(rows.column(ours), rows.schema.field(ours), edm, version))
    table = pa.Table.from_arrays([column for column, _ in columns], schema=pa.schema([f for _, f in columns]))
    return objects(table, dict(zip(table.column_names, names.values(), strict=True)))


def _sent(column: Any, field: pa.Field[Any], edm: str, version: int) -> tuple[Any, pa.Field[Any]]:
    """A column as the property is written."""
    kind, name = column.type, field.name
    timed = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    if edm == "Edm.String" and (pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        column = pc.cast(column, pa.string())
    elif version == 2 and edm in ("Edm.DateTime", "Edm.DateTimeOffset") and timed:
        column = _ticks(column, name, "+0000" if edm.endswith("Offset") else "")
    elif version == 2 and edm == "Edm.Time" and pa.types.is_time(kind):
        column = pc.replace_substring_regex(pc.cast(column, pa.string()), r"^(..):(..):(.*?)(\.0+)?$", r"PT\1H\2M\3S")
    elif version == 2 and edm in ("Edm.Int64", "Edm.Decimal") and not pa.types.is_string(kind):
        column = pc.cast(column, pa.string())
    elif version == 4 and edm == "Edm.DateTimeOffset" and timed:
        column = pc.cast(column, pa.timestamp("us", "UTC")) if getattr(kind, "tz", None) else pc.assume_timezone(
            pc.cast(column, pa.timestamp("us")), "UTC"
        )  # fmt: skip
    else:
        return column, field
    return column, pa.field(name, column.type)


def _ticks(column: Any, name: str, zone: str) -> Any:
    try:
        ticks = pc.cast(
            pc.cast(pc.cast(column, pa.timestamp("ms", getattr(column.type, "tz", None))), pa.int64()), pa.string()
        )
    except pa.ArrowInvalid as error:
        raise SchemaError(f"{name}: OData 2 writes milliseconds, and this value has more", field=name) from error
    return pc.binary_join_element_wise(constant("/Date("), ticks, constant(f"{zone})/"), constant(""))
