"""What an operation selects, as questions to the APIs and the shapes of their answers; and what it may cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tongqu.gateway.asking import Aggregate, Ask, Related, Wanted
from tongqu.gateway.graphql.collecting import Chosen, Collecting, Inner
from tongqu.gateway.graphql.conditions import asked, dropping, keyed
from tongqu.gateway.graphql.exposed import Exposed
from tongqu.gateway.graphql.meanings import Part, Reached, Value, meaning_of
from tongqu.gateway.graphql.shaping import Below, Inside, Item, Own, Said, Shape
from tongqu.gateway.policy.values import family
from tongqu.gateway.problems import Problem

_FANNED = 10
"""Related rows that are expected for one row where nothing limits them."""
_PAGES = 10
"""Pages that related rows are read in at most."""


@dataclass
class Estimate:
    """Rows that an operation may have to read."""

    rows: int = 0

    def add(self, rows: int) -> int:
        """So many more."""
        self.rows += rows
        return rows


@dataclass
class Selection:
    """The outputs of one level, and the object they become."""

    wanted: list[Wanted] = field(default_factory=list)
    related: list[Related] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    hidden: bool = False

    @property
    def shape(self) -> Shape:
        """The object."""
        return Shape(tuple(self.items), self.hidden)


@dataclass(frozen=True)
class Selecting:
    """Reads selections; adds what they may cost to `estimate`."""

    collecting: Collecting
    estimate: Estimate

    def page(self, chosen: Chosen, of: Exposed) -> tuple[Ask, list[tuple[Chosen, Ask, Shape]]]:
        """The question of a page, and for each of its `nodes` the question and shape of the rows."""
        ask = replace(asked(chosen.arguments), related=dropping(chosen.arguments))
        lists: list[tuple[Chosen, Ask, Shape]] = []
        parts = self.collecting.below(chosen)
        count = any(part.name == "totalCount" for part in parts)
        ask = replace(ask, count="exact" if count else "none")
        for part in parts:
            if part.name == "nodes":
                rows = self.estimate.add(self.most(ask, of))
                chosen_rows = self.rows(self.collecting.below(part), of, rows)
                whole = replace(
                    ask, wanted=tuple(chosen_rows.wanted), related=(*ask.related, *chosen_rows.related),
                    count=ask.count if not lists else "none",
                )  # fmt: skip
                lists.append((part, whole, chosen_rows.shape))
        if not lists:
            alone = not any(part.name == "pageInfo" for part in parts)
            ask = replace(ask, wanted=(self._first(of),))
            ask = replace(ask, limit=0, order=()) if alone else ask
            self.estimate.add(1 if alone else self.most(ask, of))
        return ask, lists

    def one(self, chosen: Chosen, of: Exposed) -> tuple[Ask, Shape]:
        """The question and shape of the row of a key."""
        self.estimate.add(1)
        found = self.rows(self.collecting.below(chosen), of, 1)
        ask = Ask(tuple(found.wanted), where=keyed(chosen.arguments), limit=1, related=tuple(found.related))
        return ask, found.shape

    def groups(self, chosen: Chosen, of: Exposed) -> tuple[Ask, Shape]:
        """The question and shape of groups of rows."""
        ask = asked(chosen.arguments)
        self.estimate.add(self.most(ask, of))
        found = self.grouped(self.collecting.below(chosen))
        return replace(ask, wanted=tuple(found.wanted), related=dropping(chosen.arguments)), found.shape

    def rows(self, fields: Sequence[Chosen], of: Exposed, above: int) -> Selection:
        """One level of rows, `above` of them, with everything below."""
        made = Selection()
        inner = Inner([one.key for one in fields])
        for one in fields:
            if one.field is None:
                made.items.append(Said(one.key, one.parent))
                continue
            meaning = meaning_of(one.field)
            if isinstance(meaning, Value):
                self._value(one, meaning, of, made, inner.name(one.key))
            elif isinstance(meaning, Reached):
                self._reached(one, meaning, made, inner.name(one.key), above)
        if not made.wanted and not made.related:
            made.wanted.append(replace(self._first(of), name=inner.name("")))
            made.hidden = True
        return made

    def _value(self, one: Chosen, meaning: Value, of: Exposed, made: Selection, name: str) -> None:
        wanted = Wanted(meaning.field, name)
        if self.collecting.as_text(one):
            view = of.view
            if view is None or family(view.seen(meaning.field).field) not in ("int", "decimal"):
                raise Problem("query.malformed", f"`@text` is for whole and decimal numbers, not for `{one.name}`")
            wanted = replace(wanted, cast="text")
        made.wanted.append(wanted)
        made.items.append(Own(one.key, name))

    def _reached(self, one: Chosen, meaning: Reached, made: Selection, name: str, above: int) -> None:
        to, many = meaning.to, "where" in one.field.args
        ask = asked(one.arguments) if many else Ask(arguments=dict(one.arguments.get("arguments") or {}))
        fan = 1 if not many else _FANNED if ask.limit is None else max(ask.limit, 0)
        rows = self.estimate.add(min(above * fan, _PAGES * to.api.entry.limit.rows))
        below = self.collecting.below(one)
        found = self.grouped(below) if meaning.groups else self.rows(below, to, rows)
        ask = replace(ask, wanted=tuple(found.wanted), related=(*dropping(one.arguments), *found.related))
        made.related.append(Related(meaning.relation, ask, name))
        made.items.append(Below(one.key, name, found.shape))

    def grouped(self, fields: Sequence[Chosen]) -> Selection:
        """One level of groups."""
        made = Selection(hidden=True)
        aggregated = False
        for one in fields:
            name = f"g{len(made.wanted)}"
            if one.field is None:
                made.items.append(Said(one.key, one.parent))
                continue
            word = meaning_of(one.field).name
            if word == "count":
                made.wanted.append(Wanted("", name, aggregate="count"))
                made.items.append(Own(one.key, name, self.collecting.as_text(one)))
                aggregated = True
            else:
                aggregated |= word != "by"
                made.items.append(Inside(one.key, self._aggregates(one, word, made)))
        if not aggregated:
            made.wanted.append(Wanted("", f"g{len(made.wanted)}", aggregate="count"))
        return made

    def _aggregates(self, one: Chosen, word: str, made: Selection) -> Shape:
        aggregate: dict[str, Aggregate] = {"sum": "sum", "avg": "avg", "min": "min", "max": "max"}
        items: list[Item] = []
        for inner in self.collecting.below(one):
            if inner.field is None:
                items.append(Said(inner.key, inner.parent))
                continue
            name = f"g{len(made.wanted)}"
            made.wanted.append(Wanted(meaning_of(inner.field).field, name, aggregate=aggregate.get(word)))
            items.append(Own(inner.key, name, self.collecting.as_text(inner)))
        return Shape(tuple(items))

    @staticmethod
    def most(ask: Ask, of: Exposed) -> int:
        """Rows that a question can give at most."""
        most = of.api.entry.limit.rows
        return most if ask.limit is None else max(0, min(ask.limit, most))

    @staticmethod
    def _first(of: Exposed) -> Wanted:
        """Some field that the caller sees, where a row is meant and none of its values."""
        view = of.view
        if view is None:
            raise Problem("api.unknown")
        return Wanted(next(iter(view.key or view.fields)))


def said(part: Chosen) -> str | None:
    """The type's name, if that is what is asked."""
    return part.parent if part.field is None else None


def part_of(part: Chosen) -> str:
    """Which part of an answer a field is."""
    meaning = meaning_of(part.field)
    return meaning.name if isinstance(meaning, Part) else ""
