"""Rows of the log that Arrow cannot hold, as they would have been refused by a full read."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from tongqu.connectors.mysql.log.events import Wire
from tongqu.connectors.mysql.log.walking import Cells, Flags
from tongqu.core.data import BadRow


def refused(
    values: Mapping[str, Any], wrong: Mapping[str, tuple[Flags, Wire, Cells]], schema: pa.Schema
) -> list[BadRow]:
    """The rows as bad rows. `values` are all their columns; `wrong` has for each column with such cells which rows,
    and the cells themselves."""
    texts = {name: [_text(value) for value in column.to_pylist()] for name, column in values.items()}
    rows = len(next(iter(texts.values())))
    first: list[tuple[str, str]] = [("", "")] * rows
    for name, (which, wire, cells) in wrong.items():
        for row in range(rows):
            if which[row]:
                texts[name][row] = moment(wire, bytes(cells.data[cells.at[row] : cells.at[row] + cells.size]))
                if not first[row][0]:
                    first[row] = name, f"{texts[name][row]!r} is not a valid {schema.field(name).type}"
    return [
        BadRow(
            step="source", code="cast.invalid", field=first[row][0], value=texts[first[row][0]][row],
            original=json.dumps({name: own[row] for name, own in texts.items()}, ensure_ascii=False),
            message=": ".join(first[row]),
        )
        for row in range(rows)
    ]  # fmt: skip


def _text(value: Any) -> str | None:
    """A value in the server's text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex()
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None).isoformat(" ")
    return str(value)


def moment(wire: Wire, cell: bytes) -> str:
    """A date or time as the server writes it, whether it exists or not."""
    code, digits = wire.code, wire.meta
    if code in (10, 14):
        value = int.from_bytes(cell[:3], "little")
        return _date(value >> 9, value >> 5 & 15, value & 31)
    if code == 18:
        value = int.from_bytes(cell[:5], "big") - (1 << 39)
        months = value >> 22
        clock = _clock(value >> 12 & 31, value >> 6 & 63, value & 63)
        return f"{_date(months // 13, months % 13, value >> 17 & 31)} {clock}{_fraction(cell[5:], digits)}"
    if code == 12:
        value = int.from_bytes(cell[:8], "little")
        day, time = divmod(value, 1_000_000)
        clock = _clock(time // 10_000, time // 100 % 100, time % 100)
        return f"{_date(day // 10_000, day // 100 % 100, day % 100)} {clock}"
    if code == 19:
        return _time(cell, digits)
    if code == 11:
        value = int.from_bytes(cell[:3], "little", signed=True)
        sign, value = ("-" if value < 0 else ""), abs(value)
        return sign + _clock(value // 10_000, value // 100 % 100, value % 100)
    return "0000-00-00 00:00:00" + (f".{'0' * digits}" if code == 17 and digits else "")


def _time(cell: bytes, digits: int) -> str:
    width = len(cell) - 3
    value = int.from_bytes(cell, "big") - (1 << 23 << 8 * width)
    sign, value = ("-" if value < 0 else ""), abs(value)
    whole, fraction = value >> 8 * width, value & (1 << 8 * width) - 1
    clock = _clock(whole >> 12 & 1023, whole >> 6 & 63, whole & 63)
    return f"{sign}{clock}{_fraction(fraction.to_bytes(width, 'big'), digits)}"


def _date(year: int, month: int, day: int) -> str:
    return f"{year:04}-{month:02}-{day:02}"


def _clock(hours: int, minutes: int, seconds: int) -> str:
    return f"{hours:02}:{minutes:02}:{seconds:02}"


def _fraction(data: bytes, digits: int) -> str:
    if not digits:
        return ""
    return f".{int.from_bytes(data, 'big'):0{len(data) * 2}}"[: digits + 1]
