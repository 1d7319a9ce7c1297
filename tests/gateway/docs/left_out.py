"""Hooks of schemathesis' command line: what OpenAPI cannot say of the gateway."""

from __future__ import annotations

from typing import Any

import schemathesis

_LEFT_OUT = ("Tongqu-After", "If-Match", "Idempotency-Key", "Range")
"""Headers whose values only make sense with an answer given before."""


@schemathesis.hook
def map_case(context: Any, case: Any) -> Any:
    """Leave those headers out where they could be good; never change all rows, nor add rows of different fields at
    once, which are refused."""
    del context
    if case.meta is None or case.meta.generation.mode.is_positive:
        for name in _LEFT_OUT:
            case.headers.pop(name, None)
        if case.method in ("PATCH", "DELETE") and "{" not in case.path and not case.query:
            case.query = {"id": "gt.0"}
        if isinstance(case.body, list) and all(isinstance(row, dict) for row in case.body):
            case.body = [row for row in case.body if row.keys() == case.body[0].keys()]
    return case
