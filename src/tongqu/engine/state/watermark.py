"""How far an input has come in event time, kept with the state, and rows that come after it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.core.bad_rows import BadRows
from tongqu.core.data import BadRow, Dataset
from tongqu.engine.state.branch import Tally
from tongqu.engine.state.store import NOW, Store
from tongqu.kit.originals import originals, shape_of
from tongqu.meaning.sandbox import quoted

LATE, PARTLY, NO_TIME, AHEAD = "window.late", "window.partly_late", "window.no_time", "window.ahead"
"""Codes of rows in quarantine: one that comes too late, one that does for some of its windows and counts in the others,
one without an instant, and one too far in the future."""
LEAST = int(np.iinfo(np.int64).min // 4)
"""Before every instant."""


class Watermark:
    """The greatest instant of an input's column `on` so far, in microseconds since 1970."""

    def __init__(
        self, step: str, number: int, store: Store, dataset: Dataset, *, on: str, tally: Callable[[], Tally],
        ahead: int | None = None,
    ):  # fmt: skip
        """`ahead`: microseconds that an instant may be ahead of the clock; None: as many as it likes."""
        self._ahead = ahead
        self._step, self._store, self._dataset, self._on, self._tally = step, store, dataset, on, tally
        self.table = f"{step}.{number}.watermark"
        store.table(self.table, pa.schema([pa.field("newest", pa.int64())]))

    @property
    def newest(self) -> int:
        """The instant; `LEAST` before the first row."""
        found = self._store.value(f"SELECT max(newest) FROM {quoted(self.table)} WHERE {NOW}")
        return LEAST if found is None else int(found)

    def mark(self, newest: int, version: int) -> None:
        """It has come this far."""
        self._store.take_out(self.table, (), "(SELECT 1 AS one)", version)
        self._store.add(self.table, pa.table({"newest": pa.array([newest], pa.int64())}), version)

    def timed(self, rows: pa.Table) -> tuple[pa.Table, Any]:
        """The rows that have an instant, and these in microseconds; the others are refused."""
        column: Any = rows.column(self._on)
        if column.null_count:
            self.refuse(rows.filter(column.is_null()), NO_TIME, "is no instant, and one is needed")
            rows = rows.filter(column.is_valid())
            column = rows.column(self._on)
        zone = self._dataset.schema.field(self._on).type.tz
        at = column.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64()).to_numpy()
        if self._ahead is not None and (far := at > time.time_ns() // 1_000 + self._ahead).any():
            self.refuse(rows.filter(pa.array(far)), AHEAD, "is further in the future than `ahead` allows")
            rows, at = rows.filter(pa.array(~far)), at[~far]
        return rows, at

    def before_each(self, at: Any) -> tuple[Any, int]:
        """The greatest instant before each row, in the order in which they come, and after all of them."""
        seen = np.maximum.accumulate(np.concatenate([[self.newest], at]))
        return seen[:-1], int(seen[-1])

    def refuse(self, rows: pa.Table, code: str, message: str) -> None:
        """Rows that go to quarantine."""
        own = rows.select(list(self._dataset.columns))
        shape = shape_of(own.schema)
        values = own.column(self._on).cast(pa.string()).to_pylist()
        told = zip(values, originals(own), strict=True)
        bad = BadRows(BadRow(self._step, code, self._on, value, text, message, shape=shape) for value, text in told)
        tally = self._tally()
        tally.bad.extend(bad)
        tally.refused[self._step] = tally.refused.get(self._step, 0) + rows.num_rows

    def drop(self, rows: pa.Table) -> None:
        """Rows that are left out."""
        tally = self._tally()
        tally.dropped[self._step] = tally.dropped.get(self._step, 0) + rows.num_rows
