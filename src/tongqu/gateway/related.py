"""Related APIs beside an API: which a caller may reach, how their rows are asked for, and how they find their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from tongqu.core.policy import Actor
from tongqu.gateway.asking import Ask, Compare, Condition, Joined, Negated, Related, Wanted
from tongqu.gateway.policy.decision import Decision
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api, Publication, Relation
from tongqu.gateway.rewrite.views import unknown

DEEPEST = 5
"""Levels of related APIs below the first."""
KEYS_AT_ONCE = 1000
"""Rows whose related rows are asked for by one query."""
_HERE, _THERE, _COUNT = "_here_", "_there_", "_there"


@dataclass(frozen=True)
class Node:
    """An API with the caller's decision and question, and the related APIs below it. Its question names all outputs
    where there are any below."""

    api: Api
    decision: Decision
    ask: Ask
    branches: tuple[Branch, ...] = ()
    find: Callable[[str], tuple[Api, Decision] | None] = field(default=lambda name: None, repr=False)
    """What a relation's name leads the caller to."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names that an object of it has, in order, with what is spread into it."""
        own = [wanted.name or wanted.field for wanted in self.ask.wanted or ()]
        return (*own, *(name for branch in self.branches if branch.shown for name in branch.outputs))

    @property
    def aggregates(self) -> bool:
        """Whether its rows are groups of rows."""
        return any(wanted.aggregate for wanted in self.ask.wanted or ())


@dataclass(frozen=True)
class Branch:
    """A related API below a node. `shown` is false where it only decides which rows there are."""

    related: Related
    relation: Relation
    node: Node
    shown: bool

    @property
    def name(self) -> str:
        """Its name in the answer."""
        return self.related.name or self.related.relation

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names it adds to the objects above."""
        return self.node.outputs if self.related.spread else (self.name,)


def node_of(
    api: Api, decision: Decision, ask: Ask, *, actor: Actor, within: Publication | None, depth: int = 0
) -> Node:
    """The question with everything below it resolved for the caller.

    A relation exists for a caller who may read the other API and see the fields that tie both as they are. Raises
    Problem `field.unknown` for others, `query.malformed` for what cannot be put together.
    """
    branches = tuple(
        _branch(api, decision, related, actor=actor, within=within, depth=depth) for related in ask.related
    )
    wanted = ask.wanted
    if (wanted is None and (branches or depth)) or (not depth and wanted == () and not any(b.shown for b in branches)):
        wanted = (Wanted("*"),)
    if wanted is not None and any(item.field == "*" and not item.aggregate for item in wanted):
        wanted = tuple(_expanded(wanted, decision))

    def find(name: str) -> tuple[Api, Decision] | None:
        found = _reached(api, decision, name, actor, within)
        return None if found is None else found[1:]

    if branches or wanted is not ask.wanted:
        ask = replace(ask, wanted=wanted, related=())
    node = Node(api, decision, ask, branches, find)
    if any(branch.shown for branch in branches):
        if node.aggregates:
            raise Problem("query.malformed", "related rows cannot stand beside aggregates")
        names = node.outputs
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise Problem("query.malformed", f"two outputs are named `{twice}`: give one another name")
    return node


def _expanded(wanted: Sequence[Wanted], decision: Decision) -> Iterator[Wanted]:
    for item in wanted:
        if item.field == "*" and not item.aggregate:
            yield from (Wanted(name) for name in decision.fields)
        else:
            yield item


def _branch(
    api: Api, decision: Decision, related: Related, *, actor: Actor, within: Publication | None, depth: int
) -> Branch:
    found = _reached(api, decision, related.relation, actor, within)
    if found is None:
        raise unknown(related.relation)
    if depth >= DEEPEST:
        raise Problem("query.malformed", f"related APIs nest at most {DEEPEST} levels deep")
    relation, other, allowed = found
    shown = related.ask.wanted is None or bool(related.ask.wanted) or bool(related.ask.related)
    below = node_of(other, allowed, related.ask, actor=actor, within=within, depth=depth + 1)
    return Branch(related, relation, below, shown)


def _reached(
    api: Api, decision: Decision, name: str, actor: Actor, within: Publication | None
) -> tuple[Relation, Api, Decision] | None:
    relation = api.relations.get(name)
    other = within.api(api.version, relation.api) if within is not None and relation is not None else None
    if relation is None or other is None:
        return None
    allowed = other.policy.decide(actor, "read")
    plain = all(_plain(decision, here) and _plain(allowed, there) for here, there in relation.on.items())
    return (relation, other, allowed) if allowed.allowed and plain else None


def _plain(decision: Decision, name: str) -> bool:
    return name in decision.fields and decision.fields[name] is None and name not in decision.cells


def reached(node: Node) -> Iterator[str]:
    """The related fields that an answer shows, as `relation.field`, for the notes."""
    for branch in node.branches:
        if branch.shown:
            wanted = branch.node.ask.wanted
            yield from (f"{branch.name}.{item.field}" for item in wanted or () if item.field)
            yield from (f"{branch.name}.{name}" for name in reached(branch.node))


def tied(node: Node) -> Ask:
    """The node's question with the values that tie its rows to those below, as outputs of their own."""
    ties = dict.fromkeys(here for branch in node.branches if branch.shown for here in branch.relation.on)
    if not ties:
        return node.ask
    return replace(node.ask, wanted=(*(node.ask.wanted or ()), *(Wanted(name, f"{_HERE}{name}") for name in ties)))


