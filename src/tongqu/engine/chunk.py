"""What was read since the last commit, and whether that is enough for one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tongqu.core.bad_rows import BadRows, count_refused
from tongqu.core.data import Batch, Counts, Position

if TYPE_CHECKING:
    import pyarrow as pa

_SLACK = 1.25
_BYTES = 256 << 20


@dataclass
class Chunk:
    """What was read since the last commit."""

    counts: Counts
    parts: list[pa.RecordBatch] = field(default_factory=list)
    bad: BadRows = field(default_factory=BadRows)
    waiting: int = 0
    rows: int = 0
    size: int = 0
    position: Position | None = None
    piece: int = 0
    """Rows between the last two positions."""
    cut: int = 0

    def full(self, rows: int) -> bool:
        """Whether it is time to commit: there are so many rows or bytes, or another piece as large as the last would
        make it a quarter larger than was asked for."""
        return self.rows >= rows or self.size >= _BYTES or self.rows + self.piece > rows * _SLACK

    def take(self, batch: Batch) -> None:
        """Add a batch; rows that the source could not parse count as read and quarantined."""
        refused = count_refused(batch.bad)
        self.counts.read += batch.rows.num_rows + refused
        self.counts.quarantined += refused
        self.counts.repaired += len(batch.bad) - refused
        if batch.bad:
            from tongqu.kit.originals import shaped

            self.bad.extend(shaped(batch.bad, batch.rows.schema))
        if batch.counts is not None:
            self.counts.add(batch.counts)
        if batch.rows.num_rows:
            self.parts.append(batch.rows)
        self.waiting += batch.rows.num_rows
        self.rows += batch.rows.num_rows
        self.size += batch.rows.nbytes
        self.position = batch.position or self.position
        if batch.position is not None:
            self.piece, self.cut = self.rows - self.cut, self.rows
