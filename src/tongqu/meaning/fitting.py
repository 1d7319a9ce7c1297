"""Which values of a column another type holds exactly, and the column in that type."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa

from tongqu.core.data import Meta
from tongqu.core.kernels import pc
from tongqu.meaning.fields import metadata
from tongqu.meaning.widening import decimal_digits, room

_PIECE = 4096


def fitted(column: pa.ChunkedArray[Any], target: pa.Field[Any]) -> tuple[pa.ChunkedArray[Any], pa.Array[Any]]:
    """The column as the target's type with null for what does not fit, and a mask of the values that do not.

    A value fits if it comes back equal when it is turned round (numbers, dates) or parses whole (texts). Texts fit if
    they are no longer than the target takes. A naive time never fits an instant, nor the other way round; nor do
    nested values or bytes fit anything but their own type.
    """
    pieces = [_pieces(chunk, target) for chunk in column.chunks]
    made = [array for piece in pieces for array, _ in piece]
    bad = [mask for piece in pieces for _, mask in piece]
    joined: Any = pa.chunked_array(made, target.type)
    mask: Any = pa.chunked_array(bad, pa.bool_()).combine_chunks()
    return joined, mask


def _pieces(chunk: Any, target: pa.Field[Any]) -> list[tuple[pa.Array[Any], pa.Array[Any]]]:
    found: list[tuple[pa.Array[Any], pa.Array[Any]]] = []
    for start in range(0, len(chunk), _PIECE):
        _halve(chunk.slice(start, _PIECE), target, found)
    return found


def _halve(values: Any, target: pa.Field[Any], found: list[tuple[pa.Array[Any], pa.Array[Any]]]) -> None:
    """Judge the values together; where the conversion stops at one of them, both halves."""
    try:
        found.append(_judged(values, target))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        if len(values) > 1:
            middle = len(values) // 2
            _halve(values.slice(0, middle), target, found)
            _halve(values.slice(middle), target, found)
        else:
            found.append((pa.nulls(1, target.type), pa.array([True])))


def _judged(values: Any, target: pa.Field[Any]) -> tuple[pa.Array[Any], pa.Array[Any]]:
    kind = target.type
    if not _comparable(values.type, kind):
        return pa.nulls(len(values), kind), pc.is_valid(values)
    plausible = _plausible(values, kind)
    tried: Any = values if plausible is None else pc.if_else(plausible, values, pa.scalar(None, values.type))
    made: Any = _cast(tried, kind)
    if pa.types.is_string(kind):
        limit = None if metadata(target).get(Meta.LOGICAL) else room(target)
        good: Any = True if limit is None else pc.less_equal(pc.utf8_length(made), limit)
    elif pa.types.is_string(values.type):
        good = pc.is_valid(made)
    else:
        good = pc.equal(_cast(made, values.type), values)
    good = pc.or_(pc.is_null(values), pc.fill_null(good, False)) if good is not True else True
    if good is True:
        return made, pa.array([False] * len(values), pa.bool_())
    return pc.if_else(good, made, pa.scalar(None, kind)), pc.invert(good)


_NUMBER = r"^[+-]?\d+$"
_DECIMAL = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_MOMENT = r"^\d{4}-\d\d-\d\d"


def _plausible(values: Any, kind: pa.DataType) -> Any:
    """A mask of values that the cast will hardly refuse, so that it need not be halved down to single values."""
    t = pa.types
    if t.is_string(values.type):
        pattern = _NUMBER if t.is_integer(kind) else _DECIMAL if t.is_decimal(kind) or t.is_floating(kind) else None
        pattern = _MOMENT if t.is_date(kind) or t.is_timestamp(kind) else pattern
        return None if pattern is None else pc.match_substring_regex(values, pattern)
    if not (t.is_integer(kind) or t.is_decimal(kind)) or t.is_boolean(values.type):
        return None
    found = decimal_digits(kind)
    if found is None or not (t.is_integer(values.type) or t.is_decimal(values.type) or t.is_floating(values.type)):
        return None
    own = decimal_digits(values.type)
    if own is not None and own[0] < found[0]:
        return None
    least, most = _bounds(kind, found[0])
    if t.is_floating(values.type):
        return pc.and_(pc.greater(values, float(least)), pc.less(values, float(most)))
    exact = pa.decimal256(76, own[1] if own else 0)
    wide = pc.cast(values, exact)
    low, high = (pa.scalar(Decimal(bound), exact) for bound in (least, most))
    return pc.and_(pc.greater(wide, low), pc.less(wide, high))


def _bounds(kind: pa.DataType, whole: int) -> tuple[int, int]:
    """Whole numbers that all values of the type lie between."""
    if pa.types.is_decimal(kind):
        return -(10**whole), 10**whole
    signed = pa.types.is_signed_integer(kind)
    bits = kind.bit_width - signed
    return (-(2**bits) - 1 if signed else -1), 2**bits


def _comparable(one: pa.DataType, other: pa.DataType) -> bool:
    t = pa.types
    if one.equals(other):
        return True
    if t.is_timestamp(one) and t.is_timestamp(other):
        return (one.tz is None) == (other.tz is None)
    if t.is_string(one):
        return not t.is_nested(other) and not t.is_binary(other)
    moments = (t.is_timestamp(one) and one.tz is None) or t.is_date(one)
    if t.is_timestamp(other) or t.is_date(other):
        return moments and not (t.is_timestamp(other) and other.tz is not None)
    numbers = t.is_integer(one) or t.is_decimal(one) or t.is_floating(one) or t.is_boolean(one)
    if t.is_string(other):
        return not t.is_nested(one) and not t.is_binary(one)
    return numbers and (t.is_integer(other) or t.is_decimal(other) or t.is_floating(other) or t.is_boolean(other))


def _cast(values: Any, kind: pa.DataType) -> Any:
    """A cast that may cut digits after the point, which whoever turns it round will see; integers reach a small
    decimal through one that holds them all."""
    digits = decimal_digits(values.type)
    if pa.types.is_decimal(kind) and pa.types.is_integer(values.type) and digits is not None:
        values = pc.cast(values, pa.decimal256(digits[0] + max(kind.scale, 0), kind.scale))
    cuts = not pa.types.is_string(values.type) and not pa.types.is_integer(values.type)
    options = pc.CastOptions(target_type=kind, allow_decimal_truncate=cuts, allow_float_truncate=cuts,
                             allow_time_truncate=cuts)  # fmt: skip
    return pc.cast(values, options=options)
