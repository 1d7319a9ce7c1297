"""`Range`, `Content-Range` and the status they lead to."""

from __future__ import annotations

import re
from dataclasses import replace

from tongqu.gateway.asking import Ask
from tongqu.gateway.problems import Problem

_RANGE = re.compile(r"([0-9]{1,16})-([0-9]{0,16})")


def within(ask: Ask, header: str, unit: str) -> Ask:
    """The question cut to a `Range: 0-24` of `Range-Unit: items`, which counts from the beginning of `offset`.

    What is no range of items is passed over, as RFC 9110 asks; an end before the beginning is Problem
    `range.unsatisfiable`.
    """
    if not header or (unit and unit.strip().lower() != "items"):
        return ask
    match = _RANGE.fullmatch(header.strip().removeprefix("items="))
    if match is None:
        return ask
    first, last = int(match[1]), int(match[2]) if match[2] else None
    if last is not None and last < first:
        raise Problem("range.unsatisfiable", "the range ends before it begins", headers=[("content-range", "*/*")])
    limit = ask.limit
    if last is not None:
        limit = min(last - first + 1, ask.limit - first if ask.limit is not None else last - first + 1)
    elif limit is not None:
        limit -= first
    return replace(ask, offset=ask.offset + first, limit=max(limit, 0) if limit is not None else None)


def content_range(offset: int, rows: int, total: int | None) -> str:
    """`0-19/40`; `*` where nothing is known or nothing was found."""
    span = f"{offset}-{offset + rows - 1}" if rows else "*"
    return f"{span}/{'*' if total is None else total}"


def status(offset: int, rows: int, total: int | None) -> int:
    """200 for all that is known to be there, 206 for a part; Problem `range.unsatisfiable` behind the end."""
    if total is None:
        return 200
    if offset > total or (offset and offset == total):
        raise Problem(
            "range.unsatisfiable",
            f"{offset} rows were to be passed over, there are {total}",
            headers=[("content-range", f"*/{total}")],
        )
    return 206 if rows < total else 200
