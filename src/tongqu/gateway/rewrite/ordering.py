"""Order and paging: every answer has a total order, and a page starts right behind the last row of the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.gateway.asking import Ask
from tongqu.gateway.policy.values import fitted
from tongqu.gateway.problems import Problem
from tongqu.gateway.rewrite.binding import Binding, Shape
from tongqu.gateway.rewrite.outputs import Output
from tongqu.gateway.rewrite.trees import Writer, hole

if TYPE_CHECKING:
    from sqlglot import exp

_ORDERABLE = frozenset(("int", "decimal", "float", "text", "bool", "date", "timestamp", "instant", "time", "uuid"))
_MOST = 16


@dataclass(frozen=True)
class Key:
    """One key of the order, over something of the view."""

    shape: Shape
    field: pa.Field[Any]
    descending: bool
    nulls_first: bool
    nullable: bool

    @property
    def key(self) -> tuple[Any, ...]:
        """What its SQL depends on."""
        return self.shape, self.descending, self.nulls_first, self.nullable

    def tree(self, writer: Writer) -> exp.Expr:
        """It in ORDER BY."""
        from sqlglot import exp

        return exp.Ordered(this=writer.target(self.shape), desc=self.descending, nulls_first=self.nulls_first)


def keys(ask: Ask, binding: Binding, columns: Sequence[Output]) -> tuple[tuple[Key, ...], bool]:
    """What is asked, and behind it the key, so that no two rows are in the same place; and whether pages can start
    behind a row's values. Where the caller does not see the key, all fields it sees stand for it."""
    grouped = [one.shape for one in columns if not one.aggregate] if any(one.aggregate for one in columns) else None
    made: list[Key] = []
    if len(ask.order) > _MOST:
        raise Problem("query.malformed", f"more than {_MOST} keys of the order are too many")
    for one in ask.order:
        shape, seen = binding.target(one.field, one.path, one.text)
        if seen.family not in _ORDERABLE:
            raise Problem("query.malformed", f"rows cannot be ordered by {one.field!r}")
        if grouped is not None and shape not in grouped:
            raise Problem("query.malformed", f"groups cannot be ordered by {one.field!r}, which they are not made by")
        first = one.descending if one.nulls_first is None else one.nulls_first
        made.append(Key(shape, seen.field, one.descending, first, seen.nullable))
    whole = binding.view.key
    rest: Sequence[Shape | None] = [("field", name) for name in whole or binding.view.fields]
    for place in rest if grouped is None else grouped:
        if place is None or place[0] != "field" or any(key.shape == place for key in made):
            continue
        seen = binding.view.fields[place[1]]
        if seen.after is None and seen.family in _ORDERABLE:
            made.append(Key(binding.target(place[1])[0], seen.field, False, False, seen.nullable))
    paged = bool(whole) and grouped is None and {("field", name) for name in whole} <= {key.shape for key in made}
    return tuple(made), paged


def start(order: Sequence[Key], values: Sequence[Any], binding: Binding) -> Shape:
    """The shape of what lies behind a row: which of its values are null, and the placeholders of the others."""
    if len(values) != len(order):
        raise Problem("cursor.invalid", "the cursor does not belong to this query")
    try:
        plain = [_held(value, key.field) for key, value in zip(order, values, strict=True)]
    except ValueError:
        raise Problem("cursor.invalid", "the cursor does not belong to this query") from None
    return tuple("" if value is None else binding.hole(value) for value in plain)


def _held(value: Any, field: pa.Field[Any]) -> Any:
    """A value of a cursor; a date that Python has not (`infinity`) stays the text that its database gave."""
    try:
        return fitted(value, field)
    except ValueError:
        if isinstance(value, str) and pa.types.is_temporal(field.type):
            return value
        raise


def behind(order: Sequence[Key], start: Shape, writer: Writer) -> exp.Expr:
    """The condition of the rows behind: the first key behind, or the same and the second behind, and so on."""
    from sqlglot import exp

    cases: list[exp.Expr] = []
    same: list[exp.Expr] = []
    for key, name in zip(order, start, strict=True):
        further = _further(key, name, writer)
        if further is not None:
            cases.append(exp.and_(*same, further) if same else further)
        target = writer.target(key.shape)
        same.append(exp.EQ(this=target, expression=hole(name)) if name else exp.Is(this=target, expression=exp.Null()))
    found: exp.Expr = exp.or_(*(exp.paren(case) for case in cases)) if cases else exp.Boolean(this=False)
    first = order[0]
    if start[0] and not first.nullable and len(order) > 1:  # says nothing new, but lets an index find the place
        kind = exp.LTE if first.descending else exp.GTE
        bound = kind(this=writer.target(first.shape), expression=hole(start[0]))
        return exp.and_(bound, exp.paren(found))
    return found


def _further(key: Key, name: str, writer: Writer) -> exp.Expr | None:
    """Behind a value in one key; None where nothing is."""
    from sqlglot import exp

    target = writer.target(key.shape)
    if not name:
        return exp.Not(this=exp.Is(this=target, expression=exp.Null())) if key.nulls_first else None
    kind = exp.LT if key.descending else exp.GT
    beyond: exp.Expr = kind(this=target, expression=hole(name))
    if key.nulls_first or not key.nullable:
        return beyond
    return exp.paren(exp.or_(beyond, exp.Is(this=writer.target(key.shape), expression=exp.Null())))
