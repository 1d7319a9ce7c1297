"""Which type a column of texts has: the narrowest that keeps every value as it was written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from tongqu.core.kernels import pc

NULL, BOOL, INT, DECIMAL, DOUBLE, DATE, TIME, TIMESTAMP, ZONED, TEXT = (
    "null", "bool", "int", "decimal", "double", "date", "time", "timestamp", "zoned", "text",
)  # fmt: skip
TEMPORAL = (DATE, TIME, TIMESTAMP, ZONED)
_DAY = r"\d{4}-\d\d-\d\d"
_CLOCK = r"\d\d:\d\d(:\d\d(\.\d{1,9})?)?"
PATTERNS = {
    BOOL: r"^(true|false|True|False|TRUE|FALSE)$",
    INT: r"^(0|-?[1-9]\d{0,18})$",
    DECIMAL: r"^-?(0|[1-9]\d*)(\.\d+)?$",
    DOUBLE: r"^(-?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?|nan|NaN|-?inf|-?Infinity)$",
    DATE: rf"^{_DAY}$",
    TIME: r"^\d\d:\d\d:\d\d(\.\d{1,6})?$",
    TIMESTAMP: rf"^{_DAY}([T ]{_CLOCK})?$",
    ZONED: rf"^{_DAY}[T ]{_CLOCK}(Z|[+-]\d\d(:?\d\d)?)$",
}
"""What a value must look like (RE2). A leading zero or plus makes a text: `00123` is a code, not a number."""
_TRUTH = pa.array(["true", "false", "True", "False", "TRUE", "FALSE"])
Array = Any
"""An Arrow array or chunked array."""


class Column:
    """Narrows one column's type as its values are shown block by block."""

    def __init__(self, allowed: Sequence[str] = (BOOL, INT, DECIMAL, DOUBLE, DATE, TIME, TIMESTAMP, ZONED)):
        self._open = list(allowed)
        self._seen = False
        self._scales: set[int] = set()
        self._whole = 0
        self._nanos = False

    def show(self, values: Array) -> None:
        """Take these texts into account; nulls say nothing."""
        values = values.drop_null()
        if len(values) == 0 or self.closed:
            return
        self._seen = True
        first = pa.array([values[0].as_py()])
        held: list[str] = []
        for name in self._open:
            if pc.match_substring_regex(first, PATTERNS[name])[0].as_py() and self._holds(name, values, held):
                held.append(name)
        self._open = held

    @property
    def closed(self) -> bool:
        """Whether it can only be text, so that more values tell nothing."""
        return self._seen and not self._open

    def _holds(self, name: str, values: Array, held: Sequence[str]) -> bool:
        """Whether all values are of the type; `held` are narrower ones found to hold for them."""
        if name == BOOL:
            return bool(pc.all(pc.is_in(values, value_set=_TRUTH)).as_py())
        if name == INT:
            return _casts(values, pa.int64()) and bool(
                pc.all(pc.equal(pc.cast(_numbers(values), pa.string()), values)).as_py()
            )
        if name == DECIMAL:
            if INT in held:
                self._scales.add(0)
                self._whole = max(self._whole, _longest(values))
                return True
            return _all(values, PATTERNS[DECIMAL]) and self._measure(values)
        if name == DOUBLE:
            known = INT in held or DECIMAL in held
            return (known or _all(values, PATTERNS[DOUBLE])) and _exact_as_doubles(values)
        if name == DATE:
            return _longest(values) == 10 and _casts(values, pa.date32())
        if name == TIME:
            stamps = pc.binary_join_element_wise("1970-01-01", values, " ")
            return _all(values, PATTERNS[TIME]) and _casts(stamps, pa.timestamp("us"))
        if DATE in held:
            return True
        self._nanos = self._nanos or bool(
            _longest(values) > 26 and pc.any(pc.match_substring_regex(values, r"\.\d{7}")).as_py()
        )
        return _casts(values, pa.timestamp("ns" if self._nanos else "us", "UTC" if name == ZONED else None))

    def _measure(self, values: Array) -> bool:
        digits = pc.utf8_ltrim(values, "-")
        length, point = pc.utf8_length(digits), pc.find_substring(digits, ".")
        whole = pc.if_else(pc.less(point, 0), length, point)
        limits = pc.min_max(pc.max_element_wise(pc.subtract(pc.subtract(length, whole), 1), 0)).as_py()
        self._scales |= {limits["min"], limits["max"]}
        self._whole = max(self._whole, pc.max(whole).as_py())
        return True

    def type(self) -> pa.DataType:
        """The narrowest type so far; text for a column without values.

        Whole numbers beyond 64 bits and numbers with the same count of decimals everywhere are decimals; others are
        doubles as long as those say them exactly, else decimals with the most decimals seen.
        """
        if not self._seen or not self._open:
            return pa.string()
        if self._open[0] == DECIMAL:
            fixed = self._decimal() if len(self._scales) == 1 or DOUBLE not in self._open else None
            return fixed or (pa.float64() if DOUBLE in self._open else pa.string())
        unit: Any = "ns" if self._nanos else "us"
        types: dict[str, pa.DataType] = {
            BOOL: pa.bool_(),
            INT: pa.int64(),
            DOUBLE: pa.float64(),
            DATE: pa.date32(),
            TIME: pa.time64("us"),
            TIMESTAMP: pa.timestamp(unit),
            ZONED: pa.timestamp(unit, "UTC"),
        }
        return types[self._open[0]]

    def _decimal(self) -> pa.DataType | None:
        scale = max(self._scales)
        return pa.decimal128(max(self._whole + scale, 1), scale) if self._whole + scale <= 38 else None


