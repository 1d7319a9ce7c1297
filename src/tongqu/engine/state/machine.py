"""A plan with steps that keep state, run chunk by chunk: changes of its sources in, changes of its result out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pyarrow as pa

from tongqu.core.balance import StepCounts
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError
from tongqu.core.operator import Step
from tongqu.core.plan import Plan, check_keeps
from tongqu.engine.state.accumulating import Accumulating
from tongqu.engine.state.algebra import decomposed
from tongqu.engine.state.bounding import Bounding, Span
from tongqu.engine.state.branch import Branch, Tally
from tongqu.engine.state.delta import Delta, Identity
from tongqu.engine.state.lateness import Late
from tongqu.engine.state.node import Entry, Keeping, Node
from tongqu.engine.state.store import Store
from tongqu.engine.state.windowing import Windowing
from tongqu.meaning.event_time import END, START, EventWindow, Expiry, TimeBound, micros
from tongqu.meaning.sandbox import check_carried


@dataclass
class Machine:
    """The nodes of a plan with one sink over these datasets (by source). `keyless` names sources of plain messages,
    whose rows are only ever added and are told apart by a number.

    Raises InvalidPlanError for what cannot be followed, naming the step and a way.
    """

    plan: Plan
    datasets: Mapping[str, Dataset]
    store: Store
    keyless: frozenset[str] = frozenset()
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        check_keeps(self.plan)
        self.nodes: dict[str, Node] = {}
        self._inputs: dict[str, list[Branch]] = {}
        ((_, name),) = self.plan.sinks.items()
        self._last = self._branch(name)
        self.output = self._last.output
        self.identity = self._last.identity

    def _branch(self, name: str) -> Branch:
        """The row-wise steps that end in this source or step, up to where they begin."""
        steps: list[Step] = []
        step = self.plan.step(name)
        while step is not None and step.operator.chunk_safe and step.inputs[1:] == step.operator.side_names:
            self._alone(step.id, step.path)
            steps.insert(0, step)
            name = step.inputs[0]
            step = self.plan.step(name)
        if step is None:
            dataset = self.datasets[name]
            check_carried(dataset.schema, dataset.name)
            return Branch(name, dataset, self._source(name, dataset), steps)
        self._alone(step.id, step.path)
        node = self.nodes.setdefault(step.id, self._node(step))
        return Branch(step.id, node.output, node.identity, steps)

    def _alone(self, name: str, path: str) -> None:
        if self.plan.consumers(name) > 1:
            raise InvalidPlanError(
                f"the rows of {name!r} are taken more than once, which a pipeline that follows changes cannot do",
                path=path,
                hint="make a pipeline for each of those who take them; each follows the log by itself",
            )

    def _source(self, name: str, dataset: Dataset) -> Identity:
        if name in self.keyless:
            return Identity((pa.int64(),), (None,), (0,), only_added=True)
        if not dataset.key:
            raise InvalidPlanError(
                f"{dataset.name!r} has no key by which its changes could be followed",
                path=self.plan.path,
                hint="give it a primary key, or name one at the source (`key: […]`)",
            )
        types = tuple(dataset.schema.field(c).type for c in dataset.key)
        return Identity(types, dataset.key, tuple(range(len(types))))

    def _node(self, step: Step) -> Node:
        branches = [self._branch(name) for name in step.inputs]
        if step.verb != "join" and len(branches) > 1:
            raise InvalidPlanError(
                f"step {step.id!r}: {step.verb} of several inputs cannot be followed", path=step.path, hint="use one"
            )
        self._inputs[step.id] = branches
        entries = [Entry(branch.output, branch.identity) for branch in branches]
        made: Node = getattr(self, f"_{step.verb}")(step, entries)
        return made

    def _aggregate(self, step: Step, entries: Sequence[Entry]) -> Node:
        (entry,) = entries
        settings: Any = step.operator
        if not settings.by and settings.window is None:
            raise InvalidPlanError(
                f"step {step.id!r}: an aggregate without `by` has no key by which its row could be written",
                path=step.path,
                hint="derive a constant column and group by it",
            )
        window: EventWindow | None = settings.window
        if window is None:
            return self._groups(step, entry, tuple(settings.by))
        if window.emit == "late":
            return Late(step, self.store, entry, window, tally=lambda: self.tally)
        if window.session:
            sessions = partial(self._sessions, step)
            return Windowing(step, self.store, entry, window, inner=sessions, tally=lambda: self.tally)
        inner = replace(step, operator=settings.within)
        made = partial(self._groups, inner, by=(START, END, *settings.by), determined=END)
        return Windowing(step, self.store, entry, window, inner=made, tally=lambda: self.tally)

    def _groups(self, step: Step, entry: Entry, by: tuple[str, ...], determined: str = "") -> Node:
        """An aggregate by columns; in numbers where its measures can be kept as such."""
        output = step.operator.output([entry.dataset])
        types = tuple(output.schema.field(c).type for c in by)
        needed = tuple(number for number, name in enumerate(by) if name != determined)
        identity = Identity(types, by, needed)
        only_added = entry.identity.only_added
        parts = decomposed(step.operator, entry.dataset, retract=not only_added)
        if parts is not None:
            return Accumulating(
                step, self.store, entry, output, identity=identity, algebra=parts, retract=not only_added
            )
        return Keeping(step, self.store, [entry], output, identity, [by], by)

    def _sessions(self, step: Step, entry: Entry) -> Node:
        settings: Any = step.operator
        output = step.operator.output([entry.dataset])
        by = (START, *settings.by)
        identity = Identity(tuple(output.schema.field(c).type for c in by), by, tuple(range(len(by))))
        return Keeping(step, self.store, [entry], output, identity, [tuple(settings.by)], by)

    def _deduplicate(self, step: Step, entries: Sequence[Entry]) -> Node:
        (entry,) = entries
        by: tuple[str, ...] = getattr(step.operator, "by", ())
        if not entry.identity.only_added and not getattr(step.operator, "order", None):
            raise InvalidPlanError(
                f"step {step.id!r}: which row of a key came first or last cannot be told of rows that change",
                path=step.path,
                hint="name the column that decides: `order: updated_at`",
            )
        output = step.operator.output([entry.dataset])
        identity = Identity(tuple(output.schema.field(c).type for c in by), tuple(by), tuple(range(len(by))))
        winners = entry.identity.only_added
        made = Keeping(step, self.store, entries, output, identity, [tuple(by)], tuple(by), winners=winners)
        expire: Expiry | None = getattr(step.operator, "expire", None)
        if expire is None:
            return made
        span = Span(expire.on, micros(expire.after), micros(expire.after), 0)
        return Bounding(made, [span], lambda: self.tally, idle=math.inf)

    def _window(self, step: Step, entries: Sequence[Entry]) -> Node:
        (entry,) = entries
        output = step.operator.output([entry.dataset])
        by: tuple[str, ...] = tuple(getattr(step.operator, "by", ()))
        return Keeping(step, self.store, entries, output, entry.identity, [by], entry.identity.names())

    def _join(self, step: Step, entries: Sequence[Entry]) -> Node:
        left, right = entries
        settings: Any = step.operator
        on: dict[str, str] = settings.on
        output = step.operator.output([left.dataset, right.dataset])
        groups = [tuple(on), tuple(on.values())]
        bound: TimeBound | None = settings.within
        if bound is None and (left.identity.only_added or right.identity.only_added):
            raise InvalidPlanError(
                f"step {step.id!r}: messages that are joined would be kept for ever",
                path=step.path,
                hint="say how far apart rows may be that match: `within: {left: ts, right: ts, after: 10m}`",
            )
        if settings.how in ("semi", "anti"):
            identity, parts = left.identity, left.identity.names()
        elif settings.how in ("inner", "left"):
            identity = _joined(settings, left, right)
            parts = (*left.identity.names(0), *right.identity.names(1))
        else:
            raise InvalidPlanError(
                f"step {step.id!r}: a {settings.how} join cannot be followed: its rows have no key",
                path=step.path,
                hint="use how: left with the inputs in the other order, or inner",
            )
        made = Keeping(step, self.store, entries, output, identity, groups, parts)
        if bound is None:
            return made
        behind = micros(bound.lateness)
        spans = [
            Span(bound.left, behind, micros(bound.after) + behind, 1),
            Span(bound.right, behind, micros(bound.before) + behind, 0),
        ]
        return Bounding(made, spans, lambda: self.tally, idle=micros(bound.idle) / 1e6)

    def fill(self, rows: Mapping[str, Iterator[pa.Table]]) -> pa.Table:
        """All rows of the sources (plain columns), at version 0 of an empty store, and what comes of them."""
        self._filled(self._last, rows)
        return self._whole(self._last)

    def _filled(self, branch: Branch, rows: Mapping[str, Iterator[pa.Table]]) -> None:
        node = self.nodes.get(branch.origin)
        if node is None:
            return
        for number, above in enumerate(self._inputs[branch.origin]):
            if above.origin in self.nodes:
                self._filled(above, rows)
                made = self._whole(above)
                node.fill(number, made)
                self._count(node, made.num_rows, 0)
                continue
            for table in rows[above.origin]:
                identified = self.identified(above.origin, table)
                delta = above.run(Delta(identified.select([]), identified), self.tally)
                node.fill(number, delta.rows)
                self._count(node, delta.rows.num_rows, 0)

    def _whole(self, branch: Branch) -> pa.Table:
        rows = self.nodes[branch.origin].everything()
        self._count(self.nodes[branch.origin], 0, rows.num_rows)
        return branch.run(Delta(rows.select([]), rows), self.tally).rows

    def identified(self, source: str, rows: pa.Table) -> pa.Table:
        """A source's rows with their identity behind them."""
        if source in self.keyless:
            first = self.store.numbered(rows.num_rows)
            parts: list[Any] = [pa.array(range(first, first + rows.num_rows), pa.int64())]
        else:
            parts = [rows.column(name) for name in self.datasets[source].key]
        identity = self._source(source, self.datasets[source])
        schema = pa.schema([*rows.schema, *identity.fields()])
        return pa.Table.from_arrays([*rows.columns, *parts], schema=schema)

    def change(self, deltas: Mapping[str, Delta], version: int) -> Delta | None:
        """What these changes of the sources change in the result; None for nothing."""
        return self._changed(self._last, deltas, version)

    def _changed(self, branch: Branch, deltas: Mapping[str, Delta], version: int) -> Delta | None:
        node = self.nodes.get(branch.origin)
        if node is None:
            given = deltas.get(branch.origin)
        else:
            above = [self._changed(one, deltas, version) for one in self._inputs[branch.origin]]
            if not any(above):
                return None
            given = node.change(above, version)
            self._count(node, sum(one.rows.num_rows for one in above if one is not None), given.rows.num_rows)
        return branch.run(given, self.tally) if given is not None and given else given

    def _count(self, node: Node, came: int, went: int) -> None:
        refused = self.tally.refused.pop(node.step.id, 0)
        dropped = self.tally.dropped.pop(node.step.id, 0)
        counts = StepCounts(
            node.step.id, node.step.verb, rows_in=came, rows_out=went, filtered=dropped, quarantined=refused,
            generated=went - came + refused + dropped,
        )  # fmt: skip
        self.tally.count(counts)

    def taker(self, source: str) -> tuple[Node, int, Branch]:
        """The node that takes a source's rows, as which input, and through which steps."""
        for name, branches in self._inputs.items():
            for number, branch in enumerate(branches):
                if branch.origin == source:
                    return self.nodes[name], number, branch
        raise InvalidPlanError(f"no step keeps state of {source!r}", path=self.plan.path)

    def taken(self) -> Tally:
        """What was counted since the last time."""
        found, self.tally = self.tally, Tally()
        return found

    def close(self) -> None:
        """Release the steps' databases."""
        for branches in [*self._inputs.values(), [self._last]]:
            for branch in branches:
                branch.close()


def _joined(settings: Any, left: Entry, right: Entry) -> Identity:
    """What tells joined rows apart: the left's identity, and the right's where it is not determined by the keys."""
    mine, theirs = left.identity, right.identity
    keys = {there: here for here, there in settings.on.items()}
    taken = set(left.dataset.columns)
    columns: list[str | None] = list(mine.columns)
    for name in theirs.columns:
        here = keys.get(name) if name is not None else None
        shown = (name + settings.suffix if name in taken else name) if name is not None and here is None else here
        columns.append(shown)
    own = len(mine.types)
    one_right = set(theirs.columns) <= set(settings.on.values())
    one_left = settings.how == "inner" and set(mine.columns) <= set(settings.on)
    if one_right:
        needed = mine.needed
    elif one_left:
        needed = tuple(own + number for number in theirs.needed)
    else:
        needed = (*mine.needed, *(own + number for number in theirs.needed))
        if settings.how == "left":
            columns[own:] = [None] * len(theirs.types)
    return Identity((*mine.types, *theirs.types), tuple(columns), tuple(needed))
