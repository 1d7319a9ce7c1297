"""A question that comes again and again with other values: all of it but the values is checked and written once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tongqu.core.server import Limits, Page, Query
from tongqu.gateway.asking import Ask, Slot
from tongqu.gateway.policy.decision import Decision
from tongqu.gateway.publication import Api
from tongqu.gateway.rewrite.rewriting import Rewritten, question_of


@dataclass
class Repeated:
    """`ask`, in whose conditions `Slot`s stand for values, and what `rewrite` made of it for a decision, which holds
    for all decisions of the same plan. The question has no cursor, no count and no relations."""

    ask: Ask
    rewritten: Rewritten
    api: Api
    decision: Decision = field(repr=False)
    bounds: Limits

    def __post_init__(self) -> None:
        made = self.rewritten
        self._fixed = {name: value for name, value in made.own.items() if not isinstance(value, Slot)}
        brought = {*made.own, *self.decision.params}
        self._paging = {name: value for name, value in made.query.params.items() if name not in brought}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(one.name for one in self.rewritten.columns)

    @cached_property
    def _shape(self) -> str:
        return self.rewritten.shape()

    def values(self, texts: Sequence[str]) -> dict[str, Any]:
        """The question's own values by their placeholders, as `rewrite` binds these texts. Raises Problem
        `value.invalid`."""
        made = dict(self._fixed)
        for gap in self.rewritten.gaps:
            made[gap.name] = gap.value(texts[gap.place])
        return made

    def query(self, values: Mapping[str, Any], decision: Decision) -> Query:
        """The query of one page."""
        one = self.rewritten.query
        return Query(one.tree, {**values, **decision.params, **self._paging}, one.columns, one.keys, one.after)

    def next(self, page: Page, values: Mapping[str, Any], decision: Decision) -> str:
        """The cursor of the following page, the very same that `rewrite` gives for these values."""
        return self.rewritten.next(page, lambda: question_of(self.api, decision, self._shape, values))
