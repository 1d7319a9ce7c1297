"""Turns a question into one SELECT over the caller's effective view."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.core.server import Page, Query
from tongqu.gateway.asking import Ask
from tongqu.gateway.policy.decision import Decision
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api
from tongqu.gateway.rewrite.binding import Binding, Gap, Relations, Shape, arguments, chosen
from tongqu.gateway.rewrite.cursors import Cursors
from tongqu.gateway.rewrite.ordering import Key, behind, keys, start
from tongqu.gateway.rewrite.outputs import Output, outputs
from tongqu.gateway.rewrite.trees import VIEW, Writer, hole
from tongqu.gateway.rewrite.views import View, view_of
from tongqu.kit.serving.trees import WIDE

if TYPE_CHECKING:
    from sqlglot import exp

LIMIT, OFFSET = "_limit", "_offset"
_FARTHEST = 10_000_000
_WRITTEN = frozenset((1, 2, 5, 10, 15, 20, 25, 30, 50, 100, 200, 250, 500, 1000))
"""Limits that are written into the SQL: databases plan with a number what they plan anew each time with a parameter."""


@dataclass(frozen=True)
class Rewritten:
    """What `rewrite` gives.

    `query` gives one page: its `columns` are the answer's, in order. `count` gives the number of all rows that fulfil
    the question as one int64 (None unless asked for); `planned` are those rows themselves without limit, for
    `Server.explain` (None unless a planned or estimated count was asked for). `limit` and `offset` are what holds.
    The same question of the same shape gives the same tree object, whatever its values: servers keep SQL by identity.
    """

    query: Query
    count: Query | None
    planned: Query | None
    columns: tuple[pa.Field[Any], ...]
    limit: int
    offset: int
    shown: tuple[str, ...]
    """The fields whose values are given or were used, for the notes."""
    masks: tuple[str, ...]
    """Those of them that are masked."""
    cursors: Cursors = field(repr=False)
    question: Callable[[], str] = field(repr=False)
    """The digest of the question with all its values, to which cursors belong."""
    own: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Of the query's values those that the question itself brings."""
    shape: Callable[[], str] = field(default=str, repr=False)
    """The digest of everything else in the question."""
    gaps: tuple[Gap, ...] = ()
    """Placeholders whose values are told later, where the question has slots."""
    continued: bool = False
    """Whether it begins behind a row."""

    def next(self, page: Page, question: Callable[[], str] | None = None) -> str:
        """The cursor of the following page, empty where this page is the last. `question` is that of other values."""
        if self.limit == 0 or page.rows < self.limit:
            return ""
        asked = question or self.question
        keys = self.query.keys
        token = self.cursors.made(asked(), list(page.last)) if keys and len(page.last) == keys else ""
        behind = 0 if self.continued else self.offset + page.rows
        return token or (self.cursors.made(asked(), behind) if behind else "")


@dataclass(frozen=True)
class _Shape:
    """All of a question but its values. Equal shapes over one view make equal SQL."""

    columns: tuple[Output, ...]
    order: tuple[Key, ...]
    where: Shape | None
    start: Shape | None
    used: frozenset[str]
    paged: bool
    offset: bool
    limit: int | None
    """The limit where it is written out."""

    @property
    def key(self) -> tuple[Any, ...]:
        """What the SQL depends on."""
        return (
            tuple(one.key for one in self.columns), tuple(one.key for one in self.order),
            self.where, self.start, self.used, self.paged, self.offset, self.limit,
        )  # fmt: skip


def rewrite(
    ask: Ask, api: Api, decision: Decision, cursors: Cursors, *, relations: Relations | None = None
) -> Rewritten:
    """The SELECT that answers `ask` as `decision` allows. Related APIs are not joined (`Ask.related` with `inner` or
    `none`, and conditions on `relation.field`, become EXISTS over the related effective view, where both lie in one
    connection).

    At most `api.entry.limit.rows` rows. Ordered by what is asked and then by the key, so pages never overlap.
    Raises Problem: `field.unknown` for any name the caller may not know, hidden or not there; `field.masked` where a
    mask cannot be compared in the database; `value.invalid` for a value that does not fit its field, naming the
    parameter; `query.malformed`; `cursor.invalid`; `access.denied` if the decision allows nothing.
    """
    view = view_of(api, decision)
    params: dict[str, Any] = {}
    binding = Binding(view, params, relations)
    columns = outputs(ask, binding)
    where = chosen(ask, binding)
    order, paged = keys(ask, binding, columns)
    limit = _limit(ask, api)
    params |= {f"arg_{name}": value for name, value in arguments(api, ask.arguments).items()}
    asked = (tuple(one.key for one in columns), where, tuple(one.key for one in order))
    told, kept = dict(params), view.kept if len(params) <= WIDE else _anew

    def told_shape() -> str:
        return str(kept(("digest", asked), lambda: _digest(asked)))

    def question() -> str:
        return question_of(api, decision, told_shape(), told)

    begin, offset = None, ask.offset
    if ask.after:
        if ask.offset:
            raise Problem("query.malformed", "a page begins at a cursor or at an offset, not at both")
        found = cursors.opened(question(), ask.after)
        if isinstance(found, int):
            offset = found
        else:
            begin = start(order, found, binding) if paged else None
    if not 0 <= offset <= _FARTHEST:
        raise Problem("query.malformed", f"an offset is a number from 0 to {_FARTHEST}")
    written = limit if limit in _WRITTEN or limit == api.entry.limit.rows else None
    shape = _Shape(columns, order, where, begin, frozenset(binding.used), paged, offset > 0, written)
    params |= decision.params
    made: _Trees = kept(shape.key, lambda: _Trees(view, shape, binding))
    paging = ({} if written is not None else {LIMIT: limit}) | ({OFFSET: offset} if offset else {})
    after = {one.name: one.after for one in columns if one.after is not None}
    fields = tuple(one.field for one in columns)
    query = Query(made.page, params | paging, fields, len(order) if paged else 0, after)

    shown = tuple(name for name in view.fields if name in binding.used)
    return Rewritten(
        query=query,
        count=None if ask.count == "none" else Query(made.count, _without_start(params, begin), (_COUNT,)),
        planned=None if ask.count in ("none", "exact") else Query(made.rows, _without_start(params, begin), fields),
        columns=fields, limit=limit, offset=offset, shown=shown,
        masks=tuple(name for name in shown if decision.fields[name] is not None),
        cursors=cursors, question=question, own=told, shape=told_shape, gaps=tuple(binding.gaps),
        continued=begin is not None,
    )  # fmt: skip


