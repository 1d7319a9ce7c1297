"""Rows in JSON as the representation that a caller asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from tongqu.core.server import Format
from tongqu.gateway.policy.values import family
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api
from tongqu.gateway.rendering import rendered
from tongqu.gateway.rest import xml
from tongqu.gateway.rest.formats import Form
from tongqu.gateway.rest.spreadsheets import escaped
from tongqu.kit.serving.texts import dumps


def asked_format(form: Form) -> Format:
    """What the source is asked for: JSON where rows are shaped further."""
    return form.shape if form.shape in ("csv", "arrow") else "json"


def shaped(body: bytes, rows: int, form: Form, api: Api) -> bytes:
    """The representation of what the source gave in `asked_format`. Raises Problem `row.single` unless there is
    exactly one row for a single object."""
    if form.shape == "csv":
        return escaped(body, _texts(api)) if form.escaped else body
    if form.shape == "xml":
        return xml.document(body, api)
    if form.shape == "object":
        single(rows)
        body = body.strip()[1:-1]
    return _stripped(body) if form.stripped else body


def shaped_rows(body: bytes, names: Sequence[str], form: Form, api: Api) -> bytes:
    """The representation of rows that are at hand as a JSON array, in any form but Arrow."""
    if form.shape == "csv":
        rows = json.loads(body, parse_float=Decimal)
        made = rendered(rows, tuple(rows[0]) if rows else tuple(names), "csv")[0]
        return shaped(made, len(rows), form, api)
    if form.shape == "arrow":
        raise Problem("accept.unknown", "rows that were written cannot be given as Arrow")
    return shaped(body, len(json.loads(body)) if form.shape == "object" else 0, form, api)


def single(rows: int) -> None:
    """Raise Problem `row.single` unless it is one row."""
    if rows != 1:
        told = "more than 1 row" if rows > 1 else "0 rows"
        raise Problem(
            "row.single",
            "the answer as a single object is exactly one row",
            more={"details": f"The result contains {told}"},
        )


def _stripped(body: bytes) -> bytes:
    return dumps(_without_nulls(json.loads(body, parse_float=Decimal)))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(part) for name, part in value.items() if part is not None}
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value


def _texts(api: Api) -> frozenset[str]:
    """Columns of text; outputs of other names are guarded too, by not being known as numbers."""
    numbers = {field.name for field in api.dataset.schema if family(field) in ("int", "decimal", "float")}
    return _AllBut(numbers)


class _AllBut(frozenset[str]):
    """Every name but some."""

    def __contains__(self, name: object) -> bool:
        return not super().__contains__(name)
