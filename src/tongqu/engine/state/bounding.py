"""A step whose rows are kept for a span of event time: those that come too late are refused, old ones forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tongqu.engine.state.branch import Tally, without
from tongqu.engine.state.delta import Delta
from tongqu.engine.state.node import Keeping, Node
from tongqu.engine.state.watermark import LATE, LEAST, Watermark
from tongqu.meaning.sandbox import quoted


@dataclass(frozen=True)
class Span:
    """For one input: its column of instants; how far a row may be behind the newest of its own input; and how far the
    newest row of the input `by` must be ahead until a row is forgotten. All in microseconds."""

    on: str
    behind: int
    kept: int
    by: int


class Bounding(Node):
    """Around `inner`. An input without rows for `idle` seconds is taken to be as far as the others."""

    def __init__(self, inner: Keeping, spans: Sequence[Span], tally: Callable[[], Tally], idle: float):
        self.step, self.output, self.identity = inner.step, inner.output, inner.identity
        self._inner, self._spans, self._idle = inner, spans, idle
        self._marks = [
            Watermark(inner.step.id, number, inner.store, inner.entries[number].dataset, on=span.on, tally=tally)
            for number, span in enumerate(spans)
        ]
        self._seen = [time.monotonic()] * len(spans)

    def fill(self, number: int, rows: pa.Table) -> None:
        """See Node.fill; no row is late."""
        rows, at = self._marks[number].timed(rows)
        if len(at):
            self._inner.fill(number, rows)
            self._marks[number].mark(max(int(at.max()), self._marks[number].newest), 0)

    def everything(self) -> pa.Table:
        """See Node.everything."""
        whole = self._inner.everything()
        self._forget(0)
        return whole

    def change(self, deltas: Sequence[Delta | None], version: int) -> Delta:
        """See Node.change."""
        found = [self._timely(number, delta, version) if delta else None for number, delta in enumerate(deltas)]
        self._wake(version)
        if any(found):
            changed = self._inner.change(found, version)
        else:
            schema = pa.schema([*self.output.schema, *self.identity.fields()])
            changed = Delta(pa.schema(self.identity.fields()).empty_table(), schema.empty_table())
        self._forget(version)
        return changed

    def _timely(self, number: int, delta: Delta, version: int) -> Delta:
        mark, span = self._marks[number], self._spans[number]
        rows, at = mark.timed(delta.rows)
        if len(at):
            before, newest = mark.before_each(at)
            late = at + span.behind < before
            if late.any():
                mask: Any = pa.array(late)
                good: Any = pa.array(~late)
                mark.refuse(rows.filter(mask), LATE, "comes later than rows are kept")
                rows = rows.filter(good)
            mark.mark(newest, version)
            self._seen[number] = time.monotonic()
        parts = delta.keys.schema.names
        own = len(self._inner.entries[number].dataset.columns)
        identity = [table.select(table.schema.names[own:]) for table in (delta.rows, rows)]
        refused = without(identity[0], identity[1])
        return Delta(without(delta.keys, refused.rename_columns(parts)), rows)

    def _wake(self, version: int) -> None:
        """Idle inputs are as far as the others."""
        furthest = max(mark.newest for mark in self._marks)
        for number, mark in enumerate(self._marks):
            idle = time.monotonic() - self._seen[number] > self._idle
            if idle and LEAST < furthest != mark.newest:
                mark.mark(furthest, version)

    def _forget(self, version: int) -> None:
        for number, span in enumerate(self._spans):
            newest = self._marks[span.by].newest
            if newest > LEAST:
                name = self._inner.names(number)[span.on]
                self._inner.drop(number, f"epoch_us({quoted(name)}) + {span.kept} < {newest}", version)

    def identities(self, number: int) -> pa.Table:
        """See Node.identities."""
        return self._inner.identities(number)

    def filled(self, number: int, rows: pa.Table, columns: Mapping[str, str]) -> pa.Table:
        """See Node.filled."""
        return self._inner.filled(number, rows, columns)

    def over(self, condition: str, version: int) -> pa.Table:
        """See Node.over."""
        return self._inner.over(condition, version)
