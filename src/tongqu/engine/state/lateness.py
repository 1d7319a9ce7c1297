"""The side output of a windowed step: the rows that came after windows of theirs were over, as they came."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError
from tongqu.core.operator import Step
from tongqu.engine.state.branch import Tally
from tongqu.engine.state.delta import Delta, distinct
from tongqu.engine.state.node import Entry, Node
from tongqu.engine.state.store import Store
from tongqu.engine.state.watermark import Watermark
from tongqu.meaning.event_time import EventWindow, micros


class Late(Node):
    """Gives each row once for each of its windows that was over when it came, with the window's columns. It keeps the
    watermark only, which is that of the step with the windows: both are told the same rows in the same order, and
    whether a row is late follows from the rows before it, in whatever chunks they come.

    Raises InvalidPlanError over changes: of several changes of a row in one chunk only the last is seen, so that the
    two steps would not judge the same rows.
    """

    def __init__(self, step: Step, store: Store, entry: Entry, window: EventWindow, *, tally: Callable[[], Tally]):
        if not entry.identity.only_added:
            raise InvalidPlanError(
                f"step {step.id!r}: late rows can be given apart of messages, not of changes",
                path=step.path,
                hint="`mode: stream` at the source, or `late: quarantine`",
            )
        self.step, self._window, self._entry = step, window, entry
        self.output: Dataset = step.operator.output([entry.dataset])
        self.identity = entry.identity
        self._mark = Watermark(step.id, 0, store, entry.dataset, on=window.on, tally=tally)
        self._schema = pa.schema([*self.output.schema, *self.identity.fields()])

    def fill(self, number: int, rows: pa.Table) -> None:
        """See Node.fill; no row is late."""
        del number
        _, at = self._mark.timed(rows)
        if len(at):
            self._mark.mark(max(int(at.max()), self._mark.newest), 0)

    def everything(self) -> pa.Table:
        """See Node.everything."""
        return self._schema.empty_table()

    def change(self, deltas: Sequence[Delta | None], version: int) -> Delta:
        """See Node.change."""
        (delta,) = deltas
        assert delta is not None  # noqa: S101  # the only input has changed
        column: Any = delta.rows.column(self._window.on)
        rows, at = self._mark.timed(delta.rows.filter(column.is_valid()))  # the step with the windows tells of others
        before, newest = self._mark.before_each(at)
        if newest > self._mark.newest:
            self._mark.mark(newest, version)
        window = self._window
        places, starts, ends = window.spans(at)
        late = ends + micros(window.keep) <= (before - micros(window.lateness))[places]
        found = rows.take(pa.array(places[late]))
        kind: Any = self._schema.field(0).type
        times = [pa.array(one[late], pa.int64()).cast(kind) for one in (starts, ends)]
        made = pa.Table.from_arrays([*times, *found.columns], schema=self._schema)
        return Delta(distinct([made.select(list(self.identity.names()))]), made)

    def over(self, condition: str, version: int) -> pa.Table:
        """See Node.over: nothing is kept."""
        del condition, version
        return self._schema.empty_table()

    def identities(self, number: int) -> pa.Table:
        """See Node.identities: nothing is kept."""
        return pa.schema(self._entry.identity.fields(number)).empty_table()

    def filled(self, number: int, rows: pa.Table, columns: Mapping[str, str]) -> pa.Table:
        """See Node.filled: nothing is kept."""
        del number, columns
        return rows.slice(0, 0)
