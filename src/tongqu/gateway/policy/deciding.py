"""One decision in the making: unites what the rules that fit give, and takes away what they deny."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tongqu.core.policy import Actor
from tongqu.gateway.policy.conditions import Not, Rule, Truth, joined
from tongqu.gateway.policy.decision import Action, Decision
from tongqu.gateway.policy.field_rules import FieldRule, clearance
from tongqu.gateway.policy.grants import Grant
from tongqu.gateway.policy.predicates import predicate, settled
from tongqu.meaning.masks import Mask

if TYPE_CHECKING:
    from sqlglot import exp

_PERSONAL = 2
_ALL = Truth(True)


@dataclass(frozen=True)
class _Sight:
    """What an actor sees: fields with masks, rows, and the rows in which single fields are given."""

    fields: Mapping[str, Mask | None]
    rows: Rule
    cells: Mapping[str, Rule]
    by: Sequence[Grant]


@dataclass(frozen=True)
class Deciding:
    """The grants that fit one actor now. `rows` holds for everybody, `chosen` are the grants, `fields` all fields."""

    fields: Sequence[FieldRule]
    rows: Rule
    actor: Actor
    chosen: Sequence[Grant]
    sees: bool = True
    """The scope of the token admits reading; without it rows are bound as ever, but none of their fields is known."""
    params: dict[str, Any] = field(default_factory=dict)

    def decision(self, action: Action, version: str, keys: Mapping[str, bytes]) -> Decision:
        """The decision for an action; `keys` are those of all masks."""
        denying = [grant for grant in self.chosen if grant.deny and action in grant.actions]
        total = next((grant for grant in denying if grant.total), None)
        if total is not None:
            return refused(action, f"{total.name} denies it", (total.name,))
        allowing = self._allowing(action)
        if not allowing:
            return refused(action, "no rule that fits this caller allows it", ())
        sight = self._sight()
        if action == "read":
            if sight is None:
                return refused(action, "the rules that fit show no field", tuple(g.name for g in allowing))
            return self._made(action, version, keys, sight, sight.rows, {}, frozenset())
        return self._writing(action, version, keys, sight, allowing)

    def _allowing(self, action: Action) -> list[Grant]:
        return [grant for grant in self.chosen if not grant.deny and action in grant.actions]

    def _denying(self, action: Action) -> list[Grant]:
        return [grant for grant in self.chosen if grant.deny and action in grant.actions]

    def _sight(self) -> _Sight | None:
        """What may be read; None if nothing."""
        allow, deny = self._allowing("read"), self._denying("read")
        if any(grant.total for grant in deny):
            return None
        cleared = clearance(self.actor)
        fields: dict[str, Mask | None] = {}
        giving: dict[str, list[Grant]] = {}
        for one in self.fields:
            shown = [(grant, one.shown(grant, self.actor, cleared)) for grant in allow]
            plain = [grant for grant, how in shown if how == "plain"]
            by = plain or [grant for grant, how in shown if how]
            if by and not _taken(one.name, deny):
                fields[one.name] = None if plain else one.mask
                giving[one.name] = by
        used = [grant for grant in allow if any(grant in by for by in giving.values())]
        if not fields:
            return None
        return _Sight(fields, self._rows(used, deny), _cells(giving, used, deny), [*used, *deny])

    def _writing(
        self, action: Action, version: str, keys: Mapping[str, bytes], sight: _Sight | None, allow: list[Grant]
    ) -> Decision:
        """What may be changed. Rows are found only among those that the actor may read, if it may read at all."""
        deny = self._denying(action)
        cleared = clearance(self.actor)
        sets: dict[str, list[Grant]] = {}
        for one in self.fields if action != "delete" else ():
            by = [grant for grant in allow if one.settable(grant, self.actor, cleared)]
            if by and not _taken(one.name, deny):
                sets[one.name] = by
        rows = self._rows(allow, deny)
        seen = sight or _Sight({}, _ALL, {}, ())
        if action != "insert":
            rows = joined("and", [rows, seen.rows])
        fields, cells = (seen.fields, seen.cells) if self.sees else ({}, {})
        told = _Sight(fields, rows, cells, [*allow, *deny])
        return self._made(action, version, keys, told, rows, _cells(sets, allow, deny), frozenset(sets))

    def _rows(self, allow: Sequence[Grant], deny: Sequence[Grant]) -> Rule:
        """Rows of one of the allowing grants, and of none of the denying ones; unknown is denied."""
        united = joined("or", [grant.rows or _ALL for grant in allow])
        denied = [Not(grant.rows) for grant in deny if grant.rows is not None and grant.fields is None]
        return joined("and", [self.rows, united, *denied])

    def _made(  # noqa: PLR0917  the parts of a decision
        self, action: Action, version: str, keys: Mapping[str, bytes], sight: _Sight, rows: Rule,
        settable: Mapping[str, Rule], writable: frozenset[str],
    ) -> Decision:  # fmt: skip
        params: dict[str, Any] = {}
        where = self._tree(rows, "row", params)
        cells = self._trees(sight.cells, "cell", params)
        sets = self._trees(settable, "set", params)
        masks = {mask.key: keys[mask.key] for mask in sight.fields.values() if mask is not None and mask.key}
        plan = _digest([
            version, action, [(name, mask and mask.model_dump(mode="json")) for name, mask in sight.fields.items()],
            _text(where), [(name, _text(tree)) for name, tree in cells.items()], sorted(writable),
            [(name, _text(tree)) for name, tree in sets.items()],
        ])  # fmt: skip
        levels = {one.name: one.level for one in self.fields}
        return Decision(
            allowed=True, fields=sight.fields, writable=writable, rows=where, params=params,
            rules=tuple(dict.fromkeys(grant.name for grant in sight.by)),
            reason=f"allowed by {', '.join(grant.name for grant in sight.by if not grant.deny)}",
            fingerprint=_digest([plan, sorted((name, type(v).__name__, str(v)) for name, v in params.items())]),
            cacheable=not any(mask is None and levels[name] >= _PERSONAL for name, mask in sight.fields.items()),
            cells=cells, settable=sets, plan=plan, secrets=masks,
        )  # fmt: skip

    def _trees(self, rules: Mapping[str, Rule], word: str, params: dict[str, Any]) -> dict[str, exp.Expr]:
        made = {name: self._tree(rule, word, params) for name, rule in rules.items()}
        return {name: tree for name, tree in made.items() if tree is not None}

    def _tree(self, rule: Rule, word: str, params: dict[str, Any]) -> exp.Expr | None:
        """The rule as SQL; None if it always holds. Its values join `params`."""
        made = settled(rule, self.actor.attributes)
        if isinstance(made, Truth) and made.value:
            return None
        start = len(params)
        tree, values = predicate(made, self.actor.attributes, lambda name: f"{word}{start}_{name}")
        params.update(values)
        return tree


def _taken(name: str, deny: Sequence[Grant]) -> bool:
    """Whether a field is denied in every row."""
    return any(grant.fields is not None and name in grant.fields and grant.rows is None for grant in deny)


def _cells(giving: Mapping[str, Sequence[Grant]], used: Sequence[Grant], deny: Sequence[Grant]) -> dict[str, Rule]:
    """Of each field that is not given in all rows: the rows it is given in."""
    whole = joined("or", [grant.rows or _ALL for grant in used])
    cells: dict[str, Rule] = {}
    for name, by in giving.items():
        own = joined("or", [grant.rows or _ALL for grant in by])
        denied = [Not(g.rows) for g in deny if g.rows is not None and g.fields is not None and name in g.fields]
        if own != whole or denied:
            cells[name] = joined("and", [own if own != whole else _ALL, *denied])
    return cells


def refused(action: Action, reason: str, rules: tuple[str, ...]) -> Decision:
    """The decision that allows nothing."""
    return Decision(False, rules=rules, reason=reason, fingerprint=_digest(["refused", action]))


def _text(tree: exp.Expr | None) -> str:
    return "" if tree is None else tree.sql("duckdb")


def _digest(told: Any) -> str:
    return hashlib.sha256(json.dumps(told, default=str).encode()).hexdigest()[:32]
