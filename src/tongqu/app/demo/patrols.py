"""The patrols' workbook as people keep it: a title, two header rows, merged cells, days and numbers written anyhow."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from tongqu.kit.drivers import driver

DAYS = 28
_HEADINGS = (("日期", ""), ("产线", ""), ("设备", "温度"), ("设备", "振动"), ("产量", "计划"), ("产量", "实际"))
_FIRST_ROW = 3
_BROKEN_PROBES = {(4, 1), (11, 3), (12, 3), (19, 0), (26, 5)}
"""Day and line whose thermometer had lost contact."""
_STOPPED = {(9, 2), (20, 4)}
"""Day and line that stood still: words where a number should be."""


def write(path: Path, lines: Sequence[str], chance: random.Random) -> None:
    """Write the workbook, one row a day and line; raises MissingDriverError without the extra `excel`."""
    book = driver("xlsxwriter", "excel").Workbook(str(path))
    sheet = book.add_worksheet("巡检")
    sheet.merge_range(0, 0, 0, len(_HEADINGS) - 1, "一月巡检日报")
    for at, (upper, lower) in enumerate(_HEADINGS):
        if not lower:
            sheet.merge_range(1, at, 2, at, upper)
            continue
        if upper != _HEADINGS[at - 1][0]:
            sheet.merge_range(1, at, 1, at + 1, upper)
        sheet.write_string(2, at, lower)
    for number in range(DAYS):
        top = _FIRST_ROW + number * len(lines)
        sheet.merge_range(top, 0, top + len(lines) - 1, 0, _day(number))
        for place, name in enumerate(lines):
            for at, value in enumerate((name, *_measured(number, place, chance)), start=1):
                sheet.write(top + place, at, value)
    book.close()


def _day(number: int) -> str:
    day = date(2026, 1, 1) + timedelta(days=number)
    spelled = (f"{day}", f"{day:%Y}/{day.month}/{day.day}", f"{day:%Y}年{day.month}月{day.day}日", f"{day:%Y%m%d}")
    return spelled[number % len(spelled)]


def _measured(number: int, place: int, chance: random.Random) -> tuple[Any, ...]:
    """Temperature, vibration, output as planned, output as counted."""
    temperature = 9999 if (number, place) in _BROKEN_PROBES else round(chance.gauss(182 + 5 * place, 2), 1)
    made = chance.randint(1_050, 1_250)
    counted = "停机" if (number, place) in _STOPPED else _spelled(made, number + place)
    return temperature, round(chance.uniform(0.8, 2.4), 2), 1_200, counted


def _spelled(made: int, turn: int) -> str:
    plain = f"{made:,}" if turn % 3 else str(made)
    return plain if turn % 4 else "".join(chr(ord(sign) + 0xFEE0) for sign in str(made))
