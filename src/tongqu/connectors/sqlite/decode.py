"""Stored values as Arrow columns; a value that contradicts its column's declaration makes its row a bad row."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.connectors.sqlite.types import INSTANT, LOCAL, TIME, Kind
from tongqu.core.data import BadRow
from tongqu.core.errors import CastError

Values = Sequence[Any]
Array: TypeAlias = "pa.Array[Any]"
Converter: TypeAlias = "Callable[[Values, set[type]], pa.Array[Any]]"
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_UUID = r"^[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$"
_SHOWN = 200


class Undecodable(bytes):
    """A TEXT value that is not UTF-8."""


def tolerant(raw: bytes) -> str | Undecodable:
    """A text factory that keeps broken text instead of failing the query."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return Undecodable(raw)


class _MismatchError(Exception):
    """Some value is of another class than declared."""


def _only(kinds: set[type], *allowed: type) -> None:
    if not kinds <= set(allowed):
        raise _MismatchError


def _integers(values: Values, kinds: set[type]) -> Array:
    _only(kinds, int)
    return pa.array(values, pa.int64())


def _booleans(values: Values, kinds: set[type]) -> Array:
    _only(kinds, int)
    return _within(pa.array(values, pa.int64()), 0, 1).cast(pa.bool_())


def _within(numbers: Array, low: int, high: int) -> Array:
    bounds: dict[str, Any] = pc.min_max(numbers).as_py()  # type: ignore[assignment]  # the stubs say list
    if bounds["min"] is not None and (bounds["min"] < low or bounds["max"] > high):
        raise _MismatchError
    return numbers


def _doubles(values: Values, kinds: set[type]) -> Array:
    _only(kinds, float, int)
    return pa.array(values, pa.float64())


def _singles(values: Values, kinds: set[type]) -> Array:
    wide = _doubles(values, kinds)
    narrow = wide.cast(pa.float32())
    if not narrow.cast(pa.float64()).equals(wide):
        raise _MismatchError
    return narrow


def _strings(values: Values, kinds: set[type]) -> Array:
    _only(kinds, str)
    return pa.array(values, pa.string())


def _bytes(values: Values, kinds: set[type]) -> Array:
    _only(kinds, bytes)
    return pa.array(values, pa.binary())


def _texts(values: Values, kinds: set[type]) -> Array:
    """Numbers in their shortest exact form, beside text."""
    _only(kinds, str, int, float)
    if kinds <= {str}:
        return pa.array(values, pa.string())
    return pa.array([v if v is None or v.__class__ is str else repr(v) for v in values], pa.string())


def _matching(pattern: str, texts: Array) -> Array:
    if pc.all(pc.match_substring_regex(texts, pattern), min_count=0).as_py() is False:
        raise _MismatchError
    return texts


def _uuids(values: Values, kinds: set[type]) -> Array:
    return _matching(_UUID, _strings(values, kinds))


def _numbers(values: Values, kinds: set[type]) -> Array:
    return _matching(_NUMBER, _texts(values, kinds))


def _unsigned(values: Values, kinds: set[type]) -> Array:
    return _texts(values, kinds).cast(pa.uint64())


def _times(values: Values, kinds: set[type]) -> Array:
    texts: Any = _strings(values, kinds)
    days: Any = pc.binary_join_element_wise("1970-01-01", texts, " ")
    times: Array = days.cast(LOCAL).cast(TIME)
    return times


def _decimals(type_: pa.DataType) -> Callable[[Values, set[type]], Array]:
    def convert(values: Values, kinds: set[type]) -> Array:
        if kinds and kinds <= {int, float}:
            try:
                return pa.array(values, pa.float64()).cast(pa.string()).cast(type_)
            except pa.ArrowInvalid:
                pass  # an integer beyond 2^53: its own digits are exact
        return _texts(values, kinds).cast(type_)

    return convert


def _cast(type_: pa.DataType) -> Callable[[Values, set[type]], Array]:
    return lambda values, kinds: _strings(values, kinds).cast(type_)


_BY_TYPE: dict[pa.DataType, Callable[[Values, set[type]], Array]] = {
    pa.int64(): _integers,
    pa.bool_(): _booleans,
    pa.float64(): _doubles,
    pa.float32(): _singles,
    pa.string(): _strings,
    pa.binary(): _bytes,
    pa.uint64(): _unsigned,
    TIME: _times,
    pa.date32(): _cast(pa.date32()),
    LOCAL: _cast(LOCAL),
    INSTANT: _cast(INSTANT),
}
_BY_LOGICAL = {"uuid": _uuids, "json": _texts, "decimal": _numbers}


class Decoder:
    """Decodes one column; `declared` is shown in messages."""

    def __init__(self, name: str, declared: str, kind: Kind):
        self.name = name
        self._declared = declared or str(kind.type)
        self._type = kind.type
        if pa.types.is_decimal(kind.type):
            self._convert = _decimals(kind.type)
        else:
            self._convert = _BY_LOGICAL.get(kind.logical or "") or _BY_TYPE[kind.type]

    def decode(self, values: Values) -> tuple[Array, list[int]]:
        """The column, null where a value does not fit, and the indexes of those values."""
        done = self._try(values)
        if done is not None:
            return done, []
        bad: list[int] = []
        self._search(values, 0, bad)
        kept = list(values)
        for index in bad:
            kept[index] = None
        done = self._try(kept)
        if done is None:  # each value fits alone: nothing can make them fail together
            raise CastError(f"column {self.name}: values cannot be decoded as {self._type}", field=self.name)
        return done, bad

    def _try(self, values: Values) -> Array | None:
        kinds = set(map(type, values))
        kinds.discard(type(None))
        try:
            return self._convert(values, kinds)
        except (_MismatchError, pa.ArrowInvalid, pa.ArrowTypeError):
            return None

    def _search(self, values: Values, start: int, bad: list[int]) -> None:
        """Find the values that do not fit by halving."""
        if self._try(values) is not None:
            return
        if len(values) == 1:
            bad.append(start)
            return
        middle = len(values) // 2
        self._search(values[:middle], start, bad)
        self._search(values[middle:], start + middle, bad)

    def message(self, value: Any) -> str:
        """What is wrong with a value."""
        stored = "text that is not UTF-8" if isinstance(value, Undecodable) else _CLASSES.get(type(value), "a value")
        return f"{self.name} is declared {self._declared} and holds {stored} {shown(value)!r}"


_CLASSES = {int: "the integer", float: "the real number", str: "the text", bytes: "the blob"}


def shown(value: Any) -> str | None:
    """A stored value as text, cut to a readable length."""
    if value is None:
        return None
    return _json(value)[:_SHOWN] if isinstance(value, bytes) else str(value)[:_SHOWN]


def _json(value: Any) -> str:
    if isinstance(value, Undecodable):
        return value.decode("utf-8", "backslashreplace")
    return "\\x" + bytes(value).hex()


def bad_row(decoder: Decoder, value: Any, names: Sequence[str], row: Values) -> BadRow:
    """The quarantine record of a row in which one value does not fit."""
    original = dict(zip(names, row, strict=True))
    return BadRow(
        step="read",
        code=CastError.code,
        field=decoder.name,
        value=shown(value),
        original=json.dumps(original, ensure_ascii=False, default=_json),
        message=decoder.message(value),
    )