def _all(values: Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(values, pattern)).as_py())


def _longest(values: Array) -> int:
    return int(pc.max(pc.utf8_length(values)).as_py())


def _numbers(values: Array) -> Array:
    return pc.cast(values, pa.int64())


def _exact_as_doubles(values: Array) -> bool:
    """Whether 15 digits say each number, or the double is written back as the same text; none overflows."""
    numbers = pc.cast(values, pa.float64())
    if pc.any(pc.is_inf(numbers)).as_py():
        overflow = pc.and_(pc.is_inf(numbers), pc.match_substring_regex(values, r"\d"))
        if pc.any(overflow).as_py():
            return False
    if _longest(values) <= 15:
        return True
    long = pc.greater(pc.utf8_length(values), 15)
    values, numbers = values.filter(long), numbers.filter(long)
    changed = values.filter(pc.not_equal(pc.cast(numbers, pa.string()), values))
    if len(changed) == 0:
        return True
    digits = pc.utf8_ltrim(pc.replace_substring_regex(changed, r"[eE].*$|[^0-9]", ""), "0")
    return _longest(digits) <= 15


def _casts(values: Array, wanted: pa.DataType) -> bool:
    try:
        pc.cast(values, wanted)
    except pa.ArrowInvalid:
        return False
    return True


def widest(types: Sequence[pa.DataType]) -> pa.DataType:
    """One type that holds the values of all; text if there is no other."""
    kinds = list(dict.fromkeys(types))
    if len(kinds) == 1:
        return kinds[0]
    if all(pa.types.is_integer(t) or pa.types.is_decimal(t) for t in kinds):
        parts = [(t.precision - t.scale, t.scale) if isinstance(t, pa.Decimal128Type) else (19, 0) for t in kinds]
        whole, scale = max(p[0] for p in parts), max(p[1] for p in parts)
        return pa.decimal128(whole + scale, scale) if whole + scale <= 38 else pa.string()
    if all(pa.types.is_timestamp(t) or pa.types.is_date32(t) for t in kinds):
        stamps = [t for t in kinds if isinstance(t, pa.TimestampType)]
        if len({t.tz for t in stamps}) == 1 and (len(stamps) == len(kinds) or stamps[0].tz is None):
            return pa.timestamp("ns" if any(t.unit == "ns" for t in stamps) else "us", stamps[0].tz)
    return pa.string()
