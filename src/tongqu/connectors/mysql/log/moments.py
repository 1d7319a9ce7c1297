"""Dates and times as the log holds them, in Arrow; those that are no day (`0000-00-00`, `2026-00-10`) are marked."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tongqu.connectors.mysql.log.events import Wire
from tongqu.connectors.mysql.log.walking import Cells, Flags, made

Numbers = npt.NDArray[np.int64]
_DAY = 86_400_000_000


def dates(cells: Cells, wire: Wire, kind: pa.DataType) -> tuple[Any, Flags]:
    """DATE: day, month and year in 5, 4 and 15 bits."""
    del wire
    value = cells.little()
    days, wrong = _days(value >> 9, value >> 5 & 15, value & 31)
    wrong &= ~cells.null
    return made(days.astype(np.int32), kind, cells.null | wrong), wrong


def stamps(cells: Cells, wire: Wire, kind: pa.DataType) -> tuple[Any, Flags]:
    """DATETIME and TIMESTAMP, of MySQL 5.6 and later or of before, as microseconds."""
    if wire.code == 7:
        seconds = cells.little()
        micros, wrong = seconds * 1_000_000, seconds == 0
    elif wire.code == 17:
        seconds, fraction = cells.big(0, 4), _fraction(cells, 4, wire.meta)
        micros, wrong = seconds * 1_000_000 + fraction, (seconds == 0) & (fraction == 0)
    elif wire.code == 18:
        value = cells.big(0, 5) - (1 << 39)
        months = value >> 22
        days, wrong = _days(months // 13, months % 13, value >> 17 & 31)
        clock = (value >> 12 & 31) * 3600 + (value >> 6 & 63) * 60 + (value & 63)
        micros = days * _DAY + clock * 1_000_000 + _fraction(cells, 5, wire.meta)
    else:
        value = cells.fixed("<i8")
        day, time = value // 1_000_000, value % 1_000_000
        days, wrong = _days(day // 10_000, day // 100 % 100, day % 100)
        micros = days * _DAY + (time // 10_000 * 3600 + time // 100 % 100 * 60 + time % 100) * 1_000_000
    wrong &= ~cells.null
    return made(micros, kind, cells.null | wrong), wrong


def times(cells: Cells, wire: Wire, kind: pa.DataType) -> tuple[Any, Flags]:
    """TIME, which may be negative or longer than a day: then it is no time of day."""
    if wire.code == 19:
        value = cells.big(0, 3) - (1 << 23)
        fraction = _fraction(cells, 3, wire.meta)
        micros = ((value >> 12 & 1023) * 3600 + (value >> 6 & 63) * 60 + (value & 63)) * 1_000_000 + fraction
        wrong = (value < 0) | (micros >= _DAY)
    else:
        value = cells.little()
        value = np.where(value >= 1 << 23, value - (1 << 24), value)
        micros = (value // 10_000 * 3600 + value // 100 % 100 * 60 + value % 100) * 1_000_000
        wrong = (value < 0) | (micros >= _DAY)
    wrong &= ~cells.null
    return made(micros, kind, cells.null | wrong), wrong


def _fraction(cells: Cells, first: int, digits: int) -> Numbers:
    """Microseconds of the fraction that stands behind the whole seconds."""
    width = (digits + 1) // 2
    return cells.big(first, width) * (1, 10_000, 100, 1)[width]


def _days(year: Numbers, month: Numbers, day: Numbers) -> tuple[Numbers, Flags]:
    """Days since 1970 (http://howardhinnant.github.io/date_algorithms.html), and which are no day of the calendar."""
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    last = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 0, 0, 0])[np.clip(month, 0, 15)]
    wrong = (month < 1) | (month > 12) | (day < 1) | (day > last + (leap & (month == 2)))
    shifted = year - (month <= 2)
    era = shifted // 400
    of_era = shifted - era * 400
    of_year = (153 * (month + np.where(month > 2, -3, 9)) + 2) // 5 + day - 1
    found = era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
    return np.where(wrong, 0, found), wrong
