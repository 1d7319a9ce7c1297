"""Makes Arrow columns of the texts in which PostgreSQL's change log writes values: the same values a full read gives.

The texts are those of each type's output function under `db.SESSION` (PostgreSQL docs, chapter 8); no value becomes a
Python object, except for the few whose text no kernel reads (years before 1 and after 9999, quoted array elements).
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tongqu.connectors.postgres.types import PgType
from tongqu.core.data import Meta

_ARRAY_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,"{}]+)', re.DOTALL)
_BOX_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^;"{}]+)', re.DOTALL)
_MOMENT = re.compile(r"^(\d{4,})(-\d\d-\d\d)(?: (\d\d:\d\d:\d\d(?:\.\d{1,6})?)(?:\+00)?)?( BC)?$")
_ORDINARY = r"^\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d(\.\d{1,6})?(\+00)?)?$"
_HEX = np.zeros(256, dtype=np.uint8)
_HEX[np.frombuffer(b"0123456789abcdef", dtype=np.uint8)] = np.arange(16, dtype=np.uint8)

_equal: Any = pc.equal
_list_of: Any = pa.ListArray.from_arrays

Made = tuple[Any, "np.ndarray[Any, np.dtype[np.bool_]] | None"]
"""An array, and which of its values no Arrow value equals (they are null in it); None if there are none."""


class Column:
    """How one column's texts become values."""

    def __init__(self, field: pa.Field[Any], money_digits: int = 2):
        meta = field.metadata or {}
        native = meta.get(Meta.NATIVE.encode(), b"postgres:text").decode().partition(":")[2]
        self.name = field.name
        self.field = field
        self._kind = PgType(native)
        self._logical = Meta.LOGICAL.encode() in meta
        self._money = money_digits

    def values(self, texts: pa.Array[Any]) -> Made:
        """The values of these texts (nulls stay null)."""
        if pa.types.is_list(self.field.type):
            return self._lists(texts)
        return self._scalars(texts, self.field.type)

    def _scalars(self, texts: Any, kind: pa.DataType) -> Made:
        if pa.types.is_string(kind):
            return self._strings(texts), None
        if pa.types.is_boolean(kind):
            return _equal(texts, "t"), None
        if pa.types.is_binary(kind):
            return _unhexed(texts), None
        if pa.types.is_time(kind):
            return _times(texts), None
        if pa.types.is_temporal(kind):
            return _moments(texts, kind)
        if pa.types.is_decimal(kind):
            return _decimals(texts, kind)
        return pc.cast(texts, kind), None

    def _strings(self, texts: Any) -> Any:
        if self._kind.name == "money":
            return self._amounts(texts)
        if self._kind.name == "inet":  # its cast to text always has the mask, its output function only a short one
            bare = pc.invert(pc.match_substring(texts, "/"))
            whole = pc.if_else(pc.match_substring(texts, ":"), "/128", "/32")
            return pc.if_else(bare, pc.binary_join_element_wise(texts, whole, ""), texts)
        return texts

    def _amounts(self, texts: Any) -> Any:
        digits = pc.replace_substring_regex(texts, r"\D", "")
        if self._money:
            digits = pc.utf8_lpad(digits, self._money + 1, "0")
            whole = pc.utf8_slice_codeunits(digits, 0, -self._money)
            rest = pc.utf8_slice_codeunits(digits, -self._money, None)
            digits = pc.binary_join_element_wise(whole, rest, ".")
        plain = pc.replace_substring_regex(digits, r"^0+(\d)", r"\1")
        minus = pc.if_else(pc.match_substring_regex(texts, r"[-(]"), "-", "")
        return pc.binary_join_element_wise(minus, plain, "")

    def _lists(self, texts: Any) -> Made:
        kind: Any = self.field.type
        odd = pc.match_substring_regex(texts, r'["\[]|^.+\{').fill_null(False)
        bad = np.zeros(len(texts), dtype=bool)
        lists = _split(texts, ";" if self._kind.name == "box" else ",")
        if pc.any(odd).as_py():
            places = np.flatnonzero(odd.to_numpy(zero_copy_only=False))
            item = _BOX_ITEM if self._kind.name == "box" else _ARRAY_ITEM
            parsed = [_parsed(texts[int(place)].as_py(), item) for place in places]
            bad[places] = [one is None for one in parsed]
            order = np.arange(len(texts))
            order[places] = len(texts) + np.arange(len(places))
            both: Any = pa.concat_arrays([lists, pa.array(parsed, pa.list_(pa.string()))])
            lists = both.take(pa.array(order))
        items, spoilt = self._scalars(lists.flatten(), kind.value_type)
        if spoilt is not None:
            bad[pc.list_parent_indices(lists).to_numpy()[spoilt]] = True
        lengths = pc.list_value_length(lists).fill_null(0).to_numpy()
        offsets = np.zeros(len(texts) + 1, dtype=np.int32)
        np.cumsum(lengths, out=offsets[1:])
        empty = lists.is_null() if lists.null_count else None
        made = _list_of(pa.array(offsets), items, type=kind, mask=empty)
        return (_without(made, bad), bad) if bad.any() else (made, None)


