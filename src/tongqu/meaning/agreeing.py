"""Decides what several systems that hold the same record agree on: pure functions over what each of them says now.

A three-way merge per side: every side is compared with what it was last known to hold, so that only what somebody
changed there counts as a change. Values are texts (None: null), rows map fields to them, a row that is None is absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Literal

Row = Mapping[str, str | None] | None
Conflict = Literal["master", "newest", "merge", "manual"]
EVERY = "*"
"""In a mapping of masters: the side that decides about whole records and about fields that name none."""


@dataclass(frozen=True)
class Policy:
    """Who wins. `sides` in the order in which they count where nothing else tells.

    `master` maps fields to sides, `EVERY` to the one for the rest. `version` is a field that grows with each change.
    `approved` is a field and the value without which a row is a draft. `takes` are the sides whose changes are taken;
    `restores` puts rows back that were deleted at one side. `readers` are sides that people only read: they get what is
    agreed, and whatever else stands there is overwritten.
    """

    sides: tuple[str, ...]
    master: Mapping[str, str] = field(default_factory=dict)
    conflict: Conflict = "master"
    version: str = ""
    approved: tuple[str, str] | None = None
    takes: frozenset[str] = frozenset()
    restores: bool = False
    readers: frozenset[str] = frozenset()

    @property
    def chief(self) -> str:
        """The side that decides about whole records."""
        return self.master.get(EVERY, self.sides[0])

    @property
    def by_field(self) -> bool:
        """Whether changes of different fields of one record stand beside each other."""
        return self.conflict == "merge" or (self.conflict == "master" and set(self.master) - {EVERY} != set())

    def rank(self, side: str, name: str = EVERY) -> tuple[bool, int]:
        """Sorts sides: who decides about a field comes first."""
        return side != self.master.get(name, self.chief), self.sides.index(side)


@dataclass(frozen=True)
class Known:
    """What was agreed last. `bases` are the sides that were last known to hold another row than the agreed one; `last`
    is the row that a tombstone stands for; `origin` the side that said what is agreed, where one did."""

    agreed: Row = None
    bases: Mapping[str, Row] = field(default_factory=dict)
    last: Row = None
    origin: str = ""

    def base(self, side: str) -> Row:
        """What a side was last known to hold."""
        return self.bases.get(side, self.agreed)

    def overtook(self, changed: Iterable[str]) -> bool:
        """Whether something was agreed that none of these sides had seen when it was changed there."""
        return all(self.base(side) != self.agreed for side in changed)


@dataclass(frozen=True)
class Decision:
    """What the sides shall agree on.

    `asks`: somebody must choose among `changed`. `writes` are the sides that must change, with what they hold and what
    they shall hold. `held` are those whose row is a draft: neither taken nor overwritten. `drifts` are those that
    differ and are left alone. `lost` are sides of which a change was overruled, with what
    they said; also what was agreed, where a side that had not seen it decides.
    """

    row: Row
    changed: tuple[str, ...] = ()
    asks: bool = False
    writes: Mapping[str, tuple[Row, Row]] = field(default_factory=dict)
    held: tuple[str, ...] = ()
    drifts: tuple[str, ...] = ()
    lost: Mapping[str, Row] = field(default_factory=dict)
    origin: str = ""


def decide(known: Known, now: Mapping[str, Row], policy: Policy) -> Decision:
    """What is agreed on from here; `now` has the sides that could be asked. Depends on nothing but its arguments, and
    deciding again once all writes are done changes nothing. What was agreed while a side was away stands against what
    was changed there meanwhile as any other side's change does."""
    held = tuple(
        side
        for side in now
        if side not in policy.readers and is_draft(now[side], policy) and now[side] != known.base(side)
    )
    changed = {
        side: row
        for side, row in now.items()
        if side in policy.takes and side not in held and _changed(known, side, row, policy)
    }
    if changed:
        distinct = distinct_rows(changed)
        alone = len(distinct) == 1 and not known.overtook(changed)
        if not alone and policy.conflict == "manual":
            return Decision(known.agreed, tuple(changed), asks=True, held=held)
        row = distinct[0] if alone else _resolved(known, changed, policy)
    else:
        row = known.agreed
    return ruled(known, now, policy, row, (changed, held))


def ruled(
    known: Known, now: Mapping[str, Row], policy: Policy, row: Row, among: tuple[Mapping[str, Row], tuple[str, ...]]
) -> Decision:
    """The decision for a row that was chosen, by `decide` or by a person, `among` what was changed and what is held."""
    changed, held = among
    anew = row != known.agreed
    writes: dict[str, tuple[Row, Row]] = {}
    drifts = []
    for side, here in now.items():
        if side in held or here == row:
            continue
        if side in policy.takes or side in policy.readers or anew or here == known.base(side):
            writes[side] = (here, row)
        else:
            drifts.append(side)
    lost = {side: here for side, (here, _) in writes.items() if _overruled(known, side, here, row)}
    if known.origin and changed and known.overtook(changed) and _dropped(known, changed, row):
        lost.setdefault(known.origin, known.agreed)
    winners = sorted((side for side in changed if side not in lost), key=policy.rank)
    return Decision(
        row, tuple(changed), writes=writes, held=held, drifts=tuple(drifts), lost=lost,
        origin=winners[0] if winners else "",
    )  # fmt: skip


