"""Makes Arrow columns of the values that LogMiner tells as texts: those that a full read of the same row gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.connectors.oracle.log.session import MOMENT, Followed
from tongqu.connectors.oracle.log.statements import DELETE, INSERT, Told, UnreadableError, Value, told
from tongqu.core.errors import SchemaError
from tongqu.core.kernels import pc
from tongqu.kit.tables.native import Native

REPAIR = (
    "read this table alone anew, the others go on: the same sync with --reload {}. LogMiner tells rows by the columns "
    "of today: let the stream catch up before a table is altered"
)
ALL_COLUMNS = "ALTER TABLE {table} ADD SUPPLEMENTAL LOG DATA (ALL) COLUMNS"
_MADE: dict[str, tuple[str, ...]] = {
    "text": ("", "UNISTR"), "number": ("",), "float": ("", "TO_BINARY_FLOAT", "TO_BINARY_DOUBLE"),
    "raw": ("HEXTORAW",), "date": ("TO_DATE",), "timestamp": ("TO_TIMESTAMP",),
    "zoned": ("TO_TIMESTAMP_TZ",), "local": ("TO_TIMESTAMP", "TO_TIMESTAMP_TZ"),
    "interval": ("TO_DSINTERVAL", "TO_YMINTERVAL"),
}  # fmt: skip
"""By the kind of a column the functions that its values are written with."""
_KINDS = {
    "number": "number", "decimal": "number", "numeric": "number", "float": "number", "binary_float": "float",
    "binary_double": "float", "varchar2": "text", "varchar": "text", "char": "text", "nvarchar2": "text",
    "nchar": "text", "raw": "raw", "date": "date", "timestamp": "timestamp", "timestamp with time zone": "zoned",
    "timestamp with local time zone": "local",
}  # fmt: skip
_ZONE = r"^(?P<moment>.+)\s(?P<sign>[+-])(?P<hours>\d\d):(?P<minutes>\d\d)$"
_MICROS = r"(\.\d{6})\d+$"


def kind(native: Native) -> str:
    """How the log tells values of a type; empty if it does not, or not whole (LOBs, LONG, XML, JSON, objects)."""
    name = native.name.removesuffix(" char").removesuffix(" byte")
    return "interval" if name.startswith("interval") else _KINDS.get(name, "")


Change = tuple[str, int]
"""SQL_REDO, and when it was committed in microseconds since 1970."""


class Decoder:
    """Decodes changes of one table with the columns that it has now."""

    def __init__(self, one: Followed, place: str):
        self._one, self._place = one, place
        self._kinds = [kind(native) for native in one.natives().values()]
        self._names = [each.name for each in one.fields]
        self._known = {column.name for column in one.table.columns}

    def batch(self, changes: Sequence[Change]) -> pa.RecordBatch:
        """The changes as rows with their control columns; one that changes the key is a delete and a new row. Raises
        SchemaError for what cannot be told exactly."""
        columns: list[list[Value]] = [[] for _ in self._names]
        letters: list[str] = []
        moments: list[int] = []
        for sql, moment in changes:
            for letter, values in self._rows(sql):
                for name, column in zip(self._names, columns, strict=True):
                    column.append(values.get(name))
                letters.append(letter)
                moments.append(moment)
        schema = self._one.changes()
        arrays = [
            self._array(column, made, one)
            for column, made, one in zip(columns, self._kinds, self._one.fields, strict=True)
        ]
        arrays += [pa.array(letters, pa.string()), pa.array(np.array(moments, np.int64)).cast(MOMENT)]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _rows(self, sql: str) -> list[tuple[str, dict[str, Value]]]:
        try:
            found = told(sql)
        except UnreadableError as error:
            raise self._refused(f"LogMiner tells a change in words that are not known ({error})") from None
        self._whole(found)
        if found.code == INSERT:
            return [("c", found.after)]
        if found.code == DELETE:
            return [("d", found.before)]
        after = {**found.before, **found.after}
        if any(after.get(name) != found.before.get(name) for name in self._one.dataset.key):
            return [("d", found.before), ("c", after)]
        return [("u", after)]

    def _whole(self, found: Told) -> None:
        """Raise SchemaError unless exactly the table's columns are told. An INSERT may leave out what is null."""
        strange = [name for name in (*found.before, *found.after) if name not in self._known and name[:4] != "SYS_"]
        if strange:
            raise self._refused(f"LogMiner tells a column {strange[0]!r} that the table does not have")
        if found.code != INSERT:
            lacks = [name for name in self._names if name not in found.before]
            name = self._one.dataset.name
            if lacks:
                raise SchemaError(
                    f"a change of {name!r} does not tell {', '.join(lacks)}: not all columns were "
                    "logged when it was made", path=name,
                    hint=f"{ALL_COLUMNS.format(table=self._place)}, then the same sync with --reload {name}",
                )  # fmt: skip

    def _array(self, values: Sequence[Value], made: str, one: pa.Field[Any]) -> pa.Array[Any]:
        strange = {value[0] for value in values if value is not None} - set(_MADE.get(made, ()))
        if strange:
            raise self._refused(f"values of {one.name!r} are told as {', '.join(sorted(strange)) or 'plain texts'}")
        texts: Any = pa.array([None if value is None else value[1] for value in values], pa.string())
        try:
            found: Any = _ARRAYS[made](texts, one.type)
        except (pa.ArrowInvalid, ValueError):
            raise self._refused(f"values of {one.name!r} are not of its type {one.type}") from None
        if found.null_count != texts.null_count:
            raise self._refused(f"values of {one.name!r} are not of its type {one.type}")
        return found  # type: ignore[no-any-return]  # an Array: pyarrow's kernels are not typed

    def _refused(self, text: str) -> SchemaError:
        return SchemaError(
            f"{self._one.dataset.name!r}: {text}",
            path=self._one.dataset.name,
            hint=REPAIR.format(self._one.dataset.name),
        )


