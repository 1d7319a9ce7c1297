"""What systems make of rows that are written to them: texts cut, numbers rounded, stamps set; none of it is an edit.

A field counts as made, and not as changed by somebody, where a value was written and another one stood there at the end
of the same transaction, unless the side decides about that field. Fields that were not written, and fields that were
written empty, may be filled by the system: that is a change, which the others get.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tongqu.engine.twoway.packing import Shape
from tongqu.meaning.agreeing import Policy, Row
from tongqu.store.agreements import Agreed

Fields = dict[str, str | None]
_ECHOES = 3
"""So often what a system does by itself, when it is written, is carried to the others in a row: two systems that answer
each write with a stamp of their own would go on for ever."""


@dataclass(frozen=True)
class Done:
    """What the sides held, which of them had changed it, what became of the writes, and what systems made of them."""

    now: Mapping[str, str | None]
    changed: Sequence[str]
    told: Mapping[str, str] = field(default_factory=dict)
    forms: Mapping[str, str] = field(default_factory=dict)


def meant(shape: Shape, record: Agreed, side: str, text: str | None) -> Row:
    """The row that a side holds, with what was written wherever it still holds what it made of that."""
    row, made = shape.row(text), record.made.get(side)
    base = shape.row(record.bases.get(side, record.row))
    if row is None or base is None or not made:
        return row
    return {name: base[name] if name in made and made[name] == value else value for name, value in row.items()}


def reformed(after: Agreed, before: Agreed, shape: Shape, policy: Policy, done: Done) -> Agreed:
    """The record with what each side makes of it now. Sides that made something else of it than that are looked at
    again: there they changed it."""
    now, told, forms = done.now, done.told, done.forms
    times = min((before.echoes.get(side, 0) for side in done.changed), default=0)
    echoes = {
        side: count
        for side, count in before.echoes.items()
        if side in after.bases and side not in done.changed and side not in told
    }
    row, agreed = shape.row(after.row), shape.row(before.row)
    if row is None:
        return replace(after, echoes=echoes)
    made: dict[str, Fields] = {}
    bases = dict(after.bases)
    for side in policy.sides:
        known = dict(before.made.get(side, {}))
        if side in forms:
            form, old = shape.row(forms[side]) or {}, shape.row(now.get(side))
            other = {name: form[name] for name in form if form[name] != row[name]}
            known = {
                name: value
                for name, value in other.items()
                if times >= _ECHOES
                or (
                    row[name] is not None
                    and (old is None or old[name] != row[name])
                    and policy.master.get(name, policy.chief) != side
                )
            }
            if set(other) != set(known):
                bases[side], echoes[side] = after.row, times + 1
        elif told.get(side) == "done":
            known = {}
        elif side in now and side not in bases and side not in told:
            here = shape.row(now[side]) or {}
            known = {
                name: value
                for name, value in known.items()
                if agreed is not None and row[name] == agreed[name] and here.get(name, "") == value
            }
        if known:
            made[side] = known
    return replace(after, bases=bases, made=made, echoes=echoes)


def restored(before: Agreed, now: Mapping[str, str | None], undone: Mapping[str, str], shape: Shape) -> Agreed:
    """The record after writes were taken back: what sides made of the rows that they were given back, where those are
    what was agreed."""
    made = {side: dict(fields) for side, fields in before.made.items()}
    for side, form in undone.items():
        base, held = before.bases.get(side, before.row), shape.row(form)
        row = shape.row(base)
        if row is not None and held is not None and meant(shape, before, side, now.get(side)) == row:
            made[side] = {name: held[name] for name in row if held[name] != row[name]}
    return replace(before, made=made)
