"""Windows of event time around a step: the watermark, late rows, and windows that nothing can change any more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.core.data import Dataset
from tongqu.core.operator import Step
from tongqu.engine.state.branch import Tally, without
from tongqu.engine.state.delta import Delta, distinct
from tongqu.engine.state.node import Entry, Node
from tongqu.engine.state.store import NOW, Store
from tongqu.engine.state.watermark import LATE, LEAST, PARTLY, Watermark
from tongqu.meaning.event_time import END, START, EventWindow, micros
from tongqu.meaning.sandbox import quoted


class Windowing(Node):
    """Gives the rows of its input their windows, except those that are late, and lets `inner` do the rest.

    A row is late when its last window was over, by the watermark of the rows that came before it, in whatever chunks
    they came. The watermark is the greatest instant so far less the lateness; it is kept with the state.
    """

    def __init__(
        self, step: Step, store: Store, entry: Entry, window: EventWindow, *, inner: Callable[[Entry], Node],
        tally: Callable[[], Tally],
    ):  # fmt: skip
        self.step, self._store, self._entry, self._window = step, store, entry, window
        fields = window.fields(entry.dataset)
        self._stamp: Any = fields[0].type
        schema = entry.dataset.schema if window.session else pa.schema([*fields, *entry.dataset.schema])
        assigned = Dataset(entry.dataset.name, schema, entry.dataset.key)
        self._inner = inner(Entry(assigned, entry.identity))
        self.output, self.identity = self._inner.output, self._inner.identity
        ahead = micros(window.ahead) if window.ahead else None
        self._mark = Watermark(step.id, 0, store, entry.dataset, on=window.on, tally=tally, ahead=ahead)
        self._lateness = micros(window.lateness)

    def fill(self, number: int, rows: pa.Table) -> None:
        """See Node.fill; no row is late."""
        good, at = self._mark.timed(rows)
        if len(at):
            self._inner.fill(number, self._assigned(good, at, None))
            self._mark.mark(max(int(at.max()), self._mark.newest), 0)

    def everything(self) -> pa.Table:
        """See Node.everything."""
        whole = self._inner.everything()
        over = self._inner.over(self._over(self._mark.newest), 0)
        return over if self._window.emit == "final" else whole

    def change(self, deltas: Sequence[Delta | None], version: int) -> Delta:
        """See Node.change."""
        (delta,) = deltas
        assert delta is not None  # noqa: S101  # the only input has changed
        rows, at = self._mark.timed(delta.rows)
        before, newest = self._mark.before_each(at)
        moved = newest > self._mark.newest
        rows = self._assigned(rows, at, before - self._lateness)
        parts = delta.keys.schema.names
        refused = without(self._parts(delta.rows), self._parts(rows)).rename_columns(parts)
        inner = Delta(without(delta.keys, refused), rows)
        changed = self._inner.change([inner], version) if inner else self._nothing()
        if not moved:
            return changed if self._window.emit == "changes" else self._nothing()
        self._mark.mark(newest, version)
        over = self._inner.over(self._over(newest), version)
        if self._window.emit == "changes":
            return changed
        return Delta(distinct([over.select(self.identity.names())]), over)

    def _nothing(self) -> Delta:
        schema = pa.schema([*self.output.schema, *self.identity.fields()])
        return Delta(pa.schema(self.identity.fields()).empty_table(), schema.empty_table())

    def _parts(self, rows: pa.Table) -> pa.Table:
        names = rows.schema.names[len(rows.schema.names) - len(self._entry.identity.types) :]
        return rows.select(names)

    def _assigned(self, rows: pa.Table, at: Any, watermark: Any) -> pa.Table:
        """Each row once for each of its windows that is not over; it is late for the others."""
        window = self._window
        places, starts, ends = window.spans(at)
        if watermark is not None:
            good = ends + micros(window.keep) > watermark[places]
            self._late(rows, places[good], places[~good])
            places, starts, ends = places[good], starts[good], ends[good]
        indices: Any = pa.array(places)
        rows = rows.take(indices)
        if window.session:
            return rows
        times = [pa.array(one, pa.int64()).cast(self._stamp) for one in (starts, ends)]
        schema = pa.schema([pa.field(START, self._stamp), pa.field(END, self._stamp), *rows.schema])
        return pa.Table.from_arrays([*times, *rows.columns], schema=schema)

    def _late(self, rows: pa.Table, counted: Any, missed: Any) -> None:
        """Tell of rows that missed windows; those that still count in another one are no rows less."""
        late = np.zeros(rows.num_rows, np.bool_)
        late[missed] = True
        if not late.any():
            return
        partly = late.copy()
        late[counted] = False
        partly &= ~late
        all_of_it, some_of_it = (rows.filter(pa.array(one)) for one in (late, partly))
        if self._window.late in ("drop", "side"):
            self._mark.drop(all_of_it)
            return
        if all_of_it.num_rows:
            self._mark.refuse(all_of_it, LATE, "comes after the window that it belongs to was over")
        if some_of_it.num_rows:
            message = "comes after some of the windows that it belongs to were over; it counts in the others"
            self._mark.refuse(some_of_it, PARTLY, message)

    def _over(self, newest: int) -> str:
        """The condition of rows that nothing can change any more."""
        passed = max(newest - self._lateness - self._window.held_for, LEAST)
        if not self._window.session:
            return f"epoch_us({quoted(END)}) <= {passed}"
        return self._session_over(passed)

    def _session_over(self, passed: int) -> str:
        """Rows of sessions whose end has passed, by their identity."""
        by = [quoted(c) for c in getattr(self.step.operator, "by", ())]
        table, parts = quoted(f"{self.step.id}.0"), [quoted(name) for name in self._entry.identity.names(0)]
        zoned = self._stamp.tz is not None
        held = f"(SELECT * FROM {table} WHERE {NOW})"
        rows = self._window.sql(held, quoted(self._window.on), by, zoned)
        ended = f"SELECT {', '.join(parts)} FROM ({rows}) WHERE epoch_us({END}) <= {passed}"
        return f"({', '.join(parts)}) IN ({ended})"

    def identities(self, number: int) -> pa.Table:
        """See Node.identities."""
        return distinct([self._inner.identities(number)])

    def filled(self, number: int, rows: pa.Table, columns: Mapping[str, str]) -> pa.Table:
        """See Node.filled."""
        return self._inner.filled(number, rows, columns)

    def over(self, condition: str, version: int) -> pa.Table:
        """See Node.over."""
        return self._inner.over(condition, version)