def child_asks(branch: Branch, rows: Sequence[dict[str, Any]]) -> Iterator[Ask]:
    """The questions for the rows below `rows`: one for each thousand of them, none where nothing ties."""
    keys = list(dict.fromkeys(key for row in rows if (key := _key(row, branch.relation.on, _HERE)) is not None))
    asked = tied(branch.node)
    own = tuple(Wanted(there, f"{_THERE}{there}") for there in branch.relation.on.values())
    for begin in range(0, len(keys), KEYS_AT_ONCE):
        where = _and(_among(tuple(branch.relation.on.values()), keys[begin : begin + KEYS_AT_ONCE]), asked.where)
        yield replace(
            asked, wanted=(*(asked.wanted or ()), *own), where=where, limit=None, offset=0, after="", count="none"
        )


def existing(branch: Branch) -> tuple[Node, Ask]:
    """The question for the keys that exist on the other side, each once, and the node to ask it of."""
    own = tuple(Wanted(there, f"{_THERE}{there}") for there in branch.relation.on.values())
    ask = Ask(wanted=(*own, Wanted("", _COUNT, aggregate="count")), where=branch.node.ask.where)
    dropping = tuple(
        replace(below, shown=False) for below in branch.node.branches if below.related.inner or below.related.none
    )
    return replace(branch.node, ask=ask, branches=dropping), ask


def kept(branch: Branch, found: Sequence[dict[str, Any]], where: Condition | None) -> Condition:
    """The condition that keeps rows with, or without, one of the keys that exist on the other side."""
    here = tuple(branch.relation.on)
    there = {name: name for name in branch.relation.on.values()}
    keys = [key for row in found if (key := _key(row, there, _THERE)) is not None]
    among = _among(here, keys)
    if branch.related.none:
        missing = tuple(Compare(name, "is", "null") for name in here)
        return _and(Joined("or", (*missing, Negated(among))), where)
    return _and(among, where)


def attached(branch: Branch, rows: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]]) -> None:
    """Put what was found below into the rows it belongs to, in the order it was found."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    there = {name: name for name in branch.relation.on.values()}
    for child in found:
        key = _key(child, there, _THERE)
        for name in there:
            child.pop(f"{_THERE}{name}", None)
        if key is not None:
            groups.setdefault(key, []).append(child)
    ask = branch.node.ask
    end = None if ask.limit is None else ask.offset + ask.limit
    for row in rows:
        key = _key(row, branch.relation.on, _HERE)
        _place(branch, row, groups.get(key, [])[ask.offset : end] if key is not None else [])


def untied(rows: Sequence[dict[str, Any]], node: Node) -> None:
    """Take the values that only tied rows together out of them."""
    for name in dict.fromkeys(here for branch in node.branches if branch.shown for here in branch.relation.on):
        for row in rows:
            row.pop(f"{_HERE}{name}", None)


def _place(branch: Branch, row: dict[str, Any], items: list[dict[str, Any]]) -> None:
    names = branch.node.outputs
    if not items and branch.node.aggregates:
        wanted = branch.node.ask.wanted or ()
        if all(item.aggregate for item in wanted):
            items = [{item.name: 0 if item.aggregate == "count" else None for item in wanted}]
    if branch.relation.many:
        lists = {name: [item[name] for item in items] for name in names}
        row.update(lists if branch.related.spread else {branch.name: items})
    elif branch.related.spread:
        row.update(items[0] if items else dict.fromkeys(names))
    else:
        row[branch.name] = items[0] if items else None


def _key(row: dict[str, Any], names: Any, prefix: str) -> tuple[str, ...] | None:
    values = [row[f"{prefix}{name}"] for name in names]
    return None if any(value is None for value in values) else tuple(_text(value) for value in values)


def _text(value: Any) -> str:
    """Equal values of different databases as equal texts: 1, 1.0 and '1'."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal | float):
        text = format(Decimal(str(value)), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    return str(value)


def _among(names: tuple[str, ...], keys: Sequence[tuple[str, ...]]) -> Condition:
    if len(names) == 1 or not keys:
        return Compare(names[0], "in", tuple(key[0] for key in keys))
    parts = (
        Joined("and", tuple(Compare(name, "eq", text) for name, text in zip(names, key, strict=True))) for key in keys
    )
    return Joined("or", tuple(parts))


def _and(one: Condition, other: Condition | None) -> Condition:
    return one if other is None else Joined("and", (one, other))


def named(node: Node) -> bool:
    """Whether rows of it belong to persons."""
    return bool(node.api.subjects) or any(named(branch.node) for branch in node.branches)


def cacheable(node: Node) -> bool:
    """Whether nobody's personal data are shown as they are."""
    return node.decision.cacheable and all(cacheable(branch.node) for branch in node.branches)