def _anew(shape: Any, make: Callable[[], Any]) -> Any:
    """As `View.kept`, for what is too large to be kept."""
    del shape
    return make()


_COUNT = pa.field("count", pa.int64(), nullable=False)


def _without_start(params: Mapping[str, Any], begin: Shape | None) -> dict[str, Any]:
    """The values that a query of all rows has placeholders for."""
    return {name: value for name, value in params.items() if begin is None or name not in begin}


def _limit(ask: Ask, api: Api) -> int:
    most = api.entry.limit.rows
    if ask.limit is None:
        return most
    if ask.limit < 0:
        raise Problem("query.malformed", "a limit is a number from 0")
    return min(ask.limit, most)


def _digest(told: Any) -> str:
    return sha256(repr(told).encode()).hexdigest()


def question_of(api: Api, decision: Decision, shape: str, params: Mapping[str, Any]) -> str:
    """The digest of a question with all its values and the caller's rights."""
    told = (
        api.name,
        api.version,
        decision.fingerprint,
        shape,
        sorted((n, type(v).__name__, str(v)) for n, v in params.items()),
    )
    return _digest(told)


class _Trees:
    """The SELECTs of one shape, each made when it is first asked for."""

    def __init__(self, view: View, shape: _Shape, binding: Binding) -> None:
        self._view, self._shape, self._writer = view, shape, Writer(VIEW, binding.joins)

    @cached_property
    def rows(self) -> exp.Select:
        """All rows."""
        return self._select([])

    @cached_property
    def count(self) -> exp.Select:
        """How many there are."""
        from sqlglot import exp

        if any(one.aggregate for one in self._shape.columns):
            inner = self.rows.copy()
        else:
            inner = exp.select(exp.alias_(exp.Literal.number(1), "_one", quoted=True)).from_(self._from(), copy=False)
            where = self._where()
            inner = inner.where(*where, copy=False) if where else inner
        counted = exp.Cast(this=exp.Count(this=exp.Star()), to=exp.DataType.build("BIGINT"))
        return exp.select(exp.alias_(counted, "count", quoted=True)).from_(inner.subquery("g", copy=False), copy=False)

    @cached_property
    def page(self) -> exp.Select:
        """One page in order, with the values of the order behind the columns."""
        from sqlglot import exp

        shape, writer = self._shape, self._writer
        page = self._select([] if shape.start is None else [behind(shape.order, shape.start, writer)])
        if shape.paged:
            keys = [writer.target(key.shape) for key in shape.order]
            names = [one.name.lower() for one in shape.columns]
            word = "_key"
            while any(name.startswith(word) for name in names):
                word += "_"
            page = page.select(*(exp.alias_(key, f"{word}{n}", quoted=True) for n, key in enumerate(keys)), copy=False)
        if shape.order:
            page = page.order_by(*(key.tree(writer) for key in shape.order), copy=False)
        limit = hole(LIMIT) if shape.limit is None else exp.Literal.number(shape.limit)
        page = page.limit(limit, copy=False)
        return page.offset(hole(OFFSET), copy=False) if shape.offset else page

    def _where(self) -> list[exp.Expr]:
        from sqlglot import exp

        where = self._shape.where
        return [] if where is None else [exp.paren(self._writer.condition(where), copy=False)]

    def _from(self) -> exp.Expr:
        return self._view.select(self._shape.used).subquery(VIEW, copy=False)

    def _select(self, more: list[exp.Expr]) -> exp.Select:
        from sqlglot import exp

        shape, writer = self._shape, self._writer
        trees = [exp.alias_(one.tree(writer), one.name, quoted=True, copy=False) for one in shape.columns]
        tree = exp.select(*trees, copy=False).from_(self._from(), copy=False)
        where = [*self._where(), *(exp.paren(one, copy=False) for one in more)]
        if where:
            tree = tree.where(*where, copy=False)
        plain = [one.shape for one in shape.columns if not one.aggregate]
        if len(plain) < len(shape.columns) and plain:
            tree = tree.group_by(*(writer.target(one) for one in plain if one is not None), copy=False)
        return tree
