"""Integers and decimals as PostgreSQL's binary numeric: a sign, a scale and digits of base 10000.

Format as in `numeric_send` and `numeric_recv` of the server's `numeric.c`: int16 ndigits, int16 weight (power of
10000 of the first digit), uint16 sign (0x4000 negative), int16 dscale, then ndigits of uint16. The server strips
leading and trailing zero digits, hence all rows of a batch are given the same number of digits: a fixed width.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tongqu.connectors.postgres.encode_rows import AnyArray, Bools, Cells, numpy_view, refuse_where, validity

Limbs: TypeAlias = npt.NDArray[np.uint64]

_BASE = 10_000
_NEGATIVE = 0x4000
_LIMB_BITS = np.uint64(32)
_LIMB_MASK = np.uint64(0xFFFF_FFFF)


def numeric_cells(array: pa.Array[Any], scale: int, modifiers: tuple[int, ...]) -> Cells:
    """Encode integers or decimal128/256 of `scale` for a column `numeric` or `numeric(precision, scale)`.

    `modifiers` are the column's precision and scale, or empty. Exact up to 76 digits.
    Raises `BadValueError` for a value the column would round or has no room for.
    """
    valid = validity(array)
    limbs, negative = _magnitude(array)
    if valid is not None:
        limbs = [np.where(valid, limb, np.uint64(0)) for limb in limbs]
    shift = -scale % 4  # zeros appended so that the last digit of base 10000 is whole
    digits = _digits(limbs, shift)
    shown = scale
    if modifiers:
        precision, shown = modifiers
        inexact = _has_digits_below(digits, scale - shown + shift)
        hint = "round it in a cast step, or widen the target column"
        refuse_where(inexact, valid, f"value has more than the {shown} decimal places of the column", hint)
        room = precision - shown + scale
        over = _has_digits_from(digits, max(room, 0) + shift)
        refuse_where(over, valid, f"value has more than the {precision - shown} integer digits of the column", hint)
    weight = (-scale - shift) // 4 + len(digits) - 1
    head = _int16(len(digits)) + _int16(weight)
    sign: list[bytes | AnyArray] = [np.where(negative, np.uint16(_NEGATIVE), np.uint16(0))]
    if not negative.any():
        sign = [bytes(2)]
    parts = (head, *sign, _int16(max(shown, 0)), *reversed(digits))
    return Cells(parts, 8 + 2 * len(digits), valid)


def _int16(value: int) -> bytes:
    return value.to_bytes(2, "big", signed=True)


def _magnitude(array: pa.Array[Any]) -> tuple[list[Limbs], Bools]:
    """Absolute values as one uint64 limb, or as 32-bit limbs (most significant first), and which are negative."""
    data = array.buffers()[1]
    kind = array.type
    if not pa.types.is_decimal(kind):
        values = numpy_view(data, kind.to_pandas_dtype())[array.offset : array.offset + len(array)]
        negative: Bools = values < 0
        whole = values.astype(np.uint64)
        return [np.where(negative, np.uint64(0) - whole, whole)], negative
    words = kind.bit_width // 64
    table = numpy_view(data, f"{words}<u8")[array.offset : array.offset + len(array)]
    low = np.ascontiguousarray(table[:, 0])
    top = table[:, -1].view(np.int64)
    narrow = low.view(np.int64) >> np.int64(63)
    if all((table[:, word].view(np.int64) == narrow).all() for word in range(1, words)):
        negative = narrow < 0
        return [np.where(negative, np.uint64(0) - low, low)], negative
    negative = top < 0
    halves = np.ascontiguousarray(table).view("<u4")
    limbs: list[Limbs] = []
    carry = negative.astype(np.uint64)
    for index in range(halves.shape[1]):  # two's complement: invert and add one, least significant limb first
        limb = halves[:, index].astype(np.uint64)
        limb = np.where(negative, limb ^ _LIMB_MASK, limb) + carry
        carry = limb >> _LIMB_BITS
        limbs.append(limb & _LIMB_MASK)
    return limbs[::-1], negative


def _digits(limbs: list[Limbs], shift: int) -> list[npt.NDArray[np.uint16]]:
    """Digits of base 10000 of `limbs * 10**shift`, least significant first; as many as the greatest value needs."""
    limbs, rest = _divide(limbs, 10 ** (4 - shift))
    digits = [(rest * np.uint64(10**shift)).astype(np.uint16)]
    while len(limbs) > 1:
        limbs, rest = _divide(limbs, _BASE * _BASE)
        upper = rest // np.uint64(_BASE)
        digits += [(rest - upper * np.uint64(_BASE)).astype(np.uint16), upper.astype(np.uint16)]
    while limbs[0].any():
        limbs, rest = _divide(limbs, _BASE)
        digits.append(rest.astype(np.uint16))
    return digits


def _divide(limbs: list[Limbs], divisor: int) -> tuple[list[Limbs], Limbs]:
    """Quotient and remainder by a divisor below 2**32; leading limbs that became zero are dropped."""
    by = np.uint64(divisor)
    if len(limbs) == 1:
        quotient = limbs[0] // by
        return [quotient], limbs[0] - quotient * by
    rest = np.zeros_like(limbs[0])
    quotients: list[Limbs] = []
    for limb in limbs:
        current = (rest << _LIMB_BITS) | limb
        quotient = current // by
        rest = current - quotient * by
        if quotients or quotient.any():
            quotients.append(quotient)
    if not quotients:
        return [np.zeros_like(rest)], rest
    if len(quotients) == 2:
        return [(quotients[0] << _LIMB_BITS) | quotients[1]], rest
    return quotients, rest


def _has_digits_below(digits: list[npt.NDArray[np.uint16]], places: int) -> Bools:
    """Rows in which any of the last `places` decimal digits is not zero."""
    found: Bools = np.zeros(len(digits[0]), dtype=np.bool_)
    for index, digit in enumerate(digits):
        kept = min(max(places - 4 * index, 0), 4)
        if kept:
            found |= digit % np.uint16(10**kept) != 0 if kept < 4 else digit != 0
    return found


def _has_digits_from(digits: list[npt.NDArray[np.uint16]], places: int) -> Bools:
    """Rows in which any decimal digit left of the last `places` is not zero."""
    found: Bools = np.zeros(len(digits[0]), dtype=np.bool_)
    for index, digit in enumerate(digits):
        passed = min(max(places - 4 * index, 0), 4)
        if passed < 4:
            found |= digit >= np.uint16(10**passed)
    return found