def is_draft(row: Row, policy: Policy) -> bool:
    """Whether a row is there and not approved."""
    return policy.approved is not None and row is not None and row.get(policy.approved[0]) != policy.approved[1]


def distinct_rows(rows: Mapping[str, Row]) -> list[Row]:
    """The different rows, in order."""
    found: list[Row] = []
    for row in rows.values():
        if row not in found:
            found.append(row)
    return found


def _changed(known: Known, side: str, row: Row, policy: Policy) -> bool:
    base = known.base(side)
    if row in (base, known.agreed):
        return False
    if row is None:
        return not policy.restores
    if base is None and known.agreed is None and known.last is not None:
        return not _stale(row, known.last, policy)
    return True


def _stale(row: Mapping[str, str | None], last: Mapping[str, str | None], policy: Policy) -> bool:
    """Whether a row that is there again is the deleted one that comes back, and no new one."""
    if row == last:
        return True
    return bool(policy.version) and _number(row.get(policy.version)) <= _number(last.get(policy.version))


def _resolved(known: Known, changed: Mapping[str, Row], policy: Policy) -> Row:
    order = sorted(changed, key=policy.rank)
    chief, stands = not policy.rank(order[0])[0], known.overtook(changed)
    if policy.conflict == "newest":
        there = [row for side in order if (row := changed[side]) is not None]
        if stands and known.agreed is not None:
            there.insert(1 if chief and changed[order[0]] is not None else 0, known.agreed)
        return max(there, key=lambda row: _number(row.get(policy.version)))
    if not policy.by_field:
        return changed[order[0]] if chief or not stands else known.agreed
    if (chief and changed[order[0]] is None) or (stands and known.agreed is None and known.origin == policy.chief):
        return None
    rows = {side: row for side, row in changed.items() if row is not None}
    return merged(known, rows, policy) if rows else known.agreed


def merged(known: Known, rows: Mapping[str, Mapping[str, str | None]], policy: Policy) -> Row:
    """Field by field: what one side alone changed is taken, of what several changed the field's master's, or the first
    one's; the agreed value stands against sides that had not seen it, except against its master. The version is the
    greatest."""
    agreed = known.agreed or {}
    found: dict[str, str | None] = {}
    for name in next(iter(rows.values())):
        own = agreed.get(name, _Never)
        changers = [
            side for side, row in rows.items() if row[name] not in ((known.base(side) or {}).get(name, _Never), own)
        ]
        if not changers:
            first = rows[min(rows, key=policy.rank)]
            found[name] = agreed.get(name, first[name])
            continue
        unseen = known.agreed is not None and all(
            (known.base(side) or {}).get(name, _Never) != own for side in changers
        )
        if name == policy.version:
            said = [rows[side][name] for side in changers]
            found[name] = max([*said, agreed[name]] if unseen else said, key=_number)
        else:
            winner = min(changers, key=lambda side, field=name: policy.rank(side, field))  # type: ignore[misc]  # a default
            found[name] = agreed[name] if unseen and policy.rank(winner, name)[0] else rows[winner][name]
    return found


class _Never:
    """No value: a field of a row that was not there."""


def _overruled(known: Known, side: str, said: Row, row: Row) -> bool:
    """Whether a side changed something that is not in the row that was agreed on."""
    if said in (known.base(side), known.agreed):
        return False
    if said is None or row is None:
        return said is not row
    base, agreed = known.base(side) or {}, known.agreed or {}
    return any(
        value != row[name] and value not in (base.get(name, _Never), agreed.get(name, _Never))
        for name, value in said.items()
    )


def _dropped(known: Known, changed: Iterable[str], row: Row) -> bool:
    """Whether something of what was agreed, and what none of the sides had seen, is not in the row that counts now."""
    if known.agreed is None or row is None:
        return known.agreed is not row
    bases = [known.base(side) or {} for side in changed]
    return any(
        value != row[name] and all(base.get(name, _Never) != value for base in bases)
        for name, value in known.agreed.items()
    )


def _number(text: str | None) -> tuple[int, Decimal, str]:
    """Sorts versions: nothing before numbers before other texts (instants as ISO 8601 sort as texts)."""
    if text is None:
        return 0, Decimal(0), ""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return 2, Decimal(0), text
    return (1, number, "") if number.is_finite() else (2, Decimal(0), text)