def _plain(texts: Any, wanted: pa.DataType) -> Any:
    return texts.cast(wanted)


def _number(texts: Any, wanted: pa.DataType) -> Any:
    """Numbers of any size are texts, as TO_CHAR(…, 'TM9') writes them: no exponent, no 0 before the point."""
    exponents = np.asarray(pc.match_substring_regex(texts, "[eE]").fill_null(False))
    if exponents.any():
        plain = [_unscaled(one) if marked else one for one, marked in zip(texts.to_pylist(), exponents, strict=True)]
        texts = pa.array(plain, pa.string())
    return texts.cast(wanted)


def _unscaled(text: str) -> str:
    try:
        plain = format(Decimal(text), "f")
    except ArithmeticError:
        raise ValueError("not a number") from None
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return plain.replace("0.", ".", 1) if plain.startswith(("0.", "-0.")) else plain


def _raw(texts: Any, wanted: pa.DataType) -> Any:
    return pa.array([None if one is None else bytes.fromhex(one) for one in texts.to_pylist()], wanted)


def _moment(texts: Any, wanted: pa.DataType) -> Any:
    """Digits behind the sixth are cut, as a full read cuts them."""
    plain = pc.replace_substring_regex(pc.utf8_trim_whitespace(texts), _MICROS, r"\1")
    if pa.types.is_timestamp(wanted) and wanted.tz:
        return plain.cast(pa.timestamp("us")).cast(pa.int64()).cast(wanted)
    return plain.cast(wanted)


def _zoned(texts: Any, wanted: pa.DataType) -> Any:
    parts = pc.extract_regex(pc.utf8_trim_whitespace(texts), _ZONE)
    moment, sign, hours, minutes = (pc.struct_field(parts, at) for at in range(4))
    ahead = pc.add(pc.multiply(hours.cast(pa.int64()), 60), minutes.cast(pa.int64()))
    ahead = pc.if_else(pc.equal(sign, "-"), pc.negate(ahead), ahead)
    local = _moment(moment, pa.timestamp("us")).cast(pa.int64())
    return pc.subtract(local, pc.multiply(ahead, 60_000_000)).cast(wanted)


def _local(texts: Any, wanted: pa.DataType) -> Any:
    """In UTC: the session's zone and the database's are both."""
    zoned = pc.match_substring_regex(texts, r"\s[+-]\d\d:\d\d$").fill_null(False)
    here = pc.if_else(zoned, pa.scalar(None, pa.string()), texts)
    there = pc.if_else(zoned, texts, pa.scalar(None, pa.string()))
    return pc.coalesce(_moment(here, wanted), _zoned(there, wanted))


_ARRAYS: dict[str, Callable[[Any, pa.DataType], Any]] = {
    "text": _plain, "number": _number, "float": _plain, "raw": _raw, "date": _moment, "timestamp": _moment,
    "zoned": _zoned, "local": _local, "interval": _plain,
}  # fmt: skip