def _split(texts: Any, sign: str) -> Any:
    """Lists of the elements of one-dimensional array literals without quotes."""
    inner = pc.utf8_slice_codeunits(texts, 1, -1)
    parts = pc.split_pattern(inner, sign)
    items = parts.flatten()
    items = pc.if_else(_equal(items, "NULL"), pa.scalar(None, pa.string()), items)
    none = _equal(inner, "").fill_null(False).to_numpy(zero_copy_only=False)
    lengths = pc.list_value_length(parts).fill_null(0).to_numpy().copy()
    if none.any():
        starts = np.cumsum(lengths) - lengths
        keep = np.ones(len(items), dtype=bool)
        keep[starts[none]] = False
        items = items.filter(pa.array(keep))
        lengths[none] = 0
    offsets = np.zeros(len(texts) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    empty = texts.is_null() if texts.null_count else None
    return _list_of(pa.array(offsets), items, type=pa.list_(pa.string()), mask=empty)


def _parsed(text: str, item: re.Pattern[str]) -> list[str | None] | None:
    """The elements of an array literal; None if it has several dimensions or another first index than 1."""
    if text.startswith(("[", "{{")):
        return None
    found = item.finditer(text, 1, len(text) - 1)
    return [
        (None if one[2] == "NULL" else one[2]) if one[1] is None else re.sub(r"\\(.)", r"\1", one[1], flags=re.DOTALL)
        for one in found
    ]


def _without(array: Any, bad: np.ndarray[Any, Any]) -> Any:
    """The array with null in the places of bad values."""
    return pc.if_else(pa.array(bad), pa.scalar(None, array.type), array)


def _decimals(texts: Any, kind: Any) -> Made:
    try:
        return pc.cast(texts, kind), None
    except pa.ArrowInvalid:
        bad = _equal(texts, "NaN").fill_null(False).to_numpy(zero_copy_only=False)
        return pc.cast(_without(texts, bad), kind), bad


def _moments(texts: Any, kind: Any) -> Made:
    """Dates and timestamps."""
    try:
        return pc.cast(texts, kind), None
    except pa.ArrowInvalid:
        odd = pc.invert(pc.match_substring_regex(texts, _ORDINARY)).fill_null(False).to_numpy(zero_copy_only=False)
        made = pc.cast(_without(texts, odd), kind)
    unit = "D" if pa.types.is_date(kind) else "us"
    places = np.flatnonzero(odd)
    found = [_moment(texts[int(place)].as_py(), unit) for place in places]
    bad = np.zeros(len(texts), dtype=bool)
    bad[places] = [value is None for value in found]
    whole = pa.array([value or 0 for value in found], pa.int32() if unit == "D" else pa.int64()).cast(kind)
    order = np.arange(len(texts))
    order[places] = len(texts) + np.arange(len(places))
    made = pa.concat_arrays([made, whole]).take(pa.array(order))
    return (_without(made, bad), bad) if bad.any() else (made, None)


def _moment(text: str, unit: str) -> int | None:
    """A date or time in proleptic Gregorian years as PostgreSQL counts them (1 BC is year 0); None if it is endless or
    too far off for 64 bits."""
    found = _MOMENT.match(text)
    if found is None:
        return None
    year = 1 - int(found[1]) if found[4] else int(found[1])
    day = (np.datetime64(0, "Y") + np.timedelta64(year - 1970, "Y")).astype("datetime64[D]")
    month, date = int(found[2][1:3]), int(found[2][4:6])
    day = (day.astype("datetime64[M]") + np.timedelta64(month - 1, "M")).astype("datetime64[D]")
    days = int(day.astype(np.int64)) + date - 1
    if unit == "D":
        return days
    clock = found[3] or "00:00:00"
    seconds, _, fraction = clock[6:].partition(".")
    micros = ((int(clock[:2]) * 60 + int(clock[3:5])) * 60 + int(seconds)) * 1_000_000
    whole = days * 86_400_000_000 + micros + int(fraction.ljust(6, "0") or 0)
    return whole if abs(whole) < 1 << 63 else None


def _bytes_of(texts: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Data with some bytes to spare behind it, starts and sizes of the values."""
    texts = texts if texts.offset == 0 else pa.concat_arrays([texts])
    _, places, data = texts.buffers()
    offsets = np.frombuffer(places, dtype=np.int32)[: len(texts) + 1].astype(np.int64)
    used = np.frombuffer(data, dtype=np.uint8)[: offsets[-1]] if data is not None else np.empty(0, np.uint8)
    return np.concatenate([used, np.zeros(16, np.uint8)]), offsets[:-1], np.diff(offsets)


def _times(texts: Any) -> Any:
    """Times of day `hh:mm:ss[.ffffff]`; 24:00:00 is one."""
    data, starts, sizes = _bytes_of(texts)
    digit = data.astype(np.int64) - 48

    def two(place: int) -> Any:
        return digit[starts + place] * 10 + digit[starts + place + 1]

    micros = ((two(0) * 60 + two(3)) * 60 + two(6)) * 1_000_000
    for place in range(6):
        micros += np.where(sizes > 9 + place, digit[starts + 9 + place] * 10 ** (5 - place), 0)
    empty = texts.is_null().to_numpy(zero_copy_only=False) if texts.null_count else None
    return pa.array(micros, mask=empty).cast(pa.time64("us"))


def _unhexed(texts: Any) -> Any:
    """Bytes of `\\x00ff`."""
    data, starts, sizes = _bytes_of(texts)
    keep = np.ones(len(data) - 16, dtype=bool)
    there = starts[sizes > 0]
    keep[there] = keep[there + 1] = False
    nibbles = _HEX[data[:-16][keep]]
    out = (nibbles[0::2] << 4) | nibbles[1::2]
    offsets = np.zeros(len(texts) + 1, dtype=np.int32)
    np.cumsum(np.where(sizes > 0, (sizes - 2) // 2, 0), out=offsets[1:])
    valid = texts.is_valid().buffers()[1] if texts.null_count else None
    buffers: Any = [valid, pa.py_buffer(offsets.tobytes()), pa.py_buffer(out.tobytes())]
    return pa.Array.from_buffers(pa.binary(), len(texts), buffers)
