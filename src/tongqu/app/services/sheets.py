"""Documents as lines of JSON or as CSV that no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

REST = "more"
"""The column of everything that has none of its own, as JSON."""
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def written(records: Iterable[Mapping[str, Any]], stream: TextIO, columns: Sequence[str] = ()) -> int:
    """Write records into an open file, which translates no line ends; how many it were. With `columns` as CSV
    (RFC 4180), without as JSON lines."""
    if not columns:
        count = 0
        for record in records:
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")
            count += 1
        return count
    sheet = csv.writer(stream)
    sheet.writerow([*columns, REST])
    count = 0
    for record in records:
        rest = {name: value for name, value in record.items() if name not in columns}
        sheet.writerow([*(_cell(record.get(name)) for name in columns), _cell(rest or None)])
        count += 1
    return count


def _cell(value: Any) -> str:
    """A cell: a text that a spreadsheet would carry out begins with an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        text = json.dumps(value, ensure_ascii=False)
    else:
        text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULAS) else text
