"""Records that come twice because the list moved between two pages: told by key among the rows of late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from tongqu.core.kernels import pc

WINDOW = 20_000
"""So many keys are remembered. Pages shift by few records, so the same one comes soon or not at all."""
_NUMBER = "_number"


class Doubles:
    """Takes out rows whose key was among the last `WINDOW` rows; of two the first is kept."""

    def __init__(self, key: Sequence[str]):
        self._key = list(key)
        self._recent: pa.Table | None = None
        self._greatest: Any = None

    def without(self, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
        """The rows that are new, and how many were not."""
        if not self._key or not rows.num_rows:
            return rows, 0
        keys = pa.table([rows.column(name) for name in self._key], names=self._key)
        if self._grows(keys):
            self._remember(keys)
            return rows, 0
        before = self._recent.num_rows if self._recent is not None else 0
        known = pa.concat_tables([self._recent, keys]) if self._recent is not None else keys
        numbers = pa.array(range(-before, keys.num_rows), pa.int64())
        numbered = known.append_column(_NUMBER, numbers)
        first = numbered.group_by(self._key).aggregate([(_NUMBER, "min")]).column(f"{_NUMBER}_min")
        fresh = pc.take(first, pc.array_sort_indices(first.combine_chunks()))
        fresh = fresh.filter(pc.greater_equal(fresh, 0))
        self._remember(keys)
        if len(fresh) == rows.num_rows:
            return rows, 0
        return rows.take(fresh.combine_chunks()), rows.num_rows - len(fresh)

    def _grows(self, keys: pa.Table) -> bool:
        """Whether the keys go up from row to row and from what came before, so that none can be a double."""
        column = keys.column(0)
        if len(self._key) > 1 or not (pa.types.is_integer(column.type) or pa.types.is_timestamp(column.type)):
            return False
        values = column.combine_chunks()
        rising = len(values) < 2 or pc.all(pc.less(values.slice(0, len(values) - 1), values.slice(1))).as_py()
        above = self._greatest is None or (self._recent is not None and values[0].as_py() > self._greatest)
        greatest = pc.max(values).as_py()
        self._greatest = greatest if self._greatest is None else max(self._greatest, greatest)
        return bool(rising and above)

    def _remember(self, keys: pa.Table) -> None:
        known = keys if self._recent is None else pa.concat_tables([self._recent, keys])
        self._recent = known.slice(max(known.num_rows - WINDOW, 0)).combine_chunks()
