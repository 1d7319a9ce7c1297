"""Applies mending rules to kept rows; what a rule makes of a row is a row that its schema can hold, or a reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidSettingsError, UnknownNameError
from tongqu.core.operator import parse_step
from tongqu.engine.chain import Chain
from tongqu.kit.originals import originals, restored, schema_of
from tongqu.meaning.expressions import Typed
from tongqu.meaning.mending import Mend, expression, mended


@dataclass(frozen=True)
class Mended:
    """A row's new version, or its old one and the reason why the rules do not help."""

    row: str
    reason: str = ""


def mend_rows(mends: Sequence[Mend], rows: Sequence[str], shape: str) -> list[Mended]:
    """The rules in order over rows of one shape. Raises UnknownNameError for a field that the rows do not have, and
    ExpressionError for an expression that does not fit them."""
    schema = schema_of(shape) if shape else None
    found = [Mended(row) for row in rows]
    for mend in mends:
        names = schema.names if schema is not None else sorted({name for row in rows for name in json.loads(row)})
        if mend.field not in names:
            raise UnknownNameError(
                f"the rows have no field {mend.field!r}", path="--rule", hint=f"fields: {', '.join(names)}"
            )
        meant = expression(mend, schema) if schema is not None else None
        if meant is not None and schema is not None:
            found = _computed(mend, meant, found, schema)
        else:
            found = [one if one.reason else _plainly(mend, one.row) for one in found]
    return [_settled(old, one, schema) for old, one in zip(rows, found, strict=True)]


def _plainly(mend: Mend, text: str) -> Mended:
    row = json.loads(text, parse_float=str, parse_int=str)
    try:
        row[mend.field] = mended(mend, row)
    except InvalidSettingsError as error:
        return Mended(text, error.message)
    return Mended(json.dumps(row, ensure_ascii=False))


def _computed(mend: Mend, meant: Typed, rows: Sequence[Mended], schema: pa.Schema) -> list[Mended]:
    """The rows with a field computed by an expression; a row whose values do not fit its schema cannot be computed."""
    chain = Chain(Dataset("row", schema), [parse_step({"derive": {mend.field: meant.text}}, "--rule")])
    try:
        return _together(mend, chain, rows, schema)
    finally:
        chain.close()


def _together(mend: Mend, chain: Chain, rows: Sequence[Mended], schema: pa.Schema) -> list[Mended]:
    """All rows at once, or each half alone if one of them cannot be computed."""
    if not rows or any(one.reason for one in rows) or not _fits(rows, schema):
        if len(rows) <= 1:
            return [_failed(one, schema) for one in rows]
        return _halves(mend, chain, rows, schema)
    back = restored([one.row for one in rows], schema)
    outcome = chain.run(back.rows)
    wanted = schema.field(mend.field)
    reason = outcome.bad[0].message if outcome.bad else ""
    if not reason:
        made = outcome.rows.column(mend.field)
        try:
            changed = back.rows.set_column(schema.get_field_index(mend.field), wanted, made.cast(wanted.type))
            return [Mended(text) for text in originals(changed)]
        except pa.ArrowException:
            reason = f"{mend.field} {made[0].as_py()!r} is not a {wanted.type}"
    return [Mended(rows[0].row, reason)] if len(rows) == 1 else _halves(mend, chain, rows, schema)


def _halves(mend: Mend, chain: Chain, rows: Sequence[Mended], schema: pa.Schema) -> list[Mended]:
    middle = len(rows) // 2
    return _together(mend, chain, rows[:middle], schema) + _together(mend, chain, rows[middle:], schema)


def _fits(rows: Sequence[Mended], schema: pa.Schema) -> bool:
    return not restored([one.row for one in rows], schema).failures


def _failed(one: Mended, schema: pa.Schema) -> Mended:
    """The row with the reason why it cannot be computed."""
    return one if one.reason else Mended(one.row, restored([one.row], schema).failures[0][1])


def _settled(old: str, one: Mended, schema: pa.Schema | None) -> Mended:
    """The version as it will be kept; refused if it changes nothing or does not fit the schema."""
    if one.reason:
        return Mended(old, one.reason)
    if schema is None:
        return one if _values(one.row) != _values(old) else Mended(old, "the rule changes nothing")
    before, after = restored([old], schema), restored([one.row], schema)
    if after.failures:
        same = _values(one.row) == _values(old)
        return Mended(old, "the rule changes nothing" if same else f"it is still bad: {after.failures[0][1]}")
    text = originals(after.rows)[0]
    if not before.failures and originals(before.rows)[0] == text:
        return Mended(old, "the rule changes nothing")
    return Mended(text)


def _values(text: str) -> Any:
    return json.loads(text, parse_float=str, parse_int=str)
